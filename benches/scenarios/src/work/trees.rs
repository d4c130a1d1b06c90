//! Trees of the shape a JSON reader builds, made and dropped through the C names.

use core::marker::PhantomData;

use crate::heap::{Heap, give, take};
use crate::rng::Rng;
use crate::table::Table;
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

/// What a node is to become: drawn beforehand, so that the timed section allocates and little else.
#[derive(Clone, Copy)]
struct Plan {
    /// Length of its string, or 0 for none.
    text_len: u8,
    /// Number of its children, whose plans follow.
    children: u8,
}

/// Trees of 50 to 1,000 nodes. An operation is one block (array growth is one operation each).
pub struct Json<H: Heap> {
    trees: Vec<Table<Plan>>,
    next: usize,
    heap: PhantomData<H>,
}

/// Draws a tree of at most `budget` nodes, parents before their children.
fn draw(rng: &mut Rng, depth: u32, budget: &mut usize, plans: &mut Table<Plan>, len: &mut usize) {
    let at = *len;
    *len += 1;
    *budget -= 1;
    match rng.below(8) {
        0..3 => plans[at].text_len = rng.between(4, 60) as u8,
        3..5 => {}
        _ if depth == 0 => {}
        _ => {
            for _ in 0..rng.between(1, 12) {
                if *budget > 0 {
                    plans[at].children += 1;
                    draw(rng, depth - 1, budget, plans, len);
                }
            }
        }
    }
}

impl<H: Heap> Json<H> {
    fn build<'plan>(plans: &mut core::slice::Iter<'plan, Plan>, done: &mut Done) -> *mut Node {
        let plan = plans.next().expect("a tree's plan counts its nodes");
        let node = take::<H>(size_of::<Node>()).cast::<Node>();
        done.count(size_of::<Node>() as u64);
        let mut value = Node {
            text: core::ptr::null_mut(),
            text_len: usize::from(plan.text_len),
            children: core::ptr::null_mut(),
            len: 0,
            capacity: 0,
            number: u64::from(plan.children),
        };
        if value.text_len > 0 {
            value.text = take::<H>(value.text_len);
            done.count(value.text_len as u64);
        }
        for _ in 0..plan.children {
            let child = Self::build(plans, done);
            // SAFETY: `value` is a tree under construction, as `push` asks.
            unsafe { Self::push(&mut value, child, done) };
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
            let old = parent.capacity * size_of::<*mut Node>();
            parent.capacity = (parent.capacity * 2).max(4);
            let bytes = parent.capacity * size_of::<*mut Node>();
            // SAFETY: null or live with the old capacity, by the caller's promise.
            let grown = unsafe { H::realloc(parent.children.cast(), old, bytes) };
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
                H::free(value.children.cast(), value.capacity * size_of::<*mut Node>());
            }
            H::free(node.cast(), size_of::<Node>());
        }
    }
}

impl<H: Heap> Work<H> for Json<H> {
    fn new(_: &Config) -> Self {
        let trees = (0..TREES).map(|tree| {
            let rng = &mut Rng::new(8259 + tree);
            let mut budget = rng.between(50, 1000);
            // SAFETY: all-zero bytes are a plan for a leaf.
            let (mut plans, mut len) = (unsafe { Table::<Plan>::zeroed(budget) }, 0);
            // The root is an array of records, as many as there is room for.
            len += 1;
            budget -= 1;
            while budget > 0 && plans[0].children < u8::MAX {
                plans[0].children += 1;
                draw(rng, 6, &mut budget, &mut plans, &mut len);
            }
            plans
        });
        Self { trees: trees.collect(), next: 0, heap: PhantomData }
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let mut done = Done::default();
        while done.ops < ops {
            let plans = &self.trees[self.next % self.trees.len()];
            self.next += 1;
            let tree = Self::build(&mut plans.iter(), &mut done);
            // SAFETY: built just above, dropped once.
            unsafe { Self::drop_tree::<VERIFY>(tree) };
        }
        done
    }

    fn finish(self) {}
}
