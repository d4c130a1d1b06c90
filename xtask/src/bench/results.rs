//! What a run of the benchmark measured, and the figures derived from it.
//!
//! Ratios are taken within a repetition, where both allocators ran a moment apart, and the median
//! of them is reported, with a bootstrap interval over the repetitions: absolute times drift from
//! hour to hour, ratios hardly do.

use serde::Serialize;

use super::peers::{Allocator, Missing};
use super::process::Sample;
use super::spread::{self, Modes};
use super::task::{FAMILIES, Family, Group, Task};
use xtask_stats::{Interval, resample};

/// What a table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Time an operation: processor time of single-threaded rows, wall time of others.
    Time,
    /// Processor time of threaded rows: unlike their wall time it bears a busy machine.
    Processor,
    /// Instructions an operation.
    Instructions,
    /// Misses of the first-level data cache an operation, simulated.
    Misses,
    /// Locked instructions of the allocator a thousand operations.
    Locked,
    /// Page faults a thousand operations.
    Faults,
    /// Resident memory after the work.
    Final,
    /// Highest resident memory.
    Peak,
}

/// Every metric, in the order of the tables.
pub const METRICS: [Metric; 8] = [
    Metric::Time,
    Metric::Processor,
    Metric::Instructions,
    Metric::Misses,
    Metric::Locked,
    Metric::Faults,
    Metric::Final,
    Metric::Peak,
];

impl Metric {
    /// Whether ratios to the best say something: not where the best is often zero.
    pub fn comparable(self) -> bool {
        !matches!(self, Metric::Faults | Metric::Locked)
    }

    /// Whether it is counted once instead of sampled in every repetition.
    pub fn counted(self) -> bool {
        matches!(self, Metric::Instructions | Metric::Misses | Metric::Locked)
    }

    /// A short name.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Time => "time",
            Metric::Processor => "processor time",
            Metric::Instructions => "instructions",
            Metric::Misses => "L1 data misses",
            Metric::Locked => "locked instructions",
            Metric::Faults => "page faults",
            Metric::Final => "final memory",
            Metric::Peak => "peak memory",
        }
    }

    /// The title of its table in a family.
    pub fn title(self, family: Family) -> String {
        let (whose, unit) = match family {
            Family::Scenarios => ("", "ns per operation"),
            Family::Programs => ("Real programs: ", "ms"),
            Family::Apps => ("Rust programs: ", "ms"),
            Family::Start => ("Start-up: ", "\u{b5}s per process"),
        };
        let text = match self {
            Metric::Time => format!("{whose}time, {unit}"),
            Metric::Processor => {
                format!("{whose}processor time of all threads, {unit}")
            }
            Metric::Final => format!("{whose}final resident memory, MiB"),
            Metric::Peak => format!("{whose}peak resident memory, MiB"),
            Metric::Instructions => format!("{whose}instructions per operation"),
            Metric::Misses => format!("{whose}L1 data misses per operation, simulated"),
            Metric::Locked => format!("{whose}locked instructions per 1,000 operations"),
            Metric::Faults => format!("{whose}page faults per 1,000 operations"),
        };
        if whose.is_empty() { text[..1].to_uppercase() + &text[1..] } else { text }
    }
}

/// One allocator on one row.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cell {
    /// One sample a repetition, in order.
    pub samples: Vec<Sample>,
    /// Instructions of one operation, counted by valgrind.
    pub instructions: Option<f64>,
    /// Misses of the simulated first-level data cache of one operation.
    pub misses: Option<f64>,
    /// Locked instructions of the allocator in 1,000 operations, counted by valgrind.
    pub locked: Option<f64>,
    /// Why there is no figure.
    pub failure: Option<String>,
}

/// One row on all allocators, in the order of [`Results::allocators`].
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was run.
    pub task: Task,
    /// Its cells.
    pub cells: Vec<Cell>,
}

/// Where and how the figures came about.
#[derive(Clone, Debug, Serialize)]
pub struct Circumstances {
    /// The commit that was measured, with `+` if files were changed since.
    pub commit: String,
    /// The day it was measured, in UTC.
    pub date: String,
    /// The processor's name.
    pub processor: String,
    /// How many processors there are.
    pub processors: usize,
    /// The kernel.
    pub kernel: String,
    /// Repetitions.
    pub runs: usize,
    /// Whether it was the short form.
    pub quick: bool,
    /// Whether the allocators were compiled in instead of preloaded.
    pub linked: bool,
    /// How many scenarios of the spec there are, measured or not.
    pub spec_rows: usize,
    /// Features of the library that were on.
    pub features: Vec<String>,
    /// Variables that set up the library.
    pub settings: Vec<String>,
    /// Load average over the last minute, before and after.
    pub load: (f64, f64),
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// The form of the JSON.
    pub schema: u32,
    /// Where and how.
    pub circumstances: Circumstances,
    /// Who took part; ours is the first.
    pub allocators: Vec<Allocator>,
    /// What could not: allocators and programs.
    pub missing: Vec<Missing>,
    /// The rows, in the order of the tables.
    pub rows: Vec<Row>,
}

/// The form of the JSON that this program writes.
pub const SCHEMA: u32 = 2;

/// The error probability of every interval.
pub const ALPHA: f64 = 0.1;

impl Row {
    fn value(&self, metric: Metric, sample: &Sample) -> f64 {
        let per_op = |value: u64, unit: f64| value as f64 / sample.ops as f64 / unit;
        let unit = match self.task.family() {
            Family::Scenarios => 1.0,
            Family::Programs | Family::Apps => 1e6,
            Family::Start => 1e3,
        };
        match metric {
            Metric::Time if self.wall() => per_op(sample.ns, unit),
            Metric::Time | Metric::Processor => per_op(sample.cpu_ns, unit),
            Metric::Final => sample.rss_kib as f64 / 1024.0,
            Metric::Peak => sample.peak_kib as f64 / 1024.0,
            Metric::Faults => per_op(sample.faults, 1e-3),
            Metric::Instructions | Metric::Misses | Metric::Locked => {
                unreachable!("counts are not sampled")
            }
        }
    }

    /// Whether its time is what a clock on the wall shows.
    fn wall(&self) -> bool {
        self.task.threaded || self.task.group == Group::Start
    }

    /// Whether the row has anything to say about a metric.
    pub fn covers(&self, metric: Metric) -> bool {
        let family = self.task.family();
        match metric {
            Metric::Time => self.task.group != Group::Memory,
            Metric::Processor => self.task.threaded,
            Metric::Final => matches!(family, Family::Scenarios | Family::Start),
            Metric::Peak => family != Family::Start,
            // Rows in which someone takes memory from the system all the time.
            Metric::Faults => {
                let seen = (0..self.cells.len()).filter_map(|at| self.median(metric, at));
                family == Family::Scenarios
                    && self.task.group != Group::Memory
                    && seen.fold(0.0, f64::max) >= 1.0
            }
            Metric::Instructions | Metric::Misses | Metric::Locked => {
                (0..self.cells.len()).any(|at| self.median(metric, at).is_some())
            }
        }
    }

    /// An allocator's figure in each repetition; none for what is counted.
    pub fn values(&self, metric: Metric, allocator: usize) -> Vec<f64> {
        if metric.counted() {
            return Vec::new();
        }
        let samples = self.cells[allocator].samples.iter();
        samples.map(|sample| self.value(metric, sample)).collect()
    }

    /// The middle of an allocator's samples.
    pub fn median(&self, metric: Metric, allocator: usize) -> Option<f64> {
        match metric {
            Metric::Instructions => self.cells[allocator].instructions,
            Metric::Misses => self.cells[allocator].misses,
            Metric::Locked => self.cells[allocator].locked,
            _ => median(self.values(metric, allocator)),
        }
    }

    /// Everything but the first allocator.
    pub fn others(&self) -> Vec<usize> {
        (1..self.cells.len()).collect()
    }

    /// The best of all the others.
    pub fn best(&self, metric: Metric) -> Option<usize> {
        self.best_of(metric, &self.others())
    }

    /// The best of some allocators.
    pub fn best_of(&self, metric: Metric, peers: &[usize]) -> Option<usize> {
        let medians = peers.iter().filter_map(|&at| Some((self.median(metric, at)?, at)));
        medians.min_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, at)| at)
    }

    /// An allocator against the best of the others, paired by repetition. Below 1 is better.
    pub fn ratio(&self, metric: Metric, allocator: usize) -> Option<f64> {
        self.ratio_to(metric, allocator, self.best(metric)?)
    }

    /// One allocator against another: the middle of the ratios within each repetition.
    pub fn ratio_to(&self, metric: Metric, one: usize, other: usize) -> Option<f64> {
        if !metric.comparable() {
            return None;
        }
        let ratio = if metric.counted() {
            self.median(metric, one)? / self.median(metric, other)?
        } else {
            median(self.ratios(metric, one, other))?
        };
        ratio.is_finite().then_some(ratio)
    }

    /// The interval around [`Row::ratio`].
    pub fn interval(&self, metric: Metric, allocator: usize) -> Option<Interval> {
        let best = self.best(metric).filter(|_| metric.comparable())?;
        resample::interval(&[self.ratios(metric, allocator, best)], ALPHA)
    }

    /// Whether our ratio is so uncertain that it is marked.
    pub fn wide(&self, metric: Metric) -> bool {
        self.interval(metric, 0).is_some_and(|interval| interval.high / interval.low > spread::WIDE)
    }

    /// The allocators whose times lie in two heaps.
    pub fn bimodal(&self, metric: Metric) -> Vec<(usize, Modes)> {
        let all = (0..self.cells.len()).map(|at| (at, spread::modes(&self.values(metric, at))));
        all.filter_map(|(at, modes)| Some((at, modes?))).collect()
    }

    /// The ratios within each repetition; none for what is counted.
    pub fn ratios(&self, metric: Metric, one: usize, other: usize) -> Vec<f64> {
        let pairs = self.values(metric, one).into_iter().zip(self.values(metric, other));
        pairs.map(|(one, other)| one / other).collect()
    }
}

impl Results {
    /// The rows of a family that have figures for a metric.
    pub fn rows(&self, family: Family, metric: Metric) -> Vec<&Row> {
        let of = |row: &&Row| row.task.family() == family && row.covers(metric);
        self.rows.iter().filter(of).collect()
    }

    /// The tables that have rows.
    pub fn sections(&self) -> Vec<(Family, Metric)> {
        let all = FAMILIES.iter().flat_map(|family| METRICS.map(|metric| (*family, metric)));
        all.filter(|(family, metric)| !self.rows(*family, *metric).is_empty()).collect()
    }

    /// Everything as JSON, with the derived figures next to the samples.
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::to_value(self).expect("the results hold nothing but plain data");
        let tables = self.sections().into_iter().map(|(family, metric)| {
            let rows = self.rows(family, metric).into_iter();
            let rows: Vec<_> = rows.map(|row| self.row_json(metric, row)).collect();
            serde_json::json!({
                "family": family, "metric": metric, "title": metric.title(family), "rows": rows
            })
        });
        json["tables"] = tables.collect::<Vec<_>>().into();
        json["summary"] = serde_json::json!(super::summary::lines(self));
        let aims = super::aims::judge(self).into_iter().map(|aim| {
            let call = aim.call();
            let mut aim = serde_json::json!(aim);
            aim["call"] = call.into();
            aim
        });
        json["aims"] = aims.collect::<Vec<_>>().into();
        json
    }

    fn row_json(&self, metric: Metric, row: &Row) -> serde_json::Value {
        let named = |value: &dyn Fn(usize) -> serde_json::Value| -> serde_json::Map<_, _> {
            (0..self.allocators.len())
                .map(|at| (self.allocators[at].name.clone(), value(at)))
                .collect()
        };
        let bimodal = if metric == Metric::Time { row.bimodal(metric) } else { Vec::new() };
        let bimodal: serde_json::Map<_, _> = bimodal
            .into_iter()
            .map(|(at, modes)| (self.allocators[at].name.clone(), serde_json::json!(modes)))
            .collect();
        serde_json::json!({
            "row": row.task.name,
            "best": row.best(metric).map(|at| &self.allocators[at].name),
            "median": named(&|at| row.median(metric, at).into()),
            "ratio_to_best": named(&|at| row.ratio(metric, at).into()),
            "interval": named(&|at| serde_json::json!(row.interval(metric, at))),
            "wide": row.wide(metric),
            "bimodal": bimodal,
        })
    }
}

/// The middle of some values.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// The geometric mean of positive values.
pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().map(|value| value.ln()).sum();
    (!values.is_empty()).then(|| (sum / values.len() as f64).exp())
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::peers::OURS;
    use super::super::task::tests::scenario;
    use super::*;

    /// Three allocators, one row, repetitions in which the machine slowed down step by step.
    pub fn sample() -> Results {
        let cell = |cpu: u64, rss: u64| Cell {
            samples: [1, 2, 3, 4, 5]
                .map(|slow| Sample {
                    ops: 100,
                    ns: 1000 * cpu * slow,
                    cpu_ns: cpu * slow,
                    checksum: 7,
                    faults: 0,
                    rss_kib: rss,
                    peak_kib: rss * 2,
                    live_kib: None,
                })
                .into(),
            ..Cell::default()
        };
        let allocator = |name: &str| Allocator {
            name: name.into(),
            version: "1".into(),
            library: None,
            program: None,
        };
        Results {
            schema: SCHEMA,
            circumstances: Circumstances {
                commit: "0".into(),
                date: "2000-01-01".into(),
                processor: "p".into(),
                processors: 2,
                kernel: "k".into(),
                runs: 5,
                quick: false,
                linked: false,
                spec_rows: 1,
                features: vec![],
                settings: vec![],
                load: (0.0, 0.0),
            },
            allocators: vec![allocator(OURS), allocator("slow"), allocator("quick")],
            missing: vec![],
            rows: vec![Row {
                task: Task::scenario(&scenario("pair", "spec", 0)),
                cells: vec![cell(800, 4096), cell(2000, 2048), cell(1000, 8192)],
            }],
        }
    }

    /// The same with a second row of another name and group.
    pub fn with(name: &str, group: Group) -> Results {
        let mut results = sample();
        let mut row = results.rows[0].clone();
        row.task.name = name.into();
        row.task.group = group;
        results.rows.push(row);
        results
    }

    #[test]
    fn ratios_are_to_the_best_of_the_others_within_a_repetition() {
        let results = sample();
        let row = &results.rows[0];
        assert_eq!(row.best(Metric::Time), Some(2));
        assert_eq!(row.best_of(Metric::Time, &[1]), Some(1));
        assert_eq!(row.median(Metric::Time, 0), Some(24.0));
        assert_eq!(row.ratio(Metric::Time, 0), Some(0.8));
        assert_eq!(row.ratio(Metric::Time, 1), Some(2.0));
        let interval = row.interval(Metric::Time, 0).unwrap();
        assert!(interval.holds(0.8) && interval.high - interval.low < 1e-9, "{interval:?}");
        assert_eq!(row.best(Metric::Final), Some(1));
        assert_eq!(row.ratio(Metric::Final, 0), Some(2.0));
        assert_eq!(row.median(Metric::Peak, 0), Some(8.0));
        assert!(!row.wide(Metric::Time));
    }

    #[test]
    fn a_row_that_scatters_is_marked_and_two_heaps_are_seen() {
        let mut results = sample();
        for (at, sample) in results.rows[0].cells[0].samples.iter_mut().enumerate() {
            sample.cpu_ns = if at % 2 == 0 { 80_000 + at as u64 } else { 160_000 + at as u64 };
        }
        let row = &results.rows[0];
        assert!(row.wide(Metric::Time));
        assert_eq!(row.bimodal(Metric::Time).len(), 1);
        let json = results.to_json();
        let row = &json["tables"][0]["rows"][0];
        assert_eq!(row["wide"], true);
        assert_eq!(row["bimodal"][OURS]["low"][1], 3);
        assert!(row["interval"][OURS]["low"].is_number());
    }

    #[test]
    fn units_and_clocks_are_the_familys() {
        let mut results = with("python", Group::Programs);
        results.rows[1].task.threaded = true;
        let row = &results.rows[1];
        // Wall time of one of a hundred runs, in milliseconds.
        assert_eq!(row.median(Metric::Time, 0), Some(24_000.0 / 1e6));
        assert_eq!(row.median(Metric::Processor, 0), Some(24.0 / 1e6));
        assert!(!row.covers(Metric::Final) && row.covers(Metric::Peak));
        let tables: Vec<_> = results.sections();
        assert!(tables.contains(&(Family::Programs, Metric::Processor)), "{tables:?}");
        assert!(Metric::Time.title(Family::Start).contains("\u{b5}s"));
        assert_eq!(Metric::Time.title(Family::Scenarios), "Time, ns per operation");
    }

    #[test]
    fn a_failed_cell_has_no_ratio() {
        let mut results = sample();
        results.rows[0].cells[0] = Cell { failure: Some("crashed".into()), ..Cell::default() };
        let json = results.to_json();
        assert_eq!(json["tables"][0]["rows"][0]["best"], "quick");
        assert!(json["tables"][0]["rows"][0]["ratio_to_best"][OURS].is_null());
        assert_eq!(json["rows"][0]["cells"][0]["failure"], "crashed");
    }

    #[test]
    fn medians_and_means() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert!((geometric_mean(&[0.5, 2.0]).unwrap() - 1.0).abs() < 1e-12);
    }
}
