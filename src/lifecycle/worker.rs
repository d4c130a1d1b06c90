//! What the background worker does in a round: the ticks of those who don't tick.

use super::trim;
use crate::background::{self, Found};
use crate::base::sync::Ordering;
use crate::large::thermal;
use crate::os;
use crate::thread::{heap::Heap, park};

/// A slow path has ended, and no lock or heap is held.
#[inline(always)]
pub(crate) fn nudge() {
    background::nudge(round);
}

/// Ages what the process shares, and the heaps whose threads are on no slow path just now.
fn round() -> (Found, u32) {
    let now = os::now_ms();
    let mut returned = trim::process_tick(now);
    // Nobody else may come to do it, and there may be many; each once, as others may give back to them
    // all the time.
    let (heaps, _) = park::counts();
    for bytes in (0..heaps).map_while(|_| trim::empty_one_parked(now)) {
        returned += bytes;
    }
    park::each(|heap| {
        // SAFETY: heaps live for ever, and `door` is written before one is published. During a visit
        // nobody else touches the fields that `age_behind` does.
        let visited = unsafe { (*heap).door.visit(|| Heap::age_behind(heap, now)) };
        returned += visited.unwrap_or(0);
    });
    let pause = (thermal::DECAY_MS.load(Ordering::Relaxed) / 2).max(10);
    (if returned == 0 { Found::Nothing } else { Found::Something }, pause)
}
