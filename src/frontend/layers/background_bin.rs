//! Background bin: refills of an empty magazine come from batches that the background worker has ready.
//!
//! The idea: a refill looks for a slab, reads its bitmap, and now and then makes a slab, at the moment
//! when a thread waits for a block. The worker does that ahead, from slabs that no thread has, for the
//! classes that are asked for, so that a thread takes thirty blocks by one exchange. The price: they come
//! from slabs that are not the thread's own, and go back there as remote ones.
//!
//! It stands behind the magazines and holds the rest of the batch that was taken last. The bins
//! themselves: `frontend::handoff`.

use crate::base::Guarded;
use crate::class::COUNT;
use crate::frontend::handoff::{self, Batch};
use crate::frontend::layer::{ClassMask, FrontendLayer, Slot};
use crate::frontend::magazine::UnifiedCache;
use core::ptr;

pub(crate) const ON: bool = handoff::BIN;

/// The rest of a batch, and which classes are open.
pub(crate) struct BackgroundBin {
    /// Guarded by the thread that has the heap, which alone is on slow paths with it.
    hand: Guarded<Batch>,
    open: [bool; COUNT],
}

impl BackgroundBin {
    /// The batch in hand.
    ///
    /// # Safety
    /// The caller has the heap, and no other reference to the batch lives.
    #[allow(clippy::mut_from_ref)]
    unsafe fn hand(&self) -> &mut Batch {
        // SAFETY: as the caller promised.
        unsafe { self.hand.get_mut() }
    }

    /// The blocks in hand, if they are of `class`.
    fn held(&self, class: usize) -> &[Slot] {
        // SAFETY: only the thread that has the heap calls a layer, and no reference outlives a call.
        let hand: &Batch = unsafe { self.hand() };
        if hand.class() == class { hand.blocks() } else { &[] }
    }
}

// SAFETY: a batch has its blocks from the bin that it was taken from, alone, until they are popped or
// drained, or the batch is put back. Class 0 has no bin.
unsafe impl FrontendLayer for BackgroundBin {
    const NAME: &'static str = "background-bin";
    const RANK: usize = 28;
    const BEHIND: bool = true;
    const ON: bool = ON;
    const CLASSES: ClassMask = ClassMask::ALL;
    const NEW: Self = BackgroundBin { hand: Guarded::new(Batch::EMPTY), open: [false; COUNT] };

    fn pop(&self, class: usize, _behind: &UnifiedCache) -> *mut u8 {
        // SAFETY: as in `held`.
        let hand = unsafe { self.hand() };
        if hand.class() == class
            && let Some(block) = hand.pop()
        {
            return block;
        }
        if !self.open.get(class).is_some_and(|&open| open) {
            return ptr::null_mut();
        }
        // The rest of another class goes back first; where it can't, it stays, and the slabs are asked.
        if !hand.blocks().is_empty() && !handoff::put_back(*hand) {
            return ptr::null_mut();
        }
        *hand = handoff::take(class).unwrap_or(Batch::EMPTY);
        hand.pop().unwrap_or(ptr::null_mut())
    }

    fn push(&self, _class: usize, _block: *mut u8, _behind: &UnifiedCache) -> bool {
        false
    }

    fn each_block(&self, class: usize, visit: &mut dyn FnMut(*mut u8)) {
        self.held(class).iter().for_each(|&block| visit(block));
    }

    fn count(&self, class: usize) -> usize {
        self.held(class).len()
    }

    fn most(class: usize) -> usize {
        handoff::batch_of(class)
    }

    fn capacity(&self, class: usize) -> usize {
        let open = self.open.get(class).is_some_and(|&open| open);
        if open { Self::most(class) } else { self.count(class) }
    }

    /// It takes no block that is freed.
    fn room(&self, _class: usize) -> usize {
        0
    }

    fn set_capacity(&mut self, class: usize, capacity: usize) {
        // Batches come whole.
        if let Some(open) = self.open.get_mut(class) {
            *open = capacity >= Self::most(class);
        }
    }

    fn drain(&mut self, class: usize, keep: usize, out: &mut [Slot]) -> usize {
        let count = self.count(class).saturating_sub(keep).min(out.len());
        let out = out.get_mut(..count).unwrap_or(&mut []);
        // SAFETY: as in `held`.
        unsafe { self.hand() }.take(out)
    }
}
