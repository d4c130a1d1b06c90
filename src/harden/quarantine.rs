//! A heap's quarantine: freed blocks that wait until they may be handed out again.
//!
//! Each class has a few slots. A freed block takes a random slot, and what lay there goes on to the
//! caches; so a block waits for a random number of frees of its class, as many as there are slots on
//! average and at least one, and what is handed out next can't be told from what was freed last. (After
//! the random array of hardened_malloc's quarantine.) Blocks of a refill are shuffled, too.
//!
//! Few slots, since what waits is cold when it comes back: 32 of them instead of 8 are 7 % of the time of
//! `random-mixed` 400.
//!
//! Assumes that only the thread that has the heap calls in. Promises that a block is in one slot, or
//! was given back to the caller.

use super::shape::Shapes;
use crate::class::{COUNT, HARDENED};
use crate::os;
use core::cell::Cell;
use core::ptr;

/// Slots of a class at most.
pub(crate) const SLOTS: usize = 8;
/// Bytes of a class that may wait, but for two blocks.
const BYTES: usize = 64 << 10;
const LISTS: usize = if HARDENED { COUNT } else { 0 };
const GENERATORS: usize = if HARDENED { 1 } else { 0 };

/// The blocks that wait.
pub(crate) struct Quarantine {
    /// State of the generator; zero in a sentinel, which holds nothing (and with a chance of one in 2^64
    /// elsewhere, which then lets blocks through).
    random: [Cell<u64>; GENERATORS],
    slots: [[Cell<*mut u8>; SLOTS]; LISTS],
    pub(super) shapes: Shapes,
}

/// Places of a class whose blocks have this size: a power of two.
pub(super) const fn places(size: usize) -> usize {
    let fit = BYTES / size;
    let fit = if fit > SLOTS { SLOTS } else { fit };
    if fit < 2 { 2 } else { 1 << fit.ilog2() }
}

impl Quarantine {
    pub(crate) const fn new() -> Self {
        Quarantine {
            random: [const { Cell::new(0) }; GENERATORS],
            slots: [const { [const { Cell::new(ptr::null_mut()) }; SLOTS] }; LISTS],
            shapes: Shapes::new(),
        }
    }

    /// Opens the quarantine of a heap that has just been made.
    pub(crate) fn open(&self) {
        for state in &self.random {
            state.set(os::random() | 1);
        }
    }

    /// The next random number, whose upper bits are the better ones; `None` in a sentinel.
    #[inline(always)]
    fn next(&self) -> Option<u64> {
        // Knuth's linear congruential generator (MMIX): quick, and not to be guessed from a few
        // addresses; not a cipher.
        let state = self.random.first()?;
        let before = state.get();
        state.set(before.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E));
        (before != 0).then_some(before)
    }

    /// Takes a freed block in; gives the one that has waited in its place, or null. A sentinel gives
    /// the block itself. `number` changes with the block, and nobody knows it.
    #[inline(always)]
    pub(super) fn swap(&self, class: usize, block: *mut u8, number: u64) -> *mut u8 {
        let Some(state) = self.random.first() else { return block };
        let before = state.get();
        if before == 0 {
            return block;
        }
        // The sum of the numbers of all blocks that were freed, from a random start: what it takes is
        // there already.
        let sum = before.wrapping_add(number);
        state.set(sum);
        let place = self.shapes.place(class, (sum >> (64 - SLOTS.ilog2())) as usize);
        // SAFETY: classes are below COUNT wherever they come from, places below SLOTS.
        let slot = unsafe { self.slots.get_unchecked(class).get_unchecked(place) };
        slot.replace(block)
    }

    /// Puts blocks into random order.
    pub(crate) fn shuffle(&self, blocks: &mut [*mut u8]) {
        for last in (1..blocks.len()).rev() {
            let Some(random) = self.next() else { return };
            // A number below last + 1, by multiplication (Lemire, 2019); blocks are few.
            let other = (((random >> 32) * (last as u64 + 1)) >> 32) as usize;
            blocks.swap(last, other);
        }
    }

    /// Takes the blocks of a class out and writes them to `to`. Gives their number.
    pub(crate) fn take_all(&self, class: usize, to: &mut [*mut u8; SLOTS]) -> usize {
        let mut count = 0;
        let Some(slots) = self.slots.get(class) else { return 0 };
        for slot in slots {
            if !slot.get().is_null()
                && let Some(to) = to.get_mut(count)
            {
                *to = slot.replace(ptr::null_mut());
                count += 1;
            }
        }
        count
    }

    /// Calls `visit` with every block of a class that waits.
    pub(crate) fn each_block(&self, class: usize, visit: impl FnMut(*mut u8)) {
        let Some(slots) = self.slots.get(class) else { return };
        slots.iter().map(Cell::get).filter(|block| !block.is_null()).for_each(visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(n: usize) -> *mut u8 {
        ptr::without_provenance_mut(16 * (n + 1))
    }

    #[test]
    fn a_sentinel_keeps_nothing() {
        let closed = Quarantine::new();
        assert_eq!(closed.swap(5, fake(1), 1 << 62), fake(1));
        assert_eq!(closed.take_all(5, &mut [ptr::null_mut(); SLOTS]), 0);
    }

    #[test]
    fn every_block_leaves_once() {
        let open = Quarantine::new();
        open.open();
        let mut left = std::vec::Vec::new();
        for n in 0..1000 {
            let out = open.swap(9, fake(n), (n as u64) << 59);
            if !out.is_null() {
                left.push(out);
            }
        }
        let waiting = left.len();
        open.each_block(9, |block| left.push(block));
        let mut rest = [ptr::null_mut(); SLOTS];
        assert_eq!(open.take_all(9, &mut rest), left.len() - waiting);
        assert_eq!(open.take_all(9, &mut rest), 0);
        assert!(!HARDENED || waiting < 1000);
        left.sort();
        left.dedup();
        assert_eq!(left.len(), 1000);
    }

    #[test]
    fn shuffling_keeps_every_block() {
        let open = Quarantine::new();
        open.open();
        let mut blocks: std::vec::Vec<_> = (0..100).map(fake).collect();
        open.shuffle(&mut blocks);
        // The chance that a hundred blocks stay in order is one in 10^157.
        assert_eq!(blocks.is_sorted(), !HARDENED);
        blocks.sort();
        assert!(blocks.iter().enumerate().all(|(n, &block)| block == fake(n)));
    }
}
