//! `cargo xtask bench --limits`: the benchmarks of `benches/instructions.rs`, which fail above a
//! number of instructions. Their runner is installed into `target/tools`, in the version that
//! `Cargo.lock` has of the library: the two only work together when they are the same.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::shared::{command, paths, term};

/// The library and its runner.
const LIBRARY: &str = "iai-callgrind";
const RUNNER: &str = "iai-callgrind-runner";

/// Runs the benchmarks.
pub fn run() -> Result<ExitCode> {
    if paths::which("valgrind").is_none() {
        bail!("instructions are counted by valgrind, which is missing; `apt-get install valgrind`");
    }
    let runner = runner()?;
    let mut bench = command::cargo();
    bench.args(["bench", "--package", "hakmem-alloc", "--bench", "instructions"]);
    bench.env("IAI_CALLGRIND_RUNNER", runner);
    let shown = command::show(&bench);
    let status = bench.status().with_context(|| format!("cannot start `{shown}`"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The runner of the library's version, installed if it is not there yet.
fn runner() -> Result<PathBuf> {
    let version = library_version()?;
    let tools = paths::target().join("tools");
    let runner = tools.join("bin").join(RUNNER);
    let stamp = tools.join(format!("{RUNNER}-{version}"));
    if runner.is_file() && stamp.is_file() {
        return Ok(runner);
    }
    let spinner =
        term::spinner("Installing", format!("{RUNNER} {version} into {}", tools.display()));
    let mut install = command::cargo();
    install.args(["install", "--locked", "--force", "--root"]).arg(&tools);
    install.arg(format!("{RUNNER}@{version}"));
    let installed = command::output(&mut install);
    spinner.finish_and_clear();
    installed?;
    std::fs::write(&stamp, "").with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(runner)
}

/// The version of the library in `Cargo.lock`.
fn library_version() -> Result<String> {
    let path = paths::root().join("Cargo.lock");
    let text = std::fs::read_to_string(&path).context("cannot read Cargo.lock")?;
    locked_version(&text, LIBRARY).with_context(|| format!("Cargo.lock does not name {LIBRARY}"))
}

/// The version of a package in the text of a lock file.
pub fn locked_version(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    let version = lines.nth(1)?.strip_prefix("version = \"")?;
    Some(version.strip_suffix('"')?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_gives_the_exact_package() {
        let lock = "[[package]]\nname = \"iai-callgrind-macros\"\nversion = \"1.0.0\"\n\n\
                    [[package]]\nname = \"iai-callgrind\"\nversion = \"0.16.1\"\n";
        assert_eq!(locked_version(lock, LIBRARY).as_deref(), Some("0.16.1"));
        assert_eq!(locked_version(lock, "absent"), None);
    }

    #[test]
    fn the_checkout_locks_the_library() {
        assert!(library_version().unwrap().starts_with("0."));
    }
}
