//! The threads of a soak, and the blocks that go round among them.
//!
//! A place is a model of live blocks that one thread after another works on: each lives for some
//! thousand calls, and its successor frees what it left. Blocks also change hands between threads that
//! live, one by one. One more place belongs to a thread that forks.
//!
//! A model knows the bytes of each of its blocks and ends the process at the first that is lost.

use crate::fork::{fork, wait};
use crate::model::{Call, Model, Parcel};
use crate::quiet::Quiet;
use crate::random::Random;
use hakmem::raw;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What the blocks of all places add up to, about: a heap that caches do not hide.
const LIVE: usize = 96 << 20;
/// What a place holds at least, so that it has room for several of the largest blocks.
const LEAST: usize = 6 << 20;
/// Calls between two looks at what others want.
const BATCH: usize = 64;
/// Batches of a thread's life, at most.
const LIFE: usize = 200;
/// Parcels that may wait for a place.
const MOST_MAIL: usize = 32;
/// Calls of a child.
const CHILD: usize = 200;

/// What is done wrong on purpose.
#[derive(Clone, Copy, PartialEq)]
pub enum Planted {
    Nothing,
    /// A byte of a live block is overwritten.
    Content,
    /// A block is never freed.
    Leak,
    /// A block is freed twice.
    DoubleFree,
}

/// What has been done so far. Each is a sum alone, Relaxed.
#[derive(Default)]
pub struct Counts {
    pub operations: AtomicU64,
    pub handed_over: AtomicU64,
    pub threads: AtomicU64,
    pub forks: AtomicU64,
}

/// A place of one thread after another.
struct Place {
    /// Blocks from other places.
    mail: Mutex<Vec<Parcel>>,
    /// Bytes of its blocks, those in the mail left out. Relaxed: a figure alone, exact in quiet.
    live: AtomicUsize,
}

/// A soak under way.
pub struct Soak {
    pub quiet: Quiet,
    pub counts: Counts,
    /// Relaxed: a late look works a little longer.
    pub stop: AtomicBool,
    places: Vec<Place>,
    /// Bytes in the mail of all places. Relaxed: as `Place::live`.
    mailed: AtomicUsize,
    budget: usize,
    seed: u64,
    planted: Planted,
    /// Whether forks follow each other without a pause.
    many_forks: bool,
}

impl Soak {
    /// A soak of so many threads beside the one that forks.
    pub fn new(threads: usize, seed: u64, many_forks: bool, planted: Planted) -> Self {
        let place = || Place { mail: Mutex::new(Vec::new()), live: AtomicUsize::new(0) };
        Soak {
            quiet: Quiet::new(),
            counts: Counts::default(),
            stop: AtomicBool::new(false),
            places: (0..=threads).map(|_| place()).collect(),
            mailed: AtomicUsize::new(0),
            budget: (LIVE / (threads + 1)).max(LEAST),
            seed,
            planted,
            many_forks,
        }
    }

    /// Bytes of all live blocks; exact in quiet.
    pub fn live(&self) -> usize {
        let places = self.places.iter().map(|place| place.live.load(Ordering::Relaxed));
        places.sum::<usize>() + self.mailed.load(Ordering::Relaxed)
    }

    /// Runs all threads until `watch`, on this one, comes back. Gives what is left.
    pub fn run(&self, watch: impl FnOnce()) -> Vec<Model> {
        thread::scope(|scope| {
            let forking = self.places.len() - 1;
            let places: Vec<_> = (0..forking)
                .map(|number| scope.spawn(move || self.threads_in_turn(number)))
                .chain([scope.spawn(move || self.forks(forking))])
                .collect();
            watch();
            self.stop.store(true, Ordering::Relaxed);
            let ended = places.into_iter().map(thread::ScopedJoinHandle::join);
            let mut left: Vec<Model> = ended.map(|place| place.expect("a place")).collect();
            if let Some(first) = left.first_mut() {
                for number in 0..self.places.len() {
                    self.open_mail(number, first);
                }
            }
            left
        })
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A place's own sequence of numbers.
    fn random(&self, number: usize) -> Random {
        Random::new(self.seed ^ (number as u64 + 1).wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    /// One thread after another on one place.
    fn threads_in_turn(&self, number: usize) -> Model {
        let mut random = self.random(number);
        let mut model = Model::new();
        loop {
            let life = Random::new(random.next());
            // In the thread's place, from before its first call to after its end.
            self.quiet.enter();
            model = thread::scope(|scope| {
                let thread = scope.spawn(|| self.live_through(number, model, life));
                thread.join().expect("a thread")
            });
            self.quiet.leave();
            self.counts.threads.fetch_add(1, Ordering::Relaxed);
            if self.stopped() {
                return model;
            }
        }
    }

    /// A thread's whole life. It has entered, and does not leave for good.
    fn live_through(&self, number: usize, mut model: Model, mut random: Random) -> Model {
        for batch in 0..=random.below(LIFE) {
            self.batch(number, &mut model, &mut random);
            if self.planted == Planted::Content && batch == 0 {
                spoil(&mut model);
            }
            if self.stopped() {
                break;
            }
            self.quiet.pass(settle);
        }
        model
    }

    /// Some calls, some blocks given to other places, and those that have come from there.
    fn batch(&self, number: usize, model: &mut Model, random: &mut Random) {
        calls(model, random, self.budget, BATCH);
        self.counts.operations.fetch_add(BATCH as u64, Ordering::Relaxed);
        for _ in 0..random.below(8) {
            let (to, index) = (random.below(self.places.len()), random.below(usize::MAX >> 1));
            self.post(to, index, model);
        }
        self.open_mail(number, model);
        if let Some(place) = self.places.get(number) {
            place.live.store(model.live_bytes(), Ordering::Relaxed);
        }
    }

    /// Gives a block to a place, unless its mail is full.
    fn post(&self, to: usize, index: usize, model: &mut Model) {
        let Some(place) = self.places.get(to) else { return };
        let mut mail = place.mail.lock().unwrap_or_else(PoisonError::into_inner);
        if mail.len() < MOST_MAIL
            && let Some(parcel) = model.give(index)
        {
            self.mailed.fetch_add(parcel.bytes(), Ordering::Relaxed);
            mail.push(parcel);
        }
    }

    /// Takes in what has come to a place.
    fn open_mail(&self, number: usize, model: &mut Model) {
        let Some(place) = self.places.get(number) else { return };
        let mut mail = place.mail.lock().unwrap_or_else(PoisonError::into_inner);
        for parcel in mail.drain(..) {
            self.mailed.fetch_sub(parcel.bytes(), Ordering::Relaxed);
            self.counts.handed_over.fetch_add(1, Ordering::Relaxed);
            model.accept(parcel);
        }
    }

    /// Forks while the others work. Each child checks its copy of this thread's blocks, works on it and
    /// frees it.
    fn forks(&self, number: usize) -> Model {
        let mut random = self.random(number);
        let mut model = Model::new();
        self.quiet.enter();
        loop {
            self.batch(number, &mut model, &mut random);
            let child = fork(|| {
                model.check_all();
                calls(&mut model, &mut random, self.budget, CHILD);
                model.clear();
                0
            });
            let code = wait(child);
            assert_eq!(code, 0, "a child (negative: the signal that ended it)");
            self.counts.forks.fetch_add(1, Ordering::Relaxed);
            if self.stopped() {
                self.quiet.leave();
                return model;
            }
            self.quiet.pass(settle);
            if !self.many_forks {
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Gives back what the calling thread keeps for itself, so that what is resident then is in use.
fn settle() {
    raw::collect();
}

/// Calls of every kind, on blocks of about `budget` bytes in all.
fn calls(model: &mut Model, random: &mut Random, budget: usize, count: usize) {
    for _ in 0..count {
        match model.call_within(random, budget) {
            // It empties every cache, which else never fill.
            Call::Collect if random.below(64) != 0 => {}
            call => model.apply(call),
        }
    }
}

/// Overwrites a byte of a live block.
fn spoil(model: &mut Model) {
    model.apply(Call::Malloc(100));
    if let Some(&address) = model.addresses().last() {
        let at = std::ptr::with_exposed_provenance_mut::<u8>(address);
        // SAFETY: the model's newest block, of 100 bytes.
        unsafe { at.write(!at.read()) };
    }
}
