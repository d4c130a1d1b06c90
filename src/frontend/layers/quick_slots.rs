//! Quick slots: a handful of slots per class up to 256 bytes, refilled from the magazine.
//!
//! The idea: slots at fixed places in the heap are nearer than the magazine's storage, so the magazine
//! is visited for a few blocks at a time. Allocations draw on it three blocks at once; frees fill the
//! slots, and go past them to the magazine when all are taken.
//!
//! FastCache, which is larger, never takes from the magazine; MiniMag exchanges with it both ways.

use crate::frontend::arrays::{Arrays, kept_in_arrays};
use crate::frontend::layer::{ClassMask, FrontendLayer};
use crate::frontend::magazine::UnifiedCache;

pub(crate) const ON: bool = cfg!(feature = "quick-slots");

const CLASSES: ClassMask = ClassMask::groups(&[0, 1, 2, 3, 4, 5]);
/// Slots per class.
const BLOCKS: usize = 6;
/// Blocks that come from the magazine at a time, the one asked for included.
const DRAWN: usize = 3;

/// The slots, class 0's included.
pub(crate) struct QuickSlots(Arrays<0, { CLASSES.last() + 1 }, { BLOCKS + 1 }>);

impl QuickSlots {
    /// The slots of `class` are empty.
    #[inline(never)]
    fn draw(&self, class: usize, behind: &UnifiedCache) -> *mut u8 {
        self.0.draw(class, DRAWN, class, behind)
    }
}

// SAFETY: a slot has a block from its push, or its way out of the magazine, to its pop or drain. Class
// 0 is never given capacity.
unsafe impl FrontendLayer for QuickSlots {
    const NAME: &'static str = "quick-slots";
    const RANK: usize = 6;
    const ON: bool = ON;
    const CLASSES: ClassMask = CLASSES;
    const NEW: Self = QuickSlots(Arrays::NEW);

    #[inline(always)]
    fn pop(&self, class: usize, behind: &UnifiedCache) -> *mut u8 {
        let block = self.0.pop(class);
        if block.is_null() { self.draw(class, behind) } else { block }
    }

    #[inline(always)]
    fn push(&self, class: usize, block: *mut u8, _behind: &UnifiedCache) -> bool {
        self.0.push(class, block)
    }

    kept_in_arrays!(BLOCKS);
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr;
    use std::boxed::Box;

    fn block(n: usize) -> *mut u8 {
        ptr::without_provenance_mut(64 * n)
    }

    /// A magazine of `class` with so many blocks, the first of them the oldest.
    fn magazine(class: usize, blocks: usize) -> Box<UnifiedCache> {
        let mut behind = Box::new(UnifiedCache::new());
        assert!(behind.begin_overflow(class).is_none());
        (1..=blocks).for_each(|n| assert!(behind.push(class, block(n))));
        behind
    }

    #[test]
    fn it_draws_a_few_blocks_at_a_time_newest_first() {
        let class = CLASSES.last();
        let (behind, mut layer) = (magazine(class, 10), QuickSlots::NEW);
        assert!(layer.pop(class, &behind).is_null(), "closed");
        layer.set_capacity(class, BLOCKS);
        for n in (1..=10).rev() {
            assert_eq!(layer.pop(class, &behind), block(n));
            // Of three drawn, one goes at once.
            let left = DRAWN - 1 - (10 - n) % DRAWN;
            assert_eq!(layer.count(class), left.min(n - 1));
        }
        assert!(layer.pop(class, &behind).is_null());
    }
}
