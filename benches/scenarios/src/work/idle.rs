//! A process after its peak: what memory it still has while it does nothing at all.

use super::slots::Slots;
use crate::heap::Heap;
use crate::rng::Rng;
use crate::{Config, Done, Work};

const KIB: usize = 1024;
const PAGE: usize = 4096;

/// Blocks of one document: about 10 MiB.
const DOCUMENT: u64 = 8000;

/// One document in so many is kept.
const KEPT: u64 = 10;

/// Documents built one after another, each dropped whole but one in ten; then not a single call.
pub struct Idle<H: Heap> {
    kept: Vec<Slots<H>>,
    kept_bytes: u64,
    rng: Rng,
}

/// Small blocks by number; medium and large ones weigh as much together.
fn size(rng: &mut Rng) -> usize {
    match rng.below(1000) {
        0..970 => rng.between(16, KIB),
        970..998 => rng.between(KIB, 16 * KIB),
        _ => rng.between(64 * KIB, 512 * KIB),
    }
}

impl<H: Heap> Idle<H> {
    /// A document whose every page is written, and its bytes.
    fn document<const VERIFY: bool>(&mut self, blocks: u64, done: &mut Done) -> (Slots<H>, u64) {
        let mut slots = Slots::<H>::empty(blocks as usize);
        let mut bytes = 0;
        for at in 0..slots.len() {
            let size = size(&mut self.rng);
            slots.put::<VERIFY>(at, size);
            for offset in (PAGE..size - 1).step_by(PAGE) {
                // SAFETY: the block in this slot is live and `offset` is inside it, before its end.
                unsafe { slots.block(at).add(offset).write_volatile(offset as u8) };
            }
            done.count(size as u64);
            bytes += size as u64;
        }
        (slots, bytes)
    }
}

impl<H: Heap> Work<H> for Idle<H> {
    fn new(_: &Config) -> Self {
        Self { kept: Vec::with_capacity(64), kept_bytes: 0, rng: Rng::new(2000) }
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let mut done = Done::default();
        let mut documents = Vec::with_capacity(ops.div_ceil(DOCUMENT) as usize);
        while done.ops < ops {
            let blocks = DOCUMENT.min(ops - done.ops);
            documents.push(self.document::<VERIFY>(blocks, &mut done));
        }
        for (at, (mut document, bytes)) in documents.into_iter().enumerate() {
            if (at as u64).is_multiple_of(KEPT) {
                self.kept.push(document);
                self.kept_bytes += bytes;
            } else {
                (0..document.len()).for_each(|slot| document.clear::<VERIFY>(slot));
            }
        }
        done
    }

    fn live_bytes(&self) -> Option<u64> {
        Some(self.kept_bytes)
    }

    fn finish(self) {
        self.kept.into_iter().for_each(Slots::free_all);
    }
}
