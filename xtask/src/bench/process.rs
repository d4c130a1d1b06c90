//! One run of one row on one allocator, in a process of its own.

use std::hash::Hasher;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::peers::Allocator;
use super::start;
use super::task::{Scenario, Task, Work};
use crate::shared::{command, paths, term};

/// What one process measured.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Sample {
    /// Operations carried out.
    pub ops: u64,
    /// Wall time, nanoseconds.
    pub ns: u64,
    /// Processor time of all threads, nanoseconds.
    pub cpu_ns: u64,
    /// The work's checksum; of a program, one over what it printed.
    pub checksum: u64,
    /// Page faults while it ran.
    pub faults: u64,
    /// Final resident memory, KiB.
    pub rss_kib: u64,
    /// Peak resident memory, KiB.
    pub peak_kib: u64,
    /// What of the final memory the program still held, KiB, where that is the point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_kib: Option<u64>,
}

/// Runs rows: the scenario program and the one that launches others.
pub struct Runner {
    scenarios: PathBuf,
    launcher: PathBuf,
    processors: Vec<usize>,
    scratch: tempfile::TempDir,
}

impl Runner {
    /// Builds both.
    pub fn build() -> Result<Runner> {
        let spinner = term::spinner("Building", "the scenarios");
        let mut build = command::cargo();
        build.args(["build", "--release", "--package", "hakmem-scenarios"]);
        build.args(["--bin", "hakmem-scenario", "--bin", "hakmem-launch"]);
        let built = command::output(&mut build);
        spinner.finish_and_clear();
        built?;
        Ok(Runner {
            scenarios: paths::target().join("release/hakmem-scenario"),
            launcher: paths::target().join("release/hakmem-launch"),
            processors: processors(),
            scratch: tempfile::tempdir().context("cannot make a temporary folder")?,
        })
    }

    /// The program that runs scenarios on what is preloaded.
    pub fn path(&self) -> &Path {
        &self.scenarios
    }

    /// The program that runs scenarios on an allocator.
    pub fn program<'path>(&'path self, allocator: &'path Allocator) -> &'path Path {
        allocator.program.as_ref().unwrap_or(&self.scenarios)
    }

    /// The scenarios that it has.
    pub fn scenarios(&self) -> Result<Vec<Scenario>> {
        let text = command::stdout(Command::new(&self.scenarios).arg("--describe"))?;
        serde_json::from_str(&text).context("the scenario program describes itself in JSON")
    }

    /// Runs a row once. Single-threaded ones run on one processor, always the same.
    pub fn run(&self, task: &Task, allocator: &Allocator) -> Result<Sample> {
        let fail =
            |error: anyhow::Error| error.context(format!("{} on {}", task.name, allocator.name));
        match &task.work {
            Work::Scenario(arguments) => {
                self.sample(self.scenario(task, arguments, allocator), task)
            }
            Work::Program(program) => {
                let mut words = vec![program.path.clone().into_os_string()];
                words.extend(program.arguments.iter().map(Into::into));
                self.launch(task, allocator, 1, &words, &program.variables)
            }
            Work::App => {
                let program = self.program(allocator).into();
                self.launch(task, allocator, 1, &[program, "app".into(), (&*task.name).into()], &[])
            }
            Work::Start(program) => {
                let words = [program.clone().into_os_string()];
                let launched = self.launch(task, allocator, task.ops, &words, &[]);
                launched.and_then(|sample| {
                    let (rss_kib, peak_kib) = start::memory_at_exit(program, allocator)?;
                    // It prints nothing that could differ.
                    Ok(Sample { rss_kib, peak_kib, checksum: 0, ..sample })
                })
            }
        }
        .map_err(fail)
    }

    /// Runs a scenario once under these settings of ours and no other.
    pub fn run_with(
        &self,
        task: &Task,
        allocator: &Allocator,
        settings: &[(String, String)],
    ) -> Result<Sample> {
        let Work::Scenario(arguments) = &task.work else { bail!("{} is no scenario", task.name) };
        let mut run = self.scenario(task, arguments, allocator);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("HAKMEM_")) {
                run.env_remove(&name);
            }
        }
        run.envs(settings.iter().map(|(name, value)| (name, value)));
        self.sample(run, task)
            .with_context(|| format!("{} on {} with {settings:?}", task.name, allocator.name))
    }

    fn scenario(&self, task: &Task, arguments: &[String], allocator: &Allocator) -> Command {
        let mut run = Command::new(self.program(allocator));
        run.args(arguments).args(["--ops", &task.ops.to_string()]);
        run.args(["--settle", &task.settle_ms.to_string()]);
        preload(&mut run, allocator);
        run
    }

    /// Runs a program through the launcher; the checksum is over what it printed last.
    fn launch(
        &self,
        task: &Task,
        allocator: &Allocator,
        count: u64,
        words: &[std::ffi::OsString],
        variables: &[(&str, &str)],
    ) -> Result<Sample> {
        let printed = self.scratch.path().join("printed");
        let mut run = Command::new(&self.launcher);
        run.args(["--count", &count.to_string(), "--stdout"]).arg(&printed);
        if let Some(library) = &allocator.library {
            run.arg("--preload").arg(library);
        }
        run.arg("--").args(words).current_dir(self.scratch.path());
        untuned(&mut run);
        run.envs(variables.iter().copied());
        let sample = self.sample(run, task)?;
        let text = std::fs::read(&printed).context("it left no output")?;
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(&text);
        Ok(Sample { checksum: hasher.finish() >> 11, ..sample })
    }

    fn sample(&self, mut run: Command, task: &Task) -> Result<Sample> {
        if !task.threaded
            && let Some(&processor) = self.processors.last()
        {
            pin(&mut run, processor);
        }
        let output =
            run.output().with_context(|| format!("cannot start `{}`", command::show(&run)))?;
        let errors = command::tail(&output.stderr, 3);
        if !output.status.success() {
            bail!("{}: {}; by hand: {}", output.status, errors.trim(), command::show(&run));
        }
        // The loader only warns when it cannot preload, and the program would run on the system's.
        ensure!(!errors.contains("LD_PRELOAD"), "{}", errors.trim());
        serde_json::from_slice(&output.stdout).context("it reports in JSON")
    }
}

/// Variables by which peers are tuned; they run as they come.
const TUNING: [&str; 7] =
    ["MIMALLOC_", "MALLOC_", "_RJEM_", "GLIBC_TUNABLES", "TCMALLOC_", "RPMALLOC_", "SNMALLOC_"];

/// Sets the environment so that the allocator, and nothing else, is preloaded. Our own variables
/// pass through: a mode is a thing to measure.
pub fn preload(command: &mut Command, allocator: &Allocator) {
    untuned(command);
    if let Some(library) = &allocator.library {
        command.env("LD_PRELOAD", library);
    }
}

/// Takes every other allocator, and what tunes the peers, out of the environment.
fn untuned(command: &mut Command) {
    command.env_remove("LD_PRELOAD");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| TUNING.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(&name);
        }
    }
}

/// Our own variables that are set, as `NAME=value`.
pub fn settings() -> Vec<String> {
    let mut settings: Vec<String> = std::env::vars()
        .filter(|(name, _)| name.starts_with("HAKMEM_"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    settings.sort();
    settings
}

/// The processors this process may use.
fn processors() -> Vec<usize> {
    // SAFETY: an all-zero set is a valid empty one, and the call writes no more than its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of_val(&set), &mut set) != 0 {
            return Vec::new();
        }
        (0..libc::CPU_SETSIZE as usize).filter(|&at| libc::CPU_ISSET(at, &set)).collect()
    }
}

fn pin(command: &mut Command, processor: usize) {
    // SAFETY: the closure makes one system call on data of its own, which is allowed after fork.
    unsafe {
        command.pre_exec(move || {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(processor, &mut set);
            match libc::sched_setaffinity(0, size_of_val(&set), &set) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}
