//! ELO: learns which threshold between runs and mappings suits the program (gate `elo`).
//!
//! | file | what |
//! |---|---|
//! | `league` | the candidates' ratings |
//! | `learner` | rounds and matches: who plays when, what a round cost |
//! | `evolution` | the life cycle around it (gate `evolution`) |
//! | `sizes` | the distribution of large sizes |
//! | `saved` | a league as a text |
//! | here | the process's one learner, its meters and what it has in force |
//!
//! Every fifth large allocation, free or resize of a thread is timed, and only while rounds are played. When
//! a round has had enough of them, whoever finds out closes it: a system call for the page faults, two
//! locks for the bytes held. Blocks above the mid tier alone come here, so the tiny path has not one
//! instruction of it. Without the gate nothing of this is in the build.
//!
//! Assumes that no lock is held where a meter is stopped.

mod evolution;
pub(crate) mod league;
mod learner;
pub(crate) mod saved;
mod sizes;

use super::{FIXED_THRESHOLD, THRESHOLD};
use crate::base::clock;
use crate::base::sync::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::class::GRANULE;
use crate::os::{self, lock::Lock, lock::LockGuard};
use crate::segment::{arena, spans};
pub(crate) use evolution::ON as EVOLUTION;
pub use evolution::{Decision, Stage, Step};
pub(crate) use evolution::{KEPT, Life, Log};
use league::League;
use learner::{Learner, Measure};
use sizes::{BINS, Sizes};

/// Whether this build learns thresholds.
pub(crate) const ON: bool = cfg!(feature = "elo");

/// One operation of so many of a thread is timed: an odd number, so that a program that allocates and
/// frees in turn has both timed.
const EVERY: u32 = 5;
/// Timed operations at the start of a round that don't count: what lies in the caches then was put
/// there under another threshold.
const SETTLE: u32 = 16;
/// Timed operations that count.
const ROUND: u32 = 48;
/// Timed operations that a thread tells of at once: locked instructions cost more than the clock.
const TOLD: u32 = 8;
/// A timed operation counts for so many cycles at most, a third of a millisecond: longer ones were
/// interrupted.
const MOST_CYCLES: u64 = 1 << 20;

/// What `HAKMEM_ELO` says, by the number of its word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The threshold is fixed.
    Off,
    /// What was learned is in force.
    Frozen,
    /// Candidates play against each other.
    Learn,
}

/// `HAKMEM_ELO`, a [`State`] as a number.
/// Relaxed: a setting; a late look obeys the one before.
static STATE: AtomicU8 = AtomicU8::new(State::Frozen as u8);
/// `HAKMEM_EVOLUTION`, a [`Life`] as a number.
/// Relaxed: a setting; a late look obeys the one before.
static LIFE: AtomicU8 = AtomicU8::new(Life::Frozen as u8);
/// The threshold while nothing else is in force.
/// Relaxed: a setting; a late look obeys the one before.
static FIXED: AtomicUsize = AtomicUsize::new(FIXED_THRESHOLD);
/// What operations are looked at for.
/// Relaxed: a late look times an operation more, or less.
static PLAYING: AtomicU8 = AtomicU8::new(NOTHING);
/// Values of [`PLAYING`]: nothing; rounds, for which they are timed; their sizes alone.
const NOTHING: u8 = 0;
const ROUNDS: u8 = 1;
const WATCH: u8 = 2;

/// Counts the parts of rounds.
/// Relaxed: a number; a thread that sees it late tells of a few operations in the wrong part.
static PART: AtomicU32 = AtomicU32::new(0);
/// Timed operations after which the round has something to do.
/// Relaxed: a bound; a late look closes the round an operation later, or looks once in vain.
static TARGET: AtomicU32 = AtomicU32::new(SETTLE);
/// Timed operations of the round so far.
/// Relaxed: a count; the round is closed under the learner's lock, and an operation that slips into
/// the next one is one of many.
static TIMED: AtomicU32 = AtomicU32::new(0);
/// Their cycles.
/// Relaxed: a sum, as `TIMED` is.
static CYCLES: AtomicU64 = AtomicU64::new(0);
/// Timed allocations by size.
/// Relaxed: counts, as `TIMED` is.
static SIZES: [AtomicU32; BINS] = [const { AtomicU32::new(0) }; BINS];

/// The learner, and what the round in progress began with.
struct Global {
    learner: Learner,
    /// Page faults when the round's measured part began; none while it settles.
    faults: Option<u64>,
}

static LEARNER: Lock<[Global; ON as usize]> =
    Lock::new([const { Global { learner: Learner::new(), faults: None } }; ON as usize]);

/// A thread's turn of being timed; no bytes without the gate.
pub(crate) struct Meter([Turn; ON as usize]);

#[derive(Clone, Copy)]
struct Turn {
    operations: u32,
    /// The allocation and the free of a resize that moves its block are part of it: a program that
    /// makes the same calls has as many operations under every threshold.
    resizing: bool,
    batch: Batch,
}

/// What a thread has timed and not yet told.
#[derive(Clone, Copy)]
struct Batch {
    /// The value of [`PART`] that it belongs to.
    part: u32,
    timed: u32,
    cycles: u64,
    sizes: [u32; BINS],
}

/// An operation that is timed, if it is: when it began, 0 where nobody asks.
#[derive(Clone, Copy)]
pub(crate) struct Timed(Option<u64>);

impl Meter {
    pub(crate) const fn new() -> Self {
        Meter([Turn { operations: 0, resizing: false, batch: Batch::new(0) }; ON as usize])
    }

    /// An operation begins.
    #[inline(always)]
    pub(crate) fn start(&mut self) -> Timed {
        for turn in &mut self.0 {
            let playing = PLAYING.load(Ordering::Relaxed);
            if playing != NOTHING && !turn.resizing {
                turn.operations = turn.operations.wrapping_add(1);
                if turn.operations.is_multiple_of(EVERY) {
                    return Timed(Some(if playing == ROUNDS { clock::cycles() } else { 0 }));
                }
            }
        }
        Timed(None)
    }

    /// A resize begins; [`Meter::resized`] must follow.
    #[inline(always)]
    pub(crate) fn start_resize(&mut self) -> Timed {
        let timed = self.start();
        self.0.iter_mut().for_each(|turn| turn.resizing = true);
        timed
    }

    /// The resize, to `size` bytes, has ended.
    #[inline(always)]
    pub(crate) fn resized(&mut self, timed: Timed, size: usize) {
        self.0.iter_mut().for_each(|turn| turn.resizing = false);
        self.allocated(timed, size);
    }

    /// An allocation of `size` bytes ends.
    #[inline(always)]
    pub(crate) fn allocated(&mut self, timed: Timed, size: usize) {
        if let (Some(start), [turn]) = (timed.0, &mut self.0[..]) {
            turn.batch.stop(start, Some(size));
        }
    }

    /// A free ends.
    #[inline(always)]
    pub(crate) fn freed(&mut self, timed: Timed) {
        if let (Some(start), [turn]) = (timed.0, &mut self.0[..]) {
            turn.batch.stop(start, None);
        }
    }
}

impl Batch {
    const fn new(part: u32) -> Self {
        Batch { part, timed: 0, cycles: 0, sizes: [0; BINS] }
    }

    #[cold]
    fn stop(&mut self, start: u64, size: Option<usize>) {
        let part = PART.load(Ordering::Relaxed);
        if self.part != part {
            // Timed under another threshold.
            *self = Batch::new(part);
        }
        if start != 0 {
            self.cycles += clock::cycles().wrapping_sub(start).min(MOST_CYCLES);
        }
        if let Some(count) = size.and_then(|size| self.sizes.get_mut(sizes::bin(size))) {
            *count += 1;
        }
        self.timed += 1;
        if self.timed == TOLD {
            self.tell();
            *self = Batch::new(part);
        }
    }

    fn tell(&self) {
        CYCLES.fetch_add(self.cycles, Ordering::Relaxed);
        for (all, &count) in SIZES.iter().zip(&self.sizes) {
            if count != 0 {
                all.fetch_add(count, Ordering::Relaxed);
            }
        }
        let timed = TIMED.fetch_add(self.timed, Ordering::Relaxed) + self.timed;
        if timed >= TARGET.load(Ordering::Relaxed) {
            // Taken: somebody else is closing the round.
            if let Some(mut global) = LEARNER.try_lock() {
                for global in &mut *global {
                    global.look();
                }
            }
        }
    }
}

impl Global {
    /// The round has had enough operations to begin to count, or to be over.
    fn look(&mut self) {
        let timed = TIMED.load(Ordering::Relaxed);
        match self.faults {
            None if timed >= SETTLE => {
                self.faults = Some(if self.learner.times() { os::page_faults() } else { 0 });
                start_counting(ROUND);
            }
            Some(before) if timed >= ROUND => {
                let measure = self.measure(before, timed);
                self.learner.round(&measure, life());
                self.faults = None;
                start_counting(SETTLE);
                self.enforce();
            }
            _ => {}
        }
    }

    fn measure(&self, faults: u64, timed: u32) -> Measure {
        let sizes = Sizes::of(core::array::from_fn(|bin| {
            SIZES.get(bin).map_or(0, |count| count.load(Ordering::Relaxed))
        }));
        let mut measure = Measure {
            timed: u64::from(timed),
            operations: u64::from(timed) * u64::from(EVERY),
            cycles: CYCLES.load(Ordering::Relaxed),
            faults: 0,
            held: 0,
            in_use: 0,
            sizes,
        };
        if self.learner.times() {
            let usage = arena::usage();
            measure.faults = os::page_faults().saturating_sub(faults);
            measure.held = (usage.dirty * GRANULE + super::big_cache::held()) as u64;
            measure.in_use = (usage.used * GRANULE + spans::totals().1) as u64;
        }
        measure
    }

    /// Puts into force what the settings and the learner say.
    fn enforce(&self) {
        let (state, learner) = (state(), &self.learner);
        let watching = EVOLUTION && matches!(life(), Life::Learn | Life::Canary);
        let playing = match state {
            State::Off => false,
            State::Frozen => watching,
            State::Learn => watching || learner.evolution.stage() != Stage::Frozen,
        };
        let learned = state != State::Off && (playing || learner.league.has_played());
        let threshold = if learned {
            league::threshold(learner.candidate())
        } else {
            FIXED.load(Ordering::Relaxed)
        };
        THRESHOLD.store(threshold, Ordering::Relaxed);
        let what = match learner.times() {
            _ if !playing => NOTHING,
            true => ROUNDS,
            false => WATCH,
        };
        PLAYING.store(what, Ordering::Relaxed);
    }

    /// The settings have changed.
    fn settle(&mut self) {
        let evolution = &mut self.learner.evolution;
        match state() {
            State::Off => {}
            // What there is, is the winner; a watched one may be challenged.
            State::Frozen if evolution.stage() == Stage::Learn => {
                evolution.freeze(self.learner.rounds, self.learner.league.leader(), 0);
            }
            State::Frozen => {}
            State::Learn if life() == Life::Off => evolution.thaw(),
            State::Learn => {}
        }
        self.enforce();
    }
}

fn start_counting(target: u32) {
    PART.fetch_add(1, Ordering::Relaxed);
    TARGET.store(target, Ordering::Relaxed);
    CYCLES.store(0, Ordering::Relaxed);
    for count in &SIZES {
        count.store(0, Ordering::Relaxed);
    }
    TIMED.store(0, Ordering::Relaxed);
}

/// What `HAKMEM_ELO` says.
pub(crate) fn state() -> State {
    match STATE.load(Ordering::Relaxed) {
        0 => State::Off,
        1 => State::Frozen,
        _ => State::Learn,
    }
}

/// What `HAKMEM_EVOLUTION` says.
fn life() -> Life {
    if !EVOLUTION {
        return Life::Off;
    }
    match LIFE.load(Ordering::Relaxed) {
        0 => Life::Off,
        1 => Life::Frozen,
        2 => Life::Learn,
        _ => Life::Canary,
    }
}

/// Runs `act` with the learner, if there is one.
fn with<R>(act: impl FnOnce(&mut Global) -> R) -> Option<R> {
    if ON { LEARNER.lock().first_mut().map(act) } else { None }
}

/// `HAKMEM_ELO` has this value now.
pub(crate) fn set_state(value: u64) {
    with(|global| {
        let before = STATE.swap(value as u8, Ordering::Relaxed);
        if state() == State::Learn && before != value as u8 {
            global.learner.evolution.thaw();
        }
        global.settle();
    });
}

/// `HAKMEM_EVOLUTION` has this value now.
pub(crate) fn set_life(value: u64) {
    with(|global| {
        LIFE.store(value as u8, Ordering::Relaxed);
        global.settle();
    });
}

/// The threshold while nothing else is in force.
pub(crate) fn set_fixed(bytes: usize) {
    if ON {
        FIXED.store(bytes, Ordering::Relaxed);
        with(|global| global.settle());
    } else {
        THRESHOLD.store(bytes, Ordering::Relaxed);
    }
}

/// Whether something is learned that a file should keep.
pub(crate) fn learns() -> bool {
    ON && PLAYING.load(Ordering::Relaxed) != NOTHING || state() == State::Learn
}

/// Goes on from a saved league.
pub(crate) fn resume(league: League) {
    with(|global| {
        global.learner.resume(league);
        global.enforce();
    });
}

/// What the learner holds, for readers.
pub(crate) struct Look {
    pub(crate) league: League,
    pub(crate) rounds: u64,
    pub(crate) stage: Stage,
    pub(crate) log: Option<Log>,
}

/// `None`: there is no learner, or, unless `wait`, its lock is taken.
pub(crate) fn look(wait: bool) -> Option<Look> {
    if !ON {
        return None;
    }
    let global: LockGuard<'static, _> = if wait { LEARNER.lock() } else { LEARNER.try_lock()? };
    let learner = &global.first()?.learner;
    let (stage, log) = (learner.evolution.stage(), learner.evolution.log().copied());
    Some(Look { league: learner.league, rounds: learner.rounds, stage, log })
}

/// Takes the lock before a fork.
pub(crate) fn fork_acquire() {
    if ON {
        LEARNER.acquire();
    }
}

/// Releases the lock after a fork: in the parent, or (alone) in the child.
///
/// # Safety
/// The calling thread took it in `fork_acquire`; `child` only in the child.
pub(crate) unsafe fn fork_release(child: bool) {
    if ON {
        // SAFETY: by the caller's contract.
        unsafe { if child { LEARNER.reset() } else { LEARNER.release() } }
    }
}
