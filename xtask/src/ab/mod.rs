//! `cargo xtask ab`: is a gate worth having? By the protocol of `docs/ab.md`.
//!
//! 1. [`arms`] compiles the scenario program without and with the gate and proves that nothing else
//!    differs. 2. [`object`] and [`diff`] compare the code before linking; the same code needs no
//!    clock. 3. [`count`] and [`scenario`] show that what differs runs at all, and choose where it
//!    shows best. 4. [`link`] and [`measure`] time both arms, layout after layout, with two controls.
//!    5. [`trial`] asks [`judge`], which decides by rules fixed in advance; [`outcome`]
//!    and [`report`] say why. [`self_test`] tries all of this on differences that are known.

pub(crate) mod arms;
#[cfg(test)]
mod canned;
mod columns;
mod count;
pub(crate) mod diff;
#[cfg(test)]
mod fixture;
mod judge;
pub(crate) mod link;
mod measure;
pub(crate) mod object;
pub(crate) mod outcome;
mod probe;
mod process;
mod report;
mod scenario;
mod self_test;
mod trial;

use crate::shared::registry::{Gate, Registry};
use crate::shared::term;
use anyhow::{Context, Result, bail};
use arms::Arm;
use count::Counter;
use diff::Comparison;
use judge::Verdict;
use measure::Bench;
use outcome::{Arms, Machine, Outcome, SCHEMA, Timed};
use scenario::{Counting, Evidence, Fitted, Looked};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use trial::{End, Trial};

/// Arguments of `cargo xtask ab`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask ab tiny-free-calls
  cargo xtask ab tiny-free-calls --scenario random-mixed-400 --scenario json
  cargo xtask ab unified-cache-measure --budget 10m --json > verdict.json
  cargo xtask ab --self-test --budget 10m

Verdicts: GO (faster by 0.5 % or more), NO-GO (slower by as much), NEUTRAL (within 0.5 %, or the
same code), NOT EXERCISED (what differs never ran), INCONCLUSIVE (the budget ended first), INVALID
(a control failed). Telemetry and diagnostics are asked whether they are better compiled out; layers,
policies and hardening whether they are better adopted. Exit code 1 means INVALID, 2 an error.")]
pub struct Args {
    /// The gate, as the registry in Cargo.toml names it
    #[arg(
        value_name = "GATE",
        required_unless_present = "self_test",
        conflicts_with = "self_test"
    )]
    gate: Option<String>,
    /// Try the procedure itself: the same code twice, and known slowdowns, within the budget
    #[arg(long)]
    self_test: bool,
    /// Time this scenario instead of choosing up to three that run the gate's code (repeatable)
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// How long to measure at most, once both arms are built: 90s, 5m, 1h
    #[arg(long, value_name = "TIME", default_value = "150s", value_parser = duration)]
    budget: Duration,
    /// Print the whole outcome as JSON, raw samples included
    #[arg(long)]
    json: bool,
    /// Drop a block in which other programs, or the hypervisor, took more than so many per cent of
    /// the time
    #[arg(long, value_name = "PERCENT", default_value_t = 30.0)]
    disturbance: f64,
    /// Seed of layouts, orders and paddings (default: a new one each time, which the report names)
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!(
            "`cargo xtask ab` compares x86-64 code and pins Linux processes; run it on x86-64 Linux"
        );
    }
    let registry = Registry::read()?;
    let gate = args.gate.as_ref().map(|name| registry.gate(name).cloned()).transpose()?;
    process::catch_interrupts()?;
    let fixed_addresses = process::fix_addresses();
    std::fs::create_dir_all(arms::folder()).context("cannot make a folder for experiments")?;
    let lock =
        std::fs::File::create(arms::folder().join("lock")).context("cannot make the lock file")?;
    if lock.try_lock().is_err() {
        bail!(
            "another experiment is running in {}; two at once would disturb each other",
            arms::folder().display()
        );
    }
    let Some(gate) = gate else { return self_test::run(&args) };
    let outcome = Experiment::new(&args, gate, &registry, fixed_addresses)?.run()?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        print!("{}", report::text(&outcome));
    }
    Ok(if outcome.verdict == Verdict::Invalid { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Both arms built and compared: everything before the question what to run.
struct Experiment<'a> {
    args: &'a Args,
    gate: Gate,
    out: Arm,
    with: Arm,
    comparison: Comparison,
    arms: Arms,
    started: Instant,
    seed: u64,
    passed_over: BTreeMap<String, String>,
    missing: Vec<String>,
}

impl<'a> Experiment<'a> {
    fn new(
        args: &'a Args,
        gate: Gate,
        registry: &Registry,
        fixed_addresses: bool,
    ) -> Result<Experiment<'a>> {
        let implied = closure(registry, &gate.name);
        let build = |verb: &str, name: &str, features: &[String]| {
            let bar = term::spinner("Building", format!("the arm {verb} {}", gate.name));
            let arm = Arm::build(name, features);
            bar.finish_and_clear();
            arm.with_context(|| format!("building the arm {verb} `{}`", gate.name))
        };
        let out = build("without", "out", &[])?;
        let with = build("with", &format!("in-{}", gate.name), std::slice::from_ref(&gate.name))?;
        let features = arms::one_difference(&out, &with, &gate.name, &implied)?;
        let started = Instant::now();
        let comparison = diff::compare(&out.code, &with.code);
        let arms = Arms {
            features,
            functions: comparison.functions,
            differing: comparison.differing.clone(),
            data: comparison.data.clone(),
            layouts_vary: out.linker.shuffles && with.linker.shuffles,
            moved: with.moved,
            fixed_addresses,
        };
        let mut missing = Vec::new();
        if !fixed_addresses {
            missing.push("address randomisation stays on: this system does not let a process turn it off (personality)".to_owned());
        }
        // 48 bits: as many as every JSON reader keeps.
        let seed = args.seed.unwrap_or_else(|| rand::random::<u64>() >> 16);
        Ok(Experiment {
            args,
            gate,
            out,
            with,
            comparison,
            arms,
            started,
            seed,
            passed_over: BTreeMap::new(),
            missing,
        })
    }

    fn run(mut self) -> Result<Outcome> {
        if self.comparison.same() {
            return Ok(self.finish(
                Verdict::Neutral,
                "both arms are the same code, so there is nothing to time".to_owned(),
                Vec::new(),
            ));
        }
        let looked = self.choose()?;
        if process::interrupted() {
            bail!("interrupted before the first measurement; there is no result");
        }
        if looked.is_empty() {
            let reason = self.not_exercised();
            return Ok(self.finish(Verdict::NotExercised, reason, Vec::new()));
        }
        let (scenarios, evidence): (Vec<Fitted>, Vec<Option<Evidence>>) =
            looked.into_iter().map(|(fitted, evidence)| (fitted, evidence.ok())).unzip();
        let timed = scenarios
            .iter()
            .cloned()
            .zip(evidence)
            .map(|(scenario, evidence)| Timed::new(scenario, evidence))
            .collect();
        let folder = arms::folder().join("run");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let trial = Trial {
            bench: Bench {
                arms: (&self.out, &self.with),
                scenarios: &scenarios,
                processor: process::quiet_processor()?,
                folder: &folder,
                disturbance: self.args.disturbance / 100.0,
                injected_permille: 0,
            },
            removal: self.gate.kind.removal(),
            budget: self.args.budget,
            seed: self.seed,
        };
        let trial::Finished { verdict, timed, end, company } = trial.run(timed)?;
        if let Some(share) = company {
            self.missing.push(format!(
                "a quiet machine: other programs took {:.0} % of the time throughout, so no block was dropped \
                 for that; the controls are what shows that it did not matter",
                share * 100.0
            ));
        }
        let reason = self.reason(verdict, &timed, end);
        Ok(self.finish(verdict, reason, timed))
    }

    /// The scenarios to time: the wanted ones that run the gate's code, or up to three of all.
    fn choose(&mut self) -> Result<Vec<Looked>> {
        let all = scenario::list(&self.out.program)?;
        let wanted = match self.args.scenario.is_empty() {
            true => scenario::candidates(&all),
            false => scenario::select(&all, &self.args.scenario)?,
        };
        let mut looked = self.look(&wanted)?;
        // Counting may be impossible here as a whole; then the clock goes on without its evidence.
        if let Some(error) = looked.iter().find_map(|(_, evidence)| evidence.as_ref().err())
            && looked.iter().all(|(_, evidence)| evidence.is_err())
        {
            self.missing.push(format!("whether what differs ran at all is not shown: {error:#}"));
            looked.truncate(if self.args.scenario.is_empty() { 3 } else { usize::MAX });
            return Ok(looked);
        }
        for (fitted, evidence) in &looked {
            let why = match evidence {
                Ok(evidence) if !evidence.exercised() => "not exercised".to_owned(),
                Err(error) => format!("{error:#}"),
                Ok(_) => continue,
            };
            self.passed_over.insert(fitted.name.clone(), why);
        }
        if self.args.scenario.is_empty() {
            return Ok(scenario::choose(looked, 3));
        }
        looked.retain(|(_, evidence)| evidence.as_ref().is_ok_and(Evidence::exercised));
        if looked.is_empty() {
            let others: Vec<_> = scenario::candidates(&all)
                .into_iter()
                .filter(|scenario| !wanted.iter().any(|wanted| wanted.name == scenario.name))
                .collect();
            if let Some((fitted, _)) = scenario::choose(self.look(&others)?, 1).pop() {
                self.passed_over.insert(fitted.name, "exercises it".to_owned());
            }
        }
        Ok(looked)
    }

    /// Fits the scenarios to the machine and counts what they run of the difference.
    fn look(&mut self, scenarios: &[scenario::Scenario]) -> Result<Vec<Looked>> {
        let counter = Counter::pick();
        if counter != Counter::Callgrind {
            let advice = "instruction counts of whole operations: valgrind is not installed (apt-get install valgrind); \
                          executions were counted with breakpoints instead";
            if !self.missing.iter().any(|missing| missing == advice) {
                self.missing.push(advice.to_owned());
            }
        }
        let counting =
            Counting { arms: (&self.out, &self.with), comparison: &self.comparison, counter };
        let bar = term::progress("Counting", scenarios.len() as u64);
        let looked = scenario::look(scenarios, &counting, process::quiet_processor()?, |name| {
            bar.inc(1);
            bar.set_message(name.to_owned());
        });
        bar.finish_and_clear();
        looked
    }

    fn not_exercised(&self) -> String {
        let other = self.passed_over.iter().find(|(_, why)| *why == "exercises it");
        match other {
            Some((name, _)) => format!(
                "what differs does not run in an operation of {}; it does in {name}: --scenario {name}",
                self.args.scenario.join(", ")
            ),
            None => "what differs does not run in an operation of any scenario; this is not NEUTRAL, it was not tried".to_owned(),
        }
    }

    fn reason(&self, verdict: Verdict, timed: &[Timed], end: End) -> String {
        let faults = || -> Vec<String> {
            let named = |timed: &Timed| {
                let faults = timed.judged.iter().flat_map(|judged| judged.faults.clone());
                faults.map(|fault| format!("{}: {fault}", timed.scenario.name)).collect::<Vec<_>>()
            };
            timed.iter().flat_map(named).collect()
        };
        let text = match (verdict, self.gate.kind.removal()) {
            (Verdict::Go, true) => {
                "compiling it out is at least 0.5 % faster: it stays out of the default build"
            }
            (Verdict::NoGo, true) => {
                "compiling it out is at least 0.5 % slower: find out why before it goes"
            }
            (Verdict::Neutral, true) => {
                "compiled in or out makes less than 0.5 % of difference: it stays compiled out"
            }
            (Verdict::Go, false) => "adopting it is at least 0.5 % faster",
            (Verdict::NoGo, false) => "adopting it is at least 0.5 % slower: it stays out",
            (Verdict::Neutral, false) => {
                "adopting it makes less than 0.5 % of difference: it stays out, the simpler code wins"
            }
            (Verdict::Invalid, _) => {
                return format!(
                    "a control failed, so the figures say nothing: {}",
                    faults().join("; ")
                );
            }
            (Verdict::Inconclusive, _) => {
                let why = match end {
                    End::Interrupted => "interrupted before a declared look could decide",
                    End::Budget => {
                        "the budget ended before the interval cleared the lines at 0.5 %; try --budget 10m"
                    }
                    End::Decided => {
                        "the interval still crosses a line at 0.5 % after the last declared look"
                    }
                };
                let dropped: usize = timed.iter().map(|timed| timed.dropped).sum();
                let all: usize = timed.iter().map(|timed| timed.blocks.len()).sum();
                let busy = if dropped * 3 > all {
                    format!("; the machine is busy: {dropped} of {all} blocks were disturbed")
                } else {
                    String::new()
                };
                return format!("{why}{busy}");
            }
            (Verdict::NotExercised, _) => "what differs never ran",
        };
        let heavy =
            timed.iter().find(|timed| timed.more_memory() > 5.0 && !self.gate.kind.removal());
        let heavy = heavy.map_or(String::new(), |timed| {
            format!(
                "; it takes {:.0} % more memory in {}",
                timed.more_memory(),
                timed.scenario.name
            )
        });
        let single = if self.arms.layouts_vary {
            ""
        } else {
            " (single layout: the linker cannot shuffle functions)"
        };
        let unproven = if timed.iter().all(|timed| timed.evidence.is_none()) {
            " (whether its code ran is not shown)"
        } else {
            ""
        };
        format!("{text}{heavy}{single}{unproven}")
    }

    fn finish(self, verdict: Verdict, reason: String, timed: Vec<Timed>) -> Outcome {
        let positive_means = if self.gate.kind.removal() {
            "positive means that compiled out is faster"
        } else {
            "positive means that adopted is faster"
        };
        Outcome {
            schema: SCHEMA,
            gate: self.gate,
            verdict,
            reason,
            positive_means: positive_means.to_owned(),
            machine: Machine::here(),
            seed: self.seed,
            arms: self.arms,
            timed,
            passed_over: self.passed_over,
            missing: self.missing,
            seconds: self.started.elapsed().as_secs_f64(),
        }
    }
}

/// A gate and every feature that it turns on, directly or not.
fn closure(registry: &Registry, gate: &str) -> BTreeSet<String> {
    let (mut found, mut next) = (BTreeSet::new(), vec![gate.to_owned()]);
    while let Some(name) = next.pop() {
        let members = registry.gates.get(&name).map(|gate| &gate.implies);
        let members =
            members.or_else(|| registry.umbrellas.get(&name).map(|umbrella| &umbrella.members));
        next.extend(
            members.into_iter().flatten().filter(|member| !member.contains(['/', ':'])).cloned(),
        );
        found.insert(name);
    }
    found
}

/// Reads `90s`, `5m`, `1h` or plain seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, text.as_bytes()[text.len() - 1]),
        None => (text, b's'),
    };
    let seconds = match unit {
        b'm' => 60,
        b'h' => 3600,
        _ => 1,
    };
    match number.parse::<u64>() {
        Ok(number) if number > 0 => Ok(Duration::from_secs(number.saturating_mul(seconds))),
        _ => Err("expected a time such as 90s, 5m or 1h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for bad in ["", "m", "0s", "-1s", "5 m", "fast"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_gate_brings_what_it_turns_on() {
        let registry = Registry::read().unwrap();
        assert_eq!(
            closure(&registry, "tiny-free-calls"),
            BTreeSet::from(["tiny-free-calls".to_owned()])
        );
        assert!(closure(&registry, "research").contains("tiny-free-calls"));
    }
}
