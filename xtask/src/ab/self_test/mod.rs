//! `cargo xtask ab --self-test`: the procedure tried on differences that are known, on the real
//! allocator and on this machine: the same code against itself, and injected slowdowns.
//!
//! Tries come in rounds. A round is one scenario in layouts of its own, and asks about several
//! differences at once: the same code twice, and slowdowns. They share the round's processes of the
//! arm without and of both controls, but no two tries of *one* difference share a layout or a
//! process, so that the tries behind each rate are independent. Each try is judged by the same
//! looks, controls and rules as any experiment; those that a look has decided leave the later
//! blocks. The arm with the injected work is linked apart from the other, as arms with different
//! code are.
//!
//! Promises no more than it measured: how often each difference was called right, in how many tries.

mod record;
mod tries;

use super::arms::{self, Arm};
use super::measure::Bench;
use super::scenario::Fitted;
use super::trial::{self, End};
use super::{Args, process, scenario};
use crate::ab::outcome::Machine;
use crate::shared::term;
use anyhow::{Context, Result, bail};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tries::{Rates, Round, SelfTest, Try};

/// Where to try unless told otherwise: one scenario of the fastest kind and one with a wide footprint.
const SCENARIOS: [&str; 2] = ["tiny-hot", "random-mixed-400"];

/// The most rounds: forty tries of the same code, twenty each of 1 and 2 %, ten of 0.5 %.
const ROUNDS: usize = 40;

/// What a round asks about, in thousandths of the work: the same code always, 2 and 1 % in turns,
/// 0.5 % in every fourth. The easiest first: it leaves the blocks soonest.
fn asked(round: usize) -> Vec<u64> {
    let mut asked = vec![if round.is_multiple_of(2) { 10 } else { 20 }, 0];
    if round % 4 == 3 {
        asked.push(5);
    }
    asked
}

/// Runs rounds until there are enough or the budget is spent.
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
    process::fix_addresses();
    let folder = arms::folder().join("run");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let seed = args.seed.unwrap_or_else(|| rand::random::<u64>() >> 16);
    let started = Instant::now();
    let deadline = started + args.budget();
    let (mut rounds, mut tries): (Vec<Round>, Vec<Try>) = (Vec::new(), Vec::new());
    let mut fitted: Vec<Option<Fitted>> = vec![None; chosen.len()];
    let bar = term::progress("Trying", ROUNDS as u64);
    for at in 0..ROUNDS {
        // In pairs, so that each scenario gets all that is asked in turns.
        let which = at / 2 % chosen.len();
        let fitted = match &mut fitted[which] {
            Some(fitted) => fitted,
            none => none.insert(scenario::fit(&chosen[which], &arm.as_compiled(), processor)?),
        };
        let mut round = Round::new(fitted.clone(), seed.wrapping_add(at as u64), asked(at));
        let bench = Bench {
            arms: (&arm, &arm),
            scenarios: std::slice::from_ref(&*fitted),
            processor,
            folder: &folder,
            disturbance: args.disturbance / 100.0,
            injected: &[],
            same_code: true,
        };
        bar.set_message(format!("rounds, {} in {}", Rates::told(&tries), round.scenario.name));
        if process::interrupted() || Instant::now() > deadline {
            break;
        }
        let more = |round: &mut Round| measure(&bench, round, deadline);
        let decided = round.judge(more)?;
        let whole = round.ended.is_none();
        tries.extend(decided);
        rounds.push(round);
        bar.inc(1);
        if !whole {
            // Cut short by the budget as a whole: no fair try of what was still open.
            break;
        }
    }
    bar.finish_and_clear();
    if tries.is_empty() {
        bail!("the budget ended before the first try; try --budget 5m");
    }
    let outcome = SelfTest {
        schema: tries::SCHEMA,
        machine: Machine::here(),
        seed,
        seconds: started.elapsed().as_secs_f64(),
        shuffles: arm.linker.shuffles,
        rates: Rates::of(&tries),
        tries,
        rounds,
    };
    if args.record {
        for path in record::write(&outcome)? {
            term::step("Wrote", path.display());
        }
    }
    if args.json {
        term::print(&format!("{}\n", serde_json::to_string(&outcome)?))?;
    } else {
        term::print(&record::text(&outcome))?;
    }
    Ok(if outcome.rates.iter().all(|rate| rate.met()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// Measures one more layout for what is still open in `round`.
fn measure(bench: &Bench<'_>, round: &mut Round, deadline: Instant) -> Result<Option<End>> {
    if process::interrupted() {
        return Ok(Some(End::Interrupted));
    }
    if deadline.saturating_duration_since(Instant::now()) == Duration::ZERO {
        return Ok(Some(End::Budget));
    }
    let open = round.open();
    let injected: Vec<u64> = open.iter().map(|question| round.asked[*question]).collect();
    let bench = Bench { injected: &injected, ..*bench };
    let layout = round.layouts.len();
    let blocks = bench.layout(layout, &mut trial::layout_rng(round.seed, layout))?;
    if blocks.is_empty() {
        return Ok(Some(End::Interrupted));
    }
    let mut row = vec![None; round.asked.len()];
    open.into_iter().zip(blocks).for_each(|(question, block)| row[question] = Some(block));
    round.layouts.push(row);
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forty_rounds_ask_what_the_figures_need() {
        let count = |permille| (0..ROUNDS).flat_map(asked).filter(|it| *it == permille).count();
        assert_eq!([0, 5, 10, 20].map(count), [40, 10, 20, 20]);
        // Each scenario gets each question.
        for which in 0..2 {
            let rounds = (0..ROUNDS).filter(|at| at / 2 % 2 == which);
            let all: std::collections::BTreeSet<u64> = rounds.flat_map(asked).collect();
            assert!(all.contains(&0) && all.contains(&10) && all.contains(&20), "{all:?}");
        }
    }
}
