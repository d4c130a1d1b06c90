//! Memory of the machine that was touched before anything is measured.
//!
//! A virtual machine gets its memory from its host page by page, when a page is touched for the first
//! time since it started: that costs many times a page fault, and falls on whichever program happens
//! to be given the page. A heap that asks for huge pages, of which few are free in one piece, gets it
//! most. So a stretch of memory is touched and given back first: the kernel hands out again what came
//! back last.

use std::hint::black_box;

/// Bytes touched: more than any row uses, by far.
const ENOUGH: u64 = 4 << 30;
const PAGE: usize = 4096;

/// Touches [`ENOUGH`] bytes, or half of what is available, and gives them back.
pub fn memory() {
    let available = available().unwrap_or(0);
    let bytes = ENOUGH.min(available / 2) as usize;
    // Zeroed by the system, page by page as they are touched.
    let mut memory = vec![0u8; bytes];
    for page in memory.chunks_mut(PAGE) {
        page[0] = 1;
    }
    black_box(&memory);
}

/// Bytes that programs could have without pushing anything out; `None` where the system does not
/// say.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    parse(&text)
}

fn parse(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_figure_is_read() {
        let text = "MemTotal:       24000000 kB\nMemAvailable:   12000000 kB\nBuffers: 1 kB\n";
        assert_eq!(parse(text), Some(12_000_000 * 1024));
        assert_eq!(parse("MemTotal: 1 kB\n"), None);
        assert_eq!(parse("MemAvailable: many kB\n"), None);
    }
}
