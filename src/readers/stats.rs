//! Readers: what the heap holds, and what the counters of the gates say. In every build; a counter
//! that is not compiled in is reported as that, never as zero.

use crate::class::{GRANULE, GROUPS};
use crate::large::big_cache;
use crate::os::report;
use crate::policy::{config, diet};
use crate::segment::{arena, meta, spans};
use crate::telemetry::gates::{
    CACHE_EVENTS, CLASS_EVENTS, CacheEvent, ClassEvent, Gate, TinyClassStats, TinyFreeCalls,
    UnifiedCacheMeasure,
};
use crate::telemetry::tally::HOMELESS;
use crate::thread::park;
use core::fmt::{self, Write};

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
}

/// Counts of one class group (gate `tiny-class-stats`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassGroup {
    /// Allocations served by the magazine.
    pub hits: u64,
    /// Allocations that had to refill it.
    pub misses: u64,
    /// Frees that the magazine took.
    pub frees: u64,
    /// Frees that found it full.
    pub overflows: u64,
    /// Blocks that refills brought.
    pub refilled_blocks: u64,
}

/// Counts of the unified cache (gate `unified-cache-measure`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Allocations served without a refill.
    pub hits: u64,
    /// Allocations that needed one.
    pub misses: u64,
    /// Refills that brought at least one block.
    pub refills: u64,
    /// Time-stamp cycles spent in refills.
    pub refill_cycles: u64,
}

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
    /// Whether the mem diet is on.
    pub diet: bool,
    /// Counters by class group C0..C7.
    pub class_groups: Reading<[ClassGroup; GROUPS]>,
    /// Frees of tiny blocks.
    pub tiny_free_calls: Reading<u64>,
    /// Unified cache by class group, and last the mid tier.
    pub unified_cache: Reading<[CacheCounts; GROUPS + 1]>,
}

/// Sums a counter over all heaps, those of finished threads included.
fn sum<G: Gate>(slot: usize) -> u64 {
    let mut total = HOMELESS.read::<G>(slot);
    park::each(|heap| {
        // SAFETY: heaps live for ever; a tally is made of atomics that anyone may read.
        let tally = unsafe { &(*heap).tally };
        total = total.wrapping_add(tally.read::<G>(slot));
    });
    total
}

fn reading<G: Gate, T>(read: impl FnOnce() -> T) -> Reading<T> {
    if G::ON { Reading::Value(read()) } else { Reading::NotCompiledIn(G::NAME) }
}

/// A snapshot of the whole heap.
#[must_use]
pub fn stats() -> Stats {
    let usage = arena::usage();
    let (huge_blocks, huge_bytes) = spans::totals();
    let (heaps, parked_heaps) = park::counts();
    let metadata_bytes = meta::mapped_bytes();
    Stats {
        mapped_bytes: usage.reserved * GRANULE + huge_bytes + big_cache::held() + metadata_bytes,
        in_use_bytes: usage.used * GRANULE + huge_bytes,
        cached_bytes: usage.dirty * GRANULE + big_cache::held(),
        huge_bytes,
        huge_blocks,
        metadata_bytes,
        heaps,
        parked_heaps,
        diet: diet::is_on(),
        class_groups: reading::<TinyClassStats, _>(|| {
            core::array::from_fn(|group| {
                let read = |event: ClassEvent| {
                    sum::<TinyClassStats>(group * CLASS_EVENTS + event as usize)
                };
                ClassGroup {
                    hits: read(ClassEvent::Hit),
                    misses: read(ClassEvent::Miss),
                    frees: read(ClassEvent::Free),
                    overflows: read(ClassEvent::Overflow),
                    refilled_blocks: read(ClassEvent::Refilled),
                }
            })
        }),
        tiny_free_calls: reading::<TinyFreeCalls, _>(|| sum::<TinyFreeCalls>(0)),
        unified_cache: reading::<UnifiedCacheMeasure, _>(|| {
            core::array::from_fn(|group| {
                let read = |event: CacheEvent| {
                    sum::<UnifiedCacheMeasure>(group * CACHE_EVENTS + event as usize)
                };
                CacheCounts {
                    hits: read(CacheEvent::Hit),
                    misses: read(CacheEvent::Miss),
                    refills: read(CacheEvent::Refill),
                    refill_cycles: read(CacheEvent::RefillCycles),
                }
            })
        }),
    }
}

impl Stats {
    fn sizes(&self) -> [(&'static str, usize); 8] {
        [
            ("mapped_bytes", self.mapped_bytes),
            ("in_use_bytes", self.in_use_bytes),
            ("cached_bytes", self.cached_bytes),
            ("huge_bytes", self.huge_bytes),
            ("huge_blocks", self.huge_blocks),
            ("metadata_bytes", self.metadata_bytes),
            ("heaps", self.heaps),
            ("parked_heaps", self.parked_heaps),
        ]
    }

    /// Writes a table for people.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_text(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "hakmem {} statistics", env!("CARGO_PKG_VERSION"))?;
        for (name, value) in self.sizes() {
            writeln!(out, "  {name:<18} {value:>14}")?;
        }
        writeln!(out, "  {:<18} {:>14}", "diet", if self.diet { "on" } else { "off" })?;
        match self.tiny_free_calls {
            Reading::Value(calls) => writeln!(out, "  {:<18} {calls:>14}", "tiny_free_calls")?,
            Reading::NotCompiledIn(gate) => missing(out, "tiny_free_calls", gate)?,
        }
        match self.class_groups {
            Reading::Value(groups) => {
                writeln!(
                    out,
                    "  {:<6}{:>14}{:>12}{:>14}{:>12}{:>14}",
                    "group", "hits", "misses", "frees", "overflows", "refilled"
                )?;
                for (group, row) in groups.iter().enumerate() {
                    writeln!(
                        out,
                        "  C{group:<5}{:>14}{:>12}{:>14}{:>12}{:>14}",
                        row.hits, row.misses, row.frees, row.overflows, row.refilled_blocks
                    )?;
                }
            }
            Reading::NotCompiledIn(gate) => missing(out, "class_groups", gate)?,
        }
        match self.unified_cache {
            Reading::Value(rows) => {
                writeln!(
                    out,
                    "  {:<6}{:>14}{:>12}{:>12}{:>16}",
                    "cache", "hits", "misses", "refills", "refill_cycles"
                )?;
                for (group, row) in rows.iter().enumerate() {
                    let mut name = report::Small::new();
                    if group < GROUPS {
                        write!(name, "C{group}")?
                    } else {
                        write!(name, "mid")?
                    }
                    writeln!(
                        out,
                        "  {:<6}{:>14}{:>12}{:>12}{:>16}",
                        name.as_str(),
                        row.hits,
                        row.misses,
                        row.refills,
                        row.refill_cycles
                    )?;
                }
            }
            Reading::NotCompiledIn(gate) => missing(out, "unified_cache", gate)?,
        }
        Ok(())
    }

    /// Writes one JSON object. A counter that is not compiled in is `null`, and its gate is listed
    /// under `not_compiled_in`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_json(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_char('{')?;
        for (name, value) in self.sizes() {
            write!(out, "\"{name}\":{value},")?;
        }
        write!(out, "\"diet\":{},\"tiny_free_calls\":", self.diet)?;
        match self.tiny_free_calls {
            Reading::Value(calls) => write!(out, "{calls}")?,
            Reading::NotCompiledIn(_) => out.write_str("null")?,
        }
        out.write_str(",\"class_groups\":")?;
        match self.class_groups {
            Reading::Value(groups) => {
                for (group, row) in groups.iter().enumerate() {
                    write!(
                        out,
                        "{}{{\"group\":{group},\"hits\":{},\"misses\":{},\"frees\":{},\"overflows\":{},\"refilled_blocks\":{}}}",
                        if group == 0 { '[' } else { ',' },
                        row.hits,
                        row.misses,
                        row.frees,
                        row.overflows,
                        row.refilled_blocks
                    )?;
                }
                out.write_char(']')?;
            }
            Reading::NotCompiledIn(_) => out.write_str("null")?,
        }
        out.write_str(",\"unified_cache\":")?;
        match self.unified_cache {
            Reading::Value(rows) => {
                for (group, row) in rows.iter().enumerate() {
                    write!(
                        out,
                        "{}{{\"row\":{group},\"hits\":{},\"misses\":{},\"refills\":{},\"refill_cycles\":{}}}",
                        if group == 0 { '[' } else { ',' },
                        row.hits,
                        row.misses,
                        row.refills,
                        row.refill_cycles
                    )?;
                }
                out.write_char(']')?;
            }
            Reading::NotCompiledIn(_) => out.write_str("null")?,
        }
        out.write_str(",\"not_compiled_in\":[")?;
        let gates = [
            self.class_groups.gate_if_off(),
            self.tiny_free_calls.gate_if_off(),
            self.unified_cache.gate_if_off(),
        ];
        for (index, gate) in gates.into_iter().flatten().enumerate() {
            write!(out, "{}\"{gate}\"", if index == 0 { "" } else { "," })?;
        }
        out.write_str("]}")
    }
}

impl<T: Copy> Reading<T> {
    fn gate_if_off(&self) -> Option<&'static str> {
        match *self {
            Reading::NotCompiledIn(gate) => Some(gate),
            Reading::Value(_) => None,
        }
    }
}

fn missing(out: &mut dyn Write, name: &str, gate: &str) -> fmt::Result {
    writeln!(out, "  {name:<18} not compiled in (feature {gate})")
}

/// Prints the statistics to standard error if `HAKMEM_STATS` asks for it.
pub(crate) fn dump_at_exit() {
    if config::dump_wanted() {
        let _ = stats().write_text(&mut report::FdWriter::new(2));
    }
}

/// Writes the statistics to a file descriptor without using the heap.
pub fn dump(fd: i32) {
    let _ = stats().write_text(&mut report::FdWriter::new(fd));
}
