//! What a failed `operator new` does: call the new-handler and try again, until that works, there
//! is no handler, or an exception leaves it. In assembly, because exceptions pass through.
//!
//! The loop is written in assembly so that its frame is described to the unwinder and is no Rust
//! frame (see `operators`). The Rust it calls never unwinds: [`current_handler`], [`try_again`]
//! and [`throw_function`]; the handler and `std::__throw_bad_alloc`, which do, are called from the
//! assembly itself.
//!
//! `failed_new_nothrow` has to return null where the handler throws. That takes a `catch (...)`,
//! which in the C++ ABI is a table (the LSDA below) read by the C++ library's personality routine.
//! The library may not be linked to a C++ library, so the routine is found when it is needed
//! ([`super::cxx_runtime`]) and its address kept in a cell that the unwinder reads.

use core::arch::global_asm;
use core::ffi::c_void;

#[path = "cxx_runtime.rs"]
mod cxx_runtime;

use cxx_runtime::{current_handler, throw_function, try_again};

unsafe extern "C" {
    /// Goes on with a throwing `new` that found no memory. `align` 0 means the natural one.
    ///
    /// An exception may come out of it, although the declaration says otherwise.
    ///
    /// # Safety
    /// The call must be in tail position of a function called by C++; see `operators`.
    #[link_name = "hakmem_failed_new"]
    pub fn failed_new(size: usize, align: usize) -> *mut c_void;

    /// Goes on with a `nothrow` `new` that found no memory; null in the end. No exception comes
    /// out of it, provided that a C++ library can be found.
    ///
    /// # Safety
    /// As for [`failed_new`].
    #[link_name = "hakmem_failed_new_nothrow"]
    pub fn failed_new_nothrow(size: usize, align: usize) -> *mut c_void;
}

global_asm!(
    // rdi = size, rsi = align
    ".pushsection .text.hakmem_failed_new,\"ax\",@progbits",
    ".hidden hakmem_failed_new",
    ".globl hakmem_failed_new",
    ".type hakmem_failed_new,@function",
    "hakmem_failed_new:",
    ".cfi_startproc",
    "push rbx",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset rbx, -16",
    "push r12",
    ".cfi_def_cfa_offset 24",
    ".cfi_offset r12, -24",
    "push rax", // aligns the stack
    ".cfi_def_cfa_offset 32",
    "mov rbx, rdi",
    "mov r12, rsi",
    "2:",
    "call {current_handler}",
    "test rax, rax",
    "jz 3f",
    "call rax", // the handler; an exception passes through this frame
    "mov rdi, rbx",
    "mov rsi, r12",
    "call {try_again}",
    "test rax, rax",
    "jz 2b",
    "add rsp, 8",
    ".cfi_def_cfa_offset 24",
    "pop r12",
    ".cfi_def_cfa_offset 16",
    "pop rbx",
    ".cfi_def_cfa_offset 8",
    "ret",
    ".cfi_def_cfa_offset 32",
    "3:",
    "mov rdi, rbx",
    "call {throw_function}",
    "call rax", // never returns
    "ud2",
    ".cfi_endproc",
    ".size hakmem_failed_new, . - hakmem_failed_new",
    ".popsection",
    current_handler = sym current_handler,
    try_again = sym try_again,
    throw_function = sym throw_function,
);

global_asm!(
    ".pushsection .text.hakmem_failed_new_nothrow,\"ax\",@progbits",
    ".hidden hakmem_failed_new_nothrow",
    ".globl hakmem_failed_new_nothrow",
    ".type hakmem_failed_new_nothrow,@function",
    "hakmem_failed_new_nothrow:",
    ".cfi_startproc",
    // 0x9b: indirect, relative to the place, 4 bytes signed; 0x1b: the same, direct.
    ".cfi_personality 0x9b, {personality}",
    ".cfi_lsda 0x1b, .Lhakmem_catch_table",
    "push rbx",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset rbx, -16",
    "push r12",
    ".cfi_def_cfa_offset 24",
    ".cfi_offset r12, -24",
    "push rax", // aligns the stack
    ".cfi_def_cfa_offset 32",
    "mov rbx, rdi",
    "mov r12, rsi",
    "2:",
    "call {current_handler}",
    "test rax, rax",
    "jz 3f",
    ".Lhakmem_try_begin:",
    "call rax", // the handler; an exception comes out at .Lhakmem_catch
    ".Lhakmem_try_end:",
    "mov rdi, rbx",
    "mov rsi, r12",
    "call {try_again}",
    "test rax, rax",
    "jz 2b",
    "3:", // with the block, or with null where there is no handler
    "add rsp, 8",
    ".cfi_def_cfa_offset 24",
    "pop r12",
    ".cfi_def_cfa_offset 16",
    "pop rbx",
    ".cfi_def_cfa_offset 8",
    "ret",
    ".cfi_def_cfa_offset 32",
    ".Lhakmem_catch:", // rax = the exception
    "mov rdi, rax",
    "call qword ptr [rip + {begin_catch}]",
    "call qword ptr [rip + {end_catch}]",
    "xor eax, eax",
    "jmp 3b",
    ".cfi_endproc",
    ".size hakmem_failed_new_nothrow, . - hakmem_failed_new_nothrow",
    ".popsection",
    // One call that may throw, one clause that takes everything.
    ".pushsection .gcc_except_table.hakmem_failed_new_nothrow,\"a\",@progbits",
    ".p2align 2",
    ".Lhakmem_catch_table:",
    ".byte 0xff", // landing pads are relative to the function's start
    ".byte 0x9b", // how the types are encoded
    ".uleb128 .Lhakmem_types_end - .Lhakmem_types_offset",
    ".Lhakmem_types_offset:",
    ".byte 0x01", // how the call sites are encoded: uleb128
    ".uleb128 .Lhakmem_sites_end - .Lhakmem_sites_begin",
    ".Lhakmem_sites_begin:",
    ".uleb128 .Lhakmem_try_begin - hakmem_failed_new_nothrow",
    ".uleb128 .Lhakmem_try_end - .Lhakmem_try_begin",
    ".uleb128 .Lhakmem_catch - hakmem_failed_new_nothrow",
    ".uleb128 1", // the first action
    ".Lhakmem_sites_end:",
    ".byte 1", // the first action: catch type 1 ...
    ".byte 0", // ... and nothing after it
    ".p2align 2",
    ".long 0", // type 1: null, that is, any
    ".Lhakmem_types_end:",
    ".popsection",
    current_handler = sym current_handler,
    try_again = sym try_again,
    personality = sym cxx_runtime::PERSONALITY,
    begin_catch = sym cxx_runtime::BEGIN_CATCH,
    end_catch = sym cxx_runtime::END_CATCH,
);
