//! `hakmem-launch`: runs another program a number of times and prints what its processes used.
//!
//! A program of its own because of memory: the kernel counts the pages of the process that started a
//! program to that program's peak, so whoever starts it must be small. Nothing but the programs it
//! starts gets the allocator under test. Wall time is from the start to the end of each process;
//! processor time, page faults and peak include the processes that it waited for.

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use hakmem_scenarios::process::Clock;
use lexopt::prelude::*;

const HELP: &str = "\
Runs a program a number of times and prints one line of JSON with what its processes used.

Usage: hakmem-launch [--count N] [--preload LIBRARY] [--stdout FILE] -- PROGRAM [ARGUMENT]...

  --count N          how many times, one after another (default: 1)
  --preload LIBRARY  set LD_PRELOAD for the program, not for this one
  --stdout FILE      where its standard output goes (default: nowhere)

Example:
  hakmem-launch --count 100 --preload target/release/libhakmem_preload.so -- true
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the processes used, all together; the peak is the highest of any.
#[derive(Default)]
struct Used {
    ns: u64,
    cpu_ns: u64,
    faults: u64,
    peak_kib: u64,
}

fn run() -> Result<()> {
    let (mut count, mut preload, mut stdout) = (1_u64, None, None);
    let mut words = Vec::new();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("count") => count = parser.value()?.parse()?,
            Long("preload") => preload = Some(parser.value()?),
            Long("stdout") => stdout = Some(parser.value()?),
            Short('h') | Long("help") => return print(HELP.trim_end()),
            Value(word) => {
                words.push(word);
                words.extend(parser.raw_args()?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    ensure!(count > 0, "--count is 0, expected at least 1");
    let (program, arguments) =
        words.split_first().context("no program named; see hakmem-launch --help")?;
    let mut used = Used::default();
    for _ in 0..count {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).env_remove("LD_PRELOAD");
        command.stdout(match &stdout {
            Some(path) => std::fs::File::create(path)
                .with_context(|| format!("cannot write {}", path.display()))?
                .into(),
            None => Stdio::null(),
        });
        if let Some(library) = &preload {
            command.env("LD_PRELOAD", library);
        }
        once(&mut command, &mut used)
            .with_context(|| format!("cannot run {}", program.display()))?;
    }
    print(&format!(
        "{{\"ops\":{count},\"ns\":{},\"cpu_ns\":{},\"checksum\":0,\"faults\":{},\"rss_kib\":0,\"peak_kib\":{}}}",
        used.ns, used.cpu_ns, used.faults, used.peak_kib
    ))
}

fn once(command: &mut Command, used: &mut Used) -> Result<()> {
    let clock = Clock::now();
    let child = command.spawn()?;
    let mut status = 0;
    // SAFETY: the process is our own child and waited for once, here; both out-parameters are
    // writable, and all-zero bytes are a valid `rusage`.
    let usage = unsafe {
        let mut usage: libc::rusage = core::mem::zeroed();
        while libc::wait4(child.id() as libc::pid_t, &mut status, 0, &mut usage) < 0 {
            let error = std::io::Error::last_os_error();
            ensure!(error.kind() == std::io::ErrorKind::Interrupted, "cannot wait for it: {error}");
        }
        usage
    };
    let wall = clock.elapsed().wall;
    let status =
        <std::process::ExitStatus as std::os::unix::process::ExitStatusExt>::from_raw(status);
    if !status.success() {
        bail!("it ended with {status}");
    }
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1000;
    used.ns += wall;
    used.cpu_ns += ns(usage.ru_utime) + ns(usage.ru_stime);
    used.faults += usage.ru_minflt as u64;
    used.peak_kib = used.peak_kib.max(usage.ru_maxrss as u64);
    Ok(())
}

fn print(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("cannot write to standard output")
}
