//! The scenarios on rusty_alloc, a pure-Rust allocator, compiled in.

use hakmem_scenarios::{Heap, cli};
use rusty_alloc::alloc;
use rusty_alloc_api::RustyAlloc;

#[global_allocator]
static GLOBAL: RustyAlloc = RustyAlloc;

#[derive(Clone, Copy)]
struct Rusty;

// SAFETY: its functions keep the contract of the C functions of the same names.
unsafe impl Heap for Rusty {
    #[inline(always)]
    fn malloc(size: usize) -> *mut u8 {
        alloc::malloc(size)
    }

    #[inline(always)]
    unsafe fn realloc(block: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is realloc's precondition.
        unsafe { alloc::realloc(block, size) }
    }

    // The form of `free` that its own `GlobalAlloc` uses.
    #[inline(always)]
    unsafe fn free(block: *mut u8) {
        // SAFETY: the caller's promise is free's precondition; no scenario frees null.
        unsafe { alloc::free_inline_flags_first(block) }
    }
}

fn main() -> std::process::ExitCode {
    cli::main::<Rusty>()
}
