//! The heap a scenario runs on, reduced to what C programs call.
//!
//! Three implementations exist: [`System`], the C library's names (so that `LD_PRELOAD` can put any
//! allocator behind them), [`Rust`], the program's `#[global_allocator]`, which is told the size of
//! what it frees, and the statically linked hakmem in `bin/linked.rs`. Scenarios are generic over
//! it, so each binary gets its own direct calls.

use core::alloc::Layout;
use core::arch::asm;

/// What a scenario asks of an allocator.
///
/// # Safety
///
/// Implementations promise what the C standard promises for the functions of the same name.
pub unsafe trait Heap: Copy + Send + Sync + 'static {
    /// Whether [`Heap::free`] reads the size: scenarios then remember it, and else do not.
    const SIZED: bool = false;

    /// The alignment of blocks of at least that many bytes; smaller ones have 8.
    const ALIGN: usize = 16;

    /// `size` bytes aligned to [`Heap::ALIGN`], or null.
    fn malloc(size: usize) -> *mut u8;

    /// Moves `block` from `old` to `size` bytes, or returns null and leaves it.
    ///
    /// # Safety
    ///
    /// `block` is null or live, from this heap and of `old` bytes.
    unsafe fn realloc(block: *mut u8, old: usize, size: usize) -> *mut u8;

    /// Gives a block back.
    ///
    /// # Safety
    ///
    /// `block` is live and from this heap, and is not used again; where [`Heap::SIZED`], it has
    /// `size` bytes.
    unsafe fn free(block: *mut u8, size: usize);
}

/// The process's C `malloc` family.
#[derive(Clone, Copy)]
pub struct System;

// SAFETY: forwards to the C functions whose contract the trait repeats.
unsafe impl Heap for System {
    #[inline(always)]
    fn malloc(size: usize) -> *mut u8 {
        // SAFETY: malloc has no precondition.
        unsafe { libc::malloc(size).cast() }
    }

    #[inline(always)]
    unsafe fn realloc(block: *mut u8, _old: usize, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is realloc's precondition.
        unsafe { libc::realloc(block.cast(), size).cast() }
    }

    #[inline(always)]
    unsafe fn free(block: *mut u8, _size: usize) {
        // SAFETY: the caller's promise is free's precondition.
        unsafe { libc::free(block.cast()) }
    }
}

/// The program's global allocator, as `Box` and `Vec` call it: every free knows its size.
#[derive(Clone, Copy)]
pub struct Rust;

impl Rust {
    #[inline(always)]
    fn layout(size: usize) -> Layout {
        // SAFETY: the alignment is a power of two, and no scenario's size is near `isize::MAX`.
        unsafe { Layout::from_size_align_unchecked(size, Self::ALIGN) }
    }
}

// SAFETY: forwards to the global allocator, whose contract covers the trait's for sizes above 0.
unsafe impl Heap for Rust {
    const SIZED: bool = true;
    const ALIGN: usize = 8;

    #[inline(always)]
    fn malloc(size: usize) -> *mut u8 {
        // SAFETY: no scenario asks for 0 bytes.
        unsafe { std::alloc::alloc(Self::layout(size)) }
    }

    #[inline(always)]
    unsafe fn realloc(block: *mut u8, old: usize, size: usize) -> *mut u8 {
        if block.is_null() {
            return Self::malloc(size);
        }
        // SAFETY: the caller's promise; `old` is what the block was allocated with.
        unsafe { std::alloc::realloc(block, Self::layout(old), size) }
    }

    #[inline(always)]
    unsafe fn free(block: *mut u8, size: usize) {
        // SAFETY: the caller's promise, with the size that the trait asks for.
        unsafe { std::alloc::dealloc(block, Self::layout(size)) }
    }
}

/// The byte written at both ends of a block of `size` bytes.
#[inline(always)]
fn mark(size: usize) -> u8 {
    (size ^ (size >> 8)) as u8 ^ 0xa5
}

/// Allocates `size` bytes and writes the first and the last.
///
/// Ends the process when the heap is exhausted: a scenario has no meaning after that.
#[inline(always)]
pub fn take<H: Heap>(size: usize) -> *mut u8 {
    let block = H::malloc(size);
    // SAFETY: null, or allocated just now with `size` bytes.
    unsafe { touch(block, size) };
    block
}

/// Writes the first and last byte of a block, and keeps the compiler from removing either the
/// writes or the allocation.
///
/// # Safety
///
/// `block` is null or live, and has `size` bytes, at least one.
#[inline(always)]
pub unsafe fn touch(block: *mut u8, size: usize) {
    if block.is_null() {
        exhausted(size);
    }
    // SAFETY: the caller's promise; null was sorted out above.
    unsafe {
        block.write(mark(size));
        block.add(size - 1).write(mark(size));
        asm!("/* {0} */", in(reg) block, options(nostack, preserves_flags));
    }
}

/// Frees a block; with `VERIFY`, first checks what [`touch`] wrote.
///
/// # Safety
///
/// `block` is live, from `H`, of `size` bytes (`size` is read with `VERIFY` and by a heap that is
/// [`Heap::SIZED`]), and is not used again.
#[inline(always)]
pub unsafe fn give<H: Heap, const VERIFY: bool>(block: *mut u8, size: usize) {
    if VERIFY {
        // SAFETY: the block is live and has `size` bytes.
        unsafe { check::<H>(block, size) };
    }
    // SAFETY: the caller's promise.
    unsafe { H::free(block, size) }
}

/// Ends the process if a block no longer holds what [`touch`] wrote.
///
/// # Safety
///
/// `block` is live and has `size` bytes.
#[inline(never)]
pub unsafe fn check<H: Heap>(block: *mut u8, size: usize) {
    // SAFETY: the caller's promise.
    let (first, last) = unsafe { (block.read(), block.add(size - 1).read()) };
    if first != mark(size) || last != mark(size) {
        eprintln!(
            "scenario: block {block:p} of {size} bytes holds {first:#04x} and {last:#04x} at its \
             ends, expected {:#04x}: the heap handed it out twice or wrote to it",
            mark(size)
        );
        std::process::abort();
    }
    let align = if size >= H::ALIGN { H::ALIGN } else { 8 };
    if !(block as usize).is_multiple_of(align) {
        eprintln!("scenario: block {block:p} of {size} bytes is not aligned to {align}");
        std::process::abort();
    }
}

#[cold]
#[inline(never)]
fn exhausted(size: usize) -> ! {
    eprintln!("scenario: the heap gave null for {size} bytes; the machine needs more memory");
    std::process::abort();
}
