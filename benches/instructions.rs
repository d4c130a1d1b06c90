//! Instruction limits, counted by valgrind: `cargo xtask bench --limits` installs what it needs
//! and runs this.
//!
//! Each benchmark does 1,000 operations on a warm heap and fails above its limit. The limits leave
//! a tenth of room: they are there to catch a path that got longer, not a different compiler.

// The functions that the macros make cannot be documented.
#![allow(missing_docs)]

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;

use hakmem::Hakmem;
use iai_callgrind::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};

static HEAP: Hakmem = Hakmem::new();

const ROUNDS: usize = 1000;

/// At most so many instructions for all rounds together.
fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let limits = [(EventKind::Ir, instructions)];
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(Callgrind::default().hard_limits(limits));
    config
}

fn one(layout: Layout) {
    // SAFETY: no layout here has size zero; the block is freed once, with its layout.
    unsafe {
        let block = HEAP.alloc(layout);
        HEAP.dealloc(black_box(block), layout);
    }
}

/// Meets everything for the first time before it is counted.
fn warm(size: usize) -> Layout {
    let layout = Layout::from_size_align(size, 8).expect("a power of two and a small size");
    (0..ROUNDS).for_each(|_| one(layout));
    layout
}

#[library_benchmark]
#[bench::tiny(args = (64), setup = warm, config = at_most(63_000))]
#[bench::mid(args = (32 << 10), setup = warm, config = at_most(76_000))]
fn pair(layout: Layout) {
    for _ in 0..ROUNDS {
        one(black_box(layout));
    }
}

#[library_benchmark]
#[bench::tiny(args = (64), setup = warm, config = at_most(69_000))]
fn last_in_first_out(layout: Layout) {
    let mut blocks = [std::ptr::null_mut(); 100];
    for _ in 0..ROUNDS / 100 {
        for block in &mut blocks {
            // SAFETY: the size is not zero.
            *block = unsafe { HEAP.alloc(black_box(layout)) };
        }
        for &block in black_box(&blocks).iter().rev() {
            // SAFETY: allocated just above with this layout, freed once.
            unsafe { HEAP.dealloc(block, black_box(layout)) };
        }
    }
}

#[library_benchmark]
#[bench::boxes(args = (64), setup = warm, config = at_most(20_000))]
fn constant_size(_: Layout) {
    for _ in 0..ROUNDS {
        one(Layout::new::<[u64; 8]>());
    }
}

library_benchmark_group!(name = limits; benchmarks = pair, last_in_first_out, constant_size);
main!(library_benchmark_groups = limits);
