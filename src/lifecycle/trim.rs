//! Giving memory back: by age at a tick, at once on request, and when there is none left.

use super::stock;
use crate::background;
use crate::base::sync::{AtomicU64, Ordering};
use crate::frontend::handoff;
use crate::large::{big_cache, thermal};
use crate::os;
use crate::policy::{auto, config, diet, engine};
use crate::readers::dump;
use crate::refill;
use crate::segment::arena;
use crate::thread::{heap::Heap, park};

/// Coarse time (ms) of the last tick of the process.
/// Relaxed: a time and nothing behind it; the exchange lets one thread tick.
static LAST: AtomicU64 = AtomicU64::new(0);

fn period() -> u32 {
    (thermal::DECAY_MS.load(Ordering::Relaxed) / 4).max(10)
}

/// A slow path was taken: now and then, decays what this heap and the process hold.
#[inline]
pub(crate) fn tick(heap: &mut Heap) {
    if heap.look_due() {
        look(heap);
    }
}

#[cold]
fn look(heap: &mut Heap) {
    background::consider(diet::held);
    if handoff::is_forsaken() {
        heap.take_in();
    }
    if let Some(now) = heap.tick_due(period()) {
        tick_now(heap, now);
    }
}

#[cold]
fn tick_now(heap: &mut Heap, now: u64) {
    // A process whose first allocation came before the C library was ready.
    config::load_environment();
    dump::arm();
    dump::answer_late();
    let mut returned = heap.decay(now);
    background::rouse();
    returned += tick_process(heap, now);
    heap.ticked(returned);
}

/// The process's share of a tick, unless another thread has had it. Gives the bytes returned to the
/// system.
fn tick_process(heap: &mut Heap, now: u64) -> usize {
    let last = LAST.load(Ordering::Relaxed);
    if now.saturating_sub(last) < u64::from(period())
        || LAST.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_err()
    {
        return 0;
    }
    let returned = process_tick(now);
    if diet::check() { returned + release_all(Some(heap)) } else { returned }
}

/// Ages what all threads share. Gives the bytes returned to the system.
pub(super) fn process_tick(now: u64) -> usize {
    let decay = thermal::DECAY_MS.load(Ordering::Relaxed);
    thermal::cool();
    engine::think();
    if let Some(mode) = auto::tick() {
        config::run_as(mode);
    }
    let mut returned = big_cache::age(now as u32, false) + empty_one_parked(now).unwrap_or(0);
    if thermal::POLICY.load(Ordering::Relaxed) != thermal::FreePolicy::Keep as u8 {
        returned += arena::purge(decay, os::discard);
    }
    returned
}

/// Empties one of the parked heaps that have been idle. Gives the bytes returned; `None`: there is none.
pub(super) fn empty_one_parked(now: u64) -> Option<usize> {
    let decay = thermal::DECAY_MS.load(Ordering::Relaxed);
    // Heaps whose threads are gone: what they cache has been idle since. One that was purged has
    // nothing, unless blocks have been given back to it.
    let idle = |at: u64, waiting| match at {
        u64::MAX => waiting,
        at => now.saturating_sub(at) >= u64::from(decay),
    };
    let parked = park::take_if(idle)?;
    // SAFETY: taken out of the lot, so ours until it is parked again.
    unsafe {
        let returned = empty(parked);
        park::park(parked, true);
        Some(returned)
    }
}

/// Sends every block that a parked heap caches home, and returns its free pages. Gives the bytes
/// returned.
///
/// # Safety
/// The calling thread has taken the heap out of the lot.
unsafe fn empty(parked: *mut Heap) -> usize {
    // SAFETY: ours by contract; the worker may be visiting.
    unsafe {
        let _inside = (*parked).door.enter();
        (*parked).drain() + (*parked).bins.sweep(false)
    }
}

/// Returns everything to the system that nobody uses: this heap's caches, those of parked heaps,
/// free pages inside slabs, cached large blocks, free runs. Gives the bytes returned.
pub(crate) fn release_all(mut heap: Option<&mut Heap>) -> usize {
    // What the worker has in its hands would come too late.
    let no_worker = if handoff::ON { background::hold() } else { None };
    let mut returned = 0;
    // All magazines first: what one heap has cached may be another's, and comes home here.
    match heap.as_deref_mut() {
        Some(heap) => {
            heap.take_in();
            returned += heap.drain();
        }
        None => take_in(),
    }
    // Parked heaps: purged ones go to the front of the lot marked as such, and are taken again only
    // if blocks come back to them.
    while let Some(parked) = park::take_if(|at, waiting| at != u64::MAX || waiting) {
        // SAFETY: taken out of the lot, so ours until it is parked again.
        unsafe {
            returned += empty(parked);
            park::park(parked, true);
        }
    }
    if let Some(heap) = heap {
        returned += heap.bins.sweep(false);
    }
    if no_worker.is_some() {
        // SAFETY: it is the worker's round that is held.
        returned += unsafe { stock::sweep(true) };
    }
    // The shared part holds mappings only; runs are counted when their arena is purged.
    returned += big_cache::age(os::now_ms() as u32, true);
    returned + arena::purge(0, os::discard)
}

/// Brings every block home that waits between the threads and the worker, for who has no heap.
pub(super) fn take_in() {
    handoff::take_in(|batch| {
        // SAFETY: blocks of a batch were given back by the program or never handed out.
        unsafe { refill::give_back(batch.class(), batch.blocks()) };
    });
}

/// The system refused memory: gives back what can be given back. True: a retry may work.
#[cold]
pub(crate) fn make_room(heap: &mut Heap) -> bool {
    diet::pressure();
    release_all(Some(heap));
    arena::return_empty();
    true
}
