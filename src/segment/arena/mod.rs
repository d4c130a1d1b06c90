//! Runs of granules from dense reservations of address space.
//!
//! An arena is one reservation (1 GiB; less where address space is limited), seen as an array of
//! granules with two bits each:
//!
//! | used | dirty | the granule |
//! |---|---|---|
//! | 0 | 0 | untouched, or given back: reads as zero |
//! | 0 | 1 | free, but its pages may still be resident: waits for reuse or purge |
//! | 1 | 0 | part of a run |
//!
//! Runs are found first-fit in address order, so that a heap stays dense and huge pages fill. All
//! fields are guarded by the lock of `SEGMENT`; only the run pointers of a SuperSlab are read
//! without it. Purging claims the granules (used = 1) while the system call runs unlocked.

mod granules;

use super::registry;
use super::slab::Slab;
use super::{SUPERSLAB, SUPERSLAB_GRANULES};
use super::{meta, spans};
use crate::base::sync::{AtomicPtr, AtomicU8, AtomicU32, Ordering};
use crate::class::GRANULE;
use crate::os::{self, lock::Lock};
use core::ptr::{self, NonNull};
use granules::{ARENA_GRANULES, Arena};

const MAX_ARENAS: usize = 1024;
/// The longest run an arena serves, in granules; longer ones are mappings of their own.
pub(crate) const MAX_RUN: usize = ARENA_GRANULES / 8;

/// What is known of one SuperSlab. Lies out of band, is never freed.
pub(crate) struct SuperSlab {
    /// First byte; null until the first run in it is claimed, so that address space which is only
    /// reserved costs no memory here.
    /// Relaxed: who has a block there got it through a synchronisation that follows the store.
    pub(crate) base: AtomicPtr<u8>,
    /// The run that covers each granule, or null.
    /// Acquire and Release: who finds a run sees the descriptor as it was when it was published.
    pub(crate) runs: [AtomicPtr<Slab>; SUPERSLAB_GRANULES],
}

struct Segment {
    arenas: [*mut Arena; MAX_ARENAS],
    count: usize,
    /// Granules in runs.
    used: usize,
    /// Of these, in runs that are filled densely.
    dense: usize,
    /// Free granules that may be resident.
    dirty: usize,
}

// SAFETY: the pointers are to metadata that only the lock's holder touches.
unsafe impl Send for Segment {}

static SEGMENT: Lock<Segment> = Lock::new(Segment {
    arenas: [ptr::null_mut(); MAX_ARENAS],
    count: 0,
    used: 0,
    dense: 0,
    dirty: 0,
});

/// Whether huge pages are asked for: 0 never, 1 once the heap has grown, 2 always.
/// Relaxed: a setting; a late look obeys the one before.
pub(crate) static HUGE_PAGES: AtomicU8 = AtomicU8::new(1);
/// In mode 1: granules in dense use before the first request for huge pages.
/// Relaxed: a setting; a late look obeys the one before.
pub(crate) static HUGE_PAGES_AFTER: AtomicU32 = AtomicU32::new((8 << 20) / GRANULE as u32);

/// How a run will be filled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filling {
    /// By small blocks, page after page: worth huge pages.
    Dense,
    /// By blocks that the program may touch here and there only: huge pages could make every touched
    /// byte cost 2 MiB.
    Sparse,
    /// By a block that could be a mapping of its own, on a system that gives those huge pages unasked.
    Long,
}

/// A run of granules fresh from the arena.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    /// First byte.
    pub(crate) base: NonNull<u8>,
    /// Whether every byte reads as zero.
    pub(crate) zeroed: bool,
    /// As it was asked for; to be said again when the run is released.
    pub(crate) filling: Filling,
}

/// Why there is no run.
enum Refusal {
    /// No arena has that many granules in a row: another one might.
    NoRoom,
    /// The system has no memory: another arena would not help.
    NoMemory,
}

/// What the segment holds, in granules.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) reserved: usize,
    pub(crate) used: usize,
    pub(crate) dirty: usize,
}

impl Segment {
    fn arena_mut(&mut self, index: usize) -> Option<&mut Arena> {
        // SAFETY: arenas in the array are alive and touched under this lock only.
        self.arenas.get(index).and_then(|&arena| unsafe { arena.as_mut() })
    }

    /// The arena that holds this address.
    fn arena_of(&mut self, address: usize) -> Option<&mut Arena> {
        for index in 0..self.count {
            let arena = self.arena_mut(index)?;
            let base = arena.base.addr();
            if address >= base && address - base < arena.granules * GRANULE {
                return self.arena_mut(index);
            }
        }
        None
    }

    /// A run, and how many dirty granules it took over.
    fn find_and_claim(
        &mut self,
        granules: usize,
        align: usize,
        filling: Filling,
    ) -> Result<(Run, usize), Refusal> {
        let ask_huge = match HUGE_PAGES.load(Ordering::Relaxed) {
            0 => false,
            1 => match filling {
                Filling::Dense => self.dense >= HUGE_PAGES_AFTER.load(Ordering::Relaxed) as usize,
                Filling::Sparse => false,
                Filling::Long => true,
            },
            _ => true,
        };
        let natural = granules <= 16 && granules.is_power_of_two() && align <= granules;
        for index in 0..self.count {
            let Some(arena) = self.arena_mut(index) else { break };
            let found =
                if natural { arena.find_small(granules) } else { arena.find(granules, align) };
            if let Some(start) = found {
                let taken = arena.claim(start, granules, ask_huge).ok_or(Refusal::NoMemory)?;
                let base = NonNull::new(arena.address(start)).ok_or(Refusal::NoMemory)?;
                return Ok((Run { base, zeroed: taken == 0, filling }, taken));
            }
        }
        Err(Refusal::NoRoom)
    }

    /// Adds an arena that holds at least `granules` granules.
    fn grow(&mut self, granules: usize) -> bool {
        // A limited address space belongs to the program, too: take a sixteenth at a time.
        let limit = os::address_limit();
        let mut length = if limit == usize::MAX {
            ARENA_GRANULES * GRANULE
        } else {
            (limit / 16).clamp(2 * SUPERSLAB, ARENA_GRANULES * GRANULE)
        };
        let least = (granules * GRANULE).next_multiple_of(2 * SUPERSLAB);
        length = length.max(least).next_multiple_of(2 * SUPERSLAB);
        loop {
            if self.add_arena(length) {
                return true;
            }
            if length <= least {
                return false;
            }
            length = (length / 2).next_multiple_of(2 * SUPERSLAB).max(least);
        }
    }

    fn add_arena(&mut self, length: usize) -> bool {
        let index = self.count;
        if index == MAX_ARENAS || length > ARENA_GRANULES * GRANULE {
            return false;
        }
        let supers = length / SUPERSLAB;
        let table_bytes = supers * size_of::<SuperSlab>();
        let Some(space) = map_unshared(length, 4) else { return false };
        let arena = meta::alloc(size_of::<Arena>(), true);
        let table = if arena.is_some() { meta::alloc(table_bytes, true) } else { None };
        let (Some(arena), Some(table)) = (arena, table) else {
            os::unmap(space.as_ptr(), length);
            if let Some(arena) = arena {
                // SAFETY: just allocated with this size, not published.
                unsafe { meta::free(arena, size_of::<Arena>()) };
            }
            return false;
        };
        if HUGE_PAGES.load(Ordering::Relaxed) != 2 {
            os::advise_huge(space.as_ptr(), length, false);
        }
        let arena: *mut Arena = arena.as_ptr().cast();
        // SAFETY: zeroed metadata of the right size and alignment; all-zero is a valid Arena.
        unsafe {
            (*arena).base = space.as_ptr();
            (*arena).granules = length / GRANULE;
            (*arena).table = table.as_ptr().cast();
        }
        let table: *mut SuperSlab = table.as_ptr().cast();
        for superslab in 0..supers {
            // SAFETY: the table has `supers` zeroed entries; all-zero runs are null pointers. It
            // is not freed before its entries are retracted.
            unsafe {
                let address = space.as_ptr().addr() + superslab * SUPERSLAB;
                registry::publish_superslab(address, &*table.add(superslab));
            }
        }
        // A huge block may have been recorded there since `map_unshared` looked, and `settle` may have
        // found the entry free; one of the two comes second, and sees the other.
        if spans::aliases(space.as_ptr().addr(), length) {
            registry::expect_shared();
        }
        if let Some(slot) = self.arenas.get_mut(index) {
            *slot = arena;
            self.count += 1;
        }
        true
    }
}

impl Segment {
    fn usage(&mut self) -> Usage {
        let mut reserved = 0;
        for index in 0..self.count {
            reserved += self.arena_mut(index).map_or(0, |arena| arena.granules);
        }
        Usage { reserved, used: self.used, dirty: self.dirty }
    }

    /// Takes a wholly free arena out of service and gives its address space back.
    fn return_arena(&mut self, index: usize) {
        let Some(&arena_ptr) = self.arenas.get(index) else { return };
        // SAFETY: in the array, so alive; nothing of it is in use, so nobody refers into it.
        let (base, granules, table, dirty) = unsafe {
            (
                (*arena_ptr).base,
                (*arena_ptr).granules,
                (*arena_ptr).table,
                (*arena_ptr).count_dirty(),
            )
        };
        let supers = granules * GRANULE / SUPERSLAB;
        for superslab in 0..supers {
            registry::retract_superslab(base.addr() + superslab * SUPERSLAB);
        }
        os::unmap(base, granules * GRANULE);
        self.dirty -= dirty;
        self.count -= 1;
        // The last one takes its place.
        let last = self.arenas.get(self.count).copied().unwrap_or(ptr::null_mut());
        if let Some(place) = self.arenas.get_mut(index) {
            *place = last;
        }
        for (at, bytes) in [
            (arena_ptr.cast::<u8>(), size_of::<Arena>()),
            (table.cast(), supers * size_of::<SuperSlab>()),
        ] {
            if let Some(at) = NonNull::new(at) {
                // SAFETY: allocated with this size by `add_arena`, no longer reachable.
                unsafe { meta::free(at, bytes) };
            }
        }
    }
}

/// Gives the address space of wholly free arenas back: for when there is none left.
pub(crate) fn return_empty() {
    let mut segment = SEGMENT.lock();
    let mut index = 0;
    while index < segment.count {
        if segment.arena_mut(index).is_some_and(|arena| arena.is_unused()) {
            segment.return_arena(index);
        } else {
            index += 1;
        }
    }
}

/// Reserves address space whose entries in the registry nobody else of ours uses. While a place is
/// refused it stays mapped, so that the system must offer another.
fn map_unshared(length: usize, tries: usize) -> Option<NonNull<u8>> {
    let space = os::reserve(length, SUPERSLAB)?;
    let base = space.as_ptr().addr();
    let taken = (0..length / SUPERSLAB).any(|at| registry::entry_taken(base + at * SUPERSLAB))
        || spans::aliases(base, length);
    if !taken {
        return Some(space);
    }
    let other = if tries == 0 { None } else { map_unshared(length, tries - 1) };
    os::unmap(space.as_ptr(), length);
    other
}

/// A huge block has been recorded: should it start where a SuperSlab has the registry's entry, the
/// entry becomes the block's. To be called before the program has the block.
pub(crate) fn settle(at: *const u8) {
    if registry::entry_taken(at.addr()) {
        let _segment = SEGMENT.lock();
        registry::share(at.addr());
    }
}

/// A run of `granules` granules whose start is a multiple of `align` granules (a power of two), named
/// as one of `class` (0: a large block).
pub(crate) fn alloc_run(granules: usize, align: usize, filling: Filling, class: u8) -> Option<Run> {
    if granules == 0 || granules > MAX_RUN || align > SUPERSLAB_GRANULES {
        return None;
    }
    let mut segment = SEGMENT.lock();
    let found = match segment.find_and_claim(granules, align, filling) {
        Err(Refusal::NoRoom) if segment.grow(granules) => {
            segment.find_and_claim(granules, align, filling)
        }
        found => found,
    };
    let (run, taken) = found.ok()?;
    if class != 0 {
        registry::name_class(run.base.as_ptr(), granules, class);
    }
    segment.used += granules;
    segment.dirty -= taken;
    if filling == Filling::Dense {
        segment.dense += granules;
    }
    Some(run)
}

/// Takes the granules right behind a run, if they are free. True: the run is now longer.
///
/// # Safety
/// `[base, base + granules)` is a run of the caller's.
pub(crate) unsafe fn grow_run(base: *mut u8, granules: usize, by: usize) -> bool {
    let mut segment = SEGMENT.lock();
    let Some(arena) = segment.arena_of(base.addr()) else { return false };
    let start = (base.addr() - arena.base.addr()) / GRANULE + granules;
    if start + by > arena.granules || arena.next(start, true) < start + by {
        return false;
    }
    let Some(taken) = arena.claim(start, by, false) else { return false };
    segment.used += by;
    segment.dirty -= taken;
    true
}

/// Gives a run, or a part of one, back. `dirty`: its pages may be resident.
///
/// # Safety
/// The range is the caller's, retracted from the registry, and touched no more.
pub(crate) unsafe fn release_run(base: *mut u8, granules: usize, dirty: bool, filling: Filling) {
    let now = os::now_ms() as u32;
    let mut segment = SEGMENT.lock();
    let Some(arena) = segment.arena_of(base.addr()) else { return };
    let start = (base.addr() - arena.base.addr()) / GRANULE;
    arena.release(start, granules, dirty, now);
    segment.used -= granules;
    if filling == Filling::Dense {
        segment.dense -= granules;
    }
    if dirty {
        segment.dirty += granules;
    }
}

/// Returns free, touched memory to the system: all that has lain unused for `age_ms`.
/// Gives the number of bytes returned.
pub(crate) fn purge(age_ms: u32, advise: impl Fn(*mut u8, usize) -> bool) -> usize {
    let now = os::now_ms() as u32;
    let mut returned = 0;
    let mut segment = SEGMENT.lock();
    let mut index = 0;
    let mut from = 0;
    while segment.dirty != 0 && index < segment.count {
        let Some(arena) = segment.arena_mut(index) else { break };
        let Some((start, granules)) = arena.take_dirty(from, now, age_ms) else {
            index += 1;
            from = 0;
            continue;
        };
        let at = arena.address(start);
        segment.dirty -= granules;
        // The range counts as used while the lock is open, so nobody else can touch it.
        drop(segment);
        let clean = advise(at, granules * GRANULE);
        segment = SEGMENT.lock();
        // By address: while the lock was open arenas may have changed places.
        if let Some(arena) = segment.arena_of(at.addr()) {
            let keep = arena.released.get(start / SUPERSLAB_GRANULES).copied().unwrap_or(now);
            arena.release(start, granules, !clean, keep);
        }
        if clean {
            returned += granules * GRANULE;
        } else {
            segment.dirty += granules;
        }
        from = start + granules;
    }
    returned
}

/// What the arenas hold. Old when it is looked at, unless the program is quiet.
pub(crate) fn usage() -> Usage {
    SEGMENT.lock().usage()
}

/// Bytes of free runs whose pages may be resident.
pub(crate) fn dirty_bytes() -> usize {
    SEGMENT.lock().dirty * GRANULE
}

/// As [`usage`], unless the lock is taken.
pub(crate) fn try_usage() -> Option<Usage> {
    Some(SEGMENT.try_lock()?.usage())
}

/// Calls `visit` for every run that is published, once each. For heap walks: racy unless the
/// program is quiet.
pub(crate) fn each_run(mut visit: impl FnMut(*mut Slab)) {
    let mut index = 0;
    loop {
        let (base, granules) = {
            let mut segment = SEGMENT.lock();
            if index == segment.count {
                return;
            }
            match segment.arena_mut(index) {
                Some(arena) => (arena.base, arena.granules),
                None => return,
            }
        };
        let mut last = ptr::null_mut();
        for granule in 0..granules {
            let run = registry::run_of(base.wrapping_add(granule * GRANULE));
            if !run.is_null() && run != last {
                visit(run);
            }
            last = run;
        }
        index += 1;
    }
}

/// Takes the lock before a fork.
pub(crate) fn fork_acquire() {
    SEGMENT.acquire();
}

/// Releases the lock after a fork: in the parent, or (alone) in the child.
///
/// # Safety
/// The calling thread took it in `fork_acquire`; `child` only in the child.
pub(crate) unsafe fn fork_release(child: bool) {
    // SAFETY: by the caller's contract.
    unsafe { if child { SEGMENT.reset() } else { SEGMENT.release() } }
}
