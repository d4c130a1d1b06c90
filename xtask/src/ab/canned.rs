//! Measurements made up from a seed, for the tests of everything that comes after the measuring.

use super::measure::Block;
use super::outcome::Timed;
use super::scenario::Fitted;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// `count` blocks in which the second arm takes `effect` per cent longer, give or take the noise of
/// a layout.
pub fn blocks(seed: u64, count: usize, effect: f64) -> Vec<Block> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let block = |layout: usize| {
        let mut noise = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() * 0.3 - 1.8;
        let mut time = |effect: f64| {
            let ns = 14e6 * ((effect + noise()) / 100.0).exp();
            [ns as u64, (ns * 1.001) as u64]
        };
        Block {
            layout,
            seed: layout as u32 * 7 + 1,
            control_seed: layout as u32 * 7 + 3_000_000_000,
            order: "owcsscwo".to_owned(),
            padding: layout % 4096,
            out: time(0.0),
            with: time(effect),
            control: time(0.0),
            slow: time(0.995),
            cpu: None,
            peak_kib: (2304, 2308),
            rss_kib: (2300, 2304),
            stolen_ms: 0,
            preempted: 17,
            off_processor: 0.0123,
            load: 0.52,
            dropped: None,
        }
    };
    (0..count).map(block).collect()
}

/// A scenario for each of `effects`, with so many layouts, not judged yet.
pub fn timed(layouts: usize, effects: &[f64]) -> Vec<Timed> {
    let scenario = |(at, effect): (usize, &f64)| {
        let fitted = Fitted {
            name: format!("scenario-{at}"),
            unit: "block".to_owned(),
            threaded: false,
            ops: 1_000_000,
            ns_per_op: 14.0,
        };
        let blocks = blocks(at as u64 + 1, layouts, *effect);
        Timed { blocks, ..Timed::new(fitted, None) }
    };
    effects.iter().enumerate().map(scenario).collect()
}
