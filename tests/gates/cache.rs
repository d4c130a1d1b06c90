//! The thread cache: `tiny-class-stats`, `tiny-free-calls`, `c7-free-count`, `unified-cache-measure`,
//! and the sum of `front-metrics`.

use super::asked::{Asked, MID, group};
use super::{LEGACY_REFILL, child};
use crate::common;
use hakmem::{Hakmem, Reading, raw, stats};
use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;

#[test]
fn one_thread_is_counted_exactly() {
    child::run("cache::one_thread_is_counted_exactly", "", &[], || {
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
        if stats().served.value().is_some() {
            // Blocks above the thread cache are requests, too.
            asked.allocations[MID] += 6;
            let served = stats().served.value().expect("compiled in");
            assert_eq!(served.total(), asked.allocations.iter().sum::<u64>(), "{served:?}");
            return;
        }
        asked.agrees();
    })
    .is_quiet();
}

#[test]
fn threads_are_summed_also_after_their_end() {
    child::run("cache::threads_are_summed_also_after_their_end", "", &[], || {
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
    child::run("cache::blocks_freed_by_another_thread_count_once", "", &[], || {
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
    child::run("cache::rust_calls_and_zeroed_blocks_are_counted", "", &[], || {
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
    child::run("cache::frees_after_a_thread_has_lost_its_heap_are_counted", "", &[], || {
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
    child::run("cache::a_refill_is_counted_with_its_blocks", "", &[], || {
        let mut asked = Asked::default();
        for _ in 0..16 {
            asked.malloc(64);
        }
        asked.agrees();
        if let Reading::Value(rows) = stats().class_groups {
            let row = rows[group(64)];
            // Half of the first capacity of 32, one of them handed out at once.
            let wanted = if LEGACY_REFILL { (16, 16, 0) } else { (1, 16, 15) };
            assert_eq!((row.misses, row.refilled_blocks, row.hits), wanted);
        }
        if let Reading::Value(rows) = stats().unified_cache {
            let wanted = if LEGACY_REFILL { (16, 16) } else { (1, 1) };
            assert_eq!((rows[group(64)].misses, rows[group(64)].refills), wanted);
        }
    })
    .is_quiet();
}
