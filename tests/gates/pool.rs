//! The mid tier's own pool: `pool-hotbox-v2`, and its twelve counters, `pool-hotbox-v2-stats`.

use super::child;
use super::{Blocks, FRONT, POOL, POOL_STATS};
use crate::common::{HARDENED, walk};
use hakmem::{PoolHotbox, Reading, raw, stats};

/// A size in the middle of what it covers: 16 blocks at first, 32 at most.
const SIZE: usize = 5000;

/// Open, in a build that has it.
const OPEN: &[(&str, &str)] = if POOL { &[("HAKMEM_POOL_HOTBOX", "on")] } else { &[] };

fn counted() -> PoolHotbox {
    stats().pool_hotbox.value().expect("compiled in")
}

/// Whether what is freed is known to reach the pool at once, and nothing else caches this size.
fn exact() -> bool {
    let layers = stats().layers;
    let mut others = layers.iter().filter(|layer| layer.name != "pool-hotbox-v2");
    POOL_STATS && !HARDENED && !others.any(|layer| layer.compiled_in && layer.covers[8])
}

#[test]
fn each_counter_counts_what_it_says() {
    child::run_with_layers("pool::each_counter_counts_what_it_says", "", OPEN, || {
        if !POOL_STATS {
            let missing = Reading::NotCompiledIn("pool-hotbox-v2-stats");
            assert_eq!(stats().pool_hotbox, missing);
            return;
        }
        assert_eq!(counted(), PoolHotbox::default());
        if !exact() {
            return;
        }
        // Fresh blocks of this size are carved one by one.
        let blocks = Blocks::malloc(SIZE, 40);
        let brought = PoolHotbox { refills: 40, refilled_blocks: 40, ..Default::default() };
        assert_eq!(counted(), brought);
        // The 17th goes to the magazine, and makes room for 32; the 34th hands over what that takes.
        blocks.free();
        let taken = PoolHotbox { frees: 39, overflows: 1, spills: 1, spilled_blocks: 7, ..brought };
        assert_eq!(counted(), taken);
        // 32 from the pool, then eight from the magazine.
        let blocks = Blocks::malloc(SIZE, 40);
        let again = PoolHotbox { hits: 39, draws: 1, drawn_blocks: 8, ..taken };
        assert_eq!(counted(), again);
        // Sizes below and above are not its business.
        Blocks::malloc(2048, 50).free();
        Blocks::malloc(33 << 10, 50).free();
        assert_eq!(counted(), again);
        hakmem::set_config("POOL_HOTBOX", "off").expect("a setting");
        raw::collect();
        let one_more = Blocks::malloc(SIZE, 1);
        assert_eq!(counted(), PoolHotbox { closed: 1, ..again });
        one_more.free();
        blocks.free();
        raw::collect();
        assert_eq!((walk().user(), walk().cached), (0, 0));
    })
    .is_quiet();
}

#[test]
fn threads_add_up_also_after_their_end() {
    child::run_with_layers("pool::threads_add_up_also_after_their_end", "", OPEN, || {
        const ROUNDS: u64 = 100;
        let work = || (0..ROUNDS).for_each(|_| Blocks::malloc(SIZE, 8).free());
        for _ in 0..2 {
            let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(work)).collect();
            threads.into_iter().for_each(|thread| thread.join().expect("the thread"));
        }
        if !exact() {
            return;
        }
        let pool = counted();
        let all = 2 * 3 * ROUNDS * 8;
        assert_eq!((pool.hits + pool.draws + pool.refills, pool.frees), (all, all), "{pool:?}");
        if FRONT {
            let layers = stats().layers;
            let layer = layers.iter().find(|layer| layer.name == "pool-hotbox-v2");
            let served = layer.expect("listed").served;
            assert_eq!(served, Reading::Value(pool.hits + pool.draws));
        }
    })
    .is_quiet();
}

#[test]
fn idle_periods_are_counted() {
    let quick = [OPEN, &[("HAKMEM_DECAY_MS", "40")]].concat();
    child::run_with_layers("pool::idle_periods_are_counted", "", &quick, || {
        Blocks::malloc(SIZE, 8).free();
        if !exact() {
            return;
        }
        assert_eq!(counted().idle, 0);
        // Ticks come with slow paths, whatever the size.
        while counted().idle == 0 {
            Blocks::malloc(64, 50_000).free();
        }
    })
    .is_quiet();
}

#[test]
fn it_is_closed_until_it_is_asked_for() {
    child::run_with_layers("pool::it_is_closed_until_it_is_asked_for", "", &[], || {
        Blocks::malloc(SIZE, 100).free();
        if POOL_STATS {
            let pool = counted();
            assert_eq!((pool.hits, pool.refills, pool.frees), (0, 0, 0), "{pool:?}");
            assert!(pool.closed > 0, "{pool:?}");
        }
        let opened = hakmem::set_config("POOL_HOTBOX", "on");
        assert_eq!(opened.is_ok(), POOL, "{opened:?}");
    })
    .is_quiet();
}
