//! `cargo xtask asm`.

use anyhow::{Result, bail};
use std::process::ExitCode;

/// Arguments of `cargo xtask asm`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: Args) -> Result<ExitCode> {
    bail!("`cargo xtask asm` is not built yet")
}
