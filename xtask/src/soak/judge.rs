//! Does memory stay flat? By samples of a soak, in rules that stand before it is run.
//!
//! The first tenth of the work warms the heap up; what follows is cut into thirds of equal work, not
//! time, so that a machine that is busy with something else for a while changes nothing. The last
//! third's medians may lie above the first third's by a tolerance:
//!
//! - in quiet, when every thread has emptied its caches: what is resident beyond the program's own
//!   blocks, which vary. This is the sharp one: what is lost or scattered shows here.
//! - at work: what is resident, where the tolerance has what caches may hold on top, as how full they
//!   are depends on how fast the machine lets the threads run.

use serde::{Deserialize, Serialize};
use xtask_stats::robust;

/// Fewer calls than this have not brought the heap to its steady state.
pub const FEWEST_OPERATIONS: u64 = 200_000;
/// Fewer samples in quiet than this in a third are not judged.
pub const FEWEST_QUIET: usize = 5;
/// What caches may hold by default: the shared one and each thread's, in KiB (`big_cache`).
const SHARED_CACHE_KIB: f64 = 65_536.0;
const THREAD_CACHE_KIB: f64 = 8_192.0;

/// One look at a soak.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Milliseconds since the start.
    pub ms: u64,
    /// Calls until then.
    pub operations: u64,
    /// Threads that had ended.
    pub threads: u64,
    /// Children that had ended.
    pub forks: u64,
    /// Resident memory.
    pub resident_kib: u64,
    /// What of it is in the program's blocks.
    pub live_kib: u64,
    /// Whether nothing was going on, and caches were empty.
    pub quiet: bool,
}

/// Medians of a third, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Third {
    /// In quiet, beyond the program's blocks.
    pub beyond_kib: f64,
    /// In quiet.
    pub quiet_kib: f64,
    /// At work.
    pub work_kib: f64,
}

/// How memory went.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Memory {
    /// The first third.
    pub first: Third,
    /// The last third.
    pub last: Third,
    /// By how much memory in quiet may rise.
    pub allowed_quiet_kib: f64,
    /// By how much memory at work may rise.
    pub allowed_work_kib: f64,
}

impl Memory {
    /// By how much memory in quiet has risen.
    pub fn risen_in_quiet(&self) -> f64 {
        self.last.beyond_kib - self.first.beyond_kib
    }

    /// By how much memory at work has risen.
    pub fn risen_at_work(&self) -> f64 {
        self.last.work_kib - self.first.work_kib
    }

    /// What is not flat, in words.
    pub fn faults(&self) -> Vec<String> {
        let rises = [
            (
                "in quiet, beyond the program's blocks",
                self.risen_in_quiet(),
                self.allowed_quiet_kib,
            ),
            ("at work", self.risen_at_work(), self.allowed_work_kib),
        ];
        let mib = |kib: f64| kib / 1024.0;
        let above = rises.iter().filter(|(_, risen, allowed)| risen > allowed);
        above
            .map(|(when, risen, allowed)| {
                format!(
                    "resident memory is not flat: {when} it rose by {:.1} MiB, allowed are {:.1} MiB",
                    mib(*risen),
                    mib(*allowed)
                )
            })
            .collect()
    }
}

/// Judges a soak of so many threads. `tolerance` is in per cent of what is resident in quiet. An error
/// is why nothing can be said.
pub fn judge(samples: &[Sample], threads: u64, tolerance: f64) -> Result<Memory, String> {
    let total = samples.last().map_or(0, |sample| sample.operations);
    if total < FEWEST_OPERATIONS {
        return Err(format!(
            "memory is not judged: {total} calls, expected {FEWEST_OPERATIONS}; run for longer"
        ));
    }
    let (start, end) = (total as f64 / 10.0, total as f64);
    let length = (end - start) / 3.0;
    let first = third(samples, start, start + length)?;
    let last = third(samples, end - length, end)?;
    let allowed_quiet_kib = first.quiet_kib * tolerance / 100.0;
    let caches = SHARED_CACHE_KIB + THREAD_CACHE_KIB * (threads + 1) as f64;
    let allowed_work_kib = allowed_quiet_kib + caches;
    Ok(Memory { first, last, allowed_quiet_kib, allowed_work_kib })
}

fn third(samples: &[Sample], from: f64, to: f64) -> Result<Third, String> {
    let inside = |quiet: bool| {
        samples.iter().filter(move |sample| {
            sample.quiet == quiet && (from..=to).contains(&(sample.operations as f64))
        })
    };
    let found = inside(true).count();
    if found < FEWEST_QUIET || inside(false).count() == 0 {
        return Err(format!(
            "memory is not judged: {found} samples in quiet in a third of the work, expected \
             {FEWEST_QUIET}; run for longer"
        ));
    }
    let median = |quiet: bool, value: fn(&Sample) -> f64| {
        robust::median(&inside(quiet).map(value).collect::<Vec<_>>())
    };
    Ok(Third {
        beyond_kib: median(true, |sample| sample.resident_kib as f64 - sample.live_kib as f64),
        quiet_kib: median(true, |sample| sample.resident_kib as f64),
        work_kib: median(false, |sample| sample.resident_kib as f64),
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A soak whose memory is what `resident` says of the part of the work that is done: in quiet
    /// 100 MiB of blocks, and some megabytes of noise.
    pub fn canned(resident_mib: impl Fn(f64) -> f64) -> Vec<Sample> {
        (1..=300u64)
            .map(|at| {
                let noise = (at * 7 % 11) as f64 - 5.0;
                let quiet = at % 6 == 0;
                let caches = if quiet { 0.0 } else { 60.0 };
                Sample {
                    ms: at * 200,
                    operations: at * 50_000,
                    threads: at,
                    forks: at,
                    resident_kib: ((resident_mib(at as f64 / 300.0) + noise + caches) * 1024.0)
                        as u64,
                    live_kib: ((100.0 + noise) * 1024.0) as u64,
                    quiet,
                }
            })
            .collect()
    }

    #[test]
    fn flat_memory_is_flat_whatever_the_blocks_do() {
        let memory = judge(&canned(|_| 120.0), 8, 10.0).unwrap();
        assert_eq!(memory.faults(), [""; 0]);
        assert!(memory.risen_in_quiet().abs() < 1.0, "{memory:?}");
        assert!((memory.first.beyond_kib / 1024.0 - 20.0).abs() < 0.1, "{memory:?}");
        assert!((memory.first.work_kib / 1024.0 - 180.0).abs() < 2.0, "{memory:?}");
    }

    #[test]
    fn a_heap_that_fills_while_it_warms_up_is_flat() {
        let memory = judge(&canned(|part| 120.0 * (part * 12.0).min(1.0)), 8, 10.0).unwrap();
        assert_eq!(memory.faults(), [""; 0]);
    }

    #[test]
    fn a_slow_leak_is_told_in_quiet_and_a_great_one_at_work_too() {
        let slow = judge(&canned(|part| 120.0 + 30.0 * part), 8, 10.0).unwrap().faults();
        assert_eq!(slow.len(), 1, "{slow:?}");
        assert!(slow[0].contains("in quiet, beyond the program's blocks it rose by 18."));
        assert!(slow[0].contains("allowed are 12."), "{slow:?}");
        let great = judge(&canned(|part| 120.0 + 400.0 * part), 8, 10.0).unwrap().faults();
        assert_eq!(great.len(), 2, "{great:?}");
        assert!(judge(&canned(|part| 120.0 + 30.0 * part), 8, 30.0).unwrap().faults().is_empty());
    }

    #[test]
    fn thirds_are_of_the_work() {
        // The machine was busy with something else during the first half.
        let even = canned(|part| 120.0 + 30.0 * part);
        let mut uneven = even.clone();
        uneven.iter_mut().take(150).for_each(|sample| sample.ms *= 20);
        uneven.iter_mut().skip(150).for_each(|sample| sample.ms += 20 * 150 * 200);
        assert_eq!(judge(&uneven, 8, 10.0), judge(&even, 8, 10.0));
    }

    #[test]
    fn too_little_is_not_judged() {
        let samples = canned(|_| 120.0);
        assert!(judge(&samples[..3], 8, 10.0).unwrap_err().contains("150000 calls, expected"));
        assert!(judge(&samples[..40], 8, 10.0).unwrap_err().contains("samples in quiet"));
        assert!(judge(&[], 8, 10.0).unwrap_err().contains("0 calls"));
    }
}
