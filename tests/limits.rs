//! Requests that can't be met: absurd sizes, alignments, and a system that refuses memory. The
//! answer is null and `ENOMEM`, nothing else has changed, and the heap goes on working.

mod common;

use common::model::Model;
use common::random::Random;
use common::{SANITIZED, brief, child, join_all, memory, rounds, walk};
use hakmem::{Hakmem, raw};
use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[track_caller]
fn refused(what: &str, ask: impl FnOnce() -> *mut u8) {
    memory::set_errno(0);
    let at = ask();
    assert!(at.is_null(), "{what} gave {at:p}");
    assert_eq!(memory::errno(), libc::ENOMEM, "{what}: errno");
}

const LARGEST: usize = isize::MAX as usize;

#[test]
fn absurd_sizes_are_refused() {
    for size in
        [usize::MAX, usize::MAX - 1, usize::MAX - 4096, LARGEST + 1, LARGEST, LARGEST - 70_000]
    {
        refused("malloc", || raw::malloc(size));
        refused("calloc of one", || raw::calloc(1, size));
        refused("calloc of bytes", || raw::calloc(size, 1));
        for align in [16, 4096, 1 << 21, 1 << 30, 1 << 62] {
            refused("aligned_alloc", || raw::aligned_alloc(align, size));
        }
    }
}

#[test]
fn overflowing_products_are_refused() {
    for (count, size) in [
        (usize::MAX, 2),
        (2, usize::MAX),
        (1 << 32, 1 << 32),
        (1 << 33, (1 << 31) + 1),
        (usize::MAX, usize::MAX),
        (usize::MAX / 8 + 2, 8),
    ] {
        refused("calloc", || raw::calloc(count, size));
    }
    let none = raw::calloc(0, usize::MAX);
    assert!(!none.is_null(), "nothing of anything is nothing");
    // SAFETY: ours.
    unsafe { raw::free(none) };
}

#[test]
fn absurd_alignments_are_refused() {
    for shift in 47..63 {
        refused("aligned_alloc", || raw::aligned_alloc(1 << shift, 1));
        let layout = Layout::from_size_align(1, 1 << shift).expect("valid");
        // SAFETY: the size is not zero.
        refused("alloc", || unsafe { Hakmem::new().alloc(layout) });
        // SAFETY: as above.
        refused("alloc_zeroed", || unsafe { Hakmem::new().alloc_zeroed(layout) });
    }
}

#[test]
fn large_alignments_are_met() {
    for shift in 0..=33 {
        let align = 1usize << shift;
        for size in [1, 100, 5000, 300_000, 3 << 20] {
            let at = raw::aligned_alloc(align, size);
            assert!(!at.is_null(), "{size} at {align}");
            assert_eq!(at.addr() % align, 0, "{size} at {align}");
            // SAFETY: ours, `size` bytes long.
            unsafe {
                at.write(1);
                at.add(size - 1).write(2);
                assert!(raw::usable_size(at) >= size);
                raw::free(at);
            }
        }
    }
}

#[test]
fn a_refused_realloc_leaves_the_block_alone() {
    for size in [1, 16, 100, 2000, 100_000, 1 << 20, 2 << 20, 5 << 20] {
        let at = raw::malloc(size);
        // SAFETY: ours, `size` bytes long.
        unsafe {
            at.write_bytes(0x5A, size);
            for absurd in [usize::MAX, LARGEST + 1, LARGEST, LARGEST - (1 << 20), 1 << 50] {
                refused("realloc", || raw::realloc(at, absurd));
                assert!(raw::usable_size(at) >= size);
            }
            let bytes = std::slice::from_raw_parts(at, size);
            assert!(bytes.iter().all(|&byte| byte == 0x5A), "{size}");
            let layout = Layout::from_size_align(size, 8).expect("valid");
            let heap = Hakmem::new();
            let rust = heap.alloc(layout);
            refused("GlobalAlloc::realloc", || heap.realloc(rust, layout, LARGEST - 7));
            heap.dealloc(rust, layout);
            raw::free(at);
        }
    }
}

#[test]
fn zero_bytes_are_a_block() {
    let blocks: Vec<_> = (0..100).map(|_| raw::malloc(0)).collect();
    let mut distinct = blocks.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), blocks.len());
    for at in blocks {
        assert!(!at.is_null());
        // SAFETY: ours.
        unsafe {
            let at = raw::realloc(at, 0);
            assert!(!at.is_null(), "realloc to nothing gives a block");
            raw::free_sized(at, 0);
        }
    }
    // SAFETY: null is allowed.
    unsafe {
        raw::free(std::ptr::null_mut());
        assert_eq!(raw::usable_size(std::ptr::null()), 0);
        let at = raw::realloc(std::ptr::null_mut(), 10);
        assert!(!at.is_null());
        raw::free(at);
    }
}

#[test]
fn free_and_its_kin_keep_errno() {
    // Large ones too, with purges between: system calls that fail or not.
    memory::set_errno(4321);
    for round in 0..200 {
        for size in [10, 3000, 300_000, 3 << 20, 40 << 20] {
            let at = raw::malloc(size + round);
            // SAFETY: ours.
            unsafe { raw::free(at) };
        }
        if round % 50 == 0 {
            raw::collect();
        }
    }
    assert_eq!(memory::errno(), 4321);
}

/// Bytes of the smallest blocks that fill memory up.
fn smallest() -> usize {
    if brief() { 128 } else { 16 }
}

/// Fills memory up to a limit with blocks of `size` bytes, then lives on below it. Without a worker, which
/// may be returning just what is asked for next.
fn fills_up(size: usize, limit: fn(usize), lift: fn()) {
    let mut blocks = Vec::with_capacity((128 << 20) / size.max(8));
    // Before the first call: an arena reserved earlier would go beyond any limit.
    limit(96 << 20);
    let keep = raw::malloc(10);
    assert!(!keep.is_null());
    for round in 0..if brief() { 2 } else { 3 } {
        loop {
            memory::set_errno(0);
            let at = raw::malloc(size);
            if at.is_null() {
                assert_eq!(memory::errno(), libc::ENOMEM);
                break;
            }
            // SAFETY: ours, `size` bytes long.
            unsafe {
                at.write(round);
                at.add(size - 1).write(round);
            }
            blocks.push(at);
            assert!(blocks.len() < blocks.capacity(), "the limit does not hold");
        }
        let bytes = blocks.len() * size;
        assert!(bytes > 40 << 20, "round {round}: only {bytes} bytes of 96 MiB were given");
        walk();
        // SAFETY: ours; each is freed once.
        unsafe {
            // What is there can be freed, and serves again at once.
            for at in blocks.drain(..) {
                assert_eq!((at.read(), at.add(size - 1).read()), (round, round));
                raw::free(at);
            }
        }
        let again = raw::malloc(size);
        assert!(!again.is_null(), "round {round}: nothing to be had after everything was freed");
        // SAFETY: ours.
        unsafe { raw::free(again) };
    }
    // Memory that served one size serves another.
    raw::collect();
    for other in [100, 5000, 200_000, 1 << 20, 16 << 20] {
        let at = raw::malloc(other);
        assert!(!at.is_null(), "{other} bytes after {size}");
        // SAFETY: ours.
        unsafe { raw::free(at) };
    }
    lift();
    let at = raw::malloc(200 << 20);
    assert!(!at.is_null(), "the limit is gone");
    // SAFETY: ours.
    unsafe {
        raw::free(at);
        raw::free(keep);
    }
    walk();
}

#[test]
fn a_full_address_space_is_survived() {
    if SANITIZED {
        return;
    }
    for size in [smallest(), 500, 8000, 100_000, 1 << 20, 5 << 20] {
        let test = "a_full_address_space_is_survived";
        child::run(test, &size.to_string(), child::NO_WORKER, || {
            fills_up(size, memory::limit_address_space, memory::lift_limit);
        })
        .is_quiet();
    }
}

#[test]
fn memory_that_may_not_be_written_is_survived() {
    if SANITIZED {
        return;
    }
    for size in [smallest(), 8000, 1 << 20, 5 << 20] {
        let test = "memory_that_may_not_be_written_is_survived";
        child::run(test, &size.to_string(), child::NO_WORKER, || {
            fills_up(size, memory::limit_data, memory::lift_data);
        })
        .is_quiet();
    }
}

/// What the tests of this file rely on: one that fails where nothing is left says so and ends.
#[test]
fn a_test_that_fails_without_memory_tells_it() {
    if SANITIZED {
        return;
    }
    let variables = [("RUST_BACKTRACE", "1")];
    let ended = child::run("a_test_that_fails_without_memory_tells_it", "", &variables, || {
        memory::limit_data(1 << 20);
        for size in [64 << 10, 1 << 10, 16] {
            // SAFETY: takes the rest for good, from the C library's heap. (A compiler may not leave out
            // what it sees nobody use.)
            while !std::hint::black_box(unsafe { libc::malloc(size) }).is_null() {}
        }
        panic!("nothing is left");
    });
    if !child::is_child() {
        assert_eq!(ended.code, Some(101), "{ended:#?}");
        assert!(ended.stderr.contains("nothing is left"), "{ended:#?}");
    }
}

#[test]
fn a_process_without_huge_pages_lives() {
    let settings = [("HAKMEM_THP", "on")];
    child::run("a_process_without_huge_pages_lives", "", &settings, || {
        // SAFETY: the call touches no memory.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) }, 0);
        let mut model = Model::new();
        let mut random = Random::new(3);
        for _ in 0..5000 {
            let call = model.call(&mut random, 500);
            model.apply(call);
        }
        model.check_all();
        assert_eq!(walk().user(), model.in_slabs());
    })
    .is_quiet();
}

/// With as many mappings as a process may have, `munmap` in the middle of one is refused.
#[test]
fn a_process_with_too_many_mappings_returns_its_memory_all_the_same() {
    const BLOCK: usize = 4 << 20;
    let most = std::fs::read_to_string("/proc/sys/vm/max_map_count").expect("the limit");
    if SANITIZED || most.trim().parse::<usize>().expect("a number") > 100_000 {
        return; // Too many to make: each costs the kernel memory.
    }
    let test = "a_process_with_too_many_mappings_returns_its_memory_all_the_same";
    child::run(test, "", &[("HAKMEM_BIGCACHE", "off")], || {
        // Side by side, so that the kernel sees one mapping.
        let blocks = [(); 16].map(|()| raw::malloc(BLOCK));
        for at in blocks {
            // SAFETY: ours, `BLOCK` bytes long.
            unsafe { at.write_bytes(0x6B, BLOCK) };
        }
        let mut fillers = Vec::with_capacity(100_000);
        loop {
            let protection = if fillers.len() % 2 == 0 { libc::PROT_NONE } else { libc::PROT_READ };
            let at = memory::mapping(memory::PAGE, protection);
            if at.is_null() {
                break;
            }
            fillers.push(at);
        }
        let full = memory::resident();
        for at in blocks.iter().skip(1).step_by(2) {
            // SAFETY: ours, freed once.
            unsafe { raw::free(*at) };
        }
        let freed = full - memory::resident().min(full);
        assert!(freed > 7 * BLOCK, "{freed} of {} bytes were returned", 8 * BLOCK);
        // Whatever is answered, what is there stays whole.
        for size in [100, 5000, 300_000, BLOCK] {
            let at = raw::malloc(size);
            // SAFETY: null or ours.
            unsafe { raw::free(at) };
        }
        for at in fillers {
            // SAFETY: the test's own mapping, of one page.
            unsafe { libc::munmap(at.cast(), memory::PAGE) };
        }
        for at in blocks.iter().step_by(2) {
            // SAFETY: ours, `BLOCK` bytes long, freed once.
            unsafe {
                assert!(std::slice::from_raw_parts(*at, BLOCK).iter().all(|&byte| byte == 0x6B));
                raw::free(*at);
            }
        }
        let at = raw::malloc(BLOCK);
        assert!(!at.is_null(), "there is room for mappings again");
        // SAFETY: ours.
        unsafe { raw::free(at) };
        walk();
    })
    .is_quiet();
}

#[test]
fn no_memory_at_all_from_the_first_call_on() {
    if SANITIZED {
        return;
    }
    child::run("no_memory_at_all_from_the_first_call_on", "", &[], || {
        memory::limit_address_space(0);
        for size in [0, 100, 5000, 1 << 20, 1 << 30] {
            refused("malloc", || raw::malloc(size));
            refused("calloc", || raw::calloc(1, size));
            refused("aligned_alloc", || raw::aligned_alloc(64, size));
        }
        assert_eq!(raw::collect(), 0);
        memory::lift_limit();
        let mut model = Model::new();
        let mut random = Random::new(1);
        for _ in 0..2000 {
            let call = model.call(&mut random, 200);
            model.apply(call);
        }
        model.check_all();
        assert_eq!(walk().user(), model.in_slabs());
    })
    .is_quiet();
}

#[test]
fn random_calls_at_the_limit_break_nothing() {
    if SANITIZED {
        return;
    }
    for seed in 0..4u64 {
        let case = seed.to_string();
        child::run("random_calls_at_the_limit_break_nothing", &case, &[], || {
            let mut random = Random::new(seed);
            let mut blocks: Vec<(*mut u8, usize, u8)> = Vec::with_capacity(1 << 20);
            memory::limit_address_space(48 << 20);
            let mut refusals = 0;
            for step in 0..rounds(60_000) {
                let stamp = step as u8;
                let size = random.size(4 << 20);
                // SAFETY: blocks are ours, as long as noted, and each is freed once.
                unsafe {
                    match random.below(8) {
                        0..4 => {
                            let at = if random.below(2) == 0 {
                                raw::malloc(size)
                            } else {
                                raw::aligned_alloc(random.align(1 << 21), size)
                            };
                            if at.is_null() {
                                refusals += 1;
                            } else {
                                at.write_bytes(stamp, size);
                                blocks.push((at, size, stamp));
                            }
                        }
                        4..6 if !blocks.is_empty() => {
                            let index = random.below(blocks.len());
                            let (at, old, stamp) = blocks[index];
                            let to = raw::realloc(at, size);
                            if to.is_null() {
                                refusals += 1;
                            } else {
                                let kept = std::slice::from_raw_parts(to, old.min(size));
                                assert!(kept.iter().all(|&byte| byte == stamp));
                                to.write_bytes(stamp, size);
                                blocks[index] = (to, size, stamp);
                            }
                        }
                        _ if !blocks.is_empty() => {
                            let (at, size, stamp) = blocks.swap_remove(random.below(blocks.len()));
                            let kept = std::slice::from_raw_parts(at, size);
                            assert!(kept.iter().all(|&byte| byte == stamp));
                            raw::free(at);
                        }
                        _ => {}
                    }
                }
                if step % 10_000 == 0 {
                    walk();
                }
            }
            assert!(refusals > 10, "the limit was hardly met: {refusals}");
            for (at, size, stamp) in blocks.drain(..) {
                // SAFETY: as above.
                unsafe {
                    let kept = std::slice::from_raw_parts(at, size);
                    assert!(kept.iter().all(|&byte| byte == stamp));
                    raw::free(at);
                }
            }
            assert_eq!(walk().user(), 0);
        })
        .is_quiet();
    }
}

#[test]
fn threads_start_and_end_while_memory_is_short() {
    if SANITIZED {
        return;
    }
    child::run("threads_start_and_end_while_memory_is_short", "", &[], || {
        let started = AtomicUsize::new(0);
        let go = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let threads = [(); 8].map(|()| {
                scope.spawn(|| {
                    // What std does for a thread of its own is done: from here on, only spin.
                    started.fetch_add(1, Ordering::Release);
                    while !go.load(Ordering::Acquire) {
                        std::thread::yield_now();
                    }
                    // Its heap is born now, without memory: every call answers, none crashes.
                    for size in [16, 1000, 50_000, 1 << 20] {
                        let at = raw::malloc(size);
                        // SAFETY: null or ours.
                        unsafe { raw::free(at) };
                    }
                })
            });
            while started.load(Ordering::Acquire) < 8 {
                std::thread::yield_now();
            }
            // Enough for what the harness allocates, too little for a heap.
            memory::limit_address_space(600 << 10);
            go.store(true, Ordering::Release);
            join_all(threads);
        });
        memory::lift_limit();
        assert_eq!(walk().user(), 0);
    })
    .is_quiet();
}
