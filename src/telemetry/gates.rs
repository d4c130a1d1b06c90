//! The table of telemetry gates: the only place where their features are looked at.
//!
//! A new counter is one row here and one row in `Cargo.toml`; the slots of a gate that is off take
//! no storage.

use crate::class::GROUPS;

/// A gate that counts.
pub(crate) trait Gate {
    /// Whether the gate is compiled in.
    const ON: bool;
    /// The feature's name.
    const NAME: &'static str;
    /// Counters that it has.
    const SLOTS: usize;
    /// Index of its first counter in a tally.
    const FIRST: usize;
}

macro_rules! gates {
    ($($(#[$doc:meta])* $gate:ident, $feature:literal, $slots:expr, after $before:expr;)*) => {
        $(
            $(#[$doc])*
            pub(crate) struct $gate;
            impl Gate for $gate {
                const ON: bool = cfg!(feature = $feature);
                const NAME: &'static str = $feature;
                const SLOTS: usize = $slots;
                const FIRST: usize = $before;
            }
        )*
        /// Counters of all gates that are on.
        pub(crate) const SLOTS: usize = 0 $(+ if $gate::ON { $gate::SLOTS } else { 0 })*;
    };
}

/// First slot after those of `G`.
const fn end<G: Gate>() -> usize {
    if G::ON { G::FIRST + G::SLOTS } else { G::FIRST }
}

gates! {
    /// Five counters per class group: see [`ClassEvent`].
    TinyClassStats, "tiny-class-stats", GROUPS * CLASS_EVENTS, after 0;
    /// Every free of a tiny block.
    TinyFreeCalls, "tiny-free-calls", 1, after end::<TinyClassStats>();
    /// Hits, misses, refills and refill cycles of the unified cache: see [`CacheEvent`]. One row
    /// more than there are groups: the mid tier.
    UnifiedCacheMeasure, "unified-cache-measure", (GROUPS + 1) * CACHE_EVENTS, after end::<TinyFreeCalls>();
}

/// What `tiny-class-stats` counts, per class group.
#[derive(Clone, Copy)]
pub(crate) enum ClassEvent {
    /// Allocations that the magazine served.
    Hit,
    /// Allocations that found it empty.
    Miss,
    /// Frees that the magazine took.
    Free,
    /// Frees that found it full.
    Overflow,
    /// Blocks moved into it by refills.
    Refilled,
}
/// Number of [`ClassEvent`]s.
pub(crate) const CLASS_EVENTS: usize = 5;

/// What `unified-cache-measure` counts, per class group and for the mid tier.
#[derive(Clone, Copy)]
pub(crate) enum CacheEvent {
    /// Allocations served without a refill.
    Hit,
    /// Allocations that needed one.
    Miss,
    /// Refills that brought at least one block.
    Refill,
    /// Time-stamp cycles spent in refills.
    RefillCycles,
}
/// Number of [`CacheEvent`]s.
pub(crate) const CACHE_EVENTS: usize = 4;
