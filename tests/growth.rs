//! Huge blocks that grow while something is short: they move without a copy, and what the system
//! refuses costs no address space.

mod common;

use common::{HARDENED, MIB, SANITIZED, child, memory};
use hakmem::raw;

/// A block of 64 MiB that ends where something else begins, so that it can grow only by a move.
fn hemmed_in() -> *mut u8 {
    let at = raw::malloc(64 * MIB);
    // SAFETY: ours and as long as asked for; a mapping where there is none yet, or a refusal.
    unsafe {
        at.write_bytes(0x77, 64 * MIB);
        let end = at.add(raw::usable_size(at)).cast();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        libc::mmap(end, memory::PAGE, libc::PROT_NONE, flags, -1, 0);
    }
    at
}

/// Its first 64 MiB are what `hemmed_in` wrote.
///
/// # Safety
/// The block is alive.
unsafe fn check(at: *const u8) {
    // SAFETY: by the caller's contract.
    let kept = unsafe { std::slice::from_raw_parts(at, 64 * MIB) };
    assert!(kept.iter().all(|&byte| byte == 0x77));
}

#[test]
fn a_huge_block_grows_where_a_copy_would_not_fit() {
    if SANITIZED || HARDENED {
        return; // Between guard pages a block grows by a copy.
    }
    child::run("a_huge_block_grows_where_a_copy_would_not_fit", "", &[], || {
        let mut at = raw::malloc(64 * MIB);
        // SAFETY: ours and as long as asked for.
        unsafe {
            at.write_bytes(0x77, 64 * MIB);
            // Room for the bytes that are added, not for a second copy.
            memory::limit_address_space(8 * MIB);
            for mib in [65, 66, 68, 70] {
                at = raw::realloc(at, mib * MIB);
                assert!(!at.is_null(), "growing to {mib} MiB");
            }
            let kept = std::slice::from_raw_parts(at, 64 * MIB);
            assert!(kept.iter().all(|&byte| byte == 0x77));
            raw::free(at);
        }
    })
    .is_quiet();
}

#[test]
fn a_move_that_is_refused_takes_no_room_from_the_next_try() {
    if SANITIZED || HARDENED {
        return;
    }
    child::run("a_move_that_is_refused_takes_no_room_from_the_next_try", "", &[], || {
        let at = hemmed_in();
        // Room for a new place of 108 MiB, but not also for the bytes that are added.
        memory::limit_address_space(112 * MIB);
        // SAFETY: ours, freed once.
        unsafe {
            let grown = raw::realloc(at, 96 * MIB);
            assert!(!grown.is_null(), "32 MiB more, of 112 that are there");
            check(grown);
            raw::free(grown);
        }
    })
    .is_quiet();
}

#[test]
fn refused_growth_takes_address_space_once() {
    if SANITIZED || HARDENED {
        return;
    }
    child::run("refused_growth_takes_address_space_once", "", &[], || {
        let mut at = hemmed_in();
        let try_once = || {
            // SAFETY: ours; refused, it stays as it is.
            assert!(unsafe { raw::realloc(at, 96 * MIB) }.is_null(), "beyond the limit");
            memory::address_space()
        };
        memory::limit_data(8 * MIB);
        // What the first tries reserve, for the move, in an arena and for what a tick begins, is there for the
        // next ones.
        let first = (0..200).fold(0, |_, _| try_once());
        assert!(
            (0..200).all(|_| try_once() == first),
            "{first} became {}",
            memory::address_space()
        );
        memory::lift_data();
        // SAFETY: ours, freed once.
        unsafe {
            check(at);
            at = raw::realloc(at, 96 * MIB);
            assert!(!at.is_null(), "memory is back");
            check(at);
            raw::free(at);
        }
    })
    .is_quiet();
}
