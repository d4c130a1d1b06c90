//! Ratios as a figure: a row for each build, a dot with its interval for each scenario. SVG, with the text
//! left to the viewer's fonts.

use super::plot::{color, dash, failed, text};
use anyhow::Result;
use plotters::prelude::*;
use xtask_stats::Interval;

/// A build, and its ratio in each scenario.
pub struct Row {
    /// What stands before it.
    pub name: String,
    /// Ratios, by scenario.
    pub ratios: Vec<(f64, Option<Interval>)>,
}

/// The figure; the last row stands on top.
pub fn draw(title: &str, scenarios: &[String], rows: &[Row]) -> Result<String> {
    let dots = |scenario: usize| {
        rows.iter().enumerate().map(move |(at, row)| {
            let (ratio, limits) = row.ratios[scenario];
            let (low, high) = limits.map_or((ratio, ratio), |limits| (limits.low, limits.high));
            (at as f64 + 0.2 * (1.5 - scenario as f64), ratio, low, high)
        })
    };
    let all = (0..scenarios.len()).flat_map(dots);
    let (low, high) =
        all.fold((0.9f64, 1.1f64), |(low, high), dot| (low.min(dot.2), high.max(dot.3)));
    let mut svg = String::new();
    {
        let size = (860, 110 + 28 * rows.len().max(4) as u32);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let area = area.titled(title, text(17)).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .margin_right(20)
            .x_label_area_size(38)
            .y_label_area_size(130)
            .build_cartesian_2d(
                (low / 1.05..high * 1.05).log_scale(),
                -0.6..rows.len() as f64 - 0.4,
            )
            .map_err(failed)?;
        let name = |at: &f64| {
            let whole = (at - at.round()).abs() < 1e-6 && *at >= -0.1;
            let row = whole.then(|| rows.get(at.round() as usize)).flatten();
            row.map(|row| row.name.clone()).unwrap_or_default()
        };
        chart
            .configure_mesh()
            .y_labels(rows.len() + 1)
            .y_label_formatter(&name)
            .x_label_formatter(&|ratio| format!("{ratio:.1}\u{d7}"))
            .label_style(text(12))
            .light_line_style(WHITE)
            .draw()
            .map_err(failed)?;
        let one = PathElement::new(vec![(1.0, -0.6), (1.0, rows.len() as f64 - 0.4)], BLACK);
        chart.draw_series([one]).map_err(failed)?;
        for (scenario, called) in scenarios.iter().enumerate() {
            let shade = color(scenario);
            let circle = |(at, ratio, _, _)| Circle::new((ratio, at), 4, shade.filled());
            let drawn = chart.draw_series(dots(scenario).map(circle)).map_err(failed)?;
            drawn.label(called).legend(dash(shade));
            let whisker = |(at, _, low, high)| PathElement::new(vec![(low, at), (high, at)], shade);
            chart.draw_series(dots(scenario).map(whisker)).map_err(failed)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE)
            .border_style(BLACK)
            .label_font(text(12))
            .draw()
            .map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}
