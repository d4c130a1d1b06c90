//! The counters of one heap.

use super::gates::{
    self, CacheEvent, ClassEvent, Gate, TinyClassStats, TinyFreeCalls, UnifiedCacheMeasure,
};
use crate::base::sync::{AtomicU64, Ordering};
use crate::class;
use static_assertions::const_assert;

/// One counter per slot of every gate that is on; no bytes when none is.
pub(crate) struct Tally {
    slots: [AtomicU64; gates::SLOTS],
}

// The default build carries no telemetry state at all.
const_assert!(
    size_of::<Tally>() == 0 || TinyClassStats::ON || TinyFreeCalls::ON || UnifiedCacheMeasure::ON
);

/// What happens in threads that have no heap (any more).
pub(crate) static HOMELESS: Tally = Tally::new();

impl Tally {
    pub(crate) const fn new() -> Self {
        Tally { slots: [const { AtomicU64::new(0) }; gates::SLOTS] }
    }

    /// Adds `amount()` to a counter of gate `G`; `amount` runs only if the gate is on.
    #[inline(always)]
    fn add<G: Gate>(&self, slot: usize, amount: impl FnOnce() -> u64) {
        if G::ON {
            debug_assert!(slot < G::SLOTS);
            // SAFETY: slots of a gate that is on lie below gates::SLOTS.
            let counter = unsafe { self.slots.get_unchecked(G::FIRST + slot) };
            // Only the thread that has the heap writes: no locked instruction.
            counter.store(counter.load(Ordering::Relaxed) + amount(), Ordering::Relaxed);
        }
    }

    /// A counter's value.
    pub(crate) fn read<G: Gate>(&self, slot: usize) -> u64 {
        if G::ON && slot < G::SLOTS {
            self.slots.get(G::FIRST + slot).map_or(0, |counter| counter.load(Ordering::Relaxed))
        } else {
            0
        }
    }

    /// The magazine served an allocation.
    #[inline(always)]
    pub(crate) fn hit(&self, class: usize) {
        self.class_event(class, ClassEvent::Hit, 1);
        self.cache_event(class, CacheEvent::Hit, || 1);
    }

    /// The magazine was empty; `got` blocks came in.
    #[inline]
    pub(crate) fn refilled(&self, class: usize, got: usize, started: u64) {
        self.class_event(class, ClassEvent::Miss, 1);
        self.class_event(class, ClassEvent::Refilled, got as u64);
        self.cache_event(class, CacheEvent::Miss, || 1);
        self.cache_event(class, CacheEvent::Refill, || u64::from(got != 0));
        self.cache_event(class, CacheEvent::RefillCycles, || cycles().wrapping_sub(started));
    }

    /// The magazine took a freed block.
    #[inline(always)]
    pub(crate) fn freed(&self, class: usize) {
        self.class_event(class, ClassEvent::Free, 1);
        self.tiny_free(class);
    }

    /// The magazine was full when a block was freed.
    #[inline]
    pub(crate) fn overflowed(&self, class: usize) {
        self.class_event(class, ClassEvent::Overflow, 1);
        self.tiny_free(class);
    }

    /// A freed block went straight home, for want of a heap. For [`HOMELESS`], which all threads
    /// share.
    pub(crate) fn gave_back(&self, class: usize) {
        if class < class::FIRST_MID {
            let overflow = group(class) * gates::CLASS_EVENTS + ClassEvent::Overflow as usize;
            self.add_shared::<TinyClassStats>(overflow);
            self.add_shared::<TinyFreeCalls>(0);
        }
    }

    /// Adds one to a counter that several threads write.
    fn add_shared<G: Gate>(&self, slot: usize) {
        if G::ON
            && let Some(counter) = self.slots.get(G::FIRST + slot)
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The start of a measured refill; costs nothing unless it is measured.
    #[inline(always)]
    pub(crate) fn start(&self) -> u64 {
        if UnifiedCacheMeasure::ON { cycles() } else { 0 }
    }

    #[inline(always)]
    fn tiny_free(&self, class: usize) {
        if TinyFreeCalls::ON && class < class::FIRST_MID {
            self.add::<TinyFreeCalls>(0, || 1);
        }
    }

    #[inline(always)]
    fn class_event(&self, class: usize, event: ClassEvent, amount: u64) {
        if TinyClassStats::ON && class < class::FIRST_MID {
            self.add::<TinyClassStats>(group(class) * gates::CLASS_EVENTS + event as usize, || {
                amount
            });
        }
    }

    #[inline(always)]
    fn cache_event(&self, class: usize, event: CacheEvent, amount: impl FnOnce() -> u64) {
        if UnifiedCacheMeasure::ON {
            self.add::<UnifiedCacheMeasure>(
                group(class) * gates::CACHE_EVENTS + event as usize,
                amount,
            );
        }
    }
}

/// The group of a class, with the mid tier as one more.
#[inline(always)]
fn group(class: usize) -> usize {
    const GROUP: [u8; class::COUNT] = {
        let mut table = [class::GROUPS as u8; class::COUNT];
        let mut class = 1;
        while class < class::FIRST_MID {
            table[class] = class::group_of(class) as u8;
            class += 1;
        }
        table
    };
    // SAFETY: classes are below COUNT wherever they come from.
    unsafe { *GROUP.get_unchecked(class) as usize }
}

/// A clock of the processor.
fn cycles() -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: every x86-64 processor has the time-stamp counter.
    return unsafe { core::arch::x86_64::_rdtsc() };
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    return crate::os::now_ms() * 1_000_000;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_holds_the_counters_of_the_gates_that_are_on_and_nothing_else() {
        fn slots<G: Gate>() -> usize {
            if G::ON { G::SLOTS } else { 0 }
        }
        let wanted =
            slots::<TinyClassStats>() + slots::<TinyFreeCalls>() + slots::<UnifiedCacheMeasure>();
        assert_eq!(size_of::<Tally>(), wanted * size_of::<u64>());
    }

    #[test]
    fn gates_that_are_on_do_not_share_counters() {
        let tally = Tally::new();
        tally.hit(1);
        tally.refilled(class::FIRST_MID, 7, 0);
        for class in [1, class::FIRST_MID - 1, class::FIRST_MID] {
            tally.freed(class);
            tally.overflowed(class);
            tally.gave_back(class);
        }
        let free_calls = tally.read::<TinyFreeCalls>(0);
        assert_eq!(free_calls, if TinyFreeCalls::ON { 6 } else { 0 });
        let frees = |event: ClassEvent| {
            (0..class::GROUPS)
                .map(|group| {
                    tally.read::<TinyClassStats>(group * gates::CLASS_EVENTS + event as usize)
                })
                .sum::<u64>()
        };
        let on = u64::from(TinyClassStats::ON);
        assert_eq!(frees(ClassEvent::Hit), on);
        assert_eq!(frees(ClassEvent::Free), 2 * on);
        assert_eq!(frees(ClassEvent::Overflow), 4 * on);
        assert_eq!(frees(ClassEvent::Refilled), 0);
        let mid = class::GROUPS * gates::CACHE_EVENTS;
        let on = u64::from(UnifiedCacheMeasure::ON);
        assert_eq!(tally.read::<UnifiedCacheMeasure>(CacheEvent::Hit as usize), on);
        assert_eq!(tally.read::<UnifiedCacheMeasure>(mid + CacheEvent::Refill as usize), on);
        // Beyond a gate's own counters there is nothing to read.
        assert_eq!(tally.read::<TinyFreeCalls>(1), 0);
    }
}
