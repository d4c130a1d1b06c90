//! What the pool of the mid tier does: gate `pool-hotbox-v2-stats`, twelve counters.
//!
//! Each is counted where it happens, in the pool itself (`frontend::layers::pool_hotbox`). Requests that
//! the pool served are its hits, draws and refills together; frees that it took are one counter.

use super::gates::PoolCounters;
use super::tally::Handle;

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Pool {
    /// Requests that found a block in the pool.
    Hits,
    /// Requests that found it empty, and blocks in the magazine, of which a batch was drawn.
    Draws,
    /// Blocks in these batches.
    DrawnBlocks,
    /// Requests that found both empty: a batch came from the slabs.
    Refills,
    /// Blocks in these batches.
    RefilledBlocks,
    /// The same, but there was no memory.
    RefillFailures,
    /// Frees that it took.
    Frees,
    /// Of these, those that found it full: its older half went to the magazine.
    Spills,
    /// Blocks that went there.
    SpilledBlocks,
    /// Frees that found the pool and the magazine full.
    Overflows,
    /// Decay periods in which the blocks of a class had not moved.
    Idle,
    /// Refills and overflows that found the pool closed by a setting.
    Closed,
}

/// Number of counters.
pub(crate) const COUNTERS: usize = 12;

impl Handle {
    /// Counts one.
    #[inline(always)]
    pub(crate) fn pool(self, counter: Pool) {
        self.count::<PoolCounters>(counter as usize);
    }

    /// Counts blocks.
    #[inline(always)]
    pub(crate) fn pool_blocks(self, counter: Pool, blocks: usize) {
        self.add::<PoolCounters>(counter as usize, || blocks as u64);
    }
}
