//! `cargo xtask bench`: hakmem and its peers, on scenarios, real programs and Rust programs, in one
//! interleaved run.
//!
//! Within a repetition every row runs on every allocator one right after the other, in another
//! random order each time, so that whatever the machine does in between hits them alike. Turning one
//! fixed order round is not enough: a program that gives huge pages back leaves them warm for the
//! next one, and the same neighbour would profit every time.

pub mod aims;
pub mod counts;
pub mod dots;
mod html;
mod limits;
mod linked;
mod locked;
pub mod paired;
pub mod peers;
pub mod plot;
pub mod process;
mod programs;
mod recipe;
pub mod results;
mod scale;
mod select;
mod spread;
mod start;
mod summary;
pub mod table;
pub mod task;
mod warm;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use rand::seq::SliceRandom;

use crate::shared::{command, paths, registry, system, term, write};
use peers::{Allocator, Missing};
use process::Runner;
use results::{Cell, Circumstances, Results, Row, SCHEMA};
use task::Task;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args, Default)]
#[command(after_help = "\
Examples:
  cargo xtask bench                              the scenarios, all peers
  cargo xtask bench --all                        with threads, real programs and start-up as well
  cargo xtask bench --quick                      the scenarios in about a minute
  cargo xtask bench --scenario mir --peer rpmalloc --runs 15
  cargo xtask bench --threads 1,2,4,8            the threaded scenarios on so many threads
  cargo xtask bench --programs                   python, lua, perl, jq, node, gcc
  cargo xtask bench --linked                     as Rust's global allocator, with Rust programs
  cargo xtask bench --cache --scenario random-mixed-400
  cargo xtask bench --locked --scenario remote --scenario larson
  cargo xtask bench --scale --svg docs/results   cost against live blocks, threads and sizes
  cargo xtask bench --html target/bench.html     with figures, in one file to share
  cargo xtask bench --limits                     the instruction limits of benches/instructions.rs

Peers are built below target/peers from crates.io and Debian's packages; one that cannot be made
is named, with what to do about it. A ratio is hakmem against the best peer of the row: below 1 is
better. HAKMEM_* variables reach hakmem (HAKMEM_MODE=fast cargo xtask bench); peers run untuned.")]
pub struct Args {
    /// Run this scenario, or with --linked this Rust program (may be given several times)
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Run the threaded scenarios (or those named) on these numbers of threads
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    threads: Vec<usize>,
    /// Run the real programs under the preload
    #[arg(long)]
    programs: bool,
    /// Run only this real program (may be given several times)
    #[arg(long, value_name = "NAME")]
    program: Vec<String>,
    /// Measure what it takes to start `true` under the preload
    #[arg(long)]
    start_up: bool,
    /// Run everything: scenarios, on 2 and 8 threads too, real programs, start-up
    #[arg(long)]
    all: bool,
    /// Compare only with this peer (may be given several times)
    #[arg(long, value_name = "NAME")]
    peer: Vec<String>,
    /// Repetitions [default: 7, with --quick 3]
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// A fifth of the work and fewer repetitions: for a first look
    #[arg(long)]
    quick: bool,
    /// Count instructions per operation with valgrind too (single-threaded scenarios)
    #[arg(long)]
    instructions: bool,
    /// Count misses of a simulated first-level data cache too, and the instructions
    #[arg(long)]
    cache: bool,
    /// Count the locked instructions of each allocator too: what processors would queue for
    #[arg(long)]
    locked: bool,
    /// Compare the heaps as Rust programs have them, compiled in, on Rust programs too
    #[arg(long, conflicts_with_all = ["programs", "program", "start_up", "all", "scale"])]
    linked: bool,
    /// Measure the cost of an operation as live blocks, threads and sizes grow, and look for cliffs
    #[arg(long, conflicts_with_all = ["scenario", "threads", "programs", "program", "start_up", "all", "instructions", "cache", "locked"])]
    scale: bool,
    /// Turn on features of the library, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    features: Vec<String>,
    /// Print the results as JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Write a self-contained page with tables and figures
    #[arg(long, value_name = "PATH")]
    html: Option<PathBuf>,
    /// Write the figures as SVG files into this folder
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,
    /// Run the benchmarks that fail above a number of instructions, and nothing else
    #[arg(long)]
    limits: bool,
    /// List the scenarios, the programs and the peers, and stop
    #[arg(long)]
    list: bool,
}

/// Set by Ctrl-C: finish with what has been measured.
static STOP: AtomicBool = AtomicBool::new(false);

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    if args.list {
        return list();
    }
    if args.limits {
        return limits::run();
    }
    // What is wrong with the arguments is said before anything is built.
    let registry = registry::Registry::read()?;
    for feature in &args.features {
        if !registry.umbrellas.contains_key(feature) {
            registry.gate(feature)?;
        }
    }
    let runs = args.runs.unwrap_or(if args.quick { 3 } else { 7 });
    ensure!(runs > 0, "--runs is 0, expected at least 1");
    task::check_names("program", &args.program, &programs::names())?;
    task::check_threads(&args.threads)?;
    let known = if args.linked { linked::names() } else { peers::names() };
    task::check_names("peer", &args.peer, &known)?;

    let runner = Runner::build()?;
    let scenarios = runner.scenarios()?;
    if args.scale {
        let (allocators, missing) = make(&args)?;
        catch_interrupt()?;
        return scale::run(&args, &runner, allocators, missing);
    }
    if !args.linked {
        // Again before the peers are built.
        select::tasks(&args, &scenarios, Vec::new(), &mut Vec::new())?;
    }
    let (allocators, mut missing) = make(&args)?;
    let apps = if args.linked { linked::apps(&allocators[0])? } else { Vec::new() };
    let tasks = select::tasks(&args, &scenarios, apps, &mut missing)?;
    ensure!(!tasks.is_empty(), "nothing of what was asked for can be run here");

    let spec_rows = scenarios.iter().filter(|scenario| scenario.kind == "spec").count();
    let before = load();
    let cells = vec![Cell::default(); allocators.len()];
    let mut results = Results {
        schema: SCHEMA,
        circumstances: circumstances(runs, spec_rows, &args)?,
        rows: tasks.into_iter().map(|task| Row { task, cells: cells.clone() }).collect(),
        allocators,
        missing,
    };
    catch_interrupt()?;
    let bar = term::spinner("Warming", "the machine's memory");
    warm::memory();
    bar.finish_and_clear();
    measure(&runner, &mut results, runs);
    results.circumstances.load = (before, load());
    if (args.instructions || args.cache) && !STOP.load(Ordering::Relaxed) {
        counts::count(&runner, &mut results, args.cache);
    }
    if args.locked && !STOP.load(Ordering::Relaxed) {
        locked::count(&runner, &mut results);
    }
    if STOP.load(Ordering::Relaxed) {
        term::note("stopped early; these are the repetitions that were complete");
    }
    report(&args, &results)
}

/// Ours, the peers that could be made, and those that could not.
fn make(args: &Args) -> Result<(Vec<Allocator>, Vec<Missing>)> {
    let (allocators, missing) = if args.linked {
        linked::make(&args.peer, &args.features)?
    } else {
        let ours = peers::hakmem(&args.features)?;
        let (ready, missing) = peers::make(&args.peer)?;
        (std::iter::once(ours).chain(ready).collect(), missing)
    };
    ensure!(allocators.len() > 1, "no peer could be made, so there is nothing to compare with");
    Ok((allocators, missing))
}

fn catch_interrupt() -> Result<()> {
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed)).context("cannot catch Ctrl-C")
}

fn measure(runner: &Runner, results: &mut Results, runs: usize) {
    let count = results.allocators.len();
    let total: usize = results.rows.iter().map(|row| row.task.runs(runs)).sum();
    let bar = term::progress("Measuring", (total * count) as u64);
    for repetition in 0..runs {
        for row in results.rows.iter_mut().filter(|row| repetition < row.task.runs(runs)) {
            bar.set_message(row.task.name.clone());
            if !repeat(runner, &row.task, &results.allocators, &mut row.cells, &bar) {
                bar.finish_and_clear();
                // Whole repetitions only, so that ratios stay paired.
                let cells = results.rows.iter_mut().flat_map(|row| &mut row.cells);
                cells.for_each(|cell| cell.samples.truncate(repetition.max(1)));
                return;
            }
        }
    }
    bar.finish_and_clear();
}

/// Runs a row once on every allocator, in random order. False if it was interrupted.
fn repeat(
    runner: &Runner,
    task: &Task,
    allocators: &[Allocator],
    cells: &mut [Cell],
    bar: &indicatif::ProgressBar,
) -> bool {
    let mut order: Vec<usize> = (0..cells.len()).collect();
    order.shuffle(&mut rand::rng());
    for at in order {
        if STOP.load(Ordering::Relaxed) {
            return false;
        }
        let peak = cells.iter().flat_map(|cell| &cell.samples).map(|sample| sample.peak_kib).max();
        let cell = &mut cells[at];
        if cell.failure.is_none() {
            warm::again(peak);
            match runner.run(task, &allocators[at]) {
                Ok(sample) => cell.samples.push(sample),
                // What Ctrl-C ended did not fail.
                Err(_) if STOP.load(Ordering::Relaxed) => return false,
                Err(error) => {
                    *cell = Cell { failure: Some(format!("{error:#}")), ..Cell::default() };
                }
            }
        }
        bar.inc(1);
    }
    true
}

/// Prints or writes the results; a row that failed or a checksum that differs is a failure.
fn report(args: &Args, results: &Results) -> Result<ExitCode> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(&results.to_json())?);
    } else {
        print!("{}", table::render(results));
    }
    if let Some(folder) = &args.svg {
        write_figures(folder, &plot::all(results)?)?;
    }
    if let Some(path) = &args.html {
        write::atomically(path, html::page(results)?)?;
        term::step("Wrote", path.display());
    }
    let mut sound = true;
    for row in &results.rows {
        for cell in &row.cells {
            if let Some(failure) = &cell.failure {
                term::note(format!("no figure: {failure}"));
                sound = false;
            }
        }
        if !same_work(&row.cells) {
            term::note(format!("{}: the allocators did not do the same work", row.task.name));
            sound = false;
        }
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether all samples have the same checksum and number of operations.
fn same_work(cells: &[Cell]) -> bool {
    let mut samples = cells.iter().flat_map(|cell| &cell.samples);
    samples.next().is_none_or(|first| {
        samples.all(|sample| (sample.checksum, sample.ops) == (first.checksum, first.ops))
    })
}

fn write_figures(folder: &std::path::Path, figures: &[plot::Figure]) -> Result<()> {
    for figure in figures {
        let path = folder.join(format!("{}.svg", figure.name));
        write::atomically(&path, &figure.svg)?;
        term::step("Wrote", path.display());
    }
    Ok(())
}

fn list() -> Result<ExitCode> {
    println!("Scenarios:");
    for scenario in Runner::build()?.scenarios()? {
        println!("  {:20} {}", scenario.name, scenario.about);
    }
    println!("Real programs:\n  {}", programs::names().join(", "));
    println!("Peers:\n  {}", peers::names().join(", "));
    println!("Peers with --linked:\n  {}", linked::names().join(", "));
    Ok(ExitCode::SUCCESS)
}

fn circumstances(runs: usize, spec_rows: usize, args: &Args) -> Result<Circumstances> {
    let root = paths::root();
    let git = |arguments: &[&str]| {
        command::stdout(Command::new("git").args(arguments).current_dir(root)).unwrap_or_default()
    };
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"]).trim().is_empty();
    let commit = git(&["rev-parse", "--short", "HEAD"]);
    let date = command::stdout(Command::new("date").args(["-u", "+%Y-%m-%d"])).unwrap_or_default();
    Ok(Circumstances {
        commit: format!("{}{}", commit.trim(), if changed { "+" } else { "" }),
        date: date.trim().to_owned(),
        processor: system::processor(),
        processors: std::thread::available_parallelism()?.get(),
        kernel: system::kernel(),
        runs,
        quick: args.quick,
        linked: args.linked,
        spec_rows,
        features: args.features.clone(),
        settings: process::settings(),
        load: (0.0, 0.0),
    })
}

fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}
