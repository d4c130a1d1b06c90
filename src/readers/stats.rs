//! A snapshot of the heap: what it holds, and what the counters of the gates say.

use super::events;
use super::learning::{self, Learning};
use super::rows::{
    BackgroundBin, BackgroundSpill, BadClasses, CacheCounts, ClassGroup, LayerCount, OsCalls,
    PoolHotbox, Reading, RemoteQueues, Served, SlabFrees,
};
use crate::class::{self, COUNT, FIRST_MID, GRANULE, GROUPS};
use crate::frontend::{handoff, stack};
use crate::guard;
use crate::large::big_cache;
use crate::os::{self, PAGE, report};
use crate::policy::{config, diet};
use crate::segment::{arena, meta, spans};
use crate::telemetry::front::Server;
use crate::telemetry::gates::{self, Counters, Gate};
use crate::telemetry::pool::Pool;
use crate::telemetry::slabs::{LENGTHS, Queue, queue_slot};
use crate::telemetry::system::{KINDS, Of, call_slot};
use crate::telemetry::tally;
use crate::thread::{heap, park};
use core::ops::Range;

/// A snapshot of the heap. Sizes are in bytes. Parts are read one after another, so they agree with
/// each other only while the program is quiet.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// Address space reserved from the system, metadata included.
    pub mapped_bytes: usize,
    /// Memory in slabs and large blocks: in use, or cached in magazines and by the BigCache.
    pub in_use_bytes: usize,
    /// Free memory that may still be resident, and blocks in the shared part of the BigCache.
    pub cached_bytes: usize,
    /// Memory in blocks that are mappings of their own.
    pub huge_bytes: usize,
    /// Number of such blocks.
    pub huge_blocks: usize,
    /// Memory mapped for metadata.
    pub metadata_bytes: usize,
    /// Heaps, parked ones included.
    pub heaps: usize,
    /// Heaps that wait for a thread.
    pub parked_heaps: usize,
    /// Resident memory of the whole process, whoever asked for it; `None` where the system does not
    /// tell.
    pub resident_bytes: Option<usize>,
    /// Whether the mem diet is on.
    pub diet: bool,
    /// Whether all threads share one set of counters (gate `telemetry-shared`).
    pub counters_shared: bool,
    /// Counters by class group C0..C7.
    pub class_groups: Reading<[ClassGroup; GROUPS]>,
    /// Frees of tiny blocks.
    pub tiny_free_calls: Reading<u64>,
    /// Unified cache by class group, and last the mid tier.
    pub unified_cache: Reading<[CacheCounts; GROUPS + 1]>,
    /// Frees in class group C7.
    pub c7_frees: Reading<u64>,
    /// Blocks that left a magazine for their slab, by class group.
    pub slab_frees: Reading<[SlabFrees; GROUPS]>,
    /// Size classes out of range.
    pub bad_classes: Reading<BadClasses>,
    /// Queues of remotely freed slabs by length: 1, 2, 3..4, 5..8, ..., 65 and more.
    pub remote_queues: Reading<[RemoteQueues; LENGTHS]>,
    /// Calls of the operating system: map, unmap, remap, protect, discard, huge-page advice.
    pub os_calls: Reading<[OsCalls; KINDS]>,
    /// Allocations by the layer that served them.
    pub served: Reading<Served>,
    /// Blocks that came home as another class than their slab's, as their header byte named it.
    pub hdr_meta_mismatch: Reading<u64>,
    /// Frees of blocks whose header byte named another class than their slab.
    pub hdr_meta_fast: Reading<u64>,
    /// The mid tier's own pool.
    pub pool_hotbox: Reading<PoolHotbox>,
    /// Overflow that goes to the background worker.
    pub background_spill: Reading<BackgroundSpill>,
    /// Blocks that the background worker has ready.
    pub background_bin: Reading<BackgroundBin>,
    /// The front-end layers, in the order in which they are asked, and what each has served.
    pub layers: [LayerCount; LAYERS],
}

/// Front-end layers that there are, compiled in or not.
pub const LAYERS: usize = stack::LAYERS;

/// Sums a counter over all heaps, those of finished threads included.
fn sum<C: Counters>(slot: usize) -> u64 {
    tally::sum::<C>(slot, |visit| {
        // SAFETY: heaps in the list are real.
        park::each(|heap| visit(unsafe { heap::tally_of(heap) }));
    })
}

/// Sums the counters of a range of classes.
fn sum_of<C: Counters>(classes: Range<usize>) -> u64 {
    classes.map(sum::<C>).sum()
}

/// The classes of a row: group C0..C7, or last the mid tier.
fn classes_of(row: usize) -> Range<usize> {
    match row {
        0 => 1..class::last_class_of_group(0) + 1,
        1..GROUPS => class::last_class_of_group(row - 1) + 1..class::last_class_of_group(row) + 1,
        _ => FIRST_MID..COUNT,
    }
}

fn reading<G: Gate, T>(read: impl FnOnce() -> T) -> Reading<T> {
    if G::ON { Reading::Value(read()) } else { Reading::NotCompiledIn(G::NAME) }
}

fn class_group(group: usize) -> ClassGroup {
    let classes = classes_of(group);
    ClassGroup {
        hits: sum_of::<gates::Hits>(classes.clone()),
        misses: sum_of::<gates::Misses>(classes.clone()),
        frees: sum_of::<gates::Frees>(classes.clone()),
        overflows: sum_of::<gates::Overflows>(classes.clone()),
        refilled_blocks: sum_of::<gates::Refilled>(classes),
    }
}

fn cache_counts(row: usize) -> CacheCounts {
    let classes = classes_of(row);
    CacheCounts {
        hits: sum_of::<gates::Hits>(classes.clone()),
        misses: sum_of::<gates::Misses>(classes.clone()),
        refills: sum_of::<gates::Refills>(classes.clone()),
        refill_cycles: sum_of::<gates::RefillCycles>(classes),
    }
}

fn slab_frees(group: usize) -> SlabFrees {
    SlabFrees {
        local: sum_of::<gates::LocalReturns>(classes_of(group)),
        remote: sum_of::<gates::RemoteReturns>(classes_of(group)),
    }
}

fn frees(classes: Range<usize>) -> u64 {
    sum_of::<gates::Frees>(classes.clone())
        + sum_of::<gates::Overflows>(classes.clone())
        + sum_of::<gates::LayerFrees>(classes)
}

fn layers() -> [LayerCount; LAYERS] {
    let off = Reading::NotCompiledIn("");
    let nothing = LayerCount {
        name: "",
        covers: [false; GROUPS + 1],
        behind: false,
        compiled_in: false,
        served: off,
    };
    let (mut rows, mut at) = ([nothing; LAYERS], 0);
    stack::each(&mut |layer| {
        if let Some(row) = rows.get_mut(at) {
            let count = || sum::<gates::LayerHits>(layer.rank);
            *row = LayerCount {
                name: layer.name,
                covers: core::array::from_fn(|group| layer.classes.has_group(group)),
                behind: layer.behind,
                compiled_in: layer.on,
                served: match layer.on {
                    true => reading::<gates::FrontMetrics, _>(count),
                    false => Reading::NotCompiledIn(layer.name),
                },
            };
        }
        at += 1;
    });
    rows
}

fn served() -> Served {
    let by = |server: Server| sum::<gates::Served>(server as usize);
    Served {
        front_layers: (0..gates::LayerHits::SLOTS).map(sum::<gates::LayerHits>).sum(),
        unified_cache: sum_of::<gates::Hits>(1..COUNT),
        local_bitmap: by(Server::LocalBitmap),
        remote_drain: by(Server::RemoteDrain),
        bump: by(Server::Bump),
        new_slab: by(Server::NewSlab),
        large_slots: by(Server::LargeSlots),
        big_cache: by(Server::BigCache),
        arena: by(Server::Arena),
        mapping: by(Server::Mapping),
    }
}

fn pool_hotbox() -> PoolHotbox {
    let of = |counter: Pool| sum::<gates::PoolCounters>(counter as usize);
    PoolHotbox {
        hits: of(Pool::Hits),
        draws: of(Pool::Draws),
        drawn_blocks: of(Pool::DrawnBlocks),
        refills: of(Pool::Refills),
        refilled_blocks: of(Pool::RefilledBlocks),
        refill_failures: of(Pool::RefillFailures),
        frees: of(Pool::Frees),
        spills: of(Pool::Spills),
        spilled_blocks: of(Pool::SpilledBlocks),
        overflows: of(Pool::Overflows),
        idle: of(Pool::Idle),
        closed: of(Pool::Closed),
    }
}

fn background_spill() -> Reading<BackgroundSpill> {
    if !handoff::SPILL {
        return Reading::NotCompiledIn("background-spill");
    }
    let handoff::Look { spilled, brought_home, refused, waiting, .. } = handoff::look();
    Reading::Value(BackgroundSpill { spilled, brought_home, refused, waiting })
}

fn background_bin() -> Reading<BackgroundBin> {
    if !handoff::BIN {
        return Reading::NotCompiledIn("background-bin");
    }
    let handoff::Look { stocked, taken, returned, .. } = handoff::look();
    Reading::Value(BackgroundBin { stocked, taken, returned })
}

/// What is read under locks.
struct Held {
    usage: arena::Usage,
    spans: (usize, usize),
    heaps: (usize, usize),
    metadata_bytes: usize,
    guarded: guard::Usage,
}

/// A snapshot of the whole heap.
#[must_use]
pub fn stats() -> Stats {
    snapshot(Held {
        usage: arena::usage(),
        spans: spans::totals(),
        heaps: park::counts(),
        metadata_bytes: meta::mapped_bytes(),
        guarded: guard::usage(),
    })
}

/// The same without waiting for a lock: `None` if one is taken.
fn try_stats() -> Option<Stats> {
    Some(snapshot(Held {
        usage: arena::try_usage()?,
        spans: spans::try_totals()?,
        heaps: park::try_counts()?,
        metadata_bytes: meta::try_mapped_bytes()?,
        guarded: guard::try_usage()?,
    }))
}

fn snapshot(held: Held) -> Stats {
    let Held { usage, metadata_bytes, guarded, .. } = held;
    let ((huge_blocks, huge_bytes), (heaps, parked_heaps)) = (held.spans, held.heaps);
    Stats {
        mapped_bytes: usage.reserved * GRANULE
            + huge_bytes
            + big_cache::held()
            + metadata_bytes
            + guarded.reserved,
        in_use_bytes: usage.used * GRANULE + huge_bytes + guarded.live * PAGE,
        cached_bytes: usage.dirty * GRANULE + big_cache::held(),
        huge_bytes,
        huge_blocks,
        metadata_bytes,
        heaps,
        parked_heaps,
        resident_bytes: os::resident_bytes(),
        diet: diet::is_on(),
        counters_shared: gates::TelemetryShared::ON,
        class_groups: reading::<gates::TinyClassStats, _>(|| core::array::from_fn(class_group)),
        tiny_free_calls: reading::<gates::TinyFreeCalls, _>(|| frees(1..FIRST_MID)),
        unified_cache: reading::<gates::UnifiedCacheMeasure, _>(|| {
            core::array::from_fn(cache_counts)
        }),
        c7_frees: reading::<gates::C7FreeCount, _>(|| frees(classes_of(GROUPS - 1))),
        slab_frees: reading::<gates::TinyFreeStats, _>(|| core::array::from_fn(slab_frees)),
        bad_classes: reading::<gates::MetricBadClass, _>(|| BadClasses {
            allocations: sum::<gates::BadClasses>(0),
            frees: sum::<gates::BadClasses>(1),
        }),
        remote_queues: reading::<gates::RemoteTargetStats, _>(|| {
            core::array::from_fn(|row| {
                let of = |counter| sum::<gates::RemoteQueues>(queue_slot(row, counter));
                RemoteQueues {
                    drains: of(Queue::Drains),
                    slabs: of(Queue::Slabs),
                    blocks: of(Queue::Blocks),
                }
            })
        }),
        os_calls: reading::<gates::SuperslabOsStats, _>(|| {
            core::array::from_fn(|kind| {
                let of = |counter| sum::<gates::SystemCalls>(call_slot(kind, counter));
                OsCalls { calls: of(Of::Calls), bytes: of(Of::Bytes), refused: of(Of::Refused) }
            })
        }),
        served: reading::<gates::FrontMetrics, _>(served),
        hdr_meta_mismatch: reading::<gates::HdrMetaMismatch, _>(|| sum::<gates::MisledReturns>(0)),
        hdr_meta_fast: reading::<gates::HdrMetaFast, _>(|| sum::<gates::MisledFrees>(0)),
        pool_hotbox: reading::<gates::PoolHotboxV2Stats, _>(pool_hotbox),
        background_spill: background_spill(),
        background_bin: background_bin(),
        layers: layers(),
    }
}

/// Prints statistics and events to standard error if `HAKMEM_STATS` asks for it.
pub(crate) fn dump_at_exit() {
    if config::dump_wanted() {
        dump(2);
    }
}

/// Writes statistics and events to a file descriptor without using the heap.
pub fn dump(fd: i32) {
    write(&stats(), &learning::learning(), fd);
}

/// The same without waiting for a lock, for a signal's handler. False: one is taken, nothing was
/// written.
pub(crate) fn try_dump(fd: i32) -> bool {
    try_stats()
        .zip(learning::try_learning())
        .map(|(stats, learning)| write(&stats, &learning, fd))
        .is_some()
}

fn write(stats: &Stats, learning: &Learning, fd: i32) {
    let mut out = report::FdWriter::new(fd);
    // A descriptor that cannot be written has nobody to tell.
    let _ = stats.write_text(&mut out);
    let _ = learning.write_text(&mut out);
    let _ = events::write_all(&mut out);
}
