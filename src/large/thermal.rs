//! Hot, warm or cold: how long a freed large block is worth keeping.
//!
//! Each size bin has a heat: a reuse from the cache adds to it, time takes from it. A cached block
//! of a hot bin will be asked for again at once and is kept; a cold one is on its way out.
//!
//! | policy (`HAKMEM_FREE_POLICY`) | kept for |
//! |---|---|
//! | `keep` | until the budget is needed |
//! | `batch` | one decay period, whatever its bin |
//! | `adaptive` | hot: 4 decay periods; warm: 1; cold: until the next tick, and only by its thread |
//!
//! The heat is read by a decision, so it is correctness, not telemetry: a byte per bin, written
//! without a locked instruction (a lost update costs nothing).

use crate::base::elapsed;
use crate::base::sync::{AtomicU8, AtomicU32, Ordering};
use crate::class::GRANULE;

/// What a bin's recent history says of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heat {
    /// Not reused lately.
    Cold,
    /// Reused, but not often.
    Warm,
    /// Reused again and again.
    Hot,
}

/// What becomes of freed large blocks (`HAKMEM_FREE_POLICY`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FreePolicy {
    /// They are kept, whatever their age.
    Keep = 0,
    /// They go back together, when they have lain for a decay period.
    Batch = 1,
    /// Each goes back by size and reuse: cold ones at once, hot ones after several decay periods.
    Adaptive = 2,
}

/// The policy in force, a `FreePolicy` as a number.
/// Relaxed: a setting; a late look obeys the one before.
pub(crate) static POLICY: AtomicU8 = AtomicU8::new(FreePolicy::Adaptive as u8);
/// One decay period, in milliseconds.
/// Relaxed: a setting; a late look obeys the one before.
pub(crate) static DECAY_MS: AtomicU32 = AtomicU32::new(250);

const BINS: usize = 64;
const MOST: u8 = 15;
const HOT_FROM: u8 = 4;

/// How often blocks of the bin have come round of late.
/// Relaxed: a guess that decides how long a block is kept; one lost step is one step.
static HEAT: [AtomicU8; BINS] = [const { AtomicU8::new(0) }; BINS];
/// Coarse time (ms, wrapping) at which a block of the bin was last let go; 0: not since a miss.
/// Relaxed: a time and nothing behind it; a late look is a miss that is not remembered.
static LET_GO: [AtomicU32; BINS] = [const { AtomicU32::new(0) }; BINS];

fn index(bytes: usize) -> usize {
    let granules = bytes.div_ceil(GRANULE).max(2);
    let power = granules.ilog2();
    let index = (power * 2 + ((granules >> (power - 1)) & 1) as u32) as usize;
    index.min(BINS - 1)
}

fn bin(bytes: usize) -> &'static AtomicU8 {
    HEAT.get(index(bytes)).unwrap_or(&HEAT[0])
}

fn last_let_go(bytes: usize) -> &'static AtomicU32 {
    LET_GO.get(index(bytes)).unwrap_or(&LET_GO[0])
}

/// The heat after one more reuse.
const fn warmed(heat: u8) -> u8 {
    if heat < MOST { heat + 1 } else { heat }
}

/// The heat after some time.
const fn cooled(heat: u8) -> u8 {
    heat.saturating_sub(1)
}

/// A block of this size was reused.
pub(crate) fn reused(bytes: usize) {
    let heat = bin(bytes);
    let now = heat.load(Ordering::Relaxed);
    let next = warmed(now);
    if next != now {
        heat.store(next, Ordering::Relaxed);
    }
}

/// Whether a block that is being freed is worth a place in the shared cache: a cold one is not.
pub(crate) fn worth_sharing(bytes: usize) -> bool {
    POLICY.load(Ordering::Relaxed) != FreePolicy::Adaptive as u8 || classify(bytes) != Heat::Cold
}

/// Whether blocks of this size come round again and again.
pub(crate) fn is_hot(bytes: usize) -> bool {
    classify(bytes) == Heat::Hot
}

/// A freed block of this size goes back at once. That is remembered, so that a request which could
/// have had it makes its size warmer.
pub(crate) fn let_go(bytes: usize, now: u32) {
    last_let_go(bytes).store(now.max(1), Ordering::Relaxed);
}

/// No cached block serves a request of this size.
pub(crate) fn missed(bytes: usize, now: u32) {
    let gone = last_let_go(bytes).swap(0, Ordering::Relaxed);
    if gone != 0 && elapsed(now, gone) < DECAY_MS.load(Ordering::Relaxed).saturating_mul(4) {
        reused(bytes);
    }
}

/// What this size's bin says of a block that is being freed.
fn classify(bytes: usize) -> Heat {
    judge(bin(bytes).load(Ordering::Relaxed))
}

/// What a heat says.
const fn judge(heat: u8) -> Heat {
    match heat {
        0 => Heat::Cold,
        1..HOT_FROM => Heat::Warm,
        _ => Heat::Hot,
    }
}

/// Time has passed: every bin cools a little.
pub(crate) fn cool() {
    for heat in &HEAT {
        let now = heat.load(Ordering::Relaxed);
        if now != 0 {
            heat.store(cooled(now), Ordering::Relaxed);
        }
    }
}

/// Milliseconds after which a cached block may serve another size instead.
pub(crate) fn stale_after() -> u32 {
    if POLICY.load(Ordering::Relaxed) == FreePolicy::Keep as u8 {
        return u32::MAX;
    }
    (DECAY_MS.load(Ordering::Relaxed) / 16).max(1)
}

/// Milliseconds for which a freed block of this size is kept.
pub(crate) fn keep_for(bytes: usize) -> u32 {
    let decay = DECAY_MS.load(Ordering::Relaxed);
    time_for(POLICY.load(Ordering::Relaxed), classify(bytes), decay)
}

/// Milliseconds that a policy keeps a block of this heat for.
const fn time_for(policy: u8, heat: Heat, decay: u32) -> u32 {
    match (policy, heat) {
        (policy, _) if policy == FreePolicy::Keep as u8 => u32::MAX,
        (policy, _) if policy == FreePolicy::Batch as u8 => decay,
        (_, Heat::Hot) => decay.saturating_mul(4),
        (_, Heat::Warm) => decay,
        (_, Heat::Cold) => decay / 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // By the rules alone: a tick of another test cools the bins of all.

    #[test]
    fn reuse_heats_and_time_cools() {
        let after =
            |heat: u8, steps: u8, step: fn(u8) -> u8| (0..steps).fold(heat, |it, _| step(it));
        assert_eq!(judge(0), Heat::Cold);
        assert_eq!(judge(after(0, 1, warmed)), Heat::Warm);
        assert_eq!(judge(after(0, HOT_FROM, warmed)), Heat::Hot);
        let hottest = after(0, 100, warmed);
        assert_eq!((hottest, judge(hottest)), (MOST, Heat::Hot));
        assert_eq!(judge(after(hottest, MOST - 1, cooled)), Heat::Warm);
        assert_eq!(judge(after(hottest, MOST, cooled)), Heat::Cold);
        assert_eq!(cooled(0), 0);
    }

    #[test]
    fn adaptive_keeps_hot_blocks_longer() {
        let times = |policy: FreePolicy| {
            [Heat::Cold, Heat::Warm, Heat::Hot].map(|heat| time_for(policy as u8, heat, 1000))
        };
        assert_eq!(times(FreePolicy::Adaptive), [125, 1000, 4000]);
        assert_eq!(times(FreePolicy::Batch), [1000; 3]);
        assert_eq!(times(FreePolicy::Keep), [u32::MAX; 3]);
    }

    #[test]
    fn each_size_has_its_bin() {
        let bins: std::vec::Vec<_> = (1..4000).map(|granules| index(granules * GRANULE)).collect();
        assert!(bins.is_sorted() && bins[0] < bins[3998], "{bins:?}");
        assert_eq!(index(usize::MAX), BINS - 1);
    }
}
