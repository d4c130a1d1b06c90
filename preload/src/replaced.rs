//! C++ operators that the program itself defines.
//!
//! A program may replace a few of the operators and mean all of them: by the standard, the array,
//! `nothrow` and sized variants forward to the plain ones unless they are replaced, too. The ones
//! that are not replaced are found in this library, so here they have to do the same: else a
//! program's own `operator delete` is handed blocks that its own `operator new` has never seen.
//!
//! Only the program (and what is preloaded before us) can be in front of us. Whether it is, is
//! found out when the library is loaded, or on the first call if that comes earlier, and kept in
//! one byte that the operators compare.

use core::ffi::{CStr, c_void};
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

/// The operators that others forward to.
const BASES: [&CStr; 8] = [
    c"_Znwm",
    c"_Znam",
    c"_ZnwmSt11align_val_t",
    c"_ZnamSt11align_val_t",
    c"_ZdlPv",
    c"_ZdaPv",
    c"_ZdlPvSt11align_val_t",
    c"_ZdaPvSt11align_val_t",
];

/// What was found in place of each; null: ours.
/// Relaxed: published by `STATE`, which is stored after them.
static FOUND: [AtomicPtr<c_void>; BASES.len()] =
    [const { AtomicPtr::new(null_mut()) }; BASES.len()];

/// Not looked yet.
const UNKNOWN: u8 = 0;
/// All are ours.
const NONE: u8 = 1;
/// Some are not.
const SOME: u8 = 2;
/// What the search came to.
/// Acquire and Release: who sees that it has ended sees what it found.
static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Which of a family of four a variant forwards to.
#[derive(Clone, Copy)]
pub struct Variant {
    /// `new[]`, `delete[]`.
    pub array: bool,
    /// With a `std::align_val_t`.
    pub aligned: bool,
}

/// Whether all operators are known to be ours: then there is nothing to forward.
#[inline(always)]
pub fn none() -> bool {
    STATE.load(Ordering::Acquire) == NONE
}

/// The program's `operator new` that this variant comes down to, or null.
#[cold]
pub fn new(variant: Variant) -> *mut c_void {
    found(0, variant)
}

/// The program's `operator delete` that this variant comes down to, or null.
#[cold]
pub fn delete(variant: Variant) -> *mut c_void {
    found(4, variant)
}

fn found(family: usize, Variant { array, aligned }: Variant) -> *mut c_void {
    if STATE.load(Ordering::Acquire) == UNKNOWN {
        look();
    }
    let plain = family + 2 * usize::from(aligned);
    let at = |index: usize| FOUND.get(index).map_or(null_mut(), |it| it.load(Ordering::Relaxed));
    let of_arrays = if array { at(plain + 1) } else { null_mut() };
    if of_arrays.is_null() { at(plain) } else { of_arrays }
}

/// The address at which the object that holds `address` is loaded; 0 if there is none.
fn object_of(address: *const c_void) -> usize {
    let mut information = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: any address may be asked about; the answer is read only if there is one.
    unsafe {
        if address.is_null() || libc::dladdr(address, information.as_mut_ptr()) == 0 {
            return 0;
        }
        information.assume_init().dli_fbase.addr()
    }
}

/// Looks every base up as the program would. Racing threads find the same.
#[cold]
fn look() {
    // Plain: an address in this library; nothing is read.
    let ours = object_of((&raw const STATE).cast());
    // SAFETY: valid arguments.
    let first = |name: &CStr| unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    let mut state = NONE;
    // A copy that was opened beside the program's heap serves only those who ask it by name.
    if object_of(first(c"malloc")) == ours {
        for (name, found) in BASES.iter().zip(&FOUND) {
            let address = first(name);
            if object_of(address) != ours {
                found.store(address, Ordering::Relaxed);
                state = SOME;
            }
        }
    }
    STATE.store(state, Ordering::Release);
}

/// Looks at load time, when no other thread can hold the loader's lock and wait for this one.
#[used]
// SAFETY: the section holds pointers to functions of this type, which the loader calls once.
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = {
    extern "C" fn at_load() {
        look();
    }
    at_load
};
