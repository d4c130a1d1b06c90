//! One run of the measurement under the rules: layouts until a declared look decides, the budget is
//! spent, or Ctrl-C.

use super::judge::{self, Judge, LOOKS, Verdict};
use super::measure::{self, Bench};
use super::outcome::Timed;
use super::{process, report};
use crate::shared::term;
use anyhow::Result;
use rand::SeedableRng;
use rand::rngs::{SmallRng, StdRng};
use std::time::{Duration, Instant};

/// After so many layouts without one that counts, the rest would be no better.
const HOPELESS: usize = 30;

/// What is measured and for how long.
pub struct Trial<'a> {
    /// The arms and scenarios.
    pub bench: Bench<'a>,
    /// True if the arm without the gate being faster is the positive answer.
    pub removal: bool,
    /// How long to measure at most.
    pub budget: Duration,
    /// Of layouts, orders and paddings.
    pub seed: u64,
}

/// What ended the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A declared look.
    Decided,
    /// The budget: that is a look too, as time knows nothing of the samples.
    Budget,
    /// Other programs disturbed every block so far.
    Busy,
    /// Ctrl-C, which may have been pressed for what was on the screen: it decides nothing.
    Interrupted,
}

impl Trial<'_> {
    /// Measures, filling `timed`, one entry for each scenario of the bench.
    pub fn run(&self, mut timed: Vec<Timed>) -> Result<(Verdict, Vec<Timed>, End)> {
        let bar = term::progress("Measuring", LOOKS[0].0 as u64);
        bar.tick();
        let outcome = self.measure(&mut timed, &bar);
        bar.finish_and_clear();
        let (verdict, end) = outcome?;
        timed.iter_mut().for_each(Timed::summarise);
        Ok((verdict, timed, end))
    }

    fn measure(&self, timed: &mut [Timed], bar: &indicatif::ProgressBar) -> Result<(Verdict, End)> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        // Resampling has its own stream: layouts depend on the seed and on their number alone.
        let mut resampling = SmallRng::seed_from_u64(!self.seed);
        let mut judge = Judge::new(timed.len(), measure::SLOWDOWN_PERMILLE);
        let deadline = Instant::now() + self.budget;
        let (mut layout, mut end) = (0, End::Decided);
        for (at, (target, alpha)) in LOOKS.iter().enumerate() {
            bar.set_length(*target as u64);
            while fewest(timed) < *target && end == End::Decided {
                if process::interrupted() {
                    end = End::Interrupted;
                } else if Instant::now() > deadline {
                    end = End::Budget;
                } else if layout >= HOPELESS && fewest(timed) == 0 {
                    end = End::Busy;
                } else {
                    for (timed, block) in timed.iter_mut().zip(self.bench.layout(layout, &mut rng)?)
                    {
                        timed.blocks.push(block);
                    }
                    layout += 1;
                    bar.set_position(fewest(timed) as u64);
                    bar.set_message(progress(layout - fewest(timed), deadline));
                }
            }
            let last = at + 1 == LOOKS.len() || end != End::Decided;
            let samples: Vec<_> = timed.iter().map(|timed| timed.samples(self.removal)).collect();
            let Some(judged) = judge.look(&samples, *alpha, &mut resampling) else {
                return Ok((Verdict::Inconclusive, end));
            };
            for (timed, judged) in timed.iter_mut().zip(&judged) {
                timed.judged = Some(judged.clone());
                let effect = &judged.effect;
                let interval = report::interval(effect, judged.alpha);
                let line = format!(
                    "{} layouts, {}: {:+.2} {interval}",
                    judged.layouts, timed.scenario.name, effect.estimate
                );
                bar.suspend(|| term::step("Looked at", line));
            }
            let verdict = if end == End::Interrupted {
                Some(Verdict::Inconclusive)
            } else {
                judge::overall(&judged, last)
            };
            if let Some(verdict) = verdict {
                return Ok((verdict, end));
            }
        }
        unreachable!("the last look gives a verdict")
    }
}

/// What the bar says beside the time to the next look.
fn progress(dropped: usize, deadline: Instant) -> String {
    let left = deadline.saturating_duration_since(Instant::now()).as_secs();
    let busy =
        if dropped > 0 { format!(", {dropped} disturbed and dropped") } else { String::new() };
    format!("layouts{busy}, budget {left} s")
}

/// The layouts that every scenario has.
fn fewest(timed: &[Timed]) -> usize {
    timed.iter().map(|timed| timed.kept().count()).min().unwrap_or(0)
}
