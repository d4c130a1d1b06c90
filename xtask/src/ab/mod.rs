//! `cargo xtask ab`.
pub mod count;
pub mod diff;
#[cfg(test)]
mod fixture;
pub mod link;
pub mod object;
pub mod probe;

use anyhow::{Result, bail};
use std::process::ExitCode;

/// Arguments of `cargo xtask ab`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: Args) -> Result<ExitCode> {
    bail!("`cargo xtask ab` is not built yet")
}
