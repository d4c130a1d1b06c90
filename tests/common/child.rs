//! Runs the body of a test in a process of its own: the test binary again, with only this test.
//!
//! For what ends the process, changes it for good (limits, settings), or needs a heap that nobody
//! else uses.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Names the case that a child is to run.
const CASE: &str = "CHILD_CASE";
const LIMIT: Duration = Duration::from_secs(600);

/// The value of a variable that a case is to run without, where the surroundings would set it.
pub const UNSET: &str = "\0";

/// For a child that is to have no worker, however large it grows.
pub const NO_WORKER: &[(&str, &str)] =
    if cfg!(feature = "background-worker") { &[("HAKMEM_WORKER", "off")] } else { &[] };

/// What a child left behind.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The lines that the heap wrote.
    pub fn lines(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| line.starts_with("hakmem: ")).collect()
    }

    /// Fails the test unless the child's body ran to its end, the heap silent.
    #[track_caller]
    pub fn is_quiet(&self) {
        self.is_good();
        assert!(self.lines().is_empty(), "the heap complained: {self:#?}");
    }

    /// Fails the test unless the child's body ran to its end.
    #[track_caller]
    pub fn is_good(&self) {
        assert!(self.code == Some(0), "the child failed: {self:#?}");
    }
}

/// In the test: runs `body` in a child with these variables set and tells how it ended. In the
/// child: runs `body` and ends the process with code 0.
///
/// `test` is the full name of the calling test, `case` one of its cases.
pub fn run(test: &str, case: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Ended {
    let name = format!("{test}/{case}");
    match std::env::var(CASE) {
        Ok(wanted) if wanted == name => {
            settle();
            lift_limits_before_a_panic();
            body();
            std::process::exit(0);
        }
        // Another case of the same test: not for this child.
        Ok(_) => {
            Ended { code: Some(0), signal: None, stdout: String::new(), stderr: String::new() }
        }
        Err(_) => spawn(test, &name, variables),
    }
}

/// A body that has taken its own memory away and then fails must still be able to say so: what the
/// standard library does at a panic allocates, and can wait for itself for ever where it can't.
fn lift_limits_before_a_panic() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        super::memory::lift_all();
        say(panic);
    }));
}

/// Waits until the harness, which runs the test on a thread of its own and allocates on its way to
/// wait for it, has come there: a body that counts blocks would count some of those.
fn settle() {
    // SAFETY: neither call touches memory.
    let (process, thread) = unsafe { (libc::getpid(), libc::gettid()) };
    let harness = format!("/proc/self/task/{process}/stat");
    // The third field, behind the name in brackets, is the state: S is asleep. Nothing but the wait
    // for us can put it to sleep for as long as we do no more than look.
    let asleep = || {
        let stat = std::fs::read_to_string(&harness).expect("the harness has a thread");
        stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('S'))
    };
    while thread != process && !asleep() {
        std::thread::yield_now();
    }
}

/// Whether this process is such a child.
pub fn is_child() -> bool {
    std::env::var_os(CASE).is_some()
}

fn spawn(test: &str, name: &str, variables: &[(&str, &str)]) -> Ended {
    let program = std::env::current_exe().expect("the path of the test binary");
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    // The heap's settings are those of the case, whatever the surroundings have.
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("HAKMEM_") {
            command.env_remove(variable);
        }
    }
    if super::SANITIZED {
        // Some cases end the process while threads run: that is what they are about.
        let options = std::env::var("TSAN_OPTIONS").unwrap_or_default();
        command.env("TSAN_OPTIONS", format!("{options} report_thread_leaks=0"));
    }
    if cfg!(feature = "guard-sample") {
        // Where a case does not ask for it, no block is special by chance.
        command.env("HAKMEM_GUARD_SAMPLE", "off");
    }
    command.env(CASE, name);
    for &(variable, value) in variables {
        if value == UNSET {
            command.env_remove(variable)
        } else {
            command.env(variable, value)
        };
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start the test binary again");
    let mut out = child.stdout.take().expect("piped");
    let mut err = child.stderr.take().expect("piped");
    let readers = (
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = out.read_to_end(&mut bytes);
            bytes
        }),
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = err.read_to_end(&mut bytes);
            bytes
        }),
    );
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("wait for the child") {
            break Some(status);
        }
        if started.elapsed() > LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let ended = Ended {
        code: status.and_then(|status| status.code()),
        signal: status.and_then(|status| status.signal()),
        stdout: text(readers.0.join().expect("reader")),
        stderr: text(readers.1.join().expect("reader")),
    };
    assert!(status.is_some(), "{name} hung for {LIMIT:?}: {ended:#?}");
    // A child that ran no test would end well, too.
    assert!(
        ended.stdout.contains("running 1 test"),
        "no test named {test} in this binary: {ended:#?}"
    );
    ended
}

/// The heap's only complaint, which holds these words.
#[track_caller]
pub fn complains(ended: &Ended, words: &[&str]) {
    if is_child() {
        return;
    }
    ended.is_good();
    let lines = ended.lines();
    assert_eq!(lines.len(), 1, "expected one line: {ended:#?}");
    for word in words {
        assert!(lines[0].contains(word), "no {word:?} in {:?}", lines[0]);
    }
}
