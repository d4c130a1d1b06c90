//! What a program weighs on this heap, against the system's.

use crate::common::{plain, preloaded, program, run, skipped};

/// Resident KiB of `footprint.c` in this case: on the system's heap, and on this one. Nothing if
/// the case cannot be made here.
fn weighed(case: &str) -> Option<(u64, u64)> {
    let program = program("footprint.c");
    let weigh = |mut command: std::process::Command| {
        let outcome = run(command.arg(case));
        assert_eq!(outcome.code, Some(0), "{}", outcome.describe());
        outcome.stdout.lines().last()?.parse().ok()
    };
    let mut system = plain(&program);
    system.env("HAKMEM_TEST_SYSTEM", "1");
    Some((weigh(system)?, weigh(preloaded(&program))?))
}

#[test]
fn a_program_that_allocates_nothing() {
    let (system, ours) = weighed("nothing").expect("a figure");
    assert!(ours <= system + 1024, "{ours} KiB, but {system} KiB on the system's heap");
}

/// Reserved address space must not become resident when a program locks its memory.
#[test]
fn a_program_that_locks_its_memory() {
    match weighed("locked") {
        Some((system, ours)) => {
            assert!(ours <= system + (64 << 10), "{ours} KiB, but {system} KiB");
        }
        None => skipped("a_program_that_locks_its_memory", "this user may not lock memory"),
    }
}

/// Each thread's few blocks lie in pages of their own: that is the price of not sharing them. Huge
/// pages must not multiply it.
#[test]
fn a_program_with_many_threads() {
    let (system, ours) = weighed("crowd").expect("a figure");
    assert!(ours <= system + 400 * 256, "{ours} KiB, but {system} KiB on the system's heap");
}
