//! The audit on a small source tree: sound as it stands, and with one mistake planted at a time.

use super::{Report, audit};
use std::path::Path;

/// A heap in miniature: hot, cold, a tally with one gate, a reader, a lock.
const TREE: &[(&str, &str)] = &[
    (
        "base/sync.rs",
        "pub(crate) use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};\n",
    ),
    (
        "hot.rs",
        "use crate::cold;\nuse crate::front::Cache;\nuse crate::telemetry::tally::Tally;\n\
         pub(crate) struct Heap { pub(crate) cache: Cache, pub(crate) tally: Tally }\n\
         pub(crate) fn malloc(heap: &Heap) -> usize {\n    let got = heap.cache.take();\n    if got == 0 {\n        return cold::refill(heap);\n    }\n\
         \x20   heap.tally.hit();\n    got\n}\n",
    ),
    (
        "front.rs",
        "use crate::base::sync::{AtomicU64, Ordering};\n\
         pub(crate) struct Cache {\n    /// Relaxed: only its thread writes it.\n    top: AtomicU64,\n}\n\
         impl Cache {\n    pub(crate) fn take(&self) -> usize {\n        self.top.load(Ordering::Relaxed) as usize\n    }\n}\n",
    ),
    (
        "cold.rs",
        "use crate::base::sync::{AtomicBool, Ordering};\nuse crate::hot::Heap;\n\
         /// Whether somebody is inside.\nstatic BUSY: AtomicBool = AtomicBool::new(false);\n\
         #[cold]\npub(crate) fn refill(_: &Heap) -> usize {\n\
         \x20   // Acquire: what the last one inside wrote is seen.\n    while BUSY.swap(true, Ordering::Acquire) {}\n\
         \x20   // Release: what was written here is seen by the next one inside.\n    BUSY.store(false, Ordering::Release);\n    1\n}\n",
    ),
    (
        "telemetry/gates.rs",
        "pub(crate) trait Gate { const ON: bool; }\npub(crate) struct Hits;\n\
         impl Gate for Hits { const ON: bool = cfg!(feature = \"hits\"); }\n",
    ),
    (
        "telemetry/tally.rs",
        "use super::gates::{Gate, Hits};\nuse crate::base::sync::{AtomicU64, Ordering};\n\
         pub(crate) struct Tally { hits: AtomicU64 }\n\
         impl Tally {\n    pub(crate) fn hit(&self) {\n        if Hits::ON {\n            self.hits.store(self.hits.load(Ordering::Relaxed) + 1, Ordering::Relaxed);\n        }\n    }\n\
         \x20   pub(crate) fn read(&self) -> u64 {\n        if Hits::ON { self.hits.load(Ordering::Relaxed) } else { 0 }\n    }\n}\n",
    ),
    (
        "readers.rs",
        "use crate::hot::Heap;\npub(crate) fn hits(heap: &Heap) -> u64 {\n    heap.tally.read()\n}\n",
    ),
    ("policy.rs", "use crate::hot::Heap;\npub(crate) fn tick(_: &Heap) {}\n"),
    ("lib.rs", "mod base; mod cold; mod front; mod hot; mod policy; mod readers; mod telemetry;\n"),
];

/// The tree after `change`, which is given each file's path and text.
fn changed(change: impl Fn(&str, &str) -> String) -> Report {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in TREE {
        let file = folder.path().join("src").join(path);
        std::fs::create_dir_all(file.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(file, change(path, content)).unwrap();
    }
    audit(folder.path()).unwrap()
}

/// The tree, with `text` added to the end of `file`.
fn audited(file: &str, text: &str) -> Report {
    assert!(TREE.iter().any(|(path, _)| *path == file), "{file} is not in the tree");
    changed(
        |path, content| if path == file { format!("{content}{text}") } else { content.to_owned() },
    )
}

/// Plants `text` at the end of `file` and expects the one problem, in its line `line`, that says `part`.
#[track_caller]
fn found(file: &str, text: &str, line: usize, part: &str) -> Report {
    let before =
        TREE.iter().find(|(path, _)| *path == file).map_or(0, |(_, text)| text.lines().count());
    let report = audited(file, text);
    let told: Vec<String> =
        report.problems.iter().map(|it| format!("{}: {}", it.at, it.text)).collect();
    let wanted = format!("src/{file}:{}: ", before + line);
    assert!(
        told.iter().any(|problem| problem.starts_with(&wanted) && problem.contains(part)),
        "expected {wanted}...{part}...; found {told:#?}"
    );
    assert_eq!(told.len(), 1, "{told:#?}");
    report
}

#[test]
fn the_sound_tree_has_no_problem_and_every_path() {
    let report = audited("lib.rs", "");
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
    let at = |file: &str| {
        report
            .operations
            .iter()
            .filter(|it| it.file.ends_with(file))
            .map(|it| it.path.name())
            .collect::<Vec<_>>()
    };
    assert_eq!(at("front.rs"), ["hot"]);
    assert_eq!(at("cold.rs"), ["warm", "warm"]);
    assert_eq!(at("tally.rs"), ["hot", "hot", "cold"]);
    assert_eq!(
        (report.totals.telemetry, report.totals.correctness, report.totals.unknown),
        (3, 3, 0)
    );
    assert!(report.text(false).contains("6 operations on 3 atomics"));
    assert!(report.text(true).contains("only its thread writes it"));
}

#[test]
fn an_atomic_without_a_reason() {
    let report = found(
        "policy.rs",
        "static X: crate::base::sync::AtomicU64 = crate::base::sync::AtomicU64::new(0);\n\
         fn f() -> u64 {\n    X.load(crate::base::sync::Ordering::Relaxed)\n}\n",
        3,
        "load of X has no reason; write a comment beside it, or above the declaration (src/policy.rs:3), that begins `Relaxed: `",
    );
    assert_eq!(report.totals.unknown, 1);
}

#[test]
fn a_reason_for_another_ordering_is_none() {
    let text = "use crate::base::sync::{AtomicU64, Ordering};\n/// Relaxed: a figure and nothing more.\nstatic X: AtomicU64 = AtomicU64::new(0);\n\
                fn f() -> u64 {\n    X.load(Ordering::Acquire)\n}\n";
    found("policy.rs", text, 5, "begins `Acquire: `");
}

#[test]
fn a_reason_is_found_beside_above_and_at_the_end_of_the_line() {
    let text = "use crate::base::sync::{AtomicU64, Ordering};\nstatic X: AtomicU64 = AtomicU64::new(0);\n\
                fn f() -> u64 {\n    // Acquire: pairs with the release in g.\n    X.load(Ordering::Acquire)\n}\n\
                /// Release: pairs with the acquire in f.\nfn g() {\n    X.store(1, Ordering::Release);\n}\n\
                fn h() {\n    X.store(1, Ordering::Relaxed); // Relaxed: nobody else is there yet.\n}\n";
    let report = audited("policy.rs", text);
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
}

#[test]
fn a_counter_that_a_decision_reads() {
    let text = "fn decide(heap: &Heap) -> bool {\n    heap.tally.read() > 100\n}\n";
    found("policy.rs", text, 2, "`decide` in policy reads a telemetry counter through `read`");
    // Through a reader it is the same.
    let text = "fn decide(heap: &Heap) -> bool {\n    crate::readers::hits(heap) > 100\n}\n";
    found("policy.rs", text, 2, "reads a telemetry counter through `hits`");
}

#[test]
fn what_only_goes_back_to_telemetry_decides_nothing() {
    let start = "impl Tally {\n    pub(crate) fn start(&self) -> u64 {\n        if Hits::ON { self.hits.load(Ordering::Relaxed) } else { 0 }\n    }\n    pub(crate) fn stop(&self, _: u64) {}\n}\n";
    let with = |text: &str| {
        changed(|path, content| match path {
            "telemetry/tally.rs" => format!("{content}{start}"),
            "policy.rs" => format!("{content}{text}"),
            _ => content.to_owned(),
        })
    };
    let there_and_back = "fn f(heap: &Heap) {\n    let started = heap.tally.start();\n    g(heap, started);\n}\nfn g(heap: &Heap, started: u64) {\n    heap.tally.stop(started);\n}\n";
    assert!(with(there_and_back).problems.is_empty());
    for decides in [
        "    if started > 3 { tick(heap) }\n",
        "    let more = started + 1;\n",
        "    dbg!(started);\n",
    ] {
        let report = with(
            &there_and_back
                .replace("    heap.tally.stop", &format!("{decides}    heap.tally.stop")),
        );
        assert_eq!(report.problems.len(), 1, "{decides}: {:#?}", report.problems);
        assert!(
            report.problems[0]
                .text
                .contains("`f` in policy reads a telemetry counter through `start`")
        );
    }
}

#[test]
fn telemetry_that_acts() {
    let text = "fn act(tally: &Tally) {\n    if Hits::ON && tally.hits.load(Ordering::Relaxed) > 9 {\n        crate::policy::purge();\n    }\n}\n";
    let before = "src/telemetry/tally.rs";
    let folder_report = audited("telemetry/tally.rs", text);
    // `purge` does not exist yet: nothing is called that the source knows.
    assert!(folder_report.problems.is_empty(), "{:#?}", folder_report.problems);
    let text = text.replace("policy::purge()", "cold::refill(heap())");
    let report = audited("telemetry/tally.rs", &text);
    assert!(
        report
            .problems
            .iter()
            .any(|it| it.at.starts_with(before)
                && it.text.contains("`act` in telemetry calls `refill`")),
        "{:#?}",
        report.problems
    );
}

#[test]
fn a_counter_outside_of_its_gate() {
    let text = "impl Tally {\n    fn bare(&self) {\n        self.hits.fetch_add(1, Ordering::Relaxed);\n    }\n}\n";
    found("telemetry/tally.rs", text, 3, "outside of `if GATE::ON`");
    let text = "impl Tally {\n    fn early(&self) {\n        if !Hits::ON {\n            return;\n        }\n        self.hits.fetch_add(1, Ordering::Relaxed);\n    }\n}\n";
    assert!(audited("telemetry/tally.rs", text).problems.is_empty());
    // A constant made of gates stands for them, and storage that a gate decides is behind it.
    let text = "const EITHER: bool = Hits::ON || Hits::ON;\nimpl Tally {\n    fn either(&self) {\n        if EITHER {\n            self.hits.fetch_add(1, Ordering::Relaxed);\n        }\n    }\n}\n";
    assert!(audited("telemetry/tally.rs", text).problems.is_empty());
    let text = "const LEN: usize = if Hits::ON { 4 } else { 0 };\nstruct Entry { what: AtomicU64 }\nstatic LOG: [Entry; LEN] = [const { Entry { what: AtomicU64::new(0) } }; LEN];\n\
                fn log(at: usize) {\n    if let Some(entry) = LOG.get(at) {\n        entry.what.store(1, Ordering::Relaxed);\n    }\n}\n";
    assert!(audited("telemetry/tally.rs", text).problems.is_empty());
    let text = text.replace("if Hits::ON { 4 } else { 0 }", "4");
    found("telemetry/tally.rs", &text, 6, "outside of `if GATE::ON`");
    // The gate in a condition that holds without it is no gate.
    let text = "impl Tally {\n    fn either(&self, it: bool) {\n        if Hits::ON || it {\n            self.hits.fetch_add(1, Ordering::Relaxed);\n        }\n    }\n}\n";
    found("telemetry/tally.rs", text, 4, "outside of `if GATE::ON`");
}

#[test]
fn a_counter_that_is_touched_from_outside() {
    let counter = "pub(crate) static MISSES: AtomicU64 = AtomicU64::new(0);\n";
    assert!(audited("telemetry/tally.rs", counter).problems.is_empty());
    let toucher = "fn f() {\n    // Relaxed: as good as any.\n    crate::telemetry::tally::MISSES.fetch_add(1, crate::base::sync::Ordering::Relaxed);\n}\n";
    let report = changed(|path, content| match path {
        "telemetry/tally.rs" => format!("{content}{counter}"),
        "policy.rs" => format!("{content}{toucher}"),
        _ => content.to_owned(),
    });
    assert_eq!(report.problems.len(), 1, "{:#?}", report.problems);
    assert_eq!(report.problems[0].at, "src/policy.rs:5");
    assert!(
        report.problems[0].text.contains("MISSES is touched outside of the telemetry"),
        "{:#?}",
        report.problems
    );
}

#[test]
fn a_counter_that_nobody_decides_by_wants_a_gate() {
    let text = "use crate::base::sync::{AtomicU64, Ordering};\n/// Relaxed: a figure and nothing more.\nstatic EVENTS: AtomicU64 = AtomicU64::new(0);\n\
                pub(crate) fn note() {\n    EVENTS.fetch_add(1, Ordering::Relaxed);\n}\n";
    found("policy.rs", text, 5, "a counter that no decision reads is telemetry");
    let excused = text.replace(
        "/// Relaxed",
        "/// Gauge: the figure of Stats::events, in every build.\n/// Relaxed",
    );
    assert!(audited("policy.rs", &excused).problems.is_empty());
}

#[test]
fn an_atomic_hidden_in_a_macro() {
    let head = "use crate::base::sync::{AtomicU64, Ordering};\n";
    // In the arguments of a macro.
    let text = format!(
        "{head}static X: AtomicU64 = AtomicU64::new(0);\nfn f() {{\n    assert!(1 > 0 && X.load(Ordering::Relaxed) > 0);\n}}\n"
    );
    found("policy.rs", &text, 4, "load of X has no reason");
    // In what a macro expands to.
    let text = format!(
        "{head}macro_rules! bump {{\n    ($it:expr) => {{\n        $it.fetch_add(1, Ordering::Relaxed)\n    }};\n}}\n"
    );
    found("policy.rs", &text, 4, "unknown: fetch_add: which atomic it is on can't be told");
    // Declared by a macro, and reasonless.
    let text = format!(
        "{head}macro_rules! counter {{\n    ($name:ident) => {{\n        static $name: AtomicU64 = AtomicU64::new(0);\n        pub(crate) fn bump() {{\n            $name.store(1, Ordering::Relaxed);\n        }}\n    }};\n}}\n"
    );
    found("policy.rs", &text, 6, "store of macro_name has no reason");
    // In tokens that are no Rust.
    let text = "fn f() {\n    custom!(on it do => X.fetch_add(1, o));\n}\n";
    found("policy.rs", text, 2, "`fetch_add` inside custom!");
}

#[test]
fn a_locked_instruction_on_the_hot_path() {
    let text = "impl Cache {\n    fn count(&self) -> u64 {\n        // Relaxed: only a figure it is.\n        self.top.fetch_add(1, Ordering::Relaxed)\n    }\n}\n";
    // Nobody calls it yet.
    assert!(audited("front.rs", text).problems.is_empty());
    let text = format!("{text}pub(crate) fn hot(cache: &Cache) -> u64 {{\n    cache.count()\n}}\n");
    assert!(audited("front.rs", &text).problems.is_empty());
    let report = changed(|path, content| match path {
        "front.rs" => format!("{content}{text}"),
        "hot.rs" => content
            .replace("cache.take();", "cache.take() + crate::front::hot(&heap.cache) as usize;"),
        _ => content.to_owned(),
    });
    assert_eq!(report.problems.len(), 1, "{:#?}", report.problems);
    assert!(
        report.problems[0].text.contains("is a locked instruction on the hot path (in `count`)"),
        "{:#?}",
        report.problems
    );
}

#[test]
fn names_that_hide_an_atomic() {
    let use_it = "use crate::base::sync::{AtomicU64, Ordering};\n";
    for (text, line, part) in [
        // A new name for the type.
        ("use crate::base::sync::AtomicU64 as Word;\nuse crate::base::sync::Ordering;\nfn f(word: &Word) -> u64 {\n    word.load(Ordering::Relaxed)\n}\n".to_owned(), 4, "load of f(word) has no reason"),
        ("type Word = crate::base::sync::AtomicU64;\nfn f(word: &Word) -> u64 {\n    word.load(crate::base::sync::Ordering::SeqCst)\n}\n".to_owned(), 3, "load of f(word) has no reason"),
        // A type of one's own around it.
        (format!("{use_it}struct Count(AtomicU64);\nimpl Count {{\n    fn add(&self) -> u64 {{\n        self.0.fetch_add(1, Ordering::Relaxed)\n    }}\n}}\n"), 5, "fetch_add of Count.0 has no reason"),
        // By path instead of as a method.
        (format!("{use_it}fn f(it: &AtomicU64) -> u64 {{\n    AtomicU64::load(it, Ordering::Relaxed)\n}}\n"), 3, "load of f(it) has no reason"),
        (format!("{use_it}fn f() -> fn(&AtomicU64, Ordering) -> u64 {{\n    AtomicU64::load\n}}\n"), 3, "taken as a value"),
        // The ordering from elsewhere.
        (format!("{use_it}const HOW: Ordering = Ordering::Relaxed;\n"), 2, "the ordering `Relaxed` stands outside"),
        (format!("{use_it}fn f(it: &AtomicU64, how: Ordering) -> u64 {{\n    it.load(how)\n}}\n"), 3, "its ordering is not written here"),
        ("use crate::base::sync::Ordering::*;\n".to_owned(), 1, "all orderings are imported by name"),
        ("use crate::base::sync::Ordering::{Relaxed};\n".to_owned(), 1, "the ordering `Relaxed` is imported by name"),
        // What can't be traced.
        (format!("{use_it}fn f() -> u64 {{\n    somewhere().load(Ordering::Relaxed)\n}}\n"), 3, "which atomic it is on can't be told"),
        ("fn f(it: Mystery, how: How) -> u64 {\n    it.inside.load(how)\n}\n".to_owned(), 2, "which atomic it is on can't be told"),
        // Fences, assembly, the memory of an atomic, library types.
        ("fn f() {\n    core::sync::atomic::fence(crate::base::sync::Ordering::SeqCst);\n}\n".to_owned(), 2, "fence has no reason"),
        ("fn f() {\n    unsafe { core::arch::asm!(\"lock xadd [rdi], rax\") };\n}\n".to_owned(), 2, "asm! has no reason"),
        (format!("{use_it}fn f(it: &AtomicU64) -> u64 {{\n    unsafe {{ it.as_ptr().read() }}\n}}\n"), 3, "begins `Plain: `"),
        (format!("{use_it}fn f(it: &AtomicU64) -> *const u8 {{\n    &raw const *it as *const u8\n}}\n"), 3, "begins `Plain: `"),
        ("use std::sync::Mutex;\n".to_owned(), 1, "`Mutex` hides atomics"),
        ("static X: std::sync::OnceLock<u8> = std::sync::OnceLock::new();\n".to_owned(), 1, "`OnceLock` hides atomics"),
    ] {
        found("policy.rs", &text, line, part);
    }
}

#[test]
fn every_form_of_rust_that_can_hold_an_operation() {
    let forms = [
        "trait Bump { fn bump(&self) -> u64 { static N: AtomicU64 = AtomicU64::new(0); N.fetch_add(1, Ordering::Relaxed) } }",
        "fn a(x: &Option<AtomicU64>) -> bool { if let Some(x) = x && x.load(Ordering::Relaxed) > 3 { true } else { false } }",
        "fn b() { fn c(a: &[AtomicU64; 3]) { for (i, x) in a.iter().enumerate() { x.store(i as u64, Ordering::Release); } } }",
        "fn d(a: &AtomicU64) { while let Err(_) = a.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire) {} }",
        "fn e(v: &[AtomicU64]) -> u64 { v.iter().map(|x| x.load(Ordering::SeqCst)).sum() }",
        "fn f(p: &(u8, AtomicU64)) -> u64 { p.1.swap(1, Ordering::Relaxed) }",
        "fn g(a: &AtomicU64) { let _ = a.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |x| Some(x + 1)); }",
        "fn h(a: &mut AtomicU64) -> u64 { *a.get_mut() }",
        "static X: AtomicU64 = AtomicU64::new(0);",
        "impl Drop for Heap { fn drop(&mut self) { X.store(1, Ordering::Relaxed); } }",
        "const TABLE: [fn(); 1] = [|| X.store(2, Ordering::Relaxed)];",
        "fn i(x: u8) { match x { 0 if X.load(Ordering::Relaxed) == 1 => {} _ => {} } }",
        "fn j() { let Some(y) = Some(&X) else { return }; y.store(1, Ordering::Relaxed); }",
        "fn k() { let z = &raw const X; unsafe { (*z).store(3, Ordering::Relaxed); } }",
        "fn l() { println!(\"{x}\", x = X.load(Ordering::Acquire)); }",
        "fn m() -> bool { matches!(X.load(Ordering::Relaxed), 1 | 2) }",
        "mod n { pub fn o() { super::X.store(1, core::sync::atomic::Ordering::Relaxed) } }",
        "fn p(run: impl Fn(Ordering) -> u64) -> u64 { run(Ordering::Relaxed) }",
        "fn q() -> u64 { unsafe { __atomic_load_8(core::ptr::null(), 5) } }",
    ];
    let import = "use crate::base::sync::{AtomicU64, Ordering};\n";
    let report = audited("policy.rs", &format!("{import}{}\n", forms.join("\n")));
    let first = TREE
        .iter()
        .find(|(path, _)| *path == "policy.rs")
        .map_or(0, |(_, text)| text.lines().count())
        + 2;
    for (at, form) in forms.iter().enumerate().filter(|(_, form)| !form.starts_with("static")) {
        let line = format!("src/policy.rs:{}", first + at);
        assert!(
            report.problems.iter().any(|problem| problem.at == line),
            "{form}: {:#?}",
            report.problems
        );
    }
    assert_eq!(report.problems.len(), forms.len() - 1, "{:#?}", report.problems);
}

#[test]
fn what_only_looks_like_an_atomic_is_left_alone() {
    let text = "struct Store(u8);\nimpl Store {\n    fn load(&self, at: usize) -> u8 {\n        self.0 + at as u8\n    }\n}\n\
                fn f(store: &Store, list: &mut [u8]) -> u8 {\n    list.swap(0, 1);\n    core::mem::swap(&mut list[0], &mut 3);\n    store.load(2)\n}\n\
                fn order(a: u8) -> core::cmp::Ordering {\n    a.cmp(&1)\n}\n\
                #[cfg(test)]\nmod tests {\n    fn f() {\n        X.load(Ordering::Relaxed);\n    }\n}\n";
    let report = audited("policy.rs", text);
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
    assert_eq!(report.totals.operations, 6);
}

#[test]
fn source_that_is_no_rust_is_an_error_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("src")).unwrap();
    assert!(audit(folder.path()).unwrap_err().to_string().contains("has no .rs file"));
    std::fs::write(folder.path().join("src/lib.rs"), "fn f() {}\nfn g( {\n").unwrap();
    let error = format!("{:#}", audit(folder.path()).unwrap_err());
    assert!(error.starts_with("src/lib.rs:"), "{error}");
}
