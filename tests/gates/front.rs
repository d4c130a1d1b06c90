//! Which layer served a request: `front-metrics`.

use super::child;
use super::{Blocks, FRONT, LEGACY_REFILL};
use hakmem::{Reading, Served, raw, stats};

fn served() -> Served {
    stats().served.value().expect("compiled in")
}

/// Runs `act`; all requests in it must have been served as `wanted` says.
#[track_caller]
fn serves<R>(wanted: Served, act: impl FnOnce() -> R) -> R {
    let before = served();
    let result = act();
    let after = served();
    let difference = Served {
        front_layers: after.front_layers - before.front_layers,
        unified_cache: after.unified_cache - before.unified_cache,
        local_bitmap: after.local_bitmap - before.local_bitmap,
        remote_drain: after.remote_drain - before.remote_drain,
        bump: after.bump - before.bump,
        new_slab: after.new_slab - before.new_slab,
        large_slots: after.large_slots - before.large_slots,
        big_cache: after.big_cache - before.big_cache,
        arena: after.arena - before.arena,
        mapping: after.mapping - before.mapping,
    };
    assert_eq!(difference, wanted);
    result
}

fn free(at: *mut u8) {
    // SAFETY: a block in use that nobody else has.
    unsafe { raw::free(at) }
}

#[test]
fn each_request_counts_for_the_layer_that_served_it() {
    let keep = [("HAKMEM_FREE_POLICY", "keep"), ("HAKMEM_LARGE_THRESHOLD", "2m")];
    child::run("front::each_request_counts_for_the_layer_that_served_it", "", &keep, || {
        if !FRONT {
            assert_eq!(stats().served, Reading::NotCompiledIn("front-metrics"));
            return;
        }
        let none = Served::default();
        // The first refill brings 16 blocks from a new slab, the second one carves more.
        let kept = serves(Served { new_slab: 1, ..none }, || raw::malloc(64));
        let brought = if LEGACY_REFILL {
            Served { bump: 15, ..none }
        } else {
            Served { unified_cache: 15, ..none }
        };
        let more = serves(brought, || Blocks::malloc(64, 15));
        let last = serves(Served { bump: 1, ..none }, || raw::malloc(64));
        more.free();
        free(last);
        raw::collect();
        // One block keeps the slab: the next one comes from its bitmap.
        serves(Served { local_bitmap: 1, ..none }, || free(raw::malloc(64)));
        serves(Served { unified_cache: 1000, ..none }, || {
            (0..1000).for_each(|_| free(raw::malloc(64)));
        });
        free(kept);

        // Four blocks are all of a slab of this size, and a refill carves one.
        let wanted = Served { new_slab: 1, bump: 3, ..none };
        let blocks = serves(wanted, || Blocks::malloc(256 << 10, 4));
        blocks.free_elsewhere();
        let back = serves(Served { remote_drain: 1, ..none }, || raw::malloc(256 << 10));
        free(back);

        // A run of the arena, and again from the thread's slots.
        let run = serves(Served { arena: 1, ..none }, || raw::malloc(1 << 20));
        free(run);
        serves(Served { large_slots: 1, ..none }, || free(raw::malloc(1 << 20)));
        // A mapping of its own, and again; one that is too large for the slots.
        let small = serves(Served { mapping: 1, ..none }, || raw::malloc(3 << 20));
        free(small);
        serves(Served { large_slots: 1, ..none }, || free(raw::malloc(3 << 20)));
        let large = serves(Served { mapping: 1, ..none }, || raw::malloc(10 << 20));
        free(large);
        serves(Served { big_cache: 1, ..none }, || free(raw::malloc(10 << 20)));
        // What fails is served by nobody.
        serves(none, || assert!(raw::malloc(usize::MAX / 4).is_null()));
    })
    .is_quiet();
}

#[test]
fn threads_add_up() {
    child::run("front::threads_add_up", "", &[], || {
        let work = || {
            for round in 0..300 {
                let sizes = [8, 100, 1000, 3000, 100_000, 300_000, 1 << 20, 3 << 20];
                let blocks: Vec<_> = sizes.map(|size| raw::malloc(size + round)).to_vec();
                Blocks(blocks).free();
            }
        };
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(work)).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("the thread"));
        if FRONT {
            assert_eq!(served().total(), 4 * 300 * 8, "{:?}", served());
            assert!(served().unified_cache > 4 * 300 * 3);
            assert_eq!(served().front_layers, 0, "they are closed");
        }
    })
    .is_quiet();
}
