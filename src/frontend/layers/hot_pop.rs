//! Hot pop: code of its own for each of the smallest classes, in front of the magazine's.
//!
//! The idea: with the class a constant, the magazine's top lies at a constant distance from the heap,
//! and no index is scaled. What it costs is the jump to the right code. It holds no blocks: it takes
//! them from the magazine. Its capacity is whether it is asked at all.

use crate::frontend::layer::{ClassMask, FrontendLayer, Slot};
use crate::frontend::magazine::UnifiedCache;
use core::cell::Cell;
use core::ptr;

pub(crate) const ON: bool = cfg!(feature = "hot-pop");

const CLASSES: ClassMask = ClassMask::groups(&[0, 1, 2, 3]);

/// The class itself for each class that is served here, 0 for the others.
pub(crate) struct HotPop([Cell<u8>; CLASSES.last() + 1]);

/// The code of one class. Marked, so that the compiler does not make one of all of them again.
#[inline(always)]
fn pop_of<const CLASS: usize>(behind: &UnifiedCache) -> *mut u8 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a comment is no code.
    unsafe {
        core::arch::asm!("/* class {} */", const CLASS, options(nomem, nostack, preserves_flags));
    }
    behind.pop(CLASS)
}

impl HotPop {
    #[inline(always)]
    fn route(&self, class: usize) -> &Cell<u8> {
        debug_assert!(CLASSES.covers(class));
        // SAFETY: the layer is asked for classes that it covers, or for 0.
        unsafe { self.0.get_unchecked(class) }
    }
}

// SAFETY: it gives what the magazine of the class gives, and takes nothing. Class 0 is never given
// capacity.
unsafe impl FrontendLayer for HotPop {
    const NAME: &'static str = "hot-pop";
    const RANK: usize = 20;
    const ON: bool = ON;
    const CLASSES: ClassMask = CLASSES;
    const NEW: Self = HotPop([const { Cell::new(0) }; CLASSES.last() + 1]);

    #[inline(always)]
    fn pop(&self, class: usize, behind: &UnifiedCache) -> *mut u8 {
        match self.route(class).get() {
            1 => pop_of::<1>(behind),
            2 => pop_of::<2>(behind),
            3 => pop_of::<3>(behind),
            4 => pop_of::<4>(behind),
            5 => pop_of::<5>(behind),
            _ => ptr::null_mut(),
        }
    }

    #[inline(always)]
    fn push(&self, _class: usize, _block: *mut u8, _behind: &UnifiedCache) -> bool {
        false
    }

    fn each_block(&self, _class: usize, _visit: &mut dyn FnMut(*mut u8)) {}

    fn count(&self, _class: usize) -> usize {
        0
    }

    fn most(_class: usize) -> usize {
        1
    }

    fn capacity(&self, class: usize) -> usize {
        usize::from(self.route(class).get() != 0)
    }

    fn set_capacity(&mut self, class: usize, capacity: usize) {
        self.route(class).set(if capacity == 0 { 0 } else { class as u8 });
    }

    fn drain(&mut self, _class: usize, _keep: usize, _out: &mut [Slot]) -> usize {
        0
    }
}

const _: () = assert!(CLASSES.last() == 5, "`pop` has code for the classes 1 to 5");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_pops_from_its_own_magazine_while_it_is_open() {
        let (mut behind, mut layer) = (UnifiedCache::new(), HotPop::NEW);
        let block = |class: usize| ptr::without_provenance_mut::<u8>(16 * class);
        for class in 1..=CLASSES.last() {
            assert!(behind.begin_overflow(class).is_none());
            assert!(behind.push(class, block(class)));
            assert!(layer.pop(class, &behind).is_null(), "closed");
            layer.set_capacity(class, 1);
        }
        for class in 1..=CLASSES.last() {
            assert_eq!(layer.pop(class, &behind), block(class));
            assert!(layer.pop(class, &behind).is_null() && behind.level(class) == 0);
        }
    }
}
