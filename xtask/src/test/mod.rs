//! `cargo xtask test`: every test there is, in one command, with one count at the end.
//!
//! A suite is one `cargo test` invocation; the last one is the real programs. cargo's closing lines
//! (`test result: ...`) are passed on, everything else goes to a log that is shown where a suite
//! fails. What is not installed is named with the command that installs it.

pub mod process;
pub mod tally;

use crate::features::every_feature_but_layers;
use crate::real;
use crate::shared::default_build::DefaultBuild;
use crate::shared::registry::{PACKAGE, Registry};
use crate::shared::{command, paths, term};
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::{Command, ExitCode};
use std::time::Duration;
use tally::Tally;

/// Longest time one suite may take, its build included: many times what it does. A heap that hangs must not
/// hang CI.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask test                     every test
  cargo xtask test fork                tests, and real programs, whose name contains `fork`
  cargo xtask test --suite gate        the suites whose name contains `gate`
  cargo xtask test --no-real           all but the real programs
  cargo xtask test --thorough          every test with each gate, not only those that can tell
  cargo xtask test --list              the suites and their commands")]
pub struct Args {
    /// Run only tests whose name contains this word
    filter: Option<String>,

    /// Run only suites whose name contains this word
    #[arg(long)]
    suite: Option<String>,

    /// Leave out the real programs
    #[arg(long)]
    no_real: bool,

    /// Run every test with each gate, all of its rounds. (Counters, traces and logs decide nothing, as
    /// `cargo xtask audit` shows, and unit tests of every build put layers alone and in pairs through
    /// every call, so the model and the counts are enough of these day by day.)
    #[arg(long)]
    thorough: bool,

    /// Count a suite whose build has a warning as failed
    #[arg(long)]
    deny_warnings: bool,

    /// List the suites and run nothing
    #[arg(long)]
    list: bool,

    /// Pass all output of the tests on, not only the closing lines
    #[arg(long, short)]
    verbose: bool,

    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// One `cargo test` invocation.
struct Suite {
    name: String,
    arguments: Vec<String>,
    /// With a tenth of the rounds of the tests that repeat something.
    brief: bool,
}

/// What a suite came to.
#[derive(Debug, Serialize)]
struct Outcome {
    name: String,
    tally: Tally,
    seconds: f64,
    failures: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let registry = Registry::read()?;
    let wanted = |name: &str| args.suite.as_ref().is_none_or(|word| name.contains(word.as_str()));
    let mut suites = suites(&registry, args.thorough);
    suites.retain(|suite| wanted(&suite.name));
    let with_real = !args.no_real && wanted("real programs");
    if args.list {
        for suite in &suites {
            println!("{:32} cargo {}", suite.name, suite.arguments.join(" "));
        }
        if with_real {
            println!("{:32} cargo xtask real", "real programs");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let missing = missing();
    let logs = paths::target().join("xtask/test");
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;

    let mut outcomes = Vec::new();
    let count = suites.len() + usize::from(with_real);
    for (number, suite) in suites.iter().enumerate() {
        let outcome = suite.run(&args, &format!("{}/{count}", number + 1))?;
        outcomes.push(outcome);
    }
    if with_real {
        outcomes.push(real_programs(&args, &format!("{count}/{count}"))?);
    }
    let mut tally = Tally::default();
    for outcome in &outcomes {
        tally += outcome.tally;
    }
    if args.json {
        let all = serde_json::json!({ "suites": outcomes, "tally": tally, "missing": missing });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        print_summary(&outcomes);
        for what in &missing {
            println!("missing: {what}");
        }
        println!("{}", tally.line());
    }
    if tally.passed + tally.failed == 0 {
        term::note("no test ran: nothing matches the words given");
    }
    Ok(ExitCode::from(u8::from(!tally.good())))
}

/// The tests that can tell whether a counter, a trace, a log or a layer is right.
const TELLING: &[&str] = &["--test", "gates", "--test", "model"];

const EVERY: &[&str] = &["--lib", "--tests"];

/// The heap as fast as the release's code, everything else as the suite before left it: a third of the
/// time that all of it in the release's profile takes to build. What ships is tested as it ships, by the
/// tests of the preload library and the real programs.
const OPTIMISED: [&str; 3] = ["opt-level=3", "debug-assertions=false", "overflow-checks=false"];

/// Every suite, from the registry. With `thorough`, every test with each gate.
fn suites(registry: &Registry, thorough: bool) -> Vec<Suite> {
    let suite = |name: String, words: &[&str]| Suite {
        name,
        arguments: ["test", "--no-fail-fast"]
            .iter()
            .chain(words)
            .map(|word| (*word).to_owned())
            .collect(),
        brief: false,
    };
    let optimised = OPTIMISED.map(|setting| format!("profile.dev.package.{PACKAGE}.{setting}"));
    let optimised = optimised.iter().flat_map(|setting| ["--config", setting.as_str()]);
    let optimised: Vec<&str> = optimised.chain(["--package", PACKAGE]).collect();
    let mut suites =
        vec![suite("workspace".into(), &["--workspace"]), suite("optimised".into(), &optimised)];
    for (name, gate) in &registry.gates {
        // What its row lists is what can tell; the suites of all layers and of all other gates run the rest.
        let listed = gate.listed("tests");
        let mut tests: Vec<&str> = match () {
            () if thorough || listed.is_empty() && gate.kind.decides() => EVERY.to_vec(),
            () if listed.is_empty() => TELLING.to_vec(),
            () if gate.kind.decides() => vec!["--lib"],
            () => Vec::new(),
        };
        if !thorough {
            tests.extend(listed.iter().flat_map(|test| ["--test", test.as_str()]));
        }
        let rest;
        let (what, features) = if registry.default.contains(name) {
            let gate = BTreeSet::from([name.clone()]);
            let around = DefaultBuild::around(registry, &gate, &BTreeSet::new());
            rest = around.beside.into_iter().collect::<Vec<_>>().join(",");
            ("without", vec!["--no-default-features", "--features", rest.as_str()])
        } else {
            ("gate", vec!["--features", name.as_str()])
        };
        let words = [&["--package", PACKAGE], features.as_slice(), tests.as_slice()].concat();
        suites.push(Suite { brief: !thorough, ..suite(format!("{what} {name}"), &words) });
    }
    let layers = [&["--package", PACKAGE, "--features", "layers"], EVERY].concat();
    suites.push(Suite { brief: !thorough, ..suite("all layers".into(), &layers) });
    let every: Vec<String> = every_feature_but_layers(registry)
        .iter()
        .map(|feature| format!("{PACKAGE}/{feature}"))
        .collect();
    suites.push(suite(
        "all other gates".into(),
        &["--package", PACKAGE, "--package", "hakmem-preload", "--features", &every.join(",")],
    ));
    suites
}

impl Suite {
    fn run(&self, args: &Args, position: &str) -> Result<Outcome> {
        let mut cargo = command::cargo();
        cargo.args(&self.arguments);
        if let Some(filter) = &args.filter {
            cargo.arg(filter);
        }
        if self.brief {
            cargo.env("TEST_ROUNDS", "tenth");
        }
        run_cargo(&self.name, cargo, position, args)
    }
}

/// Runs one `cargo test`, passes its closing lines on, and keeps the rest in a log.
fn run_cargo(name: &str, cargo: Command, position: &str, args: &Args) -> Result<Outcome> {
    term::step("Testing", format!("{name} ({position})"));
    let spinner = term::spinner("Running", name.to_owned());
    let (mut tally, mut failures, mut log) = (Tally::default(), Vec::new(), String::new());
    let (verbose, quiet, mut warnings) = (args.verbose, args.json, 0);
    let shown = command::show(&cargo);
    let ended = process::stream(cargo, LIMIT, |line| {
        let _ = writeln!(log, "{line}");
        let closing = Tally::from_cargo(line);
        warnings += u32::from(line.starts_with("warning:"));
        if let Some(counts) = closing {
            tally += counts;
        }
        if let Some(test) = line.strip_prefix("test ").and_then(|l| l.strip_suffix(" ... FAILED")) {
            failures.push(test.to_owned());
        }
        if closing.is_some() || verbose {
            spinner.suspend(|| if quiet { eprintln!("{line}") } else { println!("{line}") });
        } else if line.starts_with("     Running") || line.starts_with("   Doc-tests") {
            spinner.set_message(line.trim().to_owned());
            spinner.suspend(|| eprintln!("{line}"));
        }
    })?;
    spinner.finish_and_clear();
    let path = paths::target().join(format!("xtask/test/{}.log", name.replace([' ', '/'], "-")));
    std::fs::write(&path, &log).with_context(|| format!("cannot write {}", path.display()))?;
    let warned = args.deny_warnings && warnings > 0;
    if warned {
        tally += Tally::FAILED;
        failures.push(format!("{name}: its build has warnings"));
    }
    if !ended.success() || warned {
        if tally.failed == 0 {
            // A build that failed, a test that took its process down, or the time that was up.
            tally += Tally::FAILED;
            failures.push(format!("{name}: {}", ended.words()));
        }
        eprintln!("{}", command::tail(log.as_bytes(), 150));
        let what = format!("`{shown}`: {}; all of its output: {}", ended.words(), path.display());
        term::error(&anyhow::anyhow!(what));
    }
    Ok(Outcome { name: name.to_owned(), tally, seconds: ended.took.as_secs_f64(), failures })
}

fn real_programs(args: &Args, position: &str) -> Result<Outcome> {
    term::step("Testing", format!("real programs ({position})"));
    let started = std::time::Instant::now();
    let outcomes = real::run_all(&real::Args {
        filter: args.filter.iter().cloned().collect(),
        ..Default::default()
    });
    let (mut tally, mut failures) = (Tally::default(), Vec::new());
    match outcomes {
        Ok(outcomes) => {
            for outcome in outcomes {
                tally += outcome.tally();
                if outcome.status == real::Status::Failed {
                    failures.push(outcome.name);
                }
            }
        }
        // A word that picks tests need not pick a program.
        Err(_) if args.filter.is_some() => {}
        Err(error) => {
            term::error(&error);
            tally += Tally::FAILED;
            failures.push(format!("{error:#}"));
        }
    }
    Ok(Outcome {
        name: "real programs".to_owned(),
        tally,
        seconds: started.elapsed().as_secs_f64(),
        failures,
    })
}

fn print_summary(outcomes: &[Outcome]) {
    let mut table = real::table();
    table.set_header(["suite", "passed", "failed", "skipped", "time"]);
    for outcome in outcomes {
        table.add_row([
            outcome.name.clone(),
            outcome.tally.passed.to_string(),
            outcome.tally.failed.to_string(),
            outcome.tally.skipped.to_string(),
            format!("{:.0} s", outcome.seconds),
        ]);
    }
    println!("\n{table}");
    for outcome in outcomes {
        for failure in &outcome.failures {
            println!("failed: {} ({})", failure, outcome.name);
        }
    }
}

/// Tools that some test or some evidence needs and that are not here, each with what it is for and
/// the command that installs it.
pub fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    for (program, needed_for, install) in [
        ("gcc", "the C tests of the preload library", "apt-get install gcc libc6-dev"),
        ("g++", "the C++ tests of the preload library", "apt-get install g++"),
        ("valgrind", "exact instruction counts", "apt-get install valgrind"),
    ] {
        if paths::which(program).is_none() {
            missing.push(format!("{program}, for {needed_for}: `{install}`"));
        }
    }
    for what in &missing {
        term::note(format!("not installed: {what}"));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gate_has_a_suite_of_its_own() {
        let registry = Registry::read().unwrap();
        for thorough in [false, true] {
            let suites = suites(&registry, thorough);
            let suite = |name: &str| suites.iter().find(|suite| suite.name == name);
            for (name, gate) in &registry.gates {
                let what = if registry.default.contains(name) { "without" } else { "gate" };
                let suite = suite(&format!("{what} {name}")).unwrap_or_else(|| panic!("{name}"));
                // What decides something is tested whole, unless its row says which tests can tell;
                // layers are, together.
                let listed = gate.listed("tests");
                let has = |word: &str| suite.arguments.iter().any(|known| known == word);
                let whole = gate.kind.decides() && listed.is_empty();
                assert_eq!(has("--tests"), thorough || whole, "{name}");
                assert_eq!(has("--lib"), thorough || gate.kind.decides(), "{name}");
                assert_ne!(suite.brief, thorough);
                for test in listed {
                    let tests = paths::root().join("tests");
                    let there =
                        tests.join(format!("{test}.rs")).is_file() || tests.join(&test).is_dir();
                    assert!(there, "{name}: no test `{test}`");
                    assert_eq!(has(&test), !thorough, "{name}");
                }
            }
            for name in ["workspace", "all layers", "all other gates"] {
                assert!(suite(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn a_gate_of_the_default_build_is_tested_by_leaving_it_out() {
        let mut registry = Registry::read().unwrap();
        registry.default = ["elo", "evolution", "sfc"].map(str::to_owned).into();
        let suites = suites(&registry, false);
        let shown = |name: &str| {
            let found = suites.iter().find(|suite| suite.name == name).expect(name);
            found.arguments.join(" ")
        };
        let without = "--no-default-features --features";
        assert!(shown("without evolution").contains(&format!("{without} elo,sfc --lib")));
        // What needs it goes, too.
        assert!(shown("without elo").contains(&format!("{without} sfc --lib")));
        assert!(shown("gate tls-sll").contains("hakmem-alloc --features tls-sll --test gates"));
    }

    #[test]
    fn a_suite_that_dies_is_a_failure() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; kill -9 $$"]);
        std::fs::create_dir_all(paths::target().join("xtask/test")).unwrap();
        let args = Args { json: true, ..args() };
        let outcome = run_cargo("self test", shell, "1/1", &args).unwrap();
        assert_eq!((outcome.tally.passed, outcome.tally.failed), (2, 1));
        assert_eq!(outcome.failures.len(), 1);
    }

    #[test]
    fn a_warning_is_a_failure_where_it_is_asked_to_be() {
        std::fs::create_dir_all(paths::target().join("xtask/test")).unwrap();
        for (deny_warnings, failed) in [(false, 0), (true, 1)] {
            let mut shell = Command::new("sh");
            shell.args([
                "-c",
                "echo 'warning: unused' >&2; echo 'test result: ok. 1 passed; 0 failed'",
            ]);
            let args = Args { json: true, deny_warnings, ..args() };
            let outcome = run_cargo("warnings", shell, "1/1", &args).unwrap();
            assert_eq!((outcome.tally.passed, outcome.tally.failed), (1, failed));
        }
    }

    /// Those of the command without a word.
    fn args() -> Args {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            args: Args,
        }
        <Command as clap::Parser>::parse_from(["test"]).args
    }
}
