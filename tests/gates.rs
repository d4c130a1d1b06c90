//! The counters of the telemetry gates: compiled in, each counts exactly what it says, summed over
//! all threads, those that have ended included; not compiled in, each says so and is no number.
//!
//! `cargo test --features telemetry` runs the exact half; every build runs the other.

// Which gates are compiled in is a constant of the build, and what the test is about.
#![allow(clippy::assertions_on_constants)]

mod common;

use common::child;
use common::random::Random;
use hakmem::{Hakmem, Reading, raw, stats};
use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;

const CLASS_STATS: bool = cfg!(feature = "tiny-class-stats");
const FREE_CALLS: bool = cfg!(feature = "tiny-free-calls");
const CACHE: bool = cfg!(feature = "unified-cache-measure");

const GROUPS: usize = 8;
/// The row of the mid tier in the counts of the unified cache.
const MID: usize = GROUPS;

/// What was asked of the heap, by group C0..C7 and the mid tier.
#[derive(Clone, Copy, Default)]
struct Asked {
    allocations: [u64; GROUPS + 1],
    frees: [u64; GROUPS + 1],
}

fn group(size: usize) -> usize {
    match size {
        0..=8 => 0,
        9..=1024 => (size - 1).ilog2() as usize - 2,
        _ => MID,
    }
}

impl Asked {
    fn malloc(&mut self, size: usize) -> *mut u8 {
        self.allocations[group(size)] += 1;
        raw::malloc(size)
    }

    fn free(&mut self, at: *mut u8, size: usize) {
        self.frees[group(size)] += 1;
        // SAFETY: a block of this size that the test holds, from `malloc`.
        unsafe { if size.is_multiple_of(2) { raw::free(at) } else { raw::free_sized(at, size) } }
    }

    fn add(&mut self, other: &Asked) {
        for row in 0..=GROUPS {
            self.allocations[row] += other.allocations[row];
            self.frees[row] += other.frees[row];
        }
    }

    /// Allocations and frees in turn, of all sizes that the thread cache serves.
    fn work(&mut self, seed: u64, steps: usize) {
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
    fn agrees(&self) {
        let stats = stats();
        let tiny_frees: u64 = self.frees[..GROUPS].iter().sum();
        match stats.tiny_free_calls {
            Reading::Value(calls) => assert_eq!(calls, tiny_frees, "tiny_free_calls"),
            Reading::NotCompiledIn(gate) => {
                assert!(!FREE_CALLS);
                assert_eq!(gate, "tiny-free-calls");
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

#[test]
fn one_thread_is_counted_exactly() {
    child::run("one_thread_is_counted_exactly", "", &[], || {
        let mut asked = Asked::default();
        asked.agrees();
        for size in [1, 8, 9, 16, 17, 32, 64, 65, 128, 256, 257, 512, 1000, 1024, 1025, 5000] {
            let at = asked.malloc(size);
            asked.agrees();
            asked.free(at, size);
            asked.agrees();
        }
        asked.work(1, 50_000);
        asked.agrees();
        // Neither null nor what lies above the thread cache is counted.
        // SAFETY: null, and blocks that the test holds.
        unsafe {
            raw::free(std::ptr::null_mut());
            for size in [300 << 10, 2 << 20, 5 << 20] {
                raw::free(raw::malloc(size));
                raw::free(raw::calloc(1, size));
            }
        }
        raw::collect();
        asked.agrees();
    })
    .is_quiet();
}

#[test]
fn threads_are_summed_also_after_their_end() {
    child::run("threads_are_summed_also_after_their_end", "", &[], || {
        let mut total = Asked::default();
        for round in 0..4u64 {
            // More threads than before, then fewer: heaps are made, parked, taken over.
            let threads: Vec<_> = (0..=(round * 3) % 7)
                .map(|seed| {
                    std::thread::spawn(move || {
                        let mut asked = Asked::default();
                        asked.work(seed + 10 * round, 5000);
                        asked
                    })
                })
                .collect();
            for thread in threads {
                total.add(&thread.join().expect("a thread"));
            }
            total.agrees();
        }
        total.work(99, 5000);
        total.agrees();
    })
    .is_quiet();
}

#[test]
fn blocks_freed_by_another_thread_count_once() {
    child::run("blocks_freed_by_another_thread_count_once", "", &[], || {
        let mut asked = Asked::default();
        let blocks: Vec<(usize, usize)> =
            (0..5000).map(|n| (asked.malloc(n % 1500).expose_provenance(), n % 1500)).collect();
        let theirs = std::thread::spawn(move || {
            let mut asked = Asked::default();
            for (address, size) in blocks {
                asked.free(std::ptr::with_exposed_provenance_mut(address), size);
            }
            asked
        });
        asked.add(&theirs.join().expect("the thread"));
        raw::collect();
        asked.agrees();
    })
    .is_quiet();
}

#[test]
fn rust_calls_and_zeroed_blocks_are_counted() {
    child::run("rust_calls_and_zeroed_blocks_are_counted", "", &[], || {
        let heap = Hakmem::new();
        let mut asked = Asked::default();
        // Blocks that were never handed out need no clearing, but are counted.
        for size in [4096, 5000, 12_000, 12_000, 12_000, 200_000] {
            asked.allocations[group(size)] += 1;
            assert!(!raw::calloc(size, 1).is_null());
            asked.agrees();
        }
        for round in 0..200 {
            for size in [1usize, 24, 100, 777, 1024, 2000, 4096, 10_000, 100_000] {
                let layout = Layout::from_size_align(size, 8).expect("valid");
                // SAFETY: sizes are not zero; each block is freed once, as it was made.
                unsafe {
                    let at =
                        if round % 2 == 0 { heap.alloc(layout) } else { heap.alloc_zeroed(layout) };
                    // Within its class, a block stays where it is: no call is counted.
                    let same = heap.realloc(at, layout, size);
                    assert_eq!(same, at);
                    heap.dealloc(same, layout);
                    raw::free(raw::calloc(1, size));
                }
                asked.allocations[group(size)] += 2;
                asked.frees[group(size)] += 2;
            }
        }
        asked.agrees();
    })
    .is_quiet();
}

/// Frees what a thread left behind, after the thread's heap has gone.
unsafe extern "C" fn free_late(note: *mut c_void) {
    // SAFETY: the value is a box of blocks that `leave` made.
    let (key, rounds, blocks) = *unsafe { Box::from_raw(note.cast::<Left>()) };
    if rounds > 0 {
        leave(key, rounds - 1, blocks);
        return;
    }
    for address in blocks {
        // SAFETY: blocks of this heap, each freed once.
        unsafe { raw::free(std::ptr::with_exposed_provenance_mut(address)) };
    }
}

type Left = (libc::pthread_key_t, usize, Vec<usize>);

fn leave(key: libc::pthread_key_t, rounds: usize, blocks: Vec<usize>) {
    let note: *mut Left = Box::into_raw(Box::new((key, rounds, blocks)));
    // SAFETY: the key exists; its destructor takes the box back.
    assert_eq!(unsafe { libc::pthread_setspecific(key, note.cast()) }, 0);
}

#[test]
fn frees_after_a_thread_has_lost_its_heap_are_counted() {
    child::run("frees_after_a_thread_has_lost_its_heap_are_counted", "", &[], || {
        let mut key = 0;
        // SAFETY: a valid place and a destructor.
        assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(free_late)) }, 0);
        let mut asked = Asked::default();
        for size in [10usize, 100, 1000] {
            asked.allocations[group(size)] += 500;
            asked.frees[group(size)] += 500;
            std::thread::spawn(move || {
                leave(key, 2, (0..500).map(|_| raw::malloc(size).expose_provenance()).collect());
            })
            .join()
            .expect("the thread");
        }
        asked.agrees();
        assert_eq!(common::walk().user(), 0);
    })
    .is_quiet();
}

#[test]
fn a_refill_is_counted_with_its_blocks() {
    child::run("a_refill_is_counted_with_its_blocks", "", &[], || {
        let mut asked = Asked::default();
        for _ in 0..16 {
            asked.malloc(64);
        }
        asked.agrees();
        if let Reading::Value(rows) = stats().class_groups {
            let row = rows[group(64)];
            // Half of the first capacity of 32, one of them handed out at once.
            assert_eq!((row.misses, row.refilled_blocks, row.hits), (1, 16, 15));
        }
        if let Reading::Value(rows) = stats().unified_cache {
            assert_eq!((rows[group(64)].misses, rows[group(64)].refills), (1, 1));
        }
    })
    .is_quiet();
}

#[test]
fn readers_say_what_is_not_compiled_in() {
    let stats = stats();
    assert_eq!(stats.tiny_free_calls.value().is_some(), FREE_CALLS);
    assert_eq!(stats.class_groups.value().is_some(), CLASS_STATS);
    assert_eq!(stats.unified_cache.value().is_some(), CACHE);
    let (mut text, mut json) = (String::new(), String::new());
    stats.write_text(&mut text).expect("a string takes everything");
    stats.write_json(&mut json).expect("a string takes everything");
    for (gate, on) in [
        ("tiny-class-stats", CLASS_STATS),
        ("tiny-free-calls", FREE_CALLS),
        ("unified-cache-measure", CACHE),
    ] {
        assert_eq!(text.contains(&format!("not compiled in (feature {gate})")), !on, "{text}");
        assert_eq!(json.contains(&format!("\"{gate}\"")), !on, "{json}");
    }
    // One object, brackets in balance, no comma before a closing one.
    let depth = json.chars().fold(0i32, |depth, c| match c {
        '{' | '[' => depth + 1,
        '}' | ']' => depth - 1,
        _ => depth,
    });
    assert_eq!(depth, 0, "{json}");
    assert!(json.starts_with('{') && json.ends_with('}'));
    assert!(!json.contains(",}") && !json.contains(",]") && !json.contains(",,"), "{json}");
}
