//! Classes out of range: gate `metric-bad-class` counts them where one is about to index the
//! magazines, gate `p0-class-oob-log` keeps a log of those that reach a refill.
//!
//! The tables give no such class, so there is one only when something has overwritten a table. With
//! the gates off nobody looks.

use super::gates::{BadClasses, Gate, MetricBadClass, P0ClassOobLog};
use super::tally::Handle;
use crate::base::sync::{AtomicU32, AtomicU64, Ordering};
use crate::class::COUNT;

/// Where a class out of range was about to be used.
#[derive(Clone, Copy)]
pub(crate) enum Use {
    /// To serve an allocation.
    Allocation,
    /// To take a freed block.
    Free,
}

/// Whether classes are looked at where they are about to index the magazines.
pub(crate) const CHECKED: bool = MetricBadClass::ON;
/// Whether classes are looked at where a refill begins.
pub(crate) const REFILLS_CHECKED: bool = P0ClassOobLog::ON;

/// Whether a class may index the magazines. Always true when nobody looks.
#[inline(always)]
pub(crate) fn in_range(class: usize) -> bool {
    !CHECKED || class < COUNT
}

impl Handle {
    /// A class was out of range.
    pub(crate) fn bad_class(self, what: Use) {
        self.count::<BadClasses>(what as usize);
    }
}

/// Entries that the log keeps; the first ones tell most.
pub(crate) const LOGGED: usize = 64;
const ENTRIES: usize = if P0ClassOobLog::ON { LOGGED } else { 0 };

struct Log {
    /// Refills refused, logged or not.
    total: [AtomicU64; P0ClassOobLog::ON as usize],
    /// The classes they asked for, plus one; 0: not written (yet).
    entries: [AtomicU32; ENTRIES],
}

static LOG: Log = Log {
    total: [const { AtomicU64::new(0) }; P0ClassOobLog::ON as usize],
    entries: [const { AtomicU32::new(0) }; ENTRIES],
};

/// Whether a refill may go on with `class`. If not, that is logged. Always true when nobody looks.
#[inline(always)]
pub(crate) fn refill_in_bounds(class: usize) -> bool {
    if !REFILLS_CHECKED || (1..COUNT).contains(&class) {
        return true;
    }
    log(class);
    false
}

#[cold]
fn log(class: usize) {
    if P0ClassOobLog::ON
        && let Some(total) = LOG.total.first()
    {
        let order = total.fetch_add(1, Ordering::Relaxed) as usize;
        if let Some(entry) = LOG.entries.get(order) {
            entry.store((class as u32).saturating_add(1), Ordering::Relaxed);
        }
    }
}

/// How many refills asked for a class out of bounds.
pub(crate) fn logged_total() -> u64 {
    if P0ClassOobLog::ON
        && let Some(total) = LOG.total.first()
    {
        return total.load(Ordering::Relaxed);
    }
    0
}

/// Calls `visit(order, class)` for every entry of the log.
pub(crate) fn each_logged(mut visit: impl FnMut(usize, u32)) {
    if P0ClassOobLog::ON {
        for (order, entry) in LOG.entries.iter().enumerate() {
            if let Some(class) = entry.load(Ordering::Relaxed).checked_sub(1) {
                visit(order, class);
            }
        }
    }
}
