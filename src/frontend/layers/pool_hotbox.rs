//! Pool Hotbox v2: a pool of the thread's own for blocks of 2 to 32 KiB, in the place of the magazines.
//!
//! The idea: a slab has few blocks of this size, so that each visit brings little, and the magazines
//! begin with eight of them (with four above 16 KiB). The pool has room for twice as many at first, at
//! fixed places in the heap, and brings its own batches from the slabs, half of that room at a time. A
//! refill that follows an overflow, or an overflow that follows a refill, doubles the room once;
//! idleness halves it again.
//!
//! The magazine behind it is where it exchanges: an empty array draws half of its room from there before
//! the slabs are asked, a full one hands its older half over. Traffic that alternates in an array of full
//! size is too deep for it: then refills are left to the magazine, which grows further.
//!
//! Closed unless `HAKMEM_POOL_HOTBOX` or the mode asks for it. What it does is counted by the gate
//! `pool-hotbox-v2-stats`.

use crate::base::sync::{AtomicBool, Ordering};
use crate::class::CLASSES as TABLE;
use crate::frontend::arrays::{Arrays, kept_in_arrays};
use crate::frontend::layer::{ClassMask, Event, Fill, FrontendLayer};
use crate::frontend::magazine::UnifiedCache;
use crate::telemetry::pool::Pool;
use crate::telemetry::tally::{COMMON, Handle};

pub(crate) const ON: bool = cfg!(feature = "pool-hotbox-v2");

const CLASSES: ClassMask = ClassMask::mid(2 << 10, 32 << 10);
const FIRST: usize = CLASSES.first();
const ARRAYS: usize = CLASSES.last() - FIRST + 1;
/// Blocks of a class at first, and bytes of them.
const START: usize = 16;
const START_BYTES: usize = 128 << 10;
/// The same at most.
const MOST: usize = 32;
const MOST_BYTES: usize = 256 << 10;

/// Whether the setting lets it hold anything; the unit tests put it through every call.
/// Relaxed: a setting; a late look obeys the one before.
static WANTED: AtomicBool = AtomicBool::new(cfg!(test));

/// `HAKMEM_POOL_HOTBOX` has this value now; every heap obeys on its slow paths.
pub(crate) fn enable(on: bool) {
    if ON {
        WANTED.store(on, Ordering::Relaxed);
    }
}

/// Blocks of `class` that so many bytes hold, at most `blocks`.
fn fit(class: usize, bytes: usize, blocks: usize) -> usize {
    let size = TABLE.get(class).map_or(0, |info| info.size as usize);
    bytes.checked_div(size).unwrap_or(0).min(blocks)
}

/// What slow paths know of one array.
struct State {
    /// Blocks that it may have grown to by what the settings allow; 0: closed.
    bound: u8,
    last: Event,
    /// Whether it has alternated at its full size since it was idle.
    deep: bool,
}

/// The arrays, what slow paths know of them, and where the pool counts.
pub(crate) struct PoolHotbox(Arrays<FIRST, ARRAYS, { MOST + 1 }>, [State; ARRAYS], Handle);

impl PoolHotbox {
    #[inline(always)]
    fn tally(&self) -> Handle {
        self.2
    }

    fn state(&mut self, class: usize) -> &mut State {
        debug_assert!(CLASSES.has(class));
        // SAFETY: the layer is asked for classes that it covers.
        unsafe { self.1.get_unchecked_mut(class.wrapping_sub(FIRST)) }
    }

    /// The array of `class` is empty: takes half of its room from the magazine.
    #[inline(never)]
    fn draw(&self, class: usize, behind: &UnifiedCache) -> *mut u8 {
        let want = self.0.capacity(class).div_ceil(2);
        let block = self.0.draw(class, want, class, behind);
        if !block.is_null() {
            self.tally().pool(Pool::Draws);
            self.tally().pool_blocks(Pool::DrawnBlocks, self.0.count(class) + 1);
        }
        block
    }

    /// It is full: hands its older half over to the magazine.
    #[inline(never)]
    fn push_full(&self, class: usize, block: *mut u8, behind: &UnifiedCache) -> bool {
        let held = self.0.count(class);
        if !self.0.spill(class, held.div_ceil(2), class, behind) {
            return false;
        }
        self.tally().pool(Pool::Spills);
        self.tally().pool_blocks(Pool::SpilledBlocks, held - self.0.count(class));
        self.tally().pool(Pool::Frees);
        self.0.push(class, block)
    }
}

// SAFETY: an array has a block from its push, its batch or its way out of the magazine to its pop, its
// way into the magazine or its drain.
unsafe impl FrontendLayer for PoolHotbox {
    const NAME: &'static str = "pool-hotbox-v2";
    const RANK: usize = 22;
    const ON: bool = ON;
    const CLASSES: ClassMask = CLASSES;
    const NEW: Self = PoolHotbox(
        Arrays::NEW,
        [const { State { bound: 0, last: Event::Idle, deep: false } }; ARRAYS],
        COMMON,
    );

    #[inline(always)]
    fn pop(&self, class: usize, behind: &UnifiedCache) -> *mut u8 {
        let block = self.0.pop(class);
        if block.is_null() {
            return self.draw(class, behind);
        }
        self.tally().pool(Pool::Hits);
        block
    }

    #[inline(always)]
    fn push(&self, class: usize, block: *mut u8, behind: &UnifiedCache) -> bool {
        if !self.0.push(class, block) {
            return self.push_full(class, block, behind);
        }
        self.tally().pool(Pool::Frees);
        true
    }

    kept_in_arrays!();

    fn most(class: usize) -> usize {
        fit(class, MOST_BYTES, MOST)
    }

    fn capacity(&self, class: usize) -> usize {
        self.1.get(class.wrapping_sub(FIRST)).map_or(0, |state| usize::from(state.bound))
    }

    fn set_capacity(&mut self, class: usize, capacity: usize) {
        let bound = capacity.min(Self::most(class));
        let start = fit(class, START_BYTES, START);
        let room = if bound == 0 { 0 } else { self.0.capacity(class).max(start).min(bound) };
        self.0.set_capacity(class, room);
        let held = self.0.count(class);
        let state = self.state(class);
        state.bound = bound.max(held) as u8;
        state.deep = false;
    }

    fn hear(&mut self, class: usize, event: Event) {
        let (room, bound) = (self.0.capacity(class), self.capacity(class));
        let tally = self.tally();
        let state = self.state(class);
        let last = core::mem::replace(&mut state.last, event);
        match event {
            Event::Idle => tally.pool(Pool::Idle),
            _ if bound == 0 => tally.pool(Pool::Closed),
            Event::Overflow => tally.pool(Pool::Overflows),
            Event::Refill => {}
        }
        let alternates = matches!(
            (last, event),
            (Event::Refill, Event::Overflow) | (Event::Overflow, Event::Refill)
        );
        if alternates {
            state.deep |= room >= bound;
            self.0.set_capacity(class, (2 * room).min(bound));
        } else if event == Event::Idle {
            state.deep = false;
            let start = fit(class, START_BYTES, START);
            self.0.set_capacity(class, (room / 2).max(start).min(room));
        }
    }

    fn wanted() -> bool {
        WANTED.load(Ordering::Relaxed)
    }

    fn attach(&mut self, tally: Handle) {
        self.2 = tally;
    }

    fn refill(&mut self, class: usize, fill: Fill<'_>) -> Option<*mut u8> {
        if self.state(class).deep {
            return None;
        }
        let block = self.0.refill(class, self.0.capacity(class).div_ceil(2), fill)?;
        let got = self.0.count(class) + usize::from(!block.is_null());
        self.tally().pool(if got == 0 { Pool::RefillFailures } else { Pool::Refills });
        self.tally().pool_blocks(Pool::RefilledBlocks, got);
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::class_of;
    use crate::frontend::layer::Slot;
    use crate::telemetry::gates::{Gate, PoolCounters, PoolHotboxV2Stats, TelemetryShared};
    use crate::telemetry::pool::COUNTERS;
    use crate::telemetry::tally::Tally;
    use core::ptr;
    use std::boxed::Box;

    const SIZE: usize = 5000;

    fn block(n: usize) -> *mut u8 {
        ptr::without_provenance_mut((n + 1) << 13)
    }

    /// An open pool that counts for itself.
    fn open() -> (PoolHotbox, &'static Tally, usize) {
        let tally: &'static Tally = Box::leak(Box::new(Tally::new()));
        let (mut pool, class) = (PoolHotbox::NEW, class_of(SIZE));
        pool.attach(Handle::of(tally));
        pool.set_capacity(class, PoolHotbox::most(class));
        (pool, tally, class)
    }

    /// A refill that finds `there` blocks.
    fn bring(there: usize) -> impl FnMut(*mut Slot, usize) -> usize {
        move |end, want| {
            let got = want.min(there);
            for n in 0..got {
                // SAFETY: `want` slots below `end` are writable.
                unsafe { *end.sub(n + 1) = block(n) };
            }
            got
        }
    }

    /// What it has counted; `None` where that is not compiled in, or counted with what others do.
    fn counted(tally: &'static Tally) -> Option<[u64; COUNTERS]> {
        let own = PoolHotboxV2Stats::ON && !TelemetryShared::ON;
        own.then(|| core::array::from_fn(|slot| tally.read::<PoolCounters>(slot)))
    }

    #[test]
    fn it_covers_2_to_32_kib() {
        for (size, wanted) in [(2048, false), (2049, true), (32 << 10, true), (33 << 10, false)] {
            let class = class_of(size - crate::class::RESERVED);
            assert_eq!(CLASSES.has(class), wanted, "{size}");
        }
        let of = |size: usize| {
            let class = class_of(size - crate::class::RESERVED);
            (fit(class, START_BYTES, START), PoolHotbox::most(class))
        };
        assert_eq!([of(4096), of(16 << 10), of(32 << 10)], [(16, 32), (8, 16), (4, 8)]);
    }

    #[test]
    fn it_brings_its_own_batches_until_traffic_is_too_deep() {
        let (mut pool, tally, class) = open();
        assert_eq!((pool.0.capacity(class), pool.capacity(class)), (START, MOST));
        pool.hear(class, Event::Refill);
        assert_eq!(pool.refill(class, &mut bring(100)), Some(block(0)));
        assert_eq!(pool.count(class), START / 2 - 1);
        // An overflow after a refill doubles the room, once.
        pool.hear(class, Event::Overflow);
        assert_eq!(pool.0.capacity(class), MOST);
        pool.hear(class, Event::Overflow);
        assert!(!pool.state(class).deep);
        let mut out = [ptr::null_mut(); MOST];
        pool.drain(class, 0, &mut out);
        // At full size, an alternation says that the magazine is to grow.
        pool.hear(class, Event::Refill);
        let mut nothing = |_: *mut Slot, _: usize| -> usize { panic!("left to the magazine") };
        assert!(pool.refill(class, &mut nothing).is_none());
        pool.hear(class, Event::Idle);
        assert_eq!(pool.0.capacity(class), START);
        pool.hear(class, Event::Refill);
        // No memory: the request fails, and nothing is here.
        assert_eq!(pool.refill(class, &mut bring(0)), Some(ptr::null_mut()));
        assert_eq!(pool.count(class), 0);
        // Refills, their blocks, and those without; overflows; idle once.
        let wanted = [0, 0, 0, 1, 8, 1, 0, 0, 0, 2, 1, 0];
        assert!(counted(tally).is_none_or(|counts| counts == wanted), "{:?}", counted(tally));
    }

    #[test]
    fn it_exchanges_with_the_magazine() {
        let (mut pool, tally, class) = open();
        let mut behind = Box::new(UnifiedCache::new());
        assert!((0..START).all(|n| pool.push(class, block(n), &behind)));
        assert!(!pool.push(class, block(START), &behind), "there is no magazine");
        assert!(behind.begin_overflow(class).is_none());
        let room = TABLE[class].magazine_start as usize;
        assert!(pool.push(class, block(START), &behind));
        assert_eq!((behind.level(class), pool.count(class)), (room, START - room + 1));
        for n in (0..=START).rev() {
            // The magazine has the older ones, in their order.
            assert_eq!(pool.pop(class, &behind), block(n));
        }
        assert!(pool.pop(class, &behind).is_null());
        let held = START as u64 + 1;
        let handed = room as u64;
        let wanted = [held - 1, 1, handed, 0, 0, 0, held, 1, handed, 0, 0, 0];
        assert!(counted(tally).is_none_or(|counts| counts == wanted), "{:?}", counted(tally));
        // Closed, it takes and gives nothing.
        pool.set_capacity(class, 0);
        assert!(!pool.push(class, block(0), &behind) && pool.pop(class, &behind).is_null());
        pool.hear(class, Event::Refill);
        assert!(counted(tally).is_none_or(|counts| counts[Pool::Closed as usize] == 1));
    }
}
