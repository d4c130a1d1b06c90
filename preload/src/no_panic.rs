//! What a library without `std` has to bring itself: an end for panics.
//!
//! Allocation paths do not panic; should a bug make one, the process ends with one line that
//! says where, and nothing is allocated or unwound on the way.
//!
//! Builds that unwind (`cargo check`, `cargo build` without `--release`) link `std` for its panic
//! runtime instead. They are for development; what ships is the release profile.

#[cfg(panic = "unwind")]
extern crate std;

/// One line with the place, then abort.
#[cfg(panic = "abort")]
#[panic_handler]
fn panic(panic: &core::panic::PanicInfo<'_>) -> ! {
    let mut line = crate::output::Line::empty();
    line.text("hakmem: internal error");
    if let Some(place) = panic.location() {
        line.text(" at ").text(place.file()).text(":").number(place.line() as usize);
    }
    line.text("; please report it");
    line.end(libc::STDERR_FILENO);
    // SAFETY: no preconditions.
    unsafe { libc::abort() }
}

// The precompiled `core` was built to unwind, so its frame descriptions name Rust's personality
// routine, which lives in `std`. Nothing unwinds through them in a build that aborts: the name
// only has to exist, and must not be exported.
#[cfg(all(panic = "abort", target_arch = "x86_64"))]
core::arch::global_asm!(
    ".pushsection .text.rust_eh_personality,\"ax\",@progbits",
    ".hidden rust_eh_personality",
    ".globl rust_eh_personality",
    ".type rust_eh_personality,@function",
    "rust_eh_personality:",
    "ud2",
    ".size rust_eh_personality, . - rust_eh_personality",
    ".popsection",
);
