//! Records that something has damaged: whatever they hold, they are read and judged again, or refused
//! in one line; the reader never panics.
//!
//! Each try damages a sound record at random, as bytes or as JSON: members and items go, come twice or
//! change places, values become extreme, empty or of another kind. `RECORDS=100000` tries as many as it
//! says instead of enough for every day.

use super::canned;
use super::outcome::Outcome;
use super::record;
use super::trial::End;
use crate::shared::paths;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Tries without `RECORDS`.
const USUAL: u64 = 400;

/// Sound records: of the same code twice, and of one and two scenarios with few layouts, which is
/// enough to be judged and fast.
fn sound() -> Vec<String> {
    let short = |effects: &[f64]| {
        let mut outcome: Outcome = canned::outcome("tiny-free-calls", &[]);
        outcome.end = Some(End::Budget);
        outcome.timed = canned::timed(14, effects);
        record::json(&outcome).expect("a record")
    };
    let same_code = record::json(&canned::outcome("tiny-free-calls", &[])).expect("a record");
    vec![same_code, short(&[0.5]), short(&[2.0, -1.0])]
}

/// Values that a program rarely expects.
fn odd(rng: &mut SmallRng) -> Value {
    match rng.random_range(0..14) {
        0 => Value::Null,
        1 => json!(0),
        2 => json!(-1),
        3 => json!(u64::MAX),
        4 => json!(i64::MIN),
        5 => json!(1e308),
        6 => json!(-1e308),
        7 => json!(5e-324),
        8 => json!(""),
        9 => json!("x".repeat(5000)),
        10 => json!([]),
        11 => json!({}),
        12 => json!(true),
        _ => json!([0, [1, {"a": null}], "b"]),
    }
}

/// A random place in a value, the value itself included; deep ones as likely as others.
fn somewhere<'a>(value: &'a mut Value, rng: &mut SmallRng) -> &'a mut Value {
    let inside = match value {
        Value::Array(items) => items.len(),
        Value::Object(members) => members.len(),
        _ => 0,
    };
    if inside == 0 || rng.random_range(0..8) == 0 {
        return value;
    }
    let at = rng.random_range(0..inside);
    let next = match value {
        Value::Array(items) => items.get_mut(at),
        Value::Object(members) => members.values_mut().nth(at),
        _ => None,
    };
    somewhere(next.expect("it has as many"), rng)
}

/// Damages a value in one place.
fn damage(value: &mut Value, rng: &mut SmallRng) {
    let other = somewhere(&mut value.clone(), rng).clone();
    let place = somewhere(value, rng);
    match (rng.random_range(0..6), &mut *place) {
        (0, _) => *place = other,
        (1, Value::Array(items)) if !items.is_empty() => {
            items.remove(rng.random_range(0..items.len()));
        }
        (2, Value::Array(items)) if !items.is_empty() => {
            let item = items[rng.random_range(0..items.len())].clone();
            items.insert(rng.random_range(0..=items.len()), item);
        }
        (1 | 2, Value::Object(members)) if !members.is_empty() => {
            let name = members.keys().nth(rng.random_range(0..members.len())).cloned();
            members.remove(&name.expect("it has as many"));
        }
        (3, Value::Number(number)) => {
            let factor = [0.0, -1.0, 1e-9, 1e9, 1e18][rng.random_range(0..5)];
            let figure = number.as_f64().unwrap_or(0.0) * factor;
            // A whole one stays one.
            *place = if number.is_u64() { json!(figure as u64) } else { json!(figure) };
        }
        _ => *place = odd(rng),
    }
}

/// Damages a text: bytes change or go.
fn damage_text(text: &str, rng: &mut SmallRng) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..4) {
            0 => bytes[at] = rng.random(),
            1 => bytes[at] = b"0123456789-.eE\"{}[],:nft"[rng.random_range(0..24)],
            2 => drop(bytes.drain(at..(at + rng.random_range(1..200)).min(bytes.len()))),
            _ => bytes.truncate(at.max(1)),
        }
        if bytes.is_empty() {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads a record as `--rejudge` does. True: it was taken.
fn read(text: &str) -> bool {
    match record::parse(text) {
        Ok(outcome) => {
            if let Ok(again) = record::rejudge(outcome) {
                record::json(&again.outcome).expect("what was read can be written");
            }
            true
        }
        Err(refused) => {
            let told = format!("{refused:#}");
            assert!(!told.is_empty() && !told.contains('\n'), "{told}");
            false
        }
    }
}

#[test]
fn no_damage_ends_the_reader() {
    let tries = std::env::var("RECORDS").map_or(USUAL, |text| text.parse().expect("a number"));
    let sound = sound();
    let (mut taken, mut refused) = (0u64, 0u64);
    assert!(sound.iter().all(|text| read(text)), "a sound record is refused");
    for seed in 0..tries {
        let rng = &mut SmallRng::seed_from_u64(seed);
        let text = &sound[rng.random_range(0..sound.len())];
        let text = if rng.random_range(0..4) == 0 {
            damage_text(text, rng)
        } else {
            let mut value: Value = serde_json::from_str(text).expect("a sound record");
            (0..rng.random_range(1..4)).for_each(|_| damage(&mut value, rng));
            value.to_string()
        };
        match catch_unwind(AssertUnwindSafe(|| read(&text))) {
            Ok(true) => taken += 1,
            Ok(false) => refused += 1,
            Err(_) => {
                let kept = paths::target().join(format!("xtask/damaged-record-{seed}.json"));
                let written = std::fs::create_dir_all(paths::target().join("xtask"))
                    .and_then(|()| std::fs::write(&kept, &text));
                panic!("try {seed} ended the reader; the record: {} ({written:?})", kept.display());
            }
        }
    }
    println!("{tries} damaged records: {taken} taken and judged again, {refused} refused");
    assert!(tries < USUAL || (taken > 0 && refused > 0), "{taken} taken, {refused} refused");
}
