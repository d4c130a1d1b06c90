//! The five modes: each setting of each is observed by what the heap does.
//!
//! Rows of the table that are behind a gate are looked at where the gate is on; without it, the mode
//! says so in its one line, and what runs instead is observed.

mod common;

use common::child::{self, Ended};
use common::memory::flags_of;
use common::ratings::{Scratch, ratings};
use common::work::{ROUND, activity, churn, config_row, filled, free, huge_by, left_after, pages};
use common::{MIB, SANITIZED, walk};
use hakmem::{Step, raw};

const ELO: bool = cfg!(feature = "elo");
const EVOLUTION: bool = cfg!(feature = "evolution");
const POOL: bool = cfg!(feature = "pool-hotbox-v2");
const MODES: [&str; 5] = ["minimal", "fast", "balanced", "learning", "research"];

/// Runs `body` in each mode, with these variables as well; `body` gets the mode's number.
fn in_each(test: &str, more: &[(&str, &str)], body: impl Fn(usize)) -> Vec<Ended> {
    let run = |(number, mode): (usize, &&str)| {
        let variables = [&[("HAKMEM_MODE", *mode)], more].concat();
        let ended = child::run(test, mode, &variables, || body(number));
        ended.is_good();
        ended
    };
    MODES.iter().enumerate().map(run).collect()
}

#[test]
fn bigcache_is_on_but_in_minimal() {
    in_each("bigcache_is_on_but_in_minimal", &[], |mode| {
        let at = filled(5 * MIB);
        free(at);
        assert_eq!(pages(at, 5 * MIB) != 0, mode != 0);
    });
}

#[test]
fn pages_are_returned_in_batches_but_in_minimal() {
    let without = [("HAKMEM_BIGCACHE", "off")];
    in_each("pages_are_returned_in_batches_but_in_minimal", &without, |mode| {
        let at = filled(MIB);
        free(at);
        assert_eq!(pages(at, MIB), if mode == 0 { 0 } else { MIB / 4096 });
    });
}

#[test]
fn free_policy_is_adaptive_but_in_minimal() {
    if SANITIZED {
        return; // Many times slower, and `settings` has looked at each policy.
    }
    let with = [("HAKMEM_BIGCACHE", "on"), ("HAKMEM_BATCH", "on"), ("HAKMEM_DECAY_MS", "100")];
    in_each("free_policy_is_adaptive_but_in_minimal", &with, |mode| {
        // A cold block: kept for good, or gone within a part of a period.
        assert_eq!(left_after(3.0, false), if mode == 0 { MIB / 4096 } else { 0 });
    });
}

#[test]
fn huge_pages_are_left_to_the_heap_but_in_minimal() {
    if SANITIZED {
        return; // As above.
    }
    in_each("huge_pages_are_left_to_the_heap_but_in_minimal", &[], |mode| {
        let first = filled(100);
        let blocks: Vec<_> = (0..100_000).map(|_| filled(1000)).collect();
        let has = |at, flag: &str| flags_of(at).iter().any(|found| found == flag);
        assert!(has(first, "nh"), "a small heap has small pages");
        assert_eq!(has(blocks[99_999], "hg"), mode != 0);
    });
}

#[test]
fn elo_is_off_frozen_or_learns() {
    let file = Scratch::new("modes");
    if !child::is_child() {
        std::fs::write(file.path(), ratings(4 * MIB)).expect("a file in the target folder");
    }
    let with = [("HAKMEM_ELO_FILE", file.path()), ("HAKMEM_EVOLUTION", "off")];
    in_each("elo_is_off_frozen_or_learns", &with, |mode| {
        let huge = huge_by(6 * MIB);
        // What is loaded leads at first while it learns, too.
        assert_eq!(huge, usize::from(ELO && mode != 0));
        // Too little for a match, which would change the file for the next mode.
        churn(3 * MIB, ROUND * 2);
        let rounds = hakmem::learning().elo.value().map(|elo| elo.rounds);
        assert_eq!(rounds, ELO.then_some(if mode >= 3 { 2 } else { 0 }));
    });
}

#[test]
fn evolution_is_off_frozen_learns_or_tries() {
    in_each("evolution_is_off_frozen_learns_or_tries", &[], |mode| {
        // Runs under every threshold, then mappings under every threshold.
        churn(300 << 10, ROUND * 70);
        churn(20 * MIB, ROUND * 30);
        let life = hakmem::learning().evolution.value();
        let log = life.map(|life| life.log().map(|entry| entry.step).collect::<Vec<_>>());
        use Step::{Freeze, Relearn, Shift};
        let wanted = match mode {
            0 => vec![],
            1 | 2 => vec![Freeze],
            3 => vec![Freeze, Shift, Relearn],
            _ => vec![Freeze, Shift, Freeze],
        };
        assert_eq!(log, EVOLUTION.then_some(wanted));
    });
}

#[test]
fn statistics_are_printed_at_exit_in_research() {
    let ended =
        in_each("statistics_are_printed_at_exit_in_research", &[], |_| free(raw::malloc(1)));
    if !child::is_child() {
        for (number, ended) in ended.iter().enumerate() {
            assert_eq!(ended.stderr.contains("in_use_bytes"), number == 4, "{ended:#?}");
        }
    }
}

#[test]
fn the_pool_hotbox_is_open_in_fast_and_research() {
    in_each("the_pool_hotbox_is_open_in_fast_and_research", &[], |mode| {
        // Eight free blocks in a slab that stays: new ones come one by one.
        let _keep = raw::malloc(5000);
        let blocks: Vec<_> = (0..8).map(|_| raw::malloc(5000)).collect();
        blocks.into_iter().for_each(free);
        raw::collect();
        // A batch of the pool is half of 16 blocks, one of the magazine half of 8.
        let at = raw::malloc(5000);
        let brought = if POOL && matches!(mode, 1 | 4) { 8 } else { 4 };
        assert_eq!(walk().cached, brought - 1);
        free(at);
        // What a call says comes before what the mode says.
        assert_eq!(hakmem::set_config("POOL_HOTBOX", "off"), Ok(()));
        raw::collect();
        free(raw::malloc(5000));
        assert_eq!(walk().cached, 4);
    });
}

#[test]
fn what_a_mode_lacks_is_said_once_and_what_runs_is_shown() {
    let test = "what_a_mode_lacks_is_said_once_and_what_runs_is_shown";
    let asked = [
        ("ELO", ELO, ["off", "frozen", "frozen", "learn", "learn"]),
        ("EVOLUTION", EVOLUTION, ["off", "frozen", "frozen", "learn", "canary"]),
        ("POOL_HOTBOX", POOL, ["off", "on", "off", "off", "on"]),
    ];
    let ended = in_each(test, &[], |mode| {
        free(raw::malloc(1));
        for (name, there, values) in asked {
            let row = config_row(name);
            let (value, asks) = (values[mode], values[mode] != "off");
            let words: Vec<&str> = row.split_whitespace().collect();
            let wanted = match (there, asks) {
                (true, _) => vec![value, "mode", "yes"],
                (false, true) => vec!["off", "default", "no,", MODES[mode], "asks", "for", value],
                (false, false) => vec!["off", "default", "no"],
            };
            assert_eq!(words[2..], wanted, "{row}");
        }
    });
    if child::is_child() {
        return;
    }
    for (mode, ended) in ended.iter().enumerate() {
        let lines = ended.lines();
        for (name, there, values) in asked {
            let asks = !there && values[mode] != "off";
            let said = format!("{name}={}", values[mode]);
            let instead = format!("{name}=off");
            let count = |word: &str| lines.iter().filter(|line| line.contains(word)).count();
            let expected = usize::from(asks);
            assert_eq!((count(&said) >= expected, count(&instead)), (true, expected), "{ended:#?}");
        }
        assert!(lines.len() <= 1, "{ended:#?}");
    }
    // Nobody has chosen the default mode: it says nothing.
    child::run(test, "default", &[], || free(raw::malloc(1))).is_quiet();
    // What a variable has put right is asked for no more.
    let off = [("HAKMEM_MODE", "learning"), ("HAKMEM_ELO", "off"), ("HAKMEM_EVOLUTION", "off")];
    child::run(test, "put right", &off, || free(raw::malloc(1))).is_quiet();
}

#[test]
fn a_mode_can_be_left_while_the_program_runs() {
    child::run("a_mode_can_be_left_while_the_program_runs", "", &[], || {
        activity();
        assert_eq!(hakmem::set_config("MODE", "minimal"), Ok(()));
        let at = filled(5 * MIB);
        free(at);
        assert_eq!(pages(at, 5 * MIB), 0);
        assert_eq!(hakmem::set_config("MODE", "balanced"), Ok(()));
        let at = filled(5 * MIB);
        free(at);
        assert!(pages(at, 5 * MIB) != 0 || SANITIZED);
    })
    .is_good();
}
