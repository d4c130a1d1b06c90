//! The results as tables for the terminal.

use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, LineStyle, Table, TableStyle};

use super::results::{METRICS, Metric, Results, Row};

/// Ratios above this are pointed out: the row is lost.
const LOST: f64 = 1.1;

/// A line below the header, and nothing else.
pub const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::new(' ', '─', '─', ' '));

/// All tables, one below the other.
pub fn render(results: &Results) -> String {
    let mut text = String::new();
    for metric in METRICS {
        if results.rows(metric).next().is_some() {
            let _ = writeln!(text, "{}\n{}\n", metric.title(), table(results, metric));
        }
    }
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

/// The whole table where the terminal has room for it, else without the single peers.
fn table(results: &Results, metric: Metric) -> Table {
    let whole = build(results, metric, true);
    let room = whole.width().map_or(usize::MAX, usize::from);
    let needed = whole.lines().map(|line| console::measure_text_width(&line)).max();
    if needed.unwrap_or(0) < room { whole } else { build(results, metric, false) }
}

fn build(results: &Results, metric: Metric, peers: bool) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE);
    let arrangement =
        if peers { ContentArrangement::Disabled } else { ContentArrangement::Dynamic };
    table.set_content_arrangement(arrangement);
    let shown = if peers { results.allocators.len() } else { 1 };
    let mut header = vec![Cell::new(""), Cell::new("ratio")];
    header.extend(results.allocators[..shown].iter().map(|allocator| Cell::new(&allocator.name)));
    if !peers {
        header.push(Cell::new("best peer"));
    }
    header.push(Cell::new(if peers { "best peer" } else { "" }));
    table.set_header(header);
    for row in results.rows(metric) {
        let best = row.best(metric);
        let mut cells = vec![Cell::new(&row.scenario.name), ratio(row.ratio(metric, 0))];
        cells.extend((0..shown).map(|at| value(metric, row, Some(at))));
        if !peers {
            cells.push(value(metric, row, best));
        }
        cells.push(Cell::new(best.map_or("-", |at| results.allocators[at].name.as_str())));
        table.add_row(cells);
    }
    if results.rows(metric).count() > 1 && metric.comparable() {
        let mut means = vec![Cell::new("geometric mean"), ratio(results.mean(metric, 0))];
        means.extend((0..shown).map(|at| ratio(results.mean(metric, at))));
        table.add_row(means);
    }
    for column in table.column_iter_mut().skip(1).take(if peers { shown + 1 } else { 3 }) {
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

fn footer(results: &Results) -> String {
    let about = &results.circumstances;
    let versions: Vec<_> = results
        .allocators
        .iter()
        .map(|allocator| format!("{} {}", allocator.name, allocator.version))
        .collect();
    let mut text = format!(
        "ratio: {} against the best peer of the row, median of {} paired runs; below 1 is better. \
         Means are of the ratios to the best peer.\n{}\n{}, {} processors, Linux {}, commit {}{}, \
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
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(figure(3.856), "3.86");
        assert_eq!(figure(45.26), "45.3");
        assert_eq!(figure(4169.2), "4169");
        assert_eq!(figure(389_106.0), "389k");
    }

    #[test]
    fn a_table_names_the_best_and_the_ratio() {
        let mut results = super::super::results::tests::sample();
        results.missing.push(super::super::peers::Missing {
            name: "absent".into(),
            reason: "no compiler".into(),
        });
        let text = render(&results);
        let line = text.lines().find(|line| line.trim_start().starts_with("pair")).unwrap();
        assert!(line.contains("0.80") && line.trim_end().ends_with("quick"), "{line}");
        assert!(text.contains("left out: absent: no compiler"));
        assert!(!text.contains("Instructions"));
    }
}
