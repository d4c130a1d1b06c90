//! The front-end layers: each serves the classes that it covers, before those behind it, and counts
//! what it serves; closed, it serves nothing.

use super::child::{self, layered};
use super::{Blocks, C7_FREES, FREE_CALLS, FRONT, POOL};
use crate::common::walk;
use hakmem::{LAYERS, LayerCount, Reading, raw, stats};

/// What the layers cover, as the specification has it.
const COVERED: &[(&str, &[usize])] = &[
    ("ultra-hot", &[2, 3, 4, 5]),
    ("front-c23", &[2, 3]),
    ("class5-hot-path", &[5]),
    ("quick-slots", &[0, 1, 2, 3, 4, 5]),
    ("ultra-front", &[0, 1, 2, 3, 4, 5, 6, 7]),
    ("hot-mag", &[0, 1, 2, 3, 4, 5, 6, 7]),
    ("mini-mag", &[0, 1, 2, 3, 4, 5, 6, 7]),
    ("fast-cache", &[0, 1, 2, 3]),
    ("ring-cache", &[2, 3, 5]),
    ("heap-v2", &[0, 1, 2, 3]),
    ("sfc", &[0, 1, 2, 3, 4, 5, 6, 7]),
    ("hot-pop", &[0, 1, 2, 3]),
    ("pool-hotbox-v2", &[8]),
    ("tls-sll", &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
    ("background-spill", &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
    ("background-bin", &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
];

/// A size of each class group.
const SIZES: [usize; 8] = [8, 16, 32, 64, 128, 256, 512, 1024];

fn free(at: *mut u8) {
    // SAFETY: a block in use that nobody else has.
    unsafe { raw::free(at) }
}

fn layers() -> [LayerCount; LAYERS] {
    stats().layers
}

/// What each layer has served; 0 where nobody counts.
fn served() -> [u64; LAYERS] {
    layers().map(|layer| layer.served.value().unwrap_or(0))
}

/// The first layer of this build that covers a group; those behind the magazine never come first.
fn first_of(group: usize) -> Option<usize> {
    layers().iter().position(|layer| layer.compiled_in && !layer.behind && layer.covers[group])
}

/// The same for the mid tier, once the pool is open.
const MID: usize = 8;

/// The setting that opens the pool of the mid tier, in a build that has it.
const POOL_OPEN: &[(&str, &str)] = if POOL { &[("HAKMEM_POOL_HOTBOX", "on")] } else { &[] };

#[test]
fn layers_are_told_in_order_with_what_they_cover() {
    assert_eq!(COVERED.len(), LAYERS);
    for (layer, &(name, groups)) in layers().iter().zip(COVERED) {
        assert_eq!(layer.name, name);
        for group in 0..=8 {
            assert_eq!(layer.covers[group], groups.contains(&group), "{name} C{group}");
        }
        let figure = stats().get(&format!("layers.{name}.served"));
        assert_eq!(figure, Some(if FRONT { layer.served } else { missing("front-metrics") }));
        match layer.served {
            Reading::Value(_) => assert!(FRONT && layer.compiled_in),
            off if layer.compiled_in => assert_eq!(off, missing("front-metrics")),
            off => assert_eq!(off, missing(name)),
        }
    }
}

fn missing(gate: &'static str) -> Reading<u64> {
    Reading::NotCompiledIn(gate)
}

#[test]
fn the_first_layer_of_a_class_serves_it() {
    child::run_with_layers("layers::the_first_layer_of_a_class_serves_it", "", POOL_OPEN, || {
        if !FRONT {
            return;
        }
        for (group, size) in SIZES.into_iter().chain([5000]).enumerate() {
            // Opens the class's layers: a refill, and a free.
            free(raw::malloc(size));
            let before = served();
            for _ in 0..1000 {
                free(raw::malloc(size));
            }
            let mut wanted = before;
            if let Some(first) = first_of(group) {
                wanted[first] += 1000;
            }
            assert_eq!(served(), wanted, "{size} bytes");
        }
        // The rest of the mid tier has no layer in front.
        let before = served();
        (0..100).for_each(|_| free(raw::malloc(40_000)));
        assert_eq!((served(), first_of(MID).is_some()), (before, POOL));
        let total = stats().served.value().expect("compiled in");
        assert_eq!(total.front_layers, served().iter().sum::<u64>());
        assert_eq!(total.total(), 9 * 1001 + 100);
    })
    .is_quiet();
}

#[test]
fn closed_layers_serve_nothing_and_hold_nothing() {
    let work = || (0..300).for_each(|n| Blocks::malloc(8 << (n % 8), n % 40).free());
    let opened = if layered() { "on" } else { "off" };
    child::run("layers::closed_layers_serve_nothing_and_hold_nothing", opened, &[], || {
        work();
        assert_eq!(served(), [0; LAYERS]);
        if !layered() {
            return;
        }
        // A heap obeys on its slow paths: at once when it is asked to give back what it caches.
        hakmem::set_config("FRONT_LAYERS", "on").expect("a setting");
        raw::collect();
        work();
        let in_front = (0..8).any(|group| first_of(group).is_some());
        assert!(!(FRONT && in_front) || served().iter().sum::<u64>() > 100, "{:?}", served());
        hakmem::set_config("FRONT_LAYERS", "off").expect("a setting");
        raw::collect();
        assert_eq!((walk().cached, walk().user()), (0, 0));
        let before = served();
        work();
        assert_eq!(served(), before);
    })
    .is_quiet();
}

#[test]
fn a_picture_shows_the_layers_of_this_build() {
    let mut text = String::new();
    hakmem::print_config(&mut text).expect("a string takes everything");
    let picture = &text[text.find("front end").expect("the picture's head")..];
    let names: Vec<&str> = picture.lines().skip(1).map(|line| line[4..22].trim()).collect();
    let all = layers();
    let mut wanted = Vec::new();
    for (behind, next) in [(false, "unified cache"), (true, "slabs")] {
        let here = all.iter().filter(|layer| layer.compiled_in && layer.behind == behind);
        wanted.extend(here.map(|layer| layer.name));
        wanted.push(next);
    }
    assert_eq!(names, wanted, "{text}");
    for layer in all.iter().filter(|layer| layer.compiled_in) {
        let row = picture.lines().find(|line| line.contains(layer.name)).expect("its row");
        let marks: Vec<&str> = row[22..].split_whitespace().collect();
        assert_eq!(layer.covers.map(|covers| if covers { "#" } else { "." }), marks[..9], "{row}");
        // Nothing asks for the pool here.
        let closed = layer.name == "pool-hotbox-v2";
        assert_eq!(marks.get(9), closed.then_some(&"(closed)"), "{row}");
    }
}

#[test]
fn layers_that_are_not_compiled_in_cannot_be_closed() {
    let closed = hakmem::set_config("FRONT_LAYERS", "maybe");
    assert_eq!(closed, Err(hakmem::ConfigError::BadValue));
    if !layered() {
        let closed = hakmem::set_config("FRONT_LAYERS", "off");
        assert_eq!(closed, Err(hakmem::ConfigError::NotCompiledIn));
    }
}

#[test]
fn frees_that_a_layer_takes_are_frees() {
    child::run_with_layers("layers::frees_that_a_layer_takes_are_frees", "", &[], || {
        let freed = || stats().tiny_free_calls.value().unwrap_or(0);
        let before = (freed(), stats().c7_frees.value().unwrap_or(0));
        for size in SIZES {
            Blocks::malloc(size, 50).free();
        }
        let after = (freed(), stats().c7_frees.value().unwrap_or(0));
        assert_eq!(after.0 - before.0, if FREE_CALLS { 8 * 50 } else { 0 });
        assert_eq!(after.1 - before.1, if C7_FREES { 50 } else { 0 });
    })
    .is_quiet();
}

#[test]
fn blocks_in_layers_are_cached_and_go_home() {
    child::run_with_layers("layers::blocks_in_layers_are_cached_and_go_home", "", &[], || {
        for size in SIZES {
            Blocks::malloc(size, 50).free();
        }
        let full = walk();
        assert_eq!(full.user(), 0);
        assert!(full.cached >= 8 * 16, "{full:?}");
        raw::collect();
        assert_eq!(walk().cached, 0, "{:?}", walk());
        // Those of a thread that has ended are in its parked heap, and go home from there.
        let there = || SIZES.iter().for_each(|&size| Blocks::malloc(size, 50).free());
        std::thread::spawn(there).join().expect("the thread");
        assert_eq!(walk().user(), 0);
        raw::collect();
        assert_eq!(walk().cached, 0, "{:?}", walk());
    })
    .is_quiet();
}

/// Whether this build has the list behind the magazine.
const TLS_SLL: bool = cfg!(feature = "tls-sll");

#[test]
fn what_overflows_comes_back_from_behind_the_magazine() {
    child::run_with_layers(
        "layers::what_overflows_comes_back_from_behind_the_magazine",
        "",
        &[],
        || {
            let list = layers().iter().position(|layer| layer.name == "tls-sll").expect("listed");
            for size in [8, 64, 1024, 5000, 200_000] {
                // More than magazines and layers in front take.
                let count = ((1 << 20) / size).clamp(40, 20_000);
                let before = served()[list];
                for round in 0..3 {
                    let blocks = Blocks::malloc(size, count);
                    let words = || blocks.0.iter().map(|at| at.cast::<usize>()).enumerate();
                    // SAFETY: blocks of eight bytes or more, in use.
                    words().for_each(|(n, word)| unsafe { *word = n });
                    // SAFETY: as above.
                    assert!(words().all(|(n, word)| unsafe { *word } == n), "a block twice");
                    blocks.free();
                    assert_eq!(walk().user(), 0, "{size} bytes, round {round}");
                }
                let came_back = served()[list] > before;
                assert_eq!(came_back, TLS_SLL && FRONT, "{size} bytes: {:?}", served());
            }
            raw::collect();
            assert_eq!(walk().cached, 0);
        },
    )
    .is_quiet();
}

#[test]
fn a_write_to_a_block_in_the_list_is_noticed() {
    let test = "layers::a_write_to_a_block_in_the_list_is_noticed";
    let ended = child::run_with_layers(test, "", &[], || {
        let blocks = Blocks::malloc(64, 20_000);
        // Every other block stays in use, so that no slab goes.
        let freed = || blocks.0.iter().copied().step_by(2);
        freed().for_each(free);
        for at in freed() {
            // SAFETY: none, it is no longer ours: that is what the test is about. It is mapped.
            unsafe { *at.cast::<usize>() ^= usize::MAX };
        }
        raw::collect();
    });
    if child::is_child() {
        return;
    }
    if !TLS_SLL {
        // Nothing else reads a free block.
        return ended.is_quiet();
    }
    assert_eq!(ended.signal, Some(libc::SIGABRT), "{ended:#?}");
    let lines = ended.lines();
    assert_eq!(lines.len(), 1, "{ended:#?}");
    for word in ["free block 0x", "class C", "written to after it was freed", "expected"] {
        assert!(lines[0].contains(word), "{word}: {ended:#?}");
    }
}
