//! `cargo xtask ab`: is a gate worth having? By the protocol of `docs/ab.md`.
//!
//! 1. [`arms`] compiles the scenario program without and with the gate and proves that nothing else
//!    differs. 2. [`object`] and [`diff`] compare the code before linking; the same code needs no
//!    clock. 3. [`count`] and [`evidence`] show that what differs runs at all, and choose where it
//!    shows best. 4. [`link`] and [`measure`] time both arms, layout after layout, with two controls.
//!    5. [`trial`] asks [`judge`], which decides by rules fixed in advance; [`outcome`]
//!    and [`report`] say why. [`self_test`] tries all of this on differences that are known, [`simulate`]
//!    the rules alone.

pub(crate) mod arms;
mod campaign;
#[cfg(test)]
mod canned;
mod columns;
pub(crate) mod count;
#[cfg(test)]
mod damage;
pub(crate) mod diff;
mod evidence;
mod experiment;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod judge;
pub(crate) mod link;
mod measure;
pub(crate) mod object;
pub(crate) mod outcome;
mod plot;
mod probe;
pub(crate) mod process;
pub(crate) mod question;
mod reason;
mod record;
mod report;
mod revisions;
mod samples;
pub(crate) mod scenario;
mod self_test;
mod sheet;
mod simulate;
mod trial;

use crate::features;
use crate::shared::registry::Registry;
use crate::shared::{lock, paths, term, write};
use anyhow::{Result, bail};
use experiment::Experiment;
use judge::Verdict;
use outcome::Outcome;
use question::Question;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use trial::End;

/// Arguments of `cargo xtask ab`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask ab tiny-free-calls
  cargo xtask ab tiny-free-calls --scenario random-mixed-400 --scenario json
  cargo xtask ab unified-cache-measure --budget 10m --json > verdict.json
  cargo xtask ab --features tiny-free-calls,tiny-class-stats
  cargo xtask ab HEAD~1..HEAD
  cargo xtask ab --vs mimalloc3 --scenario json
  cargo xtask ab tiny-free-calls --record --html target/verdict.html
  cargo xtask ab --rejudge docs/results/tiny-free-calls.json
  cargo xtask ab --all --record
  cargo xtask ab --self-test --budget 1h --record
  cargo xtask ab --self-test --simulated

Verdicts: GO (faster by 0.5 % or more), NO-GO (slower by as much), NEUTRAL (within 0.5 %, or the
same code), NOT EXERCISED (what differs never ran), INCONCLUSIVE (the budget ended first), INVALID
(a control failed). Telemetry and diagnostics are asked whether they are better compiled out; layers,
policies and hardening whether they are better adopted; of two revisions or against a peer, whether
the second, or hakmem, is faster. Exit code 1 means INVALID, 2 an error.")]
pub struct Args {
    /// A gate or an umbrella, as Cargo.toml names it, or two revisions: A..B
    #[arg(value_name = "GATE|A..B", required_unless_present_any = ["self_test", "features", "vs", "rejudge", "all"])]
    gate: Option<String>,
    /// Ask about these gates at once: all in against all out
    #[arg(long, value_name = "A,B", value_delimiter = ',', conflicts_with_all = ["gate", "self_test"])]
    features: Vec<String>,
    /// Ask whether hakmem is faster than this allocator, both preloaded into the same program
    #[arg(long, value_name = "PEER", conflicts_with_all = ["gate", "features", "self_test"])]
    vs: Option<String>,
    /// Try the procedure itself: the same code twice, and known slowdowns, within the budget
    #[arg(long, conflicts_with = "gate")]
    self_test: bool,
    /// With --self-test: try the decision rule alone, on simulated layouts; takes no machine time
    #[arg(long, requires = "self_test")]
    simulated: bool,
    /// Time this scenario instead of choosing up to three that run the gate's code (repeatable)
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// How long it may take at most, once both arms are built: 90s, 5m, 1h; with --all, for everything
    /// [default: 150s, with --all 55m]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    budget: Option<Duration>,
    /// Ask about every gate, and then about all of them together; what is finished is kept for the
    /// next --all
    #[arg(long, conflicts_with_all = ["gate", "features", "vs", "self_test", "rejudge"])]
    all: bool,
    /// Write what comes out to docs/results: JSON with every sample, Markdown, SVG; and a gate's
    /// verdict to features.md
    #[arg(long)]
    record: bool,
    /// Judge the samples of a recorded verdict again, without running
    #[arg(long, value_name = "FILE", conflicts_with_all = ["gate", "features", "vs", "self_test", "record"])]
    rejudge: Option<PathBuf>,
    /// Write the verdict as a page that needs nothing else, for a browser or paper
    #[arg(long, value_name = "FILE", conflicts_with = "self_test")]
    html: Option<PathBuf>,
    /// Begin anew where an interrupted run left samples
    #[arg(long)]
    fresh: bool,
    /// Print the whole outcome as JSON, raw samples included
    #[arg(long)]
    json: bool,
    /// Drop a block in which other programs, or the hypervisor, took more than so many per cent of
    /// the time
    #[arg(long, value_name = "PERCENT", default_value_t = 30.0)]
    disturbance: f64,
    /// Seed of layouts, orders and paddings (default: a new one each time, which the report names)
    #[arg(long)]
    seed: Option<u64>,
}

impl Args {
    /// How long one experiment, or the self-test, may measure.
    fn budget(&self) -> Duration {
        self.budget.unwrap_or(Duration::from_secs(150))
    }
}

/// How to answer a question: the same for every kind of question.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The scenarios to time; empty to choose.
    pub scenarios: Vec<String>,
    /// How long to measure at most.
    pub budget: Duration,
    /// The share of a block's time that others may take before it is dropped.
    pub disturbance: f64,
    /// Of layouts, orders and paddings; `None` for a new one.
    pub seed: Option<u64>,
    /// Leave alone what an interrupted run has measured.
    pub fresh: bool,
}

impl Settings {
    fn of(args: &Args) -> Settings {
        Settings {
            scenarios: args.scenario.clone(),
            budget: args.budget(),
            disturbance: args.disturbance / 100.0,
            seed: args.seed,
            fresh: args.fresh,
        }
    }
}

/// The question that the arguments ask; `None` for the self-test.
fn question(args: &Args) -> Result<Option<Question>> {
    if let Some(peer) = &args.vs {
        return question::peer(peer).map(Some);
    }
    match &args.gate {
        Some(range) if revisions::is_range(range) => revisions::question(range).map(Some),
        Some(name) => Question::gates(&Registry::read()?, std::slice::from_ref(name)).map(Some),
        None if args.features.is_empty() => Ok(None),
        None => Question::gates(&Registry::read()?, &args.features).map(Some),
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!(
            "`cargo xtask ab` compares x86-64 code and pins Linux processes; run it on x86-64 Linux"
        );
    }
    answer(&args).map_err(full_disk)
}

fn answer(args: &Args) -> Result<ExitCode> {
    if let Some(path) = &args.rejudge {
        let again = record::rejudge(record::read(path)?)?;
        show(args, &again.outcome)?;
        term::note(&again.told);
        return Ok(ExitCode::from(u8::from(!again.same)));
    }
    if args.simulated {
        return simulated(args);
    }
    let question = if args.all { None } else { question(args)? };
    process::catch_interrupts()?;
    let _lock = lock::take(&arms::folder(), "another experiment")?;
    if args.all {
        return campaign::run(args);
    }
    let Some(question) = question else { return self_test::run(args) };
    let settings = Settings::of(args);
    let outcome = Experiment::new(&settings, question)?.run()?;
    show(args, &outcome)?;
    if args.record && outcome.end == Some(End::Interrupted) {
        term::note("interrupted, so nothing is recorded; the same command goes on from here");
    } else if args.record {
        record::write(&outcome, &record::folder())?;
        features::refresh()?;
    }
    Ok(if outcome.verdict == Verdict::Invalid { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Prints what the decision rule makes of simulated layouts.
fn simulated(args: &Args) -> Result<ExitCode> {
    let bar = term::progress("Simulating", simulate::EFFECTS.len() as u64);
    let seed = args.seed.unwrap_or(1);
    let powers: Vec<_> = simulate::EFFECTS
        .iter()
        .map(|effect| {
            let power = simulate::power(*effect, 400, 2000, seed);
            bar.inc(1);
            power
        })
        .collect();
    bar.finish_and_clear();
    term::print(&match args.json {
        true => format!("{}\n", serde_json::to_string_pretty(&powers)?),
        false => simulate::text(&powers),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Prints an outcome as the arguments want it, and writes its page.
fn show(args: &Args, outcome: &Outcome) -> Result<()> {
    if args.json {
        term::print(&record::json(outcome)?)?;
    } else {
        term::print(&report::text(outcome))?;
    }
    if let Some(path) = &args.html {
        write::atomically(path, sheet::page(outcome)?)?;
        term::step("Wrote", path.display());
    }
    Ok(())
}

/// Says what to do about a full disk, where that is what some program or call complained of.
fn full_disk(error: anyhow::Error) -> anyhow::Error {
    let told = format!("{error:#}");
    // A linker writes through a mapping: on a full disk it dies of a bus error.
    let signs = ["No space left on device", "Disk quota exceeded", "[Bus error]"];
    let full = signs.iter().any(|sign| told.contains(sign));
    // A file that was asked for is named by its own message, and need not lie on that disk.
    if !full || told.contains(write::REFUSED) {
        return error;
    }
    error.context(format!(
        "the disk with {} is full, so there is no verdict; free some space, or set CARGO_TARGET_DIR to another disk",
        paths::target().display()
    ))
}

/// Reads `90s`, `5m`, `1h` or plain seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, text.as_bytes()[text.len() - 1]),
        None => (text, b's'),
    };
    let seconds = match unit {
        b'm' => 60,
        b'h' => 3600,
        _ => 1,
    };
    match number.parse::<u64>() {
        Ok(number) if number > 0 => Ok(Duration::from_secs(number.saturating_mul(seconds))),
        _ => Err("expected a time such as 90s, 5m or 1h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn budgets_are_read() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for bad in ["", "m", "0s", "-1s", "5 m", "fast"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_full_disk_is_told_with_what_helps() {
        // As the C library says it, and as a linker repeats it.
        let error = std::fs::write("/dev/full", "x").context("cannot write a file").unwrap_err();
        let told = format!("{:#}", full_disk(error));
        assert!(
            told.contains("CARGO_TARGET_DIR") && told.contains("cannot write a file"),
            "{told}"
        );
        let linker =
            anyhow::anyhow!("collect2: fatal error: ld terminated with signal 7 [Bus error]");
        assert!(format!("{:#}", full_disk(linker)).contains("is full"));
        let named = anyhow::anyhow!("a.html {}: No space left on device", write::REFUSED);
        assert!(!format!("{:#}", full_disk(named)).contains("CARGO_TARGET_DIR"));
        let other = format!("{:#}", full_disk(anyhow::anyhow!("no such gate")));
        assert_eq!(other, "no such gate");
    }

    #[test]
    fn each_question_is_asked_in_one_way() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: Args,
        }
        let parse = |words: &[&str]| {
            let words = std::iter::once("ab").chain(words.iter().copied());
            <Cli as clap::Parser>::try_parse_from(words).map(|cli| cli.args)
        };
        for two in [
            &["tiny-free-calls", "--vs", "glibc"][..],
            &["tiny-free-calls", "--features", "a,b"],
            &["tiny-free-calls", "--self-test"],
            &["--vs", "glibc", "--self-test"],
            &[],
        ] {
            assert!(parse(two).is_err(), "{two:?}");
        }
        assert_eq!(parse(&["--features", "a,b"]).unwrap().features, ["a", "b"]);
        let asked = |words: &[&str]| question(&parse(words).unwrap());
        assert!(matches!(asked(&["--self-test"]), Ok(None)));
        assert!(matches!(asked(&["--vs", "glibc"]), Ok(Some(Question::Peer { .. }))));
        assert!(matches!(asked(&["tiny-free-calls"]), Ok(Some(Question::Gates { .. }))));
        let error = asked(&["--vs", "mimaloc3"]).unwrap_err().to_string();
        assert!(error.contains("did you mean `mimalloc3`?") && error.contains("glibc"), "{error}");
        let error = asked(&["tiny-fre-calls"]).unwrap_err().to_string();
        assert!(error.contains("did you mean `tiny-free-calls`?"), "{error}");
    }
}
