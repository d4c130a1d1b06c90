//! Sites by scenarios, as a table and as JSON.

use super::hits::{Hits, Row};
use super::sites::Site;
use crate::ab::count::Counter;
use crate::ab::question::Question;
use crate::real::table;
use serde::Serialize;
use std::fmt::Write;

/// Sites that the table has room for.
const COLUMNS: usize = 8;

/// Silent sites that are named.
const NAMED: usize = 5;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this form.
    pub schema: u32,
    /// The gate.
    pub gate: String,
    /// What it is, in a sentence.
    pub about: String,
    /// What counted.
    pub counter: Counter,
    /// Whether the gate's own code ran in an operation of any scenario.
    pub runs: bool,
    /// Evidence that this machine could not give.
    pub missing: Vec<String>,
    /// The places, the gate's own first.
    pub sites: Vec<Site>,
    /// The scenarios, each with the hits of every site.
    pub scenarios: Vec<Row>,
}

impl Report {
    /// Puts the findings together.
    pub fn new(question: &Question, counter: Counter, sites: Vec<Site>, rows: Vec<Row>) -> Report {
        let mut missing = Vec::new();
        if counter != Counter::Callgrind {
            missing.push(
                "long runs: valgrind is not installed (apt-get install valgrind), so breakpoints counted, in at most \
                 3,000 operations; what happens more rarely than that is not seen, and threads give lower bounds"
                    .to_owned(),
            );
        }
        Report::of(question.name(), question.about(), counter, missing, sites, rows)
    }

    fn of(
        gate: String,
        about: String,
        counter: Counter,
        missing: Vec<String>,
        mut sites: Vec<Site>,
        mut rows: Vec<Row>,
    ) -> Report {
        // The busiest first, and what is the gate's own before what is not.
        let mut order: Vec<usize> = (0..sites.len()).collect();
        let total = |at: usize| {
            rows.iter()
                .filter_map(|row| row.hits.get(at))
                .map(|hits| hits.per_operation)
                .sum::<f64>()
        };
        order.sort_by(|a, b| {
            sites[*b].own.cmp(&sites[*a].own).then(total(*b).total_cmp(&total(*a)))
        });
        sites = order.iter().map(|at| sites[*at].clone()).collect();
        for row in &mut rows {
            if !row.hits.is_empty() {
                row.hits = order.iter().map(|at| row.hits[*at]).collect();
            }
        }
        let own = |row: &Row| {
            row.hits.iter().zip(&sites).any(|(hits, site)| site.own && hits.per_operation > 0.0)
        };
        let runs = rows.iter().any(own);
        Report { schema: 1, gate, about, counter, runs, missing, sites, scenarios: rows }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!("{}: {}\n", self.gate, self.about);
        let own = self.sites.iter().filter(|site| site.own).count();
        let shown = own.min(COLUMNS);
        // Nothing here can fail: it is written to a string.
        if own > 0 {
            let _ = writeln!(text, "\nsites, by the place in src/:");
        }
        for (at, site) in self.sites.iter().take(shown).enumerate() {
            let _ = writeln!(
                text,
                "  S{} {} ({} instructions in {} functions)",
                at + 1,
                site.source,
                site.instructions,
                site.functions.len()
            );
        }
        if own > shown {
            let _ =
                writeln!(text, "  and {} more that run more rarely: --json has them", own - shown);
        }
        let moved = self.sites.len() - own;
        if moved > 0 {
            let _ = writeln!(
                text,
                "  (at {moved} places beside them the compiler has arranged other code in another way; --json has them)"
            );
        }
        if shown > 0 {
            let _ = writeln!(
                text,
                "\nhits per operation, by {}:\n{}",
                self.counter.name(),
                self.table(shown)
            );
        }
        for row in &self.scenarios {
            if let Some(why) = &row.failed {
                let _ = writeln!(text, "not counted: {}: {why}", row.scenario);
            }
        }
        for missing in &self.missing {
            let _ = writeln!(text, "missing: {missing}");
        }
        let _ = writeln!(text, "\n{}", self.conclusion(own));
        text
    }

    fn table(&self, shown: usize) -> comfy_table::Table {
        let mut table = table();
        let mut head = vec!["scenario".to_owned()];
        head.extend((1..=shown).map(|at| format!("S{at}")));
        head.push("one operation".to_owned());
        table.set_header(head);
        for row in self.scenarios.iter().filter(|row| row.failed.is_none()) {
            let mut cells = vec![row.scenario.clone()];
            cells.extend(row.hits.iter().take(shown).map(|hits| {
                match (row.at_least, hits.total) {
                    (true, 0) => "unseen".to_owned(),
                    (true, _) => format!(">={}", figure(*hits)),
                    (false, _) => figure(*hits),
                }
            }));
            cells.push(row.unit.clone());
            table.add_row(cells);
        }
        for column in table.column_iter_mut().skip(1).take(shown) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
        table
    }

    fn conclusion(&self, own: usize) -> String {
        let counted = self.scenarios.iter().filter(|row| row.failed.is_none()).count();
        let gate = &self.gate;
        if own == 0 {
            return format!(
                "NEVER RUNS: {gate} puts no instruction of its own into the program of the scenarios; no verdict about it could mean anything"
            );
        }
        if !self.runs {
            let started = self
                .scenarios
                .iter()
                .flat_map(|row| row.hits.iter().take(own))
                .any(|hits| hits.total > 0);
            let start = if started { " (it does while one sets itself up)" } else { "" };
            let beside = self.scenarios.iter().flat_map(|row| row.hits.iter().skip(own));
            let beside = if beside.into_iter().any(|hits| hits.per_operation > 0.0) {
                "; what runs differs only in what the compiler has arranged in another way"
            } else {
                ""
            };
            return format!(
                "NEVER RUNS: no operation of the {counted} scenarios counted reaches {gate}{start}{beside}; a measurement of it would measure nothing of it"
            );
        }
        let reach = |row: &&Row| row.hits.iter().take(own).any(|hits| hits.per_operation > 0.0);
        let reached = self.scenarios.iter().filter(reach).count();
        let silent: Vec<String> = (0..own)
            .filter(|at| {
                self.scenarios
                    .iter()
                    .all(|row| row.hits.get(*at).is_none_or(|hits| hits.per_operation == 0.0))
            })
            .map(|at| self.sites[at].source.clone())
            .collect();
        let more = if silent.len() > NAMED { ", ..." } else { "" };
        let silent = match silent.len() {
            0 => String::new(),
            count => format!(
                "; {count} of its {own} sites never do: {}{more}",
                silent[..count.min(NAMED)].join(", ")
            ),
        };
        format!("{gate} runs in {reached} of the {counted} scenarios counted{silent}")
    }
}

/// A figure of three digits; `start` where only start-up came by.
fn figure(hits: Hits) -> String {
    match hits.per_operation {
        _ if hits.total == 0 => "never".to_owned(),
        0.0 => "start".to_owned(),
        it if it >= 100.0 => format!("{it:.0}"),
        it if it >= 10.0 => format!("{it:.1}"),
        it if it >= 0.01 => format!("{it:.2}"),
        it => format!("{it:.0e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn site(source: &str, own: bool) -> Site {
        Site {
            source: source.to_owned(),
            own,
            functions: BTreeSet::from(["malloc".to_owned()]),
            instructions: 2,
            copies: BTreeMap::new(),
        }
    }

    fn row(name: &str, hits: &[(f64, u64)]) -> Row {
        Row {
            scenario: name.to_owned(),
            unit: "one block".to_owned(),
            operations: 30,
            at_least: false,
            hits: hits
                .iter()
                .map(|(per_operation, total)| Hits { per_operation: *per_operation, total: *total })
                .collect(),
            failed: None,
        }
    }

    fn report(sites: Vec<Site>, rows: Vec<Row>) -> Report {
        Report::of(
            "gate".to_owned(),
            "counts".to_owned(),
            Counter::Callgrind,
            Vec::new(),
            sites,
            rows,
        )
    }

    #[test]
    fn the_busiest_site_comes_first_and_others_code_last() {
        let sites = vec![site("rare", true), site("other", false), site("busy", true)];
        let report = report(sites, vec![row("one", &[(0.01, 1), (9.0, 90), (1.0, 10)])]);
        let names: Vec<&str> = report.sites.iter().map(|site| site.source.as_str()).collect();
        assert_eq!(names, ["busy", "rare", "other"]);
        assert_eq!(report.scenarios[0].hits[0].total, 10);
        let text = report.text();
        assert!(
            text.contains("S1 busy") && !text.contains("S3") && text.contains("at 1 places beside"),
            "{text}"
        );
        assert!(text.contains("gate runs in 1 of the 1 scenarios counted"), "{text}");
    }

    #[test]
    fn what_never_runs_is_said_loudly() {
        let sites = vec![site("a", true)];
        let never = report(sites.clone(), vec![row("one", &[(0.0, 0)])]);
        assert!(
            !never.runs && never.text().contains("NEVER RUNS: no operation of the 1"),
            "{}",
            never.text()
        );
        let start = report(sites, vec![row("one", &[(0.0, 3)])]);
        assert!(!start.runs && start.text().contains("(it does while one sets itself up)"));
        assert!(start.text().contains("start"));
        // What runs beside it is not the gate.
        let beside = report(vec![site("b", false)], vec![row("one", &[(5.0, 50)])]);
        assert!(
            !beside.runs && beside.text().contains("no instruction of its own"),
            "{}",
            beside.text()
        );
    }

    #[test]
    fn a_silent_site_and_a_failed_scenario_are_named() {
        let sites = vec![site("a", true), site("b", true)];
        let mut failed = row("two", &[]);
        failed.failed = Some("it crashed".to_owned());
        let mut bounds = row("three", &[(2.0, 9), (0.0, 0)]);
        bounds.at_least = true;
        let text = report(sites, vec![row("one", &[(1.0, 9), (0.0, 0)]), failed, bounds]).text();
        assert!(
            text.contains("runs in 2 of the 2 scenarios counted; 1 of its 2 sites never do: b"),
            "{text}"
        );
        assert!(text.contains("not counted: two: it crashed"), "{text}");
        assert!(text.contains(">=2.00") && text.contains("unseen"), "{text}");
    }

    #[test]
    fn figures_are_short() {
        let figure = |per_operation, total| super::figure(Hits { per_operation, total });
        assert_eq!(figure(0.0, 0), "never");
        assert_eq!(figure(0.0, 4), "start");
        assert_eq!(figure(1.0, 4), "1.00");
        assert_eq!(figure(0.0004, 4), "4e-4");
        assert_eq!(figure(12.34, 4), "12.3");
        assert_eq!(figure(1234.5, 4), "1234");
    }
}
