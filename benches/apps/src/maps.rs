//! Maps: hash tables and B-trees with string keys and growing values, as a cache and an index hold
//! them: entries come, grow, are looked up and go.

use crate::digest::{Numbers, digest};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasherDefault;

/// A hash map whose order is the same in every run.
type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// A cache of 20,000 entries: the oldest makes room.
fn cache(numbers: &mut Numbers) -> String {
    let mut entries: Map<String, Vec<u8>> = Map::default();
    let mut order = VecDeque::new();
    let (mut hits, mut bytes) = (0_u64, 0_u64);
    for _ in 0..500_000 {
        let key = format!("user:{}:profile", numbers.below(60_000));
        if let Some(value) = entries.get_mut(&key) {
            hits += 1;
            value.push(hits as u8);
            bytes += value.len() as u64;
            continue;
        }
        let value = vec![key.len() as u8; 16 + numbers.length(300)];
        order.push_back(key.clone());
        entries.insert(key, value);
        if order.len() > 20_000 {
            entries.remove(&order.pop_front().expect("not empty"));
        }
    }
    format!("cache {} entries, {hits} hits, {bytes} bytes", entries.len())
}

/// An inverted index: word to documents, built, merged and asked.
fn index(numbers: &mut Numbers) -> String {
    let words: Vec<String> = (0..4000).map(|_| numbers.word(10)).collect();
    let mut index: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for document in 0..6000 {
        for _ in 0..30 {
            // The square prefers the first words, as language does.
            let place = numbers.length(words.len()) * numbers.length(words.len()) / words.len();
            index.entry(words[place].clone()).or_default().insert(document);
        }
    }
    let mut found = 0;
    for pair in words.windows(2) {
        if let (Some(one), Some(other)) = (index.get(&pair[0]), index.get(&pair[1])) {
            found += one.intersection(other).copied().collect::<Vec<_>>().len();
        }
    }
    index.retain(|word, documents| word.len() % 2 == 0 || documents.len() > 20);
    let text: String =
        index.iter().map(|(word, documents)| format!("{word}{}", documents.len())).collect();
    format!("index {} words, {found} found, {:016x}", index.len(), digest(text.as_bytes()))
}

/// Runs the program and returns what it prints.
pub fn run() -> String {
    let mut numbers = Numbers::new(5);
    let mut lines = vec![cache(&mut numbers), index(&mut numbers)];
    // Tables that double and are dropped: allocations of every power of two.
    let mut total = 0;
    for round in 0..40 {
        let table: Map<u64, [u64; 3]> =
            (0..1 << (round % 14)).map(|key| (key * 7, [key; 3])).collect();
        total += table.values().map(|value| value[1]).sum::<u64>();
    }
    lines.push(format!("tables {total}"));
    lines.join("\n")
}
