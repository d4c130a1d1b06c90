//! Ultra front: one slot per class of the tiny tier, which always has the block freed last.
//!
//! The idea: the block freed last is the one most likely in the first-level cache. A free puts it into
//! its slot by exchange, and what was there goes on to the magazine, so slot and magazine together stay
//! one stack. A pair of free and allocation touches nothing but the slot.
//!
//! UltraHot keeps what came first while its slot is taken, and shares slots between classes.

use crate::frontend::layer::{ClassMask, FrontendLayer, Slot};
use crate::frontend::magazine::UnifiedCache;
use core::cell::Cell;
use core::ptr;

pub(crate) const ON: bool = cfg!(feature = "ultra-front");

const CLASSES: ClassMask = ClassMask::groups(&[0, 1, 2, 3, 4, 5, 6, 7]);

/// A word that is no block and not empty either.
const CLOSED: Slot = ptr::without_provenance_mut(1);

/// The slots, class 0's included, which is closed for ever.
pub(crate) struct UltraFront([Cell<Slot>; CLASSES.last() + 1]);

impl UltraFront {
    #[inline(always)]
    fn slot(&self, class: usize) -> &Cell<Slot> {
        debug_assert!(CLASSES.covers(class));
        // SAFETY: the layer is asked for classes that it covers, or for 0.
        unsafe { self.0.get_unchecked(class) }
    }

    /// The block in the slot of `class`; null if there is none.
    #[inline(always)]
    fn block(&self, class: usize) -> *mut u8 {
        let word = self.slot(class).get();
        if word.addr() > CLOSED.addr() { word } else { ptr::null_mut() }
    }
}

// SAFETY: a slot has a block from its push to its pop, its way into the magazine or its drain. Class 0
// is never given capacity.
unsafe impl FrontendLayer for UltraFront {
    const NAME: &'static str = "ultra-front";
    const RANK: usize = 7;
    const ON: bool = ON;
    const CLASSES: ClassMask = CLASSES;
    const NEW: Self = UltraFront([const { Cell::new(CLOSED) }; CLASSES.last() + 1]);

    #[inline(always)]
    fn pop(&self, class: usize, _behind: &UnifiedCache) -> *mut u8 {
        let block = self.block(class);
        if !block.is_null() {
            self.slot(class).set(ptr::null_mut());
        }
        block
    }

    #[inline(always)]
    fn push(&self, class: usize, block: *mut u8, behind: &UnifiedCache) -> bool {
        let before = self.slot(class).get();
        // The one before goes on to the magazine, if that has room.
        if before == CLOSED || !(before.is_null() || behind.push(class, before)) {
            return false;
        }
        self.slot(class).set(block);
        true
    }

    fn each_block(&self, class: usize, visit: &mut dyn FnMut(*mut u8)) {
        let block = self.block(class);
        if !block.is_null() {
            visit(block);
        }
    }

    fn count(&self, class: usize) -> usize {
        usize::from(!self.block(class).is_null())
    }

    fn most(_class: usize) -> usize {
        1
    }

    fn capacity(&self, class: usize) -> usize {
        usize::from(self.slot(class).get() != CLOSED)
    }

    fn set_capacity(&mut self, class: usize, capacity: usize) {
        let slot = self.slot(class);
        // A block stays until it is drained.
        if slot.get().is_null() && capacity == 0 {
            slot.set(CLOSED);
        } else if slot.get() == CLOSED && capacity != 0 {
            slot.set(ptr::null_mut());
        }
    }

    fn drain(&mut self, class: usize, keep: usize, out: &mut [Slot]) -> usize {
        let block = self.block(class);
        match out.first_mut() {
            Some(to) if keep == 0 && !block.is_null() => {
                *to = block;
                self.slot(class).set(ptr::null_mut());
                1
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    #[test]
    fn slot_and_magazine_are_one_stack() {
        let block = |n: usize| ptr::without_provenance_mut::<u8>(64 * n);
        let (mut behind, mut layer) = (Box::new(UnifiedCache::new()), UltraFront::NEW);
        let class = CLASSES.last();
        assert!(!layer.push(class, block(1), &behind), "closed");
        layer.set_capacity(class, 1);
        assert!(layer.push(class, block(1), &behind));
        assert!(!layer.push(class, block(2), &behind), "the magazine has no room for the first");
        assert!(behind.begin_overflow(class).is_none());
        (2..=5).for_each(|n| assert!(layer.push(class, block(n), &behind)));
        assert_eq!((layer.count(class), behind.level(class)), (1, 4));
        assert_eq!(layer.pop(class, &behind), block(5));
        assert!(layer.pop(class, &behind).is_null(), "the magazine's turn");
        (1..=4).rev().for_each(|n| assert_eq!(behind.pop(class), block(n)));
    }
}
