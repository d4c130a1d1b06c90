//! What this allocator aims at, beside what was measured. An aim whose rows were not run is not
//! listed; one whose interval holds its limit is called open.

use serde::Serialize;

use super::results::{Metric, Results, Row};
use super::summary::{self, RESIDENT};
use super::task::Group;
use xtask_stats::{Interval, resample};

/// One aim and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Aim {
    /// What is limited.
    pub what: String,
    /// The most it may be.
    pub limit: f64,
    /// What was measured.
    pub measured: f64,
    /// The interval around it.
    pub interval: Option<Interval>,
    /// The unit; empty for a ratio.
    pub unit: &'static str,
}

impl Aim {
    /// Whether the figure itself is within the limit.
    pub fn met(&self) -> bool {
        self.measured <= self.limit
    }

    /// `met`, `missed`, or `open` where the interval holds the limit.
    pub fn call(&self) -> &'static str {
        let open = self.interval.is_some_and(|at| at.low <= self.limit && self.limit < at.high);
        match self.met() {
            _ if open => "open",
            true => "met",
            false => "missed",
        }
    }
}

/// Rows and the most that their time may be, against the best peer of the row.
const ROWS: &[(&str, f64)] = &[
    ("tiny-hot", 0.80),
    ("pair-hot", 0.80),
    ("random-mixed-400", 0.80),
    ("random-mixed-50000", 0.65),
    ("mir", 0.60),
    ("mixed", 0.40),
    ("remote", 0.50),
    ("thread-churn", 0.75),
    ("larson-2", 0.95),
    ("larson-8", 0.95),
    ("realloc-grow", 1.00),
];

/// The aims that the results have figures for.
pub fn judge(results: &Results) -> Vec<Aim> {
    let lines = summary::lines(results);
    let mut aims = Vec::new();
    if results.circumstances.linked {
        aims.extend(mean(&lines, "time", "Rust programs", 0.85, true));
        return aims;
    }
    aims.extend(mean(&lines, "time", "scenarios of the spec", 0.65, false));
    aims.extend(worst(results));
    aims.extend(ROWS.iter().filter_map(|(name, limit)| row(results, name, Metric::Time, *limit)));
    aims.extend(mean(&lines, "time", "real programs", 0.95, false));
    aims.extend(mean(&lines, RESIDENT, "scenarios of the spec", 1.05, false));
    aims.extend(row(results, "shrink", Metric::Final, 0.65));
    aims.extend(idle(results));
    aims.extend(start(results));
    aims.extend(misses(results));
    aims
}

fn mean(
    lines: &[summary::Line],
    what: &str,
    rows: &str,
    limit: f64,
    strongest: bool,
) -> Option<Aim> {
    let line = summary::find(lines, what, rows)?;
    let (measured, interval, told) = if strongest {
        let peer = line.strongest.as_ref()?;
        (peer.ratio, peer.interval, format!("{what}, {}, against {}", line.rows, peer.name))
    } else {
        (line.means[0]?, line.interval, format!("{what}, {}, geometric mean", line.rows))
    };
    Some(Aim { what: told, limit, measured, interval, unit: "" })
}

fn named<'results>(results: &'results Results, name: &str) -> Option<&'results Row> {
    results.rows.iter().find(|row| row.task.name == name)
}

fn row(results: &Results, name: &str, metric: Metric, limit: f64) -> Option<Aim> {
    let row = named(results, name)?;
    Some(Aim {
        what: format!("{}, {name}", metric.name()),
        limit,
        measured: row.ratio(metric, 0)?,
        interval: row.interval(metric, 0),
        unit: "",
    })
}

/// The scenario of the spec in which we do worst.
fn worst(results: &Results) -> Option<Aim> {
    let rows = results.rows.iter().filter(|row| row.task.group == Group::Spec);
    let timed: Vec<_> = rows.filter_map(|row| Some((row.ratio(Metric::Time, 0)?, row))).collect();
    let (_, row) = timed.iter().max_by(|one, other| one.0.total_cmp(&other.0))?;
    if timed.len() < results.circumstances.spec_rows {
        return None;
    }
    let mut aim = self::row(results, &row.task.name, Metric::Time, 0.95)?;
    aim.what = format!("time, the worst of the scenarios of the spec: {}", row.task.name);
    Some(aim)
}

/// What a process still has beyond a tenth more than it holds.
fn idle(results: &Results) -> Option<Aim> {
    let samples = &named(results, "idle")?.cells[0].samples;
    let live = samples.first()?.live_kib? as f64 / 1024.0;
    let beyond: Option<Vec<f64>> = samples
        .iter()
        .map(|sample| Some((sample.rss_kib as f64 - 1.1 * sample.live_kib? as f64) / 1024.0))
        .collect();
    Some(Aim {
        what: format!("idle for 2 s: memory above the {live:.1} MiB that are live, and a tenth"),
        limit: 2.0,
        measured: super::results::median(beyond?)?,
        interval: None,
        unit: "MiB",
    })
}

/// Starting up, against the C library's own heap.
fn start(results: &Results) -> Vec<Aim> {
    let (Some(row), Some(system)) = (
        results.rows.iter().find(|row| row.task.group == Group::Start),
        results.allocators.iter().position(|allocator| allocator.name == "glibc"),
    ) else {
        return Vec::new();
    };
    let more = |metric, what: &str, limit, unit| {
        let (ours, theirs) = (row.values(metric, 0), row.values(metric, system));
        let gaps: Vec<f64> = ours.iter().zip(&theirs).map(|(one, other)| one - other).collect();
        // The bootstrap is of ratios; the exponential of a gap is one.
        let scale = gaps.iter().fold(1.0f64, |most, gap| most.max(gap.abs()));
        let ratios = gaps.iter().map(|gap| (gap / scale).exp()).collect();
        let interval = resample::interval(&[ratios], super::results::ALPHA);
        Some(Aim {
            what: what.to_owned(),
            limit,
            measured: super::results::median(gaps)?,
            interval: interval
                .map(|at| Interval { low: at.low.ln() * scale, high: at.high.ln() * scale }),
            unit,
        })
    };
    let time = more(Metric::Time, "start-up: time above glibc's", 100.0, "\u{b5}s");
    let memory = more(Metric::Final, "start-up: memory above glibc's", 0.5, "MiB");
    time.into_iter().chain(memory).collect()
}

/// Misses of the first-level cache, against the C library's own heap.
fn misses(results: &Results) -> Option<Aim> {
    let row = named(results, "random-mixed-400")?;
    let system = results.allocators.iter().position(|allocator| allocator.name == "glibc")?;
    Some(Aim {
        what: "L1 data misses, random-mixed-400, against glibc".into(),
        limit: 1.0,
        measured: row.ratio_to(Metric::Misses, 0, system)?,
        interval: None,
        unit: "",
    })
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::{sample, with};
    use super::*;

    #[test]
    fn aims_are_listed_where_their_rows_ran() {
        let aims = judge(&sample());
        assert_eq!(aims.len(), 1, "{aims:?}");
        assert!(aims[0].what.ends_with("worst of the scenarios of the spec: pair"));
        assert_eq!(aims[0].call(), "met");
        let mixed = judge(&with("mixed", Group::Spec));
        let aim = mixed.iter().find(|aim| aim.what == "time, mixed").unwrap();
        assert_eq!((aim.call(), aim.limit), ("missed", 0.40));
    }

    #[test]
    fn a_limit_inside_the_interval_is_open() {
        let aim = Aim {
            what: String::new(),
            limit: 0.8,
            measured: 0.79,
            interval: Some(Interval { low: 0.75, high: 0.82 }),
            unit: "",
        };
        assert_eq!(aim.call(), "open");
        assert_eq!(Aim { interval: None, ..aim }.call(), "met");
    }

    #[test]
    fn idle_memory_is_held_against_what_is_live() {
        let mut results = with("idle", Group::Memory);
        for sample in &mut results.rows[1].cells[0].samples {
            (sample.rss_kib, sample.live_kib) = (14 * 1024, Some(10 * 1024));
        }
        let aims = judge(&results);
        let idle = aims.iter().find(|aim| aim.what.starts_with("idle")).unwrap();
        assert!((idle.measured - 3.0).abs() < 1e-9 && idle.call() == "missed", "{idle:?}");
    }

    #[test]
    fn start_up_is_a_difference_to_the_system() {
        let mut results = with("start-up", Group::Start);
        results.allocators[1].name = "glibc".into();
        let aims = judge(&results);
        let time = aims.iter().find(|aim| aim.what.contains("time above")).unwrap();
        // 800 against 2000, a hundred processes a run, in the third of five repetitions.
        assert!((time.measured + 36.0).abs() < 1e-9 && time.unit == "\u{b5}s", "{time:?}");
        assert!(time.interval.unwrap().holds(-36.0));
        let memory = aims.iter().find(|aim| aim.what.contains("memory above")).unwrap();
        assert_eq!((memory.measured, memory.call()), (2.0, "missed"));
    }
}
