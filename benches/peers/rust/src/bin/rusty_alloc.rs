//! The global allocator is rusty_alloc.

#[global_allocator]
static GLOBAL: rusty_alloc_api::RustyAlloc = rusty_alloc_api::RustyAlloc;

fn main() -> std::process::ExitCode {
    hakmem_rust_peers::main("rusty_alloc")
}
