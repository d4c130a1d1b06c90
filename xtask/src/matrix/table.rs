//! The matrix as a table: for the terminal, and as Markdown. Every row but the first shows what its
//! gates add to a build without any.

use super::results::{MEASURES, Matrix, Measure, Row};
use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table};
use std::fmt::Write;

/// The table and what is wrong, for the terminal.
pub fn terminal(matrix: &Matrix) -> String {
    let mut table = Table::new();
    table.load_style(crate::bench::table::STYLE);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(120);
    }
    let measures = shown(matrix);
    let mut header = vec!["", "builds", "tests"];
    header.extend(measures.iter().map(|measure| measure.title()));
    table.set_header(header);
    for row in &matrix.rows {
        let mut cells = vec![Cell::new(&row.configuration.name)];
        let bad = |cell: Cell, bad: bool| if bad { cell.fg(Color::Red) } else { cell };
        cells.push(bad(Cell::new(row.builds()), matches!(row.builds(), "NO" | "CRASHES")));
        cells.push(bad(Cell::new(row.tested()), row.tests.is_some_and(|tests| tests.failed > 0)));
        cells.extend(measures.iter().map(|measure| Cell::new(cell(matrix, row, *measure))));
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{}\n{table}\n{}", legend(matrix), remarks(matrix))
}

/// The table and what is wrong, as a page of the documentation.
pub fn markdown(matrix: &Matrix) -> String {
    let measures = shown(matrix);
    let mut text = format!(
        "# What each gate costs\n\nWritten by `cargo xtask matrix --record` at commit `{}`{} on {} ({} \
         processors), {}.\n\n{}\n\n|  | builds | tests |",
        matrix.machine.commit.get(..12).unwrap_or(&matrix.machine.commit),
        if matrix.machine.changed { ", with changes on top of it," } else { "" },
        matrix.machine.processor,
        matrix.machine.processors,
        matrix.machine.compiler.split(';').next().unwrap_or_default(),
        legend(matrix),
    );
    for measure in &measures {
        let _ = write!(text, " {} |", measure.title());
    }
    text.push_str("\n|---|---|---|");
    text.push_str(&"--:|".repeat(measures.len()));
    text.push('\n');
    for row in &matrix.rows {
        let _ =
            write!(text, "| `{}` | {} | {} |", row.configuration.name, row.builds(), row.tested());
        for measure in &measures {
            let _ = write!(text, " {} |", cell(matrix, row, *measure));
        }
        text.push('\n');
    }
    let remarks = remarks(matrix);
    if !remarks.is_empty() {
        let _ = write!(text, "\n```text\n{}\n```\n", remarks.trim_end());
    }
    text
}

/// The measures that differ anywhere; text and instructions always.
pub fn shown(matrix: &Matrix) -> Vec<Measure> {
    let varies = |measure: Measure| {
        let mut values = matrix.rows.iter().filter_map(|row| measure.of(row.figures.as_ref()?));
        let first = values.next();
        first.is_some_and(|first| values.any(|value| value != first))
    };
    let always = [Measure::Text, Measure::Malloc, Measure::Free];
    MEASURES.into_iter().filter(|measure| always.contains(measure) || varies(*measure)).collect()
}

/// What a cell says: the figure itself in the first row, what is added in the others.
pub fn cell(matrix: &Matrix, row: &Row, measure: Measure) -> String {
    let Some(value) = row.figures.as_ref().and_then(|figures| measure.of(figures)) else {
        return "-".to_owned();
    };
    match matrix.base() {
        Some(base) if !std::ptr::eq(base, row) => row
            .added(base, measure)
            .map_or_else(|| measure.text(value), |by| measure.difference(by)),
        _ => measure.text(value),
    }
}

/// What the columns mean, in two sentences.
pub fn legend(matrix: &Matrix) -> String {
    let tests = match &matrix.suite {
        Some(suite) => format!(
            "Tests: `{suite}` and the configuration's features, with a tenth of the rounds; for layers, \
             telemetry and diagnostics without `--lib`, as the unit tests of every build join each two \
             layers, and the others decide nothing."
        ),
        None => "The tests were left out.".to_owned(),
    };
    format!(
        "Bytes of code (of the fast paths too) and state of libhakmem_preload.so; instructions, and locked ones, \
         that malloc and free of 64 bytes execute; instructions per operation of {}, the scenario's own \
         included. Below the first row: what the gates add. {tests}",
        matrix.scenario
    )
}

/// Failures with the command to repeat them, refusals with their reason, evidence that is missing.
pub fn remarks(matrix: &Matrix) -> String {
    let mut text = String::new();
    for row in &matrix.rows {
        let name = &row.configuration.name;
        for fault in &row.faults {
            let _ = writeln!(text, "{name}: {}: {}", fault.stage.words(), fault.what);
            let _ = writeln!(text, "    repeat: {}", fault.command);
        }
        if let Some(reason) = &row.configuration.refused {
            let _ = writeln!(text, "{name}: refused: {reason}");
        }
    }
    for missing in &matrix.missing {
        let _ = writeln!(text, "missing: {missing}");
    }
    if matrix.unmeasured > 0 {
        let _ = writeln!(
            text,
            "stopped: {} configurations were not measured; the same command goes on from here",
            matrix.unmeasured
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::sample;
    use super::*;

    #[test]
    fn the_table_shows_what_is_added_and_what_is_wrong() {
        let text = terminal(&sample());
        for part in ["40,000", "+4,000", "refused", "NO", "CRASHES", "1 FAILED", "random-mixed-400"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(text.contains(
            "slots: the heap does not compile: error[E0308]: mismatched types (src/a.rs:1:2)"
        ));
        assert!(text.contains("repeat: cargo test --features x"));
        assert!(text.contains(
            "ring + slots: refused: `ring` conflicts with `slots`: both sit before the magazine"
        ));
        assert!(text.contains("missing: valgrind"));
        assert!(
            text.lines()
                .all(|line| line.contains(": ") || console::measure_text_width(line) <= 120),
            "{text}"
        );
    }

    #[test]
    fn measures_that_never_differ_are_left_out_except_the_main_ones() {
        let mut matrix = sample();
        let titles: Vec<_> = shown(&matrix).iter().map(|measure| measure.title()).collect();
        assert_eq!(titles, ["text", "fast paths", "malloc", "free", "per op"]);
        matrix.rows.truncate(1);
        let titles: Vec<_> = shown(&matrix).iter().map(|measure| measure.title()).collect();
        assert_eq!(titles, ["text", "malloc", "free"]);
    }

    #[test]
    fn markdown_is_one_table_with_remarks() {
        let text = markdown(&sample());
        let rows = text.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, sample().rows.len());
        let columns: std::collections::BTreeSet<_> = text
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(|line| line.matches('|').count())
            .collect();
        assert_eq!(columns.len(), 1, "{text}");
        assert!(text.contains("```text\n") && text.contains("commit `"));
    }
}
