//! Every counter as part of a named table. Text, JSON and queries by name are three ways through the
//! same list, so a new counter is one line in [`Stats::each_table`].

use super::rows::{Reading, Row};
use super::stats::{LAYERS, Stats};
use crate::class::GROUPS;
use crate::frontend::stack;
use crate::os::report::Small;
use core::fmt::{self, Write};

/// The system's calls, as rows are called.
const CALLS: [&str; 6] = ["map", "unmap", "remap", "protect", "discard", "advise_huge"];
/// Lengths of queues, as rows are called.
const LENGTHS: [&str; 8] = ["1", "2", "3-4", "5-8", "9-16", "17-32", "33-64", "65+"];

/// Rows of the longest table.
const MOST_ROWS: usize = if LAYERS > 9 { LAYERS } else { 9 };

/// What the rows of a table are called.
#[derive(Clone, Copy)]
enum Labels {
    /// There is one row, without a name.
    None,
    /// C0..C7, and "mid".
    Groups,
    These(&'static [&'static str]),
    /// The front-end layers.
    Layers,
}

impl Labels {
    fn are_layers(self) -> bool {
        matches!(self, Labels::Layers)
    }

    fn label(self, row: usize) -> Small {
        let mut label = Small::new();
        // What is too long is cut; nothing here is.
        let _ = match self {
            Labels::None => Ok(()),
            Labels::Groups if row < GROUPS => write!(label, "C{row}"),
            Labels::Groups => label.write_str("mid"),
            Labels::These(names) => label.write_str(names.get(row).unwrap_or(&"?")),
            Labels::Layers => {
                let mut at = 0;
                let mut written = Ok(());
                stack::each(&mut |layer| {
                    if at == row {
                        written = label.write_str(layer.name);
                    }
                    at += 1;
                });
                written
            }
        };
        label
    }
}

/// A gate's counters: rows of named columns.
pub(super) struct Table<'a> {
    name: &'static str,
    labels: Labels,
    columns: &'static [&'static str],
    rows: Reading<usize>,
    /// The gate that a row lacks, if it is not compiled in by itself.
    absent: &'a dyn Fn(usize) -> Option<&'static str>,
    cell: &'a dyn Fn(usize, usize) -> u64,
}

/// Makes a table of an array of rows and shows it.
fn show<R: Row, const ROWS: usize>(
    visit: &mut dyn FnMut(&Table<'_>) -> fmt::Result,
    name: &'static str,
    labels: Labels,
    reading: &Reading<[R; ROWS]>,
) -> fmt::Result {
    visit(&Table {
        name,
        labels,
        columns: R::COLUMNS,
        rows: reading.map(|_| ROWS),
        absent: &|_| None,
        cell: &|row, column| match reading {
            Reading::Value(rows) => rows.get(row).map_or(0, |row| row.get(column)),
            Reading::NotCompiledIn(_) => 0,
        },
    })
}

/// A single counter, as a row.
#[derive(Clone, Copy)]
struct Single(u64);

impl Row for Single {
    const COLUMNS: &'static [&'static str] = &[];
    fn get(&self, _column: usize) -> u64 {
        self.0
    }
}

impl Stats {
    /// The list of all tables.
    fn each_table(&self, visit: &mut dyn FnMut(&Table<'_>) -> fmt::Result) -> fmt::Result {
        use Labels::{Groups, None, These};
        show(visit, "tiny_free_calls", None, &self.tiny_free_calls.map(|n| [Single(n)]))?;
        show(visit, "c7_frees", None, &self.c7_frees.map(|n| [Single(n)]))?;
        show(visit, "class_groups", Groups, &self.class_groups)?;
        show(visit, "unified_cache", Groups, &self.unified_cache)?;
        show(visit, "slab_frees", Groups, &self.slab_frees)?;
        show(visit, "bad_classes", None, &self.bad_classes.map(|row| [row]))?;
        show(visit, "remote_queues", These(&LENGTHS), &self.remote_queues)?;
        show(visit, "os_calls", These(&CALLS), &self.os_calls)?;
        show(visit, "served", None, &self.served.map(|row| [row]))?;
        show(visit, "hdr_meta_mismatch", None, &self.hdr_meta_mismatch.map(|n| [Single(n)]))?;
        show(visit, "hdr_meta_fast", None, &self.hdr_meta_fast.map(|n| [Single(n)]))?;
        show(visit, "pool_hotbox", None, &self.pool_hotbox.map(|row| [row]))?;
        show(visit, "background_spill", None, &self.background_spill.map(|row| [row]))?;
        show(visit, "background_bin", None, &self.background_bin.map(|row| [row]))?;
        self.show_layers(visit)
    }

    /// A row for every front-end layer there is.
    fn show_layers(&self, visit: &mut dyn FnMut(&Table<'_>) -> fmt::Result) -> fmt::Result {
        let row = |row: usize| self.layers.get(row).map(|layer| layer.served);
        visit(&Table {
            name: "layers",
            labels: Labels::Layers,
            columns: &["served"],
            rows: self.served.map(|_| self.layers.len()),
            absent: &|at| row(at).and_then(|served| served.gate_if_off()),
            cell: &|at, _| row(at).and_then(Reading::value).unwrap_or(0),
        })
    }

    /// Whether a table is of this gate, which is off.
    fn has_table(&self, gate: &str) -> bool {
        let mut found = false;
        // Nothing is written, so nothing can fail.
        let _ = self.each_table(&mut |table| {
            let of = table.rows.gate_if_off().filter(|_| !table.labels.are_layers());
            found |= of == Some(gate);
            Ok(())
        });
        found
    }

    fn sizes(&self) -> [(&'static str, Option<usize>); 9] {
        [
            ("mapped_bytes", Some(self.mapped_bytes)),
            ("in_use_bytes", Some(self.in_use_bytes)),
            ("cached_bytes", Some(self.cached_bytes)),
            ("huge_bytes", Some(self.huge_bytes)),
            ("huge_blocks", Some(self.huge_blocks)),
            ("metadata_bytes", Some(self.metadata_bytes)),
            ("heaps", Some(self.heaps)),
            ("parked_heaps", Some(self.parked_heaps)),
            ("resident_bytes", self.resident_bytes),
        ]
    }

    /// One figure by name: that of a field for a single figure (`heaps`), `table.column` or
    /// `table.row.column` as the text has them (`served.arena`, `class_groups.C5.hits`,
    /// `layers.fast-cache.served`). `None`:
    /// there is no such figure, or the system does not tell.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Reading<u64>> {
        if let Some((_, value)) = self.sizes().into_iter().find(|(known, _)| *known == name) {
            return value.map(|value| Reading::Value(value as u64));
        }
        let mut parts = name.split('.');
        let (table, second, third) = (parts.next()?, parts.next(), parts.next());
        if parts.next().is_some() {
            return None;
        }
        let mut found = None;
        // Nothing is written, so nothing can fail.
        let _ = self.each_table(&mut |known| {
            if known.name == table {
                found = known.find(second, third);
            }
            Ok(())
        });
        found
    }

    /// Writes a table for people.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_text(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "hakmem {} statistics", env!("CARGO_PKG_VERSION"))?;
        for (name, value) in self.sizes() {
            match value {
                Some(value) => writeln!(out, "  {name:<18} {value:>14}")?,
                None => writeln!(out, "  {name:<18} {:>14}", "unknown")?,
            }
        }
        writeln!(out, "  {:<18} {:>14}", "diet", if self.diet { "on" } else { "off" })?;
        let shared = if self.counters_shared { "shared" } else { "per heap" };
        writeln!(out, "  {:<18} {shared:>14}", "counters")?;
        self.each_table(&mut |table| table.write_text(out))
    }

    /// Writes one JSON object. A counter that is not compiled in is `null`, and its gate is listed
    /// under `not_compiled_in`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_json(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_char('{')?;
        for (name, value) in self.sizes() {
            match value {
                Some(value) => write!(out, "\"{name}\":{value},")?,
                None => write!(out, "\"{name}\":null,")?,
            }
        }
        write!(out, "\"diet\":{},\"counters_shared\":{}", self.diet, self.counters_shared)?;
        self.each_table(&mut |table| table.write_json(out))?;
        out.write_str(",\"not_compiled_in\":[")?;
        let mut separator = "";
        self.each_table(&mut |table| {
            // The layers' counters are of the gate that `served` is of, and their own; some have a
            // table, too.
            let rows = table.rows.value().unwrap_or(0);
            let gates = table.rows.gate_if_off().filter(|_| !table.labels.are_layers());
            let layers = (0..rows).filter_map(table.absent).filter(|gate| !self.has_table(gate));
            for gate in gates.into_iter().chain(layers) {
                write!(out, "{separator}\"{gate}\"")?;
                separator = ",";
            }
            Ok(())
        })?;
        out.write_str("]}")
    }
}

impl Table<'_> {
    fn is_single(&self) -> bool {
        self.columns.is_empty()
    }

    /// The figure at `second` (a column, or a row with its column `third`).
    fn find(&self, second: Option<&str>, third: Option<&str>) -> Option<Reading<u64>> {
        let column = |name: &str| self.columns.iter().position(|known| *known == name);
        let (row, column) = match (self.labels, second, third) {
            (Labels::None, None, None) if self.is_single() => (0, 0),
            (Labels::None, Some(name), None) => (0, column(name)?),
            (Labels::Groups | Labels::These(_) | Labels::Layers, Some(label), Some(name)) => {
                // More labels than there are rows do no harm: a row that is not there is not found.
                let rows = self.rows.value().unwrap_or(usize::MAX).min(MOST_ROWS);
                let row = (0..rows).find(|&row| self.labels.label(row).as_str() == label)?;
                (row, column(name)?)
            }
            _ => return None,
        };
        if let (Some(gate), Reading::Value(_)) = ((self.absent)(row), self.rows) {
            return Some(Reading::NotCompiledIn(gate));
        }
        Some(self.rows.map(|_| (self.cell)(row, column)))
    }

    fn write_text(&self, out: &mut dyn Write) -> fmt::Result {
        let rows = match self.rows {
            Reading::Value(rows) => rows,
            Reading::NotCompiledIn(gate) => return missing(out, self.name, gate),
        };
        if self.is_single() {
            return writeln!(out, "  {:<18} {:>14}", self.name, (self.cell)(0, 0));
        }
        if matches!(self.labels, Labels::None) {
            writeln!(out, "  {}", self.name)?;
            for (column, name) in self.columns.iter().enumerate() {
                writeln!(out, "    {name:<16} {:>14}", (self.cell)(0, column))?;
            }
            return Ok(());
        }
        write!(out, "  {:<14}", self.name)?;
        for name in self.columns {
            write!(out, " {name:>15}")?;
        }
        out.write_char('\n')?;
        for row in 0..rows {
            if let Some(gate) = (self.absent)(row) {
                missing(out, self.labels.label(row).as_str(), gate)?;
                continue;
            }
            write!(out, "    {:<12}", self.labels.label(row).as_str())?;
            for column in 0..self.columns.len() {
                write!(out, " {:>15}", (self.cell)(row, column))?;
            }
            out.write_char('\n')?;
        }
        Ok(())
    }

    fn write_json(&self, out: &mut dyn Write) -> fmt::Result {
        write!(out, ",\"{}\":", self.name)?;
        let Reading::Value(rows) = self.rows else { return out.write_str("null") };
        if self.is_single() {
            return write!(out, "{}", (self.cell)(0, 0));
        }
        let many = !matches!(self.labels, Labels::None);
        if many {
            out.write_char('[')?;
        }
        for row in 0..rows {
            out.write_str(if row == 0 { "{" } else { ",{" })?;
            let mut separator = "";
            if many {
                write!(out, "\"row\":\"{}\"", self.labels.label(row).as_str())?;
                separator = ",";
            }
            for (column, name) in self.columns.iter().enumerate() {
                write!(out, "{separator}\"{name}\":")?;
                match (self.absent)(row) {
                    Some(_) => out.write_str("null")?,
                    None => write!(out, "{}", (self.cell)(row, column))?,
                }
                separator = ",";
            }
            out.write_char('}')?;
        }
        if many { out.write_char(']') } else { Ok(()) }
    }
}

/// Says that what a gate reports is not there.
pub(super) fn missing(out: &mut dyn Write, name: &str, gate: &str) -> fmt::Result {
    writeln!(out, "  {name:<18} not compiled in (feature {gate})")
}
