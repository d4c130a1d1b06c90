//! The counters: `struct hak_stats`, and figures by name.

use core::ffi::{CStr, c_char, c_int};

use hakmem::{
    BackgroundBin, BackgroundSpill, BadClasses, CacheCounts, ClassGroup, OsCalls, PoolHotbox,
    Reading, RemoteQueues, Served, SlabFrees,
};

use crate::errno;

/// `HAK_NOT_COMPILED_IN`.
const NOT_COMPILED_IN: u64 = u64::MAX;
/// `HAK_UNKNOWN`.
const UNKNOWN: u64 = u64::MAX;
/// `HAK_CLASS_GROUPS`.
const GROUPS: usize = 8;
/// `HAK_QUEUE_LENGTHS`.
const LENGTHS: usize = 8;
/// `HAK_OS_CALLS`.
const CALLS: usize = 6;
/// `HAK_SERVERS`.
const SERVERS: usize = 9;
/// `HAK_POOL_COUNTERS`.
const POOL_COUNTERS: usize = 12;
/// `HAK_SPILL_COUNTERS`.
const SPILL_COUNTERS: usize = 4;
/// `HAK_BIN_COUNTERS`.
const BIN_COUNTERS: usize = 3;

/// `struct hak_stats`.
#[repr(C)]
pub struct Stats {
    size: usize,
    mapped_bytes: u64,
    in_use_bytes: u64,
    cached_bytes: u64,
    huge_bytes: u64,
    huge_blocks: u64,
    metadata_bytes: u64,
    heaps: u64,
    parked_heaps: u64,
    tiny_free_calls: u64,
    class_groups: [[u64; 5]; GROUPS],
    unified_cache: [[u64; 4]; GROUPS + 1],
    resident_bytes: u64,
    counters_shared: u64,
    c7_frees: u64,
    slab_frees: [[u64; 2]; GROUPS],
    bad_classes: [u64; 2],
    remote_queues: [[u64; 3]; LENGTHS],
    os_calls: [[u64; 3]; CALLS],
    served: [u64; SERVERS],
    hdr_meta_mismatch: u64,
    hdr_meta_fast: u64,
    pool_hotbox: [u64; POOL_COUNTERS],
    background_spill: [u64; SPILL_COUNTERS],
    background_bin: [u64; BIN_COUNTERS],
}

/// A gate's table as C sees it.
fn table<T: Copy, const COLUMNS: usize, const ROWS: usize>(
    reading: Reading<[T; ROWS]>,
    columns: impl Fn(T) -> [u64; COLUMNS],
) -> [[u64; COLUMNS]; ROWS] {
    match reading {
        Reading::Value(rows) => rows.map(columns),
        Reading::NotCompiledIn(_) => [[NOT_COMPILED_IN; COLUMNS]; ROWS],
    }
}

/// A gate's row.
fn row<T: Copy, const COLUMNS: usize>(
    reading: Reading<T>,
    columns: impl Fn(T) -> [u64; COLUMNS],
) -> [u64; COLUMNS] {
    reading.value().map_or([NOT_COMPILED_IN; COLUMNS], columns)
}

impl Stats {
    fn read(size: usize) -> Stats {
        let stats = hakmem::stats();
        Stats {
            size,
            mapped_bytes: stats.mapped_bytes as u64,
            in_use_bytes: stats.in_use_bytes as u64,
            cached_bytes: stats.cached_bytes as u64,
            huge_bytes: stats.huge_bytes as u64,
            huge_blocks: stats.huge_blocks as u64,
            metadata_bytes: stats.metadata_bytes as u64,
            heaps: stats.heaps as u64,
            parked_heaps: stats.parked_heaps as u64,
            tiny_free_calls: stats.tiny_free_calls.value().unwrap_or(NOT_COMPILED_IN),
            class_groups: table(stats.class_groups, |group: ClassGroup| {
                [group.hits, group.misses, group.frees, group.overflows, group.refilled_blocks]
            }),
            unified_cache: table(stats.unified_cache, |row: CacheCounts| {
                [row.hits, row.misses, row.refills, row.refill_cycles]
            }),
            resident_bytes: stats.resident_bytes.map_or(UNKNOWN, |bytes| bytes as u64),
            counters_shared: u64::from(stats.counters_shared),
            c7_frees: stats.c7_frees.value().unwrap_or(NOT_COMPILED_IN),
            slab_frees: table(stats.slab_frees, |group: SlabFrees| [group.local, group.remote]),
            bad_classes: row(stats.bad_classes, |bad: BadClasses| [bad.allocations, bad.frees]),
            remote_queues: table(stats.remote_queues, |row: RemoteQueues| {
                [row.drains, row.slabs, row.blocks]
            }),
            os_calls: table(stats.os_calls, |row: OsCalls| [row.calls, row.bytes, row.refused]),
            served: row(stats.served, |by: Served| {
                [
                    by.unified_cache,
                    by.local_bitmap,
                    by.remote_drain,
                    by.bump,
                    by.new_slab,
                    by.large_slots,
                    by.big_cache,
                    by.arena,
                    by.mapping,
                ]
            }),
            hdr_meta_mismatch: stats.hdr_meta_mismatch.value().unwrap_or(NOT_COMPILED_IN),
            hdr_meta_fast: stats.hdr_meta_fast.value().unwrap_or(NOT_COMPILED_IN),
            pool_hotbox: row(stats.pool_hotbox, |pool: PoolHotbox| {
                [
                    pool.hits,
                    pool.draws,
                    pool.drawn_blocks,
                    pool.refills,
                    pool.refilled_blocks,
                    pool.refill_failures,
                    pool.frees,
                    pool.spills,
                    pool.spilled_blocks,
                    pool.overflows,
                    pool.idle,
                    pool.closed,
                ]
            }),
            background_spill: row(stats.background_spill, |by: BackgroundSpill| {
                [by.spilled, by.brought_home, by.refused, by.waiting]
            }),
            background_bin: row(stats.background_bin, |by: BackgroundBin| {
                [by.stocked, by.taken, by.returned]
            }),
        }
    }
}

/// `hak_stats`
///
/// # Safety
/// `out` is null or can be read and written for as many bytes as its first field says.
// SAFETY: the prefix `hak_` is this library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_stats(out: *mut Stats) -> c_int {
    if out.is_null() {
        return libc::EINVAL;
    }
    // SAFETY: not null; that the size field can be read is the caller's promise.
    let size = unsafe { (&raw const (*out).size).read() };
    if size < size_of::<usize>() {
        return libc::EINVAL;
    }
    let stats = errno::kept(|| Stats::read(size));
    // SAFETY: no more than the caller has room for, and no more than there is to read.
    unsafe {
        (&raw const stats)
            .cast::<u8>()
            .copy_to_nonoverlapping(out.cast(), size.min(size_of::<Stats>()));
    }
    0
}

/// `hak_stats_get`
///
/// # Safety
/// `name` is null or a C string; `value` is null or can be written.
// SAFETY: the prefix `hak_` is this library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_stats_get(name: *const c_char, value: *mut u64) -> c_int {
    if name.is_null() || value.is_null() {
        return libc::EINVAL;
    }
    // SAFETY: not null, so a C string by the caller's promise.
    let Ok(name) = unsafe { CStr::from_ptr(name) }.to_str() else { return libc::ENOENT };
    match errno::kept(|| hakmem::stats().get(name)) {
        Some(Reading::Value(figure)) => {
            // SAFETY: not null, so writable by the caller's promise.
            unsafe { value.write(figure) };
            0
        }
        Some(Reading::NotCompiledIn(_)) => libc::ENOTSUP,
        None => libc::ENOENT,
    }
}
