//! Instructions, first-level cache misses and mispredicted branches per operation, counted by valgrind.
//!
//! Each scenario runs with one and with two parts of work; start-up, set-up and exit fall out of
//! the difference. The count includes the scenario's own instructions, the same for everyone. The
//! cache is simulated as this machine's is; misses are of data, reads and writes together.
//! Scenarios with threads are left out: how often they spin is no property of the allocator.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};

use super::STOP;
use super::peers::Allocator;
use super::process::{Runner, preload};
use super::results::{Metric, Results, Row};
use super::task::{Family, Task, Work};
use crate::shared::{command, paths, term};

/// The part of a run's operations that is counted: valgrind is some fifty times slower.
const PART: u64 = 40;

/// What valgrind simulates beside counting instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simulate {
    /// Nothing.
    Nothing,
    /// The first-level data cache.
    Cache,
    /// That, and what predicts branches.
    CacheAndBranches,
}

/// Counts of one operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counts {
    /// Instructions.
    pub instructions: f64,
    /// Misses of the cache, where it was simulated.
    pub misses: Option<f64>,
    /// Branches that were predicted wrongly, where that was simulated.
    pub mispredicted: Option<f64>,
}

/// The totals of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Totals {
    instructions: u64,
    misses: Option<u64>,
    mispredicted: Option<u64>,
}

/// Fills in the counts of every cell, with the cache simulated or not; where valgrind is missing,
/// says how to get it.
pub fn count(runner: &Runner, results: &mut Results, cache: bool) {
    if paths::which("valgrind").is_none() {
        term::note("no counts: valgrind is missing; `apt-get install valgrind`");
        return;
    }
    let able = |row: &&mut Row| {
        row.task.family() == Family::Scenarios && !row.task.threaded && row.covers(Metric::Time)
    };
    let rows: Vec<_> = results.rows.iter_mut().filter(able).collect();
    let bar = term::progress("Counting", (rows.len() * results.allocators.len()) as u64);
    // An allocator that valgrind cannot start is named once.
    let mut refused = vec![false; results.allocators.len()];
    for row in rows {
        bar.set_message(row.task.name.clone());
        for (at, allocator) in results.allocators.iter().enumerate() {
            if STOP.load(Ordering::Relaxed) {
                bar.finish_and_clear();
                return;
            }
            bar.inc(1);
            if refused[at] {
                continue;
            }
            let simulate = if cache { Simulate::Cache } else { Simulate::Nothing };
            match per_operation(runner, &row.task, allocator, simulate) {
                Ok(counts) => {
                    row.cells[at].instructions = Some(counts.instructions);
                    row.cells[at].misses = counts.misses;
                }
                Err(error) => {
                    refused[at] = true;
                    let error = error.to_string();
                    let reason = error.lines().find(|line| !line.starts_with("==")).unwrap_or("");
                    bar.suspend(|| {
                        term::note(format!(
                            "no counts for {} under valgrind: {reason}",
                            allocator.name
                        ));
                    });
                }
            }
        }
    }
    bar.finish_and_clear();
}

/// Instructions of one operation of a scenario on an allocator.
pub fn instructions_per_operation(
    runner: &Runner,
    task: &Task,
    allocator: &Allocator,
) -> Result<f64> {
    per_operation(runner, task, allocator, Simulate::Nothing).map(|counts| counts.instructions)
}

/// Counts of one operation of a scenario on an allocator.
pub fn per_operation(
    runner: &Runner,
    task: &Task,
    allocator: &Allocator,
    simulate: Simulate,
) -> Result<Counts> {
    let ops = part(task);
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let file = folder.path().join("counts");
    let one = totals(runner, task, ops, allocator, simulate, &file)?;
    let two = totals(runner, task, ops * 2, allocator, simulate, &file)?;
    let slope = |one: u64, two: u64| (two as f64 - one as f64) / (ops + ops / 10) as f64;
    let part = |one: Option<u64>, two: Option<u64>| {
        one.zip(two).map(|(one, two)| slope(one, two).max(0.0))
    };
    Ok(Counts {
        instructions: slope(one.instructions, two.instructions),
        misses: part(one.misses, two.misses),
        mispredicted: part(one.mispredicted, two.mispredicted),
    })
}

/// One part of a task's operations, rounded so that the warm-up, a tenth, doubles exactly too.
pub fn part(task: &Task) -> u64 {
    match task.ops {
        ops @ ..10_000 => (ops / 4).div_ceil(10).max(1) * 10,
        ops => (ops / PART).div_ceil(1000).max(1) * 1000,
    }
}

fn totals(
    runner: &Runner,
    task: &Task,
    ops: u64,
    allocator: &Allocator,
    simulate: Simulate,
    file: &Path,
) -> Result<Totals> {
    let Work::Scenario(arguments) = &task.work else {
        anyhow::bail!("{} is no scenario", task.name);
    };
    let mut run = Command::new("valgrind");
    let (cache, branches) = match simulate {
        Simulate::Nothing => ("no", "no"),
        Simulate::Cache => ("yes", "no"),
        Simulate::CacheAndBranches => ("yes", "yes"),
    };
    run.arg("--tool=cachegrind").arg(format!("--cache-sim={cache}"));
    run.arg(format!("--branch-sim={branches}"));
    run.arg(format!("--cachegrind-out-file={}", file.display()));
    run.arg(runner.program(allocator)).args(arguments).args(["--ops", &ops.to_string()]);
    preload(&mut run, allocator);
    command::output(&mut run)?;
    let text = std::fs::read_to_string(file).context("valgrind left no counts")?;
    parse(&text).context("valgrind's counts have no summary line")
}

/// The totals in cachegrind's `events:` and `summary:` lines.
fn parse(text: &str) -> Option<Totals> {
    let line = |name| text.lines().find_map(|line: &str| line.strip_prefix(name));
    let names: Vec<&str> = line("events:")?.split_whitespace().collect();
    let values: Vec<u64> =
        line("summary:")?.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let value = |name| values.get(names.iter().position(|found| *found == name)?).copied();
    let sum = |one, other| value(one).zip(value(other)).map(|(one, other)| one + other);
    Some(Totals {
        instructions: value("Ir")?,
        misses: sum("D1mr", "D1mw"),
        mispredicted: sum("Bcm", "Bim"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_read() {
        let plain = parse("events: Ir\nfn=a\n1 2\nsummary: 12345\n").unwrap();
        assert_eq!(plain, Totals { instructions: 12345, misses: None, mispredicted: None });
        let cache = "desc: D1 cache: 32768 B\nevents: Ir I1mr ILmr Dr D1mr DLmr Dw D1mw DLmw\n\
                     summary: 1000 1 2 300 40 5 600 70 8\n";
        let found = parse(cache).unwrap();
        assert_eq!((found.instructions, found.misses), (1000, Some(110)));
        let branches = "events: Ir Bc Bcm Bi Bim\nsummary: 1000 100 7 10 2\n";
        assert_eq!(parse(branches).unwrap().mispredicted, Some(9));
        assert_eq!(parse("events: Ir\n"), None);
        assert_eq!(parse("events: Ir\nsummary: x\n"), None);
    }
}
