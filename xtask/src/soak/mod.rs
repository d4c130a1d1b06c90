//! `cargo xtask soak`: mixed threads on the heap for as long as one likes, every block's content
//! checked, the heap walked now and then, memory sampled.
//!
//! The program is `hakmem-soak` of `benches/scenarios`: it ends where the heap does anything wrong. Here
//! it is built and watched, and its samples are judged ([`judge`]), shown and drawn ([`report`]).

mod judge;
mod report;

use crate::shared::registry::PACKAGE;
use crate::shared::{command, paths, term, write};
use crate::test::process;
use crate::test::tally::Tally;
use anyhow::{Context, Result};
use indicatif::ProgressBar;
use judge::{Memory, Sample};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The program.
const PROGRAM: &str = "hakmem-soak";
/// How long a run may take beyond its time before it counts as hung, and one that is as long as its
/// forks take.
const GRACE: Duration = Duration::from_secs(10 * 60);
const FORKS_LIMIT: Duration = Duration::from_secs(6 * 60 * 60);
/// Lines kept of what the program says beside its samples.
const SAID: usize = 30;
/// Exit code of a run that Ctrl-C cut short and that is good as far as it went.
const STOPPED: u8 = 130;

/// Whether Ctrl-C has been pressed.
static STOP: AtomicBool = AtomicBool::new(false);

/// Arguments of `cargo xtask soak`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask soak                           two minutes
  cargo xtask soak --minutes 30              a long one
  cargo xtask soak --features hardened       with a gate; unions and lists of gates work, too
  cargo xtask soak --forks 10000             as long as 10,000 forks take
  cargo xtask soak --svg memory.svg          with a picture of memory over time
  HAKMEM_MODE=minimal cargo xtask soak       with a setting

The exit code is 1 if the program fails (a byte or a block lost, a broken invariant of the heap, a child
that failed, a crash) or memory is not flat: the last third of the work against the first, after a tenth
that warms the heap up. A run that is too short for that says so.

Ctrl-C lets the program check and free its blocks, and judges what there is; the exit code is then 130.
The second one ends it at once.")]
pub struct Args {
    /// How long to run, in minutes [default: 2]
    #[arg(long, conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    minutes: Option<u64>,

    /// How long to run, in seconds
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,

    /// Fork without a pause, until there have been so many children and the time, if one is given, is up
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    forks: Option<u64>,

    /// Threads at once, beside the one that forks
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=256))]
    threads: u64,

    /// Gates or umbrellas to compile in, separated by commas
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,

    /// Begin with this seed instead of a random one
    #[arg(long)]
    seed: Option<u32>,

    /// By how many per cent of what is resident memory may rise
    #[arg(long, default_value_t = 10.0, value_name = "PERCENT", value_parser = percent)]
    tolerance: f64,

    /// Write memory over time as a picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Write all of it as a page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Print all of it as JSON, every sample included
    #[arg(long)]
    json: bool,
}

/// What is to be run.
#[derive(Clone, Debug, Serialize)]
struct Plan {
    seconds: u64,
    forks: u64,
    threads: u64,
    features: Vec<String>,
    seed: u32,
    tolerance: f64,
}

/// What the program says at its end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Ended {
    ms: u64,
    operations: u64,
    handed_over: u64,
    threads: u64,
    forks: u64,
    walks: u64,
    peak_kib: u64,
    left_kib: u64,
}

/// A line of the program's.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Sample(Sample),
    Ended(Ended),
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Outcome {
    plan: Plan,
    /// What was done; `None` if the program did not come to its end.
    ended: Option<Ended>,
    /// How memory went; `None` if that cannot be told.
    memory: Option<Memory>,
    /// Why it cannot.
    not_judged: Option<String>,
    /// What is wrong.
    faults: Vec<String>,
    /// Whether it was cut short by hand.
    stopped: bool,
    samples: Vec<Sample>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let plan = Plan::of(&args);
    let program = build(&plan.features)?;
    catch_interrupts()?;
    term::step("Soaking", plan.words());
    let outcome = soak(&plan, Command::new(program))?;
    for fault in &outcome.faults {
        term::error(&anyhow::anyhow!("{fault}"));
    }
    if let Some(path) = &args.svg {
        write_out(path, report::picture(&outcome)?)?;
    }
    if let Some(path) = &args.html {
        write_out(path, report::page(&outcome)?)?;
    }
    let tally = if outcome.faults.is_empty() { Tally::PASSED } else { Tally::FAILED };
    if args.json {
        let all = serde_json::json!({ "soak": outcome, "tally": tally });
        term::print(&format!("{}\n", serde_json::to_string_pretty(&all)?))?;
    } else {
        term::print(&report::text(&outcome))?;
        term::print(&format!("{}\n", tally.line()))?;
    }
    Ok(ExitCode::from(match (tally.good(), outcome.stopped) {
        (true, true) => STOPPED,
        (good, _) => u8::from(!good),
    }))
}

/// One press lets the program end by itself, the second ends it at once.
fn catch_interrupts() -> Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            process::end_running();
            std::process::exit(i32::from(STOPPED));
        }
        term::note("stopping; press Ctrl-C again to end without the figures");
        process::interrupt_running();
    })
    .context("cannot catch Ctrl-C")
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=1000.0).contains(&percent) => Ok(percent),
        _ => Err("expected a number from 0 to 1000".to_owned()),
    }
}

fn write_out(path: &std::path::Path, contents: String) -> Result<()> {
    write::atomically(path, contents)?;
    term::step("Wrote", path.display());
    Ok(())
}

impl Plan {
    fn of(args: &Args) -> Plan {
        let given = args.seconds.or(args.minutes.map(|minutes| minutes.saturating_mul(60)));
        Plan {
            // As long as the forks take, if they are what is asked for.
            seconds: given.unwrap_or(if args.forks.is_some() { 0 } else { 120 }),
            forks: args.forks.unwrap_or(0),
            threads: args.threads,
            features: args.features.clone(),
            seed: args.seed.unwrap_or_else(rand::random),
            tolerance: args.tolerance,
        }
    }

    /// What it is, in a line.
    fn words(&self) -> String {
        let mut words = match (self.seconds, self.forks) {
            (seconds, 0) => format!("{seconds} s"),
            (0, forks) => format!("{forks} forks"),
            (seconds, forks) => format!("{seconds} s and {forks} forks"),
        };
        words += &format!(", {} threads and one that forks, seed {}", self.threads, self.seed);
        if !self.features.is_empty() {
            words += &format!(", {}", self.features.join(","));
        }
        words
    }

    fn limit(&self) -> Duration {
        let time = Duration::from_secs(self.seconds).saturating_add(GRACE);
        if self.forks == 0 { time } else { time.max(FORKS_LIMIT) }
    }

    /// A bar over the forks, or else over the seconds.
    fn bar(&self) -> ProgressBar {
        term::progress("Soaking", if self.forks == 0 { self.seconds } else { self.forks })
    }

    fn progress(&self, sample: &Sample) -> u64 {
        if self.forks == 0 { sample.ms / 1000 } else { sample.forks }
    }
}

/// Builds the program; gives the path of a copy that another build does not replace.
fn build(features: &[String]) -> Result<PathBuf> {
    let spinner = term::spinner("Building", "the soak");
    let mut cargo = command::cargo();
    cargo.args(["build", "--release", "--package", "hakmem-scenarios", "--bin", PROGRAM]);
    if !features.is_empty() {
        let gates: Vec<String> = features.iter().map(|gate| format!("{PACKAGE}/{gate}")).collect();
        cargo.args(["--features", &gates.join(",")]);
    }
    let built = command::output(&mut cargo);
    spinner.finish_and_clear();
    built?;
    let kept = paths::target().join("xtask/soak").join(PROGRAM);
    std::fs::create_dir_all(kept.parent().unwrap_or(&kept))
        .with_context(|| format!("cannot make the folder of {}", kept.display()))?;
    // A new file: the old one may be running.
    let _ = std::fs::remove_file(&kept);
    std::fs::copy(paths::target().join("release").join(PROGRAM), &kept)
        .with_context(|| format!("cannot copy {PROGRAM} to {}", kept.display()))?;
    Ok(kept)
}

/// Runs the program and judges what it says.
fn soak(plan: &Plan, mut program: Command) -> Result<Outcome> {
    program.args(["--ms", &plan.seconds.saturating_mul(1000).to_string()]);
    program.args(["--forks", &plan.forks.to_string(), "--threads", &plan.threads.to_string()]);
    program.args(["--seed", &plan.seed.to_string()]);
    let bar = plan.bar();
    let (mut samples, mut ended, mut said) = (Vec::new(), None, Vec::new());
    let end = process::stream(program, plan.limit(), |line| match serde_json::from_str(line) {
        Ok(Line::Sample(sample)) => {
            bar.set_position(plan.progress(&sample));
            bar.set_message(report::progress(&sample));
            samples.push(sample);
        }
        Ok(Line::Ended(figures)) => ended = Some(figures),
        Err(_) => {
            said.push(line.to_owned());
            if said.len() > SAID {
                said.remove(0);
            }
        }
    })?;
    bar.finish_and_clear();
    let mut faults = Vec::new();
    if !end.success() || ended.is_none() {
        faults.push(format!("the program ended with {}:\n{}", end.words(), said.join("\n")));
    }
    let judged = judge::judge(&samples, plan.threads, plan.tolerance);
    faults.extend(judged.iter().flat_map(Memory::faults));
    let not_judged = judged.as_ref().err().cloned();
    let memory = judged.ok();
    let stopped = STOP.load(Ordering::SeqCst);
    Ok(Outcome { plan: plan.clone(), ended, memory, not_judged, faults, stopped, samples })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn plan() -> Plan {
        Plan { seconds: 60, forks: 0, threads: 8, features: Vec::new(), seed: 7, tolerance: 10.0 }
    }

    /// A program that prints these lines and ends with this code.
    fn prints(lines: &[String], code: i32) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("printf '%s\\n' \"$LINES_TO_PRINT\"; exit {code}")]);
        shell.env("LINES_TO_PRINT", lines.join("\n"));
        shell
    }

    fn lines(samples: &[Sample]) -> Vec<String> {
        let samples = samples.iter().map(|sample| serde_json::json!({ "sample": sample }));
        samples.map(|line| line.to_string()).collect()
    }

    const ENDED: &str = r#"{"ended":{"ms":60003,"operations":15000000,"handed_over":9000,
        "threads":300,"forks":400,"walks":51,"peak_kib":250000,"left_kib":12000}}"#;

    /// What came of a soak with this memory.
    pub(super) fn canned(resident_mib: impl Fn(f64) -> f64) -> Outcome {
        let mut lines = lines(&judge::tests::canned(resident_mib));
        lines.push(ENDED.replace('\n', ""));
        soak(&plan(), prints(&lines, 0)).unwrap()
    }

    #[test]
    fn a_soak_that_holds_has_no_faults() {
        let outcome = canned(|_| 120.0);
        assert_eq!(outcome.faults, [""; 0]);
        assert_eq!(outcome.samples.len(), 300);
        assert_eq!(outcome.ended.unwrap().forks, 400);
        assert!(outcome.memory.is_some() && outcome.not_judged.is_none());
    }

    #[test]
    fn memory_that_rises_is_a_fault() {
        let outcome = canned(|part| 120.0 + 40.0 * part);
        assert_eq!(outcome.faults.len(), 1, "{:?}", outcome.faults);
        assert!(outcome.faults[0].contains("not flat"));
    }

    #[test]
    fn a_program_that_fails_is_a_fault_with_its_last_words() {
        let mut all = lines(&judge::tests::canned(|_| 120.0)[..20]);
        all.push("hakmem: double free of 0x7f0000000000".to_owned());
        let outcome = soak(&plan(), prints(&all, 3)).unwrap();
        assert_eq!(outcome.faults.len(), 1);
        assert!(outcome.faults[0].contains("exit status: 3"), "{:?}", outcome.faults);
        assert!(outcome.faults[0].contains("hakmem: double free of"), "{:?}", outcome.faults);
        assert!(outcome.not_judged.is_some());
        // One that ends well without a word of its end has not done its work.
        let silent = soak(&plan(), prints(&all[..20], 0)).unwrap();
        assert_eq!(silent.faults.len(), 1, "{:?}", silent.faults);
    }

    #[test]
    fn a_short_soak_is_not_judged_and_no_failure() {
        let mut all = lines(&judge::tests::canned(|_| 120.0)[..3]);
        all.push(ENDED.replace('\n', ""));
        let outcome = soak(&plan(), prints(&all, 0)).unwrap();
        assert_eq!(outcome.faults, [""; 0]);
        assert!(outcome.not_judged.unwrap().contains("run for longer"));
    }

    #[test]
    fn a_plan_is_told_in_a_line() {
        assert_eq!(plan().words(), "60 s, 8 threads and one that forks, seed 7");
        let forks = Plan { seconds: 0, forks: 10_000, features: vec!["elo".into()], ..plan() };
        assert_eq!(forks.words(), "10000 forks, 8 threads and one that forks, seed 7, elo");
        assert_eq!(forks.limit(), FORKS_LIMIT);
    }
}
