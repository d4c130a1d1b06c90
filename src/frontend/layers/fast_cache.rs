//! FastCache: a small array of blocks per class in front of the magazine, for the smallest classes.
//!
//! The idea: a few blocks in the heap itself, next to each other for all classes, are nearer than a
//! magazine, whose storage lies elsewhere. What it costs is a second place to look at whenever the
//! array is empty or full.

use crate::frontend::arrays::{Arrays, kept_in_arrays};
use crate::frontend::layer::{ClassMask, FrontendLayer};
use crate::frontend::magazine::UnifiedCache;

pub(crate) const ON: bool = cfg!(feature = "fast-cache");

const CLASSES: ClassMask = ClassMask::groups(&[0, 1, 2, 3]);
/// Blocks per class.
const BLOCKS: usize = 16;

/// The arrays, class 0's included.
pub(crate) struct FastCache(Arrays<0, { CLASSES.last() + 1 }, { BLOCKS + 1 }>);

// SAFETY: an array has a block from its push to its pop or drain. Class 0 is never given capacity.
unsafe impl FrontendLayer for FastCache {
    const NAME: &'static str = "fast-cache";
    const RANK: usize = 10;
    const ON: bool = ON;
    const CLASSES: ClassMask = CLASSES;
    const NEW: Self = FastCache(Arrays::NEW);

    #[inline(always)]
    fn pop(&self, class: usize, _behind: &UnifiedCache) -> *mut u8 {
        self.0.pop(class)
    }

    #[inline(always)]
    fn push(&self, class: usize, block: *mut u8, _behind: &UnifiedCache) -> bool {
        self.0.push(class, block)
    }

    kept_in_arrays!(BLOCKS);
}
