//! `cargo xtask attacks --cost`: what hardening costs each heap, against its own plain build, in one
//! interleaved run.

use super::ours;
use crate::ab::outcome::Machine;
use crate::bench::dots;
use crate::bench::paired::{self, Timed};
use crate::bench::peers::{self, Allocator, Missing};
use crate::bench::process::Runner;
use crate::shared::document::{self, Column, Part};
use crate::shared::{paths, term, write};
use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

/// What is timed. The first is also counted.
const SCENARIOS: [&str; 4] = ["random-mixed-400", "tiny-hot", "json", "mir"];

/// Peers whose hardened builds are compared with: the plain build, the hardened one.
const PEERS: [(&str, &str); 2] =
    [("mimalloc3", "mimalloc-secure"), ("snmalloc", "snmalloc-checks")];

/// Raised when a field changes its meaning.
const SCHEMA: u32 = 1;

/// A heap in one build.
#[derive(Clone, Debug, Serialize)]
struct Heap {
    name: String,
    version: String,
    /// The row of its plain build, if this is a hardened one.
    plain: Option<usize>,
    #[serde(flatten)]
    timed: Timed,
}

/// All that was measured.
#[derive(Clone, Debug, Serialize)]
struct Cost {
    schema: u32,
    machine: Machine,
    scenarios: Vec<String>,
    heaps: Vec<Heap>,
    missing: Vec<Missing>,
    /// Counts that could not be had, and why.
    uncounted: Vec<String>,
}

/// Measures and shows; with `record`, writes docs/results/hardened-cost.{md,json,svg}.
pub fn run(runs: usize, json: bool, record: bool) -> Result<()> {
    let folder = paths::target().join("attacks");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let machine = Machine::here();
    let runner = Runner::build()?;
    let tasks = paired::tasks(&runner, &SCENARIOS)?;
    let (builds, missing) = builds(&folder)?;
    let (mut heaps, mut allocators) = (Vec::new(), Vec::new());
    for (allocator, plain) in builds {
        let (name, version) = (allocator.name.clone(), allocator.version.clone());
        heaps.push(Heap { name, version, plain, timed: Timed::default() });
        allocators.push(allocator);
    }
    let mut uncounted = Vec::new();
    if paths::which("valgrind").is_none() {
        uncounted.push("all: valgrind is missing; `apt-get install valgrind`".to_owned());
    } else {
        for (heap, allocator) in heaps.iter_mut().zip(&allocators) {
            let one = std::slice::from_ref(allocator);
            if paired::count(&runner, &tasks[0], &mut [&mut heap.timed], one).is_err() {
                // A heap may reserve more than valgrind has.
                uncounted.push(format!("{}: it does not run under valgrind", heap.name));
            }
        }
    }
    let mut all: Vec<&mut Timed> = heaps.iter_mut().map(|heap| &mut heap.timed).collect();
    paired::time(&runner, &tasks, &mut all, &allocators, runs)?;
    let scenarios = SCENARIOS.map(str::to_owned).to_vec();
    show(&Cost { schema: SCHEMA, machine, scenarios, heaps, missing, uncounted }, json, record)
}

/// Every build, each with the place of its plain one, and what could not be built.
#[allow(clippy::type_complexity)]
fn builds(folder: &std::path::Path) -> Result<(Vec<(Allocator, Option<usize>)>, Vec<Missing>)> {
    let mut builds = vec![(ours("hakmem", &[], folder)?, None)];
    for gate in ["hardened", "guard-sample"] {
        builds.push((ours(&format!("hakmem {gate}"), &[gate], folder)?, Some(0)));
    }
    let plain: Vec<String> = PEERS.iter().map(|(plain, _)| (*plain).to_owned()).collect();
    let (plain, mut missing) = peers::make(&plain)?;
    let (hardened, more) = peers::hardened()?;
    missing.extend(more);
    for (one, other) in PEERS {
        let found = |of: &[Allocator], name| of.iter().find(|heap| heap.name == name).cloned();
        if let (Some(plain), Some(hardened)) = (found(&plain, one), found(&hardened, other)) {
            builds.push((plain, None));
            builds.push((hardened, Some(builds.len() - 1)));
        }
    }
    Ok((builds, missing))
}

fn show(cost: &Cost, json: bool, record: bool) -> Result<()> {
    let text = serde_json::to_string_pretty(cost)? + "\n";
    if json {
        term::print(&text)?;
    } else {
        term::print(&format!("{}\n\n{}\n{}\n", times(cost), AGAINST, table(ratios(cost))))?;
    }
    if record {
        let folder = paths::root().join("docs/results");
        let svg = picture(cost)?;
        write::atomically(&folder.join("hardened-cost.json"), text)?;
        write::atomically(&folder.join("hardened-cost.md"), page(cost, &svg))?;
        write::atomically(&folder.join("hardened-cost.svg"), svg)?;
        term::step("Wrote", "docs/results/hardened-cost.md, .json and .svg");
    }
    Ok(())
}

const TITLE: &str = "What hardening costs";
const AGAINST: &str = "Time against the plain build of the same heap, 90 % interval";

/// Headings and rows of a table.
type Grid = (Vec<String>, Vec<Vec<String>>);

/// Nanoseconds of an operation, and the instructions of the first scenario's.
fn absolute(cost: &Cost) -> Grid {
    let headings = cost.scenarios.iter().cloned().chain(["instructions".to_owned()]);
    let row = |heap: &Heap| {
        let times = (0..cost.scenarios.len()).map(|at| format!("{:.2}", heap.timed.median(at)));
        let counted = heap.timed.instructions.map_or("-".to_owned(), |count| format!("{count:.1}"));
        [heap.name.clone()].into_iter().chain(times).chain([counted]).collect()
    };
    (headings.collect(), cost.heaps.iter().map(row).collect())
}

/// The hardened heaps, each with its plain build.
fn hardened(cost: &Cost) -> impl Iterator<Item = (&Heap, &Timed)> {
    cost.heaps.iter().filter_map(|heap| Some((heap, &cost.heaps[heap.plain?].timed)))
}

fn ratios(cost: &Cost) -> Grid {
    let row = |(heap, plain): (&Heap, &Timed)| {
        let ratios = (0..cost.scenarios.len()).map(|at| heap.timed.ratio(plain, at));
        [heap.name.clone()].into_iter().chain(ratios).collect()
    };
    (cost.scenarios.clone(), hardened(cost).map(row).collect())
}

fn times(cost: &Cost) -> Table {
    table(absolute(cost))
}

fn table((headings, rows): Grid) -> Table {
    let mut table = crate::real::table();
    let width = headings.len();
    table.set_header(["heap".to_owned()].into_iter().chain(headings));
    table.add_rows(rows);
    for at in 1..=width {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn picture(cost: &Cost) -> Result<String> {
    let row = |(heap, plain): (&Heap, &Timed)| dots::Row {
        name: heap.name.clone(),
        ratios: (0..cost.scenarios.len()).map(|at| heap.timed.against(plain, at)).collect(),
    };
    let mut rows: Vec<dots::Row> = hardened(cost).map(row).collect();
    rows.reverse();
    let title = format!("{TITLE}: time in units of the same heap's plain build");
    dots::draw(&title, &cost.scenarios, &rows)
}

/// The page that is recorded.
fn page(cost: &Cost, svg: &str) -> String {
    let part = |(headings, rows): Grid| {
        let columns = headings.iter().map(|heading| Column::figures(heading));
        Part::Table([Column::words("heap")].into_iter().chain(columns).collect(), rows)
    };
    let machine = &cost.machine;
    let versions: Vec<String> =
        cost.heaps.iter().map(|heap| format!("{} {}", heap.name, heap.version)).collect();
    let fact = |name: &str, text: String| (name.to_owned(), text);
    let mut facts = vec![
        fact(
            "nanoseconds",
            "processor time of an operation, preloaded, median of the repetitions".to_owned(),
        ),
        fact(
            "instructions",
            format!("of an operation of {}, its own included, by valgrind", cost.scenarios[0]),
        ),
        fact("versions", versions.join(", ")),
        fact(
            "where",
            format!(
                "{}, {} processors, Linux {}, commit {}{}, {} paired repetitions",
                machine.processor,
                machine.processors,
                machine.kernel,
                machine.commit.get(..12).unwrap_or(&machine.commit),
                if machine.changed { " with changes on top" } else { "" },
                cost.heaps.first().map_or(0, |heap| heap.timed.times[0].len())
            ),
        ),
    ];
    facts.extend(cost.uncounted.iter().map(|why| fact("not counted", why.clone())));
    facts.extend(cost.missing.iter().map(|missing| {
        fact(
            "left out",
            format!("{}: {}", missing.name, missing.reason.lines().next().unwrap_or("")),
        )
    }));
    let about = "Made by `cargo xtask attacks --cost --record`: each heap in its plain and in its hardened \
        build, all in one interleaved run. The heaps do not promise the same: what each makes of an \
        attack is in `attacks.md`, why ours costs what it does in `docs/decisions/0013`.";
    document::markdown(
        TITLE,
        &[
            Part::Text(about.to_owned()),
            Part::Picture(svg.to_owned(), "hardened-cost.svg".to_owned(), TITLE.to_lowercase()),
            Part::Heading(AGAINST.to_owned()),
            part(ratios(cost)),
            Part::Heading("Nanoseconds an operation".to_owned()),
            part(absolute(cost)),
            Part::Facts(facts),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Cost {
        let heap = |name: &str, plain: Option<usize>, by: f64| Heap {
            name: name.to_owned(),
            version: "1.0".to_owned(),
            plain,
            timed: Timed {
                times: vec![vec![4.0 * by, 4.4 * by, 4.2 * by], vec![2.0 * by, 2.2 * by, 2.1 * by]],
                instructions: plain.is_none().then_some(60.0),
                ..Timed::default()
            },
        };
        Cost {
            schema: SCHEMA,
            machine: Machine::here(),
            scenarios: vec!["random-mixed-400".into(), "json".into()],
            heaps: vec![
                heap("ours", None, 1.0),
                heap("ours hardened", Some(0), 1.5),
                heap("theirs", None, 2.0),
                heap("theirs hardened", Some(2), 5.0),
            ],
            missing: Vec::new(),
            uncounted: vec!["ours hardened: why".into()],
        }
    }

    #[test]
    fn each_is_compared_with_its_own_plain_build() {
        let cost = sample();
        let (_, rows) = ratios(&cost);
        assert_eq!(rows.len(), 2);
        assert!(rows[0][1].starts_with("1.50") && rows[1][2].starts_with("2.50"), "{rows:?}");
        let (_, rows) = absolute(&cost);
        assert_eq!((rows.len(), rows[3][1].as_str()), (4, "21.00"));
        assert_eq!((rows[0][3].as_str(), rows[1][3].as_str()), ("60.0", "-"));
    }

    #[test]
    fn the_page_says_all_of_it() {
        let cost = sample();
        let page = page(&cost, "<svg></svg>");
        for words in
            ["hardened-cost.svg", "theirs hardened", "not counted", "3 paired", "attacks.md"]
        {
            assert!(page.contains(words), "{words}: {page}");
        }
        let svg = picture(&cost).unwrap();
        assert!(svg.contains("ours hardened") && svg.contains("json"));
    }
}
