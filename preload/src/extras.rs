//! What glibc adds to the family: the old aligned allocations, the size query and `malloc_trim`;
//! `names` exports them. The contract of `family` holds here too.

use core::ffi::{c_int, c_void};

use hakmem::raw;

use crate::errno;

/// glibc's `MALLOC_ALIGNMENT`: what every block gets, asked for or not.
const NATURAL_ALIGNMENT: usize = 16;

/// The system's page size in bytes; a power of two.
fn page_size() -> usize {
    // SAFETY: no preconditions; a small table look-up in the C library.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// `memalign(3)`: `size` bytes at a multiple of `alignment`. As in glibc, an alignment that is
/// not a power of two is rounded up to one (old programs pass 0, 3 or 24); beyond the largest
/// power of two it is `EINVAL`.
#[inline(always)]
pub fn memalign(alignment: usize, size: usize) -> *mut c_void {
    if alignment <= NATURAL_ALIGNMENT {
        return raw::aligned_alloc(NATURAL_ALIGNMENT, size).cast();
    }
    match alignment.checked_next_power_of_two() {
        Some(alignment) => raw::aligned_alloc(alignment, size).cast(),
        None => errno::null(libc::EINVAL).cast(),
    }
}

/// `valloc(3)`: `size` bytes at the start of a page.
#[inline(always)]
pub fn valloc(size: usize) -> *mut c_void {
    raw::aligned_alloc(page_size(), size).cast()
}

/// `pvalloc(3)`: whole pages that hold at least `size` bytes, and at least one page.
#[inline(always)]
pub fn pvalloc(size: usize) -> *mut c_void {
    let page = page_size();
    match size.max(1).checked_next_multiple_of(page) {
        Some(bytes) => raw::aligned_alloc(page, bytes).cast(),
        None => errno::null(libc::ENOMEM).cast(),
    }
}

/// `malloc_usable_size(3)`: how many bytes the block really has, all of which may be used; 0 for
/// null.
///
/// # Safety
/// As for `free`.
#[inline(always)]
pub unsafe fn malloc_usable_size(block: *mut c_void) -> usize {
    if block.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise; the block is not null.
    unsafe { raw::usable_size(block.cast_const().cast()) }
}

/// `malloc_trim(3)`: gives unused memory back to the system, but keeps `keep` bytes of it for
/// later. 1 if anything was given back, else 0.
#[inline(always)]
pub fn malloc_trim(keep: usize) -> c_int {
    c_int::from(errno::kept(|| raw::trim(keep)))
}
