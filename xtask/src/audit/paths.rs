//! How often a body runs: hot, warm or cold, from the graph of calls.
//!
//! Hot is what `hot.rs` reaches, and what of the interface leads to it, without passing a function
//! that is `#[cold]` or in `cold.rs`. Warm is what the ways out of the hot path reach from there
//! within the folders of the front end and of refills. All else is cold. A call whose receiver's type
//! is not known reaches every method of that name: the answer errs on the hot side.

use super::index::Index;
use super::site::Found;
use serde::Serialize;
use std::collections::HashSet;

/// How often something runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// On every allocation or free.
    Hot,
    /// When a magazine runs empty or full.
    Warm,
    /// Rarely.
    Cold,
}

impl Level {
    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Level::Hot => "hot",
            Level::Warm => "warm",
            Level::Cold => "cold",
        }
    }
}

/// Folders, and files in them, whose code a refill or an overflow runs; what it needs beyond them
/// (the arena, the system, large blocks) it needs once for many blocks.
const WARM: &[&str] = &[
    "cold",
    "thread::heap",
    "thread::tls",
    "thread::turn",
    "refill",
    "frontend",
    "telemetry",
    "class",
    "base",
    "segment::slab",
    "segment::registry",
    "lifecycle",
    "lifecycle::trim",
];

/// The level of every body.
pub fn levels(index: &Index, found: &[Found]) -> Vec<Level> {
    let module = |at: usize| index.bodies[at].module.as_slice();
    let first = |at: usize| module(at).first().map_or("", String::as_str);
    let calls = |at: usize| found[at].calls.iter().flat_map(|call| call.targets.iter().copied());
    let all = 0..index.bodies.len();
    // The way in: bodies of the interface that lead to the hot path.
    let interface = |at: usize| matches!(first(at), "api" | "preload") && !index.bodies[at].cold;
    let mut way_in: HashSet<usize> = all.clone().filter(|at| first(*at) == "hot").collect();
    loop {
        let more: Vec<usize> = all
            .clone()
            .filter(|at| {
                interface(*at) && !way_in.contains(at) && calls(*at).any(|to| way_in.contains(&to))
            })
            .collect();
        if more.is_empty() {
            break;
        }
        way_in.extend(more);
    }
    let passes = |at: usize| !index.bodies[at].cold && first(at) != "cold";
    let hot = reach(way_in, &calls, &passes);
    let ways_out: HashSet<usize> =
        hot.iter().flat_map(|at| calls(*at)).filter(|at| first(*at) == "cold").collect();
    let passes = |at: usize| {
        let path = module(at).join("::");
        // `lifecycle` is its `mod.rs` alone, the other folders are meant whole.
        let inside = |folder: &str| {
            path == folder || (folder != "lifecycle" && path.starts_with(&format!("{folder}::")))
        };
        !index.bodies[at].cold && WARM.iter().any(|folder| inside(folder))
    };
    let warm = reach(ways_out, &calls, &passes);
    all.map(|at| match (hot.contains(&at), warm.contains(&at)) {
        (true, _) => Level::Hot,
        (_, true) => Level::Warm,
        _ => Level::Cold,
    })
    .collect()
}

fn reach<I: Iterator<Item = usize>>(
    from: HashSet<usize>,
    calls: &dyn Fn(usize) -> I,
    passes: &dyn Fn(usize) -> bool,
) -> HashSet<usize> {
    let mut open: Vec<usize> = from.iter().copied().collect();
    let mut reached = from;
    while let Some(at) = open.pop() {
        for to in calls(at) {
            if passes(to) && reached.insert(to) {
                open.push(to);
            }
        }
    }
    reached
}
