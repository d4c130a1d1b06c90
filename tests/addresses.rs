//! Where the kernel puts an arena must not matter. The map of addresses is indexed modulo 1 TiB, so
//! each case steers the first arena to an address that shares its low bits with another.

mod common;

use common::{SANITIZED, child, walk};
use hakmem::raw;
use std::ptr;

const TIB: usize = 1 << 40;
const GIB: usize = 1 << 30;

/// The mappings of this process, as address ranges.
fn mappings() -> Vec<(usize, usize)> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc/self/maps");
    maps.lines()
        .filter_map(|line| {
            let (from, to) = line.split(' ').next()?.split_once('-')?;
            Some((usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?))
        })
        .collect()
}

/// Reserves an address range without memory. False: something is there already.
fn reserve(from: usize, to: usize) -> bool {
    // SAFETY: MAP_FIXED_NOREPLACE touches no existing mapping.
    let at = unsafe {
        libc::mmap(
            ptr::without_provenance_mut(from),
            to - from,
            libc::PROT_NONE,
            libc::MAP_PRIVATE
                | libc::MAP_ANONYMOUS
                | libc::MAP_NORESERVE
                | libc::MAP_FIXED_NOREPLACE,
            -1,
            0,
        )
    };
    at.addr() == from
}

/// Fills every hole above `boundary + GIB`, so that the next mapping of 1 GiB lies at `boundary`,
/// the multiple of 1 TiB below everything mapped so far. Gives the boundary.
fn steer_to_a_multiple_of_a_tebibyte() -> usize {
    let all = mappings();
    // The area of mappings: all that lies within 2 TiB below the stack.
    let stack = all.last().filter(|range| range.0 < 1 << 47).map_or(1 << 47, |range| range.0);
    let area: Vec<_> =
        all.iter().copied().filter(|range| range.0 < stack && stack - range.0 < 32 * TIB).collect();
    let lowest = area.first().expect("mappings").0;
    let boundary = (lowest - 2 * GIB) & !(TIB - 1);
    let mut from = boundary + GIB;
    for (start, end) in area {
        if start > from {
            assert!(reserve(from, start), "{from:#x}..{start:#x}");
        }
        from = from.max(end);
    }
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
