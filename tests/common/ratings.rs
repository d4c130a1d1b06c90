//! Files of ratings (`HAKMEM_ELO_FILE`), and where tests keep them.

use super::{MIB, child};
use std::path::{Path, PathBuf};

/// A file of this test's own, gone when the test ends.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let name = format!("elo-{}-{name}", parent());
        let scratch = Scratch(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        // One that was ended by force, and had the same number, has left its own there.
        scratch.remove();
        scratch
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("a path in ASCII")
    }

    fn remove(&self) {
        if !child::is_child() {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The process that the test runs in, child or not.
pub fn parent() -> u32 {
    // SAFETY: no preconditions.
    if child::is_child() { unsafe { libc::getppid() as u32 } } else { std::process::id() }
}

/// A file of ratings with this leader.
pub fn ratings(leader: usize) -> String {
    let mut text = format!("hakmem-elo 1\nleader {leader}\n");
    for threshold in [512 << 10, MIB, 2 * MIB, 4 * MIB, 8 * MIB, 16 * MIB] {
        text += &format!("{threshold} 24000 3 4 5\n");
    }
    let sum = text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{text}check {sum:016x}\n")
}
