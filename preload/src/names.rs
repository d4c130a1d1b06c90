//! The one list of C names and of what stands behind each.
//!
//! Functions that are one and the same share a line: the compiler makes them one address. Nothing
//! in this library calls any of them: an exported name can be taken over by another library in the
//! process, and then such a call would leave this heap.
//!
//! glibc exports `__libc_malloc` and its kin beside the public names, and programs call them (to
//! step around a wrapper; statically linked runtimes do). Were they left to glibc, its blocks would
//! end in our `free`, and ours in its. `cfree` is what binaries older than glibc 2.26 import.

use core::ffi::{c_int, c_void};

use crate::{extras, family, reports};

macro_rules! export {
    ($($($name:ident)* => $target:path, fn($($argument:ident: $of:ty),*) $(-> $result:ty)?;)*) => {
        $(export! { @each [$($name)*] $target, ($($argument: $of),*) ($($result)?) })*
    };
    (@each [$($name:ident)*] $target:path, $arguments:tt $result:tt) => {
        $(export! { @one $name $target, $arguments $result })*
    };
    (@one $name:ident $target:path, ($($argument:ident: $of:ty),*) ($($result:ty)?)) => {
        #[doc = concat!("[`", stringify!($target), "`]")]
        ///
        /// # Safety
        /// As for the function it stands for.
        // SAFETY: the function is what the standard says of the name, and the one of that name here.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $of),*) $(-> $result)? {
            // SAFETY: the contract is the caller's promise.
            #[allow(unused_unsafe, reason = "some of the functions are safe")]
            unsafe { $target($($argument),*) }
        }
    };
}

export! {
    malloc __libc_malloc => family::malloc, fn(size: usize) -> *mut c_void;
    free cfree __libc_free __libc_cfree => family::free, fn(block: *mut c_void);
    calloc __libc_calloc => family::calloc, fn(count: usize, size: usize) -> *mut c_void;
    realloc __libc_realloc => family::realloc,
        fn(block: *mut c_void, size: usize) -> *mut c_void;
    reallocarray __libc_reallocarray => family::reallocarray,
        fn(block: *mut c_void, count: usize, size: usize) -> *mut c_void;
    aligned_alloc => family::aligned_alloc, fn(alignment: usize, size: usize) -> *mut c_void;
    posix_memalign __posix_memalign => family::posix_memalign,
        fn(result: *mut *mut c_void, alignment: usize, size: usize) -> c_int;
    free_sized => family::free_sized, fn(block: *mut c_void, size: usize);
    free_aligned_sized => family::free_aligned_sized,
        fn(block: *mut c_void, alignment: usize, size: usize);

    memalign __libc_memalign => extras::memalign,
        fn(alignment: usize, size: usize) -> *mut c_void;
    valloc __libc_valloc => extras::valloc, fn(size: usize) -> *mut c_void;
    pvalloc __libc_pvalloc => extras::pvalloc, fn(size: usize) -> *mut c_void;
    malloc_usable_size => extras::malloc_usable_size, fn(block: *mut c_void) -> usize;
    malloc_trim => extras::malloc_trim, fn(keep: usize) -> c_int;

    mallinfo => reports::mallinfo, fn() -> libc::mallinfo;
    mallinfo2 => reports::mallinfo2, fn() -> libc::mallinfo2;
    mallopt => reports::mallopt, fn(parameter: c_int, value: c_int) -> c_int;
    malloc_stats => reports::malloc_stats, fn();
    malloc_info => reports::malloc_info, fn(options: c_int, stream: *mut libc::FILE) -> c_int;
}
