//! The way home for blocks of slabs that another heap owns: whole words of the slab's remote bitmap.
//!
//! Assumes nothing about the calling thread, which may have no heap. Promises that a block which
//! can't be one of that slab, or is free already, ends the process with one line.

use crate::class::{CLASSES, GRANULE, HEADER};
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
            sent = flush_remote(slab, class, rest);
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

/// The remote half of a flush: gives back those of `blocks` that lie in `slab`, up to the first that
/// does not, a word of its bitmap at a time. Gives their number; the first of them lies there.
pub(super) fn flush_remote(slab: &Slab, class: usize, blocks: &[*mut u8]) -> usize {
    let (info, base) = (slab.info(), slab.base.addr());
    let length = info.granules as usize * GRANULE;
    let announce = slab.mark_pending();
    let mut count = 0;
    let (mut word, mut bits) = (usize::MAX, 0u64);
    for &block in blocks {
        let offset = block.addr().wrapping_sub(base);
        if offset >= length {
            break;
        }
        let index = match Slab::index_in(info, offset) {
            Ok(index) if index < info.capacity as usize => index,
            Ok(_) => misuse::bad_block(block, class, Misuse::NeverAllocated),
            Err(wrong) => misuse::bad_block(block, class, wrong),
        };
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
        count += 1;
    }
    put_word(slab, class, word, bits);
    if announce {
        slab.announce();
    }
    count
}

fn put_word(slab: &Slab, class: usize, word: usize, bits: u64) {
    let twice = slab.put_remote(word, bits);
    if twice != 0 {
        let index = word * 64 + twice.trailing_zeros() as usize;
        let size = CLASSES.get(class).map_or(0, |info| info.size as usize);
        misuse::bad_block(slab.base.wrapping_add(index * size), class, Misuse::DoubleFree);
    }
}
