//! The global allocator is mimalloc, version 3.

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    hakmem_rust_peers::main("mimalloc3")
}
