//! `cargo xtask sanitize`: the allocator's tests under AddressSanitizer, ThreadSanitizer or Miri.
//!
//! These need a nightly compiler; users of the allocator never do. Where it is not installed the
//! command says so, names what installs it, and ends with the exit code 77 that the scripts of
//! `ci/` use for "skipped".

use crate::features::every_feature_but_layers;
use crate::shared::registry::{PACKAGE, Registry};
use crate::shared::{command, paths};
use crate::test::process;
use crate::test::tally::Tally;
use anyhow::Result;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Exit code of a job that could not run because a tool is missing.
pub const SKIPPED: u8 = 77;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Longest time that all of it may take. Miri needs 9 minutes, 20 on a busy machine.
const LIMIT: Duration = Duration::from_secs(90 * 60);

/// What to run the tests under.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Tool {
    /// Memory errors of the code around the heap
    Address,
    /// Data races
    Thread,
    /// Undefined behaviour, in an interpreter
    Miri,
}

/// Arguments of `cargo xtask sanitize`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask sanitize thread            the tests under ThreadSanitizer
  cargo xtask sanitize address fork      tests whose name contains `fork`
  cargo xtask sanitize miri              the unit tests in Miri, where it is installed")]
pub struct Args {
    /// What to run the tests under
    tool: Tool,

    /// Run only tests whose name contains this word
    filter: Option<String>,

    /// Compile every gate in
    #[arg(long)]
    all_gates: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    if let Some(install) = missing(args.tool) {
        println!("SKIPPED: {} is not installed: `{install}`", args.tool.name());
        println!("{}", Tally::SKIPPED.line());
        return Ok(ExitCode::from(SKIPPED));
    }
    let mut tally = Tally::default();
    let ended = process::stream(invocation(&args)?, LIMIT, |line| {
        if let Some(counts) = Tally::from_cargo(line) {
            tally += counts;
        }
        println!("{line}");
    })?;
    if !ended.success() && tally.failed == 0 {
        println!("{} ended with {}", args.tool.name(), ended.words());
        tally += Tally::FAILED;
    }
    println!("{}", tally.line());
    Ok(ExitCode::from(u8::from(!tally.good())))
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Address => "AddressSanitizer",
            Tool::Thread => "ThreadSanitizer",
            Tool::Miri => "Miri",
        }
    }

    /// Compiler flags. The standard library is the installed one, built without the sanitizer;
    /// the second flag says that this is meant.
    fn flags(self) -> Option<String> {
        let name = match self {
            Tool::Address => "address",
            Tool::Thread => "thread",
            Tool::Miri => return None,
        };
        Some(format!(
            "-Zsanitizer={name} -Cunsafe-allow-abi-mismatch=sanitizer --cfg hakmem_sanitize=\"{name}\""
        ))
    }
}

/// The command that installs what is missing, if anything is.
fn missing(tool: Tool) -> Option<&'static str> {
    let works = |words: &[&str]| {
        let mut cargo = nightly();
        cargo.args(words);
        command::output(&mut cargo).is_ok()
    };
    if !works(&["--version"]) {
        return Some("rustup toolchain install nightly");
    }
    if tool == Tool::Miri && !works(&["miri", "--version"]) {
        return Some("rustup component add --toolchain nightly miri rust-src");
    }
    None
}

/// `cargo` of the nightly toolchain, by way of rustup: the cargo that runs us is another one.
fn nightly() -> Command {
    let mut rustup = Command::new("rustup");
    rustup.args(["run", "nightly", "cargo"]).current_dir(paths::root());
    for name in
        ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"]
    {
        rustup.env_remove(name);
    }
    rustup
}

fn invocation(args: &Args) -> Result<Command> {
    let mut cargo = nightly();
    let folder = match args.tool {
        Tool::Miri => {
            cargo.args(["miri", "test", "--package", PACKAGE, "--lib"]);
            // The heap hands out addresses that it computes, as every allocator does, and reaches
            // the bitmaps behind a descriptor from a reference to it, which Tree Borrows allows.
            cargo.env(
                "MIRIFLAGS",
                "-Zmiri-tree-borrows -Zmiri-permissive-provenance -Zmiri-ignore-leaks",
            );
            "miri"
        }
        tool => {
            cargo.args(["test", "--no-fail-fast", "--package", PACKAGE, "--lib", "--tests"]);
            // Build scripts and procedural macros stay outside the sanitizer with a target named.
            cargo.args(["--target", TARGET]);
            if let Some(flags) = tool.flags() {
                cargo.env("RUSTFLAGS", flags);
            }
            let suppressions = paths::root().join("ci/thread-sanitizer.supp");
            cargo.env(
                "TSAN_OPTIONS",
                format!("halt_on_error=0 exitcode=66 suppressions={}", suppressions.display()),
            );
            // The leak checker does not look for pointers in memory that is not malloc's.
            cargo.env("ASAN_OPTIONS", "detect_leaks=0");
            if tool == Tool::Address { "address" } else { "thread" }
        }
    };
    cargo.env("CARGO_TARGET_DIR", paths::target().join("sanitize").join(folder));
    if args.all_gates {
        cargo.args(["--features", &every_feature_but_layers(&Registry::read()?).join(",")]);
    }
    if let Some(filter) = &args.filter {
        cargo.arg(filter);
    }
    Ok(cargo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_has_its_own_folder_and_flags() {
        for (tool, word) in [(Tool::Address, "address"), (Tool::Thread, "thread")] {
            let args = Args { tool, filter: Some("fork".to_owned()), all_gates: false };
            let shown = command::show(&invocation(&args).unwrap());
            assert!(shown.starts_with("rustup run nightly cargo test"), "{shown}");
            assert!(shown.contains(" fork"), "{shown}");
            assert!(tool.flags().unwrap().contains(&format!("-Zsanitizer={word}")));
        }
        assert_eq!(Tool::Miri.flags(), None);
    }
}
