//! Scenarios on blocks of up to 1 KiB.

use core::marker::PhantomData;

use super::slots::Slots;
use crate::heap::{Heap, give, take};
use crate::rng::Rng;
use crate::{Config, Done, Work};

/// The sizes of the two "hot" scenarios: the middle and the edges of the tiny classes.
const SIZES: [usize; 12] = [8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];

/// Blocks of one round of the "hot" scenarios.
const BATCH: usize = 100;

/// 100 blocks of one size allocated, then freed last in first out.
pub struct TinyHot<H: Heap> {
    round: usize,
    heap: PhantomData<H>,
}

impl<H: Heap> Work<H> for TinyHot<H> {
    fn new(_: &Config) -> Self {
        Self { round: 0, heap: PhantomData }
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let mut done = Done::default();
        let mut blocks = [core::ptr::null_mut(); BATCH];
        while done.ops < ops {
            let size = SIZES[self.round % SIZES.len()];
            self.round += 1;
            for block in &mut blocks {
                *block = take::<H>(size);
                done.count(size as u64);
            }
            for &block in blocks.iter().rev() {
                // SAFETY: allocated just above with this size, freed once.
                unsafe { give::<H, VERIFY>(block, size) };
            }
        }
        done
    }

    fn finish(self) {}
}

/// One block allocated and freed at once.
pub struct PairHot<H: Heap> {
    round: usize,
    heap: PhantomData<H>,
}

impl<H: Heap> Work<H> for PairHot<H> {
    fn new(_: &Config) -> Self {
        Self { round: 0, heap: PhantomData }
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let mut done = Done::default();
        while done.ops < ops {
            let size = SIZES[self.round % SIZES.len()];
            self.round += 1;
            for _ in 0..BATCH {
                let block = take::<H>(size);
                // SAFETY: allocated just above with this size, freed once.
                unsafe { give::<H, VERIFY>(block, size) };
                done.count(size as u64);
            }
        }
        done
    }

    fn finish(self) {}
}

/// `SLOTS` slots replaced at random with 16 to 1040 bytes.
pub struct RandomMixed<H: Heap, const SLOTS: usize> {
    slots: Slots<H>,
    rng: Rng,
}

impl<H: Heap, const SLOTS: usize> Work<H> for RandomMixed<H, SLOTS> {
    fn new(_: &Config) -> Self {
        let mut rng = Rng::new(SLOTS as u64);
        Self { slots: Slots::filled(SLOTS, || rng.between(16, 1040)), rng }
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let mut done = Done::default();
        while done.ops < ops {
            let (at, size) = (self.rng.below(SLOTS), self.rng.between(16, 1040));
            self.slots.replace::<VERIFY>(at, size);
            done.count((at * size) as u64);
        }
        done
    }

    fn finish(self) {
        self.slots.free_all();
    }
}

/// As many slots as the command line says, replaced at random with 16 to 64 bytes.
pub struct Live<H: Heap> {
    slots: Slots<H>,
    rng: Rng,
}

impl<H: Heap> Work<H> for Live<H> {
    fn new(config: &Config) -> Self {
        let mut rng = Rng::new(config.live as u64);
        Self { slots: Slots::filled(config.live, || rng.between(16, 64)), rng }
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let mut done = Done::default();
        while done.ops < ops {
            let (at, size) = (self.rng.below(self.slots.len()), self.rng.between(16, 64));
            self.slots.replace::<VERIFY>(at, size);
            done.count((at * size) as u64);
        }
        done
    }

    fn finish(self) {
        self.slots.free_all();
    }
}

/// As many blocks as operations, 90 % of them freed in random order.
pub struct Shrink<H: Heap> {
    kept: Vec<Slots<H>>,
    rng: Rng,
}

impl<H: Heap> Work<H> for Shrink<H> {
    fn new(_: &Config) -> Self {
        Self { kept: Vec::with_capacity(3), rng: Rng::new(150) }
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let mut done = Done::default();
        let mut slots = Slots::<H>::filled(ops as usize, || {
            let size = self.rng.between(16, 1024);
            done.count(size as u64);
            size
        });
        // Fisher-Yates from the top: each step frees a block drawn from those still there.
        for last in (ops as usize / 10..ops as usize).rev() {
            slots.swap(self.rng.below(last + 1), last);
            slots.clear::<VERIFY>(last);
        }
        self.kept.push(slots);
        done
    }

    fn trickle(&mut self) {
        let mut live = Slots::<H>::filled(100, || self.rng.between(16, 1040));
        for _ in 0..2_000 {
            let (at, size) = (self.rng.below(100), self.rng.between(16, 1040));
            live.replace::<true>(at, size);
        }
        live.free_all();
    }

    fn finish(self) {
        self.kept.into_iter().for_each(Slots::free_all);
    }
}

/// One block: what is left is what the allocator itself weighs.
pub struct Nothing<H: Heap>(PhantomData<H>);

impl<H: Heap> Work<H> for Nothing<H> {
    fn new(_: &Config) -> Self {
        Self(PhantomData)
    }

    fn run<const VERIFY: bool>(&mut self, _: u64) -> Done {
        let mut done = Done::default();
        let block = take::<H>(64);
        done.count(64);
        // SAFETY: allocated just above with this size, freed once.
        unsafe { give::<H, VERIFY>(block, 64) };
        done
    }

    fn finish(self) {}
}
