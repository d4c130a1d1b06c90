//! Both binaries do the same work: same operations, same checksum, whatever the heap behind them.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use hakmem_scenarios::SCENARIOS;
use serde_json::Value;

const SYSTEM: &str = env!("CARGO_BIN_EXE_hakmem-scenario");
const LINKED: &str = env!("CARGO_BIN_EXE_hakmem-scenario-linked");

fn output(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().expect("the scenario starts")
}

fn report(program: &str, arguments: &[&str]) -> Value {
    let output = output(program, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).expect("one line of JSON")
}

#[test]
fn every_scenario_has_one_checksum() {
    for scenario in SCENARIOS {
        let ops = (scenario.ops / 100).max(2).to_string();
        let arguments = ["--scenario", scenario.name, "--ops", &ops];
        let (one, other) = (report(SYSTEM, &arguments), report(LINKED, &arguments));
        for field in ["scenario", "ops", "checksum"] {
            assert_eq!(one[field], other[field], "{field} of {}", scenario.name);
        }
        assert_eq!(one["scenario"], scenario.name);
        for field in ["ns", "cpu_ns", "rss_kib", "peak_kib"] {
            assert!(one[field].as_u64() > Some(0), "{field} of {}: {one}", scenario.name);
        }
    }
}

#[test]
fn injected_work_leaves_the_checksum_alone() {
    for name in ["tiny-hot", "json", "larson"] {
        let plain = report(SYSTEM, &["--scenario", name, "--ops", "20000"]);
        let slowed = report(SYSTEM, &["--scenario", name, "--ops", "20000", "--slowdown", "500"]);
        assert_eq!(plain["checksum"], slowed["checksum"], "{name}");
        assert_eq!(plain["ops"], slowed["ops"], "{name}");
    }
}

/// What a program prints that gets `turns` turns.
fn report_in_turns(program: &str, arguments: &[&str], turns: usize) -> Value {
    let mut program = Command::new(program)
        .args(arguments)
        .args(["--turns", &turns.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the scenario starts");
    let mut ends = program.stdout.take().expect("piped");
    for _ in 0..turns {
        let mut end = [0];
        program.stdin.as_mut().expect("piped").write_all(b"x").expect("it waits for its turn");
        ends.read_exact(&mut end).expect("the turn ends");
        assert_eq!(end, *b".");
    }
    let mut line = Vec::new();
    ends.read_to_end(&mut line).expect("one line");
    assert!(program.wait().expect("it ends").success());
    serde_json::from_slice(&line).expect("of JSON")
}

#[test]
fn in_turns_both_binaries_do_the_same_work_too() {
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.resumes() && scenario.ops > 1) {
        let ops = (scenario.ops / 100).max(7).to_string();
        let arguments = ["--scenario", scenario.name, "--ops", &ops];
        let at_once = report(SYSTEM, &arguments);
        let one = report_in_turns(SYSTEM, &arguments, 7);
        let other = report_in_turns(LINKED, &[&arguments[..], &["--slowdown", "200"]].concat(), 7);
        assert_eq!(at_once["ops"], one["ops"], "of {}", scenario.name);
        for field in ["ops", "checksum"] {
            assert_eq!(one[field], other[field], "{field} of {}", scenario.name);
        }
    }
}

#[test]
fn turns_that_do_not_come_are_missed() {
    let arguments = ["--scenario", "tiny-hot", "--ops", "1000", "--turns", "2"];
    let output = output(SYSTEM, &arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected a byte for each turn"));
}

#[test]
fn the_lists_agree() {
    let names = report(SYSTEM, &["--list"]);
    let rows = report(LINKED, &["--describe"]);
    let described: Vec<_> =
        rows.as_array().unwrap().iter().map(|row| row["name"].clone()).collect();
    assert_eq!(names, Value::from(described));
    let listed = SCENARIOS.iter().filter(|scenario| scenario.listed()).count();
    assert_eq!(names.as_array().unwrap().len(), listed);
}

#[test]
fn bad_arguments_get_one_line() {
    for (arguments, expected) in [
        (&["--scenario", "no-such"] as &[&str], "no scenario is called 'no-such'"),
        (&["--scenario", "vm", "--ops", "0"], "--ops is 0"),
        (
            &["--scenario", "remote", "--threads", "1"],
            "--threads is 1, expected 2 to 256 for remote",
        ),
        (&["--scenario", "larson", "--threads", "0"], "--threads is 0, expected 1 to 256"),
        (&["--scenario", "larson", "--turns", "4"], "--turns is 4, but larson is done at once"),
        (&["--scenario", "shrink", "--turns", "4"], "--turns is 4, but shrink is done at once"),
        (
            &["--scenario", "json", "--ops", "3", "--turns", "4"],
            "--turns is 4, expected at most the 3 operations",
        ),
        (&["--scenario", "live", "--live", "0"], "--live is 0"),
        (&["--scenario", "size", "--size", "1"], "--size is 1"),
        (&[], "no scenario named"),
        (&["--bogus"], "bogus"),
    ] {
        let output = output(SYSTEM, arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(errors.contains(expected) && errors.lines().count() == 1, "{errors}");
    }
}

#[test]
fn threads_share_the_same_operations() {
    for threads in ["1", "2", "5"] {
        for name in ["larson", "thread-churn", "parallel-mixed"] {
            let report =
                report(LINKED, &["--scenario", name, "--ops", "20000", "--threads", threads]);
            assert_eq!(report["ops"], 20_000, "{name} on {threads}");
        }
    }
}

#[test]
fn an_idle_process_says_what_it_holds() {
    let report = report(SYSTEM, &["--scenario", "idle", "--ops", "40000"]);
    let live = report["live_kib"].as_u64().unwrap();
    // Two documents of about 10 MiB: the first of the run, the only one of the warm-up.
    assert!((5_000..40_000).contains(&live), "{report}");
    assert!(report["peak_kib"].as_u64().unwrap() > 2 * live, "{report}");
}

#[test]
fn a_launched_program_is_measured_and_its_failure_told() {
    const LAUNCH: &str = env!("CARGO_BIN_EXE_hakmem-launch");
    let folder = std::env::temp_dir().join(format!("hakmem-launch-{}", std::process::id()));
    let said = folder.to_str().unwrap();
    let run = report(LAUNCH, &["--count", "3", "--stdout", said, "--", SYSTEM, "--list"]);
    assert_eq!(run["ops"], 3);
    assert!(run["ns"].as_u64() >= Some(100_000) && run["peak_kib"].as_u64() > Some(500), "{run}");
    assert_eq!(
        std::fs::read_to_string(&folder).unwrap().lines().count(),
        1,
        "of the last run only"
    );
    std::fs::remove_file(&folder).unwrap();
    for (arguments, expected) in [
        (&["--", SYSTEM, "--bogus"] as &[&str], "it ended with exit status: 1"),
        (&["--", "/no/such/program"], "cannot run /no/such/program"),
        (&["--count", "0", "--", SYSTEM], "--count is 0"),
        (&[], "no program named"),
    ] {
        let output = output(LAUNCH, arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && errors.contains(expected), "{errors}");
    }
}
