//! The programs on `#[global_allocator] Hakmem`; with the `system` feature, on the system's.

#[cfg(not(feature = "system"))]
#[global_allocator]
static HEAP: hakmem::Hakmem = hakmem::Hakmem::new();

fn main() -> std::process::ExitCode {
    hakmem_apps::main(if cfg!(feature = "system") { "system" } else { "hakmem" }, 1)
}
