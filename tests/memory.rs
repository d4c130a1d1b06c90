//! What the kernel sees: memory that is given back really is, fresh pages are not touched, huge
//! blocks move by their pages, and a program that allocates nothing weighs nothing.

mod common;

use common::memory::{PAGE, flags_of, resident, resident_pages};
use common::{HARDENED, SANITIZED, child, walk};
use hakmem::{Hakmem, raw};
use std::alloc::{GlobalAlloc, Layout};

const MIB: usize = 1 << 20;

/// Blocks of `size` bytes, `total` bytes in all, every page written.
fn filled(size: usize, total: usize) -> Vec<*mut u8> {
    (0..total / size)
        .map(|_| {
            let at = raw::malloc(size);
            assert!(!at.is_null());
            // SAFETY: ours, `size` bytes long.
            unsafe { at.write_bytes(0xAB, size) };
            at
        })
        .collect()
}

fn free_all(blocks: impl IntoIterator<Item = *mut u8>) {
    // SAFETY: ours; each is freed once.
    blocks.into_iter().for_each(|at| unsafe { raw::free(at) });
}

#[test]
fn a_program_that_allocates_nothing_has_no_heap() {
    child::run("a_program_that_allocates_nothing_has_no_heap", "", &[], || {
        let stats = hakmem::stats();
        assert_eq!((stats.heaps, stats.mapped_bytes, stats.metadata_bytes), (0, 0, 0));
        // SAFETY: null is allowed.
        unsafe { raw::free(std::ptr::null_mut()) };
        assert!(!raw::trim(0));
        assert_eq!(hakmem::stats().mapped_bytes, 0, "trim makes no heap");
    })
    .is_quiet();
}

#[test]
fn the_first_block_costs_little() {
    if SANITIZED {
        return; // Shadow memory counts as resident, too.
    }
    child::run("the_first_block_costs_little", "", &[], || {
        let before = resident();
        let at = raw::malloc(100);
        // SAFETY: ours.
        unsafe { at.write_bytes(1, 100) };
        let cost = resident().saturating_sub(before);
        // The arrays of front-end layers lie in the heap, and in the one that it is copied from.
        let layers = hakmem::stats().layers.iter().filter(|layer| layer.compiled_in).count();
        let bound = (256 << 10) + layers * (16 << 10);
        assert!(cost <= bound, "the first block made {cost} of {bound} bytes resident");
    })
    .is_quiet();
}

#[test]
fn collect_returns_what_was_freed() {
    for size in [16usize, 64, 500, 4000, 20_000, 200_000, MIB, 2 * MIB, 10 * MIB] {
        // A worker may be returning a part of it just then.
        child::run("collect_returns_what_was_freed", &size.to_string(), child::NO_WORKER, || {
            // Neither the harness's growth nor the pointers are to be counted.
            let mut blocks = filled(size, 100 * MIB);
            let full = resident();
            free_all(blocks.drain(..));
            let returned = raw::collect();
            let after = resident();
            assert!(
                after + 97 * MIB < full,
                "{size}: {full} bytes resident became {after} (collect says {returned})"
            );
            assert!(raw::collect() < MIB, "a second collect finds nothing");
            let stats = hakmem::stats();
            assert!(stats.in_use_bytes < 2 * MIB, "{stats:?}");
            assert_eq!(stats.cached_bytes, 0, "{stats:?}");
            assert_eq!(walk().user(), 0);
        })
        .is_quiet();
    }
}

#[test]
fn trim_says_whether_it_returned_something() {
    child::run("trim_says_whether_it_returned_something", "", &[], || {
        free_all(filled(3000, 10 * MIB));
        assert!(raw::trim(0));
        assert!(!raw::trim(0));
        let large = filled(5 * MIB, 5 * MIB);
        free_all(large);
        assert!(raw::trim(0), "what a long run has left counts as well");
    })
    .is_quiet();
}

#[test]
fn free_pages_between_live_blocks_are_returned() {
    child::run("free_pages_between_live_blocks_are_returned", "", &[], || {
        // One block in 64 stays: every slab lives on, most of its pages are free.
        let blocks = filled(512, 64 * MIB);
        let full = resident();
        let (keep, go): (Vec<_>, Vec<_>) =
            blocks.into_iter().enumerate().partition(|(index, _)| index % 64 == 0);
        free_all(go.into_iter().map(|(_, at)| at));
        raw::collect();
        let after = resident();
        // Of every 8 pages, one holds a live block.
        assert!(after + 50 * MIB < full, "{full} became {after}");
        for (_, at) in keep {
            // SAFETY: ours, 512 bytes long.
            unsafe {
                let bytes = std::slice::from_raw_parts(at, 512);
                assert!(bytes.iter().all(|&byte| byte == 0xAB), "a live block was returned");
                raw::free(at);
            }
        }
        // The returned pages serve again, zeroed or not.
        free_all(filled(512, 64 * MIB));
        assert_eq!(walk().user(), 0);
    })
    .is_quiet();
}

#[test]
fn pages_of_parked_heaps_are_returned() {
    // A worker may have the parked heap in its hands just then.
    child::run("pages_of_parked_heaps_are_returned", "", child::NO_WORKER, || {
        let own = raw::malloc(10);
        let full = std::thread::spawn(|| {
            let blocks = filled(1000, 50 * MIB);
            let full = resident();
            free_all(blocks);
            full
        })
        .join()
        .expect("the thread");
        raw::collect();
        let after = resident();
        assert!(after + 48 * MIB < full, "{full} became {after}");
        free_all([own]);
    })
    .is_quiet();
}

#[test]
fn a_program_that_nearly_sleeps_gives_back_what_it_has_dropped() {
    if SANITIZED || hakmem::stats().layers.iter().any(|layer| layer.compiled_in) {
        return; // What layers serve never comes by the magazines.
    }
    let name = "a_program_that_nearly_sleeps_gives_back_what_it_has_dropped";
    child::run(name, "", &[("HAKMEM_DECAY_MS", "100")], || {
        let sizes = [32, 64, 200, 500, 1000, 9000];
        let all: Vec<_> = sizes.iter().map(|&size| filled(size, 16 * MIB)).collect();
        let full = resident();
        all.into_iter().for_each(free_all);
        // From here on everything is served from the magazines.
        let asleep = std::time::Instant::now();
        while resident() > full - 80 * MIB {
            assert!(asleep.elapsed().as_secs() < 30, "{} of {full} are resident", resident());
            std::thread::sleep(std::time::Duration::from_millis(10));
            sizes.iter().for_each(|&size| free_all(filled(size, 3 * size)));
        }
        assert_eq!(walk().user(), 0);
    })
    .is_quiet();
}

#[test]
fn zeroed_memory_from_the_system_is_not_touched() {
    child::run("zeroed_memory_from_the_system_is_not_touched", "", &[], || {
        let heap = Hakmem::new();
        for size in [300 << 10, MIB, 2 * MIB, 3 * MIB, 64 * MIB] {
            for rust in [false, true] {
                let layout = Layout::from_size_align(size, 16).expect("valid");
                let at = if rust {
                    // SAFETY: the size is not zero.
                    unsafe { heap.alloc_zeroed(layout) }
                } else {
                    raw::calloc(size / 8, 8)
                };
                let pages = resident_pages(at, size).expect("mapped");
                assert!(pages <= 1, "{size}: {pages} pages were touched");
                // SAFETY: ours.
                unsafe {
                    at.write_bytes(0xFF, size);
                    raw::free(at);
                }
                raw::collect();
                // A recycled address is zero again.
                let again = raw::calloc(1, size);
                // SAFETY: ours.
                unsafe {
                    let bytes = std::slice::from_raw_parts(again, size);
                    assert!(bytes.iter().all(|&byte| byte == 0));
                    raw::free(again);
                }
                raw::collect();
            }
        }
    })
    .is_quiet();
}

#[test]
fn huge_blocks_move_by_their_pages() {
    if HARDENED {
        return; // Between guard pages a block grows by a copy.
    }
    child::run("huge_blocks_move_by_their_pages", "", &[], || {
        let size = 64 * MIB;
        let mut at = raw::malloc(size);
        // SAFETY: ours; one page in 16 is written, the others are not.
        unsafe {
            for page in (0..size / PAGE).step_by(16) {
                at.add(page * PAGE).write(page as u8);
            }
            let before = resident_pages(at, size).expect("mapped");
            for mib in [80, 200, 100, 500, 30] {
                at = raw::realloc(at, mib * MIB);
                assert!(!at.is_null());
                let common = (mib * MIB).min(30 * MIB);
                for page in (0..common / PAGE).step_by(16) {
                    assert_eq!(at.add(page * PAGE).read(), page as u8);
                }
                // A copy would have touched every page.
                let now = resident_pages(at, mib * MIB).expect("mapped");
                assert!(now <= before + 1, "{mib} MiB: {before} resident pages became {now}");
            }
            raw::free(at);
        }
    })
    .is_quiet();
}

#[test]
fn what_grows_is_backed_by_huge_pages_and_what_is_large_at_once_is_not() {
    if SANITIZED {
        return; // The sanitizers' shadow of such a block takes longer than the test is worth.
    }
    child::run(
        "what_grows_is_backed_by_huge_pages_and_what_is_large_at_once_is_not",
        "",
        &[],
        || {
            let huge = |at: *const u8| flags_of(at).contains(&"hg".to_owned());
            let fresh = raw::malloc(20 * MIB);
            assert!(!huge(fresh));
            let mut at = raw::malloc(64 << 10);
            let mut size = 64 << 10;
            while size < 20 * MIB {
                // SAFETY: ours; written up to its size.
                unsafe {
                    at.add(size - 8).cast::<usize>().write(size);
                    let next = size + size / 2;
                    at = raw::realloc(at, next & !7);
                    assert_eq!(at.add(size - 8).cast::<usize>().read(), size);
                    size = next & !7;
                }
                assert!(size < 3 * MIB || huge(at), "{size}");
                assert!(size < 3 * MIB || at.addr().is_multiple_of(2 * MIB), "{at:p}");
            }
            free_all([fresh, at]);
        },
    )
    .is_quiet();
    let test = "what_grows_is_backed_by_huge_pages_and_what_is_large_at_once_is_not";
    child::run(test, "off", &[("HAKMEM_THP", "off")], || {
        let at = raw::malloc(4 * MIB);
        // SAFETY: ours.
        let at = unsafe { raw::realloc(at, 40 * MIB) };
        assert!(!flags_of(at).contains(&"hg".to_owned()));
        free_all([at]);
    })
    .is_quiet();
}

#[test]
fn a_large_size_is_kept_once_it_has_come_round() {
    // Long decay: a loaded machine may stop a round for a while.
    let slow = [("HAKMEM_DECAY_MS", "60000")];
    child::run("a_large_size_is_kept_once_it_has_come_round", "", &slow, || {
        let size = 20 * MIB;
        let round = || {
            let at = raw::malloc(size);
            // SAFETY: ours.
            unsafe { at.write_bytes(1, size) };
            free_all([at]);
            hakmem::stats().cached_bytes
        };
        let cached: Vec<_> = (0..3).map(|_| round()).collect();
        assert!(cached[0] < size, "a size never asked for again is kept: {cached:?}");
        assert!(cached[2] >= size, "a size asked for again and again is not kept: {cached:?}");
    })
    .is_quiet();
}

#[test]
fn the_pages_of_a_long_run_are_kept_once_it_has_come_round() {
    if SANITIZED {
        return; // What the sanitizers keep of the blocks is resident as well.
    }
    // Long decay: a loaded machine may stop a round for a while.
    let slow = [("HAKMEM_DECAY_MS", "60000")];
    child::run("the_pages_of_a_long_run_are_kept_once_it_has_come_round", "", &slow, || {
        let size = 5 * MIB;
        let before = resident();
        let round = || {
            free_all(filled(size, 4 * size));
            resident().saturating_sub(before)
        };
        let kept: Vec<_> = (0..3).map(|_| round()).collect();
        assert!(kept[0] < 16 * MIB, "pages of a size never asked for again are kept: {kept:?}");
        assert!(kept[2] > 18 * MIB, "pages of a size that comes round are not kept: {kept:?}");
        // SAFETY: a block in use, which has to read as zero whoever had its pages.
        unsafe {
            let zeroed = raw::calloc(1, size);
            assert!(std::slice::from_raw_parts(zeroed, size).iter().all(|&byte| byte == 0));
            free_all([zeroed]);
        }
    })
    .is_quiet();
}

#[test]
fn what_has_grown_past_2_mib_moves_its_pages_from_then_on() {
    child::run("what_has_grown_past_2_mib_moves_its_pages_from_then_on", "", &[], || {
        let at = raw::malloc(MIB);
        // In the way of growing in place.
        let others = [raw::malloc(MIB), raw::malloc(MIB)];
        // SAFETY: a block in use, written and read within its size.
        unsafe {
            at.write(7);
            let at = raw::realloc(at, 3 * MIB);
            let before = resident_pages(at, 3 * MIB).expect("mapped");
            let at = raw::realloc(at, 30 * MIB);
            assert_eq!(at.read(), 7);
            let now = resident_pages(at, 30 * MIB).expect("mapped");
            assert!(now <= before + 1, "{before} resident pages became {now}: they were copied");
            free_all([at, others[0], others[1]]);
        }
    })
    .is_quiet();
}

#[test]
fn a_huge_size_is_kept_while_it_comes_round_again_and_again() {
    // Long decay: a loaded machine may stop a round for a while.
    let slow = [("HAKMEM_DECAY_MS", "60000")];
    child::run("a_huge_size_is_kept_while_it_comes_round_again_and_again", "", &slow, || {
        let size = 100 * MIB;
        let round = || {
            free_all([raw::malloc(size)]);
            hakmem::stats().cached_bytes
        };
        let cached: Vec<_> = (0..12).map(|_| round()).collect();
        assert!(cached[1] < size, "asked for twice and kept: {cached:?}");
        assert!(cached[11] >= size, "asked for all the time and not kept: {cached:?}");
        assert!(raw::trim(0), "nothing to return");
        assert!(hakmem::stats().cached_bytes < size);
    })
    .is_quiet();
}

#[test]
fn shrinking_returns_the_tail() {
    child::run("shrinking_returns_the_tail", "", &[], || {
        for (from, to) in [(64 * MIB, 8 * MIB), (2 * MIB, 512 << 10)] {
            let at = raw::malloc(from);
            // SAFETY: ours.
            unsafe {
                at.write_bytes(0x42, from);
                let full = resident();
                let at = raw::realloc(at, to);
                raw::collect();
                let after = resident();
                assert!(after + (from - to) * 9 / 10 < full, "{from} to {to}: {full}, {after}");
                let kept = std::slice::from_raw_parts(at, to);
                assert!(kept.iter().all(|&byte| byte == 0x42));
                raw::free(at);
            }
        }
    })
    .is_quiet();
}

#[test]
fn small_programs_stay_small() {
    if SANITIZED {
        return; // Shadow memory counts as resident, too.
    }
    child::run("small_programs_stay_small", "", &[], || {
        let before = resident();
        // A few blocks of every size: classes don't cost a slab's worth of pages each.
        let blocks: Vec<_> = (1..=60).map(|n| filled(n * 17, n * 17)[0]).collect();
        let cost = resident().saturating_sub(before);
        assert!(cost < MIB, "sixty blocks made {cost} bytes resident");
        assert!(!flags_of(blocks[0]).contains(&"hg".to_owned()), "huge pages in a small heap");
        free_all(blocks);
    })
    .is_quiet();
}

#[test]
fn memory_is_flat_over_rounds_of_the_same_work() {
    // No tick: it would return memory in some rounds, and in others not.
    let settings = [&[("HAKMEM_DECAY_MS", "3600000")], child::NO_WORKER].concat();
    child::run("memory_is_flat_over_rounds_of_the_same_work", "", &settings, || {
        let mut peaks = Vec::new();
        for round in 0..30usize {
            let mut random = common::random::Random::new(5);
            let mut blocks: Vec<*mut u8> = Vec::new();
            for _ in 0..20_000 {
                if blocks.len() > 3000 {
                    let index = random.below(blocks.len());
                    free_all([blocks.swap_remove(index)]);
                }
                let size = random.size(100_000);
                let at = raw::malloc(size);
                // SAFETY: ours.
                unsafe { at.write_bytes(round as u8, size) };
                blocks.push(at);
            }
            peaks.push(hakmem::stats().in_use_bytes);
            free_all(blocks);
        }
        let early = *peaks[3..8].iter().max().expect("rounds");
        let late = *peaks[25..].iter().max().expect("rounds");
        assert!(late <= early + early / 8, "memory grows: {peaks:?}");
    })
    .is_quiet();
}
