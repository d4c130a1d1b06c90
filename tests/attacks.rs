//! Attacks on the heap, as programs with a memory error make them possible: what is noticed, when,
//! and what an attacker gains where nothing is.
//!
//! Each case is a child that says `done` once the attack is over. `SECURITY.md` has the table of
//! what is promised; each row stands here as a test of the default heap and, built with the gate
//! `hardened`, of the hardened one.

mod common;

use common::{HARDENED, child, walk};
use hakmem::raw;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicPtr, Ordering};

/// How a case ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    /// The attack itself ends the process, with a line of the heap that has these words.
    AtOnce(&'static str),
    /// It is over when the heap notices, which says these words.
    Later(&'static str),
    /// The attack itself faults.
    Faults,
    /// Nothing is noticed, nothing is gained.
    InVain,
}

use Ends::{AtOnce, Faults, InVain, Later};

/// Runs an attack in a child; `default` and `hardened` are how it ends in either heap.
#[track_caller]
fn attack(test: &str, case: &str, default: Ends, hardened: Ends, run: fn(&dyn Fn())) {
    let ended = child::run(test, case, &[], || run(&|| println!("done")));
    if child::is_child() {
        return;
    }
    let expected = if HARDENED { hardened } else { default };
    let done = ended.stdout.contains("done");
    let (signal, words) = match expected {
        AtOnce(words) | Later(words) => (Some(libc::SIGABRT), words),
        Faults => (Some(libc::SIGSEGV), ""),
        InVain => (None, ""),
    };
    assert_eq!(ended.signal, signal, "{case}: {ended:#?}");
    assert_eq!(done, matches!(expected, Later(_) | InVain), "{case}: {ended:#?}");
    if words.is_empty() {
        assert!(ended.lines().is_empty(), "{case}: {ended:#?}");
    } else {
        assert!(ended.lines().len() == 1 && ended.stderr.contains(words), "{case}: {ended:#?}");
    }
    if expected == InVain {
        ended.is_good();
    }
}

fn free(at: *mut u8) {
    // SAFETY: none: these are attacks. What they may do to the heap is what is tested.
    unsafe { raw::free(at) }
}

fn write(at: *mut u8, byte: u8, count: usize) {
    // SAFETY: as above; the memory is mapped wherever the test expects no fault.
    unsafe {
        for offset in 0..count {
            at.add(offset).write_volatile(byte);
        }
    }
}

fn read(at: *const u8) -> u8 {
    // SAFETY: as above.
    unsafe { at.read_volatile() }
}

fn usable(at: *mut u8) -> usize {
    // SAFETY: callers hold the block.
    unsafe { raw::usable_size(at) }
}

/// Frees the block in another thread.
fn free_elsewhere(at: *mut u8) {
    static AT: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
    AT.store(at, Ordering::Relaxed);
    std::thread::spawn(|| free(AT.load(Ordering::Relaxed))).join().expect("the thread");
}

/// An overflow by `count` bytes of 0x41 from a block of `size` bytes, which is freed then.
fn overflow(size: usize, count: usize) {
    let at = raw::malloc(size);
    write(at.wrapping_add(usable(at)), 0x41, count);
    free(at);
}

#[test]
fn an_overflow_into_a_neighbour() {
    let test = "an_overflow_into_a_neighbour";
    let found = AtOnce("overflow of");
    attack(test, "one byte of 1", InVain, found, |done| {
        overflow(1, 1);
        done();
    });
    attack(test, "one byte of 16", InVain, found, |done| {
        overflow(16, 1);
        done();
    });
    attack(test, "a word of 1000", InVain, found, |done| {
        overflow(1000, 8);
        done();
    });
    attack(test, "one byte of 5000", InVain, found, |done| {
        overflow(5000, 1);
        done();
    });
    attack(test, "one byte of 100000", InVain, found, |done| {
        overflow(100_000, 1);
        done();
    });
    attack(test, "found at realloc, too", InVain, found, |done| {
        let at = raw::malloc(64);
        write(at.wrapping_add(usable(at)), 0x41, 1);
        // SAFETY: none, see `free`.
        let _ = unsafe { raw::realloc(at, 5000) };
        done();
    });
}

#[test]
fn an_overflow_of_a_large_block_faults() {
    if !HARDENED {
        return; // By default what lies behind is a neighbour, or not.
    }
    let test = "an_overflow_of_a_large_block_faults";
    attack(test, "behind", InVain, Faults, |done| {
        let at = raw::malloc(300 << 10);
        write(at.wrapping_add(usable(at)), 0x41, 1);
        done();
    });
    attack(test, "before", InVain, Faults, |done| {
        write(raw::malloc(5 << 20).wrapping_sub(1), 0x41, 1);
        done();
    });
}

#[test]
fn a_use_after_free() {
    let test = "a_use_after_free";
    attack(test, "read", InVain, InVain, |done| {
        let at = raw::malloc(64);
        write(at, 0x53, 64);
        free(at);
        let secret = read(at) == 0x53 || read(at.wrapping_add(63)) == 0x53;
        assert!(!(HARDENED && secret), "what was freed has been emptied");
        done();
    });
    attack(test, "write", InVain, AtOnce("write to"), |done| {
        let at = raw::malloc(64);
        free(at);
        write(at.wrapping_add(8), 0x41, 8);
        // It leaves the quarantine some time; the chance that it does not is (31 / 32)^20000.
        (0..20_000).for_each(|_| free(raw::malloc(64)));
        done();
    });
    attack(test, "read of a large block", InVain, Faults, |done| {
        let at = raw::malloc(1 << 20);
        write(at, 0x53, 64);
        free(at);
        let _ = read(at);
        done();
    });
    attack(test, "write to a large block", InVain, Faults, |done| {
        let at = raw::malloc(1 << 20);
        free(at);
        write(at, 0x41, 1);
        done();
    });
    attack(test, "a new owner is not at hand", InVain, InVain, |done| {
        let at = raw::malloc(64);
        free(at);
        let next = raw::malloc(64);
        // By default the block freed last is handed out next; from the quarantine it can't be.
        assert_eq!(next == at, !HARDENED);
        free(next);
        done();
    });
}

/// Fills a block of `size` bytes and frees it. Gives how many it had, and which of them are still there.
fn left_of(size: usize) -> (usize, Vec<usize>) {
    let at = raw::malloc(size);
    let usable = usable(at);
    write(at, 0x53, usable);
    free(at);
    // Eight bytes say that the block is free.
    let left = (0..usable).filter(|n| !(8..16).contains(n) && read(at.wrapping_add(*n)) == 0x53);
    (usable, left.collect())
}

#[test]
fn what_is_freed_is_emptied_as_far_as_was_asked() {
    if !HARDENED {
        return; // By default it stays.
    }
    let test = "what_is_freed_is_emptied_as_far_as_was_asked";
    for (value, whole) in [("0", 0), ("72", 72), ("1000", 1000), ("262136", 262_136)] {
        let ended = child::run(test, value, &[("HAKMEM_ZERO_ON_FREE", value)], || {
            for size in [1, 24, 40, 56, 72, 500, 5000, 200_000] {
                let (usable, left) = left_of(size);
                assert!(left.iter().all(|&at| at >= 16), "{size}: the start is emptied");
                assert_eq!(left.is_empty(), usable <= whole, "{usable} of {whole}: {left:?}");
            }
        });
        ended.is_good();
    }
}

#[test]
fn a_double_free() {
    let test = "a_double_free";
    let (late, found) = (Later("double free of"), AtOnce("double free of"));
    attack(test, "at once", late, found, |done| {
        let at = raw::malloc(64);
        free(at);
        free(at);
        done();
    });
    attack(test, "after others", late, found, |done| {
        let blocks: Vec<_> = (0..20).map(|_| raw::malloc(64)).collect();
        blocks.iter().for_each(|&at| free(at));
        free(blocks[0]);
        done();
    });
    attack(test, "from another thread", late, found, |done| {
        let (_keeps_the_slab, at) = (raw::malloc(64), raw::malloc(64));
        free(at);
        free_elsewhere(at);
        done();
        // What the other thread has cached comes home, and then what this one has.
        raw::collect();
        raw::collect();
    });
    attack(test, "of a large block", AtOnce("double free of"), AtOnce("freed already"), |done| {
        let at = raw::malloc(1 << 20);
        free(at);
        free(at);
        done();
    });
}

#[test]
fn a_free_of_what_is_no_block() {
    let test = "a_free_of_what_is_no_block";
    let foreign = AtOnce("not a block of this heap");
    attack(test, "the middle", Later("inside a block"), AtOnce("inside a block"), |done| {
        free(raw::malloc(64).wrapping_add(16));
        done();
    });
    attack(test, "a stack address", foreign, foreign, |done| {
        let mut local = [0u64; 8];
        free(local.as_mut_ptr().cast());
        done();
    });
    attack(test, "a foreign mapping", foreign, foreign, |done| {
        // SAFETY: a fresh private mapping.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                1 << 16,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        free(at.cast());
        done();
    });
    attack(test, "a released SuperSlab", foreign, foreign, |done| {
        let blocks: Vec<_> = (0..100_000).map(|_| raw::malloc(64)).collect();
        let middle = blocks[50_000];
        blocks.into_iter().for_each(free);
        raw::collect();
        free(middle);
        done();
    });
    attack(test, "upper bits", Later("not a block"), AtOnce("not a block"), |done| {
        free(raw::malloc(64).map_addr(|address| address ^ (1 << 62)));
        done();
    });
}

/// Writes an address of the attacker's over the start of a freed block, where other heaps keep the
/// next free one, and looks whether the heap ever hands that address out.
#[test]
fn a_free_list_overwritten() {
    let test = "a_free_list_overwritten";
    attack(test, "links", InVain, AtOnce("write to"), |done| {
        let mut target = [0u64; 64];
        let wanted = target.as_mut_ptr().cast::<u8>();
        let blocks: Vec<_> = (0..200).map(|_| raw::malloc(64)).collect();
        for &at in &blocks {
            free(at);
            // SAFETY: none, see `free`; the memory is still mapped.
            unsafe { at.cast::<[*mut u8; 2]>().write_volatile([wanted; 2]) };
        }
        let again: Vec<_> = (0..1000).map(|_| raw::malloc(64)).collect();
        let distinct: BTreeSet<_> = again.iter().collect();
        assert_eq!(distinct.len(), again.len(), "a block is handed out once");
        assert!(!again.contains(&wanted), "the attacker's address is handed out");
        again.into_iter().for_each(free);
        done();
    });
}

/// Writes over what lies before a block, where other heaps keep its size.
#[test]
fn metadata_overwritten() {
    let test = "metadata_overwritten";
    attack(test, "a header", InVain, AtOnce("overflow of"), |done| {
        let blocks: Vec<_> = (0..2000).map(|_| raw::malloc(64)).collect();
        for &at in &blocks {
            // Before the first block of a slab lies another slab, or nothing.
            if at.addr() % (64 << 10) != 0 {
                write(at.wrapping_sub(8), 0x41, 8);
            }
        }
        blocks.into_iter().for_each(free);
        raw::collect();
        walk();
        done();
    });
}
