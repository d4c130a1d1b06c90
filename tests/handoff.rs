//! Blocks on their way between threads and the background worker (gates `background-spill` and
//! `background-bin`): none is lost and none is there twice, whether the worker comes, does not come or
//! has gone, across the ends of threads, forks and the end of the process.
//!
//! Without the gates the same programs show that nothing of it is there.

mod common;

use common::fork::{fork, wait};
use common::model::Model;
use common::random::Random;
use common::{Stop, child, join_all, rounds, walk};
use hakmem::{BackgroundBin, BackgroundSpill, fault, raw, stats};
use std::sync::atomic::{AtomicBool, Ordering};

const SPILL: bool = cfg!(feature = "background-spill");
const BIN: bool = cfg!(feature = "background-bin");
/// A worker that is there from the first slow path on.
const WORKER: &[(&str, &str)] = if cfg!(feature = "background-worker") {
    &[("HAKMEM_WORKER", "on"), ("HAKMEM_DECAY_MS", "20")]
} else {
    &[]
};
/// What the queue of overflow holds: batches, blocks of one, and bytes.
const PLACES: u64 = 128;
const BLOCKS: u64 = 30;
const BYTES: u64 = 4 << 20;

fn spilled() -> BackgroundSpill {
    stats().background_spill.value().unwrap_or_default()
}

fn binned() -> BackgroundBin {
    stats().background_bin.value().unwrap_or_default()
}

fn free(at: *mut u8) {
    // SAFETY: a block in use that nobody else has.
    unsafe { raw::free(at) }
}

/// So many blocks at once, each with a number of its own; then all of them are freed, in that order.
fn flood(size: usize, count: usize) {
    let blocks: Vec<*mut u8> = (0..count).map(|_| raw::malloc(size)).collect();
    let words = || blocks.iter().map(|at| at.cast::<usize>()).enumerate();
    // SAFETY: blocks of eight bytes or more, in use.
    words().for_each(|(number, word)| unsafe { word.write(number) });
    // SAFETY: as above.
    assert!(words().all(|(number, word)| unsafe { word.read() } == number), "a block twice");
    blocks.into_iter().for_each(free);
}

/// Threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("/proc/self/task").count()
}

/// Fills the queue of overflow, which a worker serves that never comes.
fn fill_the_queue() {
    fault::man_queues(true);
    flood(64, 40_000);
}

#[test]
fn a_full_queue_refuses_and_what_it_holds_waits_for_whoever_comes() {
    let test = "a_full_queue_refuses_and_what_it_holds_waits_for_whoever_comes";
    child::run(test, "blocks", &[], || {
        flood(64, 40_000);
        assert_eq!(spilled(), BackgroundSpill::default(), "there is no worker");
        fill_the_queue();
        let full = spilled();
        assert_eq!(full.waiting, if SPILL { PLACES } else { 0 }, "{full:?}");
        assert_eq!((full.spilled > 0, full.refused > 0), (SPILL, SPILL), "{full:?}");
        assert!(full.spilled <= PLACES * BLOCKS && full.brought_home == 0, "{full:?}");
        let seen = walk();
        assert_eq!(seen.user(), 0);
        assert!(seen.cached as u64 >= full.spilled, "{seen:?} {full:?}");
        // What is in there is nobody's else.
        flood(64, 40_000);
        assert_eq!((spilled().spilled, spilled().waiting), (full.spilled, full.waiting));
        // The worker has gone: the next look at the clock takes it in.
        fault::man_queues(false);
        while spilled().waiting != 0 {
            flood(64, 5000);
        }
        let after = spilled();
        assert_eq!((after.spilled, after.brought_home), (full.spilled, full.spilled));
        raw::collect();
        assert_eq!((walk().user(), walk().cached), (0, 0));
        assert_eq!(stats().in_use_bytes, 0, "memory is lost");
    })
    .is_quiet();
    child::run(test, "bytes", child::NO_WORKER, || {
        fault::man_queues(true);
        flood(200_000, 300);
        let full = spilled();
        assert!(full.spilled * 200_000 <= BYTES, "{full:?}");
        assert_eq!((full.spilled > 0, full.refused > 0), (SPILL, SPILL), "{full:?}");
        assert_eq!(walk().user(), 0);
        raw::collect();
        assert_eq!((walk().user(), walk().cached, spilled().waiting), (0, 0, 0));
        assert_eq!(stats().in_use_bytes, 0, "memory is lost");
    })
    .is_quiet();
}

#[test]
fn collect_takes_everything_out() {
    child::run("collect_takes_everything_out", "", &[], || {
        for _ in 0..3 {
            fill_the_queue();
            assert_eq!(spilled().waiting, if SPILL { PLACES } else { 0 });
            raw::collect();
            assert_eq!((walk().user(), walk().cached, spilled().waiting), (0, 0, 0));
            assert_eq!(spilled().spilled, spilled().brought_home);
            assert_eq!(stats().in_use_bytes, 0, "memory is lost");
        }
        // Those of another thread, which has ended, too; and without a heap of one's own.
        std::thread::spawn(fill_the_queue).join().expect("the thread");
        raw::collect();
        assert_eq!((walk().user(), walk().cached, spilled().waiting), (0, 0, 0));
        assert_eq!(stats().in_use_bytes, 0, "memory is lost");
    })
    .is_quiet();
}

#[test]
fn closed_layers_hand_nothing_over() {
    let closed: &[(&str, &str)] =
        if SPILL || BIN { &[("HAKMEM_FRONT_LAYERS", "off")] } else { &[] };
    child::run("closed_layers_hand_nothing_over", "", closed, || {
        fill_the_queue();
        assert_eq!((spilled(), binned()), Default::default());
    })
    .is_quiet();
}

#[test]
fn what_is_freed_twice_on_its_way_home_is_found() {
    let test = "what_is_freed_twice_on_its_way_home_is_found";
    // By who asks for it, and by the end of the process.
    for at_exit in [false, true] {
        let case = if at_exit { "exit" } else { "collect" };
        let ended = child::run(test, case, &[], || {
            fault::man_queues(true);
            let blocks: Vec<*mut u8> = (0..4000).map(|_| raw::malloc(64)).collect();
            // Their slab stays where it is.
            let keep = raw::malloc(64);
            let first = blocks[0];
            blocks.into_iter().for_each(free);
            assert_eq!(spilled().waiting > 0, SPILL);
            free(first);
            if !at_exit {
                raw::collect();
                free(keep);
            }
        });
        if !child::is_child() {
            assert_eq!(ended.signal, Some(libc::SIGABRT), "{ended:#?}");
            assert_eq!(ended.lines().len(), 1, "{ended:#?}");
        }
    }
}

#[test]
fn the_end_of_the_process_meets_a_full_queue() {
    child::run("the_end_of_the_process_meets_a_full_queue", "", &[], fill_the_queue).is_quiet();
    for round in 0..rounds(10) {
        let case = round.to_string();
        let ended = child::run("the_end_of_the_process_meets_a_full_queue", &case, WORKER, || {
            (0..=round).for_each(|_| flood(64, 10_000));
        });
        ended.is_good();
    }
}

/// Every kind of call by each of some threads, which come and go and free each other's blocks.
fn work(seed: u64) {
    let there = |seed: u64| {
        move || {
            let (mut random, mut model) = (Random::new(seed), Model::new());
            for _ in 0..rounds(2000) {
                let call = model.call(&mut random, 300);
                model.apply(call);
            }
            flood(100, 3000);
            model.check_all();
            model
        }
    };
    let made: Vec<_> = (0..3).map(|n| std::thread::spawn(there(3 * seed + n))).collect();
    let made: Vec<Model> = made.into_iter().map(|it| it.join().expect("a thread")).collect();
    let freers: Vec<_> = made.into_iter().map(|model| std::thread::spawn(|| drop(model))).collect();
    freers.into_iter().for_each(|it| it.join().expect("a thread"));
}

#[test]
fn nothing_is_lost_while_the_worker_serves() {
    let ended = child::run("nothing_is_lost_while_the_worker_serves", "", WORKER, || {
        let before = threads();
        let mut seed = 0;
        // The worker gets round to it in the end.
        while seed < 3 || (SPILL && spilled().brought_home == 0) || (BIN && binned().taken == 0) {
            work(seed);
            flood(64, 10_000);
            assert_eq!(walk().user(), 0, "round {seed}");
            seed += 1;
        }
        if !WORKER.is_empty() {
            // It takes in what is left.
            assert_eq!(hakmem::set_config("WORKER", "off"), Ok(()));
            while threads() > before {
                // More than the magazine takes: a worker that sleeps for good hears of it at a tick.
                flood(64, 10_000);
            }
        }
        raw::collect();
        assert_eq!((walk().user(), walk().cached), (0, 0));
        assert_eq!(spilled().waiting, 0);
        assert_eq!(spilled().spilled, spilled().brought_home, "{:?}", spilled());
        let bin = binned();
        assert_eq!(bin.stocked, bin.taken + bin.returned, "{bin:?}");
        assert_eq!(stats().in_use_bytes, 0, "memory is lost");
    });
    ended.is_good();
}

#[test]
fn bins_that_nobody_asks_for_are_emptied() {
    let ended = child::run("bins_that_nobody_asks_for_are_emptied", "", WORKER, || {
        // Those of one class are stocked, then only another one is asked for.
        while BIN && binned().stocked == 0 {
            flood(64, 10_000);
        }
        while BIN && binned().returned == 0 {
            flood(5000, 500);
        }
        assert_eq!(walk().user(), 0);
    });
    ended.is_good();
}

#[test]
fn forks_in_the_middle() {
    let ended = child::run("forks_in_the_middle", "", WORKER, || {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let end = Stop(&stop);
            let load = [0, 1].map(|seed| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut random = Random::new(seed);
                    while !stop.load(Ordering::Relaxed) {
                        flood(16 + random.below(1000), 2000);
                    }
                })
            });
            let codes = (0..rounds(100)).map(|_| {
                let mine = raw::malloc(100);
                // SAFETY: ours, 100 bytes long.
                unsafe { mine.write_bytes(0x5A, 100) };
                let child = fork(|| in_a_child(mine));
                free(mine);
                wait(child)
            });
            // Negative: the signal that ended it.
            let failed = codes.enumerate().find(|&(_, code)| code != 0);
            drop(end);
            assert_eq!(failed, None, "the number of the child, and its code");
            join_all(load);
        });
        raw::collect();
        assert_eq!(walk().user(), 0);
    });
    ended.is_good();
    // In the middle of a queue that is full.
    child::run("forks_in_the_middle", "full", &[], || {
        fill_the_queue();
        let mine = raw::malloc(100);
        // SAFETY: ours, 100 bytes long.
        unsafe { mine.write_bytes(0x5A, 100) };
        for _ in 0..3 {
            let child = fork(|| match in_a_child(mine) {
                // With one thread nothing is left behind.
                0 if walk().user() != 0 || walk().cached != 0 => 20,
                code => code,
            });
            assert_eq!(wait(child), 0);
        }
        assert_eq!(spilled().waiting, if SPILL { PLACES } else { 0 }, "the parent's is as it was");
        free(mine);
        raw::collect();
        assert_eq!((walk().user(), walk().cached), (0, 0));
    })
    .is_quiet();
}

/// The child uses the heap, without a worker and with one that never comes; 0 if all is well. What it
/// allocates for itself would come from the system's heap, whose locks may be taken.
fn in_a_child(mine: *mut u8) -> i32 {
    if !WORKER.is_empty() && hakmem::set_config("WORKER", "off").is_err() {
        return 10;
    }
    if spilled().waiting != 0 {
        return 11;
    }
    for manned in [true, false] {
        fault::man_queues(manned);
        // More than all layers and the magazine take, however far these have grown.
        let mut blocks = [std::ptr::null_mut::<u8>(); 8000];
        for round in 0..3 {
            for (number, at) in blocks.iter_mut().enumerate() {
                *at = raw::malloc(64);
                // SAFETY: ours.
                unsafe { at.cast::<usize>().write(number + round) };
            }
            for (number, at) in blocks.iter().enumerate() {
                // SAFETY: ours, freed once.
                unsafe {
                    if at.cast::<usize>().read() != number + round {
                        return 12;
                    }
                    raw::free(*at);
                }
            }
        }
        if manned && (spilled().waiting > 0) != SPILL {
            return 13;
        }
    }
    // SAFETY: the parent's block is the child's, too.
    unsafe {
        if mine.add(99).read() != 0x5A {
            return 14;
        }
        raw::free(mine);
    }
    raw::collect();
    if spilled().waiting == 0 { 0 } else { 15 }
}

#[test]
fn readers_say_what_is_not_compiled_in() {
    let (spill, bin) = (stats().background_spill, stats().background_bin);
    assert_eq!((spill.value().is_some(), bin.value().is_some()), (SPILL, BIN));
    let mut text = String::new();
    stats().write_text(&mut text).expect("a string takes everything");
    for (gate, on) in [("background-spill", SPILL), ("background-bin", BIN)] {
        assert_eq!(text.contains(&format!("not compiled in (feature {gate})")), !on, "{text}");
    }
}
