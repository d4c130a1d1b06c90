//! Where the values of counters go. What a decision reads is correctness; a telemetry counter's value
//! may leave the telemetry module through the readers only, and telemetry acts on nothing.

use super::feed;
use super::index::Index;
use super::site::{Fault, Found};
use std::collections::HashSet;

/// Folders that may read counters: what they tell goes to people.
const READERS: &[&str] = &["telemetry", "readers", "api", "check", "preload"];

/// What telemetry may call.
const BELOW_TELEMETRY: &[&str] = &["telemetry", "base", "os", "class"];

fn first(index: &Index, body: usize) -> &str {
    index.bodies[body].module.first().map_or("", String::as_str)
}

/// Every place where a counter's value could reach a decision.
pub fn faults(index: &Index, found: &[Found]) -> Vec<Fault> {
    let sources = sources(index, found);
    let mut faults = Vec::new();
    for (at, body) in index.bodies.iter().enumerate() {
        let folder = first(index, at);
        for call in &found[at].calls {
            let source = call.targets.iter().find(|target| sources.contains(target));
            if let Some(source) = source
                && !READERS.contains(&folder)
                && call.used
                && !feed::only_goes_back(index, found, at, call)
            {
                let text = format!(
                    "`{}` in {} reads a telemetry counter through `{}`: what a decision reads is correctness; keep a \
                     counter of its own for it, outside of telemetry and with its reason",
                    body.name,
                    if folder.is_empty() { "the crate's root" } else { folder },
                    index.bodies[*source].name
                );
                faults.push(Fault { file: body.file, line: call.line, text });
            }
            let below = |target: &usize| BELOW_TELEMETRY.contains(&first(index, *target));
            if folder == "telemetry" && !call.targets.is_empty() && !call.targets.iter().any(below)
            {
                let text = format!(
                    "`{}` in telemetry calls `{}`: telemetry counts and acts on nothing; call it from outside",
                    body.name, index.bodies[call.targets[0]].name
                );
                faults.push(Fault { file: body.file, line: call.line, text });
            }
        }
    }
    faults
}

/// Bodies that hand on what a counter says.
fn sources(index: &Index, found: &[Found]) -> HashSet<usize> {
    let hands_on = |at: usize| {
        let body = &index.bodies[at];
        let to_a_closure = body
            .parameters
            .iter()
            .any(|it| it.takes.as_ref().is_some_and(|takes| !takes.is_empty()));
        (body.speaks || to_a_closure) && matches!(first(index, at), "telemetry" | "readers")
    };
    let counter = |atomic: Option<usize>| atomic.is_some_and(|at| index.atomics[at].telemetry);
    let all = 0..index.bodies.len();
    let reads =
        |at: &usize| found[*at].sites.iter().any(|site| site.reads() && counter(site.atomic));
    let mut sources: HashSet<usize> =
        all.clone().filter(|at| hands_on(*at)).filter(reads).collect();
    loop {
        let calls_one = |at: &usize| {
            found[*at].calls.iter().any(|call| call.targets.iter().any(|to| sources.contains(to)))
        };
        let more: Vec<usize> = all
            .clone()
            .filter(|at| !sources.contains(at) && hands_on(*at))
            .filter(calls_one)
            .collect();
        if more.is_empty() {
            return sources;
        }
        sources.extend(more);
    }
}

/// Counters outside of telemetry that no decision reads: gauges, unless they are forgotten telemetry.
pub fn gauges(index: &Index, found: &[Found]) -> HashSet<usize> {
    let mut callers: Vec<Vec<usize>> = vec![Vec::new(); index.bodies.len()];
    for (at, body) in found.iter().enumerate() {
        for call in &body.calls {
            call.targets.iter().for_each(|to| callers[*to].push(at));
        }
    }
    let for_readers = |body: usize| {
        let mut seen = HashSet::from([body]);
        let mut open = vec![body];
        while let Some(at) = open.pop() {
            if first(index, at) == "readers" {
                continue;
            }
            if callers[at].is_empty() {
                return false;
            }
            open.extend(callers[at].iter().copied().filter(|caller| seen.insert(*caller)));
        }
        true
    };
    let sites = || found.iter().flat_map(|found| &found.sites);
    (0..index.atomics.len())
        .filter(|at| {
            let mine = || sites().filter(|site| site.atomic == Some(*at));
            let counts =
                mine().any(|site| matches!(site.operation.as_str(), "fetch_add" | "fetch_sub"));
            let plain = mine().any(|site| site.orderings.is_empty());
            counts
                && !plain
                && !index.atomics[*at].telemetry
                && mine().filter(|site| site.reads()).all(|site| for_readers(site.body))
        })
        .collect()
}
