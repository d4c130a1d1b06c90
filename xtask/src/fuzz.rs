//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, built with the compiler's coverage counters and
//! run under libFuzzer for a while each.
//!
//! Needs no nightly and no `cargo fuzz`: the counters are a pass of stable's LLVM, and libFuzzer is
//! built from its crate, which takes a C++ compiler. What an input finds lies in
//! `target/fuzz/artifacts`; the inputs that reached something new are kept in `target/fuzz/corpus`
//! and used again, on top of the seeds in `fuzz/corpus`.

use crate::ab::duration;
use crate::real;
use crate::sanitize::SKIPPED;
use crate::shared::{command, paths, term};
use crate::test::process;
use crate::test::tally::Tally;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

const TARGET: &str = "x86_64-unknown-linux-gnu";
const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);

/// The compiler's flags: counters on every edge and at every comparison, which libFuzzer reads.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask fuzz                          every target for a minute
  cargo xtask fuzz operations --time 10m    one target for ten minutes
  cargo xtask fuzz --time 10s --runs 2000   what CI runs: whichever ends first
  cargo xtask fuzz --list                   the targets and what they try")]
pub struct Args {
    /// Run only these targets
    targets: Vec<String>,

    /// How long to run each target: `90s`, `10m`, `1h`
    #[arg(long, default_value = "60s", value_parser = duration)]
    time: Duration,

    /// End each target after so many inputs, if the time is not up before
    #[arg(long)]
    runs: Option<u64>,

    /// Begin with this seed instead of a random one
    #[arg(long)]
    seed: Option<u32>,

    /// List the targets and run nothing
    #[arg(long)]
    list: bool,

    /// Print the results as JSON; what libFuzzer says goes to standard error
    #[arg(long)]
    json: bool,
}

/// A target: its name, and the first sentence of its source.
struct Target {
    name: String,
    about: String,
}

/// What a target came to.
#[derive(Debug, Serialize)]
struct Outcome {
    name: String,
    inputs: u64,
    seconds: f64,
    /// The file with the input that ended it, if one did.
    finding: Option<String>,
    ended: String,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let mut targets = targets()?;
    let names: Vec<String> = targets.iter().map(|target| target.name.clone()).collect();
    if let Some(unknown) = args.targets.iter().find(|name| !names.contains(name)) {
        bail!("no target `{unknown}`; the targets are: {}", names.join(", "));
    }
    targets.retain(|target| args.targets.is_empty() || args.targets.contains(&target.name));
    if args.list {
        targets.iter().for_each(|target| println!("{:12} {}", target.name, target.about));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(missing) = missing() {
        println!("SKIPPED: {missing}");
        println!("{}", Tally::SKIPPED.line());
        return Ok(ExitCode::from(SKIPPED));
    }
    build(&targets)?;
    let mut outcomes = Vec::new();
    for target in &targets {
        outcomes.push(fuzz(&target.name, &args)?);
    }
    let mut tally = Tally::default();
    for outcome in &outcomes {
        tally += if outcome.ended.is_empty() { Tally::PASSED } else { Tally::FAILED };
    }
    if args.json {
        let all = serde_json::json!({ "targets": outcomes, "tally": tally });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        print_table(&outcomes);
        println!("{}", tally.line());
    }
    for outcome in outcomes.iter().filter(|outcome| !outcome.ended.is_empty()) {
        let input = outcome.finding.as_deref().unwrap_or("no input was kept");
        term::error(&anyhow::anyhow!(
            "{} ended with {}; the input: {input}; to see it again: {} {input}",
            outcome.name,
            outcome.ended,
            binary(&outcome.name).display()
        ));
    }
    Ok(ExitCode::from(u8::from(!tally.good())))
}

fn folder() -> PathBuf {
    paths::root().join("fuzz")
}

fn output(kind: &str, target: &str) -> PathBuf {
    paths::target().join("fuzz").join(kind).join(target)
}

fn binary(target: &str) -> PathBuf {
    paths::target().join("fuzz").join(TARGET).join("release").join(target)
}

/// The targets, by their sources.
fn targets() -> Result<Vec<Target>> {
    let folder = folder().join("fuzz_targets");
    let mut targets = Vec::new();
    for entry in
        std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let about: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
        let about = about.join("");
        let about = about.split_inclusive(". ").next().unwrap_or_default().trim();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        targets.push(Target { name, about: about.trim_end_matches('.').to_owned() });
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(targets)
}

/// What can't be had here, if anything.
fn missing() -> Option<String> {
    if command::output(Command::new("c++").arg("--version")).is_err() {
        return Some("libFuzzer needs a C++ compiler: `apt install g++`".to_owned());
    }
    command::unfetched(&folder().join("Cargo.toml"))
}

fn build(targets: &[Target]) -> Result<()> {
    let mut cargo = command::cargo();
    cargo.args(["build", "--release", "--locked", "--target", TARGET, "--manifest-path"]);
    cargo.arg(folder().join("Cargo.toml"));
    cargo.arg("--target-dir").arg(paths::target().join("fuzz"));
    for target in targets {
        cargo.args(["--bin", &target.name]);
    }
    // With a target named, build scripts stay without counters.
    cargo.env("RUSTFLAGS", FLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS");
    let ended = process::stream(cargo, BUILD_LIMIT, |line| eprintln!("{line}"))?;
    if !ended.success() {
        bail!("the fuzz targets cannot be built ({})", ended.words());
    }
    Ok(())
}

fn fuzz(target: &str, args: &Args) -> Result<Outcome> {
    let (corpus, artifacts, run) =
        (output("corpus", target), output("artifacts", target), output("run", target));
    for folder in [&corpus, &artifacts, &run] {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut fuzzer = Command::new(binary(target));
    // New inputs go to the first folder.
    fuzzer.arg(&corpus);
    let seeds = folder().join("corpus").join(target);
    if seeds.is_dir() {
        fuzzer.arg(seeds);
    }
    fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display()));
    fuzzer.arg(format!("-max_total_time={}", args.time.as_secs().max(1)));
    if let Some(runs) = args.runs {
        fuzzer.arg(format!("-runs={runs}"));
    }
    if let Some(seed) = args.seed {
        fuzzer.arg(format!("-seed={seed}"));
    }
    // An input takes milliseconds; five minutes are a heap that hangs, on any machine.
    fuzzer.args(["-max_len=4096", "-timeout=300", "-rss_limit_mb=4096", "-print_final_stats=1"]);
    fuzzer.current_dir(run);
    term::step("Fuzzing", target);
    let (mut inputs, mut finding, mut last) = (0, None, Vec::new());
    let ended = process::stream(fuzzer, args.time + Duration::from_secs(15 * 60), |line| {
        inputs = executed(line).unwrap_or(inputs);
        if let Some((_, file)) = line.split_once("Test unit written to ") {
            finding = Some(file.trim().to_owned());
        }
        last.push(line.to_owned());
        if last.len() > 40 {
            last.remove(0);
        }
    })?;
    if !ended.success() {
        last.iter().for_each(|line| eprintln!("{line}"));
    }
    Ok(Outcome {
        name: target.to_owned(),
        inputs,
        seconds: ended.took.as_secs_f64(),
        finding,
        ended: if ended.success() { String::new() } else { ended.words() },
    })
}

/// The number of inputs, in libFuzzer's closing statistics.
fn executed(line: &str) -> Option<u64> {
    line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok()
}

fn print_table(outcomes: &[Outcome]) {
    let mut table = real::table();
    table.set_header(["target", "inputs", "time", "result"]);
    for outcome in outcomes {
        let result = if outcome.ended.is_empty() { "no finding" } else { "FOUND" };
        table.add_row([
            outcome.name.clone(),
            outcome.inputs.to_string(),
            format!("{:.0} s", outcome.seconds),
            result.to_owned(),
        ]);
    }
    println!("\n{table}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_built_and_says_what_it_tries() {
        let manifest = std::fs::read_to_string(folder().join("Cargo.toml")).unwrap();
        let targets = targets().unwrap();
        assert_eq!(manifest.matches("[[bin]]").count(), targets.len());
        for target in targets {
            assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
            assert!(target.about.len() > 20, "{}: {}", target.name, target.about);
        }
    }

    #[test]
    fn the_closing_statistics_are_read() {
        assert_eq!(executed("stat::number_of_executed_units: 2000"), Some(2000));
        assert_eq!(executed("stat::new_units_added:          3"), None);
    }
}
