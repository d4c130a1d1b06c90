//! Every replaceable C++ `operator new` and `operator delete` ([new.delete] in C++23), under
//! the names of the Itanium ABI with a 64-bit `size_t`.
//!
//! They could be left to the C++ library, which forwards to `malloc` and `free`; here they save
//! that detour.
//!
//! A sized delete does not trust the size. It may be wrong where a program replaces `new` without
//! replacing the sized delete, and null has to be told apart; the check for null costs the two
//! instructions that the size would save.
//!
//! A failed `new` ends in [`failed_new`](crate::failed_new): the new-handler, then
//! `std::bad_alloc`.
//!
//! # Why the calls of `failed_new` stand in tail position
//!
//! An exception may come out of them. A build with `panic = "abort"` regards every function
//! defined in Rust as one that does not unwind, `extern "C-unwind"` too, so no such function may
//! be on the stack by then. The calls are therefore declared as not unwinding (else rustc puts an
//! abort behind them) and made last, which the compiler turns into jumps: what throws was
//! called, as far as the machine is concerned, by the C++ program. `tests/library.rs` checks the
//! jumps in the built library, `tests/programs.rs` the exceptions.

use core::ffi::c_void;

use hakmem::raw;

use crate::failed_new::{failed_new, failed_new_nothrow};

/// `std::nothrow_t const &`: a tag, never read.
type Nothrow = *const c_void;

/// Defines the `operator new` functions for types of natural alignment.
macro_rules! new {
    ($($symbol:literal $name:ident($($tag:ident: $of:ty)?) slow $slow:ident or $failed:ident;)*) => {$(
        /// `operator new`: `size` bytes, aligned for any type that fits into them; on failure
        /// what the C++ standard asks of this variant.
        ///
        /// # Safety
        /// Called by C++ with the arguments this variant takes.
        #[unsafe(export_name = $symbol)]
        pub unsafe extern "C" fn $name(size: usize $(, $tag: $of)?) -> *mut c_void {
            let block = raw::malloc_at_hand(size);
            if !block.is_null() {
                return block.cast();
            }
            // SAFETY: in tail position, see the top of this file.
            unsafe { $slow(size) }
        }

        /// # Safety
        /// As for the operator; called by it in tail position.
        #[cold]
        #[inline(never)]
        unsafe extern "C" fn $slow(size: usize) -> *mut c_void {
            let block = raw::malloc(size);
            if !block.is_null() {
                return block.cast();
            }
            // SAFETY: in tail position, see the top of this file; 0 stands for natural alignment.
            unsafe { $failed(size, 0) }
        }
    )*};
}

new! {
    "_Znwm" new() slow new_slow or failed_new;
    "_Znam" new_array() slow new_array_slow or failed_new;
    "_ZnwmRKSt9nothrow_t" new_nothrow(_tag: Nothrow) slow new_nothrow_slow or failed_new_nothrow;
    "_ZnamRKSt9nothrow_t" new_array_nothrow(_tag: Nothrow) slow new_array_nothrow_slow
        or failed_new_nothrow;
}

/// Defines the `operator new` functions for over-aligned types.
macro_rules! new_aligned {
    ($($symbol:literal $name:ident($($tag:ident: $of:ty)?) or $failed:ident;)*) => {$(
        /// `operator new`: `size` bytes at a multiple of `align`; on failure what the C++
        /// standard asks of this variant.
        ///
        /// # Safety
        /// Called by C++ with the arguments this variant takes.
        #[unsafe(export_name = $symbol)]
        pub unsafe extern "C" fn $name(size: usize, align: usize $(, $tag: $of)?) -> *mut c_void {
            // A `std::align_val_t` can hold anything; what is no power of two is undefined
            // behaviour in the standard, a failure in libstdc++, and so here.
            if align.is_power_of_two() {
                let block = raw::aligned_alloc(align, size);
                if !block.is_null() {
                    return block.cast();
                }
            }
            // SAFETY: in tail position, see the top of this file.
            unsafe { $failed(size, align) }
        }
    )*};
}

new_aligned! {
    "_ZnwmSt11align_val_t" new_aligned() or failed_new;
    "_ZnamSt11align_val_t" new_array_aligned() or failed_new;
    "_ZnwmSt11align_val_tRKSt9nothrow_t" new_aligned_nothrow(_tag: Nothrow) or failed_new_nothrow;
    "_ZnamSt11align_val_tRKSt9nothrow_t" new_array_aligned_nothrow(_tag: Nothrow)
        or failed_new_nothrow;
}

/// Defines the `operator delete` functions, by the arguments after the block.
macro_rules! delete {
    ($($symbol:literal $name:ident($($argument:ident: $of:ty),*);)*) => {$(
        /// `operator delete`: null does nothing.
        ///
        /// # Safety
        /// The block is null or came from an `operator new`, and is not used afterwards.
        #[unsafe(export_name = $symbol)]
        pub unsafe extern "C" fn $name(block: *mut c_void $(, $argument: $of)*) {
            // SAFETY: the caller's promise.
            unsafe { raw::free(block.cast()) }
        }
    )*};
}

delete! {
    "_ZdlPv" delete();
    "_ZdaPv" delete_array();
    "_ZdlPvRKSt9nothrow_t" delete_nothrow(_tag: Nothrow);
    "_ZdaPvRKSt9nothrow_t" delete_array_nothrow(_tag: Nothrow);
    "_ZdlPvSt11align_val_t" delete_aligned(_align: usize);
    "_ZdaPvSt11align_val_t" delete_array_aligned(_align: usize);
    "_ZdlPvSt11align_val_tRKSt9nothrow_t" delete_aligned_nothrow(_align: usize, _tag: Nothrow);
    "_ZdaPvSt11align_val_tRKSt9nothrow_t" delete_array_aligned_nothrow(_align: usize, _tag: Nothrow);
    "_ZdlPvm" delete_sized(_size: usize);
    "_ZdaPvm" delete_array_sized(_size: usize);
    "_ZdlPvmSt11align_val_t" delete_sized_aligned(_size: usize, _align: usize);
    "_ZdaPvmSt11align_val_t" delete_array_sized_aligned(_size: usize, _align: usize);
}
