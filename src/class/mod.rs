//! Size classes: which block size serves a request, and how slabs of that size are cut.
//!
//! | requests | spacing | classes |
//! |---|---|---|
//! | 1..=16 | 8 | 1, 2 |
//! | 17..=128 | 16 | 3..=9 |
//! | 129..=1024 (tiny tier, groups C0..C7) | 8 steps per doubling | 10..=33 |
//! | 1025..=256 KiB (mid tier) | 8 steps per doubling | 34..=97 |
//!
//! Class 0 is no class: what the map of addresses holds for anything that is not a slab, and what
//! a magazine that is never filled belongs to. Assumes nothing; promises that all of this is
//! computed at compile time and checked there: waste is at most 12.5 % above 128 bytes, and every
//! block of 16 bytes or more is aligned to 16.

use static_assertions::const_assert;

/// Whether the gate `hardened` is on (see `harden`). It stands here because it changes what a block
/// of a class may hold.
pub(crate) const HARDENED: bool = cfg!(feature = "hardened");
/// Bytes of a block's canary, which lies at its end.
pub(crate) const CANARY: usize = if HARDENED { 8 } else { 0 };
/// Whether the gate `tiny-header` is on (see `segment::header`), which changes that, too.
pub(crate) const HEADER: bool = cfg!(feature = "tiny-header");
/// Bytes at the end of every block that are the heap's, not the program's: its canary, or the header of
/// the block behind it.
pub(crate) const RESERVED: usize = CANARY + HEADER as usize;
/// Bytes that a block leaves the program at least: hardened, room for what says that it is free.
const LEAST: usize = if HARDENED { 16 } else { 8 };

/// Number of classes, class 0 included.
pub(crate) const COUNT: usize = 98;
/// Largest request of the tiny tier, in bytes.
pub(crate) const TINY_MAX: usize = 1024 - RESERVED;
/// Largest request served from slabs, in bytes.
pub(crate) const MID_MAX: usize = LARGEST - RESERVED;
/// Largest block of a slab, in bytes.
const LARGEST: usize = 256 << 10;
/// First class of the mid tier.
pub(crate) const FIRST_MID: usize = 34;
/// Number of class groups, C0..C7.
pub(crate) const GROUPS: usize = 8;
/// The unit of runs and of the map of addresses, in bytes.
pub(crate) const GRANULE: usize = 64 << 10;

/// Bytes of one tiny class that a magazine may hold.
pub(crate) const TINY_BYTES: u32 = 256 << 10;
/// Bytes of one mid class that a magazine may hold.
pub(crate) const MID_BYTES: u32 = 4 << 20;
/// Blocks that any magazine may hold.
pub(crate) const MOST_BLOCKS: u32 = 4095;

const STEPS: usize = 8;

/// What slow paths need to know of a class.
#[derive(Clone, Copy)]
pub(crate) struct Class {
    /// Block size in bytes.
    pub(crate) size: u32,
    /// Blocks in a slab.
    pub(crate) capacity: u32,
    /// Length of a slab in granules; a power of two, and the slab is aligned to it.
    pub(crate) granules: u32,
    /// ceil(2^40 / size): turns an offset into a block index by one multiplication.
    reciprocal: u64,
    /// Magazine capacity that a thread starts with, in blocks.
    pub(crate) magazine_start: u32,
    /// Magazine capacity at most, in blocks.
    pub(crate) magazine_max: u32,
}

impl Class {
    /// The index of the block that `offset` (from the slab's base) lies in.
    #[inline(always)]
    pub(crate) const fn index_of(&self, offset: usize) -> usize {
        ((offset as u64 * self.reciprocal) >> 40) as usize
    }

    /// Bytes of a block that the program may use.
    #[inline(always)]
    pub(crate) const fn usable(&self) -> usize {
        (self.size as usize).saturating_sub(RESERVED)
    }

    /// 64-bit words in a bitmap with one bit per block.
    #[inline(always)]
    pub(crate) const fn words(&self) -> usize {
        (self.capacity as usize).div_ceil(64)
    }
}

const fn size_of_class(class: usize) -> usize {
    match class {
        0 => 0,
        1 => 8,
        2..=9 => (class - 1) * 16,
        _ => {
            let step = class - 10;
            let doubling = step / STEPS;
            let base = 128usize << doubling;
            base + (step % STEPS + 1) * (base / STEPS)
        }
    }
}

const fn granules_of(size: usize) -> usize {
    match size {
        0..=8192 => 1,
        8193..=32768 => 4,
        32769..=131072 => 8,
        _ => 16,
    }
}

const fn describe(class: usize) -> Class {
    let size = size_of_class(class);
    if size == 0 {
        return Class {
            size: 0,
            capacity: 0,
            granules: 0,
            reciprocal: 0,
            magazine_start: 0,
            magazine_max: 0,
        };
    }
    let granules = granules_of(size);
    let start = if size <= TINY_MAX + RESERVED {
        32
    } else if size <= 16 << 10 {
        8
    } else {
        4
    };
    let most = (if size <= TINY_MAX + RESERVED { TINY_BYTES } else { MID_BYTES }) / size as u32;
    Class {
        size: size as u32,
        capacity: (granules * GRANULE / size) as u32,
        granules: granules as u32,
        reciprocal: (1u64 << 40).div_ceil(size as u64),
        magazine_start: start,
        magazine_max: if most > MOST_BLOCKS {
            MOST_BLOCKS
        } else if most < 4 {
            4
        } else {
            most
        },
    }
}

/// Whether a class serves anybody: not one that would be left with less than that.
pub(crate) const fn serves(class: usize) -> bool {
    size_of_class(class) >= RESERVED + LEAST
}

/// All classes, by number.
pub(crate) static CLASSES: [Class; COUNT] = {
    let mut table = [describe(0); COUNT];
    let mut class = 1;
    while class < COUNT {
        table[class] = describe(class);
        class += 1;
    }
    table
};

/// Class of every tiny request size, by byte. A copy of it lies in every heap, one add away from
/// the magazines.
pub(crate) const TINY_MAP: [u8; TINY_MAX + 1] = {
    let mut map = [0u8; TINY_MAX + 1];
    let mut size = 0;
    let mut class = 1;
    while size <= TINY_MAX {
        while size + RESERVED > size_of_class(class) || !serves(class) {
            class += 1;
        }
        map[size] = class as u8;
        size += 1;
    }
    map
};

/// Class of a request of the mid tier: `TINY_MAX < size <= MID_MAX`.
#[inline(always)]
pub(crate) const fn mid_class(size: usize) -> usize {
    debug_assert!(size > TINY_MAX && size <= MID_MAX);
    let below = size + RESERVED - 1;
    let doubling = below.ilog2() as usize;
    // below >> (doubling - 3) is 8..=15: the leading one and three bits of steps.
    FIRST_MID - 8 + (doubling - 10) * STEPS + (below >> (doubling - 3))
}

/// Class that serves `size` bytes, `size <= MID_MAX`, with the natural alignment of its size.
#[inline(always)]
pub(crate) const fn class_of(size: usize) -> usize {
    if size <= TINY_MAX { TINY_MAP[size] as usize } else { mid_class(size) }
}

/// Class that serves `size` bytes at a multiple of `align` (a power of two), or 0 if none does.
///
/// A slab is aligned to its own length, so a block is aligned to every power of two that divides
/// its size and is at most that length.
#[inline]
pub(crate) const fn aligned_class(size: usize, align: usize) -> usize {
    if size > MID_MAX || align > LARGEST {
        return 0;
    }
    let least = size + RESERVED;
    let mut class = class_of(if least > align { size } else { align - RESERVED });
    while class < COUNT {
        let candidate = &CLASSES[class];
        if candidate.size as usize & (align - 1) == 0 {
            return class;
        }
        class += 1;
    }
    0
}

/// The group C0..C7 that a tiny class counts under.
#[inline]
pub(crate) const fn group_of(class: usize) -> usize {
    let size = size_of_class(class);
    if size <= 8 { 0 } else { (size - 1).ilog2() as usize - 2 }
}

/// Largest tiny class that belongs to group `group` or a lower one.
pub(crate) const fn last_class_of_group(group: usize) -> usize {
    let mut class = 1;
    while class + 1 < COUNT && size_of_class(class + 1) <= 8 << group {
        class += 1;
    }
    class
}

// Compile-time proof of the promises above.
const_assert!(size_of_class(COUNT - 1) == LARGEST);
const_assert!(size_of_class(FIRST_MID - 1) == TINY_MAX + RESERVED);
const_assert!(mid_class(TINY_MAX + 1) == FIRST_MID);
const_assert!(mid_class(MID_MAX) == COUNT - 1);
const _: () = {
    let mut class = 1;
    while class < COUNT {
        let size = size_of_class(class);
        let before = size_of_class(class - 1);
        assert!(size > before);
        assert!(size < 16 || size.is_multiple_of(16));
        // Waste of the worst request, the previous size plus one, above 128 bytes.
        assert!(size <= 128 || (size - before - 1) * 8 <= size);
        let about = describe(class);
        assert!(about.capacity >= 4);
        if serves(class) {
            assert!(class_of(size - RESERVED) == class);
            assert!(!serves(class - 1) || class_of(before + 1 - RESERVED) == class);
        }
        class += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Every so many sizes and places: Miri has nothing to find in arithmetic.
    const STEP: usize = if cfg!(miri) { 97 } else { 1 };

    #[test]
    fn every_size_has_the_tightest_class() {
        for size in (1..=MID_MAX).step_by(STEP) {
            let class = class_of(size);
            assert!(CLASSES[class].usable() >= size);
            assert!(CLASSES[class - 1].usable() < size || !serves(class - 1));
        }
        assert_eq!(class_of(0), class_of(1));
    }

    #[test]
    fn reciprocals_are_exact() {
        for class in &CLASSES[1..] {
            let length = class.granules as usize * GRANULE;
            let size = class.size as usize;
            for index in (0..class.capacity as usize).step_by(STEP) {
                for offset in [index * size, index * size + 1, index * size + size - 1] {
                    assert!(offset < length);
                    assert_eq!(class.index_of(offset), index);
                }
            }
        }
    }

    #[test]
    fn aligned_requests_get_aligned_classes() {
        for shift in 0..=18 {
            let align = 1usize << shift;
            for size in [1, 8, 24, 100, 1000, 1025, 5000, 70_000, MID_MAX] {
                let class = aligned_class(size, align);
                assert_ne!(class, 0, "{size} at {align}");
                assert!(CLASSES[class].usable() >= size);
                assert_eq!(CLASSES[class].size as usize % align, 0);
                assert!(CLASSES[class].granules as usize * GRANULE >= align);
            }
        }
        assert_eq!(aligned_class(MID_MAX + 1, 8), 0);
        assert_eq!(aligned_class(1, LARGEST * 2), 0);
    }

    #[test]
    fn groups_cover_the_tiny_tier() {
        for (bytes, group) in [(9, 1), (16, 1), (256, 5), (257, 6), (1024, 7)] {
            if bytes < RESERVED + LEAST {
                continue;
            }
            assert_eq!(group_of(class_of(bytes - RESERVED)), group, "{bytes}");
        }
        assert_eq!(group_of(1), 0);
        assert_eq!(last_class_of_group(7), FIRST_MID - 1);
        assert_eq!(last_class_of_group(5), class_of(256 - RESERVED));
    }
}
