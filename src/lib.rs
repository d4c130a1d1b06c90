//! hakmem: a general-purpose memory allocator whose every experiment, counter and diagnostic is a
//! Cargo feature.
//!
//! ```
//! #[global_allocator]
//! static HEAP: hakmem::Hakmem = hakmem::Hakmem::new();
//! # fn main() {}
//! ```
//!
//! # Map
//!
//! Each folder uses only what stands above it in this list (`cargo xtask features --check`
//! looks); `hot` and `cold` come between `lifecycle` and `api`.
//!
//! ```text
//! base        arithmetic, cells, the names of the atomics
//! class       size classes
//! telemetry   counters, traces and logs, each behind its gate
//! os          the contract with the operating system, locks, lines on standard error
//! segment     address space, SuperSlabs, slabs, the map of addresses, metadata
//! harden      canaries, quarantine, checks on every free, behind the gate `hardened`
//! guard       sampled blocks between guard pages, behind the gate `guard-sample`
//! large       large and huge blocks, BigCache, thermal policy, ELO
//! frontend    layer 0: the magazines, and the layers before them   <- all that the fast path touches
//! refill      layer 2: batches between magazines and slabs
//! thread      heaps, thread-local access, parking lot
//! policy      settings, modes, mem diet, intelligence engine
//! readers     statistics: what the heap holds, what the counters say
//! background  the worker that ages an idle heap, behind its gate
//! lifecycle   start, ticks, trim, fork, exit
//! api         Rust and C-shaped interfaces
//! check       the heap walker
//! ```
//!
//! A request's way down, each step a batch larger than the one before:
//!
//! ```text
//! program -> magazine -> slab (bitmap, carve) -> arena (runs of 64 KiB) -> operating system
//! ```

#![no_std]
#![warn(missing_docs)]
#![warn(clippy::disallowed_methods)]

#[cfg(any(test, not(all(target_os = "linux", target_arch = "x86_64")), miri))]
extern crate std;

mod base;
mod class;

mod telemetry;

mod os;

mod segment;

mod harden;

mod guard;

mod large;

mod frontend;
mod refill;

mod thread;

mod policy;

mod readers;

mod background;

mod lifecycle;

mod api;
mod check;

mod cold;
mod hot;

pub use api::raw;
pub use api::rust::Hakmem;
#[doc(hidden)]
pub use check::fault;
pub use check::walker::{Walk, walk};
pub use large::elo::{Decision, Stage, State as EloState, Step};
pub use large::thermal::FreePolicy;
pub use lifecycle::set_config;
pub use policy::builder::{Config, Evolution, Mode, StatsSignal, Thp, Worker};
pub use policy::config::{ConfigError, print as print_config};
pub use policy::file::{SaveError, save_ratings};
pub use readers::events::{Event, Events};
pub use readers::learning::{Engine, Learning, LifeCycle, Rating, Ratings, learning};
pub use readers::rows::{
    BackgroundBin, BackgroundSpill, BadClasses, CacheCounts, ClassGroup, LayerCount, OsCalls,
    PoolHotbox, Reading, RemoteQueues, Served, SlabFrees,
};
pub use readers::stats::{LAYERS, Stats, dump, stats};
