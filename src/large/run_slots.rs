//! A thread's cached runs, by length: no search, no lock.
//!
//! Two places for every length up to a SuperSlab. A request looks at its own length and at the next
//! ones up to an eighth longer (one granule at least: what is not touched costs no memory). When both
//! places of a length are taken the older run leaves, to the arena.
//!
//! Invariant: a run lies in the places of its own length, an older one behind a newer one; `granules`
//! is the sum of their lengths.

use super::thermal;
use crate::base::elapsed;
use crate::class::GRANULE;
use crate::segment::SUPERSLAB_GRANULES;
use crate::segment::slab::Slab;
use core::ptr;

/// Lengths that have places of their own: up to this many granules.
const LONGEST: usize = SUPERSLAB_GRANULES;

/// A cached run and the coarse time (ms, wrapping) of its free.
#[derive(Clone, Copy)]
struct Place {
    run: *mut Slab,
    stamp: u32,
}

const NONE: Place = Place { run: ptr::null_mut(), stamp: 0 };

/// The runs that a thread keeps.
pub(super) struct RunSlots {
    /// By length; in each, the newest and the older one.
    places: [[Place; 2]; LONGEST + 1],
    granules: usize,
}

impl RunSlots {
    pub(super) const fn new() -> Self {
        RunSlots { places: [[NONE; 2]; LONGEST + 1], granules: 0 }
    }

    /// A run of at least `granules` granules at a multiple of `align` bytes, or null.
    pub(super) fn take(&mut self, granules: usize, align: usize) -> *mut Slab {
        let most = (granules + (granules / 8).max(1)).min(LONGEST);
        for length in granules..=most {
            let Some([newest, older]) = self.places.get_mut(length) else { break };
            // SAFETY: a cached run is alive and this thread's.
            if let Some(run) = unsafe { newest.run.as_ref() }
                && run.base.addr() & (align - 1) == 0
            {
                let found = newest.run;
                *newest = core::mem::replace(older, NONE);
                self.granules -= length;
                return found;
            }
        }
        ptr::null_mut()
    }

    /// Takes a run in, within `budget` bytes for all. What there is no room for leaves.
    ///
    /// # Safety
    /// `run` describes a large block that nobody holds.
    pub(super) unsafe fn put(&mut self, run: *mut Slab, stamp: u32, budget: usize) {
        // SAFETY: alive, and nobody else's.
        let length = unsafe { (*run).granules.get() as usize };
        let leaves = match self.places.get_mut(length) {
            Some([newest, older]) => {
                let freed = if older.run.is_null() { 0 } else { length };
                if (self.granules - freed + length) * GRANULE > budget {
                    run
                } else {
                    let leaves = older.run;
                    *older = *newest;
                    // Field by field: the two may have been read as one word before they are in
                    // the cache, which stalls.
                    newest.run = run;
                    newest.stamp = stamp;
                    self.granules += length - freed;
                    leaves
                }
            }
            None => run,
        };
        if !leaves.is_null() {
            // SAFETY: it was cached, or nobody holds it, and it is in no place now.
            unsafe { Slab::destroy(leaves) };
        }
    }

    /// Passes on every run that has outlived its time by `now`; `None`: every run.
    pub(super) fn release(&mut self, now: Option<u32>) {
        for (length, places) in self.places.iter_mut().enumerate() {
            for place in places.iter_mut() {
                let keep = thermal::keep_for(length * GRANULE);
                if !place.run.is_null() && now.is_none_or(|now| elapsed(now, place.stamp) >= keep) {
                    self.granules -= length;
                    let leaves = core::mem::replace(place, NONE).run;
                    // SAFETY: it was cached, and is in no place now.
                    unsafe { Slab::destroy(leaves) };
                }
            }
            let [newest, older] = places;
            if newest.run.is_null() {
                *newest = core::mem::replace(older, NONE);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::undocumented_unsafe_blocks)] // The tests own all they touch.
mod tests {
    use super::*;

    fn run(granules: usize) -> *mut Slab {
        let (run, _) = Slab::create_large(granules, 1, granules * GRANULE).unwrap();
        run.as_ptr()
    }

    #[test]
    fn newest_first_and_near_lengths_serve() {
        let mut slots = RunSlots::new();
        let runs = [run(8), run(8), run(8)];
        for run in runs {
            unsafe { slots.put(run, 0, usize::MAX) };
        }
        // The first has left; two lengths below is too far.
        assert_eq!(slots.granules, 16);
        assert!(slots.take(6, 1).is_null());
        assert_eq!(slots.take(7, 1), runs[2]);
        assert_eq!(slots.take(8, 1), runs[1]);
        assert!(slots.take(8, 1).is_null());
        assert_eq!(slots.granules, 0);
        unsafe {
            slots.put(runs[2], 0, usize::MAX);
            slots.put(runs[1], 0, usize::MAX);
        }
        slots.release(None);
        assert_eq!(slots.granules, 0);
    }

    #[test]
    fn the_budget_holds() {
        let mut slots = RunSlots::new();
        unsafe {
            slots.put(run(16), 0, 20 * GRANULE);
            slots.put(run(8), 0, 20 * GRANULE);
            // Longer than any place: never kept. (Arenas under Miri are too short to have one.)
            if !cfg!(miri) {
                slots.put(run(LONGEST + 1), 0, usize::MAX);
            }
        }
        assert_eq!(slots.granules, 16);
        assert!(slots.take(8, 1).is_null());
        slots.release(None);
    }
}
