//! The gate `hardened`: what the default heap finds at the next flush is found at once, and what it
//! can't find is made harder to use.
//!
//! | measure | where |
//! |---|---|
//! | every free is checked: the address, the class, the canary, the mark | [`look`] |
//! | a canary behind every block of a slab | `canary` |
//! | zero on free, as far as the setting says, and a look whether the start stayed as it was left | `canary`; large blocks in `segment::guarded` |
//! | quarantine: a freed block waits for a random number of frees | `quarantine` |
//! | blocks come out of a refill in random order | `quarantine` |
//! | guard pages around metadata and large blocks, freed large blocks fault | `segment::guarded` |
//!
//! Assumes that blocks leave their slabs through [`prepare`], reach the program through [`hand_out`] and
//! come back through [`look`] and [`take_back`], whatever caches lie between. Promises: a block that a
//! check refuses ends the process with one line, before anything is done with it. Without the gate all
//! of this is empty. Why so and not otherwise: `docs/decisions/0013`.

mod canary;
mod quarantine;
mod shape;

use crate::base::sync::Ordering;
use crate::class::{self, CLASSES, HARDENED};
use crate::segment::misuse;
use crate::segment::registry;
use crate::segment::slab::{Misuse, Slab};
pub(crate) use canary::{EMPTIED, Marks, SHORT};
pub(crate) use quarantine::{Quarantine, SLOTS};

/// Whether the gate is on.
pub(crate) const ON: bool = HARDENED;

/// Before the first block is handed out: makes the secrets.
pub(crate) fn arm() {
    if ON {
        canary::arm();
    }
}

/// A block of a slab goes to the program: it must be as the heap left it.
#[inline(always)]
pub(crate) fn hand_out(block: *mut u8, class: usize) {
    // SAFETY: the block is free, prepared when it left its slab, and the caller's.
    if ON && !block.is_null() && !unsafe { canary::hand_out(block) } {
        misuse::bad_block(block, class, Misuse::WrittenFree);
    }
}

/// The marks of a block that is given back as `class`, if it is in use and untouched behind its end.
/// `None`: it is not, or the class is 0, which is whatever is not in a slab.
///
/// `block` lies in a slab of the class, wherever there.
#[inline(always)]
pub(crate) fn look(heap: &Quarantine, block: *mut u8, class: usize) -> Option<Marks> {
    if !ON {
        return Some(Marks::NONE);
    }
    if !heap.shapes.fits(class, block.addr()) {
        return None;
    }
    // SAFETY: a block of the class would lie whole in the slab at this address.
    unsafe { canary::in_use(block, heap.shapes.usable(class)) }
}

/// Whether blocks of this class are emptied whole when they are freed.
#[inline(always)]
pub(crate) fn is_emptied(heap: &Quarantine, class: usize) -> bool {
    ON && heap.shapes.usable(class) <= EMPTIED.load(Ordering::Relaxed) as usize
}

/// Empties a block that is being freed, if it is a short one.
///
/// # Safety
/// `block` is one of `class`, and the program has given it back.
#[inline(always)]
pub(crate) unsafe fn empty_short(heap: &Quarantine, block: *mut u8, class: usize) -> bool {
    let usable = heap.shapes.usable(class);
    let short = usable <= SHORT;
    if short {
        // SAFETY: as the caller promised.
        unsafe { canary::empty_short(block, usable) };
    }
    short
}

/// Empties a block that is being freed.
///
/// # Safety
/// As for `empty_short`.
pub(crate) unsafe fn empty(heap: &Quarantine, block: *mut u8, class: usize) {
    // SAFETY: as the caller promised.
    unsafe { block.write_bytes(0, heap.shapes.usable(class)) };
}

/// Takes a block back. Gives what is to be cached instead of it: a block that has left the quarantine,
/// or null.
///
/// # Safety
/// `block` is one of `class` that the program has given back; a look at it gave these marks.
#[inline(always)]
pub(crate) unsafe fn take_back(
    heap: &Quarantine,
    block: *mut u8,
    class: usize,
    marks: Marks,
) -> *mut u8 {
    if !ON {
        return block;
    }
    // SAFETY: as the caller promised.
    unsafe { canary::mark(block, marks) };
    heap.swap(class, block, marks.number())
}

/// Blocks leave their slabs: `count` of `class`, right below `end`.
///
/// # Safety
/// So many pointers to free blocks that are the caller's lie there.
#[inline(always)]
pub(crate) unsafe fn prepare(class: usize, end: *mut *mut u8, count: usize) {
    // Those of a class that serves nobody have no room for it; they may be stocked all the same.
    if !ON || !class::serves(class) {
        return;
    }
    let Some(info) = CLASSES.get(class) else { return };
    for at in 1..=count {
        // SAFETY: by contract.
        unsafe {
            let block = *end.sub(at);
            if let Err(wrong) = canary::prepare(block, info.usable()) {
                misuse::bad_block(block, class, wrong);
            }
        }
    }
}

/// The class that a block was freed as must be that of its address.
#[inline(always)]
pub(crate) fn agree(block: *mut u8, class: usize) {
    if ON && registry::class_for_free(block) != Some(class) {
        disagree(block, class);
    }
}

/// Ends the process unless the block is of the class, in whatever window.
#[cold]
#[inline(never)]
fn disagree(block: *mut u8, class: usize) {
    if class != 0 {
        slab_of(block, class);
        return;
    }
    // SAFETY: a run with a block in use is alive; see `slab_of`.
    if let Some(slab) = unsafe { registry::run_of(block).as_ref() }
        && slab.class != 0
    {
        misuse::wrong_class(block, class, usize::from(slab.class));
    }
}

/// Looks again at a block whose marks are not there, or not where a quick look expects them: ends the
/// process unless it is in use. `None`: class 0.
#[cold]
#[inline(never)]
pub(crate) fn look_closer(block: *mut u8, class: usize) -> Option<Marks> {
    if class == 0 {
        return None;
    }
    let (slab, index) = slab_of(block, class);
    let usable = slab.info().usable();
    // SAFETY: the address is that of a block of the slab.
    let marks = unsafe { canary::in_use(block, usable) };
    if marks.is_none() {
        // SAFETY: as above.
        let wrong = unsafe { canary::why_not_in_use(block, usable) };
        misuse::bad_block(block, class, explain(slab, index, wrong));
    }
    marks
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
    let info = slab.info();
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
