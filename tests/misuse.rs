//! Bad input: pointers that are not ours, blocks freed twice, addresses inside blocks, wrong sizes.
//! Each ends its process (a child) with exactly one line that names the address, and `SIGABRT`.

mod common;

use common::{HARDENED, HEADER, RESERVED, SANITIZED, child, memory};
use hakmem::raw;
use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The class that serves 64 bytes: a hardened block has a canary behind it, or the next one its header.
const SERVES_64: &str = if RESERVED != 0 { "C4 (80 bytes)" } else { "C3 (64 bytes)" };
/// Bytes of its blocks.
const BLOCK_64: usize = if RESERVED != 0 { 80 } else { 64 };
/// The class that serves 256 bytes.
const SERVES_256: &str = if RESERVED != 0 { "C6 (288 bytes)" } else { "C5 (256 bytes)" };
/// What serves 1 MiB: a hardened block has guard pages around it.
const LARGE: &str = if HARDENED { "class huge" } else { "class large" };

/// What a child does; it names the address through the function that it is given.
type Bad = fn(&dyn Fn(*mut u8) -> *mut u8);

fn run(test: &str, case: &str, bad: Bad) -> child::Ended {
    child::run(test, case, &[], || {
        bad(&|at| {
            println!("address {at:p}");
            if !SANITIZED {
                // Room for a thread that already runs, none for anything new.
                memory::limit_address_space(0);
            }
            at
        });
    })
}

/// As [`dies`], for an address that can't be read: with a header byte that is tried before anything is
/// known of it.
#[track_caller]
fn dies_unread(test: &str, case: &str, expected: &[&str], bad: Bad) {
    if !HEADER {
        return dies(test, case, expected, bad);
    }
    let ended = run(test, case, bad);
    if !child::is_child() {
        assert_eq!(ended.signal, Some(libc::SIGSEGV), "{case}: {ended:#?}");
        assert!(ended.lines().is_empty(), "{case}: {ended:#?}");
    }
}

/// Runs `bad` in a child, which is to name the address it misuses through the function it is given.
/// The child may take no more memory from the system once it has named it.
#[track_caller]
fn dies(test: &str, case: &str, expected: &[&str], bad: Bad) {
    let ended = run(test, case, bad);
    if child::is_child() {
        return;
    }
    let lines = ended.lines();
    assert_eq!(ended.signal, Some(libc::SIGABRT), "{case}: expected SIGABRT: {ended:#?}");
    assert_eq!(lines.len(), 1, "{case}: expected one line: {ended:#?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{case}: nothing else is said: {ended:#?}");
    let address = ended.stdout.lines().find_map(|line| line.split("address ").nth(1));
    let address = match address {
        Some(address) => address,
        // Noticed before the child came to name it.
        None if HARDENED => "0x",
        None => panic!("{case}: the child named none: {ended:#?}"),
    };
    for word in expected.iter().copied().chain([address, "expected", "aborting", "class"]) {
        assert!(lines[0].contains(word), "{case}: no {word:?} in {:?}", lines[0]);
    }
}

fn free(at: *mut u8) {
    // SAFETY: none: the tests are about what happens then. The heap must notice.
    unsafe { raw::free(at) }
}

fn flush() {
    raw::collect();
}

#[test]
fn a_block_freed_twice() {
    let test = "a_block_freed_twice";
    dies(test, "noticed at the flush", &["double free of", SERVES_64], |name| {
        let at = name(raw::malloc(64));
        free(at);
        free(at);
        flush();
    });
    dies(test, "after its flush", &["double free of"], |name| {
        let at = raw::malloc(64);
        free(at);
        flush();
        // Something keeps the slab alive.
        let _other = raw::malloc(64);
        let at = name(at.wrapping_add(0));
        free(at);
        free(at);
        flush();
    });
    dies(test, "noticed at exit", &["double free of", "mid (2048 bytes)"], |name| {
        let at = name(raw::malloc(2000));
        free(at);
        free(at);
    });
    dies(test, "in a full magazine", &["double free of"], |name| {
        let blocks: Vec<_> = (0..10_000).map(|_| raw::malloc(48)).collect();
        let at = name(blocks[0]);
        free(at);
        blocks.into_iter().for_each(free);
        flush();
    });
}

#[test]
fn a_block_freed_twice_by_two_threads() {
    let test = "a_block_freed_twice_by_two_threads";
    static AT: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
    dies(test, "home first", &["double free of", SERVES_64], |name| {
        let keep = raw::malloc(64);
        let at = raw::malloc(64);
        free(at);
        flush();
        AT.store(at, Ordering::Relaxed);
        std::thread::spawn(|| free(AT.load(Ordering::Relaxed))).join().expect("the thread");
        name(at);
        flush();
        free(keep);
    });
    dies(test, "remote first", &["double free of"], |name| {
        let keep = raw::malloc(64);
        let at = raw::malloc(64);
        AT.store(at, Ordering::Relaxed);
        for _ in 0..2 {
            std::thread::spawn(|| free(AT.load(Ordering::Relaxed))).join().expect("the thread");
        }
        name(at);
        flush();
        free(keep);
    });
    dies(test, "both cached", &["double free of"], |name| {
        let keep = raw::malloc(64);
        let at = raw::malloc(64);
        free(at);
        AT.store(at, Ordering::Relaxed);
        std::thread::spawn(|| free(AT.load(Ordering::Relaxed))).join().expect("the thread");
        name(at);
        flush();
        flush();
        free(keep);
    });
}

#[test]
fn a_large_block_freed_twice() {
    let test = "a_large_block_freed_twice";
    let twice: &[&str] =
        if HARDENED { &["free of", "freed already"] } else { &["double free of", "class large"] };
    dies(test, "large", twice, |name| {
        let at = name(raw::malloc(1 << 20));
        free(at);
        free(at);
    });
    dies(test, "large, collected between", &["free of", "freed already"], |name| {
        let at = raw::malloc(1 << 20);
        free(at);
        flush();
        free(name(at));
    });
    dies(test, "huge", &["free of", "freed already"], |name| {
        let at = name(raw::malloc(10 << 20));
        free(at);
        free(at);
    });
    dies(test, "huge, collected between", &["free of", "freed already"], |name| {
        let at = raw::malloc(10 << 20);
        free(at);
        flush();
        free(name(at));
    });
}

#[test]
fn an_address_inside_a_block() {
    let test = "an_address_inside_a_block";
    dies(test, "small", &["inside a block", SERVES_64], |name| {
        let at = name(raw::malloc(64).wrapping_add(16));
        free(at);
        flush();
    });
    dies(test, "mid", &["inside a block", "mid (10240 bytes)"], |name| {
        let at = name(raw::malloc(10_000).wrapping_add(4096));
        free(at);
        flush();
    });
    dies(test, "large", &["inside", LARGE], |name| {
        free(name(raw::malloc(1 << 20).wrapping_add(4096)));
    });
    dies(test, "huge", &["inside", "class huge"], |name| {
        free(name(raw::malloc(16 << 20).wrapping_add(4 << 20)));
    });
    dies(test, "realloc of large", &["realloc of", "inside", LARGE], |name| {
        let at = name(raw::malloc(1 << 20).wrapping_add(4096));
        // SAFETY: none, see `free`.
        let _ = unsafe { raw::realloc(at, 2 << 20) };
    });
    dies(test, "from another thread", &["inside a block"], |name| {
        static AT: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
        let at = raw::malloc(64).wrapping_add(8);
        AT.store(at, Ordering::Relaxed);
        std::thread::spawn(|| free(AT.load(Ordering::Relaxed))).join().expect("the thread");
        name(at);
        flush();
    });
}

#[test]
fn a_block_never_handed_out() {
    dies("a_block_never_handed_out", "end of the slab", &["never handed out"], |name| {
        let at = raw::malloc(64);
        let last = (0x1_0000 / BLOCK_64 - 1) * BLOCK_64;
        let last = at.with_addr((at.addr() & !0xFFFF) + last);
        free(name(last));
        flush();
    });
}

#[test]
fn a_pointer_that_is_not_ours_is_noticed_at_once() {
    let test = "a_pointer_that_is_not_ours_is_noticed_at_once";
    let expected: &[&str] = &["free of", "not a block of this heap"];
    dies(test, "stack", expected, |name| {
        let mut local = [0u64; 4];
        free(name(local.as_mut_ptr().cast()));
    });
    dies(test, "static", expected, |name| {
        static PLACE: [u64; 4] = [1; 4];
        free(name(PLACE.as_ptr().cast_mut().cast()));
    });
    dies(test, "a mapping of the program's", expected, |name| {
        // SAFETY: a fresh private mapping.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut::<c_void>(),
                1 << 16,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        free(name(at.cast()));
    });
    dies(test, "another heap's", expected, |name| {
        // SAFETY: the system's malloc, which is the harness's.
        free(name(unsafe { libc::malloc(100) }.cast()));
    });
    dies_unread(test, "a small number", expected, |name| {
        free(name(std::ptr::without_provenance_mut(0x1234)));
    });
    dies_unread(test, "not canonical", expected, |name| {
        free(name(std::ptr::without_provenance_mut(0xDEAD_BEEF_DEAD_BEE0)));
    });
    dies_unread(test, "all ones", expected, |name| {
        free(name(std::ptr::without_provenance_mut(usize::MAX)));
    });
    dies_unread(test, "before any allocation", expected, |name| {
        assert_eq!(hakmem::stats().heaps, 0);
        free(name(std::ptr::without_provenance_mut(0x5678_9AB0)));
    });
    dies(test, "realloc", &["realloc of", "not a block of this heap"], |name| {
        // SAFETY: none, see `free`.
        let _ = unsafe { raw::realloc(name(std::ptr::without_provenance_mut(0x4321_0000)), 10) };
    });
    dies(test, "usable_size", &["usable_size of", "not a block of this heap"], |name| {
        // SAFETY: none, see `free`.
        let _ = unsafe { raw::usable_size(name(std::ptr::without_provenance_mut(0x4321_0000))) };
    });
    dies(test, "free memory of an arena", expected, |name| {
        let at = raw::malloc(300 << 10);
        free(name(at.wrapping_add(16 << 20)));
    });
}

#[test]
fn a_pointer_that_looks_like_ours_is_noticed_at_the_flush() {
    // Only its upper bits differ from a block's: the map of addresses can't tell them apart.
    dies(
        "a_pointer_that_looks_like_ours_is_noticed_at_the_flush",
        "upper bits",
        &["free of", "not a block of this heap"],
        |name| {
            // The first block of its slab.
            let at = raw::malloc(64);
            free(name(at.with_addr(at.addr() ^ (1 << 62))));
            flush();
        },
    );
}

#[test]
fn a_sized_free_of_another_size() {
    let test = "a_sized_free_of_another_size";
    fn sized(at: *mut u8, size: usize) {
        // SAFETY: none, see `free`.
        unsafe { raw::free_sized(at, size) }
    }
    dies(test, "larger", &["sized free of", SERVES_64, SERVES_256], |name| {
        sized(name(raw::malloc(64)), 256);
        flush();
    });
    dies(test, "mid as tiny", &["sized free of", "mid (5120 bytes)"], |name| {
        sized(name(raw::malloc(5000)), 8);
        flush();
    });
    dies(test, "large as tiny", &["sized free of", LARGE], |name| {
        sized(name(raw::malloc(1 << 20)), 100);
        flush();
    });
    dies(test, "tiny as large", &["sized free of", SERVES_64, "class large"], |name| {
        sized(name(raw::malloc(64)), 1 << 20);
    });
    dies(test, "by another thread", &["sized free of", SERVES_64], |name| {
        static AT: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
        let at = raw::malloc(64);
        AT.store(at, Ordering::Relaxed);
        std::thread::spawn(|| sized(AT.load(Ordering::Relaxed), 1000)).join().expect("the thread");
        name(at);
        flush();
    });
}

#[test]
fn it_aborts_even_if_nobody_can_read_why() {
    let test = "it_aborts_even_if_nobody_can_read_why";
    let ended = child::run(test, "closed", &[], || {
        // SAFETY: the child writes nothing more.
        unsafe { libc::close(2) };
        free(std::ptr::without_provenance_mut(0x1234_0000));
    });
    if !child::is_child() {
        assert_eq!(ended.signal, Some(libc::SIGABRT), "{ended:#?}");
        assert!(ended.stderr.is_empty(), "{ended:#?}");
    }
}
