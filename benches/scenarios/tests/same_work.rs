//! Both binaries do the same work: same operations, same checksum, whatever the heap behind them.

use std::process::{Command, Output};

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

#[test]
fn the_lists_agree() {
    let names = report(SYSTEM, &["--list"]);
    let rows = report(LINKED, &["--describe"]);
    let described: Vec<_> =
        rows.as_array().unwrap().iter().map(|row| row["name"].clone()).collect();
    assert_eq!(names, Value::from(described));
    assert_eq!(names.as_array().unwrap().len(), SCENARIOS.len());
}

#[test]
fn bad_arguments_get_one_line() {
    for (arguments, expected) in [
        (&["--scenario", "no-such"] as &[&str], "no scenario is called 'no-such'"),
        (&["--scenario", "vm", "--ops", "0"], "--ops is 0"),
        (&["--scenario", "larson", "--threads", "1"], "--threads is 1"),
        (&[], "no scenario named"),
        (&["--bogus"], "bogus"),
    ] {
        let output = output(SYSTEM, arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(errors.contains(expected) && errors.lines().count() == 1, "{errors}");
    }
}
