//! The blocks that are mappings of their own, by address.
//!
//! A hash table out of band: linear probing, at most half full, deletion by shifting back
//! (Knuth, TAOCP 6.4 R). Assumes addresses are page-aligned. Promises: lookups allocate nothing, and a
//! failed `insert` changes nothing. Whoever records a mapping calls `arena::settle` before the program
//! has it.

use super::meta;
use super::registry::WINDOW;
use crate::os::{self, lock::Lock};
use core::ptr::{self, NonNull};

/// One mapping handed to the user.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    /// First byte; what the user holds.
    pub(crate) at: *mut u8,
    /// Bytes mapped from there on.
    pub(crate) bytes: usize,
}

const NONE: Span = Span { at: ptr::null_mut(), bytes: 0 };
const FIRST_SLOTS: usize = 128;

struct Spans {
    slots: *mut Span,
    mask: usize,
    /// Mappings recorded, and those that are lifted and will come back.
    live: usize,
    bytes: usize,
}

// SAFETY: the table is touched under its lock only.
unsafe impl Send for Spans {}

static SPANS: Lock<Spans> = Lock::new(Spans { slots: ptr::null_mut(), mask: 0, live: 0, bytes: 0 });

fn home(at: usize, mask: usize) -> usize {
    ((at / os::PAGE) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(24) as usize & mask
}

impl Spans {
    fn slot(&mut self, index: usize) -> &mut Span {
        // SAFETY: the table has mask + 1 slots.
        unsafe { &mut *self.slots.add(index & self.mask) }
    }

    /// The slot of this address, or the empty one where it would go.
    fn find(&mut self, at: *const u8) -> usize {
        let mut index = home(at.addr(), self.mask);
        loop {
            let found = self.slot(index).at;
            if found.is_null() || found.addr() == at.addr() {
                return index & self.mask;
            }
            index += 1;
        }
    }

    /// Puts a mapping into its slot; there is room.
    fn place(&mut self, span: Span) {
        let index = self.find(span.at);
        debug_assert!(self.slot(index).at.is_null(), "a mapping is recorded once");
        *self.slot(index) = span;
        self.bytes += span.bytes;
    }

    /// Empties the slot of this address; `live` is the caller's to adjust.
    fn take(&mut self, at: *mut u8) -> Option<Span> {
        if self.slots.is_null() {
            return None;
        }
        let mut hole = self.find(at);
        let span = *self.slot(hole);
        if span.at.is_null() {
            return None;
        }
        self.bytes -= span.bytes;
        // Shift back whatever probed past the hole.
        let mut index = hole;
        loop {
            index = (index + 1) & self.mask;
            let candidate = *self.slot(index);
            if candidate.at.is_null() {
                break;
            }
            let from_home = index.wrapping_sub(home(candidate.at.addr(), self.mask)) & self.mask;
            if from_home >= (index.wrapping_sub(hole) & self.mask) {
                *self.slot(hole) = candidate;
                hole = index;
            }
        }
        *self.slot(hole) = NONE;
        Some(span)
    }

    fn grow(&mut self) -> bool {
        let slots = if self.slots.is_null() { FIRST_SLOTS } else { 2 * (self.mask + 1) };
        let Some(table) = meta::alloc(slots * size_of::<Span>(), true) else { return false };
        let (old, old_slots) = (self.slots, if self.slots.is_null() { 0 } else { self.mask + 1 });
        self.slots = table.as_ptr().cast();
        self.mask = slots - 1;
        for index in 0..old_slots {
            // SAFETY: the old table has old_slots slots.
            let span = unsafe { *old.add(index) };
            if !span.at.is_null() {
                let to = self.find(span.at);
                *self.slot(to) = span;
            }
        }
        if let Some(old) = NonNull::new(old) {
            // SAFETY: allocated with this size by an earlier `grow`, referred to no more.
            unsafe { meta::free(old.cast(), old_slots * size_of::<Span>()) };
        }
        true
    }
}

/// Records a mapping. False: no memory for the table; nothing is recorded.
pub(crate) fn insert(span: Span) -> bool {
    let mut spans = SPANS.lock();
    if (spans.slots.is_null() || spans.live * 2 > spans.mask) && !spans.grow() {
        return false;
    }
    spans.place(span);
    spans.live += 1;
    true
}

/// The mapping that starts at this address.
pub(crate) fn get(at: *const u8) -> Option<Span> {
    let mut spans = SPANS.lock();
    if spans.slots.is_null() {
        return None;
    }
    let index = spans.find(at);
    let span = *spans.slot(index);
    if span.at.is_null() { None } else { Some(span) }
}

/// Removes and returns the mapping that starts at this address: the caller now owns it.
pub(crate) fn remove(at: *mut u8) -> Option<Span> {
    let mut spans = SPANS.lock();
    let span = spans.take(at)?;
    spans.live -= 1;
    Some(span)
}

/// Takes the mapping that starts at this address out of the table, but keeps room for it: the
/// caller changes it and gives it to [`put_down`].
pub(crate) fn lift(at: *mut u8) -> Option<Span> {
    SPANS.lock().take(at)
}

/// Records a mapping that was lifted, as it is now. Needs no memory.
pub(crate) fn put_down(span: Span) {
    SPANS.lock().place(span);
}

/// The mapping that contains this address, by search. For diagnostics.
pub(crate) fn containing(at: *const u8) -> Option<Span> {
    let mut spans = SPANS.lock();
    (0..if spans.slots.is_null() { 0 } else { spans.mask + 1 })
        .map(|index| *spans.slot(index))
        .find(|span| !span.at.is_null() && at.addr().wrapping_sub(span.at.addr()) < span.bytes)
}

/// Whether a span starts at an address that shares a registry entry with `[base, base + bytes)`.
pub(crate) fn aliases(base: usize, bytes: usize) -> bool {
    let mut spans = SPANS.lock();
    (0..if spans.slots.is_null() { 0 } else { spans.mask + 1 }).any(|index| {
        let at = spans.slot(index).at;
        !at.is_null() && (at.addr().wrapping_sub(base) & (WINDOW - 1)) < bytes
    })
}

/// Number of live mappings and their bytes.
pub(crate) fn totals() -> (usize, usize) {
    let spans = SPANS.lock();
    (spans.live, spans.bytes)
}

/// The same, unless the lock is taken.
pub(crate) fn try_totals() -> Option<(usize, usize)> {
    let spans = SPANS.try_lock()?;
    Some((spans.live, spans.bytes))
}

/// Takes the lock before a fork.
pub(crate) fn fork_acquire() {
    SPANS.acquire();
}

/// Releases the lock after a fork: in the parent, or (alone) in the child.
///
/// # Safety
/// The calling thread took it in `fork_acquire`; `child` only in the child.
pub(crate) unsafe fn fork_release(child: bool) {
    // SAFETY: by the caller's contract.
    unsafe { if child { SPANS.reset() } else { SPANS.release() } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_like_a_map() {
        // Addresses no mapping can have, so that other tests' spans don't meet ours.
        let fake = |n: usize| ptr::without_provenance_mut::<u8>((1 << 60) + n * os::PAGE * 7);
        for n in 0..1000 {
            assert!(insert(Span { at: fake(n), bytes: 1 }));
        }
        for n in (0..1000).step_by(3) {
            assert!(remove(fake(n)).is_some());
            assert!(remove(fake(n)).is_none());
        }
        for n in 0..1000 {
            assert_eq!(get(fake(n)).is_some(), n % 3 != 0, "{n}");
        }
        let lifted = lift(fake(1)).unwrap();
        assert!(get(fake(1)).is_none() && lift(fake(1)).is_none());
        put_down(Span { bytes: 2, ..lifted });
        assert_eq!(get(fake(1)).map(|span| span.bytes), Some(2));
        assert!(containing(fake(1)).is_some());
        assert!(aliases(fake(1).addr() + WINDOW, 1));
        for n in 0..1000 {
            assert_eq!(remove(fake(n)).is_some(), n % 3 != 0);
        }
    }
}
