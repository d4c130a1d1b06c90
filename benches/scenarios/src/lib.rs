//! Workloads that exercise a heap, each a fixed and seeded piece of work.
//!
//! A process runs one scenario and prints one line of JSON. The work is the same whatever the
//! allocator: the checksum covers sizes and order, never addresses. Every block's first and last
//! byte is written, and the warm-up reads them back, so that a heap that hands a block out twice
//! ends the process instead of winning.
//!
//! Several binaries share this library: `hakmem-scenario` calls the C names, so that `LD_PRELOAD` can
//! replace the allocator, `hakmem-scenario-linked` has hakmem compiled in, and those of
//! `benches/peers/rust` call Rust's global allocator.

pub mod cli;
pub mod heap;
pub mod process;
pub mod registry;
pub mod rng;
pub mod step;
pub mod table;
pub mod turns;
pub mod work;

pub use heap::{Heap, Rust, System};
pub use registry::{SCENARIOS, Scenario, find};

use process::Clock;

/// How much work to do.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Operations in the timed section. An operation is one block allocated and freed, unless the
    /// scenario says otherwise.
    pub ops: u64,
    /// Threads of a threaded scenario; the others ignore it.
    pub threads: usize,
    /// Extra work in the timed section, in thousandths of `ops`: more of the same operations, so
    /// that the section takes exactly that much longer in this very layout. Not in the checksum.
    pub slowdown_permille: u64,
    /// How many turns the timed section is done in, each waited for ([`turns`]); 0: at once. A turn
    /// begins with [`turns::LEAD`] of its operations more, which are neither timed nor counted.
    pub turns: u64,
    /// How long the program lives on, nearly idle, before the final memory is read.
    pub settle_ms: u64,
    /// Live blocks of the scenario that is about their number.
    pub live: usize,
    /// Bytes of a block in the scenario that is about its size.
    pub size: usize,
}

/// Work done by one call of [`Work::run`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Operations carried out; at least as many as asked for.
    pub ops: u64,
    /// Depends on the seed and the operations alone.
    pub checksum: u64,
}

impl Done {
    /// Counts one operation whose outcome is described by `word`.
    #[inline(always)]
    pub fn count(&mut self, word: u64) {
        self.ops += 1;
        self.checksum = self.checksum.wrapping_add(word.wrapping_mul(2).wrapping_add(1));
    }
}

impl core::ops::AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.ops += other.ops;
        self.checksum = self.checksum.wrapping_add(other.checksum);
    }
}

/// One scenario's state and steps, generic over the heap it exercises.
pub trait Work<H: Heap>: Sized {
    /// Sets up whatever the timed section starts from.
    fn new(config: &Config) -> Self;

    /// Does at least `ops` operations, and goes on where the call before ended. `VERIFY` reads every
    /// block back before freeing it; once a call has run without it, no later call uses it.
    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done;

    /// A moment of light activity, for the scenarios that look at memory given back.
    fn trickle(&mut self) {}

    /// Bytes that it holds from the heap when its final memory is read, where that is the point.
    fn live_bytes(&self) -> Option<u64> {
        None
    }

    /// Frees what is still live.
    fn finish(self);
}

/// What one process measured.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Operations in the timed section (without the injected ones).
    pub done: Done,
    /// Wall time of the timed section, nanoseconds.
    pub ns: u64,
    /// Processor time of the timed section, all threads, nanoseconds.
    pub cpu_ns: u64,
    /// Page faults of the timed section.
    pub faults: u64,
    /// Resident memory after the timed section, its live blocks still held, KiB.
    pub rss_kib: u64,
    /// Highest resident memory of the process up to then, KiB.
    pub peak_kib: u64,
    /// What of it the program asked for and still holds, KiB, where that is the scenario's point.
    pub live_kib: Option<u64>,
}

/// Sets up, warms up with verification, times, and reads memory.
pub fn measure<H: Heap, W: Work<H>>(config: &Config) -> Report {
    let mut work = W::new(config);
    work.run::<true>((config.ops / 10).max(1));

    let extra = config.ops * config.slowdown_permille / 1000;
    let (mut done, mut spent) = (Done::default(), Clock::default());
    let last = config.turns.max(1);
    for turn in 1..=last {
        if config.turns > 0 {
            turns::wait();
            work.run::<false>(config.ops / last / turns::LEAD);
        }
        let clock = Clock::now();
        // What a turn does too much, the next ones have less to do.
        done += work.run::<false>((config.ops * turn / last).saturating_sub(done.ops));
        if turn == last && extra > 0 {
            work.run::<false>(extra);
        }
        spent += clock.elapsed();
        if config.turns > 0 {
            turns::end();
        }
    }
    let Clock { wall: ns, cpu: cpu_ns, faults } = spent;

    for _ in 0..config.settle_ms / 10 {
        std::thread::sleep(std::time::Duration::from_millis(10));
        work.trickle();
    }
    let rss_kib = process::resident_kib();
    let peak_kib = process::peak_kib().max(rss_kib);
    let live_kib = work.live_bytes().map(|bytes| bytes / 1024);
    work.finish();
    Report { done, ns, cpu_ns, faults, rss_kib, peak_kib, live_kib }
}
