//! BigCache: freed large blocks, kept for the next request of their size.
//!
//! Two levels: a few slots per thread (no lock, runs and mappings), then shared shards by size for
//! mappings only. Bounded in bytes (`BYTES`; 0 switches the cache off), in entries, and in age
//! (`thermal::keep_for`). When there is no room the oldest entry goes first. What leaves the cache
//! goes back to the system (own mappings) or to the arena (runs), where it joins its neighbours,
//! serves any size without a page fault, and is purged by age: keeping runs by size in the shards
//! as well made `mixed` a fifth faster, but a third heavier (docs/performance.md).
//!
//! Invariant: a cached block is in exactly one slot or shard; a cached run has `bytes == 0` in its
//! descriptor, a cached mapping is in no table, so a second `free` of either is found out.

use super::thermal::{self, Heat};
use crate::base::elapsed;
use crate::base::sync::{AtomicUsize, Ordering};
use crate::os::{self, lock::Lock};
use crate::segment::slab::Slab;
use core::ptr;

/// A free large block.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) at: *mut u8,
    pub(crate) bytes: usize,
    /// The run's descriptor; null for a mapping of its own.
    pub(crate) run: *mut Slab,
    /// Coarse time (ms, wrapping) of its free.
    pub(crate) stamp: u32,
    pub(crate) heat: Heat,
}

const NONE: Entry =
    Entry { at: ptr::null_mut(), bytes: 0, run: ptr::null_mut(), stamp: 0, heat: Heat::Cold };

const SLOTS: usize = 8;
const SHARDS: usize = 4;
const SHARD_ENTRIES: usize = 64;

/// Bytes that the shared part may hold; 0: nothing is cached at all.
pub(crate) static BYTES: AtomicUsize = AtomicUsize::new(64 << 20);
/// Bytes that one thread's slots may hold.
pub(crate) static SLOT_BYTES: AtomicUsize = AtomicUsize::new(8 << 20);

/// Bytes in the shards. Correctness: the budget is decided on it.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// One thread's part of the cache.
pub(crate) struct Slots {
    entries: [Entry; SLOTS],
    used: usize,
    bytes: usize,
}

struct Shard {
    entries: [Entry; SHARD_ENTRIES],
    used: usize,
}

// SAFETY: an entry owns its block; nobody else refers to it.
unsafe impl Send for Shard {}

static SHARED: [Lock<Shard>; SHARDS] =
    [const { Lock::new(Shard { entries: [NONE; SHARD_ENTRIES], used: 0 }) }; SHARDS];

/// Whether a cached block serves a request: large enough, at most an eighth too large.
fn fits(entry: &Entry, bytes: usize, align: usize, span: bool) -> bool {
    entry.bytes >= bytes
        && entry.bytes - bytes <= bytes / 8
        && entry.run.is_null() == span
        && entry.at.addr() & (align - 1) == 0
}

fn shard(bytes: usize) -> &'static Lock<Shard> {
    // Neighbouring sizes share a shard, so that a near fit is found.
    SHARED.get(bytes.max(1).ilog2() as usize % SHARDS).unwrap_or(&SHARED[0])
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
        Slots { entries: [NONE; SLOTS], used: 0, bytes: 0 }
    }

    fn remove(&mut self, index: usize) -> Option<Entry> {
        let entry = take_out(&mut self.entries, &mut self.used, index)?;
        self.bytes -= entry.bytes;
        Some(entry)
    }

    /// Moves everything to the shared part: the thread ends, or memory is short.
    pub(crate) fn drain(&mut self) {
        while let Some(entry) = self.used.checked_sub(1).and_then(|last| self.remove(last)) {
            put_shared(entry);
        }
    }

    /// Moves on what has outlived its time.
    pub(crate) fn age(&mut self, now: u32) {
        while let Some(entry) = self.entries.get(..self.used).and_then(|used| used.first()).copied()
        {
            if elapsed(now, entry.stamp) < thermal::keep_for(entry.heat) {
                return;
            }
            if let Some(entry) = self.remove(0) {
                release(entry);
            }
        }
    }
}

/// A cached block for a request of `bytes`, if there is one.
pub(crate) fn take(slots: &mut Slots, bytes: usize, align: usize, span: bool) -> Option<Entry> {
    let used = slots.used;
    let own = slots.entries.get(..used)?.iter().rposition(|entry| fits(entry, bytes, align, span));
    let found = match own {
        Some(index) => slots.remove(index),
        None if HELD.load(Ordering::Relaxed) != 0 => take_shared(bytes, align, span),
        None => None,
    };
    if found.is_some() {
        thermal::reused(bytes);
    }
    found
}

fn take_shared(bytes: usize, align: usize, span: bool) -> Option<Entry> {
    let mut shard = shard(bytes).lock();
    let Shard { entries, used } = &mut *shard;
    let index = entries.get(..*used)?.iter().rposition(|entry| fits(entry, bytes, align, span))?;
    let entry = take_out(entries, used, index)?;
    HELD.fetch_sub(entry.bytes, Ordering::Relaxed);
    Some(entry)
}

/// Takes a freed block in, or passes it on.
pub(crate) fn put(slots: &mut Slots, mut entry: Entry) {
    if BYTES.load(Ordering::Relaxed) == 0 {
        release(entry);
        return;
    }
    entry.stamp = os::now_ms() as u32;
    entry.heat = thermal::classify(entry.bytes);
    let budget = SLOT_BYTES.load(Ordering::Relaxed);
    if entry.bytes > budget {
        put_shared(entry);
        return;
    }
    while slots.used == SLOTS || slots.bytes + entry.bytes > budget {
        match slots.remove(0) {
            Some(oldest) => put_shared(oldest),
            None => break,
        }
    }
    if let Some(slot) = slots.entries.get_mut(slots.used) {
        *slot = entry;
        slots.used += 1;
        slots.bytes += entry.bytes;
    }
}

fn put_shared(entry: Entry) {
    let budget = BYTES.load(Ordering::Relaxed);
    if entry.bytes > budget / 2 || !entry.run.is_null() {
        release(entry);
        return;
    }
    let mut evicted = [NONE; SHARD_ENTRIES];
    let mut count = 0;
    {
        let mut shard = shard(entry.bytes).lock();
        while shard.used == SHARD_ENTRIES
            || (shard.used != 0
                && count < SHARD_ENTRIES
                && HELD.load(Ordering::Relaxed) + entry.bytes > budget)
        {
            // The first is the oldest.
            let Shard { entries, used } = &mut *shard;
            let Some(oldest) = take_out(entries, used, 0) else { break };
            HELD.fetch_sub(oldest.bytes, Ordering::Relaxed);
            if let Some(to) = evicted.get_mut(count) {
                *to = oldest;
            }
            count += 1;
        }
        if HELD.load(Ordering::Relaxed) + entry.bytes > budget {
            // The budget is spent in other shards: they age by themselves.
            if let Some(to) = evicted.get_mut(count) {
                *to = entry;
                count += 1;
            }
        } else {
            let used = shard.used;
            if let Some(slot) = shard.entries.get_mut(used) {
                *slot = entry;
                shard.used += 1;
                HELD.fetch_add(entry.bytes, Ordering::Relaxed);
            }
        }
    }
    for &entry in evicted.iter().take(count) {
        release(entry);
    }
}

/// Gives a block back to the arena or the system.
fn release(entry: Entry) {
    if entry.run.is_null() {
        os::unmap(entry.at, entry.bytes);
    } else {
        // SAFETY: the entry owned the run; it is in no list and no block of it is out.
        unsafe { Slab::destroy(entry.run) };
    }
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
                    if all || elapsed(now, entry.stamp) >= thermal::keep_for(entry.heat) {
                        *to = entry;
                        count += 1;
                        take_out(entries, used, index);
                        HELD.fetch_sub(entry.bytes, Ordering::Relaxed);
                    } else {
                        index += 1;
                    }
                }
            }
            for &entry in out.iter().take(count) {
                released += entry.bytes;
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
    HELD.load(Ordering::Relaxed)
}

/// Bytes of own mappings held by the shared part (runs are counted by the arena).
pub(crate) fn held_spans() -> usize {
    let mut bytes = 0;
    for lock in &SHARED {
        let shard = lock.lock();
        for entry in shard.entries.iter().take(shard.used) {
            if entry.run.is_null() {
                bytes += entry.bytes;
            }
        }
    }
    bytes
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
