//! What the background worker does: the ticks of those who don't tick, and, with the gates
//! `background-spill` and `background-bin`, what threads have left for it.

use super::{stock, trim};
use crate::background::{self, Duties, Found};
use crate::base::sync::Ordering;
use crate::class::COUNT;
use crate::frontend::handoff::{self, Batch};
use crate::large::thermal;
use crate::os;
use crate::refill;
use crate::segment::ON_DIET;
use crate::thread::{heap::Heap, park};

static DUTIES: Duties = Duties { round, serve, leave };

/// A slow path has ended, and no lock or heap is held.
#[inline(always)]
pub(crate) fn nudge() {
    background::nudge(&DUTIES);
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
    if handoff::BIN {
        empty_idle_bins();
        // SAFETY: this is the worker's round.
        returned += unsafe { stock::sweep(false) };
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

/// Does what threads have left to be done. Whether there was anything.
fn serve() -> Found {
    let mut found = Found::Nothing;
    for batch in handoff::spilled() {
        bring_home(batch);
        found = Found::Something;
    }
    // SAFETY: the worker serves during its round.
    if handoff::BIN && !ON_DIET.load(Ordering::Relaxed) && unsafe { stock::fill_bins() } {
        found = Found::Something;
    }
    found
}

/// Sends the batches home that nobody has asked for in a round; all of them while memory is short.
fn empty_idle_bins() {
    let short = ON_DIET.load(Ordering::Relaxed);
    if short {
        handoff::forget_asked();
    }
    for class in 1..COUNT {
        while let Some(batch) = handoff::next_idle(class) {
            bring_home(batch);
        }
    }
    handoff::forget_asked();
}

/// Brings a batch home, the blocks of a word of a bitmap together.
fn bring_home(mut batch: Batch) {
    let class = batch.class();
    let blocks = batch.blocks_mut();
    blocks.sort_unstable();
    // SAFETY: blocks of a batch were given back by the program or never handed out.
    unsafe { refill::give_back(class, blocks) };
}

/// There is no worker any more: nothing stays behind.
fn leave() {
    trim::take_in();
    // SAFETY: this is the worker's last round.
    unsafe { stock::sweep(true) };
}
