//! `libhakmem_preload.so`: the hakmem heap for programs that do not know about it.
//!
//! ```text
//! LD_PRELOAD=/path/to/libhakmem_preload.so program
//! ```
//!
//! Every exported function is a thin forward onto `hakmem::raw`; what is decided here is only
//! what C, POSIX and C++ ask of each name: error codes, `errno`, the new-handler.
//!
//! | file | what |
//! |---|---|
//! | [`names`] | the list of exported C names |
//! | [`family`] | what ISO C and POSIX name: `malloc`, `free`, `calloc`, `realloc`, `aligned_alloc`, ... |
//! | [`extras`] | what glibc adds: `memalign`, `pvalloc`, `malloc_usable_size`, `malloc_trim`, ... |
//! | [`reports`] | what glibc adds to look inside: `mallinfo2`, `malloc_stats`, `malloc_info`, `mallopt` |
//! | [`operators`] | every C++ `operator new` and `operator delete` |
//! | [`replaced`] | the operators that the program defines itself |
//! | [`failed_new`] | the new-handler and `std::bad_alloc` |
//! | [`hak`] | the C interface of the heap itself, `include/hakmem.h` |
//! | [`output`], [`errno`](mod@errno), [`no_panic`] | printing without allocating; `errno`; the end of panics |
//!
//! Assumes: the library is never unloaded (`-z nodelete`, see `build.rs`), and that no other
//! library in the process hands out blocks through only some of these names.

// Nothing here may reach `std`: its panics print, lock and allocate inside `malloc`, and bring
// thread-local storage that `dlopen` would have to find room for. See `no_panic`.
#![no_std]
#![warn(clippy::disallowed_methods)]

pub mod errno;
pub mod extras;
#[cfg_attr(target_arch = "x86_64", path = "failed_new/x86_64.rs")]
#[cfg_attr(not(target_arch = "x86_64"), path = "failed_new/portable.rs")]
pub mod failed_new;
pub mod family;
pub mod hak;
pub mod names;
pub mod no_panic;
pub mod operators;
pub mod output;
pub mod replaced;
pub mod reports;
