//! What a run of the benchmark measured, and the figures derived from it.
//!
//! Ratios are taken within a repetition, where both allocators ran a moment apart, and the median
//! of them is reported: absolute times drift from hour to hour, ratios hardly do.

use serde::Serialize;

use super::peers::{Allocator, Missing};
use super::process::{Sample, Scenario};

/// What a table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Nanoseconds an operation: processor time of single-threaded scenarios, wall time of others.
    Time,
    /// Processor time of threaded scenarios: unlike their wall time it bears a busy machine.
    Processor,
    /// Resident memory after the work.
    Final,
    /// Highest resident memory.
    Peak,
    /// Instructions an operation.
    Instructions,
    /// Page faults a thousand operations.
    Faults,
}

/// Every metric, in the order of the tables.
pub const METRICS: [Metric; 6] = [
    Metric::Time,
    Metric::Processor,
    Metric::Instructions,
    Metric::Faults,
    Metric::Final,
    Metric::Peak,
];

impl Metric {
    /// Whether ratios to the best say something: not where the best is often zero.
    pub fn comparable(self) -> bool {
        self != Metric::Faults
    }

    /// The title of its table.
    pub fn title(self) -> &'static str {
        match self {
            Metric::Time => "Time, ns per operation",
            Metric::Processor => "Processor time of all threads, ns per operation",
            Metric::Final => "Final resident memory, MiB",
            Metric::Peak => "Peak resident memory, MiB",
            Metric::Instructions => "Instructions per operation",
            Metric::Faults => "Page faults per 1,000 operations",
        }
    }
}

/// One allocator on one scenario.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cell {
    /// One sample a repetition, in order.
    pub samples: Vec<Sample>,
    /// Instructions of one operation, counted by valgrind.
    pub instructions: Option<f64>,
    /// Why there is no figure.
    pub failure: Option<String>,
}

/// One scenario on all allocators, in the order of [`Results::allocators`].
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The scenario.
    pub scenario: Scenario,
    /// Its cells.
    pub cells: Vec<Cell>,
}

/// Where and how the figures came about.
#[derive(Clone, Debug, Serialize)]
pub struct Circumstances {
    /// The commit that was measured, with `+` if files were changed since.
    pub commit: String,
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
    /// Who could not.
    pub missing: Vec<Missing>,
    /// One row a scenario.
    pub rows: Vec<Row>,
}

impl Row {
    fn value(&self, metric: Metric, sample: &Sample) -> f64 {
        match metric {
            Metric::Time if self.scenario.threaded => sample.ns as f64 / sample.ops as f64,
            Metric::Time | Metric::Processor => sample.cpu_ns as f64 / sample.ops as f64,
            Metric::Final => sample.rss_kib as f64 / 1024.0,
            Metric::Peak => sample.peak_kib as f64 / 1024.0,
            Metric::Faults => 1000.0 * sample.faults as f64 / sample.ops as f64,
            Metric::Instructions => unreachable!("instructions are not sampled"),
        }
    }

    /// Whether the row has anything to say about a metric.
    pub fn covers(&self, metric: Metric) -> bool {
        match metric {
            Metric::Time => self.scenario.timed(),
            Metric::Processor => self.scenario.threaded,
            Metric::Final | Metric::Peak => true,
            // Rows in which someone takes memory from the system all the time.
            Metric::Faults => {
                let seen = (0..self.cells.len()).filter_map(|at| self.median(metric, at));
                self.scenario.timed() && seen.fold(0.0, f64::max) >= 1.0
            }
            Metric::Instructions => self.cells.iter().any(|cell| cell.instructions.is_some()),
        }
    }

    /// The middle of an allocator's samples.
    pub fn median(&self, metric: Metric, allocator: usize) -> Option<f64> {
        let cell = &self.cells[allocator];
        if metric == Metric::Instructions {
            return cell.instructions;
        }
        median(cell.samples.iter().map(|sample| self.value(metric, sample)).collect())
    }

    /// The best of the others: everything but the first allocator.
    pub fn best(&self, metric: Metric) -> Option<usize> {
        let medians = (1..self.cells.len()).filter_map(|at| Some((self.median(metric, at)?, at)));
        medians.min_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, at)| at)
    }

    /// An allocator against the best of the others, paired by repetition. Below 1 is better.
    pub fn ratio(&self, metric: Metric, allocator: usize) -> Option<f64> {
        let best = self.best(metric).filter(|_| metric.comparable())?;
        let ratio = match self.ratios(metric, allocator, best) {
            Some(ratios) => median(ratios)?,
            None => self.median(metric, allocator)? / self.median(metric, best)?,
        };
        ratio.is_finite().then_some(ratio)
    }

    /// The middle half of the paired ratios.
    pub fn spread(&self, metric: Metric, allocator: usize) -> Option<(f64, f64)> {
        let mut ratios = self.ratios(metric, allocator, self.best(metric)?)?;
        ratios.sort_by(f64::total_cmp);
        let at = |share: f64| ratios[((ratios.len() - 1) as f64 * share).round() as usize];
        (!ratios.is_empty()).then(|| (at(0.25), at(0.75)))
    }

    fn ratios(&self, metric: Metric, one: usize, other: usize) -> Option<Vec<f64>> {
        if metric == Metric::Instructions {
            return None;
        }
        let pairs = self.cells[one].samples.iter().zip(&self.cells[other].samples);
        Some(
            pairs.map(|(one, other)| self.value(metric, one) / self.value(metric, other)).collect(),
        )
    }
}

impl Results {
    /// The rows that have figures for a metric.
    pub fn rows(&self, metric: Metric) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.covers(metric))
    }

    /// The geometric mean over the rows of an allocator's ratio to the best of the others;
    /// nothing where a row is missing.
    pub fn mean(&self, metric: Metric, allocator: usize) -> Option<f64> {
        let ratios: Option<Vec<f64>> =
            self.rows(metric).map(|row| row.ratio(metric, allocator)).collect();
        geometric_mean(&ratios?)
    }

    /// Everything as JSON, with the derived figures next to the samples.
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::to_value(self).expect("the results hold nothing but plain data");
        let mut summary = serde_json::Map::new();
        for metric in METRICS {
            let key = serde_json::to_value(metric).expect("a metric has a name");
            let rows: Vec<_> = self.rows(metric).map(|row| self.row_json(metric, row)).collect();
            if rows.is_empty() {
                continue;
            }
            let means: serde_json::Map<_, _> = (0..self.allocators.len())
                .map(|at| (self.allocators[at].name.clone(), self.mean(metric, at).into()))
                .collect();
            summary.insert(
                key.as_str().unwrap_or_default().to_owned(),
                serde_json::json!({ "rows": rows, "geometric_mean_to_best": means }),
            );
        }
        json["summary"] = summary.into();
        json
    }

    fn row_json(&self, metric: Metric, row: &Row) -> serde_json::Value {
        let named = |value: &dyn Fn(usize) -> Option<f64>| -> serde_json::Map<_, _> {
            (0..self.allocators.len())
                .map(|at| (self.allocators[at].name.clone(), value(at).into()))
                .collect()
        };
        serde_json::json!({
            "scenario": row.scenario.name,
            "best": row.best(metric).map(|at| &self.allocators[at].name),
            "median": named(&|at| row.median(metric, at)),
            "ratio_to_best": named(&|at| row.ratio(metric, at)),
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
    use super::*;

    /// Three allocators, one row, two repetitions in which the machine slowed down by half.
    pub fn sample() -> Results {
        let scenario = Scenario {
            name: "pair".into(),
            about: "a pair".into(),
            unit: "block".into(),
            ops: 100,
            threaded: false,
            settle_ms: 0,
        };
        let cell = |cpu: u64, rss: u64| Cell {
            samples: [1, 2]
                .map(|slow| Sample {
                    ops: 100,
                    ns: 1,
                    cpu_ns: cpu * slow,
                    checksum: 7,
                    faults: 0,
                    rss_kib: rss,
                    peak_kib: rss * 2,
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
            schema: 1,
            circumstances: Circumstances {
                commit: "0".into(),
                processor: "p".into(),
                processors: 2,
                kernel: "k".into(),
                runs: 2,
                quick: false,
                features: vec![],
                settings: vec![],
                load: (0.0, 0.0),
            },
            allocators: vec![allocator(OURS), allocator("slow"), allocator("quick")],
            missing: vec![],
            rows: vec![Row {
                scenario,
                cells: vec![cell(800, 4096), cell(2000, 2048), cell(1000, 8192)],
            }],
        }
    }

    #[test]
    fn ratios_are_to_the_best_of_the_others_within_a_repetition() {
        let results = sample();
        let row = &results.rows[0];
        assert_eq!(row.best(Metric::Time), Some(2));
        assert_eq!(row.median(Metric::Time, 0), Some(12.0));
        assert_eq!(row.ratio(Metric::Time, 0), Some(0.8));
        assert_eq!(row.ratio(Metric::Time, 1), Some(2.0));
        assert_eq!(row.spread(Metric::Time, 0), Some((0.8, 0.8)));
        assert_eq!(row.best(Metric::Final), Some(1));
        assert_eq!(row.ratio(Metric::Final, 0), Some(2.0));
        assert_eq!(row.median(Metric::Peak, 0), Some(8.0));
    }

    #[test]
    fn a_missing_cell_has_no_mean() {
        let mut results = sample();
        assert!((results.mean(Metric::Time, 0).unwrap() - 0.8).abs() < 1e-12);
        results.rows[0].cells[0] = Cell { failure: Some("crashed".into()), ..Cell::default() };
        assert_eq!(results.mean(Metric::Time, 0), None);
        assert_eq!(results.to_json()["summary"]["time"]["rows"][0]["best"], "quick");
        assert!(results.to_json()["summary"]["instructions"].is_null());
    }

    #[test]
    fn medians_and_means() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert!((geometric_mean(&[0.5, 2.0]).unwrap() - 1.0).abs() < 1e-12);
    }
}
