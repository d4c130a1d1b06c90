//! The results as figures: per metric a row of points for each scenario, and one figure of time
//! against memory. SVG only, with the text left to the viewer's fonts.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::results::{Metric, Results};

/// Ours first, then the peers; apart in lightness as well as in hue.
const COLORS: [RGBColor; 9] = [
    RGBColor(200, 30, 45),
    RGBColor(60, 60, 60),
    RGBColor(86, 180, 233),
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(150, 130, 60),
    RGBColor(140, 140, 140),
];

const WIDTH: u32 = 860;
const FONT: &str = "sans-serif";

/// The name and the SVG text of each figure that the results can fill.
pub fn all(results: &Results) -> Result<Vec<(&'static str, String)>> {
    let mut figures = Vec::new();
    for (name, metric) in
        [("time", Metric::Time), ("final-memory", Metric::Final), ("peak-memory", Metric::Peak)]
    {
        if results.rows(metric).next().is_some() {
            figures.push((name, rows(results, metric)?));
        }
    }
    if results.rows(Metric::Time).count() > 1 {
        figures.push(("time-against-memory", overview(results)?));
    }
    Ok(figures)
}

fn color(at: usize) -> RGBColor {
    COLORS[at % COLORS.len()]
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

/// Ratios beyond this are drawn at the edge, with their figure: one bad row must not squeeze the
/// others together.
const EDGE: f64 = 4.0;

/// The least and greatest of some ratios, with room around them, and 1 inside.
fn range(ratios: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) = ratios.fold((0.9f64, 1.2f64), |(low, high), r| (low.min(r), high.max(r)));
    low / 1.08..high * 1.08
}

/// One line a scenario; each allocator a point at its ratio to the best peer.
fn rows(results: &Results, metric: Metric) -> Result<String> {
    let rows: Vec<_> = results.rows(metric).collect();
    let height = 110 + 26 * rows.len() as u32;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let title = metric.title().split(',').next().unwrap_or_default();
        let area = area
            .titled(&format!("{title}: ratio to the best peer of each scenario"), (FONT, 17))
            .map_err(failed)?;
        let (legend, area) = area.split_vertically(24);
        draw_legend(results, &legend)?;
        let every = rows.iter().flat_map(|row| {
            let ratios = (0..results.allocators.len()).filter_map(|at| row.ratio(metric, at));
            ratios.map(|ratio| ratio.min(EDGE))
        });
        let last = rows.len() as f64;
        let mut chart = ChartBuilder::on(&area)
            .margin_right(20)
            .x_label_area_size(30)
            .y_label_area_size(150)
            .build_cartesian_2d(range(every).log_scale(), last..0.0)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .y_labels(0)
            .x_label_formatter(&|ratio| format!("{ratio:.2}"))
            .label_style((FONT, 12))
            .light_line_style(WHITE)
            .draw()
            .map_err(failed)?;
        let line = |ratio: f64, style: ShapeStyle| {
            PathElement::new(vec![(ratio, 0.0), (ratio, last)], style)
        };
        chart.draw_series([line(1.0, BLACK.stroke_width(1))]).map_err(failed)?;
        for (at, row) in rows.iter().enumerate() {
            let y = at as f64 + 0.5;
            let (left, height) = chart.backend_coord(&(chart.x_range().start, y));
            let label = text(13).pos(Pos::new(HPos::Right, VPos::Center));
            area.draw_text(&row.scenario.name, &label, relative(&area, (left - 8, height)))
                .map_err(failed)?;
            let mut beyond = Vec::new();
            for allocator in (0..results.allocators.len()).rev() {
                let Some(ratio) = row.ratio(metric, allocator) else { continue };
                if ratio > EDGE {
                    beyond.push((ratio, allocator));
                    continue;
                }
                let point = if allocator == 0 {
                    Circle::new((ratio, y), 6, color(0).filled())
                } else {
                    Circle::new((ratio, y), 4, color(allocator).stroke_width(2))
                };
                chart.draw_series([point]).map_err(failed)?;
            }
            // What lies beyond the edge stands there as figures, the greatest outermost.
            beyond.sort_by(|one, other| other.0.total_cmp(&one.0));
            let (mut right, _) = chart.backend_coord(&(chart.x_range().end, y));
            for (ratio, allocator) in beyond {
                let figure = format!("{ratio:.0}\u{d7}");
                let color = color(allocator);
                let style = text(12).color(&color).pos(Pos::new(HPos::Right, VPos::Center));
                area.draw_text(&figure, &style, relative(&area, (right, height)))
                    .map_err(failed)?;
                right -= 8 * figure.chars().count() as i32 + 8;
            }
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

fn text(size: i32) -> TextStyle<'static> {
    TextStyle::from((FONT, size).into_font())
}

/// A position on the whole picture as one inside an area of it.
fn relative(area: &DrawingArea<SVGBackend<'_>, Shift>, at: (i32, i32)) -> (i32, i32) {
    let (x, y) = area.get_base_pixel();
    (at.0 - x, at.1 - y)
}

fn draw_legend(results: &Results, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<()> {
    let mut x = 20;
    for (at, allocator) in results.allocators.iter().enumerate() {
        let (radius, style) =
            if at == 0 { (6, color(0).filled()) } else { (4, color(at).stroke_width(2)) };
        area.draw(&Circle::new((x, 12), radius, style)).map_err(failed)?;
        let style = TextStyle::from((FONT, 13).into_font()).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw_text(&allocator.name, &style, (x + 10, 12)).map_err(failed)?;
        x += 28 + 8 * allocator.name.len() as i32;
    }
    Ok(())
}

/// Geometric means: time across, final memory up.
fn overview(results: &Results) -> Result<String> {
    let points: Vec<(usize, f64, f64)> = (0..results.allocators.len())
        .filter_map(|at| {
            Some((at, results.mean(Metric::Time, at)?, results.mean(Metric::Final, at)?))
        })
        .collect();
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, 440)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("Geometric means over the scenarios: left and down is better", (FONT, 17))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(56)
            .build_cartesian_2d(
                range(points.iter().map(|point| point.1 * 1.15)).log_scale(),
                range(points.iter().map(|point| point.2)).log_scale(),
            )
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc("time, ratio to the best peer of each scenario")
            .y_desc("final memory, likewise")
            .x_label_formatter(&|ratio| format!("{ratio:.2}"))
            .y_label_formatter(&|ratio| format!("{ratio:.2}"))
            .label_style((FONT, 12))
            .light_line_style(WHITE)
            .draw()
            .map_err(failed)?;
        for (at, time, memory) in points {
            let name = results.allocators[at].name.clone();
            let point = EmptyElement::at((time, memory))
                + Circle::new((0, 0), if at == 0 { 7 } else { 5 }, color(at).filled())
                + Text::new(name, (10, -6), (FONT, 14));
            chart.draw_series([point]).map_err(failed)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_name_scenarios_and_allocators() {
        let mut results = super::super::results::tests::sample();
        let mut second = results.rows[0].clone();
        second.scenario.name = "other".into();
        results.rows.push(second);
        let figures = all(&results).unwrap();
        assert_eq!(figures.len(), 4);
        for (name, svg) in &figures {
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{name}");
            assert!(svg.contains("hakmem") && svg.contains("quick"), "{name}");
        }
        assert!(figures[0].1.contains("other"));
    }
}
