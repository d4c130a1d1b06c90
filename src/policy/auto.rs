//! Auto mode: picks a mode from what the ticks see of the workload (gate `auto-mode`).
//!
//! | seen in [`IN_TURN`] ticks in turn | runs as |
//! |---|---|
//! | at least [`MANY_LARGE`] large blocks in each, and ELO is compiled in | learning |
//! | at least [`MANY_HEAPS`] threads with heaps, and [`MUCH`] held | fast |
//! | less than [`LITTLE`] held | minimal |
//! | anything else | balanced |
//!
//! Settings that a variable, a call or the builder has set stay as they are. What runs, and why, stands
//! below the table of `print_config`.

use super::diet;
use super::settings::{BALANCED, FAST, LEARNING, MINIMAL};
use crate::base::sync::{AtomicBool, AtomicU32, Ordering};
use crate::large::elo;
use crate::os::lock::Lock;
use crate::thread::park;
use core::fmt;

/// Whether this build has an auto mode.
pub(crate) const ON: bool = cfg!(feature = "auto-mode");

/// Ticks in turn that must call for the same mode.
const IN_TURN: u32 = 4;
/// Large allocations and frees in a tick that are worth learning from.
const MANY_LARGE: u32 = 64;
/// Heaps in use that make a program of many threads.
const MANY_HEAPS: usize = 4;
/// Bytes held from which on such a program wants all that is fast.
const MUCH: usize = 64 << 20;
/// Bytes held below which there is nothing to be gained by caching.
const LITTLE: usize = 4 << 20;

/// Whether the mode is left to us.
/// Relaxed: a setting; a late look obeys the one before.
static WANTED: AtomicBool = AtomicBool::new(false);
/// Large allocations and frees since the last tick.
/// Relaxed: a count; one that is lost is one of many.
static LARGE: AtomicU32 = AtomicU32::new(0);

static AUTO: Lock<[Auto; ON as usize]> = Lock::new([const { Auto::new() }; ON as usize]);

/// What a tick has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    /// Bytes that the heap holds.
    held: usize,
    /// Heaps of living threads.
    heaps: usize,
    /// Large allocations and frees since the tick before.
    large: u32,
}

/// What runs, and why.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    pub(super) mode: u64,
    why: Option<Seen>,
}

struct Auto {
    now: Choice,
    /// What the last ticks have called for, and how often in turn.
    next: u64,
    in_turn: u32,
}

/// The mode that a tick calls for.
fn call_for(seen: Seen, learns: bool) -> u64 {
    if learns && seen.large >= MANY_LARGE {
        LEARNING
    } else if seen.heaps >= MANY_HEAPS && seen.held >= MUCH {
        FAST
    } else if seen.held < LITTLE && seen.large < MANY_LARGE {
        MINIMAL
    } else {
        BALANCED
    }
}

impl Auto {
    const fn new() -> Self {
        Auto { now: Choice { mode: BALANCED, why: None }, next: BALANCED, in_turn: 0 }
    }

    /// A tick has seen this; the mode if it is another one now.
    fn tick(&mut self, seen: Seen, learns: bool) -> Option<u64> {
        let mode = call_for(seen, learns);
        self.in_turn = if mode == self.next { self.in_turn + 1 } else { 1 };
        self.next = mode;
        if self.in_turn < IN_TURN || (mode == self.now.mode && self.now.why.is_some()) {
            return None;
        }
        let changed = mode != self.now.mode;
        self.now = Choice { mode, why: Some(seen) };
        changed.then_some(mode)
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Seen { held, heaps, large }) = self.why else {
            return out.write_str("too little has been seen yet");
        };
        write!(out, "{held} bytes held, {heaps} threads, {large} large operations in a tick")
    }
}

/// A large block was allocated or freed.
#[inline(always)]
pub(crate) fn saw_large() {
    if ON && WANTED.load(Ordering::Relaxed) {
        LARGE.store(LARGE.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
    }
}

/// Whether the mode is left to us from now on.
pub(super) fn enable(on: bool) {
    if ON {
        WANTED.store(on, Ordering::Relaxed);
        if !on && let Some(auto) = AUTO.lock().first_mut() {
            *auto = Auto::new();
        }
    }
}

/// A tick of the process. The mode that is to run from now on, if it is another one.
pub(crate) fn tick() -> Option<u64> {
    if !ON || !WANTED.load(Ordering::Relaxed) {
        return None;
    }
    let (heaps, parked) = park::counts();
    let large = LARGE.swap(0, Ordering::Relaxed);
    let seen = Seen { held: diet::held(), heaps: heaps.saturating_sub(parked), large };
    // Taken: another tick is choosing.
    AUTO.try_lock()?.first_mut()?.tick(seen, elo::ON)
}

/// What runs, and why.
pub(super) fn choice() -> Option<Choice> {
    if ON { AUTO.lock().first().map(|auto| auto.now) } else { None }
}

/// Takes the lock before a fork.
pub(crate) fn fork_acquire() {
    if ON {
        AUTO.acquire();
    }
}

/// Releases the lock after a fork: in the parent, or (alone) in the child.
///
/// # Safety
/// The calling thread took it in `fork_acquire`; `child` only in the child.
pub(crate) unsafe fn fork_release(child: bool) {
    if ON {
        // SAFETY: by the caller's contract.
        unsafe { if child { AUTO.reset() } else { AUTO.release() } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    const SMALL: Seen = Seen { held: 1 << 20, heaps: 1, large: 0 };

    #[test]
    fn each_workload_has_its_mode() {
        assert_eq!(call_for(SMALL, true), MINIMAL);
        assert_eq!(call_for(Seen { large: 64, ..SMALL }, true), LEARNING);
        assert_eq!(call_for(Seen { large: 64, ..SMALL }, false), BALANCED);
        assert_eq!(call_for(Seen { held: 64 << 20, heaps: 4, large: 0 }, true), FAST);
        assert_eq!(call_for(Seen { held: 64 << 20, heaps: 3, large: 0 }, true), BALANCED);
        assert_eq!(call_for(Seen { held: 4 << 20, ..SMALL }, true), BALANCED);
    }

    #[test]
    fn a_mode_is_called_for_in_turn_and_says_why() {
        let mut auto = Auto::new();
        assert!(auto.now.to_string().contains("too little"));
        let busy = Seen { large: 500, ..SMALL };
        for _ in 0..10 {
            // Now this, now that: neither often enough.
            assert_eq!(auto.tick(SMALL, true), None);
            assert_eq!(auto.tick(SMALL, true), None);
            assert_eq!(auto.tick(busy, true), None);
        }
        for _ in 1..IN_TURN {
            assert_eq!(auto.tick(SMALL, true), None);
        }
        assert_eq!(auto.tick(SMALL, true), Some(MINIMAL));
        assert_eq!(auto.tick(SMALL, true), None, "it runs already");
        for _ in 1..IN_TURN {
            assert_eq!(auto.tick(busy, true), None);
        }
        assert_eq!(auto.tick(busy, true), Some(LEARNING));
        assert!(auto.now.to_string().contains("500 large operations"));
    }
}
