//! Layer 0, the unified cache: a magazine (array of block pointers) per class.
//!
//! After Bonwick and Adams, "Magazines and Vmem" (USENIX 2001), with one magazine instead of two
//! and the tops of all magazines side by side, so that a class finds its own by one add.
//!
//! Layout of a magazine: slot 0 of its storage is null for ever; blocks lie in slots 1..; `top` is
//! one past the last block; `limit` is where `top` may go at most. So "empty" is a null in the block
//! just loaded, and "full" is `top == limit`. A magazine without storage has `top == limit` right
//! behind a null in static memory: empty and full at once, it sends every request to the cold path
//! without a check of its own. That is how an unborn thread, a mode and the mem diet act on the fast
//! path.
//!
//! Capacity grows by slow start: it doubles when an overflow follows a refill or the other way
//! round, within a budget per class and per heap, and halves when a class has been idle. Refills
//! (or overflows) alone, as in a thread that only allocates (or only frees), double it up to a
//! smaller bound: they want larger batches, not a larger cache.
//!
//! Invariant: storage[1..top] holds distinct blocks of the class, and at most one null, a wire
//! ([`tripwire`]); nobody else has them.

mod tripwire;

use super::tuning;
use crate::base::sync::{AtomicPtr, Ordering};
use crate::class::{self, CLASSES, COUNT, MID_BYTES, MOST_BLOCKS, TINY_MAP, TINY_MAX};
use crate::segment::{ON_DIET, meta};
use core::cell::Cell;
use core::ptr::{self, NonNull};

type Slot = *mut u8;

/// A null to find below the top of a magazine that has no storage.
struct Nothing([Slot; 2]);
// SAFETY: never written.
unsafe impl Sync for Nothing {}
static NOTHING: Nothing = Nothing([ptr::null_mut(); 2]);

/// Right behind a null: the top and the limit of an array without storage.
pub(super) const fn nothing_top() -> *mut Slot {
    (&raw const NOTHING.0).cast::<Slot>().cast_mut().wrapping_add(1)
}

/// What happened last to a magazine: the slow start looks at the alternation.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Event {
    None,
    Refill,
    Overflow,
}

/// Cold state of one magazine.
struct State {
    /// Slot 0, or null without storage.
    storage: *mut Slot,
    /// Slots in the storage, slot 0 included.
    slots: u32,
    /// Blocks that the magazine may hold; its limit is at storage + 1 + capacity.
    capacity: u32,
    last: Event,
    /// Whether a refill or an overflow has happened since the last decay.
    active: bool,
    /// Top at the last decay, as a number of blocks.
    level: u32,
    /// Slot of the wire; 0: there is none.
    wire: u32,
}

/// All magazines of a heap.
#[repr(C)]
pub(crate) struct UnifiedCache {
    /// Relaxed: only the thread that has the heap writes; who else reads one wants a level, not a
    /// block.
    tops: [AtomicPtr<Slot>; COUNT],
    limits: [Cell<*mut Slot>; COUNT],
    /// A copy of `class::TINY_MAP`, at a fixed distance from the magazines.
    tiny_map: [u8; TINY_MAX + 1],
    states: [State; COUNT],
    /// Bytes of blocks that the capacities above their start add up to.
    grown_bytes: usize,
}

/// Bytes of blocks up to which one-sided traffic grows a magazine.
const BATCH_BYTES: usize = 16 << 10;

/// Bytes by which all magazines of a heap together may grow beyond their start.
/// Relaxed: a setting; a late look obeys the one before.
pub(crate) static GROWTH_BUDGET: crate::base::sync::AtomicUsize =
    crate::base::sync::AtomicUsize::new(32 << 20);
/// First class of the mid tier, as `HAKMEM_TINY_MAX_CLASS` has it.
/// Relaxed: a setting; a late look obeys the one before.
pub(crate) static FIRST_MID: crate::base::sync::AtomicU32 =
    crate::base::sync::AtomicU32::new(class::FIRST_MID as u32);
/// Shift applied to capacities while memory is short: a quarter.
const DIET_SHIFT: u32 = 2;

impl UnifiedCache {
    pub(crate) const fn new() -> Self {
        UnifiedCache {
            tops: [const { AtomicPtr::new(nothing_top()) }; COUNT],
            limits: [const { Cell::new(nothing_top()) }; COUNT],
            tiny_map: TINY_MAP,
            states: [const {
                State {
                    storage: ptr::null_mut(),
                    slots: 0,
                    capacity: 0,
                    last: Event::None,
                    active: false,
                    level: 0,
                    wire: 0,
                }
            }; COUNT],
            grown_bytes: 0,
        }
    }

    /// The class of a tiny request, `size <= TINY_MAX`.
    #[inline(always)]
    pub(crate) fn tiny_class(&self, size: usize) -> usize {
        debug_assert!(size <= TINY_MAX);
        // SAFETY: the table has TINY_MAX + 1 entries.
        unsafe { *self.tiny_map.get_unchecked(size) as usize }
    }

    #[inline(always)]
    fn top(&self, class: usize) -> &AtomicPtr<Slot> {
        debug_assert!(class < COUNT);
        // SAFETY: classes are below COUNT wherever they come from.
        unsafe { self.tops.get_unchecked(class) }
    }

    #[inline(always)]
    fn limit(&self, class: usize) -> &Cell<*mut Slot> {
        debug_assert!(class < COUNT);
        // SAFETY: as above.
        unsafe { self.limits.get_unchecked(class) }
    }

    fn state(&mut self, class: usize) -> &mut State {
        debug_assert!(class < COUNT);
        // SAFETY: as above.
        unsafe { self.states.get_unchecked_mut(class) }
    }

    /// Takes the block that was put in last; null if there is none.
    #[inline(always)]
    pub(crate) fn pop(&self, class: usize) -> *mut u8 {
        let top = self.top(class);
        // SAFETY: the slot below the top holds a block or is the null of slot 0.
        let block = unsafe { *top.load(Ordering::Relaxed).sub(1) };
        if !block.is_null() {
            // Relaxed load and store of our own word: one read-modify-write without a lock prefix.
            top.store(top.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
        }
        block
    }

    /// Puts a block in; false if the magazine is full.
    #[inline(always)]
    pub(crate) fn push(&self, class: usize, block: *mut u8) -> bool {
        let top = self.top(class);
        let at = top.load(Ordering::Relaxed);
        if at == self.limit(class).get() {
            return false;
        }
        // SAFETY: below the limit, so inside the storage, and no block lies there.
        unsafe { *at = block };
        top.store(top.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        true
    }

    /// Blocks in the magazine. Exact for the thread that has the heap, a racy look for others.
    pub(crate) fn level(&self, class: usize) -> usize {
        let Some(state) = self.states.get(class) else { return 0 };
        if state.storage.is_null() {
            return 0;
        }
        let slots = (self.top(class).load(Ordering::Relaxed).addr() - state.storage.addr())
            / size_of::<Slot>();
        slots.saturating_sub(1 + usize::from(state.wire != 0))
    }

    /// Whether the class has ever had a magazine here.
    pub(crate) fn is_used(&self, class: usize) -> bool {
        self.states.get(class).is_some_and(|state| !state.storage.is_null())
    }

    /// Calls `visit` with every block in the magazine of `class`.
    pub(crate) fn each_block(&self, class: usize, mut visit: impl FnMut(*mut u8)) {
        let Some(state) = self.states.get(class) else { return };
        let wire = state.wire as usize;
        for slot in 1..=self.level(class) + usize::from(wire != 0) {
            if slot != wire {
                // SAFETY: slots 1..top hold blocks, but for the wire.
                visit(unsafe { *state.storage.add(slot) });
            }
        }
    }

    /// Gives the magazine storage for at least `capacity` blocks and that limit. Without memory it
    /// stays as it is.
    fn set_capacity(&mut self, class: usize, capacity: u32) {
        self.cut_wire(class);
        let level = self.level(class) as u32;
        let capacity = capacity.max(level);
        let state = self.state(class);
        if capacity + 1 > state.slots {
            let slots = (capacity + 1).next_power_of_two().max(8);
            let Some(storage) = meta::alloc(slots as usize * size_of::<Slot>(), false) else {
                return;
            };
            let storage: *mut Slot = storage.as_ptr().cast();
            // SAFETY: the new storage has more than level + 1 slots; the old one has that many.
            unsafe {
                *storage = ptr::null_mut();
                if let Some(old) = NonNull::new(state.storage) {
                    storage.add(1).copy_from_nonoverlapping(state.storage.add(1), level as usize);
                    meta::free(old.cast(), state.slots as usize * size_of::<Slot>());
                }
            }
            state.storage = storage;
            state.slots = slots;
        }
        state.capacity = capacity;
        let storage = state.storage;
        if storage.is_null() {
            return;
        }
        self.top(class).store(storage.wrapping_add(1 + level as usize), Ordering::Relaxed);
        self.limit(class).set(storage.wrapping_add(1 + capacity as usize));
    }

    /// Start and largest capacity of a class, in blocks. A class above the tiny tier's limit lives
    /// on the mid tier's terms: few blocks at first, more bytes at most.
    fn bounds(class: usize) -> (u32, u32) {
        let Some(info) = CLASSES.get(class) else { return (0, 0) };
        let shift = if ON_DIET.load(Ordering::Relaxed) { DIET_SHIFT } else { 0 };
        let moved = class < class::FIRST_MID && class as u32 >= FIRST_MID.load(Ordering::Relaxed);
        let (start, most) = if moved {
            (8, MID_BYTES.checked_div(info.size).unwrap_or(0).min(MOST_BLOCKS))
        } else {
            (info.magazine_start, info.magazine_max)
        };
        let start = (start << tuning::steps(class)).min(most.max(start));
        ((start >> shift).max(1), (most >> shift).max(1))
    }

    /// Whether one-sided traffic may still double the capacity.
    fn below_batch_bound(&mut self, class: usize) -> bool {
        let size = CLASSES.get(class).map_or(0, |info| info.size as usize);
        2 * self.state(class).capacity as usize * size <= BATCH_BYTES
    }

    /// Doubles the capacity if the budgets allow it.
    fn grow(&mut self, class: usize) -> bool {
        let now = self.state(class).capacity;
        let most = Self::bounds(class).1;
        self.grow_to(class, (now * 2 + 1).min(most))
    }

    /// Raises the capacity to `next` if the budgets allow it.
    fn grow_to(&mut self, class: usize, next: u32) -> bool {
        let Some(info) = CLASSES.get(class) else { return false };
        let now = self.state(class).capacity;
        let cost = next.saturating_sub(now) as usize * info.size as usize;
        if next <= now || self.grown_bytes + cost > GROWTH_BUDGET.load(Ordering::Relaxed) {
            return false;
        }
        self.set_capacity(class, next);
        let grown = self.state(class).capacity > now;
        if grown {
            self.grown_bytes += cost;
        }
        grown
    }

    /// The magazine is empty and a refill is coming: where it writes (downwards from the pointer),
    /// and how many blocks to bring. `None`: no storage can be had.
    pub(crate) fn begin_refill(&mut self, class: usize) -> Option<(*mut Slot, usize)> {
        debug_assert!(class != 0 && self.level(class) == 0);
        self.cut_wire(class);
        if self.state(class).storage.is_null() {
            self.set_capacity(class, Self::bounds(class).0);
        }
        let state = self.state(class);
        let alternates = state.last == Event::Overflow;
        let again = state.last == Event::Refill;
        state.last = Event::Refill;
        state.active = true;
        if alternates || (again && self.below_batch_bound(class)) {
            self.grow(class);
        }
        if tuning::ON && self.state(class).capacity < Self::bounds(class).0 {
            self.grow_to(class, Self::bounds(class).0);
        }
        let state = self.state(class);
        if state.storage.is_null() {
            return None;
        }
        let whole = tuning::fills_whole(class);
        let batch = if whole { state.capacity } else { state.capacity.div_ceil(2) } as usize;
        Some((state.storage.wrapping_add(1 + batch), batch))
    }

    /// `got` of `batch` blocks have been written: takes them in.
    ///
    /// # Safety
    /// `got` blocks of the class lie right below the pointer that `begin_refill` gave.
    pub(crate) unsafe fn end_refill(&mut self, class: usize, batch: usize, got: usize) {
        let storage = self.state(class).storage;
        // SAFETY: slots 1..=batch exist; the blocks lie in the last `got` of them.
        unsafe {
            if got < batch {
                let first = storage.add(1);
                first.copy_from(first.add(batch - got), got);
            }
        }
        self.top(class).store(storage.wrapping_add(1 + got), Ordering::Relaxed);
    }

    /// The magazine is full: makes room if it may grow, else tells which blocks (the oldest half)
    /// are to be flushed. `None`: there is room now.
    pub(crate) fn begin_overflow(&mut self, class: usize) -> Option<(*const Slot, usize)> {
        if self.state(class).storage.is_null() {
            self.set_capacity(class, Self::bounds(class).0);
            if !self.state(class).storage.is_null() {
                return None;
            }
            return Some((ptr::null(), 0));
        }
        self.cut_wire(class);
        let state = self.state(class);
        let alternates = state.last == Event::Refill;
        state.last = Event::Overflow;
        state.active = true;
        if (alternates || self.below_batch_bound(class)) && self.grow(class) {
            return None;
        }
        let count = self.level(class).div_ceil(2);
        Some((self.state(class).storage.wrapping_add(1), count))
    }

    /// The `count` oldest blocks have been flushed: closes the gap.
    pub(crate) fn end_overflow(&mut self, class: usize, count: usize) {
        let level = self.level(class);
        let storage = self.state(class).storage;
        // SAFETY: slots 1..=level hold blocks; the first `count` of them are gone.
        unsafe {
            let first = storage.add(1);
            first.copy_from(first.add(count), level - count);
        }
        self.top(class).store(storage.wrapping_add(1 + level - count), Ordering::Relaxed);
    }

    /// What is to be flushed of a class for its magazine to hold at most `keep` blocks.
    pub(crate) fn excess(&mut self, class: usize, keep: usize) -> Option<(*const Slot, usize)> {
        self.cut_wire(class);
        let count = self.level(class).checked_sub(keep).filter(|&count| count != 0)?;
        let storage = self.states.get(class)?.storage;
        Some((storage.wrapping_add(1), count))
    }

    /// A decay period has passed: shrinks the capacity of a class that was idle, and tells how
    /// many blocks it should keep.
    pub(crate) fn decay(&mut self, class: usize) -> Option<usize> {
        let level = self.level(class);
        let start = Self::bounds(class).0;
        let size = CLASSES.get(class).map_or(0, |info| info.size as usize);
        let state = self.state(class);
        if state.storage.is_null() {
            return None;
        }
        let idle = !core::mem::replace(&mut state.active, false);
        let still = core::mem::replace(&mut state.level, level as u32) == level as u32;
        if !idle || !still {
            return None;
        }
        let keep = level / 2;
        if state.capacity > start {
            let next = (state.capacity / 2).max(start).max(level as u32);
            let less = (state.capacity - next) as usize * size;
            self.grown_bytes = self.grown_bytes.saturating_sub(less);
            self.set_capacity(class, next);
        }
        Some(keep)
    }
}

#[cfg(test)]
#[allow(clippy::undocumented_unsafe_blocks)] // The tests own all they touch.
mod tests {
    use super::*;

    pub(super) fn fake(n: usize) -> *mut u8 {
        ptr::without_provenance_mut(16 * (n + 1))
    }

    #[test]
    fn without_storage_it_is_empty_and_full() {
        let cache = UnifiedCache::new();
        assert!(cache.pop(5).is_null());
        assert!(!cache.push(5, fake(0)));
        assert!(!cache.push(0, fake(0)));
    }

    #[test]
    fn last_in_first_out_and_oldest_half_leaves() {
        let mut cache = std::boxed::Box::new(UnifiedCache::new());
        // Large enough that one-sided traffic does not grow it.
        let class = class::FIRST_MID - 1;
        assert!(cache.begin_overflow(class).is_none());
        let capacity = CLASSES[class].magazine_start as usize;
        for n in 0..capacity {
            assert!(cache.push(class, fake(n)));
        }
        assert!(!cache.push(class, fake(capacity)));
        let (oldest, count) = cache.begin_overflow(class).unwrap();
        assert_eq!(count, capacity / 2);
        assert_eq!(unsafe { *oldest }, fake(0));
        cache.end_overflow(class, count);
        for n in (count..capacity).rev() {
            assert_eq!(cache.pop(class), fake(n));
        }
        assert!(cache.pop(class).is_null());
    }

    #[test]
    fn one_sided_traffic_grows_only_to_the_batch_bound() {
        let mut cache = std::boxed::Box::new(UnifiedCache::new());
        let class = class::class_of(64);
        for _ in 0..20 {
            let (_, batch) = cache.begin_refill(class).unwrap();
            unsafe { cache.end_refill(class, batch, 0) };
        }
        let bytes = cache.states[class].capacity as usize * 64;
        assert!(bytes > BATCH_BYTES / 2 && bytes <= BATCH_BYTES + 64);
    }

    #[test]
    fn a_short_refill_leaves_no_gap() {
        let mut cache = std::boxed::Box::new(UnifiedCache::new());
        let (end, batch) = cache.begin_refill(9).unwrap();
        for n in 0..3 {
            unsafe { *end.sub(n + 1) = fake(n) };
        }
        unsafe { cache.end_refill(9, batch, 3) };
        assert_eq!(cache.level(9), 3);
        for n in 0..3 {
            assert_eq!(cache.pop(9), fake(n));
        }
        assert!(cache.pop(9).is_null());
    }

    #[test]
    fn alternation_grows_and_idleness_shrinks() {
        let mut cache = std::boxed::Box::new(UnifiedCache::new());
        let (_, batch) = cache.begin_refill(3).unwrap();
        unsafe { cache.end_refill(3, batch, 0) };
        let before = cache.states[3].capacity;
        // An overflow after a refill: grows instead of flushing.
        assert!(cache.begin_overflow(3).is_none());
        assert_eq!(cache.states[3].capacity, before * 2 + 1);
        assert!(cache.grown_bytes > 0);
        assert!(cache.decay(3).is_none());
        assert!(cache.decay(3).is_some());
        assert!(cache.states[3].capacity < before * 2 + 1);
    }
}
