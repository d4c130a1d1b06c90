//! `cargo xtask bench`.

use anyhow::{Result, bail};
use std::process::ExitCode;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: Args) -> Result<ExitCode> {
    bail!("`cargo xtask bench` is not built yet")
}
