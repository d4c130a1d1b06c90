//! Sampled guard pages (gate `guard-sample`): every call works on a guarded block, every mistake with
//! one ends the process with a report, and a program that asks for none gets none.
//!
//! The cases are children with `HAKMEM_GUARD_SAMPLE=1`: every refill is sampled, so that a child's
//! first blocks are guarded, as long as there are slots.

mod common;

use common::child::{self, Ended};
use common::model::Model;
use common::random::Random;
use common::{SANITIZED, rounds, walk};
use hakmem::{Config, Hakmem, raw};
use std::alloc::{GlobalAlloc, Layout};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

const ON: bool = cfg!(feature = "guard-sample");
const PAGE: usize = 4096;

/// Runs a case with every refill sampled; `None` where there is nothing to see.
#[track_caller]
fn sampled(test: &str, case: &str, run: fn()) -> Option<Ended> {
    if !ON {
        return None;
    }
    let ended = child::run(test, case, &[("HAKMEM_GUARD_SAMPLE", "1")], run);
    (!child::is_child()).then_some(ended)
}

/// The case ends with this signal, after a report that has these words.
#[track_caller]
fn reports(test: &str, case: &str, signal: i32, words: &[&str], run: fn()) {
    let Some(ended) = sampled(test, case, run) else { return };
    assert_eq!(ended.signal, Some(signal), "{case}: {ended:#?}");
    let lines = ended.lines();
    assert_eq!(lines.len(), ended.stderr.lines().count(), "{case}: {ended:#?}");
    for word in words.iter().chain(&["expected"]) {
        assert!(lines[0].contains(word), "{case}: no {word:?} in {:?}", lines[0]);
    }
    // Who did it, and where: a thread, and frames of this very binary.
    assert!(lines[1].contains("done here by thread "), "{case}: {ended:#?}");
    let frames = lines.iter().filter(|line| line.contains("guard_sample-")).count();
    assert!(frames >= 4, "{case}: {frames} frames of this program: {ended:#?}");
    assert!(ended.stderr.contains("allocated by thread "), "{case}: {ended:#?}");
}

fn free(at: *mut u8) {
    // SAFETY: none, where the test is about a bad free; otherwise the block is the caller's.
    unsafe { raw::free(at) }
}

fn read(at: *const u8) -> u8 {
    // SAFETY: none: a test expects the fault, or the memory is mapped.
    unsafe { at.read_volatile() }
}

fn write(at: *mut u8) {
    // SAFETY: as above.
    unsafe { at.write_volatile(0x41) }
}

/// A block at the right end of its page, or at the left one. Each is as likely; the others stay.
fn at_end(right: bool) -> *mut u8 {
    loop {
        let at = raw::malloc(64);
        assert!(!at.is_null());
        // SAFETY: ours.
        let size = unsafe { raw::usable_size(at) };
        let end = (at.addr() + size).is_multiple_of(PAGE);
        if end == right && (end || at.addr().is_multiple_of(PAGE)) {
            return at;
        }
    }
}

#[test]
fn a_program_may_have_built_in_how_often() {
    if !ON {
        return;
    }
    static HEAP: Hakmem = Hakmem::with(Config::new().guard_sample(1));
    let unset = [("HAKMEM_GUARD_SAMPLE", child::UNSET)];
    child::run("a_program_may_have_built_in_how_often", "", &unset, || {
        let layout = Layout::from_size_align(64, 16).expect("valid");
        for _ in 0..8 {
            // SAFETY: the size is not zero; the blocks are ours.
            let at = unsafe { HEAP.alloc(layout) };
            // SAFETY: as above.
            let end = at.addr() + unsafe { raw::usable_size(at) };
            assert!(at.addr().is_multiple_of(PAGE) || end.is_multiple_of(PAGE), "{at:p}");
        }
    })
    .is_quiet();
}

#[test]
fn a_use_after_free_is_reported() {
    let test = "a_use_after_free_is_reported";
    let words = &["use after free: read at 0x", "which was freed"];
    reports(test, "read", libc::SIGSEGV, words, || {
        let at = raw::malloc(64);
        free(at);
        let _ = read(at);
    });
    let words = &["use after free: write at 0x", "8 bytes into", "which was freed"];
    reports(test, "write", libc::SIGSEGV, words, || {
        let at = raw::malloc(1000);
        free(at);
        write(at.wrapping_add(8));
    });
    reports(test, "after a sized free", libc::SIGSEGV, &["use after free"], || {
        let at = raw::malloc(64);
        // SAFETY: ours.
        unsafe { raw::free_sized(at, 64) };
        let _ = read(at);
    });
    let stack = sampled(test, "both stacks", || {
        let at = raw::malloc(64);
        free(at);
        let _ = read(at);
    });
    if let Some(ended) = stack {
        assert!(ended.stderr.contains("  freed by thread "), "{ended:#?}");
    }
}

#[test]
fn an_access_beyond_a_block_is_reported() {
    let test = "an_access_beyond_a_block_is_reported";
    let words = &["overflow: write at 0x", "0 bytes behind the block"];
    reports(test, "overflow", libc::SIGSEGV, words, || {
        let at = at_end(true);
        // SAFETY: ours.
        write(at.wrapping_add(unsafe { raw::usable_size(at) }));
    });
    let words = &["underflow: read at 0x", "1 bytes before the block"];
    reports(test, "underflow", libc::SIGSEGV, words, || {
        let _ = read(at_end(false).wrapping_sub(1));
    });
}

#[test]
fn a_bad_free_is_reported() {
    let test = "a_bad_free_is_reported";
    reports(test, "twice", libc::SIGABRT, &["double free of 0x", "free already"], || {
        let at = raw::malloc(64);
        free(at);
        free(at);
    });
    reports(test, "twice, by size", libc::SIGABRT, &["double free of 0x"], || {
        let at = raw::malloc(64);
        free(at);
        // SAFETY: none, that is the point.
        unsafe { raw::free_sized(at, 64) };
    });
    reports(test, "from another thread", libc::SIGABRT, &["double free of 0x"], || {
        static AT: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
        AT.store(raw::malloc(64), Ordering::Relaxed);
        free(AT.load(Ordering::Relaxed));
        let _ = std::thread::spawn(|| free(AT.load(Ordering::Relaxed))).join();
    });
    reports(test, "the middle", libc::SIGABRT, &["free of 0x", "inside the block"], || {
        free(raw::malloc(64).wrapping_add(16));
    });
    reports(test, "realloc", libc::SIGABRT, &["realloc of 0x", "free already"], || {
        let at = raw::malloc(64);
        free(at);
        // SAFETY: none, that is the point.
        let _ = unsafe { raw::realloc(at, 100) };
    });
}

#[test]
fn every_call_works_on_guarded_blocks() {
    let test = "every_call_works_on_guarded_blocks";
    let good = |ended: Option<Ended>| ended.iter().for_each(Ended::is_quiet);
    good(sampled(test, "by hand", || {
        let at = raw::calloc(4, 16);
        // SAFETY: ours throughout.
        unsafe {
            assert!((0..64).all(|byte| at.add(byte).read() == 0));
            at.write_bytes(0x3D, 64);
            assert!(raw::owns(at) && raw::usable_size(at) >= 64);
            for size in [65, 3000, 10_000, 300 << 10, 5000, 64, 1] {
                let at = raw::realloc(raw::malloc(64), size);
                assert!(!at.is_null() && raw::usable_size(at) >= size);
                raw::free(at);
            }
            let mut at = at;
            for size in [200, 20_000, 100] {
                at = raw::realloc(at, size);
                assert!((0..64).all(|byte| at.add(byte).read() == 0x3D));
            }
            raw::free_sized_aligned(raw::aligned_alloc(2048, 100), 2048, 100);
            raw::free(at);
        }
    }));
    good(sampled(test, "a model", || {
        let mut random = Random::new(7);
        let mut model = Model::new();
        for _ in 0..rounds(20_000) {
            let call = model.call(&mut random, 400);
            model.apply(call);
        }
        model.check_all();
        model.clear();
        raw::collect();
        walk();
    }));
    good(sampled(test, "threads", || {
        std::thread::scope(|scope| {
            for seed in 0..4 {
                scope.spawn(move || {
                    let mut random = Random::new(seed);
                    let mut model = Model::new();
                    for _ in 0..rounds(5000) {
                        let call = model.call(&mut random, 100);
                        model.apply(call);
                    }
                    model.check_all();
                });
            }
        });
    }));
    good(sampled(test, "more than there are slots", || {
        let blocks: Vec<_> = (0..5000).map(|_| raw::malloc(48)).collect();
        let mut distinct = blocks.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), blocks.len());
        blocks.iter().for_each(|&at| write(at.wrapping_add(47)));
        blocks.into_iter().for_each(free);
        raw::collect();
        assert_eq!(walk().user(), 0);
    }));
}

#[test]
fn a_child_goes_on_with_its_parents_blocks() {
    let ended = sampled("a_child_goes_on_with_its_parents_blocks", "fork", || {
        let blocks: Vec<_> = (0..20).map(|_| raw::malloc(64)).collect();
        // SAFETY: the child allocates, frees and ends at once.
        let child = unsafe { libc::fork() };
        if child == 0 {
            blocks.iter().for_each(|&at| write(at));
            blocks.into_iter().for_each(free);
            let more: Vec<_> = (0..20).map(|_| raw::malloc(64)).collect();
            more.into_iter().for_each(free);
            // SAFETY: ends the child.
            unsafe { libc::_exit(7) };
        }
        let mut status = 0;
        // SAFETY: our own child.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{status:#x}");
        blocks.into_iter().for_each(free);
    });
    ended.iter().for_each(Ended::is_quiet);
}

/// A handler that was there before sees every fault: those that are not ours alone, ours after the
/// report.
#[test]
fn a_handler_that_was_there_before_is_called() {
    if SANITIZED {
        return; // The sanitizer's own handler is the one that was there.
    }
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn handler(_: libc::c_int) {
        SEEN.fetch_add(1, Ordering::Relaxed);
        // SAFETY: may be called in a handler.
        unsafe { libc::_exit(40 + SEEN.load(Ordering::Relaxed) as i32) };
    }
    fn install() {
        // SAFETY: a valid handler.
        unsafe { libc::signal(libc::SIGSEGV, handler as *const () as usize) };
    }
    let test = "a_handler_that_was_there_before_is_called";
    let ended = sampled(test, "not ours", || {
        install();
        let _ = raw::malloc(64);
        let _ = read(ptr::without_provenance(PAGE));
    });
    if let Some(ended) = ended {
        assert!(ended.code == Some(41) && ended.lines().is_empty(), "{ended:#?}");
    }
    let ended = sampled(test, "ours", || {
        install();
        let at = raw::malloc(64);
        free(at);
        let _ = read(at);
    });
    if let Some(ended) = ended {
        assert!(ended.code == Some(41) && ended.lines()[0].contains("use after"), "{ended:#?}");
    }
}

#[test]
fn who_asks_for_none_gets_none() {
    let test = "who_asks_for_none_gets_none";
    let run = |value| {
        child::run(test, value, &[("HAKMEM_GUARD_SAMPLE", value)], || {
            for _ in 0..1000 {
                // A class of its own each time, so that each allocation is a refill.
                let at = raw::malloc(64);
                free(at);
                let _ = read(at);
                raw::collect();
            }
        })
    };
    run("off").is_quiet();
    let ended = run("0");
    if !child::is_child() {
        let words = "is not allowed, expected off or a number from 1 to";
        assert!(ended.lines().first().is_some_and(|line| line.contains(words)), "{ended:#?}");
    }
    if !ON {
        let ended = run("5");
        if !child::is_child() {
            assert!(ended.stderr.contains("asks for what is not compiled in"), "{ended:#?}");
        }
    }
}
