//! Memory of the machine that was touched before anything is measured.
//!
//! A virtual machine gets its memory from its host page by page, when a page is touched for the first
//! time since it started, and one that reports free pages gives them back within a second or two:
//! touching them again costs many times a page fault, and falls on whichever program happens to be
//! given the page. Heaps that ask for huge pages get it most: a workload of 170 MiB took 20 ms or
//! 250, by whether another had just ended. So what is free is touched and given back first; and
//! before each run, in huge pages, as much as the row is known to use.

use std::hint::black_box;

use memmap2::{Advice, MmapMut};

/// Bytes touched at most, so that a large machine is not kept waiting.
const MOST: u64 = 16 << 30;
const PAGE: usize = 4096;

/// Bytes touched before a row's first run, when nobody knows what it will use.
const UNKNOWN: u64 = 256 << 20;

/// Touches nine tenths of the memory that nothing uses, and gives it back.
pub fn memory() {
    let free = free().unwrap_or(0);
    let bytes = MOST.min(free / 10 * 9) as usize;
    // Zeroed by the system, page by page as they are touched.
    let mut memory = vec![0u8; bytes];
    for page in memory.chunks_mut(PAGE) {
        page[0] = 1;
    }
    black_box(&memory);
}

/// Touches as much as a run may use, in huge pages where there are any, and gives it back: what the
/// system hands out next is what was given back last. `peak` is the most that a run of the row has
/// used, in KiB.
pub fn again(peak: Option<u64>) {
    let free = free().unwrap_or(0);
    let wanted = peak.map_or(UNKNOWN, |kib| kib.saturating_mul(1024 + 256));
    // Without the memory there is nothing to warm, and the run tells what it thinks of that.
    if let Ok(mut memory) = MmapMut::map_anon(wanted.min(free / 2).max(1) as usize) {
        // Where huge pages are not to be had, small ones are touched.
        let _ = memory.advise(Advice::HugePage);
        memory.chunks_mut(PAGE).for_each(|page| page[0] = 1);
        black_box(&memory);
    }
}

/// Bytes that nothing uses, not even a cache; `None` where the system does not say.
fn free() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    parse(&text)
}

fn parse(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemFree:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_figure_is_read() {
        let text = "MemTotal:       24000000 kB\nMemFree:   12000000 kB\nBuffers: 1 kB\n";
        assert_eq!(parse(text), Some(12_000_000 * 1024));
        assert_eq!(parse("MemTotal: 1 kB\n"), None);
        assert_eq!(parse("MemFree: many kB\n"), None);
    }
}
