//! Where the fast path goes when a magazine is empty or full, and where everything above the
//! thread cache is served.
//!
//! Each function here is never inlined and takes what it needs in registers, so that the fast path
//! ends in a jump. Assumes nothing about the thread: it may be unborn, ending, or inside another
//! call of the C library that came from here.

use crate::class::{CLASSES, Class, MID_MAX};
use crate::guard;
use crate::harden;
use crate::large::{self, Wanted, elo};
use crate::lifecycle;
use crate::os;
use crate::policy::auto;
use crate::policy::engine::{self, What};
use crate::refill;
use crate::segment::misuse;
use crate::segment::registry;
use crate::segment::spans;
use crate::telemetry::classes::{self, Use};
use crate::telemetry::tally::COMMON;
use crate::thread::tls;

/// A block of `class` for a thread whose magazine of it is empty.
#[cold]
#[inline(never)]
pub(crate) fn refill(class: usize) -> *mut u8 {
    if !classes::refill_in_bounds(class) {
        return os::no_memory();
    }
    if guard::ON {
        let block = sampled(class);
        if !block.is_null() {
            return block;
        }
    }
    let block = lifecycle::with_heap(|heap| {
        let mut block = heap.refill(class);
        if block.is_null() && lifecycle::make_room(heap) {
            block = heap.refill(class);
        }
        engine::tell(What::Refill, class);
        lifecycle::tick(heap);
        block
    });
    lifecycle::nudge();
    match block {
        Some(block) if !block.is_null() => {
            harden::hand_out(block, class);
            block
        }
        _ => os::no_memory(),
    }
}

/// A guarded block instead of a refill, if this one is to be sampled; else null.
fn sampled(class: usize) -> *mut u8 {
    match CLASSES.get(class) {
        Some(info) if lifecycle::with_heap(|heap| heap.guard.due()) == Some(true) => {
            // No heap is held: taking a stack may call the C library.
            guard::allocate(info.size as usize)
        }
        _ => core::ptr::null_mut(),
    }
}

/// A zeroed block of `class` for a thread whose magazine of it is empty: one that was never handed
/// out, which need not be cleared, if there is one.
#[cold]
#[inline(never)]
pub(crate) fn refill_zeroed(class: usize, size: usize) -> *mut u8 {
    if !classes::refill_in_bounds(class) {
        return os::no_memory();
    }
    let fresh = lifecycle::with_heap(|heap| {
        let started = heap.tally.start();
        let block = heap.bins.carve_fresh(class);
        if !block.is_null() {
            heap.tally.refilled(class, 1, started);
        }
        block
    });
    if let Some(fresh) = fresh
        && !fresh.is_null()
    {
        harden::hand_out(fresh, class);
        return fresh;
    }
    let block = refill(class);
    if !block.is_null() {
        // SAFETY: the block is ours and at least `size` bytes long.
        unsafe { block.write_bytes(0, size) };
    }
    block
}

/// Frees a block whose magazine is full; class 0 is whatever is not in a slab.
#[cold]
#[inline(never)]
pub(crate) fn overflow(block: *mut u8, class: usize) {
    if class == 0 {
        return free_large(block);
    }
    let freed = if tls::is_gone() {
        None
    } else {
        lifecycle::with_heap(|heap| {
            // SAFETY: the program gave the block back as this class.
            unsafe { heap.overflow(class, block) };
            engine::tell(What::Overflow, class);
            lifecycle::tick(heap);
        })
    };
    lifecycle::nudge();
    if freed.is_none() && !block.is_null() {
        // The thread has no heap (any more): straight home.
        COMMON.overflowed(class, block);
        // SAFETY: as above.
        unsafe { refill::give_back(class, &[block]) };
    }
}

/// An allocation whose class is out of range: a table has been overwritten.
#[cold]
#[inline(never)]
pub(crate) fn malloc_bad_class() -> *mut u8 {
    COMMON.bad_class(Use::Allocation);
    os::no_memory()
}

/// A free whose class is out of range: left to what the block's address says.
#[cold]
#[inline(never)]
pub(crate) fn free_bad_class(block: *mut u8) {
    COMMON.bad_class(Use::Free);
    free_large(block);
}

fn free_large(block: *mut u8) {
    if block.is_null() {
        return;
    }
    if guard::owns(block) {
        // SAFETY: the program has given it back.
        return unsafe { guard::free(block) };
    }
    let run = registry::run_of(block);
    // SAFETY: a published run is alive; a block of it that the caller holds keeps it so.
    let found = unsafe { run.as_ref() };
    if let Some(slab) = found
        && slab.class != 0
        && registry::class_for_free(block).is_none_or(|class| class == 0)
    {
        // SAFETY: the program has given it back.
        return unsafe { free_unnamed(block, usize::from(slab.class)) };
    }
    let is_run = found.is_some_and(|run| run.class == 0 && run.base == block);
    auto::saw_large();
    let freed = lifecycle::with_slots(|slots| {
        if is_run {
            // SAFETY: published, class 0.
            unsafe { large::free_run(slots, run) }
        } else {
            large::free_span(slots, block)
        }
    });
    if !freed {
        misuse::not_ours(block, "free");
    }
}

/// Frees a block of a slab that the map of addresses does not name, as a huge block shares its entry.
///
/// # Safety
/// `block` lies in a slab of `class`, and is not used afterwards.
#[cold]
#[inline(never)]
unsafe fn free_unnamed(block: *mut u8, class: usize) {
    let mut block = block;
    if harden::ON
        && let Some(marks) = harden::look_closer(block, class)
    {
        // SAFETY: a sentinel or this thread's heap; both live for ever.
        let quarantine = unsafe { &(*tls::heap()).quarantine };
        // SAFETY: as the caller promised.
        block = unsafe {
            if harden::is_emptied(quarantine, class) {
                harden::empty(quarantine, block, class);
            }
            harden::take_back(quarantine, block, class, marks)
        };
    }
    if !block.is_null() {
        overflow(block, class);
    }
}

/// A block above the thread cache.
#[cold]
#[inline(never)]
pub(crate) fn malloc_large(size: usize) -> *mut u8 {
    match large_block(size, 1, Wanted::New) {
        Some(block) => block.at.as_ptr(),
        None => os::no_memory(),
    }
}

/// As [`malloc_large`], for the contents of a smaller block that grows.
#[cold]
#[inline(never)]
pub(crate) fn malloc_grown(size: usize) -> *mut u8 {
    match large_block(size, 1, Wanted::ToGrow) {
        Some(block) => {
            if block.zeroed {
                large::expect_filling(block.at);
            }
            block.at.as_ptr()
        }
        None => os::no_memory(),
    }
}

fn large_block(size: usize, align: usize, wanted: Wanted) -> Option<large::Block> {
    auto::saw_large();
    let block = lifecycle::with_slots(|slots| large::alloc(slots, size, align, wanted));
    if block.is_none() { large_block_again(size, align, wanted) } else { block }
}

#[cold]
#[inline(never)]
fn large_block_again(size: usize, align: usize, wanted: Wanted) -> Option<large::Block> {
    // Give back what is cached and try once more.
    let made_room = lifecycle::with_heap(lifecycle::make_room).unwrap_or(false);
    if !made_room {
        return None;
    }
    lifecycle::with_slots(|slots| large::alloc(slots, size, align, wanted))
}

/// A block of at least `size` bytes at a multiple of `align`, which no class of the thread cache
/// serves.
#[cold]
#[inline(never)]
pub(crate) fn malloc_aligned_large(size: usize, align: usize) -> *mut u8 {
    // What is small but far aligned still needs a run of its own.
    match large_block(size.max(MID_MAX + 1), align, Wanted::New) {
        Some(block) => block.at.as_ptr(),
        None => os::no_memory(),
    }
}

/// A zeroed block above the thread cache; fresh pages are not cleared again.
#[cold]
#[inline(never)]
pub(crate) fn calloc_large(size: usize, align: usize) -> *mut u8 {
    match large_block(size.max(MID_MAX + 1), align, Wanted::New) {
        Some(block) => {
            if !block.zeroed {
                // SAFETY: the block is ours and at least `size` bytes long.
                unsafe { block.at.as_ptr().write_bytes(0, size) };
            }
            block.at.as_ptr()
        }
        None => os::no_memory(),
    }
}

/// What lies at a block's address.
pub(crate) enum Kind {
    /// A block of a slab of this class.
    Slab(usize),
    /// A large block, by its descriptor.
    Run(*mut crate::segment::slab::Slab),
    /// A mapping of its own, of this many bytes.
    Span(usize),
    /// A sampled block of this many bytes.
    Guarded(usize),
}

/// What lies at this address; ends the process if it is not the start of a block.
pub(crate) fn kind_of(block: *const u8, what: &str) -> Kind {
    if guard::owns(block) {
        return Kind::Guarded(guard::usable_size(block, what));
    }
    let run = registry::run_of(block);
    // SAFETY: a published run with a block in use is alive.
    match unsafe { run.as_ref() } {
        Some(slab) if slab.class != 0 => match slab.index_of(block) {
            Ok(_) => Kind::Slab(usize::from(slab.class)),
            Err(wrong) => misuse::bad_block(block, usize::from(slab.class), wrong),
        },
        Some(slab) if slab.base.cast_const() == block && slab.bytes.get() != 0 => Kind::Run(run),
        Some(_) => misuse::not_ours(block, what),
        None => match spans::get(block) {
            Some(span) => Kind::Span(span.bytes),
            None => misuse::not_ours(block, what),
        },
    }
}

/// Bytes that the user may use of a block.
pub(crate) fn usable_size(block: *const u8) -> usize {
    match kind_of(block, "usable_size") {
        Kind::Slab(class) => CLASSES.get(class).map_or(0, Class::usable),
        // SAFETY: in use, so alive.
        Kind::Run(run) => unsafe { (*run).bytes.get() },
        Kind::Span(bytes) | Kind::Guarded(bytes) => bytes,
    }
}

/// Resizes a block above the thread cache by `act`, which may copy it; timed as other operations on
/// large blocks are.
#[inline]
pub(crate) fn timed_resize(size: usize, act: impl FnOnce() -> *mut u8) -> *mut u8 {
    // A thread that has no heap may have another one in each of these calls.
    if !elo::ON || tls::current().is_none() {
        return act();
    }
    let timed = lifecycle::with_slots(|slots| slots.meter.start_resize());
    let block = act();
    lifecycle::with_slots(|slots| slots.meter.resized(timed, size));
    block
}

/// Grows or shrinks a block above the thread cache without copying it. `None`: it must be moved.
pub(crate) fn resize_large(block: *mut u8, size: usize) -> Option<*mut u8> {
    match kind_of(block, "realloc") {
        // SAFETY: the caller holds the block.
        Kind::Run(run) if size > MID_MAX && unsafe { large::resize_run(run, size) } => Some(block),
        Kind::Span(_) if size > MID_MAX => large::resize_span(block, size).map(|at| at.as_ptr()),
        _ => None,
    }
}
