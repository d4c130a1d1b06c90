//! `cargo xtask ci`: everything that CI runs, in order, with one table and one count at the end.
//!
//! The jobs are the scripts of `ci/`, found by looking there: `ci/20-clippy.sh` is the job
//! `clippy`, and the first comment of the script says what it does. A script ends with 0 (good), 77
//! (skipped: it has said what is missing), or anything else (failed). Those of `ci/long/` run where
//! they are asked for: by name, or all with `--long`.

use crate::real;
use crate::sanitize::SKIPPED;
use crate::shared::{paths, term};
use crate::test::process;
use crate::test::tally::Tally;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Longest time one job may take, and one of those that are known to take long: many times what it does,
/// so that only one that hangs meets it, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(2 * 60 * 60);
const LONG_LIMIT: Duration = Duration::from_secs(6 * 60 * 60);

/// Arguments of `cargo xtask ci`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask ci                    every job
  cargo xtask ci format clippy      these two
  cargo xtask ci --long             every job, and those that take hours
  cargo xtask ci trust              one of these
  cargo xtask ci --list             the jobs and what they do")]
pub struct Args {
    /// Run only these jobs, in the order of the list
    jobs: Vec<String>,

    /// Run the jobs of ci/long, too
    #[arg(long)]
    long: bool,

    /// List the jobs and run nothing
    #[arg(long)]
    list: bool,

    /// Print the results as JSON; what the jobs say goes to standard error
    #[arg(long)]
    json: bool,
}

/// One script of `ci/`.
struct Job {
    name: String,
    about: String,
    script: PathBuf,
    /// Of `ci/long/`: only where asked for.
    long: bool,
}

/// What a job came to.
#[derive(Debug, Serialize)]
struct Outcome {
    name: String,
    result: &'static str,
    tally: Tally,
    seconds: f64,
    /// Lines in which the job says what it skipped.
    skipped: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let mut jobs = Job::all("ci", false)?;
    jobs.extend(Job::all("ci/long", true)?);
    let names: Vec<String> = jobs.iter().map(|job| job.name.clone()).collect();
    if let Some(unknown) = args.jobs.iter().find(|job| !names.contains(job)) {
        bail!("no job `{unknown}`; the jobs are: {}", names.join(", "));
    }
    jobs.retain(|job| match args.jobs.is_empty() {
        true => args.list || args.long || !job.long,
        false => args.jobs.contains(&job.name),
    });
    if args.list {
        for job in &jobs {
            let long = if job.long { "(long) " } else { "" };
            println!("{:20} {long}{}", job.name, job.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut outcomes = Vec::new();
    for (number, job) in jobs.iter().enumerate() {
        let position = format!("{}/{}", number + 1, jobs.len());
        outcomes.push(job.run(&position, args.json)?);
    }
    let mut tally = Tally::default();
    for outcome in &outcomes {
        tally += outcome.tally;
    }
    if args.json {
        let all = serde_json::json!({ "jobs": outcomes, "tally": tally });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        print_table(&outcomes);
        println!("{}", tally.line());
    }
    Ok(ExitCode::from(u8::from(!tally.good())))
}

impl Job {
    /// Every job of a folder, in the order of the scripts' numbers.
    fn all(folder: &str, long: bool) -> Result<Vec<Job>> {
        let folder = paths::root().join(folder);
        let mut scripts = Vec::new();
        for entry in std::fs::read_dir(&folder)
            .with_context(|| format!("cannot list {}", folder.display()))?
        {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "sh") {
                scripts.push(path);
            }
        }
        scripts.sort();
        scripts.into_iter().map(|script| Job::read(script, long)).collect()
    }

    fn read(script: PathBuf, long: bool) -> Result<Job> {
        let stem = script.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Some((_, name)) = stem.split_once('-') else {
            bail!("{}: a job's script is called NUMBER-NAME.sh", script.display());
        };
        let text = std::fs::read_to_string(&script)
            .with_context(|| format!("cannot read {}", script.display()))?;
        let about = text
            .lines()
            .skip(1)
            .map_while(|line| line.strip_prefix("# "))
            .collect::<Vec<_>>()
            .join(" ");
        if about.is_empty() {
            bail!("{}: expected a comment on what the job does", script.display());
        }
        Ok(Job { name: name.to_owned(), about, script, long })
    }

    fn run(&self, position: &str, quiet: bool) -> Result<Outcome> {
        term::step("Job", format!("{} ({position}): {}", self.name, self.about));
        let mut bash = Command::new("bash");
        bash.arg(&self.script).current_dir(paths::root());
        let (mut cargo, mut closing, mut skipped) = (Tally::default(), None, Vec::new());
        let ended = process::stream(bash, if self.long { LONG_LIMIT } else { LIMIT }, |line| {
            if let Some(counts) = Tally::from_cargo(line) {
                cargo += counts;
            }
            if let Some(counts) = Tally::from_line(line) {
                closing = Some(counts);
            }
            if line.trim_start().starts_with("SKIPPED") || line.starts_with("missing: ") {
                skipped.push(line.trim().to_owned());
            }
            if quiet {
                eprintln!("{line}");
            } else {
                println!("{line}");
            }
        })?;
        let skip = ended.code() == Some(i32::from(SKIPPED));
        let mut tally = closing.unwrap_or(cargo);
        if skip {
            tally = Tally::SKIPPED;
        } else if !ended.success() && tally.failed == 0 {
            tally += Tally::FAILED;
        } else if tally == Tally::default() {
            tally = Tally::PASSED;
        }
        let result = match (skip, ended.success()) {
            (true, _) => "SKIPPED",
            (_, true) => "passed",
            _ => "FAILED",
        };
        let words = format!(
            "{} {result} ({}), {:.0} s",
            self.name,
            ended.words(),
            ended.took.as_secs_f64()
        );
        term::step("Ended", words);
        Ok(Outcome {
            name: self.name.clone(),
            result,
            tally,
            seconds: ended.took.as_secs_f64(),
            skipped,
        })
    }
}

fn print_table(outcomes: &[Outcome]) {
    let mut table = real::table();
    table.set_header(["job", "result", "passed", "failed", "skipped", "time"]);
    for outcome in outcomes {
        table.add_row([
            outcome.name.clone(),
            outcome.result.to_owned(),
            outcome.tally.passed.to_string(),
            outcome.tally.failed.to_string(),
            outcome.tally.skipped.to_string(),
            format!("{:.0} s", outcome.seconds),
        ]);
    }
    println!("\n{table}");
    for outcome in outcomes {
        for line in &outcome.skipped {
            println!("{}: {line}", outcome.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(script: &str) -> (tempfile::TempDir, Job) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("10-try.sh");
        std::fs::write(&path, format!("#!/usr/bin/env bash\n# Tries.\n{script}\n")).unwrap();
        (folder, Job::read(path, false).unwrap())
    }

    #[test]
    fn a_job_counts_what_its_script_says() {
        let cargo =
            "echo 'test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out'";
        for (script, result, counts) in [
            ("true".to_owned(), "passed", (1, 0, 0)),
            ("false".to_owned(), "FAILED", (0, 1, 0)),
            ("echo SKIPPED: no tool; exit 77".to_owned(), "SKIPPED", (0, 0, 1)),
            (format!("{cargo}; {cargo}"), "passed", (6, 0, 2)),
            (format!("{cargo}; exit 9"), "FAILED", (3, 1, 1)),
            (format!("{cargo}; echo '8 passed, 1 failed'; exit 1"), "FAILED", (8, 1, 0)),
        ] {
            let (_folder, job) = job(&script);
            assert_eq!((job.name.as_str(), job.about.as_str()), ("try", "Tries."));
            let outcome = job.run("1/1", true).unwrap();
            let tally = outcome.tally;
            assert_eq!(outcome.result, result, "{script}");
            assert_eq!((tally.passed, tally.failed, tally.skipped), counts, "{script}");
        }
    }

    #[test]
    fn every_script_of_the_checkout_is_a_job() {
        let mut jobs = Job::all("ci", false).unwrap();
        jobs.extend(Job::all("ci/long", true).unwrap());
        assert!(jobs.iter().any(|job| job.name == "tests" && !job.long));
        assert!(jobs.iter().any(|job| job.name == "trust" && job.long));
        let names: std::collections::BTreeSet<_> = jobs.iter().map(|job| &job.name).collect();
        assert_eq!(names.len(), jobs.len(), "two jobs of one name");
    }
}
