//! What happens at the magazines: gates `tiny-class-stats`, `tiny-free-calls`, `c7-free-count` and
//! `unified-cache-measure`; and the calls that the trace and the ring hear of.
//!
//! Every event is counted once, by class; what a gate reports is a sum over some of the classes.

use super::gates::{
    Counters, Frees, Gate, Hits, Misses, Overflows, RefillCycles, Refilled, Refills, TinyFreeTrace,
};
use super::ring::Event;
use super::tally::Handle;
use super::trace;
use crate::base::clock::cycles;
use crate::class::FIRST_MID;

impl Handle {
    /// The magazine of `class` served an allocation with `block`.
    #[inline(always)]
    pub(crate) fn hit(self, class: usize, block: *const u8) {
        self.count::<Hits>(class);
        self.record(Event::Hit, class, || block.addr());
    }

    /// It was empty; `got` blocks came in.
    #[inline]
    pub(crate) fn refilled(self, class: usize, got: usize, started: u64) {
        self.count::<Misses>(class);
        self.add::<Refilled>(class, || got as u64);
        self.add::<Refills>(class, || u64::from(got != 0));
        self.add::<RefillCycles>(class, || cycles().wrapping_sub(started));
        self.record(Event::Refill, class, || got);
    }

    /// It took a freed block.
    #[inline(always)]
    pub(crate) fn freed(self, class: usize, block: *const u8) {
        self.count::<Frees>(class);
        self.record(Event::Free, class, || block.addr());
        traced(class, block);
    }

    /// It was full when a block was freed.
    #[inline]
    pub(crate) fn overflowed(self, class: usize, block: *const u8) {
        self.count::<Overflows>(class);
        self.record(Event::Overflow, class, || block.addr());
        traced(class, block);
    }

    /// The start of a measured refill; costs nothing unless it is measured.
    #[inline(always)]
    pub(crate) fn start(self) -> u64 {
        if RefillCycles::ON { cycles() } else { 0 }
    }
}

#[inline(always)]
pub(super) fn traced(class: usize, block: *const u8) {
    if TinyFreeTrace::ON && class < FIRST_MID && trace::wants_more() {
        trace::record(class, block);
    }
}
