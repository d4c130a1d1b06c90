//! A short report as data, written once and shown twice: as Markdown for the repository, as HTML
//! for a page.
//!
//! Texts are plain, but for `code` between backticks. Promises that nothing in a text is taken for
//! markup by either reader.

use super::page;
use std::fmt::Write;

/// A piece of a report.
#[derive(Clone, Debug)]
pub enum Part {
    /// A heading below the title.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// The result in a word, how it is to be taken, and why.
    Verdict(Tone, String, String),
    /// Columns with headings; the cells of a row.
    Table(Vec<Column>, Vec<Vec<String>>),
    /// Names with what there is to say of each.
    Facts(Vec<(String, String)>),
    /// Commands to type.
    Commands(Vec<String>),
    /// A picture: the SVG itself, the name of its file beside the Markdown, what it shows.
    Picture(String, String, String),
}

/// How a result is to be taken; it picks the colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As hoped, or harmless.
    Good,
    /// Not so.
    Bad,
    /// It cannot be told.
    Open,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Tone::Good => "won",
            Tone::Bad => "lost",
            Tone::Open => "open",
        }
    }
}

/// A column: its heading, and whether it holds figures (set to the right).
#[derive(Clone, Debug)]
pub struct Column(pub String, pub bool);

impl Column {
    /// A column of words.
    pub fn words(heading: &str) -> Column {
        Column(heading.to_owned(), false)
    }

    /// A column of figures.
    pub fn figures(heading: &str) -> Column {
        Column(heading.to_owned(), true)
    }
}

/// The report as Markdown.
pub fn markdown(title: &str, parts: &[Part]) -> String {
    let mut text = format!("# {}\n", in_markdown(title));
    for part in parts {
        text.push('\n');
        // Writing to a string does not fail.
        let _ = match part {
            Part::Heading(heading) => writeln!(text, "## {}", in_markdown(heading)),
            Part::Text(words) => writeln!(text, "{}", in_markdown(words)),
            Part::Verdict(_, verdict, why) => {
                writeln!(text, "**{}**: {}", in_markdown(verdict), in_markdown(why))
            }
            Part::Table(columns, rows) => {
                let cell = |text: &str| in_markdown(text).replace('|', "\\|");
                let mut line = |cells: Vec<String>| writeln!(text, "| {} |", cells.join(" | "));
                let rule = |column: &Column| if column.1 { "---:" } else { "---" }.to_owned();
                let _ = line(columns.iter().map(|column| cell(&column.0)).collect());
                let _ = line(columns.iter().map(rule).collect());
                rows.iter().try_for_each(|row| line(row.iter().map(|text| cell(text)).collect()))
            }
            Part::Facts(facts) => facts.iter().try_for_each(|(name, what)| {
                writeln!(text, "- {}: {}", in_markdown(name), in_markdown(what))
            }),
            Part::Commands(lines) => writeln!(text, "```sh\n{}\n```", lines.join("\n")),
            Part::Picture(_, file, about) => {
                writeln!(text, "![{}]({file})", in_markdown(about).replace(']', "\\]"))
            }
        };
    }
    text
}

/// The report as the body of a page.
pub fn html(title: &str, parts: &[Part]) -> String {
    let mut text = format!("<h1>{}</h1>\n", in_html(title));
    for part in parts {
        // Writing to a string does not fail.
        let _ = match part {
            Part::Heading(heading) => writeln!(text, "<h2>{}</h2>", in_html(heading)),
            Part::Text(words) => writeln!(text, "<p>{}</p>", in_html(words)),
            Part::Verdict(tone, verdict, why) => writeln!(
                text,
                "<div class=\"verdict {}\"><b>{}</b><span>{}</span></div>",
                tone.class(),
                in_html(verdict),
                in_html(why)
            ),
            Part::Table(columns, rows) => {
                table(&mut text, columns, rows);
                Ok(())
            }
            Part::Facts(facts) => {
                text.push_str("<dl>\n");
                for (name, what) in facts {
                    let _ = writeln!(text, "<dt>{}</dt><dd>{}</dd>", in_html(name), in_html(what));
                }
                writeln!(text, "</dl>")
            }
            Part::Commands(lines) => {
                writeln!(text, "<pre>{}</pre>", page::escape(&lines.join("\n")))
            }
            Part::Picture(svg, ..) => write!(text, "{}", page::figure(svg)),
        };
    }
    text
}

fn table(text: &mut String, columns: &[Column], rows: &[Vec<String>]) {
    let class = |column: &Column| if column.1 { "" } else { " class=\"text\"" };
    text.push_str("<div class=\"scroll\"><table><thead><tr>");
    for column in columns {
        let _ = write!(text, "<th{}>{}</th>", class(column), in_html(&column.0));
    }
    text.push_str("</tr></thead><tbody>\n");
    for row in rows {
        text.push_str("<tr>");
        for (column, cell) in columns.iter().zip(row) {
            let _ = write!(text, "<td{}>{}</td>", class(column), in_html(cell));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div>\n");
}

/// Cuts a text into words and code, which stands between backticks: `false` and `true`.
fn pieces(text: &str) -> impl Iterator<Item = (bool, &str)> {
    text.split('`').enumerate().map(|(at, piece)| (at % 2 == 1, piece))
}

fn in_html(text: &str) -> String {
    let mut html = String::new();
    for (code, piece) in pieces(text) {
        let piece = page::escape(piece);
        if code {
            html.push_str(&format!("<code>{piece}</code>"));
        } else {
            html.push_str(&piece);
        }
    }
    html
}

fn in_markdown(text: &str) -> String {
    let mut markdown = String::new();
    for (code, piece) in pieces(text) {
        if code {
            markdown.push_str(&format!("`{piece}`"));
            continue;
        }
        for letter in piece.chars() {
            match letter {
                '*' | '_' | '\\' | '[' | '#' => markdown.extend(['\\', letter]),
                '<' => markdown.push_str("&lt;"),
                '&' => markdown.push_str("&amp;"),
                '\n' => markdown.push(' '),
                letter => markdown.push(letter),
            }
        }
    }
    markdown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<Part> {
        vec![
            Part::Verdict(Tone::Good, "GO".into(), "a < b & `x<y>`".into()),
            Part::Heading("Why *so*".into()),
            Part::Table(
                vec![Column::words("name"), Column::figures("a|b")],
                vec![vec!["`Vec<T>`".into(), "[+0.5, +0.7]".into()]],
            ),
            Part::Facts(vec![("seed".into(), "7".into())]),
            Part::Commands(vec!["a && b > c".into()]),
            Part::Picture("<svg></svg>".into(), "x.svg".into(), "the picture".into()),
        ]
    }

    #[test]
    fn markdown_takes_nothing_for_markup() {
        let text = markdown("my_gate", &parts());
        let expected = "# my\\_gate\n\n**GO**: a &lt; b &amp; `x<y>`\n\n## Why \\*so\\*\n\n\
                        | name | a\\|b |\n| --- | ---: |\n| `Vec<T>` | \\[+0.5, +0.7] |\n\n\
                        - seed: 7\n\n```sh\na && b > c\n```\n\n![the picture](x.svg)\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn html_takes_nothing_for_markup() {
        let text = html("my<gate>", &parts());
        assert!(text.starts_with("<h1>my&lt;gate&gt;</h1>"), "{text}");
        assert!(text.contains("<b>GO</b><span>a &lt; b &amp; <code>x&lt;y&gt;</code></span>"));
        assert!(text.contains("class=\"verdict won\""));
        assert!(
            text.contains("<td class=\"text\"><code>Vec&lt;T&gt;</code></td><td>[+0.5, +0.7]</td>")
        );
        assert!(text.contains("<pre>a &amp;&amp; b &gt; c</pre>") && text.contains("<svg>"));
    }
}
