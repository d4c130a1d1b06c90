//! `cargo xtask test`.

pub mod tally;

use anyhow::{Result, bail};
use std::process::ExitCode;

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: Args) -> Result<ExitCode> {
    bail!("`cargo xtask test` is not built yet")
}
