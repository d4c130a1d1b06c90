//! `hakmem-step-linked`: a `Box` of 64 bytes made and dropped, the size known to the compiler, to
//! be watched by `cargo xtask asm`. What it counts is what a Rust program pays.

use core::mem::MaybeUninit;

use hakmem::Hakmem;
use hakmem_scenarios::step::{self, Pair};

#[global_allocator]
static GLOBAL: Hakmem = Hakmem::new();

/// 64 bytes that nobody writes, so that only the allocation is counted.
type Block = MaybeUninit<[u64; 8]>;

#[inline(never)]
fn box_new() -> Box<Block> {
    Box::new(MaybeUninit::uninit())
}

#[inline(never)]
fn box_drop(block: Box<Block>) {
    drop(block);
}

fn main() {
    let functions = [
        ("Box::new", box_new as fn() -> Box<Block> as usize),
        ("Box::drop", box_drop as fn(Box<Block>) as usize),
    ];
    // The addresses pass through `black_box`, so that the calls stay calls.
    let call = Box::new(|| {
        let new = std::hint::black_box(box_new as fn() -> Box<Block>);
        let drop = std::hint::black_box(box_drop as fn(Box<Block>));
        drop(std::hint::black_box(new()));
    });
    step::play(&[Pair { functions, call }]);
}
