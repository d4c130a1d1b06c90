//! The measurement: layout after layout, both arms and two controls in each.
//!
//! A layout is one seed: both arms linked with their functions in the order it stands for. In it,
//! each scenario is one block: a warm-up of every program, then every program twice, in a random
//! order and that order backwards, so that a drift falls on all alike. Where the work can be done in
//! turns, the programs of one order run side by side and take them on one processor: a shared machine
//! that is half as fast from one moment to the next is so for all of them.
//!
//! Two controls ride along. `control` is the arm without the gate, linked with a seed of its own:
//! what two links of the same code differ by is what the verdict's noise is made of. `slow` is that
//! same program doing 1 % more of the work: what a true difference must look like.

use super::arms::Arm;
use super::process::{self, Conditions, Pinned, Program, Ran, Running};
use super::scenario::Fitted;
use anyhow::{Result, bail};
use rand::{Rng, RngExt, seq::SliceRandom};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Instant;

/// The injected slowdown, in thousandths.
pub const SLOWDOWN_PERMILLE: u64 = 10;

/// Who takes part in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Out,
    /// The arm with the gate; the self-test asks several questions at once, and counts them here.
    With(usize),
    Control,
    Slow,
}

impl Role {
    fn letter(self) -> char {
        match self {
            Role::Out => 'o',
            // The second and later ones of a self-test: 1, 2, ...
            Role::With(0) => 'w',
            Role::With(at) => char::from_digit(at as u32, 10).unwrap_or('x'),
            Role::Control => 'c',
            Role::Slow => 's',
        }
    }
}

/// One scenario in one layout: the raw samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Which layout, counted from 0.
    pub layout: usize,
    /// The seed of both arms' layout.
    pub seed: u32,
    /// The seed of the control's.
    pub control_seed: u32,
    /// The order of the processes: o(ut), w(ith), c(ontrol), s(low); in a self-test also 1, 2, ...
    /// for the arm with the gate under its further questions.
    pub order: String,
    /// Bytes of environment.
    pub padding: usize,
    /// Nanoseconds, two runs each (processor time for one thread, wall time for several): the arm
    /// without the gate,
    pub out: [u64; 2],
    /// the arm with it,
    pub with: [u64; 2],
    /// the second link of the arm without it,
    pub control: [u64; 2],
    /// and that link with 1 % more work.
    pub slow: [u64; 2],
    /// Of a threaded scenario: processor time of all threads, of the arms without and with the gate.
    #[serde(default)]
    pub cpu: Option<([u64; 2], [u64; 2])>,
    /// Highest resident memory, KiB, of the arms without and with the gate.
    pub peak_kib: (u64, u64),
    /// Resident memory at the end, KiB, likewise.
    pub rss_kib: (u64, u64),
    /// Milliseconds that the hypervisor took during the block.
    pub stolen_ms: u64,
    /// How often a process lost its processor during the block.
    pub preempted: i64,
    /// One thread: the share of the work's wall time in which it did not run. Several: the share of
    /// the machine that other programs used.
    pub off_processor: f64,
    /// The load average at the end.
    pub load: f64,
    /// Why the block does not count, if it does not.
    pub dropped: Option<Disturbance>,
}

impl Block {
    /// How much longer `time` took than the arm without the gate.
    fn excess(&self, time: &[u64; 2]) -> f64 {
        excess(time, &self.out)
    }

    /// The arm with the gate against the one without by processor time of all threads, which the
    /// verdict on a threaded scenario does not rest on.
    pub fn cpu_effect(&self) -> Option<f64> {
        self.cpu.as_ref().map(|(out, with)| excess(with, out))
    }

    /// The arm with the gate against the one without.
    pub fn effect(&self) -> f64 {
        self.excess(&self.with)
    }

    /// The same code in another layout against the arm without the gate.
    pub fn control_effect(&self) -> f64 {
        self.excess(&self.control)
    }

    /// The injected slowdown against the arm without the gate.
    pub fn slow_effect(&self) -> f64 {
        self.excess(&self.slow)
    }
}

/// Logarithm of a ratio of mean times, in per cent: positive if `time` is longer than `than`.
fn excess(time: &[u64; 2], than: &[u64; 2]) -> f64 {
    let log = |pair: &[u64; 2]| pair.iter().map(|ns| (*ns as f64).ln()).sum::<f64>() / 2.0;
    (log(time) - log(than)) * 100.0
}

/// The programs of one layout, below one folder; their paths are equally long, as a path lies on
/// the program's stack.
struct Linked {
    out: Program,
    with: Program,
    control: Program,
}

/// Everything that stays the same from layout to layout.
pub struct Bench<'a> {
    /// The arm without the gate, and the one with it.
    pub arms: (&'a Arm, &'a Arm),
    /// The scenarios.
    pub scenarios: &'a [Fitted],
    /// The processor for programs of one thread.
    pub processor: usize,
    /// Where to link.
    pub folder: &'a Path,
    /// The share of a block's time that others may take before it is dropped.
    pub disturbance: f64,
    /// More work for the arm with the gate, in thousandths, a question each: a single 0 but in the
    /// self-test.
    pub injected: &'a [u64],
    /// True if both arms are the same code, which one seed would make the same program: the second
    /// then gets a layout of its own, as arms with different code have.
    pub same_code: bool,
}

/// The second arm's seed where both are the same code.
fn other_seed(seed: u32) -> u32 {
    (seed ^ 0x5555_5555).clamp(1, u32::MAX - 1)
}

impl Bench<'_> {
    /// Measures one layout: for each scenario a block for each question. The questions of one
    /// scenario share their processes but those of the arm with the gate. Stops between scenarios
    /// after Ctrl-C.
    pub fn layout(&self, layout: usize, rng: &mut impl Rng) -> Result<Vec<Block>> {
        let (seed, control_seed) =
            (rng.random_range(1..u32::MAX - 1), rng.random_range(1..u32::MAX - 1));
        let linked = self.link(seed, control_seed)?;
        let mut blocks = Vec::new();
        for scenario in self.scenarios {
            if process::interrupted() {
                break;
            }
            blocks.extend(self.blocks(scenario, &linked, (layout, seed, control_seed), rng)?);
        }
        Ok(blocks)
    }

    fn link(&self, seed: u32, control_seed: u32) -> Result<Linked> {
        let (out, with) = self.arms;
        let with_seed = if self.same_code { other_seed(seed) } else { seed };
        // Side by side: nothing is being measured now.
        std::thread::scope(|scope| {
            let pair = scope.spawn(|| {
                Ok((out.link(self.folder, "o", seed)?, with.link(self.folder, "w", with_seed)?))
            });
            let control = out.link(self.folder, "c", control_seed);
            let pair: Result<_> = pair.join().expect("linking does not panic");
            let (out, with) = pair?;
            Ok(Linked { out, with, control: control? })
        })
    }

    fn blocks(
        &self,
        scenario: &Fitted,
        linked: &Linked,
        ids: (usize, u32, u32),
        rng: &mut impl Rng,
    ) -> Result<Vec<Block>> {
        let processor = (!scenario.threaded).then_some(self.processor);
        let conditions = Conditions { processor, padding: rng.random_range(0..4096) };
        let what = |role: Role| match role {
            Role::Out => (&linked.out, 0),
            Role::With(at) => (&linked.with, self.injected[at]),
            Role::Control => (&linked.control, 0),
            Role::Slow => (&linked.control, SLOWDOWN_PERMILLE),
        };
        let run = |role: Role, ops: u64| -> Result<Ran> {
            let (program, slowdown) = what(role);
            process::run(program, &scenario.arguments(ops, slowdown), conditions)
        };
        for role in [Role::Out, Role::With(0), Role::Control] {
            run(role, (scenario.ops / 8).max(1))?;
        }
        let mut order = vec![Role::Out, Role::Control, Role::Slow];
        order.extend((0..self.injected.len()).map(Role::With));
        order.shuffle(rng);
        let order: Vec<Role> = order.iter().chain(order.iter().rev()).copied().collect();
        let (before, started) = (process::spent(processor), Instant::now());
        let runs = match processor {
            Some(processor) if scenario.turns > 0 => {
                // We stay there as well: a turn that passes from one processor to the other would wait
                // until that has woken up.
                let _here = Pinned::to(processor)?;
                let start = |role: Role| {
                    let (program, slowdown) = what(role);
                    let arguments = scenario.arguments_in_turns(slowdown);
                    Running::start(program, &arguments, conditions)
                };
                // Twice as many processes of half the length: each has a speed of its own.
                let (there, back) = order.split_at(order.len() / 2);
                let mut runs = Vec::new();
                for batch in [there, back, back, there] {
                    runs.extend(in_turns(batch, scenario.turns, start)?);
                }
                runs
            }
            _ => order
                .iter()
                .map(|role| Ok((*role, run(*role, scenario.ops)?)))
                .collect::<Result<Vec<_>>>()?,
        };
        let after = process::spent(processor);
        let stolen_ms = after.stolen.saturating_sub(before.stolen);
        let wall_ms = started.elapsed().as_secs_f64() * 1e3;
        // Of one processor or of all, as what was stolen.
        let all_ms = wall_ms * if scenario.threaded { processors() as f64 } else { 1.0 };
        same_work(scenario, &runs, |role| {
            let (program, slowdown) = what(role);
            program.by_hand(&match scenario.turns {
                0 => scenario.arguments(scenario.ops, slowdown),
                _ => scenario.arguments_in_turns(slowdown),
            })
        })?;
        let of = |role: Role| {
            runs.iter().filter(move |(ran, _)| *ran == role).map(|(_, ran)| &ran.printed)
        };
        let pair = |role: Role, time: &dyn Fn(&process::Printed) -> u64| -> Result<[u64; 2]> {
            let times: Vec<u64> = of(role).map(|printed| time(printed).max(1)).collect();
            match times[..] {
                [first, last] => Ok([first, last]),
                [first, second, third, last] => Ok([first + last, second + third]),
                _ => bail!("a program ran {} times in a block", times.len()),
            }
        };
        let times = |role: Role| pair(role, &|printed| scenario.time(printed));
        let cpu = |role: Role| pair(role, &|printed| printed.cpu_ns);
        let both = |value: fn(&process::Printed) -> u64| {
            let most = |role| of(role).map(value).max().unwrap_or(0);
            (most(Role::Out), most(Role::With(0)))
        };
        let sum = |value: fn(&process::Printed) -> u64| {
            runs.iter().map(|(_, ran)| value(&ran.printed) as f64).sum::<f64>()
        };
        let off_processor = if scenario.threaded {
            let ours = runs.iter().map(|(_, ran)| ran.cpu_ms).sum::<f64>();
            let used = after.used.saturating_sub(before.used) as f64;
            ((used - ours) / all_ms).clamp(0.0, 1.0)
        } else {
            1.0 - sum(|p| p.cpu_ns) / sum(|p| p.ns).max(1.0)
        };
        let load = process::load();
        let block = |question: usize| -> Result<Block> {
            let with = Role::With(question);
            Ok(Block {
                layout: ids.0,
                seed: ids.1,
                control_seed: ids.2,
                order: order.iter().map(|role| role.letter()).collect(),
                padding: conditions.padding,
                out: times(Role::Out)?,
                with: times(with)?,
                control: times(Role::Control)?,
                slow: times(Role::Slow)?,
                cpu: match scenario.threaded {
                    true => Some((cpu(Role::Out)?, cpu(with)?)),
                    false => None,
                },
                peak_kib: both(|printed| printed.peak_kib),
                rss_kib: both(|printed| printed.rss_kib),
                stolen_ms,
                preempted: runs.iter().map(|(_, ran)| ran.preempted).sum(),
                off_processor,
                load,
                dropped: disturbance(stolen_ms as f64 / all_ms, off_processor, self.disturbance),
            })
        };
        (0..self.injected.len()).map(block).collect()
    }
}

/// Runs the programs of `order` side by side on one processor, one of them at a time: each does its work
/// in turns, there and back and there again, so that whatever slows the machine down for longer than a
/// round slows all of them alike.
fn in_turns(
    order: &[Role],
    turns: u64,
    start: impl Fn(Role) -> Result<Running>,
) -> Result<Vec<(Role, Ran)>> {
    let mut running =
        order.iter().map(|role| Ok((*role, start(*role)?))).collect::<Result<Vec<_>>>()?;
    for turn in 0..turns {
        for place in 0..running.len() {
            let at = if turn % 2 == 0 { place } else { running.len() - 1 - place };
            if !running[at].1.turn() {
                let (_, ended) = running.swap_remove(at);
                let ran = ended.finish()?;
                bail!(
                    "a scenario ended after {turn} of {turns} turns and printed {:?}",
                    ran.printed
                );
            }
        }
    }
    running.into_iter().map(|(role, running)| Ok((role, running.finish()?))).collect()
}

/// How many processors threads spread over.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What kept a block from counting, with its share of the time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disturbance {
    /// The hypervisor ran something else.
    Stolen(f64),
    /// Other programs had the processor.
    Busy(f64),
}

/// Why a block does not count. The limit knows nothing of arms or times, so that dropping cannot
/// favour one.
fn disturbance(stolen: f64, off_processor: f64, limit: f64) -> Option<Disturbance> {
    if stolen > limit {
        Some(Disturbance::Stolen(stolen))
    } else if off_processor > limit {
        Some(Disturbance::Busy(off_processor))
    } else {
        None
    }
}

/// An error unless all processes did the same work. `by_hand` says how to repeat one.
fn same_work(
    scenario: &Fitted,
    runs: &[(Role, Ran)],
    by_hand: impl Fn(Role) -> String,
) -> Result<()> {
    let Some((expected, first)) = runs.first() else { return Ok(()) };
    for (role, ran) in runs {
        let (ours, theirs) = (&ran.printed, &first.printed);
        if ours.checksum != theirs.checksum || ours.ops != theirs.ops {
            bail!(
                "scenario {} did different work in two programs (checksum {} of {} operations, expected {} of {}); \
                 there is no verdict; by hand: `{}` and `{}`",
                scenario.name,
                ours.checksum,
                ours.ops,
                theirs.checksum,
                theirs.ops,
                by_hand(*role),
                by_hand(*expected),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    fn printed(checksum: u64) -> Ran {
        let printed = serde_json::json!({"ops": 5, "ns": 10, "cpu_ns": 10, "checksum": checksum, "rss_kib": 1, "peak_kib": 1});
        Ran { printed: serde_json::from_value(printed).unwrap(), preempted: 0, cpu_ms: 1.0 }
    }

    fn fitted() -> Fitted {
        Fitted {
            name: "work".into(),
            unit: "block".into(),
            threaded: false,
            ops: 5,
            ns_per_op: 1.0,
            turns: 0,
        }
    }

    #[test]
    fn different_work_is_an_error_and_never_a_verdict() {
        let of = |with: u64| {
            let runs = [(Role::Out, printed(7)), (Role::With(0), printed(with))];
            same_work(&fitted(), &runs, |role| format!("run {role:?}"))
        };
        assert!(of(7).is_ok());
        let error = of(8).unwrap_err().to_string();
        assert!(
            error.contains("checksum 8")
                && error.contains("expected 7")
                && error.contains("`run With(0)` and `run Out`"),
            "{error}"
        );
    }

    #[test]
    fn turns_come_to_the_same_work_and_one_that_leaves_is_named() {
        let fixture = Fixture::new("used");
        let program = Program::plain(&fixture.arm(true).program);
        let processor = process::quiet_processor().unwrap();
        let conditions = Conditions { processor: Some(processor), padding: 10 };
        let arguments = |scenario: &str, turns: u64| {
            let scenario = Fitted { name: scenario.into(), ops: 1001, turns, ..fitted() };
            if turns > 0 { scenario.arguments_in_turns(0) } else { scenario.arguments(500, 0) }
        };
        let tried = |scenario: &str| {
            let start = |_| Running::start(&program, &arguments(scenario, 5), conditions);
            in_turns(&[Role::Out, Role::Control, Role::Slow], 5, start)
        };
        let at_once = process::run(&program, &arguments("work", 0), conditions).unwrap();
        let ran = tried("work").unwrap();
        let roles: Vec<Role> = ran.iter().map(|(role, _)| *role).collect();
        assert_eq!(roles, [Role::Out, Role::Control, Role::Slow]);
        for (_, ran) in &ran {
            assert_eq!(ran.printed.ops, 500);
            assert_eq!(ran.printed.checksum, at_once.printed.checksum);
        }
        let error = tried("leaves").unwrap_err().to_string();
        assert!(error.contains("after 3 of 5 turns"), "{error}");
    }

    #[test]
    fn a_program_that_crashes_in_its_turn_is_named_with_its_signal() {
        let fixture = Fixture::new("crash");
        let (sound, crashing) = (fixture.arm(false).program, fixture.arm(true).program);
        let conditions = Conditions { processor: None, padding: 10 };
        let scenario = Fitted { turns: 3, ..fitted() };
        let start = |role: Role| {
            let file = if role == Role::Out { &sound } else { &crashing };
            Running::start(&Program::plain(file), &scenario.arguments_in_turns(0), conditions)
        };
        let error = in_turns(&[Role::Out, Role::With(0)], 3, start).unwrap_err().to_string();
        assert!(error.contains("SIGABRT") && error.contains("by hand"), "{error}");
    }

    #[test]
    fn a_block_is_dropped_for_outside_causes_only() {
        assert_eq!(disturbance(0.0, 0.05, 0.1), None);
        assert_eq!(disturbance(0.2, 0.0, 0.1), Some(Disturbance::Stolen(0.2)));
        assert_eq!(disturbance(0.0, 0.4, 0.1), Some(Disturbance::Busy(0.4)));
    }

    #[test]
    fn effects_are_log_ratios_in_per_cent() {
        let json = serde_json::json!({
            "layout": 0, "seed": 1, "control_seed": 2, "order": "owcsscwo", "padding": 0,
            "out": [1000, 1000], "with": [1010, 1010], "control": [900, 1111], "slow": [1000, 1000],
            "peak_kib": [1, 1], "rss_kib": [1, 1], "stolen_ms": 0, "preempted": 0, "off_processor": 0.0, "load": 0.0, "dropped": null
        });
        let block: Block = serde_json::from_value(json).unwrap();
        assert!((block.effect() - 0.995).abs() < 0.001);
        assert!(
            block.control_effect().abs() < 0.01,
            "opposite deviations cancel: {}",
            block.control_effect()
        );
        assert_eq!(block.slow_effect(), 0.0);
        assert_eq!(block.cpu_effect(), None, "of one thread both clocks are one");
        let threaded = Block { cpu: Some(([500, 500], [505, 505])), ..block };
        assert!((threaded.cpu_effect().unwrap() - 0.995).abs() < 0.001);
    }
}
