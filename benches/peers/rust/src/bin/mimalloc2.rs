//! The global allocator is mimalloc, version 2.

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    hakmem_rust_peers::main("mimalloc2")
}
