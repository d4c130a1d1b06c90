//! Calls of the operating system for memory: gate `superslab-os-stats`.
//!
//! Counted where the call is made, so a mapping that had to be cut to its alignment is all the calls
//! that it took. A system call dwarfs a locked increment, so the caller counts for all threads at once.

use super::gates::SystemCalls;
use super::tally::Handle;

/// Kinds of calls.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    /// Memory or address space is taken.
    Map,
    /// It is given back.
    Unmap,
    /// A mapping changes its size: its new size counts.
    Remap,
    /// A reservation becomes usable.
    Protect,
    /// Pages are given back, their addresses kept.
    Discard,
    /// A hint about huge pages.
    AdviseHuge,
}

/// Number of [`Call`]s.
pub(crate) const KINDS: usize = 6;
/// Counters of each.
pub(crate) const CALL_COUNTERS: usize = 3;

/// What is counted of calls.
#[derive(Clone, Copy)]
pub(crate) enum Of {
    /// Calls that did what they were asked for.
    Calls,
    /// Bytes in these.
    Bytes,
    /// Calls that the system refused.
    Refused,
}

/// The slot of a counter of calls.
pub(crate) fn call_slot(kind: usize, of: Of) -> usize {
    kind * CALL_COUNTERS + of as usize
}

impl Handle {
    /// A call was made for `bytes` bytes; `done`: the system did it.
    #[inline(always)]
    pub(crate) fn called(self, call: Call, bytes: usize, done: bool) {
        let kind = call as usize;
        self.add::<SystemCalls>(call_slot(kind, Of::Calls), || u64::from(done));
        self.add::<SystemCalls>(call_slot(kind, Of::Bytes), || if done { bytes as u64 } else { 0 });
        self.add::<SystemCalls>(call_slot(kind, Of::Refused), || u64::from(!done));
    }
}
