//! Where counters live: a [`Tally`] with every heap, and one that all threads share.
//!
//! A [`Handle`] is how the parts of a heap reach its tally. It is not a reference into the heap: other
//! threads read the counters while the heap is borrowed mutably, so a tally lies beside its heap.

use super::gates::{Counters, Gate, SLOTS, TelemetryShared, TinyDebugRing};
use super::ring::Ring;
use crate::base::sync::{AtomicU64, Ordering};
use static_assertions::const_assert;

/// Counters that each heap has of its own.
const OWN: usize = if TelemetryShared::ON { 0 } else { SLOTS };

/// Whether a heap has anything here.
const PRESENT: usize = (OWN != 0 || TinyDebugRing::ON) as usize;

/// What one heap counts and remembers; no bytes when no gate asks for it.
pub(crate) struct Tally {
    counters: [AtomicU64; OWN],
    pub(super) ring: Ring,
}

/// Counters of threads without a heap and of what happens outside of heaps; with `telemetry-shared`,
/// all counters.
static SHARED: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];

// The default build carries no telemetry state at all.
const_assert!(size_of::<Tally>() == 0 || PRESENT == 1);
const_assert!(size_of::<Handle>() == PRESENT * size_of::<usize>());

/// Way to a tally: that of a heap, or the shared one. No bytes when no gate is on.
#[derive(Clone, Copy)]
pub(crate) struct Handle([Option<&'static Tally>; PRESENT]);

/// The shared tally, for whoever has no heap (any more).
pub(crate) const COMMON: Handle = Handle([None; PRESENT]);

impl Tally {
    pub(crate) const fn new() -> Self {
        Tally { counters: [const { AtomicU64::new(0) }; OWN], ring: Ring::new() }
    }

    /// A counter's value.
    pub(crate) fn read<C: Counters>(&self, slot: usize) -> u64 {
        read::<C>(&self.counters, slot)
    }
}

fn read<C: Counters>(counters: &[AtomicU64], slot: usize) -> u64 {
    if C::ON && slot < C::SLOTS {
        counters.get(C::FIRST + slot).map_or(0, |counter| counter.load(Ordering::Relaxed))
    } else {
        0
    }
}

/// A counter's value, summed over the shared tally and those that `each` visits.
pub(crate) fn sum<C: Counters>(
    slot: usize,
    each: impl FnOnce(&mut dyn FnMut(&'static Tally)),
) -> u64 {
    let mut total = read::<C>(&SHARED, slot);
    if OWN != 0 {
        each(&mut |tally| total = total.wrapping_add(tally.read::<C>(slot)));
    }
    total
}

impl Handle {
    /// The way to a heap's tally.
    #[inline(always)]
    pub(crate) fn of(tally: &'static Tally) -> Self {
        Handle([Some(tally); PRESENT])
    }

    /// The heap's tally, if it is one's.
    #[inline(always)]
    pub(super) fn own(self) -> Option<&'static Tally> {
        self.0.first().copied().flatten()
    }

    /// Adds `amount()` to a counter; `amount` runs only if a gate that reads the counter is on.
    #[inline(always)]
    pub(super) fn add<C: Counters>(self, slot: usize, amount: impl FnOnce() -> u64) {
        if C::ON {
            debug_assert!(slot < C::SLOTS);
            match self.own() {
                Some(tally) if OWN != 0 => {
                    // SAFETY: families that are on lie below SLOTS, which is OWN here, and callers
                    // keep to the family's slots.
                    let counter = unsafe { tally.counters.get_unchecked(C::FIRST + slot) };
                    // Only the thread that has the heap (or, on a slow path, its turn) writes: no locked
                    // instruction.
                    let sum = counter.load(Ordering::Relaxed).wrapping_add(amount());
                    counter.store(sum, Ordering::Relaxed);
                }
                _ => {
                    if let Some(counter) = SHARED.get(C::FIRST + slot) {
                        counter.fetch_add(amount(), Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Adds one.
    #[inline(always)]
    pub(super) fn count<C: Counters>(self, slot: usize) {
        self.add::<C>(slot, || 1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::gates::*;
    use super::*;
    use crate::class::FIRST_MID;
    use std::boxed::Box;

    #[test]
    fn a_tally_holds_the_counters_that_are_read_and_nothing_else() {
        let on = |gate: bool, slots: usize| if gate { slots } else { 0 };
        let count = crate::class::COUNT;
        let classes = TinyClassStats::ON;
        let frees = classes || TinyFreeCalls::ON || C7FreeCount::ON;
        let cache = UnifiedCacheMeasure::ON;
        let wanted = on(classes || cache || FrontMetrics::ON, count)
            + on(classes || cache, count)
            + 2 * on(frees, count)
            + on(classes, count)
            + 2 * on(cache, count)
            + 2 * on(TinyFreeStats::ON, count)
            + on(RemoteTargetStats::ON, RemoteQueues::SLOTS)
            + on(FrontMetrics::ON, Served::SLOTS + LayerHits::SLOTS)
            + on(TinyFreeCalls::ON || C7FreeCount::ON, count)
            + on(SuperslabOsStats::ON, SystemCalls::SLOTS)
            + on(PoolHotboxV2Stats::ON, PoolCounters::SLOTS)
            + on(MetricBadClass::ON, 2)
            + on(HdrMetaMismatch::ON, 1)
            + on(HdrMetaFast::ON, 1);
        assert_eq!(SLOTS, wanted);
        assert_eq!(OWN, if TelemetryShared::ON { 0 } else { wanted });
        assert_eq!(size_of::<Tally>(), OWN * size_of::<u64>() + size_of::<Ring>());
        assert_eq!(size_of_val(&SHARED), wanted * size_of::<u64>());
    }

    #[test]
    fn families_do_not_share_counters() {
        let tally: &'static Tally = Box::leak(Box::new(Tally::new()));
        let handle = Handle::of(tally);
        // With one shared set other tests count, too.
        let mut before = [0; 4];
        let read = || {
            [
                sum::<Hits>(1, |visit| visit(tally)),
                sum::<Frees>(FIRST_MID, |visit| visit(tally)),
                sum::<Refilled>(FIRST_MID, |visit| visit(tally)),
                sum::<Overflows>(1, |visit| visit(tally)),
            ]
        };
        if TelemetryShared::ON {
            before = read();
        }
        for _ in 0..3 {
            handle.count::<Hits>(1);
            handle.count::<Frees>(FIRST_MID);
        }
        handle.add::<Refilled>(FIRST_MID, || 7);
        let after = read();
        let wanted =
            [3 * u64::from(Hits::ON), 3 * u64::from(Frees::ON), 7 * u64::from(Refilled::ON), 0];
        for index in 0..4 {
            let counted = after[index] - before[index];
            assert!(
                counted == wanted[index] || TelemetryShared::ON && counted > wanted[index],
                "{index}: {counted}"
            );
        }
        // Beyond a family's own counters there is nothing to read.
        assert_eq!(tally.read::<Hits>(Hits::SLOTS), 0);
    }

    #[test]
    fn what_is_computed_is_computed_only_when_it_is_read() {
        let mut ran = false;
        COMMON.add::<BadClasses>(0, || {
            ran = true;
            0
        });
        assert_eq!(ran, MetricBadClass::ON);
    }
}
