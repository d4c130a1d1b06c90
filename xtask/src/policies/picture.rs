//! The aims as a figure: the share of what each allows that was used, with its interval. SVG, with the text
//! left to the viewer's fonts.

use super::outcome::Outcome;
use crate::bench::aims::Aim;
use crate::bench::plot::{color, failed, text};
use anyhow::Result;
use plotters::prelude::*;

const WIDTH: u32 = 860;
/// Room for the names.
const NAMES: u32 = 430;

/// The share of what an aim allows: the measured figure and both ends of its interval.
fn used(aim: &Aim) -> (f64, f64, f64) {
    let share = |value: f64| value / aim.limit;
    let measured = share(aim.measured);
    aim.interval
        .map_or((measured, measured, measured), |at| (measured, share(at.low), share(at.high)))
}

/// The figure. An aim of nothing at all has no scale, and no line.
pub fn draw(outcome: &Outcome) -> Result<String> {
    let mut aims = outcome.aims();
    aims.retain(|aim| aim.limit > 0.0);
    aims.reverse();
    let (least, most) = aims
        .iter()
        .map(used)
        .fold((0.0f64, 1.1f64), |(least, most), aim| (least.min(aim.1), most.max(aim.2)));
    let mut svg = String::new();
    {
        let size = (WIDTH, 90 + 26 * aims.len() as u32);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let area = area
            .titled("The share of what each aim allows: 1 is its limit", text(17))
            .map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .margin_right(20)
            .x_label_area_size(30)
            .y_label_area_size(NAMES)
            .build_cartesian_2d(least - 0.05..most + 0.05, -0.6..aims.len() as f64 - 0.4)
            .map_err(failed)?;
        let name = |at: &f64| {
            let whole = (at - at.round()).abs() < 1e-6 && *at >= -0.1;
            let aim = whole.then(|| aims.get(at.round() as usize)).flatten();
            aim.map_or(String::new(), |aim| aim.what.clone())
        };
        chart
            .configure_mesh()
            .y_labels(aims.len() + 1)
            .y_label_formatter(&name)
            .x_label_formatter(&|share| format!("{share:.1}"))
            .label_style(text(12))
            .light_line_style(WHITE)
            .draw()
            .map_err(failed)?;
        let limit = PathElement::new(vec![(1.0, -0.6), (1.0, aims.len() as f64 - 0.4)], BLACK);
        chart.draw_series([limit]).map_err(failed)?;
        let dots = aims.iter().enumerate().map(|(at, aim)| (at as f64, used(aim)));
        let whisker = |(at, (_, low, high))| {
            PathElement::new(vec![(low, at), (high, at)], color(0).stroke_width(2))
        };
        chart.draw_series(dots.clone().map(whisker)).map_err(failed)?;
        let dot = |(at, (measured, ..)): (f64, (f64, f64, f64))| {
            Circle::new((measured, at), 4, color(0).filled())
        };
        chart.draw_series(dots.map(dot)).map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::sample;
    use super::*;

    #[test]
    fn every_aim_with_a_scale_has_a_line() {
        let outcome = sample();
        let svg = draw(&outcome).unwrap();
        for aim in outcome.aims() {
            assert_eq!(svg.contains(&aim.what), aim.limit > 0.0, "{}", aim.what);
        }
    }
}
