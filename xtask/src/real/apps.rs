//! The Rust programs of `benches/apps`, built twice: with `#[global_allocator] Hakmem` and with the
//! system's allocator. Their outputs must be equal, and each build must say which heap it is on.

use crate::shared::{command, paths};
use crate::test::process::Group;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The package that holds the programs.
pub const PACKAGE: &str = "hakmem-apps";

/// Longest time one program may take. They take seconds.
const LIMIT: Duration = Duration::from_secs(600);

/// Both builds of the programs.
pub struct Apps {
    system: PathBuf,
    hakmem: PathBuf,
    /// The programs, as the binary lists them.
    pub names: Vec<String>,
}

/// What one program came to.
pub struct Compared {
    /// Differences; none means that both builds did the same.
    pub faults: Vec<String>,
    /// Time of the build with the system's allocator.
    pub system: Duration,
    /// Time of the build with Hakmem.
    pub hakmem: Duration,
    /// Bytes of output compared.
    pub bytes: u64,
}

impl Apps {
    /// Builds both and keeps copies below `scratch`; `features` are gates for the Hakmem build.
    pub fn build(scratch: &Path, features: &[String]) -> Result<Apps> {
        fs::create_dir_all(scratch)?;
        let gates: Vec<String> = features.iter().map(|gate| format!("hakmem/{gate}")).collect();
        let hakmem = build(scratch, "hakmem", &gates)?;
        let system = build(scratch, "system", &["system".to_owned()])?;
        for (program, expected) in [(&hakmem, "hakmem"), (&system, "system")] {
            let told = said(program, "--heap")?;
            if told.trim() != expected {
                bail!(
                    "{} says that its heap is `{}`; expected `{expected}`",
                    program.display(),
                    told.trim()
                );
            }
        }
        let names = said(&hakmem, "--list")?;
        Ok(Apps { names: names.lines().map(str::to_owned).collect(), system, hakmem })
    }

    /// Runs one program in both builds, the Hakmem one with `variables` set, and compares.
    pub fn compare(&self, name: &str, variables: &[(String, String)]) -> Result<Compared> {
        let system = run(&self.system, name, &[])?;
        if !system.ok {
            bail!(
                "{PACKAGE} {name} failed on the system's heap, so there is nothing to compare with"
            );
        }
        let hakmem = run(&self.hakmem, name, variables)?;
        let mut faults = Vec::new();
        if !hakmem.ok {
            faults.push(format!("{PACKAGE} {name} failed:\n{}", command::tail(&hakmem.stderr, 12)));
        } else if hakmem.stdout != system.stdout {
            faults.push(format!(
                "output differs: without Hakmem\n{}\nwith it\n{}",
                command::tail(&system.stdout, 6),
                command::tail(&hakmem.stdout, 6)
            ));
        }
        if system.stdout.is_empty() {
            faults.push("the program printed nothing, so nothing was compared".to_owned());
        }
        let said = String::from_utf8_lossy(&hakmem.stderr);
        if let Some(line) = super::run::complaint(&said) {
            faults.push(format!("standard error holds `{line}`"));
        }
        Ok(Compared {
            faults,
            system: system.took,
            hakmem: hakmem.took,
            bytes: system.stdout.len() as u64,
        })
    }
}

fn build(scratch: &Path, variant: &str, features: &[String]) -> Result<PathBuf> {
    let mut cargo = command::cargo();
    cargo.args(["build", "--release", "--package", PACKAGE]);
    if !features.is_empty() {
        cargo.args(["--features", &features.join(",")]);
    }
    command::output(&mut cargo)?;
    let kept = scratch.join(format!("{PACKAGE}-{variant}"));
    fs::copy(paths::target().join("release").join(PACKAGE), &kept)
        .with_context(|| format!("cannot copy the {variant} build of {PACKAGE}"))?;
    Ok(kept)
}

/// What a build says when it is asked for itself.
fn said(program: &Path, question: &str) -> Result<String> {
    let ran = run(program, question, &[])?;
    if !ran.ok {
        bail!("`{} {question}` failed:\n{}", program.display(), command::tail(&ran.stderr, 12));
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}

struct Ran {
    ok: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    took: Duration,
}

fn run(program: &Path, name: &str, variables: &[(String, String)]) -> Result<Ran> {
    let log = |stream: &str| program.with_extension(stream);
    let (stdout, stderr) = (log("stdout"), log("stderr"));
    let mut command = Command::new(program);
    command
        .arg(name)
        .envs(variables.iter().cloned())
        .stdout(File::create(&stdout)?)
        .stderr(File::create(&stderr)?);
    let ended = Group::start(command)?.wait(LIMIT)?;
    Ok(Ran {
        ok: ended.success(),
        stdout: fs::read(stdout)?,
        stderr: fs::read(stderr)?,
        took: ended.took,
    })
}
