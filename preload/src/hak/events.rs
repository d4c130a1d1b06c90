//! Traces, rings and logs.

use core::ffi::{c_char, c_int};

use hakmem::{Events, Reading};

use super::{buffered, printed};

/// `enum hak_events`: in the order of `Events::ALL`.
fn events(which: c_int) -> Option<Events> {
    usize::try_from(which).ok().and_then(|which| Events::ALL.get(which).copied())
}

/// `hak_events_print`
// SAFETY: the prefix `hak_` is this library's own.
#[unsafe(no_mangle)]
pub extern "C" fn hak_events_print(which: c_int, descriptor: c_int) -> c_int {
    let Some(events) = events(which) else { return libc::EINVAL };
    match printed(descriptor, |output| events.write_text(output)) {
        0 if matches!(events.count(), Reading::NotCompiledIn(_)) => libc::ENOTSUP,
        result => result,
    }
}

/// `hak_events_json`
///
/// # Safety
/// `buffer` can be written for `size` bytes; null if that is 0.
// SAFETY: the prefix `hak_` is this library's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_events_json(which: c_int, buffer: *mut c_char, size: usize) -> usize {
    let Some(events) = events(which) else { return 0 };
    // SAFETY: the caller's promise.
    unsafe { buffered(buffer, size, |output| events.write_json(output)) }
}
