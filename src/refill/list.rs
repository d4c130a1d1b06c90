//! The slabs of one class in one heap: the current one, those with free blocks by fullness, and
//! the full ones, each in a doubly linked list threaded through the descriptors.
//!
//! Invariant: a slab is the current one, or in exactly the list that its `place` names; while it has fewer
//! free blocks than `stays_below`, that is where it belongs.

use crate::segment::slab::{Place, Slab};
use core::ptr;

/// Number of fullness bins.
pub(super) const BINS: usize = 4;

/// The slabs of one class.
pub(super) struct ClassSlabs {
    /// Where refills come from; in no list.
    pub(super) current: *mut Slab,
    partial: [*mut Slab; BINS],
    full: *mut Slab,
}

/// The bin of a slab with `free` of `capacity` blocks free; 0 is the fullest.
fn bin_of(free: u32, capacity: u32) -> u8 {
    if free * 8 < capacity {
        0
    } else if free * 4 < capacity {
        1
    } else if free * 2 < capacity {
        2
    } else {
        3
    }
}

impl ClassSlabs {
    pub(super) const fn new() -> Self {
        ClassSlabs {
            current: ptr::null_mut(),
            partial: [ptr::null_mut(); BINS],
            full: ptr::null_mut(),
        }
    }

    fn head(&mut self, place: Place) -> &mut *mut Slab {
        match place {
            Place::Partial(bin) => &mut self.partial[bin as usize % BINS],
            _ => &mut self.full,
        }
    }

    /// Whether some slab here is full.
    pub(super) fn has_full(&self) -> bool {
        !self.full.is_null()
    }

    /// Whether no slab here has a free block.
    pub(super) fn is_dry(&self) -> bool {
        self.current.is_null() && self.partial.iter().all(|head| head.is_null())
    }

    /// Where a slab belongs by its free blocks.
    fn home(slab: &Slab) -> Place {
        if slab.is_exhausted() {
            return Place::Full;
        }
        let capacity = slab.info().capacity;
        Place::Partial(bin_of(slab.free.get() + (capacity - slab.carved.get()), capacity))
    }

    /// Free blocks with which a slab that is now at `place` no longer belongs there, or is all free. While it
    /// is in a list nothing is carved from it, and blocks only come home.
    fn stays_below(slab: &Slab, place: Place) -> u32 {
        let (capacity, carved) = (slab.info().capacity, slab.carved.get());
        let next = match place {
            Place::Partial(0) => capacity.div_ceil(8),
            Place::Partial(1) => capacity.div_ceil(4),
            Place::Partial(2) => capacity.div_ceil(2),
            Place::Partial(_) => capacity,
            Place::Full => 1,
            Place::Current => return u32::MAX,
        };
        next.saturating_sub(capacity - carved).min(carved)
    }

    /// Files a slab that is in no list.
    ///
    /// # Safety
    /// `slab` is alive, of this class and heap, in no list.
    pub(super) unsafe fn file(&mut self, slab: *mut Slab) {
        // SAFETY: alive by contract.
        let place = Self::home(unsafe { &*slab });
        let head = self.head(place);
        let next = *head;
        *head = slab;
        // SAFETY: as above; `next` is null or a live member of the same list.
        unsafe {
            (*slab).place.set(place);
            (*slab).stays_below.set(Self::stays_below(&*slab, place));
            (*slab).prev.set(ptr::null_mut());
            (*slab).next.set(next);
            if !next.is_null() {
                (*next).prev.set(slab);
            }
        }
    }

    /// Takes a slab out of its list.
    ///
    /// # Safety
    /// `slab` is alive and in one of these lists.
    pub(super) unsafe fn unlink(&mut self, slab: *mut Slab) {
        // SAFETY: alive by contract, and so are its neighbours.
        unsafe {
            let (prev, next) = ((*slab).prev.get(), (*slab).next.get());
            if prev.is_null() {
                *self.head((*slab).place.get()) = next;
            } else {
                (*prev).next.set(next);
            }
            if !next.is_null() {
                (*next).prev.set(prev);
            }
            (*slab).place.set(Place::Current);
            (*slab).stays_below.set(u32::MAX);
        }
    }

    /// Moves a slab to the list that it belongs to now.
    ///
    /// # Safety
    /// As for `unlink`.
    pub(super) unsafe fn refile(&mut self, slab: *mut Slab) {
        // SAFETY: alive and in a list by contract.
        unsafe {
            if Self::home(&*slab) != (*slab).place.get() {
                self.unlink(slab);
                self.file(slab);
            }
        }
    }

    /// Takes out the fullest slab that has something to give. Slabs that are more than 7/8 full
    /// come after those that a refill gains more from, the emptiest come last, so that they may
    /// become free.
    pub(super) fn pop_fullest(&mut self) -> *mut Slab {
        for bin in [1, 2, 0, 3] {
            let slab = *self.head(Place::Partial(bin));
            if !slab.is_null() {
                // SAFETY: the head of a list is alive and in it.
                unsafe { self.unlink(slab) };
                return slab;
            }
        }
        ptr::null_mut()
    }

    /// Whether this empty slab is the only one that can serve the next refill: it is kept, so that
    /// a class at the edge does not make and unmake a slab over and over.
    pub(super) fn is_last_resort(&mut self, slab: *mut Slab) -> bool {
        if !self.current.is_null() {
            return false;
        }
        // SAFETY: heads of lists are alive.
        let alone = |head: *mut Slab| head == slab && unsafe { (*head).next.get().is_null() };
        self.partial.iter().all(|&head| head.is_null() || alone(head))
    }

    /// Calls `visit` for every slab; it may unlink or destroy the one it is given.
    ///
    /// # Safety
    /// `visit` touches no other slab of these lists. A slab that it refiles may be visited twice.
    pub(super) unsafe fn each(&mut self, mut visit: impl FnMut(*mut Slab)) {
        if !self.current.is_null() {
            visit(self.current);
        }
        // Heads are read up front, so that what `visit` files elsewhere is not followed into.
        let heads = [self.full, self.partial[0], self.partial[1], self.partial[2], self.partial[3]];
        for head in heads {
            let mut slab = head;
            while !slab.is_null() {
                // SAFETY: alive until `visit` has seen it.
                let next = unsafe { (*slab).next.get() };
                visit(slab);
                slab = next;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::undocumented_unsafe_blocks)] // The tests own all they touch.
mod tests {
    use super::*;
    use crate::class::class_of;
    use crate::segment::slab::PendingStack;
    use std::boxed::Box;
    use std::vec;

    #[test]
    fn a_slab_stays_where_it_belongs_and_leaves_when_it_does_not() {
        for (size, carved) in [(16, 4096), (64, 1024), (64, 700), (1000, 40), (9000, 28)] {
            let class = class_of(size);
            let owner: &PendingStack = Box::leak(Box::new(PendingStack::new()));
            let slab = Slab::create(class, owner, true).unwrap();
            let of = unsafe { slab.as_ref() };
            let carved = carved.min(of.info().capacity as usize);
            let mut blocks = vec![ptr::null_mut::<u8>(); carved];
            let mut got = 0;
            while got < carved {
                let end = unsafe { blocks.as_mut_ptr().add(carved - got) };
                got += unsafe { of.carve(end, carved - got) };
            }
            let mut lists = ClassSlabs::new();
            unsafe { lists.file(slab.as_ptr()) };
            for block in blocks {
                of.put(&[block]).unwrap();
                let belongs = ClassSlabs::home(of) == of.place.get();
                if of.free.get() < of.stays_below.get() {
                    assert!(belongs && !of.all_home(), "{size}: {} free", of.free.get());
                } else {
                    assert!(!belongs || of.all_home(), "{size}: {} free", of.free.get());
                    unsafe { lists.refile(slab.as_ptr()) };
                }
            }
            unsafe {
                lists.unlink(slab.as_ptr());
                Slab::destroy(slab.as_ptr());
            }
        }
    }
}
