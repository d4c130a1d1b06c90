//! Threads on Linux: sleep and wake, a thread of our own, a barrier in all of them, word of the end
//! of each and of forks.
//!
//! Assumes that functions handed in live as long as the process. Promises to leave `errno` alone.

use super::keeping_errno;
use crate::base::sync::AtomicU32;
use crate::os::fault::{Kind, refused};
use core::ffi::{CStr, c_int, c_void};
use core::ptr;

/// Sleeps while `word` holds `value`; may wake early.
pub(crate) fn wait(word: &AtomicU32, value: u32) {
    futex_wait(word, value, ptr::null());
}

/// As [`wait`], for `ms` milliseconds at most.
pub(crate) fn wait_for(word: &AtomicU32, value: u32, ms: u32) {
    let time = libc::timespec {
        tv_sec: libc::time_t::from(ms / 1000),
        tv_nsec: libc::c_long::from(ms % 1000) * 1_000_000,
    };
    futex_wait(word, value, &raw const time);
}

/// `time` is null, for ever, or a valid time.
/// Plain: the address goes to the kernel, which reads the word as an atomic.
fn futex_wait(word: &AtomicU32, value: u32, time: *const libc::timespec) {
    if refused(Kind::Wait) {
        return;
    }
    // SAFETY: the word and the time outlive the call; a private futex wait.
    keeping_errno(|| unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            value,
            time,
        )
    });
}

/// Wakes one sleeper of `word`.
/// Plain: the address goes to the kernel, which looks up who sleeps there.
pub(crate) fn wake(word: &AtomicU32) {
    // SAFETY: the word outlives the call; waking is safe whoever sleeps.
    keeping_errno(|| unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            1,
        )
    });
}

/// A full memory barrier in every running thread of the process. False: the system has none
/// (before Linux 4.14, or forbidden).
pub(crate) fn barrier() -> bool {
    let ask = |command: c_int| {
        !refused(Kind::Barrier)
            // SAFETY: the call touches no memory of ours.
            && keeping_errno(|| unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }) == 0
    };
    ask(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
        || (ask(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)
            && ask(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED))
}

/// Starts a detached thread that takes no signals, so that none of the program's handlers runs on
/// it. False: there is none. The C library may allocate meanwhile.
pub(crate) fn spawn(
    entry: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    argument: *mut c_void,
) -> bool {
    // The C library takes its thread-local storage out of the stack, too.
    const STACK: usize = 256 << 10;
    if refused(Kind::Thread) {
        return false;
    }
    // SAFETY: each object is initialised before it is used, and destroyed once; the entry is a function
    // of this library, which is never unloaded.
    keeping_errno(|| unsafe {
        let mut attributes = core::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
        if libc::pthread_attr_init(attributes.as_mut_ptr()) != 0 {
            return false;
        }
        libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK);
        let mut all = core::mem::MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = core::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        let mut thread = core::mem::MaybeUninit::<libc::pthread_t>::uninit();
        // The crate's type of the entry has no `unsafe`; it is the same to the machine.
        let entry: extern "C" fn(*mut c_void) -> *mut c_void = core::mem::transmute(entry);
        let failed =
            libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), entry, argument);
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        failed == 0
    })
}

/// Names the calling thread, for those who look at the process.
pub(crate) fn name_thread(name: &CStr) {
    // SAFETY: the name is a C string.
    keeping_errno(|| unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) });
}

/// Runs `exit(heap)` when a thread that called [`bind_thread`] ends. Idempotent per process.
pub(crate) fn thread_key(exit: unsafe extern "C" fn(*mut c_void)) -> Option<libc::pthread_key_t> {
    let mut key = 0;
    let failed = refused(Kind::ThreadKey)
        // SAFETY: `key` is valid; the destructor is a function of this library, which is never
        // unloaded.
        || keeping_errno(|| unsafe { libc::pthread_key_create(&mut key, Some(exit)) }) != 0;
    if failed { None } else { Some(key) }
}

/// Binds `value` to the calling thread under `key`, so that its destructor will see it. False: no
/// memory to note it.
pub(crate) fn bind_thread(key: libc::pthread_key_t, value: *mut c_void) -> bool {
    !refused(Kind::BindThread)
        // SAFETY: the key was made by `thread_key`. The call may allocate; the caller has already
        // published its heap, so that this re-entry is an ordinary allocation.
        && keeping_errno(|| unsafe { libc::pthread_setspecific(key, value) }) == 0
}

/// The type of a thread key, for storage.
pub(crate) type ThreadKey = libc::pthread_key_t;

/// Registers the three fork handlers. False: no memory to note them.
pub(crate) fn on_fork(
    before: unsafe extern "C" fn(),
    parent: unsafe extern "C" fn(),
    child: unsafe extern "C" fn(),
) -> bool {
    // SAFETY: the handlers are functions of this library, which is never unloaded.
    keeping_errno(|| unsafe { libc::pthread_atfork(Some(before), Some(parent), Some(child)) }) == 0
}
