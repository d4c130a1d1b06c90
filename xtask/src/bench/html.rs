//! The results as one page that needs nothing else: tables, figures, circumstances.

use std::fmt::Write;

use anyhow::Result;

use super::plot;
use super::results::{METRICS, Metric, Results, Row};
use super::table::figure;
use crate::shared::page::{self, escape};

/// The page.
pub fn page(results: &Results) -> Result<String> {
    let about = &results.circumstances;
    let mut page = String::new();
    write!(
        page,
        "<h1>hakmem and its peers</h1>\n\
         <p>Medians of {} interleaved runs. A ratio compares with the best peer of its row, run by \
         run; below 1 is better. Made by <code>cargo xtask bench</code> at commit {} on {} ({} \
         processors, Linux {}).</p>\n",
        about.runs,
        escape(&about.commit),
        escape(&about.processor),
        about.processors,
        escape(&about.kernel),
    )?;
    let figures = plot::all(results)?;
    for metric in METRICS {
        if results.rows(metric).next().is_none() {
            continue;
        }
        writeln!(page, "<h2>{}</h2>", metric.title())?;
        let name = match metric {
            Metric::Time => "time",
            Metric::Final => "final-memory",
            Metric::Peak => "peak-memory",
            Metric::Processor | Metric::Instructions | Metric::Faults => "",
        };
        for (_, svg) in figures.iter().filter(|(found, _)| *found == name) {
            page.push_str(&page::figure(svg));
        }
        table(&mut page, results, metric)?;
    }
    for (_, svg) in figures.iter().filter(|(found, _)| *found == "time-against-memory") {
        writeln!(page, "<h2>Time against memory</h2>\n{}", page::figure(svg))?;
    }
    page.push_str("<h2>Scenarios and allocators</h2><ul>\n");
    for row in &results.rows {
        let scenario = &row.scenario;
        writeln!(page, "<li><b>{}</b>: {}</li>", escape(&scenario.name), escape(&scenario.about))?;
    }
    page.push_str("</ul><p>");
    for allocator in &results.allocators {
        write!(page, "{} {}. ", escape(&allocator.name), escape(&allocator.version))?;
    }
    for missing in &results.missing {
        write!(page, "Left out: {}: {}. ", escape(&missing.name), escape(&missing.reason))?;
    }
    page.push_str("</p>\n");
    Ok(page::page("hakmem and its peers", &page))
}

fn table(page: &mut String, results: &Results, metric: Metric) -> Result<()> {
    page.push_str("<div class=\"scroll\"><table><tr><th></th><th>ratio</th>");
    for allocator in &results.allocators {
        write!(page, "<th>{}</th>", escape(&allocator.name))?;
    }
    page.push_str("</tr>\n");
    for row in results.rows(metric) {
        write!(page, "<tr><td>{}</td>{}", escape(&row.scenario.name), ratio_cell(metric, row))?;
        for at in 0..results.allocators.len() {
            let class = if row.best(metric) == Some(at) { " class=\"best\"" } else { "" };
            let text = row.median(metric, at).map_or_else(|| "-".to_owned(), figure);
            write!(page, "<td{class}>{text}</td>")?;
        }
        page.push_str("</tr>\n");
    }
    if !metric.comparable() {
        page.push_str("</table></div>\n");
        return Ok(());
    }
    page.push_str("<tr><th>geometric mean</th>");
    let ours = std::iter::once(0).chain(0..results.allocators.len());
    for at in ours {
        let text =
            results.mean(metric, at).map_or_else(|| "-".to_owned(), |mean| format!("{mean:.2}"));
        write!(page, "<th>{text}</th>")?;
    }
    page.push_str("</tr></table></div>\n");
    Ok(())
}

fn ratio_cell(metric: Metric, row: &Row) -> String {
    let Some(ratio) = row.ratio(metric, 0) else {
        return "<td>-</td>".to_owned();
    };
    let class = match ratio {
        ratio if ratio < 1.0 => "won",
        ratio if ratio > 1.1 => "lost",
        _ => "",
    };
    let spread = row.spread(metric, 0);
    let title = spread.map(|(low, high)| format!(" title=\"middle half {low:.3} to {high:.3}\""));
    format!("<td class=\"{class}\"{}>{ratio:.2}</td>", title.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_is_self_contained() {
        let mut results = super::super::results::tests::sample();
        results.circumstances.processor = "<fast> & \"cool\"".into();
        let page = super::page(&results).unwrap();
        assert!(page.contains("&lt;fast&gt; &amp; &quot;cool&quot;"));
        assert!(page.contains("<svg") && page.ends_with("</html>\n"));
        assert!(!page.contains("src=") && !page.contains("href=\"http"));
    }
}
