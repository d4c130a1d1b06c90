//! How a campaign's budget is split: what is left, over what is left to do, so that time which one
//! experiment did not need goes to the others.

use std::time::Duration;

/// With less than this, counting included, nothing is decided.
const LEAST: Duration = Duration::from_secs(20);
/// One experiment alone would not get more either.
const MOST: Duration = Duration::from_secs(150);
/// Building, before any experiment has shown what it takes here.
const OVERHEAD: Duration = Duration::from_secs(30);

/// The running account.
#[derive(Debug)]
pub struct Share {
    /// The least budget worth a build, in this campaign.
    least: Duration,
    /// What experiments took beside their budgets: the sum, and of how many.
    overhead: (Duration, u32),
}

impl Share {
    /// For a budget of `total`.
    pub fn new(total: Duration) -> Share {
        // Whoever tries a campaign of a minute wants to see it work.
        Share { least: LEAST.min(total / 20), overhead: (Duration::ZERO, 0) }
    }

    /// The budget of the next experiment, if `left` is left for it and the others and it
    /// weighs `weight` of all their `weights`; `None` if nothing is left.
    pub fn of(&self, left: Duration, weight: f64, weights: f64) -> Option<Duration> {
        if left <= self.least {
            return None;
        }
        let share = left.mul_f64(weight / weights).saturating_sub(self.overhead());
        Some(share.clamp(self.least, MOST.mul_f64(weight)).min(left))
    }

    /// An experiment took so long, of which so long from its budget.
    pub fn took(&mut self, all: Duration, budgeted: Duration) {
        self.overhead.0 += all.saturating_sub(budgeted);
        self.overhead.1 += 1;
    }

    fn overhead(&self) -> Duration {
        match self.overhead {
            (_, 0) => OVERHEAD,
            (sum, count) => sum / count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs forty gates and the whole, each building for `build` and measuring for the share of its
    /// budget that `needs` says; returns the time of the campaign and how many were measured.
    fn campaign(build: u64, needs: impl Fn(usize) -> f64) -> (Duration, usize) {
        let total = Duration::from_secs(55 * 60);
        let weights: Vec<f64> = (0..41).map(|at| if at == 40 { 3.0 } else { 1.0 }).collect();
        let (mut share, mut clock, mut done) = (Share::new(total), Duration::ZERO, 0);
        for at in 0..weights.len() {
            let left = total.saturating_sub(clock);
            let Some(budget) = share.of(left, weights[at], weights[at..].iter().sum()) else {
                continue;
            };
            let measured = budget.mul_f64(needs(at));
            let all = Duration::from_secs(build) + measured;
            clock += all;
            share.took(all, measured);
            done += 1;
        }
        (clock, done)
    }

    #[test]
    fn forty_gates_and_the_whole_end_under_an_hour() {
        for build in [5, 20, 40, 55] {
            for needs in [0.3, 1.0] {
                let (clock, done) = campaign(build, |_| needs);
                assert!(clock < Duration::from_secs(3600), "{build} {needs}: {clock:?}");
                assert_eq!(done, 41, "{build} {needs}");
            }
        }
    }

    #[test]
    fn what_is_not_needed_goes_to_the_others() {
        let share = Share::new(Duration::from_secs(3300));
        let early = share.of(Duration::from_secs(3300), 1.0, 41.0).unwrap();
        let late = share.of(Duration::from_secs(1500), 1.0, 5.0).unwrap();
        assert!(late > early && late <= MOST, "{early:?} {late:?}");
        assert_eq!(share.of(Duration::from_secs(3300), 3.0, 3.0), Some(MOST * 3));
    }

    #[test]
    fn a_budget_that_is_spent_gives_nothing_and_slow_builds_stop_the_rest() {
        let share = Share::new(Duration::from_secs(3300));
        assert_eq!(share.of(Duration::ZERO, 1.0, 1.0), None);
        let (clock, done) = campaign(300, |_| 1.0);
        assert!(done < 41 && clock < Duration::from_secs(3300 + 400), "{done} {clock:?}");
    }
}
