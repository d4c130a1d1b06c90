//! The soak finds what is planted, and else does a bit of everything.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

const SOAK: &str = env!("CARGO_BIN_EXE_hakmem-soak");

fn soak(arguments: &[&str]) -> Output {
    Command::new(SOAK).args(arguments).output().expect("the soak starts")
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn a_short_soak_does_a_bit_of_everything() {
    let output = soak(&["--ms", "400", "--threads", "3", "--seed", "5"]);
    assert!(output.status.success(), "{output:?}");
    let lines = lines(&output);
    let (end, samples) = lines.split_last().expect("lines");
    let last = &samples.last().expect("a sample")["sample"];
    assert!(last["resident_kib"].as_u64() > Some(0), "{last}");
    let end = &end["ended"];
    for figure in ["ms", "operations", "threads", "forks", "walks", "peak_kib", "left_kib"] {
        assert!(end[figure].as_u64() > Some(0), "{figure}: {end}");
    }
    assert!(end["handed_over"].is_u64(), "{end}");
}

#[test]
fn it_goes_on_until_there_have_been_as_many_forks_as_asked_for() {
    let output = soak(&["--ms", "1", "--threads", "2", "--forks", "5"]);
    assert!(output.status.success(), "{output:?}");
    let end = lines(&output).pop().expect("a line");
    assert!(end["ended"]["forks"].as_u64() >= Some(5), "{end}");
}

#[test]
fn an_interrupt_brings_the_end_early() {
    let mut soak = Command::new(SOAK)
        .args(["--ms", "3600000", "--threads", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the soak starts");
    let lines = BufReader::new(soak.stdout.take().expect("piped")).lines();
    let mut told = Vec::new();
    for line in lines {
        told.push(line.expect("a line"));
        if told.len() == 1 {
            // SAFETY: our child, which has not been waited for.
            unsafe { libc::kill(soak.id() as libc::pid_t, libc::SIGINT) };
        }
    }
    assert!(soak.wait().expect("its end").success(), "{told:?}");
    let end: Value = serde_json::from_str(told.last().expect("lines")).expect("JSON");
    assert!(end["ended"]["operations"].as_u64() > Some(0), "{end}");
}

#[test]
fn what_is_wrong_ends_it_and_is_told() {
    for (plant, words) in [
        ("content", "live block: byte"),
        ("leak", "blocks are lost: 1 in slabs"),
        ("double-free", "hakmem: "),
    ] {
        let output = soak(&["--ms", "1", "--threads", "2", "--plant", plant]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(words), "{plant}: {output:?}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("ended"), "{plant}");
    }
}

#[test]
fn bad_arguments_get_one_line() {
    for (arguments, words) in [
        (&["--threads", "0"] as &[&str], "--threads is 0, expected 1 to 256"),
        (&["--plant", "x"], "--plant is 'x', expected one of content, leak, double-free"),
        (&["--bogus"], "bogus"),
    ] {
        let output = soak(arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(told.contains(words) && told.lines().count() == 1, "{told}");
    }
}
