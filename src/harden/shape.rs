//! What a free needs to know of a class: a copy lies in every heap, one add away from the magazines.

use crate::class::{CLASSES, COUNT, GRANULE, HARDENED};

const ROWS: usize = if HARDENED { COUNT } else { 0 };

/// Where things lie in the blocks of each class, and these in their slabs.
pub(super) struct Shapes {
    /// Bytes before the canary.
    usable: [u32; ROWS],
    /// Bytes of a slab, less one; it is aligned to that.
    within: [u32; ROWS],
    /// Above the offset of the last block in a slab; 0 for class 0, which has none.
    bound: [u32; ROWS],
    /// Places in the quarantine, less one: a power of two less one.
    places: [u8; ROWS],
}

impl Shapes {
    pub(super) const fn new() -> Self {
        let mut shapes =
            Shapes { usable: [0; ROWS], within: [0; ROWS], bound: [0; ROWS], places: [0; ROWS] };
        let mut class = 1;
        while HARDENED && class < COUNT {
            let info = &CLASSES[class];
            let size = info.size;
            shapes.usable[class] = info.usable() as u32;
            shapes.within[class] = info.granules * GRANULE as u32 - 1;
            shapes.bound[class] = (info.capacity - 1) * size + 1;
            shapes.places[class] = super::quarantine::places(size as usize) as u8 - 1;
            class += 1;
        }
        shapes
    }

    /// Bytes of a block of the class that are the program's.
    #[inline(always)]
    pub(super) fn usable(&self, class: usize) -> usize {
        // SAFETY: classes are below COUNT wherever they come from.
        unsafe { *self.usable.get_unchecked(class) as usize }
    }

    /// Whether a block of the class that begins at this address, in a slab, would end inside it.
    #[inline(always)]
    pub(super) fn fits(&self, class: usize, address: usize) -> bool {
        // SAFETY: as above.
        unsafe {
            address as u32 & self.within.get_unchecked(class) < *self.bound.get_unchecked(class)
        }
    }

    /// One of the class's places in the quarantine, by a random number below [`super::SLOTS`].
    #[inline(always)]
    pub(super) fn place(&self, class: usize, random: usize) -> usize {
        // SAFETY: as above.
        unsafe { random & usize::from(*self.places.get_unchecked(class)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_fits_where_it_ends_in_its_slab() {
        let shapes = Shapes::new();
        if !HARDENED {
            return;
        }
        assert!(!shapes.fits(0, 0) && !shapes.fits(0, 1 << 32), "class 0 has no blocks");
        for (class, info) in CLASSES.iter().enumerate().skip(1) {
            let (base, size) = (7 * info.granules as usize * GRANULE, info.size as usize);
            let last = base + (info.capacity as usize - 1) * size;
            assert!(shapes.fits(class, base) && shapes.fits(class, last));
            assert!(!shapes.fits(class, last + 1) && !shapes.fits(class, base - 1));
            assert_eq!(shapes.usable(class), info.usable());
            for random in 0..crate::harden::SLOTS {
                assert!((shapes.place(class, random) + 1) * size <= (64 << 10).max(2 * size));
            }
        }
    }
}
