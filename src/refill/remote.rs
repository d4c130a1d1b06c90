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

/// Brings blocks home without a heap of one's own: the thread has none (any more), or works for others.
///
/// # Safety
/// The blocks were given back by the program as `class`, or never handed out.
pub(crate) unsafe fn give_back(class: usize, blocks: &[*mut u8]) {
    let mut rest = blocks;
    while let Some(&block) = rest.first() {
        // SAFETY: a run with a block that is not home yet is alive.
        let Some(slab) = (unsafe { registry::run_of(block).as_ref() }) else {
            misuse::not_ours(block, "free")
        };
        let mut sent = 1;
        if slab.class as usize == class {
            let length = slab.granules.get() as usize * crate::class::GRANULE;
            // SAFETY: the first of them lies in this slab.
            sent = unsafe { flush_remote(slab, class, rest.as_ptr(), rest.len(), length) };
            COMMON.sent_home(class, sent);
        } else {
            if !HEADER {
                misuse::wrong_class(block, class, slab.class as usize);
            }
            let found = right_class(slab, block, class);
            COMMON.header_misled();
            // SAFETY: as the caller promised; the slab's own class this time.
            unsafe { give_back(found, &[block]) };
        }
        rest = rest.get(sent..).unwrap_or(&[]);
    }
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
