//! Memory on Linux: mappings and their pages, what the process holds of them, what it may hold.
//!
//! Assumes that ranges are the caller's. Promises to leave `errno` alone, but for `no_memory`.

use super::{keeping_errno, read_file};
use crate::base::sync::{AtomicU8, Ordering};
use crate::os::fault::{Kind, refused};
use crate::telemetry::system::Call;
use crate::telemetry::tally::COMMON;
use core::ffi::{c_int, c_void};
use core::ptr::{self, NonNull};

/// Says "out of memory" the way C does. Returns null so that a caller can return it in turn.
#[cold]
pub(crate) fn no_memory() -> *mut u8 {
    // SAFETY: the C library's errno location is valid for the calling thread.
    unsafe { *libc::__errno_location() = libc::ENOMEM };
    ptr::null_mut()
}

const WRITABLE: c_int = libc::PROT_READ | libc::PROT_WRITE;

/// Maps `size` bytes (a multiple of the page size) at a multiple of `align` (a power of two).
pub(crate) fn map(size: usize, align: usize) -> Option<NonNull<u8>> {
    map_aligned(size, align, WRITABLE)
}

/// Takes address space only, as `map` does: to be touched after `make_writable`. Until then it
/// counts as no memory, not even where memory is locked or never overcommitted.
pub(crate) fn reserve(size: usize, align: usize) -> Option<NonNull<u8>> {
    map_aligned(size, align, libc::PROT_NONE)
}

fn map_aligned(size: usize, align: usize, protection: c_int) -> Option<NonNull<u8>> {
    let first = map_raw(size, protection)?;
    if first.as_ptr().addr() & (align - 1) == 0 {
        return Some(first);
    }
    // Not aligned by luck: map what surely holds an aligned part, and give back both ends.
    unmap(first.as_ptr(), size);
    let padded = size.checked_add(align)?;
    let whole = map_raw(padded, protection)?;
    let lead = whole.as_ptr().addr().wrapping_neg() & (align - 1);
    // SAFETY: lead < align, so the aligned part lies inside the padded mapping.
    let aligned = unsafe { whole.as_ptr().add(lead) };
    if lead != 0 {
        unmap(whole.as_ptr(), lead);
    }
    let tail = padded - lead - size;
    if tail != 0 {
        // SAFETY: the tail follows the aligned part inside the padded mapping.
        unmap(unsafe { aligned.add(size) }, tail);
    }
    NonNull::new(aligned)
}

fn map_raw(size: usize, protection: c_int) -> Option<NonNull<u8>> {
    let at = if refused(Kind::Map) {
        libc::MAP_FAILED
    } else {
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no
        // existing memory.
        keeping_errno(|| unsafe {
            libc::mmap(
                ptr::null_mut(),
                size,
                protection,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        })
    };
    COMMON.called(Call::Map, size, at != libc::MAP_FAILED);
    if at == libc::MAP_FAILED { None } else { NonNull::new(at.cast()) }
}

/// Lets a part of a reservation be touched. False: the system refused, nothing has changed.
pub(crate) fn make_writable(at: *mut u8, size: usize) -> bool {
    let done = !refused(Kind::Protect)
        // SAFETY: the caller owns the range, in which nothing lies yet.
        && keeping_errno(|| unsafe { libc::mprotect(at.cast(), size, WRITABLE) }) == 0;
    COMMON.called(Call::Protect, size, done);
    done
}

/// Makes every touch of a range fault, until `make_writable`. False: the system refused.
pub(crate) fn make_inaccessible(at: *mut u8, size: usize) -> bool {
    let done = !refused(Kind::Protect)
        // SAFETY: the caller owns the range, and nobody is to touch it.
        && keeping_errno(|| unsafe { libc::mprotect(at.cast(), size, libc::PROT_NONE) }) == 0;
    COMMON.called(Call::Protect, size, done);
    done
}

/// Gives `[at, at + size)` back. The caller owns it whole and never touches it again.
pub(crate) fn unmap(at: *mut u8, size: usize) {
    let done = !refused(Kind::Unmap)
        // SAFETY: the caller owns the range (contract of this module).
        && keeping_errno(|| unsafe { libc::munmap(at.cast(), size) }) == 0;
    COMMON.called(Call::Unmap, size, done);
    if !done {
        // A hole in a larger mapping, and the process has as many mappings as it may have: the
        // addresses are lost, the memory need not be.
        discard(at, size);
    }
}

/// Changes the size of a mapping; moves it only if `may_move`. `None`: nothing has changed.
pub(crate) fn remap(at: *mut u8, old: usize, new: usize, may_move: bool) -> Option<NonNull<u8>> {
    let flags = if may_move { libc::MREMAP_MAYMOVE } else { 0 };
    let moved = if refused(Kind::Remap) {
        libc::MAP_FAILED
    } else {
        // SAFETY: the caller owns [at, at + old) as one mapping and treats the result as its only
        // address.
        keeping_errno(|| unsafe { libc::mremap(at.cast(), old, new, flags) })
    };
    COMMON.called(Call::Remap, new, moved != libc::MAP_FAILED);
    if moved == libc::MAP_FAILED { None } else { NonNull::new(moved.cast()) }
}

/// Changes the size of a mapping and moves it onto `[to, to + new)`, which the caller owns too and
/// which it replaces. False: the mapping has not changed, and `to` may be gone or not, as the kernel
/// unmaps it before some of its refusals and after others.
pub(crate) fn remap_onto(at: *mut u8, old: usize, new: usize, to: *mut u8) -> bool {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    let moved = if refused(Kind::Remap) {
        // The worse of both for who would still touch the place.
        unmap(to, new);
        libc::MAP_FAILED
    } else {
        // SAFETY: the caller owns both ranges, and treats `to` as the only address from now on.
        keeping_errno(|| unsafe { libc::mremap(at.cast(), old, new, flags, to.cast::<c_void>()) })
    };
    COMMON.called(Call::Remap, new, moved != libc::MAP_FAILED);
    moved != libc::MAP_FAILED
}

/// Returns the pages of a range to the system; they read as zero when next touched. False: the
/// system refused (locked memory, say) and the contents are as they were.
pub(crate) fn discard(at: *mut u8, size: usize) -> bool {
    let done = !refused(Kind::Discard) && advise(at, size, libc::MADV_DONTNEED);
    COMMON.called(Call::Discard, size, done);
    done
}

/// Asks for (or against) huge pages behind a range.
pub(crate) fn advise_huge(at: *mut u8, size: usize, on: bool) {
    let advice = if on { libc::MADV_HUGEPAGE } else { libc::MADV_NOHUGEPAGE };
    let done = !refused(Kind::AdviseHuge) && advise(at, size, advice);
    COMMON.called(Call::AdviseHuge, size, done);
}

/// Whether the system gives mappings huge pages that nobody asked for. It is looked up once.
pub(crate) fn huge_unasked() -> bool {
    /// 0: not looked up; else 1 more than the answer.
    /// Relaxed: whoever sees no answer looks it up again.
    static KNOWN: AtomicU8 = AtomicU8::new(0);
    let mut known = KNOWN.load(Ordering::Relaxed);
    if known == 0 {
        let mut text = [0u8; 64];
        let read = read_file(c"/sys/kernel/mm/transparent_hugepage/enabled", &mut text);
        let text = text.get(..read.unwrap_or(0)).unwrap_or(&[]);
        known = 1 + u8::from(text.starts_with(b"[always]"));
        KNOWN.store(known, Ordering::Relaxed);
    }
    known == 2
}

fn advise(at: *mut u8, size: usize, advice: c_int) -> bool {
    // SAFETY: the caller owns the range; every advice used here keeps it mapped.
    keeping_errno(|| unsafe { libc::madvise(at.cast(), size, advice) }) == 0
}

/// Resident memory of the process in bytes, if the system tells.
pub(crate) fn resident_bytes() -> Option<usize> {
    if refused(Kind::Resident) {
        return None;
    }
    // The second of the numbers in this file, in pages.
    let mut text = [0u8; 128];
    let read = read_file(c"/proc/self/statm", &mut text)?;
    let text = text.get(..read)?;
    let pages = text.split(|&byte| byte == b' ').nth(1)?;
    let pages = core::str::from_utf8(pages).ok()?.parse::<usize>().ok()?;
    // SAFETY: no preconditions.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    pages.checked_mul(page)
}

/// Page faults of the process so far.
pub(crate) fn page_faults() -> u64 {
    let mut usage = core::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: a valid rusage, which all-zero is too.
    let usage = keeping_errno(|| unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    });
    (usage.ru_minflt + usage.ru_majflt) as u64
}

/// Bytes of address space that the process may use (`RLIMIT_AS`), `usize::MAX` if unlimited.
pub(crate) fn address_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let failed = refused(Kind::AddressLimit)
        // SAFETY: `limit` is a valid rlimit.
        || keeping_errno(|| unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) }) != 0;
    if failed || limit.rlim_cur == libc::RLIM_INFINITY {
        usize::MAX
    } else {
        usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
    }
}
