//! What glibc offers to look inside its heap and to tune it, answered for this one.
//!
//! The questions are about glibc's arenas and bins. What this heap has no like of reads 0; the
//! whole truth is in `hak_stats` (`include/hakmem.h`).

use core::ffi::c_int;
use core::fmt::Write as _;

use crate::output::Buffer;
use crate::{errno, hak};

/// glibc's three ways of cutting up a heap, in bytes.
struct Summary {
    /// Mapped for blocks that share mappings.
    arena: usize,
    /// Mapped for blocks that have one of their own.
    huge: usize,
    /// How many of these.
    huge_blocks: usize,
    /// Of `arena`, held by the program or cached for it.
    used: usize,
    /// Of `arena`, kept for later.
    free: usize,
}

impl Summary {
    fn read() -> Self {
        let stats = hakmem::stats();
        Self {
            arena: stats.mapped_bytes.saturating_sub(stats.huge_bytes),
            huge: stats.huge_bytes,
            huge_blocks: stats.huge_blocks,
            used: stats.in_use_bytes.saturating_sub(stats.huge_bytes),
            free: stats.cached_bytes,
        }
    }
}

/// `mallinfo2(3)`. Bytes in use are `uordblks + hblkhd`.
pub fn mallinfo2() -> libc::mallinfo2 {
    let summary = Summary::read();
    libc::mallinfo2 {
        arena: summary.arena,
        ordblks: 0,
        smblks: 0,
        hblks: summary.huge_blocks,
        hblkhd: summary.huge,
        usmblks: 0,
        fsmblks: 0,
        uordblks: summary.used,
        fordblks: summary.free,
        keepcost: summary.free,
    }
}

/// `mallinfo(3)`: the same in `int`s. What does not fit reads as the largest, where glibc's wraps
/// round to anything.
pub fn mallinfo() -> libc::mallinfo {
    let summary = Summary::read();
    let int = |bytes: usize| c_int::try_from(bytes).unwrap_or(c_int::MAX);
    libc::mallinfo {
        arena: int(summary.arena),
        ordblks: 0,
        smblks: 0,
        hblks: int(summary.huge_blocks),
        hblkhd: int(summary.huge),
        usmblks: 0,
        fsmblks: 0,
        uordblks: int(summary.used),
        fordblks: int(summary.free),
        keepcost: int(summary.free),
    }
}

/// `mallopt(3)`: 1 if the request was accepted, else 0.
///
/// Advice on how glibc lays out its heap (thresholds, numbers of arenas) is accepted and has
/// nothing to change here: programs that give it take a refusal for an error. A request for
/// behaviour, which is `M_PERTURB`, and anything unknown is refused.
pub fn mallopt(parameter: c_int, _value: c_int) -> c_int {
    const ADVICE: [c_int; 8] = [
        libc::M_MXFAST,
        libc::M_TRIM_THRESHOLD,
        libc::M_TOP_PAD,
        libc::M_MMAP_THRESHOLD,
        libc::M_MMAP_MAX,
        libc::M_CHECK_ACTION,
        libc::M_ARENA_TEST,
        libc::M_ARENA_MAX,
    ];
    c_int::from(ADVICE.contains(&parameter))
}

/// `malloc_stats(3)`: the statistics on standard error, as text.
pub fn malloc_stats() {
    // The function has no way to say that standard error could not be written.
    let _ = hak::print_stats(libc::STDERR_FILENO);
}

/// `malloc_info(3)`: a short XML report to a stream, with glibc's element names. 0, or -1 with
/// `errno`: `EINVAL` if `options` is not 0, else the stream's.
///
/// # Safety
/// `stream` is an open stream of the C library.
pub unsafe fn malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int {
    if options != 0 || stream.is_null() {
        errno::set(libc::EINVAL);
        return -1;
    }
    // Read and put together first: the stream allocates its buffer.
    let Summary { arena, huge, huge_blocks, used, free } = Summary::read();
    let mut text = [0; 1024];
    let mut buffer = Buffer::new(&mut text);
    // A buffer counts what does not fit and takes everything.
    let _ = write!(
        buffer,
        "<malloc version=\"1\">\n\
         <heap nr=\"0\">\n\
         <total type=\"used\" size=\"{used}\"/>\n\
         <total type=\"rest\" size=\"{free}\"/>\n\
         <system type=\"current\" size=\"{arena}\"/>\n\
         </heap>\n\
         <total type=\"rest\" size=\"{free}\"/>\n\
         <total type=\"mmap\" count=\"{huge_blocks}\" size=\"{huge}\"/>\n\
         <system type=\"current\" size=\"{system}\"/>\n\
         <aspace type=\"total\" size=\"{system}\"/>\n\
         </malloc>\n",
        system = arena.saturating_add(huge),
    );
    buffer.finish();
    // SAFETY: the text ends with a zero byte; the stream is the caller's promise.
    let written = unsafe { libc::fputs(text.as_ptr().cast(), stream) };
    if written < 0 { -1 } else { 0 }
}
