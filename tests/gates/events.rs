//! What is remembered event by event: `tiny-free-trace`, `tiny-debug-ring`.

use super::child;
use super::{Blocks, RING, TRACE};
use crate::common::join_all;
use hakmem::{Event, Events, Reading, raw};

fn all(events: Events) -> Vec<Event> {
    let mut all = Vec::new();
    events.each(|event| all.push(event));
    all
}

#[test]
fn the_first_frees_are_traced_in_order() {
    child::run("events::the_first_frees_are_traced_in_order", "", &[], || {
        let blocks = Blocks::malloc(100, 50);
        let mid = Blocks::malloc(5000, 20);
        let wanted: Vec<_> = blocks.0.iter().map(|at| Some(at.addr())).collect();
        mid.free();
        blocks.free();
        // SAFETY: null is ignored.
        unsafe { raw::free(std::ptr::null_mut()) };
        if !TRACE {
            assert_eq!(Events::FreeTrace.count(), Reading::NotCompiledIn("tiny-free-trace"));
            assert_eq!(all(Events::FreeTrace), []);
            return;
        }
        let trace = all(Events::FreeTrace);
        assert_eq!(trace.iter().map(|event| event.address).collect::<Vec<_>>(), wanted);
        assert!(trace.iter().enumerate().all(|(at, event)| event.order == at as u64));
        assert!(trace.is_sorted_by_key(|event| event.stamp));
        let class = trace[0].class;
        assert!(trace.iter().all(|event| event.name == "free" && event.class == class));
        let mut text = String::new();
        Events::FreeTrace.write_text(&mut text).expect("a string takes everything");
        assert_eq!(text.lines().count(), 51);
        assert!(text.lines().nth(1).is_some_and(|line| line.contains("C4 (112 bytes)")), "{text}");
    })
    .is_quiet();
}

#[test]
fn threads_share_one_trace_that_ends() {
    child::run("events::threads_share_one_trace_that_ends", "", &[], || {
        let threads: Vec<_> =
            (0..4).map(|_| std::thread::spawn(|| Blocks::malloc(64, 20).free())).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("the thread"));
        if !TRACE {
            return;
        }
        assert_eq!(Events::FreeTrace.count(), Reading::Value(80));
        let threads: Vec<_> =
            (0..4).map(|_| std::thread::spawn(|| Blocks::malloc(64, 500).free())).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("the thread"));
        assert_eq!(Events::FreeTrace.count(), Reading::Value(128));
    })
    .is_quiet();
}

#[test]
fn the_ring_decodes_to_what_happened() {
    child::run("events::the_ring_decodes_to_what_happened", "", &[], || {
        let blocks = Blocks::malloc(64, 3);
        let at: Vec<_> = blocks.0.iter().map(|at| Some(at.addr())).collect();
        blocks.free();
        Blocks::malloc(5000, 3).free();
        raw::collect();
        if !RING {
            assert_eq!(Events::DebugRing.count(), Reading::NotCompiledIn("tiny-debug-ring"));
            return;
        }
        let ring = all(Events::DebugRing);
        let seen: Vec<_> =
            ring.iter().map(|event| (event.name, event.address, event.blocks)).collect();
        let wanted = [
            ("refill", None, Some(16)),
            ("hit", at[1], None),
            ("hit", at[2], None),
            ("free", at[0], None),
            ("free", at[1], None),
            ("free", at[2], None),
            ("to-slab", None, Some(16)),
        ];
        assert_eq!(seen, wanted);
        assert!(ring.iter().enumerate().all(|(order, event)| event.order == order as u64));
        assert!(ring.iter().all(|event| event.heap == Some(0) && event.class == ring[0].class));
        assert!(ring.is_sorted_by_key(|event| event.stamp));
        let mut text = String::new();
        Events::DebugRing.write_text(&mut text).expect("a string takes everything");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 8);
        assert!(lines[1].contains("heap 0") && lines[1].contains("refill"), "{text}");
        assert!(lines[7].contains("16 blocks") && lines[7].contains("C3 (64 bytes)"), "{text}");
    })
    .is_quiet();
}

#[test]
fn every_heap_has_a_ring_that_is_bounded() {
    child::run("events::every_heap_has_a_ring_that_is_bounded", "", &[], || {
        let meet = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            join_all([(); 3].map(|()| {
                scope.spawn(|| {
                    let first = raw::malloc(64);
                    // All at once, so that each has a heap of its own.
                    meet.wait();
                    for _ in 0..1000 {
                        Blocks::malloc(64, 1).free();
                    }
                    // SAFETY: a block in use.
                    unsafe { raw::free(first) };
                })
            }));
        });
        if !RING {
            return;
        }
        assert_eq!(Events::DebugRing.count(), Reading::Value(3 * 256));
        for heap in 0..3 {
            let of: Vec<_> = all(Events::DebugRing)
                .into_iter()
                .filter(|event| event.heap == Some(heap))
                .collect();
            // One refill, then a thousand pairs and the last free.
            assert_eq!(of.len(), 256);
            assert_eq!(of.last().map(|event| (event.order, event.name)), Some((2001, "free")));
            assert!(of.windows(2).all(|two| two[0].order + 1 == two[1].order));
        }
    })
    .is_quiet();
}

#[test]
fn events_are_json() {
    child::run("events::events_are_json", "", &[], || {
        Blocks::malloc(64, 3).free();
        for events in Events::ALL {
            let mut json = String::new();
            events.write_json(&mut json).expect("a string takes everything");
            match events.count() {
                Reading::NotCompiledIn(_) => assert_eq!(json, "null"),
                Reading::Value(count) => {
                    assert!(json.starts_with('[') && json.ends_with(']'), "{json}");
                    assert_eq!(json.matches("\"event\":").count() as u64, count);
                    assert!(!json.contains(",]") && !json.contains("[,") && !json.contains("}{"));
                }
            }
        }
    })
    .is_quiet();
}
