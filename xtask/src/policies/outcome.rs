//! What was measured, the figures derived from it, and the aims beside them.

use super::Part;
use super::experiments::{Arm, size};
use crate::ab::outcome::Machine;
use crate::bench::aims::Aim;
use crate::bench::results::ALPHA;
use serde::Serialize;
use xtask_stats::{Interval, resample, robust};

/// Version of the JSON form.
pub const SCHEMA: u32 = 1;

/// All that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Version of this form.
    pub schema: u32,
    /// Where, when and at which commit.
    pub machine: Machine,
    /// Repetitions of a comparison.
    pub runs: usize,
    /// What was compared, part by part.
    pub comparisons: Vec<Comparison>,
    /// What each of the scenarios that suit different thresholds has for its best.
    pub suited: Vec<Suited>,
    /// Calls on the tiny path, as the default build and the one that learns execute them.
    pub tiny: Vec<Call>,
}

/// A scenario under some arms, interleaved.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// What it belongs to.
    pub part: Part,
    /// The scenario.
    pub scenario: String,
    /// The arms; the first is the base.
    pub timed: Vec<Timed>,
    /// A second look at what came out as the worst, which is judged in place of the first.
    pub again: bool,
}

/// An arm and its times.
#[derive(Clone, Debug, Serialize)]
pub struct Timed {
    /// The arm.
    #[serde(flatten)]
    pub arm: Arm,
    /// Nanoseconds of processor time an operation, repetition by repetition.
    pub times: Vec<f64>,
    /// Page faults an operation, in the middle.
    pub faults: f64,
    /// Peak resident memory, KiB, in the middle.
    pub peak_kib: f64,
}

/// A scenario's best fixed threshold and what was learned there.
#[derive(Clone, Debug, Serialize)]
pub struct Suited {
    /// The scenario.
    pub scenario: String,
    /// KiB of the best fixed threshold.
    pub best_kib: u64,
    /// What was learned: by what, and KiB.
    pub learned_kib: Vec<(String, u64)>,
}

/// A call of a block of a size.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// The function.
    pub function: String,
    /// Bytes of the block.
    pub size: usize,
    /// Instructions of the middle call in the default build.
    pub default: u64,
    /// The same in the build that learns.
    pub learning: u64,
}

impl Comparison {
    /// An arm's time in per cent of the base's, repetition by repetition: the median, and its interval.
    pub fn percent(&self, at: usize) -> (f64, Option<Interval>) {
        let pairs = self.timed[at].times.iter().zip(&self.timed[0].times);
        let percents: Vec<f64> = pairs.map(|(ours, base)| 100.0 * ours / base).collect();
        (robust::median(&percents), resample::interval(&[percents], ALPHA))
    }

    /// The middle time of an arm, nanoseconds.
    pub fn time(&self, at: usize) -> f64 {
        robust::median(&self.timed[at].times)
    }

    /// The aim of an arm that has a limit. What may take more than the base is judged by what it takes
    /// beyond it.
    fn aim(&self, at: usize) -> Option<Aim> {
        let arm = &self.timed[at].arm;
        let (limit, (measured, interval)) = (arm.limit?, self.percent(at));
        let (whole, taken) = if limit > 100.0 { (100.0, "beyond") } else { (0.0, "in units of") };
        let best = if self.part == Part::Thresholds { "the best fixed, " } else { "" };
        let base = &self.timed[0].arm.name;
        Some(Aim {
            what: format!("{}: {} {taken} {best}{base}", self.scenario, arm.name),
            limit: limit - whole,
            measured: measured - whole,
            interval: interval.map(|at| Interval { low: at.low - whole, high: at.high - whole }),
            unit: "%",
        })
    }
}

impl Outcome {
    /// The comparisons of a part, the second looks left out.
    pub fn of(&self, part: Part) -> impl Iterator<Item = &Comparison> {
        self.comparisons
            .iter()
            .filter(move |comparison| comparison.part == part && !comparison.again)
    }

    /// The comparison in which an arm does worst.
    pub fn worst(&self, part: Part, at: usize) -> Option<&Comparison> {
        worst_of(self.of(part), at)
    }

    /// Every aim whose part was measured.
    pub fn aims(&self) -> Vec<Aim> {
        let mut aims = Vec::new();
        for part in [Part::Vm, Part::Thresholds] {
            aims.extend(self.of(part).flat_map(all_aims));
        }
        for at in 1..3 {
            // Of the second looks the worst, whichever arm it was that one was taken for.
            let again = self.comparisons.iter().filter(|comparison| comparison.again);
            let judged = worst_of(again, at).or_else(|| self.worst(Part::Scenarios, at));
            aims.extend(
                judged.and_then(|judged| judged.aim(at)).map(|aim| Aim {
                    what: format!("worst of all scenarios, {}", aim.what),
                    ..aim
                }),
            );
        }
        if !self.tiny.is_empty() {
            let added = self.tiny.iter().map(|call| call.learning as f64 - call.default as f64);
            aims.push(Aim {
                what: "tiny path: instructions that the gates of ELO and Evolution add".to_owned(),
                limit: 0.0,
                measured: added.fold(f64::NEG_INFINITY, f64::max),
                interval: None,
                unit: "",
            });
        }
        aims.extend(self.of(Part::Telemetry).flat_map(all_aims));
        aims
    }

    /// The best fixed thresholds, in a line, and whether they differ.
    pub fn best(&self) -> Option<String> {
        let each = self.suited.iter().map(|suited| {
            let learned = suited.learned_kib.iter().map(|(by, kib)| format!("{by} {}", size(*kib)));
            let learned: Vec<String> = learned.collect();
            format!(
                "{} {} (learned: {})",
                suited.scenario,
                size(suited.best_kib),
                learned.join(", ")
            )
        });
        let each: Vec<String> = each.collect();
        let first = self.suited.first()?.best_kib;
        let differ = self.suited.iter().any(|suited| suited.best_kib != first);
        let same = if differ { "" } else { "; they do not differ" };
        Some(format!("{}{same}", each.join("; ")))
    }
}

/// The comparison in which an arm takes the most.
fn worst_of<'outcome>(
    comparisons: impl Iterator<Item = &'outcome Comparison>,
    at: usize,
) -> Option<&'outcome Comparison> {
    let percent = |comparison: &Comparison| comparison.percent(at).0;
    comparisons.max_by(|one, other| percent(one).total_cmp(&percent(other)))
}

fn all_aims(comparison: &Comparison) -> impl Iterator<Item = Aim> {
    (1..comparison.timed.len()).filter_map(|at| comparison.aim(at))
}

#[cfg(test)]
pub mod tests {
    use super::super::experiments;
    use super::*;

    /// A comparison in which each arm takes so many times what the base does.
    pub fn comparison(part: Part, scenario: &str, arms: Vec<Arm>, times: &[f64]) -> Comparison {
        let timed = arms.into_iter().zip(times).map(|(arm, times)| Timed {
            arm,
            times: (0..9).map(|run| times * (100.0 + f64::from(run % 3))).collect(),
            faults: 0.5,
            peak_kib: 2048.0,
        });
        Comparison { part, scenario: scenario.to_owned(), timed: timed.collect(), again: false }
    }

    /// All parts; ELO is too slow in one scenario, which a second look does not confirm.
    pub fn sample() -> Outcome {
        let nothing = experiments::from_nothing;
        let fixed: Vec<Arm> = experiments::fixed().into_iter().map(|(_, arm)| arm).collect();
        let files = ["one".to_owned(), "two".to_owned()];
        let [elo, evolution] = experiments::learned(&files);
        let learned = vec![fixed[0].clone(), elo, evolution];
        let mut again = comparison(Part::Scenarios, "mixed", nothing(), &[1.0, 1.02, 1.04]);
        again.again = true;
        Outcome {
            schema: SCHEMA,
            machine: Machine::here(),
            runs: 9,
            comparisons: vec![
                comparison(Part::Vm, "vm", experiments::vm(), &[100.0, 1.0, 2.0, 1.0, 1.0]),
                comparison(Part::Thresholds, "large-grown", learned, &[1.0, 1.0, 1.03]),
                comparison(Part::Scenarios, "json", nothing(), &[1.0, 1.0, 1.01]),
                comparison(Part::Scenarios, "mixed", nothing(), &[1.0, 1.08, 1.04]),
                again,
                comparison(
                    Part::Telemetry,
                    "random-mixed-400",
                    experiments::telemetry(),
                    &[1.0, 1.05, 1.6],
                ),
            ],
            suited: vec![
                Suited {
                    scenario: "large-grown".into(),
                    best_kib: 512,
                    learned_kib: vec![("ELO".into(), 512), ("Evolution".into(), 1024)],
                },
                Suited { scenario: "large-recycled".into(), best_kib: 8192, learned_kib: vec![] },
            ],
            tiny: vec![
                Call { function: "malloc".into(), size: 64, default: 12, learning: 12 },
                Call { function: "free".into(), size: 64, default: 14, learning: 14 },
            ],
        }
    }

    #[test]
    fn each_aim_is_judged_by_its_own_limit() {
        let outcome = sample();
        let calls: Vec<_> =
            outcome.aims().iter().map(|aim| (aim.what.clone(), aim.call())).collect();
        let wanted = [
            ("vm: with both in units of minimal mode", "met"),
            ("large-grown: ELO, learned beyond the best fixed, 512 KiB", "met"),
            ("large-grown: Evolution, learned beyond the best fixed, 512 KiB", "missed"),
            ("worst of all scenarios, mixed: ELO beyond default", "met"),
            ("worst of all scenarios, mixed: Evolution beyond default", "met"),
            ("tiny path: instructions that the gates of ELO and Evolution add", "met"),
            ("random-mixed-400: telemetry beyond default", "met"),
        ];
        assert_eq!(calls, wanted.map(|(what, call)| (what.to_owned(), call)));
    }

    #[test]
    fn an_instruction_on_the_tiny_path_is_one_too_many() {
        let mut outcome = sample();
        outcome.tiny[1].learning += 1;
        let aims = outcome.aims();
        let aim = aims.iter().find(|aim| aim.what.starts_with("tiny path")).unwrap();
        assert_eq!((aim.measured, aim.call()), (1.0, "missed"));
    }

    #[test]
    fn thresholds_that_do_not_differ_are_told() {
        let mut outcome = sample();
        let text = outcome.best().unwrap();
        assert!(
            text.contains("large-grown 512 KiB (learned: ELO 512 KiB, Evolution 1 MiB)"),
            "{text}"
        );
        assert!(!text.contains("do not differ"));
        outcome.suited[1].best_kib = 512;
        assert!(outcome.best().unwrap().ends_with("do not differ"));
        outcome.suited.clear();
        assert_eq!(outcome.best(), None);
    }
}
