//! Boxes: search trees and lists whose every node is an allocation of one size, the bread of Rust
//! programs; grown in random order, walked, pruned and dropped.

use crate::digest::Numbers;

/// A treap: a search tree kept flat by random priorities.
struct Node {
    key: u64,
    priority: u64,
    payload: Option<Box<[u64; 5]>>,
    left: Tree,
    right: Tree,
}

type Tree = Option<Box<Node>>;

/// All keys below `key`, and the others.
fn split(tree: Tree, key: u64) -> (Tree, Tree) {
    match tree {
        None => (None, None),
        Some(mut node) if node.key < key => {
            let (low, high) = split(node.right.take(), key);
            node.right = low;
            (Some(node), high)
        }
        Some(mut node) => {
            let (low, high) = split(node.left.take(), key);
            node.left = high;
            (low, Some(node))
        }
    }
}

/// One tree of two, all keys of the first below those of the second.
fn join(low: Tree, high: Tree) -> Tree {
    match (low, high) {
        (None, tree) | (tree, None) => tree,
        (Some(mut low), Some(mut high)) => {
            if low.priority > high.priority {
                low.right = join(low.right.take(), Some(high));
                Some(low)
            } else {
                high.left = join(Some(low), high.left.take());
                Some(high)
            }
        }
    }
}

fn insert(tree: Tree, key: u64, priority: u64) -> Tree {
    let payload = key.is_multiple_of(3).then(|| Box::new([key; 5]));
    let (low, high) = split(tree, key);
    let node = Box::new(Node { key, priority, payload, left: None, right: None });
    join(join(low, Some(node)), high)
}

fn remove(tree: Tree, key: u64) -> Tree {
    let (low, rest) = split(tree, key);
    let (_, high) = split(rest, key + 1);
    join(low, high)
}

/// Keys, their sum, and the sum of the payloads.
fn weigh(tree: &Tree) -> (u64, u64, u64) {
    let Some(node) = tree else { return (0, 0, 0) };
    let (left, right) = (weigh(&node.left), weigh(&node.right));
    let own = node.payload.as_ref().map_or(0, |payload| payload.iter().sum::<u64>() % 1009);
    (
        left.0 + right.0 + 1,
        left.1.wrapping_add(right.1).wrapping_add(node.key),
        left.2 + right.2 + own,
    )
}

/// A list of shapes behind trait objects of different sizes.
trait Shape {
    fn area(&self) -> u64;
}

struct Dot;
struct Square(u64);
struct Outline([u64; 16]);

impl Shape for Dot {
    fn area(&self) -> u64 {
        1
    }
}

impl Shape for Square {
    fn area(&self) -> u64 {
        self.0 * self.0
    }
}

impl Shape for Outline {
    fn area(&self) -> u64 {
        self.0.iter().sum()
    }
}

fn shape(numbers: &mut Numbers) -> Box<dyn Shape> {
    match numbers.below(3) {
        0 => Box::new(Dot),
        1 => Box::new(Square(numbers.below(100))),
        _ => Box::new(Outline([numbers.below(50); 16])),
    }
}

/// Runs the program and returns what it prints.
pub fn run() -> String {
    let mut numbers = Numbers::new(4);
    let mut lines = Vec::new();
    for round in 0..3 {
        let mut tree = None;
        for _ in 0..60_000 {
            tree = insert(tree, numbers.below(200_000), numbers.below(u64::MAX));
        }
        for _ in 0..60_000 {
            tree = remove(tree, numbers.below(200_000));
        }
        let (count, keys, payloads) = weigh(&tree);
        lines.push(format!("tree {round}: {count} keys {keys} payloads {payloads}"));
    }
    let mut shapes: Vec<Box<dyn Shape>> = (0..50_000).map(|_| shape(&mut numbers)).collect();
    for _ in 0..600_000 {
        let at = numbers.length(shapes.len());
        shapes[at] = shape(&mut numbers);
    }
    let area: u64 = shapes.iter().map(|shape| shape.area()).sum();
    lines.push(format!("shapes {} area {area}", shapes.len()));
    lines.join("\n")
}
