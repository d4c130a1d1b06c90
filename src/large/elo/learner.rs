//! Who plays when: rounds, matches, and what a round cost.
//!
//! A round is a stretch of large allocations, frees and resizes under one threshold. A match is four
//! rounds, leader, challenger, challenger, leader, so that a drift of the program's own favours nobody; two,
//! where one side costs more than twice the other. Between matches, once the lead is steady, the leader
//! rests.
//!
//! No clock and no system call is read here: a round's [`Measure`] is handed in, so that tests play
//! it through.

use super::evolution::{Evolution, Life, Stage};
use super::league::{League, Outcome};
use super::sizes::Sizes;

/// What a page fault costs, in cycles: the trap and the clearing of the page.
const FAULT_CYCLES: u64 = 2000;
/// Requests that the recent distribution of sizes remembers, twice at most.
const RECENT: u64 = 1024;
/// Matches without a change of the lead after which it is steady: every challenger twice.
pub(super) const STEADY: u32 = 10;
/// Rounds that a steady leader rests before it plays an equal.
const REST: u32 = 28;
/// Points behind the leader for which the rest before a match doubles, and how often it does at most:
/// a challenger that has lost often is dear to ask again.
const BEHIND: u32 = 50;
const DOUBLINGS: u32 = 4;
/// Rounds until it is looked again whether any challenger would change anything.
const LOOK: u32 = 4;

/// What was measured of one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    /// Operations that were timed.
    pub(crate) timed: u64,
    /// Operations that there were, timed or not.
    pub(crate) operations: u64,
    /// Cycles of the timed ones.
    pub(crate) cycles: u64,
    /// Page faults of the process.
    pub(crate) faults: u64,
    /// Bytes that were free and held at its end.
    pub(crate) held: u64,
    /// Bytes in use at its end.
    pub(crate) in_use: u64,
    /// Sizes of the requests that were looked at.
    pub(crate) sizes: Sizes,
}

impl Measure {
    /// Sixteenths of a cycle per operation, page faults included; up to half as much again for
    /// holding as much memory as is in use.
    pub(crate) fn cost(&self) -> u64 {
        let time = (self.cycles * 16).checked_div(self.timed).unwrap_or(0);
        let faults = (self.faults * FAULT_CYCLES * 16).checked_div(self.operations).unwrap_or(0);
        let held = (self.held.saturating_mul(16) / self.in_use.max(1)).min(16);
        (time + faults) * (32 + held) / 32
    }
}

/// What goes on while nothing is frozen.
#[derive(Clone, Copy, Debug)]
enum Play {
    /// The leader is in force for so many rounds more.
    Rest(u32),
    /// Round `leg` of a match; what both sides have cost so far.
    Match { challenger: usize, leg: u32, costs: [u64; 2] },
}

/// All that is learned, and where learning stands.
pub(crate) struct Learner {
    pub(crate) league: League,
    pub(crate) evolution: Evolution,
    play: Play,
    /// Who had the last match.
    last: usize,
    /// Matches since the lead has changed.
    steady: u32,
    /// Rounds so far.
    pub(crate) rounds: u64,
    /// The recent distribution.
    sizes: Sizes,
}

impl Learner {
    pub(crate) const fn new() -> Self {
        Learner {
            league: League::new(),
            evolution: Evolution::new(),
            play: Play::Rest(1),
            last: 0,
            steady: 0,
            rounds: 0,
            sizes: Sizes::new(),
        }
    }

    /// Goes on from a saved league.
    pub(crate) fn resume(&mut self, league: League) {
        self.league = league;
        self.play = Play::Rest(1);
        self.steady = 0;
    }

    /// A round under `self.candidate()` has ended.
    pub(crate) fn round(&mut self, measure: &Measure, life: Life) {
        self.rounds += 1;
        self.sizes.add(&measure.sizes);
        if self.sizes.total() >= 2 * RECENT {
            self.sizes.halve();
        }
        let (stage, cost) = (self.evolution.stage(), measure.cost());
        match stage {
            Stage::Learn => self.learn(cost, life),
            Stage::Frozen | Stage::Canary => {
                self.evolution.round(self.rounds, &mut self.league, measure, life);
                if self.evolution.stage() == Stage::Learn {
                    self.league.forget_half();
                    self.steady = 0;
                    self.play = Play::Rest(1);
                }
            }
        }
    }

    /// Whether the next round is to be timed.
    pub(crate) fn times(&self) -> bool {
        match self.evolution.stage() {
            Stage::Learn => matches!(self.play, Play::Match { .. }),
            Stage::Frozen => false,
            Stage::Canary => true,
        }
    }

    /// Who is in force for the next round.
    pub(crate) fn candidate(&self) -> usize {
        match (self.evolution.trial(), self.play) {
            (Some(challenger), _) => challenger,
            (None, Play::Match { challenger, leg: 1 | 2, .. })
                if self.evolution.stage() == Stage::Learn =>
            {
                challenger
            }
            _ => self.league.leader(),
        }
    }

    fn learn(&mut self, cost: u64, life: Life) {
        match &mut self.play {
            Play::Rest(left) if *left > 1 => *left -= 1,
            Play::Rest(_) => self.next_match(life),
            Play::Match { challenger, leg, costs } => {
                costs[usize::from(matches!(leg, 1 | 2))] += cost;
                *leg += 1;
                let (challenger, leg, costs) = (*challenger, *leg, *costs);
                let rout = leg == 2 && costs[0].max(costs[1]) / 2 > costs[0].min(costs[1]);
                if rout || leg == 4 {
                    let leader = self.league.leader();
                    let outcome = Outcome::of(costs[0], costs[1]);
                    // What is plain at half-time is not worth two more rounds, and counts as two wins.
                    for _ in 0..if rout { 2 } else { 1 } {
                        self.league.record(leader, challenger, outcome);
                    }
                    self.last = challenger;
                    self.steady = if self.league.crown() { 0 } else { self.steady + 1 };
                    self.after_match(challenger, outcome, life);
                }
            }
        }
    }

    fn after_match(&mut self, challenger: usize, outcome: Outcome, life: Life) {
        if outcome == Outcome::Lost && challenger != self.league.leader() {
            // Who has won plays again at once, until it leads or loses: the leader would make up for
            // it against the others.
            self.play = Play::Match { challenger, leg: 0, costs: [0; 2] };
        } else if self.steady < STEADY {
            self.next_match(life);
        } else if life == Life::Off {
            let next = self.league.next_challenger(self.last, &self.sizes);
            let behind = next.map_or(0, |next| self.league.behind(next));
            self.play = Play::Rest(REST << (behind / BEHIND).min(DOUBLINGS));
        } else {
            self.evolution.freeze(self.rounds, self.league.leader(), self.steady);
        }
    }

    fn next_match(&mut self, life: Life) {
        match self.league.next_challenger(self.last, &self.sizes) {
            Some(challenger) => self.play = Play::Match { challenger, leg: 0, costs: [0; 2] },
            None => {
                // Any threshold would do: nothing to choose.
                self.play = Play::Rest(LOOK);
                self.steady += 1;
                if life != Life::Off && self.steady >= STEADY {
                    self.evolution.freeze(self.rounds, self.league.leader(), self.steady);
                }
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::league::threshold;
    use super::*;

    /// What a round costs under a threshold, and its sizes, for a program of blocks of `size` bytes
    /// that suits thresholds of at least `suits` bytes.
    pub(in super::super) fn program(size: usize, suits: usize, candidate: usize) -> Measure {
        let mut sizes = Sizes::new();
        (0..48).for_each(|_| sizes.count(size));
        let good = threshold(candidate) >= suits;
        Measure {
            timed: 48,
            operations: 192,
            cycles: if good { 48 * 200 } else { 48 * 900 },
            faults: if good { 2 } else { 90 },
            held: 1 << 20,
            in_use: 8 << 20,
            sizes,
        }
    }

    fn play(learner: &mut Learner, rounds: u32, size: usize, suits: usize) -> [u32; 6] {
        let mut played = [0; 6];
        for _ in 0..rounds {
            let candidate = learner.candidate();
            played[candidate] += 1;
            learner.round(&program(size, suits, candidate), Life::Off);
        }
        played
    }

    #[test]
    fn cost_counts_time_faults_and_memory() {
        let base = Measure {
            timed: 10,
            operations: 40,
            cycles: 1000,
            faults: 0,
            held: 0,
            in_use: 1 << 20,
            sizes: Sizes::new(),
        };
        assert_eq!(base.cost(), 1600);
        assert_eq!(Measure { faults: 40, ..base }.cost(), 1600 + 16 * FAULT_CYCLES);
        assert_eq!(Measure { held: 1 << 20, ..base }.cost(), 2400);
        assert_eq!(Measure { held: 1 << 30, ..base }.cost(), 2400, "bounded");
        assert_eq!(Measure { timed: 0, operations: 0, ..base }.cost(), 0);
    }

    #[test]
    fn the_better_threshold_wins_and_then_rests() {
        let mut learner = Learner::new();
        play(&mut learner, 400, 3 << 20, 4 << 20);
        assert!(threshold(learner.league.leader()) >= 4 << 20);
        let leader = learner.league.leader();
        let played = play(&mut learner, 320, 3 << 20, 4 << 20);
        assert_eq!(learner.league.leader(), leader);
        let others = played.iter().sum::<u32>() - played[leader];
        assert!(others <= 320 / 16, "challengers had {others} of 320 rounds");
    }

    #[test]
    fn a_rout_is_over_at_half_time_and_counts_twice() {
        let mut learner = Learner::new();
        play(&mut learner, 3, 3 << 20, 4 << 20);
        assert_eq!((learner.league.of(3).won, learner.league.of(2).lost), (2, 2));
        assert_eq!(threshold(learner.league.leader()), 4 << 20);
    }

    #[test]
    fn who_has_won_plays_again_at_once() {
        let mut learner = Learner::new();
        let mut leaders = std::vec::Vec::new();
        for _ in 0..10 {
            let candidate = learner.candidate();
            // Half as dear again: no rout.
            let cycles = if candidate == 3 { 48 * 200 } else { 48 * 300 };
            let measure = Measure { cycles, faults: 0, ..program(3 << 20, 0, candidate) };
            learner.round(&measure, Life::Off);
            leaders.push(threshold(learner.league.leader()) >> 20);
        }
        // A round of rest, and two matches against the same challenger.
        assert_eq!(leaders, [2, 2, 2, 2, 2, 2, 2, 2, 4, 4]);
        assert_eq!(learner.league.of(4).matches(), 0);
    }

    #[test]
    #[cfg_attr(miri, ignore = "thousands of rounds of arithmetic, minutes there")]
    fn who_has_lost_often_is_seldom_asked() {
        let mut learner = Learner::new();
        play(&mut learner, 1000, 3 << 20, 4 << 20);
        let played = play(&mut learner, 4000, 3 << 20, 4 << 20);
        let leader = learner.league.leader();
        let others = played.iter().sum::<u32>() - played[leader];
        assert!((1..=40).contains(&others), "challengers had {others} of 4000 rounds");
    }

    #[test]
    #[cfg_attr(miri, ignore = "thousands of rounds of arithmetic, minutes there")]
    fn a_change_of_the_program_changes_the_lead() {
        let mut learner = Learner::new();
        play(&mut learner, 400, 3 << 20, 4 << 20);
        // Now blocks of 3 MiB are better off as mappings: the measure is turned round.
        for _ in 0..3000 {
            let candidate = learner.candidate();
            let mirrored = if threshold(candidate) >= 4 << 20 { 0 } else { 5 };
            let mut measure = program(3 << 20, 4 << 20, mirrored);
            measure.sizes = program(3 << 20, 0, 0).sizes;
            learner.round(&measure, Life::Off);
        }
        assert!(threshold(learner.league.leader()) < 4 << 20);
    }

    #[test]
    fn without_a_difference_nobody_plays() {
        let mut learner = Learner::new();
        // Mappings whatever the threshold.
        let played = play(&mut learner, 200, 100 << 20, 4 << 20);
        assert_eq!((played[2], learner.league.has_played()), (200, false));
    }
}
