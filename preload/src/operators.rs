//! Every replaceable C++ `operator new` and `operator delete` ([new.delete] in C++23), under
//! the names of the Itanium ABI with a 64-bit `size_t`.
//!
//! They could be left to the C++ library, which forwards to `malloc` and `free`; here they save
//! that detour. Where the program replaces some of them, those that forward to these by the
//! standard forward to the program's ([`replaced`]); otherwise each allocates by
//! itself.
//!
//! A sized delete does not trust the size. It is wrong in programs that mix up types, and null has
//! to be told apart; the check for null costs the two instructions that the size would save.
//!
//! A failed `new` ends in [`failed_new`](mod@crate::failed_new): the new-handler, then
//! `std::bad_alloc`.
//!
//! # Why the calls that may throw stand in tail position
//!
//! An exception may come out of `failed_new` and of the program's operators. A build with
//! `panic = "abort"` regards every function defined in Rust as one that does not unwind,
//! `extern "C-unwind"` too, so no such function may be on the stack by then. These calls are
//! therefore declared as not unwinding (else rustc puts an abort behind them) and made last, which
//! the compiler turns into jumps: what throws was called, as far as the machine is concerned, by
//! the C++ program. (Builds without optimisation end the process there.)
//! `tests/preload/library.rs` checks the jumps in the built library, `tests/preload/programs.rs`
//! the exceptions.

use core::ffi::c_void;
use core::mem::transmute;

use hakmem::raw;

use crate::failed_new::{caught_new, failed_new, failed_new_nothrow};
use crate::replaced::{self, Variant};

/// `std::nothrow_t const &`: a tag, never read.
type Nothrow = *const c_void;

/// A program's `operator new`; a plain one ignores the second argument.
type New = unsafe extern "C" fn(usize, usize) -> *mut c_void;
/// A program's `operator delete`; a plain one ignores the second argument.
type Delete = unsafe extern "C" fn(*mut c_void, usize);

const PLAIN: Variant = Variant { array: false, aligned: false };
const ARRAY: Variant = Variant { array: true, aligned: false };
const ALIGNED: Variant = Variant { array: false, aligned: true };
const ARRAY_ALIGNED: Variant = Variant { array: true, aligned: true };

/// Stands for natural alignment.
const NATURAL: usize = 0;

/// A block from this heap, or null. `align` that is no power of two is undefined behaviour in the
/// standard, a failure in libstdc++, and so here.
#[inline(always)]
fn allocate(size: usize, align: usize) -> *mut u8 {
    if align == NATURAL {
        raw::malloc(size)
    } else if align.is_power_of_two() {
        raw::aligned_alloc(align, size)
    } else {
        core::ptr::null_mut()
    }
}

/// A block that can be had at once, or null; nothing is called.
#[inline(always)]
fn at_hand(size: usize, align: usize) -> *mut u8 {
    if align == NATURAL { raw::malloc_at_hand(size) } else { core::ptr::null_mut() }
}

/// # Safety
/// Called in tail position of an operator that C++ has called.
#[cold]
#[inline(never)]
unsafe extern "C" fn new_slow(size: usize, align: usize) -> *mut c_void {
    let block = allocate(size, align);
    if !block.is_null() {
        return block.cast();
    }
    // SAFETY: in tail position, see the top of this file.
    unsafe { failed_new(size, align) }
}

/// # Safety
/// As for `new_slow`.
#[cold]
#[inline(never)]
unsafe extern "C" fn new_nothrow_slow(size: usize, align: usize) -> *mut c_void {
    let block = allocate(size, align);
    if !block.is_null() {
        return block.cast();
    }
    // SAFETY: in tail position, see the top of this file.
    unsafe { failed_new_nothrow(size, align) }
}

/// An array variant where some operator is, or may be, replaced.
///
/// # Safety
/// As for `new_slow`.
#[cold]
#[inline(never)]
unsafe extern "C" fn new_array_forwarded(size: usize, align: usize) -> *mut c_void {
    let program = replaced::new(if align == NATURAL { ARRAY } else { ARRAY_ALIGNED });
    if program.is_null() {
        // SAFETY: in tail position, see the top of this file.
        return unsafe { new_slow(size, align) };
    }
    // SAFETY: an `operator new` of this type was found; in tail position.
    unsafe { transmute::<*mut c_void, New>(program)(size, align) }
}

/// A `nothrow` variant where some operator is, or may be, replaced.
///
/// # Safety
/// As for `new_slow`.
#[cold]
#[inline(never)]
unsafe extern "C" fn new_nothrow_forwarded(size: usize, align: usize) -> *mut c_void {
    // SAFETY: in tail position, see the top of this file.
    unsafe { nothrow_forwarded(size, align, if align == NATURAL { PLAIN } else { ALIGNED }) }
}

/// # Safety
/// As for `new_slow`.
#[cold]
#[inline(never)]
unsafe extern "C" fn new_array_nothrow_forwarded(size: usize, align: usize) -> *mut c_void {
    // SAFETY: in tail position, see the top of this file.
    unsafe { nothrow_forwarded(size, align, if align == NATURAL { ARRAY } else { ARRAY_ALIGNED }) }
}

/// # Safety
/// As for `new_slow`.
#[inline(always)]
unsafe fn nothrow_forwarded(size: usize, align: usize, variant: Variant) -> *mut c_void {
    let program = replaced::new(variant);
    // SAFETY: in tail position, see the top of this file.
    unsafe {
        if program.is_null() {
            new_nothrow_slow(size, align)
        } else {
            caught_new(size, align, program)
        }
    }
}

/// Defines `operator new` functions: what to do at once, and where some operator is replaced.
macro_rules! new {
    ($($symbol:literal $name:ident($size:ident $(, $align:ident)? $(; $tag:ident)?)
        else $slow:ident $(, replaced $forwarded:ident)?;)*) => {$(
        /// `operator new`: `size` bytes, aligned as asked for or for any type that fits into them;
        /// on failure what the C++ standard asks of this variant.
        ///
        /// # Safety
        /// Called by C++ with the arguments this variant takes.
        // SAFETY: the function is what the C++ standard says of the symbol.
        #[unsafe(export_name = $symbol)]
        pub unsafe extern "C" fn $name(
            $size: usize,
            $($align: usize,)?
            $($tag: Nothrow,)?
        ) -> *mut c_void {
            #[allow(unused_variables, reason = "the natural alignment, unless there is another")]
            let align = NATURAL;
            $(let align = $align;)?
            $(
                if !replaced::none() {
                    // SAFETY: in tail position, see the top of this file.
                    return unsafe { $forwarded($size, align) };
                }
            )?
            let block = at_hand($size, align);
            if !block.is_null() {
                return block.cast();
            }
            // SAFETY: in tail position, see the top of this file.
            unsafe { $slow($size, align) }
        }
    )*};
}

new! {
    "_Znwm" new(size) else new_slow;
    "_Znam" new_array(size) else new_slow, replaced new_array_forwarded;
    "_ZnwmRKSt9nothrow_t" new_nothrow(size; _tag)
        else new_nothrow_slow, replaced new_nothrow_forwarded;
    "_ZnamRKSt9nothrow_t" new_array_nothrow(size; _tag)
        else new_nothrow_slow, replaced new_array_nothrow_forwarded;
    "_ZnwmSt11align_val_t" new_aligned(size, align) else new_slow;
    "_ZnamSt11align_val_t" new_array_aligned(size, align)
        else new_slow, replaced new_array_forwarded;
    "_ZnwmSt11align_val_tRKSt9nothrow_t" new_aligned_nothrow(size, align; _tag)
        else new_nothrow_slow, replaced new_nothrow_forwarded;
    "_ZnamSt11align_val_tRKSt9nothrow_t" new_array_aligned_nothrow(size, align; _tag)
        else new_nothrow_slow, replaced new_array_nothrow_forwarded;
}

/// Gives a block to the program's operator, or back to this heap.
///
/// # Safety
/// The caller gives up the block.
#[inline(always)]
unsafe fn delete_forwarded(block: *mut c_void, align: usize, variant: Variant) {
    let program = replaced::delete(variant);
    // SAFETY: an `operator delete` of this type was found; or the block is ours.
    unsafe {
        if program.is_null() {
            raw::free(block.cast());
        } else {
            transmute::<*mut c_void, Delete>(program)(block, align);
        }
    }
}

/// Defines `operator delete` functions, by what each forwards to.
macro_rules! delete {
    ($($symbol:literal $name:ident($($argument:ident: $of:ty),*) $(=> $variant:ident $slow:ident($align:expr))?;)*)
    => {$(
        /// `operator delete`: null does nothing.
        ///
        /// # Safety
        /// The block is null or came from an `operator new`, and is not used afterwards.
        // SAFETY: the function is what the C++ standard says of the symbol.
        #[unsafe(export_name = $symbol)]
        pub unsafe extern "C" fn $name(block: *mut c_void $(, $argument: $of)*) {
            $(
                /// # Safety
                /// As for the operator.
                #[cold]
                #[inline(never)]
                unsafe extern "C" fn $slow(block: *mut c_void, align: usize) {
                    // SAFETY: the promise of the operator's caller.
                    unsafe { delete_forwarded(block, align, $variant) }
                }
                if !replaced::none() {
                    // SAFETY: the caller's promise.
                    return unsafe { $slow(block, $align) };
                }
            )?
            // SAFETY: the caller's promise.
            unsafe { raw::free(block.cast()) }
        }
    )*};
}

delete! {
    "_ZdlPv" delete();
    "_ZdlPvm" delete_sized(_size: usize) => PLAIN forwarded(NATURAL);
    "_ZdlPvRKSt9nothrow_t" delete_nothrow(_tag: Nothrow) => PLAIN forwarded(NATURAL);
    "_ZdaPv" delete_array() => ARRAY forwarded(NATURAL);
    "_ZdaPvm" delete_array_sized(_size: usize) => ARRAY forwarded(NATURAL);
    "_ZdaPvRKSt9nothrow_t" delete_array_nothrow(_tag: Nothrow) => ARRAY forwarded(NATURAL);
    "_ZdlPvSt11align_val_t" delete_aligned(_align: usize);
    "_ZdlPvmSt11align_val_t" delete_sized_aligned(_size: usize, align: usize)
        => ALIGNED forwarded(align);
    "_ZdlPvSt11align_val_tRKSt9nothrow_t" delete_aligned_nothrow(align: usize, _tag: Nothrow)
        => ALIGNED forwarded(align);
    "_ZdaPvSt11align_val_t" delete_array_aligned(align: usize) => ARRAY_ALIGNED forwarded(align);
    "_ZdaPvmSt11align_val_t" delete_array_sized_aligned(_size: usize, align: usize)
        => ARRAY_ALIGNED forwarded(align);
    "_ZdaPvSt11align_val_tRKSt9nothrow_t" delete_array_aligned_nothrow(align: usize, _tag: Nothrow)
        => ARRAY_ALIGNED forwarded(align);
}
