//! The global allocator is rpmalloc.

#[global_allocator]
static GLOBAL: rpmalloc::RpMalloc = rpmalloc::RpMalloc;

fn main() -> std::process::ExitCode {
    hakmem_rust_peers::main("rpmalloc")
}
