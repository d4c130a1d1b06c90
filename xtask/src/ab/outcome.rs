//! What an experiment leaves behind: everything that a reader needs to believe the verdict, or to
//! judge the raw samples again. This is the JSON.

use super::arms::Layouts;
use super::columns;
use super::judge::{Judged, Samples, Verdict};
use super::link::Moved;
use super::measure::Block;
use super::question::Question;
use super::scenario::{Evidence, Fitted};
use crate::shared::{command, paths};
use crate::stats::robust;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Raised when a field changes its meaning.
pub const SCHEMA: u32 = 1;

/// One experiment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Version of this format.
    pub schema: u32,
    /// What it is about.
    pub question: Question,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub reason: String,
    /// What a positive effect means.
    pub positive_means: String,
    /// Where and when.
    pub machine: Machine,
    /// What the experiment was started with; the same seed gives the same layouts and orders.
    pub seed: u64,
    /// The arms and what differs between them.
    pub arms: Arms,
    /// Scenarios that were timed.
    pub timed: Vec<Timed>,
    /// Scenarios that were looked at and not timed, with the reason.
    pub passed_over: BTreeMap<String, String>,
    /// Evidence that is missing, with the way to get it.
    pub missing: Vec<String>,
    /// Seconds from the end of the build to the verdict.
    pub seconds: f64,
}

/// The two arms.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Arms {
    /// The features that make the difference: the gate and what it turns on.
    pub features: BTreeSet<String>,
    /// Functions compared before linking.
    pub functions: usize,
    /// Functions that differ: instructions of their own in the arm (without, with).
    pub differing: BTreeMap<String, (usize, usize)>,
    /// Data that differ: bytes in the arm (without, with).
    pub data: BTreeMap<String, (u64, u64)>,
    /// What was linked anew for each layout.
    pub layouts: Layouts,
    /// The check of the linker: functions, and how many of them two seeds place differently.
    pub moved: Moved,
    /// False where the system does not let address randomisation be turned off.
    pub fixed_addresses: bool,
}

/// One scenario that was timed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timed {
    /// The scenario.
    pub scenario: Fitted,
    /// How often what differs ran; `None` if nothing could count it.
    pub evidence: Option<Evidence>,
    /// What the last look made of it; `None` if too few layouts came together.
    pub judged: Option<Judged>,
    /// Median nanoseconds per operation of the arms (without, with).
    #[serde(deserialize_with = "figures")]
    pub ns_per_op: (f64, f64),
    /// Median over layouts of the higher of two runs' peak resident memory, KiB (without, with).
    #[serde(deserialize_with = "figures")]
    pub peak_kib: (f64, f64),
    /// Layouts dropped because something else disturbed the machine.
    pub dropped: usize,
    /// The raw samples.
    #[serde(with = "columns")]
    pub blocks: Vec<Block>,
}

impl Timed {
    /// A scenario before its first block.
    pub fn new(scenario: Fitted, evidence: Option<Evidence>) -> Timed {
        let (zero, blocks) = ((0.0, 0.0), Vec::new());
        Timed {
            scenario,
            evidence,
            judged: None,
            ns_per_op: zero,
            peak_kib: zero,
            dropped: 0,
            blocks,
        }
    }

    /// The blocks that count.
    pub fn kept(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|block| block.dropped.is_none())
    }

    /// The effects of the blocks that count. With `removal`, out being faster is positive.
    pub fn samples(&self, removal: bool) -> Samples {
        let sign = if removal { 1.0 } else { -1.0 };
        Samples {
            effect: self.kept().map(|block| sign * block.effect()).collect(),
            control: self.kept().map(Block::control_effect).collect(),
            slow: self.kept().map(Block::slow_effect).collect(),
        }
    }

    /// Of a threaded scenario: the effect by processor time of all threads, with the sign of the
    /// effect by wall time, which is what is judged. NaN without a block.
    pub fn cpu_effect(&self, removal: bool) -> Option<f64> {
        let sign = if removal { 1.0 } else { -1.0 };
        let effects: Option<Vec<f64>> = self.kept().map(Block::cpu_effect).collect();
        effects
            .filter(|_| self.scenario.threaded)
            .map(|effects| sign * robust::trimmed_mean(&robust::sorted(&effects)))
    }

    /// Fills in the medians.
    pub fn summarise(&mut self) {
        let median = |value: &dyn Fn(&Block) -> f64| {
            robust::median(&self.kept().map(value).collect::<Vec<_>>())
        };
        let ops = self.scenario.ops as f64;
        let mean = |pair: [u64; 2]| (pair[0] + pair[1]) as f64 / 2.0;
        let times =
            (median(&|block| mean(block.out) / ops), median(&|block| mean(block.with) / ops));
        let peaks =
            (median(&|block| block.peak_kib.0 as f64), median(&|block| block.peak_kib.1 as f64));
        (self.ns_per_op, self.peak_kib) = (times, peaks);
        self.dropped = self.blocks.len() - self.kept().count();
    }

    /// By how many per cent the arm with the gate has the higher memory peak.
    pub fn more_memory(&self) -> f64 {
        (self.peak_kib.1 / self.peak_kib.0.max(1.0) - 1.0) * 100.0
    }
}

/// A pair of figures; JSON has null where there was nothing to make one from.
fn figures<'de, D: Deserializer<'de>>(from: D) -> Result<(f64, f64), D::Error> {
    let (one, two) = <(Option<f64>, Option<f64>)>::deserialize(from)?;
    Ok((one.unwrap_or(f64::NAN), two.unwrap_or(f64::NAN)))
}

/// Where and when an experiment ran.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many of them.
    pub processors: usize,
    /// The kernel.
    pub kernel: String,
    /// `rustc -vV` in one line.
    pub compiler: String,
    /// The checkout's commit.
    pub commit: String,
    /// True if the checkout had changes on top of it.
    pub changed: bool,
    /// The flags that the user's environment adds to the compiler.
    pub rustflags: Option<String>,
    /// Seconds since 1970 at the start.
    pub started: u64,
}

impl Machine {
    /// This machine, now. What cannot be found out is "unknown": it is a record, not a condition.
    pub fn here() -> Machine {
        let unknown = || "unknown".to_owned();
        let say = |program: &str, arguments: &[&str]| {
            let mut asked = Command::new(program);
            asked.args(arguments).current_dir(paths::root());
            command::stdout(&mut asked)
                .ok()
                .map(|text| text.trim().lines().collect::<Vec<_>>().join("; "))
        };
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Machine {
            processor: model.map_or_else(unknown, |(_, name)| name.to_owned()),
            processors: std::thread::available_parallelism().map_or(1, Into::into),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| unknown(), |text| text.trim().to_owned()),
            compiler: say("rustc", &["-vV"]).unwrap_or_else(unknown),
            commit: say("git", &["rev-parse", "HEAD"]).unwrap_or_else(unknown),
            changed: say("git", &["status", "--porcelain"]).is_some_and(|text| !text.is_empty()),
            rustflags: std::env::var("RUSTFLAGS").ok(),
            started: since.map_or(0, |since| since.as_secs()),
        }
    }
}
