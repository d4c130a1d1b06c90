//! What a failed `operator new` does: call the new-handler and try again, until that works, there
//! is no handler, or an exception leaves it. In assembly, because exceptions pass through.
//!
//! The loop is written in assembly so that its frame is described to the unwinder and is no Rust
//! frame (see `operators`). The Rust it calls never unwinds; the handler and
//! `std::__throw_bad_alloc`, which do, are called from the assembly itself.
//!
//! A `nothrow` variant has to return null where the handler, or the program's own operator,
//! throws. That takes a `catch (...)`, which in the C++ ABI is a table (the LSDA below) read by the
//! C++ library's personality routine. This library is not linked to a C++ library, so the routine
//! is found when it is needed (`cxx_runtime`) and its address kept in a cell that the unwinder
//! reads.

use core::arch::global_asm;
use core::ffi::c_void;

#[path = "cxx_runtime.rs"]
mod cxx_runtime;

use cxx_runtime::{current_handler, prepare_catch, throw_function, try_again};

// SAFETY: defined in the assembly below with these signatures.
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

    /// Calls a program's own `operator new` with `size` and `align`; null if it throws.
    ///
    /// # Safety
    /// `operator` is such a function. As for [`failed_new`].
    #[link_name = "hakmem_caught_new"]
    pub fn caught_new(size: usize, align: usize, operator: *mut c_void) -> *mut c_void;
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

/// A table for the personality routine: one call that may throw, one clause that takes everything.
/// The labels of the function it belongs to are `.Lhakmem_NAME_try`, `..._tried`, `..._catch`.
macro_rules! catch_table {
    ($name:literal) => {
        concat!(
            ".pushsection .gcc_except_table.hakmem_",
            $name,
            ",\"a\",@progbits\n",
            ".p2align 2\n",
            ".Lhakmem_",
            $name,
            "_table:\n",
            ".byte 0xff\n", // landing pads are relative to the function's start
            ".byte 0x9b\n", // how the types are encoded
            ".uleb128 .Lhakmem_",
            $name,
            "_types - .Lhakmem_",
            $name,
            "_offset\n",
            ".Lhakmem_",
            $name,
            "_offset:\n",
            ".byte 0x01\n", // how the call sites are encoded: uleb128
            ".uleb128 .Lhakmem_",
            $name,
            "_sites_end - .Lhakmem_",
            $name,
            "_sites\n",
            ".Lhakmem_",
            $name,
            "_sites:\n",
            ".uleb128 .Lhakmem_",
            $name,
            "_try - hakmem_",
            $name,
            "\n",
            ".uleb128 .Lhakmem_",
            $name,
            "_tried - .Lhakmem_",
            $name,
            "_try\n",
            ".uleb128 .Lhakmem_",
            $name,
            "_catch - hakmem_",
            $name,
            "\n",
            ".uleb128 1\n", // the first action
            ".Lhakmem_",
            $name,
            "_sites_end:\n",
            ".byte 1\n", // the first action: catch type 1 ...
            ".byte 0\n", // ... and nothing after it
            ".p2align 2\n",
            ".long 0\n", // type 1: null, that is, any
            ".Lhakmem_",
            $name,
            "_types:\n",
            ".popsection",
        )
    };
}

global_asm!(
    ".pushsection .text.hakmem_failed_new_nothrow,\"ax\",@progbits",
    ".hidden hakmem_failed_new_nothrow",
    ".globl hakmem_failed_new_nothrow",
    ".type hakmem_failed_new_nothrow,@function",
    "hakmem_failed_new_nothrow:",
    ".cfi_startproc",
    // 0x9b: indirect, relative to the place, 4 bytes signed; 0x1b: the same, direct.
    ".cfi_personality 0x9b, {personality}",
    ".cfi_lsda 0x1b, .Lhakmem_failed_new_nothrow_table",
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
    "call {prepare_catch}",
    "2:",
    "call {current_handler}",
    "test rax, rax",
    "jz 3f",
    ".Lhakmem_failed_new_nothrow_try:",
    "call rax", // the handler
    ".Lhakmem_failed_new_nothrow_tried:",
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
    ".Lhakmem_failed_new_nothrow_catch:", // rax = the exception
    "mov rdi, rax",
    "call qword ptr [rip + {begin_catch}]",
    "call qword ptr [rip + {end_catch}]",
    "xor eax, eax",
    "jmp 3b",
    ".cfi_endproc",
    ".size hakmem_failed_new_nothrow, . - hakmem_failed_new_nothrow",
    ".popsection",
    catch_table!("failed_new_nothrow"),
    prepare_catch = sym prepare_catch,
    current_handler = sym current_handler,
    try_again = sym try_again,
    personality = sym cxx_runtime::PERSONALITY,
    begin_catch = sym cxx_runtime::BEGIN_CATCH,
    end_catch = sym cxx_runtime::END_CATCH,
);

global_asm!(
    // rdi = size, rsi = align, rdx = the operator
    ".pushsection .text.hakmem_caught_new,\"ax\",@progbits",
    ".hidden hakmem_caught_new",
    ".globl hakmem_caught_new",
    ".type hakmem_caught_new,@function",
    "hakmem_caught_new:",
    ".cfi_startproc",
    ".cfi_personality 0x9b, {personality}",
    ".cfi_lsda 0x1b, .Lhakmem_caught_new_table",
    "push rdi",
    ".cfi_def_cfa_offset 16",
    "push rsi",
    ".cfi_def_cfa_offset 24",
    "push rdx",
    ".cfi_def_cfa_offset 32",
    "call {prepare_catch}",
    "mov rsi, [rsp + 8]",
    "mov rdi, [rsp + 16]",
    ".Lhakmem_caught_new_try:",
    "call [rsp]",
    ".Lhakmem_caught_new_tried:",
    "2:",
    "add rsp, 24",
    ".cfi_def_cfa_offset 8",
    "ret",
    ".cfi_def_cfa_offset 32",
    ".Lhakmem_caught_new_catch:", // rax = the exception
    "mov rdi, rax",
    "call qword ptr [rip + {begin_catch}]",
    "call qword ptr [rip + {end_catch}]",
    "xor eax, eax",
    "jmp 2b",
    ".cfi_endproc",
    ".size hakmem_caught_new, . - hakmem_caught_new",
    ".popsection",
    catch_table!("caught_new"),
    prepare_catch = sym prepare_catch,
    personality = sym cxx_runtime::PERSONALITY,
    begin_catch = sym cxx_runtime::BEGIN_CATCH,
    end_catch = sym cxx_runtime::END_CATCH,
);
