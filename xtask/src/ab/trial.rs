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
use serde::{Deserialize, Serialize};
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
    /// What the measuring took of the budget.
    pub spent: Duration,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// A declared look.
    Decided,
    /// The budget: that is a look too, as time knows nothing of the samples.
    Budget,
    /// Ctrl-C, which may have been pressed for what was on the screen: it decides nothing.
    Interrupted,
}

/// What the next step of a measurement brings.
pub enum Next {
    /// A layout: a block for each scenario.
    Layout(Vec<Block>),
    /// No more of them.
    End(End),
}

impl Trial<'_> {
    /// Measures, filling `timed`, one entry for each scenario of the bench. Goes on after the layouts
    /// `before`, which took the time `spent` of the budget. Each further layout is given to `keep`,
    /// with the time spent by then, before anything is made of it.
    pub fn run_after(
        &self,
        before: &[Vec<Block>],
        spent: Duration,
        timed: Vec<Timed>,
        mut keep: impl FnMut(&[Block], Duration) -> Result<()>,
    ) -> Result<Finished> {
        let bar = term::progress("Measuring", LOOKS[0].0 as u64);
        bar.tick();
        let started = Instant::now();
        let spent = || spent + started.elapsed();
        let next = |layout: usize| {
            if let Some(blocks) = before.get(layout) {
                return Ok(Next::Layout(blocks.clone()));
            }
            if process::interrupted() {
                return Ok(Next::End(End::Interrupted));
            }
            if spent() > self.budget {
                return Ok(Next::End(End::Budget));
            }
            let blocks = self.bench.layout(layout, &mut layout_rng(self.seed, layout))?;
            if blocks.len() < timed.len() {
                // Ctrl-C came between two scenarios: half a layout is none.
                return Ok(Next::End(End::Interrupted));
            }
            keep(&blocks, spent())?;
            Ok(Next::Layout(blocks))
        };
        let watch = |seen: Seen<'_>| match seen {
            Seen::Layouts { counted, dropped, target } => {
                bar.set_length(target as u64);
                bar.set_position(counted as u64);
                bar.set_message(progress(dropped, self.budget.saturating_sub(spent())));
            }
            Seen::Look(line) => bar.suspend(|| term::step("Looked at", line)),
        };
        let finished = follow(self.seed, self.removal, timed.clone(), next, watch);
        bar.finish_and_clear();
        Ok(Finished { spent: spent(), ..finished? })
    }
}

/// Judges layouts that were measured before, by the rules of today: the same looks at the same
/// layouts with the same random numbers, so that the same rules give the same verdict.
pub fn replay(seed: u64, removal: bool, recorded: &[Timed], end: End) -> Result<Finished> {
    let layouts = recorded.iter().map(|timed| timed.blocks.len()).min().unwrap_or(0);
    let empty = recorded.iter().cloned().map(|timed| Timed { blocks: Vec::new(), ..timed });
    let next = |layout: usize| {
        Ok(if layout < layouts {
            Next::Layout(recorded.iter().map(|timed| timed.blocks[layout].clone()).collect())
        } else {
            Next::End(end)
        })
    };
    follow(seed, removal, empty.collect(), next, |_| ())
}

/// What there is to tell on the way.
pub enum Seen<'a> {
    /// A layout is in: so many count, so many do not, of so many until the next look.
    Layouts {
        /// Layouts that count.
        counted: usize,
        /// Layouts that do not.
        dropped: usize,
        /// What the next look waits for.
        target: usize,
    },
    /// A look was made; what it says of one scenario.
    Look(&'a str),
}

/// The random numbers of one layout. They depend on the seed and on the layout's number alone, so
/// that a run that goes on makes the layouts that it would have made.
pub fn layout_rng(seed: u64, layout: usize) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_add((layout as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// Takes layouts until a declared look decides or there are no more.
pub fn follow(
    seed: u64,
    removal: bool,
    mut timed: Vec<Timed>,
    mut next: impl FnMut(usize) -> Result<Next>,
    watch: impl Fn(Seen<'_>),
) -> Result<Finished> {
    // Resampling has its own stream: layouts depend on the seed and on their number alone.
    let mut resampling = SmallRng::seed_from_u64(!seed);
    let mut judge = Judge::new(timed.len(), measure::SLOWDOWN_PERMILLE);
    let (mut layout, mut end, mut company) = (0, End::Decided, None);
    let mut verdict = None;
    for (at, (target, alpha)) in LOOKS.iter().enumerate() {
        while fewest(&timed) < *target && end == End::Decided {
            let blocks = match next(layout)? {
                Next::Layout(blocks) => blocks,
                Next::End(why) => {
                    end = why;
                    break;
                }
            };
            timed.iter_mut().zip(blocks).for_each(|(timed, block)| timed.blocks.push(block));
            layout += 1;
            if layout == GET_TO_KNOW && fewest(&timed) * 2 < GET_TO_KNOW {
                company = Some(mean_company(&timed));
            }
            if company.is_some() {
                timed.iter_mut().flat_map(|timed| &mut timed.blocks).for_each(count_busy);
            }
            let counted = fewest(&timed);
            watch(Seen::Layouts { counted, dropped: layout - counted, target: *target });
        }
        let last = at + 1 == LOOKS.len() || end != End::Decided;
        let samples: Vec<_> = timed.iter().map(|timed| timed.samples(removal)).collect();
        let before = judge.calls().to_vec();
        let Some(mut judged) = judge.look(&samples, *alpha, &mut resampling) else {
            verdict = Some(Verdict::Inconclusive);
            break;
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
            watch(Seen::Look(&line));
        }
        verdict = if end == End::Interrupted {
            Some(Verdict::Inconclusive)
        } else {
            judge::overall(&judged, last)
        };
        if verdict.is_some() {
            break;
        }
    }
    timed.iter_mut().for_each(Timed::summarise);
    let verdict = verdict.expect("the last look gives a verdict");
    Ok(Finished { verdict, timed, end, spent: Duration::ZERO, company })
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
fn progress(dropped: usize, left: Duration) -> String {
    let busy =
        if dropped > 0 { format!(", {dropped} disturbed and dropped") } else { String::new() };
    format!("layouts{busy}, budget {} s", left.as_secs())
}

/// The layouts that every scenario has.
fn fewest(timed: &[Timed]) -> usize {
    timed.iter().map(|timed| timed.kept().count()).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::canned;
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

    #[test]
    fn a_replay_looks_where_it_was_declared_and_always_says_the_same() {
        let recorded = canned::timed(150, &[2.0, 0.0]);
        let once = replay(11, true, &recorded, End::Budget).unwrap();
        let twice = replay(11, true, &recorded, End::Budget).unwrap();
        assert_eq!((once.verdict, once.end), (Verdict::Go, End::Decided));
        let judged = |finished: &Finished| {
            finished.timed.iter().map(|timed| timed.judged.clone()).collect::<Vec<_>>()
        };
        assert_eq!(judged(&once), judged(&twice));
        let first = once.timed[0].judged.as_ref().unwrap();
        assert!(LOOKS.iter().any(|(target, _)| *target == first.layouts), "{}", first.layouts);
        assert_eq!(once.timed[0].blocks[..], recorded[0].blocks[..first.layouts]);
        // The other way round it is as bad as it was good.
        assert_eq!(replay(11, false, &recorded, End::Budget).unwrap().verdict, Verdict::NoGo);
    }

    #[test]
    fn a_replay_ends_as_the_run_did() {
        let recorded = canned::timed(40, &[2.0]);
        let ended = |end| replay(3, true, &recorded, end).unwrap();
        assert_eq!(
            (ended(End::Budget).verdict, ended(End::Budget).end),
            (Verdict::Go, End::Budget)
        );
        let interrupted = ended(End::Interrupted);
        assert_eq!(interrupted.verdict, Verdict::Inconclusive);
        assert!(interrupted.timed[0].judged.as_ref().unwrap().call.is_none());
        assert!(
            replay(3, true, &canned::timed(5, &[2.0]), End::Budget).unwrap().timed[0]
                .judged
                .is_none()
        );
    }

    #[test]
    fn layouts_depend_on_the_seed_and_their_number_alone() {
        let draw = |seed, layout| rand::RngExt::random::<u64>(&mut layout_rng(seed, layout));
        assert_eq!(draw(5, 30), draw(5, 30));
        assert_ne!(draw(5, 30), draw(5, 31));
        assert_ne!(draw(5, 30), draw(6, 30));
    }
}
