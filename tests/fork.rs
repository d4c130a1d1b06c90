//! `fork` while other threads are in the middle of allocating: the child's heap works, and the
//! parent's goes on.

mod common;

use common::fork::{fork, wait};
use common::random::Random;
use common::{SANITIZED, Stop, alone, child, join_all, number, rounds, walk};
use hakmem::raw;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Every kind of call, on small arrays of the stack; 0 if all is well.
fn exercise(seed: u64) -> i32 {
    exercise_for(seed, 2000)
}

/// The same with so many steps.
fn exercise_for(seed: u64, steps: usize) -> i32 {
    let mut random = Random::new(seed);
    let mut blocks = [(std::ptr::null_mut::<u8>(), 0usize, 0u8); 64];
    for step in 0..steps {
        let place = random.below(blocks.len());
        let (at, size, stamp) = blocks[place];
        let wanted = random.size(3 << 20);
        // SAFETY: blocks are ours, as long as noted, and each is freed once.
        unsafe {
            if at.is_null() {
                let at = match random.below(3) {
                    0 => raw::malloc(wanted),
                    1 => raw::calloc(1, wanted),
                    _ => raw::aligned_alloc(random.align(4096), wanted),
                };
                if at.is_null() {
                    return 10;
                }
                at.write_bytes(step as u8, wanted);
                blocks[place] = (at, wanted, step as u8);
            } else {
                if size != 0 && (at.read() != stamp || at.add(size - 1).read() != stamp) {
                    return 11;
                }
                if random.below(4) == 0 {
                    let to = raw::realloc(at, wanted);
                    if to.is_null() {
                        return 12;
                    }
                    to.write_bytes(step as u8, wanted);
                    blocks[place] = (to, wanted, step as u8);
                } else {
                    raw::free(at);
                    blocks[place].0 = std::ptr::null_mut();
                }
            }
        }
    }
    for (at, _, _) in blocks {
        // SAFETY: as above; null is allowed.
        unsafe { raw::free(at) };
    }
    raw::collect();
    0
}

/// `FORKS` sets the number of forks. It is the moment of the fork that is tried, so nine children of
/// ten do little.
#[test]
fn forks_under_load() {
    let _alone = alone();
    let stop = AtomicBool::new(false);
    let calls = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let end = Stop(&stop);
        let load = [0, 1, 2].map(|seed| {
            let (stop, calls) = (&stop, &calls);
            scope.spawn(move || {
                let mut seed = seed;
                while !stop.load(Ordering::Relaxed) {
                    seed += 3;
                    assert_eq!(exercise(seed), 0);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        // Short-lived threads, so that forks meet births and ends as well.
        let births = {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::spawn(|| {
                        let at = raw::malloc(100);
                        // SAFETY: ours.
                        unsafe { raw::free(at) };
                    })
                    .join()
                    .expect("the thread");
                }
            })
        };
        let mine = raw::malloc(5000);
        // SAFETY: ours, 5000 bytes long.
        unsafe { mine.write_bytes(0x3C, 5000) };
        let started = Instant::now();
        let forks = number("FORKS", rounds(200));
        for round in 0..forks {
            let child = fork(|| {
                // SAFETY: the parent's block is the child's, too.
                unsafe {
                    if mine.add(4999).read() != 0x3C {
                        return 1;
                    }
                    raw::free(mine);
                }
                exercise_for(round as u64, if round % 10 == 0 { 2000 } else { 200 })
            });
            assert_eq!(wait(child), 0, "child {round} (negative: the signal that ended it)");
            // Enough of it day by day; what was asked for is done to the end.
            if std::env::var_os("FORKS").is_none() && started.elapsed() > Duration::from_secs(60) {
                break;
            }
        }
        // SAFETY: ours, 5000 bytes long; the children freed copies of their own.
        unsafe {
            assert_eq!(mine.add(4999).read(), 0x3C);
            raw::free(mine);
        }
        drop(end);
        join_all(load.into_iter().chain([births]));
    });
    assert!(calls.load(Ordering::Relaxed) > 0, "no load");
    walk();
}

#[test]
fn several_threads_fork_at_once() {
    let _alone = alone();
    std::thread::scope(|scope| {
        join_all([0, 1, 2, 3].map(|seed| {
            scope.spawn(move || {
                for round in 0..rounds(30) as u64 {
                    let child = fork(|| exercise(seed * 1000 + round));
                    assert_eq!(exercise(seed * 2000 + round), 0);
                    assert_eq!(wait(child), 0);
                }
            })
        }));
    });
    walk();
}

#[test]
fn a_child_frees_what_other_threads_had_made() {
    let _alone = alone();
    // Blocks of a thread that is alive in the parent and missing in the child.
    let (send, receive) = std::sync::mpsc::channel::<Vec<usize>>();
    let (done, end) = std::sync::mpsc::channel::<()>();
    let maker = std::thread::spawn(move || {
        let mut random = Random::new(7);
        send.send(
            (0..2000).map(|_| raw::malloc(random.size(50_000)).expose_provenance()).collect(),
        )
        .expect("sent");
        end.recv().expect("the end");
    });
    let blocks = receive.recv().expect("blocks");
    let child = fork(|| {
        for &address in &blocks {
            // SAFETY: the child's copies; each is freed once.
            unsafe { raw::free(std::ptr::with_exposed_provenance_mut(address)) };
        }
        exercise(3)
    });
    assert_eq!(wait(child), 0);
    for &address in &blocks {
        // SAFETY: ours; each is freed once.
        unsafe { raw::free(std::ptr::with_exposed_provenance_mut(address)) };
    }
    done.send(()).expect("the maker waits");
    maker.join().expect("the maker");
    walk();
}

#[test]
fn children_of_children_and_their_threads() {
    let test = "children_of_children_and_their_threads";
    child::run(test, "", &[], || {
        let outer = fork(|| {
            let inner = fork(|| exercise(1));
            let here = exercise(2);
            let there = wait(inner);
            if here != 0 { here } else { there }
        });
        assert_eq!(exercise(3), 0);
        assert_eq!(wait(outer), 0);
        if SANITIZED {
            return; // A sanitizer allows no threads after a fork.
        }
        // In a child with one thread, new threads may start.
        let threaded = fork(|| {
            let codes = std::thread::scope(|scope| {
                let threads = [4, 5, 6].map(|seed| scope.spawn(move || exercise(seed)));
                threads.map(|thread| thread.join().unwrap_or(99))
            });
            codes.into_iter().max().unwrap_or(98)
        });
        assert_eq!(wait(threaded), 0);
    })
    .is_quiet();
}

#[test]
fn forks_race_with_the_first_call_of_the_process() {
    let test = "forks_race_with_the_first_call_of_the_process";
    for case in 0..rounds(40) {
        child::run(test, &case.to_string(), &[("HAKMEM_PREWARM", "on")], || {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..case * 20 {
                        std::hint::spin_loop();
                    }
                    assert_eq!(exercise(1), 0);
                });
                let children = [0, 1, 2, 3].map(|seed| fork(|| exercise(seed)));
                for child in children {
                    assert_eq!(wait(child), 0);
                }
            });
        })
        .is_quiet();
    }
}

#[test]
fn settings_change_while_others_fork() {
    let _alone = alone();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let end = Stop(&stop);
        let changer = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(hakmem::set_config("DECAY_MS", "250"), Ok(()));
            }
        });
        for _ in 0..rounds(200) {
            let child = fork(|| {
                let set = hakmem::set_config("DECAY_MS", "250");
                i32::from(set.is_err()) + exercise(1)
            });
            assert_eq!(wait(child), 0, "the child (-14: it hung)");
        }
        drop(end);
        changer.join().expect("the changer");
    });
}
