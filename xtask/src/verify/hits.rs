//! How often each site runs in each scenario.
//!
//! A scenario is run at two lengths; the difference, divided by the operations between them, is free
//! of start-up. A copy of a site is passed as often as its busiest instruction runs; a site's hits are
//! those of all its copies.

use super::sites::Site;
use crate::ab::count::{self, Counter, Subject};
use crate::ab::process::{self, Variable};
use crate::ab::scenario::Scenario;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// The longest that one run may take; a counted program is fifty times slower. What the tests count takes
/// two seconds, and more where others are at work.
const LIMIT: Duration = Duration::from_secs(if cfg!(test) { 600 } else { 60 });
/// A scenario's operations that are a thousandth of what it does in a second.
const SHARE: u64 = 1000;
/// The most that breakpoints, a thousand times slower still, can stand; enough that a warm-up of a
/// tenth is longer than the batches of any scenario.
const WITH_BREAKPOINTS: u64 = 1000;

/// One site in one scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Hits {
    /// Per operation, start-up left out.
    pub per_operation: f64,
    /// Of the longer run, start-up included.
    pub total: u64,
}

/// One scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub scenario: String,
    /// What one operation is.
    pub unit: String,
    /// Operations of the longer run.
    pub operations: u64,
    /// Whether the counts are lower bounds.
    pub at_least: bool,
    /// Site by site; empty if nothing could be counted.
    pub hits: Vec<Hits>,
    /// Why nothing could be counted.
    pub failed: Option<String>,
}

/// The program to count in.
pub struct Target<'a> {
    /// The file.
    pub program: &'a Path,
    /// Its functions, by symbol.
    pub functions: &'a BTreeMap<String, u64>,
    /// The heap's settings.
    pub variables: &'a [Variable],
}

/// Counts in each scenario, two at a time: counting is exact whatever else runs.
pub fn count(
    arm: &Target<'_>,
    sites: &[Site],
    scenarios: &[Scenario],
    counter: Counter,
    done: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Row>> {
    let next = Mutex::new(scenarios.iter().enumerate());
    let rows = Mutex::new(Vec::new());
    let work = || -> Result<()> {
        let scratch = tempfile::tempdir().context("no scratch folder")?;
        loop {
            let Some((place, scenario)) = next.lock().expect("no panic").next() else {
                return Ok(());
            };
            if process::interrupted() {
                return Ok(());
            }
            let row = row(arm, sites, scenario, counter, scratch.path());
            done(&scenario.name);
            rows.lock().expect("no panic").push((place, row));
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let here = work();
        other.join().expect("no panic").and(here)
    })?;
    let mut rows = rows.into_inner().expect("no panic");
    rows.sort_by_key(|(place, _)| *place);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn row(
    arm: &Target<'_>,
    sites: &[Site],
    scenario: &Scenario,
    counter: Counter,
    scratch: &Path,
) -> Row {
    let mut row = Row {
        scenario: scenario.name.clone(),
        unit: scenario.unit.clone(),
        operations: 0,
        at_least: false,
        hits: Vec::new(),
        failed: None,
    };
    let outcome =
        run(arm, sites, scenario, counter, short(scenario, counter), scratch).and_then(|one| {
            let three = run(arm, sites, scenario, counter, 3 * one.operations, scratch)?;
            slope(&one, &three).map(|hits| (hits, three))
        });
    match outcome {
        Ok((hits, long)) => {
            (row.hits, row.operations, row.at_least) = (hits, long.operations, long.partial);
        }
        Err(error) => row.failed = Some(format!("{error:#}")),
    }
    row
}

/// Operations of the shorter run. A multiple of ten: the warm-up is a tenth more.
fn short(scenario: &Scenario, counter: Counter) -> u64 {
    let most = if counter == Counter::Callgrind { 20_000 } else { WITH_BREAKPOINTS };
    // The program's figure is for a tenth of a second.
    (scenario.ops * 10 / SHARE / 10 * 10).clamp(10, most)
}

/// One run: operations, and executions site by site.
#[derive(Debug)]
struct Run {
    operations: u64,
    executed: Vec<u64>,
    partial: bool,
}

fn run(
    arm: &Target<'_>,
    sites: &[Site],
    scenario: &Scenario,
    counter: Counter,
    operations: u64,
    scratch: &Path,
) -> Result<Run> {
    let copies: Vec<Vec<Vec<u64>>> = sites.iter().map(|site| addresses(arm, site)).collect();
    let places: BTreeSet<u64> = copies.iter().flatten().flatten().copied().collect();
    let Target { program, functions, variables } = *arm;
    let subject = Subject { program, functions, places, variables };
    let arguments =
        ["--scenario", &scenario.name, "--ops", &operations.to_string()].map(str::to_owned);
    let counts = count::count(counter, &subject, &arguments, LIMIT, scratch)?;
    let busiest = |copy: &Vec<u64>| copy.iter().map(|at| counts.sum(*at, &[0])).max().unwrap_or(0);
    let printed: serde_json::Value = serde_json::from_str(counts.printed.trim())
        .with_context(|| format!("the run did not end within {} s", LIMIT.as_secs()))?;
    Ok(Run {
        operations: printed["ops"].as_u64().unwrap_or(0),
        executed: copies.iter().map(|copies| copies.iter().map(busiest).sum()).collect(),
        partial: counts.partial,
    })
}

/// The addresses of a site's instructions, copy by copy.
fn addresses(arm: &Target<'_>, site: &Site) -> Vec<Vec<u64>> {
    let copies = site
        .copies
        .iter()
        .filter_map(|(copy, offsets)| Some((arm.functions.get(&copy.symbol)?, offsets)));
    copies.map(|(start, offsets)| offsets.iter().map(|offset| start + offset).collect()).collect()
}

/// Executions per operation from two runs.
fn slope(short: &Run, long: &Run) -> Result<Vec<Hits>> {
    if long.operations <= short.operations {
        bail!("both runs did {} operations, so start-up can't be told from work", short.operations);
    }
    // The warm-up before the timed part does a tenth more.
    let operations = ((long.operations - short.operations) * 11) as f64 / 10.0;
    Ok(short
        .executed
        .iter()
        .zip(&long.executed)
        .map(|(short, long)| Hits {
            per_operation: (*long as f64 - *short as f64).max(0.0) / operations,
            total: *long,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::super::sites;
    use super::*;
    use crate::ab::fixture::Fixture;
    use crate::ab::{diff, link};

    /// The hits per operation of all that `case` adds to the fixture, in a scenario of it.
    fn known(counter: Counter, case: &'static str, name: &str) -> Vec<(String, Hits)> {
        let fixture = Fixture::new(case);
        let (out, with) = (fixture.arm(false), fixture.arm(true));
        let comparison = diff::compare(&out.code, &with.code);
        let sites = sites::group(&comparison.with.own, false, |_, _| Vec::new());
        let program = fixture.folder().join("counted");
        with.linker.link(&program, None).unwrap();
        let functions = link::addresses(&program).unwrap();
        let target = Target { program: &program, functions: &functions, variables: &[] };
        let rows = count(&target, &sites, &[scenario(name, 10_000)], counter, &|_| ()).unwrap();
        assert_eq!(rows[0].failed, None);
        assert_eq!(rows[0].operations, 300);
        sites.into_iter().map(|site| site.source).zip(rows[0].hits.clone()).collect()
    }

    fn known_cases(counter: Counter) {
        assert_eq!(known(counter, "same", "work"), []);
        // The fixture has no warm-up, so 300 operations count as 330.
        let hits = known(counter, "used", "work");
        assert_eq!(hits[0].0, "program::operation");
        assert!((hits[0].1.per_operation - 1.0 / 1.1).abs() < 0.001, "{hits:?}");
        assert_eq!(known(counter, "used", "idle")[0].1, Hits::default());
        let hits = known(counter, "cold", "work");
        let of = |part: &str| hits.iter().find(|(name, _)| name.contains(part)).unwrap().1;
        assert_eq!(of("never"), Hits::default());
        assert!(of("operation").per_operation > 0.5, "the test for it runs each time: {hits:?}");
    }

    #[test]
    fn breakpoints_count_the_known_cases() {
        known_cases(Counter::Breakpoints);
    }

    #[test]
    fn callgrind_counts_the_known_cases() {
        if Counter::pick() != Counter::Callgrind {
            eprintln!("skipped: valgrind is not installed (apt-get install valgrind)");
            return;
        }
        known_cases(Counter::Callgrind);
    }

    fn ran(operations: u64, executed: &[u64]) -> Run {
        Run { operations, executed: executed.to_vec(), partial: false }
    }

    #[test]
    fn start_up_is_not_counted_as_work() {
        // 7 at the start and one per operation, the warm-up's tenth included; start-up alone; never.
        let hits = slope(&ran(100, &[117, 5, 0]), &ran(300, &[337, 5, 0])).unwrap();
        assert_eq!(hits[0], Hits { per_operation: 1.0, total: 337 });
        assert_eq!(hits[1], Hits { per_operation: 0.0, total: 5 });
        assert_eq!(hits[2], Hits::default());
    }

    #[test]
    fn two_runs_of_one_length_say_nothing() {
        let error = slope(&ran(10, &[1]), &ran(10, &[2])).unwrap_err().to_string();
        assert!(error.contains("both runs did 10 operations"), "{error}");
    }

    #[test]
    fn a_run_is_short_and_its_warm_up_a_whole_number() {
        let scenario = |ops| scenario("", ops);
        assert_eq!(short(&scenario(1), Counter::Callgrind), 10);
        assert_eq!(short(&scenario(123_456), Counter::Callgrind), 1230);
        assert_eq!(short(&scenario(123_456), Counter::Breakpoints), WITH_BREAKPOINTS);
        assert_eq!(short(&scenario(1 << 40), Counter::Callgrind), 20_000);
    }

    fn scenario(name: &str, ops: u64) -> Scenario {
        let (name, unit) = (name.to_owned(), "step".to_owned());
        Scenario { name, unit, ops, threaded: false, settle_ms: 0, resumes: false }
    }
}
