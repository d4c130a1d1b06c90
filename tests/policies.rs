//! The policies that learn: ELO (gate `elo`) and its life cycle (gate `evolution`), the intelligence
//! engine and auto mode (gates of these names).
//!
//! Which threshold wins depends on the machine, so nothing here asks for it; how often is played, what
//! a loaded state decides and what the life cycle does on sizes that leave nothing to choose do not.
//! Without the gates the same programs show that nothing of it is there, and that this is said.

mod common;

use common::child::{self, Ended, complains};
use common::memory::resident_pages;
use common::ratings::{Scratch, parent, ratings};
use common::work::{ROUND, activity, churn, filled, free, huge_by};
use common::{MIB, SANITIZED, join_all, walk};
use hakmem::{EloState, SaveError, Stage, Step, raw};

/// Whether this build has them.
const ELO: bool = cfg!(feature = "elo");
const EVOLUTION: bool = cfg!(feature = "evolution");
const ENGINE: bool = cfg!(feature = "intelligence-engine");
const AUTO: bool = cfg!(feature = "auto-mode");

/// A good end: quiet with the gate, one line about the setting without it.
#[track_caller]
fn quiet_if(gate: bool, ended: &Ended, setting: &str) {
    if gate { ended.is_quiet() } else { complains(ended, &[setting, "not compiled in"]) }
}

#[test]
fn candidates_play_only_while_learning() {
    let test = "candidates_play_only_while_learning";
    for (state, plays) in [("off", false), ("frozen", false), ("learn", true)] {
        let variables = [("HAKMEM_ELO", state), ("HAKMEM_EVOLUTION", "off")];
        let ended = child::run(test, state, &variables, || {
            churn(3 * MIB, ROUND * 100);
            let elo = hakmem::learning().elo.value();
            assert_eq!(elo.is_some(), ELO);
            let Some(elo) = elo else { return };
            assert_eq!(elo.rounds, if plays { 100 } else { 0 });
            let matches: u32 =
                elo.candidates.iter().map(|row| row.won + row.drawn + row.lost).sum();
            assert_eq!(matches > 0, plays);
            assert_eq!(elo.state == EloState::Learn, plays);
            if !plays {
                assert_eq!(hakmem::learning().threshold, 8 * MIB);
            }
        });
        quiet_if(ELO || state == "off", &ended, "HAKMEM_ELO");
    }
}

#[test]
fn a_resize_is_one_operation_under_every_threshold() {
    let variables = [("HAKMEM_ELO", "learn"), ("HAKMEM_EVOLUTION", "off")];
    let test = "a_resize_is_one_operation_under_every_threshold";
    let ended = child::run(test, "", &variables, || {
        let (mut at, others) = (filled(600 << 10), [(); 4].map(|()| filled(600 << 10)));
        // Five operations so far.
        for step in 5..ROUND * 12 {
            let size = if step % 2 == 0 { 600 << 10 } else { MIB * 3 / 2 };
            // SAFETY: a block of this heap that the test holds.
            at = unsafe { raw::realloc(at, size) };
            assert!(!at.is_null());
        }
        let rounds = hakmem::learning().elo.value().map(|elo| elo.rounds);
        assert_eq!(rounds, ELO.then_some(12));
        others.into_iter().for_each(free);
        free(at);
    });
    quiet_if(ELO, &ended, "HAKMEM_ELO");
}

#[test]
fn small_blocks_are_never_timed() {
    let ended = child::run("small_blocks_are_never_timed", "", &[("HAKMEM_ELO", "learn")], || {
        for size in [8, 100, 1000, 5000, 100_000] {
            churn(size, 20_000);
        }
        let rounds = hakmem::learning().elo.value().map(|elo| elo.rounds);
        assert_eq!(rounds, ELO.then_some(0));
    });
    quiet_if(ELO, &ended, "HAKMEM_ELO");
}

#[test]
fn a_saved_state_is_in_force_frozen() {
    let test = "a_saved_state_is_in_force_frozen";
    let file = Scratch::new("shipped");
    let path = file.path();
    if !child::is_child() {
        std::fs::write(path, ratings(4 * MIB)).expect("a file in the target folder");
    }
    let ended = child::run(test, "frozen", &[("HAKMEM_ELO_FILE", path)], || {
        let huge = (huge_by(4 * MIB), huge_by(6 * MIB), huge_by(9 * MIB));
        assert_eq!(huge, if ELO { (0, 1, 1) } else { (0, 0, 1) });
        let elo = hakmem::learning().elo.value();
        assert_eq!(elo.map(|elo| (elo.leader, elo.rounds)), ELO.then_some((4 * MIB, 0)));
    });
    quiet_if(ELO, &ended, "HAKMEM_ELO_FILE");
    if !child::is_child() && ELO {
        let after = std::fs::read_to_string(path).expect("the file is there");
        assert_eq!(after, ratings(4 * MIB), "frozen, nothing is written");
    }
    let off = [("HAKMEM_ELO", "off"), ("HAKMEM_ELO_FILE", path)];
    let ended = child::run(test, "off", &off, || assert_eq!(huge_by(6 * MIB), 0));
    quiet_if(ELO, &ended, "HAKMEM_ELO_FILE");
    // Switched on and off while the program runs.
    let ended = child::run(test, "by call", &[], || {
        assert_eq!(huge_by(6 * MIB), 0);
        assert_eq!(hakmem::set_config("ELO_FILE", path).is_ok(), ELO);
        assert_eq!(huge_by(6 * MIB), usize::from(ELO));
        assert_eq!(hakmem::set_config("ELO", "off"), Ok(()));
        assert_eq!(huge_by(6 * MIB), 0);
        assert_eq!(hakmem::set_config("ELO", "frozen").is_ok(), ELO);
        assert_eq!(huge_by(6 * MIB), usize::from(ELO));
    });
    ended.is_quiet();
}

#[test]
fn what_is_learned_is_saved_and_gone_on_from() {
    let test = "what_is_learned_is_saved_and_gone_on_from";
    let file = Scratch::new("learned");
    let path = file.path();
    let variables =
        [("HAKMEM_ELO", "learn"), ("HAKMEM_ELO_FILE", path), ("HAKMEM_EVOLUTION", "off")];
    if !ELO {
        child::run(test, "absent", &[], || {
            assert_eq!(hakmem::save_ratings(), Err(SaveError::NotCompiledIn));
        })
        .is_quiet();
        return;
    }
    let matches = || {
        let elo = hakmem::learning().elo.value().expect("compiled in");
        elo.candidates.iter().map(|row| row.won + row.drawn + row.lost).sum::<u32>()
    };
    child::run(test, "first", &variables, || {
        churn(3 * MIB, ROUND * 20);
        assert!(matches() >= 8, "a match is four rounds at most, and has two sides");
    })
    .is_quiet();
    if !child::is_child() {
        let text = std::fs::read_to_string(path).expect("written at exit");
        assert!(text.starts_with("hakmem-elo 1\n"), "{text}");
        let left = std::fs::read_dir(env!("CARGO_TARGET_TMPDIR")).expect("the folder");
        let mine = format!("elo-{}-learned.", parent());
        let names = left.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        assert!(names.filter(|name| name.starts_with(&mine)).count() == 0, "no temporary file");
    }
    child::run(test, "second", &variables, || {
        let before = matches();
        assert!(before >= 8, "loaded");
        churn(3 * MIB, ROUND * 20);
        let now = matches();
        assert!(now > before);
        assert_eq!(hakmem::save_ratings(), Ok(()));
        assert_eq!(hakmem::set_config("ELO_FILE", ""), Ok(()));
        assert_eq!(hakmem::save_ratings(), Err(SaveError::NoFile));
        assert_eq!(hakmem::set_config("ELO_FILE", path), Ok(()));
        assert_eq!(matches(), now, "what was saved on request");
    })
    .is_quiet();
}

#[test]
fn a_file_that_is_no_good_is_refused_with_a_line() {
    let test = "a_file_that_is_no_good_is_refused_with_a_line";
    let good = ratings(4 * MIB);
    let cases: &[(&str, String, &str)] = &[
        ("empty", String::new(), "is no file of ratings"),
        ("script", "#!/bin/sh\n".into(), "is no file of ratings"),
        ("version", good.replace("elo 1", "elo 2"), "has version 2, expected 1"),
        ("cut", good[..100].into(), "is damaged"),
        ("changed", good.replace("24000", "24001"), "is damaged"),
        ("long", good.repeat(40), "is damaged"),
    ];
    for (name, text, words) in cases {
        let file = Scratch::new(name);
        let path = file.path();
        if !child::is_child() {
            std::fs::write(path, text).expect("a file in the target folder");
        }
        let learn = [("HAKMEM_ELO", "learn"), ("HAKMEM_ELO_FILE", path)];
        let ended = child::run(test, name, &learn, || {
            churn(3 * MIB, ROUND * 12);
            let rounds = hakmem::learning().elo.value().map(|elo| elo.rounds);
            assert_eq!(rounds, ELO.then_some(12), "learning goes on all the same");
        });
        if ELO {
            complains(&ended, &["HAKMEM_ELO_FILE=", name, words, "learning starts fresh"]);
        }
    }
    if ELO {
        let missing = [("HAKMEM_ELO_FILE", "/no/such/folder/file")];
        let ended = child::run(test, "missing", &missing, || assert_eq!(huge_by(3 * MIB), 0));
        complains(&ended, &["/no/such/folder/file cannot be read", "is not learned"]);
        let learn = [("HAKMEM_ELO", "learn"), missing[0]];
        let ended = child::run(test, "unwritable", &learn, || {
            churn(3 * MIB, ROUND);
            assert_eq!(hakmem::save_ratings(), Err(SaveError::NotWritten));
        });
        complains(&ended, &["/no/such/folder/file cannot be written", "is lost"]);
        let long = "x".repeat(241);
        let ended = child::run(test, "too long", &[("HAKMEM_ELO_FILE", &long)], || {
            assert_eq!(huge_by(3 * MIB), 0);
        });
        complains(&ended, &["is not allowed", "at most 240 bytes", "using none"]);
    }
}

#[test]
fn the_life_cycle_goes_as_far_as_it_is_told() {
    let test = "the_life_cycle_goes_as_far_as_it_is_told";
    use Step::{Freeze, Relearn, Shift};
    let cases: &[(&str, &[Step], Stage)] = &[
        ("off", &[], Stage::Learn),
        ("frozen", &[Freeze], Stage::Frozen),
        // Learning again ends as it did at first.
        ("learn", &[Freeze, Shift, Relearn, Freeze], Stage::Frozen),
        // No challenger would treat these sizes otherwise: none is tried.
        ("canary", &[Freeze, Shift, Freeze], Stage::Frozen),
    ];
    for (life, steps, stage) in cases {
        let variables = [("HAKMEM_ELO", "learn"), ("HAKMEM_EVOLUTION", *life)];
        let ended = child::run(test, life, &variables, || {
            // Runs, then mappings, under every threshold. 50 rounds make the lead steady; 18 show a
            // shift.
            churn(300 << 10, ROUND * 70);
            churn(20 * MIB, ROUND * 100);
            let cycle = hakmem::learning().evolution.value();
            assert_eq!(cycle.is_some(), EVOLUTION);
            let Some(cycle) = cycle else { return };
            let log: Vec<Step> = cycle.log().map(|decision| decision.step).collect();
            assert_eq!((log.as_slice(), cycle.stage), (*steps, *stage));
            assert_eq!(cycle.decisions, steps.len() as u64);
            let shift = cycle.log().find(|decision| decision.step == Shift);
            if let Some(shift) = shift {
                assert_eq!((shift.figure, shift.from), (100, 2 * MIB));
                assert!((70..95).contains(&shift.round), "{shift:?}");
            }
            let mut text = String::new();
            hakmem::learning().write_text(&mut text).expect("a string takes everything");
            for step in *steps {
                assert!(text.contains(step.name()), "{text}");
            }
            let mut json = String::new();
            hakmem::learning().write_json(&mut json).expect("a string takes everything");
            assert_eq!(json.matches("\"step\":").count(), steps.len(), "{json}");
        });
        if EVOLUTION {
            ended.is_quiet();
        } else if !child::is_child() {
            ended.is_good();
            let asked = usize::from(!ELO) + usize::from(*life != "off");
            assert_eq!(ended.lines().len(), asked, "{ended:#?}");
        }
    }
}

#[test]
fn a_learned_state_is_watched_where_that_is_asked_for() {
    let test = "a_learned_state_is_watched_where_that_is_asked_for";
    let variables = [("HAKMEM_ELO", "frozen"), ("HAKMEM_EVOLUTION", "canary")];
    let ended = child::run(test, "", &variables, || {
        churn(300 << 10, ROUND * 30);
        churn(20 * MIB, ROUND * 30);
        let cycle = hakmem::learning().evolution.value();
        let log = cycle.map(|cycle| cycle.log().map(|entry| entry.step).collect::<Vec<_>>());
        assert_eq!(log, EVOLUTION.then(|| vec![Step::Freeze, Step::Shift, Step::Freeze]));
    });
    if EVOLUTION {
        ended.is_quiet();
    } else {
        ended.is_good();
    }
}

#[test]
fn threads_and_forks_meet_the_learner() {
    let variables = [("HAKMEM_ELO", "learn"), ("HAKMEM_EVOLUTION", "canary")];
    let ended = child::run("threads_and_forks_meet_the_learner", "", &variables, || {
        std::thread::scope(|scope| {
            let load = [0, 1, 2, 3].map(|thread: usize| {
                scope.spawn(move || {
                    for round in 0..40 {
                        churn((1 + (thread + round) % 12) * MIB, 500);
                    }
                })
            });
            for _ in 0..if SANITIZED { 0 } else { 10 } {
                // SAFETY: the child uses the heap, and nothing of the test harness.
                let pid = unsafe { libc::fork() };
                if pid == 0 {
                    churn(3 * MIB, 2000);
                    // SAFETY: ends the child without the harness's exit handlers.
                    unsafe { libc::_exit(0) };
                }
                let mut status = 0;
                // SAFETY: waits for our child.
                assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
                assert_eq!(status, 0);
            }
            join_all(load);
        });
        raw::collect();
        assert_eq!(walk().user(), 0);
    });
    ended.is_good();
}

#[test]
fn readers_say_what_is_not_compiled_in() {
    child::run("readers_say_what_is_not_compiled_in", "", &[], || {
        let learning = hakmem::learning();
        assert_eq!(learning.threshold, 8 * MIB);
        assert_eq!(learning.elo.value().is_some(), ELO);
        assert_eq!(learning.evolution.value().is_some(), EVOLUTION);
        let (mut text, mut json) = (String::new(), String::new());
        learning.write_text(&mut text).expect("a string takes everything");
        learning.write_json(&mut json).expect("a string takes everything");
        assert_eq!(text.contains("not compiled in (feature elo)"), !ELO, "{text}");
        assert_eq!(text.contains("not compiled in (feature evolution)"), !EVOLUTION, "{text}");
        assert_eq!(json.contains("\"elo\":null"), !ELO, "{json}");
        assert_eq!(json.contains("\"evolution\":null"), !EVOLUTION, "{json}");
        assert_eq!(text.contains("(feature intelligence-engine)"), !ENGINE, "{text}");
        assert_eq!(json.contains("\"engine\":null"), !ENGINE, "{json}");
    })
    .is_quiet();
}

/// Many blocks of one class taken and given back: refills and overflows.
fn flood() {
    let blocks: Vec<_> = (0..100_000).map(|_| raw::malloc(64)).collect();
    blocks.into_iter().for_each(free);
}

#[test]
fn events_wait_or_are_dropped_and_counted() {
    let test = "events_wait_or_are_dropped_and_counted";
    // Small magazines, and after the first look at the clock no tick for a quarter of an hour.
    let slow = [("HAKMEM_THREAD_CACHE_BYTES", "0"), ("HAKMEM_DECAY_MS", "3600000")];
    child::run(test, "on", &slow, || {
        flood();
        let before = hakmem::learning().engine.value();
        flood();
        let engine = hakmem::learning().engine.value();
        assert_eq!(engine.is_some(), ENGINE);
        let (Some(before), Some(engine)) = (before, engine) else { return };
        assert_eq!(engine.events - engine.dropped - engine.taken, 1024, "{engine:?}");
        assert_eq!(engine.dropped - before.dropped, engine.events - before.events, "full");
        assert!(engine.events - before.events > 3000, "{engine:?}");
    })
    .is_quiet();
    let off = [slow[0], slow[1], ("HAKMEM_INTELLIGENCE", "off")];
    let ended = child::run(test, "off", &off, || {
        flood();
        assert_eq!(
            hakmem::learning().engine.value().map(|engine| engine.events),
            ENGINE.then_some(0)
        );
    });
    // Off is what runs without the gate, too.
    ended.is_quiet();
}

#[test]
fn busy_classes_get_larger_magazines() {
    let test = "busy_classes_get_larger_magazines";
    /// Blocks that the thread's first request brings into its magazine.
    fn brought() -> usize {
        let before = walk().cached;
        let at = raw::malloc(64);
        let brought = walk().cached - before;
        free(at);
        brought
    }
    // Without the worker, ticks come with this thread's own work only; without layers before them,
    // the magazines get all that a refill brings.
    for engine in ["on", "off"] {
        let variables = [
            ("HAKMEM_DECAY_MS", "40"),
            ("HAKMEM_WORKER", "off"),
            ("HAKMEM_FRONT_LAYERS", "off"),
            ("HAKMEM_INTELLIGENCE", engine),
        ];
        let ended = child::run(test, engine, &variables, || {
            let untuned = brought();
            let tuned = ENGINE && engine == "on";
            let tunings = || hakmem::learning().engine.value().map_or(0, |engine| engine.tunings);
            flood();
            while tuned && tunings() == 0 {
                flood();
            }
            let fresh = std::thread::spawn(brought).join().expect("the thread ends well");
            assert_eq!(fresh > untuned, tuned, "{untuned} blocks, then {fresh}");
        });
        ended.is_good();
    }
}

#[test]
fn auto_mode_picks_and_says_why() {
    let test = "auto_mode_picks_and_says_why";
    fn printed() -> String {
        let mut table = String::new();
        hakmem::print_config(&mut table).expect("a string takes everything");
        table
    }
    let quick = ("HAKMEM_DECAY_MS", "40");
    let auto = ("HAKMEM_MODE", "auto");
    if !AUTO {
        let ended = child::run(test, "absent", &[auto, quick], || {
            assert!(!printed().contains("auto mode runs as"));
            assert_eq!(huge_by(3 * MIB), 0);
        });
        complains(&ended, &["HAKMEM_MODE=auto", "not compiled in", "using balanced"]);
        return;
    }
    child::run(test, "present", &[auto, quick], || {
        assert!(printed().contains("auto mode runs as balanced: too little"), "{}", printed());
        // Ticks come with work.
        while !printed().contains("auto mode runs as minimal") {
            activity();
        }
        assert!(printed().contains("bytes held, "), "{}", printed());
        let at = filled(5 * MIB);
        free(at);
        assert_eq!(resident_pages(at, 5 * MIB).unwrap_or(0), 0, "nothing is cached");
        // A tick comes after 64 operations at the soonest, so it has seen that many.
        let then = if ELO { "learning" } else { "balanced" };
        while !printed().contains(&format!("auto mode runs as {then}: ")) {
            churn(3 * MIB, 2000);
        }
        let state = hakmem::learning().elo.value().map(|elo| elo.state);
        assert_eq!(state, ELO.then_some(EloState::Learn));
        // Chosen by name, it is auto no more.
        assert_eq!(hakmem::set_config("MODE", "balanced"), Ok(()));
        assert!(!printed().contains("auto mode"), "{}", printed());
    })
    .is_good();
    let kept = [auto, quick, ("HAKMEM_BIGCACHE", "on")];
    child::run(test, "overridden", &kept, || {
        while !printed().contains("auto mode runs as minimal") {
            activity();
        }
        let at = filled(5 * MIB);
        free(at);
        assert_ne!(resident_pages(at, 5 * MIB).unwrap_or(0), 0, "what a variable says stays");
    })
    .is_quiet();
}
