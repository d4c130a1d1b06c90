//! The operating-system contract for the model checker: memory as `portable` has it, but sleepers,
//! wake-ups and barriers that the checker sees, and a clock that stands still, so that every
//! execution of a scenario is the same up to the order of its steps.

#[path = "portable.rs"]
mod portable;

use crate::base::sync::{AtomicU32, model};
pub(crate) use portable::*;
use std::cell::Cell;

std::thread_local! {
    static UNMAPPED: Cell<usize> = const { Cell::new(0) };
}

/// The time: one second.
pub(crate) fn now_ms() -> u64 {
    1000
}

/// Sleeps while the word holds the value.
pub(crate) fn wait(word: &AtomicU32, value: u32) {
    model::sleep(word, value);
}

/// Wakes a sleeper.
#[track_caller]
pub(crate) fn wake(word: &AtomicU32) {
    model::rouse(word);
}

/// A full barrier in every thread.
#[track_caller]
pub(crate) fn barrier() -> bool {
    model::barrier()
}

/// Counts what was given back.
pub(crate) fn unmap(_at: *mut u8, size: usize) {
    UNMAPPED.set(UNMAPPED.get() + size);
}

/// Bytes that were given back since the last call.
pub(crate) fn unmapped() -> usize {
    UNMAPPED.take()
}
