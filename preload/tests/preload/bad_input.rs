//! Pointers that must not be freed: one line on standard error that names them, then SIGABRT.

use crate::common::{Outcome, preloaded, program, run};

fn bad_free(arguments: &[&str]) -> Outcome {
    run(preloaded(&program("bad_free.c")).args(arguments))
}

/// Asserts the line and the signal.
#[track_caller]
fn refused(arguments: &[&str]) {
    let outcome = bad_free(arguments);
    let address = outcome.stdout.lines().next().unwrap_or_default();
    assert!(address.starts_with("0x"), "{arguments:?}: {}", outcome.describe());
    assert_eq!(
        outcome.signal,
        Some(libc::SIGABRT),
        "{arguments:?}: the program was to be aborted\n{}",
        outcome.describe()
    );
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    let [line] = lines[..] else {
        panic!("{arguments:?}: one line was expected\n{}", outcome.describe());
    };
    assert!(line.starts_with("hakmem: "), "{arguments:?}: {line}");
    assert!(line.contains(address), "{arguments:?}: {address} is missing in: {line}");
    assert!(outcome.stderr.ends_with('\n'), "{arguments:?}: {line}");
}

#[test]
fn a_pointer_that_is_not_ours() {
    for case in ["stack", "static", "constant", "code", "mapping", "unreadable", "realloc"] {
        refused(&[case]);
    }
}

#[test]
fn any_number_at_all() {
    for number in [
        "0x1",
        "0x8",
        "0x10",
        "0x1000",
        "0xdeadbeef",
        "0x7fffffffffff",
        "0x7ffffffff000",
        "0x800000000000",
        "0xdeadbeefdeadbeef",
        "0x8000000000000000",
        "0xffff888000000000",
        "0xfffffffffffffff0",
        "0xffffffffffffffff",
    ] {
        refused(&["number", number]);
    }
}

#[test]
fn a_block_twice() {
    for size in
        ["1", "8", "16", "64", "100", "512", "1024", "1500", "5000", "30000", "200000", "262144"]
    {
        refused(&["double", size]);
    }
}

#[test]
fn a_large_block_twice() {
    for size in ["262145", "500000", "1048576", "2097152", "5000000", "50000000", "300000000"] {
        refused(&["double", size]);
    }
}

#[test]
fn a_block_by_two_threads() {
    for size in ["16", "64", "1000", "5000", "100000", "1000000", "3000000"] {
        refused(&["double-by-two", size]);
    }
}

#[test]
fn the_middle_of_a_block() {
    for (size, offset) in [
        ("64", "16"),
        ("64", "1"),
        ("64", "8"),
        ("128", "64"),
        ("1000", "512"),
        ("1024", "8"),
        ("5000", "4096"),
        ("30000", "4096"),
        ("200000", "65536"),
        ("262144", "131072"),
    ] {
        refused(&["interior", size, offset]);
    }
}

#[test]
fn the_middle_of_a_large_block() {
    for (size, offset) in [
        ("300000", "16"),
        ("1000000", "4096"),
        ("1000000", "65536"),
        ("3000000", "2097152"),
        ("50000000", "16"),
        ("50000000", "4096"),
        ("50000000", "2097152"),
        ("50000000", "33554432"),
    ] {
        refused(&["interior", size, offset]);
    }
}

#[test]
fn a_place_where_no_block_is_yet() {
    // Past what the few blocks of that size have used of their slab so far.
    refused(&["interior", "64", "49152"]);
    refused(&["interior", "16", "32768"]);
}
