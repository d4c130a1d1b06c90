//! Blocks that travel between threads, threads that come and go, and what must hold afterwards:
//! the walker finds the heap in order, and memory stays flat.

mod common;

use common::random::Random;
use common::{HARDENED, Stop, alone, child, join_all, rounds, walk};
use hakmem::raw;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

/// A block on its way to another thread, with a pattern in it.
struct Parcel {
    at: *mut u8,
    size: usize,
    stamp: u8,
}

// SAFETY: whoever holds the parcel owns the block.
unsafe impl Send for Parcel {}

impl Parcel {
    fn new(size: usize, stamp: u8) -> Self {
        let at = raw::malloc(size);
        assert!(!at.is_null());
        // SAFETY: a fresh block of `size` bytes.
        unsafe { at.write_bytes(stamp, size) };
        Parcel { at, size, stamp }
    }

    fn check(&self) {
        // SAFETY: the block is ours and was filled.
        let bytes = unsafe { std::slice::from_raw_parts(self.at, self.size) };
        assert!(bytes.iter().all(|&byte| byte == self.stamp), "a parcel was damaged on its way");
    }

    /// Frees in one of the ways that are allowed.
    fn free(self) {
        self.check();
        // SAFETY: ours, from `malloc(size)`, used no more.
        unsafe {
            if self.stamp & 1 == 0 {
                raw::free(self.at)
            } else {
                raw::free_sized(self.at, self.size)
            }
        }
    }
}

fn in_program() -> usize {
    walk().user()
}

#[test]
fn blocks_come_home_after_their_thread_has_ended() {
    let _alone = alone();
    let before = in_program();
    for round in 0..rounds(20) {
        let parcels: Vec<Parcel> = thread::spawn(move || {
            let mut random = Random::new(round as u64);
            (0..2000).map(|n| Parcel::new(random.size(100_000), n as u8)).collect()
        })
        .join()
        .expect("the maker");
        assert!(in_program() > before);
        parcels.into_iter().for_each(Parcel::free);
        assert_eq!(in_program(), before);
    }
}

#[test]
fn a_ring_of_threads_passes_blocks_on() {
    const THREADS: usize = 6;
    // Parcels that a thread may have made beyond those that came to their end with it. They bound
    // what is on its way; the channels needn't, so that no thread ever waits for its neighbour.
    const AHEAD: usize = 64;
    let _alone = alone();
    let before = in_program();
    let each = rounds(5000);
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..THREADS).map(|_| mpsc::channel::<(usize, Parcel)>()).unzip();
    let ended = AtomicUsize::new(0);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (me, receiver) in receivers.into_iter().enumerate() {
            let next = senders[(me + 1) % THREADS].clone();
            let ended = &ended;
            threads.push(scope.spawn(move || {
                let mut random = Random::new(me as u64);
                let (mut made, mut gone) = (0, 0);
                // Each parcel goes half round the ring, so as many end with each thread as it makes.
                // A thread stays until the last one has ended: it may have some to pass on.
                while ended.load(Ordering::Relaxed) < THREADS * each {
                    if made < each && made < gone + AHEAD {
                        let parcel = Parcel::new(random.size(20_000), made as u8);
                        next.send((THREADS / 2, parcel)).expect("the neighbour stays");
                        made += 1;
                    }
                    while let Ok((hops, parcel)) = receiver.try_recv() {
                        if hops > 0 {
                            parcel.check();
                            next.send((hops - 1, parcel)).expect("the neighbour stays");
                        } else {
                            parcel.free();
                            gone += 1;
                            ended.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    thread::yield_now();
                }
                assert_eq!((made, gone), (each, each));
            }));
        }
        drop(senders);
        join_all(threads);
    });
    raw::collect();
    assert_eq!(in_program(), before, "every parcel was freed");
}

#[test]
fn threads_in_turn_share_one_parked_heap() {
    // A worker would take the parked heap out, to look after it.
    child::run("threads_in_turn_share_one_parked_heap", "", child::NO_WORKER, || {
        let run = |stamp: usize| {
            thread::spawn(move || {
                let parcels: Vec<Parcel> = (0..50)
                    .map(|n| Parcel::new(1 + (stamp * 31 + n * 97) % 3000, n as u8))
                    .collect();
                parcels.into_iter().for_each(Parcel::free);
            })
            .join()
            .expect("the thread");
        };
        run(0);
        let (heaps, metadata) = (hakmem::stats().heaps, hakmem::stats().metadata_bytes);
        for stamp in 0..rounds(5000) {
            run(stamp);
        }
        let after = hakmem::stats();
        assert_eq!(after.heaps, heaps, "every thread takes the heap that the last one left");
        assert_eq!(after.metadata_bytes, metadata, "metadata does not grow with threads");
        walk();
    })
    .is_quiet();
}

#[test]
fn a_heap_taken_over_brings_its_cached_blocks_along() {
    // A worker would take the parked heap out, to look after it.
    child::run("a_heap_taken_over_brings_its_cached_blocks_along", "", child::NO_WORKER, || {
        let held = |size: usize| {
            thread::spawn(move || {
                let at = raw::malloc(size);
                // SAFETY: ours.
                unsafe { raw::free(at) };
                at.addr()
            })
            .join()
            .expect("the thread")
        };
        if HARDENED {
            return; // What was freed last waits in the quarantine.
        }
        for size in [16, 100, 1000, 5000, 100_000, 1 << 20] {
            let first = held(size);
            let carved = walk().carved;
            for _ in 0..100 {
                assert_eq!(held(size), first, "the next thread gets the block that is warm");
            }
            assert!(walk().carved <= carved, "blocks were carved for nothing");
        }
    })
    .is_quiet();
}

#[test]
fn many_threads_at_once() {
    let _alone = alone();
    const THREADS: usize = 200;
    let before = in_program();
    for _ in 0..2 {
        let start = Arc::new(Barrier::new(THREADS));
        let threads: Vec<_> = (0..THREADS)
            .map(|seed| {
                let start = Arc::clone(&start);
                thread::spawn(move || {
                    let mut random = Random::new(seed as u64);
                    start.wait();
                    let mut held: Vec<Parcel> = Vec::new();
                    for n in 0..rounds(500) {
                        if held.len() > 50 || (!held.is_empty() && random.below(2) == 0) {
                            held.swap_remove(random.below(held.len())).free();
                        } else {
                            held.push(Parcel::new(random.size(50_000), n as u8));
                        }
                    }
                    start.wait();
                    held.into_iter().for_each(Parcel::free);
                })
            })
            .collect();
        // Joined, not only scoped: a scope ends before its threads have left their heaps.
        threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
        assert_eq!(in_program(), before);
    }
    let stats = hakmem::stats();
    // Two rounds of as many threads: the second lived on the heaps of the first.
    assert!(stats.heaps <= THREADS + 16, "{} heaps", stats.heaps);
    // The worker takes a parked heap out while it looks after it.
    let visited = usize::from(cfg!(feature = "background-worker"));
    assert!(stats.parked_heaps + visited >= THREADS, "{} parked", stats.parked_heaps);
}

#[test]
fn what_consumers_free_comes_back_to_the_producer() {
    // No tick: it would return memory in some rounds, and in others not.
    let settings = [&[("HAKMEM_DECAY_MS", "3600000")], child::NO_WORKER].concat();
    child::run("what_consumers_free_comes_back_to_the_producer", "", &settings, || {
        let mut bytes = Vec::new();
        thread::scope(|scope| {
            let (send, receive) = mpsc::sync_channel::<Vec<Parcel>>(4);
            let (back, done) = mpsc::channel::<()>();
            let consumer = scope.spawn(move || {
                for parcels in receive {
                    parcels.into_iter().for_each(Parcel::free);
                    back.send(()).expect("the producer waits");
                }
            });
            for round in 0..rounds(60) {
                let mut random = Random::new(round as u64);
                // Now the consumer frees while the producer makes more, now only what is all there:
                // then each of these rounds needs as much memory, however the threads are scheduled.
                let batches = if round % 2 == 0 { 4 } else { 1 };
                for _ in 0..batches {
                    let parcel = |n: usize| Parcel::new(random.size(8000), n as u8);
                    send.send((0..4000 / batches).map(parcel).collect())
                        .expect("the consumer waits");
                }
                for _ in 0..batches {
                    done.recv().expect("the consumer");
                }
                // The consumer waits in `recv`, so the heap is quiet.
                assert_eq!(in_program(), 0);
                bytes.push(hakmem::stats().in_use_bytes);
            }
            drop(send);
            consumer.join().expect("the consumer");
        });
        if bytes.len() > 20 {
            let early = *bytes[5..15].iter().max().expect("rounds");
            let late = *bytes[bytes.len() - 10..].iter().max().expect("rounds");
            assert!(
                late <= early + early / 4,
                "memory grows from {early} to {late} although every block was freed: {bytes:?}"
            );
        }
    })
    .is_quiet();
}

#[test]
fn remote_frees_to_a_parked_and_purged_heap_are_returned_by_trim() {
    const BLOCKS: usize = 20_000;
    const SIZE: usize = 2000;
    // A worker may have the maker's heap in its hands just when trim looks for it.
    let test = "remote_frees_to_a_parked_and_purged_heap_are_returned_by_trim";
    child::run(test, "", child::NO_WORKER, || {
        // This thread has a heap of its own, so that it won't take over the maker's.
        let own = Parcel::new(100, 0);
        let parcels: Vec<Parcel> =
            thread::spawn(|| (0..BLOCKS).map(|n| Parcel::new(SIZE, n as u8)).collect())
                .join()
                .expect("the maker");
        // The maker's heap is parked; this purges it while its blocks are still in use.
        raw::collect();
        let full = hakmem::stats().in_use_bytes;
        assert!(full >= BLOCKS * SIZE);
        parcels.into_iter().for_each(Parcel::free);
        raw::collect();
        let after = hakmem::stats();
        assert!(
            after.in_use_bytes + BLOCKS * SIZE * 9 / 10 < full,
            "{} of {full} bytes still in use after every block was freed and collected",
            after.in_use_bytes
        );
        assert!(after.cached_bytes < 1 << 20, "{} bytes still cached", after.cached_bytes);
        own.free();
    })
    .is_quiet();
}

#[test]
fn many_threads_free_into_one_heap_while_it_ends_and_is_taken_over() {
    let _alone = alone();
    let before = in_program();
    let (send, receive) = mpsc::channel::<Parcel>();
    let receive = &std::sync::Mutex::new(receive);
    let stop = &AtomicBool::new(false);
    thread::scope(|scope| {
        let end = Stop(stop);
        let mut threads = Vec::new();
        for _ in 0..3 {
            threads.push(scope.spawn(move || {
                loop {
                    let parcel = receive.lock().expect("no panic").recv();
                    match parcel {
                        Ok(parcel) => parcel.free(),
                        Err(_) => return,
                    }
                }
            }));
        }
        let trimmer = scope.spawn(move || {
            // Purges parked heaps again and again, while remote frees come in.
            while !stop.load(Ordering::Relaxed) {
                raw::trim(0);
                thread::yield_now();
            }
        });
        for round in 0..rounds(200) {
            let send = send.clone();
            scope
                .spawn(move || {
                    let mut random = Random::new(round as u64);
                    for n in 0..300 {
                        let parcel = Parcel::new(random.size(3000), n as u8);
                        send.send(parcel).unwrap_or_else(|_| panic!("receivers wait"));
                    }
                })
                .join()
                .expect("the maker");
        }
        drop(send);
        drop(end);
        trimmer.join().expect("the trimmer");
        join_all(threads);
    });
    raw::collect();
    assert_eq!(in_program(), before);
}

#[test]
fn large_blocks_travel_too() {
    // A worker may have a heap with cached blocks in its hands just when they are collected.
    child::run("large_blocks_travel_too", "", child::NO_WORKER, || {
        let own = Parcel::new(100, 0);
        let in_use = hakmem::stats().in_use_bytes;
        for round in 0..rounds(30) {
            let parcels: Vec<Parcel> = thread::spawn(move || {
                [300_000, 1 << 20, 2 << 20, (2 << 20) + 1, 5 << 20]
                    .into_iter()
                    .map(|size| Parcel::new(size + round, round as u8))
                    .collect()
            })
            .join()
            .expect("the maker");
            parcels.into_iter().for_each(Parcel::free);
        }
        assert_eq!(hakmem::stats().huge_blocks, 0);
        raw::collect();
        let now = hakmem::stats().in_use_bytes;
        assert!(now <= in_use, "large blocks were lost: {in_use} became {now}");
        own.free();
    })
    .is_quiet();
}
