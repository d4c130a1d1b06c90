//! The operating-system contract over Rust's standard library: for Miri, which interprets the heap
//! with every pointer checked, and as the skeleton of a port.
//!
//! Memory comes from the system allocator, so nothing is ever returned page by page: `discard`
//! clears, `remap` refuses. Threads that sleep spin.

use crate::base::sync::{AtomicU32, Ordering};
use crate::os::fault::{Kind, refused};
use crate::telemetry::system::Call;
use crate::telemetry::tally::COMMON;
use core::ffi::{CStr, c_void};
use core::ptr::{self, NonNull};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;

/// Says "out of memory"; returns null so that a caller can return it in turn.
#[cold]
pub(crate) fn no_memory() -> *mut u8 {
    ptr::null_mut()
}

/// Zeroed memory of `size` bytes at a multiple of `align`.
pub(crate) fn map(size: usize, align: usize) -> Option<NonNull<u8>> {
    let layout = Layout::from_size_align(size, align.max(crate::os::PAGE)).ok()?;
    let at = if refused(Kind::Map) {
        None
    } else {
        // SAFETY: the size is not zero.
        NonNull::new(unsafe { System.alloc_zeroed(layout) })
    };
    COMMON.called(Call::Map, size, at.is_some());
    at
}

/// Memory at once: there is nothing less here.
pub(crate) fn reserve(size: usize, align: usize) -> Option<NonNull<u8>> {
    map(size, align)
}

/// It is.
pub(crate) fn make_writable(_at: *mut u8, size: usize) -> bool {
    let done = !refused(Kind::Protect);
    COMMON.called(Call::Protect, size, done);
    done
}

/// Pages cannot be protected here.
pub(crate) fn make_inaccessible(_at: *mut u8, _size: usize) -> bool {
    false
}

/// What the standard library seeds its maps with.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// Keeps the memory: the system allocator takes whole allocations only, and ours are given back in
/// parts.
pub(crate) fn unmap(_at: *mut u8, size: usize) {
    COMMON.called(Call::Unmap, size, false);
}

/// Refuses: the caller copies.
pub(crate) fn remap(_at: *mut u8, _old: usize, new: usize, _may_move: bool) -> Option<NonNull<u8>> {
    COMMON.called(Call::Remap, new, false);
    None
}

/// Refuses, as `remap` does.
pub(crate) fn remap_onto(_at: *mut u8, _old: usize, new: usize, _to: *mut u8) -> bool {
    COMMON.called(Call::Remap, new, false);
    false
}

/// Clears the range, as a system would.
pub(crate) fn discard(at: *mut u8, size: usize) -> bool {
    let done = !refused(Kind::Discard);
    if done {
        // SAFETY: the caller owns the range.
        unsafe { at.write_bytes(0, size) };
    }
    COMMON.called(Call::Discard, size, done);
    done
}

/// No huge pages here.
pub(crate) fn advise_huge(_at: *mut u8, size: usize, _on: bool) {
    COMMON.called(Call::AdviseHuge, size, false);
}

/// No huge pages here.
pub(crate) fn huge_unasked() -> bool {
    false
}

/// A clock that moves on by one millisecond at every look.
pub(crate) fn now_ms() -> u64 {
    // Relaxed: a clock of one word; nothing is read on its word.
    static NOW: AtomicU32 = AtomicU32::new(0);
    if refused(Kind::Clock) {
        return 0;
    }
    u64::from(NOW.fetch_add(1, Ordering::Relaxed))
}

/// Yields while the word holds the value.
/// Relaxed: the caller's exchange is what acquires.
pub(crate) fn wait(word: &AtomicU32, value: u32) {
    while word.load(Ordering::Relaxed) == value {
        std::thread::yield_now();
    }
}

/// Yields once.
pub(crate) fn wait_for(_word: &AtomicU32, _value: u32, _ms: u32) {
    std::thread::yield_now();
}

/// No threads of ours here.
pub(crate) fn spawn(
    _entry: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    _argument: *mut c_void,
) -> bool {
    false
}

/// Does nothing.
pub(crate) fn name_thread(_name: &CStr) {}

/// There is none.
pub(crate) fn barrier() -> bool {
    false
}

/// Sleepers look by themselves.
pub(crate) fn wake(_word: &AtomicU32) {}

/// Writes to standard error.
pub(crate) fn write_stderr(bytes: &[u8]) {
    let _ = std::io::stderr().write_all(bytes);
}

/// Writes to standard output (1) or standard error.
pub(crate) fn write_fd(fd: i32, bytes: &[u8]) {
    if fd == 1 {
        let _ = std::io::stdout().write_all(bytes);
    } else {
        write_stderr(bytes);
    }
}

/// No files here.
pub(crate) fn read_file(_path: &CStr, _into: &mut [u8]) -> Option<usize> {
    None
}

/// No files here.
pub(crate) fn replace_file(_path: &CStr, _temporary: &CStr, _bytes: &[u8]) -> bool {
    false
}

/// There is one process.
pub(crate) fn process_id() -> u32 {
    1
}

/// Nobody has.
pub(crate) fn is_elevated() -> bool {
    false
}

/// Nobody counts.
pub(crate) fn page_faults() -> u64 {
    0
}

/// Nobody tells.
pub(crate) fn resident_bytes() -> Option<usize> {
    None
}

/// Ends the process at once.
pub(crate) fn abort() -> ! {
    std::process::abort()
}

/// No limit is known.
pub(crate) fn address_limit() -> usize {
    usize::MAX
}

/// The environment can be read at any time.
pub(crate) fn environment_ready() -> bool {
    true
}

/// Settings come from calls only.
pub(crate) fn variables(_prefix: &[u8], _visit: impl FnMut(&[u8], &[u8])) {}

/// The type of a thread key, for storage.
pub(crate) type ThreadKey = ();

/// Threads end without telling: their heaps stay theirs.
pub(crate) fn thread_key(_exit: unsafe extern "C" fn(*mut c_void)) -> Option<ThreadKey> {
    (!refused(Kind::ThreadKey)).then_some(())
}

/// Nothing to bind to.
pub(crate) fn bind_thread(_key: ThreadKey, _value: *mut c_void) -> bool {
    !refused(Kind::BindThread)
}

/// There is no fork.
pub(crate) fn on_fork(
    _before: unsafe extern "C" fn(),
    _parent: unsafe extern "C" fn(),
    _child: unsafe extern "C" fn(),
) -> bool {
    true
}

/// Nothing runs at exit.
pub(crate) fn on_exit(_run: extern "C" fn()) -> bool {
    true
}

/// There are no signals.
pub(crate) fn on_signal(_name: &str, _run: extern "C" fn(core::ffi::c_int)) -> bool {
    true
}
