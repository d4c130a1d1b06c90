//! Interactive micro benchmarks: `cargo bench --bench pairs -- 64`.
//!
//! The same calls of `GlobalAlloc` on hakmem and on the system's allocator, side by side. For
//! comparisons across allocators and for memory use `cargo xtask bench`; for the question whether
//! a change is worth having, `cargo xtask ab`.

// The functions that the macros make cannot be documented.
#![allow(missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::mpsc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, Bencher, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group,
    criterion_main,
};
use hakmem::Hakmem;

static HAKMEM: Hakmem = Hakmem::new();
static SYSTEM: System = System;

const SIZES: [usize; 8] = [8, 64, 512, 4 << 10, 32 << 10, 256 << 10, 2 << 20, 32 << 20];

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a power of two and a small size")
}

/// Allocates, writes both ends, frees.
fn pair(heap: &impl GlobalAlloc, size: usize) {
    let layout = black_box(layout(size));
    // SAFETY: the size is not zero; the block is checked, has `size` bytes and is freed once.
    unsafe {
        let block = heap.alloc(layout);
        assert!(!block.is_null());
        block.write_volatile(1);
        block.add(size - 1).write_volatile(1);
        heap.dealloc(black_box(block), layout);
    }
}

/// Allocates 100 blocks, then frees them last in first out.
fn batch(heap: &impl GlobalAlloc, size: usize) {
    let layout = black_box(layout(size));
    let mut blocks = [std::ptr::null_mut(); 100];
    // SAFETY: as in `pair`.
    unsafe {
        for block in &mut blocks {
            *block = heap.alloc(layout);
            assert!(!block.is_null());
            block.write_volatile(1);
        }
        for block in black_box(&blocks).iter().rev() {
            heap.dealloc(*block, layout);
        }
    }
}

/// Grows a block by half from 64 bytes to `size`, as a `Vec` does.
fn grow(heap: &impl GlobalAlloc, size: usize) {
    // SAFETY: each block is used with the layout it has, and replaced by what `realloc` gives.
    unsafe {
        let mut have = layout(64);
        let mut block = heap.alloc(have);
        while have.size() < size {
            let new = have.size() + have.size() / 2;
            block = heap.realloc(block, have, new);
            assert!(!block.is_null());
            block.add(new - 1).write_volatile(1);
            have = layout(new);
        }
        heap.dealloc(block, have);
    }
}

/// Allocates a zeroed block, writes both ends, frees.
fn zeroed(heap: &impl GlobalAlloc, size: usize) {
    let layout = black_box(layout(size));
    // SAFETY: as in `pair`.
    unsafe {
        let block = heap.alloc_zeroed(layout);
        assert!(!block.is_null());
        block.write_volatile(1);
        block.add(size - 1).write_volatile(1);
        heap.dealloc(black_box(block), layout);
    }
}

/// A pair at a multiple of the cache line.
fn aligned(heap: &impl GlobalAlloc, size: usize) {
    let layout = black_box(Layout::from_size_align(size, 64).expect("a small size"));
    // SAFETY: as in `pair`.
    unsafe {
        let block = heap.alloc(layout);
        assert!(!block.is_null());
        block.write_volatile(1);
        heap.dealloc(black_box(block), layout);
    }
}

/// Frees 100 blocks that another thread has allocated; their allocation is not timed.
fn remote(bencher: &mut Bencher<'_>, heap: &(impl GlobalAlloc + Sync), size: usize) {
    let layout = layout(size);
    let allocate = || -> Vec<usize> {
        // SAFETY: the size is not zero.
        (0..100).map(|_| unsafe { heap.alloc(layout) }.expose_provenance()).collect()
    };
    let (ask, asked) = mpsc::channel::<()>();
    let (give, given) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || asked.into_iter().try_for_each(|()| give.send(allocate())));
        let blocks = || {
            ask.send(()).expect("the other thread waits");
            given.recv().expect("the other thread answers")
        };
        let free = |blocks: Vec<usize>| {
            for block in blocks {
                // SAFETY: allocated with this layout, freed once.
                unsafe { heap.dealloc(std::ptr::with_exposed_provenance_mut(block), layout) };
            }
        };
        bencher.iter_batched(blocks, free, BatchSize::SmallInput);
        drop(ask);
    });
}

/// The same work on either heap.
type Pair = (fn(&Hakmem, usize), fn(&System, usize));

fn both(group: &mut BenchmarkGroup<'_, WallTime>, size: usize, run: Pair) {
    group.bench_with_input(BenchmarkId::new("hakmem", size), &size, |bencher, &size| {
        bencher.iter(|| run.0(&HAKMEM, size));
    });
    group.bench_with_input(BenchmarkId::new("system", size), &size, |bencher, &size| {
        bencher.iter(|| run.1(&SYSTEM, size));
    });
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pair");
    group.throughput(Throughput::Elements(1));
    for size in SIZES {
        both(&mut group, size, (pair, pair));
    }
    group.finish();

    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Elements(100));
    for size in &SIZES[..5] {
        both(&mut group, *size, (batch, batch));
    }
    group.finish();

    let pairs: [(&str, Pair); 2] = [("zeroed", (zeroed, zeroed)), ("aligned", (aligned, aligned))];
    for (name, run) in pairs {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        for size in [64, 512, 32 << 10, 2 << 20] {
            both(&mut group, size, run);
        }
        group.finish();
    }

    let mut group = criterion.benchmark_group("remote");
    group.throughput(Throughput::Elements(100));
    for size in [64, 4 << 10] {
        group.bench_function(BenchmarkId::new("hakmem", size), |it| remote(it, &HAKMEM, size));
        group.bench_function(BenchmarkId::new("system", size), |it| remote(it, &SYSTEM, size));
    }
    group.finish();

    let mut group = criterion.benchmark_group("grow");
    for size in [16 << 10, 4 << 20, 64 << 20] {
        both(&mut group, size, (grow, grow));
    }
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = benches
}
criterion_main!(all);
