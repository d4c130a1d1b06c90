//! What every binary of this package does with its global allocator.

use hakmem_scenarios::{Rust, cli};
use std::process::ExitCode;

/// Runs a scenario, or, behind the word `app`, a Rust program.
pub fn main(heap: &str) -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("app") {
        hakmem_apps::main(heap, 2)
    } else {
        cli::main::<Rust>()
    }
}
