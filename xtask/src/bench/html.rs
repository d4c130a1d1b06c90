//! The results as one page that needs nothing else: tables, figures, circumstances.

use std::fmt::Write;

use anyhow::Result;

use super::aims;
use super::plot;
use super::results::{Metric, Results, Row};
use super::summary;
use super::table::{self, figure, figure_signed, limits};
use super::task::Family;
use crate::shared::page::{self, escape};

/// The page.
pub fn page(results: &Results) -> Result<String> {
    let about = &results.circumstances;
    let mut page = String::new();
    write!(
        page,
        "<h1>hakmem and its peers</h1>\n\
         <p>Medians of {} interleaved runs. A ratio compares with the best peer of its row, run by \
         run, with a 90 % bootstrap interval over the runs; below 1 is better. Made by \
         <code>cargo xtask bench</code> on {}, commit {}, on {} ({} processors, Linux {}, load \
         {:.1} to {:.1}){}.</p>\n",
        about.runs,
        escape(&about.date),
        escape(&about.commit),
        escape(&about.processor),
        about.processors,
        escape(&about.kernel),
        about.load.0,
        about.load.1,
        if about.quick { ", in the short form" } else { "" },
    )?;
    for note in table::notes(results) {
        writeln!(page, "<p class=\"open\">{}</p>", escape(&note))?;
    }
    let figures = plot::all(results)?;
    let draw = |page: &mut String, name: &str| {
        for figure in figures.iter().filter(|figure| figure.name == name) {
            page.push_str(&page::figure(&figure.svg));
        }
    };
    aims_table(&mut page, results)?;
    means(&mut page, results)?;
    for scatter in ["", "programs-", "rust-"] {
        draw(&mut page, &format!("bench-{scatter}time-against-memory"));
    }
    for (family, metric) in results.sections() {
        writeln!(page, "<h2>{}</h2>", escape(&metric.title(family)))?;
        draw(&mut page, &plot::name(family, metric));
        rows(&mut page, results, family, metric)?;
    }
    page.push_str("<h2>Rows and allocators</h2><ul>\n");
    for row in &results.rows {
        writeln!(page, "<li><b>{}</b>: {}</li>", escape(&row.task.name), escape(&row.task.about))?;
    }
    page.push_str("</ul><p>");
    for allocator in &results.allocators {
        write!(page, "{} {}. ", escape(&allocator.name), escape(&allocator.version))?;
    }
    for missing in &results.missing {
        write!(page, "Left out: {}: {}. ", escape(&missing.name), escape(&missing.reason))?;
    }
    for (what, list) in [("Features", &about.features), ("Settings", &about.settings)] {
        if !list.is_empty() {
            write!(page, "{what}: {}. ", escape(&list.join(", ")))?;
        }
    }
    page.push_str("</p>\n");
    Ok(page::page("hakmem and its peers", &page))
}

fn aims_table(page: &mut String, results: &Results) -> Result<()> {
    let aims = aims::judge(results);
    if aims.is_empty() {
        return Ok(());
    }
    page.push_str(
        "<h2>Aims</h2><div class=\"scroll\"><table><tr><th></th><th>at most</th><th>measured</th>\
         <th>90 %</th><th></th></tr>\n",
    );
    for aim in aims {
        let class = match aim.call() {
            "met" => "won",
            "missed" => "lost",
            _ => "open",
        };
        writeln!(
            page,
            "<tr><td>{}</td><td>{} {unit}</td><td>{} {unit}</td><td>{}</td><td class=\"{class}\">\
             {}</td></tr>",
            escape(&aim.what),
            figure(aim.limit),
            figure_signed(aim.measured),
            limits(aim.interval),
            aim.call(),
            unit = aim.unit,
        )?;
    }
    page.push_str("</table></div>\n");
    Ok(())
}

fn means(page: &mut String, results: &Results) -> Result<()> {
    let lines = summary::lines(results);
    if lines.is_empty() {
        return Ok(());
    }
    page.push_str(
        "<h2>Geometric means of the ratios to the best peer</h2><div class=\"scroll\">\
                   <table><tr><th></th><th class=\"text\">rows</th><th class=\"text\">best of</th>",
    );
    for allocator in &results.allocators {
        write!(page, "<th>{}</th>", escape(&allocator.name))?;
    }
    page.push_str("<th>to the strongest</th></tr>\n");
    for line in lines {
        write!(
            page,
            "<tr><td>{}</td><td class=\"text\" title=\"{}\">{}</td><td class=\"text\">{}</td>",
            line.what,
            escape(&line.covers.join(", ")),
            escape(&line.rows),
            line.among,
        )?;
        for (at, mean) in line.means.iter().enumerate() {
            let text = mean.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.2}"));
            if at == 0 {
                let limits = limits(line.interval);
                write!(page, "<td class=\"best\">{text}<br><small>{limits}</small></td>")?;
            } else {
                write!(page, "<td>{text}</td>")?;
            }
        }
        let strongest = line.strongest.map_or_else(
            || "-".to_owned(),
            |peer| {
                let limits = limits(peer.interval);
                format!("{:.2} {}<br><small>{limits}</small>", peer.ratio, escape(&peer.name))
            },
        );
        writeln!(page, "<td>{strongest}</td></tr>")?;
    }
    page.push_str("</table></div>\n");
    Ok(())
}

fn rows(page: &mut String, results: &Results, family: Family, metric: Metric) -> Result<()> {
    page.push_str("<div class=\"scroll\"><table><tr><th></th><th>ratio</th><th>90 %</th>");
    for allocator in &results.allocators {
        write!(page, "<th>{}</th>", escape(&allocator.name))?;
    }
    page.push_str("</tr>\n");
    for row in results.rows(family, metric) {
        write!(page, "<tr><td>{}</td>{}", escape(&row.task.name), ratio_cells(metric, row))?;
        for at in 0..results.allocators.len() {
            let class = if row.best(metric) == Some(at) { " class=\"best\"" } else { "" };
            let text = row.median(metric, at).map_or_else(|| "-".to_owned(), figure);
            write!(page, "<td{class}>{text}</td>")?;
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
    Ok(())
}

/// Our ratio and its interval, with a mark where that is wide.
fn ratio_cells(metric: Metric, row: &Row) -> String {
    let Some(ratio) = row.ratio(metric, 0) else {
        return "<td>-</td><td>-</td>".to_owned();
    };
    let class = match ratio {
        ratio if ratio < 1.0 => "won",
        ratio if ratio > 1.1 => "lost",
        _ => "",
    };
    let wide = if row.wide(metric) { " class=\"open\"" } else { "" };
    let limits = limits(row.interval(metric, 0));
    format!("<td class=\"{class}\">{ratio:.2}</td><td{wide}>{limits}</td>")
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::with;
    use super::super::task::Group;

    #[test]
    fn the_page_is_self_contained() {
        let mut results = with("mixed", Group::Spec);
        results.circumstances.processor = "<fast> & \"cool\"".into();
        results.circumstances.spec_rows = 2;
        let page = super::page(&results).unwrap();
        assert!(page.contains("&lt;fast&gt; &amp; &quot;cool&quot;"));
        assert!(page.contains("<svg") && page.ends_with("</html>\n"));
        assert!(!page.contains("src=") && !page.contains("href=\"http"));
        assert!(page.contains("time, mixed") && page.contains("scenarios of the spec (2)"));
    }
}
