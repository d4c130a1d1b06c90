//! The calling thread's `errno`: set, and kept across a call.
//!
//! Assumes a C library whose `errno` is reached through `__errno_location` (glibc, musl).

/// Stores `code` for the caller to find.
#[cold]
pub fn set(code: i32) {
    // SAFETY: the C library returns the address of this thread's errno, valid for the thread's
    // whole life.
    unsafe { *libc::__errno_location() = code }
}

/// The current value.
pub fn get() -> i32 {
    // SAFETY: as in `set`.
    unsafe { *libc::__errno_location() }
}

/// Runs `work` and puts `errno` back to what it was.
pub fn kept<T>(work: impl FnOnce() -> T) -> T {
    let before = get();
    let result = work();
    set(before);
    result
}

/// For a C function that reports failure as a null pointer and an error code.
#[cold]
pub fn null(code: i32) -> *mut u8 {
    set(code);
    core::ptr::null_mut()
}
