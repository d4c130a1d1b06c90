//! How often given instructions of a program ran: by callgrind where valgrind is installed, else
//! by breakpoints.
//!
//! Both are exact for one thread. A run that its limit cuts off gives lower bounds and says so.

use super::probe::Probed;
use super::process::Variable;
use crate::shared::{callgrind, command, paths};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What counts instructions on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counter {
    /// `valgrind --tool=callgrind --dump-instr=yes`.
    Callgrind,
    /// Breakpoints set through `ptrace`.
    Breakpoints,
}

impl Counter {
    /// The best that is installed.
    pub fn pick() -> Counter {
        if paths::which("valgrind").is_some() { Counter::Callgrind } else { Counter::Breakpoints }
    }

    /// Its name for the report.
    pub fn name(self) -> &'static str {
        match self {
            Counter::Callgrind => "callgrind",
            Counter::Breakpoints => "breakpoints",
        }
    }
}

/// How often each instruction of one program ran.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// By address in the program file.
    executed: HashMap<u64, u64>,
    /// All instructions of the program, its libraries included, where the counter counts them.
    pub total: Option<u64>,
    /// True if every count is "at least".
    pub partial: bool,
    /// What the program printed.
    pub printed: String,
}

impl Counts {
    /// How often the instructions at `offsets` of the function at `start` ran, together.
    pub fn sum(&self, start: u64, offsets: &[u64]) -> u64 {
        offsets
            .iter()
            .map(|offset| self.executed.get(&(start + offset)).copied().unwrap_or(0))
            .sum()
    }
}

/// One program to count in, and where.
pub struct Subject<'a> {
    /// The program file.
    pub program: &'a Path,
    /// Its functions' addresses in the file, by symbol.
    pub functions: &'a BTreeMap<String, u64>,
    /// The addresses of the instructions to count.
    pub places: BTreeSet<u64>,
    /// The heap's settings.
    pub variables: &'a [Variable],
}

/// Runs the program with `arguments` and counts.
pub fn count(
    counter: Counter,
    subject: &Subject<'_>,
    arguments: &[String],
    limit: Duration,
    scratch: &Path,
) -> Result<Counts> {
    match counter {
        Counter::Callgrind => by_callgrind(subject, arguments, limit, scratch),
        Counter::Breakpoints => {
            let probed = super::probe::run(subject, arguments, limit)?;
            let Probed { executed, partial, printed } = probed;
            Ok(Counts { executed, total: None, partial, printed })
        }
    }
}

fn by_callgrind(
    subject: &Subject<'_>,
    arguments: &[String],
    limit: Duration,
    scratch: &Path,
) -> Result<Counts> {
    let program = subject.program;
    let file: PathBuf = scratch.join("callgrind.out");
    // Valgrind appends to no file that exists.
    let _ = std::fs::remove_file(&file);
    let mut run = callgrind::command(&file);
    run.arg(program).args(arguments).envs(subject.variables.iter().cloned());
    run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        run.spawn().with_context(|| format!("cannot start `{}`", command::show(&run)))?;
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(Counts { partial: true, ..Counts::default() });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}):\n{}",
            command::show(&run),
            output.status,
            command::tail(&output.stderr, 15)
        );
    }
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("valgrind left no {}", file.display()))?;
    let object = program.canonicalize()?;
    let mut counts = parse(&text, &object.to_string_lossy(), subject)?;
    counts.printed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(counts)
}

/// The counts in a callgrind profile.
fn parse(text: &str, program: &str, subject: &Subject<'_>) -> Result<Counts> {
    let Some(mut profile) = callgrind::parse(text, program, subject.functions)? else {
        bail!("callgrind's profile names no function of {program}");
    };
    profile.executed.retain(|address, _| subject.places.contains(address));
    Ok(Counts { executed: profile.executed, total: Some(profile.total), ..Counts::default() })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::super::{diff, link};
    use super::*;

    /// Executions of the instructions that the gate adds to functions named like `part`.
    fn hits(counter: Counter, case: &'static str, part: &str, scenario: &str, ops: u64) -> u64 {
        let fixture = Fixture::new(case);
        let (out, with) = (fixture.arm(false), fixture.arm(true));
        let comparison = diff::compare(&out.code, &with.code);
        let program = fixture.folder().join("counted");
        with.linker.link(&program, None).unwrap();
        let functions = link::addresses(&program).unwrap();
        let own = comparison.with.own.iter().filter(|(name, _)| name.contains(part));
        let places = own.filter_map(|(name, offsets)| Some((functions.get(name)?, offsets)));
        let places: BTreeSet<u64> = places
            .flat_map(|(at, offsets)| offsets.iter().map(move |offset| at + offset))
            .collect();
        let subject = Subject { program: &program, functions: &functions, places, variables: &[] };
        let arguments = ["--scenario", scenario, "--ops", &ops.to_string()].map(str::to_owned);
        let counts =
            count(counter, &subject, &arguments, Duration::from_secs(600), fixture.folder())
                .unwrap();
        assert!(!counts.partial && counts.printed.contains("checksum"), "{:?}", counts.printed);
        assert!(counts.total.is_none_or(|total| total > ops));
        subject.places.iter().map(|place| counts.sum(*place, &[0])).sum()
    }

    /// The three known cases, by one counter.
    fn known_cases(counter: Counter) {
        assert_eq!(hits(counter, "same", "", "work", 500), 0);
        assert_eq!(
            hits(counter, "used", "", "idle", 500),
            0,
            "the counter is not reached in `idle`"
        );
        let (some, more) =
            (hits(counter, "used", "", "work", 500), hits(counter, "used", "", "work", 1500));
        assert_eq!((more - some) % 1000, 0, "a whole number of instructions per operation");
        assert!(
            (1000..=3000).contains(&(more - some)),
            "one to three per operation: {}",
            more - some
        );
    }

    #[test]
    fn breakpoints_count_the_known_cases() {
        known_cases(Counter::Breakpoints);
    }

    #[test]
    fn callgrind_counts_the_known_cases() {
        if Counter::pick() != Counter::Callgrind {
            eprintln!("skipped: valgrind is not installed (apt-get install valgrind)");
            return;
        }
        known_cases(Counter::Callgrind);
    }

    #[test]
    fn code_that_never_runs_has_its_test_executed_and_its_body_not() {
        assert_eq!(hits(Counter::Breakpoints, "cold", "never", "work", 200), 0);
        assert!(
            hits(Counter::Breakpoints, "cold", "operation", "work", 200) >= 200,
            "the test for it runs each time"
        );
    }
}
