//! One heap: the magazines with the layers in front, the slabs behind them, the slots for large blocks.
//!
//! Invariant: at any time at most one thread (the one whose `tls::heap` it is, or the one that has
//! taken it out of the parking lot) calls anything here. The fields that the fast path touches come
//! first. Its counters, which others read at any time, lie behind it: see [`tally_of`].

use crate::class::{CLASSES, COUNT};
use crate::frontend::handoff;
use crate::frontend::magazine::UnifiedCache;
use crate::frontend::stack::FrontEnd;
use crate::guard::Countdown;
use crate::harden::{self, Quarantine};
use crate::large::big_cache::Slots;
use crate::os;
use crate::refill::{Bins, policy};
use crate::segment::meta;
use crate::segment::slab::PendingStack;
use crate::telemetry::tally::{COMMON, Handle, Tally};
use crate::thread::restless::{self, Restless};
use crate::thread::tls;
use crate::thread::turn::{Door, Turn};
use core::ptr;

/// Slow-path operations between two looks at the clock.
const OPS_PER_LOOK: u32 = 64;

/// What other threads touch while a heap is borrowed mutably.
struct Apart {
    pending: PendingStack,
    turn: Turn,
}

/// A heap.
#[repr(C)]
pub(crate) struct Heap {
    /// Layer 0.
    pub(crate) cache: UnifiedCache,
    /// The layers in front of it that are compiled in.
    pub(crate) layers: FrontEnd,
    /// Way to the counters of the gates that are on.
    pub(crate) tally: Handle,
    /// Freed blocks that wait, with the gate `hardened`.
    pub(crate) quarantine: Quarantine,
    /// Which refill is sampled, with the gate `guard-sample`.
    pub(crate) guard: Countdown,
    /// Layer 2.
    pub(crate) bins: Bins,
    /// Large blocks kept for this thread.
    pub(crate) slots: Slots,
    /// Where a slow path begins and ends its turn; written before publication.
    pub(crate) door: Door,
    /// Next heap in the list of all; written once.
    pub(super) next: *mut Heap,
    /// Next heap in the parking lot; guarded by its lock.
    pub(super) next_parked: *mut Heap,
    /// Coarse time (ms) at which the heap was parked; guarded by the same lock.
    pub(super) parked_at: u64,
    countdown: u32,
    last_tick: u64,
    restless: Restless,
}

// SAFETY: see the invariant; the sentinel, which all threads share, is never written.
unsafe impl Sync for Heap {}

/// A heap as it lies in metadata.
#[repr(C)]
struct Home {
    heap: Heap,
    tally: Tally,
}

/// The counters of a heap.
///
/// # Safety
/// `heap` is a real one, not a sentinel.
#[inline(always)]
pub(crate) unsafe fn tally_of(heap: *const Heap) -> &'static Tally {
    // SAFETY: real heaps are made by `Heap::create`, in a `Home` that lives for ever; the pointer
    // reaches all of it. A tally is made of atomics.
    unsafe { &(*heap.cast::<Home>()).tally }
}

/// A batch from the slabs, `want` blocks at most, right below `end`. Gives their number.
///
/// # Safety
/// `want` slots below `end` are writable.
#[inline(always)]
unsafe fn fill(
    bins: &mut Bins,
    quarantine: &mut Quarantine,
    class: usize,
    end: *mut *mut u8,
    want: usize,
) -> usize {
    // SAFETY: as the caller promised.
    let got = unsafe { bins.refill(class, end, want) };
    if harden::ON {
        // SAFETY: the refill wrote `got` blocks right below `end`.
        quarantine.shuffle(unsafe { core::slice::from_raw_parts_mut(end.sub(got), got) });
    }
    got
}

/// Bytes of a block of `class`.
#[inline(always)]
fn block_size(class: usize) -> usize {
    CLASSES.get(class).map_or(0, |info| info.size as usize)
}

impl Heap {
    pub(super) const fn new(pending: &'static PendingStack, turn: &'static Turn) -> Self {
        Heap {
            cache: UnifiedCache::new(),
            layers: FrontEnd::new(),
            tally: COMMON,
            quarantine: Quarantine::new(),
            guard: Countdown::new(),
            bins: Bins::new(pending),
            slots: Slots::new(),
            door: Door::new(turn),
            next: ptr::null_mut(),
            next_parked: ptr::null_mut(),
            parked_at: 0,
            countdown: OPS_PER_LOOK,
            last_tick: 0,
            restless: Restless::new(),
        }
    }

    /// A fresh heap in metadata, or `None` without memory.
    pub(super) fn create() -> Option<*mut Heap> {
        let apart = meta::alloc(size_of::<Apart>(), false)?;
        let Some(heap) = meta::alloc(size_of::<Home>(), false) else {
            // SAFETY: just allocated with this size.
            unsafe { meta::free(apart, size_of::<Apart>()) };
            return None;
        };
        let (heap, apart) = (heap.as_ptr().cast::<Heap>(), apart.as_ptr().cast::<Apart>());
        // SAFETY: aligned storage of the right sizes, never freed. The sentinel is a valid empty
        // heap, all of its fields are plain data, and a heap of its own needs what lies apart.
        unsafe {
            core::ptr::write(apart, Apart { pending: PendingStack::new(), turn: Turn::new() });
            heap.copy_from_nonoverlapping(tls::sentinel(), 1);
            (*heap).bins.pending = &(*apart).pending;
            (*heap).door = Door::new(&(*apart).turn);
            (&raw mut (*heap.cast::<Home>()).tally).write(Tally::new());
            let tally = Handle::of(tally_of(heap));
            (*heap).tally = tally;
            (*heap).layers.attach(tally);
            (*heap).bins.tally = tally;
            (*heap).slots.tally = tally;
            (*heap).quarantine.open();
        }
        Some(heap)
    }

    /// Brings a batch of `class` in and takes one block of it. Null: out of memory.
    pub(crate) fn refill(&mut self, class: usize) -> *mut u8 {
        let tripped = self.cache.trip(class);
        // The thread may have looked at a sentinel and only now have taken this heap over, with
        // blocks in its layers and magazines.
        let tally = self.tally;
        let block =
            self.layers.pop(class, &self.cache, |rank, block| tally.layer_hit(rank, class, block));
        if !block.is_null() {
            return block;
        }
        let block = self.cache.pop(class);
        if !block.is_null() {
            self.tally.hit(class, block);
            if tripped {
                self.tripped(class);
            }
            return block;
        }
        self.tune_layers(class, true);
        let block = self.bring_back(class);
        if !block.is_null() {
            return block;
        }
        let started = self.tally.start();
        if let Some(block) = self.refill_layer(class, started) {
            return block;
        }
        if policy::DIRECT
            && let Some(block) = self.refill_direct(class, started)
        {
            return block;
        }
        let Some((end, batch)) = self.cache.begin_refill(class) else {
            return self.refill_one(class, started);
        };
        // SAFETY: `batch` slots below `end` are writable (contract of `begin_refill`).
        let got = unsafe { fill(&mut self.bins, &mut self.quarantine, class, end, batch) };
        // SAFETY: the refill wrote `got` blocks right below `end`.
        unsafe { self.cache.end_refill(class, batch, got) };
        self.restless.went_out(got * block_size(class));
        self.tally.refilled(class, got, started);
        let block = self.cache.pop(class);
        if self.restless.wants_wires() {
            // An empty magazine is as good as a wire.
            self.tripped(class);
        }
        block
    }

    /// A block from the layers behind the magazine, which is empty, and a batch for that. Null: they
    /// have none.
    #[inline(always)]
    fn bring_back(&mut self, class: usize) -> *mut u8 {
        let tally = self.tally;
        let served = |rank, block: *mut u8| tally.layer_hit(rank, class, block);
        let first = self.layers.bring_back(class, &self.cache, served);
        if first.is_null() {
            return first;
        }
        let Some((end, batch)) = self.cache.begin_refill(class) else { return first };
        let mut got = 0;
        while got < batch {
            let block = self.layers.bring_back(class, &self.cache, |_, _| ());
            if block.is_null() {
                break;
            }
            got += 1;
            // SAFETY: `batch` slots below `end` are writable (contract of `begin_refill`).
            unsafe { *end.sub(got) = block };
        }
        if harden::ON {
            // SAFETY: `got` slots below `end` have been written.
            self.quarantine.shuffle(unsafe { core::slice::from_raw_parts_mut(end.sub(got), got) });
        }
        // SAFETY: `got` blocks of the class lie right below `end`.
        unsafe { self.cache.end_refill(class, batch, got) };
        first
    }

    /// A batch for a layer that brings in its own, and one block of it. `None`: no layer does.
    #[inline(always)]
    fn refill_layer(&mut self, class: usize, started: u64) -> Option<*mut u8> {
        let (bins, quarantine, mut got) = (&mut self.bins, &mut self.quarantine, 0);
        let block = self.layers.refill(class, &mut |end, want| {
            // SAFETY: `want` slots below `end` are writable (contract of `FrontendLayer::refill`).
            got = unsafe { fill(bins, quarantine, class, end, want) };
            got
        })?;
        self.tally.refilled(class, got, started);
        Some(block)
    }

    /// A batch straight from the slabs for the layers in front, and the block asked for. `None`: they
    /// have no room.
    #[inline(always)]
    fn refill_direct(&mut self, class: usize, started: u64) -> Option<*mut u8> {
        let room = self.layers.room(class);
        if room == 0 {
            return None;
        }
        let mut blocks = [ptr::null_mut(); policy::DIRECT_BLOCKS];
        let want = (1 + room).min(blocks.len());
        let end = blocks.as_mut_ptr_range().end;
        // SAFETY: as many slots lie below the array's end.
        let got = unsafe { fill(&mut self.bins, &mut self.quarantine, class, end, want) };
        self.tally.refilled(class, got, started);
        // The last one, which has the lowest address (but in a hardened heap), is the caller's; so the
        // next one is to be on top.
        let (first, others) = blocks.split_last()?;
        let others = others.get(blocks.len() - got.max(1)..).unwrap_or(&[]);
        for &block in others {
            if !self.layers.push(class, block, &self.cache) && !self.cache.push(class, block) {
                // SAFETY: the block has just come from its slab.
                unsafe { self.bins.flush(class, &raw const block, 1) };
            }
        }
        Some(*first)
    }

    /// Gives the layers in front the capacities that the settings of now allow; without `grow`, only
    /// those that are to hold less.
    #[inline(always)]
    fn tune_layers(&mut self, class: usize, grow: bool) {
        let bins = &mut self.bins;
        self.layers.tune(class, grow, &mut |blocks, count| {
            // SAFETY: blocks in layers were given back by the program or never handed out.
            unsafe { bins.flush(class, blocks, count) };
        });
    }

    /// One block without a magazine: there is no memory for its storage.
    #[cold]
    fn refill_one(&mut self, class: usize, started: u64) -> *mut u8 {
        let mut slot: *mut u8 = ptr::null_mut();
        // SAFETY: one slot lies below `end`.
        let got = unsafe { self.bins.refill(class, (&raw mut slot).add(1), 1) };
        self.tally.refilled(class, got, started);
        slot
    }

    /// Puts a freed block into a full magazine: makes room first.
    ///
    /// # Safety
    /// `block` was given back by the program, as `class`.
    pub(crate) unsafe fn overflow(&mut self, class: usize, block: *mut u8) {
        self.tune_layers(class, true);
        if self.layers.push(class, block, &self.cache) {
            // They were closed, or this thread's heap was another one a moment ago.
            return self.tally.layer_freed(class, block);
        }
        self.layers.overflowed(class);
        self.tally.overflowed(class, block);
        if let Some((oldest, count)) = self.cache.begin_overflow(class) {
            if count == 0 {
                // No storage to be had: straight home.
                // SAFETY: as the caller promised.
                unsafe { self.bins.flush(class, &raw const block, 1) };
                return;
            }
            // SAFETY: the magazine's oldest blocks were given back by the program.
            unsafe { self.spill(class, oldest, count) };
            self.cache.end_overflow(class, count);
            self.restless.came_home(self.bins.take_home(), &mut self.cache);
        }
        if !self.cache.push(class, block) {
            // SAFETY: as the caller promised.
            unsafe { self.bins.flush(class, &raw const block, 1) };
        } else {
            self.restless.overflowed(&mut self.cache, class);
        }
    }

    /// A pop has come down to the wire of its magazine, or to the bottom: looks at the clock when this
    /// slow path ends.
    #[cold]
    fn tripped(&mut self, class: usize) {
        self.countdown = 1;
        self.restless.tripped(os::now_ms(), &mut self.cache, class);
    }

    /// Finds a place for blocks that leave the magazine: the newest go to the layers behind it as far
    /// as those have room, the others home, by the layer that takes them there if it takes them.
    ///
    /// # Safety
    /// As for `Bins::flush`.
    #[inline(always)]
    unsafe fn spill(&mut self, class: usize, blocks: *const *mut u8, count: usize) {
        let mut home = count - self.layers.room_behind(class).min(count);
        // SAFETY: as the caller promised; `sent` of the first `home` blocks are gone.
        unsafe {
            let sent = self.layers.send(class, core::slice::from_raw_parts(blocks, home));
            self.bins.flush(class, blocks.add(sent), home - sent);
        }
        while home < count {
            // SAFETY: as the caller promised; `home` is in range.
            unsafe {
                let block = blocks.add(home);
                if !self.layers.spill(class, *block, &self.cache) {
                    self.bins.flush(class, block, 1);
                }
            }
            home += 1;
        }
    }

    /// Sends every block of `class` that the layers in front hold home.
    #[inline(always)]
    fn drain_layers(&mut self, class: usize) {
        let bins = &mut self.bins;
        self.layers.drain(class, &mut |blocks, count| {
            // SAFETY: as in `tune_layers`.
            unsafe { bins.flush(class, blocks, count) };
        });
        // A class that is in use, or that is to hold less, obeys at once.
        let in_use = self.cache.is_used(class);
        self.tune_layers(class, in_use);
    }

    /// Shrinks the layers in front that have been idle, and obeys the settings of now.
    #[inline(always)]
    fn decay_layers(&mut self, class: usize) {
        self.tune_layers(class, true);
        let bins = &mut self.bins;
        self.layers.decay(class, &mut |blocks, count| {
            // SAFETY: as in `tune_layers`.
            unsafe { bins.flush(class, blocks, count) };
        });
    }

    /// Brings every block home that waits between the threads and the worker.
    pub(crate) fn take_in(&mut self) {
        handoff::take_in(|batch| {
            let blocks = batch.blocks();
            // SAFETY: blocks of a batch were given back by the program or never handed out.
            unsafe { self.bins.flush(batch.class(), blocks.as_ptr(), blocks.len()) };
        });
    }

    /// Flushes the magazine of `class` down to `keep` blocks.
    pub(crate) fn flush_to(&mut self, class: usize, keep: usize) {
        if let Some((oldest, count)) = self.cache.excess(class, keep) {
            // SAFETY: blocks in the magazine were given back by the program or never handed out.
            unsafe { self.bins.flush(class, oldest, count) };
            self.cache.end_overflow(class, count);
        }
    }

    /// Sends what waits in the quarantine of `class` home.
    fn end_quarantine(&mut self, class: usize) {
        if harden::ON {
            let mut blocks = [ptr::null_mut(); harden::SLOTS];
            let count = self.quarantine.take_all(class, &mut blocks);
            // SAFETY: blocks in the quarantine were given back by the program.
            unsafe { self.bins.flush(class, blocks.as_ptr(), count) };
        }
    }

    /// Flushes every layer, every magazine and the large slots: every block this heap caches goes home. Gives the
    /// bytes that went back to the system on the way.
    pub(crate) fn drain(&mut self) -> usize {
        for class in 1..COUNT {
            self.drain_layers(class);
            self.flush_to(class, 0);
            self.end_quarantine(class);
        }
        self.slots.drain()
    }

    /// Shrinks what has been idle since the last call: caches, pages inside slabs, large blocks. Gives the
    /// bytes of the pages that went back to the system.
    pub(crate) fn decay(&mut self, now: u64) -> usize {
        for class in 1..COUNT {
            self.decay_layers(class);
            if let Some(keep) = self.cache.decay(class) {
                self.flush_to(class, keep);
                self.end_quarantine(class);
            }
        }
        let returned = self.bins.sweep(true);
        self.slots.age(now as u32);
        returned
    }

    /// A tick is over that has returned so many bytes.
    pub(crate) fn ticked(&mut self, returned: usize) {
        self.restless.ticked(returned, &mut self.cache);
    }

    /// The background worker's visit: what `decay` does, but for the magazines. Gives the bytes
    /// returned.
    ///
    /// # Safety
    /// Nobody else touches what lies behind the magazines of `heap` (see `turn`).
    pub(crate) unsafe fn age_behind(heap: *mut Heap, now: u64) -> usize {
        // SAFETY: by contract; the fields are borrowed one by one, as the heap's thread may be using the
        // magazines.
        unsafe {
            (*heap).slots.age(now as u32);
            (*heap).bins.sweep(true)
        }
    }

    /// Counts a slow-path operation. True: it is time to look at the clock.
    #[inline]
    pub(crate) fn look_due(&mut self) -> bool {
        let freed = self.slots.take_freed(restless::LEAST);
        if freed != 0 {
            self.restless.came_home(freed, &mut self.cache);
        }
        self.countdown -= 1;
        if self.countdown != 0 {
            return false;
        }
        self.countdown = OPS_PER_LOOK;
        true
    }

    /// Looks at the clock. The time, if a tick is due.
    pub(crate) fn tick_due(&mut self, period: u32) -> Option<u64> {
        let now = os::now_ms();
        if now.wrapping_sub(self.last_tick) < u64::from(period) {
            return None;
        }
        self.last_tick = now;
        Some(now)
    }
}
