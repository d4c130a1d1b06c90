//! What a failed `operator new` does where nobody has written the assembly of `x86_64.rs` yet:
//! the new-handler is called and the allocation tried again; at the end of that a `nothrow` one
//! returns null and a throwing one ends the process with a line that says so.
//!
//! What is missing is exceptions: a handler or an operator of the program that throws ends the
//! process too.

use core::ffi::c_void;
use core::mem::transmute;
use core::ptr::null_mut;

#[path = "cxx_runtime.rs"]
#[allow(dead_code, reason = "nothing is caught here")]
mod cxx_runtime;

use cxx_runtime::{current_handler, throw_function, try_again};

/// Goes on with a `nothrow` `new` that found no memory. `align` 0 means the natural one.
///
/// # Safety
/// None beyond the C contract.
pub unsafe fn failed_new_nothrow(size: usize, align: usize) -> *mut c_void {
    loop {
        let handler = current_handler();
        if handler.is_null() {
            return null_mut();
        }
        // SAFETY: a `std::new_handler` takes nothing and returns nothing. Declared as not
        // unwinding: an exception out of it ends the process.
        let handler: extern "C" fn() = unsafe { transmute(handler) };
        handler();
        // SAFETY: the caller's promise.
        let block = unsafe { try_again(size, align) };
        if !block.is_null() {
            return block.cast();
        }
    }
}

/// Calls a program's own `operator new` with `size` and `align`.
///
/// # Safety
/// `operator` is such a function.
pub unsafe fn caught_new(size: usize, align: usize, operator: *mut c_void) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe {
        transmute::<*mut c_void, unsafe extern "C" fn(usize, usize) -> *mut c_void>(operator)(
            size, align,
        )
    }
}

/// Goes on with a throwing `new` that found no memory.
///
/// # Safety
/// None beyond the C contract.
pub unsafe fn failed_new(size: usize, align: usize) -> *mut c_void {
    // SAFETY: the caller's promise.
    let block = unsafe { failed_new_nothrow(size, align) };
    if block.is_null() {
        // SAFETY: a function without arguments that never returns; its exception ends the
        // process at this frame, with the C++ library's line about it.
        let throw: extern "C" fn() -> ! = unsafe { transmute(throw_function(size)) };
        throw()
    }
    block
}
