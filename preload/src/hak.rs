//! The heap's own C interface: `include/hakmem.h`, where the contract of each function stands.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::fmt::Write;

use hakmem::{CacheCounts, ClassGroup, ConfigError, Reading, raw};

use crate::errno;
use crate::output::{Buffer, Descriptor};

/// `HAK_NOT_COMPILED_IN`.
const NOT_COMPILED_IN: u64 = u64::MAX;
/// `HAK_CLASS_GROUPS`.
const GROUPS: usize = 8;
/// `HAK_CLASS_COUNTERS`.
const CLASS_COUNTERS: usize = 5;
/// `HAK_CACHE_COUNTERS`.
const CACHE_COUNTERS: usize = 4;

/// `struct hak_stats`.
#[repr(C)]
pub struct Stats {
    size: usize,
    mapped_bytes: u64,
    in_use_bytes: u64,
    cached_bytes: u64,
    huge_bytes: u64,
    huge_blocks: u64,
    metadata_bytes: u64,
    heaps: u64,
    parked_heaps: u64,
    tiny_free_calls: u64,
    class_groups: [[u64; CLASS_COUNTERS]; GROUPS],
    unified_cache: [[u64; CACHE_COUNTERS]; GROUPS + 1],
}

/// `hak_version`
#[unsafe(no_mangle)]
pub extern "C" fn hak_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// A gate's table as C sees it.
fn table<T: Copy, const COLUMNS: usize, const ROWS: usize>(
    reading: Reading<[T; ROWS]>,
    columns: impl Fn(T) -> [u64; COLUMNS],
) -> [[u64; COLUMNS]; ROWS] {
    match reading {
        Reading::Value(rows) => rows.map(columns),
        Reading::NotCompiledIn(_) => [[NOT_COMPILED_IN; COLUMNS]; ROWS],
    }
}

/// `hak_stats`
///
/// # Safety
/// `out` is null or can be read and written for as many bytes as its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_stats(out: *mut Stats) -> c_int {
    if out.is_null() {
        return libc::EINVAL;
    }
    // SAFETY: not null; that the size field can be read is the caller's promise.
    let size = unsafe { (&raw const (*out).size).read() };
    if size < size_of::<usize>() {
        return libc::EINVAL;
    }
    let stats = errno::kept(hakmem::stats);
    let stats = Stats {
        size,
        mapped_bytes: stats.mapped_bytes as u64,
        in_use_bytes: stats.in_use_bytes as u64,
        cached_bytes: stats.cached_bytes as u64,
        huge_bytes: stats.huge_bytes as u64,
        huge_blocks: stats.huge_blocks as u64,
        metadata_bytes: stats.metadata_bytes as u64,
        heaps: stats.heaps as u64,
        parked_heaps: stats.parked_heaps as u64,
        tiny_free_calls: stats.tiny_free_calls.value().unwrap_or(NOT_COMPILED_IN),
        class_groups: table(stats.class_groups, |group: ClassGroup| {
            [group.hits, group.misses, group.frees, group.overflows, group.refilled_blocks]
        }),
        unified_cache: table(stats.unified_cache, |row: CacheCounts| {
            [row.hits, row.misses, row.refills, row.refill_cycles]
        }),
    };
    // SAFETY: no more than the caller has room for, and no more than there is to read.
    unsafe {
        (&raw const stats)
            .cast::<u8>()
            .copy_to_nonoverlapping(out.cast(), size.min(size_of::<Stats>()));
    }
    0
}

/// Text onto a descriptor; its end result as `hakmem.h` gives it.
fn printed(descriptor: c_int, print: impl FnOnce(&mut dyn Write) -> core::fmt::Result) -> c_int {
    let mut output = Descriptor::new(descriptor);
    // A descriptor keeps its error to itself until the end.
    let _ = errno::kept(|| print(&mut output));
    output.finish().err().unwrap_or(0)
}

/// The statistics as text; 0, or the `errno` of the write that failed.
pub fn print_stats(descriptor: c_int) -> c_int {
    printed(descriptor, |output| hakmem::stats().write_text(output))
}

/// `hak_stats_print`
#[unsafe(no_mangle)]
pub extern "C" fn hak_stats_print(descriptor: c_int) -> c_int {
    print_stats(descriptor)
}

/// `hak_stats_json`
///
/// # Safety
/// `buffer` can be written for `size` bytes; null if that is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_stats_json(buffer: *mut c_char, size: usize) -> usize {
    let bytes = if buffer.is_null() {
        &mut []
    } else {
        // SAFETY: the caller's promise. Bytes have no invalid values, and none is read.
        unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>(), size) }
    };
    let mut output = Buffer::new(bytes);
    // A buffer counts what does not fit and takes everything.
    let _ = errno::kept(|| hakmem::stats().write_json(&mut output));
    output.finish()
}

/// `hak_print_config`
#[unsafe(no_mangle)]
pub extern "C" fn hak_print_config(descriptor: c_int) -> c_int {
    printed(descriptor, |output| hakmem::print_config(output))
}

/// `hak_config_set`
///
/// # Safety
/// Both arguments are null or C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_config_set(name: *const c_char, value: *const c_char) -> c_int {
    if name.is_null() || value.is_null() {
        return libc::EINVAL;
    }
    // SAFETY: not null, so C strings by the caller's promise.
    let (name, value) = unsafe { (CStr::from_ptr(name), CStr::from_ptr(value)) };
    let Ok(name) = name.to_str() else { return libc::ENOENT };
    let Ok(value) = value.to_str() else { return libc::EINVAL };
    match errno::kept(|| hakmem::set_config(name, value)) {
        Ok(()) => 0,
        Err(ConfigError::UnknownName) => libc::ENOENT,
        Err(ConfigError::BadValue) => libc::EINVAL,
        Err(ConfigError::NotCompiledIn) => libc::ENOTSUP,
    }
}

/// `hak_owns`
#[unsafe(no_mangle)]
pub extern "C" fn hak_owns(pointer: *const c_void) -> c_int {
    c_int::from(raw::owns(pointer.cast()))
}

/// `hak_usable_size`
///
/// # Safety
/// If `block` lies in this heap, it is that of a live block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_usable_size(block: *const c_void) -> usize {
    if !raw::owns(block.cast()) {
        return 0;
    }
    // SAFETY: the caller's promise.
    unsafe { raw::usable_size(block.cast()) }
}

/// `hak_trim`
#[unsafe(no_mangle)]
pub extern "C" fn hak_trim(keep: usize) -> c_int {
    c_int::from(errno::kept(|| raw::trim(keep)))
}

/// `hak_collect`
#[unsafe(no_mangle)]
pub extern "C" fn hak_collect() -> usize {
    errno::kept(raw::collect)
}
