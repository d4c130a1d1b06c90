//! The process on Linux: its clock, its randomness, its environment, its signals, its end.
//!
//! Assumes that functions handed in live as long as the process. Promises to leave `errno` alone.

use super::keeping_errno;
use crate::os::fault::{Kind, refused};
use core::ffi::{CStr, c_char, c_int};
use core::ptr;

/// Milliseconds of a monotonic clock, at the resolution of the scheduler's tick.
pub(crate) fn now_ms() -> u64 {
    if refused(Kind::Clock) {
        return 0;
    }
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec; the call reads a page the kernel shares, no system call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut now) };
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// 64 bits that nobody outside the process can guess: the kernel's, or what it gave the process at
/// its start where it refuses.
pub(crate) fn random() -> u64 {
    let mut bits = 0u64;
    // SAFETY: the buffer is valid for its length; the flag keeps the call from waiting.
    let got = keeping_errno(|| unsafe {
        libc::getrandom((&raw mut bits).cast(), size_of::<u64>(), libc::GRND_NONBLOCK)
    });
    if usize::try_from(got) == Ok(size_of::<u64>()) {
        return bits;
    }
    // SAFETY: AT_RANDOM is null or the address of 16 bytes that live as long as the process. The kernel
    // tells addresses as numbers only. These bytes belong to no allocation of the program's, so that no
    // pointer to them is lost on the way, and whatever may be reached from outside of it counts as exposed.
    unsafe {
        #[expect(clippy::disallowed_methods, reason = "the kernel gives a number, and no pointer")]
        let seed = ptr::with_exposed_provenance::<u64>(libc::getauxval(libc::AT_RANDOM) as usize);
        if seed.is_null() { now_ms() } else { seed.read_unaligned() }
    }
}

/// The number of the process.
pub(crate) fn process_id() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::getpid() as u32 }
}

/// Whether the process has more rights than who started it, whose environment names no files then.
pub(crate) fn is_elevated() -> bool {
    // SAFETY: no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Ends the process at once.
pub(crate) fn abort() -> ! {
    // SAFETY: abort has no preconditions.
    unsafe { libc::abort() }
}

// SAFETY: POSIX declares it so.
unsafe extern "C" {
    static environ: *const *const c_char;
}

/// Whether the C library has set up the environment yet (it has not when the dynamic loader
/// makes its first allocations).
pub(crate) fn environment_ready() -> bool {
    // SAFETY: reading the pointer itself; the C library sets it before `main`.
    unsafe { !(&raw const environ).read_volatile().is_null() }
}

/// Calls `visit(name, value)` for every environment variable whose name starts with `prefix`.
pub(crate) fn variables(prefix: &[u8], mut visit: impl FnMut(&[u8], &[u8])) {
    // SAFETY: as in `environment_ready`.
    let mut entry = unsafe { (&raw const environ).read_volatile() };
    if entry.is_null() {
        return;
    }
    loop {
        // SAFETY: environ is a null-terminated array of C strings; we have not passed its end.
        let text = unsafe { *entry };
        if text.is_null() {
            return;
        }
        // SAFETY: an entry is a valid C string.
        let text = unsafe { CStr::from_ptr(text) }.to_bytes();
        if text.starts_with(prefix)
            && let Some(equals) = text.iter().position(|&byte| byte == b'=')
        {
            let (name, value) = text.split_at(equals);
            visit(name, value.get(1..).unwrap_or(&[]));
        }
        // SAFETY: the entry was not the terminator, so the next one exists.
        entry = unsafe { entry.add(1) };
    }
}

/// Registers a function to run at process exit. False: no memory to note it.
pub(crate) fn on_exit(run: extern "C" fn()) -> bool {
    // SAFETY: the handler is a function of this library, which is never unloaded.
    !refused(Kind::OnExit) && keeping_errno(|| unsafe { libc::atexit(run) }) == 0
}

/// Runs `run` whenever the signal of this name comes. False: the program has a handler for it, or
/// there is no such signal.
pub(crate) fn on_signal(name: &str, run: extern "C" fn(c_int)) -> bool {
    let signal = match name {
        "usr1" => libc::SIGUSR1,
        "usr2" => libc::SIGUSR2,
        "hup" => libc::SIGHUP,
        "quit" => libc::SIGQUIT,
        _ => return false,
    };
    keeping_errno(|| {
        // SAFETY: all-zero is a valid sigaction: the default action, no flags, an empty mask.
        let (mut before, mut action): (libc::sigaction, libc::sigaction) =
            unsafe { (core::mem::zeroed(), core::mem::zeroed()) };
        // SAFETY: the C library's field is a number as wide as a function pointer; what the kernel calls
        // is written as what it is.
        unsafe { (&raw mut action.sa_sigaction).cast::<extern "C" fn(c_int)>().write(run) };
        // Calls of the program that it interrupts go on.
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: both are valid sigactions; the handler is a function of this library, which is
        // never unloaded, and keeps to what a handler may do.
        unsafe {
            libc::sigfillset(&mut action.sa_mask);
            libc::sigaction(signal, ptr::null(), &mut before) == 0
                && before.sa_sigaction == libc::SIG_DFL
                && libc::sigaction(signal, &action, ptr::null_mut()) == 0
        }
    })
}
