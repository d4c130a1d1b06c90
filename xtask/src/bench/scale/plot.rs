//! The curves as figures: logarithmic on both axes, so that equal steps are equal factors.

use anyhow::Result;
use plotters::prelude::*;

use super::{Axis, Scale};
use crate::bench::plot::{Figure, color, draw_legend, failed, text};

/// One figure for each axis.
pub fn all(scale: &Scale) -> Result<Vec<Figure>> {
    scale
        .axes
        .iter()
        .map(|axis| Ok(Figure { name: format!("scale-{}", axis.name), svg: curves(scale, axis)? }))
        .collect()
}

fn curves(scale: &Scale, axis: &Axis) -> Result<String> {
    let count = scale.allocators.len();
    let costs = axis.points.iter().flat_map(|point| (0..count).filter_map(|at| point.cost(at)));
    let (low, high) = costs.fold((f64::MAX, 1.0f64), |(low, high), c| (low.min(c), high.max(c)));
    let (first, last) = (axis.points[0].x as f64, axis.points[axis.points.len() - 1].x as f64);
    // Where points double, lines that double.
    let base = if axis.name == "live" { 10.0 } else { 2.0 };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (860, 460)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let title = format!("{}: {}", axis.grows, axis.title);
        let area = area.titled(&title, ("sans-serif", 17)).map_err(failed)?;
        let (legend, area) = area.split_vertically(24);
        draw_legend(scale.allocators.iter().map(|allocator| &*allocator.name), &legend)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(
                (first / 1.1..last * 1.1).log_scale().base(base),
                (low.min(high) / 1.2..high * 1.2).log_scale(),
            )
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc(axis.grows)
            .y_desc("ns of processor time per operation")
            .x_label_formatter(&|x| axis.label(x.round() as u64))
            .y_label_formatter(&|cost| plain(*cost))
            .label_style(text(12))
            .light_line_style(WHITE)
            .draw()
            .map_err(failed)?;
        for at in (0..count).rev() {
            let curve: Vec<(f64, f64)> = axis
                .points
                .iter()
                .filter_map(|point| Some((point.x as f64, point.cost(at)?)))
                .collect();
            let width = if at == 0 { 3 } else { 1 };
            chart
                .draw_series(LineSeries::new(curve.clone(), color(at).stroke_width(width)))
                .map_err(failed)?;
            let radius = if at == 0 { 3 } else { 2 };
            let dots = curve.into_iter().map(|dot| Circle::new(dot, radius, color(at).filled()));
            chart.draw_series(dots).map_err(failed)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// A cost without needless digits.
fn plain(cost: f64) -> String {
    if cost >= 10.0 { format!("{cost:.0}") } else { format!("{cost:.1}") }
}

#[cfg(test)]
mod tests {
    use super::super::tests::canned;

    #[test]
    fn every_axis_is_drawn_with_every_allocator() {
        let figures = super::all(&canned()).unwrap();
        assert_eq!(figures.len(), 1);
        assert_eq!(figures[0].name, "scale-live");
        assert!(figures[0].svg.contains("hakmem") && figures[0].svg.contains("10k"));
        assert!(figures[0].svg.matches("<polyline").count() >= 3);
    }
}
