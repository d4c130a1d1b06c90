//! Instruction limits, counted by valgrind: `cargo xtask bench --limits` installs what it needs
//! and runs this; CI does so in `ci/75-instruction-limits.sh`.
//!
//! Each benchmark does 1,000 operations on a warm heap and fails above its limit. The limits leave
//! a tenth of room: they are there to catch a path that got longer, not a different compiler. Only
//! small blocks are cleared and copied: how many instructions more take is the C library's affair.

// The functions that the macros make cannot be documented.
#![allow(missing_docs)]

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;

use hakmem::{Hakmem, raw};
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

/// A zeroed block, there and back.
fn one_zeroed(layout: Layout) {
    // SAFETY: as in `one`.
    unsafe {
        let block = HEAP.alloc_zeroed(layout);
        HEAP.dealloc(black_box(block), layout);
    }
}

/// From a size to twice as much and away, as a growing vector does.
fn one_regrown(layout: Layout) {
    // SAFETY: as in `one`; after `realloc` the block has the new size.
    unsafe {
        let block = HEAP.alloc(layout);
        let block = HEAP.realloc(black_box(block), layout, 2 * layout.size());
        let grown = Layout::from_size_align_unchecked(2 * layout.size(), layout.align());
        HEAP.dealloc(black_box(block), grown);
    }
}

/// As C does it: the size of the block is not known when it is freed.
fn one_unsized(layout: Layout) {
    let block = raw::malloc(layout.size());
    // SAFETY: allocated just above, freed once.
    unsafe { raw::free(black_box(block)) };
}

/// As C23 does it: the size is known.
fn one_sized(layout: Layout) {
    let block = raw::malloc(layout.size());
    // SAFETY: allocated just above with this size, freed once.
    unsafe { raw::free_sized(black_box(block), layout.size()) };
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a power of two and a small size")
}

/// Meets everything for the first time before it is counted.
fn warmed(layout: Layout, run: fn(Layout)) -> Layout {
    (0..ROUNDS).for_each(|_| run(layout));
    layout
}

fn warm(size: usize) -> Layout {
    warmed(layout(size, 8), one)
}

fn warm_aligned(size: usize, align: usize) -> Layout {
    warmed(layout(size, align), one)
}

fn warm_zeroed(size: usize) -> Layout {
    warmed(layout(size, 8), one_zeroed)
}

fn warm_regrown(size: usize) -> Layout {
    warmed(layout(size, 8), one_regrown)
}

fn warm_c(size: usize) -> Layout {
    warmed(layout(size, 8), one_unsized)
}

/// Blocks that another thread has allocated, as addresses: what is to be freed here goes home there.
fn from_another_thread(size: usize) -> (Layout, Vec<usize>) {
    let layout = warm(size);
    let allocate = move || {
        // SAFETY: the size is not zero.
        (0..ROUNDS).map(|_| unsafe { HEAP.alloc(layout) }.expose_provenance()).collect()
    };
    let blocks = std::thread::spawn(allocate).join().expect("the thread allocates and ends");
    (layout, blocks)
}

fn rounds(layout: Layout, run: impl Fn(Layout)) {
    for _ in 0..ROUNDS {
        run(black_box(layout));
    }
}

#[library_benchmark]
#[bench::tiny(args = (64), setup = warm, config = at_most(63_000))]
#[bench::mid(args = (32 << 10), setup = warm, config = at_most(76_000))]
#[bench::aligned(args = (192, 64), setup = warm_aligned, config = at_most(99_000))]
fn pair(layout: Layout) {
    rounds(layout, one);
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

#[library_benchmark]
#[bench::tiny(args = (64), setup = warm_zeroed, config = at_most(86_000))]
fn zeroed(layout: Layout) {
    rounds(layout, one_zeroed);
}

#[library_benchmark]
#[bench::tiny(args = (64), setup = warm_regrown, config = at_most(168_000))]
fn regrown(layout: Layout) {
    rounds(layout, one_regrown);
}

#[library_benchmark]
#[bench::tiny(args = (64), setup = warm_c, config = at_most(31_000))]
fn unsized_free(layout: Layout) {
    rounds(layout, one_unsized);
}

#[library_benchmark]
#[bench::tiny(args = (64), setup = warm_c, config = at_most(29_000))]
fn sized_free(layout: Layout) {
    rounds(layout, one_sized);
}

#[library_benchmark]
#[bench::tiny(args = (64), setup = from_another_thread, config = at_most(56_000))]
fn remote_batch((layout, blocks): (Layout, Vec<usize>)) {
    for &block in &blocks {
        // SAFETY: allocated with this layout by another thread, freed once.
        unsafe { HEAP.dealloc(std::ptr::with_exposed_provenance_mut(black_box(block)), layout) };
    }
}

library_benchmark_group!(
    name = limits;
    benchmarks =
        pair, last_in_first_out, constant_size, zeroed, regrown, unsized_free, sized_free,
        remote_batch
);
main!(library_benchmark_groups = limits);
