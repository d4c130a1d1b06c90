//! Configurations tried: built, run one instruction at a time, counted by valgrind, tested.
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
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::Scope;
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

/// What is counted of a library, or why nothing is.
type Built = Result<Figures, Fault>;

/// How tests went, and what is wrong with them if anything is.
type Tested = (Tally, Option<Fault>);

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
        let builder = Builder::new(paths::root(), folder.join("library")).without_lines();
        Ok(Lab { builder, program, step: step_program()?, counted, tests, registry, folder })
    }

    /// Evidence that no row will have.
    pub fn missing(&self) -> Vec<String> {
        let valgrind =
            "instructions per operation: valgrind is missing; `apt-get install valgrind`";
        if self.counted.is_none() { vec![valgrind.to_owned()] } else { Vec::new() }
    }

    /// Tries configurations and hands their rows to `each`, in their order, until `stop`.
    ///
    /// Libraries and tests have a lane each, in folders of their own, and neither waits for the other:
    /// nothing is timed, so they may share the machine. An error is one of this command, not of a
    /// configuration: those are in the row.
    pub fn measure(
        &self,
        configurations: &[&Configuration],
        stop: &AtomicBool,
        mut each: impl FnMut(Row) -> Result<()>,
    ) -> Result<()> {
        let tested = |configuration: &Configuration| {
            self.tests.then(|| self.test(configuration, Suite::of(configuration, &self.registry)))
        };
        std::thread::scope(|scope| {
            let built =
                lane(scope, configurations, stop, |configuration| self.build(configuration));
            let tested = lane(scope, configurations, stop, |one| tested(one).transpose());
            for &configuration in configurations {
                let (Ok((built, building)), Ok((tested, testing))) = (built.recv(), tested.recv())
                else {
                    return Ok(());
                };
                let row = join(configuration, built, tested, building.max(testing));
                let row = row.with_context(|| format!("measuring `{}`", configuration.name));
                if stop.load(Ordering::SeqCst) && !row.as_ref().is_ok_and(Row::sound) {
                    // Ctrl-C reached what was running too: its failure says nothing.
                    return Ok(());
                }
                each(row?)?;
            }
            Ok(())
        })
    }

    /// What is counted of a configuration's library, or what is wrong with it.
    fn build(&self, configuration: &Configuration) -> Result<Built> {
        match self.builder.build(&configuration.features) {
            Ok(library) => {
                Ok(self.figures(&library).map_err(|error| self.crash(configuration, &error)))
            }
            Err(error) => {
                let refused = error.downcast::<Refused>()?;
                Ok(Err(Fault {
                    stage: if refused.heap { Stage::Heap } else { Stage::Library },
                    what: refused.first,
                    command: refused.command,
                }))
            }
        }
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
    fn test(&self, of: &Configuration, suite: Suite) -> Result<Tested> {
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

/// Does `work` for one configuration after the other in a thread of its own: results and seconds, until
/// `stop` or until nobody listens.
fn lane<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    configurations: &'scope [&Configuration],
    stop: &'scope AtomicBool,
    work: impl Fn(&Configuration) -> T + Send + 'scope,
) -> Receiver<(T, f64)> {
    let (send, receive) = mpsc::channel();
    scope.spawn(move || {
        for configuration in configurations {
            if stop.load(Ordering::SeqCst) {
                return;
            }
            let started = Instant::now();
            let result = work(configuration);
            if send.send((result, started.elapsed().as_secs_f64())).is_err() {
                return;
            }
        }
    });
    receive
}

/// The row that both lanes make together.
fn join(
    configuration: &Configuration,
    built: Result<Built>,
    tested: Result<Option<Tested>>,
    seconds: f64,
) -> Result<Row> {
    let (built, tested) = (built?, tested?);
    let mut row = Row { seconds, ..Row::empty(configuration) };
    match built {
        Ok(figures) => row.figures = Some(figures),
        Err(fault) => row.faults.push(fault),
    }
    // A heap that does not compile has no tests to fail.
    if let Some((tally, fault)) = tested
        && !row.faults.iter().any(|fault| fault.stage == Stage::Heap)
    {
        row.tests = Some(tally);
        row.faults.extend(fault);
    }
    Ok(row)
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
    use anyhow::anyhow;
    use std::sync::atomic::AtomicUsize;

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
    fn a_lane_works_in_order_until_it_is_stopped_or_left_alone() {
        let matrix = super::super::results::tests::sample();
        let configurations: Vec<_> = matrix.rows.iter().map(|row| &row.configuration).collect();
        let all: Vec<_> = configurations.iter().map(|one| one.name.clone()).collect();
        assert!(all.len() > 2);
        let worked = |stops_at: usize, left_at: usize| {
            let (stop, begun) = (AtomicBool::new(false), AtomicUsize::new(0));
            let names: Vec<String> = std::thread::scope(|scope| {
                let lane = lane(scope, &configurations, &stop, |one| {
                    if begun.fetch_add(1, Ordering::SeqCst) + 1 == stops_at {
                        stop.store(true, Ordering::SeqCst);
                    }
                    one.name.clone()
                });
                lane.into_iter().take(left_at).map(|(name, _)| name).collect()
            });
            (names, begun.into_inner())
        };
        assert_eq!(worked(usize::MAX, usize::MAX), (all.clone(), all.len()));
        // What was begun when the stop came is still handed over.
        assert_eq!(worked(2, usize::MAX), (all[..2].to_vec(), 2));
        assert_eq!(worked(usize::MAX, 1).0, all[..1]);
    }

    #[test]
    fn a_heap_that_does_not_compile_has_no_tests_to_fail() {
        let matrix = super::super::results::tests::sample();
        let configuration = &matrix.rows[0].configuration;
        let fault = |stage| Fault { stage, what: "E0308".into(), command: "cargo".into() };
        let tested = || Ok(Some((Tally::FAILED, Some(fault(Stage::Tests)))));
        let row = join(configuration, Ok(Err(fault(Stage::Heap))), tested(), 2.0).unwrap();
        assert_eq!((row.faults.len(), row.tests, row.seconds), (1, None, 2.0));
        let row = join(configuration, Ok(Err(fault(Stage::Run))), tested(), 2.0).unwrap();
        assert_eq!((row.faults.len(), row.tests), (2, Some(Tally::FAILED)));
        assert!(
            join(configuration, Ok(Err(fault(Stage::Run))), Err(anyhow!("full")), 0.0).is_err()
        );
    }

    #[test]
    fn a_crash_is_told_by_its_own_words() {
        let text = "`valgrind x` failed (signal: 6):\n";
        assert_eq!(first_line(text), "`valgrind x` failed (signal: 6):");
        let text = "`valgrind x` failed (signal: 6):\n==1== Cachegrind\nhakmem: double free\n";
        assert_eq!(first_line(text), "hakmem: double free");
    }
}
