//! MiniMag: a miniature magazine per class of the tiny tier, which trades halves with the large one.
//!
//! The idea: Bonwick and Adams's rule ("Magazines and Vmem", USENIX 2001), by which a CPU exchanges
//! whole magazines with the depot, one level further down. Empty, it takes seven blocks from the
//! magazine; full, it gives the magazine its seven oldest. Whatever a program does next, at least seven
//! requests pass before the next exchange, so that nearly all traffic stays in two lines of the heap.
//!
//! Quick slots also draw on the magazine, but when they are full, frees go past them.

use crate::frontend::arrays::{Arrays, kept_in_arrays};
use crate::frontend::layer::{ClassMask, FrontendLayer};
use crate::frontend::magazine::UnifiedCache;

pub(crate) const ON: bool = cfg!(feature = "mini-mag");

const CLASSES: ClassMask = ClassMask::groups(&[0, 1, 2, 3, 4, 5, 6, 7]);
/// Blocks that are exchanged at a time.
const HALF: usize = 7;
/// Blocks per class.
const BLOCKS: usize = 2 * HALF;

/// The miniatures, class 0's included.
pub(crate) struct MiniMag(Arrays<0, { CLASSES.last() + 1 }, { BLOCKS + 1 }>);

impl MiniMag {
    /// The miniature of `class` is empty.
    #[inline(never)]
    fn draw(&self, class: usize, behind: &UnifiedCache) -> *mut u8 {
        self.0.draw(class, HALF, class, behind)
    }

    /// It is full.
    #[inline(never)]
    fn push_full(&self, class: usize, block: *mut u8, behind: &UnifiedCache) -> bool {
        self.0.spill(class, HALF, class, behind) && self.0.push(class, block)
    }
}

// SAFETY: a block is here from its push, or its way out of the magazine, to its pop, its way into the
// magazine or its drain. Class 0 is never given capacity.
unsafe impl FrontendLayer for MiniMag {
    const NAME: &'static str = "mini-mag";
    const RANK: usize = 9;
    const ON: bool = ON;
    const CLASSES: ClassMask = CLASSES;
    const NEW: Self = MiniMag(Arrays::NEW);

    #[inline(always)]
    fn pop(&self, class: usize, behind: &UnifiedCache) -> *mut u8 {
        let block = self.0.pop(class);
        if block.is_null() { self.draw(class, behind) } else { block }
    }

    #[inline(always)]
    fn push(&self, class: usize, block: *mut u8, behind: &UnifiedCache) -> bool {
        self.0.push(class, block) || self.push_full(class, block, behind)
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
    fn it_trades_halves_with_the_magazine() {
        let class = CLASSES.last();
        let (behind, mut layer) = (magazine(class, HALF), MiniMag::NEW);
        assert!(layer.pop(class, &behind).is_null(), "closed");
        assert!(!layer.push(class, block(1), &behind), "closed");
        layer.set_capacity(class, BLOCKS);
        assert_eq!(layer.pop(class, &behind), block(HALF));
        assert_eq!((layer.count(class), behind.level(class)), (HALF - 1, 0));
        (HALF..=BLOCKS).for_each(|n| assert!(layer.push(class, block(n), &behind)));
        assert_eq!((layer.count(class), behind.level(class)), (BLOCKS, 0));
        // One too many: the oldest half goes, and comes back after the newest.
        assert!(layer.push(class, block(BLOCKS + 1), &behind));
        assert_eq!((layer.count(class), behind.level(class)), (HALF + 1, HALF));
        for n in (1..=BLOCKS + 1).rev() {
            assert_eq!(layer.pop(class, &behind), block(n));
        }
        assert!(layer.pop(class, &behind).is_null());
    }
}
