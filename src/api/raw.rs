//! The allocator as plain functions, for bindings: what `hakmem-preload` forwards C's names to.
//!
//! Sizes and alignments are in bytes. On failure a function returns null, sets `errno` to `ENOMEM`
//! and changes nothing else. Blocks may be freed by any thread, at any time until the process ends.
//! None of these functions panics or unwinds.

use crate::class::{self, CLASSES, Class, MID_MAX, TINY_MAX};
use crate::segment::registry;
use crate::{cold, hot, lifecycle, os, thread::tls};

/// A block of at least `size` bytes, aligned to 16 (to 8 if `size` is below 16). `size` 0 gives a
/// block, too.
#[inline(always)]
#[must_use]
pub fn malloc(size: usize) -> *mut u8 {
    hot::malloc(size)
}

/// A tiny block if the thread's cache has one at hand. Null means nothing: call [`malloc`]. For
/// bindings that must do something of their own when memory is out and want no frame on the fast
/// path for it.
#[inline(always)]
#[must_use]
pub fn malloc_at_hand(size: usize) -> *mut u8 {
    hot::malloc_at_hand(size)
}

/// Frees a block; null is ignored. Keeps `errno`.
///
/// # Safety
/// `block` is null or a block of this heap that is in use, and is not used afterwards.
#[inline(always)]
pub unsafe fn free(block: *mut u8) {
    // SAFETY: as the caller promised.
    unsafe { hot::free(block) }
}

/// Frees a block of known size: no look at the address is needed.
///
/// # Safety
/// As for [`free`], but `block` is not null, and `malloc(size)` (not `realloc`, not an aligned call)
/// returned it.
#[inline(always)]
pub unsafe fn free_sized(block: *mut u8, size: usize) {
    // SAFETY: as the caller promised.
    unsafe { hot::free_sized(block, size) }
}

/// Frees a block of known size and alignment.
///
/// # Safety
/// As for [`free`], but `block` is not null, and `aligned_alloc(align, size)` returned it.
#[inline]
pub unsafe fn free_sized_aligned(block: *mut u8, align: usize, size: usize) {
    let class = class::aligned_class(size, align);
    // SAFETY: as the caller promised; `aligned_alloc` has chosen the class the same way, and class
    // 0 is looked up by address.
    unsafe { hot::free_class(block, class) }
}

/// A zeroed block for `count` elements of `size` bytes; null if the product overflows.
#[inline]
#[must_use]
pub fn calloc(count: usize, size: usize) -> *mut u8 {
    match count.checked_mul(size) {
        Some(bytes) => zeroed(bytes, 1, || ()),
        None => os::no_memory(),
    }
}

/// A zeroed block of at least `size` bytes at a multiple of `align`. `slow` runs before a slow path.
#[inline]
pub(crate) fn zeroed(size: usize, align: usize, slow: impl FnOnce()) -> *mut u8 {
    let class = if align <= 16 && size <= MID_MAX {
        class::class_of(size.max(align))
    } else {
        class::aligned_class(size, align)
    };
    if class == 0 {
        slow();
        return cold::calloc_large(size, align);
    }
    let block = if size >= os::PAGE {
        // From a page on, a block that was never handed out is worth looking for.
        let block = hot::class_at_hand(class);
        if block.is_null() {
            slow();
            return cold::refill_zeroed(class, size);
        }
        block
    } else {
        hot::malloc_class_or(class, |class| {
            slow();
            cold::refill(class)
        })
    };
    if !block.is_null() {
        // SAFETY: the block is ours and at least `size` bytes long.
        unsafe { block.write_bytes(0, size) };
    }
    block
}

/// A block of at least `size` bytes at a multiple of `align`, which is a power of two.
#[inline]
#[must_use]
pub fn aligned_alloc(align: usize, size: usize) -> *mut u8 {
    debug_assert!(align.is_power_of_two());
    if align <= 8 || (align == 16 && size > 8 && size <= TINY_MAX) {
        return hot::malloc(size);
    }
    let class = class::aligned_class(size, align);
    if class == 0 { cold::malloc_aligned_large(size, align) } else { hot::malloc_class(class) }
}

/// Changes the size of a block, in place where that is possible; contents are kept up to the
/// smaller size. Null: the block is as it was. `block` null: `malloc`. `size` 0 gives a block of the
/// smallest size.
///
/// # Safety
/// As for [`free`]; if the result is not null, `block` is not used afterwards.
pub unsafe fn realloc(block: *mut u8, size: usize) -> *mut u8 {
    if block.is_null() {
        return malloc(size);
    }
    let class = registry::class_at(block);
    let have = CLASSES.get(class).map_or(0, Class::usable);
    if class != 0 {
        // In place unless more than half of it would lie idle.
        if size <= have && (size > have / 2 || have <= 32) {
            return block;
        }
        // SAFETY: as the caller promised.
        return unsafe { move_to(block, have, size) };
    }
    cold::timed_resize(size, || match cold::resize_large(block, size) {
        Some(same) => same,
        // SAFETY: as the caller promised.
        None => unsafe { move_to(block, cold::usable_size(block), size) },
    })
}

/// Moves a block of `have` bytes to a new one of `size` bytes, or gives null and leaves it.
///
/// # Safety
/// `block` is a block of this heap that is in use, and is not used afterwards unless this gives null.
unsafe fn move_to(block: *mut u8, have: usize, size: usize) -> *mut u8 {
    let to = if size > have && size > MID_MAX { cold::malloc_grown(size) } else { malloc(size) };
    if to.is_null() {
        return to;
    }
    // SAFETY: both blocks are at least min(have, size) bytes long and distinct; the old one is the
    // caller's to give back.
    unsafe {
        to.copy_from_nonoverlapping(block, have.min(size));
        hot::free(block);
    }
    to
}

/// Bytes that may be used at `block`, at least what was asked for; 0 for null.
///
/// # Safety
/// `block` is null or a block of this heap that is in use.
#[inline]
#[must_use]
pub unsafe fn usable_size(block: *const u8) -> usize {
    match registry::class_at(block) {
        0 if block.is_null() => 0,
        0 => cold::usable_size(block),
        class => CLASSES.get(class).map_or(0, Class::usable),
    }
}

/// Whether `at` lies in memory of this heap (in use or not). Safe for any value.
#[must_use]
pub fn owns(at: *const u8) -> bool {
    crate::segment::registry::superslab_of(at).is_some()
        || crate::segment::spans::containing(at).is_some()
}

/// Returns free memory to the system at once; what cannot be told apart from live memory stays.
/// `keep` bytes may be kept at the top of the heap (ignored: there is no top). True: something was
/// returned.
pub fn trim(keep: usize) -> bool {
    let _ = keep;
    collect() != 0
}

/// Flushes the caches of the calling thread and of finished threads, and returns every free page.
/// Gives the bytes returned to the system.
pub fn collect() -> usize {
    match tls::current() {
        Some(_) => {
            lifecycle::with_heap(|heap| lifecycle::trim::release_all(Some(heap))).unwrap_or(0)
        }
        None => lifecycle::trim::release_all(None),
    }
}

/// Fills the calling thread's magazines of all tiny classes.
pub fn prewarm() {
    if lifecycle::with_heap(|_| ()).is_some() {
        lifecycle::prewarm();
    }
}

#[cfg(test)]
#[allow(clippy::undocumented_unsafe_blocks)] // The tests own all they touch.
mod tests {
    //! Small enough for Miri, which checks every pointer of what `tests/` does at length.

    use super::*;
    use std::vec::Vec;

    const SIZES: [usize; 12] = [0, 1, 8, 9, 16, 100, 1000, 1024, 1025, 5000, 70_000, 300 << 10];

    /// Whether a block holds `byte` all over; looked at here and there where looking is slow.
    fn holds(at: *const u8, size: usize, byte: u8) -> bool {
        let step = if cfg!(miri) && size > 200 { size / 50 } else { 1 };
        (0..size).step_by(step).all(|offset| unsafe { at.add(offset).read() } == byte)
    }

    #[test]
    fn every_tier_serves_and_takes_back() {
        for _ in 0..2 {
            let blocks: Vec<_> = SIZES
                .iter()
                .map(|&size| {
                    let at = malloc(size);
                    assert!(!at.is_null());
                    assert_eq!(at.addr() % if size < 16 { 8 } else { 16 }, 0);
                    assert!(unsafe { usable_size(at) } >= size && owns(at));
                    unsafe { at.write_bytes(size as u8, size) };
                    (at, size)
                })
                .collect();
            for (at, size) in blocks {
                assert!(holds(at, size, size as u8));
                unsafe { if size % 2 == 0 { free(at) } else { free_sized(at, size) } };
            }
            collect();
        }
    }

    #[test]
    fn zeroed_and_resized_blocks_keep_their_promise() {
        for size in SIZES {
            let at = calloc(1, size);
            assert!(holds(at, size, 0));
            unsafe { at.write_bytes(0x3D, size) };
            let mut at = at;
            // Growing, shrinking and growing again; the first third is never cut.
            for to in [size + 1, size * 2, size / 3, size] {
                at = unsafe { realloc(at, to) };
                assert!(!at.is_null());
                assert!(holds(at, size / 3, 0x3D));
            }
            unsafe { free(at) };
        }
    }

    #[test]
    fn alignment_is_met_in_every_tier() {
        for shift in [0, 3, 4, 5, 8, 12, 16, 18] {
            let align = 1 << shift;
            for size in [1, 100, 3000, 100_000] {
                let at = aligned_alloc(align, size);
                assert_eq!(at.addr() % align, 0, "{size} at {align}");
                unsafe { at.write_bytes(1, size) };
                unsafe { free_sized_aligned(at, align, size) };
            }
        }
    }

    /// A pointer that may go to another thread.
    type Crossing = core::sync::atomic::AtomicPtr<u8>;

    #[test]
    fn blocks_cross_threads_and_outlive_them() {
        let rounds = if cfg!(miri) { 2 } else { 50 };
        for round in 0..rounds {
            let made: Vec<Crossing> = std::thread::spawn(move || {
                (0..60)
                    .map(|n| {
                        let at = malloc(n * 13 + round);
                        unsafe { at.write_bytes(n as u8, n * 13 + round) };
                        Crossing::new(at)
                    })
                    .collect()
            })
            .join()
            .unwrap();
            for (n, at) in made.into_iter().map(Crossing::into_inner).enumerate() {
                assert!(holds(at, n * 13 + round, n as u8));
                unsafe { free(at) };
            }
        }
    }
}
