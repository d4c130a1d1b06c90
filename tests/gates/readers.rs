//! The readers, in every build: what is not compiled in is said to be so, never a zero.

use super::child;
use super::*;
use hakmem::{Events, Reading, raw, stats};

/// Every gate with a table in the statistics, whether it is on, and one of its figures.
const TABLES: [(&str, bool, &str); 14] = [
    ("tiny-class-stats", CLASS_STATS, "class_groups.C3.refilled_blocks"),
    ("tiny-free-calls", FREE_CALLS, "tiny_free_calls"),
    ("tiny-free-stats", FREE_STATS, "slab_frees.C7.local"),
    ("c7-free-count", C7_FREES, "c7_frees"),
    ("metric-bad-class", BAD_CLASS, "bad_classes.frees"),
    ("unified-cache-measure", CACHE, "unified_cache.mid.refill_cycles"),
    ("remote-target-stats", REMOTE, "remote_queues.65+.slabs"),
    ("superslab-os-stats", SYSTEM, "os_calls.advise_huge.refused"),
    ("front-metrics", FRONT, "served.mapping"),
    ("hdr-meta-mismatch", META_MISMATCH, "hdr_meta_mismatch"),
    ("hdr-meta-fast", META_FAST, "hdr_meta_fast"),
    ("pool-hotbox-v2-stats", POOL_STATS, "pool_hotbox.closed"),
    ("background-spill", SPILL, "background_spill.waiting"),
    ("background-bin", BIN, "background_bin.returned"),
];

#[test]
fn readers_say_what_is_not_compiled_in() {
    let stats = stats();
    let (mut text, mut json) = (String::new(), String::new());
    stats.write_text(&mut text).expect("a string takes everything");
    stats.write_json(&mut json).expect("a string takes everything");
    let missing = &json[json.find("\"not_compiled_in\"").expect("its list")..];
    for (gate, on, figure) in TABLES {
        assert_eq!(text.contains(&format!("not compiled in (feature {gate})")), !on, "{text}");
        assert_eq!(missing.matches(&format!("\"{gate}\"")).count(), usize::from(!on), "{json}");
        match stats.get(figure) {
            Some(Reading::Value(_)) => assert!(on, "{figure}"),
            Some(Reading::NotCompiledIn(off)) => assert!(!on && off == gate, "{figure}: {off}"),
            None => panic!("no figure {figure}"),
        }
    }
    for (events, gate, on) in [
        (Events::FreeTrace, "tiny-free-trace", TRACE),
        (Events::DebugRing, "tiny-debug-ring", RING),
        (Events::ClassOobLog, "p0-class-oob-log", OOB_LOG),
        (Events::HdrMismatchLog, "hdr-mismatch-log", MISMATCH_LOG),
    ] {
        let mut text = String::new();
        events.write_text(&mut text).expect("a string takes everything");
        assert_eq!(text.contains(&format!("not compiled in (feature {gate})")), !on, "{text}");
        assert_eq!(events.count().value().is_some(), on);
        assert_eq!(events.each(|_| ()), on);
    }
    assert_eq!(stats.counters_shared, SHARED);
    // One object, brackets in balance, no comma before a closing one.
    let depth = json.chars().fold(0i32, |depth, c| match c {
        '{' | '[' => depth + 1,
        '}' | ']' => depth - 1,
        _ => depth,
    });
    assert_eq!(depth, 0, "{json}");
    assert!(json.starts_with('{') && json.ends_with('}'));
    assert!(!json.contains(",}") && !json.contains(",]") && !json.contains(",,"), "{json}");
    assert!(!json.contains("{,") && !json.contains("[,") && !json.contains("}{"), "{json}");
}

#[test]
fn figures_are_found_by_name() {
    child::run("readers::figures_are_found_by_name", "", &[], || {
        let blocks = Blocks::malloc(600, 4);
        blocks.free();
        let stats = stats();
        assert_eq!(stats.get("heaps"), Some(Reading::Value(1)));
        assert_eq!(stats.get("in_use_bytes"), Some(Reading::Value(stats.in_use_bytes as u64)));
        // Half a magazine comes with the first, or one block with each.
        let refills = if LEGACY_REFILL { 4 } else { 1 };
        for (name, on, wanted) in [
            ("tiny_free_calls", FREE_CALLS, 4),
            ("c7_frees", C7_FREES, 4),
            ("class_groups.C7.hits", CLASS_STATS, 4 - refills),
            ("class_groups.C7.frees", CLASS_STATS, 4),
            ("unified_cache.C7.misses", CACHE, refills),
            ("unified_cache.mid.hits", CACHE, 0),
            ("served.unified_cache", FRONT, 4 - refills),
            ("served.new_slab", FRONT, 1),
        ] {
            assert_eq!(stats.get(name).and_then(Reading::value), on.then_some(wanted), "{name}");
        }
        for name in [
            "",
            ".",
            "no_such",
            "class_groups",
            "class_groups.C8.hits",
            "class_groups.hits",
            "class_groups.C7.hits.more",
            "served",
            "served.no_such",
            "tiny_free_calls.C1",
            "os_calls.map",
        ] {
            assert_eq!(stats.get(name), None, "{name}");
        }
    })
    .is_quiet();
}

#[test]
fn resident_memory_is_the_kernels() {
    child::run("readers::resident_memory_is_the_kernels", "", &[], || {
        let before = stats().resident_bytes.expect("Linux tells");
        let at = raw::malloc(64 << 20);
        // SAFETY: a block of that size.
        unsafe { at.write_bytes(1, 64 << 20) };
        let during = stats().resident_bytes.expect("Linux tells");
        // The kernel sums what it tells here from counters of each processor, which lag a little.
        assert!(during >= before + (56 << 20), "{before} {during}");
        let seen = common::memory::resident_with_files();
        assert!(seen.abs_diff(during) < 8 << 20, "{seen} {during}");
    })
    .is_quiet();
}

#[test]
fn a_dump_tells_everything() {
    let ended =
        child::run("readers::a_dump_tells_everything", "", &[("HAKMEM_STATS", "1")], || {
            Blocks::malloc(64, 3).free();
        });
    if child::is_child() {
        return;
    }
    ended.is_good();
    for word in ["in_use_bytes", "resident_bytes", "served", "os_calls", "free_trace", "debug_ring"]
    {
        assert!(ended.stderr.contains(word), "{word}: {ended:#?}");
    }
    let lines = ended.stderr.lines().filter(|line| line.contains("not compiled in")).count();
    let tables = TABLES.iter().filter(|(_, on, _)| !on).count();
    // With `front-metrics` on, each layer that is not compiled in says so itself.
    let layers =
        if FRONT { stats().layers.iter().filter(|layer| !layer.compiled_in).count() } else { 1 };
    let events = [TRACE, RING, OOB_LOG, MISMATCH_LOG].iter().filter(|&&on| !on).count();
    let learned = [ELO, EVOLUTION, ENGINE].iter().filter(|&&on| !on).count();
    assert_eq!(lines, tables + layers + events + learned, "{ended:#?}");
}
