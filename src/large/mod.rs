//! Blocks above the thread cache: page runs of the arena (large) and own mappings (huge), behind
//! one cache.
//!
//! | request | comes from |
//! |---|---|
//! | above 256 KiB, up to [`THRESHOLD`] | a run of granules in an arena, 2 MiB-aligned from 2 MiB on |
//! | to grow to more than 2 MiB | a mapping of its own, whose pages can move where its bytes can't stay |
//! | above, or aligned to more than a SuperSlab | a mapping of its own; `realloc` uses `mremap` |
//!
//! Metadata is out of band: a request of 2 MiB takes 2 MiB. A freed block goes to the thread's
//! slots, then to the shared cache (`big_cache`), then back to the arena or the system; which, and
//! for how long, is the thermal policy's choice (`thermal`). No system call is made on the free
//! path unless the cache is over its budget.
//!
//! Assumes sizes above the mid tier. Promises: on failure nothing has changed. At every instant of a
//! resize the block lies whole in one place that is the caller's: each step leaves it where it is or has
//! moved all of it, and wherever the system has moved it, it can stay (`arena::settle`).

pub(crate) mod big_cache;
pub(crate) mod elo;
mod run_slots;
pub(crate) mod thermal;

use crate::base::align_up;
use crate::base::sync::{AtomicBool, AtomicUsize, Ordering};
use crate::class::{GRANULE, HARDENED};
use crate::os;
use crate::segment::arena::{self, Filling};
use crate::segment::slab::Slab;
use crate::segment::{SUPERSLAB, SUPERSLAB_GRANULES, guarded, registry, spans, spans::Span};
use crate::telemetry::front::Server;
use big_cache::Slots;
use core::ptr::NonNull;

/// The threshold, in bytes, unless it is set or learned: what is free in an arena serves every size, a
/// free mapping its own (decision 14).
pub(crate) const FIXED_THRESHOLD: usize = 8 << 20;
/// Requests above this many bytes get a mapping of their own. Fixed unless learned (`elo`).
/// Relaxed: a setting; a late look obeys the one before.
pub(crate) static THRESHOLD: AtomicUsize = AtomicUsize::new(FIXED_THRESHOLD);
/// A block that moves because it grows gets a mapping above this many bytes already: it will grow again,
/// and a mapping moves its pages, not its bytes.
const GROWN_THRESHOLD: usize = SUPERSLAB;

/// Whether the system has refused the last move onto a reservation, and has moved no mapping since.
/// Relaxed: a late look makes a reservation more, or one fewer.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// A block on its way to the user.
pub(crate) struct Block {
    pub(crate) at: NonNull<u8>,
    /// Whether every byte reads as zero.
    pub(crate) zeroed: bool,
}

/// What a block is wanted for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A request of its own.
    New,
    /// To take the contents of a smaller one, which can't grow where it is.
    ToGrow,
}

/// A large or huge block of at least `size` bytes at a multiple of `align` (a power of two).
pub(crate) fn alloc(slots: &mut Slots, size: usize, align: usize, wanted: Wanted) -> Option<Block> {
    if size > isize::MAX as usize - GRANULE || align > isize::MAX as usize / 2 {
        return None;
    }
    let timed = slots.meter.start();
    let block = alloc_anywhere(slots, size, align, wanted);
    slots.meter.allocated(timed, size);
    block
}

fn alloc_anywhere(slots: &mut Slots, size: usize, align: usize, wanted: Wanted) -> Option<Block> {
    let mut threshold = THRESHOLD.load(Ordering::Relaxed);
    if wanted == Wanted::ToGrow {
        threshold = threshold.min(GROWN_THRESHOLD);
    }
    // Hardened, a block has guard pages of its own, whatever its size, while the system has some.
    if size <= threshold && align <= SUPERSLAB && !HARDENED {
        return alloc_run(slots, size, align);
    }
    match alloc_span(slots, size, align) {
        // No address space left for a new mapping: perhaps what the arenas have is free.
        None if size <= arena::MAX_RUN * GRANULE && align <= SUPERSLAB => {
            alloc_run(slots, size, align)
        }
        block => block,
    }
}

fn alloc_run(slots: &mut Slots, size: usize, align: usize) -> Option<Block> {
    let granules = size.div_ceil(GRANULE);
    let bytes = granules * GRANULE;
    // From a SuperSlab on, huge-page alignment, so that 2 MiB can be one page of the machine.
    let align_granules =
        if granules >= SUPERSLAB_GRANULES { SUPERSLAB_GRANULES } else { align.div_ceil(GRANULE) };
    let cached = big_cache::take_run(slots, granules, align_granules * GRANULE);
    // SAFETY: a cached run is alive and ours alone.
    if let Some(run) = unsafe { cached.as_ref() } {
        // A size marks it as handed out.
        run.bytes.set(run.granules.get() as usize * GRANULE);
        slots.tally.served(Server::LargeSlots);
        return Some(Block { at: NonNull::new(run.base)?, zeroed: false });
    }
    let (run, zeroed) = Slab::create_large(granules, align_granules, bytes)?;
    big_cache::took_new(slots, granules, zeroed);
    slots.tally.served(Server::Arena);
    // SAFETY: just made; its base is not null.
    Some(Block { at: NonNull::new(unsafe { run.as_ref().base })?, zeroed })
}

/// `guarded::map`; without guards `os::map` or `os::reserve`, too.
type Map = fn(usize, usize) -> Option<NonNull<u8>>;

fn alloc_span(slots: &mut Slots, size: usize, align: usize) -> Option<Block> {
    let bytes = align_up(size, os::PAGE)?;
    if let Some((span, origin)) = big_cache::take_span(slots, bytes, align) {
        // An arena may have been made meanwhile where it shares the registry's entry.
        if !registry::entry_taken(span.at.addr())
            && guarded::unseal(span.at, span.bytes)
            && record(span)
        {
            slots.tally.served_from(origin);
            return Some(Block { at: NonNull::new(span.at)?, zeroed: false });
        }
        guarded::unmap(span.at, span.bytes);
    }
    let align = if bytes >= SUPERSLAB { align.max(SUPERSLAB) } else { align.max(os::PAGE) };
    let at = map_unshared(guarded::map, bytes, align, 4)?;
    if !record(Span { at: at.as_ptr(), bytes }) {
        guarded::unmap(at.as_ptr(), bytes);
        return None;
    }
    slots.tally.served(Server::Mapping);
    Some(Block { at, zeroed: true })
}

/// A mapping, made by `map`, whose start shares no registry entry with a SuperSlab, if the system has
/// such a place.
fn map_unshared(map: Map, bytes: usize, align: usize, tries: usize) -> Option<NonNull<u8>> {
    let at = map(bytes, align)?;
    if tries == 0 || !registry::entry_taken(at.as_ptr().addr()) {
        return Some(at);
    }
    // It stays mapped meanwhile, so that the system must offer another.
    let Some(other) = map_unshared(map, bytes, align, tries - 1) else { return Some(at) };
    guarded::unmap(at.as_ptr(), bytes);
    Some(other)
}

/// Records a mapping that is to be the program's. False: no memory for the table, nothing has changed.
fn record(span: Span) -> bool {
    let recorded = spans::insert(span);
    if recorded {
        arena::settle(span.at);
    }
    recorded
}

/// Frees the large block that `run` describes. False: it is free already.
///
/// # Safety
/// `run` is a published descriptor of class 0.
pub(crate) unsafe fn free_run(slots: &mut Slots, run: *mut Slab) -> bool {
    // SAFETY: published, so alive.
    let bytes = unsafe { (*run).bytes.replace(0) };
    if bytes == 0 {
        return false;
    }
    if HARDENED {
        // SAFETY: as above; the block has been given back.
        guarded::clear(unsafe { (*run).base }, bytes);
    }
    let timed = slots.meter.start();
    // SAFETY: the program has given the block back; it was marked as in use.
    unsafe { big_cache::put_run(slots, run) };
    slots.meter.freed(timed);
    true
}

/// Frees the block that is a mapping of its own at this address. False: there is none.
pub(crate) fn free_span(slots: &mut Slots, at: *mut u8) -> bool {
    let timed = slots.meter.start();
    let Some(span) = spans::remove(at) else { return false };
    guarded::seal(span.at, span.bytes);
    big_cache::put_span(slots, span);
    slots.meter.freed(timed);
    true
}

/// Grows or shrinks a large run where it stands. True: it now holds `size` bytes.
///
/// # Safety
/// `run` describes a large block that the caller holds.
pub(crate) unsafe fn resize_run(run: *mut Slab, size: usize) -> bool {
    // SAFETY: held by the caller, so alive and unshared.
    let run_ref = unsafe { &*run };
    let have = run_ref.granules.get() as usize;
    let want = size.div_ceil(GRANULE);
    if want > have {
        // A short run that becomes a long one does so as a mapping, with huge pages; one that was asked
        // for as such stays, if it can.
        let mut most = THRESHOLD.load(Ordering::Relaxed);
        if have <= SUPERSLAB_GRANULES {
            most = most.min(GROWN_THRESHOLD);
        }
        if size > most
            // SAFETY: the run is the caller's.
            || !unsafe { arena::grow_run(run_ref.base, have, want - have) }
        {
            return false;
        }
        run_ref.granules.set(want as u32);
        registry::publish_run(run_ref.base, want, run);
    } else if want < have - have / 4 {
        let tail = run_ref.base.wrapping_add(want * GRANULE);
        registry::retract_run(tail, have - want);
        if HARDENED {
            guarded::clear(tail, (have - want) * GRANULE);
        }
        run_ref.granules.set(want as u32);
        // SAFETY: the tail is the caller's and no longer published.
        unsafe { arena::release_run(tail, have - want, true, Filling::Sparse) };
    }
    run_ref.bytes.set(run_ref.granules.get() as usize * GRANULE);
    true
}

/// Changes the size of a mapping of its own, moving its pages, not its bytes. `None`: it has not
/// changed. The new size must be above the mid tier.
pub(crate) fn resize_span(at: *mut u8, size: usize) -> Option<NonNull<u8>> {
    let span = spans::get(at)?;
    let bytes = align_up(size, os::PAGE)?;
    if bytes > isize::MAX as usize {
        return None;
    }
    if bytes <= span.bytes && bytes >= span.bytes - span.bytes / 4 {
        return NonNull::new(at);
    }
    if HARDENED {
        // Between guards there is no room to grow, and a part can't be given back without one.
        return None;
    }
    // Out of the table first: once the mapping has moved, its old address may be anyone's.
    let span = spans::lift(at)?;
    let grows = bytes > span.bytes;
    // What grows once will grow again: address space for an eighth more costs nothing, unless it
    // is short.
    let roomy = if grows { align_up(bytes + bytes / 8, os::PAGE) } else { None };
    let moved = roomy.and_then(|bytes| extend(span, bytes).or_else(|| move_aligned(span, bytes)));
    // Where there is no address space for an old and a new place at once, the kernel may yet find room:
    // anywhere, and there is no way back, as the old place may be another thread's at once.
    let resized = moved.or_else(|| {
        let at = os::remap(at, span.bytes, bytes, true)?;
        if grows {
            REFUSED.store(false, Ordering::Relaxed);
        }
        Some(Span { at: at.as_ptr(), bytes })
    });
    let placed = resized.unwrap_or(span);
    spans::put_down(placed);
    arena::settle(placed.at);
    let at = NonNull::new(resized?.at)?;
    if grows {
        expect_filling(at);
    }
    Some(at)
}

/// Lengthens a mapping where it stands.
fn extend(span: Span, bytes: usize) -> Option<Span> {
    os::remap(span.at, span.bytes, bytes, false).map(|at| Span { at: at.as_ptr(), bytes })
}

/// Lengthens a mapping by moving its pages to where huge pages stay whole and new ones fit.
///
/// Where the system refuses, it may have unmapped the reservation before, so that its addresses are another
/// thread's, or not: nobody can give it back. So none is made where address space is limited, and
/// elsewhere no other one until the system has moved something again.
fn move_aligned(span: Span, bytes: usize) -> Option<Span> {
    if REFUSED.load(Ordering::Relaxed) || os::address_limit() != usize::MAX {
        return None;
    }
    let to = map_unshared(os::reserve, bytes, SUPERSLAB, 4)?;
    let moved = os::remap_onto(span.at, span.bytes, bytes, to.as_ptr());
    REFUSED.store(!moved, Ordering::Relaxed);
    moved.then_some(Span { at: to.as_ptr(), bytes })
}

/// A block that grows is an array or a buffer that fills from its start: its pages will be touched,
/// one after the other, so huge pages cost no memory. The whole mapping is told, as a part that
/// differed would be a mapping of its own, which can't grow.
pub(crate) fn expect_filling(block: NonNull<u8>) {
    if arena::HUGE_PAGES.load(Ordering::Relaxed) != 0
        && let Some(span) = spans::get(block.as_ptr())
        && span.bytes >= SUPERSLAB
    {
        os::advise_huge(span.at, span.bytes, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr;

    #[test]
    fn a_place_that_shares_an_entry_serves_where_there_is_no_other() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        /// Null's entry, which is always taken; and nothing more.
        const PLACE: usize = registry::WINDOW + 3 * os::PAGE;
        fn one(_: usize, _: usize) -> Option<NonNull<u8>> {
            let first = ASKED.fetch_add(1, Ordering::Relaxed) == 0;
            NonNull::new(ptr::without_provenance_mut(if first { PLACE } else { 0 }))
        }
        let at = map_unshared(one, os::PAGE, os::PAGE, 4);
        assert_eq!(at.map(|at| at.addr().get()), Some(PLACE));
        assert_eq!(ASKED.load(Ordering::Relaxed), 2, "another place is asked for");
    }
}
