//! All heaps, and those that wait for a thread.
//!
//! Invariant: a heap is either some thread's, or in the parking lot, or (for a moment) taken out
//! of it by a thread that purges it. `ALL` only grows.

use super::heap::Heap;
use crate::base::sync::{AtomicPtr, AtomicUsize, Ordering};
use crate::os::{self, lock::Lock};
use core::ptr;

struct Lot {
    first: *mut Heap,
    count: usize,
}

// SAFETY: a parked heap belongs to the lot, whoever touches it.
unsafe impl Send for Lot {}

static LOT: Lock<Lot> = Lock::new(Lot { first: ptr::null_mut(), count: 0 });
/// The list of all heaps.
/// Relaxed: a look before the push, which the exchange checks.
static ALL: AtomicPtr<Heap> = AtomicPtr::new(ptr::null_mut());
/// How many there are. Gauge: `Stats::heaps`, in every build; one addition in a heap's life.
/// Relaxed: a figure alone; no heap is reached through it.
static HEAPS: AtomicUsize = AtomicUsize::new(0);

/// A heap for the calling thread: a parked one, else a new one. `None`: out of memory.
pub(crate) fn adopt_or_create() -> Option<*mut Heap> {
    if let Some(heap) = take_if(|_, _| true) {
        return Some(heap);
    }
    let heap = Heap::create()?;
    publish(heap);
    Some(heap)
}

/// Puts a new heap into the list of all.
fn publish(heap: *mut Heap) {
    let mut first = ALL.load(Ordering::Relaxed);
    loop {
        // SAFETY: the heap is ours until it is published.
        unsafe { (*heap).next = first };
        // Release: readers of the list see an initialised heap.
        match ALL.compare_exchange_weak(first, heap, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => first = now,
        }
    }
    HEAPS.fetch_add(1, Ordering::Relaxed);
}

/// Takes the most recently parked heap that `wanted(parked_at, waiting)` accepts; `waiting`: other
/// threads have given blocks back to it since it was looked at.
pub(crate) fn take_if(wanted: impl Fn(u64, bool) -> bool) -> Option<*mut Heap> {
    let mut lot = LOT.lock();
    let mut link: *mut *mut Heap = &raw mut lot.first;
    // SAFETY: links in the lot are null or parked heaps, which live for ever; we hold the lock.
    unsafe {
        while !(*link).is_null() {
            let heap = *link;
            if wanted((*heap).parked_at, !(*heap).bins.pending.is_empty()) {
                *link = (*heap).next_parked;
                lot.count -= 1;
                (*heap).door.open();
                return Some(heap);
            }
            link = &raw mut (*heap).next_parked;
        }
    }
    None
}

/// Parks a heap: its thread has ended, or its purge is done (`purged`: it won't be taken for
/// another one soon).
///
/// # Safety
/// The calling thread has the heap and uses it no more.
pub(crate) unsafe fn park(heap: *mut Heap, purged: bool) {
    let now = if purged { u64::MAX } else { os::now_ms() };
    // SAFETY: ours by contract; the door is written before anyone has the heap.
    unsafe { (*heap).door }.close();
    let mut lot = LOT.lock();
    // SAFETY: ours by contract.
    unsafe {
        (*heap).parked_at = now;
        (*heap).next_parked = lot.first;
    }
    lot.first = heap;
    lot.count += 1;
}

/// Number of heaps, and of those that are parked.
pub(crate) fn counts() -> (usize, usize) {
    (HEAPS.load(Ordering::Relaxed), LOT.lock().count)
}

/// The same, unless the lock is taken.
pub(crate) fn try_counts() -> Option<(usize, usize)> {
    Some((HEAPS.load(Ordering::Relaxed), LOT.try_lock()?.count))
}

/// Calls `visit` for every heap there is. Only what other threads may read (tallies, levels) is to
/// be read of heaps that are not the caller's.
pub(crate) fn each(mut visit: impl FnMut(*mut Heap)) {
    // Acquire: pairs with the publication.
    let mut heap = ALL.load(Ordering::Acquire);
    while !heap.is_null() {
        visit(heap);
        // SAFETY: heaps live for ever; `next` was written before publication.
        heap = unsafe { (*heap).next };
    }
}

/// Takes the lock before a fork.
pub(crate) fn fork_acquire() {
    LOT.acquire();
}

/// Releases the lock after a fork: in the parent, or (alone) in the child.
///
/// # Safety
/// The calling thread took it in `fork_acquire`; `child` only in the child.
pub(crate) unsafe fn fork_release(child: bool) {
    // SAFETY: by the caller's contract.
    unsafe { if child { LOT.reset() } else { LOT.release() } }
}

#[cfg(all(test, hakmem_model))]
mod model;
