//! `libhakmem_preload.so` as programs meet it: C and C++ programs from `tests/c`, compiled here
//! and run under `LD_PRELOAD`, and the library file itself, read as an ELF file.
//!
//! Needs a C compiler (`$CC`, else `cc`); what needs a C++ compiler (`$CXX`, else `c++`) is
//! skipped with a line on standard error where there is none.
//!
//! The library is built in the release profile, with the features in `$HAKMEM_TEST_FEATURES`
//! (names of gates, separated by commas). `$HAKMEM_TEST_LIBRARY` names a library built already.

mod bad_input;
mod common;
mod footprint;
mod library;
mod loading;
mod programs;
