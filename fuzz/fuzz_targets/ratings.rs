//! Any file of ratings: taken whole or refused, and what was taken is written and read as the same.
//! Every other input gets the sum that fits, so that what lies behind that check is reached.
#![no_main]
#![allow(dead_code, reason = "only reading and writing are called here")]

#[path = "../../src/large/elo/league.rs"]
mod league;
#[path = "../../src/large/elo/saved.rs"]
mod saved;
#[path = "../../src/large/elo/sizes.rs"]
mod sizes;

use libfuzzer_sys::fuzz_target;

/// FNV-1a, as the file format names it.
fn sum(bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, step)
}

fn try_to_read(text: &[u8]) -> bool {
    match saved::read(text) {
        Ok(league) => {
            let again = saved::write(&league).expect("it fits");
            assert!(saved::read(again.bytes()) == Ok(league), "another league came back");
            true
        }
        Err(refused) => {
            assert!(!refused.to_string().is_empty());
            false
        }
    }
}

fuzz_target!(|data: &[u8]| {
    try_to_read(data);
    let body = data.windows(6).rposition(|word| word == b"check ").map_or(data, |at| &data[..at]);
    let mut summed = body.to_vec();
    summed.extend(format!("check {:016x}\n", sum(body)).into_bytes());
    try_to_read(&summed);
});
