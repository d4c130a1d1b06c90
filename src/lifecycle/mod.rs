//! The life of threads and of the process: birth, ticks, shortage, fork, end.
//!
//! | stage | when | what |
//! |---|---|---|
//! | environment | first slow-path call | settings from `HAKMEM_*` (`policy::config`) |
//! | SuperSlabs | first refill | the first arena is reserved |
//! | magazines | a thread's first refill of a class | storage of that class; all tiny classes with prewarm |
//! | workers | the heap has grown, and the gate `background-worker` is on | one thread (`background`) |
//!
//! Assumes nothing about the calling thread. Promises: a call from inside the C library's own
//! set-up (which may allocate) is an ordinary allocation, never a recursion or a deadlock, because
//! a thread's heap is published before any such function is called.

pub(crate) mod fork;
mod start;
mod stock;
pub(crate) mod trim;
mod worker;

use crate::background;
use crate::large::big_cache::Slots;
use crate::policy::config::{self, ConfigError};
use crate::readers::dump;
use crate::thread::{heap::Heap, park, tls};
use start::Born;
pub(crate) use start::prewarm;
pub(crate) use trim::{make_room, tick};
pub(crate) use worker::nudge;

/// Runs `act` with the calling thread's heap, giving it one if need be. `None`: out of memory.
#[inline]
pub(crate) fn with_heap<R>(act: impl FnOnce(&mut Heap) -> R) -> Option<R> {
    if let Some(heap) = tls::current() {
        // SAFETY: this thread's heap; `act` calls nothing that allocates through it.
        return Some(unsafe { on_turn(heap, act) });
    }
    let born = if tls::is_gone() {
        // The thread is ending and its heap was parked: borrow one for this call only, so that
        // none is lost when no destructor will run again.
        Born { heap: park::adopt_or_create()?, stays: false }
    } else {
        start::thread()?
    };
    // SAFETY: ours from now on, or until it is parked.
    let result = unsafe { on_turn(born.heap, act) };
    if !born.stays {
        // SAFETY: as above, and not used afterwards.
        unsafe { park::park(born.heap, false) };
    }
    Some(result)
}

/// Runs `act` with a heap while the background worker keeps away from it.
///
/// # Safety
/// The calling thread has the heap, and no other reference to it is live.
#[inline(always)]
unsafe fn on_turn<R>(heap: *mut Heap, act: impl FnOnce(&mut Heap) -> R) -> R {
    // SAFETY: heaps live for ever; the door is written before anyone has the heap.
    let _inside = unsafe { (*heap).door }.enter();
    // SAFETY: ours by contract, and the worker is outside.
    act(unsafe { &mut *heap })
}

/// Runs `act` with the calling thread's slots for large blocks, or with passing ones if it has no
/// heap and can't get one; then ticks. To be called where no heap is held.
#[inline]
pub(crate) fn with_slots<R>(act: impl FnOnce(&mut Slots) -> R) -> R {
    let result = match tls::current() {
        // SAFETY: this thread's heap; `act` calls nothing that allocates through it.
        Some(heap) => unsafe {
            on_turn(heap, |heap| {
                let result = act(&mut heap.slots);
                tick(heap);
                result
            })
        },
        None => with_other_slots(act),
    };
    nudge();
    result
}

/// The same for a thread whose first call this is, or that is ending.
#[cold]
#[inline(never)]
fn with_other_slots<R>(act: impl FnOnce(&mut Slots) -> R) -> R {
    let born = if tls::is_gone() { None } else { start::thread() };
    let Some(Born { heap, stays }) = born else {
        let mut slots = Slots::new();
        let result = act(&mut slots);
        slots.drain();
        return result;
    };
    // SAFETY: ours until it is parked; `act` calls nothing that allocates through it.
    let result = unsafe { on_turn(heap, |heap| act(&mut heap.slots)) };
    if !stays {
        // SAFETY: as above, and not used afterwards.
        unsafe { park::park(heap, false) };
    }
    result
}

/// Changes one setting while the program runs; `name` with or without the prefix `HAKMEM_`.
///
/// # Errors
/// See [`ConfigError`]; nothing has changed then.
pub fn set_config(name: &str, text: &str) -> Result<(), ConfigError> {
    config::set(name, text)?;
    dump::arm();
    background::heed();
    Ok(())
}
