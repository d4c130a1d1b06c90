//! The measurements as tables: for the terminal, as a document, as JSON.

use super::Part;
use super::outcome::{Comparison, Outcome};
use crate::bench::aims::Aim;
use crate::bench::table::{aims_table, figure, figure_signed, limits};
use crate::shared::document::{Column, Part as Piece};
use anyhow::Result;
use comfy_table::{CellAlignment, Table};
use xtask_stats::Interval;

/// The title.
pub const TITLE: &str = "Policies and counters";

const ABOUT: &str = "Made by `cargo xtask policies`: processor time of an operation, every arm once in each \
    repetition, as the median of paired ratios with its 90 % bootstrap interval.";

/// A heading, its columns but the first, and its rows.
struct Section {
    heading: String,
    about: &'static str,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// Columns of a comparison of arms.
const ARMS: [&str; 5] = ["arm", "time", "in % of the first", "90 %", "faults"];

/// A percentage to a tenth, and to a hundredth where it is small.
fn tenths(percent: f64) -> String {
    if percent < 10.0 { format!("{percent:.2}") } else { format!("{percent:.1}") }
}

/// An interval of percentages.
fn between(interval: Option<Interval>) -> String {
    interval
        .map_or_else(|| "-".to_owned(), |at| format!("{} .. {}", tenths(at.low), tenths(at.high)))
}

/// Every arm of a comparison.
fn arms(comparison: &Comparison) -> Vec<Vec<String>> {
    let row = |at: usize| {
        let (percent, interval) = comparison.percent(at);
        let timed = &comparison.timed[at];
        let base = at == 0;
        vec![
            timed.arm.name.clone(),
            format!("{} ns", figure(comparison.time(at))),
            if base { "-".to_owned() } else { tenths(percent) },
            between(interval.filter(|_| !base)),
            figure(timed.faults),
        ]
    };
    (0..comparison.timed.len()).map(row).collect()
}

fn by_arm(comparison: &Comparison, heading: String, about: &'static str) -> Section {
    let columns = ARMS.map(str::to_owned).to_vec();
    Section { heading, about, columns, rows: arms(comparison) }
}

/// Everything but the aims.
fn sections(outcome: &Outcome) -> Vec<Section> {
    let mut sections = Vec::new();
    for vm in outcome.of(Part::Vm) {
        let about = "2 MiB blocks in a ring of four, a byte written in each page.";
        sections.push(by_arm(
            vm,
            "BigCache and batched madvise against minimal mode".to_owned(),
            about,
        ));
    }
    for comparison in outcome.of(Part::Thresholds) {
        let fixed = comparison.timed.len() > 3;
        let (what, about) = if fixed {
            ("every fixed threshold", "A first look, at the threshold that is best.")
        } else {
            (
                "learned",
                "What was learned in a run of its own, in force, against the best fixed threshold.",
            )
        };
        sections.push(by_arm(comparison, format!("{}: {what}", comparison.scenario), about));
    }
    let learning: Vec<&Comparison> =
        outcome.comparisons.iter().filter(|one| one.part == Part::Scenarios).collect();
    if let Some(first) = learning.first() {
        let names = first.timed.iter().skip(1).map(|timed| timed.arm.name.clone());
        let columns = names.flat_map(|name| [format!("{name}, %"), "90 %".to_owned()]);
        let row = |comparison: &&Comparison| {
            let again = if comparison.again { ", again" } else { "" };
            let mut row = vec![
                format!("{}{again}", comparison.scenario),
                format!("{} ns", figure(comparison.time(0))),
            ];
            for at in 1..comparison.timed.len() {
                let (percent, interval) = comparison.percent(at);
                row.extend([tenths(percent), between(interval)]);
            }
            row
        };
        sections.push(Section {
            heading: "Learning from nothing, in every scenario".to_owned(),
            about: "Time in per cent of the fixed default's. ELO plays for as long as the program runs; with \
                Evolution a steady winner is frozen.",
            columns: ["scenario".to_owned(), "default".to_owned()].into_iter().chain(columns).collect(),
            rows: learning.iter().map(row).collect(),
        });
    }
    if !outcome.tiny.is_empty() {
        let row = |call: &super::outcome::Call| {
            let counts = [call.size as u64, call.default, call.learning];
            [vec![call.function.clone()], counts.map(|count| count.to_string()).to_vec()].concat()
        };
        sections.push(Section {
            heading: "The tiny path".to_owned(),
            about: "Instructions of the middle call, single-stepped.",
            columns: ["function", "bytes", "default", "with elo and evolution"]
                .map(str::to_owned)
                .to_vec(),
            rows: outcome.tiny.iter().map(row).collect(),
        });
    }
    for comparison in outcome.of(Part::Telemetry) {
        let heading = format!("Every counter: {}", comparison.scenario);
        sections.push(by_arm(
            comparison,
            heading,
            "A thread's own counters, and shared ones with locked instructions.",
        ));
    }
    sections
}

fn facts(outcome: &Outcome) -> Vec<(String, String)> {
    let machine = &outcome.machine;
    let commit = machine.commit.get(..12).unwrap_or(&machine.commit);
    let changed = if machine.changed { " with changes on top" } else { "" };
    let best = outcome.best().map(|best| ("best fixed thresholds".to_owned(), best));
    let place =
        format!("{}, commit {commit}{changed}, {} repetitions", machine.name(), outcome.runs);
    best.into_iter().chain([("where".to_owned(), place)]).collect()
}

/// For the terminal.
pub fn render(outcome: &Outcome) -> String {
    let mut text = String::new();
    for section in sections(outcome) {
        let mut table: Table = crate::real::table();
        table.set_header(&section.columns);
        table.add_rows(section.rows);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        text.push_str(&format!("{}\n{table}\n\n", section.heading));
    }
    text.push_str(&format!("Aims\n{}\n\n", aims_table(&outcome.aims())));
    for (name, what) in facts(outcome) {
        text.push_str(&format!("{name}: {what}\n"));
    }
    text
}

fn aim_row(aim: &Aim) -> Vec<String> {
    let unit = if aim.unit.is_empty() { String::new() } else { format!(" {}", aim.unit) };
    vec![
        aim.what.clone(),
        format!("{}{unit}", figure(aim.limit)),
        format!("{}{unit}", figure_signed(aim.measured)),
        limits(aim.interval),
        aim.call().to_owned(),
    ]
}

/// The document.
pub fn parts(outcome: &Outcome, svg: &str) -> Vec<Piece> {
    let table = |columns: Vec<String>, rows: Vec<Vec<String>>| {
        let column = |(at, name): (usize, String)| Column(name, at != 0);
        Piece::Table(columns.into_iter().enumerate().map(column).collect(), rows)
    };
    let aims = outcome.aims();
    let mut parts = vec![
        Piece::Text(ABOUT.to_owned()),
        table(
            ["aim", "at most", "measured", "90 %", ""].map(str::to_owned).to_vec(),
            aims.iter().map(aim_row).collect(),
        ),
        Piece::Picture(
            svg.to_owned(),
            "policies.svg".to_owned(),
            "aims and what was measured".to_owned(),
        ),
        Piece::Facts(facts(outcome)),
    ];
    for section in sections(outcome) {
        parts.push(Piece::Heading(section.heading));
        parts.push(Piece::Text(section.about.to_owned()));
        parts.push(table(section.columns, section.rows));
    }
    parts
}

/// The measurements with their aims.
pub fn json(outcome: &Outcome) -> Result<serde_json::Value> {
    let mut json = serde_json::to_value(outcome)?;
    let aims = outcome.aims().into_iter().map(|aim| {
        let mut row = serde_json::to_value(&aim)?;
        row["call"] = aim.call().into();
        Ok(row)
    });
    json["aims"] = aims.collect::<Result<Vec<_>>>()?.into();
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::sample;
    use super::*;
    use crate::shared::document;

    #[test]
    fn every_part_has_its_table() {
        let outcome = sample();
        let text = render(&outcome);
        for word in ["with batched madvise", "mixed, again", "telemetry, shared", "met", "missed"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let markdown = document::markdown(TITLE, &parts(&outcome, "<svg></svg>"));
        assert!(markdown.contains("| with both | 101 ns | 1.00 |"), "{markdown}");
        assert!(markdown.contains("| malloc | 64 | 12 | 12 |"), "{markdown}");
        for section in sections(&outcome) {
            assert!(section.rows.iter().all(|row| row.len() == section.columns.len()));
        }
    }

    #[test]
    fn parts_that_were_not_measured_are_left_out() {
        let mut outcome = sample();
        outcome.comparisons.retain(|comparison| comparison.part == Part::Vm);
        outcome.tiny.clear();
        outcome.suited.clear();
        assert_eq!(sections(&outcome).len(), 1);
        assert_eq!(json(&outcome).unwrap()["aims"].as_array().unwrap().len(), 1);
    }
}
