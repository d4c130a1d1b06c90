//! Scenarios on blocks of a few MiB, where runs and mappings of their own compete: each suits another
//! boundary between the two.

use super::slots::Slots;
use crate::heap::{Heap, check, give, take, touch};
use crate::rng::Rng;
use crate::{Config, Done, Work};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const PAGE: usize = 4096;

/// Writes a byte in every page of `block` from offset `from` to `size`, but never its last byte.
///
/// # Safety
///
/// `block` is live and has `size` bytes.
unsafe fn fill(block: *mut u8, from: usize, size: usize) {
    for offset in (from..size - 1).step_by(PAGE) {
        // SAFETY: `offset` is inside the block.
        unsafe { block.add(offset).write_volatile(offset as u8) };
    }
}

/// One block of [`Grown`].
struct Growing {
    block: *mut u8,
    size: usize,
    goal: usize,
}

/// Eight tables that grow by half from 1 MiB to 2..12 MiB and are freed when they are there, with little
/// written to them, among 32 blocks of 300 to 500 KiB that come and go: what moves is copied, written
/// or not, and a mapping moves its pages.
pub struct Grown<H: Heap> {
    tables: [Growing; 8],
    others: Slots<H>,
    rng: Rng,
}

impl<H: Heap> Grown<H> {
    fn fresh(rng: &mut Rng) -> Growing {
        Growing { block: take::<H>(MIB), size: MIB, goal: rng.between(2 * MIB, 12 * MIB) }
    }

    fn other(rng: &mut Rng) -> usize {
        rng.between(300 * KIB, 500 * KIB)
    }
}

impl<H: Heap> Work<H> for Grown<H> {
    fn new(_: &Config) -> Self {
        let mut rng = Rng::new(12);
        let tables = core::array::from_fn(|_| Self::fresh(&mut rng));
        let others = Slots::filled(32, || Self::other(&mut rng));
        Self { tables, others, rng }
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let mut done = Done::default();
        while done.ops < ops {
            self.others.replace::<VERIFY>(self.rng.below(32), Self::other(&mut self.rng));
            let table = &mut self.tables[self.rng.below(8)];
            done.count(table.size as u64);
            if VERIFY {
                // SAFETY: the block is live and was marked with this size.
                unsafe { check::<H>(table.block, table.size) };
            }
            if table.size == table.goal {
                // SAFETY: the block is live; it is replaced on the next line.
                unsafe { give::<H, false>(table.block, table.size) };
                *table = Self::fresh(&mut self.rng);
                continue;
            }
            let (old, new) = (table.size, (table.size + table.size / 2).min(table.goal));
            // SAFETY: the block is live; the old pointer is overwritten, and `touch` ends the process
            // at a null one.
            unsafe {
                table.block = H::realloc(table.block, old, new);
                touch(table.block, new);
            }
            table.size = new;
        }
        done
    }

    fn finish(self) {
        for table in self.tables {
            // SAFETY: the block is live and not used again.
            unsafe { H::free(table.block, table.size) };
        }
        self.others.free_all();
    }
}

/// 16 slots replaced at random with 3 to 8 MiB, a byte written in each page, among 64 of 300 KiB to
/// 2 MiB: what is free serves many sizes, and a mapping none but its own.
pub struct Recycled<H: Heap> {
    large: Slots<H>,
    others: Slots<H>,
    rng: Rng,
}

impl<H: Heap> Work<H> for Recycled<H> {
    fn new(_: &Config) -> Self {
        let mut rng = Rng::new(38);
        let large = Slots::filled(16, || rng.between(3 * MIB, 8 * MIB));
        let others = Slots::filled(64, || rng.between(300 * KIB, 2 * MIB));
        Self { large, others, rng }
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let mut done = Done::default();
        while done.ops < ops {
            let (slots, at, size) = if self.rng.below(2) == 0 {
                (&mut self.large, self.rng.below(16), self.rng.between(3 * MIB, 8 * MIB))
            } else {
                (&mut self.others, self.rng.below(64), self.rng.between(300 * KIB, 2 * MIB))
            };
            slots.replace::<VERIFY>(at, size);
            // SAFETY: the block in this slot is live and has this size.
            unsafe { fill(slots.block(at), PAGE, size) };
            done.count((at * size) as u64);
        }
        done
    }

    fn finish(self) {
        self.large.free_all();
        self.others.free_all();
    }
}
