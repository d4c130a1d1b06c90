//! Scenarios made of real crates on real input, through Rust's global allocator: in
//! `hakmem-scenario` that forwards to C's `malloc`, in `hakmem-scenario-linked` it is hakmem.

use core::marker::PhantomData;
use std::hint::black_box;

use crate::{Config, Done, Heap, Work};

/// A package description as `cargo metadata` prints it.
const DOCUMENT: &str = include_str!("../../data/metadata.json");

/// Rust source: this crate's own.
const SOURCES: [&str; 6] = [
    include_str!("large.rs"),
    include_str!("small.rs"),
    include_str!("threads.rs"),
    include_str!("trees.rs"),
    include_str!("../heap.rs"),
    include_str!("../lib.rs"),
];

/// Reads a document into a `serde_json::Value` and drops it.
pub struct JsonParser<H: Heap>(PhantomData<H>);

impl<H: Heap> Work<H> for JsonParser<H> {
    fn new(_: &Config) -> Self {
        Self(PhantomData)
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let mut done = Done::default();
        while done.ops < ops {
            let value: serde_json::Value =
                serde_json::from_str(black_box(DOCUMENT)).expect("the document is JSON");
            if VERIFY {
                let text = serde_json::to_string(&value).expect("a value can be written");
                let again: serde_json::Value = serde_json::from_str(&text).expect("and read back");
                assert!(again == value, "a document changed while it was in the heap");
            }
            done.count(black_box(&value).as_object().map_or(0, |object| object.len() as u64));
        }
        done
    }

    fn finish(self) {}
}

/// Parses a source file into a syntax tree and drops it.
pub struct SourceParser<H: Heap> {
    next: usize,
    heap: PhantomData<H>,
}

impl<H: Heap> Work<H> for SourceParser<H> {
    fn new(_: &Config) -> Self {
        Self { next: 0, heap: PhantomData }
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let mut done = Done::default();
        while done.ops < ops {
            let source = SOURCES[self.next % SOURCES.len()];
            self.next += 1;
            let tree = syn::parse_file(black_box(source)).expect("the source parses");
            done.count(black_box(&tree).items.len() as u64);
        }
        done
    }

    fn finish(self) {}
}
