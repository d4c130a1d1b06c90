//! The figures of each gate, as types: a row is a set of named counters.

use crate::class::GROUPS;

/// What a counter says, if it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading<T> {
    /// The counter's gate (the Cargo feature of this name) is off in this build.
    NotCompiledIn(&'static str),
    /// Its value.
    Value(T),
}

impl<T> Reading<T> {
    /// The value, if the counter is compiled in.
    pub fn value(self) -> Option<T> {
        match self {
            Reading::Value(value) => Some(value),
            Reading::NotCompiledIn(_) => None,
        }
    }

    /// The gate, if it is off.
    pub(super) fn gate_if_off(&self) -> Option<&'static str> {
        match *self {
            Reading::NotCompiledIn(gate) => Some(gate),
            Reading::Value(_) => None,
        }
    }

    /// What `look` makes of the value.
    pub(super) fn map<U>(self, look: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Reading::Value(value) => Reading::Value(look(value)),
            Reading::NotCompiledIn(gate) => Reading::NotCompiledIn(gate),
        }
    }
}

/// A row of counters that can be gone through.
pub(super) trait Row: Copy {
    /// The names of the counters.
    const COLUMNS: &'static [&'static str];
    /// The counter in a column; 0 beyond the last.
    fn get(&self, column: usize) -> u64;
}

macro_rules! rows {
    ($($(#[$doc:meta])* $row:ident { $($(#[$about:meta])* $column:ident,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct $row {
                $($(#[$about])* pub $column: u64,)*
            }

            impl Row for $row {
                const COLUMNS: &'static [&'static str] = &[$(stringify!($column),)*];
                fn get(&self, column: usize) -> u64 {
                    [$(self.$column,)*].get(column).copied().unwrap_or(0)
                }
            }
        )*
    };
}

/// A front-end layer and what it has served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerCount {
    /// Its name, which is also the feature's.
    pub name: &'static str,
    /// The class groups C0..C7 that it covers, and last the mid tier.
    pub covers: [bool; GROUPS + 1],
    /// Whether it stands behind the magazines, and serves only what finds them empty.
    pub behind: bool,
    /// Whether it is compiled in.
    pub compiled_in: bool,
    /// Allocations that it served (gate `front-metrics`).
    pub served: Reading<u64>,
}

rows! {
    /// Counts of one class group (gate `tiny-class-stats`).
    ClassGroup {
        /// Allocations served by the magazine.
        hits,
        /// Allocations that had to refill it.
        misses,
        /// Frees that the magazine took.
        frees,
        /// Frees that found it full.
        overflows,
        /// Blocks that refills brought.
        refilled_blocks,
    }

    /// Counts of the unified cache (gate `unified-cache-measure`).
    CacheCounts {
        /// Allocations served without a refill.
        hits,
        /// Allocations that needed one.
        misses,
        /// Refills that brought at least one block.
        refills,
        /// Time-stamp cycles spent in refills.
        refill_cycles,
    }

    /// Tiny blocks that left a magazine for their slab (gate `tiny-free-stats`).
    SlabFrees {
        /// Into a slab of the heap that had them.
        local,
        /// Into a slab of another heap.
        remote,
    }

    /// Size classes out of range (gate `metric-bad-class`).
    BadClasses {
        /// In allocations, which failed.
        allocations,
        /// In frees, which went by the block's address.
        frees,
    }

    /// Queues of slabs that other threads have freed into, as their owner finds them (gate
    /// `remote-target-stats`).
    RemoteQueues {
        /// Queues of this length.
        drains,
        /// Slabs in these.
        slabs,
        /// Blocks that came home with the slabs.
        blocks,
    }

    /// Calls of the operating system of one kind (gate `superslab-os-stats`).
    OsCalls {
        /// Calls that did what they were asked for.
        calls,
        /// Bytes in these.
        bytes,
        /// Calls that the system refused.
        refused,
    }

    /// What the mid tier's own pool does, for blocks of 2 to 32 KiB (gate `pool-hotbox-v2-stats`).
    PoolHotbox {
        /// Allocations that found a block in it.
        hits,
        /// Allocations that found it empty and drew a batch from the magazine.
        draws,
        /// Blocks in these batches.
        drawn_blocks,
        /// Allocations that found both empty and brought a batch from the slabs.
        refills,
        /// Blocks in these batches.
        refilled_blocks,
        /// The same, but there was no memory.
        refill_failures,
        /// Frees that it took.
        frees,
        /// Of these, those that found it full, and handed its older half over to the magazine.
        spills,
        /// Blocks that went there.
        spilled_blocks,
        /// Frees that found the pool and the magazine full.
        overflows,
        /// Decay periods in which the blocks of a class had not moved.
        idle,
        /// Refills and overflows that found it closed by a setting.
        closed,
    }

    /// Blocks that left a full magazine for the background worker (gate `background-spill`).
    BackgroundSpill {
        /// Blocks that the queue took.
        spilled,
        /// Of these, those that somebody has taken out since, to bring them home.
        brought_home,
        /// Blocks that found the queue full, and went home the ordinary way.
        refused,
        /// Batches that wait in the queue: its length, which decides whether the worker is called.
        waiting,
    }

    /// Blocks that the background worker has had ready (gate `background-bin`).
    BackgroundBin {
        /// Blocks that it has put into bins.
        stocked,
        /// Of these, those that refills have taken.
        taken,
        /// Of these, those that nobody asked for, and that went home again.
        returned,
    }

    /// Allocations by the layer that had the block (gate `front-metrics`).
    Served {
        /// The layers in front of the magazine, all together.
        front_layers,
        /// The thread's magazine.
        unified_cache,
        /// A refill, from its slab's bitmap.
        local_bitmap,
        /// A refill, from what other threads had given back.
        remote_drain,
        /// A refill, carved from a slab that was there.
        bump,
        /// A refill, carved from a slab made for it.
        new_slab,
        /// The thread's slots for large blocks.
        large_slots,
        /// The part of the BigCache that threads share.
        big_cache,
        /// A fresh run of an arena.
        arena,
        /// A fresh mapping of its own.
        mapping,
    }
}

impl Served {
    /// Allocations that were served, by whatever layer.
    #[must_use]
    pub fn total(&self) -> u64 {
        (0..Self::COLUMNS.len()).map(|column| self.get(column)).sum()
    }
}
