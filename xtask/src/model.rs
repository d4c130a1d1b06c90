//! `cargo xtask model`: the concurrent parts of the heap under a model checker.
//!
//! Builds the unit tests with `--cfg hakmem_model`, which puts loom under the atomics
//! (`src/base/sync/model.rs`), runs the scenarios in the files called `model.rs`, and adds up what
//! they say. docs/model.md tells what each of them looks for.

use crate::real;
use crate::sanitize::SKIPPED;
use crate::shared::registry::PACKAGE;
use crate::shared::{command, paths, term};
use crate::test::process;
use crate::test::tally::Tally;
use anyhow::{Result, bail};
use serde::Serialize;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Gates that have something to model.
const GATES: &str = "background-worker,tiny-debug-ring";

/// Longest time that all scenarios may take.
const LIMIT: Duration = Duration::from_secs(4 * 60 * 60);

/// Arguments of `cargo xtask model`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask model                       every scenario, up to 2 preemptions: a minute
  cargo xtask model turn                  scenarios whose name contains `turn`
  cargo xtask model --preemptions 4       more interleavings: minutes
  cargo xtask model --preemptions any lock
                                          all of them: hours for some scenarios
  cargo xtask model --weaken              take each ordering away in turn and say who noticed")]
pub struct Args {
    /// Run only scenarios of files whose path contains this word: `turn`, `park`, `lock`
    filter: Option<String>,

    /// Times that a thread may be interrupted in an interleaving: a number, or `any`
    #[arg(long, default_value = "2", value_parser = preemptions)]
    preemptions: String,

    /// Take every ordering that a scenario meets away, one after another, and list which of them
    /// the scenario noticed
    #[arg(long)]
    weaken: bool,

    /// Print the results as JSON; what the scenarios say goes to standard error
    #[arg(long)]
    json: bool,
}

fn preemptions(text: &str) -> Result<String, String> {
    if text == "any" || text.parse::<u32>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("expected a number, or `any`".to_owned())
}

/// What one scenario came to.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Scenario {
    name: String,
    interleavings: u64,
    /// Errors that were put in and found.
    planted: usize,
    /// Orderings taken away: noticed, and not.
    noticed: Vec<String>,
    unnoticed: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    if let Some(missing) = command::unfetched(&paths::root().join("Cargo.toml")) {
        println!("SKIPPED: {missing}");
        println!("{}", Tally::SKIPPED.line());
        return Ok(ExitCode::from(SKIPPED));
    }
    let mut scenarios: Vec<Scenario> = Vec::new();
    let mut tally = Tally::default();
    let ended = process::stream(invocation(&args), LIMIT, |line| {
        if let Some(counts) = Tally::from_cargo(line) {
            tally += counts;
        }
        let known = read(line, &mut scenarios);
        if args.json || !known {
            eprintln!("{line}");
        } else if args.weaken {
            println!("{}", from_model(line));
        }
    })?;
    if ended.success() && scenarios.is_empty() {
        let filter = args.filter.unwrap_or_default();
        bail!("no scenario's path contains `{filter}`; without a word all of them run");
    }
    if !ended.success() && tally.failed == 0 {
        println!("the scenarios ended with {}", ended.words());
        tally += Tally::FAILED;
    }
    let total: u64 = scenarios.iter().map(|it| it.interleavings).sum();
    if args.json {
        let all = serde_json::json!({
            "scenarios": scenarios, "interleavings": total,
            "preemptions": args.preemptions, "tally": tally,
        });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        print_table(&scenarios, args.weaken);
        let planted: usize = scenarios.iter().map(|it| it.planted).sum();
        term::step(
            "Explored",
            format!(
                "{total} interleavings with up to {} preemptions in {:.0} s; {planted} planted errors, all found",
                args.preemptions,
                ended.took.as_secs_f64()
            ),
        );
        println!("{}", tally.line());
    }
    Ok(ExitCode::from(u8::from(!tally.good())))
}

fn invocation(args: &Args) -> Command {
    let mut cargo = command::cargo();
    cargo.args(["test", "--package", PACKAGE, "--lib", "--features", GATES]);
    cargo.args(["--target-dir".as_ref(), paths::target().join("model").as_os_str()]);
    // Of the portable system below the model a part is not used.
    cargo.env("RUSTFLAGS", "--cfg hakmem_model -Adead_code").env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo.env("HAKMEM_MODEL_PREEMPTIONS", &args.preemptions);
    if args.weaken {
        cargo.env("HAKMEM_MODEL_WEAKEN", "1");
    }
    let filter = args.filter.as_deref().unwrap_or_default();
    cargo.args([&format!("{filter}::model::"), "--", "--nocapture", "--test-threads=1"]);
    cargo
}

/// The part of a line that a scenario wrote: the test's name may stand before it.
fn from_model(line: &str) -> &str {
    line.find("model ")
        .filter(|at| *at == 0 || line[..*at].ends_with("... "))
        .map_or(line, |at| &line[at..])
}

/// Reads a scenario's line; false where it is none.
fn read(line: &str, scenarios: &mut Vec<Scenario>) -> bool {
    let Some((name, what)) =
        from_model(line).strip_prefix("model ").and_then(|rest| rest.split_once(": "))
    else {
        return false;
    };
    let count = what.split_once(" interleavings,").and_then(|(count, _)| count.parse().ok());
    if let Some(interleavings) = count {
        let name = name.to_owned();
        scenarios.push(Scenario { name, interleavings, ..Scenario::default() });
        return true;
    }
    let Some(last) = scenarios.last_mut() else { return false };
    if what.starts_with("planted") {
        last.planted += 1;
    } else if let Some(what) = what.strip_suffix(": not noticed") {
        last.unnoticed.push(what.to_owned());
    } else if let Some(what) = what.strip_suffix(": noticed") {
        last.noticed.push(what.to_owned());
    } else {
        return false;
    }
    true
}

fn print_table(scenarios: &[Scenario], weaken: bool) {
    let mut table = real::table();
    let mut header = vec!["scenario", "interleavings", "planted errors found"];
    if weaken {
        header.push("orderings needed");
    }
    table.set_header(header);
    for it in scenarios {
        let mut row = vec![it.name.clone(), it.interleavings.to_string(), it.planted.to_string()];
        if weaken {
            let all = it.noticed.len() + it.unnoticed.len();
            row.push(format!("{} of {all}", it.noticed.len()));
        }
        table.add_row(row);
    }
    println!("\n{table}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scenarios_say_is_added_up() {
        let mut scenarios = Vec::new();
        let lines = [
            (
                "test os::lock::model::all ... model lock: 158 interleavings, up to 2 preemptions, 0 findings",
                true,
            ),
            ("model lock: planted, without `x`, found: deadlock", true),
            ("model lock: src/os/lock.rs:53 without Acquire: noticed", true),
            ("model lock: src/os/lock.rs:83 without wake: not noticed", true),
            ("ok", false),
            ("thread 'a' panicked at src/base/sync/model.rs:1:", false),
        ];
        for (line, known) in lines {
            assert_eq!(read(line, &mut scenarios), known, "{line}");
        }
        let wanted = Scenario {
            name: "lock".to_owned(),
            interleavings: 158,
            planted: 1,
            noticed: vec!["src/os/lock.rs:53 without Acquire".to_owned()],
            unnoticed: vec!["src/os/lock.rs:83 without wake".to_owned()],
        };
        assert_eq!(scenarios, [wanted]);
    }

    #[test]
    fn the_bound_is_a_number_or_any() {
        assert!(preemptions("3").is_ok() && preemptions("any").is_ok());
        assert_eq!(preemptions("some").unwrap_err(), "expected a number, or `any`");
    }
}
