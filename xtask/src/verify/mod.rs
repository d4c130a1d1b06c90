//! `cargo xtask verify`: does a gate's code run at all, where, and how often per operation?
//!
//! Both arms are built as for `ab` and compared before linking. [`sites`] groups the instructions
//! that only the arm with the gate has by the place in the source that they come from; [`hits`]
//! counts their executions in each scenario; [`report`] makes the table. Counting is exact, so
//! nothing here needs a quiet machine.

mod hits;
mod report;
mod sites;

use crate::ab::arms::{self, Arm, Recipe};
use crate::ab::count::Counter;
use crate::ab::question::Question;
use crate::ab::{diff, process, scenario};
use crate::asm::annotate::Annotated;
use crate::shared::registry::Registry;
use crate::shared::{lock, term};
use anyhow::{Context, Result, bail};
use report::Report;
use std::process::ExitCode;

/// Arguments of `cargo xtask verify`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask verify tiny-free-calls
  cargo xtask verify remote-target-stats --scenario remote --scenario larson
  cargo xtask verify unified-cache-measure --json > hits.json

Each scenario runs twice under callgrind, once three times as long, and the difference is free of
start-up; without valgrind breakpoints count instead, in shorter runs. `start` means: only while the
scenario sets itself up. Exit code 1 means that the gate's code never ran.")]
pub struct Args {
    /// The gate, as the registry in Cargo.toml names it
    #[arg(value_name = "GATE")]
    gate: String,
    /// Count in this scenario instead of in all of them (repeatable)
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Print sites, scenarios and counts as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("`cargo xtask verify` compares x86-64 code; run it on x86-64 Linux");
    }
    let question = Question::gates(&Registry::read()?, std::slice::from_ref(&args.gate))?;
    process::catch_interrupts()?;
    let _alone = lock::take(&arms::folder(), "another experiment")?;
    let report = verify(&args, &question)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.text());
    }
    Ok(ExitCode::from(u8::from(!report.runs)))
}

fn verify(args: &Args, question: &Question) -> Result<Report> {
    let (with, name, comparison) = build(question)?;
    let all = scenario::list(&with.program)?;
    let scenarios = match args.scenario.is_empty() {
        // What is one operation long is about start-up.
        true => all.into_iter().filter(|scenario| scenario.ops > 1).collect(),
        false => scenario::select(&all, &args.scenario)?,
    };
    // The linker commands of the arms leave the line tables out; cargo's own link has them.
    let annotated = Annotated::read(&arms::folder().join(name).join("release").join(PROGRAM))?;
    let counts_only = question.removal();
    let sites = sites::group(&comparison.with.own, counts_only, |symbol, offset| {
        annotated.frames(symbol, offset)
    });
    let counter = Counter::pick();
    let bar = term::progress("Counting", scenarios.len() as u64);
    let variables = question.variables();
    let target =
        hits::Target { program: &with.program, functions: &with.functions, variables: &variables };
    let rows = hits::count(&target, &sites, &scenarios, counter, &|name| {
        bar.set_message(name.to_owned());
        bar.inc(1);
    });
    bar.finish_and_clear();
    if process::interrupted() {
        bail!("interrupted before all scenarios were counted; there is no result");
    }
    Ok(Report::new(question, counter, sites, rows?))
}

/// The scenarios with the heap compiled in.
const PROGRAM: &str = "hakmem-scenario-linked";

/// Builds both arms and compares them: the arm with the gate, its folder, and what differs.
fn build(question: &Question) -> Result<(Arm, String, diff::Comparison)> {
    let Some((gates, both)) = question.features() else {
        bail!("`cargo xtask verify` is about gates; expected the name of one");
    };
    let recipes = Recipe::pair(&gates, &both);
    let arm = |phrase: &str, recipe: &Recipe<'_>| {
        let bar = term::spinner("Building", phrase.to_owned());
        let arm = Arm::build(recipe);
        bar.finish_and_clear();
        arm.with_context(|| format!("building {phrase}"))
    };
    let phrases = question.arms_at_length();
    let (out, with) = (arm(&phrases.0, &recipes.0)?, arm(&phrases.1, &recipes.1)?);
    arms::one_difference(&out, &with, &gates)?;
    let comparison = diff::compare(&out.code, &with.code);
    Ok((with, recipes.1.name, comparison))
}
