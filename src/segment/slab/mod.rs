//! A slab: a run of granules that holds blocks of one class, its state out of band.
//!
//! Every block below `carved` is in exactly one place:
//!
//! > carved = user + cached + local + remote
//!
//! - *local*: its bit in the local bitmap is set; `free` counts these.
//! - *remote*: its bit in the remote bitmap is set, by a thread that does not own the slab.
//! - *cached*: in some thread's magazine; *user*: in the program's hands.
//!
//! Blocks at or beyond `carved` have never been handed out and were never touched by us.
//!
//! | fields | who may touch them |
//! |---|---|
//! | `base`, `class`, `granules`, `owner` | anyone reads; written before publication only |
//! | `carved`, `free`, `hint`, `stays_below`, links, local bitmap, page states | the owner (the thread that has the heap) |
//! | `pending`, `pending_next`, remote bitmap | atomics |
//!
//! A large block is described by the same structure with class 0 and no bitmap.
//!
//! How blocks come back from other threads: `remote`. How free pages go back: `pages`.

mod pages;
mod remote;

pub(crate) use remote::PendingStack;

use super::arena::{self, Filling, Run};
use super::{SUPERSLAB_GRANULES, guarded, meta, registry};
use crate::base::sync::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use crate::class::{CLASSES, Class, GRANULE, HARDENED, HEADER};
use crate::os::{self, PAGE};
use core::cell::Cell;
use core::ptr::{self, NonNull};

/// Whether a released run's pages go back to the system at once instead of waiting, with others,
/// for the next purge (batched madvise switched off).
/// Relaxed: a setting; a late look obeys the one before.
pub(crate) static DISCARD_AT_ONCE: AtomicBool = AtomicBool::new(false);

/// Where a slab stands with its owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Place {
    /// In no list: being made, or the slab that refills come from.
    Current,
    /// In the list of slabs with free blocks, by fullness (0 is the fullest).
    Partial(u8),
    /// In the list of slabs without any.
    Full,
}

/// What is wrong with a block that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// The address is inside a block, not at its start.
    Interior,
    /// The block was never handed out.
    NeverAllocated,
    /// The block is free already.
    DoubleFree,
    /// The block is not in use, or the end of it was overwritten with zeros.
    NotInUse,
    /// The bytes behind a block in use are not what the heap wrote there.
    Overflow,
    /// A free block is not as the heap left it.
    WrittenFree,
}

/// Descriptor of a slab (or of a large block).
#[repr(C, align(64))]
pub(crate) struct Slab {
    /// First byte of the run.
    pub(crate) base: *mut u8,
    /// Whose slab it is.
    pub(crate) owner: *const PendingStack,
    /// Links of the owner's list.
    pub(crate) next: Cell<*mut Slab>,
    pub(crate) prev: Cell<*mut Slab>,
    /// Blocks below this index have been handed out at least once.
    pub(crate) carved: Cell<u32>,
    /// Bits set in the local bitmap.
    pub(crate) free: Cell<u32>,
    /// No word of the local bitmap below this one has a bit set.
    hint: Cell<u16>,
    /// Size class; 0 for a large block.
    pub(crate) class: u8,
    pub(crate) place: Cell<Place>,
    /// Whether some page is marked in `discarded`.
    has_discarded: Cell<bool>,
    /// Whether the run read as zero when it was made: beyond the carve limit it still does.
    fresh: bool,
    /// How the run was asked for.
    filling: Filling,
    /// Blocks have come home since pages were last looked for.
    pub(crate) freed_since_purge: Cell<bool>,
    /// Granules in the run.
    pub(crate) granules: Cell<u32>,
    /// Coarse time (ms, wrapping) at which a thread's cache took it in; large blocks only.
    pub(crate) stamp: Cell<u32>,
    /// Below so many free blocks the slab stays where it is.
    pub(crate) stays_below: Cell<u32>,
    /// Bytes the user may use; large blocks only.
    pub(crate) bytes: Cell<usize>,
    /// Pages of the run that were returned to the system and not handed out since.
    discarded: [Cell<u64>; 4],
    /// Whether pages have been returned, and with them the headers of the blocks on them.
    headers_lost: [Cell<bool>; HEADER as usize],

    // Shared from here on.
    pending: AtomicBool,
    /// Relaxed: written before the push that publishes it, read after `take_all`, which acquires.
    pending_next: AtomicPtr<Slab>,
    // The local bitmap and then the remote bitmap follow, `words()` words each.
}

/// How a run of this class is filled: slabs of one granule hold small blocks. A heap's first slab of
/// a class may stay almost empty, and in a program of many threads most do; one that follows a full
/// one is filled.
const fn filling(class: &Class, first: bool) -> Filling {
    if class.granules == 1 && !first { Filling::Dense } else { Filling::Sparse }
}

impl Slab {
    const fn bytes_with_bitmaps(words: usize) -> usize {
        size_of::<Slab>() + 2 * words * size_of::<u64>()
    }

    /// The class's constants.
    #[inline(always)]
    pub(crate) fn info(&self) -> &'static Class {
        // SAFETY: `class` was valid when the slab was made and never changes.
        unsafe { CLASSES.get_unchecked(self.class as usize) }
    }

    /// A new slab of `class` owned by `owner`, published; `first`: its owner has no full one of that
    /// class. `None`: out of memory.
    pub(crate) fn create(
        class: usize,
        owner: *const PendingStack,
        first: bool,
    ) -> Option<NonNull<Slab>> {
        let info = CLASSES.get(class)?;
        let granules = info.granules as usize;
        let bytes = Slab::bytes_with_bitmaps(info.words());
        let storage = meta::alloc(bytes, true)?;
        let Some(run) = arena::alloc_run(granules, granules, filling(info, first), class as u8)
        else {
            // SAFETY: just allocated with this size.
            unsafe { meta::free(storage, bytes) };
            return None;
        };
        Some(Slab::publish(storage, run, granules, class as u8, owner, 0))
    }

    /// A descriptor for a large block of `granules` granules aligned to `align` granules. Second
    /// result: whether the memory is all zero.
    pub(crate) fn create_large(
        granules: usize,
        align: usize,
        bytes: usize,
    ) -> Option<(NonNull<Slab>, bool)> {
        let like_mapping = granules > SUPERSLAB_GRANULES && os::huge_unasked();
        let filling = if like_mapping { Filling::Long } else { Filling::Sparse };
        let storage = meta::alloc(size_of::<Slab>(), true)?;
        let Some(run) = arena::alloc_run(granules, align, filling, 0) else {
            // SAFETY: just allocated with this size.
            unsafe { meta::free(storage, size_of::<Slab>()) };
            return None;
        };
        Some((Slab::publish(storage, run, granules, 0, ptr::null(), bytes), run.zeroed))
    }

    fn publish(
        storage: NonNull<u8>,
        run: Run,
        granules: usize,
        class: u8,
        owner: *const PendingStack,
        bytes: usize,
    ) -> NonNull<Slab> {
        let slab: NonNull<Slab> = storage.cast();
        // SAFETY: zeroed, aligned storage of at least this size; the bitmaps behind it stay zero.
        unsafe {
            slab.as_ptr().write(Slab {
                base: run.base.as_ptr(),
                owner,
                next: Cell::new(ptr::null_mut()),
                prev: Cell::new(ptr::null_mut()),
                carved: Cell::new(0),
                free: Cell::new(0),
                hint: Cell::new(0),
                class,
                place: Cell::new(Place::Current),
                has_discarded: Cell::new(false),
                fresh: run.zeroed,
                filling: run.filling,
                freed_since_purge: Cell::new(false),
                granules: Cell::new(granules as u32),
                stamp: Cell::new(0),
                stays_below: Cell::new(u32::MAX),
                bytes: Cell::new(bytes),
                discarded: [const { Cell::new(0) }; 4],
                headers_lost: [const { Cell::new(false) }; HEADER as usize],
                pending: AtomicBool::new(false),
                pending_next: AtomicPtr::new(ptr::null_mut()),
            });
        }
        registry::publish_run(run.base.as_ptr(), granules, slab.as_ptr());
        slab
    }

    /// Gives the run back to the arena and the descriptor back to the metadata.
    ///
    /// # Safety
    /// The caller owns the slab; all its blocks are home and `pending` is clear (or it is a large
    /// block that the caller holds); it is in no list.
    pub(crate) unsafe fn destroy(slab: *mut Slab) {
        // SAFETY: as the caller promised.
        unsafe { Slab::release(slab, false) };
    }

    /// The same; `discard`: the pages go back to the system at once.
    ///
    /// # Safety
    /// As for [`Slab::destroy`].
    pub(crate) unsafe fn release(slab: *mut Slab, discard: bool) {
        // SAFETY: owned by the caller, so alive and unshared.
        let slab_ref = unsafe { &*slab };
        let (base, info) = (slab_ref.base, slab_ref.info());
        let (granules, touched) = (slab_ref.granules.get() as usize, slab_ref.touched_granules());
        let (words, filling) = (info.words(), slab_ref.filling);
        registry::retract_run(base, granules);
        if HARDENED {
            // What the next user of the run finds is zero: canaries and free blocks rely on it.
            guarded::clear(base, touched * GRANULE);
        }
        let discard = discard || DISCARD_AT_ONCE.load(Ordering::Relaxed);
        let dirty = !(discard && os::discard(base, touched * GRANULE));
        // SAFETY: retracted; nobody holds a block of it.
        unsafe {
            if touched != 0 {
                arena::release_run(base, touched, dirty, filling);
            }
            if touched != granules {
                arena::release_run(base.add(touched * GRANULE), granules - touched, false, filling);
            }
        }
        if let Some(storage) = NonNull::new(slab.cast::<u8>()) {
            let bytes =
                if words == 0 { size_of::<Slab>() } else { Slab::bytes_with_bitmaps(words) };
            // SAFETY: allocated with this size; no thread refers to it (see the remote protocol).
            unsafe { meta::free(storage, bytes) };
        }
    }

    /// Granules from the base on that may have resident pages.
    fn touched_granules(&self) -> usize {
        if self.class == 0 || !self.fresh {
            return self.granules.get() as usize;
        }
        let touched = self.carved.get() as usize * self.info().size as usize;
        touched.div_ceil(GRANULE)
    }

    #[inline(always)]
    fn local_words(&self) -> *mut u64 {
        // The bitmaps lie right behind the descriptor, in the same storage.
        ptr::from_ref(self).cast_mut().wrapping_add(1).cast()
    }

    #[inline(always)]
    fn local(&self, word: usize) -> &Cell<u64> {
        debug_assert!(word < self.info().words());
        // SAFETY: the storage holds `words()` local words; only the owner calls this.
        unsafe { &*self.local_words().add(word).cast::<Cell<u64>>() }
    }

    #[inline(always)]
    /// Acquire and Release: who takes or counts a bit sees what the thread that set it wrote before.
    fn remote(&self, word: usize) -> &AtomicU64 {
        debug_assert!(word < self.info().words());
        // SAFETY: the storage holds `words()` remote words behind the local ones.
        unsafe { &*self.local_words().add(self.info().words() + word).cast::<AtomicU64>() }
    }

    /// The index of the block at `block`, checked.
    #[inline(always)]
    pub(crate) fn index_of(&self, block: *const u8) -> Result<usize, Misuse> {
        Slab::index_in(self.info(), block.addr().wrapping_sub(self.base.addr()))
    }

    /// The same in a loop: what does not change is read once.
    #[inline(always)]
    pub(crate) fn index_in(info: &Class, offset: usize) -> Result<usize, Misuse> {
        let index = info.index_of(offset);
        if index * info.size as usize != offset { Err(Misuse::Interior) } else { Ok(index) }
    }

    /// Brings those of `blocks` home that lie in this slab, up to the first that does not; at least
    /// one does. Gives their number. The caller owns the slab. The error is a block and what is wrong
    /// with it.
    #[inline(always)]
    pub(crate) fn put(&self, blocks: &[*mut u8]) -> Result<usize, (*mut u8, Misuse)> {
        let (info, base) = (self.info(), self.base.addr());
        let length = info.granules as usize * GRANULE;
        let carved = self.carved.get() as usize;
        let (mut count, mut hint) = (0, self.hint.get());
        for &block in blocks {
            let offset = block.addr().wrapping_sub(base);
            if offset >= length {
                break;
            }
            let index = Slab::index_in(info, offset).map_err(|wrong| (block, wrong))?;
            if index >= carved {
                return Err((block, Misuse::NeverAllocated));
            }
            let (word, bit) = (index / 64, 1u64 << (index % 64));
            let cell = self.local(word);
            let before = cell.get();
            if before & bit != 0 {
                return Err((block, Misuse::DoubleFree));
            }
            cell.set(before | bit);
            hint = hint.min(word as u16);
            count += 1;
        }
        self.hint.set(hint);
        self.free.set(self.free.get() + count as u32);
        Ok(count)
    }

    /// Whether all blocks that were ever handed out are home. The caller owns the slab.
    #[inline]
    pub(crate) fn all_home(&self) -> bool {
        self.free.get() == self.carved.get()
    }

    /// Takes up to `want` free blocks, lowest addresses first, and writes them downwards from
    /// `end`, so that a magazine whose top is `end` pops them in address order.
    ///
    /// # Safety
    /// `want` slots below `end` are writable; the caller owns the slab.
    #[inline]
    pub(crate) unsafe fn take(&self, end: *mut *mut u8, want: usize) -> usize {
        let want = want.min(self.free.get() as usize);
        let size = self.info().size as usize;
        let mut word = self.hint.get() as usize;
        let mut taken = 0;
        while taken < want {
            let cell = self.local(word);
            let mut bits = cell.get();
            let base = word * 64;
            while bits != 0 && taken < want {
                let index = base + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                taken += 1;
                // SAFETY: the index is below the capacity, so the block lies in the run; the slot
                // is one of the `want` below `end`.
                unsafe { *end.sub(taken) = self.base.add(index * size) };
            }
            if self.has_discarded.get() {
                self.forget_discarded(
                    base * size,
                    (cell.get() & !bits).ilog2_or(base) * size + size,
                );
            }
            cell.set(bits);
            if bits == 0 {
                word += 1;
            }
        }
        self.hint.set(word as u16);
        self.free.set(self.free.get() - taken as u32);
        taken
    }

    /// Carves up to `want` blocks that were never handed out, but touches at most two pages (or
    /// one block), and writes them downwards from `end`.
    ///
    /// # Safety
    /// As for `take`.
    #[inline]
    pub(crate) unsafe fn carve(&self, end: *mut *mut u8, want: usize) -> usize {
        let info = self.info();
        let size = info.size as usize;
        let from = self.carved.get() as usize;
        // Up to the end of the page after the one the carve limit lies in.
        let stop = ((from * size) / PAGE + 2) * PAGE;
        let fit = stop.checked_div(size).unwrap_or(0);
        let count = fit.max(from + 1).min(info.capacity as usize).min(from + want) - from;
        for step in 0..count {
            // SAFETY: from + step is below the capacity; the slot is one of the `want` below `end`.
            unsafe { *end.sub(step + 1) = self.base.add((from + step) * size) };
        }
        if self.has_discarded.get() && count != 0 {
            // The first page may have been returned for the sake of its blocks below the limit.
            self.forget_discarded(from * size, (from + count) * size);
        }
        self.carved.set((from + count) as u32);
        count
    }

    /// Whether the next block comes from beyond the carve limit and reads as zero.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh && self.free.get() == 0 && self.carved.get() < self.info().capacity
    }

    /// Whether free blocks may lack their headers.
    #[inline(always)]
    pub(crate) fn has_lost_headers(&self) -> bool {
        self.headers_lost.first().is_some_and(Cell::get)
    }

    /// Whether nothing is left to take or carve.
    #[inline]
    pub(crate) fn is_exhausted(&self) -> bool {
        self.free.get() == 0 && self.carved.get() == self.info().capacity
    }

    /// Bits set in the local and in the remote bitmap. For the heap walker; the caller owns the
    /// slab or the program is quiet.
    pub(crate) fn count_bits(&self) -> (usize, usize) {
        let (mut local, mut remote) = (0, 0);
        for word in 0..self.info().words() {
            local += self.local(word).get().count_ones() as usize;
            remote += self.remote(word).load(Ordering::Acquire).count_ones() as usize;
        }
        (local, remote)
    }

    /// Whether block `index` is in the local or remote bitmap. For the heap walker.
    pub(crate) fn is_home(&self, index: usize) -> bool {
        let bits = self.local(index / 64).get() | self.remote(index / 64).load(Ordering::Acquire);
        bits >> (index % 64) & 1 == 1
    }
}

/// The index of the highest set bit, counted from `base`.
trait HighestFrom {
    fn ilog2_or(self, base: usize) -> usize;
}

impl HighestFrom for u64 {
    fn ilog2_or(self, base: usize) -> usize {
        base + self.checked_ilog2().unwrap_or(0) as usize
    }
}

#[cfg(test)]
#[allow(clippy::undocumented_unsafe_blocks)] // The tests own all they touch.
mod tests {
    use super::*;

    /// A slab that no heap owns.
    pub(super) fn slab_of(class: usize) -> NonNull<Slab> {
        static OWNER: PendingStack = PendingStack::new();
        Slab::create(class, &OWNER, true).unwrap()
    }

    #[test]
    fn blocks_are_distinct_and_come_back() {
        let classes: &[usize] = if cfg!(miri) { &[33, 40, 97] } else { &[1, 2, 7, 20, 33, 40, 97] };
        for &class in classes {
            let slab_ptr = slab_of(class);
            let slab = unsafe { slab_ptr.as_ref() };
            let capacity = slab.info().capacity as usize;
            let mut blocks = std::vec![ptr::null_mut::<u8>(); capacity];
            let mut got = 0;
            while !slab.is_exhausted() {
                let end = unsafe { blocks.as_mut_ptr().add(capacity - got) };
                got += unsafe { slab.carve(end, capacity - got) };
            }
            assert_eq!(got, capacity);
            let mut sorted = blocks.clone();
            sorted.sort();
            sorted.dedup();
            assert_eq!(sorted.len(), capacity);
            for &block in &blocks {
                assert_eq!(slab.put(&[block]), Ok(1));
                assert_eq!(slab.put(&[block]), Err((block, Misuse::DoubleFree)));
                let inside = block.wrapping_add(1);
                assert_eq!(slab.put(&[inside]), Err((inside, Misuse::Interior)));
            }
            assert!(slab.all_home());
            let taken = unsafe { slab.take(blocks.as_mut_ptr().add(capacity), capacity) };
            assert_eq!(taken, capacity);
            // Highest slot: lowest address.
            assert!(blocks.is_sorted_by(|a, b| a > b));
            let beyond = slab.base.wrapping_add(slab.info().granules as usize * GRANULE);
            blocks.push(beyond);
            assert_eq!(slab.put(&blocks), Ok(capacity));
            unsafe { Slab::destroy(slab_ptr.as_ptr()) };
        }
    }
}
