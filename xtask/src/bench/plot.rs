//! The results as figures: per table a line of bars and points for each row, and figures of time
//! against memory. SVG only, with the text left to the viewer's fonts.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::results::{Metric, Results, geometric_mean};
use super::task::{FAMILIES, Family, Group};

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

/// A figure: its name, which is that of its file, and its text.
pub struct Figure {
    /// The name.
    pub name: String,
    /// The picture.
    pub svg: String,
}

/// The name of a table's figure.
pub fn name(family: Family, metric: Metric) -> String {
    let prefix = match family {
        Family::Scenarios => "",
        Family::Programs => "programs-",
        Family::Apps => "rust-",
        Family::Start => "start-",
    };
    format!("bench-{prefix}{}", metric.name().replace(' ', "-").to_lowercase())
}

/// Every figure that the results can fill.
pub fn all(results: &Results) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for family in FAMILIES {
        for metric in [Metric::Time, Metric::Final, Metric::Peak] {
            if family != Family::Start && !results.rows(family, metric).is_empty() {
                let svg = rows(results, family, metric)?;
                figures.push(Figure { name: name(family, metric), svg });
            }
        }
    }
    let scatters: [(&str, &str, &[Group], Metric); 3] = [
        ("bench-time-against-memory", "scenarios of the spec", &[Group::Spec], Metric::Final),
        ("bench-programs-time-against-memory", "real programs", &[Group::Programs], Metric::Peak),
        ("bench-rust-time-against-memory", "Rust programs", &[Group::Apps], Metric::Peak),
    ];
    for (name, what, groups, memory) in scatters {
        if results.rows.iter().filter(|row| groups.contains(&row.task.group)).count() > 1 {
            let svg = scatter(results, what, groups, memory)?;
            figures.push(Figure { name: name.to_owned(), svg });
        }
    }
    Ok(figures)
}

/// An allocator's colour.
pub fn color(at: usize) -> RGBColor {
    COLORS[at % COLORS.len()]
}

/// A drawing error as one of ours.
pub fn failed(error: impl std::fmt::Display) -> anyhow::Error {
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

/// One line a row. Ours is a bar from 1 to the ratio with its interval as a whisker and a dot for
/// each repetition, so that runs in two heaps show; each peer is a ring with its interval.
fn rows(results: &Results, family: Family, metric: Metric) -> Result<String> {
    let rows = results.rows(family, metric);
    let height = 110 + 28 * rows.len() as u32;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let title = metric.title(family);
        let title = title.split(',').next().unwrap_or_default();
        let title = format!("{title}: ratio to the best peer of each row");
        let area = area.titled(&title, (FONT, 17)).map_err(failed)?;
        let (legend, area) = area.split_vertically(24);
        draw_legend(results.allocators.iter().map(|allocator| &*allocator.name), &legend)?;
        let every = rows.iter().flat_map(|row| {
            let ratios = (0..results.allocators.len()).flat_map(|at| {
                let limits = row.interval(metric, at).map(|limits| [limits.low, limits.high]);
                row.ratio(metric, at).into_iter().chain(limits.into_iter().flatten())
            });
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
            area.draw_text(&row.task.name, &label, relative(&area, (left - 8, height)))
                .map_err(failed)?;
            let mut beyond = Vec::new();
            for allocator in (0..results.allocators.len()).rev() {
                let Some(ratio) = row.ratio(metric, allocator) else { continue };
                if ratio > EDGE {
                    beyond.push((ratio, allocator));
                    continue;
                }
                let shade = color(allocator);
                if allocator == 0 {
                    let bar = Rectangle::new(
                        [(1.0, y - 0.3), (ratio, y + 0.3)],
                        shade.mix(0.25).filled(),
                    );
                    chart.draw_series([bar]).map_err(failed)?;
                }
                if let Some(limits) = row.interval(metric, allocator) {
                    let ends = vec![(limits.low.min(EDGE), y), (limits.high.min(EDGE), y)];
                    let width = if allocator == 0 { 3 } else { 1 };
                    let whisker = PathElement::new(ends, shade.stroke_width(width));
                    chart.draw_series([whisker]).map_err(failed)?;
                }
                let point = if allocator == 0 {
                    Circle::new((ratio, y), 5, shade.filled())
                } else {
                    Circle::new((ratio, y), 4, shade.stroke_width(2))
                };
                chart.draw_series([point]).map_err(failed)?;
                if let Some(best) = row.best(metric).filter(|_| allocator == 0) {
                    let runs = row.ratios(metric, 0, best).into_iter().filter(|r| *r <= EDGE);
                    let dots = runs.map(|run| Circle::new((run, y + 0.36), 2, shade.filled()));
                    chart.draw_series(dots).map_err(failed)?;
                }
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

/// Text of a size.
pub fn text(size: i32) -> TextStyle<'static> {
    TextStyle::from((FONT, size).into_font())
}

/// What stands before a line's name in a legend: a piece of it.
pub fn dash(color: RGBColor) -> impl Fn((i32, i32)) -> PathElement<(i32, i32)> {
    move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], color.stroke_width(2))
}

/// A position on the whole picture as one inside an area of it.
fn relative(area: &DrawingArea<SVGBackend<'_>, Shift>, at: (i32, i32)) -> (i32, i32) {
    let (x, y) = area.get_base_pixel();
    (at.0 - x, at.1 - y)
}

/// The allocators' colours, the first one ours.
pub fn draw_legend<'name>(
    names: impl Iterator<Item = &'name str>,
    area: &DrawingArea<SVGBackend<'_>, Shift>,
) -> Result<()> {
    let mut x = 20;
    for (at, name) in names.enumerate() {
        let (radius, style) =
            if at == 0 { (6, color(0).filled()) } else { (4, color(at).stroke_width(2)) };
        area.draw(&Circle::new((x, 12), radius, style)).map_err(failed)?;
        let style = text(13).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw_text(name, &style, (x + 10, 12)).map_err(failed)?;
        x += 28 + 8 * name.len() as i32;
    }
    Ok(())
}

/// Geometric means over the rows of some groups: time across, memory up.
fn scatter(results: &Results, what: &str, groups: &[Group], memory: Metric) -> Result<String> {
    let mean = |metric: Metric, at: usize| {
        let rows = results.rows.iter().filter(|row| groups.contains(&row.task.group));
        let rows = rows.filter(|row| row.covers(metric));
        let ratios: Option<Vec<f64>> = rows.map(|row| row.ratio(metric, at)).collect();
        geometric_mean(&ratios?)
    };
    let points: Vec<(usize, f64, f64)> = (0..results.allocators.len())
        .filter_map(|at| Some((at, mean(Metric::Time, at)?, mean(memory, at)?)))
        .collect();
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, 440)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let title = format!("Geometric means, {what}: left and down is better");
        let mut chart = ChartBuilder::on(&area)
            .caption(title, (FONT, 17))
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
            .x_desc("time, ratio to the best peer of each row")
            .y_desc(format!("{}, likewise", memory.name()))
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
    use super::super::results::tests::with;
    use super::*;

    #[test]
    fn figures_name_rows_and_allocators() {
        let mut results = with("other", Group::Spec);
        for name in ["python", "perl"] {
            results.rows.push(with(name, Group::Programs).rows.remove(1));
        }
        let figures = all(&results).unwrap();
        let names: Vec<_> = figures.iter().map(|figure| figure.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "bench-time",
                "bench-final-memory",
                "bench-peak-memory",
                "bench-programs-time",
                "bench-programs-peak-memory",
                "bench-time-against-memory",
                "bench-programs-time-against-memory"
            ]
        );
        for Figure { name, svg } in &figures {
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{name}");
            assert!(svg.contains("hakmem") && svg.contains("quick"), "{name}");
        }
        assert!(figures[0].svg.contains("other") && figures[3].svg.contains("perl"));
    }
}
