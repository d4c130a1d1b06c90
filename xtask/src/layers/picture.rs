//! The stacks as a figure. On top of each other: layers across, every cost in units of the default
//! build's up. Alone: a line of dots for each layer, the times of its scenarios across. SVG, with the text
//! left to the viewer's fonts.

use super::stacks::{Stack, Stacks};
use crate::bench::dots::{self, Row};
use crate::bench::plot::{color, dash, failed, text};
use crate::layers::report;
use anyhow::Result;
use plotters::prelude::*;

const SIZE: (u32, u32) = (860, 460);

/// A line of the figure: its name, and what it has at a number of layers.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    /// Limits of each point, where it was timed.
    limits: Vec<(f64, f64, f64)>,
}

/// The lines: counts first, then times.
fn lines(stacks: &Stacks) -> Vec<Line> {
    let base = &stacks.stacks[0];
    let counted = |name: &str, of: &dyn Fn(&Stack) -> Option<f64>| {
        let points = stacks.stacks.iter().filter_map(|stack| {
            Some((stack.depth as f64, of(stack)? / of(base).filter(|base| *base > 0.0)?))
        });
        Line { name: name.to_owned(), points: points.collect(), limits: Vec::new() }
    };
    let mut lines = vec![
        counted("malloc and free, instructions", &|stack| Some((stack.malloc + stack.free) as f64)),
        counted("bytes of the fast paths", &|stack| Some(stack.fast_paths as f64)),
        counted(&format!("instructions, {}", stacks.scenarios[0]), &|stack| {
            stack.timed.instructions
        }),
    ];
    lines.extend(stacks.scenarios.iter().enumerate().map(|(at, scenario)| {
        let (mut points, mut limits) = (Vec::new(), Vec::new());
        for stack in &stacks.stacks {
            let (ratio, interval) = stack.timed.against(&base.timed, at);
            points.push((stack.depth as f64, ratio));
            limits.extend(interval.map(|known| (stack.depth as f64, known.low, known.high)));
        }
        Line { name: format!("time, {scenario}"), points, limits }
    }));
    lines.retain(|line| !line.points.is_empty());
    lines
}

/// The figure.
pub fn draw(stacks: &Stacks) -> Result<String> {
    if stacks.alone { draw_alone(stacks) } else { draw_stacks(stacks) }
}

/// The layers alone, the costliest by the first scenario on top.
fn draw_alone(stacks: &Stacks) -> Result<String> {
    let base = &stacks.stacks[0].timed;
    let mut rows: Vec<&Stack> = stacks.stacks.iter().skip(1).collect();
    rows.sort_by(|a, b| a.timed.against(base, 0).0.total_cmp(&b.timed.against(base, 0).0));
    let row = |stack: &&Stack| Row {
        name: stack.added.clone().unwrap_or_default(),
        ratios: (0..stacks.scenarios.len()).map(|at| stack.timed.against(base, at)).collect(),
    };
    let rows: Vec<Row> = rows.iter().map(row).collect();
    let title = format!("{}: time in units of the default build's", report::words(stacks).title);
    dots::draw(&title, &stacks.scenarios, &rows)
}

fn draw_stacks(stacks: &Stacks) -> Result<String> {
    let lines = lines(stacks);
    let most = stacks.stacks.iter().map(|stack| stack.depth).max().unwrap_or(1) as f64;
    let ends = lines.iter().flat_map(|line| {
        let limits = line.limits.iter().flat_map(|(_, low, high)| [*low, *high]);
        line.points.iter().map(|(_, ratio)| *ratio).chain(limits)
    });
    let (low, high) = ends.fold((0.9f64, 1.2f64), |(low, high), at| (low.min(at), high.max(at)));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let title = "Cost against layers on the path, in units of the default build's";
        let area = area.titled(title, text(17)).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .margin_right(20)
            .x_label_area_size(38)
            .y_label_area_size(48)
            .build_cartesian_2d(0.5..most + 0.5, (low / 1.05..high * 1.05).log_scale())
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_desc("layers, the unified cache included")
            .x_labels(most as usize + 1)
            .x_label_formatter(&|depth| format!("{depth:.0}"))
            .y_label_formatter(&|ratio| format!("{ratio:.1}\u{d7}"))
            .label_style(text(12))
            .light_line_style(WHITE)
            .draw()
            .map_err(failed)?;
        for (at, line) in lines.iter().enumerate() {
            let shade = color(at);
            let series = LineSeries::new(line.points.iter().copied(), shade.stroke_width(2));
            let drawn = chart.draw_series(series.point_size(3)).map_err(failed)?;
            drawn.label(&line.name).legend(dash(shade));
            let whiskers = line.limits.iter().map(|(depth, low, high)| {
                PathElement::new(vec![(*depth, *low), (*depth, *high)], shade.stroke_width(1))
            });
            chart.draw_series(whiskers).map_err(failed)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(text(12))
            .draw()
            .map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::super::stacks::tests::{alone, sample};
    use super::*;

    #[test]
    fn layers_alone_stand_one_below_the_other() {
        let svg = draw(&alone()).unwrap();
        let at = |name: &str| {
            let before = &svg[..svg.find(name).unwrap()];
            let y = &before[before.rfind(" y=\"").unwrap() + 4..];
            y[..y.find('"').unwrap()].parse::<f64>().unwrap()
        };
        assert!(at("ring") < at("slot"), "the costliest on top");
        assert!(svg.contains("random-mixed-400"));
    }

    #[test]
    fn every_cost_is_a_line_that_starts_at_one() {
        let stacks = sample();
        let lines = lines(&stacks);
        assert_eq!(lines.len(), 3 + stacks.scenarios.len());
        for line in &lines {
            assert!((line.points[0].1 - 1.0).abs() < 1e-9, "{}", line.name);
            assert!(line.points[2].1 > line.points[1].1, "{}", line.name);
        }
        let svg = draw(&stacks).unwrap();
        for line in &lines {
            assert!(svg.contains(&line.name), "{}", line.name);
        }
    }

    #[test]
    fn what_was_not_counted_has_no_line() {
        let mut stacks = sample();
        stacks.stacks.iter_mut().for_each(|stack| stack.timed.instructions = None);
        assert!(!lines(&stacks).iter().any(|line| line.name.starts_with("instructions,")));
        assert!(draw(&stacks).is_ok());
    }
}
