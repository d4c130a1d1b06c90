//! The guarded slots: pages that lie between pages which nobody may touch.
//!
//! One reservation as long as a SuperSlab: page 0 is a guard, page 1 a slot, page 2 a guard, and so
//! on. The registry knows it as a SuperSlab without runs, so that no arena comes to share its entry,
//! and the map of addresses says class 0: a free comes to the cold path by itself.
//!
//! Invariant: a slot is in the queue of free ones, or [`State::Live`]; the page of a slot can be
//! touched while it is live and never else. The queue is first in, first out: a freed block stays
//! untouchable until all other slots have been used. All of it is guarded by the lock.

use super::ON;
use super::report::{self, Wrong};
use crate::base::sync::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use crate::os::{
    self, PAGE,
    lock::{Lock, LockGuard},
    trace,
};
use crate::segment::arena::SuperSlab;
use crate::segment::guarded::clear;
use crate::segment::{SUPERSLAB, SUPERSLAB_GRANULES, registry, spans};
use core::ptr;

/// Guarded blocks at most.
pub(crate) const SLOTS: usize = if ON { SUPERSLAB / (2 * PAGE) - 1 } else { 0 };
/// Return addresses kept of a stack.
const FRAMES: usize = 16;

/// Who did something, and on which way.
#[derive(Clone, Copy)]
pub(super) struct Trace {
    pub(super) thread: u32,
    count: usize,
    frames: [usize; FRAMES],
}

impl Trace {
    const NONE: Trace = Trace { thread: 0, count: 0, frames: [0; FRAMES] };

    /// The calling thread, here.
    pub(super) fn here() -> Trace {
        let mut trace = Trace { thread: trace::thread_id(), ..Trace::NONE };
        if PREPARED.load(Ordering::Relaxed) {
            trace.count = trace::backtrace(&mut trace.frames);
        }
        trace
    }

    pub(super) fn frames(&self) -> &[usize] {
        self.frames.get(..self.count).unwrap_or(&[])
    }
}

/// What a slot holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Unused,
    Live,
    Freed,
}

/// A slot.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) state: State,
    /// The block that is or was there.
    pub(super) at: usize,
    pub(super) size: usize,
    pub(super) made: Trace,
    pub(super) freed: Trace,
}

struct Pool {
    base: *mut u8,
    /// No memory was to be had for it.
    refused: bool,
    slots: [Slot; SLOTS],
    /// Free slots: a ring.
    queue: [u8; SLOTS],
    first: usize,
    free: usize,
    random: u64,
}

// SAFETY: the pages belong to who holds the lock, or to who got a block.
unsafe impl Send for Pool {}

static POOL: Lock<Pool> = Lock::new(Pool {
    base: ptr::null_mut(),
    refused: false,
    slots: [Slot { state: State::Unused, at: 0, size: 0, made: Trace::NONE, freed: Trace::NONE };
        SLOTS],
    queue: {
        let mut queue = [0; SLOTS];
        let mut slot = 0;
        while slot != SLOTS {
            queue[slot] = slot as u8;
            slot += 1;
        }
        queue
    },
    first: 0,
    free: SLOTS,
    random: 0,
});

/// Where the slots lie; at first where no address can be.
/// Relaxed: who has a guarded block got it after the store.
static BASE: AtomicUsize = AtomicUsize::new(1 << 63);
/// Whether stacks can be taken.
/// Relaxed: set before `main`.
static PREPARED: AtomicBool = AtomicBool::new(false);

/// What the registry knows of the slots.
static SUPERSLAB_OF_SLOTS: SuperSlab = SuperSlab {
    base: AtomicPtr::new(ptr::null_mut()),
    runs: [const { AtomicPtr::new(ptr::null_mut()) }; SUPERSLAB_GRANULES],
};

/// Loads what stacks need.
pub(super) fn prepare() {
    trace::prepare();
    PREPARED.store(true, Ordering::Relaxed);
}

/// Whether an address lies among the slots.
#[inline(always)]
pub(crate) fn owns(at: *const u8) -> bool {
    ON && at.addr().wrapping_sub(BASE.load(Ordering::Relaxed)) < SUPERSLAB
}

/// A place of the ring, from one that may be past its end by less than its length.
fn around(place: usize) -> usize {
    place.checked_sub(SLOTS).unwrap_or(place)
}

impl Pool {
    /// Takes the address space, once. False: there is none.
    fn reserve(&mut self) -> bool {
        if !self.base.is_null() || self.refused {
            return !self.refused;
        }
        self.refused = true;
        let Some(base) = os::reserve(SUPERSLAB, SUPERSLAB) else { return false };
        let base = base.as_ptr();
        if registry::entry_taken(base.addr()) || spans::aliases(base.addr(), SUPERSLAB) {
            os::unmap(base, SUPERSLAB);
            return false;
        }
        SUPERSLAB_OF_SLOTS.base.store(base, Ordering::Relaxed);
        registry::publish_superslab(base.addr(), &SUPERSLAB_OF_SLOTS);
        self.base = base;
        self.random = os::random() | 1;
        BASE.store(base.addr(), Ordering::Relaxed);
        // SAFETY: `refused` lets one call come here.
        unsafe { trace::on_fault(look) };
        self.refused = false;
        true
    }

    fn page(&self, slot: usize) -> *mut u8 {
        self.base.wrapping_add((2 * slot + 1) * PAGE)
    }

    /// The slot on whose page an address lies.
    fn slot_at(&self, address: usize) -> Option<usize> {
        let page = address.wrapping_sub(self.base.addr()) / PAGE;
        (page % 2 == 1 && self.slots.get(page / 2).is_some()).then_some(page / 2)
    }

    fn take(&mut self) -> Option<usize> {
        let slot = usize::from(*self.queue.get(self.first)?);
        self.free = self.free.checked_sub(1)?;
        self.first = around(self.first + 1);
        Some(slot)
    }

    fn put(&mut self, slot: usize) {
        let last = around(self.first + self.free);
        if let Some(place) = self.queue.get_mut(last) {
            *place = slot as u8;
            self.free += 1;
        }
    }

    /// The slot of the live block at just this address, or what is wrong with it.
    fn live(&self, at: *const u8) -> Result<usize, Wrong> {
        let index = self.slot_at(at.addr()).ok_or(Wrong::NoBlock)?;
        match self.slots.get(index) {
            Some(slot) if slot.state == State::Live && slot.at == at.addr() => Ok(index),
            Some(slot) if slot.state == State::Live => Err(Wrong::Inside),
            Some(slot) if slot.state == State::Freed && slot.at == at.addr() => {
                Err(Wrong::FreedTwice)
            }
            _ => Err(Wrong::NoBlock),
        }
    }
}

/// Ends the process with a report: `what` was asked of an address that is no block in use.
#[cold]
fn refuse(pool: LockGuard<'_, Pool>, at: *const u8, what: &str, wrong: Wrong, here: &Trace) -> ! {
    let slot = pool.slot_at(at.addr()).and_then(|index| pool.slots.get(index)).copied();
    // Whoever handles the abort may use the heap.
    drop(pool);
    report::bad_free(at.addr(), what, wrong, slot.as_ref(), here)
}

/// A guarded block of `size` bytes, which is the size of a class. Null: none is free, or the block
/// would not fit.
#[cold]
pub(crate) fn allocate(size: usize) -> *mut u8 {
    if !ON || size > PAGE {
        return ptr::null_mut();
    }
    let made = Trace::here();
    let mut pool = POOL.lock();
    if !pool.reserve() {
        return ptr::null_mut();
    }
    let Some(index) = pool.take() else { return ptr::null_mut() };
    let page = pool.page(index);
    if !os::make_writable(page, PAGE) {
        pool.put(index);
        return ptr::null_mut();
    }
    pool.random ^= pool.random << 13;
    pool.random ^= pool.random >> 7;
    pool.random ^= pool.random << 17;
    // A class's size keeps its alignment at the right end, too.
    let right = pool.random >> 40 & 1 == 1;
    let at = page.wrapping_add(if right { PAGE - size } else { 0 });
    if let Some(slot) = pool.slots.get_mut(index) {
        *slot = Slot { state: State::Live, at: at.addr(), size, made, freed: Trace::NONE };
    }
    at
}

/// Frees a guarded block; what is none ends the process with a report.
///
/// # Safety
/// `owns(at)`; the program uses the block no more.
#[cold]
pub(crate) unsafe fn free(at: *mut u8) {
    let here = Trace::here();
    let mut pool = POOL.lock();
    let index = match pool.live(at) {
        Ok(index) => index,
        Err(wrong) => refuse(pool, at, "free", wrong, &here),
    };
    if let Some(slot) = pool.slots.get_mut(index) {
        slot.state = State::Freed;
        slot.freed = here;
    }
    let page = pool.page(index);
    clear(page, PAGE);
    os::make_inaccessible(page, PAGE);
    pool.put(index);
}

/// What the slots take.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Address space, bytes.
    pub(crate) reserved: usize,
    /// Blocks in the program's hands.
    pub(crate) live: usize,
}

impl Usage {
    fn of(pool: &Pool) -> Usage {
        let reserved = if pool.base.is_null() { 0 } else { SUPERSLAB };
        Usage { reserved, live: SLOTS - pool.free }
    }
}

/// What the slots take now.
pub(crate) fn usage() -> Usage {
    if ON { Usage::of(&POOL.lock()) } else { Usage::default() }
}

/// The same without waiting for the lock: `None` if it is taken.
pub(crate) fn try_usage() -> Option<Usage> {
    if ON { POOL.try_lock().map(|pool| Usage::of(&pool)) } else { Some(Usage::default()) }
}

/// Bytes of a guarded block in use; what is none ends the process with a report.
#[cold]
pub(crate) fn usable_size(at: *const u8, what: &str) -> usize {
    let pool = POOL.lock();
    match pool.live(at) {
        Ok(index) => pool.slots.get(index).map_or(0, |slot| slot.size),
        Err(wrong) => refuse(pool, at, what, wrong, &Trace::here()),
    }
}

/// A memory fault: reports it if it lies among the slots.
fn look(fault: &trace::Fault) -> bool {
    if !owns(ptr::without_provenance(fault.address)) {
        return false;
    }
    // The thread that faults may hold the lock only if the heap itself is broken.
    let found = POOL.try_lock().map(|pool| {
        let page = fault.address.wrapping_sub(pool.base.addr()) / PAGE;
        // On a slot's page that slot; on a guard page the two beside it.
        let beside =
            if page % 2 == 1 { [page / 2; 2] } else { [(page / 2).wrapping_sub(1), page / 2] };
        beside.map(|index| pool.slots.get(index).copied())
    });
    report::fault(fault, found, &Trace::here());
    true
}

/// Takes the lock before a fork.
pub(crate) fn fork_acquire() {
    if ON {
        POOL.acquire();
    }
}

/// Releases the lock after a fork: in the parent, or (alone) in the child.
///
/// # Safety
/// The calling thread took it in `fork_acquire`; `child` only in the child.
pub(crate) unsafe fn fork_release(child: bool) {
    if ON {
        // SAFETY: by the caller's contract.
        unsafe { if child { POOL.reset() } else { POOL.release() } }
    }
}
