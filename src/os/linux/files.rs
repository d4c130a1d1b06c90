//! Files on Linux: standard error, what is read at a look, what is written whole.
//!
//! Assumes nothing. Promises to allocate nothing, and to leave `errno` alone.

use super::keeping_errno;
use core::ffi::{CStr, c_int, c_void};

/// Writes to standard error, as one call unless the kernel splits it.
pub(crate) fn write_stderr(bytes: &[u8]) {
    write_fd(2, bytes);
}

/// Writes all of `bytes` to a file descriptor; gives up at the first error.
pub(crate) fn write_fd(fd: c_int, mut bytes: &[u8]) {
    keeping_errno(|| {
        while !bytes.is_empty() {
            // SAFETY: the buffer is valid for its length.
            let wrote = unsafe { libc::write(fd, bytes.as_ptr().cast::<c_void>(), bytes.len()) };
            match usize::try_from(wrote) {
                Ok(0) | Err(_) => break,
                Ok(count) => bytes = bytes.get(count..).unwrap_or(&[]),
            }
        }
    });
}

/// Reads the start of a file into a buffer. `None`: it can't be opened or read.
pub(crate) fn read_file(path: &CStr, into: &mut [u8]) -> Option<usize> {
    keeping_errno(|| {
        // SAFETY: a C string; the descriptor is ours.
        let file = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        if file < 0 {
            return None;
        }
        let mut used = 0;
        let complete = loop {
            let rest = into.get_mut(used..).unwrap_or(&mut []);
            // SAFETY: the buffer is valid for its length.
            let read = unsafe { libc::read(file, rest.as_mut_ptr().cast(), rest.len()) };
            match usize::try_from(read) {
                Ok(0) => break true,
                Ok(count) => used += count,
                Err(_) => break false,
            }
        };
        // SAFETY: ours, and used no more.
        unsafe { libc::close(file) };
        complete.then_some(used)
    })
}

/// Writes a file under a temporary name (in the same folder) and gives it its own when all of it is
/// there. False: it could not, and what was there before still is.
pub(crate) fn replace_file(path: &CStr, temporary: &CStr, bytes: &[u8]) -> bool {
    keeping_errno(|| {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
        // SAFETY: C strings; the descriptor is ours; the buffer is valid for its length.
        unsafe {
            let file = libc::open(temporary.as_ptr(), flags, 0o644);
            if file < 0 {
                return false;
            }
            // A few hundred bytes: what a file system can't take at once it can't take.
            let wrote = libc::write(file, bytes.as_ptr().cast(), bytes.len());
            let whole = usize::try_from(wrote) == Ok(bytes.len());
            let done = libc::close(file) == 0
                && whole
                && libc::rename(temporary.as_ptr(), path.as_ptr()) == 0;
            if !done {
                libc::unlink(temporary.as_ptr());
            }
            done
        }
    })
}
