//! Tables of a scenario's own, mapped outside the heap under test so that they neither warm nor
//! fill it.

use core::ops::{Deref, DerefMut};

/// A zero-filled array in its own mapping.
///
/// Entries are not dropped: use it for plain values.
pub struct Table<T> {
    start: *mut T,
    len: usize,
}

// SAFETY: the table owns its mapping as a `Vec` owns its buffer.
unsafe impl<T: Send> Send for Table<T> {}

impl<T> Table<T> {
    /// `len` zero-filled entries, already backed by memory.
    ///
    /// # Safety
    ///
    /// All-zero bytes are a valid `T`.
    pub unsafe fn zeroed(len: usize) -> Self {
        let bytes = (len * size_of::<T>()).max(1);
        // SAFETY: a fresh private mapping; the result is checked.
        let start = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            eprintln!("scenario: no {bytes} bytes for a table; the machine needs more memory");
            std::process::abort();
        }
        Self { start: start.cast(), len }
    }
}

impl<T> Deref for Table<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `len` valid entries for as long as `self` lives.
        unsafe { core::slice::from_raw_parts(self.start, self.len) }
    }
}

impl<T> DerefMut for Table<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        // SAFETY: start and length are those of the mapping, and nothing borrows it any more.
        unsafe { libc::munmap(self.start.cast(), (self.len * size_of::<T>()).max(1)) };
    }
}
