//! One experiment from the question to the outcome: builds the arms, shows what differs and that it
//! runs, picks the scenarios, times them, and says why the verdict is what it is.
//!
//! Assumes that the caller holds the lock on `target/ab`. Promises an outcome that names whatever
//! evidence is missing, or an error that says what to do; never a verdict about broken arms.

use super::arms::{self, Arm, Artefact, Compiled, Features, Layouts, Preload, Recipe};
use super::count::Counter;
use super::diff::{self, Comparison};
use super::evidence::{self, Counting, Evidence, Looked};
use super::judge::{Rules, Verdict};
use super::measure::Bench;
use super::outcome::{Arms, Machine, Outcome, SCHEMA, Timed};
use super::question::Question;
use super::reason::reason;
use super::revisions::{self, Worktree};
use super::samples::{self, Plan, Samples, Seen};
use super::scenario::{self, Fitted, Scenario};
use super::trial::{End, Finished, Trial};
use super::{Settings, process};
use crate::bench::peers;
use crate::shared::{paths, term};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// What a peer is compared in unless scenarios are named: small blocks, whole trees, all sizes.
const AGAINST_PEERS: [&str; 3] = ["random-mixed-400", "json", "mixed"];

/// Both arms built and compared: everything before the question what to run.
pub struct Experiment<'a> {
    settings: &'a Settings,
    question: Question,
    out: Arm,
    with: Arm,
    /// What differs; `None` where the arms are not builds of one source.
    comparison: Option<Comparison>,
    arms: Arms,
    started: Instant,
    seed: u64,
    measuring: Duration,
    passed_over: BTreeMap<String, String>,
    missing: Vec<String>,
    /// The checkouts that the linker commands run in, removed in the end.
    _worktrees: Vec<Worktree>,
}

impl<'a> Experiment<'a> {
    /// Builds and compares the arms.
    pub fn new(settings: &'a Settings, question: Question) -> Result<Experiment<'a>> {
        let Built { question, out, with, features, worktrees, mut missing } = build(question)?;
        let started = Instant::now();
        let comparison = match question {
            Question::Peer { .. } => None,
            _ => Some(diff::compare(&out.code, &with.code)),
        };
        let known = comparison.clone().unwrap_or_default();
        let fixed_addresses = process::fix_addresses();
        let layouts = layouts(&out, &with);
        let arms = Arms {
            flags: arms::PROFILE.map(str::to_owned).to_vec(),
            features,
            functions: known.functions,
            differing: known.differing,
            left_out: 0,
            data: known.data,
            layouts,
            moved: with.moved,
            fixed_addresses,
        };
        if !fixed_addresses {
            missing.push("address randomisation stays on: this system does not let a process turn it off (personality)".to_owned());
        }
        if layouts == Layouts::Single {
            missing.push("other layouts: this linker cannot shuffle functions (rustc's rust-lld can), so all is measured in the one layout that it gives, which alone may be worth up to a per cent either way".to_owned());
        }
        missing.extend(process::unknown_here());
        // 48 bits: as many as every JSON reader keeps.
        let seed = settings.seed.unwrap_or_else(|| rand::random::<u64>() >> 16);
        Ok(Experiment {
            settings,
            question,
            out,
            with,
            comparison,
            arms,
            started,
            seed,
            measuring: Duration::ZERO,
            passed_over: BTreeMap::new(),
            missing,
            _worktrees: worktrees,
        })
    }

    /// Answers the question.
    pub fn run(mut self) -> Result<Outcome> {
        if self.comparison.as_ref().is_some_and(Comparison::same) {
            return Ok(self.finish(
                Verdict::Neutral,
                "both arms are the same code, so there is nothing to time".to_owned(),
                Vec::new(),
                None,
            ));
        }
        let store = samples::path(&self.question.slug());
        let key = samples::key((&self.out, &self.with), self.settings)?;
        let kept = match self.settings.fresh {
            true => None,
            false => Samples::open(&store, &key, self.settings.seed)?,
        };
        let mut samples = match kept {
            Some(samples) => {
                term::step("Resuming", samples.said());
                samples
            }
            None => match self.plan()? {
                Some(plan) => Samples::begin(&store, &key, plan)?,
                None => {
                    let reason = self.not_exercised();
                    return Ok(self.finish(Verdict::NotExercised, reason, Vec::new(), None));
                }
            },
        };
        let plan = samples.plan.clone();
        (self.seed, self.passed_over, self.missing) = (plan.seed, plan.passed_over, plan.missing);
        let scenarios: Vec<Fitted> =
            plan.scenarios.iter().map(|(fitted, _)| fitted.clone()).collect();
        let timed = plan.scenarios.into_iter().map(|(fitted, seen)| Timed::new(fitted, seen));
        let folder = arms::folder().join("run");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let trial = Trial {
            bench: Bench {
                arms: (&self.out, &self.with),
                scenarios: &scenarios,
                processor: process::quiet_processor()?,
                folder: &folder,
                disturbance: self.settings.disturbance,
                injected: &[0],
                same_code: false,
            },
            removal: self.question.removal(),
            budget: plan.budget.max(self.time_left()),
            seed: self.seed,
        };
        let (before, spent) = samples.taken();
        let Finished { verdict, timed, end, spent, company } =
            trial.run_after(&before, spent, timed.collect(), |blocks, spent| {
                samples.keep(blocks, spent)
            })?;
        self.measuring = spent;
        if end != End::Interrupted {
            samples.done();
        }
        if let Some(share) = company {
            self.missing.push(format!(
                "a quiet machine: other programs took {:.0} % of the time throughout, so no block was dropped \
                 for that; the controls are what shows that it did not matter",
                share * 100.0
            ));
        }
        let reason = reason(&self.question, &self.arms, verdict, &timed, end);
        Ok(self.finish(verdict, reason, timed, Some(end)))
    }

    /// What counting left of the budget. Where it took long, half of the budget is left for the clock
    /// all the same.
    fn time_left(&self) -> Duration {
        let budget = self.settings.budget;
        budget.saturating_sub(self.started.elapsed()).max(budget / 2)
    }

    /// What to time; `None` if no scenario runs what differs.
    fn plan(&mut self) -> Result<Option<Plan>> {
        let looked = match self.comparison.take() {
            Some(comparison) => self.choose(&comparison)?,
            None => self.choose_unseen()?,
        };
        if process::interrupted() {
            bail!("interrupted before the first measurement; there is no result");
        }
        if looked.is_empty() {
            return Ok(None);
        }
        if let (true, Ok(1)) = (
            looked.iter().any(|(scenario, _)| scenario.threaded),
            std::thread::available_parallelism().map(usize::from),
        ) {
            self.missing.push("a second processor: the threads of a threaded scenario take turns here, which is another workload than running at once".to_owned());
        }
        Ok(Some(Plan {
            seed: self.seed,
            budget: self.time_left(),
            scenarios: looked,
            passed_over: self.passed_over.clone(),
            missing: self.missing.clone(),
        }))
    }

    /// The scenarios to time: the wanted ones that run the code that differs, or up to three of all.
    fn choose(&mut self, comparison: &Comparison) -> Result<Vec<Seen>> {
        let all = scenario::list(&self.out.program)?;
        let unasked = self.settings.scenarios.is_empty();
        let wanted = match unasked {
            true => scenario::candidates(&all),
            false => scenario::select(&all, &self.settings.scenarios)?,
        };
        let mut looked = self.look(&wanted, comparison)?;
        // Counting may be impossible here as a whole; then the clock goes on without its evidence.
        if let Some(error) = looked.iter().find_map(|(_, evidence)| evidence.as_ref().err())
            && looked.iter().all(|(_, evidence)| evidence.is_err())
        {
            self.missing.push(format!("whether what differs ran at all is not shown: {error:#}"));
            looked.truncate(if unasked { 3 } else { usize::MAX });
            return Ok(looked.into_iter().map(|(fitted, _)| (fitted, None)).collect());
        }
        for (fitted, evidence) in &looked {
            let why = match evidence {
                Ok(evidence) if !evidence.exercised() => "not exercised".to_owned(),
                Err(error) => format!("{error:#}"),
                Ok(_) => continue,
            };
            self.passed_over.insert(fitted.name.clone(), why);
        }
        if unasked {
            looked = evidence::choose(looked, 3);
        } else {
            looked.retain(|(_, evidence)| evidence.as_ref().is_ok_and(Evidence::exercised));
            if looked.is_empty() {
                let others: Vec<_> = scenario::candidates(&all)
                    .into_iter()
                    .filter(|scenario| !wanted.iter().any(|wanted| wanted.name == scenario.name))
                    .collect();
                let others = self.look(&others, comparison)?;
                if let Some((fitted, _)) = evidence::choose(others, 1).pop() {
                    self.passed_over.insert(fitted.name, EXERCISES.to_owned());
                }
            }
        }
        Ok(looked.into_iter().map(|(fitted, evidence)| (fitted, evidence.ok())).collect())
    }

    /// The scenarios to time where no code can be compared: the wanted ones, or a fixed three.
    fn choose_unseen(&mut self) -> Result<Vec<Seen>> {
        let all = scenario::list(&self.out.program)?;
        let names = match &self.settings.scenarios[..] {
            [] => AGAINST_PEERS.map(str::to_owned).to_vec(),
            names => names.to_vec(),
        };
        let fitted = self.fit(&scenario::select(&all, &names)?)?;
        Ok(fitted.into_iter().map(|fitted| (fitted, None)).collect())
    }

    /// Fits the scenarios to the machine, once both arms were seen to do the same work in them.
    fn fit(&self, scenarios: &[Scenario]) -> Result<Vec<Fitted>> {
        let processor = process::quiet_processor()?;
        let arms = (&self.out.as_compiled(), &self.with.as_compiled());
        scenarios.iter().map(|scenario| scenario::fit_both(scenario, arms, processor)).collect()
    }

    /// Fits the scenarios and counts what they run of the difference.
    fn look(&mut self, scenarios: &[Scenario], comparison: &Comparison) -> Result<Vec<Looked>> {
        let counter = Counter::pick();
        if counter != Counter::Callgrind {
            let advice = "instruction counts of whole operations: valgrind is not installed (apt-get install valgrind); \
                          executions were counted with breakpoints instead";
            if !self.missing.iter().any(|missing| missing == advice) {
                self.missing.push(advice.to_owned());
            }
        }
        let fitted = self.fit(scenarios)?;
        let counting = Counting { arms: (&self.out, &self.with), comparison, counter };
        let bar = term::progress("Counting", scenarios.len() as u64);
        let looked = evidence::look(fitted, &counting, |name| {
            bar.inc(1);
            bar.set_message(name.to_owned());
        });
        bar.finish_and_clear();
        Ok(looked)
    }

    fn not_exercised(&self) -> String {
        let other = self.passed_over.iter().find(|(_, why)| *why == EXERCISES);
        match other {
            Some((name, _)) => format!(
                "what differs does not run in an operation of {}; it does in {name}: --scenario {name}",
                self.settings.scenarios.join(", ")
            ),
            None => "what differs does not run in an operation of any scenario; this is not NEUTRAL, it was not tried".to_owned(),
        }
    }

    fn finish(
        self,
        verdict: Verdict,
        reason: String,
        timed: Vec<Timed>,
        end: Option<End>,
    ) -> Outcome {
        Outcome {
            schema: SCHEMA,
            positive_means: self.question.positive_means(),
            question: self.question,
            verdict,
            reason,
            machine: Machine::here(),
            seed: self.seed,
            arms: self.arms,
            timed,
            passed_over: self.passed_over,
            missing: self.missing,
            seconds: self.started.elapsed().as_secs_f64(),
            measuring: self.measuring.as_secs_f64(),
            end,
            rules: Rules::today(),
        }
    }
}

/// Why a scenario that nobody asked for is named.
const EXERCISES: &str = "exercises it";

/// The arms of a question, built.
struct Built {
    question: Question,
    out: Arm,
    with: Arm,
    /// The features that make the difference.
    features: BTreeSet<String>,
    worktrees: Vec<Worktree>,
    /// What the arms of such a question cannot show.
    missing: Vec<String>,
}

/// Builds one part, with a spinner; an error says which arm it was to be.
fn part<T>(what: &str, build: impl FnOnce() -> Result<T>) -> Result<T> {
    let bar = term::spinner("Building", what.to_owned());
    let built = build();
    bar.finish_and_clear();
    built.with_context(|| format!("building {what}"))
}

fn build(question: Question) -> Result<Built> {
    match &question {
        Question::Gates { .. } => build_gates(question),
        Question::Revisions { from, to } => {
            let (worktrees, mut missing) = revisions::check_out(from, to)?;
            let arm = |at: usize, what: &str| {
                let recipe = Recipe {
                    name: format!("revision-{}", ["a", "b"][at]),
                    root: &worktrees[at].folder,
                    artefact: Artefact::Linked,
                    features: Features::Default,
                };
                part(what, || Arm::build(&recipe))
            };
            let phrases = question.arms_at_length();
            let (out, with) = (arm(0, &phrases.0)?, arm(1, &phrases.1)?);
            let crates = arms::differing_crates(&out, &with);
            if !crates.is_empty() {
                missing.push(format!(
                    "a single difference: the revisions differ in other crates or their flags too ({})",
                    crates.join(", ")
                ));
            }
            let features = BTreeSet::new();
            Ok(Built { question, out, with, features, worktrees, missing })
        }
        Question::Peer { peer, .. } => build_peer(peer),
    }
}

fn build_gates(question: Question) -> Result<Built> {
    let (gates, both) = question.features().context("a question about gates")?;
    let recipes = Recipe::pair(&gates, &both);
    let phrases = question.arms_at_length();
    let mut out = part(&phrases.0, || Arm::build(&recipes.0))?;
    let mut with = part(&phrases.1, || Arm::build(&recipes.1))?;
    for arm in [&mut out, &mut with] {
        arm.variables = question.variables();
    }
    let features = arms::one_difference(&out, &with, &gates)?;
    let (worktrees, missing) = (Vec::new(), Vec::new());
    Ok(Built { question, out, with, features, worktrees, missing })
}

fn build_peer(peer: &str) -> Result<Built> {
    let (mut ready, missing) = peers::make(&[peer.to_owned()])?;
    let Some(allocator) = ready.pop() else {
        let reason = missing.first().map_or("", |missing| &missing.reason);
        bail!("{peer} cannot be had here: {reason}");
    };
    let recipe = |name: &str, artefact| Recipe {
        name: name.to_owned(),
        root: paths::root(),
        artefact,
        features: Features::Default,
    };
    let program = part("the scenarios on the C names", || {
        Compiled::build(&recipe("on-system", Artefact::OnSystem))
    })?;
    let library =
        part("libhakmem_preload.so", || Compiled::build(&recipe("preload", Artefact::Library)))?;
    let question = Question::Peer { peer: peer.to_owned(), version: allocator.version.clone() };
    let mut missing = vec![
        "a comparison of the code and a count of what differs: these are two programs, not two builds of one; the clock and the memory are all the evidence".to_owned(),
    ];
    missing.push(format!(
        "other layouts of {peer}: its library is linked once, by its makers' flags, and one layout may favour it or not by up to a per cent; the program and hakmem's library are linked anew for each block"
    ));
    Ok(Built {
        question,
        out: Arm::on(&program, allocator.library.map(Preload::Fixed)),
        with: Arm::on(&program, Some(Preload::Linked(Box::new(library)))),
        features: BTreeSet::new(),
        worktrees: Vec::new(),
        missing,
    })
}

/// What varies from block to block.
fn layouts(out: &Arm, with: &Arm) -> Layouts {
    if !(out.shuffles() && with.shuffles()) {
        Layouts::Single
    } else if with.preload.is_some() {
        Layouts::PeerFixed
    } else {
        Layouts::Vary
    }
}
