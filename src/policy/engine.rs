//! Intelligence engine: tunes how large magazines start and how much a refill brings, from events of
//! the slow paths (gate `intelligence-engine`).
//!
//! Refills and overflows put an event each into a bounded queue ([`Queue`]); a tick, of any thread or of the
//! background worker, takes them out and decides, class by class:
//!
//! | in a tick | follows |
//! |---|---|
//! | at least [`BUSY`] events | magazines of the class start twice as large, up to eight times |
//! | these, and refills alone | a refill fills the magazine instead of half of it |
//! | none, for [`PATIENCE`] ticks | a step back |
//!
//! A thread obeys at its next refill, within the budget of its magazines. Nobody waits for anybody: a
//! full queue drops and counts, and a tick that finds another one deciding goes on.

use crate::base::queue::{Counts, Queue};
use crate::base::sync::{AtomicBool, Ordering};
use crate::class::COUNT;
use crate::frontend::tuning;
pub(crate) use crate::frontend::tuning::ON;
use crate::os::lock::Lock;

/// Events that may wait.
pub(crate) const PLACES: usize = if cfg!(miri) { 16 } else { 1024 };
/// Events of a class in a tick that call for larger magazines.
const BUSY: u32 = 32;
/// Ticks without an event after which a class goes a step back.
const PATIENCE: u8 = 16;

/// What a slow path has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// A magazine was empty.
    Refill,
    /// A magazine was full.
    Overflow,
}

/// Whether events are wanted (`HAKMEM_INTELLIGENCE`).
/// Relaxed: a setting; a late look obeys the one before.
static WANTED: AtomicBool = AtomicBool::new(true);

static EVENTS: Queue<u32, { PLACES * ON as usize }> = Queue::new();

/// What is known of one class.
#[derive(Clone, Copy)]
struct Class {
    refills: u32,
    overflows: u32,
    /// Ticks without an event.
    quiet: u8,
    steps: u8,
    whole: bool,
}

/// The consumer's side.
struct Mind {
    classes: [Class; COUNT],
    /// Knobs turned so far.
    tunings: u64,
}

static MIND: Lock<[Mind; ON as usize]> = Lock::new([const { Mind::new() }; ON as usize]);

/// A slow path has done something.
#[inline(always)]
pub(crate) fn tell(what: What, class: usize) {
    if ON && WANTED.load(Ordering::Relaxed) {
        EVENTS.push((class as u32) << 1 | what as u32);
    }
}

/// A tick: takes the events in and decides.
pub(crate) fn think() {
    if ON && let Some(mut mind) = MIND.try_lock() {
        for mind in &mut *mind {
            // As many as there may be: producers that go on meanwhile don't keep us here.
            for _ in 0..PLACES {
                let Some(event) = EVENTS.pop() else { break };
                let what =
                    if event & 1 == What::Refill as u32 { What::Refill } else { What::Overflow };
                mind.note(what, (event >> 1) as usize);
            }
            for (class, steps, whole) in mind.decide() {
                tuning::tune(class, steps, whole);
            }
        }
    }
}

/// `HAKMEM_INTELLIGENCE` has this value now; off, the knobs go back.
pub(crate) fn enable(on: bool) {
    if ON {
        WANTED.store(on, Ordering::Relaxed);
        if !on && let Some(mind) = MIND.lock().first_mut() {
            for (number, class) in mind.classes.iter_mut().enumerate() {
                (class.steps, class.whole) = (0, false);
                tuning::tune(number, 0, false);
            }
        }
    }
}

impl Mind {
    const fn new() -> Self {
        const NEW: Class = Class { refills: 0, overflows: 0, quiet: 0, steps: 0, whole: false };
        Mind { classes: [NEW; COUNT], tunings: 0 }
    }

    fn note(&mut self, what: What, class: usize) {
        if let Some(class) = self.classes.get_mut(class) {
            match what {
                What::Refill => class.refills += 1,
                What::Overflow => class.overflows += 1,
            }
        }
    }

    /// Ends a tick; gives the classes whose knobs are to be turned.
    fn decide(&mut self) -> impl Iterator<Item = (usize, u8, bool)> {
        let tunings = &mut self.tunings;
        self.classes.iter_mut().enumerate().filter_map(move |(number, class)| {
            let turned = class.end_tick();
            *tunings += u64::from(turned);
            turned.then_some((number, class.steps, class.whole))
        })
    }
}

impl Class {
    /// True: a knob is to be turned.
    fn end_tick(&mut self) -> bool {
        let (refills, overflows) = (self.refills, self.overflows);
        (self.refills, self.overflows) = (0, 0);
        let before = (self.steps, self.whole);
        if refills + overflows == 0 {
            self.quiet += 1;
            if self.quiet >= PATIENCE {
                self.quiet = 0;
                self.steps = self.steps.saturating_sub(1);
                self.whole = false;
            }
        } else {
            self.quiet = 0;
            if refills + overflows >= BUSY {
                self.steps = (self.steps + 1).min(tuning::MOST_STEPS);
                self.whole = overflows == 0;
            }
        }
        (self.steps, self.whole) != before
    }
}

/// What the engine has seen and done, for readers.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) events: u64,
    pub(crate) dropped: u64,
    pub(crate) taken: u64,
    pub(crate) tunings: u64,
}

/// `None`: there is no engine, or, unless `wait`, its lock is taken.
pub(crate) fn look(wait: bool) -> Option<Look> {
    if !ON {
        return None;
    }
    let mind = if wait { MIND.lock() } else { MIND.try_lock()? };
    let Counts { put, taken, refused } = EVENTS.counts();
    let tunings = mind.first()?.tunings;
    Some(Look { events: put + refused, dropped: refused, taken, tunings })
}

/// Takes the lock before a fork.
pub(crate) fn fork_acquire() {
    if ON {
        MIND.acquire();
    }
}

/// Releases the lock after a fork: in the parent, or (alone) in the child.
///
/// # Safety
/// The calling thread took it in `fork_acquire`; `child` only in the child.
pub(crate) unsafe fn fork_release(child: bool) {
    if ON {
        // SAFETY: by the caller's contract; in the child there is no other thread.
        unsafe {
            if child {
                // What the parent's threads have seen is no news here.
                EVENTS.repair(|_| ());
                MIND.reset();
            } else {
                MIND.release();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn tick(mind: &mut Mind, class: usize, refills: u32, overflows: u32) -> Vec<(usize, u8, bool)> {
        (0..refills).for_each(|_| mind.note(What::Refill, class));
        (0..overflows).for_each(|_| mind.note(What::Overflow, class));
        mind.decide().collect()
    }

    #[test]
    fn busy_classes_grow_and_quiet_ones_go_back() {
        let mut mind = Mind::new();
        assert_eq!(tick(&mut mind, 7, BUSY / 2, BUSY / 2), [(7, 1, false)]);
        assert_eq!(tick(&mut mind, 7, BUSY, 0), [(7, 2, true)], "refills alone");
        assert_eq!(tick(&mut mind, 7, 0, BUSY), [(7, 3, false)]);
        assert_eq!(tick(&mut mind, 7, 0, BUSY), [], "eight times is enough");
        assert_eq!(tick(&mut mind, 7, 0, BUSY - 1), [], "not busy, not quiet");
        let mut turned = Vec::new();
        for _ in 0..u32::from(PATIENCE) * 4 {
            turned.extend(tick(&mut mind, 7, 0, 0));
        }
        assert_eq!(turned, [(7, 2, false), (7, 1, false), (7, 0, false)]);
        assert_eq!(mind.tunings, 6);
    }

    #[test]
    fn an_event_of_no_class_is_ignored() {
        let mut mind = Mind::new();
        assert_eq!(tick(&mut mind, COUNT + 5, 100, 100), []);
    }
}
