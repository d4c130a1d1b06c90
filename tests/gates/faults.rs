//! Calls of the operating system that are refused on purpose: `fault-injection`.
//!
//! One workload, run once for every call that it makes, with that call refused, or all from that one
//! on, or all of its kind from that one on; and threads under load, with calls refused at random. Each
//! time: whoever finds no memory is told so as documented, nobody loses a byte or a block, the walker
//! finds the heap in order, and when memory is back the heap serves everything as before.

use super::FAULTS;
use crate::common::fork::{fork, wait};
use crate::common::model::{Call, Model};
use crate::common::places::Cornered;
use crate::common::random::Random;
use crate::common::{HARDENED, SANITIZED, brief, child, memory, walk};
use hakmem::fault::{self, Kind, Plan};
use hakmem::{Reading, raw};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

const WORKER: bool = cfg!(feature = "background-worker");
const MIB: usize = 1 << 20;

fn calls() -> u64 {
    fault::calls().value().expect("compiled in")
}

fn steps(model: &mut Model, seed: u64, count: usize, aim: usize) {
    let mut random = Random::new(seed);
    for _ in 0..count {
        let call = model.call(&mut random, aim);
        model.apply(call);
    }
}

/// Every tier and every kind of call, threads that come and go, a fork, a trim.
fn work() -> Model {
    let mut model = Model::tolerant();
    steps(&mut model, 1, 120, 60);
    // From a slab to a run, to a mapping of its own, which moves and shrinks.
    model.apply(Call::Malloc(100 << 10));
    for size in [300 << 10, MIB, 3 * MIB, 5 * MIB, 7 * MIB, 3 * MIB, 200 << 10] {
        model.apply(Call::Realloc(model.len().saturating_sub(1), size));
    }
    for (align, size) in [(1 << 16, 100_000), (2 * MIB, 100), (4 * MIB, 5 * MIB)] {
        model.apply(Call::Aligned(align, size));
    }
    model.apply(Call::Calloc(5, MIB / 2));
    model.apply(Call::Calloc(1, 300 << 10));
    for seed in 2..4 {
        // Its blocks come back, and are freed here.
        let there = thread::spawn(move || {
            let mut model = Model::tolerant();
            steps(&mut model, seed, 50, 30);
            model
        });
        let mut left = there.join().expect("a thread");
        left.check_all();
        left.clear();
    }
    let child = fork(|| {
        steps(&mut model, 5, 20, 40);
        model.check_all();
        0
    });
    assert_eq!(wait(child), 0, "the child in the middle");
    model.apply(Call::Collect);
    steps(&mut model, 6, 40, 10);
    model.check_all();
    model
}

/// Memory is back: what was served is whole, everything is served, nothing is lost.
fn recovers(mut model: Model) {
    fault::refuse(None);
    assert_eq!(walk().user(), model.in_slabs());
    model.check_all();
    model.insist();
    steps(&mut model, 7, 60, 40);
    thread::spawn(|| steps(&mut Model::new(), 8, 30, 20)).join().expect("a thread");
    assert_eq!(walk().user(), model.in_slabs());
    drop(model);
    raw::collect();
    if WORKER {
        // It may have had a parked heap in its hands just then.
        assert_eq!(hakmem::set_config("WORKER", "off"), Ok(()));
        while hakmem::stats().in_use_bytes != 0 {
            thread::yield_now();
            raw::collect();
        }
    }
    let walk = walk();
    assert_eq!((walk.user(), walk.large), (0, 0), "blocks are lost: {walk:?}");
    let stats = hakmem::stats();
    assert_eq!((stats.huge_blocks, stats.in_use_bytes), (0, 0), "memory is lost: {stats:?}");
}

/// The child's code where the plan's call never came.
const NEVER: i32 = 3;

/// How long a sweep goes through every call. The worker makes its own as time passes, so the slower the
/// machine the more there are: from then on the steps double each time this has passed again.
const EVERY_ONE: Duration = Duration::from_secs(30);

/// Runs the workload in one process for each call from `first` on, `step` apart, until a plan's first
/// call never comes. Gives how many plans met theirs.
fn sweep(what: &str, first: u64, step: u64, plan: impl Fn(u64) -> Plan) -> u64 {
    let started = Instant::now();
    let mut points = 0;
    let mut n = first;
    loop {
        let child = fork(|| {
            let run = || {
                fault::refuse(Some(plan(n)));
                let model = work();
                let met = calls() >= n;
                recovers(model);
                met
            };
            match catch_unwind(AssertUnwindSafe(run)) {
                Ok(true) => 0,
                Ok(false) => NEVER,
                Err(_) => 1,
            }
        });
        match wait(child) {
            0 => points += 1,
            NEVER => return points,
            code => panic!("{what} {n}: {code} (negative: the signal that ended it)"),
        }
        n += step << (started.elapsed().as_secs() / EVERY_ONE.as_secs());
    }
}

/// Runs a body on a fresh heap; without the gate only shows that nothing is there.
fn on_fresh_heap(test: &str, case: &str, body: impl FnOnce()) {
    if SANITIZED {
        return; // No threads after a fork.
    }
    let settings: &[(&str, &str)] =
        if WORKER { &[("HAKMEM_WORKER", "on"), ("HAKMEM_DECAY_MS", "10")] } else { &[] };
    let ended = child::run(&format!("faults::{test}"), case, settings, || {
        if FAULTS {
            body();
        } else {
            fault::refuse(Some(Plan::from(1)));
            let at = raw::malloc(5 * MIB);
            assert!(!at.is_null());
            // SAFETY: ours.
            unsafe { raw::free(at) };
            assert_eq!(fault::calls(), Reading::NotCompiledIn("fault-injection"));
        }
    });
    show(case, &ended);
}

/// Fails unless the child ended well; says how many faults it tried, for `--nocapture`.
fn show(case: &str, ended: &child::Ended) {
    ended.is_quiet();
    for (_, figure) in ended.stdout.lines().filter_map(|line| line.split_once("faults: ")) {
        println!("{case}: {figure}");
    }
}

/// Processes that share a sweep's calls, and how many of them there are.
const PARTS: u64 = 4;
fn parts() -> std::ops::RangeInclusive<u64> {
    1..=if brief() { 1 } else { PARTS }
}

#[test]
fn every_call_alone() {
    for part in parts() {
        on_fresh_heap("every_call_alone", &part.to_string(), || {
            let points = sweep("without call", part, PARTS, Plan::nth);
            println!("faults: {points} calls, each refused once");
            assert!(points > 20, "the workload makes {points} calls only");
        });
    }
}

#[test]
fn every_call_and_all_that_follow() {
    for part in parts() {
        on_fresh_heap("every_call_and_all_that_follow", &part.to_string(), || {
            let points = sweep("without anything from call", part, PARTS, Plan::from);
            println!("faults: {points} calls, each refused with all that follow");
            assert!(points > 0);
        });
    }
}

#[test]
fn every_kind_of_call_from_each_on() {
    for kind in Kind::ALL {
        on_fresh_heap("every_kind_of_call_from_each_on", &format!("{kind:?}"), || {
            let points = sweep("from call", 1, if brief() { PARTS } else { 1 }, |n| {
                Plan::from(n).only(kind)
            });
            println!("faults: {points} calls, each refused with all of its kind that follow");
            let met = match kind {
                // Only where another thread holds a lock, or someone asks.
                Kind::Wait | Kind::Resident => true,
                Kind::Thread | Kind::Barrier => (points > 0) == WORKER,
                // Hardened blocks are never resized where they stand.
                Kind::Remap => points > 0 || HARDENED,
                _ => points > 0,
            };
            assert!(met, "the workload makes {points} such calls");
        });
    }
}

/// The child's code where the huge block came to lie where it shares an entry with a slab.
const SHARED: i32 = 4;

/// Grows a huge block that has one place to go to, with calls refused as planned. Gives whether the
/// plan's first call came, and whether the block has moved.
fn grow(cornered: &Cornered, plan: Plan, n: u64) -> (bool, bool) {
    fault::refuse(Some(plan));
    memory::set_errno(0);
    // SAFETY: ours; used no more unless it stays.
    let at = unsafe { raw::realloc(cornered.huge, Cornered::NEW) };
    let (errno, met) = (memory::errno(), calls() >= n);
    fault::refuse(None);
    let (now, least) = if at.is_null() {
        assert_eq!(errno, libc::ENOMEM);
        (cornered.huge, Cornered::OLD)
    } else {
        (at, Cornered::NEW)
    };
    // SAFETY: ours, in use.
    assert!(unsafe { raw::usable_size(now) } >= least);
    Cornered::holds(now, Cornered::OLD);
    cornered.check();
    walk();
    // SAFETY: ours; each is freed once.
    unsafe {
        raw::free(now);
        cornered.blocks.iter().for_each(|&at| raw::free(at));
    }
    raw::collect();
    assert_eq!((walk().user(), hakmem::stats().huge_blocks), (0, 0));
    (met, at.addr() == cornered.place)
}

#[test]
fn a_huge_block_moves_whole_or_stays() {
    if SANITIZED || HARDENED || !FAULTS {
        return; // No threads after a fork; between guard pages a block grows by a copy.
    }
    let test = "faults::a_huge_block_moves_whole_or_stays";
    let ended = child::run(test, "", child::NO_WORKER, || {
        let cornered = Cornered::set_up();
        let plans: [fn(u64) -> Plan; 2] = [Plan::nth, Plan::from];
        for plan in plans {
            let (mut points, mut shared) = (0, 0);
            for n in 1.. {
                let child =
                    fork(|| match catch_unwind(AssertUnwindSafe(|| grow(&cornered, plan(n), n))) {
                        Ok((true, true)) => SHARED,
                        Ok((true, false)) => 0,
                        Ok((false, _)) => NEVER,
                        Err(_) => 1,
                    });
                match wait(child) {
                    SHARED => shared += 1,
                    0 => {}
                    NEVER => break,
                    code => panic!("{n}: {code} (negative: the signal that ended it)"),
                }
                points += 1;
            }
            println!("faults: {points} calls refused, {shared} times the block moves there");
            assert!(points > 1 && shared < points);
        }
        // With nothing refused but what the limit refuses, there is no other place.
        assert_eq!(grow(&cornered, Plan::none(), 1), (true, true));
    });
    show("a corner", &ended);
}

/// A place that was reserved for a move that was refused may be lost, so no other one is reserved until
/// the system has moved a block again.
#[test]
fn a_refused_move_is_not_tried_again_at_once() {
    if HARDENED {
        return; // Between guard pages a block grows by a copy.
    }
    on_fresh_heap("a_refused_move_is_not_tried_again_at_once", "", || {
        // Calls of `mremap` while a new block grows under this plan; what they refuse is copied.
        let tried = |plan: Plan| {
            let at = raw::malloc(10 * MIB);
            fault::refuse(Some(plan.only(Kind::Remap)));
            // SAFETY: ours, freed once.
            unsafe {
                let grown = raw::realloc(at, 18 * MIB);
                assert!(!grown.is_null());
                raw::free(grown);
            }
            calls()
        };
        // Where it stands, onto a place that was reserved, anywhere.
        assert_eq!(tried(Plan::from(1)), 3);
        assert_eq!(tried(Plan::from(1)), 2);
        // It is moved.
        assert_eq!(tried(Plan::nth(1)), 2);
        assert_eq!(tried(Plan::from(1)), 3);
    });
}

#[test]
fn calls_refused_at_random_under_load() {
    for seed in 0..6u64 {
        on_fresh_heap("calls_refused_at_random_under_load", &seed.to_string(), || {
            fault::refuse(Some(Plan::at_random(seed, 2 << (2 * (seed % 3)))));
            let models: Vec<Model> = thread::scope(|scope| {
                let threads = [0, 1, 2, 3].map(|number| {
                    scope.spawn(move || {
                        let mut model = Model::tolerant();
                        for round in 0..4 {
                            let seed = 100 * seed + 10 * number + round;
                            steps(&mut model, seed, 500, 200);
                            // One more thread, whose heap is born and parked meanwhile.
                            let other = thread::spawn(move || {
                                let mut model = Model::tolerant();
                                steps(&mut model, seed + 5, 300, 100);
                                model
                            });
                            // What it left is freed here.
                            drop(other.join().expect("a thread"));
                        }
                        model.check_all();
                        model
                    })
                });
                for _ in 0..3 {
                    let child = fork(|| {
                        let mut model = Model::tolerant();
                        steps(&mut model, seed, 200, 50);
                        model.check_all();
                        model.clear();
                        0
                    });
                    assert_eq!(wait(child), 0, "a child (negative: the signal that ended it)");
                }
                threads.map(|thread| thread.join().expect("a thread")).into()
            });
            let refused: usize = models.iter().map(Model::refused).sum();
            println!("faults: {refused} requests refused, of {} calls some", calls());
            fault::refuse(None);
            let mut models = models.into_iter();
            let kept = models.next().expect("four");
            drop(models);
            recovers(kept);
        });
    }
}

#[test]
fn threads_whose_end_nobody_would_tell_lose_nothing() {
    for kind in [Kind::ThreadKey, Kind::BindThread] {
        let test = "threads_whose_end_nobody_would_tell_lose_nothing";
        on_fresh_heap(test, &format!("{kind:?}"), || {
            fault::refuse(Some(Plan::from(1).only(kind)));
            let mut model = Model::tolerant();
            for seed in 0..20 {
                let there = thread::spawn(move || {
                    let mut model = Model::new();
                    steps(&mut model, seed, 100, 50);
                    model
                });
                drop(there.join().expect("a thread"));
                steps(&mut model, seed, 20, 50);
            }
            assert!(calls() >= 20);
            assert_eq!(model.refused(), 0, "memory is there");
            // One thread at a time: one heap serves them all, or two if the worker has one in hands.
            let most = 1 + usize::from(WORKER);
            assert!(hakmem::stats().heaps <= most, "{} heaps", hakmem::stats().heaps);
            recovers(model);
            assert!(hakmem::stats().heaps <= 1 + most, "{} heaps", hakmem::stats().heaps);
        });
    }
}

#[test]
fn what_is_asked_is_counted_and_refused_as_planned() {
    // More than an arena's longest run.
    const PIECE: usize = 200 * MIB;
    on_fresh_heap("what_is_asked_is_counted_and_refused_as_planned", "", || {
        assert_eq!(hakmem::set_config("BIGCACHE", "off"), Ok(()));
        let block = || raw::malloc(PIECE);
        // The first makes the tables, which are mapped as well.
        // SAFETY: ours.
        unsafe { raw::free(block()) };
        let count = |plan: Plan| {
            fault::refuse(Some(plan.only(Kind::Unmap)));
            for _ in 0..20 {
                // SAFETY: ours.
                unsafe { raw::free(block()) };
            }
            calls()
        };
        // A mapping is 2 MiB-aligned by luck or after a second try, whose ends are cut off.
        let freed = count(Plan::none());
        assert!(freed >= 20, "{freed}");
        assert!(count(Plan::from(1)) >= 20);
        fault::refuse(Some(Plan::from(1).only(Kind::Map)));
        assert!(block().is_null());
        // Once, and once more after giving back what could be given back.
        assert_eq!(calls(), 2);
        fault::refuse(Some(Plan::nth(2).only(Kind::Map)));
        let (first, second) = (block(), block());
        assert!(!first.is_null() && !second.is_null(), "one call refused is made up for");
        for at in [first, second] {
            // SAFETY: ours.
            unsafe { raw::free(at) };
        }
        fault::refuse(None);
        assert_eq!(calls(), 0);
    });
}

#[test]
fn a_worker_that_could_not_start_is_tried_again() {
    let threads = || std::fs::read_dir("/proc/self/task").expect("/proc/self/task").count();
    for kind in [Kind::Thread, Kind::Barrier] {
        on_fresh_heap("a_worker_that_could_not_start_is_tried_again", &format!("{kind:?}"), || {
            let before = threads();
            fault::refuse(Some(Plan::from(1).only(kind)));
            let mut model = Model::new();
            let mut seed = 0;
            let mut until = |holds: &dyn Fn() -> bool| {
                // The clock goes on by itself, and with it the ticks of this thread.
                while WORKER && !holds() {
                    seed += 1;
                    steps(&mut model, seed, 200, 100);
                }
            };
            until(&|| calls() >= 2);
            assert_eq!(threads(), before);
            fault::refuse(None);
            until(&|| threads() > before);
            drop(model);
        });
    }
}
