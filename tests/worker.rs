//! The background worker (gate `background-worker`): an idle program shrinks, a small one has no
//! second thread, and neither fork nor exit nor a change of mind meets a round half-way.
//!
//! Without the gate the same programs show that nothing of it is there.

mod common;

use common::memory::resident;
use common::model::Model;
use common::random::Random;
use common::work::threads;
use common::{SANITIZED, child, join_all, walk};
use hakmem::raw;
use std::time::{Duration, Instant};

/// Whether this build has a worker.
const ON: bool = cfg!(feature = "background-worker");
const MIB: usize = 1 << 20;

/// The worker does not touch layers, and together they keep much: closed where there are any.
const CLOSED: &[(&str, &str)] =
    if cfg!(feature = "layers") { &[("HAKMEM_FRONT_LAYERS", "off")] } else { &[] };

/// Waits until `holds`: without a worker two seconds, for what must not come; with one as long as
/// a busy machine may take.
fn soon(holds: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(if ON { 120 } else { 2 }) {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    holds()
}

/// Switches the worker off and waits until there are no more than `count` threads.
fn dismiss(count: usize) {
    assert_eq!(hakmem::set_config("WORKER", "off").is_ok(), ON);
    assert!(soon(|| threads() <= count) || !ON, "the worker ends");
}

/// A heap of `total` bytes in blocks of 16 to 1,024 bytes, of which nine in ten have been freed at
/// random. Gives those that are left.
fn thinned(total: usize) -> Vec<*mut u8> {
    let mut random = Random::new(90);
    let mut blocks = Vec::new();
    let mut bytes = 0;
    while bytes < total {
        let size = 16 + random.below(1009);
        let at = raw::malloc(size);
        // SAFETY: ours.
        unsafe { at.write_bytes(7, size) };
        blocks.push(at);
        bytes += size;
    }
    for _ in 0..blocks.len() / 10 * 9 {
        let at = blocks.swap_remove(random.below(blocks.len()));
        // SAFETY: ours, freed once.
        unsafe { raw::free(at) };
    }
    blocks
}

#[test]
fn an_idle_program_shrinks() {
    if SANITIZED {
        return; // Shadow memory counts as resident, too.
    }
    child::run("an_idle_program_shrinks", "", CLOSED, || {
        let before = resident();
        let kept = thinned(100 * MIB);
        // It may have been at work before the last block was freed.
        let full = if ON { 100 * MIB } else { resident() - before };
        let now = || resident().saturating_sub(before);
        let shrunk = soon(|| now() < full * 13 / 20);
        assert_eq!(shrunk, ON, "{full} bytes became {}", now());
        assert_eq!(threads() > 2, ON);
        // SAFETY: ours, each was filled with this byte.
        assert!(kept.iter().all(|&at| unsafe { *at } == 7));
        raw::collect();
        walk();
    })
    .is_quiet();
}

#[test]
fn cached_blocks_of_an_idle_thread_go_back() {
    if SANITIZED {
        return;
    }
    child::run("cached_blocks_of_an_idle_thread_go_back", "", &[], || {
        let _grown = thinned(40 * MIB);
        let run = raw::malloc(MIB);
        // SAFETY: ours.
        unsafe {
            run.write_bytes(1, MIB);
            raw::free(run);
        }
        // Only what this thread keeps is looked at: a page of the run.
        let gone = soon(|| common::memory::resident_pages(run, MIB) != Some(MIB / 4096));
        assert_eq!(gone, ON);
    })
    .is_quiet();
}

#[test]
fn what_comes_home_to_a_parked_heap_goes_back() {
    const BLOCKS: usize = 4000;
    let settings: &[(&str, &str)] =
        if ON { &[("HAKMEM_WORKER", "on"), ("HAKMEM_DECAY_MS", "1")] } else { &[] };
    child::run("what_comes_home_to_a_parked_heap_goes_back", "", settings, || {
        let own = thinned(4 * MIB);
        let count = threads() - usize::from(ON);
        let (give, blocks) = std::sync::mpsc::channel::<Vec<usize>>();
        let (ready, born) = std::sync::mpsc::channel::<()>();
        let freer = std::thread::spawn(move || {
            // A heap of its own, before there is one to take over.
            let first = raw::malloc(10);
            ready.send(()).expect("waited for");
            let first = [first.expose_provenance()];
            for at in blocks.recv().expect("blocks").into_iter().chain(first) {
                // SAFETY: ours, freed once.
                unsafe { raw::free(std::ptr::with_exposed_provenance_mut(at)) };
            }
        });
        born.recv().expect("the other thread");
        let made = std::thread::spawn(|| {
            (0..BLOCKS).map(|_| raw::malloc(1000).expose_provenance()).collect::<Vec<_>>()
        });
        let made = made.join().expect("the thread");
        // The maker's heap is purged while its blocks are in use, then given them back by a heap that
        // the worker empties.
        raw::collect();
        give.send(made).expect("the other thread waits");
        freer.join().expect("the other thread");
        std::thread::sleep(Duration::from_millis(if ON { 100 } else { 0 }));
        for at in own {
            // SAFETY: ours, freed once.
            unsafe { raw::free(at) };
        }
        if ON {
            dismiss(count);
        }
        raw::collect();
        assert_eq!(walk().user(), 0);
        assert_eq!(hakmem::stats().in_use_bytes, 0, "kept by a heap that nobody has");
    })
    .is_quiet();
}

#[test]
fn a_small_program_has_no_worker() {
    child::run("a_small_program_has_no_worker", "", &[], || {
        let count = threads();
        let _kept = thinned(4 * MIB);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(threads(), count);
    })
    .is_quiet();
}

#[test]
fn it_comes_and_goes_as_it_is_told() {
    let test = "it_comes_and_goes_as_it_is_told";
    let ended = child::run(test, "off", &[("HAKMEM_WORKER", "off")], || {
        let count = threads();
        let _kept = thinned(100 * MIB);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(threads(), count);
    });
    ended.is_good();
    let ended = child::run(test, "on", &[("HAKMEM_WORKER", "on")], || {
        let count = threads();
        let mut kept = thinned(MIB);
        assert_eq!(threads(), count + usize::from(ON));
        if ON {
            dismiss(count);
            assert_eq!(threads(), count);
            kept.extend(thinned(100 * MIB));
            assert_eq!(threads(), count);
            assert_eq!(hakmem::set_config("WORKER", "auto"), Ok(()));
            kept.extend(thinned(20 * MIB));
            assert_eq!(threads(), count + 1, "another one is born");
        }
    });
    ended.is_good();
    if !child::is_child() && !ON {
        assert!(ended.lines().iter().any(|line| line.contains("WORKER")), "{ended:#?}");
    }
}

/// It ends although nobody ticks, asleep for good or in a pause that is longer than the test.
#[test]
fn one_that_sleeps_hears_that_it_is_switched_off() {
    let test = "one_that_sleeps_hears_that_it_is_switched_off";
    for decay in ["1", "100000000"] {
        let variables = [("HAKMEM_WORKER", "on"), ("HAKMEM_DECAY_MS", decay)];
        child::run(test, decay, &variables, || {
            let count = threads();
            let _kept = thinned(MIB);
            assert_eq!(threads(), count + usize::from(ON));
            // Sixteen rounds that find nothing, or one and a pause.
            std::thread::sleep(Duration::from_millis(if ON { 1500 } else { 0 }));
            dismiss(count);
        })
        .is_good();
    }
}

#[test]
fn threads_work_on_while_it_visits() {
    let variables = [("HAKMEM_WORKER", "on"), ("HAKMEM_DECAY_MS", "1")];
    let ended = child::run("threads_work_on_while_it_visits", "", &variables, || {
        let count = threads();
        let until = Instant::now() + Duration::from_secs(2);
        std::thread::scope(|scope| {
            join_all([0, 1, 2, 3].map(|seed| {
                scope.spawn(move || {
                    let mut random = Random::new(seed);
                    let mut model = Model::new();
                    while Instant::now() < until {
                        for _ in 0..1000 {
                            let call = model.call(&mut random, 500);
                            model.apply(call);
                        }
                        // Idle now and then, so that there is something to visit.
                        std::thread::sleep(Duration::from_millis(random.below(30) as u64));
                        model.check_all();
                    }
                })
            }));
        });
        dismiss(count);
        raw::collect();
        assert_eq!(walk().user(), 0);
    });
    ended.is_good();
}

#[test]
fn fork_in_the_middle() {
    let variables = [("HAKMEM_WORKER", "on"), ("HAKMEM_DECAY_MS", "1")];
    let ended = child::run("fork_in_the_middle", "", &variables, || {
        for round in 0..if SANITIZED { 3 } else { 20 } {
            let kept = thinned(4 * MIB);
            // SAFETY: the child uses the heap, and nothing of the test harness.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                // The worker of the parent is not there; one of its own may be.
                let more = thinned(4 * MIB);
                let fine = more.iter().chain(&kept).all(|&at| {
                    // SAFETY: ours, each was filled with this byte.
                    unsafe { *at == 7 }
                });
                // SAFETY: ends the child without the harness's exit handlers.
                unsafe { libc::_exit(i32::from(!fine)) };
            }
            let mut status = 0;
            // SAFETY: waits for our child.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            assert_eq!(status, 0, "round {round}");
            for at in kept {
                // SAFETY: ours, freed once.
                unsafe { raw::free(at) };
            }
        }
    });
    ended.is_good();
}

#[test]
fn exit_in_the_middle() {
    let variables = [("HAKMEM_WORKER", "on"), ("HAKMEM_DECAY_MS", "1")];
    for round in 0..if SANITIZED { 2 } else { 10 } {
        let ended = child::run("exit_in_the_middle", &round.to_string(), &variables, || {
            let _kept = thinned(8 * MIB);
            std::thread::sleep(Duration::from_millis(round));
        });
        ended.is_good();
    }
}
