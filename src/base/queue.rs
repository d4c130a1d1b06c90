//! A bounded queue that nobody ever waits for: full, it refuses and counts; empty, it gives nothing.
//!
//! After Dmitry Vyukov's bounded MPMC queue: any thread may put in and take out. A place's `turn` is
//! twice the number of times that it has been emptied, and one more while it is full; so all of it
//! starts as zeroes. A position is a place and a round: position 10 of a queue of 8 is place 2, round 1.
//!
//! | field | written by | ordering |
//! |---|---|---|
//! | `tail` | who puts something in: the exchange gives it a position | Relaxed: the place's turn orders the rest |
//! | `head` | who takes something out: as above | Relaxed: as above |
//! | `turn`, `value` | who has the position, from the exchange until it stores the turn | Release when a place changes hands, Acquire before it is used |
//!
//! Invariants:
//!
//! 1. `head <= tail <= head + N`: a position is given out once to put in, once to take out.
//! 2. Between the exchange and the turn that follows, the place and its value are one thread's alone.
//! 3. A thread that is stopped in between holds up its place only: who comes round to it finds the
//!    queue full, or empty, and goes on without. One that a fork has left behind never goes on, so the
//!    child [`repair`](Queue::repair)s the queue.

use super::Guarded;
use super::sync::{AtomicU64, Ordering, spin_loop};
use core::mem::MaybeUninit;

struct Place<T> {
    /// Acquire and Release: hands the value over, and the place back.
    turn: AtomicU64,
    /// Guarded by the turn.
    value: Guarded<MaybeUninit<T>>,
}

/// A queue of `N` places. What both sides write lies apart.
#[repr(C)]
pub(crate) struct Queue<T, const N: usize> {
    /// Positions given out to put something in.
    /// Relaxed: the exchange gives each thread a position of its own; its turn orders the rest.
    tail: AtomicU64,
    /// Attempts that found no place.
    /// Relaxed: a sum, and nothing is read on its word. Gauge: people read it; nothing is decided on it.
    refused: AtomicU64,
    places: [Place<T>; N],
    /// Positions given out to take something out.
    /// Relaxed: as for `tail`.
    head: AtomicU64,
}

/// How much has gone through a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Counts {
    pub(crate) put: u64,
    pub(crate) taken: u64,
    pub(crate) refused: u64,
}

impl<T: Copy, const N: usize> Queue<T, N> {
    pub(crate) const fn new() -> Self {
        Queue {
            tail: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            places: [const {
                Place { turn: AtomicU64::new(0), value: Guarded::new(MaybeUninit::uninit()) }
            }; N],
            head: AtomicU64::new(0),
        }
    }

    /// The place of a position, and its turn when it is empty for it. `None`: there are no places.
    fn place(&self, position: u64) -> Option<(&Place<T>, u64)> {
        let count = (N as u64).max(1);
        Some((self.places.get((position % count) as usize)?, 2 * (position / count)))
    }

    /// Puts a value in; false if there is no room, which is counted.
    pub(crate) fn push(&self, value: T) -> bool {
        let mut position = self.tail.load(Ordering::Relaxed);
        while let Some((place, empty)) = self.place(position) {
            let turn = place.turn.load(Ordering::Acquire);
            if turn < empty {
                break;
            }
            if turn > empty {
                // Another thread has had it since.
                spin_loop();
                position = self.tail.load(Ordering::Relaxed);
                continue;
            }
            match self.tail.compare_exchange_weak(
                position,
                position + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    // SAFETY: the place is empty for this position, and the position is ours alone.
                    unsafe { place.value.get_mut() }.write(value);
                    place.turn.store(empty + 1, Ordering::Release);
                    return true;
                }
                Err(now) => position = now,
            }
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Takes the value out that has been in longest. `None`: there is none, or it is not there yet.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut position = self.head.load(Ordering::Relaxed);
        loop {
            let (place, empty) = self.place(position)?;
            let turn = place.turn.load(Ordering::Acquire);
            if turn <= empty {
                return None;
            }
            if turn > empty + 1 {
                // Another thread has taken it since.
                spin_loop();
                position = self.head.load(Ordering::Relaxed);
                continue;
            }
            match self.head.compare_exchange_weak(
                position,
                position + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    // SAFETY: the place is full, so a value was written; the position is ours alone.
                    let value = unsafe { place.value.get_mut().assume_init() };
                    place.turn.store(empty + 2, Ordering::Release);
                    return Some(value);
                }
                Err(now) => position = now,
            }
        }
    }

    /// Values that are in, or about to be. A racy look, exact while nobody uses the queue.
    pub(crate) fn len(&self) -> usize {
        let taken = self.head.load(Ordering::Relaxed);
        self.tail.load(Ordering::Relaxed).saturating_sub(taken) as usize
    }

    /// How much has gone through it.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            put: self.tail.load(Ordering::Relaxed),
            taken: self.head.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Calls `visit` with every value that is in.
    ///
    /// # Safety
    /// Nobody uses the queue meanwhile.
    pub(crate) unsafe fn each(&self, mut visit: impl FnMut(T)) {
        let Counts { put, taken, .. } = self.counts();
        for position in taken..put {
            if let Some((place, empty)) = self.place(position)
                && place.turn.load(Ordering::Acquire) == empty + 1
            {
                // SAFETY: the place is full, and nobody else looks at it, as the caller promised.
                visit(unsafe { place.value.get_mut().assume_init() });
            }
        }
    }

    /// Empties the queue and makes every place usable again: those, too, that other threads were
    /// in the middle of when they ceased to be. What is complete goes to `rescue`; what was half put
    /// in, or half taken out, is those threads'.
    ///
    /// # Safety
    /// No other thread exists: the caller is the child of a fork.
    pub(crate) unsafe fn repair(&self, rescue: impl FnMut(T)) {
        // SAFETY: nobody else exists.
        unsafe { self.each(rescue) };
        let tail = self.tail.load(Ordering::Relaxed);
        for position in tail..tail + N as u64 {
            // Written only where it is another one: the page of a queue that was never used stays the
            // parent's.
            if let Some((place, empty)) = self.place(position)
                && place.turn.load(Ordering::Acquire) != empty
            {
                place.turn.store(empty, Ordering::Release);
            }
        }
        if self.head.load(Ordering::Relaxed) != tail {
            self.head.store(tail, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, hakmem_model))]
mod model;

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_full_queue_refuses_and_counts_exactly() {
        let queue = Queue::<u32, 8>::new();
        for round in 0..5u32 {
            for value in 0..11 {
                assert_eq!(queue.push(100 * round + value), value < 8);
            }
            assert_eq!(queue.len(), 8);
            let put = u64::from(round + 1) * 8;
            let refused = u64::from(round + 1) * 3;
            assert_eq!(queue.counts(), Counts { put, taken: put - 8, refused });
            for value in 0..8 {
                assert_eq!(queue.pop(), Some(100 * round + value));
            }
            assert_eq!((queue.pop(), queue.len()), (None, 0));
        }
    }

    #[test]
    fn a_queue_without_places_refuses_everything() {
        let queue = Queue::<u32, 0>::new();
        assert!(!queue.push(1) && queue.pop().is_none());
        assert_eq!(queue.counts(), Counts { put: 0, taken: 0, refused: 1 });
    }

    #[test]
    fn every_value_of_every_thread_is_taken_once_or_refused() {
        let queue = Queue::<u32, 16>::new();
        let (threads, each) = (3u32, if cfg!(miri) { 50 } else { 20_000 });
        let (taken, refused) = std::thread::scope(|scope| {
            let queue = &queue;
            // Each puts in and takes out: what it took, and what was refused.
            let both = [0, 1, 2].map(|thread| {
                scope.spawn(move || {
                    let (mut taken, mut refused) = (Vec::new(), 0u64);
                    for value in 0..each {
                        refused += u64::from(!queue.push(thread * each + value));
                        if value % 3 != 0 {
                            taken.extend(queue.pop());
                        }
                    }
                    (taken, refused)
                })
            });
            let both = both.map(|thread| thread.join().unwrap());
            let mut rest = Vec::new();
            rest.extend(core::iter::from_fn(|| queue.pop()));
            let refused: u64 = both.iter().map(|(_, refused)| refused).sum();
            let taken: Vec<Vec<u32>> =
                both.into_iter().map(|(taken, _)| taken).chain([rest]).collect();
            (taken, refused)
        });
        for one in &taken {
            // What one thread takes of another's comes in the order in which that put it in.
            let mut last = [None; 3];
            for &value in one {
                let last = &mut last[(value / each) as usize];
                assert!(last.is_none_or(|before| before < value));
                *last = Some(value);
            }
        }
        let mut all: Vec<u32> = taken.into_iter().flatten().collect();
        let count = all.len() as u64;
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len() as u64, count, "a value was taken twice");
        assert_eq!(count + refused, u64::from(threads * each), "a value was lost");
        assert_eq!(queue.counts(), Counts { put: count, taken: count, refused });
    }

    /// A fork leaves a thread behind that had a position, but had not stored the turn.
    #[test]
    fn a_child_repairs_what_others_were_in_the_middle_of() {
        for used in [0u64, 3, 9] {
            let queue = Queue::<u32, 4>::new();
            for value in 0..used {
                assert!(queue.push(value as u32));
                assert_eq!(queue.pop(), Some(value as u32));
            }
            (10..13).for_each(|value| assert!(queue.push(value)));
            // One is half-way out, and one half-way in.
            queue.head.fetch_add(1, Ordering::Relaxed);
            queue.tail.fetch_add(1, Ordering::Relaxed);
            assert!(!queue.push(99), "the place of the one that is half-way out");
            let mut rescued = Vec::new();
            // SAFETY: the queue is this thread's.
            unsafe { queue.repair(|value| rescued.push(value)) };
            assert_eq!(rescued, [11, 12]);
            assert_eq!((queue.len(), queue.pop()), (0, None));
            for value in 20..26 {
                assert_eq!(queue.push(value), value < 24);
            }
            // SAFETY: as above.
            unsafe { queue.each(|value| rescued.push(value)) };
            assert_eq!(rescued, [11, 12, 20, 21, 22, 23]);
            assert!((20..24).all(|value| queue.pop() == Some(value)));
        }
    }
}
