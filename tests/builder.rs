//! Settings that a program has built in (`Hakmem::with`): each is observed by what the heap does, and
//! variables come over them. Each case runs in a child, whose heap begins with them.

mod common;

use common::child::{self, complains};
use common::memory::{flags_of, resident_pages};
use common::ratings::{Scratch, ratings};
use common::work::{
    ROUND, activity, batch, came_back, churn, config_row, filled, free, huge_by, kept_of_64,
    left_after, pages, threads,
};
use common::{MIB, SANITIZED, walk};
use hakmem::{
    Config, EloState, Evolution, FreePolicy, Hakmem, Mode, StatsSignal, Step, Thp, Worker, raw,
};
use std::alloc::{GlobalAlloc, Layout};
use std::time::{Duration, Instant};

const ELO: bool = cfg!(feature = "elo");
const EVOLUTION: bool = cfg!(feature = "evolution");
const ENGINE: bool = cfg!(feature = "intelligence-engine");
const WORKER: bool = cfg!(feature = "background-worker");

const NEW: Config = Config::new();

/// The heap begins with these settings: its first allocation.
fn begin(config: Config) {
    let (heap, layout) = (Hakmem::with(config), Layout::new::<u64>());
    // SAFETY: a block of that layout, given back at once.
    unsafe { heap.dealloc(heap.alloc(layout), layout) };
}

/// Runs `body` in a child whose heap begins with these settings, and is to complain of nothing.
#[track_caller]
fn with(test: &str, case: &str, config: Config, body: impl FnOnce()) {
    child::run(test, case, &[], || {
        begin(config);
        body();
    })
    .is_quiet();
}

/// As [`with`], for a setting of a gate: without it, one line says so.
#[track_caller]
fn with_gate(gate: bool, test: &str, case: &str, config: Config, body: impl FnOnce()) {
    let ended = child::run(test, case, &[], || {
        begin(config);
        body();
    });
    if gate {
        ended.is_quiet();
    } else {
        complains(&ended, &["the program's own", "not compiled in; using"]);
    }
}

/// Whether a freed block of 5 MiB is kept.
fn keeps_large_blocks() -> bool {
    let at = filled(5 * MIB);
    free(at);
    resident_pages(at, 5 * MIB).is_some_and(|pages| pages != 0)
}

/// Value, origin and whether it is compiled in, as `print_config` has them.
fn shown(name: &str) -> Vec<String> {
    config_row(name).split_whitespace().skip(2).map(str::to_owned).collect()
}

#[test]
fn large_blocks_are_kept_and_returned_as_built_in() {
    let test = "large_blocks_are_kept_and_returned_as_built_in";
    with(test, "kept", NEW.big_cache(true), || assert!(keeps_large_blocks()));
    with(test, "not kept", NEW.big_cache(false), || {
        assert!(!keeps_large_blocks());
        assert_eq!(hakmem::stats().cached_bytes, 0);
    });
    let freed_pages = || {
        let at = filled(MIB);
        free(at);
        pages(at, MIB)
    };
    with(test, "at once", NEW.big_cache(false).batch(false), || assert_eq!(freed_pages(), 0));
    with(test, "together", NEW.big_cache(false).batch(true), || {
        assert_eq!(freed_pages(), MIB / 4096);
    });
    if SANITIZED {
        return; // Many times slower, and `settings` has looked at each policy.
    }
    let soon = NEW.decay_ms(100);
    with(test, "for good", soon.free_policy(FreePolicy::Keep), || {
        assert_eq!(left_after(8.0, false), MIB / 4096);
    });
    with(test, "for a while", soon.free_policy(FreePolicy::Batch), || {
        assert_eq!(left_after(8.0, true), 0);
    });
}

#[test]
fn small_blocks_are_cached_and_returned_as_built_in() {
    let test = "small_blocks_are_cached_and_returned_as_built_in";
    if !SANITIZED {
        with(test, "soon", NEW.decay_ms(40), || {
            let returned = came_back();
            assert!(returned > 40 * MIB, "only {returned} of 50 MB came back by themselves");
        });
        with(test, "in an hour", NEW.decay_ms(3_600_000), || {
            let returned = came_back();
            assert!(returned < 5 * MIB, "{returned} bytes were returned long before their time");
        });
    }
    with(test, "no growth", NEW.thread_cache_bytes(0), || {
        let kept = kept_of_64();
        assert!(kept <= 32 * 64, "{kept} bytes: magazines stay at their start");
    });
    with(test, "growth", NEW.thread_cache_bytes(8 * MIB), || {
        let kept = kept_of_64();
        assert!(kept > 64 << 10, "{kept}");
    });
    with(test, "warm", NEW.prewarm(true), || {
        let cached = walk().cached;
        assert!(cached >= 33 * 4, "{cached} blocks");
    });
    with(test, "cold", NEW.prewarm(false), || assert!(walk().cached < 40));
    // Above 256 bytes few blocks at first, as in the mid tier.
    with(test, "tiny tier", NEW.tiny_max_class(5), || {
        assert_eq!((batch(200), batch(300), batch(512)), (15, 3, 3));
    });
}

#[test]
fn the_memory_of_a_large_heap_is_as_built_in() {
    let test = "the_memory_of_a_large_heap_is_as_built_in";
    let huge_page = |at| {
        let flags = flags_of(at);
        let has = |flag: &str| flags.iter().any(|found| found == flag);
        (has("hg"), has("nh"))
    };
    with(test, "small pages", NEW.thp(Thp::Off), || {
        let blocks: Vec<_> = (0..200).map(|_| filled(MIB)).collect();
        assert_eq!(huge_page(blocks[199]), (false, true));
    });
    with(test, "huge pages", NEW.thp(Thp::On), || assert!(huge_page(filled(100)).0));
    with(test, "as it grows", NEW.thp(Thp::Auto), || {
        assert_eq!(huge_page(filled(100)), (false, true));
    });
    with(test, "threshold", NEW.large_threshold(512 << 10), || {
        assert_eq!((huge_by(512 << 10), huge_by(MIB)), (0, 1));
    });
    with(test, "diet", NEW.mem_limit(32 * MIB).decay_ms(40), || {
        let _held: Vec<_> = (0..20).map(|_| filled(3 * MIB)).collect();
        std::thread::sleep(Duration::from_millis(60));
        activity();
        assert!(hakmem::stats().diet, "over the budget");
    });
}

#[test]
fn what_is_printed_is_as_built_in() {
    let test = "what_is_printed_is_as_built_in";
    let printed = |case, config, word: &str| {
        let ended = child::run(test, case, &[], || {
            begin(config);
            // SAFETY: a signal to this thread, whose handler prints.
            assert!(case != "signal" || unsafe { libc::raise(libc::SIGUSR1) } == 0);
        });
        if !child::is_child() {
            ended.is_good();
            assert_eq!(ended.stderr.matches(word).count(), 1, "{case}: {ended:#?}");
        }
    };
    printed("stats", NEW.stats(true), "in_use_bytes");
    printed("signal", NEW.stats_signal(StatsSignal::Usr1), "in_use_bytes");
    printed("config", NEW.print_config(true), "HAKMEM_PRINT_CONFIG ");
    with(test, "nothing", NEW.stats(false).print_config(false), || ());
}

#[test]
fn a_mode_that_is_built_in_runs() {
    let test = "a_mode_that_is_built_in_runs";
    with(test, "minimal", NEW.mode(Mode::Minimal), || {
        assert!(!keeps_large_blocks());
        assert_eq!(shown("MODE"), ["minimal", "builder", "yes"]);
        assert_eq!(shown("BIGCACHE"), ["off", "mode", "yes"]);
    });
    with(test, "but", NEW.big_cache(true).mode(Mode::Minimal).thp(Thp::On), || {
        let at = filled(MIB);
        free(at);
        let kept = resident_pages(at, MIB).is_some_and(|pages| pages != 0);
        assert!(kept, "a single setting departs from the mode");
        assert_eq!(shown("BIGCACHE"), ["on", "builder", "yes"]);
        assert_eq!(shown("THP"), ["on", "builder", "yes"]);
        assert_eq!(shown("BATCH"), ["off", "mode", "yes"]);
        assert_eq!(shown("DECAY_MS"), ["250", "default", "yes"]);
    });
    // What a mode lacks is said as for a variable.
    let ended = child::run(test, "research", &[], || {
        begin(NEW.mode(Mode::Research));
        assert!(keeps_large_blocks());
    });
    if !child::is_child() {
        ended.is_good();
        assert!(ended.stderr.contains("in_use_bytes"), "it prints its statistics: {ended:#?}");
        assert_eq!(
            ended.stderr.contains("HAKMEM_MODE=research asks for"),
            !ended.lines().is_empty()
        );
        assert_eq!(ended.stderr.contains("EVOLUTION=canary"), !EVOLUTION, "{ended:#?}");
    }
    with_gate(cfg!(feature = "auto-mode"), test, "auto", NEW.mode(Mode::Auto), || {
        let mode = if cfg!(feature = "auto-mode") { "auto" } else { "balanced" };
        assert_eq!(shown("MODE")[0], mode);
    });
}

#[test]
fn variables_come_over_what_is_built_in() {
    let test = "variables_come_over_what_is_built_in";
    let run = |case, variables: &[(&str, &str)], config, body: fn()| {
        child::run(test, case, variables, || {
            begin(config);
            body();
        })
    };
    run("one", &[("HAKMEM_BIGCACHE", "on")], NEW.big_cache(false).thp(Thp::Off), || {
        assert!(keeps_large_blocks());
        assert_eq!(shown("BIGCACHE"), ["on", "variable", "yes"]);
        assert_eq!(shown("THP"), ["off", "builder", "yes"]);
    })
    .is_quiet();
    let mode = [("HAKMEM_MODE", "minimal")];
    run("mode", &mode, NEW.mode(Mode::Fast).big_cache(true).decay_ms(7), || {
        assert!(!keeps_large_blocks(), "a mode brings its values along");
        assert_eq!(shown("MODE"), ["minimal", "variable", "yes"]);
        assert_eq!(shown("BIGCACHE"), ["off", "mode", "yes"]);
        assert_eq!(shown("DECAY_MS"), ["7", "builder", "yes"]);
    })
    .is_quiet();
    let bad = [("HAKMEM_BIGCACHE", "perhaps")];
    let ended = run("bad", &bad, NEW.big_cache(false), || assert!(!keeps_large_blocks()));
    complains(&ended, &["HAKMEM_BIGCACHE=perhaps", "off, on", "using off"]);
    run("call", &[], NEW.big_cache(false), || {
        assert_eq!(hakmem::set_config("BIGCACHE", "on"), Ok(()));
        assert!(keeps_large_blocks());
        assert_eq!(shown("BIGCACHE"), ["on", "call", "yes"]);
    })
    .is_quiet();
}

#[test]
fn what_came_before_the_first_allocation_stays() {
    let test = "what_came_before_the_first_allocation_stays";
    let variables = [("HAKMEM_THP", "auto"), ("HAKMEM_MODE", "minimal")];
    child::run(test, "", &variables, || {
        // Reads the environment.
        assert_eq!(hakmem::set_config("DECAY_MS", "9"), Ok(()));
        begin(NEW.mode(Mode::Fast).thp(Thp::On).decay_ms(7).tiny_max_class(5));
        for (name, wanted) in [
            ("MODE", ["minimal", "variable"]),
            ("THP", ["auto", "variable"]),
            ("DECAY_MS", ["9", "call"]),
            ("BIGCACHE", ["off", "mode"]),
            ("TINY_MAX_CLASS", ["5", "builder"]),
        ] {
            assert_eq!(shown(name)[..2], wanted, "{name}");
        }
        // First: what large blocks leave behind brings ticks, at which magazines shrink.
        assert_eq!((batch(200), batch(300)), (15, 3));
        assert!(!keeps_large_blocks());
    })
    .is_quiet();
    child::run(test, "mode", &[("HAKMEM_THP", "off")], || {
        assert_eq!(hakmem::set_config("DECAY_MS", "9"), Ok(()));
        begin(NEW.mode(Mode::Minimal).thp(Thp::On));
        assert!(!keeps_large_blocks());
        assert_eq!(shown("MODE")[..2], ["minimal", "builder"]);
        assert_eq!(shown("THP")[..2], ["off", "variable"]);
        assert_eq!(shown("DECAY_MS")[..2], ["9", "call"]);
    })
    .is_quiet();
}

#[test]
fn settings_are_in_force_from_the_first_allocation_on_whatever_it_is() {
    let test = "settings_are_in_force_from_the_first_allocation_on_whatever_it_is";
    static HEAP: Hakmem = Hakmem::with(NEW.large_threshold(512 << 10).tiny_max_class(5));
    /// The first call is for this, `zeroed` or not.
    fn first(size: usize, zeroed: bool) {
        let layout = Layout::from_size_align(size, 16).expect("valid");
        // SAFETY: the size is not zero; the block is ours.
        unsafe {
            let at = if zeroed { HEAP.alloc_zeroed(layout) } else { HEAP.alloc(layout) };
            assert!(!at.is_null());
            let huge = hakmem::stats().huge_blocks;
            assert_eq!(huge, usize::from(size >= MIB));
            // Above the tiny tier a refill brings four blocks.
            assert!(size != 300 || walk().cached == 3, "{:?}", walk());
            HEAP.dealloc(at, layout);
        }
    }
    for size in [300, 5000, MIB] {
        for zeroed in [false, true] {
            child::run(test, &format!("{size} {zeroed}"), &[], || first(size, zeroed)).is_quiet();
        }
    }
    child::run(test, "print", &[], || {
        let mut table = String::new();
        HEAP.print_config(&mut table).expect("a string takes everything");
        let row = table.lines().find(|line| line.contains("LARGE_THRESHOLD")).expect("a row");
        assert!(row.contains("512k") && row.contains("builder"), "{row}");
    })
    .is_quiet();
}

#[test]
fn the_first_settings_count_and_threads_agree_on_them() {
    let test = "the_first_settings_count_and_threads_agree_on_them";
    child::run(test, "", &[], || {
        static HEAP: Hakmem = Hakmem::with(NEW.big_cache(false));
        let work = || {
            let layout = Layout::from_size_align(5 * MIB, 16).expect("valid");
            for _ in 0..20 {
                // SAFETY: the block is ours.
                unsafe {
                    let at = HEAP.alloc(layout);
                    at.write(1);
                    HEAP.dealloc(at, layout);
                }
            }
        };
        let all: Vec<_> = (0..4).map(|_| std::thread::spawn(work)).collect();
        all.into_iter().for_each(|thread| thread.join().expect("the thread"));
        assert_eq!(hakmem::stats().cached_bytes, 0);
        begin(NEW.big_cache(true));
        assert!(!keeps_large_blocks(), "another allocator comes too late");
        assert_eq!(shown("BIGCACHE"), ["off", "builder", "yes"]);
        // One without settings changes nothing.
        let layout = Layout::new::<u64>();
        // SAFETY: a block of that layout, given back at once.
        unsafe { Hakmem::new().dealloc(Hakmem::new().alloc(layout), layout) };
        assert!(!keeps_large_blocks());
    })
    .is_quiet();
}

#[test]
fn the_learning_policies_are_as_built_in() {
    let test = "the_learning_policies_are_as_built_in";
    let alone = if EVOLUTION { NEW.evolution(Evolution::Off) } else { NEW };
    for (case, state, rounds) in [("frozen", EloState::Frozen, 0), ("learn", EloState::Learn, 4)] {
        with_gate(ELO, test, case, alone.elo(state), || {
            churn(3 * MIB, ROUND * 4);
            let elo = hakmem::learning().elo.value();
            assert_eq!(elo.map(|elo| (elo.state, elo.rounds)), ELO.then_some((state, rounds)));
        });
    }
    let file = Scratch::new("built-in");
    if !child::is_child() {
        std::fs::write(file.path(), ratings(2 * MIB)).expect("a file in the target folder");
    }
    let path: &'static str = file.path().to_owned().leak();
    with_gate(ELO, test, "file", NEW.elo_file(path), || {
        assert_eq!(huge_by(3 * MIB), usize::from(ELO));
    });
    if EVOLUTION && !SANITIZED {
        let canary = NEW.elo(EloState::Learn).evolution(Evolution::Canary);
        with(test, "canary", canary, || {
            churn(300 << 10, ROUND * 70);
            churn(20 * MIB, ROUND * 30);
            let life = hakmem::learning().evolution.value().expect("compiled in");
            let log: Vec<_> = life.log().map(|entry| entry.step).collect();
            assert_eq!(log, [Step::Freeze, Step::Shift, Step::Freeze]);
        });
    }
    // Off is what a build without the engine has.
    for on in [false, true] {
        with_gate(ENGINE || !on, test, &format!("engine {on}"), NEW.intelligence(on), || {
            activity();
            let events = hakmem::learning().engine.value().map(|engine| engine.events > 0);
            assert_eq!(events, ENGINE.then_some(on));
        });
    }
}

#[test]
fn the_worker_comes_as_built_in() {
    let test = "the_worker_comes_as_built_in";
    if SANITIZED {
        return; // The sanitizers have threads of their own.
    }
    with_gate(WORKER, test, "off", NEW.worker(Worker::Off), || {
        let before = threads();
        let _grown: Vec<_> = (0..40).map(|_| filled(MIB)).collect();
        activity();
        assert_eq!(threads(), before);
    });
    with_gate(WORKER, test, "on", NEW.worker(Worker::On), || {
        let start = Instant::now();
        while WORKER && threads() < 3 {
            activity();
            assert!(start.elapsed() < Duration::from_secs(120), "no worker has come");
        }
    });
}

#[test]
fn front_layers_are_open_or_closed_as_built_in() {
    let test = "front_layers_are_open_or_closed_as_built_in";
    let layered = hakmem::stats().layers.iter().any(|layer| layer.compiled_in && !layer.behind);
    let served = || {
        (0..1000).for_each(|_| free(raw::malloc(64)));
        hakmem::stats().served.value().map(|served| served.front_layers > 0)
    };
    let any = hakmem::stats().layers.iter().any(|layer| layer.compiled_in);
    with_gate(any, test, "closed", NEW.front_layers(false), || {
        assert_ne!(served(), Some(true));
    });
    with(test, "open", NEW.front_layers(true), || assert_ne!(served(), Some(!layered)));
}

#[test]
fn what_is_not_compiled_in_is_said() {
    let test = "what_is_not_compiled_in_is_said";
    let absent = shown("POOL_HOTBOX")[2] != "yes";
    let ended = child::run(test, "", &[], || {
        begin(NEW.pool_hotbox(true));
        if absent {
            assert_eq!(shown("POOL_HOTBOX")[..2], ["off", "default"]);
        } else {
            assert_eq!(shown("POOL_HOTBOX")[..2], ["on", "builder"]);
        }
    });
    if absent {
        complains(&ended, &["the program's own POOL_HOTBOX=on", "not compiled in; using off"]);
    } else {
        ended.is_quiet();
    }
}
