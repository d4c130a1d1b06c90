//! HotMag: eight magazines in the heap itself, for whichever classes of the tiny tier are hot.
//!
//! The idea: a program uses few sizes at a time, so it is enough to have room near at hand for those. A
//! class gets one of the magazines when it misses, and one that stands empty may be taken from the class
//! that had it. A miss of a class that has one fills it straight from the slabs. What it costs is one
//! more load on the way: which magazine is the class's.

use crate::frontend::arrays::Arrays;
use crate::frontend::layer::{ClassMask, Fill, FrontendLayer, Slot};
use crate::frontend::magazine::UnifiedCache;
use core::cell::Cell;

pub(crate) const ON: bool = cfg!(feature = "hot-mag");

const CLASSES: ClassMask = ClassMask::groups(&[0, 1, 2, 3, 4, 5, 6, 7]);
/// Magazines, and one that is closed for ever: that of all classes which have none.
const MAGAZINES: usize = 8 + 1;
const NONE: usize = 0;
/// Blocks in each.
const BLOCKS: usize = 32;
/// Blocks that a miss brings.
const BATCH: usize = 16;

/// Invariant: `owners[routes[class]] == class` for a class whose route is not `NONE`, and the other way
/// round; magazines without an owner are empty and closed.
pub(crate) struct HotMag {
    /// The magazine of each class.
    routes: [Cell<u8>; CLASSES.last() + 1],
    /// The class of each magazine; 0: none.
    owners: [u8; MAGAZINES],
    /// The magazine that was given out last.
    last: u8,
    magazines: Arrays<0, MAGAZINES, { BLOCKS + 1 }>,
}

impl HotMag {
    /// The magazine of `class`.
    #[inline(always)]
    fn of(&self, class: usize) -> usize {
        debug_assert!(CLASSES.covers(class));
        // SAFETY: the layer is asked for classes that it covers, or for 0.
        let route = unsafe { self.routes.get_unchecked(class) };
        route.get() as usize
    }

    /// Gives magazine `at` to `class` (0: to none); it and the class have been set free.
    fn assign(&mut self, at: usize, class: usize) {
        if let Some(owner) = self.owners.get_mut(at) {
            *owner = class as u8;
        }
        if class != 0
            && let Some(route) = self.routes.get(class)
        {
            route.set(at as u8);
        }
    }

    /// Takes the empty magazine `at` from the class that has it.
    fn release(&mut self, at: usize) {
        let owner = self.owners.get(at).map_or(0, |&owner| owner as usize);
        if let Some(route) = self.routes.get(owner) {
            route.set(NONE as u8);
        }
        self.assign(at, 0);
        self.magazines.set_capacity(at, 0);
    }

    /// A magazine for a class that has none: the next one that is empty, so that the one given out
    /// last is the last to be taken away. `NONE` if all are in use.
    fn free_one(&mut self) -> usize {
        for step in 0..MAGAZINES - 1 {
            let at = 1 + (self.last as usize + step) % (MAGAZINES - 1);
            if self.magazines.count(at) == 0 {
                self.release(at);
                self.last = at as u8;
                return at;
            }
        }
        NONE
    }
}

// SAFETY: a magazine has a block from its push or its batch to its pop or drain, and changes hands only
// while it has none. Class 0 never gets one.
unsafe impl FrontendLayer for HotMag {
    const NAME: &'static str = "hot-mag";
    const RANK: usize = 8;
    const ON: bool = ON;
    const CLASSES: ClassMask = CLASSES;
    const NEW: Self = HotMag {
        routes: [const { Cell::new(NONE as u8) }; CLASSES.last() + 1],
        owners: [0; MAGAZINES],
        last: 0,
        magazines: Arrays::NEW,
    };

    #[inline(always)]
    fn pop(&self, class: usize, _behind: &UnifiedCache) -> *mut u8 {
        self.magazines.pop(self.of(class))
    }

    #[inline(always)]
    fn push(&self, class: usize, block: *mut u8, _behind: &UnifiedCache) -> bool {
        self.magazines.push(self.of(class), block)
    }

    fn each_block(&self, class: usize, visit: &mut dyn FnMut(*mut u8)) {
        self.magazines.each_block(self.of(class), visit);
    }

    fn count(&self, class: usize) -> usize {
        self.magazines.count(self.of(class))
    }

    fn most(_class: usize) -> usize {
        BLOCKS
    }

    fn capacity(&self, class: usize) -> usize {
        self.magazines.capacity(self.of(class))
    }

    fn set_capacity(&mut self, class: usize, capacity: usize) {
        let mut at = self.of(class);
        if at == NONE && capacity != 0 {
            at = self.free_one();
            self.assign(at, if at == NONE { 0 } else { class });
        }
        if at == NONE {
            return;
        }
        if capacity == 0 && self.magazines.count(at) == 0 {
            self.release(at);
        } else {
            self.magazines.set_capacity(at, capacity);
        }
    }

    fn drain(&mut self, class: usize, keep: usize, out: &mut [Slot]) -> usize {
        self.magazines.drain(self.of(class), keep, out)
    }

    fn refill(&mut self, class: usize, fill: Fill<'_>) -> Option<*mut u8> {
        // The magazine of those that have none is closed for ever.
        self.magazines.refill(self.of(class), BATCH, fill)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr;

    #[test]
    fn hot_classes_have_the_magazines_and_empty_ones_change_hands() {
        let (behind, mut layer) = (UnifiedCache::new(), HotMag::NEW);
        let block = |n: usize| ptr::without_provenance_mut::<u8>(64 * n);
        for class in 1..MAGAZINES {
            layer.set_capacity(class, BLOCKS);
            assert!(layer.push(class, block(class), &behind));
        }
        layer.set_capacity(20, BLOCKS);
        assert_eq!(layer.capacity(20), 0, "all magazines are in use");
        assert!(!layer.push(20, block(20), &behind));
        for class in [3, 5] {
            assert_eq!(layer.pop(class, &behind), block(class));
        }
        layer.set_capacity(20, BLOCKS);
        assert!(layer.push(20, block(20), &behind));
        assert_eq!((layer.capacity(3), layer.capacity(5)), (0, BLOCKS), "one is enough");
        assert!(!layer.push(3, block(3), &behind));
        // Closed, a class gives its magazine back.
        layer.set_capacity(5, 0);
        layer.set_capacity(3, BLOCKS);
        assert!(layer.push(3, block(3), &behind) && !layer.push(5, block(5), &behind));
        let mut held = 0;
        for class in 1..=CLASSES.last() {
            layer.each_block(class, &mut |at| {
                assert_eq!(at, block(class));
                held += 1;
            });
        }
        assert_eq!(held, MAGAZINES - 1);
    }

    #[test]
    fn a_miss_fills_the_magazine_of_a_hot_class() {
        let (behind, mut layer) = (UnifiedCache::new(), HotMag::NEW);
        let class = CLASSES.last();
        assert!(layer.refill(class, &mut |_, _| panic!("it has no magazine")).is_none());
        layer.set_capacity(class, BLOCKS);
        let first = layer.refill(class, &mut |end, want| {
            for n in 0..want {
                // SAFETY: `want` slots below `end` are writable.
                unsafe { *end.sub(n + 1) = ptr::without_provenance_mut(64 * (n + 1)) };
            }
            want
        });
        assert_eq!(first.map(|block| block.addr()), Some(64));
        assert_eq!(layer.count(class), BATCH - 1);
        assert_eq!(layer.pop(class, &behind).addr(), 128);
    }
}
