//! The heap's own C interface: `include/hakmem.h`, where the contract of each function stands.
//!
//! [`stats`] has the counters, [`events`] what is recorded event by event, and this file the rest.

pub mod events;
pub mod stats;

use core::ffi::{CStr, c_char, c_int, c_void};
use core::fmt::Write;

use hakmem::{ConfigError, raw};

use crate::errno;
use crate::output::{Buffer, Descriptor};

/// `hak_version`
// SAFETY: the prefix `hak_` is this library's own.
#[unsafe(no_mangle)]
pub extern "C" fn hak_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Text onto a descriptor; its end result as `hakmem.h` gives it.
fn printed(descriptor: c_int, print: impl FnOnce(&mut dyn Write) -> core::fmt::Result) -> c_int {
    let mut output = Descriptor::new(descriptor);
    // A descriptor keeps its error to itself until the end.
    let _ = errno::kept(|| print(&mut output));
    output.finish().err().unwrap_or(0)
}

/// Text into a caller's buffer, as `snprintf` does it; the length of the whole text.
///
/// # Safety
/// `buffer` can be written for `size` bytes; null if that is 0.
unsafe fn buffered(
    buffer: *mut c_char,
    size: usize,
    print: impl FnOnce(&mut dyn Write) -> core::fmt::Result,
) -> usize {
    let bytes = if buffer.is_null() {
        &mut []
    } else {
        // SAFETY: the caller's promise. Bytes have no invalid values, and none is read.
        unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>(), size) }
    };
    let mut output = Buffer::new(bytes);
    // A buffer counts what does not fit and takes everything.
    let _ = errno::kept(|| print(&mut output));
    output.finish()
}

/// The statistics as text; 0, or the `errno` of the write that failed.
pub fn print_stats(descriptor: c_int) -> c_int {
    printed(descriptor, |output| hakmem::stats().write_text(output))
}

/// `hak_stats_print`
// SAFETY: the prefix `hak_` is this library's own.
#[unsafe(no_mangle)]
pub extern "C" fn hak_stats_print(descriptor: c_int) -> c_int {
    print_stats(descriptor)
}

/// `hak_stats_json`
///
/// # Safety
/// `buffer` can be written for `size` bytes; null if that is 0.
// SAFETY: the prefix `hak_` is this library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_stats_json(buffer: *mut c_char, size: usize) -> usize {
    // SAFETY: the caller's promise.
    unsafe { buffered(buffer, size, |output| hakmem::stats().write_json(output)) }
}

/// `hak_print_config`
// SAFETY: the prefix `hak_` is this library's own.
#[unsafe(no_mangle)]
pub extern "C" fn hak_print_config(descriptor: c_int) -> c_int {
    printed(descriptor, |output| hakmem::print_config(output))
}

/// `hak_config_set`
///
/// # Safety
/// Both arguments are null or C strings.
// SAFETY: the prefix `hak_` is this library's own.
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
// SAFETY: the prefix `hak_` is this library's own.
#[unsafe(no_mangle)]
pub extern "C" fn hak_owns(pointer: *const c_void) -> c_int {
    c_int::from(raw::owns(pointer.cast()))
}

/// `hak_usable_size`
///
/// # Safety
/// If `block` lies in this heap, it is that of a live block.
// SAFETY: the prefix `hak_` is this library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_usable_size(block: *const c_void) -> usize {
    if !raw::owns(block.cast()) {
        return 0;
    }
    // SAFETY: the caller's promise.
    unsafe { raw::usable_size(block.cast()) }
}

/// `hak_trim`
// SAFETY: the prefix `hak_` is this library's own.
#[unsafe(no_mangle)]
pub extern "C" fn hak_trim(keep: usize) -> c_int {
    c_int::from(errno::kept(|| raw::trim(keep)))
}

/// `hak_collect`
// SAFETY: the prefix `hak_` is this library's own.
#[unsafe(no_mangle)]
pub extern "C" fn hak_collect() -> usize {
    errno::kept(raw::collect)
}
