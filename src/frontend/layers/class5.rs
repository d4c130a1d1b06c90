//! Class5 hot path: a path of their own for blocks of 144 to 256 bytes, group C5.
//!
//! The idea: one size that a program uses most should not share anything. Its classes are tested for
//! before any other layer's, have arrays at fixed places, and are refilled from the slabs in batches of
//! a fixed length; the magazine only takes what does not fit.

use crate::frontend::arrays::{Arrays, kept_in_arrays};
use crate::frontend::layer::{ClassMask, Fill, FrontendLayer};
use crate::frontend::magazine::UnifiedCache;

pub(crate) const ON: bool = cfg!(feature = "class5-hot-path");

const CLASSES: ClassMask = ClassMask::groups(&[5]);
/// Blocks per class.
const BLOCKS: usize = 32;
/// Blocks that a batch brings.
const BATCH: usize = 16;

/// The arrays of the group's classes.
pub(crate) struct Class5(
    Arrays<{ CLASSES.first() }, { CLASSES.last() - CLASSES.first() + 1 }, { BLOCKS + 1 }>,
);

// SAFETY: an array has a block from its push or its batch to its pop or drain.
unsafe impl FrontendLayer for Class5 {
    const NAME: &'static str = "class5-hot-path";
    const RANK: usize = 4;
    const ON: bool = ON;
    const CLASSES: ClassMask = CLASSES;
    const NEW: Self = Class5(Arrays::NEW);

    #[inline(always)]
    fn pop(&self, class: usize, _behind: &UnifiedCache) -> *mut u8 {
        self.0.pop(class)
    }

    #[inline(always)]
    fn push(&self, class: usize, block: *mut u8, _behind: &UnifiedCache) -> bool {
        self.0.push(class, block)
    }

    kept_in_arrays!(BLOCKS);

    fn refill(&mut self, class: usize, fill: Fill<'_>) -> Option<*mut u8> {
        self.0.refill(class, BATCH, fill)
    }
}
