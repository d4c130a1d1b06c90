//! `cargo xtask ab --self-test`: the procedure tried on differences that are known, on the real
//! allocator and on this machine: the same code against itself, and injected slowdowns.
//!
//! Promises no more than it measured: how often each difference was called right, in how many tries.

use super::arms::{self, Arm};
use super::judge::Verdict;
use super::measure::Bench;
use super::outcome::Timed;
use super::trial::{End, Finished, Trial};
use super::{Args, process, scenario};
use crate::shared::term;
use anyhow::{Context, Result, bail};
use comfy_table::Table;
use serde::Serialize;
use std::process::ExitCode;
use std::time::Instant;

/// What is injected, in thousandths of the work.
const INJECTED: [u64; 4] = [0, 5, 10, 20];

/// Where to try unless told otherwise: one scenario of the fastest kind and one with a wide footprint.
const SCENARIOS: [&str; 2] = ["tiny-hot", "random-mixed-400"];

/// One experiment whose answer is known.
#[derive(Clone, Debug, Serialize)]
struct Try {
    scenario: String,
    injected_permille: u64,
    verdict: Verdict,
    estimate: Option<f64>,
    layouts: usize,
    seconds: f64,
}

impl Try {
    /// False only if the verdict says what is not so. On the line itself (0.5 %) GO and NEUTRAL are
    /// both within half of the truth, and an open verdict is never false.
    fn wrong(&self) -> bool {
        match (self.verdict, self.injected_permille) {
            (Verdict::Invalid | Verdict::NoGo, _) => true,
            (Verdict::Go, injected) => injected == 0,
            (Verdict::Neutral, injected) => injected > 5,
            _ => false,
        }
    }

    /// True if the verdict says what is so.
    fn right(&self) -> bool {
        match self.injected_permille {
            0 => self.verdict == Verdict::Neutral,
            5 => !self.wrong(),
            _ => self.verdict == Verdict::Go,
        }
    }
}

/// Runs experiments round after round until the budget is spent.
pub fn run(args: &Args) -> Result<ExitCode> {
    let bar = term::spinner("Building", "the default arm");
    let arm = Arm::build_default();
    bar.finish_and_clear();
    let arm = arm.context("building the default arm")?;
    let all = scenario::list(&arm.program)?;
    let names = if args.scenario.is_empty() {
        SCENARIOS.map(str::to_owned).to_vec()
    } else {
        args.scenario.clone()
    };
    let chosen = scenario::select(&all, &names)?;
    let processor = process::quiet_processor()?;
    let folder = arms::folder().join("run");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let seed = args.seed.unwrap_or_else(|| rand::random::<u64>() >> 16);
    let deadline = Instant::now() + args.budget();
    let mut tries: Vec<Try> = Vec::new();
    'rounds: for round in 0.. {
        for scenario in &chosen {
            let fitted = [scenario::fit(scenario, &arm.as_compiled(), processor)?];
            for injected in INJECTED {
                let left = deadline.saturating_duration_since(Instant::now());
                if process::interrupted() || left.is_zero() {
                    break 'rounds;
                }
                term::step(
                    "Trying",
                    format!("{}, {} % injected", scenario.name, injected as f64 / 10.0),
                );
                let trial = Trial {
                    bench: Bench {
                        arms: (&arm, &arm),
                        scenarios: &fitted,
                        processor,
                        folder: &folder,
                        disturbance: args.disturbance / 100.0,
                        injected_permille: injected,
                    },
                    removal: true,
                    budget: left,
                    seed: seed.wrapping_add(round * 1000 + injected),
                };
                let started = Instant::now();
                let Finished { verdict, timed, end, .. } =
                    trial.run(vec![Timed::new(fitted[0].clone(), None)])?;
                if end != End::Decided {
                    // Cut short by the budget as a whole: no fair try.
                    break 'rounds;
                }
                let judged = timed[0].judged.as_ref();
                tries.push(Try {
                    scenario: scenario.name.clone(),
                    injected_permille: injected,
                    verdict,
                    estimate: judged.map(|judged| judged.effect.estimate),
                    layouts: timed[0].kept().count(),
                    seconds: started.elapsed().as_secs_f64(),
                });
            }
        }
    }
    if tries.is_empty() {
        bail!("the budget ended before the first experiment; try --budget 5m");
    }
    if args.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&serde_json::json!({"seed": seed, "tries": tries}))?
        );
    } else {
        println!("{}", table(&tries));
    }
    let wrong = tries.iter().filter(|tried| tried.wrong()).count();
    // One in twenty may be wrong; a single try of few proves nothing.
    Ok(if wrong > 1 + tries.len() / 20 { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn table(tries: &[Try]) -> Table {
    let mut table = Table::new();
    table.set_header([
        "scenario",
        "injected",
        "tries",
        "right",
        "wrong",
        "open",
        "estimates %",
        "layouts each",
    ]);
    let mut rows: Vec<(&str, u64)> =
        tries.iter().map(|tried| (tried.scenario.as_str(), tried.injected_permille)).collect();
    rows.sort_unstable();
    rows.dedup();
    for (scenario, injected) in rows {
        let of: Vec<&Try> = tries
            .iter()
            .filter(|tried| {
                (tried.scenario.as_str(), tried.injected_permille) == (scenario, injected)
            })
            .collect();
        let right = of.iter().filter(|tried| tried.right()).count();
        let wrong = of.iter().filter(|tried| tried.wrong()).count();
        let estimates: Vec<String> =
            of.iter().filter_map(|tried| Some(format!("{:+.2}", tried.estimate?))).collect();
        let layouts: Vec<String> = of.iter().map(|tried| tried.layouts.to_string()).collect();
        table.add_row([
            scenario.to_owned(),
            format!("{:.1} %", injected as f64 / 10.0),
            of.len().to_string(),
            right.to_string(),
            wrong.to_string(),
            (of.len() - right - wrong).to_string(),
            estimates.join(" "),
            layouts.join(" "),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_and_wrong_calls_of_known_differences() {
        let tried = |verdict, injected_permille| {
            let tried = Try {
                scenario: String::new(),
                injected_permille,
                verdict,
                estimate: None,
                layouts: 60,
                seconds: 1.0,
            };
            (tried.right(), tried.wrong())
        };
        assert_eq!(tried(Verdict::Neutral, 0), (true, false));
        assert_eq!(tried(Verdict::Go, 0), (false, true));
        assert_eq!(tried(Verdict::Inconclusive, 0), (false, false));
        assert_eq!(tried(Verdict::Neutral, 5), (true, false));
        assert_eq!(tried(Verdict::Go, 10), (true, false));
        assert_eq!(tried(Verdict::Neutral, 10), (false, true));
        assert_eq!(tried(Verdict::NoGo, 20), (false, true));
        assert_eq!(tried(Verdict::Invalid, 20), (false, true));
    }
}
