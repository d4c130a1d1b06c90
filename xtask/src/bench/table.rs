//! The results as tables for the terminal.

use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, LineStyle, Table, TableStyle};

use super::aims::{self, Aim};
use super::results::{Metric, Results, Row};
use super::spread::WIDE;
use super::summary::{self, Line};
use super::task::Family;
use xtask_stats::Interval;

/// Ratios above this are pointed out: the row is lost.
const LOST: f64 = 1.1;

/// A line below the header, and nothing else.
pub const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::new(' ', '─', '─', ' '));

/// All tables, one below the other.
pub fn render(results: &Results) -> String {
    let mut text = String::new();
    for (family, metric) in results.sections() {
        let _ = writeln!(text, "{}\n{}\n", metric.title(family), table(results, family, metric));
    }
    let lines = summary::lines(results);
    if !lines.is_empty() {
        let _ = writeln!(text, "Geometric means of the ratios\n{}", means(results, &lines));
        text.push_str(&covered(&lines));
    }
    let aims = aims::judge(results);
    if !aims.is_empty() {
        let _ = writeln!(text, "Aims\n{}\n", aims_table(&aims));
    }
    text.push_str(&notes(results).into_iter().map(|line| line + "\n").collect::<String>());
    text.push_str(&footer(results));
    text
}

/// A figure with about three digits.
pub fn figure(value: f64) -> String {
    match value {
        value if value >= 99_950.0 => format!("{:.0}k", value / 1000.0),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// An interval's limits.
pub fn limits(interval: Option<Interval>) -> String {
    interval.map_or_else(
        || "-".to_owned(),
        |interval| format!("{} .. {}", figure_signed(interval.low), figure_signed(interval.high)),
    )
}

/// Like [`figure`], for what may be below 0.
pub fn figure_signed(value: f64) -> String {
    if value < 0.0 { format!("-{}", figure(-value)) } else { figure(value) }
}

/// What is remarkable about the spread of single rows.
pub fn notes(results: &Results) -> Vec<String> {
    let mut notes = Vec::new();
    let (mut wide, mut heaps) = (Vec::new(), Vec::new());
    for (family, metric) in results.sections() {
        if metric != Metric::Time {
            continue;
        }
        for row in results.rows(family, metric) {
            if row.wide(metric) {
                wide.push(row.task.name.clone());
            }
            heaps.extend(row.bimodal(metric).into_iter().map(|(at, modes)| {
                format!(
                    "{} on {} ({} runs near {}, {} near {})",
                    row.task.name,
                    results.allocators[at].name,
                    modes.low.1,
                    figure(modes.low.0),
                    modes.high.1,
                    figure(modes.high.0)
                )
            }));
        }
    }
    if !wide.is_empty() {
        let share = ((WIDE - 1.0) * 100.0).round();
        notes.push(format!(
            "~ time is uncertain by more than {share} %: {}; more --runs narrow it",
            wide.join(", ")
        ));
    }
    if !heaps.is_empty() {
        notes.push(format!("2 time lies in two heaps, trust no middle: {}", heaps.join("; ")));
    }
    notes
}

/// `~` for a wide row, `2` for one of which some allocator's runs lie in two heaps.
fn marks(metric: Metric, row: &Row) -> String {
    let mut marks = String::new();
    if row.wide(metric) {
        marks.push('~');
    }
    if metric == Metric::Time && !row.bimodal(metric).is_empty() {
        marks.push('2');
    }
    marks
}

/// The whole table where the terminal has room for it, else without the single peers.
fn table(results: &Results, family: Family, metric: Metric) -> Table {
    let whole = build(results, family, metric, true);
    let room = whole.width().map_or(usize::MAX, usize::from);
    let needed = whole.lines().map(|line| console::measure_text_width(&line)).max();
    if needed.unwrap_or(0) < room { whole } else { build(results, family, metric, false) }
}

fn build(results: &Results, family: Family, metric: Metric, peers: bool) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE);
    let arrangement =
        if peers { ContentArrangement::Disabled } else { ContentArrangement::Dynamic };
    table.set_content_arrangement(arrangement);
    let shown = if peers { results.allocators.len() } else { 1 };
    let mut header = vec![Cell::new(""), Cell::new("ratio"), Cell::new("90 %")];
    header.extend(results.allocators[..shown].iter().map(|allocator| Cell::new(&allocator.name)));
    if !peers {
        header.push(Cell::new("best peer"));
    }
    header.push(Cell::new(if peers { "best peer" } else { "" }));
    table.set_header(header);
    for row in results.rows(family, metric) {
        let best = row.best(metric);
        let interval = limits(row.interval(metric, 0));
        let mut cells = vec![
            Cell::new(&row.task.name),
            ratio(row.ratio(metric, 0)),
            Cell::new(format!("{interval} {}", marks(metric, row)).trim()),
        ];
        cells.extend((0..shown).map(|at| value(metric, row, Some(at))));
        if !peers {
            cells.push(value(metric, row, best));
        }
        cells.push(Cell::new(best.map_or("-", |at| results.allocators[at].name.as_str())));
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1).take(if peers { shown + 2 } else { 4 }) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn value(metric: Metric, row: &Row, allocator: Option<usize>) -> Cell {
    let median = allocator.and_then(|at| row.median(metric, at));
    let cell = Cell::new(median.map_or_else(|| "-".to_owned(), figure));
    if allocator.is_some() && allocator == row.best(metric) { cell.fg(Color::Cyan) } else { cell }
}

fn ratio(value: Option<f64>) -> Cell {
    let Some(value) = value else {
        return Cell::new("-");
    };
    let cell = Cell::new(format!("{value:.2}"));
    match value {
        value if value > LOST => cell.fg(Color::Red),
        value if value < 1.0 => cell.fg(Color::Green),
        _ => cell,
    }
}

/// The means: to the best of each row, and to the strongest over all.
fn means(results: &Results, lines: &[Line]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
    let ours = results.allocators[0].name.as_str();
    table.set_header(["", "rows", "best of", ours, "90 %", "strongest peer", "to it", "90 %"]);
    for line in lines {
        let strongest = line.strongest.as_ref();
        table.add_row(vec![
            Cell::new(line.what),
            Cell::new(&line.rows),
            Cell::new(line.among),
            ratio(line.means[0]),
            Cell::new(limits(line.interval)),
            Cell::new(strongest.map_or("-", |peer| peer.name.as_str())),
            ratio(strongest.map(|peer| peer.ratio)),
            Cell::new(limits(strongest.and_then(|peer| peer.interval))),
        ]);
    }
    table
}

/// Which rows the means are over.
fn covered(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut told: Vec<&str> = Vec::new();
    for line in lines {
        if !told.contains(&line.rows.as_str()) {
            told.push(&line.rows);
            let _ = writeln!(text, "  {}: {}", line.rows, line.covers.join(", "));
        }
    }
    text.push('\n');
    text
}

/// Aims, and whether each is met.
pub fn aims_table(aims: &[Aim]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["", "at most", "measured", "90 %", ""]);
    for aim in aims {
        let color = match aim.call() {
            "met" => Color::Green,
            "missed" => Color::Red,
            _ => Color::Yellow,
        };
        let unit = if aim.unit.is_empty() { String::new() } else { format!(" {}", aim.unit) };
        table.add_row(vec![
            Cell::new(&aim.what),
            Cell::new(format!("{}{unit}", figure(aim.limit))),
            Cell::new(format!("{}{unit}", figure_signed(aim.measured))),
            Cell::new(limits(aim.interval)),
            Cell::new(aim.call()).fg(color),
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// How to read the figures, where they were made and of what.
pub fn footer(results: &Results) -> String {
    let about = &results.circumstances;
    let versions: Vec<_> = results
        .allocators
        .iter()
        .map(|allocator| format!("{} {}", allocator.name, allocator.version))
        .collect();
    let mut text = format!(
        "ratio: {} against the best peer of the row, median of {} paired runs; below 1 is better. \
         90 %: bootstrap interval over the runs.\n{}\n{}, {} processors, Linux {}, commit {}{}, \
         load {:.1} to {:.1}\n",
        results.allocators[0].name,
        about.runs,
        versions.join(", "),
        about.processor,
        about.processors,
        about.kernel,
        about.commit,
        if about.quick { ", --quick" } else { "" },
        about.load.0,
        about.load.1,
    );
    if !about.features.is_empty() {
        let _ = writeln!(text, "features: {}", about.features.join(", "));
    }
    if !about.settings.is_empty() {
        let _ = writeln!(text, "settings: {}", about.settings.join(", "));
    }
    for missing in &results.missing {
        let reason = missing.reason.lines().next().unwrap_or_default();
        let _ = writeln!(text, "left out: {}: {reason}", missing.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::{sample, with};
    use super::super::task::Group;
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(figure(3.856), "3.86");
        assert_eq!(figure(45.26), "45.3");
        assert_eq!(figure(4169.2), "4169");
        assert_eq!(figure(389_106.0), "389k");
        assert_eq!(figure_signed(-45.26), "-45.3");
    }

    #[test]
    fn a_table_names_the_best_the_ratio_and_its_interval() {
        let mut results = sample();
        results.missing.push(super::super::peers::Missing {
            name: "absent".into(),
            reason: "no compiler".into(),
        });
        let text = render(&results);
        let line = text.lines().find(|line| line.trim_start().starts_with("pair")).unwrap();
        assert!(line.contains("0.80 .. 0.80") && line.trim_end().ends_with("quick"), "{line}");
        assert!(text.contains("left out: absent: no compiler"));
        assert!(!text.contains("Instructions") && !text.contains("two heaps"));
    }

    #[test]
    fn two_heaps_are_marked_and_told() {
        let mut results = sample();
        for (at, sample) in results.rows[0].cells[1].samples.iter_mut().enumerate() {
            sample.cpu_ns = if at % 2 == 0 { 200_000 + at as u64 } else { 400_000 + at as u64 };
        }
        let text = render(&results);
        assert!(text.contains("pair on slow (3 runs near 2000, 2 near 4000)"), "{text}");
        let line = text.lines().find(|line| line.trim_start().starts_with("pair")).unwrap();
        assert!(line.contains(" 2 "), "{line}");
    }

    #[test]
    fn means_and_aims_say_what_they_are_about() {
        let mut results = with("mixed", Group::Spec);
        results.circumstances.spec_rows = 2;
        let text = render(&results);
        assert!(text.contains("scenarios of the spec (2): pair, mixed"), "{text}");
        assert!(text.contains("missed") && text.contains("time, mixed"), "{text}");
    }
}
