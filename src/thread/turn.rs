//! Whose turn it is with a heap: its thread's, or the background worker's.
//!
//! Everything behind the magazines (slabs, cached runs) is touched on slow paths only. A thread
//! takes its turn at the start of one and ends it at the end; between two of them the worker may
//! take a turn with the heap of a thread that sleeps, so that an idle program shrinks too. The
//! magazines are never the worker's: the fast path takes no turn.
//!
//! Dekker's exclusion, with its two fences unequal: each side announces itself, then looks for the
//! other. The thread's fence is left to the compiler and costs nothing; the worker asks the kernel
//! for a barrier in every running thread instead (`os::barrier`). So either the worker sees `busy` and
//! leaves, or the thread sees `visited` and waits.
//!
//! | field | written by | ordering |
//! |---|---|---|
//! | `busy` | the thread that has the heap | Release at the end of a turn: the worker's look (Acquire) sees what it did |
//! | `visited` | the worker | Release at the end of a visit: the thread's look (Acquire) sees what it did |
//!
//! Without the gate `background-worker` none of this exists.

use crate::base::sync::{AtomicU32, Ordering, compiler_fence};
use crate::os;

/// Whether this build has a background worker.
pub(crate) const ON: bool = cfg!(feature = "background-worker");

/// The two words. They lie apart from the heap, which is borrowed mutably during a turn.
pub(crate) struct Turn {
    /// Relaxed when set, as the fence follows; Release when cleared.
    busy: AtomicU32,
    /// Relaxed when set, as the barrier follows; Release when cleared.
    visited: AtomicU32,
}

impl Turn {
    pub(crate) const fn new() -> Self {
        Turn { busy: AtomicU32::new(0), visited: AtomicU32::new(0) }
    }
}

/// A heap's words, in a build that has a worker.
#[derive(Clone, Copy)]
pub(crate) struct Door([&'static Turn; ON as usize]);

/// While this lives, the worker stays away.
pub(crate) struct Inside {
    door: Door,
    /// Whether the thread was inside already: a call from inside a slow path.
    before: u32,
}

impl Door {
    pub(crate) const fn new(turn: &'static Turn) -> Self {
        Door([turn; ON as usize])
    }

    /// The thread that has the heap begins a slow path; waits while the worker is here.
    #[inline(always)]
    pub(crate) fn enter(self) -> Inside {
        let mut before = 0;
        for turn in self.0 {
            // Relaxed: our own word.
            before = turn.busy.load(Ordering::Relaxed);
            if before != 0 {
                // Inside already: a worker that has come since leaves by itself, and to step back
                // for it would let it in.
                break;
            }
            // Relaxed: the fence and the worker's barrier order it.
            turn.busy.store(1, Ordering::Relaxed);
            // SeqCst: with the worker's barrier, our announcement comes before our look.
            compiler_fence(Ordering::SeqCst);
            // Acquire: what the worker did before it left is seen.
            if turn.visited.load(Ordering::Acquire) != 0 {
                wait(turn);
            }
        }
        Inside { door: self, before }
    }

    /// The heap is about to be parked: no visit until [`Door::open`]. What the worker took in for a
    /// parked heap would look as if nobody had given anything back, and stay there.
    #[inline(always)]
    pub(crate) fn close(self) {
        core::mem::forget(self.enter());
    }

    /// The heap is nobody's and no longer parked.
    #[inline(always)]
    pub(crate) fn open(self) {
        for turn in self.0 {
            // Release: as at the end of a turn.
            turn.busy.store(0, Ordering::Release);
        }
    }

    /// The worker's visit: runs `act` if the heap's thread is on no slow path.
    pub(crate) fn visit<R>(self, act: impl FnOnce() -> R) -> Option<R> {
        let turn = self.0.first()?;
        // Relaxed: the barrier orders it before the look at `busy`.
        turn.visited.store(1, Ordering::Relaxed);
        // Acquire: what the thread did before it left is seen.
        let free = os::barrier() && turn.busy.load(Ordering::Acquire) == 0;
        let result = free.then(act);
        // Release: what we did is seen by the thread.
        turn.visited.store(0, Ordering::Release);
        os::wake(&turn.visited);
        result
    }
}

/// The worker is here: steps back until it has left.
#[cold]
fn wait(turn: &Turn) {
    loop {
        // Release: as at the end of a turn.
        turn.busy.store(0, Ordering::Release);
        // Relaxed: only whether to go on sleeping; the look below acquires.
        while turn.visited.load(Ordering::Relaxed) != 0 {
            os::wait(&turn.visited, 1);
        }
        // Relaxed and SeqCst: as in `enter`, the fence orders it.
        turn.busy.store(1, Ordering::Relaxed);
        // SeqCst: as in `enter`, before our look.
        compiler_fence(Ordering::SeqCst);
        // Acquire: as in `enter`.
        if turn.visited.load(Ordering::Acquire) == 0 {
            return;
        }
    }
}

impl Drop for Inside {
    #[inline(always)]
    fn drop(&mut self) {
        for turn in self.door.0 {
            // Release: what we did is seen by the worker's visit.
            turn.busy.store(self.before, Ordering::Release);
        }
    }
}

#[cfg(all(test, hakmem_model))]
mod model;

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    #[test]
    fn nobody_meets_anybody_inside() {
        static TURN: Turn = Turn::new();
        struct Shared(core::cell::UnsafeCell<u64>);
        // SAFETY: the turns under test are what makes it so.
        unsafe impl Sync for Shared {}
        let rounds = if cfg!(miri) { 50 } else { 20_000 };
        let shared: &'static Shared = Box::leak(Box::new(Shared(0.into())));
        let door = Door::new(&TURN);
        if !ON {
            assert_eq!(door.visit(|| ()), None);
            return;
        }
        let visits = std::thread::scope(|scope| {
            let worker = scope.spawn(move || {
                let mut visits = 0;
                for _ in 0..rounds {
                    // SAFETY: the heap's thread is outside.
                    visits += u64::from(door.visit(|| unsafe { *shared.0.get() += 1 }).is_some());
                }
                visits
            });
            for _ in 0..rounds {
                let _inside = door.enter();
                let _nested = door.enter();
                // SAFETY: the worker is outside.
                unsafe { *shared.0.get() += 1 };
            }
            worker.join().unwrap()
        });
        // SAFETY: the threads have ended.
        assert_eq!(unsafe { *shared.0.get() }, rounds + visits);
    }
}
