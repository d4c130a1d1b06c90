//! What the integration tests share: children of the test binary, a generator of random numbers,
//! looks at the kernel's view of memory, and a model of a heap.
//!
//! Assumes Linux. The global allocator of a test binary is the system's unless it says otherwise,
//! so that what the harness allocates is not on the heap under test.

#![allow(dead_code)] // Each test binary uses a part of this.

pub mod child;
pub mod fork;
pub mod memory;
pub mod model;
pub mod places;
pub mod random;
pub mod ratings;
pub mod work;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;

/// A mebibyte.
pub const MIB: usize = 1 << 20;

/// Whether the tests run under a sanitizer, whose shadow memory leaves no room for limits on
/// address space and whose run-time is many times longer.
pub const SANITIZED: bool = cfg!(any(hakmem_sanitize = "address", hakmem_sanitize = "thread"));

/// Whether blocks have canaries and freed ones wait in a quarantine (gate `hardened`).
pub const HARDENED: bool = cfg!(feature = "hardened");

/// Whether a free reads the class from the byte before the block (gate `tiny-header`).
pub const HEADER: bool = cfg!(feature = "tiny-header");

/// Bytes of every block of a slab that are not the program's.
pub const RESERVED: usize = if HARDENED {
    8
} else if HEADER {
    1
} else {
    0
};

/// Whether `TEST_ROUNDS` says `tenth`: the same tests run at length in another build.
pub fn brief() -> bool {
    std::env::var_os("TEST_ROUNDS").is_some_and(|word| word == "tenth")
}

/// A number of rounds: a tenth of it where every step costs many times more, and in a brief run.
pub fn rounds(usual: usize) -> usize {
    if cfg!(miri) {
        1 + usual / 1000
    } else if SANITIZED || brief() {
        1 + usual / 10
    } else {
        usual
    }
}

/// A number that the variable `name` sets; `usual` without it.
pub fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number"))
    })
}

/// While this lives, no other test of the binary that asks for it runs.
pub struct Alone(());

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Serialises tests that look at the whole heap: the walker needs a quiet program. Not a `Mutex`,
/// whose slow path is compiled without the sanitizer, so that it would not see what this orders.
pub fn alone() -> Alone {
    while TAKEN.swap(true, Ordering::Acquire) {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Alone(())
}

impl Drop for Alone {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

/// Sets a flag when it is dropped. A scope waits for its threads, also where an assertion has failed in
/// it: threads that go on until they are told must be told then, too.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Joins each: the end of a scope comes before its threads have left their heaps, and in code that
/// no sanitizer sees. Who walks the heap afterwards would meet them.
#[track_caller]
pub fn join_all<'a>(threads: impl IntoIterator<Item = ScopedJoinHandle<'a, ()>>) {
    for thread in threads {
        thread.join().expect("a thread");
    }
}

/// Walks the heap and fails the test on a broken invariant.
pub fn walk() -> hakmem::Walk {
    // SAFETY: callers hold `alone()` or are the only thread that allocates from this heap.
    unsafe { hakmem::walk() }.unwrap_or_else(|broken| panic!("the heap is broken: {broken}"))
}
