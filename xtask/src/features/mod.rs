//! `cargo xtask features`.

use anyhow::{Result, bail};
use std::process::ExitCode;

/// Arguments of `cargo xtask features`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: Args) -> Result<ExitCode> {
    bail!("`cargo xtask features` is not built yet")
}
