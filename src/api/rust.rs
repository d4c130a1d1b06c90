//! `Hakmem`, the allocator for Rust programs.

use super::raw;
use crate::class::{self, MID_MAX};
use crate::policy::builder::Config;
use crate::policy::config;
use crate::readers::stats;
use crate::{cold, hot};
use core::alloc::{GlobalAlloc, Layout};
use core::fmt;

/// The hakmem allocator. All values of this type are one and the same heap.
///
/// ```
/// use hakmem::Hakmem;
///
/// #[global_allocator]
/// static HEAP: Hakmem = Hakmem::new();
///
/// let text = String::from("on the heap");
/// # // SAFETY: a block in use of this heap.
/// assert!(unsafe { HEAP.usable_size(text.as_ptr()) } >= text.len());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Hakmem(Option<Config>);

impl Hakmem {
    /// The allocator, for a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Hakmem(None)
    }

    /// The allocator with settings of the program's own, for a `static`: see [`Config`].
    ///
    /// They are in force from the first allocation through it on. There is one heap: where several
    /// such allocators are in one program, the settings of the first one that is used count.
    #[must_use]
    pub const fn with(config: Config) -> Self {
        Hakmem(Some(config))
    }

    /// Has its settings taken in, if it has any. On slow paths only.
    #[inline(always)]
    fn introduce(&self) {
        if let Some(config) = &self.0 {
            config::build(config);
        }
    }

    /// A refill for an allocator with settings.
    #[cold]
    #[inline(never)]
    fn refill(&self, class: usize) -> *mut u8 {
        self.introduce();
        cold::refill(class)
    }

    /// Bytes that may be used at `block`; at least what was asked for. 0 for null.
    ///
    /// # Safety
    /// `block` is null or a block of this heap that is in use.
    #[must_use]
    pub unsafe fn usable_size(&self, block: *const u8) -> usize {
        // SAFETY: as the caller promised.
        unsafe { raw::usable_size(block) }
    }

    /// What the heap holds and what its counters say.
    #[must_use]
    pub fn stats(&self) -> stats::Stats {
        stats::stats()
    }

    /// Flushes the calling thread's caches and returns every free page; gives the bytes returned.
    pub fn collect(&self) -> usize {
        raw::collect()
    }

    /// Returns free memory to the system at once. True: something was returned.
    pub fn trim(&self) -> bool {
        raw::trim(0)
    }

    /// Writes a table of all settings, their values and where they came from.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn print_config(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.introduce();
        config::print(out)
    }
}

impl Hakmem {
    /// `realloc` of a block that no class serves, before and after. It lies apart: a second copy of what
    /// moves a block would keep the compiler from unfolding the first.
    ///
    /// # Safety
    /// As for `GlobalAlloc::realloc`.
    #[cold]
    #[inline(never)]
    unsafe fn resize(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        cold::timed_resize(size, || {
            if layout.align() <= crate::os::PAGE
                && let Some(same) = cold::resize_large(block, size)
            {
                return same;
            }
            self.introduce();
            let to = cold::malloc_aligned_large(size, layout.align());
            if !to.is_null() {
                // SAFETY: as promised by the caller; the new block is distinct from the old one, which
                // has class 0.
                unsafe {
                    to.copy_from_nonoverlapping(block, layout.size().min(size));
                    hot::free_class(block, 0);
                }
            }
            to
        })
    }
}

/// The class that serves a layout, or 0 if none does. Folds to a constant with the layout.
#[inline(always)]
fn class_of(layout: Layout) -> usize {
    let (size, align) = (layout.size(), layout.align());
    if align <= 16 && size <= MID_MAX {
        // A block of at least 16 bytes is aligned to 16.
        class::class_of(if size < align { align } else { size })
    } else {
        class::aligned_class(size, align)
    }
}

// SAFETY: blocks are distinct, aligned and at least as long as asked for (tested by the property
// tests); nothing here unwinds.
unsafe impl GlobalAlloc for Hakmem {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let class = class_of(layout);
        if class == 0 {
            self.introduce();
            return cold::malloc_aligned_large(layout.size(), layout.align());
        }
        // A static without settings is a constant, so that nothing asks whether it has any.
        hot::malloc_class_or(class, |class| match self.0 {
            None => cold::refill(class),
            Some(_) => self.refill(class),
        })
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let class = class_of(layout);
        // SAFETY: the caller gives back a block of this layout, so of this class; class 0 is
        // looked up by address.
        unsafe { hot::free_class(block, class) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        raw::zeroed(layout.size(), layout.align(), || self.introduce())
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `size`, rounded up to the alignment, does not overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let (before, after) = (class_of(layout), class_of(wanted));
        // A block stays in its class, so that a sized free finds it again.
        if before == after {
            // SAFETY: as promised by the caller.
            return if before != 0 { block } else { unsafe { self.resize(block, layout, size) } };
        }
        // SAFETY: as promised by the caller; the new block is distinct from the old one.
        unsafe {
            let to = self.alloc(wanted);
            if !to.is_null() {
                to.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            to
        }
    }
}
