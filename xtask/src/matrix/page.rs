//! The matrix as one HTML page that needs nothing else: figures, table, what is wrong.

use super::results::Matrix;
use super::{picture, table};
use crate::shared::page::{self, escape};
use anyhow::Result;
use std::fmt::Write;

/// The page.
pub fn html(matrix: &Matrix) -> Result<String> {
    let machine = &matrix.machine;
    let mut body = format!(
        "<h1>What each gate costs</h1>\n<p>Made by <code>cargo xtask matrix</code> at commit <code>{}</code>{} on {} \
         ({} processors, Linux {}).</p>\n<p>{}</p>\n",
        escape(machine.commit.get(..12).unwrap_or(&machine.commit)),
        if machine.changed { " with changes on top" } else { "" },
        escape(&machine.processor),
        machine.processors,
        escape(&machine.kernel),
        escape(&table::legend(matrix)).replace('`', ""),
    );
    for (name, svg) in picture::all(matrix)? {
        let title = if name == "pairs" { "Pairs of layers" } else { "Gates" };
        let _ = write!(body, "<h2>{title}</h2>\n{}", page::figure(&svg));
    }
    body.push_str("<h2>All configurations</h2>\n<div class=\"scroll\"><table><tr><th></th>");
    body.push_str("<th class=\"text\">builds</th><th class=\"text\">tests</th>");
    let measures = table::shown(matrix);
    for measure in &measures {
        let _ = write!(body, "<th>{}</th>", measure.title());
    }
    body.push_str("</tr>\n");
    for row in &matrix.rows {
        let colour = if row.sound() { "text" } else { "text lost" };
        let _ = write!(
            body,
            "<tr><td>{}</td><td class=\"{colour}\">{}</td><td class=\"{colour}\">{}</td>",
            escape(&row.configuration.name),
            row.builds(),
            row.tested()
        );
        for measure in &measures {
            let _ = write!(body, "<td>{}</td>", table::cell(matrix, row, *measure));
        }
        body.push_str("</tr>\n");
    }
    body.push_str("</table></div>\n");
    let remarks = table::remarks(matrix);
    if !remarks.is_empty() {
        let _ = write!(body, "<h2>Remarks</h2>\n<pre>{}</pre>\n", escape(remarks.trim_end()));
    }
    Ok(page::page("What each gate costs", &body))
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::sample;

    #[test]
    fn the_page_is_self_contained_and_escaped() {
        let mut matrix = sample();
        matrix.machine.processor = "<fast>".into();
        let page = super::html(&matrix).unwrap();
        assert!(page.contains("&lt;fast&gt;") && !page.contains("<fast>"));
        assert_eq!(page.matches("<svg").count(), 2);
        assert!(page.contains("does not compile") && page.contains("Pairs of layers"));
        assert!(!page.contains("src=") && !page.contains("href=\"http"));
    }
}
