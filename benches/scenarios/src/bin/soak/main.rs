//! `hakmem-soak`: mixed threads on hakmem for as long as one likes, every block's content checked.
//!
//! Prints a line of JSON now and then, with what has been done and what is resident, and one at the
//! end; `cargo xtask soak` reads them, draws them and judges whether memory stays flat. Whatever the
//! heap does wrong ends the process: a lost byte or block, a block that overlaps another, a broken
//! invariant, a child that fails. Ctrl-C brings the end early, with all that is looked at there.
//!
//! The global allocator is the system's, so that what is on the heap is what the threads' models know:
//! when they have freed it all, nothing may be left.

#[path = "../../../../../tests/common/fork.rs"]
mod fork;
#[path = "../../../../../tests/common/memory.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod memory;
#[path = "../../../../../tests/common/model.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod model;
mod quiet;
#[path = "../../../../../tests/common/random.rs"]
mod random;
mod threads;

use anyhow::{Result, bail, ensure};
use hakmem::raw;
use hakmem_scenarios::process;
use lexopt::prelude::*;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use threads::{Planted, Soak};

/// What the model asks of its surroundings: only its count of blocks in slabs depends on it, which
/// nothing here reads.
const RESERVED: usize = 0;

const HELP: &str = "\
Runs mixed threads on hakmem, checks every block's content, and prints lines of JSON.

Usage: hakmem-soak [--ms N] [--forks N] [--threads N] [--seed N] [--plant WHAT]

  --ms N        how long to run, in milliseconds (default: 10000)
  --forks N     fork without a pause, and run until there have been so many
  --threads N   threads at once, beside the one that forks (default: 8)
  --seed N      begin with this seed (default: 1)
  --plant WHAT  do something wrong on purpose: content, leak, double-free

Example:
  target/release/hakmem-soak --ms 60000 --threads 4
";

/// Lines about memory in a run, about; the interval between two has limits.
const SAMPLES: u32 = 300;
const INTERVALS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// One sample in so many is taken in quiet, caches emptied, the heap walked.
const QUIET_EVERY: u64 = 6;
/// How long a Ctrl-C may go unseen.
const LATE: Duration = Duration::from_millis(100);

/// Whether Ctrl-C has been pressed. Relaxed: nothing is read on its word.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupted(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

fn main() -> ExitCode {
    // Also where panics unwind: a child or a thread that has failed must not go on.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |what| {
        told(what);
        std::process::abort();
    }));
    // SAFETY: the handler writes an atomic. Calls of the system that it interrupts go on.
    unsafe { libc::signal(libc::SIGINT, interrupted as *const () as libc::sighandler_t) };
    match Options::read().map(|options| options.map(|options| options.run())) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    time: Duration,
    forks: u64,
    threads: usize,
    seed: u64,
    planted: Planted,
}

impl Options {
    /// `None`: help was asked for, and given.
    fn read() -> Result<Option<Options>> {
        let mut options = Options {
            time: Duration::from_secs(10),
            forks: 0,
            threads: 8,
            seed: 1,
            planted: Planted::Nothing,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("ms") => options.time = Duration::from_millis(parser.value()?.parse()?),
                Long("forks") => options.forks = parser.value()?.parse()?,
                Long("threads") => options.threads = parser.value()?.parse()?,
                Long("seed") => options.seed = parser.value()?.parse()?,
                Long("plant") => {
                    options.planted = match parser.value()?.string()?.as_str() {
                        "content" => Planted::Content,
                        "leak" => Planted::Leak,
                        "double-free" => Planted::DoubleFree,
                        other => {
                            bail!(
                                "--plant is '{other}', expected one of content, leak, double-free"
                            )
                        }
                    }
                }
                Short('h') | Long("help") => {
                    print!("{HELP}");
                    return Ok(None);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        ensure!(
            (1..=256).contains(&options.threads),
            "--threads is {}, expected 1 to 256",
            options.threads
        );
        Ok(Some(options))
    }

    /// Runs it and prints what came of it. Ends the process where something is wrong.
    fn run(&self) {
        let soak = Soak::new(self.threads, self.seed, self.forks != 0, self.planted);
        let started = Instant::now();
        let mut walks = 0;
        let left = soak.run(|| walks = self.watch(&soak, started));
        let operations = soak.counts.operations.load(Ordering::Relaxed);
        left.iter().for_each(model::Model::check_all);
        drop(left);
        match self.planted {
            Planted::Leak => _ = raw::malloc(100),
            Planted::DoubleFree => {
                let at = raw::malloc(100);
                // SAFETY: none for the second call: it is what the heap has to find.
                unsafe {
                    raw::free(at);
                    raw::free(at);
                }
            }
            Planted::Nothing | Planted::Content => {}
        }
        nothing_is_left();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let left = process::resident_kib();
        println!(
            "{{\"ended\":{{\"ms\":{},\"operations\":{operations},\"handed_over\":{},\"threads\":{},\
             \"forks\":{},\"walks\":{},\"peak_kib\":{},\"left_kib\":{left}}}}}",
            started.elapsed().as_millis(),
            count(&soak.counts.handed_over),
            count(&soak.counts.threads),
            count(&soak.counts.forks),
            walks + 1,
            process::peak_kib().max(left),
        );
    }

    /// Looks at the soak until it has done what was asked for. Gives the number of walks.
    fn watch(&self, soak: &Soak, started: Instant) -> u64 {
        let interval = match self.forks {
            0 => (self.time / SAMPLES).clamp(INTERVALS.0, INTERVALS.1),
            _ => Duration::from_secs(1),
        };
        let mut walks = 0;
        for sample in 1.. {
            let pause = Instant::now();
            while pause.elapsed() < interval && !INTERRUPTED.load(Ordering::Relaxed) {
                thread::sleep(interval.saturating_sub(pause.elapsed()).min(LATE));
            }
            let quiet = sample % QUIET_EVERY == 0;
            let (resident, live) = if quiet {
                walks += 1;
                soak.quiet.with(|| (settled(), soak.live()))
            } else {
                (process::resident_kib(), soak.live())
            };
            let forks = soak.counts.forks.load(Ordering::Relaxed);
            println!(
                "{{\"sample\":{{\"ms\":{},\"operations\":{},\"threads\":{},\"forks\":{forks},\
                 \"resident_kib\":{resident},\"live_kib\":{},\"quiet\":{quiet}}}}}",
                started.elapsed().as_millis(),
                soak.counts.operations.load(Ordering::Relaxed),
                soak.counts.threads.load(Ordering::Relaxed),
                live / 1024,
            );
            let done = started.elapsed() >= self.time && forks >= self.forks;
            if done || INTERRUPTED.load(Ordering::Relaxed) {
                break;
            }
        }
        walks
    }
}

/// Empties what is cached and walks the heap, which is quiet. Gives the resident memory in KiB.
fn settled() -> u64 {
    raw::collect();
    walk();
    process::resident_kib()
}

/// Walks the heap, which is quiet but for a worker, for whom it waits.
fn walk() -> hakmem::Walk {
    // SAFETY: no thread is at work on the heap.
    unsafe { hakmem::walk() }.unwrap_or_else(|broken| panic!("the heap walker found: {broken}"))
}

/// Every thread has ended and every block has been freed: the heap must say so, too.
fn nothing_is_left() {
    let look = || {
        raw::collect();
        (walk(), hakmem::stats().in_use_bytes)
    };
    let mut left = look();
    // A worker may have had a parked heap in its hands; it has emptied that one after the walk.
    for _ in 0..100 {
        if left.1 == 0 {
            break;
        }
        left = look();
    }
    let (walk, bytes) = left;
    assert!(
        (walk.user(), walk.large, bytes) == (0, 0, 0),
        "blocks are lost: {} in slabs, {} large ones, {bytes} bytes in use",
        walk.user(),
        walk.large,
    );
}
