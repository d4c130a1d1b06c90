//! syn: Rust source parsed into syntax trees, held, and dropped in another order.

use crate::digest::Numbers;

/// This crate's own sources.
const SOURCES: [&str; 8] = [
    include_str!("boxes.rs"),
    include_str!("buffers.rs"),
    include_str!("documents.rs"),
    include_str!("maps.rs"),
    include_str!("messages.rs"),
    include_str!("parallel.rs"),
    include_str!("strings.rs"),
    include_str!("text.rs"),
];

/// Runs the program and returns what it prints.
pub fn run() -> String {
    let mut numbers = Numbers::new(9);
    let mut held: Vec<syn::File> = Vec::new();
    let (mut items, mut functions) = (0, 0);
    for _ in 0..600 {
        let tree = syn::parse_file(SOURCES[numbers.length(SOURCES.len())]).expect("it compiles");
        items += tree.items.len();
        functions += tree.items.iter().filter(|item| matches!(item, syn::Item::Fn(_))).count();
        if held.len() < 24 {
            held.push(tree);
        } else {
            let at = numbers.length(held.len());
            held[at] = tree;
        }
    }
    format!("items {items} functions {functions} held {}", held.len())
}
