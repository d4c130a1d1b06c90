//! Blocks on their way between the threads and the background worker: gates `background-spill` and
//! `background-bin`.
//!
//! | | who puts in | who takes out | through |
//! |---|---|---|---|
//! | spill | a thread whose magazine is full | the worker, which brings the blocks to their slabs | one queue of batches |
//! | bin | the worker, from slabs that no thread has | a thread whose magazine is empty | a queue of batches per class |
//!
//! Invariants:
//!
//! 1. A block in a queue is in no other place (the heap walker counts it as cached): who puts a batch
//!    in has had its blocks alone, and who takes it out has them alone.
//! 2. Nobody waits. A spill that finds no room goes home the ordinary way and is counted; a bin that is
//!    empty leaves the refill to the slabs.
//! 3. What waits is bounded: by the places of the queues, and by bytes. Lengths and bytes decide, so they
//!    are correctness and no telemetry.
//! 4. No block needs the worker to come home: [`take_in`] takes everything out, whoever calls it
//!    (`collect`, the end of the process, the end of the worker, and, while there is no worker, the ticks
//!    of any thread).
//! 5. After a fork, the child takes in what is complete and repairs the queues. What another thread was
//!    about to put in or had just taken out stays that thread's, which is not there.
//!
//! Assumes that blocks are handed in by class, unused by anybody. Promises nothing about their being
//! blocks at all: the slab finds out, later than without the gates, what was freed by mistake.

use super::layer::Slot;
use crate::base::queue::Queue;
use crate::base::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::class::{CLASSES, COUNT};
use core::ptr;

/// Whether overflow goes to the worker.
pub(crate) const SPILL: bool = cfg!(feature = "background-spill");
/// Whether refills come from the worker.
pub(crate) const BIN: bool = cfg!(feature = "background-bin");
/// Whether there is anything here.
pub(crate) const ON: bool = SPILL || BIN;

/// Blocks of a batch, which with its place's turn fills four cache lines.
pub(crate) const BLOCKS: usize = 30;
/// Batches that may wait to be brought home, and bytes in them.
const SPILL_PLACES: usize = if cfg!(miri) { 4 } else { 128 };
const SPILL_BYTES: usize = 4 << 20;
/// Batches from which on the worker is called; fewer wait until it comes by.
const SPILL_CALL: usize = SPILL_PLACES / 4;
/// Batches that a bin holds, and bytes of them, but for one batch.
const BIN_PLACES: usize = if cfg!(miri) { 2 } else { 8 };
const BIN_BYTES: usize = 64 << 10;
/// Bytes of one of these, but for one block.
const BATCH_BYTES: usize = 16 << 10;

/// Some blocks of one class.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    class: u32,
    count: u32,
    blocks: [Slot; BLOCKS],
}

impl Batch {
    pub(crate) const EMPTY: Batch = Batch { class: 0, count: 0, blocks: [ptr::null_mut(); BLOCKS] };

    /// As many of `blocks` as fit, from the first on.
    fn of(class: usize, blocks: &[Slot]) -> Batch {
        let mut batch = Batch { class: class as u32, ..Batch::EMPTY };
        for (to, from) in batch.blocks.iter_mut().zip(blocks) {
            *to = *from;
            batch.count += 1;
        }
        batch
    }

    pub(crate) fn class(&self) -> usize {
        self.class as usize
    }

    pub(crate) fn blocks(&self) -> &[Slot] {
        self.blocks.get(..self.count as usize).unwrap_or(&[])
    }

    pub(crate) fn blocks_mut(&mut self) -> &mut [Slot] {
        self.blocks.get_mut(..self.count as usize).unwrap_or(&mut [])
    }

    /// Takes the last block out.
    pub(crate) fn pop(&mut self) -> Option<Slot> {
        let block = self.blocks().last().copied()?;
        self.count -= 1;
        Some(block)
    }

    /// Takes up to `out.len()` blocks out, the last ones. Gives their number.
    pub(crate) fn take(&mut self, out: &mut [Slot]) -> usize {
        let mut taken = 0;
        for to in out {
            let Some(block) = self.pop() else { break };
            *to = block;
            taken += 1;
        }
        taken
    }

    fn bytes(&self) -> usize {
        size_of_block(self.class()) * self.blocks().len()
    }
}

fn size_of_block(class: usize) -> usize {
    CLASSES.get(class).map_or(0, |info| info.size as usize)
}

static SPILLED: Queue<Batch, { SPILL_PLACES * SPILL as usize }> = Queue::new();
static BINS: [Queue<Batch, BIN_PLACES>; COUNT * BIN as usize] =
    [const { Queue::new() }; COUNT * BIN as usize];

/// Bytes of the blocks that wait to be brought home; the bound is decided on it.
/// Relaxed: a sum alone; the queue orders the blocks.
static SPILLED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Whether a worker serves these queues.
/// Relaxed: a late look puts a batch where somebody else takes it out, or goes the ordinary way.
static MANNED: AtomicBool = AtomicBool::new(false);

/// 1 while there is work that the worker is to be called for: what it sleeps on.
/// Relaxed: a look; a late one calls the worker a slow path later.
/// Acquire and Release: the worker sees what it was called for.
pub(crate) static WORK: AtomicU32 = AtomicU32::new(0);

/// By class, whether blocks have been asked for since the worker's last round.
/// Relaxed: a wish and nothing behind it; a late look stocks a bin a little later.
static ASKED: [AtomicU8; COUNT * BIN as usize] = [const { AtomicU8::new(0) }; COUNT * BIN as usize];

/// What has gone through, in blocks.
struct Gauges {
    /// Relaxed: a sum alone. Gauge: `Stats::background_spill`; nothing is decided on it.
    spilled: AtomicU64,
    /// Relaxed: a sum alone. Gauge: `Stats::background_spill`; nothing is decided on it.
    brought_home: AtomicU64,
    /// Relaxed: a sum alone. Gauge: `Stats::background_spill`; nothing is decided on it.
    refused: AtomicU64,
    /// Relaxed: a sum alone. Gauge: `Stats::background_bin`; nothing is decided on it.
    stocked: AtomicU64,
    /// Relaxed: a sum alone. Gauge: `Stats::background_bin`; nothing is decided on it.
    taken: AtomicU64,
    /// Relaxed: a sum alone. Gauge: `Stats::background_bin`; nothing is decided on it.
    returned: AtomicU64,
}

static GAUGES: Gauges = Gauges {
    spilled: AtomicU64::new(0),
    brought_home: AtomicU64::new(0),
    refused: AtomicU64::new(0),
    stocked: AtomicU64::new(0),
    taken: AtomicU64::new(0),
    returned: AtomicU64::new(0),
};

/// A worker serves the queues from now on, or no longer.
pub(crate) fn man(manned: bool) {
    if ON {
        MANNED.store(manned, Ordering::Relaxed);
    }
    if !manned {
        WORK.store(0, Ordering::Release);
    }
}

/// There is something that the worker is to be called for.
fn ask() {
    // Looked at first, so that the line stays shared while the worker is at it.
    if WORK.load(Ordering::Relaxed) == 0 {
        call_anyway();
    }
}

/// The worker is to be called, also where it has been already: it sees what the caller wrote before.
/// Exchanged, as a store would hide from the worker what others have written before their calls.
pub(crate) fn call_anyway() {
    WORK.swap(1, Ordering::Release);
}

/// Whether the worker is to be called.
#[inline(always)]
pub(crate) fn has_work() -> bool {
    ON && WORK.load(Ordering::Relaxed) != 0
}

/// The worker begins: what it is called for from now on, it is called for again.
pub(crate) fn begin_work() {
    WORK.swap(0, Ordering::Acquire);
}

/// Takes blocks on their way home, the oldest first; gives how many, from the first on.
pub(crate) fn spill(class: usize, blocks: &[Slot]) -> usize {
    if !SPILL || !MANNED.load(Ordering::Relaxed) {
        return 0;
    }
    let mut taken = 0;
    for blocks in blocks.chunks(BLOCKS) {
        let batch = Batch::of(class, blocks);
        if !put_spilled(batch) {
            break;
        }
        taken += blocks.len();
    }
    if taken < blocks.len() || SPILLED.len() >= SPILL_CALL {
        ask();
    }
    GAUGES.spilled.fetch_add(taken as u64, Ordering::Relaxed);
    GAUGES.refused.fetch_add((blocks.len() - taken) as u64, Ordering::Relaxed);
    taken
}

fn put_spilled(batch: Batch) -> bool {
    let bytes = batch.bytes();
    let fits = SPILLED_BYTES.fetch_add(bytes, Ordering::Relaxed) + bytes <= SPILL_BYTES;
    let put = fits && SPILLED.push(batch);
    if !put {
        SPILLED_BYTES.fetch_sub(bytes, Ordering::Relaxed);
    }
    put
}

/// The batches that are to be brought home, by who takes them: as many as there may be, so that threads
/// that go on meanwhile don't keep us here.
pub(crate) fn spilled() -> impl Iterator<Item = Batch> {
    (0..SPILL_PLACES * SPILL as usize).map_while(|_| next_spilled())
}

fn next_spilled() -> Option<Batch> {
    let batch = SPILLED.pop()?;
    SPILLED_BYTES.fetch_sub(batch.bytes(), Ordering::Relaxed);
    GAUGES.brought_home.fetch_add(batch.blocks().len() as u64, Ordering::Relaxed);
    Some(batch)
}

/// A batch of `class`, if its bin has one. One that is running out is to be stocked.
pub(super) fn take(class: usize) -> Option<Batch> {
    let (bin, asked) = (BINS.get(class)?, ASKED.get(class)?);
    let batch = bin.pop();
    if MANNED.load(Ordering::Relaxed) {
        asked.store(1, Ordering::Relaxed);
        if bin.len() < BIN_PLACES / 2 {
            ask();
        }
    }
    let taken = batch.map_or(0, |batch| batch.blocks().len());
    GAUGES.taken.fetch_add(taken as u64, Ordering::Relaxed);
    batch
}

/// Puts what was taken and not used back; false if there is no room any more.
pub(super) fn put_back(batch: Batch) -> bool {
    let Some(bin) = BINS.get(batch.class()) else { return false };
    // Where no worker comes by, nobody would look after it.
    let put = MANNED.load(Ordering::Relaxed) && bin.push(batch);
    if put {
        GAUGES.taken.fetch_sub(batch.blocks().len() as u64, Ordering::Relaxed);
    }
    put
}

/// Blocks that a batch of `class` is to have.
pub(crate) fn batch_of(class: usize) -> usize {
    BATCH_BYTES.checked_div(size_of_block(class)).unwrap_or(0).clamp(1, BLOCKS)
}

/// The classes whose bins are to be stocked: asked for, and not full.
pub(crate) fn short() -> impl Iterator<Item = usize> {
    let asked = ASKED.iter().enumerate();
    let wanted = asked.filter(|(_, asked)| asked.load(Ordering::Relaxed) != 0);
    wanted.map(|(class, _)| class).filter(|&class| is_short(class))
}

/// Whether a bin has room for another batch.
pub(crate) fn is_short(class: usize) -> bool {
    let bytes = batch_of(class) * size_of_block(class);
    let fits = |batches: usize| batches == 0 || (batches + 1) * bytes <= BIN_BYTES;
    BINS.get(class).is_some_and(|bin| bin.len() < BIN_PLACES && fits(bin.len()))
}

/// Whether a bin holds anything.
pub(crate) fn has_stock() -> bool {
    BINS.iter().any(|bin| bin.len() != 0)
}

/// The worker puts a batch of `class` into its bin; false if there is no room.
pub(crate) fn stock(class: usize, blocks: &[Slot]) -> bool {
    debug_assert!(blocks.len() <= BLOCKS);
    let put = BINS.get(class).is_some_and(|bin| bin.push(Batch::of(class, blocks)));
    if put {
        GAUGES.stocked.fetch_add(blocks.len() as u64, Ordering::Relaxed);
    }
    put
}

/// A round of the worker has passed: a batch of a class that nobody has asked for since the last one.
pub(crate) fn next_idle(class: usize) -> Option<Batch> {
    let (bin, asked) = (BINS.get(class)?, ASKED.get(class)?);
    if asked.load(Ordering::Relaxed) == 0 { returned(bin.pop()) } else { None }
}

/// The next round begins.
pub(crate) fn forget_asked() {
    ASKED.iter().for_each(|asked| asked.store(0, Ordering::Relaxed));
}

fn returned(batch: Option<Batch>) -> Option<Batch> {
    if let Some(batch) = &batch {
        GAUGES.returned.fetch_add(batch.blocks().len() as u64, Ordering::Relaxed);
    }
    batch
}

/// Whether something waits for a worker that is not there.
#[inline(always)]
pub(crate) fn is_forsaken() -> bool {
    SPILL && !MANNED.load(Ordering::Relaxed) && SPILLED.len() != 0
}

/// Takes every batch out, and forgets which bins were to be stocked.
pub(crate) fn take_in(mut home: impl FnMut(Batch)) {
    spilled().for_each(&mut home);
    forget_asked();
    for bin in &BINS {
        (0..BIN_PLACES).map_while(|_| returned(bin.pop())).for_each(&mut home);
    }
}

/// Calls `visit` with every block that waits, and its class.
///
/// # Safety
/// Nobody puts anything in or takes anything out meanwhile.
pub(crate) unsafe fn each_block(mut visit: impl FnMut(usize, *mut u8)) {
    let mut all = |batch: Batch| batch.blocks().iter().for_each(|&it| visit(batch.class(), it));
    if SPILL {
        // SAFETY: as the caller promised.
        unsafe { SPILLED.each(&mut all) };
    }
    for bin in &BINS {
        // SAFETY: as the caller promised.
        unsafe { bin.each(&mut all) };
    }
}

/// The child of a fork, which has no worker: what is complete goes `home`, everything is usable again.
///
/// # Safety
/// No other thread exists.
pub(crate) unsafe fn after_fork(mut home: impl FnMut(Batch)) {
    if !ON {
        return;
    }
    man(false);
    SPILLED_BYTES.store(0, Ordering::Relaxed);
    // SAFETY: as the caller promised.
    unsafe {
        SPILLED.repair(&mut home);
        BINS.iter().for_each(|bin| bin.repair(&mut home));
    }
}

/// What has gone through, for readers.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) spilled: u64,
    pub(crate) brought_home: u64,
    pub(crate) refused: u64,
    pub(crate) waiting: u64,
    pub(crate) stocked: u64,
    pub(crate) taken: u64,
    pub(crate) returned: u64,
}

pub(crate) fn look() -> Look {
    // Relaxed: sums that nothing is decided on.
    let of = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
    Look {
        spilled: of(&GAUGES.spilled),
        brought_home: of(&GAUGES.brought_home),
        refused: of(&GAUGES.refused),
        waiting: if SPILL { SPILLED.len() as u64 } else { 0 },
        stocked: of(&GAUGES.stocked),
        taken: of(&GAUGES.taken),
        returned: of(&GAUGES.returned),
    }
}
