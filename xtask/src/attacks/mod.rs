//! `cargo xtask attacks`: the same memory errors under several heaps, and what each makes of them.
//!
//! One C program (`tests/c/attacks.c`) with a case per attack runs with each heap preloaded: ours in
//! its three builds, the system's, mimalloc in secure mode, snmalloc with its client checks. A cell
//! says what happened to the process; nothing is judged. What the hardened builds cost is timed by [`cost`].

mod cost;
mod outcome;

use crate::bench::peers::{self, Allocator, Missing};
use crate::bench::task::check_names;
use crate::shared::{command, paths, system, term, write};
use crate::test::process;
use anyhow::{Context, Result, bail};
use comfy_table::Table;
use outcome::Outcome;
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Longest time one attack may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Variables of the environment.
type Variables = &'static [(&'static str, &'static str)];

/// Our builds: name, features, variables.
const OURS: [(&str, &[&str], Variables); 3] = [
    ("hakmem", &[], &[]),
    ("hakmem hardened", &["hardened"], &[]),
    // Every refill is sampled, so that the block which is attacked is.
    ("hakmem guard-sample", &["guard-sample"], &[("HAKMEM_GUARD_SAMPLE", "1")]),
];

/// Arguments of `cargo xtask attacks`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask attacks                      every attack under every heap
  cargo xtask attacks double-free          this attack
  cargo xtask attacks --no-peers           our builds alone
  cargo xtask attacks --record             write docs/results/attacks.md and attacks.json, too
  cargo xtask attacks --cost               what the hardened builds cost, each against its plain one
  cargo xtask attacks --cost --record      write docs/results/hardened-cost.md, .json and .svg, too")]
pub struct Args {
    /// Run only these attacks
    cases: Vec<String>,

    /// Leave the other allocators out
    #[arg(long)]
    no_peers: bool,

    /// Time the hardened heaps and their plain builds in one run, instead of attacking them
    #[arg(long, conflicts_with_all = ["cases", "no_peers"])]
    cost: bool,

    /// Repetitions of each scenario, with --cost
    #[arg(long, default_value_t = 15, requires = "cost", value_parser = clap::value_parser!(u32).range(2..=1000))]
    runs: u32,

    /// Write docs/results/attacks.md and attacks.json (with --cost: hardened-cost.md, .json and .svg)
    #[arg(long)]
    record: bool,

    /// Print the outcomes, or the times, as JSON
    #[arg(long)]
    json: bool,
}

/// A heap with what it needs beside its library.
struct Heap {
    allocator: Allocator,
    variables: Variables,
}

/// One attack, and what became of it under each heap.
#[derive(Serialize)]
struct Row {
    case: String,
    about: String,
    outcomes: Vec<Outcome>,
}

/// All that is recorded.
#[derive(Serialize)]
struct Results {
    kernel: String,
    heaps: Vec<Allocator>,
    missing: Vec<Missing>,
    rows: Vec<Row>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    if args.cost {
        cost::run(args.runs as usize, args.json, args.record)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.record && (args.no_peers || !args.cases.is_empty()) {
        bail!("--record writes the whole table; give it neither cases nor --no-peers");
    }
    let folder = paths::target().join("attacks");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let program = compile(&folder)?;
    let cases = cases(&program)?;
    let known: Vec<&str> = cases.iter().map(|(name, _)| name.as_str()).collect();
    check_names("attack", &args.cases, &known)?;

    let mut heaps = Vec::new();
    for (name, features, variables) in OURS {
        heaps.push(Heap { allocator: ours(name, features, &folder)?, variables });
    }
    let mut missing = Vec::new();
    if !args.no_peers {
        let (peers, absent) = peers::hardened()?;
        heaps.extend(peers.into_iter().map(|allocator| Heap { allocator, variables: &[] }));
        missing = absent;
    }

    let wanted: Vec<_> = cases
        .into_iter()
        .filter(|(name, _)| args.cases.is_empty() || args.cases.contains(name))
        .collect();
    let bar = term::progress("Attacking", (wanted.len() * heaps.len()) as u64);
    let mut rows = Vec::new();
    for (case, about) in wanted {
        bar.set_message(case.clone());
        let mut outcomes = Vec::new();
        for heap in &heaps {
            outcomes.push(attack(&program, &case, heap)?);
            bar.inc(1);
        }
        rows.push(Row { case, about, outcomes });
    }
    bar.finish_and_clear();
    let heaps = heaps.into_iter().map(|heap| heap.allocator).collect();
    let results = Results { kernel: system::kernel(), heaps, missing, rows };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    } else {
        term::print(&format!("{}\n", table(&results)))?;
    }
    if args.record {
        let folder = paths::root().join("docs/results");
        let json = serde_json::to_string_pretty(&results)? + "\n";
        write::atomically(&folder.join("attacks.json"), json)?;
        write::atomically(&folder.join("attacks.md"), page(&results))?;
        term::step("Wrote", "docs/results/attacks.md and attacks.json");
    }
    Ok(ExitCode::SUCCESS)
}

/// Compiles the program; without optimisation, so that no attack is optimised away.
fn compile(folder: &Path) -> Result<PathBuf> {
    if paths::which("cc").is_none() {
        bail!("the attacks are a C program and there is no `cc`; `apt-get install gcc libc6-dev`");
    }
    let program = folder.join("attacks");
    let source = paths::root().join("tests/c/attacks.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-O0", "-w", "-pthread", "-o"]).arg(&program).arg(source);
    command::output(&mut compiler)?;
    Ok(program)
}

/// Name and description of every case.
fn cases(program: &Path) -> Result<Vec<(String, String)>> {
    let list = command::stdout(Command::new(program).arg("--list"))?;
    let cases = list.lines().filter_map(|line| line.split_once('\t'));
    Ok(cases.map(|(name, about)| (name.to_owned(), about.to_owned())).collect())
}

/// Builds our library with these features and keeps it apart from the other builds.
fn ours(name: &str, features: &[&str], folder: &Path) -> Result<Allocator> {
    let features: Vec<String> = features.iter().map(|feature| (*feature).to_owned()).collect();
    let built = peers::hakmem(&features)?;
    let library = folder.join(format!("lib{}.so", name.replace(' ', "-")));
    let from = built.library.context("the build has no library")?;
    std::fs::copy(&from, &library)
        .with_context(|| format!("cannot copy {} to {}", from.display(), library.display()))?;
    Ok(Allocator { name: name.to_owned(), library: Some(library), ..built })
}

fn attack(program: &Path, case: &str, heap: &Heap) -> Result<Outcome> {
    let mut child = Command::new("/usr/bin/env");
    if let Some(library) = &heap.allocator.library {
        child.arg(format!("LD_PRELOAD={}", library.display()));
    }
    child.arg(program).arg(case).envs(heap.variables.iter().copied());
    let mut said = Vec::new();
    let ended = process::stream(child, LIMIT, |line| said.push(line.to_owned()))?;
    Ok(Outcome::of(ended.status, &said))
}

/// The table for the terminal.
fn table(results: &Results) -> Table {
    let mut table = crate::real::table();
    let names = results.heaps.iter().map(|heap| heap.name.clone());
    table.set_header(std::iter::once("attack".to_owned()).chain(names));
    for row in &results.rows {
        let cells = row.outcomes.iter().map(|outcome| outcome.words.clone());
        table.add_row(std::iter::once(row.about.clone()).chain(cells));
    }
    table
}

/// The page that is recorded.
fn page(results: &Results) -> String {
    let mut page = String::from(
        "# Attacks\n\nWritten by `cargo xtask attacks --record`. One program, `tests/c/attacks.c`, with \
         each heap preloaded; what the words promise, and what they do not, is in \
         [SECURITY.md](../../SECURITY.md).\n\n\
         - **stopped**: the heap ended the process during the attack; **faulted**: the processor did.\n\
         - **stopped later**: the attack was over, the program went on, then the heap noticed.\n\
         - **not noticed**: the program lived to its end; **gained**: and the attacker got something.\n\n\
         `guard-sample` runs with every refill sampled: what it says is what it says of a block that is \
         sampled.\n\n",
    );
    let names: Vec<&str> = results.heaps.iter().map(|heap| heap.name.as_str()).collect();
    let _ = writeln!(page, "| attack | {} |", names.join(" | "));
    let _ = writeln!(page, "|---|{}", "---|".repeat(names.len()));
    for row in &results.rows {
        let cells: Vec<&str> = row.outcomes.iter().map(|outcome| outcome.words.as_str()).collect();
        let _ = writeln!(page, "| {} | {} |", row.about, cells.join(" | "));
    }
    let versions: Vec<String> =
        results.heaps.iter().map(|heap| format!("{} {}", heap.name, heap.version)).collect();
    let _ = writeln!(page, "\n{}. Linux {}.", versions.join(", "), results.kernel);
    for Missing { name, reason } in &results.missing {
        let _ =
            writeln!(page, "\n{name} is left out: {}", reason.lines().next().unwrap_or_default());
    }
    page
}
