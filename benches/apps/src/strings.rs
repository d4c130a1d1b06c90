//! Strings: sorted, merged, formatted, split, joined and replaced.

use crate::digest::{Numbers, digest};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write;

#[derive(Clone)]
struct Record {
    name: String,
    score: u64,
    tags: Vec<String>,
}

/// Sorts that need room of their own, and a merge that makes every string anew.
pub fn sorting() -> String {
    let mut numbers = Numbers::new(6);
    let mut words: Vec<String> = (0..150_000).map(|_| numbers.word(28)).collect();
    words.sort();
    let sorted = digest(words.concat().as_bytes());
    words.sort_by_key(|word| (word.len(), Reverse(word.clone())));
    let by_length = digest(words.concat().as_bytes());
    words.dedup();
    drop(words);

    let mut records: Vec<Record> = (0..40_000)
        .map(|_| Record {
            name: numbers.word(16),
            score: numbers.below(1000),
            tags: (0..numbers.length(5)).map(|_| numbers.word(8)).collect(),
        })
        .collect();
    records.sort_by(|one, other| one.score.cmp(&other.score).then(one.name.cmp(&other.name)));
    let best: Vec<Record> = records.iter().rev().take(5000).cloned().collect();
    let tags: usize = best.iter().flat_map(|record| &record.tags).map(String::len).sum();

    // Runs of sorted strings merged through a heap, as an external sort does.
    let mut runs: Vec<std::vec::IntoIter<String>> = (0..64)
        .map(|_| {
            let mut run: Vec<String> = (0..1500).map(|_| numbers.word(20)).collect();
            run.sort_unstable();
            run.into_iter()
        })
        .collect();
    let mut heads: BinaryHeap<Reverse<(String, usize)>> = runs
        .iter_mut()
        .enumerate()
        .filter_map(|(at, run)| run.next().map(|word| Reverse((word, at))))
        .collect();
    let (mut merged, mut count) = (String::new(), 0);
    while let Some(Reverse((word, at))) = heads.pop() {
        merged.push_str(&word);
        count += 1;
        if let Some(next) = runs[at].next() {
            heads.push(Reverse((next, at)));
        }
    }
    format!(
        "words {sorted:016x} {by_length:016x}\nrecords {} tags {tags}\nmerged {count} {:016x}",
        records[0].score,
        digest(merged.as_bytes())
    )
}

/// Short-lived strings of many lengths.
pub fn formatting() -> String {
    let mut numbers = Numbers::new(7);
    let mut page = String::new();
    for line in 0..80_000_u64 {
        let cells: Vec<String> = (0..6)
            .map(|column| match column % 3 {
                0 => format!("{:>12}", numbers.below(1 << 40)),
                1 => format!("<{}>", numbers.word(24)),
                _ => format!("{:.3}", numbers.below(1_000_000) as f64 / 97.0),
            })
            .collect();
        writeln!(page, "{line}|{}", cells.join("|")).expect("a String takes everything");
    }
    let mut rebuilt = String::new();
    for line in page.lines() {
        let fields: Vec<String> =
            line.split('|').map(|field| field.trim().to_uppercase()).collect();
        rebuilt.push_str(&fields.iter().rev().cloned().collect::<Vec<_>>().join(","));
        rebuilt.push('\n');
    }
    let replaced = rebuilt.replace('<', "&lt;").replace('>', "&gt;").replace("0", "zero");
    let mut letters: Vec<String> = Vec::new();
    for chunk in replaced.as_bytes().chunks(37) {
        letters.push(String::from_utf8_lossy(chunk).chars().rev().collect());
    }
    format!(
        "page {} {:016x}\nreplaced {}\nletters {} {:016x}",
        page.len(),
        digest(page.as_bytes()),
        replaced.len(),
        letters.len(),
        digest(letters.concat().as_bytes())
    )
}
