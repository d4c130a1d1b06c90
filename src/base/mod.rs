//! Arithmetic and cells that everything else is written in.
//!
//! Assumes nothing. Promises: no function here allocates, panics or unwinds in a release build.

pub(crate) mod clock;
pub(crate) mod queue;
pub(crate) mod sync;

use core::cell::UnsafeCell;

/// Rounds `value` up to a multiple of `align` (a power of two), or `None` on overflow.
#[inline(always)]
pub(crate) const fn align_up(value: usize, align: usize) -> Option<usize> {
    debug_assert!(align.is_power_of_two());
    match value.checked_add(align - 1) {
        Some(sum) => Some(sum & !(align - 1)),
        None => None,
    }
}

/// Rounds `value` down to a multiple of `align` (a power of two).
#[inline(always)]
pub(crate) const fn align_down(value: usize, align: usize) -> usize {
    value & !(align - 1)
}

/// A mask of `count` bits from bit `from` on; `from + count <= 64`.
#[inline(always)]
pub(crate) const fn bit_range(from: u32, count: u32) -> u64 {
    debug_assert!(from + count <= 64);
    if count == 0 { 0 } else { (u64::MAX >> (64 - count)) << from }
}

/// Time that has passed from `then` to `now` on a clock that wraps. A stamp that another thread has
/// made since `now` was read is no time ago, not an age.
#[inline]
pub(crate) const fn elapsed(now: u32, then: u32) -> u32 {
    let passed = now.wrapping_sub(then);
    if passed > u32::MAX / 2 { 0 } else { passed }
}

/// A value that is only ever read or written while a lock named in its declaration is held, or by
/// one thread that owns the structure it is part of.
///
/// It is `Cell` made `Sync`: the discipline is the declaration's, not the compiler's, so `get` and
/// `set` are unsafe.
#[repr(transparent)]
pub(crate) struct Guarded<T>(UnsafeCell<T>);

// SAFETY: every access goes through unsafe functions whose contract is exclusive access.
unsafe impl<T> Sync for Guarded<T> {}
// SAFETY: as above; the value itself is plain data or pointers into memory that is never freed.
unsafe impl<T> Send for Guarded<T> {}

impl<T> Guarded<T> {
    pub(crate) const fn new(value: T) -> Self {
        Guarded(UnsafeCell::new(value))
    }

    /// # Safety
    /// The caller holds the lock that guards this value for as long as the reference lives, and
    /// makes no second reference meanwhile.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn get_mut(&self) -> &mut T {
        sync::written(self);
        // SAFETY: exclusive by the caller's contract.
        unsafe { &mut *self.0.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding() {
        assert_eq!(align_up(0, 16), Some(0));
        assert_eq!(align_up(1, 16), Some(16));
        assert_eq!(align_up(usize::MAX - 3, 16), None);
        assert_eq!(align_down(31, 16), 16);
    }

    #[test]
    fn time_that_has_passed() {
        assert_eq!(elapsed(150, 100), 50);
        assert_eq!(elapsed(40, u32::MAX - 9), 50);
        assert_eq!(elapsed(100, 104), 0);
    }

    #[test]
    fn ranges_of_bits() {
        assert_eq!(bit_range(0, 0), 0);
        assert_eq!(bit_range(0, 64), u64::MAX);
        assert_eq!(bit_range(3, 2), 0b11000);
        assert_eq!(bit_range(63, 1), 1 << 63);
    }
}
