//! The rows of a run: which there are, and what it takes to run one.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::programs::Program;
use crate::shared::registry;

/// A scenario, as the scenario program describes it.
#[derive(Clone, Debug, Deserialize)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// The work in a few words.
    pub about: String,
    /// What one operation is.
    pub unit: String,
    /// Operations of one run.
    pub ops: u64,
    /// The least number of threads it can do with; 0 if it has one and no choice.
    pub least_threads: usize,
    /// `spec`, `extra` or `memory`.
    pub kind: String,
    /// Milliseconds of idleness before its final memory is read.
    pub settle_ms: u64,
}

/// What a row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// A scenario by which allocators are compared.
    Spec,
    /// A further scenario.
    Extra,
    /// A scenario whose memory is the point, and whose time says nothing.
    Memory,
    /// A scenario on a number of threads.
    Threads,
    /// A real program under the preload.
    Programs,
    /// A Rust program with the allocator compiled in.
    Apps,
    /// Starting a program that does nothing.
    Start,
}

/// Rows that share tables, because they share units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// All scenarios.
    Scenarios,
    /// Real programs.
    Programs,
    /// Rust programs.
    Apps,
    /// Starting up.
    Start,
}

/// Every family, in the order of the tables.
pub const FAMILIES: [Family; 4] =
    [Family::Scenarios, Family::Programs, Family::Apps, Family::Start];

/// How a row is run.
#[derive(Clone, Debug)]
pub enum Work {
    /// By the scenario program, with these arguments.
    Scenario(Vec<String>),
    /// As a program of its own.
    Program(Program),
    /// As the Rust program of the row's name.
    App,
    /// By starting this program again and again.
    Start(PathBuf),
}

/// One row to run.
#[derive(Clone, Debug, Serialize)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// The work in a few words.
    pub about: String,
    /// What one operation is.
    pub unit: String,
    /// Operations of one run.
    pub ops: u64,
    /// Whether it runs on several threads or processes: judged by wall time.
    pub threaded: bool,
    /// Milliseconds of idleness before its final memory is read.
    pub settle_ms: u64,
    /// What it belongs to.
    pub group: Group,
    /// How it is run.
    #[serde(skip)]
    pub work: Work,
}

impl Task {
    /// A scenario as it comes.
    pub fn scenario(scenario: &Scenario) -> Task {
        Task {
            name: scenario.name.clone(),
            about: scenario.about.clone(),
            unit: scenario.unit.clone(),
            ops: scenario.ops,
            threaded: scenario.least_threads > 0,
            settle_ms: scenario.settle_ms,
            group: match scenario.kind.as_str() {
                "spec" => Group::Spec,
                "memory" => Group::Memory,
                _ => Group::Extra,
            },
            work: Work::Scenario(vec!["--scenario".into(), scenario.name.clone()]),
        }
    }

    /// A scenario on a number of threads, or nothing if it cannot do with so few.
    pub fn on_threads(scenario: &Scenario, threads: usize) -> Option<Task> {
        let able = scenario.least_threads > 0 && threads >= scenario.least_threads;
        able.then(|| Task {
            name: format!("{}-{threads}", scenario.name),
            group: Group::Threads,
            work: Work::Scenario(vec![
                "--scenario".into(),
                scenario.name.clone(),
                "--threads".into(),
                threads.to_string(),
            ]),
            ..Task::scenario(scenario)
        })
    }

    /// A real program.
    pub fn program(program: Program) -> Task {
        Task {
            name: program.name.to_owned(),
            about: program.about.to_owned(),
            unit: "run".into(),
            ops: 1,
            // The work is one thread's, but not all the processes and threads around it are.
            threaded: true,
            settle_ms: 0,
            group: Group::Programs,
            work: Work::Program(program),
        }
    }

    /// Starting a program `count` times.
    pub fn start(program: PathBuf, count: u64) -> Task {
        Task {
            name: "start-up".into(),
            about: format!("{} started and ended {count} times a run", program.display()),
            unit: "process".into(),
            ops: count,
            threaded: false,
            settle_ms: 0,
            group: Group::Start,
            work: Work::Start(program),
        }
    }

    /// Its family.
    pub fn family(&self) -> Family {
        match self.group {
            Group::Spec | Group::Extra | Group::Memory | Group::Threads => Family::Scenarios,
            Group::Programs => Family::Programs,
            Group::Apps => Family::Apps,
            Group::Start => Family::Start,
        }
    }

    /// A row that takes seconds to settle is not run more often than this.
    pub fn runs(&self, wanted: usize) -> usize {
        if self.settle_ms >= 1000 { wanted.min(3) } else { wanted }
    }

    /// A fifth of the work; but rows about memory need their whole heap to say anything.
    pub fn quick(&mut self) {
        if self.settle_ms == 0 && self.family() == Family::Scenarios {
            self.ops = (self.ops / 5).max(1);
        }
    }
}

/// Fails at the first name that is not among the known ones, naming the nearest and all.
pub fn check_names(what: &str, asked: &[String], known: &[&str]) -> Result<()> {
    for name in asked {
        if !known.contains(&name.as_str()) {
            let near = registry::nearest(name, known.iter().copied())
                .map_or(".".to_owned(), |near| format!("; did you mean '{near}'?"));
            bail!("no {what} is called '{name}'{near} Expected one of {}", known.join(", "));
        }
    }
    Ok(())
}

/// Checks the numbers of `--threads`.
pub fn check_threads(counts: &[usize]) -> Result<()> {
    for count in counts {
        ensure!(
            (1..=256).contains(count),
            "--threads names {count}, expected numbers from 1 to 256"
        );
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A scenario of that kind.
    pub fn scenario(name: &str, kind: &str, least_threads: usize) -> Scenario {
        Scenario {
            name: name.into(),
            about: format!("about {name}"),
            unit: "block".into(),
            ops: 100,
            least_threads,
            kind: kind.into(),
            settle_ms: 0,
        }
    }

    #[test]
    fn threads_make_rows_of_their_own() {
        let larson = scenario("larson", "spec", 1);
        let task = Task::on_threads(&larson, 8).unwrap();
        assert_eq!((task.name.as_str(), task.group), ("larson-8", Group::Threads));
        assert!(matches!(&task.work, Work::Scenario(words) if words[2..] == ["--threads", "8"]));
        assert!(Task::on_threads(&scenario("remote", "spec", 2), 1).is_none());
        assert!(Task::on_threads(&scenario("json", "spec", 0), 4).is_none());
        assert_eq!(Task::scenario(&larson).group, Group::Spec);
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_and_all() {
        let asked = ["larsen".to_owned()];
        let error = check_names("scenario", &asked, &["larson", "mir"]).unwrap_err().to_string();
        assert!(
            error.contains("did you mean 'larson'?") && error.contains("larson, mir"),
            "{error}"
        );
        assert!(check_threads(&[1, 0]).unwrap_err().to_string().contains("names 0"));
        assert!(check_threads(&[1, 64]).is_ok());
    }

    #[test]
    fn slow_rows_run_less_often_and_memory_rows_keep_their_heap() {
        let mut idle =
            Task::scenario(&Scenario { settle_ms: 2000, ..scenario("idle", "memory", 0) });
        assert_eq!((idle.runs(7), idle.runs(2)), (3, 2));
        idle.quick();
        assert_eq!(idle.ops, 100);
        let mut mir = Task::scenario(&scenario("mir", "spec", 0));
        mir.quick();
        assert_eq!((mir.ops, mir.runs(7)), (20, 7));
    }
}
