//! What a self-test leaves behind: the rounds with their raw samples, the tries that they were
//! judged to be, and how often each difference was called right. Nothing here measures; a recorded
//! round is judged again by the same code.

use crate::ab::judge::{Estimate, Verdict};
use crate::ab::measure::{Block, Disturbance};
use crate::ab::outcome::{Machine, Timed};
use crate::ab::scenario::Fitted;
use crate::ab::trial::{self, End, Next};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;

/// Raised when a field changes its meaning.
pub const SCHEMA: u32 = 1;

/// A whole self-test.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SelfTest {
    /// Version of this format.
    pub schema: u32,
    /// Where and when.
    pub machine: Machine,
    /// What the first round was seeded with; each later one with one more.
    pub seed: u64,
    /// Seconds of measuring.
    pub seconds: f64,
    /// True if layouts varied; else each rate is about one layout.
    pub shuffles: bool,
    /// How often each difference was called right.
    pub rates: Vec<Rate>,
    /// Every try.
    pub tries: Vec<Try>,
    /// The raw samples.
    pub rounds: Vec<Round>,
}

/// One experiment whose answer is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Try {
    /// Where.
    pub scenario: String,
    /// What was injected, in thousandths of the work.
    pub injected_permille: u64,
    /// What was called.
    pub verdict: Verdict,
    /// The effect that was found, per cent.
    pub effect: Option<Estimate>,
    /// How many layouts it took.
    pub layouts: usize,
}

impl Try {
    /// True if a difference was called that is none, or none where there is one, or the wrong way
    /// round. On the line itself (0.5 %) GO and NEUTRAL are both within half of the truth. A
    /// refusal is never a wrong call.
    pub fn wrong(&self) -> bool {
        match (self.verdict, self.injected_permille) {
            (Verdict::NoGo, _) => true,
            (Verdict::Go, injected) => injected == 0,
            (Verdict::Neutral, injected) => injected > 5,
            _ => false,
        }
    }

    /// True if the verdict says what is so.
    pub fn right(&self) -> bool {
        match self.injected_permille {
            0 => self.verdict == Verdict::Neutral,
            5 => matches!(self.verdict, Verdict::Neutral | Verdict::Go),
            _ => self.verdict == Verdict::Go,
        }
    }
}

/// How often one difference was called right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// What was injected, in thousandths of the work.
    pub injected_permille: u64,
    /// Tries.
    pub tries: usize,
    /// Called right.
    pub right: usize,
    /// Called wrong.
    pub wrong: usize,
    /// Not called: still open at the last look.
    pub open: usize,
    /// Not called: a control failed.
    pub refused: usize,
}

impl Rate {
    /// What the procedure has to reach, in words.
    pub fn aim(&self) -> &'static str {
        match self.injected_permille {
            0 => "at most 1 in 20 called GO or NO-GO",
            5 => "none: on the line",
            10 => "at least 19 in 20 found",
            _ => "all found",
        }
    }

    /// Whether it does. A single miss of few tries proves nothing.
    pub fn met(&self) -> bool {
        let one_in_twenty = (self.tries / 20).max(1);
        match self.injected_permille {
            0 => self.wrong <= one_in_twenty,
            5 => true,
            10 => self.tries - self.right <= one_in_twenty,
            _ => self.right == self.tries,
        }
    }
}

/// Rates of tries.
pub struct Rates;

impl Rates {
    /// A rate for each difference, the smallest first.
    pub fn of(tries: &[Try]) -> Vec<Rate> {
        let mut injected: Vec<u64> = tries.iter().map(|tried| tried.injected_permille).collect();
        injected.sort_unstable();
        injected.dedup();
        let rate = |injected_permille: u64| {
            let of: Vec<&Try> =
                tries.iter().filter(|tried| tried.injected_permille == injected_permille).collect();
            let count = |what: &dyn Fn(&Try) -> bool| of.iter().filter(|tried| what(tried)).count();
            Rate {
                injected_permille,
                tries: of.len(),
                right: count(&Try::right),
                wrong: count(&Try::wrong),
                open: count(&|tried| tried.verdict == Verdict::Inconclusive),
                refused: count(&|tried| tried.verdict == Verdict::Invalid),
            }
        };
        injected.into_iter().map(rate).collect()
    }

    /// For the progress bar.
    pub fn told(tries: &[Try]) -> String {
        let (right, wrong) = Rates::of(tries)
            .iter()
            .fold((0, 0), |(right, wrong), rate| (right + rate.right, wrong + rate.wrong));
        format!("{right} tries right, {wrong} wrong")
    }
}

/// Layouts of one scenario that several differences are asked about in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    /// The scenario.
    pub scenario: Fitted,
    /// Of its layouts, orders and paddings.
    pub seed: u64,
    /// What is asked about, in thousandths of the work.
    pub asked: Vec<u64>,
    /// What ended it before all was judged, if anything did.
    pub ended: Option<End>,
    /// The blocks of each layout, one for each question that was still open.
    #[serde(with = "compact")]
    pub layouts: Vec<Vec<Option<Block>>>,
    /// How many of the questions, in their order, are judged.
    #[serde(skip)]
    judged: usize,
}

impl Round {
    /// A round before its first layout.
    pub fn new(scenario: Fitted, seed: u64, asked: Vec<u64>) -> Round {
        Round { scenario, seed, asked, ended: None, layouts: Vec::new(), judged: 0 }
    }

    /// The questions that later layouts are measured for.
    pub fn open(&self) -> Vec<usize> {
        (self.judged..self.asked.len()).collect()
    }

    /// Judges the questions one after the other, taking layouts from `more` where those at hand do
    /// not suffice. What `more` ends is no try, except where 0.5 % is asked: that is never decided
    /// on purpose, and ends with the round.
    pub fn judge(
        &mut self,
        mut more: impl FnMut(&mut Round) -> Result<Option<End>>,
    ) -> Result<Vec<Try>> {
        let mut tries = Vec::new();
        (self.judged, self.ended) = (0, None);
        for question in 0..self.asked.len() {
            let injected = self.asked[question];
            let timed = vec![Timed::new(self.scenario.clone(), None)];
            let seed = self.seed.wrapping_mul(1000).wrapping_add(injected);
            let (cell, more) = (RefCell::new(&mut *self), RefCell::new(&mut more));
            let next = |layout: usize| {
                let mut round = cell.borrow_mut();
                if round.layouts.len() <= layout {
                    let end = match injected {
                        5 => Some(End::Interrupted),
                        _ => (more.borrow_mut())(&mut round)?,
                    };
                    if let Some(end) = end {
                        if injected != 5 {
                            round.ended = Some(end);
                        }
                        return Ok(Next::End(end));
                    }
                }
                Ok(match &round.layouts[layout][question] {
                    Some(block) => Next::Layout(vec![block.clone()]),
                    None => Next::End(End::Interrupted),
                })
            };
            let finished = trial::follow(seed, true, timed, next, |_| ())?;
            self.judged = question + 1;
            if self.ended.is_some() {
                break;
            }
            let timed = &finished.timed[0];
            tries.push(Try {
                scenario: self.scenario.name.clone(),
                injected_permille: injected,
                verdict: finished.verdict,
                effect: timed.judged.as_ref().map(|judged| judged.effect),
                layouts: timed.judged.as_ref().map_or(0, |judged| judged.layouts),
            });
        }
        Ok(tries)
    }
}

/// Raw samples as a table: what the questions share is written once a layout.
mod compact {
    use super::{Block, Disturbance};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Table {
        columns: Vec<String>,
        rows: Vec<Row>,
    }

    /// One layout.
    #[derive(Serialize, Deserialize)]
    struct Row(
        (u32, u32, String, usize),
        [u64; 2],
        [u64; 2],
        [u64; 2],
        Vec<Option<[u64; 2]>>,
        (u64, u64, i64),
        (f64, f64),
        Option<Disturbance>,
    );

    const COLUMNS: [&str; 8] = [
        "seed, control seed, order, padding",
        "out ns",
        "control ns",
        "slow ns",
        "with ns, a pair for each question",
        "peak KiB, stolen ms, preempted",
        "off processor, load",
        "dropped",
    ];

    pub fn serialize<S: Serializer>(
        layouts: &[Vec<Option<Block>>],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let round = |share: f64| (share * 1e4).round() / 1e4;
        let row = |blocks: &Vec<Option<Block>>| {
            let block = blocks.iter().flatten().next()?;
            Some(Row(
                (block.seed, block.control_seed, block.order.clone(), block.padding),
                block.out,
                block.control,
                block.slow,
                blocks.iter().map(|block| block.as_ref().map(|block| block.with)).collect(),
                (block.peak_kib.0, block.stolen_ms, block.preempted),
                (round(block.off_processor), round(block.load)),
                block.dropped,
            ))
        };
        let columns = COLUMNS.map(str::to_owned).to_vec();
        Table { columns, rows: layouts.iter().filter_map(row).collect() }.serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Vec<Option<Block>>>, D::Error> {
        let table = Table::deserialize(from)?;
        if table.columns != COLUMNS {
            return Err(D::Error::custom(format!("the columns are not {COLUMNS:?}")));
        }
        let blocks = |(layout, row): (usize, Row)| {
            let Row(ids, out, control, slow, with, counts, shares, dropped) = row;
            let block = |with: [u64; 2]| Block {
                layout,
                seed: ids.0,
                control_seed: ids.1,
                order: ids.2.clone(),
                padding: ids.3,
                out,
                with,
                control,
                slow,
                cpu: None,
                peak_kib: (counts.0, counts.0),
                rss_kib: (0, 0),
                stolen_ms: counts.1,
                preempted: counts.2,
                off_processor: shares.0,
                load: shares.1,
                dropped,
            };
            with.into_iter().map(|with| with.map(block)).collect()
        };
        Ok(table.rows.into_iter().enumerate().map(blocks).collect())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::ab::canned;

    /// A round of made-up layouts, as many as judging it asks for but at most `most`.
    pub fn round(seed: u64, asked: &[u64], most: usize) -> (Round, Vec<Try>) {
        let scenario = Fitted {
            name: "work".into(),
            unit: "block".into(),
            threaded: false,
            ops: 1000,
            ns_per_op: 14_000.0,
            turns: 0,
        };
        let made: Vec<Vec<Block>> = asked
            .iter()
            .map(|permille| canned::blocks(seed, most, (*permille as f64 / 1000.0).ln_1p() * 100.0))
            .collect();
        let mut round = Round::new(scenario, seed, asked.to_vec());
        let tries = round
            .judge(|round| {
                let layout = round.layouts.len();
                if layout == most {
                    return Ok(Some(End::Budget));
                }
                let mut row = vec![None; round.asked.len()];
                for question in round.open() {
                    let block = &made[question][layout];
                    // What is shared is the same for all.
                    let shared = made[0][layout].clone();
                    row[question] = Some(Block {
                        with: block.with,
                        rss_kib: (0, 0),
                        peak_kib: (9, 9),
                        ..shared
                    });
                }
                round.layouts.push(row);
                Ok(None)
            })
            .unwrap();
        (round, tries)
    }

    fn tried(verdict: Verdict, injected_permille: u64) -> Try {
        Try { scenario: String::new(), injected_permille, verdict, effect: None, layouts: 60 }
    }

    #[test]
    fn right_and_wrong_calls_of_known_differences() {
        let both = |verdict, injected| {
            let tried = tried(verdict, injected);
            (tried.right(), tried.wrong())
        };
        assert_eq!(both(Verdict::Neutral, 0), (true, false));
        assert_eq!(both(Verdict::Go, 0), (false, true));
        assert_eq!(both(Verdict::NoGo, 0), (false, true));
        assert_eq!(both(Verdict::Inconclusive, 0), (false, false));
        assert_eq!(both(Verdict::Invalid, 0), (false, false));
        assert_eq!(both(Verdict::Neutral, 5), (true, false));
        assert_eq!(both(Verdict::Inconclusive, 5), (false, false));
        assert_eq!(both(Verdict::Go, 10), (true, false));
        assert_eq!(both(Verdict::Neutral, 10), (false, true));
        assert_eq!(both(Verdict::NoGo, 20), (false, true));
    }

    #[test]
    fn the_aims_are_those_that_were_set() {
        let met = |injected, of: &[(Verdict, usize)]| {
            let tries: Vec<Try> = of
                .iter()
                .flat_map(|(verdict, count)| vec![tried(*verdict, injected); *count])
                .collect();
            Rates::of(&tries)[0].met()
        };
        assert!(met(0, &[(Verdict::Neutral, 30), (Verdict::Inconclusive, 8), (Verdict::Go, 2)]));
        assert!(!met(0, &[(Verdict::Neutral, 37), (Verdict::NoGo, 1), (Verdict::Go, 2)]));
        assert!(met(10, &[(Verdict::Go, 19), (Verdict::Inconclusive, 1)]));
        assert!(!met(10, &[(Verdict::Go, 18), (Verdict::Invalid, 2)]));
        assert!(
            met(20, &[(Verdict::Go, 20)]) && !met(20, &[(Verdict::Go, 19), (Verdict::Neutral, 1)])
        );
    }

    #[test]
    fn a_round_asks_until_each_question_is_decided() {
        let (round, tries) = round(3, &[20, 0, 5], 240);
        assert_eq!(
            tries.iter().map(|tried| (tried.injected_permille, tried.verdict)).collect::<Vec<_>>(),
            [(20, Verdict::Go), (0, Verdict::Neutral), (5, Verdict::Inconclusive)]
        );
        assert!(round.ended.is_none());
        // What was decided first is not in the later layouts.
        let measured = |question: usize| {
            round.layouts.iter().filter(|blocks| blocks[question].is_some()).count()
        };
        assert_eq!(measured(0), tries[0].layouts);
        assert!(measured(1) >= measured(0), "{} {}", measured(0), measured(1));
    }

    #[test]
    fn what_the_budget_cuts_off_is_no_try() {
        let (round, tries) = round(3, &[20, 0], 30);
        assert!(tries.is_empty());
        assert_eq!(round.ended, Some(End::Budget));
    }

    #[test]
    fn recorded_samples_are_judged_to_the_same_tries() {
        let (round, tries) = round(4, &[10, 0, 5], 240);
        let text = serde_json::to_string(&round).unwrap();
        let mut read: Round = serde_json::from_str(&text).unwrap();
        assert!(text.len() < round.layouts.len() * 260 + 1000, "{}", text.len());
        for (left, right) in read.layouts.iter().flatten().zip(round.layouts.iter().flatten()) {
            let same = |block: &Option<Block>| {
                block.as_ref().map(|block| (block.out, block.with, block.control, block.slow))
            };
            assert_eq!(same(left), same(right));
        }
        let again = read.judge(|_| Ok(Some(End::Interrupted))).unwrap();
        assert_eq!(again, tries);
    }
}
