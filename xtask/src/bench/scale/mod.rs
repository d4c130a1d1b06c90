//! `cargo xtask bench --scale`: what an operation costs as live blocks, threads and sizes grow, on
//! every allocator, interleaved; and whether there is a cliff.
//!
//! Processor time of all threads counts on every axis, so that more threads than processors cost no
//! more by themselves. A cliff is a point that costs more than 1.5 times what a neighbour does.

mod plot;
mod report;

use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::peers::{Allocator, Missing};
use super::process::Runner;
use super::results::{Cell, Circumstances, median};
use super::task::{Group, Task, Work};
use super::{Args, STOP, circumstances, load, repeat, same_work, write_figures};
use crate::shared::{term, write};

/// The most that a point may cost, times each of its neighbours.
pub const CLIFF: f64 = 1.5;

/// One point of an axis, measured.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// Live blocks, threads or bytes.
    pub x: u64,
    /// The cells, in the order of the allocators.
    pub cells: Vec<Cell>,
    #[serde(skip)]
    task: Task,
}

impl Point {
    /// The middle cost of an operation, nanoseconds of processor time.
    pub fn cost(&self, allocator: usize) -> Option<f64> {
        let samples = self.cells[allocator].samples.iter();
        median(samples.map(|sample| sample.cpu_ns as f64 / sample.ops as f64).collect())
    }
}

/// One curve for each allocator.
#[derive(Clone, Debug, Serialize)]
pub struct Axis {
    /// A short name, that of its figure.
    pub name: &'static str,
    /// What is done.
    pub title: &'static str,
    /// What grows.
    pub grows: &'static str,
    /// The points, in ascending order.
    pub points: Vec<Point>,
}

/// A point that costs too much beside its neighbour.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cliff {
    /// The dearer point.
    pub x: u64,
    /// The neighbour.
    pub beside: u64,
    /// How many times the neighbour's cost.
    pub times: f64,
}

impl Axis {
    /// Every step of an allocator's curve as the dearer point, its neighbour, and the factor.
    pub fn steps(&self, allocator: usize) -> Vec<Cliff> {
        let step = |pair: &[Point]| {
            let (one, other) = (pair[0].cost(allocator)?, pair[1].cost(allocator)?);
            let (x, beside) = if one > other { (&pair[0], &pair[1]) } else { (&pair[1], &pair[0]) };
            let times = one.max(other) / one.min(other);
            Some(Cliff { x: x.x, beside: beside.x, times })
        };
        self.points.windows(2).filter_map(step).collect()
    }

    /// The steps above [`CLIFF`].
    pub fn cliffs(&self, allocator: usize) -> Vec<Cliff> {
        let mut steps = self.steps(allocator);
        steps.retain(|step| step.times > CLIFF);
        steps
    }

    /// The highest step.
    pub fn highest(&self, allocator: usize) -> Option<Cliff> {
        self.steps(allocator).into_iter().max_by(|one, other| one.times.total_cmp(&other.times))
    }

    /// A value of the axis as people write it.
    pub fn label(&self, x: u64) -> String {
        match self.name {
            "size" => bytes(x),
            _ => thousands(x),
        }
    }
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Scale {
    /// The form of the JSON.
    pub schema: u32,
    /// Where and how.
    pub circumstances: Circumstances,
    /// Who took part; ours is the first.
    pub allocators: Vec<Allocator>,
    /// Who could not.
    pub missing: Vec<Missing>,
    /// The axes.
    pub axes: Vec<Axis>,
}

/// Runs the command.
pub fn run(
    args: &Args,
    runner: &Runner,
    allocators: Vec<Allocator>,
    missing: Vec<Missing>,
) -> Result<ExitCode> {
    let runs = args.runs.unwrap_or(if args.quick { 1 } else { 3 });
    let mut axes = axes(args.quick, allocators.len());
    leave_room(&mut axes)?;
    let before = load();
    let points: usize = axes.iter().map(|axis| axis.points.len()).sum();
    let bar = term::progress("Measuring", (points * runs * allocators.len()) as u64);
    'all: for _ in 0..runs {
        for axis in &mut axes {
            for point in &mut axis.points {
                bar.set_message(format!("{} {}", axis.name, point.x));
                if !repeat(runner, &point.task, &allocators, &mut point.cells, &bar) {
                    break 'all;
                }
            }
        }
    }
    bar.finish_and_clear();
    if STOP.load(Ordering::Relaxed) {
        term::note("stopped early; points that were not reached are missing");
    }
    let mut scale = Scale {
        schema: 1,
        circumstances: circumstances(runs, 0, args)?,
        allocators,
        missing,
        axes,
    };
    scale.circumstances.load = (before, load());
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report::json(&scale))?);
    } else {
        print!("{}", report::render(&scale));
    }
    if let Some(folder) = &args.svg {
        write_figures(folder, &plot::all(&scale)?)?;
    }
    if let Some(path) = &args.html {
        write::atomically(path, report::page(&scale)?)?;
        term::step("Wrote", path.display());
    }
    let mut sound = true;
    for (axis, point) in
        scale.axes.iter().flat_map(|axis| axis.points.iter().map(move |p| (axis, p)))
    {
        for failure in point.cells.iter().filter_map(|cell| cell.failure.as_ref()) {
            term::note(format!("no figure at {}: {failure}", axis.label(point.x)));
            sound = false;
        }
        if !same_work(&point.cells) {
            term::note(format!("{} {}: not the same work everywhere", axis.name, point.x));
            sound = false;
        }
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn axes(quick: bool, allocators: usize) -> Vec<Axis> {
    let point = |scenario: &str, option: &str, x: u64, ops: u64, threaded: bool| Point {
        x,
        cells: vec![Cell::default(); allocators],
        task: Task {
            name: format!("{scenario} {x}"),
            about: String::new(),
            unit: "block".into(),
            ops: if quick { (ops / 4).max(100) } else { ops },
            threaded,
            settle_ms: 0,
            group: Group::Extra,
            work: Work::Scenario(
                ["--scenario", scenario, option, &x.to_string()].map(str::to_owned).to_vec(),
            ),
        },
    };
    // Three points in every factor of ten.
    let live = (0..=12).map(|third| (1000.0 * 10f64.powf(f64::from(third) / 3.0)).round() as u64);
    let threads = || (0..=6).map(|power| 1 << power);
    let sizes = (3..=30).map(|power| 1_u64 << power);
    vec![
        Axis {
            name: "live",
            title: "blocks of 16 to 64 bytes replaced at random",
            grows: "live blocks",
            points: live.map(|x| point("live", "--live", x, 1_000_000, false)).collect(),
        },
        Axis {
            name: "threads",
            title: "400 blocks of its own in every thread, replaced at random",
            grows: "threads",
            points: threads()
                .map(|x| point("parallel-mixed", "--threads", x, 2_000_000, true))
                .collect(),
        },
        Axis {
            name: "larson",
            title: "threads that come and go, each replacing the blocks of the one before",
            grows: "threads",
            points: threads().map(|x| point("larson", "--threads", x, 1_000_000, true)).collect(),
        },
        Axis {
            name: "size",
            title: "a ring of four blocks of one size",
            grows: "size of a block",
            points: sizes.map(|x| point("size", "--size", x, operations(x), false)).collect(),
        },
    ]
}

/// So many that a point takes some tens of milliseconds, system calls included.
fn operations(size: u64) -> u64 {
    match size {
        0..=0x8000 => 1_000_000,
        0x8001..=0x4_0000 => 200_000,
        0x4_0001..=0x10_0000 => 40_000,
        0x10_0001..=0x400_0000 => 4000,
        _ => 400,
    }
}

/// Leaves out the points that this machine has no memory for, and says so.
fn leave_room(axes: &mut Vec<Axis>) -> Result<()> {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let free = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let Some(free) = free.map(|kib| kib * 1024) else { return Ok(()) };
    for axis in axes.iter_mut() {
        let needed = |x: u64| match axis.name {
            // A block, its rounding, its slot and its size.
            "live" => x * 150,
            // A ring of four, of which the first and last pages are touched.
            "size" => x / 8,
            _ => 0,
        };
        let all = axis.points.len();
        axis.points.retain(|point| needed(point.x) < free / 2);
        if axis.points.len() < all {
            term::note(format!(
                "{} points of the axis `{}` are left out: {} MiB of memory are free",
                all - axis.points.len(),
                axis.name,
                free >> 20
            ));
        }
    }
    axes.retain(|axis| !axis.points.is_empty());
    ensure!(!axes.is_empty(), "no memory is free for any point");
    Ok(())
}

fn bytes(x: u64) -> String {
    match x {
        x if x >= 1 << 30 => format!("{} GiB", x >> 30),
        x if x >= 1 << 20 => format!("{} MiB", x >> 20),
        x if x >= 1 << 10 => format!("{} KiB", x >> 10),
        x => format!("{x} B"),
    }
}

/// With three digits, and no zeros behind the point.
fn thousands(x: u64) -> String {
    let (value, unit) = match x {
        x if x >= 1_000_000 => (x as f64 / 1e6, "M"),
        x if x >= 1000 => (x as f64 / 1e3, "k"),
        x => (x as f64, ""),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    let short = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{short}{unit}")
}

#[cfg(test)]
mod tests {
    use super::super::process::Sample;
    use super::super::results::Results;
    use super::super::results::tests::sample;
    use super::*;

    /// One axis on which the first allocator has a cliff between its third and fourth point.
    pub fn canned() -> Scale {
        let results = sample();
        let mut axes = axes(false, results.allocators.len());
        axes.truncate(1);
        axes[0].points.truncate(5);
        for (at, point) in axes[0].points.iter_mut().enumerate() {
            for (allocator, cell) in point.cells.iter_mut().enumerate() {
                let cost = if allocator == 0 && at >= 3 { 30 } else { 10 + at as u64 };
                let one = |cost| Sample { ops: 10, cpu_ns: cost * 10, ..Sample::default() };
                cell.samples = vec![one(cost), one(cost), one(cost * 5)];
            }
        }
        let Results { circumstances, allocators, missing, .. } = results;
        Scale { schema: 1, circumstances, allocators, missing, axes }
    }

    #[test]
    fn a_cliff_is_found_and_a_slope_is_none() {
        let axis = &canned().axes[0];
        let cliffs = axis.cliffs(0);
        assert_eq!(cliffs.len(), 1, "{cliffs:?}");
        assert_eq!((cliffs[0].x, cliffs[0].beside), (axis.points[3].x, axis.points[2].x));
        assert!((cliffs[0].times - 2.5).abs() < 1e-12);
        assert!(axis.cliffs(1).is_empty());
        assert!((axis.highest(1).unwrap().times - 1.1).abs() < 1e-12);
    }

    #[test]
    fn a_valley_is_a_cliff_of_its_neighbours() {
        let mut scale = canned();
        for point in &mut scale.axes[0].points[3..] {
            for cell in &mut point.cells {
                cell.samples.iter_mut().for_each(|sample| sample.cpu_ns = 20);
            }
        }
        let cliffs = scale.axes[0].cliffs(1);
        assert_eq!(cliffs.len(), 1);
        assert!(cliffs[0].x < cliffs[0].beside, "{cliffs:?}");
    }

    #[test]
    fn the_axes_span_what_they_say() {
        let axes = axes(false, 2);
        let ends: Vec<_> = axes
            .iter()
            .map(|axis| (axis.points[0].x, axis.points[axis.points.len() - 1].x))
            .collect();
        assert_eq!(ends, [(1000, 10_000_000), (1, 64), (1, 64), (8, 1 << 30)]);
        assert_eq!(axes[0].label(2154), "2.15k");
        assert_eq!(axes[0].label(215_443), "215k");
        assert_eq!(axes[0].label(100_000), "100k");
        assert_eq!(axes[0].label(10_000_000), "10M");
        assert_eq!(axes[3].label(1 << 19), "512 KiB");
    }
}
