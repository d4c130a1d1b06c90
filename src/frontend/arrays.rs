//! Small arrays of blocks inside the heap, one per class: what several layers are made of.
//!
//! As in a magazine, a null lies below the blocks of each array, so that "empty" is a null in the slot
//! just loaded; but tops are offsets instead of pointers, as the arrays move with their heap.

use super::layer::{Fill, Slot};
use super::magazine::UnifiedCache;
use core::cell::Cell;
use core::ptr;

const SLOT: u32 = size_of::<Slot>() as u32;

/// `ARRAYS` arrays of up to `SLOTS - 1` blocks each, for the classes from `FIRST` on.
#[repr(C)]
pub(super) struct Arrays<const FIRST: usize, const ARRAYS: usize, const SLOTS: usize> {
    /// Offset in `slots` of one past the last block, in bytes.
    tops: [Cell<u32>; ARRAYS],
    /// Where that may be at most.
    limits: [Cell<u32>; ARRAYS],
    /// Slot 0 of each array is null for ever.
    slots: [[Cell<Slot>; SLOTS]; ARRAYS],
}

impl<const FIRST: usize, const ARRAYS: usize, const SLOTS: usize> Arrays<FIRST, ARRAYS, SLOTS> {
    /// Offset of the first block's slot.
    const fn bottom(array: usize) -> u32 {
        (array * SLOTS + 1) as u32 * SLOT
    }

    /// Empty and full.
    #[allow(clippy::declare_interior_mutable_const)] // To be copied, not to be written.
    pub(super) const NEW: Self = {
        assert!(SLOTS > 1);
        let mut tops = [const { Cell::new(0) }; ARRAYS];
        let mut limits = [const { Cell::new(0) }; ARRAYS];
        let mut array = 0;
        while array < ARRAYS {
            tops[array] = Cell::new(Self::bottom(array));
            limits[array] = Cell::new(Self::bottom(array));
            array += 1;
        }
        Arrays {
            tops,
            limits,
            slots: [const { [const { Cell::new(ptr::null_mut()) }; SLOTS] }; ARRAYS],
        }
    };

    /// The array of a class.
    #[inline(always)]
    fn of(class: usize) -> usize {
        debug_assert!((FIRST..FIRST + ARRAYS).contains(&class));
        class.wrapping_sub(FIRST)
    }

    #[inline(always)]
    fn top(&self, array: usize) -> &Cell<u32> {
        // SAFETY: callers ask for classes that the layer covers, so the array is there.
        unsafe { self.tops.get_unchecked(array) }
    }

    #[inline(always)]
    fn limit(&self, array: usize) -> &Cell<u32> {
        // SAFETY: as above.
        unsafe { self.limits.get_unchecked(array) }
    }

    /// # Safety
    /// `offset` is that of a slot of `slots`.
    #[inline(always)]
    unsafe fn slot(&self, offset: u32) -> &Cell<Slot> {
        let slots: *const u8 = (&raw const self.slots).cast();
        // SAFETY: inside `slots`, by contract.
        unsafe { &*slots.add(offset as usize).cast() }
    }

    /// Takes the block that was put in last; null if there is none.
    #[inline(always)]
    pub(super) fn pop(&self, class: usize) -> *mut u8 {
        let top = self.top(Self::of(class));
        let below = top.get() - SLOT;
        // SAFETY: tops lie above slot 0 of their array.
        let block = unsafe { self.slot(below) }.get();
        if !block.is_null() {
            top.set(below);
        }
        block
    }

    /// Puts a block in; false if the array is full.
    #[inline(always)]
    pub(super) fn push(&self, class: usize, block: *mut u8) -> bool {
        let array = Self::of(class);
        let top = self.top(array);
        let at = top.get();
        if at == self.limit(array).get() {
            return false;
        }
        // SAFETY: below the limit, so inside the array.
        unsafe { self.slot(at) }.set(block);
        top.set(at + SLOT);
        true
    }

    /// Blocks of `class`.
    pub(super) fn count(&self, class: usize) -> usize {
        let array = Self::of(class);
        ((self.top(array).get() - Self::bottom(array)) / SLOT) as usize
    }

    /// Calls `visit` with every block of `class`.
    pub(super) fn each_block(&self, class: usize, visit: &mut dyn FnMut(*mut u8)) {
        for slot in self.blocks(class) {
            visit(slot.get());
        }
    }

    fn blocks(&self, class: usize) -> &[Cell<Slot>] {
        let slots = self.slots.get(Self::of(class));
        slots.and_then(|slots| slots.get(1..=self.count(class))).unwrap_or(&[])
    }

    /// Blocks of `class` that there may be.
    pub(super) fn capacity(&self, class: usize) -> usize {
        let array = Self::of(class);
        ((self.limit(array).get() - Self::bottom(array)) / SLOT) as usize
    }

    /// Sets that, within what there is room for and not below what is here.
    pub(super) fn set_capacity(&mut self, class: usize, capacity: usize) {
        let capacity = capacity.min(SLOTS - 1).max(self.count(class));
        let array = Self::of(class);
        self.limit(array).set(Self::bottom(array) + capacity as u32 * SLOT);
    }

    /// Takes the oldest blocks out until `keep` are left or `out` is full. Gives their number.
    pub(super) fn drain(&mut self, class: usize, keep: usize, out: &mut [Slot]) -> usize {
        let count = self.count(class).saturating_sub(keep).min(out.len());
        for (to, from) in out.iter_mut().zip(self.blocks(class).iter().take(count)) {
            *to = from.get();
        }
        self.forget_oldest(class, count);
        count
    }

    /// The `count` oldest blocks have gone: closes the gap.
    fn forget_oldest(&self, class: usize, count: usize) {
        let blocks = self.blocks(class);
        for (to, from) in blocks.iter().zip(blocks.iter().skip(count)) {
            to.set(from.get());
        }
        let top = self.top(Self::of(class));
        top.set(top.get() - count as u32 * SLOT);
    }

    /// Array `at` is empty: moves up to `want` blocks of `class` here from the magazine, in their
    /// order, and takes the newest of them. Null: the magazine has none, or the array is closed.
    pub(super) fn draw(
        &self,
        at: usize,
        want: usize,
        class: usize,
        behind: &UnifiedCache,
    ) -> *mut u8 {
        debug_assert_eq!(self.count(at), 0);
        let array = Self::of(at);
        let (bottom, limit) = (Self::bottom(array), self.limit(array).get());
        let end = limit.min(bottom + want as u32 * SLOT);
        let mut last = end;
        while last > bottom {
            let block = behind.pop(class);
            if block.is_null() {
                break;
            }
            last -= SLOT;
            // SAFETY: between the bottom and the limit, so inside the array.
            unsafe { self.slot(last) }.set(block);
        }
        if last == end {
            // The heap may be the one that is never written.
            return ptr::null_mut();
        }
        let mut to = bottom;
        for from in (last..end).step_by(SLOT as usize) {
            // SAFETY: as above.
            unsafe { self.slot(to).set(self.slot(from).get()) };
            to += SLOT;
        }
        self.top(array).set(to);
        self.pop(at)
    }

    /// Moves up to `count` of the oldest blocks of array `at` to the magazine of `class`. False: it
    /// takes none.
    pub(super) fn spill(
        &self,
        at: usize,
        count: usize,
        class: usize,
        behind: &UnifiedCache,
    ) -> bool {
        let oldest = self.blocks(at).iter().take(count);
        let moved = oldest.take_while(|slot| behind.push(class, slot.get())).count();
        if moved != 0 {
            self.forget_oldest(at, moved);
        }
        moved != 0
    }

    /// Array `at` is empty: brings a batch of up to `want` blocks in, and takes the first of them (null:
    /// there is no memory). `None`: the array is closed.
    pub(super) fn refill(&mut self, at: usize, want: usize, fill: Fill<'_>) -> Option<*mut u8> {
        debug_assert_eq!(self.count(at), 0);
        let want = want.min(self.capacity(at));
        if want == 0 {
            return None;
        }
        let array = Self::of(at);
        let first = self.slots.get_mut(array)?.as_mut_ptr().wrapping_add(1).cast::<Slot>();
        let got = fill(first.wrapping_add(want), want);
        // SAFETY: slots 1..=want exist, and the last `got` of them have been written.
        unsafe { first.copy_from(first.add(want - got), got) };
        self.top(array).set(Self::bottom(array) + got as u32 * SLOT);
        Some(self.pop(at))
    }
}

/// What a layer whose field 0 is its `Arrays`, of so many blocks per class, does with them on slow
/// paths: items of its `impl FrontendLayer`. Without a number, the layer sets capacities itself.
macro_rules! kept_in_arrays {
    () => {
        fn each_block(&self, class: usize, visit: &mut dyn FnMut(*mut u8)) {
            self.0.each_block(class, visit);
        }

        fn count(&self, class: usize) -> usize {
            self.0.count(class)
        }

        fn drain(
            &mut self,
            class: usize,
            keep: usize,
            out: &mut [$crate::frontend::layer::Slot],
        ) -> usize {
            self.0.drain(class, keep, out)
        }
    };
    ($blocks:expr) => {
        $crate::frontend::arrays::kept_in_arrays!();

        fn most(_class: usize) -> usize {
            $blocks
        }

        fn capacity(&self, class: usize) -> usize {
            self.0.capacity(class)
        }

        fn set_capacity(&mut self, class: usize, capacity: usize) {
            self.0.set_capacity(class, capacity);
        }
    };
}
pub(super) use kept_in_arrays;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_brings_a_batch_and_the_next_requests_need_none() {
        let (class, batch) = (7, 16);
        let mut arrays = Arrays::<5, 3, 33>::NEW;
        let mut nothing =
            |_: *mut Slot, _: usize| -> usize { panic!("closed, it asks for nothing") };
        assert!(arrays.refill(class, batch, &mut nothing).is_none());
        arrays.set_capacity(class, 32);
        let mut asked = 0;
        let first = arrays.refill(class, batch, &mut |end, want| {
            asked = want;
            for n in 0..want {
                // SAFETY: `want` slots below `end` are writable.
                unsafe { *end.sub(n + 1) = ptr::without_provenance_mut(256 * (n + 1)) };
            }
            want
        });
        assert_eq!((asked, first), (batch, Some(ptr::without_provenance_mut(256))));
        for n in 1..batch {
            assert_eq!(arrays.pop(class).addr(), 256 * (n + 1));
        }
        assert!(arrays.pop(class).is_null());
        // No memory: the request fails, and nothing is here.
        assert_eq!(arrays.refill(class, batch, &mut |_, _| 0), Some(ptr::null_mut()));
        assert_eq!(arrays.count(class), 0);
        // Nor is more asked for than there may be.
        arrays.set_capacity(class, 4);
        let mut short = |_: *mut Slot, want: usize| -> usize {
            assert_eq!(want, 4);
            0
        };
        assert!(arrays.refill(class, batch, &mut short).is_some());
    }
}
