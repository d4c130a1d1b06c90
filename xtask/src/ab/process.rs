//! Running a scenario so that nothing but the program itself decides its time: a fresh process,
//! on one processor, at fixed addresses, with an environment that holds nothing but padding.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// What a scenario prints.
#[derive(Clone, Debug, Deserialize)]
pub struct Printed {
    /// Operations done.
    pub ops: u64,
    /// Wall time of the work, nanoseconds.
    pub ns: u64,
    /// Processor time of the work, all threads, nanoseconds.
    pub cpu_ns: u64,
    /// Of sizes and order: the same in both arms or the arms do different work.
    pub checksum: serde_json::Value,
    /// Resident memory at the end, KiB.
    pub rss_kib: u64,
    /// Highest resident memory, KiB.
    pub peak_kib: u64,
}

/// One finished run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What it printed.
    pub printed: Printed,
    /// How often the kernel took the processor away from it.
    pub preempted: i64,
}

/// Conditions that both arms share.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// The processor to run on; `None` for threaded scenarios.
    pub processor: Option<usize>,
    /// Bytes of environment, which moves the stack.
    pub padding: usize,
}

/// Runs `program` with `arguments` and reads the line that it prints.
pub fn run(program: &Path, arguments: &[String], conditions: Conditions) -> Result<Ran> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PADDING", "x".repeat(conditions.padding));
    // Of its own group: Ctrl-C ends us in order, not the program in the middle of a block.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = {
        let _pinned = conditions.processor.map(Pinned::to).transpose()?;
        command.spawn().with_context(|| format!("cannot start {}", program.display()))?
    };
    let (mut text, mut complaint) = (String::new(), String::new());
    child.stdout.take().expect("piped").read_to_string(&mut text)?;
    child.stderr.take().expect("piped").read_to_string(&mut complaint)?;
    let mut status = 0;
    // SAFETY: zeroed is a valid rusage, both places are writable, and `child` is never waited for
    // through its handle, so that the process is ours to reap.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        if libc::wait4(child.id() as libc::pid_t, &mut status, 0, &mut usage) < 0 {
            return Err(std::io::Error::last_os_error()).context("waiting for a scenario");
        }
        usage
    };
    let shown = || format!("{} {}", program.display(), arguments.join(" "));
    if status != 0 {
        bail!("`{}` failed (wait status {status}): {}", shown(), complaint.trim());
    }
    let printed = serde_json::from_str(text.trim())
        .with_context(|| format!("`{}` printed {:?}", shown(), text.trim()))?;
    Ok(Ran { printed, preempted: usage.ru_nivcsw })
}

/// Holds this thread, and what it starts, on one processor until dropped.
struct Pinned(libc::cpu_set_t);

impl Pinned {
    fn to(processor: usize) -> Result<Pinned> {
        let before = allowed()?;
        // SAFETY: a cpu_set_t is a bit array, all zero is valid; the calls get its true size.
        let outcome = unsafe {
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(processor, &mut one);
            libc::sched_setaffinity(0, size_of_val(&one), &one)
        };
        if outcome < 0 {
            return Err(std::io::Error::last_os_error())
                .context(format!("cannot run on processor {processor}"));
        }
        Ok(Pinned(before))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: the set is the one that the kernel gave. Failing leaves us on one processor: slow,
        // not wrong.
        unsafe { libc::sched_setaffinity(0, size_of_val(&self.0), &self.0) };
    }
}

fn allowed() -> Result<libc::cpu_set_t> {
    // SAFETY: all zero is a valid set, and the call gets its true size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of_val(&set), &mut set) < 0 {
            return Err(std::io::Error::last_os_error())
                .context("cannot ask for the allowed processors");
        }
        Ok(set)
    }
}

/// The processor to measure on: the last allowed one, as the first ones serve most interrupts.
pub fn quiet_processor() -> Result<usize> {
    let set = allowed()?;
    // SAFETY: the index stays inside the set.
    let last = (0..libc::CPU_SETSIZE as usize)
        .rev()
        .find(|index| unsafe { libc::CPU_ISSET(*index, &set) });
    last.context("no processor is allowed")
}

/// Turns address randomisation off for everything that this process starts. False where the system
/// does not allow it (some containers).
pub fn fix_addresses() -> bool {
    // SAFETY: changes a flag of this process that takes effect at the next exec.
    unsafe {
        let now = libc::personality(0xffff_ffff);
        now >= 0
            && libc::personality(now as libc::c_ulong | libc::ADDR_NO_RANDOMIZE as libc::c_ulong)
                >= 0
    }
}

/// Milliseconds that the hypervisor has kept from `processor` (from all of them for `None`) since
/// the machine started.
pub fn stolen_ms(processor: Option<usize>) -> u64 {
    let name = processor.map_or("cpu".to_owned(), |index| format!("cpu{index}"));
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().find(|line| line.split(' ').next() == Some(&name));
    // user nice system idle iowait irq softirq steal, in hundredths of a second.
    line.and_then(|line| line.split_whitespace().nth(8)?.parse::<u64>().ok()).unwrap_or(0) * 10
}

/// The one-minute load average.
pub fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From here on, the first Ctrl-C asks for an orderly end; the second ends at once.
pub fn catch_interrupts() -> Result<()> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .context("cannot catch Ctrl-C")
}

/// True once Ctrl-C was pressed.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    fn conditions(padding: usize) -> Conditions {
        Conditions { processor: Some(quiet_processor().unwrap()), padding }
    }

    #[test]
    fn a_run_is_read_and_the_pin_is_lifted() {
        let fixture = Fixture::new("used");
        let arm = fixture.arm(false);
        let arguments = ["--scenario", "work", "--ops", "1234"].map(str::to_owned);
        let ran = run(&arm.program, &arguments, conditions(100)).unwrap();
        assert_eq!(ran.printed.ops, 1234);
        assert!(ran.printed.ns > 0);
        // SAFETY: two plain sets.
        assert!(unsafe {
            libc::CPU_EQUAL(&allowed().unwrap(), &Pinned::to(quiet_processor().unwrap()).unwrap().0)
        });
    }

    #[test]
    fn a_failing_program_is_named_with_its_complaint() {
        let error = run(Path::new("/bin/ls"), &["/nonexistent-folder".to_owned()], conditions(0))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/bin/ls /nonexistent-folder") && error.contains("No such file"),
            "{error}"
        );
    }

    #[test]
    fn the_machine_tells_its_load() {
        assert!(load() >= 0.0);
        assert!(stolen_ms(Some(0)) <= stolen_ms(None) + 10_000);
    }
}
