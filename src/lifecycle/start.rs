//! Birth and end of threads, first call and end of the process.

use super::fork;
use crate::base::sync::{AtomicBool, Ordering};
use crate::class::FIRST_MID;
use crate::guard;
use crate::harden;
use crate::os::{self, ThreadKey, lock::Lock};
use crate::policy::{config, file};
use crate::readers::{dump, stats};
use crate::segment::registry;
use crate::thread::{heap::Heap, park, tls};
use core::ffi::c_void;

struct Process {
    key: Option<ThreadKey>,
    /// Whether `process_end` will run.
    ends: bool,
    started: bool,
}

/// Held while the process starts. The thread that holds it has its heap already, so an allocation
/// made by the C library meanwhile does not come back here.
static PROCESS: Lock<Process> = Lock::new(Process { key: None, ends: false, started: false });

/// Registers the fork handlers, once. Before any lock of ours is taken: a fork that found a lock
/// taken and no handlers would leave the child with a lock that nobody releases. Refused, it is tried
/// again when the next thread is born.
fn fork_safely() {
    // Relaxed: the swap lets one thread in, and nothing is read on the flag's word; `BEFORE_MAIN` sets
    // it while there is one thread.
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.load(Ordering::Relaxed)
        && !REGISTERED.swap(true, Ordering::Relaxed)
        && !fork::register()
    {
        REGISTERED.store(false, Ordering::Relaxed);
    }
}

/// Runs before `main`, while the process has one thread, so that no fork can meet the first calls
/// of others half-way. (Where the loader knows no such table, the first call does it.)
#[cfg(all(target_os = "linux", not(miri)))]
#[used]
// SAFETY: the section holds pointers to functions of this type, which the loader calls once.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn before_main() {
        fork_safely();
        if guard::ON {
            config::load_environment();
            guard::prepare();
        }
    }
    before_main
};

/// A heap for a thread that has none.
pub(super) struct Born {
    pub(super) heap: *mut Heap,
    /// Whether the thread has it from now on. False: nobody would say when the thread ends, and the
    /// heap would be lost with what it caches; it serves one call and is to be parked again.
    pub(super) stays: bool,
}

/// Gives the calling thread a heap and publishes it. `None`: out of memory.
#[cold]
pub(super) fn thread() -> Option<Born> {
    fork_safely();
    config::load_environment();
    harden::arm();
    let heap = park::adopt_or_create()?;
    tls::set_heap(heap);
    let key = {
        let mut process = PROCESS.lock();
        if !process.started {
            process.started = true;
            registry::keep_tables_small();
            dump::arm();
        }
        // Refused, both are asked for again at the next birth.
        if process.key.is_none() {
            process.key = os::thread_key(thread_end);
        }
        process.ends = process.ends || os::on_exit(process_end);
        process.key
    };
    let stays = key.is_some_and(|key| os::bind_thread(key, heap.cast()));
    if !stays {
        tls::let_go();
    } else if config::prewarm_wanted() {
        prewarm();
    }
    Some(Born { heap, stays })
}

/// The thread ends: parks its heap as it is. Destructors that run later find none.
///
/// # Safety
/// The C library calls it, in the thread that ends.
unsafe extern "C" fn thread_end(_heap: *mut c_void) {
    if let Some(heap) = tls::current() {
        tls::leave();
        // SAFETY: it was this thread's heap, and the thread has let go of it.
        unsafe { park::park(heap, false) };
    }
}

/// The process ends in good order: the caches of this thread go home, so that a double free that
/// still lies in them is found; what was learned is kept, and the statistics are printed, if that was asked for.
extern "C" fn process_end() {
    if let Some(heap) = tls::current() {
        let empty = |heap: &mut Heap| {
            heap.take_in();
            heap.drain();
        };
        // SAFETY: this thread's heap; no other reference is live.
        unsafe { super::on_turn(heap, empty) };
    }
    file::save_at_exit();
    stats::dump_at_exit();
}

/// Fills the magazines of all tiny classes of this thread.
pub(crate) fn prewarm() {
    let Some(heap) = tls::current() else { return };
    for class in 1..FIRST_MID {
        let fill = |heap: &mut Heap| {
            if heap.cache.level(class) == 0 {
                let block = heap.refill(class);
                if !block.is_null() && !heap.cache.push(class, block) {
                    // SAFETY: the block was just taken from this class.
                    unsafe { heap.overflow(class, block) };
                }
            }
        };
        // SAFETY: this thread's heap; no other reference is live.
        unsafe { super::on_turn(heap, fill) };
    }
}

/// Takes the lock before a fork.
pub(super) fn fork_acquire() {
    PROCESS.acquire();
}

/// Releases the lock after a fork.
///
/// # Safety
/// The calling thread took it in `fork_acquire`; `child` only in the child.
pub(super) unsafe fn fork_release(child: bool) {
    // SAFETY: by the caller's contract.
    unsafe { if child { PROCESS.reset() } else { PROCESS.release() } }
}
