//! `cargo xtask bench`: the scenarios on hakmem and its peers, in one interleaved run.
//!
//! Within a repetition every scenario runs on every allocator one right after the other, in another
//! random order each time, so that whatever the machine does in between hits them alike. Turning one
//! fixed order round is not enough: a program that gives huge pages back leaves them warm for the
//! next one, and the same neighbour would profit every time.

mod html;
pub mod instructions;
mod limits;
pub mod peers;
mod plot;
pub mod process;
mod recipe;
pub mod results;
pub mod table;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use rand::seq::SliceRandom;

use crate::shared::{command, paths, registry, term};
use process::{Program, Scenario};
use results::{Cell, Circumstances, Results, Row};

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench                              all scenarios, all peers
  cargo xtask bench --quick                      the same in about a minute
  cargo xtask bench --scenario mir --peer rpmalloc --runs 15
  cargo xtask bench --linked                     as Rust's global allocator, with rusty_alloc
  cargo xtask bench --html target/bench.html     with figures, in one file to share
  cargo xtask bench --instructions               counted by valgrind as well
  cargo xtask bench --limits                     the instruction limits of benches/instructions.rs

Peers are built below target/peers from crates.io and Debian's packages; one that cannot be made
is named, with what to do about it. A ratio is hakmem against the best peer of the row: below 1 is
better. HAKMEM_* variables reach hakmem (HAKMEM_MODE=fast cargo xtask bench); peers run untuned.")]
pub struct Args {
    /// Run only this scenario (may be given several times)
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
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
    /// Compare the heaps as Rust programs have them, compiled in: hakmem, rusty_alloc, the system's
    #[arg(long, conflicts_with_all = ["peer", "instructions"])]
    linked: bool,
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
    /// List the scenarios and the peers, and stop
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
    let registry = registry::Registry::read()?;
    for feature in &args.features {
        if !registry.umbrellas.contains_key(feature) {
            registry.gate(feature)?;
        }
    }
    let runs = args.runs.unwrap_or(if args.quick { 3 } else { 7 });
    ensure!(runs > 0, "--runs is 0, expected at least 1");

    let program = Program::build()?;
    let scenarios = choose(program.scenarios()?, &args)?;
    let (allocators, missing) = if args.linked {
        peers::linked(&args.features)?
    } else {
        let ours = peers::hakmem(&args.features)?;
        let (ready, missing) = peers::make(&args.peer)?;
        (std::iter::once(ours).chain(ready).collect(), missing)
    };
    ensure!(allocators.len() > 1, "no peer could be made, so there is nothing to compare with");

    let rows = scenarios.into_iter().map(|scenario| {
        let cells = vec![Cell::default(); allocators.len()];
        Row { scenario, cells }
    });
    let before = load();
    let mut results = Results {
        schema: 1,
        circumstances: circumstances(runs, &args)?,
        rows: rows.collect(),
        allocators,
        missing,
    };
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed)).context("cannot catch Ctrl-C")?;
    measure(&program, &mut results, runs);
    results.circumstances.load = (before, load());
    if args.instructions && !STOP.load(Ordering::Relaxed) {
        instructions::count(&program, &mut results);
    }
    if STOP.load(Ordering::Relaxed) {
        term::note("stopped early; these are the repetitions that were complete");
    }
    report(&args, &results)
}

fn choose(all: Vec<Scenario>, args: &Args) -> Result<Vec<Scenario>> {
    for name in &args.scenario {
        let names: Vec<_> = all.iter().map(|scenario| scenario.name.as_str()).collect();
        ensure!(
            names.contains(&name.as_str()),
            "no scenario is called '{name}'; expected one of {}",
            names.join(", ")
        );
    }
    let mut chosen = all;
    chosen.retain(|scenario| args.scenario.is_empty() || args.scenario.contains(&scenario.name));
    // The row that is about returning memory needs its whole heap to say anything.
    for scenario in chosen.iter_mut().filter(|scenario| args.quick && scenario.settle_ms == 0) {
        scenario.ops = (scenario.ops / 5).max(1);
    }
    Ok(chosen)
}

fn measure(program: &Program, results: &mut Results, runs: usize) {
    let count = results.allocators.len();
    let bar = term::progress("Measuring", (runs * results.rows.len() * count) as u64);
    for repetition in 0..runs {
        for row in &mut results.rows {
            bar.set_message(row.scenario.name.clone());
            let mut order: Vec<usize> = (0..count).collect();
            order.shuffle(&mut rand::rng());
            for at in order {
                if STOP.load(Ordering::Relaxed) {
                    bar.finish_and_clear();
                    // Whole repetitions only, so that ratios stay paired.
                    let cells = results.rows.iter_mut().flat_map(|row| &mut row.cells);
                    cells.for_each(|cell| cell.samples.truncate(repetition.max(1)));
                    return;
                }
                let cell = &mut row.cells[at];
                if cell.failure.is_none() {
                    match program.run(&row.scenario, row.scenario.ops, &results.allocators[at]) {
                        Ok(sample) => cell.samples.push(sample),
                        Err(error) => {
                            *cell = Cell { failure: Some(format!("{error:#}")), ..Cell::default() };
                        }
                    }
                }
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
}

/// Prints or writes the results; a scenario that failed or a checksum that differs is a failure.
fn report(args: &Args, results: &Results) -> Result<ExitCode> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(&results.to_json())?);
    } else {
        print!("{}", table::render(results));
    }
    if let Some(folder) = &args.svg {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        for (name, svg) in plot::all(results)? {
            let path = folder.join(format!("{name}.svg"));
            std::fs::write(&path, svg)
                .with_context(|| format!("cannot write {}", path.display()))?;
            term::step("Wrote", path.display());
        }
    }
    if let Some(path) = &args.html {
        let page = html::page(results)?;
        std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
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
        let mut samples = row.cells.iter().flat_map(|cell| &cell.samples);
        if let Some(first) = samples.next()
            && !samples.all(|sample| (sample.checksum, sample.ops) == (first.checksum, first.ops))
        {
            term::note(format!("{}: the allocators did not do the same work", row.scenario.name));
            sound = false;
        }
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list() -> Result<ExitCode> {
    println!("Scenarios:");
    for scenario in Program::build()?.scenarios()? {
        println!("  {:20} {}", scenario.name, scenario.about);
    }
    println!("Peers:\n  {}", peers::names().join(", "));
    Ok(ExitCode::SUCCESS)
}

fn circumstances(runs: usize, args: &Args) -> Result<Circumstances> {
    let root = paths::root();
    let git = |arguments: &[&str]| {
        command::stdout(Command::new("git").args(arguments).current_dir(root)).unwrap_or_default()
    };
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"]).trim().is_empty();
    let commit = git(&["rev-parse", "--short", "HEAD"]);
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    Ok(Circumstances {
        commit: format!("{}{}", commit.trim(), if changed { "+" } else { "" }),
        processor: processor.unwrap_or("unknown").trim_start_matches([' ', '\t', ':']).to_owned(),
        processors: std::thread::available_parallelism()?.get(),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        runs,
        quick: args.quick,
        features: args.features.clone(),
        settings: process::settings(),
        load: (0.0, 0.0),
    })
}

fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}
