//! Scenarios on blocks of more than 1 KiB.

use core::marker::PhantomData;

use super::slots::Slots;
use crate::heap::{Heap, check, give, take, touch};
use crate::rng::Rng;
use crate::{Config, Done, Work};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const PAGE: usize = 4096;

/// 200 slots replaced at random with 1 to 64 KiB.
pub struct Mir<H: Heap> {
    slots: Slots<H>,
    rng: Rng,
}

impl<H: Heap> Work<H> for Mir<H> {
    fn new(_: &Config) -> Self {
        let mut rng = Rng::new(64);
        Self { slots: Slots::filled(200, || rng.between(KIB, 64 * KIB)), rng }
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let mut done = Done::default();
        while done.ops < ops {
            let (at, size) = (self.rng.below(200), self.rng.between(KIB, 64 * KIB));
            self.slots.replace::<VERIFY>(at, size);
            done.count((at * size) as u64);
        }
        done
    }

    fn finish(self) {
        self.slots.free_all();
    }
}

/// 400 slots: mostly small blocks, some medium, a few of up to 1 MiB.
pub struct Mixed<H: Heap> {
    slots: Slots<H>,
    rng: Rng,
}

fn mixed_size(rng: &mut Rng) -> usize {
    match rng.below(100) {
        0..80 => rng.between(16, KIB),
        80..95 => rng.between(KIB, 64 * KIB),
        _ => rng.between(256 * KIB, MIB),
    }
}

impl<H: Heap> Work<H> for Mixed<H> {
    fn new(_: &Config) -> Self {
        let mut rng = Rng::new(80);
        Self { slots: Slots::filled(400, || mixed_size(&mut rng)), rng }
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let mut done = Done::default();
        while done.ops < ops {
            let (at, size) = (self.rng.below(400), mixed_size(&mut self.rng));
            self.slots.replace::<VERIFY>(at, size);
            done.count((at * size) as u64);
        }
        done
    }

    fn finish(self) {
        self.slots.free_all();
    }
}

/// 2 MiB blocks in a ring of four, a byte written in each page.
pub struct Vm<H: Heap> {
    ring: Slots<H>,
    next: usize,
}

impl<H: Heap> Work<H> for Vm<H> {
    fn new(_: &Config) -> Self {
        Self { ring: Slots::filled(4, || 2 * MIB), next: 0 }
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let mut done = Done::default();
        while done.ops < ops {
            let at = self.next % self.ring.len();
            self.ring.clear::<VERIFY>(at);
            self.ring.put::<VERIFY>(at, 2 * MIB);
            // The first and last byte stay as they are, for the check.
            for page in 1..2 * MIB / PAGE {
                // SAFETY: the block in this slot is live and has 2 MiB.
                unsafe { self.ring.block(at).add(page * PAGE).write_volatile(page as u8) };
            }
            done.count(self.next as u64);
            self.next += 1;
        }
        done
    }

    fn finish(self) {
        self.ring.free_all();
    }
}

/// Blocks of the size that the command line says, in a ring of four.
pub struct Sized<H: Heap> {
    ring: Slots<H>,
    size: usize,
    next: usize,
}

impl<H: Heap> Work<H> for Sized<H> {
    fn new(config: &Config) -> Self {
        Self { ring: Slots::filled(4, || config.size), size: config.size, next: 0 }
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let mut done = Done::default();
        while done.ops < ops {
            self.ring.replace::<VERIFY>(self.next % 4, self.size);
            done.count(self.next as u64);
            self.next += 1;
        }
        done
    }

    fn finish(self) {
        self.ring.free_all();
    }
}

/// One growing block of [`ReallocGrow`].
struct Growing {
    block: *mut u8,
    size: usize,
    goal: usize,
}

/// Four blocks that start at 64 KiB and grow by half to 1..64 MiB; one step in sixteen frees one
/// before its time. Every new page is written once, as by a buffer that fills.
pub struct ReallocGrow<H: Heap> {
    blocks: [Growing; 4],
    rng: Rng,
    heap: PhantomData<H>,
}

const START: usize = 64 * KIB;

impl<H: Heap> ReallocGrow<H> {
    fn fresh(rng: &mut Rng) -> Growing {
        let block = take::<H>(START);
        let growing = Growing { block, size: START, goal: rng.between(MIB, 64 * MIB) };
        growing.fill(PAGE);
        growing
    }
}

impl Growing {
    /// Writes a byte in every page from offset `from` on, but never the block's last byte.
    fn fill(&self, from: usize) {
        for offset in (from..self.size - 1).step_by(PAGE) {
            // SAFETY: the block is live and `offset` is inside it.
            unsafe { self.block.add(offset).write_volatile(offset as u8) };
        }
    }
}

impl<H: Heap> Work<H> for ReallocGrow<H> {
    fn new(_: &Config) -> Self {
        let mut rng = Rng::new(1964);
        Self { blocks: core::array::from_fn(|_| Self::fresh(&mut rng)), rng, heap: PhantomData }
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let mut done = Done::default();
        while done.ops < ops {
            let (at, early) = (self.rng.below(4), self.rng.below(16) == 0);
            let growing = &mut self.blocks[at];
            done.count(growing.size as u64);
            if VERIFY {
                // SAFETY: the block is live and was marked with this size.
                unsafe { check::<H>(growing.block, growing.size) };
            }
            if early || growing.size >= growing.goal {
                // SAFETY: the block is live; it is replaced on the next line.
                unsafe { give::<H, false>(growing.block, growing.size) };
                *growing = Self::fresh(&mut self.rng);
                continue;
            }
            let (old, new) = (growing.size, (growing.size + growing.size / 2).min(growing.goal));
            // SAFETY: the block is live; the old pointer is overwritten, and `touch` ends the
            // process at a null one.
            unsafe {
                growing.block = H::realloc(growing.block, old, new);
                touch(growing.block, new);
            }
            growing.size = new;
            growing.fill(old);
        }
        done
    }

    fn finish(self) {
        for growing in self.blocks {
            // SAFETY: the block is live and not used again.
            unsafe { H::free(growing.block, growing.size) };
        }
    }
}
