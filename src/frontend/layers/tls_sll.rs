//! TLS SLL: a list per class behind the magazine, which takes what overflows from it and gives it back
//! before the slabs are asked.
//!
//! The idea: a program that frees in bursts overflows its magazines and soon wants the same blocks
//! again. Threaded through the blocks themselves the list needs no storage, may be long, and spares
//! the way through the slabs' bitmaps. What it costs is that blocks are written and read once more
//! while they are cold.
//!
//! This is the only place where the heap writes into free blocks: the first eight bytes of a block in
//! the list are the link, which is wiped when the block leaves it. So a block of eight bytes is just
//! large enough; and a program that writes to what it has freed can break the list. The high bits of a link are a checksum over its place: a link
//! that was written over is noticed but for one time in 32768, and ends the process. (It is against
//! accidents, not against attackers, who can compute it.)
//!
//! A block that is freed twice and comes here twice makes the list a circle. As the list is walked by
//! its length, the walk comes to the block twice, and finds its link wiped.

use crate::class::{CLASSES as TABLE, COUNT};
use crate::frontend::layer::{ClassMask, FrontendLayer, Slot};
use crate::frontend::magazine::UnifiedCache;
use crate::segment::misuse;
use crate::segment::slab::Misuse;
use core::cell::Cell;
use core::ptr;

pub(crate) const ON: bool = cfg!(feature = "tls-sll");

/// Bytes of blocks in a list, and blocks.
const MOST_BYTES: usize = 64 << 10;
const MOST: usize = if cfg!(miri) { 16 } else { 1024 };
/// Blocks of the largest classes.
const LEAST: usize = 2;

/// Bits of a link that no address of a program has.
const CHECK: usize = 0xFFFF << 48;

const _: () = {
    // Each block has room for a link, at its alignment.
    let mut class = 1;
    while class < COUNT {
        assert!((TABLE[class].size as usize).is_multiple_of(size_of::<Slot>()));
        class += 1;
    }
};

/// The list of a class: `count` blocks from `head` on.
struct List {
    head: Cell<Slot>,
    count: Cell<u32>,
    capacity: Cell<u32>,
}

/// The lists.
pub(crate) struct TlsSll([List; COUNT]);

/// The lowest of these is set in every link, so that none is zero.
const LINK: usize = 1 << 48;

/// What the checksum of a link at this place is.
fn check_of(at: Slot) -> usize {
    (at.addr() >> 3).wrapping_mul(0x9E37_79B9_7F4A_7C15) & CHECK | LINK
}

/// Writes the link to `next` into `block`.
///
/// # Safety
/// `block` is a free block that the layer has.
unsafe fn link(block: Slot, next: Slot) {
    let word = next.map_addr(|next| next ^ check_of(block));
    // SAFETY: blocks have room for a pointer wherever one is aligned; this one is the layer's.
    unsafe { block.cast::<Slot>().write(word) };
}

/// Takes the link out of `block`, which leaves the list; gives what followed it.
///
/// # Safety
/// `block` is in the list of `class`.
unsafe fn unlink(block: Slot, class: usize) -> Slot {
    // SAFETY: as the caller promised.
    unsafe {
        let next = next_of(block, class);
        // A free block that reads as zero still does (see `harden`), and no address leaks.
        block.cast::<Slot>().write(ptr::null_mut());
        next
    }
}

/// Reads the link of `block`.
///
/// # Safety
/// `block` is in the list of `class`.
unsafe fn next_of(block: Slot, class: usize) -> Slot {
    // SAFETY: a block in a list begins with a link.
    let word = unsafe { block.cast::<Slot>().read() };
    if word.is_null() {
        // It has left the list before.
        misuse::bad_block(block, class, Misuse::DoubleFree);
    }
    let next = word.map_addr(|word| word ^ check_of(block));
    if next.addr() & CHECK != 0 {
        misuse::written_when_free(block, class);
    }
    next
}

impl TlsSll {
    #[inline(always)]
    fn list(&self, class: usize) -> &List {
        debug_assert!(class < COUNT);
        // SAFETY: classes are below COUNT wherever they come from.
        unsafe { self.0.get_unchecked(class) }
    }
}

// SAFETY: a list has a block from its push to its pop or drain; it is walked by its length. Class 0 is
// never given capacity.
unsafe impl FrontendLayer for TlsSll {
    const NAME: &'static str = "tls-sll";
    const RANK: usize = 24;
    const BEHIND: bool = true;
    const ON: bool = ON;
    const CLASSES: ClassMask = ClassMask::ALL;
    const NEW: Self = TlsSll(
        [const { List { head: Cell::new(ptr::null_mut()), count: Cell::new(0), capacity: Cell::new(0) } };
            COUNT],
    );

    fn pop(&self, class: usize, _behind: &UnifiedCache) -> *mut u8 {
        let list = self.list(class);
        let count = list.count.get();
        if count == 0 {
            return ptr::null_mut();
        }
        let block = list.head.get();
        // SAFETY: the head of a list that is not empty.
        list.head.set(unsafe { unlink(block, class) });
        list.count.set(count - 1);
        block
    }

    fn push(&self, class: usize, block: *mut u8, _behind: &UnifiedCache) -> bool {
        let list = self.list(class);
        // An address inside a block has no room for a link: the slab will find out what it is.
        let aligned = block.addr().is_multiple_of(size_of::<Slot>());
        if list.count.get() >= list.capacity.get() || !aligned {
            return false;
        }
        // SAFETY: the caller gives the block, or eight of its bytes, to the layer.
        unsafe { link(block, list.head.get()) };
        list.head.set(block);
        list.count.set(list.count.get() + 1);
        true
    }

    fn each_block(&self, class: usize, visit: &mut dyn FnMut(*mut u8)) {
        let list = self.list(class);
        let mut block = list.head.get();
        for _ in 0..list.count.get() {
            // SAFETY: within the length of the list. Read first, should `visit` be done with it.
            let next = unsafe { next_of(block, class) };
            visit(block);
            block = next;
        }
    }

    fn count(&self, class: usize) -> usize {
        self.list(class).count.get() as usize
    }

    fn most(class: usize) -> usize {
        let size = TABLE.get(class).map_or(0, |class| class.size as usize);
        MOST_BYTES.checked_div(size).unwrap_or(0).clamp(LEAST, MOST)
    }

    fn capacity(&self, class: usize) -> usize {
        self.list(class).capacity.get() as usize
    }

    fn set_capacity(&mut self, class: usize, capacity: usize) {
        let list = self.list(class);
        list.capacity.set((capacity.min(MOST) as u32).max(list.count.get()));
    }

    /// Cuts out what follows the `keep` newest blocks: the end of the list would be a long way to go,
    /// and in the end the same blocks are left.
    fn drain(&mut self, class: usize, keep: usize, out: &mut [Slot]) -> usize {
        let list = self.list(class);
        let mut next = list.head.get();
        let mut last = ptr::null_mut();
        for _ in 0..keep.min(list.count.get() as usize) {
            last = next;
            // SAFETY: within the length of the list.
            next = unsafe { next_of(last, class) };
        }
        let count = self.count(class).saturating_sub(keep).min(out.len());
        for to in out.iter_mut().take(count) {
            *to = next;
            // SAFETY: as above.
            next = unsafe { unlink(next, class) };
        }
        if last.is_null() {
            list.head.set(next);
        } else if count != 0 {
            // SAFETY: in the list.
            unsafe { link(last, next) };
        }
        list.count.set(list.count.get() - count as u32);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    #[cfg_attr(miri, ignore = "Miri's shorter lists have no room for it")]
    fn the_smallest_blocks_make_a_list() {
        let (behind, mut layer) = (UnifiedCache::new(), TlsSll::NEW);
        let mut blocks = vec![0u64; 40];
        let at = |n: usize, blocks: &mut [u64]| blocks.as_mut_ptr().wrapping_add(n).cast::<u8>();
        assert!(!layer.push(1, at(0, &mut blocks), &behind), "closed");
        layer.set_capacity(1, 40);
        let all: std::vec::Vec<_> = (0..40).map(|n| at(n, &mut blocks)).collect();
        all.iter().for_each(|&block| assert!(layer.push(1, block, &behind)));
        assert!(!layer.push(1, ptr::null_mut(), &behind), "full");
        assert!(layer.pop(2, &behind).is_null(), "each class has its own");
        assert_eq!(layer.pop(1, &behind), all[39]);
        // The ten newest stay.
        let mut out = [ptr::null_mut(); 64];
        assert_eq!(layer.drain(1, 10, &mut out), 29);
        assert_eq!((out[0], out[28]), (all[28], all[0]));
        (29..39).rev().for_each(|n| assert_eq!(layer.pop(1, &behind), all[n]));
        assert!(layer.pop(1, &behind).is_null());
        assert!(blocks.iter().all(|&word| word == 0), "no link stays behind");
    }
}
