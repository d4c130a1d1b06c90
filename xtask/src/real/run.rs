//! One real program, run twice: once with the system's heap, once under the preload. What must be
//! equal: exit status, standard output, and every file below `$OUT`, byte for byte. What must not
//! be there: a line of the allocator's on standard error, or a process on another heap.
//!
//! Both runs happen in folders of the same names (compilers and archivers record paths), with the
//! same small environment, in a process group of their own that is ended when the time is up.

use super::evidence::{Evidence, LIBRARY};
use super::program::Program;
use crate::shared::{command, paths};
use crate::test::process::{Ended, Group};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What a program under the preload came to.
#[derive(Debug)]
pub struct Compared {
    /// Differences and other faults; none means that the program behaved the same.
    pub faults: Vec<String>,
    /// What the linker said about the run under the preload.
    pub evidence: Evidence,
    /// Time with the system's heap.
    pub system: Duration,
    /// Time under the preload, with the linker writing its evidence.
    pub preload: Duration,
    /// Bytes of output compared.
    pub bytes: u64,
}

/// The first line of the heap's on standard error. What a mode asks for and the build has not is said;
/// nothing else is.
pub fn complaint(said: &str) -> Option<&str> {
    let lacks = |line: &str| line.contains(" asks for ") && line.contains("not compiled in");
    said.lines().find(|line| line.starts_with("hakmem:") && !lacks(line))
}

/// Runs `program` both ways below `scratch`, which is emptied first, and compares. The run under
/// the preload has `variables` set besides.
pub fn compare(
    program: &Program,
    library: &Path,
    variables: &[(String, String)],
    scratch: &Path,
) -> Result<Compared> {
    if scratch.exists() {
        fs::remove_dir_all(scratch)?;
    }
    let place = Place::make(scratch)?;
    if program.folder.join("prepare.sh").is_file() {
        let made = place.run(program, "prepare.sh", &[])?;
        if !made.ended.success() {
            bail!(
                "{}/prepare.sh failed ({}):\n{}",
                program.name,
                made.ended.words(),
                command::tail(&made.stderr, 20)
            );
        }
    }
    place.empty()?;
    let system = place.run(program, "run.sh", &[])?;
    let expected = place.files()?;
    if !system.ended.success() {
        bail!(
            "{}/run.sh failed without the preload ({}), so there is nothing to compare with:\n{}",
            program.name,
            system.ended.words(),
            command::tail(&system.stderr, 20)
        );
    }
    place.empty()?;
    let debug = place.debug.join("ld");
    let mut more: Vec<(&str, &OsStr)> = vec![
        ("LD_PRELOAD", library.as_os_str()),
        ("LD_DEBUG", "bindings".as_ref()),
        ("LD_DEBUG_OUTPUT", debug.as_os_str()),
    ];
    more.extend(variables.iter().map(|(name, value)| (name.as_str(), value.as_ref())));
    let preload = place.run(program, "run.sh", &more)?;
    let found = place.files()?;
    let evidence = Evidence::read(&place.debug)?;

    let mut faults = Vec::new();
    if preload.ended.status != system.ended.status {
        faults.push(format!(
            "ended with {}, without the preload with {}",
            preload.ended.words(),
            system.ended.words()
        ));
    }
    if preload.stdout != system.stdout {
        faults.push(first_difference(&system.stdout, &preload.stdout));
    }
    faults.extend(file_differences(&expected, &found));
    let said = String::from_utf8_lossy(&preload.stderr);
    if let Some(line) = complaint(&said) {
        faults.push(format!("standard error holds `{line}`"));
    }
    faults.extend(evidence_faults(program, &evidence));
    if system.stdout.is_empty() && expected.is_empty() {
        faults.push("the script printed nothing, so nothing was compared".to_owned());
    }
    if !faults.is_empty() && !said.trim().is_empty() {
        let tail = command::tail(&preload.stderr, 12);
        faults.push(format!("standard error ends with:\n{tail}"));
    }
    let bytes = system.stdout.len() as u64 + expected.values().map(|f| f.len() as u64).sum::<u64>();
    Ok(Compared { faults, evidence, system: system.ended.took, preload: preload.ended.took, bytes })
}

/// Each command that the script needs must have been seen on the heap, and nothing elsewhere.
fn evidence_faults(program: &Program, evidence: &Evidence) -> Vec<String> {
    let needed = program.needs.iter().map(|need| need.commands.clone());
    let seen = program.seen.iter().map(|command| vec![command.clone()]);
    let mut faults: Vec<String> = needed
        .chain(seen)
        .filter(|names| !names.iter().any(|command| evidence.shows(command)))
        .map(|names| {
            let names = names.join(" or ");
            format!("no process called {names} had its malloc in {LIBRARY}")
        })
        .collect();
    if let Some(first) = evidence.elsewhere.first() {
        faults.push(format!(
            "{} processes had their malloc elsewhere, first {first}",
            evidence.elsewhere.len()
        ));
    }
    faults
}

/// The folders of a run.
struct Place {
    home: PathBuf,
    input: PathBuf,
    out: PathBuf,
    work: PathBuf,
    debug: PathBuf,
}

/// What one script did.
struct Ran {
    ended: Ended,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Place {
    fn make(scratch: &Path) -> Result<Place> {
        let place = Place {
            home: scratch.join("home"),
            input: scratch.join("input"),
            out: scratch.join("out"),
            work: scratch.join("work"),
            debug: scratch.join("debug"),
        };
        fs::create_dir_all(&place.input)?;
        place.empty()?;
        Ok(place)
    }

    /// Empties all folders but the input's.
    fn empty(&self) -> Result<()> {
        for folder in [&self.home, &self.out, &self.work, &self.debug] {
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
            fs::create_dir_all(folder)?;
        }
        Ok(())
    }

    fn run(&self, program: &Program, script: &str, more: &[(&str, &OsStr)]) -> Result<Ran> {
        let log = |name: &str| self.home.parent().unwrap_or(&self.home).join(name);
        let (stdout, stderr) = (log("stdout"), log("stderr"));
        let mut command = Command::new("bash");
        command
            .arg(program.folder.join(script))
            .current_dir(&self.work)
            .env_clear()
            .env("PATH", search_path())
            .env("HOME", &self.home)
            .env("TMPDIR", &self.work)
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env("ROOT", paths::root())
            .env("CARGO", paths::cargo())
            .env("CARGO_HOME", beside_home("CARGO_HOME", ".cargo"))
            .env("RUSTUP_HOME", beside_home("RUSTUP_HOME", ".rustup"))
            .env("REAL_DIR", &program.folder)
            .env("INPUT", &self.input)
            .env("OUT", &self.out)
            .envs(more.iter().copied())
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?);
        let ended = Group::start(command)?.wait(program.limit)?;
        Ok(Ran { ended, stdout: fs::read(stdout)?, stderr: fs::read(stderr)? })
    }

    /// Every file below `$OUT` with its content.
    fn files(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut files = BTreeMap::new();
        let mut open = vec![self.out.clone()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(&self.out)?.to_string_lossy().into_owned();
                    files.insert(name, fs::read(path)?);
                }
            }
        }
        Ok(files)
    }
}

/// Where the toolchain keeps its things, although the scripts get a home of their own.
fn beside_home(variable: &str, folder: &str) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(folder);
    std::env::var_os(variable).map_or_else(home, PathBuf::from)
}

/// The system's own programs first: version managers put scripts of the same names on `PATH`.
pub fn search_path() -> String {
    let inherited = std::env::var("PATH").unwrap_or_default();
    format!("/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin:{inherited}")
}

fn file_differences(
    expected: &BTreeMap<String, Vec<u8>>,
    found: &BTreeMap<String, Vec<u8>>,
) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, content) in expected {
        match found.get(name) {
            None => faults.push(format!("file {name} is missing under the preload")),
            Some(other) if other != content => {
                faults.push(format!("file {name} differs at byte {}", at(content, other)));
            }
            Some(_) => {}
        }
    }
    for name in found.keys().filter(|name| !expected.contains_key(*name)) {
        faults.push(format!("file {name} exists under the preload only"));
    }
    faults
}

/// The first byte in which two outputs differ.
fn at(expected: &[u8], found: &[u8]) -> usize {
    let same = expected.iter().zip(found).take_while(|(a, b)| a == b);
    same.count()
}

/// The first line in which two outputs differ, both sides of it.
fn first_difference(expected: &[u8], found: &[u8]) -> String {
    let (expected, found) = (String::from_utf8_lossy(expected), String::from_utf8_lossy(found));
    let (mut want, mut have) = (expected.lines(), found.lines());
    let mut number = 1;
    loop {
        let (a, b) = (want.next(), have.next());
        if a != b || a.is_none() {
            let show = |line: Option<&str>| match line {
                Some(line) => format!("`{}`", line.chars().take(160).collect::<String>()),
                None => "the end".to_owned(),
            };
            return format!(
                "standard output differs in line {number}: {} without, {} with the preload",
                show(a),
                show(b)
            );
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named() {
        let told = first_difference(b"a\nb\nc\n", b"a\nx\nc\n");
        assert!(told.contains("line 2") && told.contains("`b`") && told.contains("`x`"));
        assert!(first_difference(b"a\nb\n", b"a\n").contains("the end"));
        let one = BTreeMap::from([("f".to_owned(), vec![1, 2, 3]), ("g".to_owned(), vec![])]);
        let two = BTreeMap::from([("f".to_owned(), vec![1, 2, 4]), ("h".to_owned(), vec![])]);
        assert_eq!(file_differences(&one, &one), Vec::<String>::new());
        let told = file_differences(&one, &two);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].contains("f differs at byte 2"), "{told:?}");
    }
}
