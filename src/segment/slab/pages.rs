//! Free pages inside a live slab: found in the bitmap, returned to the system.
//!
//! A page is free when every block that touches it and was ever handed out is in the local bitmap.
//! Assumes the caller owns the slab. Promises that a page which was returned is not returned again
//! before a block on it has been handed out.

use super::Slab;
use crate::os::{self, PAGE};

impl Slab {
    /// The pages from `from` to `to` (byte offsets) are about to be handed out.
    pub(super) fn forget_discarded(&self, from: usize, to: usize) {
        for page in from / PAGE..=(to - 1) / PAGE {
            if let Some(word) = self.discarded.get(page / 64) {
                word.set(word.get() & !(1 << (page % 64)));
            }
        }
        self.has_discarded.set(self.discarded.iter().any(|word| word.get() != 0));
    }

    /// Returns to the system every page on which all handed-out blocks are free. Gives the number
    /// of bytes returned. The caller owns the slab.
    pub(crate) fn purge_free_pages(&self) -> usize {
        self.freed_since_purge.set(false);
        let info = self.info();
        let (size, carved) = (info.size as usize, self.carved.get() as usize);
        let pages = (carved * size).div_ceil(PAGE);
        let mut returned = 0;
        let mut run = 0..0;
        for page in 0..=pages {
            let first = info.index_of(page * PAGE);
            let last = info.index_of(page * PAGE + PAGE - 1).min(carved.saturating_sub(1));
            let state = self.discarded.get(page / 64);
            let gone = state.is_none_or(|word| word.get() >> (page % 64) & 1 == 1);
            if page < pages && !gone && self.all_local(first, last) {
                if run.end != page {
                    returned += self.discard_pages(&run);
                    run = page..page;
                }
                run.end = page + 1;
            }
        }
        returned + self.discard_pages(&run)
    }

    fn discard_pages(&self, pages: &core::ops::Range<usize>) -> usize {
        let bytes = pages.len() * PAGE;
        if bytes == 0 || !os::discard(self.base.wrapping_add(pages.start * PAGE), bytes) {
            return 0;
        }
        for page in pages.clone() {
            if let Some(word) = self.discarded.get(page / 64) {
                word.set(word.get() | 1 << (page % 64));
            }
        }
        self.has_discarded.set(true);
        for lost in &self.headers_lost {
            lost.set(true);
        }
        bytes
    }

    /// Whether blocks `first..=last` are all in the local bitmap.
    fn all_local(&self, first: usize, last: usize) -> bool {
        let mut at = first;
        while at <= last {
            let count = (64 - at % 64).min(last + 1 - at);
            let mask = crate::base::bit_range((at % 64) as u32, count as u32);
            if self.local(at / 64).get() & mask != mask {
                return false;
            }
            at += count;
        }
        true
    }
}

#[cfg(test)]
#[allow(clippy::undocumented_unsafe_blocks)] // The tests own all they touch.
mod tests {
    use super::super::tests::slab_of;
    use super::*;
    use core::ptr;

    #[test]
    fn free_pages_inside_a_live_slab_go_back() {
        let slab_ptr = slab_of(crate::class::class_of(256 - crate::class::RESERVED));
        let slab = unsafe { slab_ptr.as_ref() };
        let mut blocks = [ptr::null_mut::<u8>(); 256];
        let mut got = 0;
        while got < 256 {
            got += unsafe { slab.carve(blocks.as_mut_ptr().add(256 - got), 256 - got) };
        }
        for &block in &blocks {
            unsafe { block.write_bytes(0xAB, 256) };
        }
        // Slot 255 holds block 0. Keep block 0; free the rest: page 0 stays, 15 pages go.
        for &block in &blocks[..255] {
            slab.put(&[block]).unwrap();
        }
        assert_eq!(slab.purge_free_pages(), 15 * PAGE);
        assert_eq!(slab.purge_free_pages(), 0);
        assert_eq!(unsafe { *blocks[255] }, 0xAB);
        assert_eq!(unsafe { *blocks[0] }, if cfg!(miri) { unsafe { *blocks[0] } } else { 0 });
        // Taken and freed again, they count as resident again.
        let mut again = [ptr::null_mut::<u8>(); 255];
        assert_eq!(unsafe { slab.take(again.as_mut_ptr().add(255), 255) }, 255);
        for &block in &again {
            slab.put(&[block]).unwrap();
        }
        assert_eq!(slab.purge_free_pages(), 15 * PAGE);
        slab.put(&blocks[255..256]).unwrap();
        unsafe { Slab::destroy(slab_ptr.as_ptr()) };
    }
    #[test]
    fn a_page_on_which_more_is_carved_counts_as_resident_again() {
        let slab_ptr = slab_of(crate::class::class_of(256 - crate::class::RESERVED));
        let slab = unsafe { slab_ptr.as_ref() };
        for half in 0..2 {
            // Eight blocks: half of the first page.
            let mut blocks = [ptr::null_mut::<u8>(); 8];
            assert_eq!(unsafe { slab.carve(blocks.as_mut_ptr().add(8), 8) }, 8);
            for &block in &blocks {
                unsafe { block.write_bytes(0xCD, 256) };
                slab.put(&[block]).unwrap();
            }
            assert_eq!(slab.purge_free_pages(), PAGE, "half {half}");
        }
        unsafe { Slab::destroy(slab_ptr.as_ptr()) };
    }
}
