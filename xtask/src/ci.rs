//! `cargo xtask ci`.

use anyhow::{Result, bail};
use std::process::ExitCode;

/// Arguments of `cargo xtask ci`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: Args) -> Result<ExitCode> {
    bail!("`cargo xtask ci` is not built yet")
}
