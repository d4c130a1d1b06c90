//! Front C23: a pair of slots per class, for 32, 48 and 64 bytes.
//!
//! The idea: the simplest cache there can be, for the sizes that are asked for most. The last block
//! freed lies in slot 0, the one before it in slot 1. Empty is a null in slot 0, full is anything in
//! slot 1; a closed pair is both, by a word in slot 1 that is no block.

use crate::frontend::layer::{ClassMask, FrontendLayer, Slot};
use crate::frontend::magazine::UnifiedCache;
use core::cell::Cell;
use core::ptr;

pub(crate) const ON: bool = cfg!(feature = "front-c23");

const CLASSES: ClassMask = ClassMask::groups(&[2, 3]);
const PAIRS: usize = CLASSES.last() - CLASSES.first() + 1;
const CLOSED: Slot = ptr::without_provenance_mut(1);

type Pair = [Cell<Slot>; 2];

/// The pairs, by class.
pub(crate) struct FrontC23([Pair; PAIRS]);

impl FrontC23 {
    #[inline(always)]
    fn pair(&self, class: usize) -> &Pair {
        debug_assert!(CLASSES.has(class));
        // SAFETY: the layer is asked for classes that it covers.
        unsafe { self.0.get_unchecked(class.wrapping_sub(CLASSES.first())) }
    }
}

// SAFETY: a pair has a block from its push, which found room, to its pop or drain.
unsafe impl FrontendLayer for FrontC23 {
    const NAME: &'static str = "front-c23";
    const RANK: usize = 2;
    const ON: bool = ON;
    const CLASSES: ClassMask = CLASSES;
    const NEW: Self = FrontC23([const { [Cell::new(ptr::null_mut()), Cell::new(CLOSED)] }; PAIRS]);

    #[inline(always)]
    fn pop(&self, class: usize, _behind: &UnifiedCache) -> *mut u8 {
        let [last, before] = self.pair(class);
        let block = last.get();
        if !block.is_null() {
            last.set(before.replace(ptr::null_mut()));
        }
        block
    }

    #[inline(always)]
    fn push(&self, class: usize, block: *mut u8, _behind: &UnifiedCache) -> bool {
        let [last, before] = self.pair(class);
        if !before.get().is_null() {
            return false;
        }
        before.set(last.replace(block));
        true
    }

    fn each_block(&self, class: usize, visit: &mut dyn FnMut(*mut u8)) {
        let [last, before] = self.pair(class);
        for block in [last.get(), before.get()].into_iter().take(self.count(class)) {
            visit(block);
        }
    }

    fn count(&self, class: usize) -> usize {
        let [last, before] = self.pair(class);
        match (last.get().is_null(), before.get().is_null()) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        }
    }

    fn most(_class: usize) -> usize {
        2
    }

    fn capacity(&self, class: usize) -> usize {
        if self.pair(class)[1].get() == CLOSED { 0 } else { 2 }
    }

    fn set_capacity(&mut self, class: usize, capacity: usize) {
        let before = match self.count(class) {
            0 if capacity < 2 => CLOSED,
            0 => ptr::null_mut(),
            _ => return,
        };
        self.pair(class)[1].set(before);
    }

    fn drain(&mut self, class: usize, keep: usize, out: &mut [Slot]) -> usize {
        let count = self.count(class).saturating_sub(keep).min(out.len());
        let [last, before] = self.pair(class);
        for to in out.iter_mut().take(count) {
            // The older one first.
            let older = if before.get().is_null() { last } else { before };
            *to = older.replace(ptr::null_mut());
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_come_back_the_last_first() {
        let (behind, mut layer) = (UnifiedCache::new(), FrontC23::NEW);
        let block = |n: usize| ptr::without_provenance_mut::<u8>(64 * n);
        layer.set_capacity(5, 2);
        assert!(layer.push(5, block(1), &behind) && layer.push(5, block(2), &behind));
        assert!(!layer.push(5, block(3), &behind) && !layer.push(4, block(3), &behind));
        assert_eq!(layer.pop(5, &behind), block(2));
        assert!(layer.push(5, block(4), &behind));
        assert_eq!([layer.pop(5, &behind), layer.pop(5, &behind)], [block(4), block(1)]);
        assert!(layer.pop(5, &behind).is_null());
    }
}
