//! What an experiment leaves behind: everything that a reader needs to believe the verdict, or to
//! judge the raw samples again. This is the JSON.

use super::arms::Layouts;
use super::columns;
use super::evidence::Evidence;
use super::judge::{Call, Estimate, Judged, Rules, Samples, Verdict};
use super::link::Moved;
use super::measure::Block;
use super::question::Question;
use super::scenario::Fitted;
use super::trial::End;
use crate::shared::{command, paths, system};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use xtask_stats::robust;

/// Raised when a field changes its meaning.
pub const SCHEMA: u32 = 2;

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
    /// Seconds of them that the measuring took, over all runs that it was made in.
    pub measuring: f64,
    /// What ended the measuring; `None` if nothing was timed.
    pub end: Option<End>,
    /// The rules that it was judged by.
    pub rules: Rules,
}

/// The figure that stands for an experiment where there is room for one only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Headline {
    /// The scenario.
    pub scenario: String,
    /// Its effect.
    pub effect: Estimate,
    /// The chance that such an interval misses the truth.
    pub alpha: f64,
}

impl Outcome {
    /// The scenario that decided: the one that was called as the whole was and shows it most, or
    /// where none was, the one with the greatest effect either way.
    pub fn decider(&self) -> Option<&Timed> {
        let call = match self.verdict {
            Verdict::Go => Some(Call::Go),
            Verdict::NoGo => Some(Call::NoGo),
            _ => None,
        };
        let decided = |timed: &&Timed| {
            let called = timed.judged.as_ref().and_then(|judged| judged.call);
            timed.judged.is_some() && (call.is_none() || called == call)
        };
        let size = |timed: &&Timed| {
            timed.judged.as_ref().map_or(0.0, |judged| judged.effect.estimate.abs())
        };
        self.timed.iter().filter(decided).max_by(|a, b| size(a).total_cmp(&size(b)))
    }

    /// The decider's figures.
    pub fn headline(&self) -> Option<Headline> {
        let timed = self.decider()?;
        let judged = timed.judged.as_ref()?;
        let scenario = timed.scenario.name.clone();
        Some(Headline { scenario, effect: judged.effect, alpha: judged.alpha })
    }

    /// How often code of the second arm's own ran in an operation of the decider, or of the
    /// scenario where it ran most; of the first arm's, where the second has none. `None` if nothing
    /// counted; 0 if what differs was not exercised.
    pub fn hits_per_op(&self) -> Option<f64> {
        if self.verdict == Verdict::NotExercised {
            return Some(0.0);
        }
        let hits = |timed: &Timed| {
            let (out, with) = timed.evidence.as_ref()?.own_per_op;
            Some(if with > 0.0 { with } else { out })
        };
        match self.decider() {
            Some(timed) => hits(timed),
            None => self.timed.iter().filter_map(hits).max_by(f64::total_cmp),
        }
    }

    /// The day it was measured, as `2026-01-31`.
    pub fn date(&self) -> String {
        day(self.machine.started)
    }
}

/// The day, in universal time, of so many seconds since 1970: H. Hinnant, "chrono-compatible
/// low-level date algorithms", `civil_from_days`.
pub fn day(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", year + era * 400 + next)
}

/// The two arms.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Arms {
    /// How both were compiled, beside the release profile of Cargo.toml.
    pub flags: Vec<String>,
    /// The features that make the difference: the gate and what it turns on.
    pub features: BTreeSet<String>,
    /// Functions compared before linking.
    pub functions: usize,
    /// Functions that differ: instructions of their own in the arm (without, with).
    pub differing: BTreeMap<String, (usize, usize)>,
    /// Functions that differ and are not listed, in a record of many.
    #[serde(default)]
    pub left_out: usize,
    /// Data that differ: bytes in the arm (without, with).
    pub data: BTreeMap<String, (u64, u64)>,
    /// What was linked anew for each layout.
    pub layouts: Layouts,
    /// The check of the linker: functions, and how many of them two seeds place differently.
    pub moved: Moved,
    /// False where the system does not let address randomisation be turned off.
    pub fixed_addresses: bool,
}

impl Arms {
    /// Leaves in the list the `most` functions with the most instructions of their own.
    pub fn keep_largest(&mut self, most: usize) {
        if self.differing.len() <= most {
            return;
        }
        let mut all: Vec<_> = std::mem::take(&mut self.differing).into_iter().collect();
        all.sort_by_key(|(_, (out, with))| std::cmp::Reverse(out + with));
        self.left_out += all.len() - most;
        all.truncate(most);
        self.differing = all.into_iter().collect();
    }
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
    /// The same of the resident memory at the end.
    #[serde(deserialize_with = "figures")]
    pub final_kib: (f64, f64),
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
            final_kib: zero,
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
        let finals =
            (median(&|block| block.rss_kib.0 as f64), median(&|block| block.rss_kib.1 as f64));
        (self.ns_per_op, self.peak_kib, self.final_kib) = (times, peaks, finals);
        self.dropped = self.blocks.len() - self.kept().count();
    }

    /// By how many per cent the second arm takes more resident memory: at its peak or at the end,
    /// whichever is the greater; NaN without samples.
    pub fn more_memory(&self) -> f64 {
        let more = |(out, with): (f64, f64)| (with - out) / out.max(1.0) * 100.0;
        more(self.peak_kib).max(more(self.final_kib))
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

/// Asks git what was changed. Recorded results are no change: one would follow from another.
const CHANGES: [&str; 6] =
    ["status", "--porcelain", "--", ".", ":(exclude)docs/results", ":(exclude)features.md"];

impl Machine {
    /// What it is, in a line.
    pub fn name(&self) -> String {
        let plural = if self.processors == 1 { "" } else { "s" };
        format!("{}, {} processor{plural}, Linux {}", self.processor, self.processors, self.kernel)
    }

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
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Machine {
            processor: system::processor(),
            processors: std::thread::available_parallelism().map_or(1, Into::into),
            kernel: system::kernel(),
            compiler: say("rustc", &["-vV"]).unwrap_or_else(unknown),
            commit: say("git", &["rev-parse", "HEAD"]).unwrap_or_else(unknown),
            changed: say("git", &CHANGES).is_some_and(|text| !text.is_empty()),
            rustflags: std::env::var("RUSTFLAGS").ok(),
            started: since.map_or(0, |since| since.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::canned;
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        // By `date -u -d @SECONDS +%F`.
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(951_782_400), "2000-02-29");
        assert_eq!(day(1_798_761_599), "2026-12-31");
        assert_eq!(day(4_107_542_400), "2100-03-01");
    }

    #[test]
    fn the_scenario_that_decided_stands_for_the_whole() {
        let go = canned::outcome("tiny-free-calls", &[0.0, 1.5, 3.0]);
        assert_eq!(go.verdict, Verdict::Go);
        assert_eq!(go.decider().unwrap().scenario.name, "scenario-2");
        let no_go = canned::outcome("tiny-free-calls", &[3.0, -1.5]);
        assert_eq!(no_go.verdict, Verdict::NoGo);
        assert_eq!(no_go.headline().unwrap().scenario, "scenario-1");
        assert!(no_go.headline().unwrap().effect.estimate < -1.0);
        assert!(canned::outcome("tiny-free-calls", &[]).headline().is_none());
    }

    #[test]
    fn memory_counts_at_its_peak_and_at_the_end() {
        let mut timed = canned::timed(20, &[0.0]).remove(0);
        timed.blocks.iter_mut().for_each(|block| {
            (block.peak_kib, block.rss_kib) = ((1000, 1000), (500, 600));
        });
        timed.summarise();
        assert!((timed.more_memory() - 20.0).abs() < 1e-9, "{}", timed.more_memory());
        timed.blocks.iter_mut().for_each(|block| block.peak_kib = (1000, 1300));
        timed.summarise();
        assert!((timed.more_memory() - 30.0).abs() < 1e-9, "{}", timed.more_memory());
    }
}
