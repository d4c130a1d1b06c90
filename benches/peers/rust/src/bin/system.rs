//! The global allocator is the system's, as the standard library calls it.

#[global_allocator]
static GLOBAL: std::alloc::System = std::alloc::System;

fn main() -> std::process::ExitCode {
    hakmem_rust_peers::main("system")
}
