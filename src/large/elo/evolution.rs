//! The life cycle around the ratings: LEARN, FROZEN, CANARY (gate `evolution`).
//!
//! | stage | what runs | ends when |
//! |---|---|---|
//! | LEARN | matches, round after round | the lead is steady: FROZEN |
//! | FROZEN | the winner; sizes are watched, nothing is timed | two windows of sizes in turn differ from those it was frozen on: LEARN or CANARY |
//! | CANARY | the winner, and in one round of [`CYCLE`] a challenger | each challenger that would change anything has been adopted or rolled back: FROZEN |
//!
//! `HAKMEM_EVOLUTION` says how much of it there is: `off`, no stage but LEARN; `frozen`, the winner is
//! frozen for good; `learn`, a shift leads back to LEARN; `canary`, to CANARY.
//!
//! Every step is a line of a bounded log. As in `learner`, everything measured is handed in.

use super::league::{League, Outcome, threshold};
use super::learner::Measure;
use super::sizes::Sizes;

/// Whether this build has a life cycle.
pub(crate) const ON: bool = cfg!(feature = "evolution");

/// Requests in a window of the watched distribution.
const WINDOW: u64 = 128;
/// Percentage of a window's requests that must lie elsewhere for it to count as shifted.
const SHIFTED: u32 = 25;
/// Shifted windows in turn that make a shift.
const IN_TURN: u32 = 2;
/// Rounds of CANARY in each of which the last is the challenger's.
pub(super) const CYCLE: u32 = 16;
/// Cycles that a challenger gets.
const CYCLES: u32 = 3;
/// Decisions that the log keeps.
pub(crate) const KEPT: usize = 32;

/// How much of the life cycle is wanted, by the number of the setting's word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    Off,
    Frozen,
    Learn,
    Canary,
}

/// Where the life cycle stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Candidates play against each other.
    Learn,
    /// The winner is in force.
    Frozen,
    /// The winner is in force, and a challenger now and then.
    Canary,
}

/// A step of the life cycle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A steady winner was frozen.
    Freeze,
    /// The sizes have shifted.
    Shift,
    /// Learning started again.
    Relearn,
    /// A challenger gets a small share of the traffic.
    Try,
    /// The challenger was better and is the winner now.
    Adopt,
    /// It was not.
    RollBack,
}

impl Step {
    /// How it is called in text and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Step::Freeze => "freeze",
            Step::Shift => "shift",
            Step::Relearn => "relearn",
            Step::Try => "try",
            Step::Adopt => "adopt",
            Step::RollBack => "roll-back",
        }
    }
}

/// A line of the decision log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The round after which it was taken.
    pub round: u64,
    /// What was decided.
    pub step: Step,
    /// The threshold in force, in bytes.
    pub from: usize,
    /// The threshold that it is about, in bytes; the same where there is no other.
    pub to: usize,
    /// What it went by: for `Freeze` the matches without a change of the lead, for `Shift` the
    /// percentage of requests that have moved, for `Adopt` and `RollBack` the challenger's cost in
    /// percent of the winner's; else 0.
    pub figure: u32,
}

/// The last [`KEPT`] decisions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    entries: [Decision; KEPT],
    count: u64,
}

impl Log {
    const fn new() -> Self {
        let nothing = Decision { round: 0, step: Step::Freeze, from: 0, to: 0, figure: 0 };
        Log { entries: [nothing; KEPT], count: 0 }
    }

    fn push(&mut self, decision: Decision) {
        if let Some(slot) = self.entries.get_mut((self.count % KEPT as u64) as usize) {
            *slot = decision;
        }
        self.count += 1;
    }

    /// How many there have been.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Those that are kept, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Decision> {
        let kept = self.count.min(KEPT as u64);
        (self.count - kept..self.count)
            .filter_map(|index| self.entries.get((index % KEPT as u64) as usize))
    }
}

/// A challenger's time.
#[derive(Clone, Copy)]
struct Trial {
    challenger: usize,
    /// Rounds of it so far.
    rounds: u32,
    /// The winner's cost in this cycle.
    winner: u64,
    /// Costs over all cycles: the winner's mean round, the challenger's round.
    costs: [u64; 2],
    won: u32,
    lost: u32,
}

#[derive(Clone, Copy)]
struct Cycle {
    stage: Stage,
    /// Sizes that the winner was frozen on.
    reference: Sizes,
    window: Sizes,
    shifted: u32,
    /// Challengers that have had their trial since the shift, a bit each.
    tried: u32,
    trial: Option<Trial>,
    log: Log,
}

/// The life cycle's state; no bytes without the gate.
#[derive(Clone, Copy)]
pub(crate) struct Evolution([Cycle; ON as usize]);

impl Evolution {
    pub(crate) const fn new() -> Self {
        const NEW: Cycle = Cycle {
            stage: Stage::Learn,
            reference: Sizes::new(),
            window: Sizes::new(),
            shifted: 0,
            tried: 0,
            trial: None,
            log: Log::new(),
        };
        Evolution([NEW; ON as usize])
    }

    #[inline]
    pub(crate) fn stage(&self) -> Stage {
        self.0.first().map_or(Stage::Learn, |cycle| cycle.stage)
    }

    pub(crate) fn log(&self) -> Option<&Log> {
        self.0.first().map(|cycle| &cycle.log)
    }

    /// The challenger whose round the next one is.
    #[inline]
    pub(super) fn trial(&self) -> Option<usize> {
        let trial = self.0.first()?.trial?;
        (trial.rounds % CYCLE == CYCLE - 1).then_some(trial.challenger)
    }

    /// The lead is steady, or what was loaded is to be in force.
    pub(super) fn freeze(&mut self, round: u64, winner: usize, figure: u32) {
        for cycle in &mut self.0 {
            cycle.freeze();
            cycle.say(round, Step::Freeze, winner, winner, figure);
        }
    }

    /// Learning starts (again) because it was asked for.
    pub(super) fn thaw(&mut self) {
        for cycle in &mut self.0 {
            cycle.stage = Stage::Learn;
            cycle.trial = None;
        }
    }

    /// A round has ended in FROZEN or CANARY.
    pub(super) fn round(&mut self, round: u64, league: &mut League, of: &Measure, life: Life) {
        for cycle in &mut self.0 {
            match cycle.stage {
                Stage::Learn => {}
                Stage::Frozen => cycle.watch(round, league, &of.sizes, life),
                Stage::Canary => cycle.try_out(round, league, of),
            }
        }
    }
}

impl Cycle {
    fn say(&mut self, round: u64, step: Step, from: usize, to: usize, figure: u32) {
        let (from, to) = (threshold(from), threshold(to));
        self.log.push(Decision { round, step, from, to, figure });
    }

    fn freeze(&mut self) {
        self.stage = Stage::Frozen;
        (self.reference, self.window) = (Sizes::new(), Sizes::new());
        (self.shifted, self.tried, self.trial) = (0, 0, None);
    }

    fn watch(&mut self, round: u64, league: &League, sizes: &Sizes, life: Life) {
        if !matches!(life, Life::Learn | Life::Canary) {
            return;
        }
        self.window.add(sizes);
        if self.window.total() < WINDOW {
            return;
        }
        let window = core::mem::replace(&mut self.window, Sizes::new());
        if self.reference.total() == 0 {
            self.reference = window;
            return;
        }
        let distance = self.reference.distance(&window);
        self.shifted = if distance >= SHIFTED { self.shifted + 1 } else { 0 };
        if self.shifted < IN_TURN {
            return;
        }
        self.shifted = 0;
        let winner = league.leader();
        self.say(round, Step::Shift, winner, winner, distance);
        self.reference = window;
        if life == Life::Learn {
            self.stage = Stage::Learn;
            self.say(round, Step::Relearn, winner, winner, 0);
        } else {
            self.tried = 0;
            self.stage = Stage::Canary;
            self.next_trial(round, league);
        }
    }

    /// The best challenger that has not had its trial; without one, the winner is frozen again.
    fn next_trial(&mut self, round: u64, league: &League) {
        let winner = league.leader();
        match league.best_challenger(self.tried, &self.reference) {
            Some(challenger) => {
                self.tried |= 1 << challenger;
                let costs = [0; 2];
                self.trial =
                    Some(Trial { challenger, rounds: 0, winner: 0, costs, won: 0, lost: 0 });
                self.say(round, Step::Try, winner, challenger, 0);
            }
            None => {
                let reference = self.reference;
                self.freeze();
                self.reference = reference;
                self.say(round, Step::Freeze, winner, winner, 0);
            }
        }
    }

    fn try_out(&mut self, round: u64, league: &mut League, of: &Measure) {
        let Some(trial) = &mut self.trial else { return self.next_trial(round, league) };
        let cost = of.cost();
        trial.rounds += 1;
        if !trial.rounds.is_multiple_of(CYCLE) {
            trial.winner += cost;
            return;
        }
        let winner = trial.winner / u64::from(CYCLE - 1);
        trial.winner = 0;
        trial.costs[0] += winner;
        trial.costs[1] += cost;
        let outcome = Outcome::of(winner, cost);
        league.record(league.leader(), trial.challenger, outcome);
        match outcome {
            Outcome::Lost => trial.won += 1,
            Outcome::Won => trial.lost += 1,
            Outcome::Drawn => {}
        }
        if trial.rounds < CYCLE * CYCLES {
            return;
        }
        let Trial { challenger, costs, won, lost, .. } = *trial;
        let percent = (costs[1] * 100).checked_div(costs[0]).unwrap_or(100) as u32;
        let from = league.leader();
        let better = won + 1 >= CYCLES && lost == 0;
        self.trial = None;
        if better {
            league.adopt(challenger);
            self.tried |= 1 << from;
        }
        let step = if better { Step::Adopt } else { Step::RollBack };
        self.say(round, step, from, challenger, percent);
        self.next_trial(round, league);
    }
}

#[cfg(test)]
mod tests {
    use super::super::learner::{Learner, tests::program};
    use super::*;
    use std::vec::Vec;

    /// A program whose sizes and whose best threshold shift half-way; gives the log.
    fn run(life: Life, before: (usize, usize), after: (usize, usize)) -> (Learner, Vec<Decision>) {
        let mut learner = Learner::new();
        for round in 0..1200 {
            let (size, suits) = if round < 600 { before } else { after };
            let measure = program(size, suits, learner.candidate());
            learner.round(&measure, life);
        }
        let log = learner.evolution.log().map_or(Vec::new(), |log| log.iter().copied().collect());
        (learner, log)
    }

    fn steps(log: &[Decision]) -> Vec<Step> {
        log.iter().map(|decision| decision.step).collect()
    }

    const MIB: usize = 1 << 20;

    #[test]
    fn a_shift_is_tried_on_a_share_and_adopted() {
        if !ON {
            return;
        }
        // 1.5 MiB suits 2 MiB and more; then 12 MiB suits 16 MiB only.
        let (learner, log) = run(Life::Canary, (MIB * 3 / 2, 2 * MIB), (12 * MIB, 16 * MIB));
        assert_eq!(
            steps(&log),
            [Step::Freeze, Step::Shift, Step::Try, Step::Adopt, Step::Freeze],
            "{log:#?}"
        );
        assert_eq!((log[0].from, log[0].figure), (2 * MIB, 10));
        assert!(log[1].round > 600 && log[1].figure == 100);
        assert_eq!((log[2].from, log[2].to), (2 * MIB, 16 * MIB));
        assert_eq!(log[3].round - log[2].round, u64::from(CYCLE * CYCLES));
        assert!(log[3].figure < 50, "its cost in percent");
        assert_eq!(threshold(learner.league.leader()), 16 * MIB);
    }

    #[test]
    fn a_challenger_that_is_no_better_is_rolled_back() {
        if !ON {
            return;
        }
        // 12 MiB is better off as a mapping: no challenger changes anything but for the worse.
        let (learner, log) = run(Life::Canary, (MIB * 3 / 2, 2 * MIB), (12 * MIB, 0));
        assert_eq!(
            steps(&log),
            [Step::Freeze, Step::Shift, Step::Try, Step::RollBack, Step::Freeze],
            "{log:#?}"
        );
        assert_eq!(log[3].figure, 100);
        assert_eq!(threshold(learner.league.leader()), 2 * MIB);
    }

    #[test]
    fn a_challenger_has_a_small_share() {
        if !ON {
            return;
        }
        let mut learner = Learner::new();
        let (mut rounds, mut challenged) = (0, 0);
        for round in 0..1200 {
            let size = if round < 600 { MIB } else { 12 * MIB };
            let candidate = learner.candidate();
            if learner.evolution.stage() == Stage::Canary {
                rounds += 1;
                challenged += u32::from(candidate != learner.league.leader());
            }
            learner.round(&program(size, 0, candidate), Life::Canary);
        }
        assert!(rounds >= CYCLE * CYCLES);
        assert_eq!(challenged, rounds / CYCLE);
    }

    #[test]
    fn without_canary_a_shift_is_learned_again() {
        if !ON {
            return;
        }
        let (learner, log) = run(Life::Learn, (MIB * 3 / 2, 2 * MIB), (12 * MIB, 16 * MIB));
        assert_eq!(
            steps(&log),
            [Step::Freeze, Step::Shift, Step::Relearn, Step::Freeze],
            "{log:#?}"
        );
        assert_eq!(threshold(learner.league.leader()), 16 * MIB);
    }

    #[test]
    fn frozen_for_good_watches_nothing() {
        if !ON {
            return;
        }
        let (learner, log) = run(Life::Frozen, (MIB * 3 / 2, 2 * MIB), (12 * MIB, 16 * MIB));
        assert_eq!(steps(&log), [Step::Freeze]);
        assert_eq!(threshold(learner.league.leader()), 2 * MIB);
        assert!(!learner.times());
    }

    #[test]
    fn the_log_keeps_the_last_decisions() {
        let mut log = Log::new();
        for round in 0..100 {
            log.push(Decision { round, step: Step::Shift, from: 0, to: 0, figure: 0 });
        }
        assert_eq!(log.count(), 100);
        let kept: Vec<u64> = log.iter().map(|decision| decision.round).collect();
        assert_eq!(kept, (68..100).collect::<Vec<_>>());
    }
}
