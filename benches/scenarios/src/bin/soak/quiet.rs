//! Moments in which no thread touches the heap, as its walker asks for.
//!
//! Whoever works on the heap is counted. One thread may ask for quiet, and has it when nobody is
//! counted any more. A thread's first call and its end touch the heap, too: who starts a thread is
//! counted in its place until it has been joined. Assumes that the lock is the standard library's,
//! which uses no heap.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Who works, and whether somebody waits for quiet.
pub struct Quiet {
    /// Relaxed: a hint that saves the lock; a late look works a little longer.
    hint: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    working: usize,
    wanted: bool,
}

impl Quiet {
    pub const fn new() -> Self {
        Quiet {
            hint: AtomicBool::new(false),
            state: Mutex::new(State { working: 0, wanted: false }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while `blocked` holds.
    fn wait_while(&self, blocked: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.state();
        while blocked(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Begins to work, after the quiet that somebody wants.
    pub fn enter(&self) {
        self.wait_while(|state| state.wanted).working += 1;
    }

    /// Ends work.
    pub fn leave(&self) {
        self.state().working -= 1;
        self.changed.notify_all();
    }

    /// Lets whoever wants quiet have it, after `settle`; called by who works, now and then.
    pub fn pass(&self, settle: impl FnOnce()) {
        if self.hint.load(Ordering::Relaxed) {
            settle();
            self.leave();
            self.enter();
        }
    }

    /// Runs `act` while nobody works. One caller at a time.
    pub fn with<R>(&self, act: impl FnOnce() -> R) -> R {
        self.state().wanted = true;
        self.hint.store(true, Ordering::Relaxed);
        drop(self.wait_while(|state| state.working != 0));
        let result = act();
        self.hint.store(false, Ordering::Relaxed);
        self.state().wanted = false;
        self.changed.notify_all();
        result
    }
}
