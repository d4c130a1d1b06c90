//! `hakmem-scenario`: the scenarios on the process's C `malloc`, whatever `LD_PRELOAD` put there.
//! Holds no hakmem code.

use hakmem_scenarios::{System, cli};

// Forwards Rust's own allocations to the C names too, so that the scenarios built on real crates
// measure the same allocator.
#[global_allocator]
static GLOBAL: std::alloc::System = std::alloc::System;

fn main() -> std::process::ExitCode {
    cli::main::<System>()
}
