//! Calls of the operating system: `superslab-os-stats`.

use super::child;
use super::{Blocks, SYSTEM};
use crate::common;
use hakmem::{OsCalls, Reading, raw, stats};

const PIECE: usize = 300 << 10;
const PAGE: usize = 4096;

/// map, unmap, remap, protect, discard, huge-page advice.
fn calls() -> [OsCalls; 6] {
    stats().os_calls.value().expect("compiled in")
}

fn since(before: [OsCalls; 6]) -> [OsCalls; 6] {
    let now = calls();
    std::array::from_fn(|kind| OsCalls {
        calls: now[kind].calls - before[kind].calls,
        bytes: now[kind].bytes - before[kind].bytes,
        refused: now[kind].refused - before[kind].refused,
    })
}

fn exactly(calls: u64, bytes: usize) -> OsCalls {
    OsCalls { calls, bytes: bytes as u64, refused: 0 }
}

#[test]
fn mappings_of_their_own_are_one_call_each_way() {
    let settings = [("HAKMEM_BIGCACHE", "off"), ("HAKMEM_LARGE_THRESHOLD", "256k")];
    child::run("system::mappings_of_their_own_are_one_call_each_way", "", &settings, || {
        // The first ones set the heap and its tables up.
        Blocks::malloc(PIECE, 20).free();
        if !SYSTEM {
            assert_eq!(stats().os_calls, Reading::NotCompiledIn("superslab-os-stats"));
            return;
        }
        let before = calls();
        let blocks = Blocks::malloc(PIECE, 20);
        let [map, unmap, ..] = since(before);
        assert_eq!((map, unmap), (exactly(20, 20 * PIECE), exactly(0, 0)));
        // Growing is one call that succeeds, perhaps after one that could not be met in place; its
        // bytes are those of the new size, an eighth of it to spare.
        let mut blocks = blocks;
        // SAFETY: a block in use.
        blocks.0[7] = unsafe { raw::realloc(blocks.0[7], 2 * PIECE) };
        let bytes = (2 * PIECE + 2 * PIECE / 8).next_multiple_of(PAGE);
        let grown = since(before);
        assert_eq!((grown[2].calls, grown[2].bytes), (1, bytes as u64));
        assert!(grown[2].refused <= 1, "{grown:?}");
        blocks.free();
        let freed = since(before);
        assert_eq!(freed[1].calls - grown[1].calls, 20);
        assert_eq!(freed[1].bytes - grown[1].bytes, (19 * PIECE + bytes) as u64);
        assert_eq!((freed[0], freed[2]), (grown[0], grown[2]));
        assert_eq!((freed[3], freed[4]), (exactly(0, 0), exactly(0, 0)));
    })
    .is_quiet();
}

#[test]
fn what_is_mapped_is_what_was_taken_less_what_was_given_back() {
    child::run(
        "system::what_is_mapped_is_what_was_taken_less_what_was_given_back",
        "",
        // A worker would give back between the two looks.
        common::child::NO_WORKER,
        || {
            if !SYSTEM {
                return;
            }
            let balanced = || {
                raw::collect();
                let [map, unmap, ..] = calls();
                assert_eq!(stats().mapped_bytes as u64, map.bytes - unmap.bytes);
            };
            let work = || {
                for round in 0..20 {
                    for size in [100, 70_000, 500_000, 3 << 20, 9 << 20] {
                        Blocks::malloc(size + round * 1000, 5).free();
                    }
                }
                raw::collect();
            };
            work();
            balanced();
            let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(work)).collect();
            threads.into_iter().for_each(|thread| thread.join().expect("the thread"));
            balanced();
        },
    )
    .is_quiet();
}

#[test]
fn pages_are_made_usable_in_steps_and_given_back() {
    const STEP: usize = 16 << 20;
    child::run("system::pages_are_made_usable_in_steps_and_given_back", "", &[], || {
        let blocks = Blocks::malloc(1 << 20, 20);
        if !SYSTEM {
            return;
        }
        assert_eq!(calls()[3], exactly(2, 2 * STEP));
        blocks.free();
        let before = calls();
        let returned = raw::collect();
        let [_, unmap, _, _, discard, _] = since(before);
        assert_eq!(discard.bytes + unmap.bytes, returned as u64);
        assert!(discard.bytes >= 20 << 20 && discard.calls <= 4, "{discard:?}");
    })
    .is_quiet();
}

#[test]
fn refusals_are_told_apart() {
    if common::SANITIZED {
        return;
    }
    child::run("system::refusals_are_told_apart", "", &[], || {
        free(raw::malloc(64));
        if !SYSTEM {
            return;
        }
        let before = calls();
        // More than the machine has addresses for.
        assert!(raw::malloc(1 << 47).is_null());
        // Once, and once more after giving back what could be given back.
        assert_eq!(since(before)[0], OsCalls { calls: 0, bytes: 0, refused: 2 });
    })
    .is_quiet();
}

fn free(at: *mut u8) {
    // SAFETY: a block in use that nobody else has.
    unsafe { raw::free(at) }
}
