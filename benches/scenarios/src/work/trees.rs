//! Trees of the shape a JSON reader builds, made and dropped through the C names.

use core::marker::PhantomData;

use crate::heap::{Heap, give, take};
use crate::rng::Rng;
use crate::{Config, Done, Work};

/// A value: a leaf, a string, or an array of further values.
#[repr(C)]
struct Node {
    /// The string's bytes, or null.
    text: *mut u8,
    text_len: usize,
    /// The array of children, or null; grown by doubling as a parser does.
    children: *mut *mut Node,
    len: usize,
    capacity: usize,
    number: u64,
}

/// Different trees; they come round again and again.
const TREES: u64 = 4;

/// Trees of 50 to 1,000 nodes. An operation is one block (array growth is one operation each).
pub struct Json<H: Heap> {
    next: u64,
    rng: Rng,
    heap: PhantomData<H>,
}

impl<H: Heap> Json<H> {
    fn build(&mut self, depth: u32, budget: &mut usize, done: &mut Done) -> *mut Node {
        let node = take::<H>(size_of::<Node>()).cast::<Node>();
        let mut value = Node {
            text: core::ptr::null_mut(),
            text_len: 0,
            children: core::ptr::null_mut(),
            len: 0,
            capacity: 0,
            number: 0,
        };
        *budget -= 1;
        done.count(size_of::<Node>() as u64);
        match self.rng.below(8) {
            0..3 => {
                value.text_len = self.rng.between(4, 60);
                value.text = take::<H>(value.text_len);
                done.count(value.text_len as u64);
            }
            3..5 => value.number = u64::from(self.rng.next()),
            _ if depth == 0 => {}
            _ => {
                for _ in 0..self.rng.between(1, 12).min(*budget) {
                    if *budget == 0 {
                        break;
                    }
                    let child = self.build(depth - 1, budget, done);
                    // SAFETY: `value` is a tree under construction, as `push` asks.
                    unsafe { Self::push(&mut value, child, done) };
                }
            }
        }
        // SAFETY: the block has the size of a node and is aligned to 16.
        unsafe { node.write(value) };
        node
    }

    /// # Safety
    ///
    /// `parent`'s array, if any, is live and has `capacity` entries of which `len` are in use.
    unsafe fn push(parent: &mut Node, child: *mut Node, done: &mut Done) {
        if parent.len == parent.capacity {
            parent.capacity = (parent.capacity * 2).max(4);
            let bytes = parent.capacity * size_of::<*mut Node>();
            // SAFETY: null or live, by the caller's promise.
            let grown = unsafe { H::realloc(parent.children.cast(), bytes) };
            if grown.is_null() {
                eprintln!("scenario: the heap gave null for {bytes} bytes");
                std::process::abort();
            }
            done.count(bytes as u64);
            parent.children = grown.cast();
        }
        // SAFETY: the array has room for one more.
        unsafe { parent.children.add(parent.len).write(child) };
        parent.len += 1;
    }

    /// Frees a tree, children first.
    ///
    /// # Safety
    ///
    /// `node` came from [`Self::build`] and is not used again.
    unsafe fn drop_tree<const VERIFY: bool>(node: *mut Node) {
        // SAFETY: every pointer in a built tree is live or null, and each is freed once.
        unsafe {
            let value = node.read();
            if !value.text.is_null() {
                give::<H, VERIFY>(value.text, value.text_len);
            }
            for at in 0..value.len {
                Self::drop_tree::<VERIFY>(value.children.add(at).read());
            }
            if !value.children.is_null() {
                H::free(value.children.cast());
            }
            H::free(node.cast());
        }
    }
}

impl<H: Heap> Work<H> for Json<H> {
    fn new(_: &Config) -> Self {
        Self { next: 0, rng: Rng::new(0), heap: PhantomData }
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let mut done = Done::default();
        while done.ops < ops {
            self.rng = Rng::new(8259 + self.next % TREES);
            self.next += 1;
            let mut budget = self.rng.between(50, 1000);
            let tree = self.build(8, &mut budget, &mut done);
            // SAFETY: built just above, dropped once.
            unsafe { Self::drop_tree::<VERIFY>(tree) };
        }
        done
    }

    fn finish(self) {}
}
