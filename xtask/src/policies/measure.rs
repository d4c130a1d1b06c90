//! Builds each library, counts what is counted, and times the arms of a comparison in turn.

use super::Part;
use super::experiments::{self, Arm, Build};
use super::outcome::{Call, Comparison, Outcome, SCHEMA, Suited, Timed};
use crate::ab::outcome::Machine;
use crate::asm::library::Builder;
use crate::asm::{step_program, watch_in};
use crate::bench::peers::Allocator;
use crate::bench::process::{Runner, Sample};
use crate::bench::task::{Group, Task, Work};
use crate::shared::registry::Registry;
use crate::shared::{paths, term};
use anyhow::{Context, Result, ensure};
use rand::seq::SliceRandom;
use std::collections::BTreeMap;
use xtask_stats::robust;

/// Operations of a run of the scenarios that suit different thresholds: a tenth of a second's worth.
const SUITED_OPS: u64 = 4_000;
/// A program learns for so many times as long.
const LESSON: u64 = 10;
/// Repetitions in which the best fixed threshold is looked for: what is best by far shows at once, and
/// among equals any will do.
const LOOKS: usize = 5;
/// What is to be told to two per cent, or moves with what else the machine does, is repeated so many
/// times as often.
const FINER: usize = 3;

/// What all measurements share.
pub struct Lab {
    runner: Runner,
    allocators: BTreeMap<Build, Allocator>,
    scratch: tempfile::TempDir,
    runs: usize,
}

impl Lab {
    /// Builds the scenarios and every library, below `target/policies`.
    pub fn prepare(runs: usize) -> Result<Lab> {
        let folder = paths::target().join("policies");
        let runner = Runner::build()?;
        let builder = Builder::new(paths::root(), folder.join("library"));
        let default = Registry::read()?.default;
        let bar = term::progress("Building", Build::ALL.len() as u64);
        let mut allocators = BTreeMap::new();
        for build in Build::ALL {
            bar.set_message(build.name());
            let gates = build.gates().iter().map(|gate| (*gate).to_owned());
            let features: Vec<String> = default.iter().cloned().chain(gates).collect();
            let library = builder.build(&features).context(build.name())?;
            // The next build takes its place.
            let kept = folder.join(format!("{}.so", build.name()));
            std::fs::copy(&library.file, &kept)
                .with_context(|| format!("cannot copy to {}", kept.display()))?;
            let name = build.name().to_owned();
            allocators
                .insert(build, Allocator { name, library: Some(kept), ..library.allocator() });
            bar.inc(1);
        }
        bar.finish_and_clear();
        let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
        Ok(Lab { runner, allocators, scratch, runs })
    }

    /// Measures these parts.
    pub fn measure(&self, parts: &[Part]) -> Result<Outcome> {
        let mut outcome = Outcome {
            schema: SCHEMA,
            machine: Machine::here(),
            runs: self.runs,
            comparisons: Vec::new(),
            suited: Vec::new(),
            tiny: Vec::new(),
        };
        for &part in parts {
            match part {
                Part::Vm => {
                    let mut vm = self.listed("vm")?;
                    // Minimal mode takes hundreds of times as long as the others.
                    vm.quick();
                    outcome.comparisons.push(self.compare(
                        part,
                        &vm,
                        experiments::vm(),
                        self.runs,
                    )?);
                }
                Part::Thresholds => self.thresholds(&mut outcome)?,
                Part::Scenarios => self.scenarios(&mut outcome)?,
                Part::Tiny => outcome.tiny = self.tiny()?,
                Part::Telemetry => {
                    for scenario in experiments::COUNTED {
                        let task = self.listed(scenario)?;
                        let arms = experiments::telemetry();
                        let finer = self.runs * FINER;
                        outcome.comparisons.push(self.compare(part, &task, arms, finer)?);
                    }
                }
            }
        }
        Ok(outcome)
    }

    fn listed(&self, name: &str) -> Result<Task> {
        let known = self.runner.scenarios()?;
        let found = known.iter().find(|scenario| scenario.name == name);
        found.map(Task::scenario).with_context(|| format!("there is no scenario `{name}`"))
    }

    fn run(&self, task: &Task, arm: &Arm) -> Result<Sample> {
        self.runner.run_with(task, &self.allocators[&arm.build], &arm.settings)
    }

    /// Every arm once in each repetition, in a new order each time.
    fn compare(&self, part: Part, task: &Task, arms: Vec<Arm>, runs: usize) -> Result<Comparison> {
        let bar = term::progress("Timing", (arms.len() * runs) as u64);
        bar.set_message(task.name.clone());
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); arms.len()];
        let mut order: Vec<usize> = (0..arms.len()).collect();
        for _ in 0..runs {
            order.shuffle(&mut rand::rng());
            for &at in &order {
                samples[at].push(self.run(task, &arms[at])?);
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        let first = samples[0][0].checksum;
        let same = samples.iter().flatten().all(|sample| sample.checksum == first);
        ensure!(same, "{} did not do the same work everywhere", task.name);
        let timed = arms.into_iter().zip(samples).map(|(arm, samples)| {
            let each = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(of).collect::<Vec<f64>>();
            Timed {
                arm,
                times: each(&|sample| sample.cpu_ns as f64 / sample.ops as f64),
                faults: robust::median(&each(&|sample| sample.faults as f64 / sample.ops as f64)),
                peak_kib: robust::median(&each(&|sample| sample.peak_kib as f64)),
            }
        });
        let (scenario, timed) = (task.name.clone(), timed.collect());
        Ok(Comparison { part, scenario, timed, again: false })
    }

    /// The best fixed threshold is found in one run and measured in another: the best of several that
    /// are alike would else be so by luck.
    fn thresholds(&self, outcome: &mut Outcome) -> Result<()> {
        for scenario in experiments::SUITED {
            let task = suited(scenario);
            let (sizes, fixed): (Vec<u64>, Vec<Arm>) = experiments::fixed().into_iter().unzip();
            let look = self.compare(Part::Thresholds, &task, fixed.clone(), LOOKS)?;
            let times = (0..sizes.len()).map(|at| (at, look.time(at)));
            let best = times.min_by(|one, other| one.1.total_cmp(&other.1));
            let (best, _) = best.context("there is a threshold")?;
            let (mut learned_kib, mut files) = (Vec::new(), [String::new(), String::new()]);
            for ((by, settings), file) in experiments::lessons().into_iter().zip(&mut files) {
                let path = self.scratch.path().join(format!("{scenario}-{by}"));
                *file = path.display().to_string();
                let lesson = Task { ops: task.ops * LESSON, ..task.clone() };
                let with_file = [&settings[..], &[("HAKMEM_ELO_FILE", file)]].concat();
                self.run(&lesson, &Arm::new(by, Build::Learning, &with_file))?;
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("{by} has left no ratings of {scenario}"))?;
                learned_kib.push((by.to_owned(), leader(&text)?));
            }
            let arms = [vec![fixed[best].clone()], experiments::learned(&files).to_vec()].concat();
            outcome.comparisons.push(look);
            let finer = self.runs * FINER;
            outcome.comparisons.push(self.compare(Part::Thresholds, &task, arms, finer)?);
            let suited =
                Suited { scenario: scenario.to_owned(), best_kib: sizes[best], learned_kib };
            outcome.suited.push(suited);
        }
        Ok(())
    }

    /// Every scenario whose time says something, and a second look at the worst of each arm.
    fn scenarios(&self, outcome: &mut Outcome) -> Result<()> {
        let known = self.runner.scenarios()?;
        let mut tasks: Vec<Task> = known.iter().map(Task::scenario).collect();
        tasks.retain(|task| task.group != Group::Memory);
        for task in &tasks {
            let arms = experiments::from_nothing();
            let comparison = self.compare(Part::Scenarios, task, arms, self.runs)?;
            outcome.comparisons.push(comparison);
        }
        let worst =
            [1, 2].map(|at| outcome.worst(Part::Scenarios, at).map(|it| it.scenario.clone()));
        for task in tasks.iter().filter(|task| worst.iter().flatten().any(|it| *it == task.name)) {
            let arms = experiments::from_nothing();
            let comparison = self.compare(Part::Scenarios, task, arms, self.runs * FINER)?;
            outcome.comparisons.push(Comparison { again: true, ..comparison });
        }
        Ok(())
    }

    fn tiny(&self) -> Result<Vec<Call>> {
        let step = step_program()?;
        let mut calls = Vec::new();
        for size in experiments::TINY {
            let watch = |build| watch_in(&step, &self.allocators[&build], size);
            let (default, learning) = (watch(Build::Default)?, watch(Build::Learning)?);
            for (one, other) in default.functions.iter().zip(&learning.functions) {
                ensure!(one.name == other.name, "the builds have other functions");
                calls.push(Call {
                    function: one.name.clone(),
                    size,
                    default: one.median(),
                    learning: other.median(),
                });
            }
        }
        Ok(calls)
    }
}

/// A scenario that is in no list, as it suits a threshold.
fn suited(scenario: &str) -> Task {
    Task {
        name: scenario.to_owned(),
        about: String::new(),
        unit: "operation".to_owned(),
        ops: SUITED_OPS,
        threaded: false,
        settle_ms: 0,
        group: Group::Extra,
        work: Work::Scenario(vec!["--scenario".to_owned(), scenario.to_owned()]),
    }
}

/// KiB of the threshold that leads in a file of ratings.
fn leader(ratings: &str) -> Result<u64> {
    let line = ratings.lines().find_map(|line| line.strip_prefix("leader "));
    let bytes: u64 = line.context("the file of ratings names no leader")?.parse()?;
    Ok(bytes >> 10)
}

#[cfg(test)]
mod tests {
    use super::leader;

    #[test]
    fn the_leader_is_read_from_the_ratings() {
        assert_eq!(leader("hakmem-elo 1\nleader 524288\n524288 24000 0 0 0\n").unwrap(), 512);
        assert!(leader("hakmem-elo 1\n").is_err());
    }
}
