//! Explorations: a scenario in every interleaving, then with one ordering less at a time. What such a
//! flaw leaves unnoticed ends the test, as what a sound scenario comes to does.

use super::{Execution, Exploration, ONE, Site, here, shadow, written};
use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{self, AssertUnwindSafe};
use std::string::{String, ToString};
use std::sync::PoisonError;
use std::vec::Vec;

/// An ordering (or a fence, or a wake-up) that is taken away: every line of `file` that holds
/// `text`.
#[derive(Clone, Copy)]
pub(crate) struct Flaw {
    pub(crate) file: &'static str,
    pub(crate) source: &'static str,
    pub(crate) text: &'static str,
}

impl Flaw {
    fn sites(&self) -> BTreeSet<Site> {
        let lines = (1..).zip(self.source.lines()).filter(|(_, line)| line.contains(self.text));
        let sites: BTreeSet<Site> = lines.map(|(line, _)| (self.file, line)).collect();
        assert!(!sites.is_empty(), "{} has no line with `{}`", self.file, self.text);
        sites
    }
}

/// What an exploration came to.
struct Explored {
    executions: u64,
    seen: BTreeMap<Site, &'static str>,
    /// What was found, if anything.
    found: Option<String>,
}

/// Preemptions of a thread that an interleaving may have; `None`: any number.
fn bound() -> Option<usize> {
    match std::env::var("HAKMEM_MODEL_PREEMPTIONS").as_deref() {
        Ok("any") => None,
        Ok(number) => Some(number.parse().expect("HAKMEM_MODEL_PREEMPTIONS: a number, or `any`")),
        Err(_) => Some(2),
    }
}

fn explore(scenario: fn(), flaw: Option<BTreeSet<Site>>) -> Explored {
    here(|it| *it = Exploration { flaw, ..Exploration::default() });
    loop {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = bound();
        builder.max_branches = 100_000;
        let run = || {
            builder.check(move || {
                begin();
                scenario();
                here(|it| {
                    it.running = None;
                    it.executions += 1;
                });
            });
        };
        let ended = panic::catch_unwind(AssertUnwindSafe(run));
        let Exploration { learnt, executions, .. } = here(|it| {
            it.running = None;
            Exploration { learnt: it.learnt, executions: it.executions, ..Exploration::default() }
        });
        if learnt {
            here(|it| {
                it.learnt = false;
                it.executions = 0;
            });
            continue;
        }
        let found = ended.err().map(|payload| {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
            text.unwrap_or_else(|| "a panic without words".to_string())
        });
        let seen = here(|it| core::mem::take(&mut it.seen));
        return Explored { executions, seen, found };
    }
}

/// An execution begins: makes the shadows of all that is known.
fn begin() {
    let known = here(|it| {
        it.running = Some(Execution::default());
        it.known.clone()
    });
    for (at, first) in known {
        match first {
            Some(first) => drop(shadow(at, first)),
            None => written(core::ptr::without_provenance::<u8>(at)),
        }
    }
}

/// Explores a scenario in which a step is left out: something must be found.
pub(crate) fn must_find(name: &str, scenario: fn()) {
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let result = explore(scenario, None);
    panic::set_hook(hook);
    assert!(result.found.is_some(), "model {name}: nothing was found");
    std::println!("model {name}: planted, found: {}", first_line(result.found));
}

fn first_line(found: Option<String>) -> String {
    let found = found.unwrap_or_default();
    let line = found.lines().find(|line| !line.trim().is_empty());
    line.unwrap_or_default().trim().to_string()
}

/// Explores every interleaving of a scenario (up to the bound on preemptions), and says how many
/// there were; then takes each flaw in turn, which must be found.
///
/// With `HAKMEM_MODEL_WEAKEN` set, also takes away every other ordering that the scenario meets, one
/// after another, and says which of them it noticed.
pub(crate) fn check(name: &str, scenario: fn(), flaws: &[Flaw]) {
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let clean = explore(scenario, None);
    if let Some(found) = clean.found {
        panic!("model {name}: {found} (interleaving {})", clean.executions + 1);
    }
    let bound = bound().map_or("any number of".to_string(), |most| std::format!("up to {most}"));
    std::println!(
        "model {name}: {} interleavings, {bound} preemptions, 0 findings",
        clean.executions
    );
    // What is planted is meant to be found: its panics are no news.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let planted: Vec<_> =
        flaws.iter().map(|flaw| (flaw, explore(scenario, Some(flaw.sites())))).collect();
    let mut weakened = Vec::new();
    if std::env::var_os("HAKMEM_MODEL_WEAKEN").is_some() {
        for (&site, &what) in &clean.seen {
            weakened.push((site, what, explore(scenario, Some(BTreeSet::from([site])))));
        }
    }
    panic::set_hook(hook);
    for (flaw, result) in planted {
        assert!(
            result.found.is_some(),
            "model {name}: without `{}` in {} nothing was found in {} interleavings",
            flaw.text,
            flaw.file,
            result.executions
        );
        let found = first_line(result.found);
        std::println!("model {name}: planted, without `{}`, found: {found}", flaw.text);
    }
    for ((file, line), what, result) in weakened {
        let word = if result.found.is_some() { "noticed" } else { "not noticed" };
        std::println!("model {name}: {file}:{line} without {what}: {word}");
    }
}
