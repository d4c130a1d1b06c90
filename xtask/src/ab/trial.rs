//! One run of the measurement under the rules: layouts until a declared look decides, the budget is
//! spent, or Ctrl-C.

use super::judge::{self, Judge, LOOKS, Verdict};
use super::measure::{self, Bench, Block, Disturbance};
use super::outcome::Timed;
use super::{process, report};
use crate::shared::term;
use anyhow::Result;
use rand::SeedableRng;
use rand::rngs::{SmallRng, StdRng};
use std::time::{Duration, Instant};

/// After so many layouts it is clear whether other programs disturb now and then, or are always
/// there. In the second case they disturb all blocks alike, and dropping would leave none: every
/// block counts from then on, those before too, and the report says so. Both controls still have to
/// hold.
const GET_TO_KNOW: usize = 20;

/// A finished measurement.
pub struct Finished {
    /// What it says.
    pub verdict: Verdict,
    /// The scenarios with their blocks.
    pub timed: Vec<Timed>,
    /// What ended it.
    pub end: End,
    /// The share of the time that other programs took, where they were always there.
    pub company: Option<f64>,
}

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
    /// Ctrl-C, which may have been pressed for what was on the screen: it decides nothing.
    Interrupted,
}

impl Trial<'_> {
    /// Measures, filling `timed`, one entry for each scenario of the bench.
    pub fn run(&self, mut timed: Vec<Timed>) -> Result<Finished> {
        let bar = term::progress("Measuring", LOOKS[0].0 as u64);
        bar.tick();
        let outcome = self.measure(&mut timed, &bar);
        bar.finish_and_clear();
        let (verdict, end, company) = outcome?;
        timed.iter_mut().for_each(Timed::summarise);
        Ok(Finished { verdict, timed, end, company })
    }

    fn measure(
        &self,
        timed: &mut [Timed],
        bar: &indicatif::ProgressBar,
    ) -> Result<(Verdict, End, Option<f64>)> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        // Resampling has its own stream: layouts depend on the seed and on their number alone.
        let mut resampling = SmallRng::seed_from_u64(!self.seed);
        let mut judge = Judge::new(timed.len(), measure::SLOWDOWN_PERMILLE);
        let deadline = Instant::now() + self.budget;
        let (mut layout, mut end, mut company) = (0, End::Decided, None);
        for (at, (target, alpha)) in LOOKS.iter().enumerate() {
            bar.set_length(*target as u64);
            while fewest(timed) < *target && end == End::Decided {
                if process::interrupted() {
                    end = End::Interrupted;
                } else if Instant::now() > deadline {
                    end = End::Budget;
                } else {
                    for (timed, block) in timed.iter_mut().zip(self.bench.layout(layout, &mut rng)?)
                    {
                        timed.blocks.push(block);
                    }
                    layout += 1;
                    if layout == GET_TO_KNOW && fewest(timed) * 2 < GET_TO_KNOW {
                        company = Some(mean_company(timed));
                    }
                    if company.is_some() {
                        timed.iter_mut().flat_map(|timed| &mut timed.blocks).for_each(count_busy);
                    }
                    bar.set_position(fewest(timed) as u64);
                    bar.set_message(progress(layout - fewest(timed), deadline));
                }
            }
            let last = at + 1 == LOOKS.len() || end != End::Decided;
            let samples: Vec<_> = timed.iter().map(|timed| timed.samples(self.removal)).collect();
            let before = judge.calls().to_vec();
            let Some(mut judged) = judge.look(&samples, *alpha, &mut resampling) else {
                return Ok((Verdict::Inconclusive, end, company));
            };
            if end == End::Interrupted {
                // Not a declared look: it may show, not call.
                judged.iter_mut().zip(before).for_each(|(judged, call)| judged.call = call);
            }
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
                return Ok((verdict, end, company));
            }
        }
        unreachable!("the last look gives a verdict")
    }
}

/// Lets a block count that other programs disturbed.
fn count_busy(block: &mut Block) {
    block.dropped = block.dropped.filter(|why| !matches!(why, Disturbance::Busy(_)));
}

/// The share of the time that other programs took, over all blocks.
fn mean_company(timed: &[Timed]) -> f64 {
    let shares: Vec<f64> =
        timed.iter().flat_map(|timed| &timed.blocks).map(|block| block.off_processor).collect();
    shares.iter().sum::<f64>() / shares.len().max(1) as f64
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_company_brings_back_busy_blocks_but_not_stolen_ones() {
        let block = |dropped: serde_json::Value| -> Block {
            let json = serde_json::json!({
                "layout": 0, "seed": 1, "control_seed": 2, "order": "owcsscwo", "padding": 0,
                "out": [1, 1], "with": [1, 1], "control": [1, 1], "slow": [1, 1],
                "peak_kib": [1, 1], "rss_kib": [1, 1], "stolen_ms": 0, "preempted": 0,
                "off_processor": 0.5, "load": 0.0, "dropped": dropped
            });
            serde_json::from_value(json).unwrap()
        };
        let mut busy = block(serde_json::json!({"busy": 0.5}));
        let mut stolen = block(serde_json::json!({"stolen": 0.5}));
        count_busy(&mut busy);
        count_busy(&mut stolen);
        assert_eq!(busy.dropped, None);
        assert_eq!(stolen.dropped, Some(Disturbance::Stolen(0.5)));
    }
}
