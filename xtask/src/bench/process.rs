//! One run of one scenario on one allocator, in a process of its own.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::peers::Allocator;
use crate::shared::{command, paths, term};

/// A scenario, as the scenario program describes it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// The work in a few words.
    pub about: String,
    /// What one operation is.
    pub unit: String,
    /// Operations of one run.
    pub ops: u64,
    /// Whether it runs on several threads.
    pub threaded: bool,
    /// Milliseconds of idleness before its final memory is read.
    pub settle_ms: u64,
}

impl Scenario {
    /// Whether its time says anything; one row exists for its memory only.
    pub fn timed(&self) -> bool {
        self.ops > 1
    }
}

/// What one process measured.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Sample {
    /// Operations carried out.
    pub ops: u64,
    /// Wall time, nanoseconds.
    pub ns: u64,
    /// Processor time of all threads, nanoseconds.
    pub cpu_ns: u64,
    /// The work's checksum.
    pub checksum: u64,
    /// Page faults while it ran.
    pub faults: u64,
    /// Final resident memory, KiB.
    pub rss_kib: u64,
    /// Peak resident memory, KiB.
    pub peak_kib: u64,
}

/// The scenario program.
pub struct Program {
    path: PathBuf,
    processors: Vec<usize>,
}

impl Program {
    /// Builds it.
    pub fn build() -> Result<Program> {
        let spinner = term::spinner("Building", "the scenarios");
        let mut build = command::cargo();
        build.args([
            "build",
            "--release",
            "--package",
            "hakmem-scenarios",
            "--bin",
            "hakmem-scenario",
        ]);
        let built = command::output(&mut build);
        spinner.finish_and_clear();
        built?;
        Ok(Program {
            path: paths::target().join("release/hakmem-scenario"),
            processors: processors(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The scenarios that it has.
    pub fn scenarios(&self) -> Result<Vec<Scenario>> {
        let text = command::stdout(Command::new(&self.path).arg("--describe"))?;
        serde_json::from_str(&text).context("the scenario program describes itself in JSON")
    }

    /// Runs a scenario once. Single-threaded ones run on one processor, always the same.
    pub fn run(&self, scenario: &Scenario, ops: u64, allocator: &Allocator) -> Result<Sample> {
        let mut run = Command::new(allocator.program.as_ref().unwrap_or(&self.path));
        run.args(["--scenario", &scenario.name, "--ops", &ops.to_string()]);
        run.args(["--settle", &scenario.settle_ms.to_string()]);
        preload(&mut run, allocator);
        if !scenario.threaded
            && let Some(&processor) = self.processors.last()
        {
            pin(&mut run, processor);
        }
        let output =
            run.output().with_context(|| format!("cannot start `{}`", command::show(&run)))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("{} on {}: {}: {}", scenario.name, allocator.name, output.status, errors.trim());
        }
        // The loader only warns when it cannot preload, and the program would run on the system's.
        ensure!(!errors.contains("LD_PRELOAD"), "{}: {}", allocator.name, errors.trim());
        serde_json::from_slice(&output.stdout).context("the scenario program reports in JSON")
    }
}

/// Variables by which peers are tuned; they run as they come.
const TUNING: [&str; 6] =
    ["MIMALLOC_", "MALLOC_", "GLIBC_TUNABLES", "TCMALLOC_", "RPMALLOC_", "SNMALLOC_"];

/// Sets the environment so that the allocator, and nothing else, is preloaded. Our own variables
/// pass through: a mode is a thing to measure.
pub fn preload(command: &mut Command, allocator: &Allocator) {
    command.env_remove("LD_PRELOAD");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| TUNING.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(&name);
        }
    }
    if let Some(library) = &allocator.library {
        command.env("LD_PRELOAD", library);
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
