//! The first frees of tiny blocks: gate `tiny-free-trace`.
//!
//! One list for the process. When it is full, all that is left on the way of a free is a look at its
//! length.

use super::gates::{Gate, TinyFreeTrace};
use crate::base::clock::cycles;
use crate::base::sync::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Frees that are recorded.
pub(crate) const FREES: usize = 128;
const ENTRIES: usize = if TinyFreeTrace::ON { FREES } else { 0 };

/// Relaxed: the class, which is written last, publishes the rest.
struct Entry {
    at: AtomicUsize,
    stamp: AtomicU64,
    /// The class; 0 until the entry is complete.
    class: AtomicU32,
}

static NEXT: [AtomicU32; TinyFreeTrace::ON as usize] =
    [const { AtomicU32::new(0) }; TinyFreeTrace::ON as usize];
static TRACE: [Entry; ENTRIES] = [const {
    Entry { at: AtomicUsize::new(0), stamp: AtomicU64::new(0), class: AtomicU32::new(0) }
}; ENTRIES];

/// Whether the list has room.
#[inline(always)]
pub(super) fn wants_more() -> bool {
    if TinyFreeTrace::ON
        && let Some(next) = NEXT.first()
    {
        return next.load(Ordering::Relaxed) < FREES as u32;
    }
    false
}

/// Records the free of a block.
#[cold]
#[inline(never)]
pub(super) fn record(class: usize, block: *const u8) {
    if TinyFreeTrace::ON
        && let Some(next) = NEXT.first()
    {
        // Threads that meet here at the end of the list take numbers that it does not have.
        let order = next.fetch_add(1, Ordering::Relaxed) as usize;
        if let Some(entry) = TRACE.get(order) {
            entry.at.store(block.addr(), Ordering::Relaxed);
            entry.stamp.store(cycles(), Ordering::Relaxed);
            // Release: who sees the class sees the rest.
            entry.class.store(class as u32, Ordering::Release);
        }
    }
}

/// Calls `visit(order, class, address, stamp)` for every free that was recorded.
pub(crate) fn each(mut visit: impl FnMut(usize, usize, usize, u64)) {
    if TinyFreeTrace::ON {
        for (order, entry) in TRACE.iter().enumerate() {
            // Acquire: pairs with `record`.
            let class = entry.class.load(Ordering::Acquire) as usize;
            if class != 0 {
                let at = entry.at.load(Ordering::Relaxed);
                visit(order, class, at, entry.stamp.load(Ordering::Relaxed));
            }
        }
    }
}
