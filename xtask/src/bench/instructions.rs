//! Instructions per operation, counted by valgrind.
//!
//! Each scenario runs with one and with two parts of work; start-up, set-up and exit fall out of
//! the difference. The count includes the scenario's own instructions, the same for everyone.
//! Scenarios with threads are left out: how often they spin is no property of the allocator.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::STOP;
use super::peers::Allocator;
use super::process::{Program, Scenario, preload};
use super::results::Results;
use crate::shared::{command, paths, term};

/// The part of a run's operations that is counted: valgrind is some fifty times slower.
const PART: u64 = 40;

/// Fills in the instructions of every cell; where valgrind is missing, says how to get it.
pub fn count(program: &Program, results: &mut Results) {
    if paths::which("valgrind").is_none() {
        term::note("no instruction counts: valgrind is missing; `apt-get install valgrind`");
        return;
    }
    let rows = results.rows.iter_mut().filter(|row| !row.scenario.threaded && row.scenario.timed());
    let rows: Vec<_> = rows.collect();
    let bar = term::progress("Counting", (rows.len() * results.allocators.len()) as u64);
    // An allocator that valgrind cannot start is named once.
    let mut refused = vec![false; results.allocators.len()];
    for row in rows {
        bar.set_message(row.scenario.name.clone());
        for (at, allocator) in results.allocators.iter().enumerate() {
            if STOP.load(std::sync::atomic::Ordering::Relaxed) {
                bar.finish_and_clear();
                return;
            }
            bar.inc(1);
            if refused[at] {
                continue;
            }
            match per_operation(program, &row.scenario, allocator) {
                Ok(instructions) => row.cells[at].instructions = Some(instructions),
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
pub fn per_operation(program: &Program, scenario: &Scenario, allocator: &Allocator) -> Result<f64> {
    // Rounded so that the warm-up, a tenth, doubles exactly too.
    let ops = (scenario.ops / PART).div_ceil(1000).max(1) * 1000;
    let ops = if scenario.ops < 10_000 { (scenario.ops / 4).div_ceil(10).max(1) * 10 } else { ops };
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let one = total(program.path(), &scenario.name, ops, allocator, folder.path())?;
    let two = total(program.path(), &scenario.name, ops * 2, allocator, folder.path())?;
    Ok((two as f64 - one as f64) / (ops + ops / 10) as f64)
}

fn total(
    program: &Path,
    name: &str,
    ops: u64,
    allocator: &Allocator,
    folder: &Path,
) -> Result<u64> {
    let file = folder.join("counts");
    let mut run = Command::new("valgrind");
    run.args(["--tool=cachegrind", "--cache-sim=no"]);
    run.arg(format!("--cachegrind-out-file={}", file.display()));
    run.arg(program).args(["--scenario", name, "--ops", &ops.to_string()]);
    preload(&mut run, allocator);
    command::output(&mut run)?;
    let text = std::fs::read_to_string(&file).context("valgrind left no counts")?;
    parse(&text).context("valgrind's counts have no summary line")
}

/// The total in cachegrind's `summary:` line.
fn parse(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("summary:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_summary_is_read() {
        assert_eq!(super::parse("events: Ir\nfn=a\n1 2\nsummary: 12345\n"), Some(12345));
        assert_eq!(super::parse("events: Ir\n"), None);
    }
}
