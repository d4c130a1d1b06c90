//! Birth and end of threads, first call and end of the process.

use super::fork;
use crate::base::sync::{AtomicBool, Ordering};
use crate::class::FIRST_MID;
use crate::harden;
use crate::os::{self, ThreadKey, lock::Lock};
use crate::policy::{config, file};
use crate::readers::{dump, stats};
use crate::segment::registry;
use crate::thread::{heap::Heap, park, tls};
use core::ffi::c_void;

struct Process {
    key: Option<ThreadKey>,
    started: bool,
}

/// Held while the process starts. The thread that holds it has its heap already, so an allocation
/// made by the C library meanwhile does not come back here.
static PROCESS: Lock<Process> = Lock::new(Process { key: None, started: false });

/// Registers the fork handlers, once. Before any lock of ours is taken: a fork that found a lock
/// taken and no handlers would leave the child with a lock that nobody releases.
fn fork_safely() {
    // Relaxed: the swap lets one thread in, and nothing is read on the flag's word; `BEFORE_MAIN` sets
    // it while there is one thread.
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.load(Ordering::Relaxed) && !REGISTERED.swap(true, Ordering::Relaxed) {
        fork::register();
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
    }
    before_main
};

/// Gives the calling thread a heap and publishes it. `None`: out of memory.
#[cold]
pub(super) fn thread() -> Option<*mut Heap> {
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
            process.key = os::thread_key(thread_end);
            os::on_exit(process_end);
            dump::arm();
        }
        process.key
    };
    if let Some(key) = key {
        os::bind_thread(key, heap.cast());
    }
    if config::prewarm_wanted() {
        prewarm();
    }
    Some(heap)
}

/// The thread ends: parks its heap as it is. Destructors that run later find the `GONE` sentinel.
///
/// # Safety
/// The C library calls it, in the thread that ends.
unsafe extern "C" fn thread_end(_heap: *mut c_void) {
    if let Some(heap) = tls::current() {
        tls::set_heap((&raw const tls::GONE).cast_mut());
        // SAFETY: it was this thread's heap, and the thread has let go of it.
        unsafe { park::park(heap, false) };
    }
}

/// The process ends in good order: the caches of this thread go home, so that a double free that
/// still lies in them is found; what was learned is kept, and the statistics are printed, if that was asked for.
extern "C" fn process_end() {
    if let Some(heap) = tls::current() {
        // SAFETY: this thread's heap; no other reference is live.
        unsafe { super::on_turn(heap, Heap::drain) };
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
