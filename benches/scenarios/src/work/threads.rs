//! Scenarios in which one thread frees what another allocated.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering::*};
use std::thread;

use super::slots::Slots;
use crate::heap::{Heap, give, take};
use crate::rng::Rng;
use crate::table::Table;
use crate::{Config, Done, Work};

/// Entries of the queue between the two threads of a pair: what may be in flight.
const QUEUE: usize = 1024;

/// Blocks handed over at a time, so that the queue costs little beside the heap.
const BURST: usize = 16;

/// A counter on a cache line of its own.
#[repr(align(128))]
struct Lone(AtomicUsize);

/// A bounded queue of (block, size) from one thread to one other.
struct Queue {
    entries: Table<[AtomicUsize; 2]>,
    written: Lone,
    taken: Lone,
}

// SAFETY: all shared state is atomic; `entries` is not resized.
unsafe impl Sync for Queue {}

/// Waits a little, then lets another thread run: the two may share one processor.
fn wait_until(mut ready: impl FnMut() -> bool) {
    let mut spins = 0;
    while !ready() {
        spins += 1;
        if spins % 64 == 0 { thread::yield_now() } else { core::hint::spin_loop() }
    }
}

impl Queue {
    fn new() -> Self {
        Self {
            // SAFETY: all-zero bytes are zero counters.
            entries: unsafe { Table::zeroed(QUEUE) },
            written: Lone(AtomicUsize::new(0)),
            taken: Lone(AtomicUsize::new(0)),
        }
    }

    /// Sends `count` blocks made by `next`.
    fn send(&self, count: u64, mut next: impl FnMut() -> (*mut u8, usize)) {
        let (mut at, mut taken) = (self.written.0.load(Relaxed), 0);
        for left in (0..count).rev() {
            if at - taken >= QUEUE {
                wait_until(|| {
                    taken = self.taken.0.load(Acquire);
                    at - taken < QUEUE
                });
            }
            let (block, size) = next();
            let entry = &self.entries[at % QUEUE];
            entry[0].store(block as usize, Relaxed);
            entry[1].store(size, Relaxed);
            at += 1;
            if at % BURST == 0 || left == 0 {
                self.written.0.store(at, Release);
            }
        }
    }

    /// Receives `count` blocks.
    fn receive(&self, count: u64, mut each: impl FnMut(*mut u8, usize)) {
        let (mut at, mut written) = (self.taken.0.load(Relaxed), 0);
        for left in (0..count).rev() {
            if at >= written {
                wait_until(|| {
                    written = self.written.0.load(Acquire);
                    at < written
                });
            }
            let entry = &self.entries[at % QUEUE];
            each(entry[0].load(Relaxed) as *mut u8, entry[1].load(Relaxed));
            at += 1;
            if at % BURST == 0 || left == 0 {
                self.taken.0.store(at, Release);
            }
        }
    }
}

/// Half of the threads allocate 16 to 256 bytes, the other half free.
pub struct Remote<H: Heap> {
    pairs: Vec<(Queue, Rng)>,
    heap: PhantomData<H>,
}

impl<H: Heap> Work<H> for Remote<H> {
    fn new(config: &Config) -> Self {
        let pairs = (0..config.threads / 2).map(|at| (Queue::new(), Rng::new(at as u64)));
        Self { pairs: pairs.collect(), heap: PhantomData }
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        let share = ops.div_ceil(self.pairs.len() as u64);
        let mut total = Done::default();
        thread::scope(|scope| {
            let mut makers = Vec::new();
            for (queue, rng) in &mut self.pairs {
                let queue = &*queue;
                makers.push(scope.spawn(move || {
                    let mut done = Done::default();
                    queue.send(share, || {
                        let size = rng.between(16, 256);
                        done.count(size as u64);
                        (take::<H>(size), size)
                    });
                    done
                }));
                scope.spawn(move || {
                    queue.receive(share, |block, size| {
                        // SAFETY: the maker gave the block away; it is freed once.
                        unsafe { give::<H, VERIFY>(block, size) };
                    });
                });
            }
            for maker in makers {
                total += maker.join().expect("the allocating thread ended well");
            }
        });
        total
    }

    fn finish(self) {}
}

/// One lane of the scenarios whose threads come and go: the blocks that each thread leaves to the
/// next one.
struct Lane<H: Heap> {
    slots: Slots<H>,
    rng: Rng,
}

fn lanes<H: Heap>(config: &Config, slots: usize, low: usize, high: usize) -> Vec<Lane<H>> {
    let lane = |at| {
        let mut rng = Rng::new(at as u64);
        Lane { slots: Slots::filled(slots, || rng.between(low, high)), rng }
    };
    (0..config.threads).map(lane).collect()
}

/// Runs `life` on every lane, each time in a new thread, until each lane has done its share.
fn generations<H: Heap>(
    lanes: &mut [Lane<H>],
    ops: u64,
    per_life: u64,
    life: impl Fn(&mut Lane<H>, u64) -> Done + Sync,
) -> Done {
    let share = ops.div_ceil(lanes.len() as u64);
    let (life, mut total) = (&life, Done::default());
    thread::scope(|scope| {
        let runners: Vec<_> = lanes
            .iter_mut()
            .map(|lane| {
                scope.spawn(move || {
                    let mut done = Done::default();
                    while done.ops < share {
                        let part = per_life.min(share - done.ops);
                        done += thread::scope(|inner| {
                            let thread = inner.spawn(|| life(lane, part));
                            thread.join().expect("the thread ended well")
                        });
                    }
                    done
                })
            })
            .collect();
        for runner in runners {
            total += runner.join().expect("the lane ended well");
        }
    });
    total
}

/// Each thread replaces 5,000 blocks at random among the 1,000 it found, then ends.
pub struct Larson<H: Heap>(Vec<Lane<H>>);

impl<H: Heap> Work<H> for Larson<H> {
    fn new(config: &Config) -> Self {
        Self(lanes(config, 1000, 8, 1000))
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        generations(&mut self.0, ops, 5000, |lane, count| {
            let mut done = Done::default();
            for _ in 0..count {
                let (at, size) = (lane.rng.below(lane.slots.len()), lane.rng.between(8, 1000));
                lane.slots.replace::<VERIFY>(at, size);
                done.count((at * size) as u64);
            }
            done
        })
    }

    fn finish(self) {
        self.0.into_iter().for_each(|lane| lane.slots.free_all());
    }
}

/// Each thread frees the 1,000 blocks of the one before it, allocates 1,000 and ends.
pub struct Churn<H: Heap>(Vec<Lane<H>>);

impl<H: Heap> Work<H> for Churn<H> {
    fn new(config: &Config) -> Self {
        Self(lanes(config, 1000, 16, 256))
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        generations(&mut self.0, ops, 1000, |lane, count| {
            let mut done = Done::default();
            for at in 0..count as usize {
                lane.slots.clear::<VERIFY>(at);
            }
            for at in 0..count as usize {
                let size = lane.rng.between(16, 256);
                lane.slots.put::<VERIFY>(at, size);
                done.count(size as u64);
            }
            done
        })
    }

    fn finish(self) {
        self.0.into_iter().for_each(|lane| lane.slots.free_all());
    }
}

/// Each thread replaces blocks at random in 400 slots of its own, 16 to 1040 bytes.
pub struct Parallel<H: Heap>(Vec<Lane<H>>);

impl<H: Heap> Work<H> for Parallel<H> {
    fn new(config: &Config) -> Self {
        Self(lanes(config, 400, 16, 1040))
    }

    fn run<const VERIFY: bool>(&mut self, ops: u64) -> Done {
        generations(&mut self.0, ops, u64::MAX, |lane, count| {
            let mut done = Done::default();
            while done.ops < count {
                let (at, size) = (lane.rng.below(400), lane.rng.between(16, 1040));
                lane.slots.replace::<VERIFY>(at, size);
                done.count((at * size) as u64);
            }
            done
        })
    }

    fn finish(self) {
        self.0.into_iter().for_each(|lane| lane.slots.free_all());
    }
}
