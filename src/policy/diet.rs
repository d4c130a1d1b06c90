//! Mem diet: under a byte budget, or after the system refused memory, the caches shrink.
//!
//! On: magazines start at a quarter and grow to a quarter, nothing large is cached, and every tick
//! returns what is free. Off again when usage is below three quarters of the budget.

use crate::base::sync::{AtomicBool, AtomicUsize, Ordering};
use crate::class::GRANULE;
use crate::frontend::magazine;
use crate::large::big_cache;
use crate::segment::{arena, spans};

/// Bytes that the heap should not exceed; 0: no budget.
/// Relaxed: a setting; a late look obeys the one before.
pub(crate) static BUDGET: AtomicUsize = AtomicUsize::new(0);
/// Relaxed: the swap lets one thread start or end the diet, and what it then sets are settings.
static ON: AtomicBool = AtomicBool::new(false);
/// The BigCache budget to return to.
/// Relaxed: a figure alone, written by whom `ON` let start the diet.
static CACHE_BEFORE: AtomicUsize = AtomicUsize::new(0);

const SHIFT: u32 = 2;

/// Whether the diet is on.
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Bytes of memory that the heap holds, cached or in use.
pub(crate) fn held() -> usize {
    let usage = arena::usage();
    (usage.used + usage.dirty) * GRANULE + spans::totals().1 + big_cache::held()
}

/// Looks at the budget. True: over it, so everything free should be returned now.
pub(crate) fn check() -> bool {
    let budget = BUDGET.load(Ordering::Relaxed);
    if budget == 0 {
        return false;
    }
    let held = held();
    if held > budget {
        start();
        true
    } else {
        if held < budget - budget / 4 {
            stop();
        }
        is_on()
    }
}

/// The system refused memory: live on less from now on, if there is a budget to say how long.
pub(crate) fn pressure() {
    if BUDGET.load(Ordering::Relaxed) != 0 {
        start();
    }
}

fn start() {
    if !ON.swap(true, Ordering::Relaxed) {
        magazine::DIET_SHIFT.store(SHIFT, Ordering::Relaxed);
        CACHE_BEFORE.store(big_cache::BYTES.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }
}

fn stop() {
    if ON.swap(false, Ordering::Relaxed) {
        magazine::DIET_SHIFT.store(0, Ordering::Relaxed);
        big_cache::BYTES.store(CACHE_BEFORE.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}
