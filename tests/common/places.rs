//! Where the kernel puts things: steers it, by filling every hole that it could take instead.
//!
//! Assumes that it takes the highest hole that fits, and that the area of mappings lies within 32 TiB
//! below the stack.

use super::{MIB, memory};
use hakmem::raw;
use std::ptr;

pub const TIB: usize = 1 << 40;
pub const GIB: usize = 1 << 30;

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

/// What the area of mappings holds, lowest first.
fn area() -> Vec<(usize, usize)> {
    let mut all = mappings();
    let stack = all.last().filter(|range| range.0 < 1 << 47).map_or(1 << 47, |range| range.0);
    all.retain(|range| range.0 < stack && stack - range.0 < 32 * TIB);
    all
}

/// The multiple of 1 TiB below everything in the area of mappings, with 2 GiB between.
pub fn boundary_below() -> usize {
    (area().first().expect("mappings").0 - 2 * GIB) & !(TIB - 1)
}

/// Fills every hole above `place + bytes`, so that the next mapping of `bytes` bytes lies at `place`,
/// which is below everything mapped so far.
pub fn steer(place: usize, bytes: usize) {
    let mut from = place + bytes;
    for (start, end) in area() {
        if start > from {
            assert!(reserve(from, start), "{from:#x}..{start:#x}");
        }
        from = from.max(end);
    }
}

/// A huge block whose only way to grow leads to an address that has its entry in the map of addresses
/// in common with a slab's. The limit on address space that sees to it stands when it is made.
pub struct Cornered {
    pub huge: *mut u8,
    /// Where it will lie.
    pub place: usize,
    /// All other blocks in use, some of them in the slab there.
    pub blocks: Vec<*mut u8>,
}

impl Cornered {
    /// Bytes of the huge block, and what it is to grow to.
    pub const OLD: usize = 12 * MIB;
    pub const NEW: usize = 14 * MIB;
    /// Bytes of each of the others.
    pub const BLOCK: usize = 1000;
    const SUPERSLAB: usize = 2 * MIB;
    const GRANULE: usize = 64 << 10;

    /// What each byte of another block is.
    pub fn stamp(at: *const u8) -> u8 {
        (at.addr() >> 4) as u8 ^ (at.addr() >> 12) as u8
    }

    pub fn set_up() -> Self {
        let huge = raw::malloc(Self::OLD);
        assert!(!huge.is_null());
        // SAFETY: ours, so long.
        unsafe { huge.write_bytes(0x77, Self::OLD) };
        let mut blocks = Vec::with_capacity(100_000);
        let mut more = || {
            let at = raw::malloc(Self::BLOCK);
            assert!(!at.is_null());
            // SAFETY: ours, so long.
            unsafe { at.write_bytes(Self::stamp(at), Self::BLOCK) };
            blocks.push(at);
            at.addr()
        };
        // A multiple of 2 MiB, so that it changes nothing if the kernel aligns places to huge pages.
        let first = loop {
            let at = more();
            if at % Self::SUPERSLAB < Self::GRANULE {
                break at & !(Self::SUPERSLAB - 1);
            }
        };
        for _ in 0..40 {
            more();
        }
        let place = first - TIB;
        steer(place, Self::NEW);
        // For the bytes that it grows by, not for a second place.
        memory::limit_address_space(Self::NEW - Self::OLD + MIB);
        Cornered { huge, place, blocks }
    }

    /// Whether a block lies in the slab that shares its entry.
    pub fn is_there(&self, at: *const u8) -> bool {
        at.addr().wrapping_sub(self.place + TIB) < Self::GRANULE
    }

    /// Fails unless the first bytes of the huge block are what they were, wherever it is.
    pub fn holds(at: *const u8, bytes: usize) {
        // SAFETY: the caller's, at least so long.
        let kept = unsafe { std::slice::from_raw_parts(at, bytes) };
        assert!(kept.iter().all(|&byte| byte == 0x77));
    }

    /// Fails unless the other blocks are what they were.
    pub fn check(&self) {
        for &at in &self.blocks {
            // SAFETY: in use, so long.
            unsafe {
                assert!(raw::usable_size(at) >= Self::BLOCK);
                let kept = std::slice::from_raw_parts(at, Self::BLOCK);
                assert!(kept.iter().all(|&byte| byte == Self::stamp(at)));
            }
        }
    }
}
