//! Mem diet: under a byte budget, or after the system refused memory, the caches shrink.
//!
//! On: magazines start at a quarter and grow to a quarter, nothing large is cached, and every tick
//! returns what is free. Off again when usage is below three quarters of the budget.

use crate::base::sync::{AtomicUsize, Ordering};
use crate::class::GRANULE;
use crate::large::big_cache;
use crate::segment::{ON_DIET, arena, spans};

/// Bytes that the heap should not exceed; 0: no budget.
/// Relaxed: a setting; a late look obeys the one before.
pub(crate) static BUDGET: AtomicUsize = AtomicUsize::new(0);

/// Whether the diet is on.
pub(crate) fn is_on() -> bool {
    ON_DIET.load(Ordering::Relaxed)
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
    ON_DIET.store(true, Ordering::Relaxed);
}

fn stop() {
    ON_DIET.store(false, Ordering::Relaxed);
}
