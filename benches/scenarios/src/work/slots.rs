//! A working set: slots whose blocks are replaced one by one.
//!
//! Sizes are remembered only while verifying and for heaps that are told them at free, so that the
//! timed section touches one word a slot where that is all the program needs.

use crate::heap::{Heap, give, take};
use crate::table::Table;

/// A fixed number of slots, each empty or holding one live block of `H`.
pub struct Slots<H: Heap> {
    blocks: Table<*mut u8>,
    sizes: Table<u32>,
    heap: core::marker::PhantomData<H>,
}

// SAFETY: the blocks belong to the set, and `H` allows freeing on any thread.
unsafe impl<H: Heap> Send for Slots<H> {}

impl<H: Heap> Slots<H> {
    /// `len` empty slots.
    pub fn empty(len: usize) -> Self {
        // SAFETY: a null pointer and 0 are all-zero bytes.
        let (blocks, sizes) = unsafe { (Table::zeroed(len), Table::zeroed(len)) };
        Self { blocks, sizes, heap: core::marker::PhantomData }
    }

    /// `len` slots, each with a block of the size that `size` gives.
    pub fn filled(len: usize, mut size: impl FnMut() -> usize) -> Self {
        let mut slots = Self::empty(len);
        for at in 0..len {
            slots.put::<true>(at, size());
        }
        slots
    }

    /// How many slots there are.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether there is no slot at all.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The block in a slot, or null.
    #[inline(always)]
    pub fn block(&self, at: usize) -> *mut u8 {
        self.blocks[at]
    }

    /// Puts a new block into an empty slot.
    #[inline(always)]
    pub fn put<const VERIFY: bool>(&mut self, at: usize, size: usize) {
        self.blocks[at] = take::<H>(size);
        if VERIFY || H::SIZED {
            self.sizes[at] = size as u32;
        }
    }

    /// Frees the block of a slot, if any.
    #[inline(always)]
    pub fn clear<const VERIFY: bool>(&mut self, at: usize) {
        let block = core::mem::replace(&mut self.blocks[at], core::ptr::null_mut());
        if !block.is_null() {
            // SAFETY: the slot owned the block and forgets it here; where the size is read, `sizes`
            // holds what `put` asked for.
            unsafe { give::<H, VERIFY>(block, self.size::<VERIFY>(at)) };
        }
    }

    /// Frees the block of a slot, then fills it anew.
    #[inline(always)]
    pub fn replace<const VERIFY: bool>(&mut self, at: usize, size: usize) {
        let block = self.blocks[at];
        // SAFETY: the slot owned the block and is overwritten below; `sizes` as in `clear`.
        unsafe { give::<H, VERIFY>(block, self.size::<VERIFY>(at)) };
        self.put::<VERIFY>(at, size);
    }

    /// The size of a slot's block where it was remembered, else 0, which nobody reads.
    #[inline(always)]
    fn size<const VERIFY: bool>(&self, at: usize) -> usize {
        if VERIFY || H::SIZED { self.sizes[at] as usize } else { 0 }
    }

    /// Exchanges the blocks of two slots.
    #[inline(always)]
    pub fn swap(&mut self, one: usize, other: usize) {
        self.blocks.swap(one, other);
        self.sizes.swap(one, other);
    }

    /// Frees every block.
    pub fn free_all(mut self) {
        for at in 0..self.len() {
            self.clear::<false>(at);
        }
    }
}
