//! From samples to a verdict, by rules that stand before the first sample is taken.
//!
//! Effects are in per cent, positive where the question's "yes" is faster. Each scenario gets a call
//! at declared looks; the looks share one error probability, and so do the scenarios within a look
//! (Holm). The control A against A widens the interval where its own would have missed zero, and
//! makes the run invalid where it would itself have been called.

use rand::Rng;
use serde::{Deserialize, Serialize};
use xtask_stats::{Bootstrap, Interval, bootstrap, holm::holm, robust};

/// Effects within this many per cent of zero are not worth a decision.
pub const MARGIN: f64 = 0.5;

/// Looks at the data: layouts and the share of the error probability that each spends; 0.10 in all.
pub const LOOKS: [(usize, f64); 3] = [(60, 0.02), (120, 0.03), (240, 0.05)];

/// Fewer layouts than this are never judged.
pub const FEWEST: usize = 12;

/// The rules that a verdict was reached by, for its record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// [`MARGIN`].
    pub margin: f64,
    /// [`LOOKS`].
    pub looks: Vec<(usize, f64)>,
    /// [`FEWEST`].
    pub fewest: usize,
    /// The share that the mean cuts off at each end.
    pub trim: f64,
    /// Resamples of the bootstrap.
    pub resamples: usize,
}

impl Rules {
    /// The rules of this version.
    pub fn today() -> Rules {
        Rules {
            margin: MARGIN,
            looks: LOOKS.to_vec(),
            fewest: FEWEST,
            trim: robust::TRIM,
            resamples: bootstrap::RESAMPLES,
        }
    }
}

/// What one scenario says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// Faster by the margin or more.
    Go,
    /// Slower by the margin or more.
    NoGo,
    /// Within the margin.
    Neutral,
}

/// What the whole experiment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Faster, by evidence.
    Go,
    /// Slower, by evidence.
    NoGo,
    /// Within half a per cent, by evidence or because both arms are the same code.
    Neutral,
    /// The code that differs never ran.
    NotExercised,
    /// The budget ended first.
    Inconclusive,
    /// A control failed: the measurement says nothing.
    Invalid,
}

impl Verdict {
    /// As the report prints it.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Go => "GO",
            Verdict::NoGo => "NO-GO",
            Verdict::Neutral => "NEUTRAL",
            Verdict::NotExercised => "NOT EXERCISED",
            Verdict::Inconclusive => "INCONCLUSIVE",
            Verdict::Invalid => "INVALID",
        }
    }
}

/// The call that an interval allows, if any.
pub fn call(interval: Interval) -> Option<Call> {
    if interval.low >= MARGIN {
        Some(Call::Go)
    } else if interval.high <= -MARGIN {
        Some(Call::NoGo)
    } else if interval.low > -MARGIN && interval.high < MARGIN {
        Some(Call::Neutral)
    } else {
        None
    }
}

/// One scenario's effects, a value per layout.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// The question.
    pub effect: Vec<f64>,
    /// The same code twice.
    pub control: Vec<f64>,
    /// The injected slowdown.
    pub slow: Vec<f64>,
}

/// An estimate with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// 20 % trimmed mean, per cent.
    pub estimate: f64,
    /// BCa interval, per cent.
    pub interval: Interval,
}

/// What one look makes of one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Layouts that counted.
    pub layouts: usize,
    /// The effect; its interval is widened and has the level that the call was made at.
    pub effect: Estimate,
    /// The chance that such an interval misses the truth.
    pub alpha: f64,
    /// The 90 % interval, widened, corrected for nothing: for reading, not for deciding.
    pub interval_90: Interval,
    /// The smallest error probability at which a call could be made.
    pub p: f64,
    /// The factor that the control asked for.
    pub inflation: f64,
    /// The same code twice, 90 %, not widened.
    pub control: Estimate,
    /// The injected slowdown, 90 %, not widened.
    pub slow: Estimate,
    /// The call, made now or at an earlier look.
    pub call: Option<Call>,
    /// Why the controls failed, if they did.
    pub faults: Vec<String>,
}

/// The judge: what has been called so far.
#[derive(Clone, Debug)]
pub struct Judge {
    calls: Vec<Option<Call>>,
    /// The slowdown that was injected, per cent (a log ratio).
    expected_slow: f64,
    resamples: usize,
}

impl Judge {
    /// A judge of so many scenarios.
    pub fn new(scenarios: usize, slowdown_permille: u64) -> Judge {
        Judge::with_resamples(scenarios, slowdown_permille, bootstrap::RESAMPLES)
    }

    /// The same with another number of resamples: simulations of thousands of experiments take
    /// fewer.
    pub fn with_resamples(scenarios: usize, slowdown_permille: u64, resamples: usize) -> Judge {
        let expected_slow = (slowdown_permille as f64 / 1000.0).ln_1p() * 100.0;
        Judge { calls: vec![None; scenarios], expected_slow, resamples }
    }

    /// What has been called so far, scenario by scenario.
    pub fn calls(&self) -> &[Option<Call>] {
        &self.calls
    }

    /// One look at all scenarios, spending `alpha`. `None` with too few layouts.
    pub fn look(
        &mut self,
        samples: &[Samples],
        alpha: f64,
        rng: &mut impl Rng,
    ) -> Option<Vec<Judged>> {
        let mut looked = Vec::new();
        for scenario in samples {
            if scenario.effect.len() < FEWEST {
                return None;
            }
            let mut resample = |values: &[f64]| Bootstrap::resample(values, self.resamples, rng);
            looked.push((
                resample(&scenario.effect)?,
                resample(&scenario.control)?,
                resample(&scenario.slow)?,
            ));
        }
        let inflations: Vec<f64> =
            looked.iter().map(|(_, control, _)| inflation(control)).collect();
        let p_values: Vec<f64> = looked
            .iter()
            .zip(&inflations)
            .map(|((effect, ..), factor)| {
                effect.smallest_alpha(|i| call(i.widened(effect.estimate, *factor)).is_some())
            })
            .collect();
        let levels = holm(&p_values, alpha);
        let judged = looked.iter().enumerate().map(|(at, (effect, control, slow))| {
            let (level, passes) = levels[at];
            let widened =
                |alpha: f64| effect.interval(alpha).widened(effect.estimate, inflations[at]);
            if passes && self.calls[at].is_none() {
                self.calls[at] = call(widened(level));
            }
            Judged {
                layouts: samples[at].effect.len(),
                effect: Estimate { estimate: effect.estimate, interval: widened(level) },
                alpha: level,
                interval_90: widened(0.10),
                p: p_values[at],
                inflation: inflations[at],
                control: Estimate { estimate: control.estimate, interval: control.interval(0.10) },
                slow: Estimate { estimate: slow.estimate, interval: slow.interval(0.10) },
                call: self.calls[at],
                faults: self.faults(control, slow, inflations[at]),
            }
        });
        Some(judged.collect())
    }

    /// What is wrong with the controls.
    fn faults(&self, control: &Bootstrap, slow: &Bootstrap, inflation: f64) -> Vec<String> {
        let mut faults = Vec::new();
        let same = control.interval(0.10);
        let called = matches!(call(same), Some(Call::Go | Call::NoGo));
        if called || (inflation > 2.0 && control.estimate.abs() > MARGIN / 2.0) {
            faults.push(format!(
                "the same code against itself came out {:+.2} % [{:+.2}, {:+.2}], expected 0",
                control.estimate, same.low, same.high
            ));
        }
        let injected = slow.interval(0.10);
        let generous = injected.widened(slow.estimate, 2.0 * inflation);
        if !generous.holds(self.expected_slow)
            && (slow.estimate - self.expected_slow).abs() > MARGIN / 2.0
        {
            faults.push(format!(
                "an injected slowdown of {:.2} % came out {:+.2} % [{:+.2}, {:+.2}]",
                self.expected_slow, slow.estimate, injected.low, injected.high
            ));
        }
        faults
    }
}

/// The factor by which the control's 90 % interval would have to be widened to hold zero, at least 1.
fn inflation(control: &Bootstrap) -> f64 {
    let interval = control.interval(0.10);
    if interval.holds(0.0) {
        return 1.0;
    }
    let towards_zero = if control.estimate > 0.0 {
        control.estimate - interval.low
    } else {
        interval.high - control.estimate
    };
    (control.estimate.abs() / towards_zero.max(1e-9)).max(1.0)
}

/// The verdict over all scenarios; `None` while more layouts could still decide. `last` is true at
/// the last look.
pub fn overall(judged: &[Judged], last: bool) -> Option<Verdict> {
    if judged.iter().any(|scenario| !scenario.faults.is_empty()) {
        // A control may fail by chance at an early look; more layouts tell.
        return last.then_some(Verdict::Invalid);
    }
    let has = |call: Option<Call>| judged.iter().any(|scenario| scenario.call == call);
    if has(Some(Call::NoGo)) {
        Some(Verdict::NoGo)
    } else if has(Some(Call::Go)) && (last || !has(None)) {
        Some(Verdict::Go)
    } else if !has(None) {
        Some(Verdict::Neutral)
    } else {
        last.then_some(Verdict::Inconclusive)
    }
}

#[cfg(test)]
mod tests {
    use super::super::simulate::{self, Truth, layouts};
    use super::*;
    use rand::{SeedableRng, rngs::SmallRng};

    #[test]
    fn the_table_of_calls() {
        let call = |low, high| super::call(Interval { low, high });
        assert_eq!(call(0.5, 0.9), Some(Call::Go));
        assert_eq!(call(-0.9, -0.5), Some(Call::NoGo));
        assert_eq!(call(-0.49, 0.49), Some(Call::Neutral));
        assert_eq!(call(0.2, 0.7), None);
        assert_eq!(call(-0.7, 0.7), None);
    }

    /// Whole experiments, looks and all, with the true effects given; how often each verdict came.
    fn experiments(
        effects: &[f64],
        control: f64,
        slow: f64,
        count: usize,
    ) -> impl Fn(Verdict) -> usize {
        let mut rng = SmallRng::seed_from_u64(42);
        let truth = Truth { effects, control, slow };
        let verdicts: Vec<Verdict> =
            (0..count).map(|_| simulate::experiment(&truth, 1500, &mut rng).0).collect();
        move |verdict| verdicts.iter().filter(|found| **found == verdict).count()
    }

    #[test]
    fn nothing_is_called_something_at_most_five_times_in_a_hundred() {
        let count = experiments(&[0.0], 0.0, 0.995, 100);
        let wrong = count(Verdict::Go) + count(Verdict::NoGo) + count(Verdict::Invalid);
        assert!(wrong <= 5, "{wrong} of 100");
        assert!(count(Verdict::Neutral) >= 90, "{} of 100", count(Verdict::Neutral));
    }

    #[test]
    fn a_whole_per_cent_is_found_ninety_five_times_in_a_hundred() {
        let faster = experiments(&[1.0], 0.0, 0.995, 100);
        assert!(faster(Verdict::Go) >= 95, "{} of 100", faster(Verdict::Go));
        let slower = experiments(&[-1.0], 0.0, 0.995, 100);
        assert!(slower(Verdict::NoGo) >= 95, "{} of 100", slower(Verdict::NoGo));
    }

    #[test]
    fn an_effect_on_the_line_is_seldom_called() {
        // 0.5 is the least that GO may be said of: saying it of that is right half the way, saying
        // NEUTRAL or GO more often than the error probability allows would be wrong.
        let count = experiments(&[0.5], 0.0, 0.995, 60);
        assert!(
            count(Verdict::Go) + count(Verdict::Neutral) <= 12,
            "{} {}",
            count(Verdict::Go),
            count(Verdict::Neutral)
        );
        assert_eq!(count(Verdict::NoGo), 0);
    }

    #[test]
    fn three_scenarios_of_nothing_stay_nothing_and_one_slower_decides() {
        let nothing = experiments(&[0.0, 0.0, 0.0], 0.0, 0.995, 40);
        assert!(nothing(Verdict::Go) + nothing(Verdict::NoGo) <= 2);
        let mixed = experiments(&[0.0, 1.2, -1.2], 0.0, 0.995, 40);
        assert!(mixed(Verdict::NoGo) >= 38, "{}", mixed(Verdict::NoGo));
    }

    #[test]
    fn failing_controls_make_a_run_invalid() {
        let biased = experiments(&[1.0], 1.0, 0.995, 10);
        assert_eq!(biased(Verdict::Invalid), 10);
        let blind = experiments(&[1.0], 0.0, 0.0, 10);
        assert_eq!(blind(Verdict::Invalid), 10);
    }

    #[test]
    fn the_control_widens_until_it_holds_zero() {
        let mut rng = SmallRng::seed_from_u64(5);
        let control = Bootstrap::resample(&layouts(&mut rng, 0.4, 60), 10_000, &mut rng).unwrap();
        let factor = inflation(&control);
        let widened = control.interval(0.10).widened(control.estimate, factor * 1.001);
        assert!(factor > 1.0 && widened.holds(0.0), "{factor} {widened:?}");
        let centred = Bootstrap::resample(&layouts(&mut rng, 0.0, 60), 10_000, &mut rng).unwrap();
        assert!(inflation(&centred) < 1.2);
    }

    #[test]
    fn few_layouts_are_not_judged() {
        let samples =
            Samples { effect: vec![0.0; 11], control: vec![0.0; 11], slow: vec![1.0; 11] };
        assert!(Judge::new(1, 10).look(&[samples], 0.1, &mut SmallRng::seed_from_u64(1)).is_none());
    }
}
