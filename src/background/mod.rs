//! The background worker: one thread that gives memory back for a program that sleeps.
//!
//! | it is | when |
//! |---|---|
//! | not there | in small programs: it is born once the heap holds [`GROWN_BYTES`] (`HAKMEM_WORKER=auto`), at the first look (`on`) or never (`off`) |
//! | at work | every half decay period, as long as rounds find something |
//! | asleep | after [`QUIET_ROUNDS`] rounds that found nothing; the next tick of any thread wakes it |
//! | gone | once it is switched off (`set_config`), at once, also out of its sleep |
//!
//! With the gates `background-spill` and `background-bin` it also serves the queues of
//! `frontend::handoff`: before each round, and when a slow path that has left something calls it.
//!
//! What a round does is the caller's (`lifecycle::worker`). A round is made, and the queues are served,
//! under a lock that `fork` takes first, so that none is under way at a fork; the child has no worker
//! until it needs one. Process exit needs no care: a round touches nothing that is ever destroyed, and
//! what waits in the queues is taken in by who ends the process.
//!
//! Assumes that `nudge` is called without any lock or heap held: starting a thread may allocate.
//! Without the gate `background-worker` all of this is empty.

use crate::base::sync::{AtomicBool, AtomicU32, Ordering};
use crate::frontend::handoff;
use crate::os::{self, lock::Lock, lock::LockGuard};
use crate::policy::builder::Worker;
use crate::policy::config;
use crate::thread::turn::ON;
use core::ffi::c_void;
use core::ptr;

/// Bytes held from which on a heap has a worker.
const GROWN_BYTES: usize = 32 << 20;
/// Rounds without anything to do after which the worker goes to sleep: eight decay periods, twice
/// what anything is kept for.
const QUIET_ROUNDS: u32 = 16;

/// Whether there should be a worker. Relaxed: a late look starts it a slow path later.
static DUE: AtomicBool = AtomicBool::new(false);
/// Whether there is one, or none could be had. Relaxed: the exchange lets one thread start it, and the
/// thread that is started is ordered by its start.
static ALIVE: AtomicBool = AtomicBool::new(false);
/// Whether none could be had: the next tick lets it be tried again. Relaxed: a late look tries a tick
/// later.
static REFUSED: AtomicBool = AtomicBool::new(false);
/// 1 while the worker sleeps without an end. Relaxed: a late look wakes it a tick later.
/// Acquire and Release: a worker that goes to sleep after it was woken up has seen why.
static ASLEEP: AtomicU32 = AtomicU32::new(0);
/// 1 while the worker sleeps between rounds (on `handoff::WORK`, which calls it). Relaxed: a late look
/// leaves the wake-up to the next slow path, or to the end of the pause.
static NAPPING: AtomicU32 = AtomicU32::new(0);
/// Held during a round, and while the queues are served.
static ROUND: Lock<()> = Lock::new(());

/// What a round found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing that was old enough to go back.
    Nothing,
    /// Something, which has gone back.
    Something,
}

/// What the worker does.
pub(crate) struct Duties {
    /// One round; gives the milliseconds until the next one, too.
    pub(crate) round: fn() -> (Found, u32),
    /// Does what threads have left to be done.
    pub(crate) serve: fn() -> Found,
    /// Takes in what was left after that; there is no worker from now on.
    pub(crate) leave: fn(),
}

/// A thread looks at the clock: should there be a worker? `held`: bytes that the heap holds.
#[inline(always)]
pub(crate) fn consider(held: impl FnOnce() -> usize) {
    if ON && !DUE.load(Ordering::Relaxed) {
        let due = match config::worker() {
            Worker::Off => false,
            Worker::Auto => held() >= GROWN_BYTES,
            Worker::On => true,
        };
        if due {
            DUE.store(true, Ordering::Relaxed);
        }
    }
}

/// A slow path has ended: starts the worker if there should be one, calls it if there is work for it.
#[inline(always)]
pub(crate) fn nudge(duties: &'static Duties) {
    if ON && DUE.load(Ordering::Relaxed) && !ALIVE.load(Ordering::Relaxed) {
        start(duties);
    }
    if ON && handoff::has_work() {
        call();
    }
}

/// Wakes the worker if it sleeps.
#[cold]
fn call() {
    if NAPPING.load(Ordering::Relaxed) != 0 && NAPPING.swap(0, Ordering::Relaxed) != 0 {
        os::wake(&handoff::WORK);
    }
    if ASLEEP.load(Ordering::Relaxed) != 0 {
        wake_up();
    }
}

/// Wakes the worker if it sleeps for good. Exchanged, as a store would hide from the worker what others
/// have written before they woke it.
fn wake_up() {
    ASLEEP.swap(0, Ordering::Release);
    os::wake(&ASLEEP);
}

/// A setting has been changed: a worker that has been switched off ends now, though nobody ticks.
/// Whichever of its two sleeps it begins meanwhile, it either sees the setting or is woken up.
pub(crate) fn heed() {
    if ON && ALIVE.load(Ordering::Relaxed) && config::worker() == Worker::Off {
        handoff::call_anyway();
        os::wake(&handoff::WORK);
        wake_up();
    }
}

#[cold]
fn start(duties: &'static Duties) {
    if config::worker() == Worker::Off || ALIVE.swap(true, Ordering::Relaxed) {
        return;
    }
    let duties = ptr::from_ref(duties).cast_mut().cast();
    if !(os::barrier() && os::spawn(main, duties)) {
        REFUSED.store(true, Ordering::Relaxed);
    }
}

/// A tick: wakes the worker if it sleeps for good, or lets it be started if it could not be.
#[inline(always)]
pub(crate) fn rouse() {
    if ON && ASLEEP.load(Ordering::Relaxed) != 0 {
        wake_up();
    }
    if ON && REFUSED.load(Ordering::Relaxed) && REFUSED.swap(false, Ordering::Relaxed) {
        ALIVE.store(false, Ordering::Relaxed);
    }
}

/// The worker.
///
/// # Safety
/// `duties` are static ones, as `start` passes them.
unsafe extern "C" fn main(duties: *mut c_void) -> *mut c_void {
    // SAFETY: `start` passed them.
    let duties: &'static Duties = unsafe { &*duties.cast() };
    os::name_thread(c"hakmem-worker");
    handoff::man(true);
    let mut quiet = 0;
    let mut due = 0;
    loop {
        handoff::begin_work();
        if config::worker() == Worker::Off {
            break;
        }
        let now = os::now_ms();
        {
            let _round = ROUND.lock();
            let mut found = (duties.serve)();
            if now >= due {
                let (aged, pause) = (duties.round)();
                due = now + u64::from(pause);
                if aged == Found::Something {
                    found = aged;
                }
                quiet += 1;
            }
            if found == Found::Something {
                quiet = 0;
            }
        }
        if quiet < QUIET_ROUNDS {
            NAPPING.store(1, Ordering::Relaxed);
            os::wait_for(&handoff::WORK, 0, due.saturating_sub(os::now_ms()).max(1) as u32);
            NAPPING.store(0, Ordering::Relaxed);
            continue;
        }
        ASLEEP.swap(1, Ordering::Acquire);
        while ASLEEP.load(Ordering::Relaxed) != 0 && config::worker() != Worker::Off {
            os::wait(&ASLEEP, 1);
        }
        ASLEEP.store(0, Ordering::Relaxed);
        (quiet, due) = (0, 0);
    }
    // Switched off. Switched on again, a later look starts another.
    handoff::man(false);
    {
        let _round = ROUND.lock();
        (duties.leave)();
    }
    DUE.store(false, Ordering::Relaxed);
    ALIVE.store(false, Ordering::Relaxed);
    ptr::null_mut()
}

/// While the result lives, no round begins: for who looks at all heaps.
#[inline(always)]
pub(crate) fn hold() -> Option<LockGuard<'static, ()>> {
    ON.then(|| ROUND.lock())
}

/// Waits for the end of a round before a fork.
#[inline(always)]
pub(crate) fn fork_acquire() {
    if ON {
        ROUND.acquire();
    }
}

/// Lets rounds go on after a fork; in the child there is no worker any more.
///
/// # Safety
/// The calling thread took the lock in `fork_acquire`; `child` only in the child.
#[inline(always)]
pub(crate) unsafe fn fork_release(child: bool) {
    if !ON {
        return;
    }
    // SAFETY: by the caller's contract.
    unsafe {
        if child {
            // Many a child only calls exec: it looks again before it gets a worker of its own.
            DUE.store(false, Ordering::Relaxed);
            ALIVE.store(false, Ordering::Relaxed);
            REFUSED.store(false, Ordering::Relaxed);
            ASLEEP.store(0, Ordering::Relaxed);
            NAPPING.store(0, Ordering::Relaxed);
            ROUND.reset();
        } else {
            ROUND.release();
        }
    }
}
