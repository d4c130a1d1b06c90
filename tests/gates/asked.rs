//! What a test has asked of the heap, and whether the counters of the thread cache agree.

use super::{C7_FREES, CACHE, CLASS_STATS, FREE_CALLS, FRONT};
use crate::common::random::Random;
use crate::common::{HEADER, RESERVED};
use hakmem::{Reading, raw, stats};

pub const GROUPS: usize = 8;
/// The row of the mid tier in the counts of the unified cache.
pub const MID: usize = GROUPS;

/// What was asked of the heap, by group C0..C7 and the mid tier.
#[derive(Clone, Copy, Default)]
pub struct Asked {
    pub allocations: [u64; GROUPS + 1],
    pub frees: [u64; GROUPS + 1],
}

pub fn group(size: usize) -> usize {
    // With a header byte there is no block of eight bytes.
    match if HEADER { (size + RESERVED).max(16) } else { size } {
        0..=8 => 0,
        block @ 9..=1024 => (block - 1).ilog2() as usize - 2,
        _ => MID,
    }
}

impl Asked {
    pub fn malloc(&mut self, size: usize) -> *mut u8 {
        self.allocations[group(size)] += 1;
        raw::malloc(size)
    }

    pub fn free(&mut self, at: *mut u8, size: usize) {
        self.frees[group(size)] += 1;
        // SAFETY: a block of this size that the test holds, from `malloc`.
        unsafe { if size.is_multiple_of(2) { raw::free(at) } else { raw::free_sized(at, size) } }
    }

    pub fn add(&mut self, other: &Asked) {
        for row in 0..=GROUPS {
            self.allocations[row] += other.allocations[row];
            self.frees[row] += other.frees[row];
        }
    }

    /// Allocations and frees in turn, of all sizes that the thread cache serves.
    pub fn work(&mut self, seed: u64, steps: usize) {
        let mut random = Random::new(seed);
        let mut held: Vec<(*mut u8, usize)> = Vec::new();
        for _ in 0..steps {
            if held.len() > 400 || (!held.is_empty() && random.below(2) == 0) {
                let (at, size) = held.swap_remove(random.below(held.len()));
                self.free(at, size);
            } else {
                let size = random.size(20_000);
                held.push((self.malloc(size), size));
            }
        }
        for (at, size) in held {
            self.free(at, size);
        }
    }

    /// Compares every counter that is compiled in.
    pub fn agrees(&self) {
        let stats = stats();
        let tiny_frees: u64 = self.frees[..GROUPS].iter().sum();
        match stats.tiny_free_calls {
            Reading::Value(calls) => assert_eq!(calls, tiny_frees, "tiny_free_calls"),
            Reading::NotCompiledIn(gate) => {
                assert!(!FREE_CALLS);
                assert_eq!(gate, "tiny-free-calls");
            }
        }
        match stats.c7_frees {
            Reading::Value(frees) => assert_eq!(frees, self.frees[GROUPS - 1], "c7_frees"),
            Reading::NotCompiledIn(gate) => {
                assert!(!C7_FREES);
                assert_eq!(gate, "c7-free-count");
            }
        }
        match stats.served {
            Reading::Value(served) => {
                assert_eq!(served.total(), self.allocations.iter().sum::<u64>(), "{served:?}");
            }
            Reading::NotCompiledIn(gate) => {
                assert!(!FRONT);
                assert_eq!(gate, "front-metrics");
            }
        }
        match stats.class_groups {
            Reading::Value(rows) => {
                for (group, row) in rows.iter().enumerate() {
                    assert_eq!(row.hits + row.misses, self.allocations[group], "C{group}: {row:?}");
                    assert_eq!(row.frees + row.overflows, self.frees[group], "C{group}: {row:?}");
                    assert!(row.refilled_blocks >= row.misses, "C{group}: {row:?}");
                }
            }
            Reading::NotCompiledIn(gate) => {
                assert!(!CLASS_STATS);
                assert_eq!(gate, "tiny-class-stats");
            }
        }
        match stats.unified_cache {
            Reading::Value(rows) => {
                for (group, row) in rows.iter().enumerate() {
                    assert_eq!(
                        row.hits + row.misses,
                        self.allocations[group],
                        "row {group}: {row:?}"
                    );
                    assert_eq!(row.refills, row.misses, "row {group}: {row:?}");
                    assert_eq!(row.refill_cycles > 0, row.refills > 0, "row {group}: {row:?}");
                }
            }
            Reading::NotCompiledIn(gate) => {
                assert!(!CACHE);
                assert_eq!(gate, "unified-cache-measure");
            }
        }
    }
}
