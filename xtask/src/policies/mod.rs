//! `cargo xtask policies`: what the policies are worth and what the counters cost, against their aims.
//!
//! | part | asks |
//! |---|---|
//! | `vm` | what BigCache and batched `madvise` make of minimal mode |
//! | `thresholds` | whether what ELO and Evolution learn is as good as the best fixed threshold |
//! | `scenarios` | what learning costs in every scenario |
//! | `tiny` | whether the gates that learn add an instruction to the tiny path |
//! | `telemetry` | what every counter costs, a thread's own and shared |
//!
//! [`experiments`] says what is compared with what, [`measure`] builds and times it, [`outcome`] is what
//! comes out with its aims, shown by [`mod@report`] and [`picture`].

mod experiments;
mod measure;
mod outcome;
mod picture;
mod report;

use crate::shared::{document, page, paths, term, write};
use anyhow::{Result, bail};
use outcome::Outcome;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `cargo xtask policies`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask policies                       all of it
  cargo xtask policies --part vm             minimal mode alone
  cargo xtask policies --part thresholds --runs 51
  cargo xtask policies --html policies.html  with a figure, in one file to share
  cargo xtask policies --record              write docs/results/policies.{md,json,svg}

An aim is met, missed, or open where the interval holds its limit: more --runs, or a machine with
nothing else to do, close it. HAKMEM_* variables of the caller reach nothing that is measured.")]
pub struct Args {
    /// Only this part (may be given several times)
    #[arg(long, value_enum, conflicts_with = "record")]
    part: Vec<Part>,
    /// Repetitions of a comparison; those with the narrowest limits get three times as many
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(2..=1000))]
    runs: u32,
    /// Print the figures as JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Write a self-contained page with a figure and tables
    #[arg(long, value_name = "PATH")]
    html: Option<PathBuf>,
    /// Write the figure to this file
    #[arg(long, value_name = "PATH")]
    svg: Option<PathBuf>,
    /// Write docs/results/policies.md, .json and .svg
    #[arg(long)]
    record: bool,
}

/// A part of the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// BigCache and batched madvise against minimal mode
    Vm,
    /// Learned thresholds against the best fixed one
    Thresholds,
    /// Learning against the fixed default, in every scenario
    Scenarios,
    /// Instructions of the tiny path
    Tiny,
    /// Every counter, a thread's own and shared
    Telemetry,
}

/// All parts, in the order of the report.
const PARTS: [Part; 5] = [Part::Vm, Part::Thresholds, Part::Scenarios, Part::Tiny, Part::Telemetry];

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("`policies` counts x86-64 instructions on Linux; this machine is another one");
    }
    let parts: Vec<Part> = match &*args.part {
        [] => PARTS.to_vec(),
        asked => PARTS.into_iter().filter(|part| asked.contains(part)).collect(),
    };
    let outcome = measure::Lab::prepare(args.runs as usize)?.measure(&parts)?;
    report(&args, &outcome)
}

fn report(args: &Args, outcome: &Outcome) -> Result<ExitCode> {
    let svg = picture::draw(outcome)?;
    let json = serde_json::to_string_pretty(&report::json(outcome)?)? + "\n";
    let parts = report::parts(outcome, &svg);
    if args.json {
        term::print(&json)?;
    } else {
        term::print(&report::render(outcome))?;
    }
    let wrote = |path: PathBuf, text: String| -> Result<()> {
        write::atomically(&path, text)?;
        term::step("Wrote", path.display());
        Ok(())
    };
    if let Some(path) = &args.svg {
        wrote(path.clone(), svg.clone())?;
    }
    if let Some(path) = &args.html {
        wrote(path.clone(), page::page(report::TITLE, &document::html(report::TITLE, &parts)))?;
    }
    if args.record {
        let folder = paths::root().join("docs/results");
        wrote(folder.join("policies.svg"), svg)?;
        wrote(folder.join("policies.json"), json)?;
        wrote(folder.join("policies.md"), document::markdown(report::TITLE, &parts))?;
    }
    Ok(ExitCode::SUCCESS)
}
