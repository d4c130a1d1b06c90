//! The frame of every page that a command writes: one file that needs nothing else, readable in a
//! browser by day and night, and on paper.
//!
//! Assumes that the body is sound HTML whose texts went through [`escape`], and figures through
//! [`figure`]. Promises no script, no font and no address from outside.

/// Colours by variables, so that night and paper change only those.
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--ground:#fff;\
--card:#f6f8fa;--good:#0a7a4b;--bad:#b3202c;--open:#8a5a00}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#9aa4ae;--line:#3a424b;--ground:#14171b;\
--card:#1d2127;--good:#4cc38a;--bad:#ff7b81;--open:#e0b04c}}\
body{font:15px/1.55 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;\
color:var(--ink);background:var(--ground)}\
h1{font-size:1.7rem;margin:0 0 .4rem}h2{font-size:1.2rem;margin:2rem 0 .5rem;\
border-bottom:1px solid var(--line);padding-bottom:.2rem}\
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}\
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid var(--line);vertical-align:top}\
td{white-space:nowrap}th:first-child,td:first-child{text-align:left}th{font-weight:600}\
td.text,th.text{text-align:left;white-space:normal}\
code{font:.92em ui-monospace,monospace;overflow-wrap:anywhere}\
pre{background:var(--card);padding:.7rem 1rem;overflow-x:auto;border-radius:6px}\
.best{font-weight:600}.won{color:var(--good)}.lost{color:var(--bad)}.open{color:var(--open)}\
.verdict{border-left:6px solid currentColor;background:var(--card);padding:.8rem 1.1rem;margin:1rem 0;\
border-radius:0 6px 6px 0}.verdict b{font-size:1.5rem;display:block}.verdict span{color:var(--ink)}\
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.25rem 1.2rem}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}\
.scroll{overflow-x:auto}figure{margin:1rem 0}figure svg{width:100%;max-width:62rem;height:auto}small,.soft{color:var(--soft)}\
@page{margin:14mm}\
@media print{:root{--ink:#000;--soft:#444;--line:#bbb;--ground:#fff;--card:#fff;--good:#066;--bad:#900;\
--open:#640}body{max-width:none;margin:0;padding:0;font-size:10.5pt}.scroll{overflow:visible}\
table{font-size:8.5pt}th,td{padding:.15rem .4rem}tr,figure,.verdict{break-inside:avoid}h2{break-after:avoid}\
.verdict{border:1px solid #000;border-left-width:6px}pre{white-space:pre-wrap}}";

/// A whole page with `title` (plain text) and `body` (HTML).
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title>\
         <style>{STYLE}</style></head><body>\n{body}</body></html>\n",
        escape(title)
    )
}

/// Plain text as HTML, in an element or an attribute.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// An SVG drawn in black on white as a figure of the page: black becomes the colour of the text and
/// white the page's ground, so that it is readable at night too.
pub fn figure(svg: &str) -> String {
    let svg = svg
        .replace("\"#000000\"", "\"currentColor\"")
        .replace("\"#FFFFFF\"", "\"none\"")
        .replace("\"#ffffff\"", "\"none\"");
    format!("<figure class=\"scroll\">{svg}</figure>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_nothing_comes_from_outside() {
        let page = page("<a> & \"b\"", "<p>body</p>\n");
        assert!(page.contains("<title>&lt;a&gt; &amp; &quot;b&quot;</title>"));
        assert!(page.contains("<p>body</p>") && page.ends_with("</html>\n"));
        assert!(page.contains("prefers-color-scheme:dark") && page.contains("@media print"));
        assert!(!page.contains("http") && !page.contains("src=") && !page.contains("url("));
    }

    #[test]
    fn figures_take_the_colours_of_the_page() {
        let svg =
            "<svg><rect fill=\"#FFFFFF\"/><text fill=\"#000000\"/><circle fill=\"#C81E2D\"/></svg>";
        let figure = figure(svg);
        assert!(figure.contains("fill=\"none\"") && figure.contains("fill=\"currentColor\""));
        assert!(figure.contains("#C81E2D"));
    }
}
