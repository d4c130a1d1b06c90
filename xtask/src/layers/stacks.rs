//! What was measured of each stack of layers, and the figures derived from it.

use crate::ab::outcome::Machine;
use crate::bench::paired::Timed;
use serde::Serialize;

/// Version of the JSON form.
pub const SCHEMA: u32 = 2;

/// All stacks that were measured.
#[derive(Clone, Debug, Serialize)]
pub struct Stacks {
    /// Version of this form.
    pub schema: u32,
    /// Where, when and at which commit.
    pub machine: Machine,
    /// The scenarios that were timed; the first is the one that was counted.
    pub scenarios: Vec<String>,
    /// The layers in the order in which they were added.
    pub layers: Vec<String>,
    /// Each layer alone with the unified cache, instead of one on top of the other.
    pub alone: bool,
    /// From few layers to many, or in the order of the layers; the first is the unified cache alone.
    pub stacks: Vec<Stack>,
    /// The C library's heap, timed in the same repetitions.
    pub system: Timed,
    /// Evidence that could not be had, and how to get it.
    pub missing: Vec<String>,
}

/// One build.
#[derive(Clone, Debug, Serialize)]
pub struct Stack {
    /// Layers, the unified cache included.
    pub depth: usize,
    /// The layer that came last.
    pub added: Option<String>,
    /// Bytes of code of the library.
    pub text: u64,
    /// Bytes of `malloc`, `free` and their C++ forms, without what they call.
    pub fast_paths: u64,
    /// Instructions of one `malloc` of 64 bytes, single-stepped.
    pub malloc: u64,
    /// Instructions of one `free`.
    pub free: u64,
    /// Times and counts of the scenarios.
    #[serde(flatten)]
    pub timed: Timed,
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Three stacks, each with more of everything.
    pub fn sample() -> Stacks {
        let timed = |by: f64| Timed {
            times: vec![vec![4.0 * by, 4.4 * by, 4.2 * by], vec![2.0 * by, 2.2 * by, 2.1 * by]],
            instructions: Some(60.0 * by),
            misses: Some(0.2 * by),
            mispredicted: Some(0.3 * by),
        };
        let stack = |depth: usize| Stack {
            depth,
            added: depth.checked_sub(2).map(|at| format!("layer-{}", at + 1)),
            text: 100_000 + 1_000 * depth as u64,
            fast_paths: 200 * depth as u64,
            malloc: 11 + depth as u64,
            free: 13 + depth as u64,
            timed: timed(1.0 + 0.1 * (depth - 1) as f64),
        };
        Stacks {
            schema: SCHEMA,
            machine: Machine::here(),
            scenarios: vec!["random-mixed-400".into(), "json".into()],
            alone: false,
            layers: (1..11).map(|at| format!("layer-{at}")).collect(),
            stacks: vec![stack(1), stack(3), stack(11)],
            system: timed(3.0),
            missing: Vec::new(),
        }
    }

    /// Two layers alone, the first of which costs more.
    pub fn alone() -> Stacks {
        let mut sample = sample();
        let one = |at: usize, layer: &str| {
            let stack = sample.stacks[at].clone();
            Stack { depth: 2, added: Some(layer.to_owned()), ..stack }
        };
        let (costly, cheap) = (one(2, "ring"), one(1, "slot"));
        sample.stacks.truncate(1);
        sample.stacks.extend([costly, cheap]);
        Stacks { alone: true, layers: vec!["ring".into(), "slot".into()], ..sample }
    }

    #[test]
    fn ratios_are_paired() {
        let sample = sample();
        let (ratio, interval) = sample.stacks[2].timed.against(&sample.stacks[0].timed, 0);
        assert!((ratio - 2.0).abs() < 1e-9, "{ratio}");
        assert!(interval.is_some_and(|interval| interval.holds(2.0)));
        assert!((sample.stacks[0].timed.rate(0) - 1e3 / 4.2).abs() < 1e-9);
    }
}
