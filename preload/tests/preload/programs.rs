//! What the functions do: C and C++ programs that check themselves.

use std::ffi::OsStr;
use std::process::Command;

use crate::common::{Kind, check, check_cxx, compile, plain, preloaded, program, root, run};

#[test]
fn the_family_does_what_iso_c_and_posix_say() {
    check("family.c", &[]);
}

#[test]
fn the_extras_do_what_glibc_does() {
    check("extras.c", &[]);
}

#[test]
fn the_c_interface_does_what_its_header_says() {
    run(&mut plain(&program("hak.c"))).passed();
}

#[test]
fn the_header_is_plain_c99() {
    let strict = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()))
        .args(["-std=c99", "-pedantic-errors", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"])
        .args(["-x", "c"])
        .arg(root().join("include/hakmem.h"))
        .output()
        .expect("the C compiler can be run");
    assert!(strict.status.success(), "{}", String::from_utf8_lossy(&strict.stderr));
}

#[test]
fn the_header_is_good_for_cxx() {
    if let Some(program) = compile("hak_header.cpp", Kind::Program) {
        run(&mut plain(&program)).passed();
    }
}

/// What the portable programs ask of hakmem, every correct heap gives: they pass on the system's.
#[test]
fn the_tests_themselves_hold_on_the_system_heap() {
    for source in ["family.c", "extras.c", "threads.c", "stress.c", "limit.c", "cancel.c"] {
        run(plain(&program(source)).env("HAKMEM_TEST_SYSTEM", "1")).passed();
    }
    for source in ["operators.cpp", "bad_alloc.cpp", "replaced.cpp"] {
        if let Some(program) = compile(source, Kind::Program) {
            run(plain(&program).env("HAKMEM_TEST_SYSTEM", "1")).passed();
        }
    }
}

#[test]
fn every_cxx_operator_allocates_and_frees() {
    check_cxx("operators.cpp");
}

#[test]
fn a_failed_new_calls_the_handler_and_throws() {
    check_cxx("bad_alloc.cpp");
}

#[test]
fn replaced_operators_are_forwarded_to() {
    check_cxx("replaced.cpp");
}

#[test]
fn a_failed_new_throws_in_a_cxx_library_of_a_c_program() {
    if let Some(plugin) = compile("cxx_plugin.cpp", Kind::Plugin) {
        check("c_host.c", &[plugin.as_os_str()]);
    }
}

#[test]
fn a_failed_new_without_a_cxx_library_ends_with_a_line() {
    let outcome = run(&mut preloaded(&program("c_host.c")));
    assert_eq!(outcome.signal, Some(libc::SIGABRT), "{}", outcome.describe());
    let expected = "hakmem: operator new of 1152921504606846976 bytes failed";
    assert!(outcome.stderr.starts_with(expected), "{}", outcome.describe());
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.describe());
}

#[test]
fn threads_come_and_go_and_free_each_others_blocks() {
    check("threads.c", &[]);
}

#[test]
fn random_work_keeps_every_block_intact() {
    for seed in ["1", "2", "3"] {
        check("stress.c", &[OsStr::new(seed)]);
    }
}

#[test]
fn fork_under_load_leaves_the_child_a_heap() {
    check("fork.c", &[]);
}

#[test]
fn programs_are_started_while_threads_allocate() {
    check("spawn.c", &[OsStr::new("100")]);
}

#[test]
fn cancelled_threads_leave_nothing_behind() {
    check("cancel.c", &[]);
}

#[test]
fn a_thousand_threads_at_once_and_ten_thousand_in_turn_on_the_smallest_stacks() {
    check("crowd.c", &[OsStr::new("10000"), OsStr::new("1000")]);
}

#[test]
fn signal_handlers_interrupt_the_heap_anywhere() {
    check("interrupted.c", &[OsStr::new("500")]);
}

#[test]
fn exit_handlers_and_destructors_use_the_heap_to_the_end() {
    let program = program("exit_order.c");
    let stages = |lines: &[&str]| lines.join("\n") + "\n";
    let outcome = run(&mut preloaded(&program));
    assert_eq!(outcome.code, Some(0), "{}", outcome.describe());
    assert_eq!(
        outcome.stdout,
        stages(&["constructor", "main", "handler one", "handler two", "destructor"])
    );
    assert_eq!(outcome.stderr, "");
    let outcome = run(preloaded(&program).arg("pthread_exit"));
    assert_eq!(outcome.code, Some(0), "{}", outcome.describe());
    assert_eq!(
        outcome.stdout,
        stages(&["constructor", "main", "after main", "handler one", "handler two", "destructor"])
    );
    assert_eq!(outcome.stderr, "");
}

#[test]
fn a_refusal_by_the_system_is_enomem_and_passes() {
    check("limit.c", &[]);
}

#[test]
fn a_small_address_space_is_enough_to_start() {
    for mebibytes in ["32", "64", "200", "700", "1500", "5000"] {
        check("limit_start.c", &[OsStr::new(mebibytes)]);
    }
}

/// Settings change where blocks come from and when memory goes back, never what is promised.
#[test]
fn every_mode_and_boundary_keeps_the_promises() {
    for setting in [
        "MODE=minimal",
        "MODE=fast",
        "MODE=balanced",
        "MODE=learning",
        "MODE=research",
        "TINY_MAX_CLASS=0",
        "TINY_MAX_CLASS=5",
        "THP=on",
        "FREE_POLICY=keep",
        "PREWARM=on",
        "THREAD_CACHE_BYTES=0",
    ] {
        let (name, value) = setting.split_once('=').expect("name=value");
        let outcome = run(preloaded(&program("family.c")).env(format!("HAKMEM_{name}"), value));
        let passed = outcome.stdout.contains(" checks passed");
        assert!(outcome.code == Some(0) && passed, "HAKMEM_{setting}: {}", outcome.describe());
        // What a mode asks for and the build has not is said; nothing else is.
        for line in outcome.stderr.lines().filter(|line| line.starts_with("hakmem: ")) {
            assert!(line.contains("not compiled in"), "HAKMEM_{setting}: {line}");
        }
    }
}

#[test]
fn a_bad_setting_gets_one_line_and_the_program_runs() {
    for (name, value, mentioned) in [
        ("HAKMEM_MODE", "quick", "balanced"),
        ("HAKMEM_THP", "sideways", "auto"),
        ("HAKMEM_TINY_MAX_CLASS", "9", "7"),
        ("HAKMEM_TINY_MAX_CLASS", "", "7"),
        ("HAKMEM_NO_SUCH_THING", "1", "HAKMEM_NO_SUCH_THING"),
    ] {
        let outcome = run(preloaded(&program("exit_order.c")).env(name, value));
        assert_eq!(outcome.code, Some(0), "{name}={value}: {}", outcome.describe());
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        let [line] = lines[..] else {
            panic!("{name}={value}: one line was expected\n{}", outcome.describe());
        };
        assert!(line.starts_with("hakmem: ") && line.contains(name), "{name}={value}: {line}");
        assert!(line.contains(mentioned), "{name}={value}: {mentioned} is missing in: {line}");
    }
}

#[test]
fn the_configuration_is_printed_when_asked_for() {
    let outcome = run(preloaded(&program("exit_order.c"))
        .env("HAKMEM_PRINT_CONFIG", "1")
        .env("HAKMEM_THP", "off"));
    assert_eq!(outcome.code, Some(0), "{}", outcome.describe());
    let row = outcome.stderr.lines().find(|line| line.contains("HAKMEM_THP"));
    let row = row.unwrap_or_else(|| panic!("no row for THP\n{}", outcome.describe()));
    assert!(row.contains("off") && row.contains("variable"), "{row}");
}
