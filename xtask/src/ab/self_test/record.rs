//! The self-test for readers: the table on the terminal, and `docs/results/self-test.{json,md,svg}`.

use super::tries::{Rate, SelfTest, Try};
use crate::ab::judge::{MARGIN, Verdict};
use crate::shared::{paths, write};
use anyhow::{Context, Result, anyhow};
use comfy_table::{CellAlignment, Table};
use plotters::prelude::*;
use std::fmt::Write;
use std::path::PathBuf;

/// Writes the three files; returns their paths.
pub fn write(outcome: &SelfTest) -> Result<Vec<PathBuf>> {
    let folder = paths::root().join("docs/results");
    let files = [
        ("self-test.json", serde_json::to_string(outcome).context("the self-test as JSON")?),
        ("self-test.svg", svg(outcome)?),
        ("self-test.md", markdown(outcome)),
    ];
    let mut written = Vec::new();
    for (name, contents) in files {
        let path = folder.join(name);
        write::atomically(&path, contents)?;
        written.push(path);
    }
    Ok(written)
}

const HEADER: [&str; 8] =
    ["injected", "tries", "right", "wrong", "open", "refused", "estimates %", "aim"];

fn cells(outcome: &SelfTest, rate: &Rate) -> [String; 8] {
    let of = |tried: &&Try| tried.injected_permille == rate.injected_permille;
    let mut estimates: Vec<f64> =
        outcome.tries.iter().filter(of).filter_map(|tried| Some(tried.effect?.estimate)).collect();
    estimates.sort_by(f64::total_cmp);
    let spread = match (estimates.first(), estimates.last()) {
        (Some(low), Some(high)) => {
            let middle = xtask_stats::robust::median(&estimates);
            format!("{middle:+.2} ({low:+.2} to {high:+.2})")
        }
        _ => "-".to_owned(),
    };
    let met = if rate.met() { "met" } else { "MISSED" };
    let aim = match rate.injected_permille {
        5 => rate.aim().to_owned(),
        _ => format!("{}: {met}", rate.aim()),
    };
    [
        format!("{:.1} %", rate.injected_permille as f64 / 10.0),
        rate.tries.to_string(),
        rate.right.to_string(),
        rate.wrong.to_string(),
        rate.open.to_string(),
        rate.refused.to_string(),
        spread,
        aim,
    ]
}

/// What the terminal gets.
pub fn text(outcome: &SelfTest) -> String {
    let mut table = Table::new();
    table.set_header(HEADER);
    for rate in &outcome.rates {
        table.add_row(cells(outcome, rate));
    }
    for column in 1..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{table}\n{}\n", circumstances(outcome))
}

/// Where and how, in a sentence or two.
fn circumstances(outcome: &SelfTest) -> String {
    let machine = &outcome.machine;
    let commit: String = machine.commit.chars().take(12).collect();
    let blocks: Vec<_> =
        outcome.rounds.iter().flat_map(|round| &round.layouts).flatten().flatten().collect();
    let dropped = blocks.iter().filter(|block| block.dropped.is_some()).count();
    let company = blocks.iter().map(|block| block.off_processor).sum::<f64>()
        / blocks.len().max(1) as f64
        * 100.0;
    let layouts = match outcome.shuffles {
        true => "every layout linked anew",
        false => "ONE LAYOUT ONLY: this linker cannot shuffle functions",
    };
    format!(
        "{} rounds in {:.0} s, {layouts}; other programs took {company:.1} % of the time, and {dropped} of {} blocks \
         were disturbed. {}, commit {commit}{}, seed {}.",
        outcome.rounds.len(),
        outcome.seconds,
        blocks.len(),
        machine.name(),
        if machine.changed { " with local changes" } else { "" },
        outcome.seed,
    )
}

fn markdown(outcome: &SelfTest) -> String {
    let mut text = String::from(
        "# The procedure tried on itself\n\n\
         Written by `cargo xtask ab --self-test --record`; [docs/ab.md](../ab.md) says how a verdict is reached.\n\
         The same code against itself (0 %) and injected slowdowns, on the real heap. *Open*: still undecided at\n\
         the last look; *refused*: a control failed (INVALID). Neither is a wrong call, and neither is right.\n\n",
    );
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    text += &row(&HEADER.map(str::to_owned));
    text += &row(&HEADER.map(|_| "---".to_owned()));
    for rate in &outcome.rates {
        text += &row(&cells(outcome, rate));
    }
    // Writing to a string does not fail.
    let _ = write!(text, "\n{}\n\n![every try](self-test.svg)\n\n", circumstances(outcome));
    text += "Each try, with its interval at the level of the look that decided it. The raw samples are in\n\
             [self-test.json](self-test.json).\n\n";
    text += "| scenario | injected | effect % | interval | layouts | verdict |\n|---|---|---|---|---|---|\n";
    for tried in &outcome.tries {
        let (estimate, interval) = match tried.effect {
            Some(effect) => (
                format!("{:+.2}", effect.estimate),
                format!("[{:+.2}, {:+.2}]", effect.interval.low, effect.interval.high),
            ),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let _ = writeln!(
            text,
            "| {} | {:.1} % | {estimate} | {interval} | {} | {} |",
            tried.scenario,
            tried.injected_permille as f64 / 10.0,
            tried.layouts,
            tried.verdict.name()
        );
    }
    text
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

/// A try's colour: right, wrong, or neither.
fn color(tried: &Try) -> RGBColor {
    match (tried.right(), tried.wrong(), tried.verdict) {
        (true, ..) => RGBColor(0, 114, 178),
        (_, true, _) => RGBColor(200, 30, 45),
        (.., Verdict::Invalid) => RGBColor(150, 130, 60),
        _ => RGBColor(140, 140, 140),
    }
}

const FONT: &str = "sans-serif";

/// Every try: its interval as a line, its estimate as a point, grouped by what was injected.
fn svg(outcome: &SelfTest) -> Result<String> {
    let mut tries: Vec<&Try> = outcome.tries.iter().collect();
    tries.sort_by_key(|tried| tried.injected_permille);
    let ends = tries.iter().filter_map(|tried| Some(tried.effect?.interval));
    let (low, high) = ends.fold((-1.0f64, 2.5f64), |(low, high), interval| {
        // One that failed must not squeeze the others together.
        (low.min(interval.low.max(-3.0)), high.max(interval.high.min(5.0)))
    });
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (860, 420)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let title = "Every try: blue right, red wrong, grey open, ochre refused";
        let mut chart = ChartBuilder::on(&area)
            .caption(title, (FONT, 17))
            .margin(10)
            .x_label_area_size(20)
            .y_label_area_size(50)
            .build_cartesian_2d(-1.0..tries.len() as f64, low - 0.1..high + 0.1)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .light_line_style(TRANSPARENT)
            .y_desc("effect, per cent")
            .label_style((FONT, 13))
            .draw()
            .map_err(failed)?;
        let last = tries.len() as f64;
        for line in [-MARGIN, MARGIN] {
            let style = RGBColor(120, 120, 120).stroke_width(1);
            let line = PathElement::new(vec![(-1.0, line), (last, line)], style);
            chart.draw_series([line]).map_err(failed)?;
        }
        let mut before = None;
        for (at, tried) in tries.iter().enumerate() {
            let x = at as f64;
            if before != Some(tried.injected_permille) {
                before = Some(tried.injected_permille);
                let injected = tried.injected_permille as f64 / 10.0;
                let label = format!("{injected} % injected");
                let truth = (injected / 100.0).ln_1p() * 100.0;
                let group =
                    tries.iter().filter(|it| it.injected_permille == tried.injected_permille);
                let end = x + group.count() as f64 - 0.5;
                let line = PathElement::new(vec![(x - 0.5, truth), (end, truth)], BLACK);
                let label = Text::new(label, (x - 0.4, high + 0.05), (FONT, 13));
                chart.draw_series([line]).map_err(failed)?;
                chart.draw_series([label]).map_err(failed)?;
            }
            let Some(effect) = tried.effect else { continue };
            let inside = |value: f64| value.clamp(low, high);
            let (from, to) = (inside(effect.interval.low), inside(effect.interval.high));
            let line = PathElement::new(vec![(x, from), (x, to)], color(tried).stroke_width(2));
            let point = Circle::new((x, inside(effect.estimate)), 3, color(tried).filled());
            chart.draw_series([line]).map_err(failed)?;
            chart.draw_series([point]).map_err(failed)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::tries::{Rates, SCHEMA, tests::round};
    use super::*;
    use crate::ab::outcome::Machine;

    fn outcome() -> SelfTest {
        let (one, mut tries) = round(3, &[20, 0, 5], 240);
        let (two, more) = round(4, &[10, 0], 240);
        tries.extend(more);
        SelfTest {
            schema: SCHEMA,
            machine: Machine::here(),
            seed: 3,
            seconds: 12.0,
            shuffles: true,
            rates: Rates::of(&tries),
            tries,
            rounds: vec![one, two],
        }
    }

    #[test]
    fn the_page_has_the_rates_every_try_and_the_circumstances() {
        let text = markdown(&outcome());
        assert!(text.contains("| 0.0 % | 2 | 2 | 0 | 0 | 0 |"), "{text}");
        assert!(text.contains("all found: met") && text.contains("seed 3"), "{text}");
        assert_eq!(text.matches("| work | ").count(), 5, "{text}");
    }

    #[test]
    fn the_terminal_gets_the_same_table() {
        let text = text(&outcome());
        assert!(text.contains("2.0 %") && text.contains("2 rounds in 12 s"), "{text}");
    }

    #[test]
    fn the_figure_has_a_point_for_each_try() {
        let svg = svg(&outcome()).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<circle").count(), 5);
        assert!(svg.contains("0.5 % injected"));
    }

    #[test]
    fn the_whole_is_read_back() {
        let outcome = outcome();
        let read: SelfTest =
            serde_json::from_str(&serde_json::to_string(&outcome).unwrap()).unwrap();
        assert_eq!(read.tries.len(), outcome.tries.len());
        assert_eq!(read.rates, outcome.rates);
    }
}
