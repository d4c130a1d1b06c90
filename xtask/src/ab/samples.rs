//! The samples of an experiment under way, so that one that was interrupted goes on where it was.
//!
//! One file an experiment below `target/ab/samples`: a line that says what is measured, then a line
//! a layout, written as they come. A line is whole or it is not there: a torn last one, of a run that
//! was killed, is dropped. Promises that samples of other code, other scenarios or another seed are
//! never taken up.

use super::evidence::Evidence;
use super::measure::Block;
use super::outcome::SCHEMA;
use super::scenario::Fitted;
use super::{Settings, arms};
use crate::shared::write;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A scenario to time, with what was counted in it.
pub type Seen = (Fitted, Option<Evidence>);

/// What is measured: all that is decided before the first sample.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Of layouts, orders and paddings.
    pub seed: u64,
    /// How long to measure at most. A run that goes on keeps it, unless it is given more: a shorter
    /// one would be a look at the samples that nobody declared.
    pub budget: Duration,
    /// The scenarios, fitted and counted.
    pub scenarios: Vec<Seen>,
    /// Scenarios that were looked at and not chosen.
    pub passed_over: BTreeMap<String, String>,
    /// Evidence that is missing.
    pub missing: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    schema: u32,
    key: String,
    plan: Plan,
}

#[derive(Serialize, Deserialize)]
struct Line {
    /// Of the budget, when the layout was measured.
    spent_ms: u64,
    blocks: Vec<Block>,
}

/// The samples of one experiment.
pub struct Samples {
    /// What is measured.
    pub plan: Plan,
    path: PathBuf,
    file: File,
    layouts: Vec<Vec<Block>>,
    spent: Duration,
}

/// Where the samples of an experiment are, by the name of its question.
pub fn path(slug: &str) -> PathBuf {
    arms::folder().join("samples").join(format!("{slug}.jsonl"))
}

/// What must be the same for samples to belong together: the code of both arms, the scenarios that
/// were asked for, and what counts as a disturbance.
pub fn key(arms: (&arms::Arm, &arms::Arm), settings: &Settings) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for arm in [arms.0, arms.1] {
        let program = arm.as_compiled();
        for (name, value) in &program.variables {
            hasher.write(name.as_bytes());
            hasher.write(value.as_bytes());
        }
        for file in std::iter::once(&program.file).chain(&program.preload) {
            let bytes =
                std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            hasher.write_usize(bytes.len());
            hasher.write(&bytes);
        }
    }
    Ok(format!("{:016x} {:?} {}", hasher.finish(), settings.scenarios, settings.disturbance))
}

impl Samples {
    /// Takes up what an interrupted run left; `None` if there is nothing that belongs to `key`, and
    /// to `seed` where one is asked for.
    pub fn open(path: &Path, key: &str, seed: Option<u64>) -> Result<Option<Samples>> {
        let Ok(text) = std::fs::read_to_string(path) else { return Ok(None) };
        // What follows the last end of line was cut off in the writing.
        let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let head: Option<Head> = lines.next().and_then(|line| serde_json::from_str(line).ok());
        let Some(Head { schema, key: found, plan }) = head else { return Ok(None) };
        if schema != SCHEMA || found != key || seed.is_some_and(|seed| seed != plan.seed) {
            return Ok(None);
        }
        let (mut layouts, mut spent) = (Vec::new(), Duration::ZERO);
        for line in lines {
            let Ok(line) = serde_json::from_str::<Line>(line) else { break };
            if line.blocks.len() != plan.scenarios.len() {
                break;
            }
            spent = Duration::from_millis(line.spent_ms);
            layouts.push(line.blocks);
        }
        if layouts.is_empty() {
            return Ok(None);
        }
        // Written anew, so that what was torn is gone.
        let mut samples = Samples::begin(path, key, plan)?;
        for blocks in &layouts {
            samples.keep(blocks, spent)?;
        }
        samples.layouts = layouts;
        samples.spent = spent;
        Ok(Some(samples))
    }

    /// Begins a new file, instead of whatever was there.
    pub fn begin(path: &Path, key: &str, plan: Plan) -> Result<Samples> {
        let head = Head { schema: SCHEMA, key: key.to_owned(), plan };
        write::atomically(path, serde_json::to_string(&head)? + "\n")?;
        let file = File::options()
            .append(true)
            .open(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let (layouts, spent) = (Vec::new(), Duration::ZERO);
        Ok(Samples { plan: head.plan, path: path.to_owned(), file, layouts, spent })
    }

    /// Adds a layout, measured when so much of the budget was spent.
    pub fn keep(&mut self, blocks: &[Block], spent: Duration) -> Result<()> {
        let spent_ms = spent.as_millis() as u64;
        let line = serde_json::to_string(&Line { spent_ms, blocks: blocks.to_vec() })? + "\n";
        self.file
            .write_all(line.as_bytes())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// The layouts that an interrupted run left, and what they took of the budget.
    pub fn taken(&mut self) -> (Vec<Vec<Block>>, Duration) {
        (std::mem::take(&mut self.layouts), self.spent)
    }

    /// What is taken up, for a line on the terminal.
    pub fn said(&self) -> String {
        format!(
            "after {} layouts and {} s of a run that was interrupted (seed {}); --fresh starts anew",
            self.layouts.len(),
            self.spent.as_secs(),
            self.plan.seed
        )
    }

    /// There is a result: the samples are in it, and the next run is a new one.
    pub fn done(self) {
        // A leftover would be taken up by the next run, so that it is at least said there.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::super::canned;
    use super::*;

    fn plan() -> Plan {
        let scenarios = canned::timed(0, &[0.0, 0.0]);
        let scenarios = scenarios.into_iter().map(|timed| (timed.scenario, None)).collect();
        let budget = Duration::from_secs(60);
        Plan { seed: 7, budget, scenarios, passed_over: BTreeMap::new(), missing: vec!["x".into()] }
    }

    fn layout(at: usize) -> Vec<Block> {
        [1, 2].map(|seed| canned::blocks(seed, at + 1, 0.0).pop().unwrap()).to_vec()
    }

    /// A run of three layouts that was interrupted.
    fn interrupted() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples/gate.jsonl");
        let mut samples = Samples::begin(&path, "key", plan()).unwrap();
        for at in 0..3 {
            samples.keep(&layout(at), Duration::from_secs(at as u64 + 1)).unwrap();
        }
        (folder, path)
    }

    #[test]
    fn an_interrupted_run_goes_on_again_and_again() {
        let (_folder, path) = interrupted();
        for count in 3..6 {
            let mut samples = Samples::open(&path, "key", None).unwrap().unwrap();
            assert!(
                samples.said().contains(&format!("after {count} layouts")),
                "{}",
                samples.said()
            );
            let (layouts, spent) = samples.taken();
            assert_eq!(layouts, (0..count).map(layout).collect::<Vec<_>>());
            assert_eq!(spent, Duration::from_secs(count as u64));
            assert_eq!((samples.plan.seed, samples.plan.missing.len()), (7, 1));
            samples.keep(&layout(count), Duration::from_secs(count as u64 + 1)).unwrap();
        }
        Samples::open(&path, "key", Some(7)).unwrap().unwrap().done();
        assert!(Samples::open(&path, "key", None).unwrap().is_none());
    }

    #[test]
    fn samples_of_other_code_or_another_seed_are_left_alone() {
        let (_folder, path) = interrupted();
        assert!(Samples::open(&path, "other", None).unwrap().is_none());
        assert!(Samples::open(&path, "key", Some(8)).unwrap().is_none());
        assert!(Samples::open(&path, "key", Some(7)).unwrap().is_some());
    }

    #[test]
    fn a_torn_line_is_dropped_and_a_damaged_head_starts_anew() {
        let (_folder, path) = interrupted();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 40]).unwrap();
        let mut samples = Samples::open(&path, "key", None).unwrap().unwrap();
        assert_eq!(samples.taken().0.len(), 2);
        samples.keep(&layout(2), Duration::from_secs(9)).unwrap();
        let mut samples = Samples::open(&path, "key", None).unwrap().unwrap();
        assert_eq!(samples.taken().0, (0..3).map(layout).collect::<Vec<_>>());
        std::fs::write(&path, &text[5..]).unwrap();
        assert!(Samples::open(&path, "key", None).unwrap().is_none());
    }
}
