//! regex: a log scanned, grouped and rewritten, and many expressions compiled and dropped.

use crate::digest::{Numbers, digest};
use regex::{Captures, Regex, RegexSet};
use std::collections::HashMap;
use std::fmt::Write;

fn log(lines: usize) -> String {
    let mut numbers = Numbers::new(2);
    let mut text = String::new();
    for line in 0..lines {
        let level = ["info", "warn", "error", "debug"][numbers.length(4)];
        let host = numbers.below(60);
        let path = numbers.word(12);
        let millis = numbers.below(10_000);
        writeln!(
            text,
            "2024-{:02}-{:02} host{host} [{level}] #{line} /{path}/{} took {millis}ms",
            1 + numbers.below(12),
            1 + numbers.below(28),
            numbers.word(20)
        )
        .expect("a String takes everything");
    }
    text
}

/// Runs the program and returns what it prints.
pub fn run() -> String {
    let text = log(25_000);
    let line = Regex::new(
        r"(?m)^(?<date>\S+) (?<host>\w+) \[(?<level>\w+)\] #(\d+) (?<path>/\S+) took (?<ms>\d+)ms$",
    )
    .expect("valid");
    let mut time: HashMap<(String, String), (u64, Vec<String>)> = HashMap::new();
    for found in line.captures_iter(&text) {
        let key = (found["host"].to_owned(), found["level"].to_owned());
        let entry = time.entry(key).or_default();
        entry.0 += found["ms"].parse::<u64>().expect("digits");
        entry.1.push(found["path"].to_owned());
    }
    let mut rows: Vec<String> = time
        .into_iter()
        .map(|((host, level), (ms, paths))| format!("{host} {level} {ms} {}", paths.join(";")))
        .collect();
    rows.sort_unstable();
    let mut lines =
        vec![format!("groups {} {:016x}", rows.len(), digest(rows.join("\n").as_bytes()))];

    let numbers = Regex::new(r"\d+").expect("valid");
    let rewritten = numbers.replace_all(&text, |found: &Captures| {
        format!("<{}>", found[0].chars().rev().collect::<String>())
    });
    lines.push(format!("rewritten {} {:016x}", rewritten.len(), digest(rewritten.as_bytes())));

    let mut source = Numbers::new(3);
    let mut hits = 0;
    for _ in 0..25 {
        let patterns: Vec<String> = (0..20)
            .map(|_| {
                format!(
                    r"(?i){}[a-z]{{0,{}}}({}|\d+)\b",
                    source.word(2),
                    source.below(6),
                    source.word(2)
                )
            })
            .collect();
        let set = RegexSet::new(&patterns).expect("valid");
        hits +=
            text.lines().step_by(50).map(|line| set.matches(line).iter().count()).sum::<usize>();
    }
    lines.push(format!("sets {hits}"));
    let words: Vec<&str> = Regex::new(r"[^a-z]+").expect("valid").split(&text).collect();
    lines.push(format!("split {}", words.len()));
    lines.join("\n")
}
