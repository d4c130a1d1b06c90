//! One arena as an array of granules, two bits each: search, claim, release.
//!
//! Assumes the lock of `arena::SEGMENT` is held. Promises nothing about other arenas.

use super::super::{SUPERSLAB, SUPERSLAB_GRANULES};
use crate::base::sync::Ordering;
use crate::base::{bit_range, elapsed};
use crate::class::GRANULE;
use crate::os;

/// Granules of a full-sized arena.
pub(super) const ARENA_GRANULES: usize = if cfg!(miri) { 128 } else { (1 << 30) / GRANULE };
const WORDS: usize = ARENA_GRANULES / 64;
const SUPERS: usize = ARENA_GRANULES / SUPERSLAB_GRANULES;

/// Granules that become writable at a time: few system calls, and little to be locked or charged
/// ahead of use.
const STEP: usize = if cfg!(miri) { 16 } else { (16 << 20) / GRANULE };

/// A reservation of address space. All zero is valid (and holds nothing).
pub(super) struct Arena {
    pub(super) base: *mut u8,
    pub(super) granules: usize,
    /// Granules below this one can be written; beyond lies address space only.
    writable: usize,
    /// The descriptors of its SuperSlabs.
    pub(super) table: *mut super::SuperSlab,
    /// No granule below this word is free.
    low_word: usize,
    used: [u64; WORDS],
    dirty: [u64; WORDS],
    /// Coarse time (ms, wrapping) of the last release into each SuperSlab.
    pub(super) released: [u32; SUPERS],
    /// SuperSlabs for which huge pages have been asked.
    huge: [bool; SUPERS],
}

impl Arena {
    /// A naturally aligned run of 1, 2, 4, 8 or 16 granules inside one SuperSlab.
    pub(super) fn find_small(&self, granules: usize) -> Option<usize> {
        for word in self.low_word..self.granules / 64 {
            let free = !*self.used.get(word)?;
            let fits = match granules {
                1 => free,
                2 => free & (free >> 1) & 0x5555_5555_5555_5555,
                4 => {
                    let two = free & (free >> 1);
                    two & (two >> 2) & 0x1111_1111_1111_1111
                }
                8 => {
                    let two = free & (free >> 1);
                    let four = two & (two >> 2);
                    four & (four >> 4) & 0x0101_0101_0101_0101
                }
                _ => {
                    let two = free & (free >> 1);
                    let four = two & (two >> 2);
                    let eight = four & (four >> 4);
                    eight & (eight >> 8) & 0x0001_0001_0001_0001
                }
            };
            if fits != 0 {
                return Some(word * 64 + fits.trailing_zeros() as usize);
            }
        }
        None
    }

    /// First granule at or after `from` whose used bit equals `used`; `granules` if there is none.
    pub(super) fn next(&self, from: usize, used: bool) -> usize {
        let mut at = from;
        while at < self.granules {
            let Some(&word) = self.used.get(at / 64) else { break };
            let looked = (if used { word } else { !word }) >> (at % 64);
            if looked != 0 {
                return (at + looked.trailing_zeros() as usize).min(self.granules);
            }
            at = (at / 64 + 1) * 64;
        }
        self.granules
    }

    /// A run of any length, its start aligned to `align` granules.
    pub(super) fn find(&self, granules: usize, align: usize) -> Option<usize> {
        let mut at = self.next(self.low_word * 64, false);
        while at + granules <= self.granules {
            let start = (at + align - 1) & !(align - 1);
            if start + granules > self.granules {
                return None;
            }
            let stop = self.next(start, true);
            if stop >= start + granules {
                return Some(start);
            }
            at = self.next(stop, false);
        }
        None
    }

    /// Whether no run is in use.
    pub(super) fn is_unused(&self) -> bool {
        self.used.iter().take(self.granules / 64).all(|&word| word == 0)
    }

    /// Free granules that may be resident.
    pub(super) fn count_dirty(&self) -> usize {
        self.dirty.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Applies `change(used, dirty, mask)` to every word that a range of granules touches.
    fn each_word(
        &mut self,
        start: usize,
        granules: usize,
        mut change: impl FnMut(&mut u64, &mut u64, u64),
    ) {
        let (mut at, end) = (start, start + granules);
        while at < end {
            let bit = at % 64;
            let count = (64 - bit).min(end - at);
            let mask = bit_range(bit as u32, count as u32);
            if let (Some(used), Some(dirty)) =
                (self.used.get_mut(at / 64), self.dirty.get_mut(at / 64))
            {
                change(used, dirty, mask);
            }
            at += count;
        }
    }

    /// Whether nothing of this SuperSlab is used or dirty.
    fn untouched(&self, superslab: usize) -> bool {
        let start = superslab * SUPERSLAB_GRANULES;
        let mask = bit_range((start % 64) as u32, SUPERSLAB_GRANULES as u32);
        match (self.used.get(start / 64), self.dirty.get(start / 64)) {
            (Some(used), Some(dirty)) => (used | dirty) & mask == 0,
            _ => false,
        }
    }

    pub(super) fn address(&self, granule: usize) -> *mut u8 {
        self.base.wrapping_add(granule * GRANULE)
    }

    /// Makes all granules below `end` writable. False: the system has no memory for them.
    fn make_writable(&mut self, end: usize) -> bool {
        if end <= self.writable {
            return true;
        }
        let from = self.address(self.writable);
        for stop in [end.next_multiple_of(STEP).min(self.granules), end] {
            if os::make_writable(from, (stop - self.writable) * GRANULE) {
                self.writable = stop;
                return true;
            }
        }
        false
    }

    /// Marks a run used; returns how many dirty granules it took over (0: it reads as zero).
    /// `None`: the system has no memory for it, and nothing has changed.
    pub(super) fn claim(&mut self, start: usize, granules: usize, ask_huge: bool) -> Option<usize> {
        if !self.make_writable(start + granules) {
            return None;
        }
        if ask_huge {
            for superslab in
                start / SUPERSLAB_GRANULES..=(start + granules - 1) / SUPERSLAB_GRANULES
            {
                if self.untouched(superslab)
                    && let Some(asked) = self.huge.get_mut(superslab)
                    && !*asked
                {
                    *asked = true;
                    os::advise_huge(self.address(superslab * SUPERSLAB_GRANULES), SUPERSLAB, true);
                }
            }
        }
        let mut taken = 0;
        self.each_word(start, granules, |used, dirty, mask| {
            *used |= mask;
            taken += (*dirty & mask).count_ones() as usize;
            *dirty &= !mask;
        });
        while self.low_word < self.granules / 64 && self.used.get(self.low_word) == Some(&u64::MAX)
        {
            self.low_word += 1;
        }
        self.name_superslabs(start, granules);
        Some(taken)
    }

    /// Fills in the descriptors of the SuperSlabs that a run lies in.
    fn name_superslabs(&self, start: usize, granules: usize) {
        if self.table.is_null() {
            return;
        }
        for superslab in start / SUPERSLAB_GRANULES..=(start + granules - 1) / SUPERSLAB_GRANULES {
            // SAFETY: the table has a descriptor for every SuperSlab of the arena.
            let named = unsafe { &*self.table.add(superslab) };
            // Relaxed: who has a block there got it through a synchronisation that follows.
            named.base.store(self.address(superslab * SUPERSLAB_GRANULES), Ordering::Relaxed);
        }
    }

    pub(super) fn release(&mut self, start: usize, granules: usize, dirty_now: bool, now: u32) {
        self.each_word(start, granules, |used, dirty, mask| {
            *used &= !mask;
            if dirty_now {
                *dirty |= mask;
            }
        });
        self.low_word = self.low_word.min(start / 64);
        for superslab in start / SUPERSLAB_GRANULES..=(start + granules - 1) / SUPERSLAB_GRANULES {
            if let Some(stamp) = self.released.get_mut(superslab) {
                *stamp = now;
            }
        }
    }

    /// Takes the next range of dirty granules, from `from` on, whose SuperSlabs were last released
    /// into at least `age` ms ago. The range is marked used, and merged across SuperSlabs.
    pub(super) fn take_dirty(&mut self, from: usize, now: u32, age: u32) -> Option<(usize, usize)> {
        let old = |arena: &Arena, granule: usize| {
            arena
                .released
                .get(granule / SUPERSLAB_GRANULES)
                .is_some_and(|&stamp| elapsed(now, stamp) >= age)
        };
        let is_dirty = |arena: &Arena, granule: usize| {
            arena.dirty.get(granule / 64).is_some_and(|word| word >> (granule % 64) & 1 == 1)
        };
        let mut start = from;
        loop {
            if start >= self.granules {
                return None;
            }
            let word = self.dirty.get(start / 64).copied().unwrap_or(0) >> (start % 64);
            if word == 0 {
                start = (start / 64 + 1) * 64;
                continue;
            }
            start += word.trailing_zeros() as usize;
            if old(self, start) {
                break;
            }
            start = (start / SUPERSLAB_GRANULES + 1) * SUPERSLAB_GRANULES;
        }
        let mut end = start + 1;
        while end < self.granules && is_dirty(self, end) && old(self, end) {
            end += 1;
        }
        self.each_word(start, end - start, |used, dirty, mask| {
            *used |= mask;
            *dirty &= !mask;
        });
        Some((start, end - start))
    }
}

#[cfg(test)]
#[allow(clippy::undocumented_unsafe_blocks)] // The tests own all they touch.
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::vec;
    use std::vec::Vec;

    #[derive(Clone, Copy, PartialEq, Debug)]
    enum State {
        Clean,
        Dirty,
        Used,
    }

    fn arena(granules: usize) -> Box<Arena> {
        let mut arena: Box<Arena> = unsafe { Box::new_zeroed().assume_init() };
        arena.base = core::ptr::without_provenance_mut(SUPERSLAB);
        arena.granules = granules;
        // Nothing lies there: nothing is to be made writable.
        arena.writable = granules;
        arena
    }

    fn state(arena: &Arena, granule: usize) -> State {
        let bit = |words: &[u64; WORDS]| words[granule / 64] >> (granule % 64) & 1 == 1;
        match (bit(&arena.used), bit(&arena.dirty)) {
            (true, false) => State::Used,
            (false, true) => State::Dirty,
            (false, false) => State::Clean,
            (true, true) => panic!("granule {granule} is used and dirty"),
        }
    }

    /// First fit as anyone would write it.
    fn first_fit(model: &[State], granules: usize, align: usize) -> Option<usize> {
        (0..model.len()).step_by(align).find(|&start| {
            model.get(start..start + granules).is_some_and(|run| !run.contains(&State::Used))
        })
    }

    #[test]
    fn it_agrees_with_first_fit_by_hand() {
        let granules = ARENA_GRANULES.min(256);
        let mut arena = arena(granules);
        let mut model = vec![State::Clean; granules];
        let mut runs: Vec<(usize, usize)> = Vec::new();
        let mut seed = 1u64;
        let mut random = |end: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % end
        };
        for now in 0..if cfg!(miri) { 300 } else { 20_000 } {
            match random(10) {
                0..5 => {
                    let small = random(2) == 0;
                    let wanted = if small { 1 << random(5) } else { 1 + random(40) };
                    let align = if small { wanted } else { 1 << random(6) };
                    let found =
                        if small { arena.find_small(wanted) } else { arena.find(wanted, align) };
                    assert_eq!(found, first_fit(&model, wanted, align), "{wanted} at {align}");
                    let Some(start) = found else { continue };
                    let run = &mut model[start..start + wanted];
                    let dirty = run.iter().filter(|&&state| state == State::Dirty).count();
                    assert_eq!(arena.claim(start, wanted, false), Some(dirty));
                    run.fill(State::Used);
                    runs.push((start, wanted));
                }
                5..9 if !runs.is_empty() => {
                    let (start, length) = runs.swap_remove(random(runs.len()));
                    // Sometimes only the tail goes.
                    let keep = if random(3) == 0 { random(length) } else { 0 };
                    if keep != 0 {
                        runs.push((start, keep));
                    }
                    let dirty = random(2) == 0;
                    arena.release(start + keep, length - keep, dirty, now);
                    let left = if dirty { State::Dirty } else { State::Clean };
                    model[start + keep..start + length].fill(left);
                }
                9 => {
                    // A purge of everything: claims ranges, gives them back clean.
                    let mut from = 0;
                    while let Some((start, length)) = arena.take_dirty(from, now, 0) {
                        assert!(start >= from);
                        for (granule, place) in
                            model.iter_mut().enumerate().skip(start).take(length)
                        {
                            assert_eq!(*place, State::Dirty);
                            assert_eq!(state(&arena, granule), State::Used);
                            *place = State::Clean;
                        }
                        arena.release(start, length, false, now);
                        from = start + length;
                    }
                    assert!(!model.contains(&State::Dirty), "a dirty granule was passed over");
                }
                _ => {}
            }
            for (granule, &wanted) in model.iter().enumerate() {
                assert_eq!(state(&arena, granule), wanted, "granule {granule}");
            }
            let dirty = model.iter().filter(|&&state| state == State::Dirty).count();
            assert_eq!(arena.count_dirty(), dirty);
            assert_eq!(arena.is_unused(), !model.contains(&State::Used));
        }
    }

    #[test]
    fn what_was_released_lately_is_not_taken() {
        let mut arena = arena(ARENA_GRANULES.min(256));
        for superslab in 0..3 {
            let start = superslab * SUPERSLAB_GRANULES;
            arena.claim(start, SUPERSLAB_GRANULES, false);
            // The clock wraps between the first and the second.
            arena.release(start, 4, true, u32::MAX.wrapping_add(100 * superslab as u32));
        }
        // Now: 99 ms after the second release, 199 after the first.
        let now = 198;
        assert_eq!(arena.take_dirty(0, now, 150), Some((0, 4)));
        assert_eq!(arena.take_dirty(4, now, 150), None);
        assert_eq!(arena.take_dirty(0, now, 50), Some((SUPERSLAB_GRANULES, 4)));
        assert_eq!(arena.take_dirty(0, now, 50), None);
        assert_eq!(arena.take_dirty(0, now, 0), Some((2 * SUPERSLAB_GRANULES, 4)));
    }
}
