//! `cargo xtask matrix`: which gates, and which pairs of layers, build, pass the tests, and what each
//! costs in bytes and instructions.
//!
//! [`plan`] says which configurations there are and which are refused; [`mod@measure`] tries them;
//! [`keep`] remembers what was measured of the same sources; [`results`] is what comes out, shown by
//! [`table`], [`picture`] and [`page`]. Nothing here is timed: every figure is a count, so a busy
//! machine changes none of them.

mod keep;
mod measure;
mod page;
mod picture;
pub mod plan;
mod results;
mod table;

use crate::ab::outcome::Machine;
use crate::shared::registry::{Kind, Registry};
use crate::shared::{command, lock, paths, term, write};
use anyhow::{Context, Result, bail};
use keep::Kept;
use measure::{Lab, Suite};
use plan::{Configuration, Selection};
pub use results::grouped;
use results::{Matrix, Row, SCHEMA};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Arguments of `cargo xtask matrix`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask matrix                         none, each gate, the pairs of layers, the unions, all
  cargo xtask matrix --singles               the same without pairs
  cargo xtask matrix --gate ring-cache       that gate alone and in its pairs
  cargo xtask matrix --pairs --kind policy   pairs of policies instead of layers
  cargo xtask matrix --list                  the configurations, and which are refused and why
  cargo xtask matrix --html matrix.html      with heat maps, in one file to share
  cargo xtask matrix --record                write docs/results/matrix.{md,json,svg}

Tests are tests/model.rs (a tenth of its rounds), tests/gates and, but for layers, telemetry and
diagnostics, the unit tests, which join every two layers in each build. `cargo xtask test` has the rest.
Rows of unchanged sources are kept below target/matrix, so an interrupted run goes on where it stopped.
Exit code 1: a configuration does not build, crashes, or fails a test. 130: stopped by Ctrl-C.")]
pub struct Args {
    /// Gates alone, the umbrellas, all together
    #[arg(long)]
    singles: bool,
    /// Pairs of layers
    #[arg(long)]
    pairs: bool,
    /// Only what this gate takes part in (may be given several times)
    #[arg(long, value_name = "NAME")]
    gate: Vec<String>,
    /// The kind of gate to pair: telemetry, diagnostic, layer, policy or hardening
    #[arg(long, value_name = "KIND", default_value = "layer", value_parser = kind)]
    kind: Kind,
    /// Leave out the tests
    #[arg(long)]
    no_tests: bool,
    /// Measure every row again, also where nothing changed
    #[arg(long)]
    fresh: bool,
    /// List the configurations and build nothing
    #[arg(long, conflicts_with_all = ["json", "html", "svg", "record"])]
    list: bool,
    /// Print the matrix as JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Write a self-contained page with heat maps and table
    #[arg(long, value_name = "PATH")]
    html: Option<PathBuf>,
    /// Write the heat map of the gates to this file, and that of the pairs beside it
    #[arg(long, value_name = "PATH")]
    svg: Option<PathBuf>,
    /// Write docs/results/matrix.md, .json and .svg
    #[arg(long, conflicts_with_all = ["gate", "no_tests"])]
    record: bool,
}

/// Set by Ctrl-C: end with what has been measured.
static STOP: AtomicBool = AtomicBool::new(false);

/// Exit code after Ctrl-C.
const STOPPED: u8 = 130;

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("`matrix` counts x86-64 instructions on Linux; this machine is another one");
    }
    let both = args.singles == args.pairs;
    let selection = Selection {
        singles: args.singles || both,
        pairs: args.pairs || both,
        kind: args.kind,
        gates: args.gate.clone(),
    };
    let plan = plan::plan(&Registry::read()?, &selection)?;
    if args.list {
        list(&plan);
        return Ok(ExitCode::SUCCESS);
    }
    if args.pairs && !plan.iter().any(|one| one.group == plan::Group::Pair) {
        let kind = args.kind.name();
        term::note(format!(
            "there are no two {kind} gates, so there is no pair; --kind pairs another kind"
        ));
    }
    let _lock = lock::take(&measure::folder(), "another matrix")?;
    catch_interrupts()?;
    let matrix = measure(&args, &plan)?;
    report(&args, &matrix)
}

/// One press lets the table come out with what there is, the second ends at once.
fn catch_interrupts() -> Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(STOPPED));
        }
        term::note("stopping; press Ctrl-C again to end without the table");
    })
    .context("cannot catch Ctrl-C")
}

fn measure(args: &Args, plan: &[Configuration]) -> Result<Matrix> {
    let machine = Machine::here();
    let kept = Kept::open(!args.no_tests)?;
    let lab = Lab::prepare(Registry::read()?, !args.no_tests)?;
    let bar = term::progress("Measuring", plan.len() as u64);
    let mut rows: Vec<Option<Row>> = plan
        .iter()
        .map(|configuration| match configuration.refused {
            Some(_) => Some(Row::empty(configuration)),
            None if args.fresh => None,
            None => kept.get(configuration),
        })
        .collect();
    let to_do: Vec<usize> = (0..plan.len()).filter(|&index| rows[index].is_none()).collect();
    let known = rows.iter().flatten().filter(|row| row.configuration.refused.is_none()).count();
    bar.inc((plan.len() - to_do.len()) as u64);
    let configurations: Vec<&Configuration> = to_do.iter().map(|&index| &plan[index]).collect();
    let mut next = configurations.iter().map(|configuration| &configuration.name);
    bar.set_message(next.next().cloned().unwrap_or_default());
    let mut places = to_do.iter();
    lab.measure(&configurations, &STOP, |row| {
        kept.put(&row)?;
        bar.suspend(|| tell(&row));
        bar.inc(1);
        bar.set_message(next.next().cloned().unwrap_or_default());
        if let Some(&index) = places.next() {
            rows[index] = Some(row);
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    if known > 0 {
        term::note(format!(
            "{known} rows are of an earlier run on the same sources; --fresh measures them again"
        ));
    }
    if !kept.current()? {
        term::note(
            "the sources changed while they were measured: the rows are not all of one state",
        );
    }
    Ok(Matrix {
        schema: SCHEMA,
        machine,
        suite: (!args.no_tests).then(|| {
            let shown = command::show(&measure::command(Suite::Whole, &[]));
            // As one types it, whichever cargo runs us.
            shown
                .split_once(" test ")
                .map_or(shown.clone(), |(_, rest)| format!("cargo test {rest}"))
        }),
        scenario: measure::SCENARIO,
        unmeasured: rows.iter().filter(|row| row.is_none()).count(),
        rows: rows.into_iter().flatten().collect(),
        missing: lab.missing(),
    })
}

/// One line about a row as soon as it is known, where something is wrong with it.
fn tell(row: &Row) {
    for fault in &row.faults {
        term::note(format!("{}: {}: {}", row.configuration.name, fault.stage.words(), fault.what));
    }
}

fn report(args: &Args, matrix: &Matrix) -> Result<ExitCode> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(matrix)?);
    } else {
        print!("{}", table::terminal(matrix));
    }
    if let Some(path) = &args.html {
        write_out(path, page::html(matrix)?)?;
    }
    if let Some(path) = &args.svg {
        draw(matrix, path)?;
    }
    if args.record {
        if matrix.unmeasured > 0 {
            term::note("nothing was recorded: the matrix is not complete");
        } else {
            record(matrix, &paths::root().join("docs/results"))?;
        }
    }
    Ok(match (matrix.unmeasured, matrix.sound()) {
        (1.., _) => ExitCode::from(STOPPED),
        (_, true) => ExitCode::SUCCESS,
        (_, false) => ExitCode::FAILURE,
    })
}

/// Writes the recorded form into a folder.
fn record(matrix: &Matrix, folder: &Path) -> Result<()> {
    write_out(&folder.join("matrix.json"), serde_json::to_string_pretty(matrix)? + "\n")?;
    let mut text = table::markdown(matrix);
    for (name, path) in draw(matrix, &folder.join("matrix.svg"))? {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        text.push_str(&format!("\n![{name}]({file})\n"));
    }
    write_out(&folder.join("matrix.md"), text)
}

/// Writes the figures: the first to `path`, the others beside it.
fn draw(matrix: &Matrix, path: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut written = Vec::new();
    for (name, svg) in picture::all(matrix)? {
        let path = if written.is_empty() {
            path.to_owned()
        } else {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            path.with_file_name(format!("{stem}-{name}.svg"))
        };
        write_out(&path, svg)?;
        written.push((name, path));
    }
    Ok(written)
}

fn write_out(path: &Path, contents: String) -> Result<()> {
    write::atomically(path, contents)?;
    term::step("Wrote", path.display());
    Ok(())
}

fn list(plan: &[Configuration]) {
    for configuration in plan {
        let what = match &configuration.refused {
            Some(reason) => format!("refused: {reason}"),
            None if configuration.features.is_empty() => "--no-default-features".to_owned(),
            None => {
                format!("--no-default-features --features {}", configuration.features.join(","))
            }
        };
        println!("{:32} {what}", configuration.name);
    }
}

/// A kind by its name.
fn kind(text: &str) -> Result<Kind, String> {
    let kinds = [Kind::Telemetry, Kind::Diagnostic, Kind::Layer, Kind::Policy, Kind::Hardening];
    kinds.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_and_refused() {
        assert_eq!(kind("policy"), Ok(Kind::Policy));
        assert!(kind("layers").unwrap_err().contains("telemetry, diagnostic, layer"));
    }

    #[test]
    fn a_record_is_three_files_and_one_more_for_pairs() {
        let folder = tempfile::tempdir().unwrap();
        let matrix = results::tests::sample();
        record(&matrix, folder.path()).unwrap();
        let mut names: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["matrix-pairs.svg", "matrix.json", "matrix.md", "matrix.svg"]);
        let text = std::fs::read_to_string(folder.path().join("matrix.md")).unwrap();
        assert!(
            text.contains("![gates](matrix.svg)") && text.contains("![pairs](matrix-pairs.svg)")
        );
        let json = std::fs::read_to_string(folder.path().join("matrix.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["schema"], SCHEMA);
        assert_eq!(json["rows"][0]["name"], "none");
        assert_eq!(json["rows"][0]["figures"]["malloc"], 11);
    }
}
