//! Header bytes that are wrong: gate `hdr-mismatch-log` keeps a log of those that are no header, gate
//! `hdr-meta-mismatch` counts blocks that come home as a class that only their header named, gate
//! `hdr-meta-fast` compares every header with the slab and counts those that differ.
//!
//! Each needs the gate `tiny-header`: see `segment::header`.

use super::gates::{Gate, HdrMetaFast, HdrMismatchLog, MisledFrees, MisledReturns};
use super::tally::Handle;
use crate::base::sync::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Whether a free compares the header with the slab.
pub(crate) const COMPARED: bool = HdrMetaFast::ON;

/// Entries that the log keeps; the first ones tell most.
pub(crate) const LOGGED: usize = 64;
const ENTRIES: usize = if HdrMismatchLog::ON { LOGGED } else { 0 };

/// Relaxed: `what`, which is written last, publishes the rest.
struct Entry {
    at: AtomicUsize,
    /// The slab's class and the byte, 24 and 8 bits; 0 until the entry is complete.
    what: AtomicU32,
}

struct Log {
    /// Frees that found no header, logged or not.
    total: [AtomicU64; HdrMismatchLog::ON as usize],
    entries: [Entry; ENTRIES],
}

static LOG: Log = Log {
    total: [const { AtomicU64::new(0) }; HdrMismatchLog::ON as usize],
    entries: [const { Entry { at: AtomicUsize::new(0), what: AtomicU32::new(0) } }; ENTRIES],
};

impl Handle {
    /// The byte before a freed block of `class` is no header of one.
    pub(crate) fn header_is_none(self, block: *const u8, byte: u8, class: usize) {
        if HdrMismatchLog::ON
            && let Some(total) = LOG.total.first()
        {
            // Relaxed: a number to each; nothing else hangs on it.
            let order = total.fetch_add(1, Ordering::Relaxed) as usize;
            if let Some(entry) = LOG.entries.get(order) {
                entry.at.store(block.addr(), Ordering::Relaxed);
                // Release: who sees the class sees the address.
                entry.what.store((class as u32) << 8 | u32::from(byte), Ordering::Release);
            }
        }
    }

    /// The header of a freed block named another class than its slab.
    pub(crate) fn header_compared_false(self) {
        self.count::<MisledFrees>(0);
    }

    /// A block came home as a class that its header named, and not its slab.
    #[inline(always)]
    pub(crate) fn header_misled(self) {
        self.count::<MisledReturns>(0);
    }
}

/// How many frees found no header.
pub(crate) fn logged_total() -> u64 {
    if HdrMismatchLog::ON
        && let Some(total) = LOG.total.first()
    {
        return total.load(Ordering::Relaxed);
    }
    0
}

/// Calls `visit(order, class, address, byte)` for every entry of the log.
pub(crate) fn each_logged(mut visit: impl FnMut(usize, usize, usize, u8)) {
    if HdrMismatchLog::ON {
        for (order, entry) in LOG.entries.iter().enumerate() {
            // Acquire: pairs with `header_is_none`.
            let what = entry.what.load(Ordering::Acquire);
            if what != 0 {
                let at = entry.at.load(Ordering::Relaxed);
                visit(order, (what >> 8) as usize, at, what as u8);
            }
        }
    }
}
