//! Statistics on a signal (`HAKMEM_STATS_SIGNAL`): for a process that runs on.
//!
//! The handler reads and writes without waiting for a lock, so it can run while its own thread is
//! inside the heap. If a lock is taken, the next tick prints instead. It uses nothing but what POSIX
//! allows in a handler: atomics, its stack, `open`, `read`, `close` and `write`. A handler that the
//! program has for the signal is left alone, and that is said.

use super::stats;
use crate::base::sync::{AtomicBool, Ordering};
use crate::os::{self, report};
use crate::policy::config;
use core::ffi::c_int;

/// Whether a signal has come that could not be answered at once.
/// Relaxed: a wish and nothing behind it; the swap lets one thread fulfil it.
static WANTED: AtomicBool = AtomicBool::new(false);

/// Whether the handler has been set up, or could not be.
/// Relaxed: the swap lets one thread set it up, and nothing is read on the flag's word.
static ARMED: AtomicBool = AtomicBool::new(false);

/// Sets the handler up if a signal has been chosen. The first choice stands.
pub(crate) fn arm() {
    let Some(signal) = config::stats_signal() else { return };
    if !ARMED.swap(true, Ordering::Relaxed) && !os::on_signal(signal, answer) {
        report::warn(format_args!(
            "HAKMEM_STATS_SIGNAL={signal}: the program has a handler of its own for it; no statistics are printed"
        ));
    }
}

extern "C" fn answer(_signal: c_int) {
    if !stats::try_dump(2) {
        WANTED.store(true, Ordering::Relaxed);
    }
}

/// Answers a signal that came while a lock was taken.
pub(crate) fn answer_late() {
    if WANTED.load(Ordering::Relaxed) && WANTED.swap(false, Ordering::Relaxed) {
        stats::dump(2);
    }
}
