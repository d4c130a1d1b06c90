//! Running a scenario so that nothing but the program itself decides its time: a fresh process,
//! on one processor, at fixed addresses, with an environment that holds nothing but padding and the
//! settings that the gates in question ask for.

use crate::shared::command;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
    /// Processor time of the whole process, start-up and end included, milliseconds.
    pub cpu_ms: f64,
}

/// A setting of the heap: the name of its variable, and the value.
pub type Variable = (String, String);

/// What to run: a program file, and the library to preload into it, if any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program.
    pub file: PathBuf,
    /// What goes between it and the C library.
    pub preload: Option<PathBuf>,
    /// The heap's settings.
    pub variables: Vec<Variable>,
}

impl Program {
    /// A program as it is.
    #[cfg(test)]
    pub fn plain(file: &Path) -> Program {
        Program { file: file.to_owned(), preload: None, variables: Vec::new() }
    }

    /// The command line by which a person runs the same; turns, if it waits for any, all at once.
    pub fn by_hand(&self, arguments: &[String]) -> String {
        let turns = arguments.iter().position(|word| word == "--turns");
        let turns = turns.and_then(|at| arguments.get(at + 1));
        let turns = turns.map_or(String::new(), |turns| format!("head -c {turns} /dev/zero | "));
        let preload = self
            .preload
            .as_ref()
            .map_or(String::new(), |library| format!("LD_PRELOAD={} ", library.display()));
        let variables: String =
            self.variables.iter().map(|(name, value)| format!("{name}={value} ")).collect();
        format!("{turns}{variables}{preload}{} {}", self.file.display(), arguments.join(" "))
    }
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
pub fn run(program: &Program, arguments: &[String], conditions: Conditions) -> Result<Ran> {
    Running::start(program, arguments, conditions)?.finish()
}

/// A program that was started, and that is ended with this if it has not come to its end.
pub struct Running {
    child: Child,
    shown: String,
    complaints: File,
    /// What it printed where the end of a turn was expected.
    printed: Vec<u8>,
    /// Whether its end is still to be waited for.
    there: bool,
}

impl Running {
    /// Starts `program` with `arguments`.
    pub fn start(
        program: &Program,
        arguments: &[String],
        conditions: Conditions,
    ) -> Result<Running> {
        let mut command = Command::new(&program.file);
        command.args(arguments).env_clear().env("PADDING", "x".repeat(conditions.padding));
        command.envs(program.variables.iter().cloned());
        if let Some(library) = &program.preload {
            command.env("LD_PRELOAD", library);
        }
        // Complaints go to a file: a pipe that nobody reads meanwhile would stop a long one for ever.
        let complaints = tempfile::tempfile().context("no scratch file")?;
        // Of its own group: Ctrl-C ends us in order, not the program in the middle of a block.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(complaints.try_clone().context("no scratch file")?);
        let child = {
            let _pinned = conditions.processor.map(Pinned::to).transpose()?;
            command.spawn().with_context(|| format!("cannot start {}", program.file.display()))?
        };
        let (shown, printed) = (program.by_hand(arguments), Vec::new());
        Ok(Running { child, shown, complaints, printed, there: true })
    }

    /// Gives it a turn (`benches/scenarios/src/turns.rs`) and waits until that is over. False where it
    /// has come to its end instead: [`Running::finish`] knows which.
    pub fn turn(&mut self) -> bool {
        let mut byte = [b'.'];
        let (Some(turns), Some(ends)) = (&mut self.child.stdin, &mut self.child.stdout) else {
            return false;
        };
        if turns.write_all(&byte).is_err() || ends.read_exact(&mut byte).is_err() {
            return false;
        }
        let over = byte == *b".";
        if !over {
            self.printed.extend(byte);
        }
        over
    }

    /// Waits for its end and reads the line that it has printed.
    pub fn finish(mut self) -> Result<Ran> {
        drop(self.child.stdin.take());
        // What a crashing program prints need not be text.
        let mut text = std::mem::take(&mut self.printed);
        self.child.stdout.take().expect("piped").read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        let mut status = 0;
        // SAFETY: zeroed is a valid rusage, both places are writable, and `child` is never waited for
        // through its handle before this, so that the process is ours to reap.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            if libc::wait4(self.child.id() as libc::pid_t, &mut status, 0, &mut usage) < 0 {
                return Err(std::io::Error::last_os_error()).context("waiting for a scenario");
            }
            usage
        };
        self.there = false;
        let mut complaint = Vec::new();
        self.complaints.rewind()?;
        self.complaints.read_to_end(&mut complaint)?;
        let complaint = String::from_utf8_lossy(&complaint);
        if status != 0 {
            bail!(
                "a scenario {}, so there is no verdict; by hand: `{}`{}",
                ended(status),
                self.shown,
                said(&complaint)
            );
        }
        // The loader only warns when it cannot preload, and the program would run on the system's heap.
        if complaint.contains("LD_PRELOAD") {
            bail!("`{}` ran without its library{}", self.shown, said(&complaint));
        }
        let printed = serde_json::from_str(text.trim()).with_context(|| {
            format!(
                "a scenario printed {:?} instead of its figures; by hand: `{}`",
                text.trim(),
                self.shown
            )
        })?;
        let ms = |time: libc::timeval| time.tv_sec as f64 * 1e3 + time.tv_usec as f64 / 1e3;
        let cpu_ms = ms(usage.ru_utime) + ms(usage.ru_stime);
        Ok(Ran { printed, preempted: usage.ru_nivcsw, cpu_ms })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.there {
            // It may have ended by itself meanwhile; then there is nothing to end.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// How a process ended, in words.
fn ended(status: libc::c_int) -> String {
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        let name = nix::sys::signal::Signal::try_from(signal)
            .map_or_else(|_| signal.to_string(), |signal| signal.as_str().to_owned());
        format!("crashed ({name})")
    } else {
        format!("failed (exit code {})", libc::WEXITSTATUS(status))
    }
}

/// The end of what a program said on standard error, as the rest of a message.
fn said(complaint: &str) -> String {
    match command::tail(complaint.trim().as_bytes(), 5) {
        said if said.is_empty() => "; it said nothing".to_owned(),
        said => format!("; it said: {said}"),
    }
}

/// Holds this thread, and what it starts, on one processor until dropped.
pub struct Pinned(libc::cpu_set_t);

impl Pinned {
    /// Moves this thread there.
    pub fn to(processor: usize) -> Result<Pinned> {
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

/// What the kernel says of the processors' time since the machine started, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Kept from the machine by the hypervisor.
    pub stolen: u64,
    /// Used, by whatever program or by the kernel itself.
    pub used: u64,
}

/// The time spent on `processor`, or on all of them for `None`; zero where nobody tells.
pub fn spent(processor: Option<usize>) -> Spent {
    spent_in(&std::fs::read_to_string("/proc/stat").unwrap_or_default(), processor)
}

fn spent_in(stat: &str, processor: Option<usize>) -> Spent {
    let name = processor.map_or("cpu".to_owned(), |index| format!("cpu{index}"));
    let line = stat.lines().find(|line| line.split(' ').next() == Some(&name)).unwrap_or("");
    // user nice system idle iowait irq softirq steal, in hundredths of a second.
    let column = |at: usize| {
        line.split_whitespace().nth(at + 1).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
    };
    let used = [0, 1, 2, 5, 6].map(column).iter().sum::<u64>();
    Spent { stolen: column(7) * 10, used: used * 10 }
}

/// The one-minute load average.
pub fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// What this machine does not tell and the verdict would rest on, with what that costs.
pub fn unknown_here() -> Vec<String> {
    unknown_below(Path::new("/proc"))
}

fn unknown_below(proc: &Path) -> Vec<String> {
    let mut unknown = Vec::new();
    if !proc.join("stat").exists() {
        unknown.push(format!(
            "the time that the hypervisor and other programs took: there is no {}; blocks are only dropped for what the programs' own clocks show",
            proc.join("stat").display()
        ));
    }
    if !proc.join("self/status").exists() {
        unknown.push(format!(
            "memory: there is no {}, so its columns say nothing and the verdict is about time alone",
            proc.join("self/status").display()
        ));
    }
    unknown
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
        let ran = run(&Program::plain(&arm.program), &arguments, conditions(100)).unwrap();
        assert_eq!(ran.printed.ops, 1234);
        assert!(ran.printed.ns > 0);
        // SAFETY: two plain sets.
        assert!(unsafe {
            libc::CPU_EQUAL(&allowed().unwrap(), &Pinned::to(quiet_processor().unwrap()).unwrap().0)
        });
    }

    #[test]
    fn a_failing_program_is_named_with_its_complaint() {
        let ls = Program::plain(Path::new("/bin/ls"));
        let error =
            run(&ls, &["/nonexistent-folder".to_owned()], conditions(0)).unwrap_err().to_string();
        assert!(
            error.contains("by hand: `/bin/ls /nonexistent-folder`")
                && error.contains("exit code 2")
                && error.contains("No such file"),
            "{error}"
        );
    }

    #[test]
    fn a_crash_names_its_signal_and_garbage_is_no_figure() {
        let sh = Program::plain(Path::new("/bin/sh"));
        let run = |script: &str| {
            let arguments = ["-c", script].map(str::to_owned);
            run(&sh, &arguments, conditions(0)).unwrap_err().to_string()
        };
        let error = run("kill -SEGV $$");
        assert!(error.contains("crashed (SIGSEGV)") && error.contains("no verdict"), "{error}");
        let error = run("echo 12 figures");
        assert!(error.contains("printed \"12 figures\"") && error.contains("by hand"), "{error}");
    }

    #[test]
    fn a_library_that_does_not_load_is_an_error_and_not_another_heap() {
        let program = Program {
            file: PathBuf::from("/bin/echo"),
            preload: Some(PathBuf::from("/nonexistent.so")),
            variables: Vec::new(),
        };
        let error = run(&program, &["{}".to_owned()], conditions(0)).unwrap_err().to_string();
        assert!(
            error.contains("LD_PRELOAD=/nonexistent.so /bin/echo {}")
                && error.contains("without its library"),
            "{error}"
        );
    }

    #[test]
    fn a_program_gets_the_settings_and_nothing_else() {
        let script = "test \"$HAKMEM_TRIED\" = on && test -z \"$HOME\" || exit 3; echo '{}'";
        let sh = Program {
            variables: vec![("HAKMEM_TRIED".to_owned(), "on".to_owned())],
            ..Program::plain(Path::new("/bin/sh"))
        };
        let arguments = ["-c", script].map(str::to_owned);
        // It gets as far as to print what is no figure.
        let error = run(&sh, &arguments, conditions(0)).unwrap_err().to_string();
        assert!(error.contains("instead of its figures"), "{error}");
        assert!(error.contains("`HAKMEM_TRIED=on /bin/sh -c"), "{error}");
    }

    #[test]
    fn a_machine_without_proc_says_what_that_costs() {
        assert!(unknown_here().is_empty());
        let unknown = unknown_below(Path::new("/nonexistent"));
        assert!(unknown[0].contains("hypervisor") && unknown[1].contains("time alone"));
    }

    #[test]
    fn the_machine_tells_its_load() {
        assert!(load() >= 0.0);
        assert!(spent(Some(0)).stolen <= spent(None).stolen + 10_000);
        assert!(spent(None).used > 0);
    }

    #[test]
    fn the_kernels_table_of_times_is_read() {
        let stat = "cpu  10 20 30 900 5 6 7 8 0 0\ncpu0 1 2 3 400 1 1 1 4 0 0\nintr 5\n";
        assert_eq!(spent_in(stat, None), Spent { stolen: 80, used: 730 });
        assert_eq!(spent_in(stat, Some(0)), Spent { stolen: 40, used: 80 });
        assert_eq!(spent_in("", Some(0)), Spent::default());
    }
}
