//! Is this address ours, and whose? Two flat tables over the address space.
//!
//! - `CLASS_MAP`: one byte per 64 KiB: the class of the slab there, 0 for everything else. One load
//!   tells `free` its class, and its zero sends null, large, huge, foreign and bad pointers to the
//!   cold path.
//! - `SUPERSLABS`: one pointer per SuperSlab to its descriptor, whose `base` settles the identity.
//!
//! Both are indexed by the address modulo 1 TiB, so that they are small enough to be zeroed
//! statics: no set-up, valid before the first allocation and for any pointer value, 20 MiB of
//! address space of which only what is used is ever touched. A SuperSlab that would share an entry
//! with another one, with a huge block or with null is refused when it is made
//! (`arena::map_unshared`). A huge block looks for a place where it shares none
//! (`large::map_unshared`); where the system has no other, the byte of `CLASS_MAP` becomes the
//! block's ([`share`]): it says 0, and blocks of a slab in that granule are known by their
//! descriptor, in `cold`. A foreign pointer that happens to share an entry is found out when it leaves
//! the magazine, since the descriptor's base differs.
//!
//! Invariant: while a huge block is the program's, the byte for its start is 0. Who gives a granule a
//! class, and who makes a byte a block's, has the segment's lock.

use super::arena::SuperSlab;
use super::slab::Slab;
use super::{SUPERSLAB, SUPERSLAB_GRANULES, SUPERSLAB_SHIFT, spans};
use crate::base::sync::{AtomicBool, AtomicPtr, AtomicU8, AtomicUsize, Ordering};
use crate::class::{GRANULE, HARDENED};
use core::ptr;

// An interpreter keeps a record for every byte; its addresses are small.
const WINDOW_SHIFT: u32 = if cfg!(miri) { 32 } else { 40 };
/// Addresses that differ by a multiple of this share an entry.
pub(crate) const WINDOW: usize = 1 << WINDOW_SHIFT;
const GRANULE_SHIFT: u32 = GRANULE.ilog2();
const GRANULES: usize = 1 << (WINDOW_SHIFT - GRANULE_SHIFT);
const SUPERS: usize = 1 << (WINDOW_SHIFT - SUPERSLAB_SHIFT);

/// Relaxed: who holds a block got it through a synchronisation that follows the store.
static CLASS_MAP: [AtomicU8; GRANULES] = [const { AtomicU8::new(0) }; GRANULES];
/// Acquire and Release: who finds a descriptor sees it zeroed at least.
static SUPERSLABS: [AtomicPtr<SuperSlab>; SUPERS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; SUPERS];
/// Whether a huge block has ever started where a SuperSlab has the entry.
/// Relaxed: written, and read to decide anything, under the segment's lock.
static SHARED: AtomicBool = AtomicBool::new(false);
/// Hardened: the first granule of the window that all slabs have been in, which a free relies on.
/// Relaxed: who holds a block got it through a synchronisation that follows the store.
static WINDOW_OF_SLABS: AtomicUsize = AtomicUsize::new(NO_WINDOW);
/// No slab yet: no address lies this high.
const NO_WINDOW: usize = usize::MAX << WINDOW_SHIFT;
/// There are slabs in several; nor this high.
const MANY_WINDOWS: usize = NO_WINDOW - GRANULES;

#[inline(always)]
fn class_entry(address: usize) -> &'static AtomicU8 {
    // SAFETY: the mask keeps the index below GRANULES, a power of two.
    unsafe { CLASS_MAP.get_unchecked((address >> GRANULE_SHIFT) & (GRANULES - 1)) }
}

#[inline(always)]
fn super_entry(address: usize) -> &'static AtomicPtr<SuperSlab> {
    // SAFETY: the mask keeps the index below SUPERS, a power of two.
    unsafe { SUPERSLABS.get_unchecked((address >> SUPERSLAB_SHIFT) & (SUPERS - 1)) }
}

/// The class of the slab at this address; 0 if there is none, or a huge block shares its entry.
#[inline(always)]
pub(crate) fn class_at(pointer: *const u8) -> usize {
    // Plain: an atomic read would not fold with its zero extension.
    // SAFETY: the entry is a valid byte. Whoever holds a block got it through a synchronisation that the store of its class
    // preceded. Only the 0 that `share` stores into the entry of a live slab can race; volatile, so that the look is one load
    // of one byte then, too, and either value brings the block home; and so that it is one for a pointer nobody should hold.
    unsafe { class_entry(pointer.addr()).as_ptr().read_volatile() as usize }
}

/// The descriptor of the SuperSlab at this address, if it is one of ours.
#[inline]
pub(crate) fn superslab_of(pointer: *const u8) -> Option<&'static SuperSlab> {
    let address = pointer.addr();
    // Acquire: pairs with `publish_superslab`; the descriptor is zeroed at least.
    let found = super_entry(address).load(Ordering::Acquire);
    // SAFETY: descriptors are not freed while they are published, and stay published while a block
    // of theirs is in use. (A pointer that was never ours may race with the end of an arena; the
    // memory of metadata stays mapped, so that such a look is harmless.)
    let found = unsafe { found.as_ref() }?;
    let base = found.base.load(Ordering::Relaxed).addr();
    if base == address & !(SUPERSLAB - 1) { Some(found) } else { None }
}

/// The run (slab or large block) that covers this address, if any.
#[inline]
pub(crate) fn run_of(pointer: *const u8) -> *mut Slab {
    match superslab_of(pointer) {
        // Acquire: pairs with `publish_run`.
        Some(found) => match found.runs.get(granule_in_superslab(pointer.addr())) {
            Some(run) => run.load(Ordering::Acquire),
            None => ptr::null_mut(),
        },
        None => ptr::null_mut(),
    }
}

#[inline(always)]
fn granule_in_superslab(address: usize) -> usize {
    (address >> GRANULE_SHIFT) & (SUPERSLAB_GRANULES - 1)
}

/// Whether this address's entry can't be ours: another of our SuperSlabs owns it, or it is that of
/// null (and of small numbers), which must never look like a block.
pub(crate) fn entry_taken(address: usize) -> bool {
    address & (WINDOW - 1) < SUPERSLAB || !super_entry(address).load(Ordering::Acquire).is_null()
}

/// Makes a SuperSlab findable. Its entry must be free.
pub(crate) fn publish_superslab(address: usize, superslab: &'static SuperSlab) {
    // Release: pairs with `superslab_of`.
    super_entry(address).store(ptr::from_ref(superslab).cast_mut(), Ordering::Release);
}

/// Makes a SuperSlab unknown; nothing in it is in use.
pub(crate) fn retract_superslab(address: usize) {
    super_entry(address).store(ptr::null_mut(), Ordering::Release);
}

/// The class of the slab at this address, for a free. `None`: hardened, it lies elsewhere than the slabs
/// have always been, so that [`class_at`] may speak of another address. Then ask the descriptor.
#[inline(always)]
pub(crate) fn class_for_free(pointer: *const u8) -> Option<usize> {
    if !HARDENED {
        return Some(class_at(pointer));
    }
    let granule = pointer.addr() >> GRANULE_SHIFT;
    let granule = granule.wrapping_sub(WINDOW_OF_SLABS.load(Ordering::Relaxed));
    (granule < GRANULES).then(|| class_at(ptr::without_provenance(granule << GRANULE_SHIFT)))
}

/// Records that the blocks in `granules` granules from `base` on are of this class; but not where a
/// huge block shares the entry. The caller has the segment's lock, and the granules.
pub(crate) fn name_class(base: *mut u8, granules: usize, class: u8) {
    if HARDENED {
        let window = base.addr() >> GRANULE_SHIFT & !(GRANULES - 1);
        let known = WINDOW_OF_SLABS.load(Ordering::Relaxed);
        let window = if known == NO_WINDOW || known == window { window } else { MANY_WINDOWS };
        WINDOW_OF_SLABS.store(window, Ordering::Relaxed);
    }
    let shared = SHARED.load(Ordering::Relaxed);
    for granule in 0..granules {
        let address = base.addr() + granule * GRANULE;
        let class = if shared && spans::aliases(address, GRANULE) { 0 } else { class };
        class_entry(address).store(class, Ordering::Relaxed);
    }
}

/// Makes the class entry for this address that of the huge block which starts there, and is recorded.
/// The caller has the segment's lock.
pub(crate) fn share(address: usize) {
    if !super_entry(address).load(Ordering::Acquire).is_null() {
        expect_shared();
        class_entry(address).store(0, Ordering::Relaxed);
    }
}

/// From now on whoever names a class looks for huge blocks first. The caller has the segment's lock.
pub(crate) fn expect_shared() {
    SHARED.store(true, Ordering::Relaxed);
}

/// Whether some slab's entry may say 0.
pub(crate) fn may_be_shared() -> bool {
    SHARED.load(Ordering::Relaxed)
}

/// Records that `granules` granules from `base` on belong to `run`.
pub(crate) fn publish_run(base: *mut u8, granules: usize, run: *mut Slab) {
    for granule in 0..granules {
        let address = base.addr() + granule * GRANULE;
        if let Some(superslab) = superslab_of(base.with_addr(address))
            && let Some(entry) = superslab.runs.get(granule_in_superslab(address))
        {
            // Release: pairs with `run_of`.
            entry.store(run, Ordering::Release);
        }
    }
}

/// Forgets the run that covers `granules` granules from `base` on.
pub(crate) fn retract_run(base: *mut u8, granules: usize) {
    publish_run(base, granules, ptr::null_mut());
    for granule in 0..granules {
        class_entry(base.addr() + granule * GRANULE).store(0, Ordering::Relaxed);
    }
}

/// Keeps huge pages away from the tables: one touched byte must not cost 2 MiB.
pub(crate) fn keep_tables_small() {
    // Plain: where the tables lie; nothing is read.
    for (at, bytes) in [
        (CLASS_MAP.as_ptr().cast::<u8>(), size_of_val(&CLASS_MAP)),
        (SUPERSLABS.as_ptr().cast::<u8>(), size_of_val(&SUPERSLABS)),
    ] {
        // Whole pages inside the table.
        let skip = at.addr().wrapping_neg() & (crate::os::PAGE - 1);
        let length = crate::base::align_down(bytes - skip, crate::os::PAGE);
        crate::os::advise_huge(at.cast_mut().wrapping_add(skip), length, false);
    }
}

#[cfg(all(test, hakmem_model))]
mod model;

#[cfg(test)]
mod tests {
    use super::spans::Span;
    use super::*;

    #[test]
    fn an_entry_that_a_huge_block_has_names_no_class() {
        // Where nothing is mapped, and nothing read or written.
        let base = (WINDOW / 2..WINDOW).step_by(SUPERSLAB).find(|&at| !entry_taken(at)).unwrap();
        let at = |granule: usize| ptr::without_provenance_mut::<u8>(base + granule * GRANULE);
        let classes = || [0, 1, 2].map(|granule| class_at(at(granule)));
        let block = Span { at: at(1).wrapping_add(WINDOW + crate::os::PAGE), bytes: 1 };
        name_class(at(0), 3, 7);
        assert_eq!(classes(), [7, 7, 7]);
        // An address of another window that shares the entry.
        let other = class_for_free(at(0).wrapping_add(WINDOW));
        assert_eq!(other, if HARDENED { None } else { Some(7) });
        assert!(spans::insert(block));
        expect_shared();
        name_class(at(0), 3, 8);
        assert_eq!(classes(), [8, 0, 8]);
        assert!(spans::remove(block.at).is_some());
        name_class(at(0), 3, 9);
        assert_eq!(classes(), [9, 9, 9]);
        retract_run(at(0), 3);
        assert_eq!(classes(), [0, 0, 0]);
        // No SuperSlab is there to share with.
        share(base);
        assert!(may_be_shared());
    }
}
