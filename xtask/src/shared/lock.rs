//! One run at a time in a folder of `target/`: two would disturb each other's files and figures.
//!
//! The lock is the system's on an open file, so it goes with its process, however that ends.

use super::term;
use anyhow::{Context, Result, bail};
use std::fs::{File, TryLockError};
use std::path::Path;

/// Takes `folder`, which is made where it is missing, until the file is dropped. Where another run
/// has it, that is an error that calls it `other`: "another experiment".
pub fn take(folder: &Path, other: &str) -> Result<File> {
    match try_take(folder)? {
        (file, true) => Ok(file),
        (_, false) => bail!(
            "{other} is running in {}; wait for it, or set CARGO_TARGET_DIR to another folder",
            folder.display()
        ),
    }
}

/// Takes `folder` as [`take`] does, and says so and waits where another run has it.
pub fn wait(folder: &Path, other: &str) -> Result<File> {
    let (file, taken) = try_take(folder)?;
    if !taken {
        term::step("Waiting", format!("{other} is running in {}", folder.display()));
        file.lock().with_context(|| format!("cannot lock {}", folder.display()))?;
    }
    Ok(file)
}

fn try_take(folder: &Path) -> Result<(File, bool)> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok((file, true)),
        Err(TryLockError::WouldBlock) => Ok((file, false)),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_run_has_a_folder_and_the_next_is_refused_until_it_ends() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("not/there/yet");
        let first = take(&folder, "another trial").unwrap();
        let error = take(&folder, "another trial").unwrap_err().to_string();
        assert!(error.starts_with("another trial is running in "), "{error}");
        drop(first);
        take(&folder, "another trial").unwrap();
    }

    #[test]
    fn who_waits_has_the_folder_when_the_other_is_through() {
        let scratch = tempfile::tempdir().unwrap();
        let first = take(scratch.path(), "another trial").unwrap();
        let order = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _second = wait(scratch.path(), "another trial").unwrap();
                order.lock().unwrap().push("second");
            });
            std::thread::sleep(Duration::from_millis(50));
            order.lock().unwrap().push("first");
            drop(first);
        });
        assert_eq!(*order.lock().unwrap(), ["first", "second"]);
    }
}
