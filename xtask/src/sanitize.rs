//! `cargo xtask sanitize`: the allocator's tests under AddressSanitizer, ThreadSanitizer or Miri, and
//! what stands in for Miri where it is not installed: the same tests over the system layer that it
//! interprets, and the compiler's lints against pointers that are made from numbers.
//!
//! Most of these need a nightly compiler; users of the allocator never do. Where it is not installed
//! the command says so, names what installs it, and ends with the exit code 77 that the scripts of
//! `ci/` use for "skipped".

use crate::features::{every_feature, every_feature_but_layers};
use crate::shared::registry::{PACKAGE, Registry};
use crate::shared::{command, paths};
use crate::test::process;
use crate::test::tally::Tally;
use anyhow::Result;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Exit code of a job that could not run because a tool is missing.
pub const SKIPPED: u8 = 77;

/// Keeps the libraries of the benches out of the build.
const BENCHLESS: &str = "--cfg hakmem_benchless";
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
    /// Undefined behaviour and strict provenance, in an interpreter
    Miri,
    /// Miri's tests over Miri's system layer, without Miri
    Portable,
    /// Pointers made from numbers and the other way round, by the compiler's lints
    Provenance,
}

/// Arguments of `cargo xtask sanitize`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask sanitize thread            the tests under ThreadSanitizer
  cargo xtask sanitize address fork      tests whose name contains `fork`
  cargo xtask sanitize miri              the unit tests in Miri, where it is installed
  cargo xtask sanitize provenance        no cast between pointers and numbers, with any gate")]
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
    for invocation in invocations(&args)? {
        let mut told = Tally::default();
        let ended = process::stream(invocation, LIMIT, |line| {
            if let Some(counts) = Tally::from_cargo(line) {
                told += counts;
            }
            println!("{line}");
        })?;
        if !ended.success() && told.failed == 0 {
            println!("{} ended with {}", args.tool.name(), ended.words());
            told += Tally::FAILED;
        } else if args.tool == Tool::Provenance {
            // A build, which counts no tests.
            told += Tally::PASSED;
        }
        tally += told;
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
            Tool::Portable => "the portable system layer",
            Tool::Provenance => "the lints of provenance",
        }
    }

    /// Compiler flags. The standard library is the installed one, built without the sanitizer;
    /// the second flag says that this is meant.
    fn flags(self) -> Option<String> {
        let name = match self {
            Tool::Address => "address",
            Tool::Thread => "thread",
            Tool::Miri => return None,
            // Miri's own name for itself is what chooses its system layer and its short lists.
            Tool::Portable => return Some(format!("{BENCHLESS} --cfg miri")),
            Tool::Provenance => {
                return Some(format!(
                    "{BENCHLESS} -Zcrate-attr=feature(strict_provenance_lints) \
                     -Dfuzzy-provenance-casts -Dlossy-provenance-casts"
                ));
            }
        };
        Some(format!(
            "{BENCHLESS} -Zsanitizer={name} -Cunsafe-allow-abi-mismatch=sanitizer \
             --cfg hakmem_sanitize=\"{name}\""
        ))
    }
}

/// The command that installs what is missing, if anything is.
fn missing(tool: Tool) -> Option<&'static str> {
    if tool == Tool::Portable {
        return None;
    }
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

/// The commands, one after the other.
fn invocations(args: &Args) -> Result<Vec<Command>> {
    let registry = Registry::read()?;
    let features = match args.tool {
        Tool::Provenance => vec![None, Some(every_feature(&registry))],
        _ if args.all_gates => vec![Some(every_feature_but_layers(&registry))],
        _ => vec![None],
    };
    Ok(features.into_iter().map(|features| invocation(args, features)).collect())
}

fn invocation(args: &Args, features: Option<Vec<String>>) -> Command {
    let mut cargo = match args.tool {
        Tool::Portable => command::cargo(),
        _ => nightly(),
    };
    if let Some(flags) = args.tool.flags() {
        cargo.env("RUSTFLAGS", flags);
    }
    // What differs in its flags alone shares a folder, and with it the procedural macros.
    let folder = match args.tool {
        Tool::Miri => {
            cargo.args(["miri", "test", "--package", PACKAGE, "--lib"]);
            // The heap reaches the bitmaps behind a descriptor from a reference to it, which Tree
            // Borrows allows. No pointer of it is made from a number.
            cargo.env(
                "MIRIFLAGS",
                "-Zmiri-tree-borrows -Zmiri-strict-provenance -Zmiri-ignore-leaks",
            );
            "miri"
        }
        Tool::Portable => {
            cargo.args(["test", "--package", PACKAGE, "--lib"]);
            "portable"
        }
        Tool::Provenance => {
            // With the unit tests, as they are what Miri interprets.
            cargo.args(["check", "--profile", "test", "--lib", "--target", TARGET]);
            cargo.args(["--package", PACKAGE, "--package", "hakmem-preload"]);
            "nightly"
        }
        Tool::Address | Tool::Thread => {
            cargo.args(["test", "--no-fail-fast", "--package", PACKAGE, "--lib", "--tests"]);
            // Build scripts and procedural macros stay outside the sanitizer with a target named.
            cargo.args(["--target", TARGET]);
            let suppressions = paths::root().join("ci/thread-sanitizer.supp");
            cargo.env(
                "TSAN_OPTIONS",
                // Many tests are processes of their own: each would wait a second at its end.
                format!(
                    "halt_on_error=0 exitcode=66 atexit_sleep_ms=50 suppressions={}",
                    suppressions.display()
                ),
            );
            // The leak checker does not look for pointers in memory that is not malloc's.
            cargo.env("ASAN_OPTIONS", "detect_leaks=0");
            "nightly"
        }
    };
    cargo.env("CARGO_TARGET_DIR", paths::target().join("sanitize").join(folder));
    if let Some(features) = features {
        cargo.args(["--features", &features.join(",")]);
    }
    // A build has no tests to choose from.
    if let Some(filter) = args.filter.as_ref().filter(|_| args.tool != Tool::Provenance) {
        cargo.arg(filter);
    }
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(tool: Tool, filter: Option<&str>) -> Vec<String> {
        let args = Args { tool, filter: filter.map(str::to_owned), all_gates: false };
        invocations(&args).unwrap().iter().map(command::show).collect()
    }

    #[test]
    fn each_tool_has_its_own_flags() {
        for (tool, word) in [(Tool::Address, "address"), (Tool::Thread, "thread")] {
            let [shown] = &shown(tool, Some("fork"))[..] else { panic!("one") };
            assert!(shown.starts_with("rustup run nightly cargo test"), "{shown}");
            assert!(shown.contains(" fork"), "{shown}");
            assert!(tool.flags().unwrap().contains(&format!("-Zsanitizer={word}")));
        }
        assert_eq!(Tool::Miri.flags(), None);
    }

    #[test]
    fn provenance_is_looked_at_without_gates_and_with_all_of_them() {
        let [without, with] = &shown(Tool::Provenance, None)[..] else { panic!("two builds") };
        assert!(without.starts_with("rustup run nightly cargo check"), "{without}");
        assert!(!without.contains("--features") && with.contains("research"), "{with}");
    }
}
