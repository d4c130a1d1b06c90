//! The way home for blocks of slabs that another heap owns: whole words of the slab's remote bitmap.
//!
//! Assumes nothing about the calling thread, which may have no heap. Promises that a block which
//! can't be one of that slab, or is free already, ends the process with one line.

use crate::class::{CLASSES, HEADER};
use crate::segment::header;
use crate::segment::misuse;
use crate::segment::registry;
use crate::segment::slab::{Misuse, Slab};
use crate::telemetry::tally::COMMON;

/// The class of a block that comes home as another one because of its header, which is put right. Ends
/// the process if that was not why.
#[cold]
pub(super) fn right_class(slab: &Slab, block: *mut u8, class: usize) -> usize {
    let found = slab.class as usize;
    // SAFETY: given back, and in a slab.
    if !unsafe { header::misled(block, class) } {
        misuse::wrong_class(block, class, found);
    }
    if found == 0 || slab.index_of(block).is_err() {
        misuse::not_ours(block, "free");
    }
    // SAFETY: the start of a block of the slab, which the program has given back.
    unsafe { header::write(block, found) };
    found
}

/// Brings one block home without a heap of one's own: the thread has none (any more).
///
/// # Safety
/// `block` was given back by the program.
pub(crate) unsafe fn give_back(block: *mut u8, class: usize) {
    // SAFETY: a run with a block that is not home yet is alive.
    let Some(slab) = (unsafe { registry::run_of(block).as_ref() }) else {
        misuse::not_ours(block, "free")
    };
    if slab.class as usize != class {
        if !HEADER {
            misuse::wrong_class(block, class, slab.class as usize);
        }
        let found = right_class(slab, block, class);
        COMMON.header_misled();
        // SAFETY: as the caller promised; the slab's own class this time.
        return unsafe { give_back(block, found) };
    }
    let length = slab.granules.get() as usize * crate::class::GRANULE;
    COMMON.sent_home(class, 1);
    // SAFETY: one block, in this slab.
    unsafe { flush_remote(slab, class, &raw const block, 1, length) };
}

/// The remote half of a flush: gives back the leading blocks that belong to `slab`, a word of its
/// bitmap at a time. Gives their number.
///
/// # Safety
/// `blocks` points at `count` pointers, the first of which lies in `slab`.
pub(super) unsafe fn flush_remote(
    slab: &Slab,
    class: usize,
    blocks: *const *mut u8,
    count: usize,
    length: usize,
) -> usize {
    let base = slab.base.addr();
    let announce = slab.mark_pending();
    let mut at = 0;
    let (mut word, mut bits) = (usize::MAX, 0u64);
    while at < count {
        // SAFETY: at < count.
        let block = unsafe { *blocks.add(at) };
        if block.addr().wrapping_sub(base) >= length {
            break;
        }
        let index = match slab.index_of(block) {
            Ok(index) => index,
            Err(wrong) => misuse::bad_block(block, class, wrong),
        };
        if index >= slab.info().capacity as usize {
            misuse::bad_block(block, class, Misuse::NeverAllocated);
        }
        if index / 64 != word {
            if bits != 0 {
                put_word(slab, class, word, bits);
            }
            (word, bits) = (index / 64, 0);
        }
        let bit = 1u64 << (index % 64);
        if bits & bit != 0 {
            misuse::bad_block(block, class, Misuse::DoubleFree);
        }
        bits |= bit;
        at += 1;
    }
    put_word(slab, class, word, bits);
    if announce {
        slab.announce();
    }
    at
}

fn put_word(slab: &Slab, class: usize, word: usize, bits: u64) {
    let twice = slab.put_remote(word, bits);
    if twice != 0 {
        let index = word * 64 + twice.trailing_zeros() as usize;
        let size = CLASSES.get(class).map_or(0, |info| info.size as usize);
        misuse::bad_block(slab.base.wrapping_add(index * size), class, Misuse::DoubleFree);
    }
}
