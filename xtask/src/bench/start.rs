//! What a program that does nothing weighs, read at the moment it ends.
//!
//! The kernel's figure for a finished process counts the pages of whoever started it; its own
//! address space, looked at as it ends, does not. So it is watched, and stopped at its exit.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::peers::Allocator;
use super::process::preload;

/// Resident memory of a program at its end and at its peak, KiB.
pub fn memory_at_exit(program: &Path, allocator: &Allocator) -> Result<(u64, u64)> {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    preload(&mut command, allocator);
    // SAFETY: one system call, which is all that is allowed after fork.
    unsafe { command.pre_exec(|| ptrace::traceme().map_err(std::io::Error::from)) };
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot watch {}; is ptrace allowed here?", program.display()))?;
    let seen = follow(Pid::from_raw(child.id() as i32));
    // A watched process left behind would stay stopped for ever; both fail if it has ended.
    let _ = child.kill();
    let _ = child.wait();
    seen
}

fn follow(pid: Pid) -> Result<(u64, u64)> {
    let mut options_set = false;
    loop {
        match waitpid(pid, None)? {
            WaitStatus::PtraceEvent(_, _, event) if event == libc::PTRACE_EVENT_EXIT => {
                let read = |name| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
                let rss = field(&read("smaps_rollup")?, "Rss:").context("no Rss line")?;
                let peak = field(&read("status")?, "VmHWM:").context("no VmHWM line")?;
                ptrace::cont(pid, None)?;
                // The kernel counts the peak in batches, the walk of the pages is exact.
                return Ok((rss, peak.max(rss)));
            }
            WaitStatus::Stopped(_, signal) => {
                // The first stop is the program's start, which is no signal to pass on.
                let pass = options_set.then_some(signal);
                if !options_set {
                    ptrace::setoptions(pid, ptrace::Options::PTRACE_O_TRACEEXIT)?;
                    options_set = true;
                }
                ptrace::cont(pid, pass)?;
            }
            other => bail!("it ended before it could be looked at: {other:?}"),
        }
    }
}

/// The number behind a name in a file of `name: number kB` lines.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::paths;

    #[test]
    fn a_program_is_weighed_as_it_ends() {
        let system = Allocator {
            name: "glibc".into(),
            version: String::new(),
            library: None,
            program: None,
        };
        let program = paths::which("true").unwrap();
        let (rss, peak) = memory_at_exit(&program, &system).unwrap();
        // More than its code, less than what this test weighs.
        assert!((200..8000).contains(&rss) && peak >= rss, "{rss} {peak}");
        assert!(memory_at_exit(Path::new("/no/such/program"), &system).is_err());
    }

    #[test]
    fn fields_are_numbers_behind_names() {
        assert_eq!(field("Rss:    1234 kB\nPss: 5 kB\n", "Rss:"), Some(1234));
        assert_eq!(field("VmHWMx: 1 kB\n", "VmHWM:"), None);
    }
}
