//! A bounded queue of events that nobody ever waits for: full, it drops and counts.
//!
//! After Dmitry Vyukov's bounded MPMC queue, with one consumer. A place's `turn` is twice the number
//! of times that it has been emptied, and one more while it is full; so all of it starts as zeroes.
//!
//! | field | written by | ordering |
//! |---|---|---|
//! | `turn` | who has the place | Release when a place changes hands, Acquire before it is used |
//! | `tail` | producers, one place each | Relaxed: the place's turn orders its contents |
//!
//! Invariant: `tail - head` is at most the number of places, `head` being the consumer's.

use crate::base::sync::{AtomicU32, AtomicU64, Ordering};

struct Place {
    /// Acquire and Release: hands the event over, and the place back.
    turn: AtomicU64,
    /// Relaxed: `turn` orders it.
    event: AtomicU32,
}

/// A queue of `N` places.
pub(super) struct Queue<const N: usize> {
    places: [Place; N],
    /// Places taken by producers so far.
    /// Relaxed: the exchange gives each producer a place of its own; its turn orders the rest.
    tail: AtomicU64,
    /// Events that found no place.
    /// Relaxed: a sum, and nothing is read on its word. Gauge: people read it; nothing is decided on it.
    dropped: AtomicU64,
}

impl<const N: usize> Queue<N> {
    pub(super) const fn new() -> Self {
        Queue {
            places: [const { Place { turn: AtomicU64::new(0), event: AtomicU32::new(0) } }; N],
            tail: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    fn place(&self, position: u64) -> Option<(&Place, u64)> {
        let count = (N as u64).max(1);
        Some((self.places.get((position % count) as usize)?, 2 * (position / count)))
    }

    /// Puts an event in; false: there is no room, it is counted as dropped.
    pub(super) fn push(&self, event: u32) -> bool {
        let mut position = self.tail.load(Ordering::Relaxed);
        while let Some((place, empty)) = self.place(position) {
            let turn = place.turn.load(Ordering::Acquire);
            if turn < empty {
                break;
            }
            if turn > empty {
                // Another producer has had it since.
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
                    place.event.store(event, Ordering::Relaxed);
                    place.turn.store(empty + 1, Ordering::Release);
                    return true;
                }
                Err(now) => position = now,
            }
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Takes the event at `head` out; the one consumer then goes on with `head + 1`.
    pub(super) fn pop(&self, head: u64) -> Option<u32> {
        let (place, empty) = self.place(head)?;
        if place.turn.load(Ordering::Acquire) != empty + 1 {
            return None;
        }
        let event = place.event.load(Ordering::Relaxed);
        place.turn.store(empty + 2, Ordering::Release);
        Some(event)
    }

    /// Events that got a place so far, and those that did not.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.tail.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts_exactly() {
        let queue = Queue::<8>::new();
        let mut head = 0;
        for round in 0..5u32 {
            for event in 0..11 {
                assert_eq!(queue.push(100 * round + event), event < 8);
            }
            assert_eq!(queue.counts(), (u64::from(round + 1) * 8, u64::from(round + 1) * 3));
            for event in 0..8 {
                assert_eq!(queue.pop(head), Some(100 * round + event));
                head += 1;
            }
            assert_eq!(queue.pop(head), None);
        }
    }

    #[test]
    fn every_event_of_every_thread_is_taken_once_or_counted() {
        let queue = Queue::<16>::new();
        let (threads, each) = (4u32, if cfg!(miri) { 50 } else { 20_000 });
        let mut seen = std::vec![0u32; (threads * each) as usize];
        let mut last = [None; 4];
        let mut take = |head: &mut u64| {
            while let Some(event) = queue.pop(*head) {
                *head += 1;
                seen[event as usize] += 1;
                // What one thread puts in comes out in its order.
                let of = &mut last[(event / each) as usize];
                assert!(of.is_none_or(|before| before < event));
                *of = Some(event);
            }
        };
        let mut head = 0;
        std::thread::scope(|scope| {
            let producers = [0, 1, 2, 3].map(|thread| {
                let queue = &queue;
                scope.spawn(move || {
                    (0..each).filter(|event| queue.push(thread * each + event)).count() as u64
                })
            });
            while !producers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                take(&mut head);
                std::thread::yield_now();
            }
            // Joined first: that a thread is finished does not say that what it did is seen.
            let put: u64 = producers.into_iter().map(|thread| thread.join().unwrap()).sum();
            take(&mut head);
            assert_eq!((head, put + queue.counts().1), (put, u64::from(threads * each)));
        });
        assert!(seen.iter().all(|&times| times <= 1));
        assert_eq!(seen.iter().map(|&times| u64::from(times)).sum::<u64>(), head);
    }
}
