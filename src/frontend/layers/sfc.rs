//! SFC, the Super Front Cache: a larger array per class of the tiny tier, whose size adapts.
//!
//! The idea: a cache in front of the cache that learns how much a program frees and asks for again.
//! It starts small; a refill that follows an overflow, or an overflow that follows a refill, says that
//! a larger one would have served both, and doubles it; idleness halves it again.
//!
//! Arrays lie outside the heap and grow by copying, as the magazines' do, which this layer is measured
//! against: where it wins, two levels are worth more than one that is larger.

use crate::class::CLASSES as TABLE;
use crate::frontend::layer::{ClassMask, Event, FrontendLayer, Slot};
use crate::frontend::magazine::{UnifiedCache, nothing_top};
use crate::segment::meta;
use core::cell::Cell;
use core::ptr::{self, NonNull};

pub(crate) const ON: bool = cfg!(feature = "sfc");

const CLASSES: ClassMask = ClassMask::groups(&[0, 1, 2, 3, 4, 5, 6, 7]);
const ARRAYS: usize = CLASSES.last() + 1;
/// Blocks per class at first.
const START: usize = 32;
/// Blocks per class at most, and bytes of them.
const MOST: usize = 256;
const MOST_BYTES: usize = 32 << 10;

/// What slow paths know of one array.
struct State {
    /// Slot 0, which is null, or null without storage.
    storage: *mut Slot,
    /// Slots in the storage, slot 0 included.
    slots: usize,
    /// Blocks that the array may have grown to by what the settings allow; 0: closed.
    bound: usize,
    last: Event,
}

/// The arrays: `top` is one past the last block, `limit` where it may go.
pub(crate) struct Sfc {
    tops: [Cell<*mut Slot>; ARRAYS],
    limits: [Cell<*mut Slot>; ARRAYS],
    states: [State; ARRAYS],
}

impl Sfc {
    #[inline(always)]
    fn top(&self, class: usize) -> &Cell<*mut Slot> {
        debug_assert!(class < ARRAYS);
        // SAFETY: the layer is asked for classes that it covers, or for 0.
        unsafe { self.tops.get_unchecked(class) }
    }

    #[inline(always)]
    fn limit(&self, class: usize) -> &Cell<*mut Slot> {
        debug_assert!(class < ARRAYS);
        // SAFETY: as above.
        unsafe { self.limits.get_unchecked(class) }
    }

    fn state(&mut self, class: usize) -> &mut State {
        debug_assert!(class < ARRAYS);
        // SAFETY: as above.
        unsafe { self.states.get_unchecked_mut(class) }
    }

    /// Blocks that the array takes now.
    fn room(&self, class: usize) -> usize {
        match self.states.get(class) {
            Some(state) if !state.storage.is_null() => {
                (self.limit(class).get().addr() - state.storage.addr()) / size_of::<Slot>() - 1
            }
            _ => 0,
        }
    }

    /// Lets the array take `blocks`, but not fewer than it has. Without memory for it, it stays as it is.
    fn resize(&mut self, class: usize, blocks: usize) {
        let count = self.count(class);
        let blocks = blocks.max(count);
        let state = self.state(class);
        if blocks >= state.slots {
            let slots = (blocks + 1).next_power_of_two();
            let Some(storage) = meta::alloc(slots * size_of::<Slot>(), false) else { return };
            let storage: *mut Slot = storage.as_ptr().cast();
            // SAFETY: both storages have more than `count` + 1 slots.
            unsafe {
                *storage = ptr::null_mut();
                if let Some(old) = NonNull::new(state.storage) {
                    storage.add(1).copy_from_nonoverlapping(state.storage.add(1), count);
                    meta::free(old.cast(), state.slots * size_of::<Slot>());
                }
            }
            (state.storage, state.slots) = (storage, slots);
        }
        let first = state.storage.wrapping_add(1);
        self.top(class).set(first.wrapping_add(count));
        self.limit(class).set(first.wrapping_add(blocks));
    }
}

// SAFETY: storage[1..top] holds blocks of the class from their push to their pop or drain. Class 0 is
// never given capacity.
unsafe impl FrontendLayer for Sfc {
    const NAME: &'static str = "sfc";
    const RANK: usize = 16;
    const ON: bool = ON;
    const CLASSES: ClassMask = CLASSES;
    const NEW: Self = Sfc {
        tops: [const { Cell::new(nothing_top()) }; ARRAYS],
        limits: [const { Cell::new(nothing_top()) }; ARRAYS],
        states: [const { State { storage: ptr::null_mut(), slots: 0, bound: 0, last: Event::Idle } };
            ARRAYS],
    };

    #[inline(always)]
    fn pop(&self, class: usize, _behind: &UnifiedCache) -> *mut u8 {
        let top = self.top(class);
        let last = top.get().wrapping_sub(1);
        // SAFETY: below the top lies a block, or the null of slot 0.
        let block = unsafe { *last };
        if !block.is_null() {
            top.set(last);
        }
        block
    }

    #[inline(always)]
    fn push(&self, class: usize, block: *mut u8, _behind: &UnifiedCache) -> bool {
        let top = self.top(class);
        let at = top.get();
        if at == self.limit(class).get() {
            return false;
        }
        // SAFETY: below the limit, so inside the storage.
        unsafe { *at = block };
        top.set(at.wrapping_add(1));
        true
    }

    fn each_block(&self, class: usize, visit: &mut dyn FnMut(*mut u8)) {
        for below in 1..=self.count(class) {
            // SAFETY: so many blocks lie below the top.
            visit(unsafe { *self.top(class).get().wrapping_sub(below) });
        }
    }

    fn count(&self, class: usize) -> usize {
        match self.states.get(class) {
            Some(state) if !state.storage.is_null() => {
                (self.top(class).get().addr() - state.storage.addr()) / size_of::<Slot>() - 1
            }
            _ => 0,
        }
    }

    fn most(class: usize) -> usize {
        let size = TABLE.get(class).map_or(1, |info| info.size as usize);
        MOST_BYTES.checked_div(size).unwrap_or(0).min(MOST)
    }

    fn capacity(&self, class: usize) -> usize {
        self.states.get(class).map_or(0, |state| state.bound)
    }

    fn set_capacity(&mut self, class: usize, capacity: usize) {
        let bound = capacity.min(Self::most(class));
        let room = if bound == 0 { 0 } else { self.room(class).max(START).min(bound) };
        self.state(class).bound = bound.max(self.count(class));
        self.resize(class, room);
    }

    fn drain(&mut self, class: usize, keep: usize, out: &mut [Slot]) -> usize {
        let held = self.count(class);
        let count = held.saturating_sub(keep).min(out.len());
        if count != 0 {
            let first = self.state(class).storage.wrapping_add(1);
            // SAFETY: `held` blocks lie from `first` on, at least `count` of them.
            unsafe {
                out.as_mut_ptr().copy_from_nonoverlapping(first, count);
                first.copy_from(first.add(count), held - count);
            }
            self.top(class).set(first.wrapping_add(held - count));
        }
        count
    }

    fn hear(&mut self, class: usize, event: Event) {
        let (room, bound) = (self.room(class), self.capacity(class));
        let last = core::mem::replace(&mut self.state(class).last, event);
        match (last, event) {
            (Event::Refill, Event::Overflow) | (Event::Overflow, Event::Refill) if bound != 0 => {
                self.resize(class, (2 * room).min(bound));
            }
            (_, Event::Idle) if room > START => self.resize(class, (room / 2).max(START)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternation_grows_it_idleness_shrinks_it_and_neither_passes_the_bounds() {
        let mut layer = Sfc::NEW;
        let class = crate::class::class_of(64);
        layer.hear(class, Event::Refill);
        layer.hear(class, Event::Overflow);
        assert_eq!(layer.room(class), 0, "closed");
        layer.set_capacity(class, Sfc::most(class));
        assert_eq!(layer.room(class), START);
        for _ in 0..3 {
            layer.hear(class, Event::Refill);
        }
        assert_eq!(layer.room(class), 2 * START, "only the first followed an overflow");
        for _ in 0..5 {
            layer.hear(class, Event::Overflow);
            layer.hear(class, Event::Refill);
        }
        assert_eq!(layer.room(class), MOST);
        layer.hear(class, Event::Idle);
        assert_eq!(layer.room(class), MOST / 2);
        layer.set_capacity(class, 8);
        assert_eq!((layer.room(class), layer.capacity(class)), (8, 8));
        for _ in 0..9 {
            layer.hear(class, Event::Idle);
        }
        assert_eq!(layer.room(class), 8);
        assert_eq!(Sfc::most(crate::class::class_of(1024 - crate::class::RESERVED)), 32);
    }
}
