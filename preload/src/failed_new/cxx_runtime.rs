//! The process's C++ library, found when a `new` fails: this library links to none, as most
//! programs it is loaded into are C.
//!
//! Looked for in the global scope first, then among libraries that were loaded with a scope of
//! their own (an extension module of an interpreter brings its C++ library that way). Nothing is
//! ever loaded on behalf of the search.

use core::ffi::{CStr, c_void};
use core::mem::transmute;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use hakmem::raw;

use crate::output::Line;

/// `__gxx_personality_v0`. Read by the unwinder through the descriptions of frames that catch;
/// null means "no handlers in this frame".
/// Acquire and Release: who sees it found sees the two below found.
pub static PERSONALITY: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
/// `__cxa_begin_catch`. Called where the personality routine led to it, so it was found too.
/// Relaxed: published by `PERSONALITY`, which is stored after it.
pub static BEGIN_CATCH: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
/// `__cxa_end_catch`.
/// Relaxed: published by `PERSONALITY`, which is stored after it.
pub static END_CATCH: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// `std::new_handler`; may throw, so it is only carried here, never called.
type Handler = *mut c_void;

/// Libraries that may hold the runtime, most likely first.
const LIBRARIES: [&CStr; 3] = [c"libstdc++.so.6", c"libc++.so.1", c"libc++abi.so.1"];

/// The address of `symbol`, or null.
fn find(symbol: &CStr) -> *mut c_void {
    // SAFETY: both arguments are valid; `dlsym` may allocate, which is fine: no lock of the heap
    // is held.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, symbol.as_ptr()) };
    if !found.is_null() {
        return found;
    }
    for library in LIBRARIES {
        // SAFETY: valid arguments; `RTLD_NOLOAD` only asks. The handle is kept: what is found in
        // it must stay loaded.
        let handle = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        if handle.is_null() {
            continue;
        }
        // SAFETY: the handle was returned just now.
        let found = unsafe { libc::dlsym(handle, symbol.as_ptr()) };
        if !found.is_null() {
            return found;
        }
    }
    null_mut()
}

/// Fills the cells above, for catch clauses that are about to be needed.
pub extern "C" fn prepare_catch() {
    if PERSONALITY.load(Ordering::Acquire).is_null() {
        let (begin, end) = (find(c"__cxa_begin_catch"), find(c"__cxa_end_catch"));
        if !begin.is_null() && !end.is_null() {
            BEGIN_CATCH.store(begin, Ordering::Relaxed);
            END_CATCH.store(end, Ordering::Relaxed);
            PERSONALITY.store(find(c"__gxx_personality_v0"), Ordering::Release);
        }
    }
}

/// What `std::get_new_handler` returns, null if there is none or no C++ library.
pub extern "C" fn current_handler() -> Handler {
    let get_new_handler = find(c"_ZSt15get_new_handlerv");
    if get_new_handler.is_null() {
        return null_mut();
    }
    // SAFETY: that is the function's type in every C++ library; it is `noexcept`.
    let get_new_handler: extern "C" fn() -> Handler = unsafe { transmute(get_new_handler) };
    get_new_handler()
}

/// The allocation again, after a handler has (perhaps) made room. `align` 0: the natural one.
///
/// # Safety
/// None beyond the C contract of the assembly that calls it.
pub unsafe extern "C" fn try_again(size: usize, align: usize) -> *mut u8 {
    if align == 0 {
        raw::malloc(size)
    } else if align.is_power_of_two() {
        raw::aligned_alloc(align, size)
    } else {
        null_mut()
    }
}

/// `std::__throw_bad_alloc`; without a C++ library, one line on standard error and the end.
pub extern "C" fn throw_function(size: usize) -> *mut c_void {
    // In libstdc++ and libc++ alike; only what they name in their headers, so it is stable.
    let throw = find(c"_ZSt17__throw_bad_allocv");
    if throw.is_null() {
        let mut line = Line::empty();
        line.text("hakmem: operator new of ").number(size).text(
            " bytes failed, and there is no C++ library in this process to throw std::bad_alloc \
             from; give the program more memory or use new (std::nothrow)",
        );
        line.end(libc::STDERR_FILENO);
        // SAFETY: no preconditions.
        unsafe { libc::abort() }
    }
    throw
}
