//! The operating-system contract on Linux.
//!
//! Assumes Linux 2.6 or later and the C library's wrappers. Promises what `os/mod.rs` lists.

use super::fault::{Kind, refused};
use crate::base::sync::AtomicU32;
use crate::telemetry::system::Call;
use crate::telemetry::tally::COMMON;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::{self, NonNull};

/// Runs `call` and puts `errno` back, so that a purge inside `free` is invisible to the program.
#[inline]
fn keeping_errno<R>(call: impl FnOnce() -> R) -> R {
    // SAFETY: the C library's errno location is valid for the calling thread.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    let result = call();
    // SAFETY: as above.
    unsafe { *errno = before };
    result
}

/// Says "out of memory" the way C does. Returns null so that a caller can return it in turn.
#[cold]
pub(crate) fn no_memory() -> *mut u8 {
    // SAFETY: the C library's errno location is valid for the calling thread.
    unsafe { *libc::__errno_location() = libc::ENOMEM };
    ptr::null_mut()
}

fn map_raw(size: usize, protection: c_int) -> Option<NonNull<u8>> {
    let at = if refused(Kind::Map) {
        libc::MAP_FAILED
    } else {
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no
        // existing memory.
        keeping_errno(|| unsafe {
            libc::mmap(
                ptr::null_mut(),
                size,
                protection,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        })
    };
    COMMON.called(Call::Map, size, at != libc::MAP_FAILED);
    if at == libc::MAP_FAILED { None } else { NonNull::new(at.cast()) }
}

const WRITABLE: c_int = libc::PROT_READ | libc::PROT_WRITE;

/// Maps `size` bytes (a multiple of the page size) at a multiple of `align` (a power of two).
pub(crate) fn map(size: usize, align: usize) -> Option<NonNull<u8>> {
    map_aligned(size, align, WRITABLE)
}

/// Takes address space only, as `map` does: to be touched after `make_writable`. Until then it
/// counts as no memory, not even where memory is locked or never overcommitted.
pub(crate) fn reserve(size: usize, align: usize) -> Option<NonNull<u8>> {
    map_aligned(size, align, libc::PROT_NONE)
}

/// Lets a part of a reservation be touched. False: the system refused, nothing has changed.
pub(crate) fn make_writable(at: *mut u8, size: usize) -> bool {
    let done = !refused(Kind::Protect)
        // SAFETY: the caller owns the range, in which nothing lies yet.
        && keeping_errno(|| unsafe { libc::mprotect(at.cast(), size, WRITABLE) }) == 0;
    COMMON.called(Call::Protect, size, done);
    done
}

/// Makes every touch of a range fault, until `make_writable`. False: the system refused.
pub(crate) fn make_inaccessible(at: *mut u8, size: usize) -> bool {
    let done = !refused(Kind::Protect)
        // SAFETY: the caller owns the range, and nobody is to touch it.
        && keeping_errno(|| unsafe { libc::mprotect(at.cast(), size, libc::PROT_NONE) }) == 0;
    COMMON.called(Call::Protect, size, done);
    done
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
    // SAFETY: AT_RANDOM is null or the address of 16 bytes that live as long as the process.
    unsafe {
        let seed = libc::getauxval(libc::AT_RANDOM) as *const u64;
        if seed.is_null() { now_ms() } else { seed.read_unaligned() }
    }
}

fn map_aligned(size: usize, align: usize, protection: c_int) -> Option<NonNull<u8>> {
    let first = map_raw(size, protection)?;
    if first.as_ptr().addr() & (align - 1) == 0 {
        return Some(first);
    }
    // Not aligned by luck: map what surely holds an aligned part, and give back both ends.
    unmap(first.as_ptr(), size);
    let padded = size.checked_add(align)?;
    let whole = map_raw(padded, protection)?;
    let lead = whole.as_ptr().addr().wrapping_neg() & (align - 1);
    // SAFETY: lead < align, so the aligned part lies inside the padded mapping.
    let aligned = unsafe { whole.as_ptr().add(lead) };
    if lead != 0 {
        unmap(whole.as_ptr(), lead);
    }
    let tail = padded - lead - size;
    if tail != 0 {
        // SAFETY: the tail follows the aligned part inside the padded mapping.
        unmap(unsafe { aligned.add(size) }, tail);
    }
    NonNull::new(aligned)
}

/// Gives `[at, at + size)` back. The caller owns it whole and never touches it again.
pub(crate) fn unmap(at: *mut u8, size: usize) {
    let done = !refused(Kind::Unmap)
        // SAFETY: the caller owns the range (contract of this module).
        && keeping_errno(|| unsafe { libc::munmap(at.cast(), size) }) == 0;
    COMMON.called(Call::Unmap, size, done);
    if !done {
        // A hole in a larger mapping, and the process has as many mappings as it may have: the
        // addresses are lost, the memory need not be.
        discard(at, size);
    }
}

/// Changes the size of a mapping; moves it only if `may_move`. `None`: nothing has changed.
pub(crate) fn remap(at: *mut u8, old: usize, new: usize, may_move: bool) -> Option<NonNull<u8>> {
    let flags = if may_move { libc::MREMAP_MAYMOVE } else { 0 };
    let moved = if refused(Kind::Remap) {
        libc::MAP_FAILED
    } else {
        // SAFETY: the caller owns [at, at + old) as one mapping and treats the result as its only
        // address.
        keeping_errno(|| unsafe { libc::mremap(at.cast(), old, new, flags) })
    };
    COMMON.called(Call::Remap, new, moved != libc::MAP_FAILED);
    if moved == libc::MAP_FAILED { None } else { NonNull::new(moved.cast()) }
}

/// Changes the size of a mapping and moves it onto `[to, to + new)`, which the caller owns too and
/// which it replaces. False: nothing has changed.
pub(crate) fn remap_onto(at: *mut u8, old: usize, new: usize, to: *mut u8) -> bool {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    let moved = if refused(Kind::Remap) {
        // The kernel empties the place before it finds that it has no memory.
        unmap(to, new);
        libc::MAP_FAILED
    } else {
        // SAFETY: the caller owns both ranges, and treats `to` as the only address from now on.
        keeping_errno(|| unsafe { libc::mremap(at.cast(), old, new, flags, to.cast::<c_void>()) })
    };
    COMMON.called(Call::Remap, new, moved != libc::MAP_FAILED);
    moved != libc::MAP_FAILED
}

fn advise(at: *mut u8, size: usize, advice: c_int) -> bool {
    // SAFETY: the caller owns the range; every advice used here keeps it mapped.
    keeping_errno(|| unsafe { libc::madvise(at.cast(), size, advice) }) == 0
}

/// Returns the pages of a range to the system; they read as zero when next touched. False: the
/// system refused (locked memory, say) and the contents are as they were.
pub(crate) fn discard(at: *mut u8, size: usize) -> bool {
    let done = !refused(Kind::Discard) && advise(at, size, libc::MADV_DONTNEED);
    COMMON.called(Call::Discard, size, done);
    done
}

/// Asks for (or against) huge pages behind a range.
pub(crate) fn advise_huge(at: *mut u8, size: usize, on: bool) {
    let advice = if on { libc::MADV_HUGEPAGE } else { libc::MADV_NOHUGEPAGE };
    let done = !refused(Kind::AdviseHuge) && advise(at, size, advice);
    COMMON.called(Call::AdviseHuge, size, done);
}

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

/// Writes to standard error, as one call unless the kernel splits it.
pub(crate) fn write_stderr(bytes: &[u8]) {
    write_fd(2, bytes);
}

/// Writes all of `bytes` to a file descriptor; gives up at the first error.
pub(crate) fn write_fd(fd: c_int, mut bytes: &[u8]) {
    keeping_errno(|| {
        while !bytes.is_empty() {
            // SAFETY: the buffer is valid for its length.
            let wrote = unsafe { libc::write(fd, bytes.as_ptr().cast::<c_void>(), bytes.len()) };
            match usize::try_from(wrote) {
                Ok(0) | Err(_) => break,
                Ok(count) => bytes = bytes.get(count..).unwrap_or(&[]),
            }
        }
    });
}

/// Reads the start of a file into a buffer. `None`: it can't be opened or read.
pub(crate) fn read_file(path: &CStr, into: &mut [u8]) -> Option<usize> {
    keeping_errno(|| {
        // SAFETY: a C string; the descriptor is ours.
        let file = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        if file < 0 {
            return None;
        }
        let mut used = 0;
        let complete = loop {
            let rest = into.get_mut(used..).unwrap_or(&mut []);
            // SAFETY: the buffer is valid for its length.
            let read = unsafe { libc::read(file, rest.as_mut_ptr().cast(), rest.len()) };
            match usize::try_from(read) {
                Ok(0) => break true,
                Ok(count) => used += count,
                Err(_) => break false,
            }
        };
        // SAFETY: ours, and used no more.
        unsafe { libc::close(file) };
        complete.then_some(used)
    })
}

/// Writes a file under a temporary name (in the same folder) and gives it its own when all of it is
/// there. False: it could not, and what was there before still is.
pub(crate) fn replace_file(path: &CStr, temporary: &CStr, bytes: &[u8]) -> bool {
    keeping_errno(|| {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
        // SAFETY: C strings; the descriptor is ours; the buffer is valid for its length.
        unsafe {
            let file = libc::open(temporary.as_ptr(), flags, 0o644);
            if file < 0 {
                return false;
            }
            // A few hundred bytes: what a file system can't take at once it can't take.
            let wrote = libc::write(file, bytes.as_ptr().cast(), bytes.len());
            let whole = usize::try_from(wrote) == Ok(bytes.len());
            let done = libc::close(file) == 0
                && whole
                && libc::rename(temporary.as_ptr(), path.as_ptr()) == 0;
            if !done {
                libc::unlink(temporary.as_ptr());
            }
            done
        }
    })
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

/// Page faults of the process so far.
pub(crate) fn page_faults() -> u64 {
    let mut usage = core::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: a valid rusage, which all-zero is too.
    let usage = keeping_errno(|| unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    });
    (usage.ru_minflt + usage.ru_majflt) as u64
}

/// Resident memory of the process in bytes, if the system tells.
pub(crate) fn resident_bytes() -> Option<usize> {
    if refused(Kind::Resident) {
        return None;
    }
    // The second of the numbers in this file, in pages.
    let mut text = [0u8; 128];
    let read = read_file(c"/proc/self/statm", &mut text)?;
    let text = text.get(..read)?;
    let pages = text.split(|&byte| byte == b' ').nth(1)?;
    let pages = core::str::from_utf8(pages).ok()?.parse::<usize>().ok()?;
    // SAFETY: no preconditions.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    pages.checked_mul(page)
}

/// Ends the process at once.
pub(crate) fn abort() -> ! {
    // SAFETY: abort has no preconditions.
    unsafe { libc::abort() }
}

/// Bytes of address space that the process may use (`RLIMIT_AS`), `usize::MAX` if unlimited.
pub(crate) fn address_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let failed = refused(Kind::AddressLimit)
        // SAFETY: `limit` is a valid rlimit.
        || keeping_errno(|| unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) }) != 0;
    if failed || limit.rlim_cur == libc::RLIM_INFINITY {
        usize::MAX
    } else {
        usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
    }
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
        action.sa_sigaction = run as *const () as usize;
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
