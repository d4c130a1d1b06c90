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
        if self.0.capacity(class) == 0 {
            return None;
        }
        self.0.fill(class, BATCH, fill);
        Some(self.0.pop(class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontend::layer::Slot;
    use core::ptr;

    #[test]
    fn a_miss_brings_a_batch_and_the_next_requests_need_none() {
        let (behind, mut layer) = (UnifiedCache::new(), HeapV2::NEW);
        let class = CLASSES.last();
        let mut nothing =
            |_: *mut Slot, _: usize| -> usize { panic!("closed, it asks for nothing") };
        assert!(layer.refill(class, &mut nothing).is_none());
        layer.set_capacity(class, BLOCKS);
        let mut asked = 0;
        let first = layer.refill(class, &mut |end, want| {
            asked = want;
            for n in 0..want {
                // SAFETY: `want` slots below `end` are writable.
                unsafe { *end.sub(n + 1) = ptr::without_provenance_mut(256 * (n + 1)) };
            }
            want
        });
        assert_eq!((asked, first), (BATCH, Some(ptr::without_provenance_mut(256))));
        for n in 1..BATCH {
            assert_eq!(layer.pop(class, &behind).addr(), 256 * (n + 1));
        }
        assert!(layer.pop(class, &behind).is_null());
        // No memory: the request fails, and nothing is here.
        assert_eq!(layer.refill(class, &mut |_, _| 0), Some(ptr::null_mut()));
        assert_eq!(layer.count(class), 0);
    }
}
