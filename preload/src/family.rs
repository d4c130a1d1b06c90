//! The allocation functions that ISO C (up to C23) and POSIX name; `names` exports them.
//!
//! Sizes are in bytes. Unless a function says otherwise: a result is a block that the caller owns
//! until it goes to `free`, `realloc` or a sized free; zero bytes give a block of their own, not
//! null; failure gives null with `errno` set to `ENOMEM` (also for more than `PTRDIFF_MAX`
//! bytes) and changes nothing else.
//!
//! All of them may be called from any thread at any time, before the first constructor and after
//! the last destructor too; none may be called from a signal handler.

use core::ffi::{c_int, c_void};
use core::ptr::null_mut;

use hakmem::raw;

use crate::errno;

/// `malloc(3)`: at least `size` bytes, aligned for any type that fits into them.
#[inline(always)]
pub fn malloc(size: usize) -> *mut c_void {
    raw::malloc(size).cast()
}

/// `free(3)`: gives a block back. Null does nothing; `errno` is kept.
///
/// # Safety
/// `block` is null or was handed out by this library and not yet given back.
#[inline(always)]
pub unsafe fn free(block: *mut c_void) {
    // SAFETY: the caller's promise is the one `raw::free` asks for.
    unsafe { raw::free(block.cast()) }
}

/// `calloc(3)`: `count * size` zeroed bytes; a product that overflows is `ENOMEM`.
#[inline(always)]
pub fn calloc(count: usize, size: usize) -> *mut c_void {
    raw::calloc(count, size).cast()
}

/// `realloc(3)`: a block of `size` bytes that begins with the contents of `block`, in place where
/// that is possible. Null is `malloc(size)`. On failure `block` stays as it is, and the caller's.
///
/// `realloc(block, 0)` frees the block and returns null without touching `errno`, as glibc does
/// (C23 leaves it undefined).
///
/// # Safety
/// As for [`free`].
#[inline(always)]
pub unsafe fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    if size == 0 && !block.is_null() {
        // SAFETY: the caller's promise.
        unsafe { raw::free(block.cast()) };
        return null_mut();
    }
    // SAFETY: the caller's promise.
    unsafe { raw::realloc(block.cast(), size).cast() }
}

/// `reallocarray(3)`: `realloc(block, count * size)`; a product that overflows is `ENOMEM`.
///
/// # Safety
/// As for [`free`].
#[inline(always)]
pub unsafe fn reallocarray(block: *mut c_void, count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: the caller's promise.
        Some(bytes) => unsafe { realloc(block, bytes) },
        None => errno::null(libc::ENOMEM).cast(),
    }
}

/// `aligned_alloc(3)`: `size` bytes at a multiple of `alignment`, which must be a power of two,
/// else null and `EINVAL`. As in C17, `size` need not be a multiple of it.
#[inline(always)]
pub fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    if !alignment.is_power_of_two() {
        return errno::null(libc::EINVAL).cast();
    }
    raw::aligned_alloc(alignment, size).cast()
}

/// `posix_memalign(3)`: stores such a block in `*result` and returns 0; else returns `EINVAL`
/// (the alignment is not a power of two, or less than a pointer's size) or `ENOMEM` and leaves
/// `*result` alone. `errno` is kept either way.
///
/// # Safety
/// `result` can be written.
#[inline(always)]
pub unsafe fn posix_memalign(result: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    // A power of two that is no less than a pointer is a multiple of it.
    if !alignment.is_power_of_two() || alignment < size_of::<*mut c_void>() {
        return libc::EINVAL;
    }
    let block = errno::kept(|| raw::aligned_alloc(alignment, size));
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's promise.
    unsafe { *result = block.cast() };
    0
}

/// `free_sized` and `free_aligned_sized` of C23: `free` by a caller who knows what was asked for.
///
/// The size is not made use of: it is right for what `realloc` returned, too, and `realloc` may
/// leave a block in a class that is larger than the size needs. Nor would it save anything: a block's class
/// is as near as a size's, one byte of a table.
///
/// # Safety
/// As for [`free`].
#[inline(always)]
pub unsafe fn free_sized(block: *mut c_void, _size: usize) {
    // SAFETY: the caller's promise.
    unsafe { raw::free(block.cast()) }
}

/// See [`free_sized`].
///
/// # Safety
/// As for [`free`].
#[inline(always)]
pub unsafe fn free_aligned_sized(block: *mut c_void, _alignment: usize, _size: usize) {
    // SAFETY: the caller's promise.
    unsafe { raw::free(block.cast()) }
}
