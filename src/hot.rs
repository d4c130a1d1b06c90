//! malloc and free: the one screen that decides how fast the heap is.
//!
//! ```text
//! malloc(size) -> class (a byte of a table) -> magazine of the class -> block
//! free(block)  -> class (a byte of the map of addresses) -> magazine of the class
//! ```
//!
//! Front-end layers, which are features, are asked before the magazine (`frontend::stack`); in a build
//! without them that is no code.
//!
//! With the gate `tiny-header` a free of unknown size reads the class from the byte before the block.
//!
//! Everything else leaves through one call of `cold`, in tail position. No branch here asks whether
//! something is initialised, switched on or ours: an unborn thread has magazines that are empty and
//! full at once, and the map of addresses says class 0 for null, large, huge and foreign pointers,
//! whose magazine is always full.

use crate::class::{self, HEADER, MID_MAX, TINY_MAX};
use crate::cold;
use crate::frontend::magazine::UnifiedCache;
use crate::frontend::stack::FrontEnd;
use crate::guard;
use crate::harden::{self, Marks, Quarantine};
use crate::segment::header;
use crate::segment::registry;
use crate::telemetry::classes;
use crate::telemetry::tally::Handle;
use crate::thread::heap::{self, Heap};
use crate::thread::tls;

/// The thread's heap: a pointer, since no reference to it may live while a cold path changes it.
#[derive(Clone, Copy)]
struct Here(*const Heap);

impl Here {
    #[inline(always)]
    fn cache(self) -> &'static UnifiedCache {
        // SAFETY: the pointer is a sentinel or this thread's heap; both live for ever, and what is
        // returned is used up before anything else is called.
        unsafe { &(*self.0).cache }
    }

    #[inline(always)]
    fn layers(self) -> &'static FrontEnd {
        // SAFETY: as above.
        unsafe { &(*self.0).layers }
    }

    #[inline(always)]
    fn quarantine(self) -> &'static Quarantine {
        // SAFETY: as above.
        unsafe { &(*self.0).quarantine }
    }

    /// # Safety
    /// A magazine or a layer of this heap has served or taken a block, as no sentinel's does.
    #[inline(always)]
    unsafe fn tally(self) -> Handle {
        // SAFETY: not a sentinel, as the caller promised.
        Handle::of(unsafe { heap::tally_of(self.0) })
    }
}

#[inline(always)]
fn heap() -> Here {
    Here(tls::heap())
}

/// A block of at least `size` bytes. Null and `ENOMEM` if there is no memory.
#[inline(always)]
pub(crate) fn malloc(size: usize) -> *mut u8 {
    if size > TINY_MAX {
        return malloc_mid(size);
    }
    let heap = heap();
    let class = heap.cache().tiny_class(size);
    pop(heap, class, cold::refill)
}

/// A tiny block if the magazine has one; null for anything else, which `malloc` then serves.
#[inline(always)]
pub(crate) fn malloc_at_hand(size: usize) -> *mut u8 {
    if size > TINY_MAX {
        return core::ptr::null_mut();
    }
    class_at_hand(heap().cache().tiny_class(size))
}

/// The mid tier; what is larger goes on from here.
#[inline(never)]
fn malloc_mid(size: usize) -> *mut u8 {
    if size > MID_MAX {
        return cold::malloc_large(size);
    }
    pop(heap(), class::mid_class(size), cold::refill)
}

/// A block of the thread's cache; what `refill` gives if that has none.
#[inline(always)]
fn pop(heap: Here, class: usize, refill: impl FnOnce(usize) -> *mut u8) -> *mut u8 {
    if !classes::in_range(class) {
        return cold::malloc_bad_class();
    }
    let block = pop_front(heap, class);
    if !block.is_null() {
        return block;
    }
    let block = heap.cache().pop(class);
    if block.is_null() {
        return refill(class);
    }
    // SAFETY: the magazine had a block.
    let tally = unsafe { heap.tally() };
    tally.hit(class, block);
    harden::hand_out(block, class);
    block
}

/// A block of the layers in front of the magazine; null if they have none, or there are none.
#[inline(always)]
fn pop_front(heap: Here, class: usize) -> *mut u8 {
    heap.layers().pop(class, heap.cache(), |rank, block| {
        // SAFETY: a layer had a block.
        let tally = unsafe { heap.tally() };
        tally.layer_hit(rank, class, block);
        harden::hand_out(block, class);
    })
}

/// A block of `class` if the magazine, or a layer in front of it, has one; else null.
#[inline(always)]
pub(crate) fn class_at_hand(class: usize) -> *mut u8 {
    let heap = heap();
    if !classes::in_range(class) {
        return core::ptr::null_mut();
    }
    let block = pop_front(heap, class);
    if !block.is_null() {
        return block;
    }
    let block = heap.cache().pop(class);
    if !block.is_null() {
        // SAFETY: the magazine had a block.
        let tally = unsafe { heap.tally() };
        tally.hit(class, block);
        harden::hand_out(block, class);
    }
    block
}

/// A block of `class`, for callers that have computed it.
#[inline(always)]
pub(crate) fn malloc_class(class: usize) -> *mut u8 {
    pop(heap(), class, cold::refill)
}

/// As [`malloc_class`], for callers with a refill of their own, which is to end in `cold::refill`.
#[inline(always)]
pub(crate) fn malloc_class_or(class: usize, refill: impl FnOnce(usize) -> *mut u8) -> *mut u8 {
    pop(heap(), class, refill)
}

/// Frees a block of any size.
///
/// # Safety
/// `block` is null or a block of this heap in use; it is not used afterwards. (A violation that is
/// noticed ends the process with a line that says so.)
#[inline(always)]
pub(crate) unsafe fn free(block: *mut u8) {
    if HEADER {
        // SAFETY: as the caller promised.
        return match unsafe { header::class_of(block) } {
            Some(class) => push(heap(), of_slab(block, class), block),
            // SAFETY: as the caller promised.
            None => unsafe { free_by_slab(block) },
        };
    }
    match registry::class_for_free(block) {
        Some(class) => push(heap(), class, block),
        None => push_looked_at(0, block),
    }
}

/// Frees a block whose header does not say its class: its slab does.
///
/// # Safety
/// As for `header::ask_slab` and `free_class`.
#[cold]
#[inline(never)]
unsafe fn free_by_slab(block: *mut u8) {
    // SAFETY: as the caller promised.
    unsafe { free_class(block, header::ask_slab(block)) }
}

/// Frees a block whose class the caller knows.
///
/// # Safety
/// As for `free`; the block is not null, and `class` is its class.
#[inline(always)]
pub(crate) unsafe fn free_class(block: *mut u8, class: usize) {
    push(heap(), of_slab(block, class), block);
}

/// The class that a block is freed as, which its caller named; 0 for a sampled one, which lies in no
/// slab.
#[inline(always)]
fn of_slab(block: *mut u8, class: usize) -> usize {
    if guard::owns(block) {
        return 0;
    }
    harden::agree(block, class);
    class
}

/// Frees a block of a known size with natural alignment.
///
/// # Safety
/// As for `free`; the block is not null, and `malloc(size)` returned it.
#[inline(always)]
pub(crate) unsafe fn free_sized(block: *mut u8, size: usize) {
    if size > TINY_MAX {
        // SAFETY: as the caller promised.
        return unsafe { free_sized_mid(block, size) };
    }
    let heap = heap();
    push(heap, of_slab(block, heap.cache().tiny_class(size)), block);
}

/// # Safety
/// As for `free_sized`.
#[inline(never)]
unsafe fn free_sized_mid(block: *mut u8, size: usize) {
    let class = if size > MID_MAX { 0 } else { class::mid_class(size) };
    push(heap(), of_slab(block, class), block);
}

#[inline(always)]
fn push(heap: Here, class: usize, block: *mut u8) {
    if !classes::in_range(class) {
        return cold::free_bad_class(block);
    }
    let Some(marks) = harden::look(heap.quarantine(), block, class) else {
        return push_looked_at(class, block);
    };
    // SAFETY: the program has given the block back, and it has been looked at.
    unsafe { push_sound(heap, class, block, marks) }
}

/// A free of what is not a block in use at a quick look.
#[cold]
#[inline(never)]
fn push_looked_at(class: usize, block: *mut u8) {
    match harden::look_closer(block, class) {
        // SAFETY: as in `push`.
        Some(marks) => unsafe { push_sound(heap(), class, block, marks) },
        None => cold::overflow(block, class),
    }
}

/// # Safety
/// As for `harden::take_back`.
#[inline(always)]
unsafe fn push_sound(heap: Here, class: usize, block: *mut u8, marks: Marks) {
    // SAFETY: as the caller promised.
    unsafe {
        if harden::is_emptied(heap.quarantine(), class)
            && !harden::empty_short(heap.quarantine(), block, class)
        {
            return push_long(class, block, marks);
        }
        push_emptied(heap, class, block, marks);
    }
}

/// # Safety
/// As for `harden::take_back`.
#[cold]
#[inline(never)]
unsafe fn push_long(class: usize, block: *mut u8, marks: Marks) {
    let heap = heap();
    // SAFETY: as the caller promised.
    unsafe {
        harden::empty(heap.quarantine(), block, class);
        push_emptied(heap, class, block, marks);
    }
}

/// # Safety
/// As for `harden::take_back`.
#[inline(always)]
unsafe fn push_emptied(heap: Here, class: usize, block: *mut u8, marks: Marks) {
    // SAFETY: as the caller promised.
    let block = unsafe { harden::take_back(heap.quarantine(), block, class, marks) };
    if harden::ON && block.is_null() {
        // It fills an empty slot of the quarantine, which no sentinel has.
        // SAFETY: not a sentinel, therefore.
        return unsafe { heap.tally() }.freed(class, block);
    }
    if heap.layers().push(class, block, heap.cache()) {
        // SAFETY: a layer had room.
        let tally = unsafe { heap.tally() };
        return tally.layer_freed(class, block);
    }
    if !heap.cache().push(class, block) {
        return cold::overflow(block, class);
    }
    // SAFETY: the magazine had room.
    let tally = unsafe { heap.tally() };
    tally.freed(class, block);
}
