//! The header byte: `tiny-header`, and what notices that one is wrong: `hdr-mismatch-log`,
//! `hdr-meta-mismatch`, `hdr-meta-fast`. The tests overwrite bytes on purpose.

use super::child;
use super::{META_FAST, META_MISMATCH, MISMATCH_LOG};
use crate::common::memory::PAGE;
use crate::common::{HARDENED, HEADER, walk};
use hakmem::{Event, Events, Reading, raw, stats};
use std::collections::{BTreeMap, BTreeSet};

/// What is no header: wrong in its highest bits, or of a class that is out of range.
const NONE: [u8; 5] = [0x00, 0x41, 0x80, 0xE2, 0xFF];

fn free(at: *mut u8) {
    // SAFETY: a block in use that nobody else has.
    unsafe { raw::free(at) }
}

fn usable(at: *mut u8) -> usize {
    // SAFETY: a block in use.
    unsafe { raw::usable_size(at) }
}

/// The byte before a block that begins no page.
fn byte(at: *mut u8) -> u8 {
    // SAFETY: the heap's own, on the page of a block that was handed out.
    unsafe { at.wrapping_sub(1).read() }
}

fn overwrite(at: *mut u8, byte: u8) {
    // SAFETY: as above; that it is the heap's is what the tests are about.
    unsafe { at.wrapping_sub(1).write(byte) }
}

/// So many blocks that have a header: none of them begins a page.
fn blocks(size: usize, count: usize) -> Vec<*mut u8> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    while with.len() < count {
        let at = raw::malloc(size);
        if at.addr().is_multiple_of(PAGE) { without.push(at) } else { with.push(at) }
    }
    without.into_iter().for_each(free);
    with
}

/// The header of the blocks that serve a size.
fn header_of(size: usize) -> u8 {
    let at = blocks(size, 1)[0];
    let header = byte(at);
    free(at);
    header
}

fn logged() -> Vec<Event> {
    let mut all = Vec::new();
    Events::HdrMismatchLog.each(|event| all.push(event));
    all
}

/// What the three have counted; 0 for one that is not compiled in.
fn counted() -> (u64, u64, u64) {
    let log = Events::HdrMismatchLog.count().value().unwrap_or(0);
    let stats = stats();
    let (came, freed) = (stats.hdr_meta_mismatch.value(), stats.hdr_meta_fast.value());
    (log, came.unwrap_or(0), freed.unwrap_or(0))
}

/// Blocks as numbers, which may go to another thread.
fn numbers(blocks: &[*mut u8]) -> Vec<usize> {
    blocks.iter().map(|at| at.expose_provenance()).collect()
}

#[test]
fn readers_of_what_is_off_say_so() {
    let stats = stats();
    assert_eq!(stats.hdr_meta_mismatch.value().is_some(), META_MISMATCH);
    assert_eq!(stats.hdr_meta_fast.value().is_some(), META_FAST);
    assert_eq!(Events::HdrMismatchLog.count().value().is_some(), MISMATCH_LOG);
    if !META_MISMATCH {
        assert_eq!(stats.hdr_meta_mismatch, Reading::NotCompiledIn("hdr-meta-mismatch"));
    }
    if !META_FAST {
        assert_eq!(stats.hdr_meta_fast, Reading::NotCompiledIn("hdr-meta-fast"));
    }
    if !MISMATCH_LOG {
        assert_eq!(Events::HdrMismatchLog.count(), Reading::NotCompiledIn("hdr-mismatch-log"));
    }
}

#[test]
fn every_class_has_a_header_of_its_own_and_nobody_else_writes_there() {
    let test = "header::every_class_has_a_header_of_its_own_and_nobody_else_writes_there";
    child::run(test, "", &[], || {
        let at = raw::malloc(64);
        let expected = match (HEADER, HARDENED) {
            (true, _) => 79,
            // Of 80 bytes, the last eight hold the canary.
            (_, true) => 72,
            _ => 64,
        };
        assert_eq!(usable(at), expected);
        free(at);
        if !HEADER {
            return;
        }
        let mut headers = BTreeMap::new();
        let mut all = Vec::new();
        // Every block of 4096 begins a page.
        for size in (1..3500).step_by(3) {
            for at in blocks(size, 2) {
                assert_eq!(at.addr() % 16, 0, "{size}");
                let (usable, header) = (usable(at), byte(at));
                assert!(usable >= size && usable % 16 == 15, "{size}: {usable}");
                let known = *headers.entry(usable).or_insert(header);
                assert_eq!(header, known, "{size}");
                // All that the program may use.
                // SAFETY: ours, so long.
                unsafe { at.write_bytes(0xC5, usable) };
                all.push((at, header));
            }
        }
        let tiny: BTreeSet<u8> = headers.range(..1024).map(|(_, &header)| header).collect();
        assert_eq!(tiny.len(), 32, "one for each tiny class but the first: {headers:?}");
        assert!(tiny.iter().all(|header| (0xC2..=0xE1).contains(header)), "{headers:?}");
        assert!(headers.range(1024..).all(|(_, &header)| header == 0xC0), "{headers:?}");
        for (at, header) in all {
            assert_eq!(byte(at), header, "{at:p}");
            free(at);
        }
        raw::collect();
        assert_eq!((walk().user(), walk().cached), (0, 0));
        assert_eq!(counted(), (0, 0, 0));
    })
    .is_quiet();
}

#[test]
fn a_free_believes_the_header_unless_it_is_compared() {
    child::run("header::a_free_believes_the_header_unless_it_is_compared", "", &[], || {
        if !HEADER {
            return;
        }
        let (at, other) = (blocks(64, 1)[0], header_of(200));
        let own = byte(at);
        overwrite(at, other);
        free(at);
        if META_FAST {
            assert_eq!(byte(at), own, "it has been put right");
            assert_eq!(raw::malloc(64), at);
        } else {
            assert_eq!(raw::malloc(200), at, "it lies where the header said");
            overwrite(at, own);
            free(at);
            assert_eq!(raw::malloc(64), at);
        }
        free(at);
        // A mid block's says only that the slab knows.
        overwrite(at, 0xC0);
        assert_eq!(raw::malloc(64), at);
        free(at);
        assert_eq!(raw::malloc(64), at);
        assert_eq!(counted(), (0, 0, if META_FAST { 2 } else { 0 }));
    })
    .is_quiet();
}

#[test]
fn what_is_no_header_is_logged_and_the_slab_asked() {
    const FIRST: usize = 70;
    const THREADS: usize = 3;
    child::run("header::what_is_no_header_is_logged_and_the_slab_asked", "", &[], || {
        if !HEADER {
            return;
        }
        let damage = |all: &[*mut u8], own: u8| {
            for (number, &at) in all.iter().enumerate() {
                overwrite(at, NONE[number % NONE.len()]);
                free(at);
                assert_eq!(byte(at), own, "it has been put right");
            }
        };
        let (all, own) = (blocks(100, FIRST), header_of(100));
        damage(&all, own);
        // Mid blocks, by threads: those that are freed without harm are not counted.
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let mid = numbers(&blocks(3000, 10));
                std::thread::spawn(move || {
                    let mid: Vec<_> =
                        mid.into_iter().map(std::ptr::with_exposed_provenance_mut).collect();
                    damage(&mid[..5], 0xC0);
                    mid[5..].iter().copied().for_each(free);
                    raw::collect();
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("the thread"));
        blocks(100, 200).into_iter().for_each(free);
        raw::collect();
        assert_eq!(walk().user(), 0);
        let total = if MISMATCH_LOG { FIRST + THREADS * 5 } else { 0 };
        assert_eq!(counted(), (total as u64, 0, 0));
        let log = logged();
        assert_eq!(log.len(), if MISMATCH_LOG { 64 } else { 0 }, "the first ones are kept");
        for (order, (event, at)) in log.iter().zip(&all).enumerate() {
            assert_eq!((event.order, event.name), (order as u64, "no-header"));
            assert_eq!(event.address, Some(at.addr()));
            assert_eq!(event.byte, Some(NONE[order % NONE.len()]));
            assert_eq!(event.class, usize::from(own - 0xC0), "the slab's");
        }
        if MISMATCH_LOG {
            let mut text = String::new();
            Events::HdrMismatchLog.write_text(&mut text).expect("a string takes everything");
            assert_eq!(text.lines().count(), 65, "{text}");
            let line = text.lines().nth(2).expect("the second entry");
            assert!(line.contains("byte 0x41 C4 (112 bytes)"), "{line}");
            let mut json = String::new();
            Events::HdrMismatchLog.write_json(&mut json).expect("a string takes everything");
            assert_eq!(json.matches("\"byte\":255").count(), 12, "{json}");
        }
    })
    .is_quiet();
}

#[test]
fn a_header_of_another_class_is_found_out_at_home_or_at_once() {
    let test = "header::a_header_of_another_class_is_found_out_at_home_or_at_once";
    child::run(test, "", &[], || {
        if !HEADER {
            return;
        }
        let other = header_of(200);
        let mislead = |all: Vec<*mut u8>| {
            for at in all {
                let own = byte(at);
                overwrite(at, other);
                free(at);
                assert_eq!(byte(at), if META_FAST { own } else { other });
            }
        };
        let agrees = |all: u64| {
            let came = if META_MISMATCH && !META_FAST { all } else { 0 };
            let freed = if META_FAST { all } else { 0 };
            assert_eq!(counted(), (0, came, freed));
        };
        mislead(blocks(64, 40));
        raw::collect();
        agrees(40);
        // The mid tier's, and into another heap's slabs.
        mislead(blocks(3000, 10));
        let far = numbers(&blocks(64, 20));
        let there = std::thread::spawn(move || {
            let far = far.into_iter().map(std::ptr::with_exposed_provenance_mut::<u8>);
            for at in far {
                overwrite(at, other);
                free(at);
            }
            raw::collect();
        });
        there.join().expect("the thread");
        raw::collect();
        agrees(70);
        // They are where they belong, and their headers are right.
        assert_eq!((walk().user(), walk().cached), (0, 0));
        let again = blocks(64, 200);
        let own = byte(again[0]);
        assert!(own != other && again.iter().all(|&at| byte(at) == own));
        again.into_iter().for_each(free);
        raw::collect();
        agrees(70);
        if META_MISMATCH || META_FAST {
            let stats = stats();
            let (mut text, mut json) = (String::new(), String::new());
            stats.write_text(&mut text).expect("a string takes everything");
            stats.write_json(&mut json).expect("a string takes everything");
            let name = if META_FAST { "hdr_meta_fast" } else { "hdr_meta_mismatch" };
            assert_eq!(stats.get(name), Some(Reading::Value(70)));
            assert!(json.contains(&format!("\"{name}\":70")), "{json}");
            let line = text.lines().find(|line| line.contains(name)).expect("its line");
            assert!(line.ends_with(" 70"), "{line}");
        }
    })
    .is_quiet();
}

#[test]
fn headers_are_there_again_when_their_pages_come_back() {
    child::run("header::headers_are_there_again_when_their_pages_come_back", "", &[], || {
        if !HEADER {
            return;
        }
        for size in [24, 100, 500, 1000, 3000] {
            let own = header_of(size);
            for round in 0..3 {
                let all = blocks(size, 2000);
                assert!(all.iter().all(|&at| byte(at) == own), "{size} bytes, round {round}");
                // Some stay, so that slabs do, too; whole pages between them go.
                let kept: Vec<_> = all.iter().copied().step_by(97).collect();
                let gone = all.iter().enumerate().filter(|(at, _)| at % 97 != 0);
                gone.for_each(|(_, &at)| free(at));
                raw::collect();
                assert!(kept.iter().all(|&at| byte(at) == own), "{size} bytes, round {round}");
                let again = blocks(size, 2000);
                assert!(again.iter().all(|&at| byte(at) == own), "{size} bytes, round {round}");
                again.into_iter().chain(kept).for_each(free);
            }
        }
        raw::collect();
        assert_eq!(walk().user(), 0);
        assert_eq!(counted(), (0, 0, 0));
    })
    .is_quiet();
}
