//! `cargo xtask real`: real programs on the heap, compared with themselves on the system's heap.
//!
//! C programs run under `LD_PRELOAD=libhakmem_preload.so` (`tests/real/`), Rust programs with
//! `#[global_allocator]` (`benches/apps`). A program that is not installed is skipped by name, with
//! the command that installs it.

mod apps;
pub mod evidence;
pub mod program;
pub mod run;

use crate::shared::{command, lock, paths, term};
use crate::test::tally::Tally;
use anyhow::{Context, Result, bail};
use apps::Apps;
use comfy_table::{Table, presets};
use evidence::LIBRARY;
use program::{Program, REAL};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `cargo xtask real`.
#[derive(clap::Args, Default)]
#[command(after_help = "Examples:
  cargo xtask real                         every program
  cargo xtask real git redis               programs whose name holds one of these words
  cargo xtask real --features research     the same, with every counter and policy compiled in
  cargo xtask real --env HAKMEM_MODE=minimal git
  cargo xtask real --library /path/to.so   another library of the same file name
  cargo xtask real --list                  what there is, and what is installed")]
pub struct Args {
    /// Run only programs whose name contains one of these words
    pub filter: Vec<String>,

    /// Gates or umbrellas to compile in, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub features: Vec<String>,

    /// Set a variable for the runs on Hakmem; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,

    /// Use this libhakmem_preload.so instead of building one
    #[arg(long, value_name = "FILE")]
    pub library: Option<PathBuf>,

    /// List the programs and what they need, and run nothing
    #[arg(long)]
    pub list: bool,

    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
}

/// What became of one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The same as on the system's heap.
    Passed,
    /// Not the same.
    Failed,
    /// Not installed.
    Skipped,
}

/// One program's row.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The program.
    pub name: String,
    /// What became of it.
    pub status: Status,
    /// Seconds on the system's heap.
    pub system_seconds: f64,
    /// Seconds on Hakmem.
    pub hakmem_seconds: f64,
    /// Processes seen on the heap; 1 for a Rust program.
    pub processes: u64,
    /// Bytes of output that were compared.
    pub bytes: u64,
    /// What was wrong, or how to install what is missing.
    pub detail: Vec<String>,
}

impl Outcome {
    fn failed(name: &str, detail: Vec<String>) -> Outcome {
        Outcome {
            name: name.to_owned(),
            status: Status::Failed,
            system_seconds: 0.0,
            hakmem_seconds: 0.0,
            processes: 0,
            bytes: 0,
            detail,
        }
    }

    /// The row as a count.
    pub fn tally(&self) -> Tally {
        match self.status {
            Status::Passed => Tally::PASSED,
            Status::Failed => Tally::FAILED,
            Status::Skipped => Tally::SKIPPED,
        }
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    if args.list {
        return list(&args);
    }
    let outcomes = run_all(&args)?;
    let mut tally = Tally::default();
    for outcome in &outcomes {
        tally += outcome.tally();
    }
    if args.json {
        let all = serde_json::json!({ "outcomes": outcomes, "tally": tally });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        print_table(&outcomes);
        println!("{}", tally.line());
    }
    Ok(ExitCode::from(u8::from(tally.failed > 0)))
}

/// Runs every program that the arguments ask for; prints each result as it comes.
pub fn run_all(args: &Args) -> Result<Vec<Outcome>> {
    let wanted = |name: &str| {
        args.filter.is_empty() || args.filter.iter().any(|word| name.contains(word.as_str()))
    };
    let mut programs = Program::all(REAL)?;
    programs.retain(|program| wanted(&program.name));
    let apps_wanted = args.library.is_none()
        && (args.filter.is_empty() || args.filter.iter().any(|word| word.starts_with("rust")));
    if programs.is_empty() && !apps_wanted {
        bail!("no program matches {:?}; `cargo xtask real --list` shows them", args.filter);
    }
    let scratch = folder();
    let _alone = alone()?;
    let mut outcomes = Vec::new();
    if !programs.is_empty() {
        let library = library(args.library.as_deref(), &args.features)?;
        for program in &programs {
            let missing = program.missing_packages();
            let outcome = if missing.is_empty() {
                let spinner = term::spinner("Running", program.name.clone());
                let folder = scratch.join(&program.name);
                let outcome = one(program, &library, &args.env, &folder);
                spinner.finish_and_clear();
                outcome
            } else {
                Outcome {
                    status: Status::Skipped,
                    ..Outcome::failed(
                        &program.name,
                        vec![format!("not installed: `apt-get install {}`", missing.join(" "))],
                    )
                }
            };
            report(&outcome);
            outcomes.push(outcome);
        }
    }
    if apps_wanted {
        outcomes.extend(rust_programs(args, &scratch.join("rust"), &wanted)?);
    }
    Ok(outcomes)
}

fn rust_programs(
    args: &Args,
    scratch: &Path,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<Outcome>> {
    let spinner = term::spinner("Building", format!("{} for both heaps", apps::PACKAGE));
    let apps = Apps::build(scratch, &args.features);
    spinner.finish_and_clear();
    let apps = match apps {
        Ok(apps) => apps,
        Err(error) => {
            let outcome = Outcome::failed("rust programs", vec![format!("{error:#}")]);
            report(&outcome);
            return Ok(vec![outcome]);
        }
    };
    let mut outcomes = Vec::new();
    for app in &apps.names {
        let name = format!("rust {app}");
        if !wanted(&name) && !wanted("rust") {
            continue;
        }
        let spinner = term::spinner("Running", name.clone());
        let compared = apps.compare(app, &args.env);
        spinner.finish_and_clear();
        let outcome = match compared {
            Ok(compared) => Outcome {
                status: status(&compared.faults),
                system_seconds: compared.system.as_secs_f64(),
                hakmem_seconds: compared.hakmem.as_secs_f64(),
                processes: 1,
                bytes: compared.bytes,
                ..Outcome::failed(&name, compared.faults)
            },
            Err(error) => Outcome::failed(&name, vec![format!("{error:#}")]),
        };
        report(&outcome);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Reads a `NAME=VALUE` argument.
fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, as in HAKMEM_MODE=minimal".to_owned()),
    }
}

fn one(
    program: &Program,
    library: &Path,
    variables: &[(String, String)],
    scratch: &Path,
) -> Outcome {
    match run::compare(program, library, variables, scratch) {
        Ok(compared) => Outcome {
            status: status(&compared.faults),
            system_seconds: seconds(compared.system),
            hakmem_seconds: seconds(compared.preload),
            processes: compared.evidence.processes(),
            bytes: compared.bytes,
            ..Outcome::failed(&program.name, compared.faults)
        },
        Err(error) => Outcome::failed(&program.name, vec![format!("{error:#}")]),
    }
}

fn status(faults: &[String]) -> Status {
    if faults.is_empty() { Status::Passed } else { Status::Failed }
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

fn folder() -> PathBuf {
    paths::target().join("xtask/real")
}

/// Waits until no other command runs real programs in this checkout: they would empty each other's
/// folders, and replace each other's library.
pub fn alone() -> Result<std::fs::File> {
    lock::wait(&folder(), "another run of real programs")
}

/// The library to run under: the one given, or a release build of this checkout.
pub fn library(given: Option<&Path>, features: &[String]) -> Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => {
            let spinner = term::spinner("Building", "the preload library");
            let mut cargo = command::cargo();
            cargo.args(["build", "--release", "--package", "hakmem-preload"]);
            if !features.is_empty() {
                let gates: Vec<String> =
                    features.iter().map(|gate| format!("hakmem/{gate}")).collect();
                cargo.args(["--features", &gates.join(",")]);
            }
            let built = command::output(&mut cargo);
            spinner.finish_and_clear();
            built?;
            // A copy, so that a build in another terminal cannot replace it under a running program.
            let kept = folder().join("library").join(LIBRARY);
            std::fs::create_dir_all(kept.parent().unwrap_or(&kept))?;
            let _ = std::fs::remove_file(&kept);
            std::fs::copy(paths::target().join("release").join(LIBRARY), &kept)
                .context("cannot copy the preload library")?;
            kept
        }
    };
    let path = path.canonicalize().with_context(|| format!("no library at {}", path.display()))?;
    if path.file_name().is_none_or(|name| name != LIBRARY) {
        bail!(
            "{} must be called {LIBRARY}: the proof that a program ran on it goes by that name",
            path.display()
        );
    }
    Ok(path)
}

fn report(outcome: &Outcome) {
    let style = console::Style::new().for_stderr().bold();
    let (verb, style) = match outcome.status {
        Status::Passed => ("Same", style.green()),
        Status::Failed => ("DIFFERS", style.red()),
        Status::Skipped => ("SKIPPED", style.yellow()),
    };
    let verb = style.apply_to(format!("{verb:>12}"));
    match outcome.status {
        Status::Passed => eprintln!(
            "{verb} {}: {} bytes, {} process{} on the heap, {:.1} s",
            outcome.name,
            outcome.bytes,
            outcome.processes,
            if outcome.processes == 1 { "" } else { "es" },
            outcome.hakmem_seconds
        ),
        _ => eprintln!("{verb} {}: {}", outcome.name, outcome.detail.join("\n             ")),
    }
}

/// A plain table that fits the terminal, or 100 columns where there is none.
pub fn table() -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(100);
    }
    table
}

fn print_table(outcomes: &[Outcome]) {
    let mut table = table();
    table.set_header(["program", "result", "output compared", "processes", "system", "hakmem"]);
    for outcome in outcomes {
        let result = match outcome.status {
            Status::Passed => "same",
            Status::Failed => "DIFFERS",
            Status::Skipped => "skipped",
        };
        table.add_row([
            outcome.name.clone(),
            result.to_owned(),
            format!("{} B", outcome.bytes),
            outcome.processes.to_string(),
            format!("{:.2} s", outcome.system_seconds),
            format!("{:.2} s", outcome.hakmem_seconds),
        ]);
    }
    println!("{table}");
}

fn list(args: &Args) -> Result<ExitCode> {
    let programs = Program::all(REAL)?;
    if args.json {
        let all: Vec<_> = programs
            .iter()
            .map(|p| {
                serde_json::json!({
                    "name": p.name,
                    "about": p.about,
                    "packages": p.needs.iter().map(|n| &n.package).collect::<Vec<_>>(),
                    "missing": p.missing_packages(),
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table();
    table.set_header(["program", "installed", "what it does"]);
    for program in &programs {
        let missing = program.missing_packages();
        let installed = if missing.is_empty() {
            "yes".to_owned()
        } else {
            format!("no: apt-get install {}", missing.join(" "))
        };
        table.add_row([program.name.clone(), installed, program.about.clone()]);
    }
    println!("{table}");
    println!("and the Rust programs of benches/apps, called `rust NAME`");
    Ok(ExitCode::SUCCESS)
}
