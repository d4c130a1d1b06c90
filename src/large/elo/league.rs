//! The league of candidate thresholds: Elo ratings in integers.
//!
//! After Arpad Elo, "The Rating of Chessplayers, Past and Present" (1978): the score expected of A
//! against B is 1 / (1 + 10^((B - A) / 400)); a result moves both ratings by K times what it differs
//! from that, one up and the other down.
//!
//! Invariants: the ratings' sum never changes, unless one meets its bound; `leader` is an index of
//! [`CANDIDATES`].

use super::sizes::Sizes;

/// Thresholds that play, in bytes, ascending. Powers of two, as [`Sizes`] are counted by those.
pub(crate) const CANDIDATES: [usize; COUNT] =
    [512 << 10, 1 << 20, 2 << 20, 4 << 20, 8 << 20, 16 << 20];
/// Number of candidates.
pub(crate) const COUNT: usize = 6;
/// Who leads when a learner begins: 2 MiB, from which it is not far to any other.
const FIRST_LEADER: usize = 2;

/// Ratings are kept in sixteenths of a point, so that small steps are not lost.
const POINT: i32 = 16;
const FIRST_RATING: i32 = 1500 * POINT;
/// No rating leaves these bounds.
pub(super) const BOUNDS: (i32, i32) = (100 * POINT, 3000 * POINT);
/// Points that a leader must be surpassed by: two wins, not one.
const CLEARLY: i32 = 40 * POINT;
/// K: points at stake, while either side is new and later.
const STAKE: (i32, i32) = (32, 16);
/// Matches after which a candidate is not new any more.
const NEW: u32 = 20;

/// Expected score of the stronger side, in 1024ths, for every 25 points that it is ahead.
const EXPECTED: [i32; 33] = [
    512, 549, 585, 621, 655, 689, 720, 750, 778, 804, 828, 850, 869, 887, 904, 918, 931, 942, 953,
    962, 969, 976, 983, 988, 993, 997, 1000, 1003, 1006, 1008, 1011, 1012, 1014,
];

/// One candidate's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// In sixteenths of a point.
    pub(super) rating: i32,
    pub(crate) won: u32,
    pub(crate) drawn: u32,
    pub(crate) lost: u32,
}

/// What a match came to, for the side that is named first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Won,
    Drawn,
    Lost,
}

impl Outcome {
    /// Of two costs. Less than a thirty-second apart is a draw.
    pub(crate) fn of(first: u64, second: u64) -> Self {
        let margin = first.max(second) / 32;
        if first.abs_diff(second) <= margin {
            Outcome::Drawn
        } else if first < second {
            Outcome::Won
        } else {
            Outcome::Lost
        }
    }
}

/// All candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct League {
    pub(super) records: [Record; COUNT],
    pub(super) leader: usize,
}

/// Bytes of a candidate.
pub(crate) fn threshold(candidate: usize) -> usize {
    CANDIDATES.get(candidate).copied().unwrap_or(CANDIDATES[FIRST_LEADER])
}

/// The score expected of a side that is `ahead` sixteenths of a point ahead, in 1024ths.
fn expected(ahead: i32) -> i32 {
    let step = 25 * POINT;
    let distance = ahead.abs().min(step * (EXPECTED.len() as i32 - 1));
    let (index, rest) = ((distance / step) as usize, distance % step);
    let at = |index: usize| EXPECTED.get(index).or(EXPECTED.last()).copied().unwrap_or(512);
    let score = at(index) + (at(index + 1) - at(index)) * rest / step;
    if ahead < 0 { 1024 - score } else { score }
}

impl Record {
    const NEW: Record = Record { rating: FIRST_RATING, won: 0, drawn: 0, lost: 0 };

    pub(crate) fn matches(&self) -> u32 {
        self.won.saturating_add(self.drawn).saturating_add(self.lost)
    }

    /// The rating in points.
    pub(crate) fn points(&self) -> i32 {
        self.rating / POINT
    }

    fn note(&mut self, outcome: Outcome, gain: i32) {
        self.rating = (self.rating + gain).clamp(BOUNDS.0, BOUNDS.1);
        let count = match outcome {
            Outcome::Won => &mut self.won,
            Outcome::Drawn => &mut self.drawn,
            Outcome::Lost => &mut self.lost,
        };
        *count = count.saturating_add(1);
    }
}

impl League {
    pub(crate) const fn new() -> Self {
        League { records: [Record::NEW; COUNT], leader: FIRST_LEADER }
    }

    pub(crate) fn leader(&self) -> usize {
        self.leader
    }

    /// A candidate's record.
    pub(crate) fn of(&self, candidate: usize) -> Record {
        self.records.get(candidate).copied().unwrap_or(Record::NEW)
    }

    /// Whether anything has been learned.
    pub(crate) fn has_played(&self) -> bool {
        self.records.iter().any(|record| record.matches() != 0)
    }

    fn rating(&self, candidate: usize) -> i32 {
        self.records.get(candidate).map_or(FIRST_RATING, |record| record.rating)
    }

    /// Points by which the leader is ahead of a candidate; 0 if it is not.
    pub(crate) fn behind(&self, candidate: usize) -> u32 {
        ((self.rating(self.leader) - self.rating(candidate)) / POINT).max(0).unsigned_abs()
    }

    /// Takes the outcome of a match in, as `one` saw it.
    pub(crate) fn record(&mut self, one: usize, other: usize, outcome: Outcome) {
        let (Some(a), Some(b)) = (self.records.get(one), self.records.get(other)) else { return };
        let stake = if a.matches().min(b.matches()) < NEW { STAKE.0 } else { STAKE.1 };
        let (score, reverse) = match outcome {
            Outcome::Won => (1024, Outcome::Lost),
            Outcome::Drawn => (512, Outcome::Drawn),
            Outcome::Lost => (0, Outcome::Won),
        };
        let gain = stake * POINT * (score - expected(a.rating - b.rating)) / 1024;
        for (candidate, outcome, gain) in [(one, outcome, gain), (other, reverse, -gain)] {
            if let Some(record) = self.records.get_mut(candidate) {
                record.note(outcome, gain);
            }
        }
    }

    /// Gives the lead to whoever clearly deserves it. True: it has changed.
    pub(crate) fn crown(&mut self) -> bool {
        let best = (0..COUNT).max_by_key(|&index| self.rating(index)).unwrap_or(self.leader);
        let deserved = self.rating(best) > self.rating(self.leader) + CLEARLY;
        if deserved {
            self.leader = best;
        }
        deserved
    }

    /// Gives the lead to a candidate that has won it in another way; its rating follows.
    pub(crate) fn adopt(&mut self, candidate: usize) {
        let old = self.leader;
        if candidate < COUNT && self.rating(candidate) < self.rating(old) {
            // They have changed places: so do their ratings, which keeps the sum.
            let (was, is) = (self.rating(old), self.rating(candidate));
            for (index, rating) in [(old, is), (candidate, was)] {
                if let Some(record) = self.records.get_mut(index) {
                    record.rating = rating;
                }
            }
        }
        self.leader = candidate.min(COUNT - 1);
    }

    /// The program has changed: what was learned counts half.
    pub(crate) fn forget_half(&mut self) {
        for record in &mut self.records {
            record.rating = (record.rating + FIRST_RATING) / 2;
            record.won /= 2;
            record.drawn /= 2;
            record.lost /= 2;
        }
    }

    /// The next candidate in turn after `last` that would treat some of these sizes otherwise than the
    /// leader does.
    pub(crate) fn next_challenger(&self, last: usize, sizes: &Sizes) -> Option<usize> {
        (1..=COUNT).map(|step| (last + step) % COUNT).find(|&candidate| {
            candidate != self.leader
                && sizes.any_between(threshold(candidate), threshold(self.leader))
        })
    }

    /// The best rated candidate that would treat some of these sizes otherwise than the leader and
    /// each of those that `tried` (a bit each) names would.
    pub(crate) fn best_challenger(&self, tried: u32, sizes: &Sizes) -> Option<usize> {
        let differs =
            |one: usize, other: usize| sizes.any_between(threshold(one), threshold(other));
        (0..COUNT)
            .filter(|&candidate| {
                differs(candidate, self.leader)
                    && (0..COUNT)
                        .all(|other| tried & (1 << other) == 0 || differs(candidate, other))
            })
            .max_by_key(|&candidate| self.rating(candidate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_score_is_the_formula() {
        for ahead in -900..=900 {
            let exact = 1024.0 / (1.0 + f64::powf(10.0, f64::from(-ahead) / 400.0));
            let found = expected(ahead * POINT);
            let bound = if ahead.abs() > 800 { 8.0 } else { 2.0 };
            assert!((f64::from(found) - exact).abs() <= bound, "{ahead}: {found} for {exact}");
            assert_eq!(expected(ahead * POINT) + expected(-ahead * POINT), 1024);
        }
    }

    #[test]
    fn equals_exchange_half_the_stake_and_the_sum_stays() {
        let mut league = League::new();
        league.record(0, 1, Outcome::Won);
        assert_eq!((league.records[0].points(), league.records[1].points()), (1516, 1484));
        let sum = |league: &League| league.records.iter().map(|record| record.rating).sum::<i32>();
        let before = sum(&league);
        for round in 0..500usize {
            let outcome = [Outcome::Won, Outcome::Drawn, Outcome::Lost][round % 7 % 3];
            league.record(round % COUNT, (round * 5 + 1) % COUNT, outcome);
        }
        assert_eq!(sum(&league), before);
    }

    #[test]
    fn an_upset_moves_more_than_what_was_expected() {
        let mut league = League::new();
        for _ in 0..10 {
            league.record(0, 1, Outcome::Won);
        }
        let (strong, weak) = (league.records[0].rating, league.records[1].rating);
        let mut expected = league;
        expected.record(0, 1, Outcome::Won);
        let mut upset = league;
        upset.record(1, 0, Outcome::Won);
        assert!(expected.records[0].rating - strong < upset.records[1].rating - weak);
    }

    #[test]
    fn the_lead_changes_only_clearly() {
        let mut league = League::new();
        league.record(5, 2, Outcome::Won);
        assert!(!league.crown(), "32 points apart");
        league.record(5, 2, Outcome::Won);
        assert!(league.crown(), "twice as much");
        assert_eq!(league.leader(), 5);
        league.record(1, 0, Outcome::Won);
        assert!(!league.crown(), "level with the leader");
        assert!(league.has_played());
    }

    #[test]
    fn who_would_change_nothing_does_not_play() {
        let league = League::new();
        let mut sizes = Sizes::new();
        assert_eq!(league.next_challenger(0, &sizes), None);
        sizes.count(3 << 20);
        // 3 MiB: a run with 4, 8 and 16 MiB, a mapping with 2 MiB and all below.
        assert_eq!(league.next_challenger(0, &sizes), Some(3));
        assert_eq!(league.next_challenger(3, &sizes), Some(4));
        assert_eq!(league.next_challenger(5, &sizes), Some(3));
        assert_eq!(league.best_challenger(0, &sizes), Some(5));
        assert_eq!(league.best_challenger(1 << 3, &sizes), None, "all of them the same to 3 MiB");
        sizes.count(12 << 20);
        assert_eq!(league.best_challenger(1 << 3, &sizes), Some(5));
    }

    #[test]
    fn costs_that_hardly_differ_are_a_draw() {
        assert_eq!(Outcome::of(100, 102), Outcome::Drawn);
        assert_eq!(Outcome::of(100, 110), Outcome::Won);
        assert_eq!(Outcome::of(110, 100), Outcome::Lost);
        assert_eq!(Outcome::of(0, 0), Outcome::Drawn);
    }
}
