//! Which rows the arguments ask for.
//!
//! Without any of `--threads`, `--programs`, `--start-up` and `--all` it is the scenarios; with them,
//! what they name; `--scenario` and `--program` narrow that down, and ask for what they name.

use anyhow::{Context, Result, ensure};

use super::peers::Missing;
use super::task::{Scenario, Task, check_names};
use super::{Args, programs};
use crate::shared::{paths, term};

/// The threads of `--all`.
const THREADS: [usize; 2] = [2, 8];

/// The rows, in the order of the tables; what cannot be run is added to `missing`, and told.
pub fn tasks(
    args: &Args,
    scenarios: &[Scenario],
    apps: Vec<Task>,
    missing: &mut Vec<Missing>,
) -> Result<Vec<Task>> {
    let named = |name: &String| args.scenario.contains(name);
    let names: Vec<&str> = scenarios
        .iter()
        .map(|scenario| scenario.name.as_str())
        .chain(apps.iter().map(|app| app.name.as_str()))
        .collect();
    // The Rust programs are known only once they are built.
    if !args.linked || !apps.is_empty() {
        check_names("scenario", &args.scenario, &names)?;
    }
    let programs = args.programs || !args.program.is_empty();
    let special = programs || args.start_up || !args.threads.is_empty();
    let everything = args.scenario.is_empty();

    let mut tasks = Vec::new();
    for scenario in scenarios {
        let threaded = scenario.least_threads > 0;
        // A threaded one that is named runs on the threads that are named.
        let wanted = if everything {
            args.all || !special
        } else {
            named(&scenario.name) && (args.threads.is_empty() || !threaded)
        };
        if wanted {
            tasks.push(Task::scenario(scenario));
        }
    }
    let all_threads =
        if args.threads.is_empty() && args.all { &THREADS[..] } else { &args.threads };
    for scenario in scenarios.iter().filter(|scenario| everything || named(&scenario.name)) {
        let on = |threads: &usize| Task::on_threads(scenario, *threads);
        let rows: Vec<Task> = all_threads.iter().filter_map(on).collect();
        if rows.is_empty() && !everything && scenario.least_threads > 0 && !all_threads.is_empty() {
            ensure!(
                scenario.least_threads <= all_threads.iter().copied().max().unwrap_or(0),
                "{} needs at least {} threads; say so with --threads",
                scenario.name,
                scenario.least_threads
            );
        }
        tasks.extend(rows);
    }
    tasks.extend(apps.into_iter().filter(|app| everything || named(&app.name)));
    if programs || args.all {
        let (ready, absent) = programs::find(&args.program)?;
        for Missing { name, reason } in &absent {
            term::note(format!("{name} is left out: {reason}"));
        }
        tasks.extend(ready.into_iter().map(Task::program));
        missing.extend(absent);
    }
    if args.start_up || args.all {
        let program = paths::which("true").context("there is no program called `true` on PATH")?;
        tasks.push(Task::start(program, if args.quick { 20 } else { 50 }));
    }
    if args.quick {
        tasks.iter_mut().for_each(Task::quick);
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use super::super::task::tests::scenario;
    use super::*;

    fn all() -> Vec<Scenario> {
        vec![
            scenario("mir", "spec", 0),
            scenario("remote", "spec", 2),
            scenario("larson", "spec", 1),
            scenario("idle", "memory", 0),
        ]
    }

    fn names(args: &Args) -> Vec<String> {
        let tasks = tasks(args, &all(), Vec::new(), &mut Vec::new()).unwrap();
        tasks.into_iter().map(|task| task.name).collect()
    }

    #[test]
    fn without_options_the_scenarios_run() {
        assert_eq!(names(&Args::default()), ["mir", "remote", "larson", "idle"]);
        let one = Args { scenario: vec!["mir".into()], ..Args::default() };
        assert_eq!(names(&one), ["mir"]);
    }

    #[test]
    fn threads_take_the_place_of_the_scenarios() {
        let args = Args { threads: vec![1, 8], ..Args::default() };
        assert_eq!(names(&args), ["remote-8", "larson-1", "larson-8"]);
        let both = ["larson".to_owned(), "mir".to_owned()];
        let args = Args { threads: vec![2], scenario: both.into(), ..Args::default() };
        assert_eq!(names(&args), ["mir", "larson-2"]);
        let args = Args { threads: vec![1], scenario: vec!["remote".into()], ..Args::default() };
        let error = tasks(&args, &all(), Vec::new(), &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("remote needs at least 2"), "{error}");
    }

    #[test]
    fn everything_is_everything_once() {
        let names = names(&Args { all: true, ..Args::default() });
        for name in ["mir", "larson", "larson-2", "larson-8", "remote-2", "idle", "start-up"] {
            assert_eq!(names.iter().filter(|found| *found == name).count(), 1, "{name}: {names:?}");
        }
    }

    #[test]
    fn start_up_alone_is_alone() {
        assert_eq!(names(&Args { start_up: true, ..Args::default() }), ["start-up"]);
    }

    #[test]
    fn an_unknown_scenario_names_the_nearest() {
        let args = Args { scenario: vec!["larsen".into()], ..Args::default() };
        let error = tasks(&args, &all(), Vec::new(), &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("did you mean 'larson'?"), "{error}");
    }
}
