//! What comes to slabs: `tiny-free-stats`, `remote-target-stats`.

use super::asked::group;
use super::child;
use super::{Blocks, FREE_STATS, REMOTE};
use hakmem::{Reading, raw, stats};
use std::collections::BTreeSet;

/// Half of the first capacity of a tiny magazine: what the first refill brings.
const BATCH: usize = 16;

/// What `tiny-free-stats` says of the group of a size: local and remote.
fn slab_frees(size: usize) -> (u64, u64) {
    match stats().slab_frees {
        Reading::Value(rows) => (rows[group(size)].local, rows[group(size)].remote),
        Reading::NotCompiledIn(gate) => panic!("{gate} is compiled in"),
    }
}

#[test]
fn blocks_that_leave_a_magazine_are_counted_not_those_that_are_freed() {
    child::run(
        "slabs::blocks_that_leave_a_magazine_are_counted_not_those_that_are_freed",
        "",
        &[],
        || {
            let blocks = Blocks::malloc(64, BATCH);
            if !FREE_STATS {
                assert_eq!(stats().slab_frees, Reading::NotCompiledIn("tiny-free-stats"));
                return;
            }
            blocks.free();
            assert_eq!(slab_frees(64), (0, 0), "the magazine has them");
            raw::collect();
            assert_eq!(slab_frees(64), (BATCH as u64, 0));
            // Sizes of other groups, and the mid tier, don't count here.
            for size in [8, 65, 5000] {
                Blocks::malloc(size, 4).free();
            }
            raw::collect();
            assert_eq!(slab_frees(64), (BATCH as u64, 0));
            // All that the first refill of another class brings goes to another thread.
            Blocks::malloc(300, BATCH).free_elsewhere();
            assert_eq!(slab_frees(300), (0, BATCH as u64));
            raw::collect();
            assert_eq!(slab_frees(300), (0, BATCH as u64), "a drain is no free");
            assert_eq!(slab_frees(64), (BATCH as u64, 0));
        },
    )
    .is_quiet();
}

#[test]
fn threads_add_up_when_their_heaps_are_emptied() {
    const THREADS: u64 = 5;
    child::run("slabs::threads_add_up_when_their_heaps_are_emptied", "", &[], || {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| std::thread::spawn(|| Blocks::malloc(200, BATCH).free()))
            .collect();
        for thread in threads {
            thread.join().expect("the thread");
        }
        // Parked heaps keep their magazines until somebody empties them. A thread that took a
        // parked heap over found its blocks there, so heaps count, not threads.
        let heaps = stats().heaps as u64;
        raw::collect();
        if FREE_STATS {
            assert_eq!(slab_frees(200), (heaps * BATCH as u64, 0));
        }
    })
    .is_quiet();
}

#[test]
fn an_overflow_sends_the_oldest_half() {
    child::run("slabs::an_overflow_sends_the_oldest_half", "", &[], || {
        // Large enough that one-sided traffic does not grow its magazine: 32 blocks.
        let blocks = Blocks::malloc(1024, 40);
        if !FREE_STATS {
            return;
        }
        let mut first = blocks;
        let rest = Blocks(first.0.split_off(33));
        // In the thread that frees there was no refill: no growth either.
        let there = std::thread::spawn(move || {
            first.free();
            assert_eq!(slab_frees(1024), (0, 16), "the 33rd found it full");
            rest.free();
            assert_eq!(slab_frees(1024), (0, 16));
            raw::collect();
            assert_eq!(slab_frees(1024), (0, 40));
        });
        there.join().expect("the thread");
    })
    .is_quiet();
}

#[test]
fn queues_are_counted_with_their_slabs_and_blocks() {
    child::run("slabs::queues_are_counted_with_their_slabs_and_blocks", "", &[], || {
        if !REMOTE {
            assert_eq!(stats().remote_queues, Reading::NotCompiledIn("remote-target-stats"));
            return;
        }
        let rows = || stats().remote_queues.value().expect("compiled in");
        let mut wanted = [(0u64, 0u64, 0u64); 8];
        for (size, count) in [(64, 10), (64, 1500), (1000, 400), (64, 5000), (48, 30_000), (100, 1)]
        {
            let blocks = Blocks::malloc(size, count);
            let slabs = blocks.0.iter().map(|at| at.addr() >> 16).collect::<BTreeSet<_>>().len();
            blocks.free_elsewhere();
            raw::collect();
            // A row for 1, 2, 3..4, 5..8, ... slabs.
            let row = (slabs.next_power_of_two().ilog2() as usize).min(7);
            let (drains, in_all, came) = wanted[row];
            wanted[row] = (drains + 1, in_all + slabs as u64, came + count as u64);
            let found = rows().map(|row| (row.drains, row.slabs, row.blocks));
            assert_eq!(found, wanted, "{count} blocks of {size} bytes in {slabs} slabs");
        }
        // Nothing waits: nothing is counted.
        raw::collect();
        assert_eq!(rows().map(|row| (row.drains, row.slabs, row.blocks)), wanted);
    })
    .is_quiet();
}
