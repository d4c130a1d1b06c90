//! The last events of every heap: gate `tiny-debug-ring`.
//!
//! A ring per heap, written by the thread that has the heap without a locked instruction, read by
//! anyone at any time. The writer publishes the number of events before it overwrites the oldest, so
//! a reader that looks at the number again afterwards knows which entries may have changed under it,
//! and drops them. Events of the tiny tier only.

use super::gates::{Gate, TinyDebugRing};
use super::tally::{Handle, Tally};
use crate::base::clock::cycles;
use crate::base::sync::{AtomicU64, AtomicUsize, Ordering};
use crate::class::FIRST_MID;

/// Events that a ring remembers.
pub(crate) const EVENTS: usize = if cfg!(hakmem_model) {
    2
} else if cfg!(miri) {
    16
} else {
    256
};
const ON: usize = TinyDebugRing::ON as usize;

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Event {
    /// A magazine served an allocation; with the block's address.
    Hit,
    /// A magazine was refilled; with the number of blocks.
    Refill,
    /// A magazine took a freed block; with its address.
    Free,
    /// A magazine was full when a block was freed; with its address.
    Overflow,
    /// Blocks went to a slab of this heap; with their number.
    ToSlab,
    /// Blocks went to a slab of another heap; with their number.
    ToOtherHeap,
}

/// The events, by number, with their names and whether they come with an address.
const ALL: [(Event, &str, bool); 6] = [
    (Event::Hit, "hit", true),
    (Event::Refill, "refill", false),
    (Event::Free, "free", true),
    (Event::Overflow, "overflow", true),
    (Event::ToSlab, "to-slab", false),
    (Event::ToOtherHeap, "to-other-heap", false),
];

/// An event as readers see it.
#[derive(Clone, Copy)]
pub(crate) struct Recorded {
    /// Its number, from 0 on.
    pub(crate) order: u64,
    pub(crate) name: &'static str,
    pub(crate) class: usize,
    /// An address, or a number of blocks.
    pub(crate) what: usize,
    pub(crate) is_address: bool,
    /// Time-stamp cycles, the low 48 bits.
    pub(crate) stamp: u64,
}

struct Entry {
    what: AtomicUsize,
    /// Stamp, class and event, 48, 8 and 8 bits.
    rest: AtomicU64,
}

/// One heap's ring; no bytes when the gate is off.
pub(crate) struct Ring {
    /// Events recorded so far, the one being written included.
    begun: [AtomicU64; ON],
    /// Events that are complete.
    done: [AtomicU64; ON],
    entries: [Entry; EVENTS * ON],
}

impl Ring {
    pub(super) const fn new() -> Self {
        Ring {
            begun: [const { AtomicU64::new(0) }; ON],
            done: [const { AtomicU64::new(0) }; ON],
            entries: [const { Entry { what: AtomicUsize::new(0), rest: AtomicU64::new(0) } };
                EVENTS * ON],
        }
    }

    #[inline]
    fn record(&self, event: Event, class: usize, what: usize) {
        if TinyDebugRing::ON
            && let (Some(begun), Some(done)) = (self.begun.first(), self.done.first())
        {
            // Relaxed: only this thread writes.
            let order = done.load(Ordering::Relaxed);
            let Some(entry) = self.entries.get(order as usize % EVENTS) else { return };
            // Relaxed: what follows releases it.
            begun.store(order + 1, Ordering::Relaxed);
            // Release: a reader that sees a new half sees that its writing had begun.
            entry.what.store(what, Ordering::Release);
            let rest = cycles() << 16 | (class as u64 & 0xFF) << 8 | event as u64;
            entry.rest.store(rest, Ordering::Release);
            // Release: who sees the number sees the entry.
            done.store(order + 1, Ordering::Release);
        }
    }

    /// Calls `visit` for every event that the ring remembers, oldest first.
    pub(crate) fn each(&self, mut visit: impl FnMut(Recorded)) {
        if TinyDebugRing::ON
            && let (Some(begun), Some(done)) = (self.begun.first(), self.done.first())
        {
            // Acquire: pairs with `record`, as do the loads of the entries.
            let end = done.load(Ordering::Acquire);
            for order in end.saturating_sub(EVENTS as u64)..end {
                let Some(entry) = self.entries.get(order as usize % EVENTS) else { return };
                let what = entry.what.load(Ordering::Acquire);
                let rest = entry.rest.load(Ordering::Acquire);
                // Relaxed: what was acquired above orders it.
                let overwritten = begun.load(Ordering::Relaxed) > order + EVENTS as u64;
                let event = ALL.iter().find(|(event, _, _)| *event as u64 == rest & 0xFF);
                if let (false, Some(&(_, name, is_address))) = (overwritten, event) {
                    let class = (rest >> 8 & 0xFF) as usize;
                    visit(Recorded { order, name, class, what, is_address, stamp: rest >> 16 });
                }
            }
        }
    }
}

impl Tally {
    /// The heap's last events.
    pub(crate) fn events(&self) -> &Ring {
        &self.ring
    }
}

impl Handle {
    /// Records an event of a tiny class; `what` runs only if the gate is on.
    #[inline(always)]
    pub(super) fn record(self, event: Event, class: usize, what: impl FnOnce() -> usize) {
        if TinyDebugRing::ON
            && class < FIRST_MID
            && let Some(tally) = self.own()
        {
            tally.ring.record(event, class, what());
        }
    }
}

#[cfg(all(test, hakmem_model))]
mod model;

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::vec::Vec;

    #[test]
    fn it_remembers_the_last_events_in_order() {
        let ring = Box::new(Ring::new());
        for number in 0..EVENTS + 5 {
            ring.record(Event::Free, 1 + number % 30, number);
        }
        let mut seen = Vec::new();
        ring.each(|event| seen.push((event.order as usize, event.what, event.class, event.name)));
        let wanted: Vec<_> = (5..EVENTS + 5)
            .filter(|_| TinyDebugRing::ON)
            .map(|number| (number, number, 1 + number % 30, "free"))
            .collect();
        assert_eq!(seen, wanted);
    }

    #[test]
    fn a_reader_never_sees_half_an_event() {
        let ring = &*Box::leak(Box::new(Ring::new()));
        let rounds = if cfg!(miri) { 200 } else { 200_000 };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..rounds {
                    ring.record(Event::Hit, number % 32, number);
                }
            });
            for _ in 0..if cfg!(miri) { 5 } else { 500 } {
                ring.each(|event| {
                    assert_eq!(event.what as u64, event.order);
                    assert_eq!(event.what % 32, event.class);
                });
            }
        });
    }
}
