//! `cargo xtask`: every command of the project that is not `cargo build`.
//!
//! One file or folder per command; what they share is in [`shared`], and the statistics in
//! `xtask-stats`. A command is a module with `Args` and `run(Args) -> anyhow::Result<ExitCode>`; an
//! error is printed here as one line on standard error, with exit code 2. Exit code 1 is a command
//! that worked and found something wrong.

mod ab;
mod asm;
mod attacks;
mod audit;
mod bench;
mod ci;
mod features;
mod fuzz;
mod layers;
mod matrix;
mod model;
mod policies;
mod real;
mod sanitize;
mod shared;
mod soak;
mod surface;
mod test;
mod trust;
mod verify;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Everything the project can do to itself: experiments, benchmarks, checks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// One variant per command. Boxed where the arguments are long.
#[derive(Subcommand)]
enum Command {
    /// Is a gate worth having? GO, NEUTRAL or NO-GO, with the evidence
    Ab(Box<ab::Args>),
    /// Run the scenarios against the peers and compare time and memory
    Bench(Box<bench::Args>),
    /// Count the instructions of the fast paths and compare them with the golden counts
    Asm(Box<asm::Args>),
    /// Run attacks on the heap and on others, and tell what each makes of them
    Attacks(attacks::Args),
    /// Place every atomic operation: telemetry behind a gate, or correctness with its reason
    Audit(audit::Args),
    /// List every unsafe place with its argument in docs/unsafe.md, or check that it is current
    Unsafe(surface::Args),
    /// Which gates and pairs build, pass the tests, and what each costs in bytes and instructions
    Matrix(Box<matrix::Args>),
    /// What it costs to stand front-end layers on top of each other: the old system's headline
    Layers(layers::Args),
    /// What the policies are worth and what the counters cost, against their aims
    Policies(policies::Args),
    /// Write features.md, the table of all gates, or check that it is current
    Features(Box<features::Args>),
    /// Does a gate's code run in the scenarios, where, and how often per operation?
    Verify(verify::Args),
    /// Run every test
    Test(Box<test::Args>),
    /// Run real programs on the heap and compare their output with the system's heap
    Real(Box<real::Args>),
    /// Run long self-tests of other programs on the heap: CPython's, stress-ng, redis, rustc, memcheck
    Trust(Box<trust::Args>),
    /// Run mixed threads with content checks for long, and see that memory stays flat
    Soak(Box<soak::Args>),
    /// Run the allocator's tests under a sanitizer or Miri (nightly)
    Sanitize(Box<sanitize::Args>),
    /// Try every interleaving of the concurrent parts under a model checker
    Model(model::Args),
    /// Feed the heap, its C interface and its readers random inputs under libFuzzer
    Fuzz(fuzz::Args),
    /// Run all that CI runs
    Ci(Box<ci::Args>),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Ab(args) => ab::run(*args),
        Command::Bench(args) => bench::run(*args),
        Command::Asm(args) => asm::run(*args),
        Command::Attacks(args) => attacks::run(args),
        Command::Audit(args) => audit::run(args),
        Command::Unsafe(args) => surface::run(args),
        Command::Layers(args) => layers::run(args),
        Command::Matrix(args) => matrix::run(*args),
        Command::Features(args) => features::run(*args),
        Command::Verify(args) => verify::run(args),
        Command::Test(args) => test::run(*args),
        Command::Policies(args) => policies::run(args),
        Command::Real(args) => real::run(*args),
        Command::Trust(args) => trust::run(*args),
        Command::Soak(args) => soak::run(*args),
        Command::Sanitize(args) => sanitize::run(*args),
        Command::Model(args) => model::run(args),
        Command::Fuzz(args) => fuzz::run(args),
        Command::Ci(args) => ci::run(*args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            shared::term::error(&error);
            ExitCode::from(2)
        }
    }
}
