//! The global allocator is Google's tcmalloc.

#[global_allocator]
static GLOBAL: tcmalloc_better::TCMalloc = tcmalloc_better::TCMalloc;

fn main() -> std::process::ExitCode {
    hakmem_rust_peers::main("tcmalloc")
}
