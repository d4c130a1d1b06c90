//! The gate `hardened`: what the default heap finds at the next flush is found at once, and what it
//! can't find is made harder to use.
//!
//! | measure | where |
//! |---|---|
//! | every free is checked: the address, the class, the canary | [`checked_free`] |
//! | a canary behind every block of a slab | `canary` |
//! | zero on free, and a look whether it stayed so | `canary`; large blocks in `segment::guarded` |
//! | quarantine: a freed block waits for a random number of frees | `quarantine` |
//! | blocks come out of a refill in random order | `quarantine` |
//! | guard pages around metadata and large blocks, freed large blocks fault | `segment::guarded` |
//!
//! Assumes that blocks reach the program through [`hand_out`] and come back through
//! [`checked_free`], whatever caches lie between. Promises: a block that a check refuses ends the
//! process with one line, before anything is done with it. Without the gate all of this is empty.

mod canary;
mod quarantine;

use crate::class::{Class, HARDENED};
use crate::segment::misuse;
use crate::segment::registry;
use crate::segment::slab::{Misuse, Slab};
use canary::Canary;
pub(crate) use quarantine::{Quarantine, SLOTS};

/// Whether the gate is on.
pub(crate) const ON: bool = HARDENED;

/// Before the first block is handed out: makes the secrets.
pub(crate) fn arm() {
    if ON {
        canary::arm();
    }
}

/// A block of a slab goes to the program: it must be as the heap left it, and gets its canary.
#[inline(always)]
pub(crate) fn hand_out(block: *mut u8, class: usize) {
    if ON && !block.is_null() {
        let Some(info) = crate::class::CLASSES.get(class) else { return };
        // SAFETY: the block lies in a slab of this class, and is the caller's.
        if let Err(wrong) = unsafe { Canary::of(block, info).hand_out() } {
            misuse::bad_block(block, class, wrong);
        }
    }
}

/// The program gives a block back as `class`: it must be a block in use, untouched behind its end.
/// Gives what is to be cached instead of it: a block that has left the quarantine, or null. Class 0
/// is whatever is not in a slab, and passes.
///
/// # Safety
/// `block` is not used afterwards.
#[inline(always)]
pub(crate) unsafe fn checked_free(
    quarantine: &Quarantine,
    block: *mut u8,
    class: usize,
) -> *mut u8 {
    if !ON || class == 0 {
        return block;
    }
    let (slab, index) = slab_of(block, class);
    // SAFETY: the address is that of a block of the slab.
    if let Err(wrong) = unsafe { Canary::of(block, slab.info()).take_back() } {
        misuse::bad_block(block, class, explain(slab, index, wrong));
    }
    quarantine.swap(class, block)
}

/// The slab and the index of a block that is given back as `class`.
#[inline(always)]
fn slab_of(block: *mut u8, class: usize) -> (&'static Slab, usize) {
    // SAFETY: a run with a block in use is alive; the memory of a descriptor stays mapped, so that a
    // look at one that is just going is harmless.
    let Some(slab) = (unsafe { registry::run_of(block).as_ref() }) else {
        misuse::not_ours(block, "free")
    };
    if slab.class as usize != class {
        misuse::wrong_class(block, class, slab.class as usize);
    }
    let info: &Class = slab.info();
    match slab.index_of(block) {
        Ok(index) if index < info.capacity as usize => (slab, index),
        Ok(_) => misuse::bad_block(block, class, Misuse::NeverAllocated),
        Err(wrong) => misuse::bad_block(block, class, wrong),
    }
}

/// What a canary of zero means. A racy look at the slab, for the message only.
#[cold]
fn explain(slab: &Slab, index: usize, wrong: Misuse) -> Misuse {
    match wrong {
        Misuse::NotInUse if slab.is_home(index) => Misuse::DoubleFree,
        Misuse::NotInUse if index >= slab.carved.get() as usize => Misuse::NeverAllocated,
        wrong => wrong,
    }
}
