//! Work for a heap whose settings are observed: blocks that are touched, time that passes.

use super::memory::{resident, resident_pages};
use super::{MIB, walk};
use hakmem::raw;
use std::time::Duration;

/// Large operations of one thread that make a round of ELO.
pub const ROUND: usize = 320;

/// Gives a block back.
pub fn free(at: *mut u8) {
    // SAFETY: a block of this heap that the test holds.
    unsafe { raw::free(at) }
}

/// A block, every page written.
pub fn filled(size: usize) -> *mut u8 {
    let at = raw::malloc(size);
    assert!(!at.is_null());
    // SAFETY: ours, `size` bytes long.
    unsafe { at.write_bytes(0xAB, size) };
    at
}

/// Slow-path operations, enough for the heap to look at its clock, that neither take memory from the
/// arenas nor give any back: refills and flushes of a class whose slabs all stay.
pub fn activity() {
    const SIZE: usize = 24;
    const BLOCKS: usize = 40_000;
    thread_local! {
        static PINS: Vec<usize> = {
            let blocks: Vec<_> = (0..BLOCKS).map(|_| raw::malloc(SIZE)).collect();
            let (pins, others): (Vec<_>, Vec<_>) =
                blocks.into_iter().enumerate().partition(|(index, _)| index % 100 == 0);
            others.into_iter().for_each(|(_, at)| free(at));
            pins.into_iter().map(|(_, at)| at.addr()).collect()
        };
    }
    PINS.with(|pins| assert_eq!(pins.len(), BLOCKS / 100));
    // The magazine has grown to thousands: many rounds make a few dozen trips to the slabs.
    let mut blocks = Vec::with_capacity(BLOCKS / 2);
    for _ in 0..12 {
        blocks.extend((0..BLOCKS / 2).map(|_| raw::malloc(SIZE)));
        blocks.drain(..).for_each(free);
    }
}

pub fn pages(at: *mut u8, bytes: usize) -> usize {
    resident_pages(at, bytes).unwrap_or(0)
}

/// Resident pages of a freed block of 1 MiB after `tenths` of a second and some activity; reused
/// often before if `hot`.
pub fn left_after(tenths: f64, hot: bool) -> usize {
    // Its slabs are there before the block.
    activity();
    let mut at = filled(MIB);
    if hot {
        for _ in 0..50 {
            free(at);
            at = filled(MIB);
        }
    }
    free(at);
    for _ in 0..4 {
        std::thread::sleep(Duration::from_secs_f64(tenths * 0.1 / 4.0));
        activity();
    }
    pages(at, MIB)
}

/// `operations` large allocations and frees, half of each.
pub fn churn(size: usize, operations: usize) {
    for _ in 0..operations / 2 {
        let at = raw::malloc(size);
        assert!(!at.is_null());
        free(at);
    }
}

/// Blocks that are mappings of their own while one of this size is held.
pub fn huge_by(size: usize) -> usize {
    let at = raw::malloc(size);
    let huge = hakmem::stats().huge_blocks;
    free(at);
    huge
}

/// Blocks that the first request of a size brings into the magazine.
pub fn batch(size: usize) -> usize {
    let before = walk().cached;
    let at = raw::malloc(size);
    let brought = walk().cached - before;
    free(at);
    brought
}

/// Bytes of 50 MB in small blocks that go back by later activity alone.
pub fn came_back() -> usize {
    activity();
    let blocks: Vec<_> = (0..50_000).map(|_| filled(1000)).collect();
    let full = resident();
    blocks.into_iter().for_each(free);
    for _ in 0..12 {
        std::thread::sleep(Duration::from_millis(25));
        activity();
    }
    full - resident().min(full)
}

/// Bytes in blocks of 64 that a thread keeps of a working set of 3,000 that comes and goes.
pub fn kept_of_64() -> usize {
    let before = walk().cached;
    let mut blocks = Vec::new();
    for _ in 0..40 {
        blocks.extend((0..3000).map(|_| raw::malloc(64)));
        blocks.drain(..).for_each(free);
    }
    (walk().cached - before) * 64
}

/// Threads of this process.
pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("/proc/self/task").count()
}

/// The line that `print_config` has for a setting.
pub fn config_row(name: &str) -> String {
    let mut table = String::new();
    hakmem::print_config(&mut table).expect("a string takes everything");
    let start = format!("HAKMEM_{name} ");
    table.lines().find(|line| line.contains(&start)).expect("a row").to_owned()
}
