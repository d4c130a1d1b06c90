//! What a campaign leaves behind: a row a gate, all together last, and why a gate has none. As JSON,
//! on the terminal, as Markdown and as a page.

use super::super::judge::Verdict;
use super::super::outcome::{Headline, Machine, Outcome};
use super::super::report::{interval, limits, per_op};
use super::super::{plot, sheet};
use crate::shared::document::{self, Column, Part, Tone};
use crate::shared::page;
use anyhow::Result;
use comfy_table::{CellAlignment, Table};
use console::style;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Raised when a field changes its meaning.
pub const SCHEMA: u32 = 1;

/// The name of its files, and of the report.
pub const NAME: &str = "campaign";

/// One experiment of the campaign.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The gate, or what stands for all of them.
    pub name: String,
    /// True for the gates all at once.
    pub together: bool,
    /// Its kind; of several gates, the one that they are judged as.
    pub kind: String,
    /// True if the default build has it, so that the arm without it is another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_default: bool,
    /// How often its code runs, as the registry says.
    pub path: String,
    /// How often what differs ran in an operation of the scenario that decided; `None` if nothing
    /// counted.
    pub hits_per_op: Option<f64>,
    /// The figures of the scenario that decided; `None` if nothing was timed.
    pub headline: Option<Headline>,
    /// `None` if the experiment failed.
    pub verdict: Option<Verdict>,
    /// Why, or what went wrong.
    pub reason: String,
    /// What a positive effect means.
    pub positive_means: String,
    /// The day it was measured; empty if it was not.
    pub date: String,
    /// The name of its files beside the campaign's.
    pub file: String,
}

impl Row {
    /// The row of an experiment that came to an end.
    pub fn of(outcome: &Outcome, name: &str, together: bool, path: &str) -> Row {
        Row {
            name: name.to_owned(),
            together,
            kind: outcome.question.kind().map_or("", |kind| kind.name()).to_owned(),
            by_default: outcome.question.by_default(),
            path: path.to_owned(),
            hits_per_op: outcome.hits_per_op(),
            headline: outcome.headline(),
            verdict: Some(outcome.verdict),
            reason: outcome.reason.clone(),
            positive_means: outcome.positive_means.clone(),
            date: outcome.date(),
            file: outcome.question.slug(),
        }
    }

    /// The row of an experiment that could not be made.
    pub fn failed(name: &str, together: bool, kind: &str, path: &str, why: String) -> Row {
        Row {
            name: name.to_owned(),
            together,
            kind: kind.to_owned(),
            by_default: false,
            path: path.to_owned(),
            hits_per_op: None,
            headline: None,
            verdict: None,
            reason: why,
            positive_means: String::new(),
            date: String::new(),
            file: String::new(),
        }
    }

    fn verdict_name(&self) -> &'static str {
        match (self.verdict, &self.headline) {
            (Some(Verdict::Neutral), None) => "NEUTRAL (same code)",
            (verdict, _) => verdict.map_or("FAILED", Verdict::name),
        }
    }

    fn cells(&self) -> [String; 9] {
        let dash = || "-".to_owned();
        let headline = self.headline.as_ref();
        [
            self.name.clone(),
            format!("{}{}", self.kind, if self.by_default { ", on" } else { "" }),
            self.path.clone(),
            self.hits_per_op.map_or_else(dash, per_op),
            headline.map_or_else(dash, |head| format!("{:+.2}", head.effect.estimate)),
            headline.map_or_else(dash, |head| interval(&head.effect, head.alpha)),
            headline.map_or_else(dash, |head| head.scenario.clone()),
            self.verdict_name().to_owned(),
            self.date.clone(),
        ]
    }
}

const HEADINGS: [(&str, bool); 9] = [
    ("gate", false),
    ("kind", false),
    ("path", false),
    ("hits/op", true),
    ("effect %", true),
    ("interval", true),
    ("scenario", false),
    ("verdict", false),
    ("date", false),
];

/// A gate that is not in the table, or not in all together, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The gate.
    pub name: String,
    /// Why.
    pub why: String,
}

/// The whole campaign.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Campaign {
    /// Version of this format.
    pub schema: u32,
    /// The day it ended.
    pub date: String,
    /// Where.
    pub machine: Machine,
    /// Of the sources and the compiler, by which results are kept or measured anew.
    pub fingerprint: String,
    /// A row an experiment.
    pub rows: Vec<Row>,
    /// Gates that are not in the arm with all of them.
    pub left_out: Vec<LeftOut>,
    /// Experiments that were not reached.
    pub unfinished: Vec<String>,
    /// Seconds, this time.
    pub seconds: f64,
}

impl Campaign {
    /// The JSON.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// For the terminal.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.set_header(HEADINGS.map(|(heading, _)| heading));
        for row in &self.rows {
            table.add_row(row.cells());
        }
        for (at, _) in HEADINGS.iter().enumerate().filter(|(_, (_, figures))| *figures) {
            if let Some(column) = table.column_mut(at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut text = format!("\n{table}\n{}\n", self.meaning());
        // Writing to a string does not fail.
        if let Some(sentence) = self.cumulative() {
            let _ = writeln!(text, "{} {sentence}", style("All together:").bold());
        }
        for row in self.rows.iter().filter(|row| row.verdict.is_none()) {
            let _ = writeln!(text, "{} {}: {}", style("failed:").red(), row.name, row.reason);
        }
        for left in &self.left_out {
            let _ = writeln!(text, "Not in all together: {} ({}).", left.name, left.why);
        }
        if !self.unfinished.is_empty() {
            let _ = writeln!(text, "{}", self.unreached());
        }
        text
    }

    /// True if every experiment came to an end, and none was invalid.
    pub fn sound(&self) -> bool {
        let bad = |row: &Row| matches!(row.verdict, None | Some(Verdict::Invalid));
        !self.rows.iter().any(bad)
    }

    fn meaning(&self) -> String {
        let on = match self.rows.iter().any(|row| row.by_default) {
            true => {
                " `on`: the default build has it, and the arm without it is the default build less the gate."
            }
            false => "",
        };
        format!(
            "Effect in per cent, in the scenario that decided: positive means that compiled out is faster \
             (telemetry, diagnostics) or that adopted is (layers, policies, hardening).{on}"
        )
    }

    fn unreached(&self) -> String {
        format!(
            "Not measured yet: {}. The same command goes on with them.",
            self.unfinished.join(", ")
        )
    }

    /// The effect of all gates at once, in a sentence.
    fn cumulative(&self) -> Option<String> {
        let row = self.rows.iter().find(|row| row.together)?;
        let figure = row.headline.as_ref().map(|head| {
            format!(
                ", {:+.2} % {} in {}",
                head.effect.estimate,
                limits(&head.effect),
                head.scenario
            )
        });
        Some(format!(
            "{}{}, measured as one difference and not added up ({}): {}.",
            row.verdict_name(),
            figure.unwrap_or_default(),
            row.positive_means,
            row.reason.trim_end_matches('.')
        ))
    }

    /// The report; with `links`, each gate's name leads to its own report beside it.
    fn parts(&self, links: bool) -> Result<Vec<Part>> {
        let counted = |verdict: Verdict| {
            let count = self.rows.iter().filter(|row| row.verdict == Some(verdict)).count();
            (count > 0).then(|| format!("{count} {}", verdict.name()))
        };
        let all = [
            Verdict::Go,
            Verdict::NoGo,
            Verdict::Neutral,
            Verdict::NotExercised,
            Verdict::Inconclusive,
            Verdict::Invalid,
        ];
        let mut counts: Vec<String> = all.into_iter().filter_map(counted).collect();
        let failed = self.rows.iter().filter(|row| row.verdict.is_none()).count();
        if failed > 0 {
            counts.push(format!("{failed} FAILED"));
        }
        let mut parts =
            vec![Part::Text(format!("{} experiments: {}.", self.rows.len(), counts.join(", ")))];
        if let (Some(sentence), Some(row)) =
            (self.cumulative(), self.rows.iter().find(|row| row.together))
        {
            let tone = row.verdict.map_or(Tone::Bad, sheet::tone);
            parts.push(Part::Verdict(tone, "All together".to_owned(), sentence));
        }
        if let Some(svg) = plot::campaign(&self.rows)? {
            let about = "Effect of each gate with its interval".to_owned();
            parts.push(Part::Picture(svg, format!("{NAME}.svg"), about));
        }
        parts.push(Part::Heading("Gate by gate".to_owned()));
        let columns = HEADINGS.map(|(heading, figures)| Column(heading.to_owned(), figures));
        let row = |row: &Row| {
            let mut cells = row.cells().to_vec();
            cells[0] = format!("`{}`", cells[0]);
            cells
        };
        parts.push(Part::Table(columns.to_vec(), self.rows.iter().map(row).collect()));
        parts.push(Part::Text(self.meaning()));
        let reasons = self.rows.iter().map(|row| {
            let more = match (links, row.file.is_empty()) {
                (true, false) => format!(" (`{}.md`)", row.file),
                _ => String::new(),
            };
            let text = format!("{}, {}{more}", row.verdict_name(), row.reason);
            (format!("`{}`", row.name), text)
        });
        parts.push(Part::Heading("Why".to_owned()));
        parts.push(Part::Facts(reasons.collect()));
        if !self.left_out.is_empty() {
            parts.push(Part::Heading("Not in all together".to_owned()));
            let left = self.left_out.iter();
            parts.push(Part::Facts(
                left.map(|left| (format!("`{}`", left.name), left.why.clone())).collect(),
            ));
        }
        if !self.unfinished.is_empty() {
            parts.push(Part::Text(self.unreached()));
        }
        let machine = &self.machine;
        let changed = if machine.changed { ", with local changes" } else { "" };
        parts.push(Part::Heading("Circumstances".to_owned()));
        parts.push(Part::Facts(vec![
            ("date".to_owned(), self.date.clone()),
            ("commit".to_owned(), format!("`{}`{changed}", machine.commit)),
            ("machine".to_owned(), machine.name()),
            ("compiler".to_owned(), machine.compiler.clone()),
        ]));
        parts.push(Part::Heading("Again".to_owned()));
        parts.push(Part::Commands(vec!["cargo xtask ab --all --fresh --record".to_owned()]));
        Ok(parts)
    }

    /// The report for the repository.
    pub fn markdown(&self) -> Result<String> {
        Ok(document::markdown("The campaign", &self.parts(true)?))
    }

    /// The report as a page.
    pub fn page(&self) -> Result<String> {
        let title = "The campaign";
        Ok(page::page(title, &document::html(title, &self.parts(false)?)))
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::super::canned;
    use super::*;

    /// A campaign of as many gates as there might be, with one of each ending.
    pub fn sample() -> Campaign {
        let outcomes = [3.0, 0.0, -2.0].map(|effect| canned::outcome("gate", &[effect]));
        let mut rows: Vec<Row> = (0..38)
            .map(|at| {
                let name = format!("gate-{at}");
                Row::of(&outcomes[at % 3], &name, false, "hot")
            })
            .collect();
        rows.push(Row::of(&canned::outcome("same", &[]), "same", false, "cold"));
        let why = "it does not compile: expected `;`, found `<`".to_owned();
        rows.push(Row::failed("broken", false, "layer", "hot", why));
        rows.push(Row::of(&canned::outcome("all-gates", &[12.0]), "all gates", true, ""));
        let outcome = canned::outcome("x", &[]);
        Campaign {
            schema: SCHEMA,
            date: outcome.date(),
            machine: outcome.machine,
            fingerprint: "0".to_owned(),
            rows,
            left_out: vec![LeftOut { name: "ring".into(), why: "conflicts with `slots`".into() }],
            unfinished: vec!["late".to_owned()],
            seconds: 1.0,
        }
    }

    #[test]
    fn every_experiment_has_its_line_everywhere() {
        let campaign = sample();
        let (text, markdown) = (campaign.text(), campaign.markdown().unwrap());
        let page = campaign.page().unwrap();
        for row in &campaign.rows {
            assert!(text.contains(&row.name), "{}", row.name);
            assert!(markdown.contains(&format!("| `{}` |", row.name)), "{}", row.name);
            assert!(page.contains(&format!("<code>{}</code></td>", row.name)), "{}", row.name);
        }
        for wanted in [
            "FAILED",
            "NEUTRAL (same code)",
            "late",
            "ring",
            "measured as one difference and not added up",
        ] {
            assert!(text.contains(wanted) && markdown.contains(wanted), "{wanted}");
            assert!(page.contains(wanted), "{wanted}");
        }
        assert!(
            markdown.contains("41 experiments: 14 GO, 12 NO-GO, 14 NEUTRAL, 1 FAILED."),
            "{markdown}"
        );
        assert!(page.contains("found <code>&lt;</code>"), "an error is no markup");
        assert!(!campaign.sound());
    }

    #[test]
    fn its_json_comes_back() {
        let text = sample().json().unwrap();
        let read: Campaign = serde_json::from_str(&text).unwrap();
        assert!(read.json().unwrap() == text);
        assert_eq!(read.rows.iter().filter(|row| row.together).count(), 1);
    }
}
