//! Tripwires: how a thread that has dropped much and now does little comes by the clock.
//!
//! Memory goes back at ticks, and ticks come with slow paths; but a program that has freed its heap and
//! from then on only turns over a few blocks finds them in its magazines, and never takes a slow path
//! again. A wire is a null in a magazine, right above the blocks that lie there. Pushes go on above it
//! and notice nothing. The pop that comes down to it takes it for the bottom and goes to the refill,
//! which takes the wire out, serves the pop from below, looks at the clock, and may lay it anew. So the
//! fast path has no instruction for it.
//!
//! Invariant: with a wire at slot `w != 0`, that slot is null, and blocks lie in 1..w and w + 1..top;
//! otherwise there is no null in 1..top. Whatever moves blocks by number takes the wire out first.
//! `thread::restless` says when there is a reason for wires.

use super::{Slot, UnifiedCache};
use crate::base::sync::Ordering;
use core::ptr;

impl UnifiedCache {
    /// Index of the slot that the top points at.
    fn top_slot(&self, class: usize, storage: *mut Slot) -> usize {
        (self.top(class).load(Ordering::Relaxed).addr() - storage.addr()) / size_of::<Slot>()
    }

    /// Lays the wire of `class` above all of its blocks, wherever it lay before; without a block, or
    /// without room, there is none.
    pub(crate) fn lay_wire(&mut self, class: usize) {
        self.cut_wire(class);
        let storage = self.state(class).storage;
        if storage.is_null() {
            return;
        }
        let at = self.top_slot(class, storage);
        let top = self.top(class).load(Ordering::Relaxed);
        if at == 1 || top == self.limit(class).get() {
            return;
        }
        // SAFETY: below the limit, so inside the storage, and no block lies there.
        unsafe { *top = ptr::null_mut() };
        self.top(class).store(top.wrapping_add(1), Ordering::Relaxed);
        self.state(class).wire = at as u32;
    }

    /// Takes the wire of `class` out, wherever it lies: the newest block takes its slot.
    pub(super) fn cut_wire(&mut self, class: usize) {
        let state = self.state(class);
        let (storage, wire) = (state.storage, core::mem::replace(&mut state.wire, 0) as usize);
        if wire == 0 {
            return;
        }
        let top = self.top(class).load(Ordering::Relaxed).wrapping_sub(1);
        // SAFETY: the wire lies in 1..top, and the slot below the top holds a block or is the wire's.
        unsafe { *storage.add(wire) = *top };
        self.top(class).store(top, Ordering::Relaxed);
    }

    /// Whether a pop of `class` that found nothing has come down to a wire, which is gone then.
    pub(crate) fn trip(&mut self, class: usize) -> bool {
        let Some(state) = self.states.get(class) else { return false };
        if state.wire == 0 || self.top_slot(class, state.storage) != state.wire as usize + 1 {
            return false;
        }
        self.cut_wire(class);
        true
    }
}

#[cfg(test)]
#[allow(clippy::undocumented_unsafe_blocks)] // The tests own all they touch.
mod tests {
    use super::super::tests::fake;
    use super::*;
    use crate::class;
    use std::boxed::Box;

    const CLASS: usize = class::FIRST_MID - 1;

    /// A magazine with blocks `0..count`.
    fn filled(count: usize) -> Box<UnifiedCache> {
        let mut cache = Box::new(UnifiedCache::new());
        assert!(cache.begin_overflow(CLASS).is_none());
        for n in 0..count {
            assert!(cache.push(CLASS, fake(n)));
        }
        cache
    }

    fn blocks(cache: &UnifiedCache) -> std::vec::Vec<*mut u8> {
        let mut found = std::vec::Vec::new();
        cache.each_block(CLASS, |block| found.push(block));
        found
    }

    #[test]
    fn pops_stop_at_the_wire_and_pushes_do_not() {
        let mut cache = filled(3);
        cache.lay_wire(CLASS);
        cache.lay_wire(CLASS);
        assert!(cache.push(CLASS, fake(3)));
        assert_eq!(cache.level(CLASS), 4);
        assert!(!cache.trip(CLASS), "a block lies above it");
        assert_eq!(cache.pop(CLASS), fake(3));
        assert!(cache.pop(CLASS).is_null());
        assert!(cache.trip(CLASS));
        assert!(!cache.trip(CLASS));
        for n in (0..3).rev() {
            assert_eq!(cache.pop(CLASS), fake(n));
        }
        assert!(cache.pop(CLASS).is_null());
        assert!(!cache.trip(CLASS), "it is empty in truth");
    }

    #[test]
    fn an_empty_magazine_and_a_full_one_get_none() {
        let mut cache = filled(0);
        cache.lay_wire(CLASS);
        assert!(!cache.trip(CLASS));
        let mut cache = Box::new(UnifiedCache::new());
        cache.lay_wire(CLASS);
        assert!(!cache.push(CLASS, fake(0)), "without storage it stays closed");
        let mut cache = filled(class::CLASSES[CLASS].magazine_start as usize);
        cache.lay_wire(CLASS);
        assert!(!cache.pop(CLASS).is_null());
    }

    #[test]
    fn every_block_is_seen_and_leaves_once() {
        let capacity = class::CLASSES[CLASS].magazine_start as usize;
        let mut cache = filled(capacity / 2);
        cache.lay_wire(CLASS);
        let mut count = capacity / 2;
        while cache.push(CLASS, fake(count)) {
            count += 1;
        }
        assert_eq!(count, capacity - 1, "the wire takes a place");
        assert_eq!((cache.level(CLASS), blocks(&cache).len()), (count, count));
        let (oldest, leaving) = cache.begin_overflow(CLASS).unwrap();
        let mut left: std::vec::Vec<_> = (0..leaving).map(|n| unsafe { *oldest.add(n) }).collect();
        cache.end_overflow(CLASS, leaving);
        cache.lay_wire(CLASS);
        let (oldest, more) = cache.excess(CLASS, 2).unwrap();
        left.extend((0..more).map(|n| unsafe { *oldest.add(n) }));
        cache.end_overflow(CLASS, more);
        left.extend(blocks(&cache));
        left.sort();
        assert!(left.iter().copied().eq((0..count).map(fake)));
    }

    #[test]
    fn growing_and_shrinking_keep_blocks_and_lose_the_wire() {
        let mut cache = filled(4);
        cache.lay_wire(CLASS);
        assert!(cache.push(CLASS, fake(4)));
        let more = cache.states[CLASS].capacity * 3;
        cache.set_capacity(CLASS, more);
        assert_eq!(cache.level(CLASS), 5);
        cache.lay_wire(CLASS);
        for _ in 0..3 {
            cache.decay(CLASS);
        }
        let mut left = std::vec::Vec::new();
        while cache.level(CLASS) != 0 {
            match cache.pop(CLASS) {
                block if block.is_null() => assert!(cache.trip(CLASS)),
                block => left.push(block),
            }
        }
        left.sort();
        assert!(left.iter().copied().eq((0..5).map(fake)));
    }
}
