//! `cargo xtask asm`: the fast paths as instructions, exactly as executed.
//!
//! A child in a steady state of allocating and freeing is run one instruction at a time; what it
//! executes between the entry of a function and its return is counted, listed from the file with
//! its symbols, and compared with the golden counts.

pub(crate) mod annotate;
mod answers;
mod difference;
mod gates;
mod golden;
mod known;
pub mod library;
mod listing;
mod sites;
pub mod step;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use comfy_table::{Cell, CellAlignment, Table};

use crate::bench::peers::{self, Allocator};
use crate::bench::process::preload;
use crate::shared::{command, paths, term};
use golden::{Count, Counts};
use listing::Image;
use step::{Function, Watched};

/// Arguments of `cargo xtask asm`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask asm                 what malloc, free and sized delete execute, line by line
  cargo xtask asm --check         fail if a fast path got longer than its golden count
  cargo xtask asm --bless         record the counts of today as golden
  cargo xtask asm --gates         prove that the default build holds nothing of any gate
  cargo xtask asm --diff tiny-free-calls   what a gate adds, instruction by instruction
  cargo xtask asm --peers         count the peers' fast paths too

The golden counts are in ci/golden-fast-path.json.")]
pub struct Args {
    /// Size of the blocks
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// Fail if anything executes more than its golden count
    #[arg(long, conflicts_with = "bless")]
    check: bool,
    /// Write the counts as the new golden ones
    #[arg(long)]
    bless: bool,
    /// Show that a gate that is off leaves no instruction behind
    #[arg(long)]
    gates: bool,
    /// Show what a gate, or a union of gates, adds to the fast paths and to every other function
    #[arg(long, value_name = "FEATURE", conflicts_with_all = ["check", "bless", "gates", "peers", "peer"])]
    diff: Option<String>,
    /// Count all peers too
    #[arg(long)]
    peers: bool,
    /// Count this peer too (may be given several times)
    #[arg(long, value_name = "NAME")]
    peer: Vec<String>,
    /// Print the counts only, without the instructions
    #[arg(long)]
    brief: bool,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// The size that the golden counts are about.
pub const GOLDEN_SIZE: usize = 64;

/// What `architecture.md`'s budget for the preload library at 64 bytes allows: the most
/// instructions, and neither calls nor locked instructions.
const BUDGET: [(&str, u64); 3] = [("malloc", 12), ("free", 14), ("_ZdlPvm", 11)];

/// The names under which the programs appear.
const PRELOAD: &str = "libhakmem_preload.so";
const RUST: &str = "Rust, fat LTO, constant size";

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        bail!("`asm` reads x86-64 instructions on Linux; this machine is another one");
    }
    if args.gates {
        return gates::run(args.json);
    }
    if let Some(feature) = &args.diff {
        return difference::run(feature, args.json);
    }
    if (args.check || args.bless) && args.size != GOLDEN_SIZE {
        bail!("the golden counts are about blocks of {GOLDEN_SIZE} bytes, not {}", args.size);
    }
    let ours = peers::hakmem(&[])?;
    let watched = watch(&ours, args.size)?;
    let linked = if args.size == GOLDEN_SIZE { Some(watch_linked()?) } else { None };
    let mut rows = vec![(PRELOAD.to_owned(), &watched)];
    rows.extend(linked.as_ref().map(|linked| (RUST.to_owned(), linked)));
    let counts = counts(&rows);

    let others = if args.peers || !args.peer.is_empty() { others(&args)? } else { Vec::new() };
    for (allocator, watched) in &others {
        rows.push((format!("{} {}", allocator.name, allocator.version), watched));
    }
    if args.json {
        let all: BTreeMap<_, _> =
            rows.iter().map(|(name, watched)| (name, means(watched))).collect();
        let json = serde_json::json!({ "schema": 1, "size": args.size, "programs": all });
        println!("{}", serde_json::to_string_pretty(&json)?);
    } else {
        if !args.brief {
            for (name, watched) in rows.iter().take(counts.len()) {
                print_listing(name, watched)?;
            }
        }
        println!(
            "Executed at {} bytes, from entry to return, steady state\n{}",
            args.size,
            table(&rows)
        );
    }
    judge(&args, &counts)
}

/// Blesses, or compares with the golden counts and the budget.
fn judge(args: &Args, counts: &Counts) -> Result<ExitCode> {
    for fault in over_budget(counts) {
        term::note(fault);
    }
    if args.bless {
        golden::write(args.size, counts)?;
        term::step("Wrote", golden::path().display());
    }
    if args.check {
        let faults = golden::faults(&golden::read()?.counts, counts);
        for fault in &faults {
            eprintln!("{fault}");
        }
        if !faults.is_empty() {
            return Ok(ExitCode::FAILURE);
        }
        term::step("Checked", "no fast path is longer than its golden count");
    }
    Ok(ExitCode::SUCCESS)
}

fn over_budget(counts: &Counts) -> Vec<String> {
    let Some(found) = counts.get(PRELOAD) else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    for (name, most) in BUDGET {
        let Some(count) = found.get(name) else {
            continue;
        };
        if count.instructions > most || count.locked > 0 || count.calls > 0 {
            faults.push(format!(
                "{name} executes {} instructions, {} locked, {} calls; the budget is {most}, 0, 0",
                count.instructions, count.locked, count.calls
            ));
        }
    }
    faults
}

fn counts(rows: &[(String, &Watched)]) -> Counts {
    rows.iter()
        .map(|(name, watched)| {
            let functions = watched.functions.iter();
            // A function that takes part in two pairs counts with its longer path.
            let mut counts: BTreeMap<String, Count> = BTreeMap::new();
            for function in functions {
                let count = Count::from(function);
                let slot = counts.entry(function.name.clone()).or_insert(count);
                if count.instructions > slot.instructions {
                    *slot = count;
                }
            }
            (name.clone(), counts)
        })
        .collect()
}

fn means(watched: &Watched) -> serde_json::Value {
    let functions = watched.functions.iter().map(|function| {
        serde_json::json!({
            "function": function.name,
            "instructions": function.median(),
            "mean": function.mean(),
            "locked": function.path.locked,
            "calls": function.path.inner_calls,
        })
    });
    functions.collect()
}

/// Builds the program that is watched, and watches the C names of an allocator.
fn watch(allocator: &Allocator, size: usize) -> Result<Watched> {
    watch_in(&step_program()?, allocator, size)
}

/// Builds the program in which the C names of an allocator are watched.
pub fn step_program() -> Result<PathBuf> {
    build("hakmem-step")
}

/// Watches the C names of an allocator in that program.
pub fn watch_in(program: &Path, allocator: &Allocator, size: usize) -> Result<Watched> {
    let mut run = Command::new(program);
    run.arg(size.to_string());
    preload(&mut run, allocator);
    step::watch(&mut run).with_context(|| format!("cannot count {}", allocator.name))
}

fn watch_linked() -> Result<Watched> {
    let program = build("hakmem-step-linked")?;
    step::watch(&mut Command::new(program))
}

fn others(args: &Args) -> Result<Vec<(Allocator, Watched)>> {
    let (ready, _) = peers::make(if args.peers { &[] } else { &args.peer })?;
    let watched = ready.into_iter().map(|allocator| {
        let watched = watch(&allocator, args.size)?;
        Ok((allocator, watched))
    });
    watched.collect()
}

fn build(binary: &str) -> Result<PathBuf> {
    let spinner = term::spinner("Building", binary.to_owned());
    let mut build = command::cargo();
    build.args(["build", "--release", "--package", "hakmem-scenarios", "--bin", binary]);
    let built = command::output(&mut build);
    spinner.finish_and_clear();
    built?;
    Ok(paths::target().join("release").join(binary))
}

fn print_listing(name: &str, watched: &Watched) -> Result<()> {
    let mut images = BTreeMap::new();
    for mapping in &watched.mappings {
        if !images.contains_key(&mapping.file) {
            images.insert(mapping.file.clone(), Image::read(Path::new(&mapping.file))?);
        }
    }
    let mut seen = Vec::new();
    for function in &watched.functions {
        if !seen.contains(&&function.name) {
            seen.push(&function.name);
            println!("{name}: {}, {} instructions", function.name, function.median());
            println!("{}", listing::listing(&function.path, &watched.mappings, &images));
        }
    }
    Ok(())
}

fn table(rows: &[(String, &Watched)]) -> Table {
    let mut table = Table::new();
    table.load_style(crate::bench::table::STYLE);
    table.set_header(["", "function", "instructions", "mean", "locked", "calls"]);
    for (name, watched) in rows {
        for (at, function) in watched.functions.iter().enumerate() {
            table.add_row(row(if at == 0 { name } else { "" }, function));
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn row(name: &str, function: &Function) -> Vec<Cell> {
    vec![
        Cell::new(name),
        Cell::new(&function.name),
        Cell::new(function.median()),
        Cell::new(format!("{:.1}", function.mean())),
        Cell::new(function.path.locked),
        Cell::new(function.path.inner_calls),
    ]
}
