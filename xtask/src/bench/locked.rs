//! Locked instructions of the allocator: what threads on many processors would queue for.
//!
//! The code of the preloaded library is disassembled, valgrind counts how often each instruction
//! ran, with one and with two parts of work, and those that lock (by prefix, or `xchg` with memory)
//! are added up. What the scenario and the C library lock is not in it. Valgrind runs one thread at a
//! time, so waiting for each other is not in it either: these are the operations that the design asks
//! for. The system's allocator is part of a library that locks for other reasons; it is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use iced_x86::{Decoder, DecoderOptions};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

use super::STOP;
use super::counts::part;
use super::peers::Allocator;
use super::process::{Runner, preload};
use super::results::{Metric, Results, Row};
use super::task::{Family, Task, Work};
use crate::asm::step::locks;
use crate::shared::{callgrind, command, paths, term};

/// A library's code, as far as it matters here.
struct Library {
    /// Its name as valgrind writes it.
    name: String,
    /// Addresses of its functions, by symbol.
    functions: BTreeMap<String, u64>,
    /// Addresses of its locked instructions.
    locked: BTreeSet<u64>,
}

/// Fills in the locked instructions of every scenario's cells; where valgrind is missing, says how to
/// get it.
pub fn count(runner: &Runner, results: &mut Results) {
    if paths::which("valgrind").is_none() {
        term::note(
            "no locked instructions counted: valgrind is missing; `apt-get install valgrind`",
        );
        return;
    }
    let libraries: Vec<Option<Library>> = results.allocators.iter().map(library).collect();
    let able = |row: &&mut Row| row.task.family() == Family::Scenarios && row.covers(Metric::Time);
    let rows: Vec<_> = results.rows.iter_mut().filter(able).collect();
    let bar = term::progress("Counting", (rows.len() * libraries.len()) as u64);
    for row in rows {
        bar.set_message(row.task.name.clone());
        for (at, library) in libraries.iter().enumerate() {
            if STOP.load(Ordering::Relaxed) {
                bar.finish_and_clear();
                return;
            }
            bar.inc(1);
            let Some(library) = library else { continue };
            match per_thousand(runner, &row.task, &results.allocators[at], library) {
                Ok(count) => row.cells[at].locked = Some(count),
                Err(error) => bar.suspend(|| {
                    term::note(format!(
                        "no locked instructions of {} in {}: {error:#}",
                        results.allocators[at].name, row.task.name
                    ));
                }),
            }
        }
    }
    bar.finish_and_clear();
}

/// The preloaded library of an allocator; none for the system's own or one that is compiled in.
fn library(allocator: &Allocator) -> Option<Library> {
    let path = allocator.library.as_ref()?;
    let read = || read(path).with_context(|| format!("cannot read {}", path.display()));
    read().inspect_err(|error| term::note(format!("{error:#}"))).ok()
}

fn read(path: &Path) -> Result<Library> {
    let bytes = std::fs::read(path)?;
    let file = object::File::parse(&*bytes)?;
    let functions = file
        .symbols()
        .chain(file.dynamic_symbols())
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
        .filter_map(|symbol| Some((symbol.name().ok()?.to_owned(), symbol.address())))
        .collect();
    let mut locked = BTreeSet::new();
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        let code = section.data()?;
        let decoder = Decoder::with_ip(64, code, section.address(), DecoderOptions::NONE);
        locked.extend(decoder.into_iter().filter(locks).map(|instruction| instruction.ip()));
    }
    let name = path.canonicalize()?.to_string_lossy().into_owned();
    Ok(Library { name, functions, locked })
}

/// Locked instructions in a thousand operations.
fn per_thousand(
    runner: &Runner,
    task: &Task,
    allocator: &Allocator,
    library: &Library,
) -> Result<f64> {
    let ops = part(task);
    let one = total(runner, task, ops, allocator, library)?;
    let two = total(runner, task, 2 * ops, allocator, library)?;
    Ok((two as f64 - one as f64).max(0.0) / (ops + ops / 10) as f64 * 1e3)
}

fn total(
    runner: &Runner,
    task: &Task,
    ops: u64,
    allocator: &Allocator,
    library: &Library,
) -> Result<u64> {
    let Work::Scenario(arguments) = &task.work else { bail!("{} is no scenario", task.name) };
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let file = folder.path().join("profile");
    let mut run = callgrind::command(&file);
    run.arg(runner.program(allocator)).args(arguments).args(["--ops", &ops.to_string()]);
    preload(&mut run, allocator);
    command::output(&mut run)?;
    let text = std::fs::read_to_string(&file).context("valgrind left no profile")?;
    let profile = callgrind::parse(&text, &library.name, &library.functions)?
        .with_context(|| format!("no function of {} ran", library.name))?;
    let executed = profile.executed.iter().filter(|(at, _)| library.locked.contains(at));
    Ok(executed.map(|(_, count)| count).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locked_instructions_of_a_library_are_found() {
        // The system's C library locks; where it lies, the process knows.
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps.lines().find_map(|line| {
            line.split_whitespace().last().filter(|path| path.contains("libc.so"))
        });
        let Some(libc) = libc else {
            eprintln!("skipped: this program is linked statically");
            return;
        };
        let library = read(Path::new(libc)).unwrap();
        assert!(library.functions.contains_key("malloc"));
        assert!(library.locked.len() > 50, "{} locked instructions", library.locked.len());
    }
}
