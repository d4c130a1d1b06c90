//! Where the kernel puts what is ours must not matter. The map of addresses is indexed modulo 1 TiB, so
//! each case steers an arena, or a huge block that grows, to an address that shares its low bits with
//! another.

mod common;

use common::places::{Cornered, GIB, boundary_below, steer};
use common::{HARDENED, MIB, SANITIZED, child, memory, walk};
use hakmem::raw;
use std::ptr;

/// Steers the next mapping of 1 GiB to the multiple of 1 TiB below everything mapped so far.
fn steer_to_a_multiple_of_a_tebibyte() -> usize {
    let boundary = boundary_below();
    steer(boundary, GIB);
    boundary
}

#[test]
fn null_is_never_taken_for_a_block() {
    if SANITIZED {
        return; // The sanitizers have address space of their own in the way.
    }
    child::run("null_is_never_taken_for_a_block", "", &[], || {
        let boundary = steer_to_a_multiple_of_a_tebibyte();
        // What an arena placed by the kernel would get.
        let probe = {
            // SAFETY: a fresh reservation, given back at once.
            unsafe {
                let at = libc::mmap(
                    ptr::null_mut(),
                    GIB,
                    libc::PROT_NONE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                    -1,
                    0,
                );
                libc::munmap(at, GIB);
                at.addr()
            }
        };
        assert_eq!(probe, boundary, "the kernel could not be steered");
        let mut blocks = Vec::new();
        // Enough to reach the boundary, wherever in the arena's first part it lies.
        for n in 0..40_000 {
            blocks.push(raw::malloc([16, 100, 1000, 5000][n % 4]));
            // SAFETY: null is allowed.
            unsafe { raw::free(ptr::null_mut()) };
            // SAFETY: as above.
            assert_eq!(unsafe { raw::usable_size(ptr::null()) }, 0);
        }
        assert!(blocks.iter().all(|at| !at.is_null()));
        for _ in 0..10_000 {
            // SAFETY: as above.
            unsafe { raw::free(ptr::null_mut()) };
        }
        walk();
        for at in blocks {
            // SAFETY: ours; each is freed once.
            unsafe { raw::free(at) };
        }
        raw::collect();
        assert_eq!(walk().user(), 0);
    })
    .is_quiet();
}

#[test]
fn a_small_number_is_noticed_at_once_wherever_the_heap_is() {
    if SANITIZED {
        return;
    }
    let test = "a_small_number_is_noticed_at_once_wherever_the_heap_is";
    let ended = child::run(test, "", &[], || {
        steer_to_a_multiple_of_a_tebibyte();
        for _ in 0..60_000 {
            let _keep = raw::malloc(1000);
        }
        // SAFETY: none: this is what the heap must notice.
        unsafe { raw::free(ptr::without_provenance_mut(0x1230)) };
    });
    if !child::is_child() {
        assert_eq!(ended.signal, Some(libc::SIGABRT), "{ended:#?}");
        assert!(ended.lines()[0].contains("not a block of this heap"), "{ended:#?}");
    }
}

/// Blocks on their way to another thread.
struct Blocks(Vec<*mut u8>);

// SAFETY: whoever has the list has the blocks.
unsafe impl Send for Blocks {}

impl Blocks {
    fn free(self) {
        for at in self.0 {
            // SAFETY: blocks in use that nobody else has.
            unsafe { raw::free(at) };
        }
    }
}

#[test]
fn a_huge_block_and_a_slab_can_share_an_entry() {
    if SANITIZED || HARDENED {
        return; // Between guard pages a block grows by a copy.
    }
    for case in ["freed at once", "freed beside another slab", "resized again"] {
        let test = "a_huge_block_and_a_slab_can_share_an_entry";
        child::run(test, case, child::NO_WORKER, || {
            let mut cornered = Cornered::set_up();
            // SAFETY: ours.
            let mut at = unsafe { raw::realloc(cornered.huge, Cornered::NEW) };
            memory::lift_limit();
            assert_eq!(at.addr(), cornered.place, "the kernel could not be steered");
            Cornered::holds(at, Cornered::OLD);
            assert_eq!(hakmem::stats().huge_blocks, 1);
            walk();
            if case == "freed at once" {
                // SAFETY: ours.
                unsafe { raw::free(at) };
                assert_eq!(hakmem::stats().huge_blocks, 0, "it was taken for a block of the slab");
            }
            // The slab's blocks are what they were, and change size and come home as any others do.
            cornered.check();
            let mut blocks = std::mem::take(&mut cornered.blocks);
            let count = blocks.len();
            let grown = blocks.iter().position(|&at| cornered.is_there(at)).expect("there");
            let grown = blocks.swap_remove(grown);
            // SAFETY: ours, and as long as asked for.
            unsafe {
                let stamp = grown.read();
                let larger = raw::realloc(grown, 3 * Cornered::BLOCK);
                let kept = std::slice::from_raw_parts(larger, Cornered::BLOCK);
                assert!(kept.iter().all(|&byte| byte == stamp));
                raw::free(larger);
            }
            let other = Blocks(blocks.split_off(count / 2));
            std::thread::spawn(move || other.free()).join().expect("the thread");
            Blocks(blocks).free();
            raw::collect();
            assert_eq!(walk().user(), 0);
            // So do those of the next slab in that place.
            let blocks: Vec<_> = (0..count).map(|_| raw::malloc(Cornered::BLOCK)).collect();
            assert!(blocks.iter().any(|&at| cornered.is_there(at)), "there is no slab there");
            // SAFETY: ours, and as long as asked for.
            unsafe {
                for &block in &blocks {
                    block.write_bytes(Cornered::stamp(block), Cornered::BLOCK);
                }
                if case == "resized again" {
                    // In its place, and then in another.
                    at = raw::realloc(at, 4 * MIB);
                    assert_eq!(at.addr(), cornered.place);
                    at = raw::realloc(at, 20 * MIB);
                    assert_ne!(at.addr(), cornered.place);
                    Cornered::holds(at, 4 * MIB);
                    raw::free(at);
                } else if case == "freed beside another slab" {
                    Cornered::holds(at, Cornered::OLD);
                    raw::free(at);
                }
            }
            assert_eq!(hakmem::stats().huge_blocks, 0);
            cornered.blocks = blocks;
            cornered.check();
            walk();
            Blocks(cornered.blocks).free();
            raw::collect();
            assert_eq!(walk().user(), 0);
        })
        .is_quiet();
    }
}
