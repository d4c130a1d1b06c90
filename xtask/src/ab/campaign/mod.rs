//! `cargo xtask ab --all`: every gate of the registry, one experiment each, and then all of them
//! together, within one budget; the table of it all.
//!
//! Assumes that the caller holds the lock on `target/ab`. Results of finished gates are kept
//! ([`store`]); [`share`] splits what is left of the budget over what is left to do.

mod share;
mod store;
pub mod table;

use super::experiment::Experiment;
use super::outcome::{Machine, Outcome, day};
use super::question::Question;
use super::trial::End;
use super::{Args, Settings, process, record};
use crate::features;
use crate::shared::registry::Registry;
use crate::shared::{paths, term, write};
use anyhow::Result;
use share::Share;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use store::Store;
use table::{Campaign, LeftOut, Row};

/// The campaign's budget unless told otherwise: with the builds, under an hour.
pub const BUDGET: Duration = Duration::from_secs(55 * 60);

/// How the experiment with all gates at once is called.
const TOGETHER: &str = "all-gates";

/// One experiment to make.
struct Item {
    name: String,
    together: bool,
    kind: String,
    path: String,
    question: Result<Question>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let registry = Registry::read()?;
    let (items, left_out) = items(&registry);
    let fingerprint = store::fingerprint(&args.scenario)?;
    let store = Store::open(Store::folder(), &fingerprint, args.fresh)?;
    let total = args.budget.unwrap_or(BUDGET);
    let started = Instant::now();
    let mut share = Share::new(total);
    let (mut rows, mut unfinished, mut stopped) = (Vec::new(), Vec::new(), false);
    for (at, item) in items.iter().enumerate() {
        let head = format!("{} of {}: {}", at + 1, items.len(), item.name);
        let question = match &item.question {
            Ok(question) => question,
            Err(error) => {
                rows.push(item.failed(format!("{error:#}")));
                continue;
            }
        };
        if let Some(outcome) = store.get(&question.slug()) {
            term::step("Kept", format!("{head}: {}", outcome.verdict.name()));
            rows.push(item.finished(args, &outcome)?);
            continue;
        }
        let left = total.saturating_sub(started.elapsed());
        let weights = items[at..].iter().map(Item::weight).sum();
        let budget = share.of(left, item.weight(), weights).filter(|_| !stopped);
        let Some(budget) = budget else {
            unfinished.push(item.name.clone());
            continue;
        };
        term::step(
            "Measuring",
            format!("{head}, up to {} s of the {} s left", budget.as_secs(), left.as_secs()),
        );
        let settings = Settings { budget, ..Settings::of(args) };
        let begun = Instant::now();
        let result = Experiment::new(&settings, question.clone()).and_then(Experiment::run);
        if process::interrupted() {
            stopped = true;
        }
        match result {
            Ok(outcome) if outcome.end == Some(End::Interrupted) => {
                unfinished.push(item.name.clone());
            }
            Ok(outcome) => {
                share.took(begun.elapsed(), Duration::from_secs_f64(outcome.seconds).min(budget));
                store.keep(&outcome)?;
                term::step("Verdict", format!("{}: {}", item.name, line(&outcome)));
                rows.push(item.finished(args, &outcome)?);
            }
            Err(_) if stopped => unfinished.push(item.name.clone()),
            Err(error) => {
                let why = format!("{error:#}");
                term::note(format!("{} has no verdict: {why}", item.name));
                rows.push(item.failed(why));
            }
        }
    }
    let machine = Machine::here();
    let campaign = Campaign {
        schema: table::SCHEMA,
        date: day(machine.started),
        machine,
        fingerprint,
        rows,
        left_out,
        unfinished,
        seconds: started.elapsed().as_secs_f64(),
    };
    finish(args, &campaign)
}

/// Prints and writes what the arguments ask for.
fn finish(args: &Args, campaign: &Campaign) -> Result<ExitCode> {
    if args.json {
        print!("{}", campaign.json()?);
    } else {
        print!("{}", campaign.text());
    }
    if let Some(path) = &args.html {
        write::atomically(path, campaign.page()?)?;
        term::step("Wrote", path.display());
    }
    if args.record {
        features::refresh()?;
        if campaign.unfinished.is_empty() {
            let file = |ending: &str| record::folder().join(format!("{}.{ending}", table::NAME));
            write::atomically(&file("md"), campaign.markdown()?)?;
            if let Some(svg) = super::plot::campaign(&campaign.rows)? {
                write::atomically(&file("svg"), svg)?;
            }
            write::atomically(&file("json"), campaign.json()?)?;
            term::step("Recorded", file("md").display());
        } else {
            term::note(
                "the campaign's table is recorded once every gate has been measured; the gates above are",
            );
        }
    }
    Ok(ExitCode::from(u8::from(!campaign.sound())))
}

impl Item {
    fn weight(&self) -> f64 {
        // The whole's effect is the campaign's main figure.
        if self.together { 3.0 } else { 1.0 }
    }

    fn finished(&self, args: &Args, outcome: &Outcome) -> Result<Row> {
        if args.record {
            record::write(outcome, &record::folder())?;
        }
        Ok(Row::of(outcome, &self.name, self.together, &self.path))
    }

    fn failed(&self, why: String) -> Row {
        // A compiler's message has many lines; the table has room for the first that says something.
        let why = why.replace(&paths::root().display().to_string(), ".");
        let mut lines = why.lines().map(str::trim).filter(|line| !line.is_empty());
        let first = lines.next().unwrap_or_default().to_owned();
        let why = match lines.next() {
            Some(second) => format!("{first} {second}"),
            None => first,
        };
        Row {
            by_default: self.question.as_ref().is_ok_and(Question::by_default),
            ..Row::failed(&self.name, self.together, &self.kind, &self.path, why)
        }
    }
}

/// The verdict in a line.
fn line(outcome: &Outcome) -> String {
    let figure = outcome.headline().map_or_else(String::new, |head| {
        let limits = super::report::limits(&head.effect);
        format!(" {:+.2} % {limits} in {}", head.effect.estimate, head.scenario)
    });
    format!("{}{figure}", outcome.verdict.name())
}

/// Every gate, and the set of those that can be in one build.
fn items(registry: &Registry) -> (Vec<Item>, Vec<LeftOut>) {
    let item = |name: &str, names: &[String], together: bool| {
        let question = Question::gates(registry, names);
        let kind = question.as_ref().ok().and_then(Question::kind);
        let path = registry.gates.get(name).map(|gate| gate.path.clone());
        Item {
            name: name.to_owned(),
            together,
            kind: kind.map_or("", |kind| kind.name()).to_owned(),
            path: path.unwrap_or_default(),
            question,
        }
    };
    let mut items: Vec<Item> =
        registry.gates.keys().map(|name| item(name, std::slice::from_ref(name), false)).collect();
    let (names, left_out) = compatible(registry);
    if names.len() > 1 {
        let mut all = item(TOGETHER, &names, true);
        if let Ok(Question::Gates { called, .. }) = &mut all.question {
            TOGETHER.clone_into(called);
        }
        items.push(all);
    }
    (items, left_out)
}

/// The gates without a declared conflict, and the others with the reason. What needs a gate that is
/// left out is left out with it.
fn compatible(registry: &Registry) -> (Vec<String>, Vec<LeftOut>) {
    let mut left_out: Vec<LeftOut> = Vec::new();
    let mut names: BTreeSet<&String> = registry.gates.keys().collect();
    for (name, gate) in &registry.gates {
        let conflicts = gate.listed("conflicts");
        if !conflicts.is_empty() {
            let why = format!("conflicts with {}", conflicts.join(", "));
            left_out.push(LeftOut { name: name.clone(), why });
            names.remove(name);
        }
    }
    // Until nothing more follows.
    loop {
        let needs = |name: &&&String| {
            let gate = &registry.gates[**name];
            let needed = gate.implies.iter().cloned().chain(gate.listed("needs"));
            needed.into_iter().find(|need| left_out.iter().any(|left| left.name == *need))
        };
        let follows = names.iter().find_map(|name| Some((*name, needs(&name)?)));
        let Some((name, need)) = follows else { break };
        left_out.push(LeftOut { name: name.clone(), why: format!("needs {need}") });
        names.remove(name);
    }
    (names.into_iter().cloned().collect(), left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::registry::{Gate, Kind};
    use std::collections::BTreeMap;

    fn registry(gates: &[(&str, &[&str], &[&str])]) -> Registry {
        let gate = |(name, implies, conflicts): &(&str, &[&str], &[&str])| {
            let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let mut more = BTreeMap::new();
            if !conflicts.is_empty() {
                more.insert("conflicts".to_owned(), serde_json::json!(conflicts));
            }
            let gate = Gate {
                name: (*name).to_owned(),
                kind: Kind::Layer,
                path: "hot".to_owned(),
                phase: String::new(),
                counts: String::new(),
                reader: String::new(),
                old_verdict: String::new(),
                implies: strings(implies),
                more,
            };
            ((*name).to_owned(), gate)
        };
        Registry { gates: gates.iter().map(gate).collect(), ..Registry::default() }
    }

    #[test]
    fn conflicting_gates_and_what_needs_them_are_measured_alone() {
        let registry = registry(&[
            ("free", &[], &[]),
            ("more", &[], &[]),
            ("ring", &[], &["slots"]),
            ("ring-stats", &["ring"], &[]),
            ("ring-stats-log", &["ring-stats"], &[]),
            ("slots", &[], &[]),
        ]);
        let (items, left_out) = items(&registry);
        let names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(
            names,
            ["free", "more", "ring", "ring-stats", "ring-stats-log", "slots", "all-gates"]
        );
        let Ok(Question::Gates { gates, called, .. }) = &items[6].question else { panic!() };
        let all: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
        assert_eq!((all, called.as_str()), (vec!["free", "more", "slots"], "all-gates"));
        let why: Vec<String> =
            left_out.iter().map(|left| format!("{} {}", left.name, left.why)).collect();
        assert_eq!(
            why,
            [
                "ring conflicts with slots",
                "ring-stats needs ring",
                "ring-stats-log needs ring-stats"
            ]
        );
    }

    #[test]
    fn gates_of_the_default_build_are_measured_and_marked() {
        let mut registry = registry(&[("free", &[], &[]), ("more", &[], &[])]);
        registry.default.insert("free".to_owned());
        let (items, _) = items(&registry);
        let row = |at: usize| items[at].failed("x".to_owned());
        assert_eq!([0, 1].map(|at| row(at).by_default), [true, false]);
        let differ = |at: usize| items[at].question.as_ref().unwrap().features().unwrap();
        assert_eq!(differ(0).1.len(), 0, "the arm without it has no gate");
        assert_eq!(differ(1).1.into_iter().collect::<Vec<_>>(), ["free"]);
        // All in against all out: then the default build's are out, too.
        assert_eq!((differ(2).0.len(), differ(2).1.len(), row(2).by_default), (2, 0, false));
    }

    #[test]
    fn one_gate_is_no_set() {
        assert_eq!(items(&registry(&[("free", &[], &[])])).0.len(), 1);
    }

    #[test]
    fn a_failure_takes_a_line() {
        let item = &items(&registry(&[("free", &[], &[])])).0[0];
        let row = item.failed("it does not compile:\n\n  error: no `x`\n   --> y\n".to_owned());
        assert_eq!(row.reason, "it does not compile: error: no `x`");
        assert_eq!((row.verdict, row.kind.as_str()), (None, "layer"));
    }
}
