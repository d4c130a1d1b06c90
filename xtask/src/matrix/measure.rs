//! One configuration tried: built, run one instruction at a time, counted by valgrind, tested.
//!
//! The library is built in the release profile, as users get it. The tests run with overflow and
//! debug assertions, as `cargo test` does.

use super::plan::{Configuration, Group};
use super::results::{Fault, Figures, Row, Stage};
use crate::asm::library::{self, Builder, DATA, Library, Refused};
use crate::asm::{GOLDEN_SIZE, step, step_program, watch_in};
use crate::bench::counts;
use crate::bench::process::Runner;
use crate::bench::task::Task;
use crate::shared::registry::{PACKAGE, Registry};
use crate::shared::{command, paths, write};
use crate::test::process;
use crate::test::tally::Tally;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// The scenario whose instructions are counted.
pub const SCENARIO: &str = "random-mixed-400";

/// The tests that stand for all: the unit tests, the heap against its model, the exactness of the
/// counters. `cargo xtask test` runs the rest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// All three.
    Whole,
    /// Without the unit tests, whose build is a third of a row's work. For what decides nothing, and for
    /// layers: the unit tests of every build put each two of them one over the other
    /// (`frontend/conformance.rs`).
    Integration,
}

impl Suite {
    /// The tests that can tell for a configuration.
    fn of(configuration: &Configuration, registry: &Registry) -> Suite {
        let decides = |gate: &String| registry.gates[gate].kind.decides();
        let integration = match configuration.group {
            Group::Single | Group::Pair => !configuration.about.iter().any(decides),
            Group::None | Group::Union | Group::All => false,
        };
        if integration { Suite::Integration } else { Suite::Whole }
    }

    fn words(self) -> &'static [&'static str] {
        let whole = &["--lib", "--test", "model", "--test", "gates"];
        match self {
            Suite::Whole => whole,
            Suite::Integration => whole.split_at(1).1,
        }
    }
}

/// What a test build changes of the usual profile. Optimising the heap a little would save two of the
/// six seconds that the tests run and cost fourteen more of building them.
const PROFILE: [&str; 2] = ["profile.dev.debug=false", "profile.dev.incremental=false"];

/// Longest time the tests of one configuration may take, their build included.
const LIMIT: Duration = Duration::from_secs(5 * 60);

/// What is needed for every configuration.
pub struct Lab {
    builder: Builder,
    program: Runner,
    step: PathBuf,
    /// The counted scenario; none without valgrind.
    counted: Option<Task>,
    /// Whether anything is tested.
    tests: bool,
    registry: Registry,
    folder: PathBuf,
}

impl Lab {
    /// Builds what the configurations share. Everything lies below `target/matrix`.
    pub fn prepare(registry: Registry, tests: bool) -> Result<Lab> {
        let folder = folder();
        let program = Runner::build()?;
        let counted = match paths::which("valgrind") {
            Some(_) => {
                let mut scenarios = program.scenarios()?.into_iter();
                let found = scenarios.find(|scenario| scenario.name == SCENARIO);
                let found = found.with_context(|| format!("there is no scenario `{SCENARIO}`"))?;
                Some(Task::scenario(&found))
            }
            None => None,
        };
        let builder = Builder::new(paths::root(), folder.join("library"));
        Ok(Lab { builder, program, step: step_program()?, counted, tests, registry, folder })
    }

    /// Evidence that no row will have.
    pub fn missing(&self) -> Vec<String> {
        let valgrind =
            "instructions per operation: valgrind is missing; `apt-get install valgrind`";
        if self.counted.is_none() { vec![valgrind.to_owned()] } else { Vec::new() }
    }

    /// Tries a configuration, telling each stage. An error is one of this command, not of the
    /// configuration: those are in the row.
    pub fn measure(&self, configuration: &Configuration, stage: impl Fn(&str)) -> Result<Row> {
        let started = Instant::now();
        let mut row = Row {
            configuration: configuration.clone(),
            figures: None,
            tests: None,
            faults: Vec::new(),
            seconds: 0.0,
        };
        if configuration.refused.is_some() {
            return Ok(row);
        }
        stage("building, counting, testing");
        // In folders of their own; nothing is timed, so they may share the machine.
        let tests = std::thread::scope(|scope| -> Result<_> {
            let suite = Suite::of(configuration, &self.registry);
            let tests = self.tests.then(|| scope.spawn(move || self.test(configuration, suite)));
            self.build(configuration, &mut row)?;
            let joined = tests.map(|tests| tests.join().unwrap_or_else(|_| bail!("it panicked")));
            joined.transpose()
        })?;
        // A heap that does not compile has no tests to fail.
        if let Some((tally, fault)) = tests
            && !row.faults.iter().any(|fault| fault.stage == Stage::Heap)
        {
            row.tests = Some(tally);
            row.faults.extend(fault);
        }
        row.seconds = started.elapsed().as_secs_f64();
        Ok(row)
    }

    /// The library of a configuration, and what is counted of it.
    fn build(&self, configuration: &Configuration, row: &mut Row) -> Result<()> {
        match self.builder.build(&configuration.features) {
            Ok(library) => match self.figures(&library) {
                Ok(figures) => row.figures = Some(figures),
                Err(error) => row.faults.push(self.crash(configuration, &error)),
            },
            Err(error) => match error.downcast::<Refused>() {
                Ok(refused) => row.faults.push(Fault {
                    stage: if refused.heap { Stage::Heap } else { Stage::Library },
                    what: refused.first,
                    command: refused.command,
                }),
                Err(error) => return Err(error),
            },
        }
        Ok(())
    }

    fn figures(&self, library: &Library) -> Result<Figures> {
        let sections = library.sections()?;
        let allocator = library.allocator();
        let watched = watch_in(&self.step, &allocator, GOLDEN_SIZE)?;
        let function = |name: &str| -> Result<&step::Function> {
            let found = watched.functions.iter().find(|function| function.name == name);
            found.with_context(|| format!("{name} was not seen"))
        };
        let (malloc, free) = (function("malloc")?, function("free")?);
        let per_operation = self
            .counted
            .as_ref()
            .map(|task| counts::instructions_per_operation(&self.program, task, &allocator));
        Ok(Figures {
            text: library::size(&sections, &[".text"]),
            fast_paths: library.fast_paths()?.values().sum(),
            data: library::size(&sections, &DATA),
            malloc: malloc.median(),
            free: free.median(),
            locked: malloc.path.locked + free.path.locked,
            per_operation: per_operation.transpose()?,
        })
    }

    /// A program that did not run to its end on the library.
    fn crash(&self, configuration: &Configuration, error: &anyhow::Error) -> Fault {
        let features: Vec<String> =
            configuration.features.iter().map(|name| format!("hakmem/{name}")).collect();
        let mut build = command::cargo();
        build.args(["build", "--release", "--package", "hakmem-preload", "--no-default-features"]);
        if !features.is_empty() {
            build.args(["--features", &features.join(",")]);
        }
        let program = self.program.path().display();
        Fault {
            stage: Stage::Run,
            what: first_line(&format!("{error:#}")),
            command: format!(
                "{} && LD_PRELOAD={} {program} --scenario {SCENARIO}",
                command::show(&build),
                paths::target().join("release/libhakmem_preload.so").display()
            ),
        }
    }

    /// How the tests of a configuration went, and what is wrong if anything is.
    fn test(&self, of: &Configuration, suite: Suite) -> Result<(Tally, Option<Fault>)> {
        let shown = command::show(&command(suite, &of.features));
        let mut cargo = command(suite, &of.features);
        for setting in PROFILE {
            cargo.args(["--config", setting]);
        }
        cargo.arg("--target-dir").arg(self.folder.join("tests")).env("TEST_ROUNDS", "tenth");
        let (mut tally, mut failed, mut log) = (Tally::default(), Vec::new(), String::new());
        let ended = process::stream(cargo, LIMIT, |line| {
            log.push_str(line);
            log.push('\n');
            if let Some(counts) = Tally::from_cargo(line) {
                tally += counts;
            }
            if let Some(test) =
                line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED"))
            {
                failed.push(test.to_owned());
            }
        })?;
        if !ended.success() {
            let what = if !failed.is_empty() {
                format!("failed: {}", failed.join(", "))
            } else if log.lines().any(|line| line.starts_with("error")) {
                command::first_error(&log)
            } else {
                ended.words()
            };
            if tally.failed == 0 {
                // A build that failed, a test that took its process down, or the time that was up.
                tally += Tally::FAILED;
            }
            let path = self.folder.join("logs").join(format!("{}.log", file_name(of)));
            write::atomically(&path, &log)?;
            let what = format!("{what}; all of the output: {}", path.display());
            return Ok((tally, Some(Fault { stage: Stage::Tests, what, command: shown })));
        }
        Ok((tally, None))
    }
}

/// Where the matrix builds and keeps what it finds.
pub fn folder() -> PathBuf {
    paths::target().join("matrix")
}

/// The tests of a configuration, as one would type them.
pub fn command(suite: Suite, features: &[String]) -> Command {
    let mut cargo = command::cargo();
    cargo.args(["test", "--package", PACKAGE]).args(suite.words()).arg("--no-fail-fast");
    cargo.arg("--no-default-features");
    if !features.is_empty() {
        cargo.args(["--features", &features.join(",")]);
    }
    cargo
}

/// A file name for a configuration.
fn file_name(configuration: &Configuration) -> String {
    configuration.name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "-")
}

/// The heap's own complaint where there is one, else the first line.
fn first_line(text: &str) -> String {
    let complaint = text.lines().find(|line| line.starts_with("hakmem:"));
    complaint.or_else(|| text.lines().next()).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suite_is_a_command_that_one_can_type() {
        let shown = command::show(&command(Suite::Whole, &["a".into(), "b".into()]));
        let words = "test --package hakmem-alloc --lib --test model --test gates --no-fail-fast \
                     --no-default-features --features a,b";
        assert!(shown.ends_with(words), "{shown}");
        assert!(!command::show(&command(Suite::Whole, &[])).contains("--features "));
        let shown = command::show(&command(Suite::Integration, &[]));
        assert!(shown.contains("hakmem-alloc --test model --test gates --no-fail-fast"), "{shown}");
        for test in ["model", "gates"] {
            let tests = paths::root().join("tests");
            let folder = tests.join(test).join("main.rs");
            assert!(folder.is_file() || tests.join(test).with_extension("rs").is_file(), "{test}");
        }
    }

    #[test]
    fn a_crash_is_told_by_its_own_words() {
        let text = "`valgrind x` failed (signal: 6):\n";
        assert_eq!(first_line(text), "`valgrind x` failed (signal: 6):");
        let text = "`valgrind x` failed (signal: 6):\n==1== Cachegrind\nhakmem: double free\n";
        assert_eq!(first_line(text), "hakmem: double free");
    }
}
