//! Whether what differs runs: counted in both arms, scenario by scenario; and the scenarios that this
//! chooses.
//!
//! Assumes arms whose code was compared. Promises counts that are free of start-up, and says where
//! they are lower bounds.

use super::arms::Arm;
use super::count::{self, Counter, Counts, Subject};
use super::diff::{Comparison, Places, Side};
use super::object::plain_name;
use super::process;
use super::scenario::Fitted;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// The longest that a process may take for its scenario to be chosen unasked.
const LONGEST_NS: f64 = 60e6;
/// Operations in a run of a scenario that is chosen by itself: among fewer, and longer, ones no two
/// weigh the same, so that 1 % more of them is not 1 % more work.
const LEAST_OPS: u64 = 1000;
/// How long one counting run may take. What the tests count takes two seconds, and more where others are
/// at work.
const COUNTING_LIMIT: Duration = Duration::from_secs(if cfg!(test) { 600 } else { 60 });

/// How often what differs ran, in one scenario. Pairs are (arm without, arm with).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// What counted.
    pub counter: Counter,
    /// True if the counts are lower bounds.
    pub at_least: bool,
    /// Operations of the longer run.
    pub ops: u64,
    /// Executions of the arms' own instructions in the longer run.
    pub own: (u64, u64),
    /// The same per operation, start-up left out.
    pub own_per_op: (f64, f64),
    /// Executions per operation of instructions that differ in a displacement only.
    pub moved_per_op: (f64, f64),
    /// Where: the busiest functions of the arm with the gate (or, if nothing of its own ran, of the
    /// other), with their executions in the longer run.
    pub functions: Vec<(String, u64)>,
    /// All instructions per operation, where the counter knows.
    pub instructions_per_op: Option<(f64, f64)>,
}

impl Evidence {
    /// True if an operation runs code that differs.
    pub fn exercised(&self) -> bool {
        self.own_per_op.0 + self.own_per_op.1 > 0.0
    }

    /// Executed differences per nanosecond: where a cost shows best.
    fn density(&self, fitted: &Fitted) -> f64 {
        (self.own_per_op.0 + self.own_per_op.1) / fitted.ns_per_op
    }
}

/// What is needed to count in both arms.
pub struct Counting<'a> {
    /// The arm without the gate, and the one with it.
    pub arms: (&'a Arm, &'a Arm),
    /// What differs between them.
    pub comparison: &'a Comparison,
    /// What counts.
    pub counter: Counter,
}

impl Counting<'_> {
    /// Counts in one scenario, in both arms, at two lengths; the difference is free of start-up.
    pub fn evidence(&self, fitted: &Fitted) -> Result<Evidence> {
        // A counted program is fifty times slower and no less exact for being short.
        let short = (fitted.ops / 100).clamp(1, 20_000).min(match self.counter {
            Counter::Callgrind => u64::MAX,
            Counter::Breakpoints => 300,
        });
        let long = short * 3;
        let scratch = tempfile::tempdir().context("no scratch folder")?;
        let side = |arm: &Arm, side: &Side| -> Result<Sums> {
            let runs = [short, long].map(|ops| self.sums(arm, side, fitted, ops, scratch.path()));
            let [short_run, long_run] = runs;
            Sums::slope(short_run?, long_run?)
        };
        let out = side(self.arms.0, &self.comparison.out)?;
        let with = side(self.arms.1, &self.comparison.with)?;
        let per_op = |value: fn(&Sums) -> f64| (value(&out), value(&with));
        Ok(Evidence {
            counter: self.counter,
            at_least: out.partial || with.partial,
            ops: out.ops,
            own: (out.own_total, with.own_total),
            own_per_op: per_op(|sums| sums.own),
            moved_per_op: per_op(|sums| sums.moved),
            instructions_per_op: out.instructions.zip(with.instructions),
            functions: if with.own_total > 0 { with.functions } else { out.functions },
        })
    }

    fn sums(
        &self,
        arm: &Arm,
        side: &Side,
        fitted: &Fitted,
        ops: u64,
        scratch: &Path,
    ) -> Result<Sums> {
        let own = places(arm, &side.own);
        let moved = places(arm, &side.moved);
        let places = own.union(&moved).copied().collect();
        let subject = Subject {
            program: &arm.program,
            functions: &arm.functions,
            places,
            variables: &arm.variables,
        };
        let counts = count::count(
            self.counter,
            &subject,
            &fitted.arguments(ops, 0),
            COUNTING_LIMIT,
            scratch,
        )?;
        let sum = |places: &BTreeSet<u64>, counts: &Counts| {
            places.iter().map(|place| counts.sum(*place, &[0])).sum::<u64>()
        };
        let printed: Option<process::Printed> = serde_json::from_str(counts.printed.trim()).ok();
        let mut functions: Vec<(String, u64)> = side
            .own
            .iter()
            .filter_map(|(symbol, offsets)| {
                let executed = counts.sum(*arm.functions.get(symbol)?, offsets);
                (executed > 0).then(|| (plain_name(symbol), executed))
            })
            .collect();
        functions.sort_by_key(|(_, executed)| std::cmp::Reverse(*executed));
        Ok(Sums {
            functions,
            ops: printed.map_or(0, |printed| printed.ops),
            own_total: sum(&own, &counts),
            own: sum(&own, &counts) as f64,
            moved: sum(&moved, &counts) as f64,
            instructions: counts.total.map(|total| total as f64),
            partial: counts.partial,
        })
    }
}

/// Executions in one run, or per operation.
struct Sums {
    /// The functions whose own instructions ran, the busiest first.
    functions: Vec<(String, u64)>,
    ops: u64,
    own_total: u64,
    own: f64,
    moved: f64,
    instructions: Option<f64>,
    partial: bool,
}

impl Sums {
    fn slope(short: Sums, long: Sums) -> Result<Sums> {
        if long.ops <= short.ops {
            bail!("counting did not end within {} s", COUNTING_LIMIT.as_secs());
        }
        let ops = (long.ops - short.ops) as f64;
        // The warm-up before the timed part does a tenth more.
        let per_op = |short: f64, long: f64| (long - short) / (ops * 1.1);
        Ok(Sums {
            functions: long.functions,
            ops: long.ops,
            own_total: long.own_total,
            own: per_op(short.own, long.own),
            moved: per_op(short.moved, long.moved),
            instructions: short
                .instructions
                .zip(long.instructions)
                .map(|(short, long)| per_op(short, long)),
            partial: short.partial || long.partial,
        })
    }
}

/// The file addresses of a side's places.
fn places(arm: &Arm, places: &Places) -> BTreeSet<u64> {
    let placed =
        places.iter().filter_map(|(symbol, offsets)| Some((arm.functions.get(symbol)?, offsets)));
    placed.flat_map(|(start, offsets)| offsets.iter().map(move |offset| start + offset)).collect()
}

/// A scenario with what was counted in it; an error where nothing could be.
pub type Looked = (Fitted, Result<Evidence>);

/// Counts in each scenario, two at a time: counting is exact whatever else runs. After Ctrl-C the
/// rest is left out.
pub fn look(
    fitted: Vec<Fitted>,
    counting: &Counting<'_>,
    done: impl Fn(&str) + Sync,
) -> Vec<Looked> {
    let next = std::sync::Mutex::new(fitted.into_iter().enumerate());
    let found = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((place, fitted)) = next.lock().expect("no panic").next() else {
                        return;
                    };
                    if process::interrupted() {
                        return;
                    }
                    let evidence = counting.evidence(&fitted);
                    done(&fitted.name);
                    found.lock().expect("no panic").push((place, (fitted, evidence)));
                }
            });
        }
    });
    let mut found = found.into_inner().expect("no panic");
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, looked)| looked).collect()
}

/// The scenarios in which a difference would show best, at most `most`.
pub fn choose(looked: Vec<Looked>, most: usize) -> Vec<Looked> {
    let weight = |(fitted, evidence): &Looked| {
        evidence.as_ref().map_or(0.0, |evidence| evidence.density(fitted))
    };
    let mut fit: Vec<Looked> = looked
        .into_iter()
        .filter(|(fitted, evidence)| {
            let even = fitted.ops >= LEAST_OPS && fitted.work_ns() < LONGEST_NS;
            even && evidence.as_ref().is_ok_and(Evidence::exercised)
        })
        .collect();
    fit.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    fit.truncate(most);
    fit
}

#[cfg(test)]
mod tests {
    use super::super::diff;
    use super::super::fixture::Fixture;
    use super::*;

    fn fitted(name: &str) -> Fitted {
        Fitted {
            name: name.to_owned(),
            unit: "operation".to_owned(),
            threaded: false,
            ops: 100_000,
            ns_per_op: 1.0,
            turns: 0,
        }
    }

    /// What is counted in one scenario of one case of the fixture; `None` where both arms are the
    /// same code, so that nothing is counted.
    fn evidence(case: &'static str, name: &str, counter: Counter) -> Option<Evidence> {
        let fixture = Fixture::new(case);
        let arms = (Arm::of(fixture.arm(false)), Arm::of(fixture.arm(true)));
        let comparison = diff::compare(&arms.0.code, &arms.1.code);
        if comparison.same() {
            return None;
        }
        let counting = Counting { arms: (&arms.0, &arms.1), comparison: &comparison, counter };
        Some(counting.evidence(&fitted(name)).unwrap())
    }

    /// Same code, code that is never run, code that is run a known number of times.
    fn known_cases(counter: Counter) {
        assert!(evidence("same", "work", counter).is_none());

        let idle = evidence("used", "idle", counter).unwrap();
        assert!(!idle.exercised() && !idle.at_least, "{idle:?}");
        assert_eq!((idle.own, idle.own_per_op), ((0, 0), (0.0, 0.0)));

        let work = evidence("used", "work", counter).unwrap();
        assert!(work.exercised() && !work.at_least, "{work:?}");
        assert_eq!(work.own_per_op.0, 0.0, "{work:?}");
        // The program has no warm-up, which the scenarios' tenth more would be.
        let added = work.own_per_op.1 * 1.1;
        assert!((1.0..=3.0).contains(&added), "{work:?}");
        assert!((added - added.round()).abs() < 1e-9, "a whole number per operation: {work:?}");
        assert_eq!(work.own.1, work.ops * added.round() as u64, "each of them: {work:?}");
        assert_eq!(work.functions[0].0, "program::operation");

        let cold = evidence("cold", "work", counter).unwrap();
        let ran: Vec<&str> = cold.functions.iter().map(|(name, _)| name.as_str()).collect();
        assert!(cold.exercised() && !ran.contains(&"program::never"), "{ran:?}");
    }

    #[test]
    fn breakpoints_prove_the_known_cases() {
        known_cases(Counter::Breakpoints);
    }

    #[test]
    fn callgrind_proves_the_known_cases() {
        if Counter::pick() != Counter::Callgrind {
            eprintln!("skipped: valgrind is not installed (apt-get install valgrind)");
            return;
        }
        known_cases(Counter::Callgrind);
    }
}
