//! serde_json: typed and untyped documents made, written, read back, changed and dropped.

use crate::digest::{Numbers, digest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Person {
    id: u64,
    name: String,
    tags: Vec<String>,
    address: Option<Box<Address>>,
    scores: BTreeMap<String, Vec<f64>>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Address {
    street: String,
    zip: u32,
    next: Option<Box<Address>>,
}

fn address(numbers: &mut Numbers, depth: u64) -> Option<Box<Address>> {
    (depth > 0).then(|| {
        Box::new(Address {
            street: numbers.word(40),
            zip: numbers.below(99_999) as u32,
            next: address(numbers, depth - 1),
        })
    })
}

fn person(numbers: &mut Numbers, id: u64) -> Person {
    let depth = numbers.below(5);
    Person {
        id,
        name: numbers.word(30),
        tags: (0..numbers.length(8)).map(|_| numbers.word(12)).collect(),
        address: address(numbers, depth),
        scores: (0..numbers.length(6))
            .map(|_| {
                let values = (0..numbers.length(20))
                    .map(|_| numbers.below(1_000_000) as f64 / 64.0)
                    .collect();
                (numbers.word(6), values)
            })
            .collect(),
    }
}

/// A tree of `depth` levels; the last one holds strings and numbers.
fn tree(numbers: &mut Numbers, depth: u64) -> Value {
    if depth == 0 {
        return match numbers.below(4) {
            0 => Value::Null,
            1 => json!(numbers.below(1 << 40)),
            2 => json!(numbers.word(60)),
            _ => json!([numbers.below(9), numbers.word(3), { "k": numbers.word(9) }]),
        };
    }
    let width = 2 + numbers.below(4);
    if depth.is_multiple_of(2) {
        Value::Array((0..width).map(|_| tree(numbers, depth - 1)).collect())
    } else {
        Value::Object(
            (0..width)
                .map(|k| {
                    let key = format!("{}{k}", numbers.word(10));
                    (key, tree(numbers, depth - 1))
                })
                .collect(),
        )
    }
}

/// Shortens every second string and drops every third member, all through the tree.
fn prune(value: &mut Value, counter: &mut u64) {
    *counter += 1;
    match value {
        Value::String(text) if counter.is_multiple_of(2) => {
            text.truncate(text.len() / 2);
            text.shrink_to_fit();
        }
        Value::Array(items) => {
            items.retain(|_| {
                *counter += 1;
                !counter.is_multiple_of(3)
            });
            items.iter_mut().for_each(|item| prune(item, counter));
        }
        Value::Object(members) => members.values_mut().for_each(|item| prune(item, counter)),
        _ => {}
    }
}

/// Runs the program and returns what it prints.
pub fn run() -> String {
    let mut numbers = Numbers::new(1);
    let people: Vec<Person> = (0..4000).map(|id| person(&mut numbers, id)).collect();
    let text = serde_json::to_string_pretty(&people).expect("plain data");
    let back: Vec<Person> = serde_json::from_str(&text).expect("our own text");
    assert_eq!(people, back);
    let untyped: Value = serde_json::from_str(&text).expect("our own text");
    let mut lines = vec![format!("people {} {:016x}", text.len(), digest(text.as_bytes()))];
    drop((people, back, text));

    let small = serde_json::to_vec(&untyped).expect("plain data");
    lines.push(format!("untyped {} {:016x}", small.len(), digest(&small)));
    for round in 0..12 {
        let mut value = tree(&mut numbers, 8);
        let before = value.to_string();
        let mut counter = round;
        prune(&mut value, &mut counter);
        let after = value.to_string();
        let again: Value = serde_json::from_str(&after).expect("our own text");
        assert_eq!(again, value);
        lines.push(format!(
            "tree {round}: {} to {} bytes, {:016x}",
            before.len(),
            after.len(),
            digest(after.as_bytes())
        ));
    }
    lines.join("\n")
}
