//! The decision rule on simulated layouts: how often it says what, for effects that are known.
//!
//! Nothing here touches the machine: it answers what the rule itself can do, given layouts that
//! scatter like the real ones, and so what a self-test on a machine can at best show.

use super::judge::{self, Judge, LOOKS, Samples, Verdict};
use super::measure::SLOWDOWN_PERMILLE;
use comfy_table::{CellAlignment, Table};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use serde::Serialize;

/// How layouts scatter, per cent: the standard deviation of the bulk, of the wild ones, and the
/// share of the wild ones. As seen on a busy virtual machine with two processors.
const SPREAD: (f64, f64, f64) = (0.55, 2.5, 0.05);

/// The injected control as a log ratio, per cent.
fn injected() -> f64 {
    (SLOWDOWN_PERMILLE as f64 / 1000.0).ln_1p() * 100.0
}

/// Effects of `count` layouts around `mean`: a bell with a few wild values.
pub fn layouts(rng: &mut SmallRng, mean: f64, count: usize) -> Vec<f64> {
    let mut one = || {
        // Twelve uniform numbers: a bell of variance 1.
        let bell: f64 = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        let spread = if rng.random::<f64>() < SPREAD.2 { SPREAD.1 } else { SPREAD.0 };
        mean + bell * spread
    };
    (0..count).map(|_| one()).collect()
}

/// What the truth is in a simulated experiment, per cent.
#[derive(Clone, Debug)]
pub struct Truth<'a> {
    /// The effect in each scenario.
    pub effects: &'a [f64],
    /// What the control A against A is off by.
    pub control: f64,
    /// What the injected slowdown comes out as.
    pub slow: f64,
}

impl<'a> Truth<'a> {
    /// These effects, and controls that hold.
    pub fn sound(effects: &'a [f64]) -> Truth<'a> {
        Truth { effects, control: 0.0, slow: injected() }
    }
}

/// A whole experiment, looks and all: its verdict, and the layouts it took.
pub fn experiment(truth: &Truth<'_>, resamples: usize, rng: &mut SmallRng) -> (Verdict, usize) {
    let mut judge = Judge::with_resamples(truth.effects.len(), SLOWDOWN_PERMILLE, resamples);
    let mut samples = vec![Samples::default(); truth.effects.len()];
    for (at, (target, alpha)) in LOOKS.iter().enumerate() {
        for (scenario, effect) in samples.iter_mut().zip(truth.effects) {
            let more = target - scenario.effect.len();
            scenario.effect.extend(layouts(rng, *effect, more));
            scenario.control.extend(layouts(rng, truth.control, more));
            scenario.slow.extend(layouts(rng, truth.slow, more));
        }
        let judged = judge.look(&samples, *alpha, rng).expect("enough layouts at the first look");
        if let Some(verdict) = judge::overall(&judged, at + 1 == LOOKS.len()) {
            return (verdict, *target);
        }
    }
    unreachable!("the last look gives a verdict")
}

/// How often each verdict came of experiments with one true effect.
#[derive(Clone, Debug, Serialize)]
pub struct Power {
    /// The true effect, per cent.
    pub effect: f64,
    /// Experiments.
    pub experiments: usize,
    /// Of these GO,
    pub go: usize,
    /// NEUTRAL,
    pub neutral: usize,
    /// NO-GO,
    pub no_go: usize,
    /// INCONCLUSIVE,
    pub open: usize,
    /// INVALID.
    pub invalid: usize,
    /// Layouts that one took on average.
    pub layouts: f64,
}

/// Simulates `count` experiments of one scenario with a true effect.
pub fn power(effect: f64, count: usize, resamples: usize, seed: u64) -> Power {
    let mut rng = SmallRng::seed_from_u64(seed);
    let outcomes: Vec<(Verdict, usize)> =
        (0..count).map(|_| experiment(&Truth::sound(&[effect]), resamples, &mut rng)).collect();
    let of = |verdict| outcomes.iter().filter(|(found, _)| *found == verdict).count();
    Power {
        effect,
        experiments: count,
        go: of(Verdict::Go),
        neutral: of(Verdict::Neutral),
        no_go: of(Verdict::NoGo),
        open: of(Verdict::Inconclusive),
        invalid: of(Verdict::Invalid),
        layouts: outcomes.iter().map(|(_, layouts)| *layouts as f64).sum::<f64>() / count as f64,
    }
}

/// The effects that the table shows, per cent.
pub const EFFECTS: [f64; 10] = [-1.0, -0.5, 0.0, 0.25, 0.4, 0.5, 0.6, 0.75, 1.0, 2.0];

/// The table for the terminal.
pub fn text(powers: &[Power]) -> String {
    let mut table = Table::new();
    table.set_header([
        "true effect",
        "GO",
        "NEUTRAL",
        "NO-GO",
        "INCONCLUSIVE",
        "INVALID",
        "layouts",
    ]);
    for power in powers {
        let share = |count: usize| {
            format!("{:.1} %", count as f64 * 100.0 / power.experiments.max(1) as f64)
        };
        table.add_row([
            format!("{:+.2} %", power.effect),
            share(power.go),
            share(power.neutral),
            share(power.no_go),
            share(power.open),
            share(power.invalid),
            format!("{:.0}", power.layouts),
        ]);
    }
    for column in 0..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!(
        "{table}\n{} simulated experiments a row, of one scenario; layouts scatter by {} % ({} % of them by {} %).\n",
        powers.first().map_or(0, |power| power.experiments),
        SPREAD.0,
        SPREAD.2 * 100.0,
        SPREAD.1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_seldom_errs_and_finds_a_whole_per_cent() {
        let powers = [0.0, 0.5, 1.0].map(|effect| power(effect, 60, 1000, 7));
        // With `--nocapture`.
        print!("{}", text(&powers));
        let [nothing, line, whole] = powers;
        assert!(nothing.go + nothing.no_go <= 3, "{nothing:?}");
        assert!(line.no_go == 0 && line.go + line.neutral <= 12, "{line:?}");
        assert!(whole.go >= 57, "{whole:?}");
        let told = text(&[whole]);
        assert!(told.contains("+1.00 %") && told.contains("60 simulated experiments"), "{told}");
    }
}
