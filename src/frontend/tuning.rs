//! What the intelligence engine has made of each class: how large its magazines start, and how much a
//! refill brings. Read on slow paths; without the gate `intelligence-engine` all of it is a constant.

use crate::base::sync::{AtomicU8, Ordering};
use crate::class::COUNT;

/// Whether this build has an intelligence engine.
pub(crate) const ON: bool = cfg!(feature = "intelligence-engine");

/// Doublings that the start of a magazine may get.
pub(crate) const MOST_STEPS: u8 = 3;

const STEPS: u8 = 0b11;
const WHOLE: u8 = 0b100;

/// By class: doublings of the start, and whether a refill fills the magazine.
/// Relaxed: a setting; a late look obeys the one before.
static TUNED: [AtomicU8; COUNT * ON as usize] = [const { AtomicU8::new(0) }; COUNT * ON as usize];

fn tuned(class: usize) -> u8 {
    TUNED.get(class).map_or(0, |tuned| tuned.load(Ordering::Relaxed))
}

/// How often the start capacity of a class is doubled.
#[inline(always)]
pub(super) fn steps(class: usize) -> u32 {
    if ON { u32::from(tuned(class) & STEPS) } else { 0 }
}

/// Whether a refill of a class fills the whole magazine instead of half of it.
#[inline(always)]
pub(super) fn fills_whole(class: usize) -> bool {
    ON && tuned(class) & WHOLE != 0
}

/// Turns the knobs of a class.
pub(crate) fn tune(class: usize, steps: u8, whole: bool) {
    if let Some(tuned) = TUNED.get(class) {
        let value = steps.min(MOST_STEPS) | if whole { WHOLE } else { 0 };
        tuned.store(value, Ordering::Relaxed);
    }
}
