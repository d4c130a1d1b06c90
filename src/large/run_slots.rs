//! A thread's cached runs, by length: no search, no lock.
//!
//! A list for every length up to a SuperSlab, the newest run first. A request looks at its own length
//! and at the next ones up to an eighth longer (one granule at least: what is not touched costs no
//! memory). A run that comes back to its length keeps its place in the arena, and with it the pages
//! that such blocks touch: runs that are cut anew from free space in time touch every page of it.
//! Of longer runs the last one waits, for a program that takes and gives the same block again and again;
//! the others serve every size where they lie, in the arena.
//!
//! A thread keeps `SLOT_BYTES` on its own account; beyond that it leases from the budget that all
//! share. What has lain for a while is passed on when a request finds nothing of its length: then the
//! program has turned to other sizes, and these pages should serve them.
//!
//! Invariant: a run lies in the list of its own length, `stamp` falls along the list; `granules` is
//! the sum of their lengths, at most `SLOT_BYTES` and `leased` together as of the last `put`. `long` is
//! null or a run that is longer than all lists, at most `SLOT_BYTES` as of its `put_long`.

use super::thermal;
use crate::base::elapsed;
use crate::base::sync::{AtomicUsize, Ordering};
use crate::class::GRANULE;
use crate::segment::SUPERSLAB_GRANULES;
use crate::segment::slab::Slab;
use core::ops::RangeInclusive;
use core::ptr;

/// Lengths that have lists of their own: up to this many granules.
pub(super) const LONGEST: usize = SUPERSLAB_GRANULES;
/// Granules by which a lease grows.
const LEASE: usize = (4 << 20) / GRANULE;

/// Granules that threads have leased; the shared budget is decided on it.
/// Relaxed: a sum alone; a late look at it leases a step too many, or one too few.
static LEASED: AtomicUsize = AtomicUsize::new(0);

/// Bytes of the shared budget that threads have leased.
pub(super) fn leased() -> usize {
    LEASED.load(Ordering::Relaxed) * GRANULE
}

/// What a thread may keep.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    /// Bytes on its own account.
    pub(super) own: usize,
    /// Bytes that all threads together may lease beyond that.
    pub(super) shared: usize,
}

/// The runs that a thread keeps.
pub(super) struct RunSlots {
    /// By length; the newest first, linked through their descriptors.
    heads: [*mut Slab; LONGEST + 1],
    long: *mut Slab,
    granules: usize,
    leased: usize,
    /// Coarse time (ms, wrapping) of the last look for runs that have gone stale.
    looked: u32,
}

impl RunSlots {
    pub(super) const fn new() -> Self {
        RunSlots {
            heads: [ptr::null_mut(); LONGEST + 1],
            long: ptr::null_mut(),
            granules: 0,
            leased: 0,
            looked: 0,
        }
    }

    /// A run of at least `granules` granules at a multiple of `align` bytes, or null.
    pub(super) fn take(&mut self, granules: usize, align: usize) -> *mut Slab {
        let most = granules + (granules / 8).max(1);
        if granules > LONGEST {
            return self.take_long(granules..=most, align);
        }
        for length in granules..=most.min(LONGEST) {
            let Some(head) = self.heads.get_mut(length) else { break };
            // SAFETY: a cached run is alive and this thread's.
            if let Some(run) = unsafe { head.as_ref() }
                && run.base.addr() & (align - 1) == 0
            {
                let found = *head;
                *head = run.next.get();
                self.granules -= length;
                return found;
            }
        }
        ptr::null_mut()
    }

    fn take_long(&mut self, lengths: RangeInclusive<usize>, align: usize) -> *mut Slab {
        // SAFETY: a cached run is alive and this thread's.
        match unsafe { self.long.as_ref() } {
            Some(run)
                if lengths.contains(&(run.granules.get() as usize))
                    && run.base.addr() & (align - 1) == 0 =>
            {
                core::mem::replace(&mut self.long, ptr::null_mut())
            }
            _ => ptr::null_mut(),
        }
    }

    /// Takes in a run that is longer than [`LONGEST`], within `own` bytes. Gives the one that leaves, or null.
    pub(super) fn put_long(&mut self, run: &Slab, stamp: u32, own: usize) -> *mut Slab {
        let run_ptr = ptr::from_ref(run).cast_mut();
        if run.granules.get() as usize > own / GRANULE {
            return run_ptr;
        }
        run.stamp.set(stamp);
        core::mem::replace(&mut self.long, run_ptr)
    }

    /// Takes a run in, within `budget`. What there is no room for leaves.
    ///
    /// # Safety
    /// `run` describes a large block that nobody holds.
    pub(super) unsafe fn put(&mut self, run: *mut Slab, stamp: u32, budget: Budget) {
        // SAFETY: alive, and nobody else's.
        let run_ref = unsafe { &*run };
        let length = run_ref.granules.get() as usize;
        if length <= LONGEST
            && self.has_room(length, budget)
            && let Some(head) = self.heads.get_mut(length)
        {
            run_ref.next.set(*head);
            run_ref.stamp.set(stamp);
            *head = run;
            self.granules += length;
        } else {
            // SAFETY: nobody holds it, and it is in no list.
            unsafe { Slab::destroy(run) };
        }
    }

    /// Whether `length` more granules are within the budget; leases what is missing.
    fn has_room(&mut self, length: usize, budget: Budget) -> bool {
        let wanted = self.granules + length;
        if wanted <= budget.own / GRANULE + self.leased {
            return true;
        }
        if wanted > budget.own / GRANULE + self.leased + LEASE {
            return false;
        }
        let before = LEASED.fetch_add(LEASE, Ordering::Relaxed);
        if before + LEASE > budget.shared / GRANULE {
            LEASED.fetch_sub(LEASE, Ordering::Relaxed);
            return false;
        }
        self.leased += LEASE;
        true
    }

    /// Passes on every run that has outlived its time by `now`; `None`: every run.
    pub(super) fn release(&mut self, now: Option<u32>) {
        let is_old = |length: usize, stamp| {
            now.is_none_or(|now| elapsed(now, stamp) >= thermal::keep_for(length * GRANULE))
        };
        // A long run has had its time, as a mapping would: its pages don't wait once more.
        self.release_long(is_old, now.is_some());
        self.release_older(is_old);
        let idle = self.leased.saturating_sub(self.granules) / LEASE * LEASE;
        if idle != 0 {
            self.leased -= idle;
            LEASED.fetch_sub(idle, Ordering::Relaxed);
        }
    }

    /// A request has found nothing: passes on what has lain for a while. At most once per `now`.
    pub(super) fn release_stale(&mut self, now: u32) {
        if self.looked != now {
            self.looked = now;
            let is_old = |_, stamp| elapsed(now, stamp) >= thermal::stale_after();
            self.release_long(is_old, false);
            self.release_older(is_old);
        }
    }

    /// `discard`: its pages go back to the system at once.
    fn release_long(&mut self, is_old: impl Fn(usize, u32) -> bool, discard: bool) {
        // SAFETY: a cached run is alive and this thread's.
        if let Some(run) = unsafe { self.long.as_ref() }
            && is_old(run.granules.get() as usize, run.stamp.get())
        {
            let long = core::mem::replace(&mut self.long, ptr::null_mut());
            // SAFETY: nobody holds it, and it is in no place of ours any more.
            unsafe { Slab::release(long, discard) };
        }
    }

    fn release_older(&mut self, is_old: impl Fn(usize, u32) -> bool) {
        for (length, head) in self.heads.iter_mut().enumerate() {
            let mut link: *mut *mut Slab = head;
            // SAFETY: cached runs are alive and this thread's; `link` is the head or a link of one.
            unsafe {
                while let Some(run) = (*link).as_ref()
                    && !is_old(length, run.stamp.get())
                {
                    link = run.next.as_ptr();
                }
                // From here on all are as old or older.
                let mut old = core::mem::replace(&mut *link, ptr::null_mut());
                while let Some(run) = old.as_ref() {
                    let leaves = core::mem::replace(&mut old, run.next.get());
                    self.granules -= length;
                    Slab::destroy(leaves);
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::undocumented_unsafe_blocks)] // The tests own all they touch.
mod tests {
    use super::*;

    const PLENTY: Budget = Budget { own: usize::MAX, shared: 0 };

    fn run(granules: usize) -> *mut Slab {
        let (run, _) = Slab::create_large(granules, 1, granules * GRANULE).unwrap();
        run.as_ptr()
    }

    #[test]
    fn newest_first_and_near_lengths_serve() {
        let mut slots = RunSlots::new();
        let runs = [run(8), run(8), run(8)];
        for run in runs {
            unsafe { slots.put(run, 0, PLENTY) };
        }
        assert_eq!(slots.granules, 24);
        // Two lengths below is too far.
        assert!(slots.take(6, 1).is_null());
        assert_eq!(slots.take(7, 1), runs[2]);
        assert_eq!(slots.take(8, 1), runs[1]);
        unsafe {
            slots.put(runs[2], 0, PLENTY);
            slots.put(runs[1], 0, PLENTY);
        }
        slots.release(None);
        assert_eq!(slots.granules, 0);
        assert!(slots.take(8, 1).is_null());
    }

    #[test]
    fn the_budget_holds() {
        let mut slots = RunSlots::new();
        let own = Budget { own: 20 * GRANULE, shared: 0 };
        unsafe {
            slots.put(run(16), 0, own);
            slots.put(run(8), 0, own);
            // Longer than any list: never kept. (Arenas under Miri are too short to have one.)
            if !cfg!(miri) {
                slots.put(run(LONGEST + 1), 0, PLENTY);
            }
        }
        assert_eq!(slots.granules, 16);
        assert!(slots.take(8, 1).is_null());
        slots.release(None);
    }

    // Arenas under Miri are too short to have one.
    #[cfg(not(miri))]
    #[test]
    fn of_long_runs_the_last_one_waits() {
        let mut slots = RunSlots::new();
        let (first, second) = (run(LONGEST + 9), run(LONGEST + 18));
        unsafe {
            assert!(slots.put_long(&*first, 0, usize::MAX).is_null());
            assert_eq!(slots.put_long(&*second, 0, usize::MAX), first);
            assert_eq!(slots.put_long(&*first, 0, LONGEST * GRANULE), first, "too long");
        }
        assert!(slots.take(LONGEST + 9, 1).is_null(), "more than an eighth too long");
        assert!(slots.take(LONGEST + 19, 1).is_null(), "too short");
        assert_eq!(slots.take(LONGEST + 17, 1), second);
        assert!(slots.take(LONGEST + 17, 1).is_null(), "it waits no more");
        unsafe {
            assert!(slots.put_long(&*second, 0, usize::MAX).is_null());
            slots.release(None);
            assert!(slots.put_long(&*first, 0, usize::MAX).is_null(), "none waits");
        }
        slots.release(None);
    }

    #[test]
    fn what_is_leased_is_given_back() {
        let mut slots = RunSlots::new();
        let lent = Budget { own: 8 * GRANULE, shared: usize::MAX };
        let before = slots.leased;
        for _ in 0..3 {
            unsafe { slots.put(run(8), 0, lent) };
        }
        assert_eq!((slots.granules, slots.leased), (24, LEASE));
        assert!(leased() >= LEASE * GRANULE);
        slots.release(None);
        assert_eq!((slots.granules, slots.leased), (0, before));
    }

    #[test]
    fn only_what_is_old_leaves() {
        let mut slots = RunSlots::new();
        let (old, young) = (run(8), run(8));
        unsafe {
            slots.put(old, 1000, PLENTY);
            slots.put(young, 1000 + thermal::stale_after(), PLENTY);
        }
        slots.release_stale(999 + thermal::stale_after());
        assert_eq!(slots.granules, 16);
        slots.release_stale(1000 + thermal::stale_after());
        assert_eq!(slots.granules, 8);
        assert_eq!(slots.take(8, 1), young);
        unsafe { slots.put(young, 0, PLENTY) };
        slots.release(None);
    }
}
