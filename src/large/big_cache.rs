//! BigCache: freed large blocks, kept for the next request of their size.
//!
//! Two levels: slots per thread (no lock; runs by length and the last long one in `run_slots`, a few
//! mappings here), then shared shards by size for mappings only. Bounded in bytes (`SLOT_BYTES` for each thread and
//! `BYTES` for all beyond that; 0 switches the cache off), in entries, and in age
//! (`thermal::keep_for`). What leaves the cache goes back to the system (own mappings) or to the arena
//! (runs), where it joins its neighbours, serves any size without a page fault, and is purged by age.
//!
//! Invariant: a cached block is in exactly one slot or shard; a cached run has `bytes == 0` in its
//! descriptor, a cached mapping is in no table, so a second `free` of either is found out.

use super::elo::Meter;
use super::run_slots::{self, Budget, RunSlots};
use super::thermal;
use crate::base::elapsed;
use crate::base::sync::{AtomicUsize, Ordering};
use crate::class::GRANULE;
use crate::os::{self, lock::Lock};
use crate::segment::ON_DIET;
use crate::segment::arena;
use crate::segment::guarded;
use crate::segment::slab::Slab;
use crate::segment::spans::Span;
use crate::telemetry::front::{Origin, Server};
use crate::telemetry::tally::{COMMON, Handle};
use core::ptr;

/// A free mapping.
#[derive(Clone, Copy)]
struct Entry {
    span: Span,
    /// Coarse time (ms, wrapping) of its free.
    stamp: u32,
}

const NONE: Entry = Entry { span: Span { at: ptr::null_mut(), bytes: 0 }, stamp: 0 };

const SLOTS: usize = 8;
/// Shards by size, and one for what is huge.
const SHARDS: usize = 5;
const SHARD_ENTRIES: usize = if cfg!(hakmem_model) { 2 } else { 64 };
/// From above this many bytes on a block is huge.
const HUGE: usize = 32 << 20;
/// What all huge blocks together may hold, in multiples of the budget of the others.
const HUGE_FACTOR: usize = 16;

/// Bytes that the shared part may hold and threads may lease; 0: nothing is cached at all.
/// Relaxed: a setting; a late look obeys the one before.
pub(crate) static BYTES: AtomicUsize = AtomicUsize::new(64 << 20);
/// Bytes that one thread's slots may hold.
/// Relaxed: a setting; a late look obeys the one before.
pub(crate) static SLOT_BYTES: AtomicUsize = AtomicUsize::new(8 << 20);

/// Bytes in the shards, of huge blocks apart; the budgets are decided on them.
/// Relaxed: each a sum alone. Entries change hands under their shard's lock; a late look at a sum passes
/// the budget by a block, or misses one.
static HELD: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// One thread's part of the cache.
pub(crate) struct Slots {
    runs: RunSlots,
    /// Mappings, the oldest first.
    entries: [Entry; SLOTS],
    used: usize,
    bytes: usize,
    /// Bytes freed, less those that have served again, since somebody asked.
    freed: usize,
    /// Which operations of this thread are timed.
    pub(crate) meter: Meter,
    /// Way to the heap's counters.
    pub(crate) tally: Handle,
}

struct Shard {
    entries: [Entry; SHARD_ENTRIES],
    used: usize,
}

// SAFETY: an entry owns its mapping; nobody else refers to it.
unsafe impl Send for Shard {}

static SHARED: [Lock<Shard>; SHARDS] =
    [const { Lock::new(Shard { entries: [NONE; SHARD_ENTRIES], used: 0 }) }; SHARDS];

/// Bytes that the shared part may hold and threads may lease now.
fn budget() -> usize {
    if ON_DIET.load(Ordering::Relaxed) { 0 } else { BYTES.load(Ordering::Relaxed) }
}

/// Whether a cached mapping serves a request: large enough, at most an eighth too large.
fn fits(entry: &Entry, bytes: usize, align: usize) -> bool {
    let Span { at, bytes: have } = entry.span;
    have >= bytes && have - bytes <= bytes / 8 && at.addr() & (align - 1) == 0
}

fn shard(bytes: usize) -> &'static Lock<Shard> {
    // Neighbouring sizes share a shard, so that a near fit is found.
    let index =
        if bytes > HUGE { SHARDS - 1 } else { bytes.max(1).ilog2() as usize % (SHARDS - 1) };
    SHARED.get(index).unwrap_or(&SHARED[0])
}

/// The sum that a block of this size belongs to.
fn held_with(bytes: usize) -> &'static AtomicUsize {
    HELD.get(usize::from(bytes > HUGE)).unwrap_or(&HELD[0])
}

/// Bytes that the shards may hold of blocks like one of this size, itself included.
fn budget_for(bytes: usize) -> usize {
    let budget = budget().saturating_sub(run_slots::leased());
    if bytes <= HUGE {
        budget
    } else if thermal::is_hot(bytes) {
        budget.saturating_mul(HUGE_FACTOR)
    } else {
        0
    }
}

/// Takes an entry out of the first `used` and closes the gap: their order is their age.
fn take_out(entries: &mut [Entry], used: &mut usize, index: usize) -> Option<Entry> {
    let from = entries.get_mut(..*used)?.get_mut(index..)?;
    let entry = *from.first()?;
    // SAFETY: `from` is not empty, so both ranges lie in it.
    unsafe { ptr::copy(from.as_ptr().add(1), from.as_mut_ptr(), from.len() - 1) };
    *used -= 1;
    Some(entry)
}

impl Slots {
    pub(crate) const fn new() -> Self {
        Slots {
            runs: RunSlots::new(),
            entries: [NONE; SLOTS],
            used: 0,
            bytes: 0,
            freed: 0,
            meter: Meter::new(),
            tally: COMMON,
        }
    }

    fn remove(&mut self, index: usize) -> Option<Entry> {
        let entry = take_out(&mut self.entries, &mut self.used, index)?;
        self.bytes -= entry.span.bytes;
        Some(entry)
    }

    /// Bytes of large blocks that have been freed here since the last call, and have not served again,
    /// once they are `least`; else 0.
    #[inline]
    pub(crate) fn take_freed(&mut self, least: usize) -> usize {
        if self.freed < least { 0 } else { core::mem::take(&mut self.freed) }
    }

    /// Moves everything to the shared part: the thread ends, or memory is short. Gives the bytes of
    /// the mappings that went back to the system on the way.
    pub(crate) fn drain(&mut self) -> usize {
        self.runs.release(None);
        let mut released = 0;
        while let Some(entry) = self.used.checked_sub(1).and_then(|last| self.remove(last)) {
            released += put_shared(entry);
        }
        released
    }

    /// Moves on what has outlived its time.
    pub(crate) fn age(&mut self, now: u32) {
        self.runs.release(Some(now));
        while let Some(entry) = self.entries.get(..self.used).and_then(|used| used.first()).copied()
        {
            if elapsed(now, entry.stamp) < thermal::keep_for(entry.span.bytes) {
                return;
            }
            if let Some(entry) = self.remove(0) {
                release(entry);
            }
        }
    }
}

/// A cached run of at least `granules` granules at a multiple of `align` bytes; null if there is
/// none.
pub(crate) fn take_run(slots: &mut Slots, granules: usize, align: usize) -> *mut Slab {
    let found = slots.runs.take(granules, align);
    if found.is_null() {
        slots.runs.release_stale(os::now_ms() as u32);
    } else {
        slots.freed = slots.freed.saturating_sub(granules * GRANULE);
        thermal::reused(granules * GRANULE);
    }
    found
}

/// A run was cut from the arena. If it is longer than all lists, what it says of its size is whether its
/// pages were still there.
pub(crate) fn took_new(slots: &mut Slots, granules: usize, zeroed: bool) {
    if granules <= run_slots::LONGEST {
        return;
    }
    let bytes = granules * GRANULE;
    if zeroed {
        thermal::missed(bytes, os::now_ms() as u32);
    } else {
        slots.freed = slots.freed.saturating_sub(bytes);
        thermal::reused(bytes);
    }
}

/// Takes a freed run in, or passes it on.
///
/// # Safety
/// `run` describes a large block that nobody holds.
pub(crate) unsafe fn put_run(slots: &mut Slots, run: *mut Slab) {
    // SAFETY: alive, and nobody else's.
    let granules = unsafe { (*run).granules.get() as usize };
    slots.freed += granules * GRANULE;
    let (all, now) = (budget(), os::now_ms() as u32);
    let own = if all == 0 { 0 } else { SLOT_BYTES.load(Ordering::Relaxed) };
    // SAFETY: as the caller promised.
    unsafe {
        if granules > run_slots::LONGEST {
            pass_on(slots.runs.put_long(&*run, now, own), now, own);
        } else {
            let held = held_with(0).load(Ordering::Relaxed);
            slots.runs.put(run, now, Budget { own, shared: all.saturating_sub(held) });
        }
    }
}

/// Gives a long run to the arena, where it serves any size at once. Of cold ones as many keep their pages
/// there as a thread's slots would keep mappings, `own` bytes.
///
/// # Safety
/// `run` is null, or a run that nobody holds and that is in no list.
unsafe fn pass_on(run: *mut Slab, now: u32, own: usize) {
    // SAFETY: by the caller's contract.
    let Some(granules) = (unsafe { run.as_ref() }).map(|run| run.granules.get() as usize) else {
        return;
    };
    let bytes = granules * GRANULE;
    let cold =
        budget() == 0 || !thermal::worth_sharing(bytes) && arena::dirty_bytes() + bytes > own;
    if cold {
        thermal::let_go(bytes, now);
    }
    // SAFETY: by the caller's contract.
    unsafe { Slab::release(run, cold) };
}

/// A cached mapping of at least `bytes` bytes at a multiple of `align`, if there is one, and which
/// part of the cache had it.
pub(crate) fn take_span(slots: &mut Slots, bytes: usize, align: usize) -> Option<(Span, Origin)> {
    let used = slots.used;
    let own = slots.entries.get(..used)?.iter().rposition(|entry| fits(entry, bytes, align));
    let (found, server) = match own {
        Some(index) => (slots.remove(index), Server::LargeSlots),
        None if held_with(bytes).load(Ordering::Relaxed) != 0 => {
            (take_shared(bytes, align), Server::BigCache)
        }
        None => (None, Server::BigCache),
    };
    match found {
        Some(_) => {
            slots.freed = slots.freed.saturating_sub(bytes);
            thermal::reused(bytes);
        }
        None => thermal::missed(bytes, os::now_ms() as u32),
    }
    found.map(|entry| (entry.span, Origin::of(server)))
}

fn take_shared(bytes: usize, align: usize) -> Option<Entry> {
    let mut shard = shard(bytes).lock();
    let Shard { entries, used } = &mut *shard;
    let index = entries.get(..*used)?.iter().rposition(|entry| fits(entry, bytes, align))?;
    let entry = take_out(entries, used, index)?;
    held_with(entry.span.bytes).fetch_sub(entry.span.bytes, Ordering::Relaxed);
    Some(entry)
}

/// Takes a freed mapping in, or passes it on.
pub(crate) fn put_span(slots: &mut Slots, span: Span) {
    slots.freed = slots.freed.saturating_add(span.bytes);
    if budget() == 0 {
        guarded::unmap(span.at, span.bytes);
        return;
    }
    let entry = Entry { span, stamp: os::now_ms() as u32 };
    let budget = SLOT_BYTES.load(Ordering::Relaxed);
    if span.bytes > budget {
        put_shared(entry);
        return;
    }
    while slots.used == SLOTS || slots.bytes + span.bytes > budget {
        let Some(oldest) = slots.remove(0) else { break };
        put_shared(oldest);
    }
    if let Some(slot) = slots.entries.get_mut(slots.used) {
        *slot = entry;
        slots.used += 1;
        slots.bytes += span.bytes;
    }
}

/// Gives the bytes that went back to the system instead, or for it.
fn put_shared(entry: Entry) -> usize {
    let bytes = entry.span.bytes;
    let budget = budget_for(bytes);
    if bytes > budget || !thermal::worth_sharing(bytes) {
        thermal::let_go(bytes, os::now_ms() as u32);
        release(entry);
        return bytes;
    }
    let mut released = 0;
    loop {
        let evicted = {
            let mut shard = shard(bytes).lock();
            let Shard { entries, used } = &mut *shard;
            let held = held_with(bytes);
            if *used == SHARD_ENTRIES || held.load(Ordering::Relaxed) + bytes > budget {
                // The first is the oldest. If there is none, the budget is spent in other shards: they
                // age by themselves.
                let oldest = take_out(entries, used, 0);
                if let Some(oldest) = oldest {
                    held.fetch_sub(oldest.span.bytes, Ordering::Relaxed);
                }
                oldest.unwrap_or(entry)
            } else {
                if let Some(slot) = entries.get_mut(*used) {
                    *slot = entry;
                    *used += 1;
                    held.fetch_add(bytes, Ordering::Relaxed);
                }
                return released;
            }
        };
        // Never under the lock: a system call.
        released += evicted.span.bytes;
        release(evicted);
        if evicted.span.at == entry.span.at {
            return released;
        }
    }
}

fn release(entry: Entry) {
    guarded::unmap(entry.span.at, entry.span.bytes);
}

/// Releases what has outlived its time; `all`: everything. Gives the bytes released.
pub(crate) fn age(now: u32, all: bool) -> usize {
    let mut released = 0;
    for lock in &SHARED {
        loop {
            // A few at a time, so that the lock is never held over a system call.
            let mut out = [NONE; 16];
            let mut count = 0;
            {
                let mut shard = lock.lock();
                let Shard { entries, used } = &mut *shard;
                let mut index = 0;
                while index < *used {
                    let (Some(to), Some(&entry)) = (out.get_mut(count), entries.get(index)) else {
                        break;
                    };
                    if all || elapsed(now, entry.stamp) >= thermal::keep_for(entry.span.bytes) {
                        *to = entry;
                        count += 1;
                        take_out(entries, used, index);
                        held_with(entry.span.bytes).fetch_sub(entry.span.bytes, Ordering::Relaxed);
                    } else {
                        index += 1;
                    }
                }
            }
            for &entry in out.iter().take(count) {
                released += entry.span.bytes;
                release(entry);
            }
            if count < out.len() {
                break;
            }
        }
    }
    released
}

/// Bytes held by the shared part.
pub(crate) fn held() -> usize {
    HELD.iter().map(|sum| sum.load(Ordering::Relaxed)).sum()
}

/// Takes the locks before a fork.
pub(crate) fn fork_acquire() {
    for shard in &SHARED {
        shard.acquire();
    }
}

/// Releases the locks after a fork: in the parent, or (alone) in the child.
///
/// # Safety
/// The calling thread took them in `fork_acquire`; `child` only in the child.
pub(crate) unsafe fn fork_release(child: bool) {
    for shard in &SHARED {
        // SAFETY: by the caller's contract.
        unsafe { if child { shard.reset() } else { shard.release() } }
    }
}

#[cfg(all(test, hakmem_model))]
mod model;
