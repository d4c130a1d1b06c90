//! What a front-end layer is: a cache of blocks that stands before the magazines, or right behind them.
//!
//! A layer holds blocks of the classes that it covers, per thread, and is asked before the magazine (or,
//! behind it, when the magazine is empty or full): on an allocation for a block, on a free for room. It lives in the heap, right behind the magazines,
//! and is a Cargo feature: a build without it has [`Off`] in its place, which has no bytes and no code.
//!
//! Invariants, on which the heap's own rest:
//!
//! 1. A block is in exactly one place: a layer that takes one has it alone, and gives it back once:
//!    to a request, or to a drain.
//! 2. Only the thread that has the heap touches its layers. The background worker does not (see
//!    `thread::turn`): they are like magazines.
//! 3. `NEW` is empty and full at once, for every class: an unborn thread's layers are those of a heap
//!    in static memory that is never written. No fast path asks whether a layer is open.
//! 4. Settings, modes, the tiny tier's limit and the mem diet reach a layer only as capacities, which
//!    slow paths set: see `Allowance` in `stack`.
//!
//! Assumes that class 0 (no class) may be asked for and pushed: it finds every layer empty and full.

use super::magazine::UnifiedCache;
use crate::class::{self, COUNT, FIRST_MID, GROUPS, RESERVED};
use crate::telemetry::tally::Handle;
use core::fmt;

/// A place for a pointer to a block.
pub(crate) type Slot = *mut u8;

/// Takes `want` blocks from the slabs, written downwards from the pointer; gives their number.
pub(crate) type Fill<'a> = &'a mut dyn FnMut(*mut Slot, usize) -> usize;

/// What has happened to a class, as slow paths see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// A request found all layers and the magazine empty.
    Refill,
    /// A free found all of them full.
    Overflow,
    /// The layers have stood still for a decay period.
    Idle,
}

/// A front-end layer.
///
/// # Safety
/// The invariants of this file hold; `pop` and the drain give only blocks that were pushed (or came
/// from a refill), as the class that they were pushed as.
pub(crate) unsafe trait FrontendLayer: Sized {
    /// The feature's name.
    const NAME: &'static str;
    /// Its place in the order: lower ones are asked first. No two layers have the same.
    const RANK: usize;
    /// Whether it stands behind the magazines: it is asked on slow paths only, for a block when the
    /// magazine of a class is empty, for room when it is full.
    const BEHIND: bool = false;
    /// Whether it is compiled in.
    const ON: bool;
    /// The classes that it covers.
    const CLASSES: ClassMask;
    /// Empty and full.
    const NEW: Self;

    /// A block of `class`, which `CLASSES` covers; null if there is none. `behind`: the magazines.
    fn pop(&self, class: usize, behind: &UnifiedCache) -> *mut u8;

    /// Takes a freed block of `class`, which `CLASSES` covers; false if it is full.
    fn push(&self, class: usize, block: *mut u8, behind: &UnifiedCache) -> bool;

    /// Calls `visit` with every block of `class` that the layer holds.
    fn each_block(&self, class: usize, visit: &mut dyn FnMut(*mut u8));

    /// Blocks of `class` that the layer holds.
    fn count(&self, class: usize) -> usize;

    /// Blocks of `class` that it should hold at most when nothing is short.
    fn most(class: usize) -> usize;

    /// Blocks of `class` that it may hold at most now.
    fn capacity(&self, class: usize) -> usize;

    /// Sets that, but not below what the layer holds nor above what it has room for. 0: empty and full.
    fn set_capacity(&mut self, class: usize, capacity: usize);

    /// Blocks of `class` that it has room for now.
    fn room(&self, class: usize) -> usize {
        self.capacity(class).saturating_sub(self.count(class))
    }

    /// Hands blocks of `class` out until `keep` are left or `out` is full, those that have been here
    /// longest first. Gives their number.
    fn drain(&mut self, class: usize, keep: usize, out: &mut [Slot]) -> usize;

    /// Something has happened to `class`, for layers that adapt.
    fn hear(&mut self, class: usize, event: Event) {
        let _ = (class, event);
    }

    /// A layer that brings its own batches in: takes one from the slabs for a request that found
    /// everything empty, and gives its first block (null: there is no memory). `None`: the magazine
    /// is to be refilled.
    fn refill(&mut self, class: usize, fill: Fill<'_>) -> Option<*mut u8> {
        let _ = (class, fill);
        None
    }

    /// For a layer behind the magazines that holds nothing itself: takes blocks which are on their way
    /// home, the oldest first, and gives how many of them it has taken, from the first on.
    fn send(&self, class: usize, blocks: &[Slot]) -> usize {
        let _ = (class, blocks);
        0
    }

    /// Whether a setting of its own, if it has one, lets it hold anything.
    fn wanted() -> bool {
        true
    }

    /// The heap that it lies in has these counters, for a layer that counts by itself.
    fn attach(&mut self, tally: Handle) {
        let _ = tally;
    }
}

/// A set of classes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ClassMask(u128);

impl ClassMask {
    pub(crate) const NONE: ClassMask = ClassMask(0);
    /// Every class, the mid tier's included.
    pub(crate) const ALL: ClassMask = ClassMask((1 << COUNT) - 2);

    /// The classes of these groups of the tiny tier.
    pub(crate) const fn groups(groups: &[usize]) -> ClassMask {
        let (mut bits, mut at) = (0, 0);
        while at < groups.len() {
            let last = class::last_class_of_group(groups[at]);
            let first = match groups[at] {
                0 => 1,
                group => class::last_class_of_group(group - 1) + 1,
            };
            bits |= (1u128 << (last + 1)) - (1u128 << first);
            at += 1;
        }
        ClassMask(bits)
    }

    /// The classes of the mid tier whose blocks have more than `from` bytes, and `to` at most.
    pub(crate) const fn mid(from: usize, to: usize) -> ClassMask {
        let (first, last) =
            (class::mid_class(from - RESERVED + 1), class::mid_class(to - RESERVED));
        ClassMask((1 << (last + 1)) - (1 << first))
    }

    /// The lowest class of the set, which is not empty.
    pub(crate) const fn first(self) -> usize {
        self.0.trailing_zeros() as usize
    }

    /// The highest class of the set, which is not empty.
    pub(crate) const fn last(self) -> usize {
        127 - self.0.leading_zeros() as usize
    }

    /// Whether the set holds `class`.
    pub(crate) const fn has(self, class: usize) -> bool {
        class < COUNT && self.0 >> class & 1 != 0
    }

    /// As `has`, for fast paths, where `self` is a constant: a full set takes no test, a run of classes
    /// one comparison, any other a comparison and a bit test. Class 0 may pass.
    #[inline(always)]
    pub(crate) const fn covers(self, class: usize) -> bool {
        if self.0 == 0 {
            return false;
        }
        if self.0 == Self::ALL.0 {
            return true;
        }
        let (first, last) = (self.first(), self.last());
        if self.0.count_ones() as usize == last - first + 1 {
            return if first == 1 {
                class <= last
            } else {
                class.wrapping_sub(first) <= last - first
            };
        }
        // Sets that end in the tiny tier take one word.
        class <= last
            && if last < 64 { self.0 as u64 >> class & 1 != 0 } else { self.0 >> class & 1 != 0 }
    }

    /// Whether the set holds the classes of a group, or (8) some of the mid tier.
    pub(crate) fn has_group(self, group: usize) -> bool {
        if group < GROUPS {
            self.has(class::last_class_of_group(group))
        } else {
            self.0 >> FIRST_MID != 0
        }
    }
}

/// `C0..C3`, `C2, C3, C5`, `mid`, `all classes`.
impl fmt::Display for ClassMask {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return out.write_str("all classes");
        }
        let (mut group, mut separator) = (0, "");
        while group < GROUPS {
            let end = (group..GROUPS).find(|&at| !self.has_group(at)).unwrap_or(GROUPS);
            match end - group {
                0 => {}
                1 => write!(out, "{separator}C{group}")?,
                2 => write!(out, "{separator}C{group}, C{}", group + 1)?,
                _ => write!(out, "{separator}C{group}..C{}", end - 1)?,
            }
            if end > group {
                separator = ", ";
            }
            group = end + 1;
        }
        if self.has_group(GROUPS) { write!(out, "{separator}mid") } else { Ok(()) }
    }
}

/// What a layer that holds no block does: items of its `impl FrontendLayer`.
macro_rules! holds_nothing {
    () => {
        #[inline(always)]
        fn pop(&self, _class: usize, _behind: &UnifiedCache) -> *mut u8 {
            core::ptr::null_mut()
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
            0
        }

        fn capacity(&self, _class: usize) -> usize {
            0
        }

        fn set_capacity(&mut self, _class: usize, _capacity: usize) {}

        fn drain(&mut self, _class: usize, _keep: usize, _out: &mut [Slot]) -> usize {
            0
        }
    };
}
pub(super) use holds_nothing;

/// The place of a layer that is not compiled in.
pub(crate) struct Off;

// SAFETY: it covers no class and holds nothing.
unsafe impl FrontendLayer for Off {
    const NAME: &'static str = "off";
    const RANK: usize = usize::MAX;
    const ON: bool = false;
    const CLASSES: ClassMask = ClassMask::NONE;
    const NEW: Self = Off;

    holds_nothing!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn masks_hold_what_their_groups_hold() {
        for groups in [&[0][..], &[2, 3], &[2, 3, 5], &[0, 1, 2, 3], &[2, 3, 4, 5], &[0, 7]] {
            let mask = ClassMask::groups(groups);
            for class in 0..COUNT {
                let wanted = (1..class::FIRST_MID).contains(&class)
                    && groups.contains(&class::group_of(class));
                assert_eq!(mask.has(class), wanted, "{groups:?} {class}");
                // Class 0 finds every layer empty and full, so it may pass.
                assert!(mask.covers(class) == wanted || class == 0, "{groups:?} {class}");
            }
        }
        assert!((1..COUNT).all(|class| ClassMask::ALL.has(class) && ClassMask::ALL.covers(class)));
        assert!(!ClassMask::ALL.has(0) && !ClassMask::NONE.covers(3));
    }

    #[test]
    fn a_part_of_the_mid_tier_is_a_run_of_classes() {
        let mask = ClassMask::mid(2 << 10, 32 << 10);
        for (class, info) in class::CLASSES.iter().enumerate() {
            let wanted = (2049..=32 << 10).contains(&(info.size as usize));
            assert_eq!((mask.has(class), mask.covers(class)), (wanted, wanted), "{class}");
        }
        assert!(mask.has_group(GROUPS) && (0..GROUPS).all(|group| !mask.has_group(group)));
    }

    #[test]
    fn masks_are_told_by_their_groups() {
        for (groups, wanted) in [
            (&[0, 1, 2, 3][..], "C0..C3"),
            (&[2, 3], "C2, C3"),
            (&[2, 3, 5], "C2, C3, C5"),
            (&[5], "C5"),
            (&[0, 1, 2, 3, 4, 5, 6, 7], "C0..C7"),
        ] {
            assert_eq!(ClassMask::groups(groups).to_string(), wanted);
        }
        assert_eq!(ClassMask::ALL.to_string(), "all classes");
        assert_eq!(ClassMask::mid(2048, 4096).to_string(), "mid");
    }
}
