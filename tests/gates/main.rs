//! The gates of telemetry and diagnostics: compiled in, each counts exactly what it says, summed over
//! all threads, those that have ended included; not compiled in, each says so and is no number.
//!
//! `cargo test --features research` runs the exact half, with `telemetry-shared` on the shared
//! counters; every build runs the other.

// Which gates are compiled in is a constant of the build, and what the test is about.
#![allow(clippy::assertions_on_constants)]

#[path = "../common/mod.rs"]
mod common;

mod asked;
mod cache;
mod classes;
mod events;
mod faults;
mod front;
mod header;
mod layers;
mod pool;
mod readers;
mod refills;
mod signal;
mod slabs;
mod system;

const CLASS_STATS: bool = cfg!(feature = "tiny-class-stats");
const FREE_CALLS: bool = cfg!(feature = "tiny-free-calls");
const FREE_STATS: bool = cfg!(feature = "tiny-free-stats");
const C7_FREES: bool = cfg!(feature = "c7-free-count");
const BAD_CLASS: bool = cfg!(feature = "metric-bad-class");
const CACHE: bool = cfg!(feature = "unified-cache-measure");
const REMOTE: bool = cfg!(feature = "remote-target-stats");
const SYSTEM: bool = cfg!(feature = "superslab-os-stats");
const FRONT: bool = cfg!(feature = "front-metrics");
const SPILL: bool = cfg!(feature = "background-spill");
const BIN: bool = cfg!(feature = "background-bin");
const POOL: bool = cfg!(feature = "pool-hotbox-v2");
const POOL_STATS: bool = cfg!(feature = "pool-hotbox-v2-stats");
const SHARED: bool = cfg!(feature = "telemetry-shared");
const TRACE: bool = cfg!(feature = "tiny-free-trace");
const RING: bool = cfg!(feature = "tiny-debug-ring");
const ELO: bool = cfg!(feature = "elo");
const EVOLUTION: bool = cfg!(feature = "evolution");
const ENGINE: bool = cfg!(feature = "intelligence-engine");
const LEGACY_REFILL: bool = cfg!(feature = "legacy-refill");
const OOB_LOG: bool = cfg!(feature = "p0-class-oob-log");
const META_FAST: bool = cfg!(feature = "hdr-meta-fast");
const META_MISMATCH: bool = cfg!(feature = "hdr-meta-mismatch");
const MISMATCH_LOG: bool = cfg!(feature = "hdr-mismatch-log");
const FAULTS: bool = cfg!(feature = "fault-injection");

/// Children whose magazines serve everything that they can: in a build with front-end layers those are
/// closed, as what the other gates count is what comes past them.
mod child {
    pub use crate::common::child::{Ended, is_child, run as run_with_layers};

    /// Whether this build has a front-end layer.
    pub fn layered() -> bool {
        hakmem::stats().layers.iter().any(|layer| layer.compiled_in)
    }

    /// As `common::child::run`.
    pub fn run(test: &str, case: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Ended {
        let mut variables = variables.to_vec();
        if layered() {
            variables.push(("HAKMEM_FRONT_LAYERS", "off"));
        }
        run_with_layers(test, case, &variables, body)
    }
}

/// Blocks on their way to another thread.
struct Blocks(Vec<*mut u8>);

// SAFETY: whoever has the list has the blocks.
unsafe impl Send for Blocks {}

impl Blocks {
    fn malloc(size: usize, count: usize) -> Blocks {
        Blocks((0..count).map(|_| hakmem::raw::malloc(size)).collect())
    }

    fn free(self) {
        for at in self.0 {
            // SAFETY: blocks in use that nobody else has.
            unsafe { hakmem::raw::free(at) };
        }
    }

    /// Frees them in another thread, whose cache then goes home.
    fn free_elsewhere(self) {
        let there = std::thread::spawn(move || {
            self.free();
            hakmem::raw::collect();
        });
        there.join().expect("the thread");
    }
}
