//! The global allocator is hakmem.

#[global_allocator]
static GLOBAL: hakmem::Hakmem = hakmem::Hakmem::new();

fn main() -> std::process::ExitCode {
    hakmem_rust_peers::main("hakmem")
}
