//! Mappings between guard pages: metadata and large blocks, with the gate `hardened`.
//!
//! A run over the end of such a mapping faults instead of reaching a neighbour. What is freed is
//! sealed: emptied, and any touch of it faults until it is handed out again. Without the gate a
//! mapping is a mapping, and nothing is sealed.
//!
//! Assumes that whoever maps here unmaps here, whole. Promises the same as `os::map` and `os::unmap`.
//! Each guard splits a mapping of the kernel's; when those run out (65,530 by default), the system
//! refuses, and the caller falls back or reports that there is no memory.

use crate::class::HARDENED;
use crate::os::{self, PAGE};
use core::ptr::NonNull;

/// Bytes of the guard on either side.
const GUARD: usize = if HARDENED { PAGE } else { 0 };

/// Fresh zeroed memory of `size` bytes (a multiple of the page size) at a multiple of `align`,
/// guarded on both sides.
pub(crate) fn map(size: usize, align: usize) -> Option<NonNull<u8>> {
    if !HARDENED {
        return os::map(size, align);
    }
    let align = align.max(PAGE);
    let whole = size.checked_add(align)?.checked_add(GUARD)?;
    let start = os::reserve(whole, align)?;
    // SAFETY: `align` bytes, guard included, lie before the memory in the reservation.
    let at = unsafe { start.add(align) };
    if align != GUARD {
        os::unmap(start.as_ptr(), align - GUARD);
    }
    if os::make_writable(at.as_ptr(), size) {
        return Some(at);
    }
    unmap(at.as_ptr(), size);
    None
}

/// Gives back what [`map`] gave, guards included.
pub(crate) fn unmap(at: *mut u8, size: usize) {
    os::unmap(at.wrapping_sub(GUARD), size + 2 * GUARD);
}

/// A freed large block goes into a cache: its contents go, and it can't be touched.
pub(crate) fn seal(at: *mut u8, size: usize) {
    if HARDENED {
        clear(at, size);
        os::make_inaccessible(at, size);
    }
}

/// A sealed block is handed out again. False: the system refused.
pub(crate) fn unseal(at: *mut u8, size: usize) -> bool {
    !HARDENED || os::make_writable(at, size)
}

/// Makes a range of ours read as zero: by giving its pages back, or byte by byte where the system
/// keeps them (locked memory).
pub(crate) fn clear(at: *mut u8, size: usize) {
    if !os::discard(at, size) {
        // SAFETY: the caller owns the range, which is writable.
        unsafe { at.write_bytes(0, size) };
    }
}

#[cfg(test)]
#[allow(clippy::undocumented_unsafe_blocks)] // The tests own all they touch.
mod tests {
    use super::*;

    #[test]
    fn a_guarded_mapping_is_aligned_zeroed_and_whole() {
        for align in [1, PAGE, 1 << 16, 1 << 21] {
            let size = 3 * PAGE;
            let at = map(size, align).unwrap();
            assert_eq!(at.as_ptr().addr() % align, 0);
            let bytes = unsafe { core::slice::from_raw_parts_mut(at.as_ptr(), size) };
            assert!(bytes.iter().all(|&byte| byte == 0));
            bytes.fill(1);
            seal(at.as_ptr(), size);
            assert!(unseal(at.as_ptr(), size));
            let first = unsafe { at.as_ptr().read() };
            assert_eq!(first, if HARDENED { 0 } else { 1 });
            unmap(at.as_ptr(), size);
        }
    }
}
