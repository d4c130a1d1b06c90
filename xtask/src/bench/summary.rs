//! Geometric means, each with the rows that it covers: of the ratios to the best peer of every row,
//! and against the one peer that is strongest over all of them.

use serde::Serialize;

use super::peers;
use super::results::{ALPHA, Metric, Results, Row, geometric_mean};
use super::task::Group;
use xtask_stats::{Interval, resample};

/// One mean.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What was measured.
    pub what: &'static str,
    /// The rows, in words.
    pub rows: String,
    /// Their names.
    pub covers: Vec<String>,
    /// The peers that could be best, in words.
    pub among: &'static str,
    /// The geometric mean of each allocator's ratio to the best of those peers, in the order of the
    /// results; nothing where a row has no figure.
    pub means: Vec<Option<f64>>,
    /// The interval around ours.
    pub interval: Option<Interval>,
    /// The peer with the least mean.
    pub strongest: Option<Strongest>,
}

/// The comparison with one peer over all rows.
#[derive(Clone, Debug, Serialize)]
pub struct Strongest {
    /// Its name.
    pub name: String,
    /// The geometric mean of our ratio to it.
    pub ratio: f64,
    /// The interval around it.
    pub interval: Option<Interval>,
}

/// Which rows a mean is over, and by which of their figures.
struct Scope {
    what: &'static str,
    rows: &'static str,
    groups: &'static [Group],
    metric: fn(&Row) -> Metric,
}

const SCOPES: &[Scope] = &[
    Scope { what: "time", rows: SPEC, groups: &[Group::Spec], metric: |_| Metric::Time },
    Scope { what: "time", rows: EXTRA, groups: ALL, metric: |_| Metric::Time },
    Scope { what: "time", rows: THREADS, groups: &[Group::Threads], metric: |_| Metric::Time },
    Scope { what: "time", rows: PROGRAMS, groups: &[Group::Programs], metric: |_| Metric::Time },
    Scope {
        what: "processor time",
        rows: PROGRAMS,
        groups: &[Group::Programs],
        metric: |_| Metric::Processor,
    },
    Scope { what: "time", rows: APPS, groups: &[Group::Apps], metric: |_| Metric::Time },
    Scope { what: "final memory", rows: SPEC, groups: &[Group::Spec], metric: |_| Metric::Final },
    Scope { what: "final memory", rows: EXTRA, groups: ALL, metric: |_| Metric::Final },
    Scope { what: "peak memory", rows: SPEC, groups: &[Group::Spec], metric: |_| Metric::Peak },
    Scope { what: "peak memory", rows: EXTRA, groups: ALL, metric: |_| Metric::Peak },
    Scope {
        what: "peak memory",
        rows: PROGRAMS,
        groups: &[Group::Programs],
        metric: |_| Metric::Peak,
    },
    Scope { what: "peak memory", rows: APPS, groups: &[Group::Apps], metric: |_| Metric::Peak },
    Scope { what: RESIDENT, rows: BOTH, groups: &[Group::Spec, Group::Programs], metric: resident },
];

const ALL: &[Group] = &[Group::Spec, Group::Extra, Group::Memory];
const SPEC: &str = "scenarios of the spec";
const EXTRA: &str = "all scenarios";
const THREADS: &str = "scenarios on several threads";
const PROGRAMS: &str = "real programs";
const APPS: &str = "Rust programs";
const BOTH: &str = "scenarios of the spec (final) and real programs (peak)";
/// Memory of scenarios and programs together.
pub const RESIDENT: &str = "resident memory";

/// What is known of a row's memory: a program's is gone at its end.
fn resident(row: &Row) -> Metric {
    if row.covers(Metric::Final) { Metric::Final } else { Metric::Peak }
}

/// Every mean that the results can fill.
pub fn lines(results: &Results) -> Vec<Line> {
    let everyone: Vec<usize> = (1..results.allocators.len()).collect();
    let mut lines: Vec<Line> = Vec::new();
    for scope in SCOPES {
        let rows: Vec<&Row> = results
            .rows
            .iter()
            .filter(|row| scope.groups.contains(&row.task.group) && row.covers((scope.metric)(row)))
            .collect();
        let covers: Vec<String> = rows.iter().map(|row| row.task.name.clone()).collect();
        // One row has no mean, and rows that another line has just covered need no second one; the
        // line over two groups needs both.
        let repeats = lines.iter().any(|line| line.what == scope.what && line.covers == covers);
        let halved = scope.groups.len() == 2
            && !scope.groups.iter().all(|group| rows.iter().any(|row| row.task.group == *group));
        if rows.len() < 2 || repeats || halved {
            continue;
        }
        lines.push(line(results, scope, &rows, covers.clone(), "all peers", &everyone));
        if has_every_peer(results) && !results.circumstances.linked {
            let fewer: Vec<usize> = everyone
                .iter()
                .copied()
                .filter(|at| results.allocators[*at].name != "mimalloc2")
                .collect();
            lines.push(line(results, scope, &rows, covers, "without mimalloc2", &fewer));
        }
    }
    lines
}

/// The mean over all scenarios of the spec, if all were measured, among all peers.
pub fn find<'lines>(lines: &'lines [Line], what: &str, rows: &str) -> Option<&'lines Line> {
    let found = |line: &&Line| {
        line.what == what && line.rows.starts_with(rows) && line.among == "all peers"
    };
    lines.iter().find(found)
}

fn has_every_peer(results: &Results) -> bool {
    let ran = |name: &str| results.allocators.iter().any(|allocator| allocator.name == name);
    peers::names().into_iter().all(ran)
}

fn line(
    results: &Results,
    scope: &Scope,
    rows: &[&Row],
    covers: Vec<String>,
    among: &'static str,
    peers: &[usize],
) -> Line {
    let mean = |allocator: usize, best: &dyn Fn(&Row) -> Option<usize>| {
        let ratios: Option<Vec<f64>> = rows
            .iter()
            .map(|row| row.ratio_to((scope.metric)(row), allocator, best(row)?))
            .collect();
        geometric_mean(&ratios?)
    };
    let interval = |best: &dyn Fn(&Row) -> Option<usize>| {
        let ratios: Option<Vec<Vec<f64>>> =
            rows.iter().map(|row| Some(row.ratios((scope.metric)(row), 0, best(row)?))).collect();
        resample::interval(&ratios?, ALPHA)
    };
    let best = |row: &Row| row.best_of((scope.metric)(row), peers);
    let means: Vec<_> = (0..results.allocators.len()).map(|at| mean(at, &best)).collect();
    let strongest = peers
        .iter()
        .filter_map(|&at| Some((means[at]?, at)))
        .min_by(|one, other| one.0.total_cmp(&other.0))
        .and_then(|(_, at)| {
            Some(Strongest {
                name: results.allocators[at].name.clone(),
                ratio: mean(0, &|_| Some(at))?,
                interval: interval(&|_| Some(at)),
            })
        });
    let total = results.circumstances.spec_rows;
    let of_spec = rows.iter().filter(|row| row.task.group == Group::Spec).count();
    let partial = scope.groups.contains(&Group::Spec) && of_spec < total;
    let rows_told = match scope.rows {
        SPEC if partial => format!("{of_spec} of the {total} {SPEC}"),
        rows if partial => format!("some of {rows} ({})", covers.len()),
        rows => format!("{rows} ({})", covers.len()),
    };
    Line {
        what: scope.what,
        rows: rows_told,
        covers,
        among,
        means,
        interval: interval(&best),
        strongest,
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::with;
    use super::*;

    #[test]
    fn every_mean_says_which_rows_it_covers() {
        let mut results = with("other", Group::Spec);
        results.circumstances.spec_rows = 2;
        let extra = with("realloc-grow", Group::Extra).rows.remove(1);
        results.rows.push(extra);
        let lines = lines(&results);
        let time: Vec<_> = lines.iter().filter(|line| line.what == "time").collect();
        assert_eq!(time.len(), 2);
        assert_eq!(time[0].rows, "scenarios of the spec (2)");
        assert_eq!(time[0].covers, ["pair", "other"]);
        assert_eq!(time[1].rows, "all scenarios (3)");
        assert!((time[0].means[0].unwrap() - 0.8).abs() < 1e-12);
        assert!(time[0].interval.unwrap().holds(time[0].means[0].unwrap()));
        let strongest = time[0].strongest.as_ref().unwrap();
        assert_eq!(strongest.name, "quick");
        assert!((strongest.ratio - 0.8).abs() < 1e-12);
        assert!(find(&lines, "time", SPEC).is_some());
    }

    #[test]
    fn a_part_of_the_spec_is_called_a_part() {
        let mut results = with("other", Group::Spec);
        results.circumstances.spec_rows = 14;
        let lines = lines(&results);
        assert_eq!(lines[0].rows, "2 of the 14 scenarios of the spec");
        assert!(find(&lines, "time", SPEC).is_none());
    }

    #[test]
    fn memory_of_scenarios_and_programs_is_taken_together() {
        let results = with("python", Group::Programs);
        let lines = lines(&results);
        let both = lines.iter().find(|line| line.what == RESIDENT).unwrap();
        assert_eq!(both.covers, ["pair", "python"]);
        // Final against the leanest, and peak against the leanest: twice as much each.
        assert!((both.means[0].unwrap() - 2.0).abs() < 1e-12);
    }

    #[test]
    fn with_every_peer_there_is_a_mean_without_the_second_mimalloc() {
        let mut results = with("other", Group::Spec);
        let cell = results.rows[0].cells[1].clone();
        results.allocators.truncate(1);
        for row in &mut results.rows {
            row.cells.truncate(1);
        }
        for name in peers::names() {
            let version = "1".to_owned();
            let (name, library, program) = (name.to_owned(), None, None);
            results.allocators.push(peers::Allocator { name, version, library, program });
            for row in &mut results.rows {
                row.cells.push(cell.clone());
            }
        }
        let among: Vec<_> = lines(&results).iter().map(|line| line.among).collect();
        assert_eq!(among[..2], ["all peers", "without mimalloc2"]);
        results.circumstances.linked = true;
        assert!(lines(&results).iter().all(|line| line.among == "all peers"));
    }

    #[test]
    fn a_missing_figure_leaves_no_mean() {
        let mut results = with("other", Group::Spec);
        results.rows[0].cells[0].samples.clear();
        let lines = lines(&results);
        assert_eq!(lines[0].means[0], None);
        assert!(lines[0].interval.is_none());
    }
}
