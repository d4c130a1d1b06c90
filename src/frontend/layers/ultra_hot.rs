//! UltraHot: eight slots in one cache line, for the classes of 32 to 256 bytes.
//!
//! The idea: what was freed last is asked for next, so one block per class, all of them in the line
//! that every request touches anyway, serves most pairs of free and allocation. Two neighbouring
//! classes share a slot. A slot's word is the block's address with the class in its low four bits,
//! which are zero in every address of a block of 16 bytes or more: "is there a block of this class?"
//! is one test of the word just loaded. (The old system's UltraHot had three checks, and cost 11.7 %.)

use crate::class::{self, CLASSES as TABLE};
use crate::frontend::layer::{ClassMask, FrontendLayer, Slot};
use crate::frontend::magazine::UnifiedCache;
use core::cell::Cell;
use core::ptr;

pub(crate) const ON: bool = cfg!(feature = "ultra-hot");

const CLASSES: ClassMask = ClassMask::groups(&[2, 3, 4, 5]);
const SLOTS: usize = 8;
/// The low bits of a word.
const TAGS: usize = 15;

/// A word that is no block of any class and not empty either.
const CLOSED: Slot = ptr::without_provenance_mut(TAGS + 1);

/// The line.
#[repr(align(64))]
pub(crate) struct UltraHot([Cell<Slot>; SLOTS]);

const _: () = {
    assert!(size_of::<UltraHot>() == 64);
    assert!(tag(CLASSES.first()) == 1 && tag(CLASSES.last()) == TAGS);
    assert!(CLASSES.first() / 2 == 1 && CLASSES.last() / 2 == SLOTS);
    let mut class = CLASSES.first();
    while class <= CLASSES.last() {
        // Addresses have room for the tag, and classes that share a slot are of one group, so that
        // the limit of the tiny tier moves both or none.
        assert!(TABLE[class].size as usize & TAGS == 0);
        assert!(
            class.is_multiple_of(2)
                || class == 3
                || class::group_of(class) == class::group_of(class - 1)
        );
        class += 1;
    }
};

/// A class in the low bits of a word.
const fn tag(class: usize) -> usize {
    class - (CLASSES.first() - 1)
}

impl UltraHot {
    #[inline(always)]
    fn slot(&self, class: usize) -> &Cell<Slot> {
        debug_assert!(CLASSES.has(class));
        // SAFETY: classes 3 to 17 have the slots 0 to 7, as asserted above.
        unsafe { self.0.get_unchecked((class / 2).wrapping_sub(1)) }
    }

    /// The block of `class` in a word; null if it is none.
    #[inline(always)]
    fn block(word: Slot, class: usize) -> *mut u8 {
        // Empty and closed words keep a low bit of the tag.
        let block = word.map_addr(|word| word ^ tag(class));
        if block.addr() & TAGS != 0 {
            return ptr::null_mut();
        }
        // SAFETY: a word with this class's tag was a block's address with it, and no block lies at 0.
        unsafe { core::hint::assert_unchecked(!block.is_null()) };
        block
    }
}

// SAFETY: a slot has a block from its push, which found the slot empty, to its pop or drain, which
// empty it; the tag keeps the class. Class 0 is not covered.
unsafe impl FrontendLayer for UltraHot {
    const NAME: &'static str = "ultra-hot";
    const RANK: usize = 0;
    const ON: bool = ON;
    const CLASSES: ClassMask = CLASSES;
    const NEW: Self = UltraHot([const { Cell::new(CLOSED) }; SLOTS]);

    #[inline(always)]
    fn pop(&self, class: usize, _behind: &UnifiedCache) -> *mut u8 {
        let slot = self.slot(class);
        let block = Self::block(slot.get(), class);
        if !block.is_null() {
            slot.set(ptr::null_mut());
        }
        block
    }

    #[inline(always)]
    fn push(&self, class: usize, block: *mut u8, _behind: &UnifiedCache) -> bool {
        let slot = self.slot(class);
        // An address inside a block has no room for the tag: the slab will find out what it is.
        if slot.get().addr() | (block.addr() & TAGS) != 0 {
            return false;
        }
        slot.set(block.map_addr(|block| block | tag(class)));
        true
    }

    fn each_block(&self, class: usize, visit: &mut dyn FnMut(*mut u8)) {
        let block = Self::block(self.slot(class).get(), class);
        if !block.is_null() {
            visit(block);
        }
    }

    fn count(&self, class: usize) -> usize {
        usize::from(!Self::block(self.slot(class).get(), class).is_null())
    }

    fn most(_class: usize) -> usize {
        1
    }

    fn capacity(&self, class: usize) -> usize {
        usize::from(self.slot(class).get() != CLOSED)
    }

    fn set_capacity(&mut self, class: usize, capacity: usize) {
        let slot = self.slot(class);
        // The other class's block stays until it is drained.
        if slot.get().is_null() && capacity == 0 {
            slot.set(CLOSED);
        } else if slot.get() == CLOSED && capacity != 0 {
            slot.set(ptr::null_mut());
        }
    }

    fn drain(&mut self, class: usize, keep: usize, out: &mut [Slot]) -> usize {
        let slot = self.slot(class);
        let block = Self::block(slot.get(), class);
        match out.first_mut() {
            Some(to) if keep == 0 && !block.is_null() => {
                *to = block;
                slot.set(ptr::null_mut());
                1
            }
            _ => 0,
        }
    }
}
