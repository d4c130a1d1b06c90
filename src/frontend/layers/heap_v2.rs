//! HeapV2: a small heap of the thread in front of the heap, for the smallest classes, which brings in
//! its own batches.
//!
//! The idea: for a thread that allocates more than it frees, the magazine is only a stop on the way from
//! the slab. So a miss fills this layer's own arrays from the slabs, and the magazine, which is asked
//! after it, is left to what is freed beyond its room.

use crate::frontend::arrays::{Arrays, kept_in_arrays};
use crate::frontend::layer::{ClassMask, Fill, FrontendLayer};
use crate::frontend::magazine::UnifiedCache;

pub(crate) const ON: bool = cfg!(feature = "heap-v2");

const CLASSES: ClassMask = ClassMask::groups(&[0, 1, 2, 3]);
/// Blocks per class.
const BLOCKS: usize = 64;
/// Blocks that a batch brings.
const BATCH: usize = 32;

/// The arrays, class 0's included.
pub(crate) struct HeapV2(Arrays<0, { CLASSES.last() + 1 }, { BLOCKS + 1 }>);

// SAFETY: an array has a block from its push or its batch to its pop or drain. Class 0 is never given
// capacity.
unsafe impl FrontendLayer for HeapV2 {
    const NAME: &'static str = "heap-v2";
    const RANK: usize = 14;
    const ON: bool = ON;
    const CLASSES: ClassMask = CLASSES;
    const NEW: Self = HeapV2(Arrays::NEW);

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
