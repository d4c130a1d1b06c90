//! Background spill: what leaves a full magazine is brought home by the background worker.
//!
//! The idea: to bring a batch home is to find the slab of each block and to set its bit, for blocks of
//! other heaps with a locked instruction; none of it is needed by the thread that frees. So the thread
//! puts the blocks into a bounded queue, thirty at a time, and goes on; the worker sorts them by address,
//! so that blocks of one word of a bitmap take one instruction. The price: all of them come home as those
//! of another heap, and both processors touch the queue.
//!
//! It stands behind the magazines and holds nothing itself. The queue, and what happens where it is full
//! or nobody serves it: `frontend::handoff`.

use crate::frontend::handoff;
use crate::frontend::layer::{ClassMask, FrontendLayer, Slot, holds_nothing};
use crate::frontend::magazine::UnifiedCache;

pub(crate) const ON: bool = handoff::SPILL;

/// The way to the queue.
pub(crate) struct BackgroundSpill;

// SAFETY: it holds nothing.
unsafe impl FrontendLayer for BackgroundSpill {
    const NAME: &'static str = "background-spill";
    const RANK: usize = 26;
    const BEHIND: bool = true;
    const ON: bool = ON;
    const CLASSES: ClassMask = ClassMask::ALL;
    const NEW: Self = BackgroundSpill;

    holds_nothing!();

    fn send(&self, class: usize, blocks: &[Slot]) -> usize {
        handoff::spill(class, blocks)
    }
}
