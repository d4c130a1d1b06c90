//! The real programs: one folder of `tests/real/` each, found by looking there, so that adding a
//! program is adding a folder.
//!
//! A folder holds `run.sh`, whose output must not depend on the allocator, and where its input is
//! made rather than kept, `prepare.sh`. The head of `run.sh` says what it is and what it needs:
//!
//! ```text
//! #!/usr/bin/env bash
//! # One or more lines on what the script does.
//! # needs: gcc=gcc as=binutils
//! # seen: cc1
//! # limit: 900
//! ```
//!
//! A need is `command=package`, the package Debian's; `lua5.4|lua=lua5.4` accepts either command.
//! Every needed command, and every program named as `seen` (one that a command starts, or that the
//! script builds), must turn up on the heap. A limit is in seconds; most scripts need none of their own.

use crate::shared::paths;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The programs of `cargo xtask real`.
pub const REAL: &str = "tests/real";

/// Longest time one script may take that names no other. They take seconds; a heap that hangs must
/// not hang CI.
const LIMIT: Duration = Duration::from_secs(600);

/// A command that a program's script calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The names it goes by, the first one found is used.
    pub commands: Vec<String>,
    /// The Debian package that holds it.
    pub package: String,
}

impl Need {
    /// Reads `command=package`.
    pub fn parse(word: &str) -> Result<Need> {
        match word.split_once('=') {
            Some((commands, package)) if !commands.is_empty() && !package.is_empty() => Ok(Need {
                commands: commands.split('|').map(str::to_owned).collect(),
                package: package.to_owned(),
            }),
            _ => bail!("a need is `command=package`, not `{word}`"),
        }
    }

    /// True where one of the commands is on `PATH`.
    pub fn met(&self) -> bool {
        self.commands.iter().any(|command| paths::which(command).is_some())
    }
}

/// One folder of `tests/real/`.
#[derive(Clone, Debug)]
pub struct Program {
    /// The folder's name.
    pub name: String,
    /// What the script says it does.
    pub about: String,
    /// What it needs.
    pub needs: Vec<Need>,
    /// Programs that must be seen on the heap besides the needed commands.
    pub seen: Vec<String>,
    /// The folder.
    pub folder: PathBuf,
    /// Longest time that a run may take.
    pub limit: Duration,
}

impl Program {
    /// All programs of a folder of the checkout, in alphabetical order.
    pub fn all(folder: &str) -> Result<Vec<Program>> {
        let folder = paths::root().join(folder);
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot list {}", folder.display()))?;
        let mut programs = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.join("run.sh").is_file() {
                programs.push(Program::read(&path)?);
            }
        }
        programs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(programs)
    }

    fn read(folder: &Path) -> Result<Program> {
        let script = folder.join("run.sh");
        let text = std::fs::read_to_string(&script)
            .with_context(|| format!("cannot read {}", script.display()))?;
        let head =
            parse_head(&text).with_context(|| format!("in the head of {}", script.display()))?;
        let name = folder.file_name().unwrap_or_default();
        Ok(Program { name: name.to_string_lossy().into_owned(), folder: folder.to_owned(), ..head })
    }

    /// The Debian packages of the needs that are not met.
    pub fn missing_packages(&self) -> Vec<&str> {
        missing_packages(&self.needs)
    }
}

/// The Debian packages of those needs that are not met.
pub fn missing_packages(needs: &[Need]) -> Vec<&str> {
    let mut packages: Vec<&str> =
        needs.iter().filter(|need| !need.met()).map(|need| need.package.as_str()).collect();
    packages.dedup();
    packages
}

/// The comment at the head of a script: what it does, and what it needs; name and folder are left
/// empty.
fn parse_head(text: &str) -> Result<Program> {
    let (mut about, mut needs, mut seen) = (Vec::new(), Vec::new(), Vec::new());
    let mut limit = LIMIT;
    for line in text.lines().skip(1) {
        let Some(comment) = line.strip_prefix('#') else {
            break;
        };
        match comment.trim().split_once(": ") {
            Some(("needs", words)) => {
                for word in words.split_whitespace() {
                    needs.push(Need::parse(word)?);
                }
            }
            Some(("limit", seconds)) => {
                let seconds = seconds.trim().parse().context("a limit is a number of seconds")?;
                limit = Duration::from_secs(seconds);
            }
            Some(("seen", words)) => seen.extend(words.split_whitespace().map(str::to_owned)),
            _ => about.push(comment.trim()),
        }
    }
    if about.is_empty() || needs.is_empty() {
        bail!("expected a comment on what it does and a `# needs: command=package` line");
    }
    let (name, folder) = (String::new(), PathBuf::new());
    Ok(Program { name, about: about.join(" "), needs, seen, folder, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_script_is_read() {
        let text = "#!/bin/bash\n# Does a thing,\n# twice.\n# needs: lua5.4|lua=lua5.4 sh=dash\n# seen: cc1\n# limit: 900\nset -e\n# needs: no=no\n";
        let head = parse_head(text).unwrap();
        assert_eq!(head.about, "Does a thing, twice.");
        assert_eq!(head.needs.len(), 2);
        assert_eq!(head.needs[0].commands, ["lua5.4", "lua"]);
        assert!(head.needs[1].met(), "sh is everywhere");
        assert_eq!(head.seen, ["cc1"]);
        assert_eq!(head.limit, Duration::from_secs(900));
        assert!(parse_head("#!/bin/bash\nset -e\n").is_err());
        assert!(parse_head("#!/bin/bash\n# About.\n# needs: python3\n").is_err());
    }

    #[test]
    fn every_folder_of_the_checkout_is_a_program() {
        let programs = Program::all(REAL).unwrap();
        let folders = std::fs::read_dir(paths::root().join(REAL))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().is_dir())
            .count();
        assert_eq!(programs.len(), folders, "a folder without a run.sh");
        assert!(programs.iter().any(|program| program.name == "python"));
    }
}
