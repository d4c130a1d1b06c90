//! The table of telemetry gates: the only place where their features are looked at.
//!
//! A new counter is one row in `counters!`, with the gates that read it; a new gate is one row in
//! `gates!` and one in `Cargo.toml`. Counters that no gate reads take no storage.

use super::{front, pool, slabs, system};
use crate::class::COUNT;

/// A gate.
pub(crate) trait Gate {
    /// Whether it is compiled in.
    const ON: bool;
    /// The feature's name.
    const NAME: &'static str;
}

macro_rules! gates {
    ($($(#[$doc:meta])* $gate:ident, $feature:literal;)*) => {
        $(
            $(#[$doc])*
            pub(crate) struct $gate;
            impl Gate for $gate {
                const ON: bool = cfg!(feature = $feature);
                const NAME: &'static str = $feature;
            }
        )*
    };
}

gates! {
    /// Hits, misses, frees, overflows and refilled blocks of the tiny tier, by class group.
    TinyClassStats, "tiny-class-stats";
    /// Every free of a tiny block.
    TinyFreeCalls, "tiny-free-calls";
    /// Tiny blocks that leave a magazine for their slab.
    TinyFreeStats, "tiny-free-stats";
    /// Frees in class group C7.
    C7FreeCount, "c7-free-count";
    /// Classes out of range, where they are about to be used.
    MetricBadClass, "metric-bad-class";
    /// Hits, misses, refills and refill cycles of the unified cache.
    UnifiedCacheMeasure, "unified-cache-measure";
    /// Queues of remotely freed slabs, as their owners find them.
    RemoteTargetStats, "remote-target-stats";
    /// Calls of the operating system.
    SuperslabOsStats, "superslab-os-stats";
    /// Which layer served each request.
    FrontMetrics, "front-metrics";
    /// What the pool of the mid tier does.
    PoolHotboxV2Stats, "pool-hotbox-v2-stats";
    /// One set of counters for all threads.
    TelemetryShared, "telemetry-shared";
    /// The first frees of tiny blocks.
    TinyFreeTrace, "tiny-free-trace";
    /// The last events of every heap.
    TinyDebugRing, "tiny-debug-ring";
    /// Classes out of range in a refill.
    P0ClassOobLog, "p0-class-oob-log";
    /// Frees that found no header before the block.
    HdrMismatchLog, "hdr-mismatch-log";
    /// Headers that disagreed with the slab when the block came home.
    HdrMetaMismatch, "hdr-meta-mismatch";
    /// Headers that disagreed with the slab when the block was freed.
    HdrMetaFast, "hdr-meta-fast";
}

/// A family of counters.
pub(crate) trait Counters {
    /// Whether a gate that reads it is compiled in.
    const ON: bool;
    /// How many there are.
    const SLOTS: usize;
    /// Index of the first of them in a tally.
    const FIRST: usize;
}

macro_rules! counters {
    ($($(#[$doc:meta])* $family:ident[$slots:expr] for $($gate:ident)|+;)*) => {
        /// The families, in the order of their slots.
        enum Family { $($family,)* }
        /// Slots that each family takes in this build.
        const TAKEN: &[usize] = &[$(if $($gate::ON)||+ { $slots } else { 0 },)*];
        $(
            $(#[$doc])*
            pub(crate) struct $family;
            impl Counters for $family {
                const ON: bool = $($gate::ON)||+;
                const SLOTS: usize = $slots;
                const FIRST: usize = slots_before(Family::$family as usize);
            }
        )*
        /// Counters of all families that are on.
        pub(crate) const SLOTS: usize = slots_before(TAKEN.len());
    };
}

const fn slots_before(family: usize) -> usize {
    let (mut sum, mut at) = (0, 0);
    while at < family {
        sum += TAKEN[at];
        at += 1;
    }
    sum
}

counters! {
    /// Allocations that a magazine served, by class.
    Hits[COUNT] for TinyClassStats | UnifiedCacheMeasure | FrontMetrics;
    /// Allocations that found it empty, by class.
    Misses[COUNT] for TinyClassStats | UnifiedCacheMeasure;
    /// Frees that a magazine took, by class.
    Frees[COUNT] for TinyClassStats | TinyFreeCalls | C7FreeCount;
    /// Frees that found it full, by class.
    Overflows[COUNT] for TinyClassStats | TinyFreeCalls | C7FreeCount;
    /// Blocks that refills brought, by class.
    Refilled[COUNT] for TinyClassStats;
    /// Refills that brought at least one block, by class.
    Refills[COUNT] for UnifiedCacheMeasure;
    /// Time-stamp cycles spent in refills, by class.
    RefillCycles[COUNT] for UnifiedCacheMeasure;
    /// Blocks that came to a slab of the heap that brought them, by class.
    LocalReturns[COUNT] for TinyFreeStats;
    /// Blocks that came to a slab of another heap, by class.
    RemoteReturns[COUNT] for TinyFreeStats;
    /// Queues, slabs in them and blocks in those, by length of the queue: see [`slabs`].
    RemoteQueues[slabs::LENGTHS * slabs::QUEUE_COUNTERS] for RemoteTargetStats;
    /// Allocations that front-end layers served, by their rank.
    LayerHits[front::MOST_LAYERS] for FrontMetrics;
    /// Frees that they took, by class.
    LayerFrees[COUNT] for TinyFreeCalls | C7FreeCount;
    /// Requests by the layer that served them, but for the magazines: see [`front`].
    Served[front::SERVERS] for FrontMetrics;
    /// Calls, bytes and refusals by kind of call: see [`system`].
    SystemCalls[system::KINDS * system::CALL_COUNTERS] for SuperslabOsStats;
    /// What the pool of the mid tier does: see [`pool`].
    PoolCounters[pool::COUNTERS] for PoolHotboxV2Stats;
    /// Classes out of range, in allocations and in frees.
    BadClasses[2] for MetricBadClass;
    /// Blocks that came home as the class that their header named, which was not their slab's.
    MisledReturns[1] for HdrMetaMismatch;
    /// Frees of blocks whose header named another class than their slab.
    MisledFrees[1] for HdrMetaFast;
}
