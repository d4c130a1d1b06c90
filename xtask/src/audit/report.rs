//! The audit's outcome as a table and as JSON.

use super::paths::Level;
use crate::real::table;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Counts, behind a gate; no decision reads it.
    Telemetry,
    /// Needed, with its reason.
    Correctness,
    /// Not placed.
    Unknown,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Class::Telemetry => "telemetry",
            Class::Correctness => "correctness",
            Class::Unknown => "UNKNOWN",
        }
    }
}

/// One operation.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// How often it runs.
    pub path: Level,
    /// What it is for.
    pub class: Class,
    /// The atomic, as it is declared.
    pub atomic: String,
    /// Where: `file:line`.
    pub declared: Option<String>,
    /// The method, `fence` or `asm!`.
    pub operation: String,
    /// Its orderings.
    pub orderings: Vec<String>,
    /// Whether it is a locked instruction (or a full fence) on x86-64.
    pub locked: bool,
    /// The file it stands in.
    pub file: String,
    /// The line.
    pub line: usize,
    /// The function.
    pub function: String,
    /// The argument in the source.
    pub reason: Option<String>,
}

/// Something that could not be placed.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// `file:line`.
    pub at: String,
    /// What is wrong, and what to do.
    pub text: String,
}

/// Operations by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Operations.
    pub operations: usize,
    /// Behind a gate.
    pub telemetry: usize,
    /// With a reason.
    pub correctness: usize,
    /// Neither.
    pub unknown: usize,
    /// Locked instructions among them.
    pub locked: usize,
}

impl Totals {
    fn of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Totals {
        let mut totals = Totals::default();
        for entry in entries {
            totals.operations += 1;
            totals.locked += usize::from(entry.locked);
            match entry.class {
                Class::Telemetry => totals.telemetry += 1,
                Class::Correctness => totals.correctness += 1,
                Class::Unknown => totals.unknown += 1,
            }
        }
        totals
    }

    fn row(&self, name: &str) -> Vec<String> {
        let figures =
            [self.operations, self.telemetry, self.correctness, self.unknown, self.locked];
        std::iter::once(name.to_owned()).chain(figures.map(|it| it.to_string())).collect()
    }
}

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this form.
    pub schema: u32,
    /// How many atomics are operated on.
    pub atomics: usize,
    /// All operations.
    pub totals: Totals,
    /// The same by path.
    pub paths: BTreeMap<Level, Totals>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Every operation.
    pub operations: Vec<Entry>,
}

impl Report {
    /// Adds up.
    pub fn new(operations: Vec<Entry>, problems: Vec<Problem>) -> Report {
        let level = |level| Totals::of(operations.iter().filter(|entry| entry.path == level));
        let paths = [Level::Hot, Level::Warm, Level::Cold].map(|it| (it, level(it))).into();
        let declared: BTreeSet<_> =
            operations.iter().filter_map(|entry| entry.declared.as_ref()).collect();
        Report {
            schema: 1,
            atomics: declared.len(),
            totals: Totals::of(operations.iter()),
            paths,
            problems,
            operations,
        }
    }

    /// For people.
    pub fn text(&self, sites: bool) -> String {
        let mut text = String::new();
        let mut rows = table();
        if sites {
            rows.set_header(["path", "class", "where", "operation", "reason"]);
            for entry in &self.operations {
                rows.add_row([
                    entry.path.name().to_owned(),
                    entry.class.name().to_owned(),
                    format!("{}:{}", entry.file, entry.line),
                    format!("{}.{}({})", entry.atomic, entry.operation, entry.orderings.join(", ")),
                    entry.reason.clone().unwrap_or_default(),
                ]);
            }
        } else {
            rows.set_header(["path", "class", "atomic", "declared", "operations"]);
            for ((path, class, declared, atomic), operations) in self.by_atomic() {
                let list: Vec<String> = operations
                    .into_iter()
                    .map(|(name, count)| if count == 1 { name } else { format!("{name} x{count}") })
                    .collect();
                rows.add_row([path.name(), class.name(), &atomic, &declared, &list.join(", ")]);
            }
        }
        let mut sums = table();
        sums.set_header(["path", "operations", "telemetry", "correctness", "unknown", "locked"]);
        for (level, totals) in &self.paths {
            sums.add_row(totals.row(level.name()));
        }
        sums.add_row(self.totals.row("all"));
        // Nothing here can fail: it is written to a string.
        let _ = writeln!(text, "{rows}\n\n{sums}\n");
        for problem in &self.problems {
            let _ = writeln!(text, "{}: {}", problem.at, problem.text);
        }
        let Totals { operations, telemetry, correctness, unknown, .. } = self.totals;
        let _ = writeln!(
            text,
            "{operations} operations on {} atomics: {telemetry} telemetry (behind a gate), {correctness} correctness (with a reason), {unknown} unknown",
            self.atomics
        );
        text
    }

    /// The operations of each atomic, by path.
    #[allow(clippy::type_complexity)]
    fn by_atomic(&self) -> BTreeMap<(Level, Class, String, String), BTreeMap<String, usize>> {
        let mut rows: BTreeMap<_, BTreeMap<String, usize>> = BTreeMap::new();
        for entry in &self.operations {
            let declared =
                entry.declared.clone().unwrap_or_else(|| format!("{}:{}", entry.file, entry.line));
            let row =
                rows.entry((entry.path, entry.class, declared, entry.atomic.clone())).or_default();
            let name = match entry.orderings.first() {
                Some(first) => format!("{} {}", entry.operation, first.to_lowercase()),
                None => entry.operation.clone(),
            };
            *row.entry(name).or_default() += 1;
        }
        rows
    }
}
