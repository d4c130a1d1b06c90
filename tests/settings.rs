//! Every setting is observed by what the heap does, not by what it says it does. Each case runs in
//! a child with the variable set.

mod common;

use common::child::{self, complains};
use common::memory::{flags_of, resident};
use common::work::{
    activity, batch, came_back, filled, free, huge_by, kept_of_64, left_after, pages,
};
use common::{MIB, SANITIZED, walk};
use hakmem::raw;
use std::time::Duration;

#[test]
fn bigcache_off_gives_large_blocks_back() {
    let test = "bigcache_off_gives_large_blocks_back";
    for (name, value) in [("HAKMEM_BIGCACHE", "off"), ("HAKMEM_MODE", "minimal")] {
        child::run(test, name, &[(name, value)], || {
            let at = filled(5 * MIB);
            free(at);
            assert_eq!(pages(at, 5 * MIB), 0, "its pages are gone at once");
            assert_eq!(hakmem::stats().cached_bytes, 0);
        })
        .is_quiet();
    }
    child::run(test, "on", &[("HAKMEM_BIGCACHE", "on")], || {
        let at = filled(5 * MIB);
        free(at);
        assert!(pages(at, 5 * MIB) > 0, "its pages are kept");
        assert_eq!(raw::malloc(5 * MIB), at, "and serves the next request");
    })
    .is_quiet();
}

#[test]
fn batch_off_discards_at_once() {
    let test = "batch_off_discards_at_once";
    let freed_pages = || {
        let at = filled(MIB);
        free(at);
        pages(at, MIB)
    };
    let variables = |batch| [("HAKMEM_BIGCACHE", "off"), ("HAKMEM_BATCH", batch)];
    child::run(test, "off", &variables("off"), || assert_eq!(freed_pages(), 0)).is_quiet();
    child::run(test, "on", &variables("on"), || {
        assert_eq!(freed_pages(), MIB / 4096, "pages wait for the next purge");
        assert!(hakmem::stats().cached_bytes >= MIB);
    })
    .is_quiet();
}

#[test]
fn free_policy_says_how_long_a_block_is_kept() {
    let test = "free_policy_says_how_long_a_block_is_kept";
    let variables = |policy| [("HAKMEM_FREE_POLICY", policy), ("HAKMEM_DECAY_MS", "100")];
    let all = MIB / 4096;
    child::run(test, "keep", &variables("keep"), || assert_eq!(left_after(8.0, false), all))
        .is_quiet();
    child::run(test, "batch", &variables("batch"), || assert_eq!(left_after(8.0, true), 0))
        .is_quiet();
    child::run(test, "cold", &variables("adaptive"), || assert_eq!(left_after(3.0, false), 0))
        .is_quiet();
    let slow = [("HAKMEM_FREE_POLICY", "adaptive"), ("HAKMEM_DECAY_MS", "1000")];
    child::run(test, "hot", &slow, || {
        // Four periods of a second, and twelve quarters of one until it is but warm. On a machine that
        // takes that long to look nothing is told, so it looks again.
        let left = (0..20).find_map(|_| {
            let start = std::time::Instant::now();
            let left = left_after(15.0, true);
            (start.elapsed() < Duration::from_millis(2500)).then_some(left)
        });
        assert!(left.is_none_or(|left| left == all), "a hot block is kept for four periods");
    })
    .is_quiet();
    child::run(test, "hot and old", &variables("adaptive"), || {
        assert_eq!(left_after(12.0, true), 0, "but not for ever");
    })
    .is_quiet();
    child::run(test, "batch is no hot", &variables("batch"), || {
        let at = filled(5 * MIB);
        free(at);
        std::thread::sleep(Duration::from_millis(150));
        activity();
        std::thread::sleep(Duration::from_millis(150));
        activity();
        // A slab of what is active may lie there now.
        assert!(pages(at, 5 * MIB) < 64, "long runs age as well");
    })
    .is_quiet();
}

#[test]
fn decay_returns_small_blocks_by_later_activity() {
    let test = "decay_returns_small_blocks_by_later_activity";
    child::run(test, "40", &[("HAKMEM_DECAY_MS", "40")], || {
        let returned = came_back();
        assert!(returned > 40 * MIB, "only {returned} of 50 MB came back by themselves");
    })
    .is_quiet();
    child::run(test, "an hour", &[("HAKMEM_DECAY_MS", "3600000")], || {
        let returned = came_back();
        assert!(returned < 5 * MIB, "{returned} bytes were returned long before their time");
    })
    .is_quiet();
}

#[test]
fn thp_says_whether_huge_pages_are_asked_for() {
    let test = "thp_says_whether_huge_pages_are_asked_for";
    fn flags(at: *mut u8) -> (bool, bool) {
        let flags = flags_of(at);
        let has = |flag: &str| flags.iter().any(|found| found == flag);
        (has("hg"), has("nh"))
    }
    child::run(test, "off", &[("HAKMEM_THP", "off")], || {
        let blocks: Vec<_> = (0..200).map(|_| filled(MIB)).collect();
        assert_eq!(flags(blocks[0]), (false, true));
        assert_eq!(flags(blocks[199]), (false, true));
    })
    .is_quiet();
    child::run(test, "on", &[("HAKMEM_THP", "on")], || {
        assert!(flags(filled(100)).0, "from the first block on");
    })
    .is_quiet();
    child::run(test, "auto", &[("HAKMEM_THP", "auto")], || {
        let first = filled(100);
        assert_eq!(flags(first), (false, true), "a small heap has small pages");
        // Small blocks: what is filled densely is worth huge pages.
        let blocks: Vec<_> = (0..100_000).map(|_| filled(1000)).collect();
        assert_eq!(flags(first), (false, true));
        assert!(flags(blocks[99_999]).0, "a large one asks for huge pages as it grows");
    })
    .is_quiet();
}

#[test]
fn tiny_max_class_moves_the_boundary_without_a_gap() {
    let test = "tiny_max_class_moves_the_boundary_without_a_gap";
    child::run(test, "batches", &[], || {
        assert_eq!((batch(200), batch(300), batch(512)), (15, 15, 15));
    })
    .is_quiet();
    child::run(test, "batches at 5", &[("HAKMEM_TINY_MAX_CLASS", "5")], || {
        // Up to 256 bytes as ever; above, few blocks at first, as in the mid tier.
        assert_eq!((batch(200), batch(300), batch(512)), (15, 3, 3));
    })
    .is_quiet();
    for group in 0..=7usize {
        let value = group.to_string();
        child::run(test, &value, &[("HAKMEM_TINY_MAX_CLASS", &value)], || {
            // Every size works, and wastes no more than it does elsewhere.
            for size in 1..=2048 {
                let at = filled(size);
                // SAFETY: ours.
                let usable = unsafe { raw::usable_size(at) };
                assert!(usable >= size && usable - size <= (size / 7).max(16), "{size}: {usable}");
                free(at);
            }
            // The cache grows all the same: after warming up, a working set of 500 blocks above
            // the boundary comes from the magazine, not from slabs.
            let mut blocks = Vec::new();
            for _ in 0..40 {
                blocks.extend((0..500).map(|_| raw::malloc(700)));
                blocks.drain(..).for_each(free);
            }
            let cached = walk().cached;
            blocks.extend((0..300).map(|_| raw::malloc(700)));
            assert_eq!(walk().cached, cached - 300, "the magazine holds a working set");
            blocks.drain(..).for_each(free);
        })
        .is_quiet();
    }
}

#[test]
fn mem_limit_keeps_the_heap_lean() {
    let test = "mem_limit_keeps_the_heap_lean";
    /// Fills 60 MiB of each of many sizes in turn, one after the other, and frees them: what each
    /// leaves in the caches adds up unless somebody looks.
    fn peak() -> usize {
        let before = resident();
        let mut peak = 0;
        for round in 0..12usize {
            let size = 3 * MIB + round * 700_000;
            let held: Vec<_> = (0..3).map(|_| filled(size)).collect();
            held.into_iter().for_each(free);
            let blocks: Vec<_> = (0..4000).map(|_| filled(500 + 333 * round)).collect();
            blocks.into_iter().for_each(free);
            // A tick is due after a quarter of 250 ms, on a clock whose steps may be of 10 ms.
            std::thread::sleep(Duration::from_millis(90));
            activity();
            peak = peak.max(resident().saturating_sub(before));
        }
        peak
    }
    if SANITIZED {
        return; // Shadow memory counts as resident, too.
    }
    // A worker may be looking after a heap just when this thread would.
    let with = |setting| [&[setting, ("HAKMEM_DECAY_MS", "250")], child::NO_WORKER].concat();
    child::run(test, "limited", &with(("HAKMEM_MEM_LIMIT", "16m")), || {
        let peak = peak();
        assert!(hakmem::stats().in_use_bytes < 17 * MIB);
        assert!(peak < 20 * MIB, "{peak} bytes stayed resident under a limit of 16 MiB");
    })
    .is_quiet();
    child::run(test, "without", &with(("HAKMEM_FREE_POLICY", "keep")), || {
        let peak = peak();
        assert!(peak > 30 * MIB, "the workload exceeds the limit if nothing holds it: {peak}");
    })
    .is_quiet();
    child::run(
        test,
        "diet ends",
        &[("HAKMEM_MEM_LIMIT", "32m"), ("HAKMEM_DECAY_MS", "40")],
        || {
            let held: Vec<_> = (0..20).map(|_| filled(3 * MIB)).collect();
            std::thread::sleep(Duration::from_millis(60));
            activity();
            assert!(hakmem::stats().diet, "over the budget");
            held.into_iter().for_each(free);
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(60));
                activity();
            }
            assert!(!hakmem::stats().diet, "well below it");
            let at = filled(5 * MIB);
            free(at);
            assert_eq!(raw::malloc(5 * MIB), at, "the cache works again");
        },
    )
    .is_quiet();
}

#[test]
fn prewarm_fills_every_tiny_magazine() {
    let test = "prewarm_fills_every_tiny_magazine";
    let cached_by_one_call = || {
        let at = raw::malloc(5000);
        let cached = walk().cached;
        free(at);
        cached
    };
    child::run(test, "off", &[], || assert!(cached_by_one_call() < 10)).is_quiet();
    child::run(test, "on", &[("HAKMEM_PREWARM", "on")], || {
        // 33 tiny classes, several blocks each.
        let cached = cached_by_one_call();
        assert!(cached >= 33 * 4, "{cached} blocks");
        for size in 1..=1024 {
            let before = walk().carved;
            let at = raw::malloc(size);
            assert_eq!(walk().carved, before, "{size} bytes had to be carved");
            free(at);
        }
    })
    .is_quiet();
    child::run(test, "by call", &[], || {
        raw::prewarm();
        assert!(walk().cached >= 33 * 4);
    })
    .is_quiet();
}

#[test]
fn large_threshold_decides_between_runs_and_mappings() {
    let test = "large_threshold_decides_between_runs_and_mappings";
    child::run(test, "default", &[], || {
        assert_eq!((huge_by(3 * MIB), huge_by(8 * MIB), huge_by(9 * MIB)), (0, 0, 1));
    })
    .is_quiet();
    child::run(test, "512k", &[("HAKMEM_LARGE_THRESHOLD", "512k")], || {
        assert_eq!((huge_by(512 << 10), huge_by(MIB)), (0, 1));
    })
    .is_quiet();
    child::run(test, "64m", &[("HAKMEM_LARGE_THRESHOLD", "64m")], || {
        assert_eq!((huge_by(3 * MIB), huge_by(64 * MIB), huge_by(65 * MIB)), (0, 0, 1));
    })
    .is_quiet();
}

#[test]
fn thread_cache_bytes_bounds_what_a_thread_keeps() {
    let test = "thread_cache_bytes_bounds_what_a_thread_keeps";
    child::run(test, "default", &[], || {
        let kept = kept_of_64();
        assert!(kept > 64 << 10, "{kept}");
    })
    .is_quiet();
    child::run(test, "none", &[("HAKMEM_THREAD_CACHE_BYTES", "0")], || {
        let kept = kept_of_64();
        assert!(kept <= 32 * 64, "{kept} bytes: magazines stay at their start");
    })
    .is_quiet();
}

#[test]
fn stats_and_config_are_printed_on_request() {
    let test = "stats_and_config_are_printed_on_request";
    let ended = child::run(test, "stats", &[("HAKMEM_STATS", "1")], || free(raw::malloc(1)));
    if !child::is_child() {
        ended.is_good();
        assert!(ended.stderr.contains("statistics") && ended.stderr.contains("in_use_bytes"));
    }
    let ended =
        child::run(test, "config", &[("HAKMEM_PRINT_CONFIG", "1")], || free(raw::malloc(1)));
    if !child::is_child() {
        ended.is_good();
        assert!(ended.stderr.contains("HAKMEM_BIGCACHE"), "{ended:#?}");
    }
    child::run(test, "neither", &[], || free(raw::malloc(1))).is_quiet();
}

#[test]
fn bad_values_get_one_line_and_the_default() {
    let test = "bad_values_get_one_line_and_the_default";
    let cases: &[(&str, &str, &[&str])] = &[
        ("HAKMEM_BIGCACHE", "perhaps", &["HAKMEM_BIGCACHE=perhaps", "off, on", "using on"]),
        ("HAKMEM_MODE", "quick", &["HAKMEM_MODE=quick", "balanced", "using balanced"]),
        ("HAKMEM_TINY_MAX_CLASS", "8", &["from 0 to 7", "using 7"]),
        ("HAKMEM_TINY_MAX_CLASS", "-1", &["from 0 to 7"]),
        ("HAKMEM_MEM_LIMIT", "12q", &["suffixes k, m, g"]),
        ("HAKMEM_MEM_LIMIT", "99999999999999999999g", &["suffixes"]),
        ("HAKMEM_DECAY_MS", "", &["HAKMEM_DECAY_MS="]),
        ("HAKMEM_NONSENSE", "1", &["HAKMEM_NONSENSE is not a setting", "HAKMEM_PRINT_CONFIG"]),
        ("HAKMEM_THP", "\u{1b}[31mred", &["HAKMEM_THP=?[31mred", "off, auto, on"]),
    ];
    for (name, value, words) in cases {
        let case = format!("{name}={value}");
        let ended = child::run(test, &case.replace('\u{1b}', "?"), &[(name, value)], || {
            let at = filled(5 * MIB);
            free(at);
            assert_eq!(raw::malloc(5 * MIB), at, "the cache is on, as by default");
        });
        complains(&ended, words);
    }
    if !cfg!(feature = "elo") {
        for (name, value) in [("HAKMEM_ELO", "frozen"), ("HAKMEM_ELO_FILE", "/tmp/ratings")] {
            let ended = child::run(test, name, &[(name, value)], || free(raw::malloc(1)));
            complains(&ended, &[name, value, "not compiled in; using"]);
        }
    }
    let long = "x".repeat(5000);
    let ended = child::run(test, "long", &[("HAKMEM_THP", &long)], || free(raw::malloc(1)));
    complains(&ended, &["HAKMEM_THP=xxxx", "off, auto, on"]);
}

#[test]
fn old_names_work_and_say_so() {
    let test = "old_names_work_and_say_so";
    let ended = child::run(test, "cache", &[("HAKMEM_BIG_CACHE", "off")], || {
        let at = filled(5 * MIB);
        free(at);
        assert_eq!(pages(at, 5 * MIB), 0);
    });
    complains(&ended, &["HAKMEM_BIG_CACHE is an old name", "HAKMEM_BIGCACHE"]);
    let ended = child::run(test, "batch", &[("HAKMEM_BATCH_MADVISE", "off")], || {
        free(raw::malloc(1));
    });
    complains(&ended, &["HAKMEM_BATCH_MADVISE is an old name", "HAKMEM_BATCH"]);
}

#[test]
fn a_single_variable_overrides_the_mode() {
    let test = "a_single_variable_overrides_the_mode";
    let both = [("HAKMEM_MODE", "minimal"), ("HAKMEM_BIGCACHE", "on")];
    child::run(test, "cache", &both, || {
        let at = filled(MIB);
        free(at);
        assert_ne!(pages(at, MIB), 0, "the cache is on in spite of the mode");
        assert_eq!(raw::malloc(MIB), at);
    })
    .is_quiet();
}

#[test]
fn settings_change_while_the_program_runs() {
    let test = "settings_change_while_the_program_runs";
    let ended = child::run(test, "", &[], || {
        let at = filled(5 * MIB);
        free(at);
        assert_eq!(hakmem::set_config("BIGCACHE", "off"), Ok(()));
        raw::collect();
        let at = filled(5 * MIB);
        free(at);
        assert_eq!(pages(at, 5 * MIB), 0);
        assert_eq!(hakmem::set_config("HAKMEM_MODE", "learning"), Ok(()));
        let at = filled(5 * MIB);
        free(at);
        assert_eq!(raw::malloc(5 * MIB), at);
        let mut table = String::new();
        hakmem::print_config(&mut table).expect("a string takes everything");
        let row = table.lines().find(|line| line.contains("HAKMEM_MODE")).expect("a row");
        assert!(row.contains("learning") && row.contains("call"), "{row}");
        let row = table.lines().find(|line| line.contains("HAKMEM_BIGCACHE")).expect("a row");
        assert!(row.contains("on") && row.contains("mode"), "{row}");
    });
    // What the mode asks for and this build has not is said, once.
    if cfg!(feature = "evolution") {
        ended.is_quiet();
    } else {
        complains(&ended, &["HAKMEM_MODE=learning asks for", "EVOLUTION=learn", "not compiled in"]);
    }
}
