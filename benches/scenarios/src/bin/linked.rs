//! `hakmem-scenario-linked`: the scenarios on hakmem, compiled in.

use hakmem::{Hakmem, raw};
use hakmem_scenarios::{Heap, cli};

#[global_allocator]
static GLOBAL: Hakmem = Hakmem::new();

#[derive(Clone, Copy)]
struct Linked;

// SAFETY: `hakmem::raw` keeps the contract of the C functions of the same names.
unsafe impl Heap for Linked {
    #[inline(always)]
    fn malloc(size: usize) -> *mut u8 {
        raw::malloc(size)
    }

    #[inline(always)]
    unsafe fn realloc(block: *mut u8, _old: usize, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is realloc's precondition.
        unsafe { raw::realloc(block, size) }
    }

    #[inline(always)]
    unsafe fn free(block: *mut u8, _size: usize) {
        // SAFETY: the caller's promise is free's precondition.
        unsafe { raw::free(block) }
    }
}

fn main() -> std::process::ExitCode {
    cli::main::<Linked>()
}
