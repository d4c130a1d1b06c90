//! What glibc adds to the family: the old aligned allocations, the size query, and the
//! `__libc_*` names.
//!
//! glibc exports `__libc_malloc` and its kin beside the public names, and programs do call them
//! (to step around a wrapper, or in statically linked runtimes). Were they left to glibc, its
//! blocks would end in our `free`, and ours in its. So all of them lead here.
//!
//! The contract of `family` holds here too.

use core::ffi::{c_int, c_void};

use hakmem::raw;

use crate::{errno, family};

/// glibc's `MALLOC_ALIGNMENT`: what every block gets, asked for or not.
const NATURAL_ALIGNMENT: usize = 16;

/// The system's page size in bytes; a power of two.
fn page_size() -> usize {
    // SAFETY: no preconditions; a small table look-up in the C library.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// `memalign(3)`: `size` bytes at a multiple of `alignment`. As in glibc, an alignment that is
/// not a power of two is rounded up to one (old programs pass 0, 3 or 24); beyond the largest
/// power of two it is `EINVAL`.
///
/// # Safety
/// As for `malloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memalign(alignment: usize, size: usize) -> *mut c_void {
    if alignment <= NATURAL_ALIGNMENT {
        // SAFETY: any size is allowed.
        return unsafe { raw::aligned_alloc(NATURAL_ALIGNMENT, size).cast() };
    }
    match alignment.checked_next_power_of_two() {
        // SAFETY: the alignment is a power of two; any size is allowed.
        Some(alignment) => unsafe { raw::aligned_alloc(alignment, size).cast() },
        None => errno::null(libc::EINVAL).cast(),
    }
}

/// `valloc(3)`: `size` bytes at the start of a page.
///
/// # Safety
/// As for `malloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn valloc(size: usize) -> *mut c_void {
    // SAFETY: a page size is a power of two; any size is allowed.
    unsafe { raw::aligned_alloc(page_size(), size).cast() }
}

/// `pvalloc(3)`: whole pages that hold at least `size` bytes, and at least one page.
///
/// # Safety
/// As for `malloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvalloc(size: usize) -> *mut c_void {
    let page = page_size();
    match size.max(1).checked_next_multiple_of(page) {
        // SAFETY: a page size is a power of two; any size is allowed.
        Some(bytes) => unsafe { raw::aligned_alloc(page, bytes).cast() },
        None => errno::null(libc::ENOMEM).cast(),
    }
}

/// `malloc_usable_size(3)`: how many bytes the block really has, all of which may be used; 0 for
/// null.
///
/// # Safety
/// As for `free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_usable_size(block: *mut c_void) -> usize {
    if block.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise; the block is not null.
    unsafe { raw::usable_size(block.cast_const().cast()) }
}

/// `malloc_trim(3)`: gives unused memory back to the system, but keeps `keep` bytes of it for
/// later. 1 if anything was given back, else 0.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_trim(keep: usize) -> c_int {
    c_int::from(errno::kept(|| raw::trim(keep)))
}

/// `cfree`: `free` under the name it had in the 1980s; binaries older than glibc 2.26 import it.
///
/// # Safety
/// As for `free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cfree(block: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { raw::free(block.cast()) }
}

/// Second names of functions above: same arguments, same contract.
macro_rules! second_names {
    ($($name:ident => $target:path, ($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        $(
            #[doc = concat!("[`", stringify!($target), "`] under glibc's internal name.")]
            ///
            /// # Safety
            /// As for the function it stands for.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? {
                // SAFETY: the contract is the caller's promise.
                unsafe { $target($($argument),*) }
            }
        )*
    };
}

second_names! {
    __libc_malloc => family::malloc, (size: usize) -> *mut c_void;
    __libc_free => family::free, (block: *mut c_void);
    __libc_cfree => family::free, (block: *mut c_void);
    __libc_calloc => family::calloc, (count: usize, size: usize) -> *mut c_void;
    __libc_realloc => family::realloc, (block: *mut c_void, size: usize) -> *mut c_void;
    __libc_reallocarray => family::reallocarray,
        (block: *mut c_void, count: usize, size: usize) -> *mut c_void;
    __libc_memalign => memalign, (alignment: usize, size: usize) -> *mut c_void;
    __libc_valloc => valloc, (size: usize) -> *mut c_void;
    __libc_pvalloc => pvalloc, (size: usize) -> *mut c_void;
    __posix_memalign => family::posix_memalign,
        (result: *mut *mut c_void, alignment: usize, size: usize) -> c_int;
}
