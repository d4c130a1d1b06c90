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

/// A block of this size was reused.
pub(crate) fn reused(bytes: usize) {
    let heat = bin(bytes);
    let now = heat.load(Ordering::Relaxed);
    if now < MOST {
        heat.store(now + 1, Ordering::Relaxed);
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
    match bin(bytes).load(Ordering::Relaxed) {
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
            heat.store(now - 1, Ordering::Relaxed);
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
    match (POLICY.load(Ordering::Relaxed), classify(bytes)) {
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

    #[test]
    fn reuse_heats_and_time_cools() {
        // A size that no other test frees.
        let bytes = 48 << 30;
        assert_eq!(classify(bytes), Heat::Cold);
        reused(bytes);
        assert_eq!(classify(bytes), Heat::Warm);
        for _ in 0..20 {
            reused(bytes);
        }
        assert_eq!(classify(bytes), Heat::Hot);
        for _ in 0..MOST {
            cool();
        }
        assert_eq!(classify(bytes), Heat::Cold);
    }

    #[test]
    fn adaptive_keeps_hot_blocks_longer() {
        // A size that no other test frees.
        let bytes = 24 << 30;
        let cold = keep_for(bytes);
        reused(bytes);
        let warm = keep_for(bytes);
        for _ in 0..HOT_FROM {
            reused(bytes);
        }
        assert!(cold < warm && warm < keep_for(bytes));
    }
}
