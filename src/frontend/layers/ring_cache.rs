//! Ring Cache: a ring of blocks per class that gives them back in the order in which they came, for
//! 32, 48, 64 and 144 to 256 bytes.
//!
//! The idea: what was freed longest ago is reused first, so that blocks of one size go round and keep
//! their order in memory. The price is that the block reused is the coldest one, where an array would
//! give the warmest.

use crate::frontend::layer::{ClassMask, FrontendLayer, Slot};
use crate::frontend::magazine::UnifiedCache;
use core::cell::Cell;
use core::ptr;

pub(crate) const ON: bool = cfg!(feature = "ring-cache");

const CLASSES: ClassMask = ClassMask::groups(&[2, 3, 5]);
const RINGS: usize = CLASSES.last() - CLASSES.first() + 1;
/// Blocks of a ring; a power of two.
const BLOCKS: usize = 16;

/// One ring. Blocks lie from `first` up to `end`, both counted on without end and taken modulo the
/// ring's length.
struct Ring {
    first: Cell<u32>,
    end: Cell<u32>,
    capacity: Cell<u32>,
    slots: [Cell<Slot>; BLOCKS],
}

impl Ring {
    #[allow(clippy::declare_interior_mutable_const)] // To be copied, not to be written.
    const NEW: Ring = Ring {
        first: Cell::new(0),
        end: Cell::new(0),
        capacity: Cell::new(0),
        slots: [const { Cell::new(ptr::null_mut()) }; BLOCKS],
    };

    #[inline(always)]
    fn slot(&self, at: u32) -> &Cell<Slot> {
        &self.slots[at as usize % BLOCKS]
    }

    fn count(&self) -> usize {
        self.end.get().wrapping_sub(self.first.get()) as usize
    }
}

/// The rings, by class; those of C4, between the groups, are never used.
pub(crate) struct RingCache([Ring; RINGS]);

impl RingCache {
    #[inline(always)]
    fn ring(&self, class: usize) -> &Ring {
        debug_assert!(CLASSES.has(class));
        // SAFETY: the layer is asked for classes that it covers.
        unsafe { self.0.get_unchecked(class.wrapping_sub(CLASSES.first())) }
    }
}

// SAFETY: a ring has a block from its push, which found room, to its pop or drain.
unsafe impl FrontendLayer for RingCache {
    const NAME: &'static str = "ring-cache";
    const RANK: usize = 12;
    const ON: bool = ON;
    const CLASSES: ClassMask = CLASSES;
    const NEW: Self = RingCache([const { Ring::NEW }; RINGS]);

    #[inline(always)]
    fn pop(&self, class: usize, _behind: &UnifiedCache) -> *mut u8 {
        let ring = self.ring(class);
        let first = ring.first.get();
        if first == ring.end.get() {
            return ptr::null_mut();
        }
        ring.first.set(first.wrapping_add(1));
        ring.slot(first).get()
    }

    #[inline(always)]
    fn push(&self, class: usize, block: *mut u8, _behind: &UnifiedCache) -> bool {
        let ring = self.ring(class);
        let end = ring.end.get();
        if end.wrapping_sub(ring.first.get()) == ring.capacity.get() {
            return false;
        }
        ring.slot(end).set(block);
        ring.end.set(end.wrapping_add(1));
        true
    }

    fn each_block(&self, class: usize, visit: &mut dyn FnMut(*mut u8)) {
        let ring = self.ring(class);
        for step in 0..ring.count() {
            visit(ring.slot(ring.first.get().wrapping_add(step as u32)).get());
        }
    }

    fn count(&self, class: usize) -> usize {
        self.ring(class).count()
    }

    fn most(_class: usize) -> usize {
        BLOCKS
    }

    fn capacity(&self, class: usize) -> usize {
        self.ring(class).capacity.get() as usize
    }

    fn set_capacity(&mut self, class: usize, capacity: usize) {
        let ring = self.ring(class);
        ring.capacity.set(capacity.min(BLOCKS).max(ring.count()) as u32);
    }

    fn drain(&mut self, class: usize, keep: usize, out: &mut [Slot]) -> usize {
        let ring = self.ring(class);
        let count = ring.count().saturating_sub(keep).min(out.len());
        for to in out.iter_mut().take(count) {
            let first = ring.first.get();
            *to = ring.slot(first).get();
            ring.first.set(first.wrapping_add(1));
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_in_first_out_and_round_the_end_of_its_counters() {
        let (behind, mut layer) = (UnifiedCache::new(), RingCache::NEW);
        let block = |n: usize| ptr::without_provenance_mut::<u8>(32 * (n + 1));
        for near_the_end in [false, true] {
            if near_the_end {
                let ring = layer.ring(3);
                assert_eq!(ring.count(), 0);
                // A multiple of the ring's length below the end.
                ring.first.set(u32::MAX - 4);
                ring.end.set(u32::MAX - 4);
            }
            layer.set_capacity(3, BLOCKS);
            for n in 0..BLOCKS {
                assert!(layer.push(3, block(n), &behind));
            }
            assert!(!layer.push(3, block(BLOCKS), &behind));
            for n in 0..3 * BLOCKS {
                assert_eq!(layer.pop(3, &behind), block(n));
                assert!(layer.push(3, block(n + BLOCKS), &behind));
            }
            for n in 3 * BLOCKS..4 * BLOCKS {
                assert_eq!(layer.pop(3, &behind), block(n));
            }
            assert!(layer.pop(3, &behind).is_null());
        }
    }
}
