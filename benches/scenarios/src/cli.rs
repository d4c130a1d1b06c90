//! The command line of both binaries: run one scenario, print one line of JSON.
//!
//! Parsed by hand-sized means on purpose: this runs inside the process whose heap is measured.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use lexopt::prelude::*;

use crate::registry::{self, Scenario};
use crate::{Config, Heap, SCENARIOS, find};

const HELP: &str = "\
Runs one workload on the allocator of this process and prints one line of JSON.

Usage: PROGRAM --scenario NAME [--ops N] [--threads N] [--slowdown PERMILLE] [--turns N]
               [--settle MS] [--live N] [--size BYTES]
       PROGRAM --list | --describe

  --scenario NAME      which workload; --list names them
  --ops N              operations to time (default: about a tenth of a second's worth)
  --threads N          threads of a threaded workload (default: 2)
  --slowdown PERMILLE  do that many thousandths of extra work in the timed section
  --turns N            do the timed section in so many turns: a byte is waited for on standard
                       input before each, and a dot is printed after it
  --settle MS          live on nearly idle for so long before reading the final memory
  --live N             blocks of the workload called live (default: 1000)
  --size BYTES         size of a block in the workload called size (default: 64)
  --list               the names, as a JSON array of strings
  --describe           the same with what each one does, its unit and defaults

Example:
  LD_PRELOAD=target/release/libhakmem_preload.so target/release/hakmem-scenario --scenario json
";

/// Runs what the arguments ask for; an error is one line on standard error and a failure status.
pub fn main<H: Heap>() -> ExitCode {
    match run::<H>() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run<H: Heap>() -> Result<()> {
    let mut scenario = None;
    let mut ops = None;
    let mut config = Config {
        ops: 0,
        threads: 2,
        slowdown_permille: 0,
        turns: 0,
        settle_ms: 0,
        live: 1000,
        size: 64,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("scenario") => scenario = Some(parser.value()?.string()?),
            Long("ops") => ops = Some(parser.value()?.parse()?),
            Long("threads") => config.threads = parser.value()?.parse()?,
            Long("slowdown") => config.slowdown_permille = parser.value()?.parse()?,
            Long("turns") => config.turns = parser.value()?.parse()?,
            Long("settle") => config.settle_ms = parser.value()?.parse()?,
            Long("live") => config.live = parser.value()?.parse()?,
            Long("size") => config.size = parser.value()?.parse()?,
            Long("list") => return print(&list()),
            Long("describe") => return print(&describe()),
            Short('h') | Long("help") => return print(HELP.trim_end()),
            other => return Err(other.unexpected().into()),
        }
    }
    let name =
        scenario.context("no scenario named; use --scenario NAME, and --list for the names")?;
    let Some(known) = find(&name) else {
        bail!("no scenario is called '{name}'; expected one of {}", list());
    };
    config.ops = ops.unwrap_or(known.ops);
    ensure!(config.ops > 0, "--ops is 0, expected at least 1");
    let least = known.least_threads.max(1);
    ensure!(
        (least..=256).contains(&config.threads),
        "--threads is {}, expected {least} to 256 for {name}",
        config.threads
    );
    ensure!(
        config.turns == 0 || known.resumes(),
        "--turns is {}, but {name} is done at once: leave it out",
        config.turns
    );
    ensure!(
        config.turns <= config.ops,
        "--turns is {}, expected at most the {} operations",
        config.turns,
        config.ops
    );
    ensure!(
        (1..=100_000_000).contains(&config.live),
        "--live is {}, expected 1 to 100000000",
        config.live
    );
    // The check of the ends needs two bytes; sizes are remembered in 32 bits.
    ensure!(
        (8..=1 << 31).contains(&config.size),
        "--size is {}, expected 8 to {}",
        config.size,
        1_u64 << 31
    );
    let report = registry::run::<H>(known.name, &config).context("the scenario has no code")?;
    let live = report.live_kib.map_or(String::new(), |kib| format!(",\"live_kib\":{kib}"));
    print(&format!(
        "{{\"scenario\":\"{}\",\"ops\":{},\"ns\":{},\"cpu_ns\":{},\"checksum\":{},\"faults\":{},\"rss_kib\":{},\"peak_kib\":{}{live}}}",
        known.name,
        report.done.ops,
        report.ns,
        report.cpu_ns,
        // As many bits as every JSON reader keeps exactly.
        report.done.checksum & ((1 << 53) - 1),
        report.faults,
        report.rss_kib,
        report.peak_kib,
    ))
}

fn print(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("cannot write to standard output")
}

/// Those with a row of their own in the tables.
fn listed() -> impl Iterator<Item = &'static Scenario> {
    SCENARIOS.iter().filter(|scenario| scenario.listed())
}

fn list() -> String {
    let names: Vec<_> = listed().map(|s| format!("\"{}\"", s.name)).collect();
    format!("[{}]", names.join(","))
}

fn describe() -> String {
    let rows: Vec<_> = listed()
        .map(|s| {
            format!(
                "{{\"name\":\"{}\",\"about\":\"{}\",\"unit\":\"{}\",\"ops\":{},\"threaded\":{},\"resumes\":{},\"least_threads\":{},\"kind\":\"{}\",\"settle_ms\":{}}}",
                s.name,
                s.about,
                s.unit,
                s.ops,
                s.threaded(),
                s.resumes(),
                s.least_threads,
                s.kind.name(),
                s.settle_ms
            )
        })
        .collect();
    format!("[{}]", rows.join(",\n "))
}
