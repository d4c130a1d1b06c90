//! When a heap has a reason to look at the clock although its thread takes no slow path: much has come
//! home, and goes back to the system only at ticks. Then its magazines have wires
//! (`frontend::magazine`), over which the thread trips wherever it comes by.
//!
//! Assumes to be told of what comes home, of what goes out again, of trips and of ticks. Promises that
//! there are wires from then on until [`TICKS`] ticks in turn have returned nothing, and that a busy
//! thread trips over few of them.

use crate::class::COUNT;
use crate::frontend::magazine::UnifiedCache;

/// Bytes that come home between two ticks before a heap is restless.
pub(super) const LEAST: usize = 4 << 20;
/// Ticks that return nothing until there is nothing more to wait for: four decay periods.
const TICKS: u32 = 16;
/// Classes whose wires are laid anew, in turn, along with that of another class: blocks have been pushed
/// over them, and the program may not come down so far again.
const ALONG: usize = 4;
/// Wires laid anew within one step of the coarse clock, milliseconds apart: a thread that trips more
/// often is not idle, and comes by slow paths.
const TRIPS: u32 = 512;
/// Of these, how many are taken for a program that does little.
const FEW: u32 = 32;

/// Wires to lay, each right above the blocks of its magazine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Anew {
    None,
    /// That of the class whose wire it was.
    One,
    /// That one and those of other classes, in turn: a program that does little may do the same little
    /// again, and come down nowhere further than this time.
    Some,
    /// Those of all classes: after a pause, what the thread did last says little of where it will come
    /// by.
    All,
}

/// What a heap knows of it.
pub(super) struct Restless {
    /// Bytes that have come home since the last tick, less those that have gone out again.
    home: usize,
    /// Ticks to go.
    ticks: u32,
    /// Wires that may still be laid anew within this step of the clock.
    trips: u32,
    step: u64,
    /// The class whose turn it was last.
    turn: usize,
}

impl Restless {
    pub(super) const fn new() -> Self {
        Restless { home: 0, ticks: 0, trips: 0, step: 0, turn: 0 }
    }

    /// Whether the magazines of this heap should have wires.
    #[inline]
    pub(super) fn wants_wires(&self) -> bool {
        self.ticks != 0 || self.home >= LEAST
    }

    /// Bytes have come home that a later tick may give back.
    pub(super) fn came_home(&mut self, bytes: usize, cache: &mut UnifiedCache) {
        let before = self.wants_wires();
        self.home = self.home.saturating_add(bytes);
        if self.wants_wires() && !before {
            self.lay(Anew::All, cache, 0);
        }
    }

    /// Bytes have gone out again.
    #[inline]
    pub(super) fn went_out(&mut self, bytes: usize) {
        self.home = self.home.saturating_sub(bytes);
    }

    /// A magazine has overflowed, which took its wire out.
    #[inline]
    pub(super) fn overflowed(&mut self, cache: &mut UnifiedCache, class: usize) {
        if self.wants_wires() {
            self.lay(Anew::Some, cache, class);
        }
    }

    /// A pop has come down to the wire of its magazine, or to the bottom.
    pub(super) fn tripped(&mut self, now: u64, cache: &mut UnifiedCache, class: usize) {
        let which = self.anew(now);
        self.lay(which, cache, class);
    }

    fn anew(&mut self, now: u64) -> Anew {
        if !self.wants_wires() {
            return Anew::None;
        }
        if self.step != now {
            (self.step, self.trips) = (now, TRIPS);
            return Anew::All;
        }
        self.trips = self.trips.saturating_sub(1);
        match self.trips {
            0 => Anew::None,
            left if left > TRIPS - FEW => Anew::Some,
            _ => Anew::One,
        }
    }

    /// What was due at a tick has been done, and so many bytes went back to the system: while there are
    /// some, there may be more.
    pub(super) fn ticked(&mut self, returned: usize, cache: &mut UnifiedCache) {
        let more = self.home >= LEAST || (self.ticks != 0 && returned != 0);
        self.ticks = if more { TICKS } else { self.ticks.saturating_sub(1) };
        self.home = 0;
        if self.wants_wires() {
            self.lay(Anew::All, cache, 0);
        }
    }

    fn lay(&mut self, which: Anew, cache: &mut UnifiedCache, class: usize) {
        match which {
            Anew::None => {}
            Anew::One => cache.lay_wire(class),
            Anew::Some => {
                cache.lay_wire(class);
                self.others(|other| {
                    let used = cache.is_used(other);
                    if used {
                        cache.lay_wire(other);
                    }
                    used
                });
            }
            Anew::All => (1..COUNT).for_each(|class| cache.lay_wire(class)),
        }
    }

    /// Calls `lay` for classes in turn until it has been true for some of them.
    fn others(&mut self, mut lay: impl FnMut(usize) -> bool) {
        let mut left = ALONG;
        for _ in 1..COUNT {
            self.turn = self.turn % (COUNT - 1) + 1;
            if lay(self.turn) {
                left -= 1;
                if left == 0 {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::vec::Vec;

    #[test]
    fn little_is_no_reason_and_much_is_one_for_a_while() {
        let (mut restless, cache) = (Restless::new(), &mut Box::new(UnifiedCache::new()));
        restless.came_home(LEAST - 1, cache);
        assert!(!restless.wants_wires());
        restless.ticked(1, cache);
        restless.came_home(LEAST - 1, cache);
        assert!(!restless.wants_wires(), "a tick between them");
        restless.came_home(1, cache);
        assert!(restless.wants_wires());
        restless.went_out(1);
        assert!(!restless.wants_wires(), "what came home is in use again");
        for returned in [1, 0] {
            restless.came_home(LEAST, cache);
            restless.ticked(0, cache);
            restless.ticked(returned, cache);
            for _ in 0..TICKS - 1 + returned as u32 {
                assert!(restless.wants_wires());
                restless.ticked(0, cache);
            }
            assert!(!restless.wants_wires(), "{returned}");
        }
    }

    #[test]
    fn every_class_has_its_turn() {
        let mut restless = Restless::new();
        let mut seen = [0; COUNT];
        for _ in 1..COUNT {
            restless.others(|class| {
                seen[class] += 1;
                true
            });
        }
        assert!(seen[0] == 0 && seen[1..].iter().all(|&times| times == ALONG));
        let mut asked = 0;
        restless.others(|class| {
            asked += 1;
            class == 1
        });
        assert_eq!(asked, COUNT - 1, "with too few to lay, each is asked once");
    }

    #[test]
    fn a_busy_thread_trips_few_times_a_step() {
        let mut restless = Restless::new();
        assert_eq!(restless.anew(1), Anew::None, "there is no reason");
        restless.came_home(LEAST, &mut Box::new(UnifiedCache::new()));
        for step in 2..5 {
            assert_eq!(restless.anew(step), Anew::All);
            let laid: Vec<_> = (0..10 * TRIPS).map(|_| restless.anew(step)).collect();
            let count = |which| laid.iter().filter(|&&laid| laid == which).count() as u32;
            assert_eq!((count(Anew::Some), count(Anew::One)), (FEW - 1, TRIPS - FEW));
        }
    }
}
