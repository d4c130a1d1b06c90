//! The operating-system contract on Linux.
//!
//! | file | what |
//! |---|---|
//! | `memory` | mappings, pages, what the process holds and may hold |
//! | `threads` | sleep and wake, a thread of our own, barriers, the ends of threads, forks |
//! | `process` | clock, randomness, environment, signals, exit |
//! | `files` | the few files that the heap reads and writes |
//!
//! Assumes Linux 2.6 or later and the C library's wrappers. Promises what `os/mod.rs` lists.

mod files;
mod memory;
mod process;
mod threads;

pub(crate) use files::*;
pub(crate) use memory::*;
pub(crate) use process::*;
pub(crate) use threads::*;

/// Runs `call` and puts `errno` back, so that a purge inside `free` is invisible to the program.
#[inline]
fn keeping_errno<R>(call: impl FnOnce() -> R) -> R {
    // SAFETY: the C library's errno location is valid for the calling thread.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    let result = call();
    // SAFETY: as above.
    unsafe { *errno = before };
    result
}
