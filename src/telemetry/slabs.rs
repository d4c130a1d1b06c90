//! What comes to slabs: gate `tiny-free-stats`, the entries into the free path of SuperSlabs, and
//! gate `remote-target-stats`, the queues that other threads' frees have made.
//!
//! A free ends in the thread's magazine. The path into the SuperSlab is taken later, when blocks
//! leave a magazine for their slab: by an overflow, a drain, or at once if there is no magazine. That
//! is what `tiny-free-stats` counts, a block at a time.

use super::gates::{Counters, LocalReturns, RemoteQueues, RemoteReturns};
use super::ring::Event;
use super::tally::Handle;

/// Rows of [`RemoteQueues`]: queues of 1, 2, 3..4, 5..8, ... slabs; the last has no upper bound.
pub(crate) const LENGTHS: usize = 8;
/// Columns of [`RemoteQueues`].
pub(crate) const QUEUE_COUNTERS: usize = 3;

/// What is counted of a queue.
#[derive(Clone, Copy)]
pub(crate) enum Queue {
    /// The queue itself.
    Drains,
    /// Slabs in it.
    Slabs,
    /// Blocks that came home with them.
    Blocks,
}

/// The slot of a counter of queues.
pub(crate) fn queue_slot(row: usize, counter: Queue) -> usize {
    row * QUEUE_COUNTERS + counter as usize
}

impl Handle {
    /// `count` blocks of `class` came home to a slab of this heap.
    #[inline(always)]
    pub(crate) fn came_home(self, class: usize, count: usize) {
        self.add::<LocalReturns>(class, || count as u64);
        self.record(Event::ToSlab, class, || count);
    }

    /// `count` blocks of `class` came to a slab of another heap.
    #[inline(always)]
    pub(crate) fn sent_home(self, class: usize, count: usize) {
        self.add::<RemoteReturns>(class, || count as u64);
        self.record(Event::ToOtherHeap, class, || count);
    }

    /// This heap found `slabs` slabs in its queue, and in them `blocks` blocks.
    #[inline(always)]
    pub(crate) fn drained(self, slabs: usize, blocks: usize) {
        if !RemoteQueues::ON || slabs == 0 {
            return;
        }
        let row = (slabs - 1).checked_ilog2().map_or(0, |log| log as usize + 1).min(LENGTHS - 1);
        self.count::<RemoteQueues>(queue_slot(row, Queue::Drains));
        self.add::<RemoteQueues>(queue_slot(row, Queue::Slabs), || slabs as u64);
        self.add::<RemoteQueues>(queue_slot(row, Queue::Blocks), || blocks as u64);
    }
}
