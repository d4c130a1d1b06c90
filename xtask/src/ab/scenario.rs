//! The scenarios of an experiment: which there are, and how many operations fill a process.
//!
//! Assumes a program that describes itself and prints what it did. Promises a fit for scenarios only
//! in which both arms were seen to do the same work. Which of them reach the gate's code: `evidence`.

use super::process::{self, Conditions};
use crate::shared::{command, registry};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;

/// How long the measured part of one process should take. Many short processes beat few long ones.
const WORK_NS: f64 = 14e6;

/// How many turns a program has that does half of that work, a millisecond each. Shorter, and more of the
/// time would go into bringing back to the caches what the other programs drove out; longer, and what
/// disturbs a shared machine would no longer disturb them all alike (`docs/ab.md`).
const TURNS: u64 = 8;

/// Fewer operations are not cut into turns.
const FEWEST_OPS: u64 = 400;

/// One scenario as the program describes it.
#[derive(Clone, Debug, Deserialize)]
pub struct Scenario {
    /// What `--scenario` takes.
    pub name: String,
    /// What one operation is.
    pub unit: String,
    /// Operations that take about a tenth of a second on some machine.
    pub ops: u64,
    /// True if it runs threads.
    pub threaded: bool,
    /// Not 0 if its point is what happens afterwards.
    pub settle_ms: u64,
    /// Whether it can be done in turns; older programs can't.
    #[serde(default)]
    pub resumes: bool,
}

/// A scenario fitted to this machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fitted {
    /// Its name.
    pub name: String,
    /// What one operation is.
    pub unit: String,
    /// True if it runs threads: judged by wall time instead of processor time.
    pub threaded: bool,
    /// Operations of one run: of one process, or, in turns, of two.
    pub ops: u64,
    /// What one operation took when it was fitted, nanoseconds.
    pub ns_per_op: f64,
    /// In how many turns a process does half of them; 0: all of them at once.
    #[serde(default)]
    pub turns: u64,
}

impl Fitted {
    /// The program's arguments for a run.
    pub fn arguments(&self, ops: u64, slowdown_permille: u64) -> Vec<String> {
        // Always equally long: arguments lie on the stack and move it.
        let slowdown = format!("{slowdown_permille:02}");
        ["--scenario", &self.name, "--ops", &ops.to_string(), "--slowdown", &slowdown]
            .map(str::to_owned)
            .to_vec()
    }

    /// Those for a process that does half of the operations in turns.
    pub fn arguments_in_turns(&self, slowdown_permille: u64) -> Vec<String> {
        let mut arguments = self.arguments(self.ops / 2, slowdown_permille);
        arguments.extend(["--turns".to_owned(), self.turns.to_string()]);
        arguments
    }

    /// The time that the verdict is about.
    pub fn time(&self, printed: &process::Printed) -> u64 {
        if self.threaded { printed.ns } else { printed.cpu_ns }
    }

    /// How long the work of one process takes, nanoseconds.
    pub fn work_ns(&self) -> f64 {
        self.ns_per_op * self.ops as f64
    }
}

/// All scenarios of the program.
pub fn list(program: &Path) -> Result<Vec<Scenario>> {
    let text = command::stdout(Command::new(program).arg("--describe"))?;
    serde_json::from_str(&text)
        .context("the scenario program's --describe is not the expected JSON")
}

/// The scenarios called `names`, or an error that names the nearest and all.
pub fn select(all: &[Scenario], names: &[String]) -> Result<Vec<Scenario>> {
    names
        .iter()
        .map(|name| {
            if let Some(found) = all.iter().find(|scenario| &scenario.name == name) {
                return Ok(found.clone());
            }
            let known = || all.iter().map(|scenario| scenario.name.as_str());
            let near = registry::nearest(name, known())
                .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            bail!(
                "no scenario `{name}`{near} (there are: {})",
                known().collect::<Vec<_>>().join(", ")
            )
        })
        .collect()
}

/// Scenarios fit for a choice without being asked: one thread, and judged by its time.
pub fn candidates(all: &[Scenario]) -> Vec<Scenario> {
    all.iter()
        .filter(|scenario| !scenario.threaded && scenario.settle_ms == 0 && scenario.ops > 1)
        .cloned()
        .collect()
}

/// Finds how many operations make a process of the wanted length.
pub fn fit(scenario: &Scenario, program: &process::Program, processor: usize) -> Result<Fitted> {
    let mut fitted = Fitted {
        name: scenario.name.clone(),
        unit: scenario.unit.clone(),
        threaded: scenario.threaded,
        ops: (scenario.ops / 20).max(1),
        ns_per_op: 0.0,
        turns: 0,
    };
    let processor = (!scenario.threaded).then_some(processor);
    // Three rounds: the first one also warms the page cache, the last one checks the fit.
    for _ in 0..3 {
        let ran = process::run(
            program,
            &fitted.arguments(fitted.ops, 0),
            Conditions { processor, padding: 64 },
        )?;
        fitted.ns_per_op = fitted.time(&ran.printed).max(1) as f64 / ran.printed.ops.max(1) as f64;
        fitted.ops = whole_permilles((WORK_NS / fitted.ns_per_op) as u64);
    }
    if scenario.resumes && fitted.ops >= FEWEST_OPS {
        fitted.turns = TURNS;
    }
    Ok(fitted)
}

/// Fits the scenario to the first arm, once both were seen to do the same work in it.
pub fn fit_both(
    scenario: &Scenario,
    arms: (&process::Program, &process::Program),
    processor: usize,
) -> Result<Fitted> {
    let fitted = fit(scenario, arms.0, processor)?;
    let conditions =
        Conditions { processor: (!scenario.threaded).then_some(processor), padding: 64 };
    let arguments = fitted.arguments((fitted.ops / 8).max(1), 0);
    let run = |arm: &process::Program| process::run(arm, &arguments, conditions);
    let (one, two) = (run(arms.0)?.printed, run(arms.1)?.printed);
    if (one.ops, &one.checksum) != (two.ops, &two.checksum) {
        bail!(
            "scenario {} did different work in the two arms (checksum {} of {} operations, and {} of {}); \
             there is no verdict; by hand: `{}` and `{}`",
            scenario.name,
            one.checksum,
            one.ops,
            two.checksum,
            two.ops,
            arms.0.by_hand(&arguments),
            arms.1.by_hand(&arguments)
        );
    }
    Ok(fitted)
}

/// So many operations, or a few more or fewer, that the slowdowns which are injected are whole ones, also
/// of half of them: 1 % of 75 operations is none.
fn whole_permilles(ops: u64) -> u64 {
    match ops {
        0..200 => 100,
        200..FEWEST_OPS => 200,
        _ => ops / 400 * 400,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn one_per_cent_of_the_operations_is_whole() {
        for ops in [0, 1, 75, 150, 199, 200, 333, 4_131_783] {
            let whole = whole_permilles(ops);
            assert_eq!(whole * 10 % 1000, 0, "{ops}: {whole}");
            assert!(ops < FEWEST_OPS || (whole / 2 * 5).is_multiple_of(1000), "{ops}: {whole}");
            assert!(ops < 200 || (whole <= ops && ops - whole < 400), "{ops}: {whole}");
        }
    }

    fn scenario(name: &str) -> Scenario {
        Scenario {
            name: name.to_owned(),
            unit: "operation".to_owned(),
            ops: 2_000_000,
            threaded: false,
            settle_ms: 0,
            resumes: true,
        }
    }

    fn fit_case(case: &'static str) -> Result<Fitted> {
        let fixture = Fixture::new(case);
        let (out, with) = (fixture.arm(false).program, fixture.arm(true).program);
        let arms = (&process::Program::plain(&out), &process::Program::plain(&with));
        fit_both(&scenario("work"), arms, process::quiet_processor().unwrap())
    }

    #[test]
    fn a_scenario_is_fitted_once_both_arms_do_the_same() {
        let fitted = fit_case("used").unwrap();
        assert!(fitted.ops > 0 && fitted.ns_per_op > 0.0);
    }

    #[test]
    fn arms_that_do_different_work_are_named_and_get_no_verdict() {
        let told = fit_case("wrong").unwrap_err().to_string();
        assert!(
            told.contains("scenario work did different work") && told.contains("no verdict"),
            "{told}"
        );
        assert!(
            told.contains("/out/program --scenario work")
                && told.contains("/in/program --scenario"),
            "{told}"
        );
    }

    #[test]
    fn an_arm_that_crashes_is_named_with_its_signal() {
        let told = fit_case("crash").unwrap_err().to_string();
        assert!(
            told.contains("crashed (SIGABRT)") && told.contains("/in/program --scenario work"),
            "{told}"
        );
    }

    #[test]
    fn an_unknown_scenario_names_the_nearest_and_all() {
        let all = [scenario("pair-hot"), scenario("json")];
        let told = select(&all, &["pairhot".to_owned()]).unwrap_err().to_string();
        assert!(told.contains("did you mean `pair-hot`?") && told.contains("json"), "{told}");
    }
}
