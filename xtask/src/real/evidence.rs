//! Evidence that a program really ran on the heap under test.
//!
//! The dynamic linker, asked by `LD_DEBUG=bindings`, writes one file per process with every symbol
//! it bound. A process ran on the heap when its `malloc` was bound to our library and to no other
//! one; a static or set-user-id program leaves no such line, and a renamed library shows at once.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The file name that the bindings must lead to.
pub const LIBRARY: &str = "libhakmem_preload.so";

/// What the linker's files say about one run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Processes on the heap, by program name.
    pub on_heap: BTreeMap<String, u64>,
    /// Processes that bound `malloc` elsewhere, with where.
    pub elsewhere: Vec<String>,
}

impl Evidence {
    /// Reads the files that one run left in `folder`.
    pub fn read(folder: &Path) -> Result<Evidence> {
        let mut evidence = Evidence::default();
        let entries = std::fs::read_dir(folder)
            .with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let bytes = std::fs::read(entry?.path())?;
            evidence.add(&String::from_utf8_lossy(&bytes));
        }
        Ok(evidence)
    }

    /// How many processes ran on the heap.
    pub fn processes(&self) -> u64 {
        self.on_heap.values().sum()
    }

    /// True where a process of that name ran on the heap.
    pub fn shows(&self, command: &str) -> bool {
        self.on_heap.contains_key(command)
    }

    /// Adds one process's file. A process that replaced itself (`exec`) wrote several programs
    /// into one file; every one of them counts, and one that went elsewhere spoils them all.
    fn add(&mut self, text: &str) {
        let (mut names, mut ours, mut other) = (BTreeSet::new(), false, None);
        for binding in text.lines().filter_map(Binding::parse) {
            if !is_library(binding.from) {
                names.insert(file_name(binding.from));
            }
            if binding.symbol == "malloc" {
                match file_name(binding.to) {
                    LIBRARY => ours = true,
                    // An executable that takes malloc's address is bound to its own jump slot.
                    to if is_library(to) => other = Some(to),
                    _ => {}
                }
            }
        }
        for name in names {
            match other {
                Some(other) => self.elsewhere.push(format!("{name} (in {other})")),
                None if ours => *self.on_heap.entry(name.to_owned()).or_default() += 1,
                None => {}
            }
        }
    }
}

/// One line of the linker's:
///
/// ```text
/// PID: binding file FROM [0] to TO [0]: normal symbol `SYMBOL' [VERSION]
/// ```
struct Binding<'a> {
    from: &'a str,
    to: &'a str,
    symbol: &'a str,
}

impl<'a> Binding<'a> {
    fn parse(line: &'a str) -> Option<Binding<'a>> {
        let (_, rest) = line.split_once("binding file ")?;
        let (from, rest) = rest.split_once(" [0] to ")?;
        let (to, rest) = rest.split_once(" [0]: ")?;
        let (_, rest) = rest.split_once('`')?;
        let (symbol, _) = rest.split_once('\'')?;
        Some(Binding { from, to, symbol })
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_library(path: &str) -> bool {
    let name = file_name(path);
    name.ends_with(".so") || name.contains(".so.") || name.ends_with(".node")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(from: &str, to: &str, symbol: &str) -> String {
        format!("      7:\tbinding file {from} [0] to {to} [0]: normal symbol `{symbol}' [V]\n")
    }

    #[test]
    fn a_process_counts_only_where_malloc_is_ours() {
        let libc = "/lib/x86_64-linux-gnu/libc.so.6";
        let ours = "/build/libhakmem_preload.so";
        let mut evidence = Evidence::default();
        evidence.add(&(line(libc, ours, "malloc") + &line("/usr/bin/git", libc, "strlen")));
        evidence.add(&(line(libc, "node", "malloc") + &line("node", ours, "malloc")));
        evidence.add(&line("jq", libc, "malloc"));
        evidence.add(&line("silent", libc, "strlen"));
        assert_eq!(evidence.processes(), 2);
        assert!(evidence.shows("git") && evidence.shows("node") && !evidence.shows("jq"));
        assert_eq!(evidence.elsewhere, ["jq (in libc.so.6)"]);
    }

    #[test]
    fn exec_in_one_process_counts_twice_and_cannot_hide() {
        let ours = "/build/libhakmem_preload.so";
        let both = line("bash", ours, "malloc") + &line("/usr/bin/python3", ours, "malloc");
        let mut evidence = Evidence::default();
        evidence.add(&both);
        assert!(evidence.shows("bash") && evidence.shows("python3"));
        let mut evidence = Evidence::default();
        evidence.add(&(both + &line("env", "libjemalloc.so.2", "malloc")));
        assert_eq!((evidence.processes(), evidence.elsewhere.len()), (0, 3));
    }
}
