//! A mutual-exclusion lock of four bytes: spins briefly, then sleeps in the kernel.
//!
//! After Ulrich Drepper, "Futexes Are Tricky", mutex 2. States: 0 free, 1 held, 2 held with
//! sleepers. The order in which locks may nest is written in `lifecycle/fork.rs`, which takes them
//! all.

use crate::base::Guarded;
use crate::base::sync::{AtomicU32, Ordering, spin_loop};
use core::ops::{Deref, DerefMut};

/// Looks before a thread goes to sleep; one under a model checker, which tries every order.
const SPINS: u32 = if cfg!(hakmem_model) { 1 } else { 100 };

/// A value behind a lock. Const-constructible, never poisoned, no destructor.
pub(crate) struct Lock<T> {
    state: AtomicU32,
    value: Guarded<T>,
}

/// Holding this is holding the lock.
pub(crate) struct LockGuard<'a, T> {
    lock: &'a Lock<T>,
}

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Lock { state: AtomicU32::new(0), value: Guarded::new(value) }
    }

    /// Takes the lock, waiting for it if need be.
    #[inline]
    pub(crate) fn lock(&self) -> LockGuard<'_, T> {
        self.acquire();
        LockGuard { lock: self }
    }

    /// Takes the lock if it is free or soon will be. For a signal's handler, whose own thread may hold
    /// it and would wait for ever.
    pub(crate) fn try_lock(&self) -> Option<LockGuard<'_, T>> {
        for _ in 0..10 * SPINS {
            // Acquire: as in `acquire`, what the last holder wrote is seen.
            if self.state.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Some(LockGuard { lock: self });
            }
            spin_loop();
        }
        None
    }

    /// Takes the lock without a guard; for `fork` handlers, which release it in another function.
    pub(crate) fn acquire(&self) {
        // Acquire: what the last holder wrote is seen.
        if self.state.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.acquire_slow();
        }
    }

    #[cold]
    fn acquire_slow(&self) {
        for _ in 0..SPINS {
            // Relaxed: a look that leaves the line shared; the exchange decides.
            // Acquire: as in `acquire`, what the last holder wrote is seen.
            if self.state.load(Ordering::Relaxed) == 0
                && self.state.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return;
            }
            spin_loop();
        }
        // Acquire: as in `acquire`. 2, because we can't know whether others sleep.
        while self.state.swap(2, Ordering::Acquire) != 0 {
            super::wait(&self.state, 2);
        }
    }

    /// Releases the lock.
    ///
    /// # Safety
    /// The caller holds it and uses the value no more.
    pub(crate) unsafe fn release(&self) {
        // Release: what we wrote is seen by the next holder.
        if self.state.swap(0, Ordering::Release) == 2 {
            super::wake(&self.state);
        }
    }

    /// Puts the lock into the free state; for the child of a `fork`, whose only thread held it.
    ///
    /// # Safety
    /// No other thread exists.
    pub(crate) unsafe fn reset(&self) {
        // Relaxed: there is no other thread to order with.
        self.state.store(0, Ordering::Relaxed);
    }
}

impl<T> Deref for LockGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard's existence is the lock being held.
        unsafe { self.lock.value.get_mut() }
    }
}

impl<T> DerefMut for LockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed mutably.
        unsafe { self.lock.value.get_mut() }
    }
}

impl<T> Drop for LockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the guard held the lock and is gone now.
        unsafe { self.lock.release() };
    }
}

#[cfg(all(test, hakmem_model))]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trying_does_not_wait() {
        static VALUE: Lock<u64> = Lock::new(5);
        let held = VALUE.try_lock();
        assert_eq!(held.as_deref(), Some(&5));
        assert!(VALUE.try_lock().is_none());
        drop(held);
        assert!(VALUE.try_lock().is_some());
    }

    #[test]
    fn counts_exactly_under_contention() {
        static TOTAL: Lock<u64> = Lock::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        *TOTAL.lock() += 1;
                    }
                });
            }
        });
        assert_eq!(*TOTAL.lock(), 40_000);
    }
}
