//! rayon: blocks made by one worker and dropped by another, in sorts, maps and nested joins.

use crate::digest::{Numbers, digest};
use rayon::prelude::*;
use std::collections::BTreeMap;

fn shard(seed: u64) -> Vec<String> {
    let mut numbers = Numbers::new(seed);
    (0..3000).map(|_| numbers.word(24)).collect()
}

/// The Fibonacci word of that order, put together by nested joins.
fn fibonacci(order: u32) -> String {
    if order < 2 {
        return ["b", "a"][order as usize].to_owned();
    }
    let (long, short) = rayon::join(|| fibonacci(order - 1), || fibonacci(order - 2));
    long + &short
}

/// Runs the program and returns what it prints.
pub fn run() -> String {
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(6).build().expect("threads can be started");
    pool.install(|| {
        let mut words: Vec<String> = (0..60u64).into_par_iter().flat_map_iter(shard).collect();
        words.par_sort_unstable();
        let sorted = digest(words.join(" ").as_bytes());

        let counts = words
            .par_chunks(777)
            .map(|chunk| {
                let mut map: BTreeMap<String, Vec<usize>> = BTreeMap::new();
                for (at, word) in chunk.iter().enumerate() {
                    let key = word.chars().take(2).collect();
                    map.entry(key).or_default().push(at);
                }
                map
            })
            .reduce(BTreeMap::new, |mut all, map| {
                for (key, mut places) in map {
                    all.entry(key).or_default().append(&mut places);
                }
                all
            });
        let longest = counts.values().map(Vec::len).max().unwrap_or(0);
        let upper: Vec<String> = words.into_par_iter().map(|w| w.to_uppercase()).collect();
        let total: usize = upper.par_iter().map(String::len).sum();

        let squares: Vec<Vec<u64>> = (1..400u64)
            .into_par_iter()
            .map(|n| (0..n * 8).map(|k| k * n % 997).collect())
            .collect();
        let sum: u64 = squares.par_iter().flatten().sum();
        let word = fibonacci(21);
        format!(
            "sorted {sorted:016x}\ngroups {} longest {longest}\nupper {total}\nsquares {sum}\n\
             fibonacci {} {:016x}",
            counts.len(),
            word.len(),
            digest(word.as_bytes())
        )
    })
}
