//! The list of scenarios: the only one. Adding a scenario is one row here and one type in `work/`.

use crate::work::{boundary, idle, large, real, small, threads, trees};
use crate::{Config, Heap, Report, measure};

/// What a scenario's figures are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of those that allocators are compared by; the geometric means are over these.
    Spec,
    /// A further workload, with a row of its own.
    Extra,
    /// Its memory is the point; its time says nothing.
    Memory,
    /// One point of a curve over `--live` or `--size`; not in the lists.
    Scale,
    /// Made to suit a setting, not to compare allocators by; not in the lists.
    Policy,
}

impl Kind {
    /// As `--describe` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Spec => "spec",
            Kind::Extra => "extra",
            Kind::Memory => "memory",
            Kind::Scale => "scale",
            Kind::Policy => "policy",
        }
    }
}

/// A scenario as the command line and `cargo xtask bench` see it.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What `--scenario` takes.
    pub name: &'static str,
    /// The work, in a few words.
    pub about: &'static str,
    /// What one operation is.
    pub unit: &'static str,
    /// Operations that take about a tenth of a second on a current machine.
    pub ops: u64,
    /// What its figures are for.
    pub kind: Kind,
    /// The least number of threads it can do with; 0 for a scenario of one thread that ignores
    /// `--threads`.
    pub least_threads: usize,
    /// Milliseconds of near idleness that its final memory figure is about, 0 for none.
    pub settle_ms: u64,
}

impl Scenario {
    /// Has a row of its own in the tables.
    pub fn listed(&self) -> bool {
        !matches!(self.kind, Kind::Scale | Kind::Policy)
    }

    /// Can be done in turns: it runs on one thread, and its work is no whole with a beginning and an end.
    pub fn resumes(&self) -> bool {
        !self.threaded() && self.settle_ms == 0
    }

    /// Runs on threads of its own.
    pub fn threaded(&self) -> bool {
        self.least_threads > 0
    }
}

macro_rules! scenarios {
    ($($name:literal $ops:literal $kind:ident $threads:literal $settle:literal $unit:literal $about:literal => $work:ty;)*) => {
        /// Every scenario, in the order of the tables.
        pub const SCENARIOS: &[Scenario] = &[$(Scenario {
            name: $name,
            about: $about,
            unit: $unit,
            ops: $ops,
            kind: Kind::$kind,
            least_threads: $threads,
            settle_ms: $settle,
        }),*];

        /// Runs the scenario called `name` on heap `H`, or `None` if there is none of that name.
        pub fn run<H: Heap>(name: &str, config: &Config) -> Option<Report> {
            match name {
                $($name => Some(measure::<H, $work>(config)),)*
                _ => None,
            }
        }
    };
}

scenarios! {
    "tiny-hot" 20_000_000 Spec 0 0 "block"
        "100 blocks of one size, 8 to 512 bytes, freed last in first out" => small::TinyHot<H>;
    "pair-hot" 20_000_000 Spec 0 0 "block"
        "one block of 8 to 512 bytes, freed at once" => small::PairHot<H>;
    "random-mixed-400" 15_000_000 Spec 0 0 "block"
        "400 slots replaced at random, 16 to 1040 bytes" => small::RandomMixed<H, 400>;
    "random-mixed-50000" 5_000_000 Spec 0 0 "block"
        "50,000 slots replaced at random, 16 to 1040 bytes" => small::RandomMixed<H, 50_000>;
    "json" 15_000_000 Spec 0 0 "block"
        "trees of nodes, strings and growing arrays, dropped whole" => trees::Json<H>;
    "json-parser" 1_000 Spec 0 0 "document"
        "serde_json reads a package description and drops it" => real::JsonParser<H>;
    "mir" 4_000_000 Spec 0 0 "block"
        "200 slots replaced at random, 1 to 64 KiB" => large::Mir<H>;
    "mir-real" 400 Spec 0 0 "file"
        "syn parses Rust source and drops the tree" => real::SourceParser<H>;
    "mixed" 3_000_000 Spec 0 0 "block"
        "400 slots, 80 % to 1 KiB, 15 % to 64 KiB, 5 % 256 KiB to 1 MiB" => large::Mixed<H>;
    "vm" 30_000 Spec 0 0 "block"
        "2 MiB blocks, a byte in each page, ring of four" => large::Vm<H>;
    "realloc-grow" 400 Extra 0 0 "step"
        "four blocks that grow to 1..64 MiB by realloc, freed at random" => large::ReallocGrow<H>;
    "remote" 5_000_000 Spec 2 0 "block"
        "one thread allocates 16 to 256 bytes, another frees" => threads::Remote<H>;
    "larson" 6_000_000 Spec 1 0 "block"
        "threads that come and go, each replacing the blocks of the one before" => threads::Larson<H>;
    "thread-churn" 2_000_000 Spec 1 0 "block"
        "a thread frees the 1,000 blocks of the one before, allocates 1,000, ends" => threads::Churn<H>;
    "shrink" 300_000 Spec 0 300 "block"
        "150 MiB of 16 to 1,024 bytes, 90 % freed at random: what memory returns" => small::Shrink<H>;
    "parallel-mixed" 6_000_000 Extra 1 0 "block"
        "random-mixed-400 in every thread, each with its own 400 slots" => threads::Parallel<H>;
    "nothing" 1 Memory 0 0 "block"
        "a program that allocates one block: the weight of the allocator itself" => small::Nothing<H>;
    "idle" 160_000 Memory 0 2000 "block"
        "200 MiB of documents, nine in ten dropped whole, then 2 s without a call" => idle::Idle<H>;
    "large-grown" 4_000 Policy 0 0 "step"
        "four blocks that grow from 512 KiB to 1..12 MiB by realloc, freed when they are there" => boundary::Grown<H>;
    "large-recycled" 4_000 Policy 0 0 "block"
        "16 slots of 3 to 8 MiB and 64 of 300 KiB to 2 MiB, replaced at random" => boundary::Recycled<H>;
    "live" 2_000_000 Scale 0 0 "block"
        "--live blocks of 16 to 64 bytes, replaced at random" => small::Live<H>;
    "size" 200_000 Scale 0 0 "block"
        "a ring of four blocks of --size bytes" => large::Sized<H>;
}

/// The scenario called `name`.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
