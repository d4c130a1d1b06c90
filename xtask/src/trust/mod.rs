//! `cargo xtask trust`: long runs of programs that test themselves, under the preload library.
//!
//! `cargo xtask real` compares outputs and takes a minute; here whole test suites and loads run, for
//! as long as they take: CPython's own tests, stress-ng, redis short of memory, a compiler, and
//! programs under valgrind. What is compared is always the same run without the library, so that
//! what fails on this machine anyway is not held against the heap. What is not installed is skipped
//! by name, with the command that installs it.

mod memcheck;
mod python;

use crate::real;
use crate::real::program::{Need, Program, missing_packages};
use crate::shared::{paths, term};
use crate::test::tally::Tally;
use anyhow::{Result, bail};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// The scripts, in the form of `tests/real`.
const SCRIPTS: &str = "tests/trust";

/// Arguments of `cargo xtask trust`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask trust                          every trial (an hour or two)
  cargo xtask trust redis stress             trials whose name holds one of these words
  cargo xtask trust python --modules test_dict,test_io
  cargo xtask trust python --whole           all of CPython's tests, not only those heavy on memory
  cargo xtask trust --features research      the same, with every counter and policy compiled in
  cargo xtask trust --list                   what there is, and what is installed")]
pub struct Args {
    /// Run only trials whose name contains one of these words
    filter: Vec<String>,

    /// Gates or umbrellas to compile in, separated by commas
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,

    /// Modules of CPython's tests, separated by commas, instead of those heavy on memory
    #[arg(long, value_delimiter = ',')]
    modules: Vec<String>,

    /// All modules of CPython's tests
    #[arg(long, conflicts_with = "modules")]
    whole: bool,

    /// Use this libhakmem_preload.so instead of building one
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,

    /// List the trials and what they need, and run nothing
    #[arg(long)]
    list: bool,

    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// What a trial came to.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    name: String,
    tally: Tally,
    seconds: f64,
    /// What was covered, in a line.
    covered: String,
    /// What was wrong, or how to install what is missing.
    faults: Vec<String>,
    /// What is worth knowing and not the heap's fault.
    notes: Vec<String>,
}

/// What a trial runs.
enum Kind {
    Python,
    Memcheck,
    Script(Program),
}

struct Trial {
    name: String,
    about: String,
    needs: Vec<Need>,
    kind: Kind,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let mut trials = trials()?;
    trials.retain(|trial| {
        args.filter.is_empty() || args.filter.iter().any(|word| trial.name.contains(word.as_str()))
    });
    if trials.is_empty() {
        bail!("no trial matches {:?}; `cargo xtask trust --list` shows them", args.filter);
    }
    if args.list {
        list(&trials);
        return Ok(ExitCode::SUCCESS);
    }
    let _alone = real::alone()?;
    let library = real::library(args.library.as_deref(), &args.features)?;
    let scratch = paths::target().join("xtask/trust");
    let mut outcomes = Vec::new();
    for trial in &trials {
        let outcome = trial.run(&args, &library, &scratch.join(&trial.name));
        report(&outcome);
        outcomes.push(outcome);
    }
    let mut tally = Tally::default();
    for outcome in &outcomes {
        tally += outcome.tally;
    }
    if args.json {
        let all = serde_json::json!({ "trials": outcomes, "tally": tally });
        term::print(&format!("{}\n", serde_json::to_string_pretty(&all)?))?;
    } else {
        print_table(&outcomes);
        println!("{}", tally.line());
    }
    Ok(ExitCode::from(u8::from(!tally.good())))
}

fn trials() -> Result<Vec<Trial>> {
    let mut trials = vec![python::trial()?, memcheck::trial()?];
    for program in Program::all(SCRIPTS)? {
        trials.push(Trial {
            name: program.name.clone(),
            about: program.about.clone(),
            needs: program.needs.clone(),
            kind: Kind::Script(program),
        });
    }
    Ok(trials)
}

impl Trial {
    fn missing(&self) -> Vec<String> {
        let mut missing: Vec<String> =
            missing_packages(&self.needs).into_iter().map(str::to_owned).collect();
        if missing.is_empty() && matches!(self.kind, Kind::Python) {
            missing.extend(python::missing_suite());
        }
        missing
    }

    fn run(&self, args: &Args, library: &Path, scratch: &Path) -> Outcome {
        let missing = self.missing();
        if !missing.is_empty() {
            return Outcome {
                name: self.name.clone(),
                tally: Tally::SKIPPED,
                faults: vec![format!("not installed: `apt-get install {}`", missing.join(" "))],
                ..Outcome::default()
            };
        }
        let started = Instant::now();
        let spinner = term::spinner("Running", self.name.clone());
        let outcome = match &self.kind {
            Kind::Python => python::run(&args.modules, args.whole, library, scratch, &spinner),
            Kind::Memcheck => memcheck::run(library, scratch, &spinner),
            Kind::Script(program) => script(program, library, scratch),
        };
        spinner.finish_and_clear();
        let mut outcome = outcome.unwrap_or_else(|error| Outcome {
            tally: Tally::FAILED,
            faults: vec![format!("{error:#}")],
            ..Outcome::default()
        });
        outcome.name = self.name.clone();
        outcome.seconds = started.elapsed().as_secs_f64().round();
        outcome
    }
}

/// A script both ways, as `cargo xtask real` runs it.
fn script(program: &Program, library: &Path, scratch: &Path) -> Result<Outcome> {
    let compared = real::run::compare(program, library, &[], scratch)?;
    Ok(Outcome {
        tally: if compared.faults.is_empty() { Tally::PASSED } else { Tally::FAILED },
        covered: format!(
            "{} bytes of output the same, {} processes on the heap, {:.0} s without, {:.0} s with it",
            compared.bytes,
            compared.evidence.processes(),
            compared.system.as_secs_f64(),
            compared.preload.as_secs_f64()
        ),
        faults: compared.faults,
        ..Outcome::default()
    })
}

fn report(outcome: &Outcome) {
    let verb = match outcome.tally {
        Tally::SKIPPED => "SKIPPED",
        tally if tally.good() => "Held",
        _ => "FAILED",
    };
    term::step(verb, format!("{}: {}", outcome.name, outcome.covered));
    for fault in &outcome.faults {
        eprintln!("             {}", fault.replace('\n', "\n             "));
    }
    for note in &outcome.notes {
        term::note(note);
    }
}

fn print_table(outcomes: &[Outcome]) {
    let mut table = real::table();
    table.set_header(["trial", "passed", "failed", "skipped", "time", "covered"]);
    for outcome in outcomes {
        table.add_row([
            outcome.name.clone(),
            outcome.tally.passed.to_string(),
            outcome.tally.failed.to_string(),
            outcome.tally.skipped.to_string(),
            format!("{} s", outcome.seconds),
            outcome.covered.clone(),
        ]);
    }
    println!("{table}");
    for outcome in outcomes.iter().filter(|outcome| outcome.tally == Tally::SKIPPED) {
        println!("SKIPPED: {}: {}", outcome.name, outcome.faults.join(", "));
    }
}

fn list(trials: &[Trial]) {
    let mut table = real::table();
    table.set_header(["trial", "installed", "what it does"]);
    for trial in trials {
        let missing = trial.missing();
        let installed = if missing.is_empty() {
            "yes".to_owned()
        } else {
            format!("no: apt-get install {}", missing.join(" "))
        };
        table.add_row([trial.name.clone(), installed, trial.about.clone()]);
    }
    println!("{table}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trial_has_a_name_of_its_own_and_says_what_it_needs() {
        let trials = trials().unwrap();
        let names: std::collections::BTreeSet<_> = trials.iter().map(|trial| &trial.name).collect();
        assert_eq!(names.len(), trials.len());
        assert!(names.iter().any(|name| *name == "rustc"));
        assert!(trials.iter().all(|trial| !trial.about.is_empty() && !trial.needs.is_empty()));
    }

    #[test]
    fn what_is_not_installed_is_skipped_by_name() {
        let trial = Trial {
            name: "none".to_owned(),
            about: "Nothing.".to_owned(),
            needs: vec![Need::parse("no-such-command=no-such-package").unwrap()],
            kind: Kind::Memcheck,
        };
        let args = Args {
            filter: Vec::new(),
            features: Vec::new(),
            modules: Vec::new(),
            whole: false,
            library: None,
            list: false,
            json: false,
        };
        let outcome = trial.run(&args, Path::new("/"), Path::new("/"));
        assert_eq!(outcome.tally, Tally::SKIPPED);
        assert_eq!(outcome.faults, ["not installed: `apt-get install no-such-package`"]);
    }
}
