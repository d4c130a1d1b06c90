//! A verdict and a campaign as figures. SVG only, with the text left to the viewer's fonts.
//!
//! A verdict: one panel a scenario; in it the question, the same code twice and 1 % more work, each
//! with its interval and one point a layout, against the band of ±0.5 % in which nothing is worth a
//! decision. A campaign: one line a gate.

use super::campaign::table::Row;
use super::judge::{Estimate, MARGIN, Verdict};
use super::outcome::{Outcome, Timed};
use super::report;
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;

const WIDTH: u32 = 860;
const LEFT: u32 = 190;
const RIGHT: u32 = 210;
const FONT: &str = "sans-serif";
const BAND: RGBColor = RGBColor(160, 170, 180);
const CONTROL: RGBColor = RGBColor(110, 118, 126);
const SLOW: RGBColor = RGBColor(0, 114, 178);
const QUESTION: RGBColor = RGBColor(200, 30, 45);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'c, 'a> = ChartContext<'c, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

/// One line of a panel.
struct Line<'a> {
    label: &'a str,
    color: RGBColor,
    points: &'a [f64],
    estimate: Estimate,
    call: &'a str,
}

/// The figure of a verdict; `None` if nothing was judged.
pub fn verdict(outcome: &Outcome) -> Result<Option<String>> {
    let judged: Vec<&Timed> = outcome.timed.iter().filter(|timed| timed.judged.is_some()).collect();
    if judged.is_empty() {
        return Ok(None);
    }
    let removal = outcome.question.removal();
    let panel = 150;
    let mut svg = String::new();
    {
        let height = 46 + panel * judged.len() as u32;
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let title = format!(
            "{}: effect in per cent, {}",
            shorten(&outcome.question.name(), 40),
            outcome.positive_means
        );
        let style = text(15).pos(Pos::new(HPos::Left, VPos::Top));
        area.draw_text(&title, &style, (12, 12)).map_err(failed)?;
        let (_, rest) = area.split_vertically(40);
        for (timed, area) in judged.iter().zip(rest.split_evenly((judged.len(), 1))) {
            draw_panel(&area, timed, removal)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(Some(lean(svg)))
}

fn draw_panel(area: &Area<'_>, timed: &Timed, removal: bool) -> Result<()> {
    let Some(judged) = &timed.judged else { return Ok(()) };
    let samples = timed.samples(removal);
    let lines = [
        Line {
            label: &timed.scenario.name,
            color: QUESTION,
            points: &samples.effect,
            estimate: judged.effect,
            call: report::call(judged),
        },
        Line {
            label: "same code twice",
            color: CONTROL,
            points: &samples.control,
            estimate: judged.control,
            call: "",
        },
        Line {
            label: "1 % more work",
            color: SLOW,
            points: &samples.slow,
            estimate: judged.slow,
            call: "",
        },
    ];
    let range = range(lines.iter().flat_map(|line| {
        let interval = line.estimate.interval;
        middle(line.points).into_iter().chain([interval.low, interval.high])
    }));
    let mut chart = chart(area, range.clone(), lines.len())?;
    band(&mut chart, lines.len())?;
    for (at, line) in lines.iter().enumerate() {
        let y = at as f64 + 0.5;
        // Points beyond the edge stand on it: a few wild layouts must not squeeze the rest.
        let points = line.points.iter().enumerate().map(|(layout, point)| {
            let height = y + 0.16 + 0.18 * scatter(layout);
            Circle::new(
                (point.clamp(range.start, range.end), height),
                2,
                line.color.mix(0.5).filled(),
            )
        });
        chart.draw_series(points).map_err(failed)?;
        bar(&mut chart, &line.estimate, y - 0.12, line.color, 4)?;
        label(area, &chart, y, line.label, at == 0)?;
        let estimate = &line.estimate;
        let figures = format!(
            "{:+.2} [{:+.2}, {:+.2}] {}",
            estimate.estimate, estimate.interval.low, estimate.interval.high, line.call
        );
        beside(area, &chart, y, figures.trim_end())?;
    }
    Ok(())
}

/// The figure of a campaign: a line a gate, all together last; `None` if nothing was judged.
pub fn campaign(rows: &[Row]) -> Result<Option<String>> {
    let drawn: Vec<&Row> = rows.iter().filter(|row| row.headline.is_some()).collect();
    if drawn.is_empty() {
        return Ok(None);
    }
    let mut svg = String::new();
    {
        let height = 76 + 26 * drawn.len() as u32;
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let style = text(15).pos(Pos::new(HPos::Left, VPos::Top));
        let title = "Effect in per cent, in the scenario that decided; the band is ±0.5 %";
        area.draw_text(title, &style, (12, 12)).map_err(failed)?;
        let (_, rest) = area.split_vertically(40);
        let range = range(drawn.iter().filter_map(|row| row.headline.as_ref()).flat_map(|head| {
            let interval = head.effect.interval;
            // One gate that costs forty per cent must not hide the others.
            [interval.low, interval.high].map(|limit| limit.clamp(-12.0, 12.0))
        }));
        let mut chart = chart(&rest, range, drawn.len())?;
        band(&mut chart, drawn.len())?;
        for (at, row) in drawn.iter().enumerate() {
            let Some(head) = &row.headline else { continue };
            let y = at as f64 + 0.5;
            bar(&mut chart, &head.effect, y, color(row.verdict), 5)?;
            label(&rest, &chart, y, &row.name, row.together)?;
            let verdict = row.verdict.map_or("-", Verdict::name);
            beside(&rest, &chart, y, &format!("{:+.2} {verdict}", head.effect.estimate))?;
        }
        area.present().map_err(failed)?;
    }
    Ok(Some(lean(svg)))
}

fn color(verdict: Option<Verdict>) -> RGBColor {
    match verdict {
        Some(Verdict::Go) => RGBColor(0, 140, 90),
        Some(Verdict::NoGo | Verdict::Invalid) => QUESTION,
        Some(Verdict::Neutral) => SLOW,
        _ => RGBColor(190, 125, 0),
    }
}

fn chart<'c, 'a>(area: &'c Area<'a>, range: Range<f64>, lines: usize) -> Result<Chart<'c, 'a>> {
    let mut chart = ChartBuilder::on(area)
        .margin_top(4)
        .margin_right(RIGHT)
        .x_label_area_size(26)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(range, lines as f64..0.0)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .y_labels(0)
        .x_label_formatter(&|effect| format!("{effect:+}"))
        .label_style((FONT, 12))
        .bold_line_style(BAND.mix(0.35))
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    Ok(chart)
}

/// The band in which a difference is not worth a decision, and zero.
fn band(chart: &mut Chart<'_, '_>, lines: usize) -> Result<()> {
    let (top, bottom) = (0.0, lines as f64);
    let edges = [(-MARGIN, top), (MARGIN, bottom)];
    chart.draw_series([Rectangle::new(edges, BAND.mix(0.25).filled())]).map_err(failed)?;
    let zero = PathElement::new(vec![(0.0, top), (0.0, bottom)], BLACK.stroke_width(1));
    chart.draw_series([zero]).map_err(failed).map(drop)
}

/// An interval with its estimate; cut at the edges of the picture.
fn bar(
    chart: &mut Chart<'_, '_>,
    estimate: &Estimate,
    y: f64,
    color: RGBColor,
    radius: u32,
) -> Result<()> {
    let range = chart.x_range();
    let inside = |value: f64| value.clamp(range.start, range.end);
    let (low, high) = (inside(estimate.interval.low), inside(estimate.interval.high));
    let line = PathElement::new(vec![(low, y), (high, y)], color.stroke_width(3));
    chart.draw_series([line]).map_err(failed)?;
    let point = Circle::new((inside(estimate.estimate), y), radius, color.filled());
    chart.draw_series([point]).map_err(failed).map(drop)
}

fn label(area: &Area<'_>, chart: &Chart<'_, '_>, y: f64, name: &str, bold: bool) -> Result<()> {
    let (left, height) = chart.backend_coord(&(chart.x_range().start, y));
    let style = text(13).pos(Pos::new(HPos::Right, VPos::Center));
    let style = if bold { bold_text(13).pos(Pos::new(HPos::Right, VPos::Center)) } else { style };
    area.draw_text(&shorten(name, 26), &style, relative(area, (left - 10, height))).map_err(failed)
}

fn beside(area: &Area<'_>, chart: &Chart<'_, '_>, y: f64, figures: &str) -> Result<()> {
    let (right, height) = chart.backend_coord(&(chart.x_range().end, y));
    let style = text(13).pos(Pos::new(HPos::Left, VPos::Center));
    area.draw_text(figures, &style, relative(area, (right + 10, height))).map_err(failed)
}

fn text(size: i32) -> TextStyle<'static> {
    TextStyle::from((FONT, size).into_font())
}

fn bold_text(size: i32) -> TextStyle<'static> {
    TextStyle::from((FONT, size).into_font().style(FontStyle::Bold))
}

/// A position on the whole picture as one inside an area of it.
fn relative(area: &Area<'_>, at: (i32, i32)) -> (i32, i32) {
    let (x, y) = area.get_base_pixel();
    (at.0 - x, at.1 - y)
}

/// The values without the outermost fiftieth at each end.
fn middle(values: &[f64]) -> Vec<f64> {
    let sorted = xtask_stats::robust::sorted(values);
    let cut = sorted.len().div_ceil(50).min(sorted.len() / 2);
    sorted[cut..sorted.len() - cut].to_vec()
}

/// What holds all values and the band, with some room.
fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((-1.0f64, 1.0f64), |(low, high), value| (low.min(value), high.max(value)));
    let room = (high - low) * 0.03;
    low - room..high + room
}

/// A place from 0 to 1 for each layout, spread evenly however many there are (the golden ratio).
fn scatter(layout: usize) -> f64 {
    (layout as f64 * 0.618_033_988_749_895).fract()
}

fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Leaves out the attributes that say what is so anyway, some forty bytes of each point.
fn lean(svg: String) -> String {
    svg.replace(" stroke=\"none\" stroke-width=\"1\"", "")
}

#[cfg(test)]
mod tests {
    use super::super::canned;
    use super::*;

    #[test]
    fn a_verdict_has_a_panel_a_scenario_and_a_point_a_layout() {
        let outcome = canned::outcome("tiny-free-calls", &[2.0, 0.0]);
        let svg = verdict(&outcome).unwrap().unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("scenario-0") && svg.contains("scenario-1"));
        assert_eq!(svg.matches("same code twice").count(), 2);
        let layouts: usize = outcome.timed.iter().map(|timed| timed.kept().count()).sum();
        assert_eq!(svg.matches("<circle").count(), 3 * layouts + 6);
        assert!(svg.len() < 120 * 3 * layouts + 20_000, "{} bytes", svg.len());
    }

    #[test]
    fn nothing_judged_is_no_figure() {
        assert!(verdict(&canned::outcome("tiny-free-calls", &[])).unwrap().is_none());
        assert!(campaign(&[]).unwrap().is_none());
    }

    #[test]
    fn wild_values_do_not_set_the_range() {
        let mut values = vec![0.1; 99];
        values.push(60.0);
        assert!(range(middle(&values).into_iter()).end < 2.0);
        assert!(range([f64::NAN, 3.0].into_iter()).end > 3.0);
    }
}
