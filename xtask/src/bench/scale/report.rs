//! The curves as tables, as JSON and as a page.

use std::fmt::Write;

use anyhow::Result;
use comfy_table::{Cell, Color, Table};

use super::plot;
use super::{Axis, CLIFF, Cliff, Scale};
use crate::bench::results::{Results, geometric_mean};
use crate::bench::table::{STYLE, figure, footer};
use crate::shared::page::{self, escape};

/// Everything as JSON, with the costs and the cliffs next to the samples.
pub fn json(scale: &Scale) -> serde_json::Value {
    let mut json = serde_json::to_value(scale).expect("the results hold nothing but plain data");
    for (axis, out) in scale.axes.iter().zip(json["axes"].as_array_mut().into_iter().flatten()) {
        let named = |value: &dyn Fn(usize) -> serde_json::Value| -> serde_json::Map<_, _> {
            let names = scale.allocators.iter().map(|allocator| allocator.name.clone());
            names.enumerate().map(|(at, name)| (name, value(at))).collect()
        };
        let costs = |at: usize| axis.points.iter().map(|point| point.cost(at)).collect::<Vec<_>>();
        out["ns_per_operation"] = named(&|at| serde_json::json!(costs(at))).into();
        out["cliffs"] = named(&|at| serde_json::json!(axis.cliffs(at))).into();
    }
    json
}

/// Our cost against the best peer's, over all points.
fn against_best(axis: &Axis, allocators: usize) -> Option<f64> {
    let ratios = axis.points.iter().filter_map(|point| {
        let best = (1..allocators).filter_map(|at| point.cost(at)).min_by(f64::total_cmp)?;
        Some(point.cost(0)? / best)
    });
    geometric_mean(&ratios.collect::<Vec<_>>())
}

/// A step in words.
fn told(axis: &Axis, step: &Cliff) -> String {
    format!("{:.2} ({} to {})", step.times, axis.label(step.beside), axis.label(step.x))
}

/// What is to be said of our own curve.
fn verdict(axis: &Axis) -> String {
    let cliffs = axis.cliffs(0);
    if axis.points.iter().all(|point| point.cost(0).is_none()) {
        "not measured".to_owned()
    } else if cliffs.is_empty() {
        format!("no point costs more than {CLIFF} times a neighbour")
    } else {
        let list: Vec<_> = cliffs.iter().map(|cliff| told(axis, cliff)).collect();
        format!("CLIFF: more than {CLIFF} times a neighbour: {}", list.join(", "))
    }
}

/// All tables, one below the other.
pub fn render(scale: &Scale) -> String {
    let mut text = String::new();
    for axis in &scale.axes {
        let _ =
            writeln!(text, "{}: {}, ns of processor time per operation", axis.grows, axis.title);
        let mut table = Table::new();
        table.load_style(STYLE);
        let mut header = vec![axis.grows.to_owned()];
        header.extend(scale.allocators.iter().map(|allocator| allocator.name.clone()));
        table.set_header(header);
        for point in &axis.points {
            let mut cells = vec![Cell::new(axis.label(point.x))];
            cells.extend((0..scale.allocators.len()).map(|at| {
                let cost = point.cost(at);
                let cell = Cell::new(cost.map_or_else(|| "-".to_owned(), figure));
                let cliff = axis.cliffs(at).iter().any(|cliff| cliff.x == point.x);
                if cliff { cell.fg(Color::Red) } else { cell }
            }));
            table.add_row(cells);
        }
        let mut steps = vec![Cell::new("highest step")];
        steps.extend((0..scale.allocators.len()).map(|at| {
            let step = axis.highest(at).map(|step| step.times);
            Cell::new(step.map_or_else(|| "-".to_owned(), |times| format!("{times:.2}")))
        }));
        table.add_row(steps);
        let mut cliffs = vec![Cell::new(format!("above {CLIFF}"))];
        let counts = (0..scale.allocators.len()).map(|at| axis.cliffs(at).len());
        cliffs.extend(counts.map(|count| Cell::new(count.to_string())));
        table.add_row(cliffs);
        let _ = writeln!(text, "{table}\n  hakmem: {}", verdict(axis));
        if let Some(ratio) = against_best(axis, scale.allocators.len()) {
            let _ = writeln!(
                text,
                "  against the best peer of each point: {ratio:.2} (geometric mean of {} points)",
                axis.points.len()
            );
        }
        text.push('\n');
    }
    text.push_str(&foot(scale));
    text
}

/// The circumstances, as below the other tables.
fn foot(scale: &Scale) -> String {
    let text = footer(&Results {
        schema: scale.schema,
        circumstances: scale.circumstances.clone(),
        allocators: scale.allocators.clone(),
        missing: scale.missing.clone(),
        rows: Vec::new(),
    });
    // Its first line is about ratios.
    text.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_owned())
}

/// The page.
pub fn page(scale: &Scale) -> Result<String> {
    let mut body = String::from(
        "<h1>hakmem and its peers, as programs grow</h1>\n<p>Processor time of an operation, all \
         threads together; medians of interleaved runs. Made by <code>cargo xtask bench \
         --scale</code>.</p>\n",
    );
    let figures = plot::all(scale)?;
    for (axis, picture) in scale.axes.iter().zip(&figures) {
        let class = if axis.cliffs(0).is_empty() { "won" } else { "lost" };
        writeln!(body, "<h2>{}: {}</h2>", escape(axis.grows), escape(axis.title))?;
        writeln!(body, "<p class=\"{class}\">{}</p>", escape(&verdict(axis)))?;
        body.push_str(&page::figure(&picture.svg));
        write!(body, "<div class=\"scroll\"><table><tr><th>{}</th>", escape(axis.grows))?;
        for allocator in &scale.allocators {
            write!(body, "<th>{}</th>", escape(&allocator.name))?;
        }
        body.push_str("</tr>\n");
        for point in &axis.points {
            write!(body, "<tr><td>{}</td>", axis.label(point.x))?;
            for at in 0..scale.allocators.len() {
                let cliff = axis.cliffs(at).iter().any(|cliff| cliff.x == point.x);
                let class = if cliff { " class=\"lost\"" } else { "" };
                let cost = point.cost(at).map_or_else(|| "-".to_owned(), figure);
                write!(body, "<td{class}>{cost}</td>")?;
            }
            body.push_str("</tr>\n");
        }
        body.push_str("</table></div>\n");
    }
    for line in foot(scale).lines() {
        writeln!(body, "<p class=\"soft\">{}</p>", escape(line))?;
    }
    Ok(page::page("hakmem and its peers, as programs grow", &body))
}

#[cfg(test)]
mod tests {
    use super::super::tests::canned;
    use super::*;

    #[test]
    fn a_cliff_is_told_with_its_place() {
        let text = render(&canned());
        assert!(text.contains("CLIFF") && text.contains("2.50 (4.64k to 10k)"), "{text}");
        let json = json(&canned());
        assert_eq!(json["axes"][0]["cliffs"]["hakmem"][0]["x"], 10_000);
        assert_eq!(json["axes"][0]["ns_per_operation"]["quick"][1], 11.0);
    }

    #[test]
    fn a_smooth_curve_is_said_to_be_smooth() {
        let mut scale = canned();
        for point in &mut scale.axes[0].points {
            point.cells[0] = point.cells[1].clone();
        }
        let text = render(&scale);
        assert!(text.contains("no point costs more than 1.5 times a neighbour"), "{text}");
        assert!(text.contains("1.00 (geometric mean of 5 points)"), "{text}");
    }

    #[test]
    fn the_page_holds_a_figure_for_every_axis() {
        let page = page(&canned()).unwrap();
        assert_eq!(page.matches("<svg").count(), 1);
        assert!(page.contains("class=\"lost\"") && page.ends_with("</html>\n"));
    }
}
