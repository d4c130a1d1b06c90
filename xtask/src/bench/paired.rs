//! Builds timed side by side: every scenario on each of them in every repetition, so that times can be
//! compared repetition by repetition.

use super::counts::{self, Simulate};
use super::peers::Allocator;
use super::process::Runner;
use super::task::Task;
use crate::shared::term;
use anyhow::{Context, Result};
use rand::seq::SliceRandom;
use serde::Serialize;
use xtask_stats::{Interval, resample, robust};

/// What the scenarios said of one build.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Timed {
    /// Nanoseconds of processor time an operation: per scenario, per repetition.
    pub times: Vec<Vec<f64>>,
    /// Instructions of one operation of the first scenario, its own included.
    pub instructions: Option<f64>,
    /// Misses of a simulated first-level data cache of one operation of it.
    pub misses: Option<f64>,
    /// Branches of it that a simulated processor predicts wrongly.
    pub mispredicted: Option<f64>,
}

impl Timed {
    /// Nanoseconds of an operation of a scenario, of the median repetition.
    pub fn median(&self, scenario: usize) -> f64 {
        robust::median(&self.times[scenario])
    }

    /// Millions of operations a second of a scenario, by the median repetition.
    pub fn rate(&self, scenario: usize) -> f64 {
        1e3 / self.median(scenario)
    }

    /// Time in units of another's, repetition by repetition: the median, and its 90 % interval.
    pub fn against(&self, other: &Timed, scenario: usize) -> (f64, Option<Interval>) {
        let pairs = self.times[scenario].iter().zip(&other.times[scenario]);
        let ratios: Vec<f64> = pairs.map(|(ours, theirs)| ours / theirs).collect();
        (robust::median(&ratios), resample::interval(&[ratios], 0.1))
    }

    /// The same as a cell: the ratio and its interval.
    pub fn ratio(&self, other: &Timed, scenario: usize) -> String {
        match self.against(other, scenario) {
            (ratio, Some(limits)) => format!("{ratio:.2} [{:.2}, {:.2}]", limits.low, limits.high),
            (ratio, None) => format!("{ratio:.2}"),
        }
    }
}

/// The scenarios of these names.
pub fn tasks(runner: &Runner, names: &[&str]) -> Result<Vec<Task>> {
    let known = runner.scenarios()?;
    let task = |name: &&str| {
        let found = known.iter().find(|scenario| scenario.name == *name);
        found.map(Task::scenario).with_context(|| format!("there is no scenario `{name}`"))
    };
    names.iter().map(task).collect()
}

/// Counts the first scenario on every build, under valgrind. What cannot be counted there stays
/// without.
pub fn count(
    runner: &Runner,
    task: &Task,
    all: &mut [&mut Timed],
    allocators: &[Allocator],
) -> Result<()> {
    let bar = term::progress("Counting", allocators.len() as u64);
    for (timed, allocator) in all.iter_mut().zip(allocators) {
        let counts = counts::per_operation(runner, task, allocator, Simulate::CacheAndBranches)?;
        timed.instructions = Some(counts.instructions);
        (timed.misses, timed.mispredicted) = (counts.misses, counts.mispredicted);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Every scenario on every build, in a new order in each repetition.
pub fn time(
    runner: &Runner,
    tasks: &[Task],
    all: &mut [&mut Timed],
    allocators: &[Allocator],
    runs: usize,
) -> Result<()> {
    all.iter_mut().for_each(|timed| timed.times = vec![Vec::new(); tasks.len()]);
    let bar = term::progress("Timing", (runs * tasks.len() * allocators.len()) as u64);
    let mut order: Vec<usize> = (0..allocators.len()).collect();
    for _ in 0..runs {
        for (at, task) in tasks.iter().enumerate() {
            bar.set_message(task.name.clone());
            order.shuffle(&mut rand::rng());
            for which in &order {
                let sample = runner.run(task, &allocators[*which])?;
                all[*which].times[at].push(sample.cpu_ns as f64 / sample.ops as f64);
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    Ok(())
}
