//! Child processes with a limit: each in a process group of its own, so that whatever it started
//! ends with it, when the time is up and when the user presses Ctrl-C.

use crate::shared::command;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// The group that runs now, for the Ctrl-C handler; 0 where none does.
static RUNNING: AtomicI32 = AtomicI32::new(0);
static HANDLER: Once = Once::new();

/// A running process group.
pub struct Group {
    child: Child,
    id: i32,
    started: Instant,
}

/// How a process ended.
pub struct Ended {
    /// None where the time was up.
    pub status: Option<ExitStatus>,
    /// How long it ran.
    pub took: Duration,
}

impl Ended {
    /// True for exit code 0 in time.
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// The exit code, where there is one.
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// How it ended, in words.
    pub fn words(&self) -> String {
        match self.status {
            Some(status) => status.to_string(),
            None => format!("no end within {} s", self.took.as_secs()),
        }
    }
}

impl Group {
    /// Starts `command`, with nothing on standard input, in a group of its own.
    pub fn start(mut command: Command) -> Result<Group> {
        HANDLER.call_once(|| {
            // A command that has set its own handler keeps it; its children end on their own.
            let _ = ctrlc::set_handler(|| {
                end_running();
                std::process::exit(130);
            });
        });
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start `{}`", command::show(&command)))?;
        let id = i32::try_from(child.id()).context("process id")?;
        RUNNING.store(id, Ordering::SeqCst);
        Ok(Group { child, id, started: Instant::now() })
    }

    /// Waits until the first process ends or `limit` has passed, then ends the rest of the group.
    pub fn wait(mut self, limit: Duration) -> Result<Ended> {
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break Some(status);
            }
            if self.started.elapsed() > limit {
                break None;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let took = self.started.elapsed();
        end(self.id);
        if status.is_none() {
            self.child.wait()?;
        }
        RUNNING.store(0, Ordering::SeqCst);
        Ok(Ended { status, took })
    }
}

/// Runs `command` and hands every line of its output, both streams in one, to `on_line`.
pub fn stream(
    mut command: Command,
    limit: Duration,
    mut on_line: impl FnMut(&str),
) -> Result<Ended> {
    let (reader, writer) = std::io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    // The command, and with it our ends of the pipe, is gone when this returns.
    let group = Group::start(command)?;
    std::thread::scope(|scope| {
        // Ends whatever the first process leaves behind, so that the pipe comes to its end too.
        let waiter = scope.spawn(|| group.wait(limit));
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while let Ok(1..) = reader.read_until(b'\n', &mut line) {
            on_line(String::from_utf8_lossy(&line).trim_end_matches('\n'));
            line.clear();
        }
        waiter.join().unwrap_or_else(|_| bail!("the waiting thread panicked"))
    })
}

/// Tells the running group of a Ctrl-C, so that it may come to an end of its own.
pub fn interrupt_running() {
    signal(RUNNING.load(Ordering::SeqCst), libc::SIGINT);
}

/// Ends the running group at once.
pub fn end_running() {
    end(RUNNING.load(Ordering::SeqCst));
}

/// Ends every process of the group.
fn end(group: i32) {
    signal(group, libc::SIGKILL);
}

fn signal(group: i32, signal: i32) {
    if group > 0 {
        // SAFETY: sends a signal and touches no memory. The group is one that we made; while a
        // member lives its id is not used again, and without a member the call does nothing.
        unsafe { libc::kill(-group, signal) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_of_both_streams_arrive_and_the_code_is_kept() {
        let mut lines = Vec::new();
        let ended =
            stream(sh("echo a; echo b >&2; printf c; exit 3"), Duration::from_secs(200), |line| {
                lines.push(line.to_owned());
            })
            .unwrap();
        assert_eq!(lines, ["a", "b", "c"]);
        assert_eq!(ended.code(), Some(3));
        assert!(!ended.success());
    }

    #[test]
    fn a_limit_ends_the_children_too() {
        let started = Instant::now();
        let ended =
            stream(sh("sleep 1000 & sleep 1000"), Duration::from_millis(300), |_| {}).unwrap();
        assert!(ended.status.is_none());
        let ended = stream(sh("sleep 1000 & exit 4"), Duration::from_secs(1000), |_| {}).unwrap();
        assert_eq!(ended.code(), Some(4), "what is left behind does not hold us up");
        assert!(started.elapsed() < Duration::from_secs(500));
        let ended = Group::start(sh("sleep 1000 & sleep 1000"))
            .unwrap()
            .wait(Duration::from_millis(100))
            .unwrap();
        assert!(ended.words().contains("no end"));
    }
}
