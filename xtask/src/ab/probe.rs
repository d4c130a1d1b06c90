//! Breakpoints that count: how often given instructions of a program ran, without valgrind.
//!
//! Linux only, x86-64 only; needs nothing but leave to trace one's own child. Exact for one thread.
//! With several, a thread may slip past a breakpoint while another is stepped over it: the counts
//! are then lower bounds and say so.

use super::count::Subject;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a probed run showed.
#[derive(Debug, Default)]
pub struct Probed {
    /// Executions by address in the program file.
    pub executed: HashMap<u64, u64>,
    /// True if the counts are lower bounds: the limit cut the run off, or there were threads.
    pub partial: bool,
    /// Standard output so far.
    pub printed: String,
}

const BREAKPOINT: u8 = 0xcc;
const RIP: usize =
    std::mem::offset_of!(libc::user, regs) + std::mem::offset_of!(libc::user_regs_struct, rip);

/// Runs a program with a breakpoint at each of its places, addresses of instructions in the file.
pub fn run(subject: &Subject<'_>, arguments: &[String], limit: Duration) -> Result<Probed> {
    let (program, places) = (subject.program, &subject.places);
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(subject.variables.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    // SAFETY: both calls are async-signal-safe system calls without memory arguments.
    unsafe {
        command.pre_exec(|| {
            libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong);
            match libc::ptrace(libc::PTRACE_TRACEME, 0, 0usize, 0usize) {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            }
        });
    }
    let mut child =
        command.spawn().with_context(|| format!("cannot trace {}", program.display()))?;
    let mut output = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        // A program cut off may leave half a character; what was read before stands.
        let _ = output.read_to_string(&mut text);
        text
    });
    let outcome = Tracer::start(child.id() as libc::pid_t, program, places)
        .and_then(|mut tracer| tracer.follow(limit));
    if outcome.is_err() {
        // It may have ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
    let mut probed = outcome.with_context(|| format!("tracing {}", program.display()))?;
    probed.printed = reader.join().unwrap_or_default();
    Ok(probed)
}

/// A traced process with its breakpoints set.
struct Tracer {
    leader: libc::pid_t,
    memory: File,
    /// Loaded address minus address in the file.
    bias: u64,
    /// The bytes under the breakpoints, by loaded address.
    covered: HashMap<u64, u8>,
    probed: Probed,
}

impl Tracer {
    /// Takes over a child that stopped at the end of its `exec`.
    fn start(leader: libc::pid_t, program: &Path, places: &BTreeSet<u64>) -> Result<Tracer> {
        wait(leader)?;
        request(
            libc::PTRACE_SETOPTIONS,
            leader,
            (libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL) as usize,
        )?;
        let bias = load_address(leader, program)?;
        let memory =
            OpenOptions::new().read(true).write(true).open(format!("/proc/{leader}/mem"))?;
        let mut covered = HashMap::new();
        for place in places {
            let mut byte = [0];
            memory.read_exact_at(&mut byte, place + bias)?;
            covered.insert(place + bias, byte[0]);
        }
        for place in covered.keys() {
            memory.write_all_at(&[BREAKPOINT], *place)?;
        }
        request(libc::PTRACE_CONT, leader, 0)?;
        Ok(Tracer { leader, memory, bias, covered, probed: Probed::default() })
    }

    /// Counts until the process ends or `limit` has passed.
    fn follow(&mut self, limit: Duration) -> Result<Probed> {
        let deadline = Instant::now() + limit;
        let mut stopped = false;
        loop {
            let (thread, status) = wait(-1)?;
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                if thread == self.leader {
                    if libc::WIFSIGNALED(status) && !stopped {
                        bail!("ended by signal {}", libc::WTERMSIG(status));
                    }
                    return Ok(std::mem::take(&mut self.probed));
                }
                continue;
            }
            if !stopped && Instant::now() > deadline {
                (stopped, self.probed.partial) = (true, true);
                // SAFETY: sends a signal to a process that we started and have not waited for.
                unsafe { libc::kill(self.leader, libc::SIGKILL) };
                continue;
            }
            let signal = libc::WSTOPSIG(status);
            let pass = match signal {
                libc::SIGTRAP if status >> 16 != 0 => {
                    self.probed.partial = true;
                    0
                }
                libc::SIGTRAP => self.hit(thread)?,
                // A new thread begins with a stop of its own.
                libc::SIGSTOP => 0,
                signal => signal,
            };
            resume(libc::PTRACE_CONT, thread, pass)?;
        }
    }

    /// Counts a breakpoint and steps the thread over it. Returns a signal to pass on, if any.
    fn hit(&mut self, thread: libc::pid_t) -> Result<libc::c_int> {
        let place = instruction_pointer(thread)?.wrapping_sub(1);
        let Some(byte) = self.covered.get(&place).copied() else { return Ok(libc::SIGTRAP) };
        *self.probed.executed.entry(place - self.bias).or_default() += 1;
        set_instruction_pointer(thread, place)?;
        self.memory.write_all_at(&[byte], place)?;
        resume(libc::PTRACE_SINGLESTEP, thread, 0)?;
        let (_, status) = wait(thread)?;
        // A process that has just ended has no memory to mend.
        if !libc::WIFSTOPPED(status) {
            bail!("ended in the middle of a step");
        }
        self.memory.write_all_at(&[BREAKPOINT], place)?;
        match libc::WSTOPSIG(status) {
            libc::SIGTRAP => Ok(0),
            signal => Ok(signal),
        }
    }
}

/// Where the program file is mapped: its addresses count from there.
fn load_address(process: libc::pid_t, program: &Path) -> Result<u64> {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps"))?;
    let name = program.canonicalize()?;
    let line = maps.lines().find(|line| line.ends_with(&*name.to_string_lossy()));
    let start = line.and_then(|line| u64::from_str_radix(line.split('-').next()?, 16).ok());
    start.with_context(|| format!("{} is not mapped in its own process", name.display()))
}

fn wait(process: libc::pid_t) -> Result<(libc::pid_t, libc::c_int)> {
    let mut status = 0;
    // Only the children of this very thread: other threads of ours wait for theirs.
    // SAFETY: `status` is writable.
    match unsafe { libc::waitpid(process, &mut status, libc::__WALL | libc::__WNOTHREAD) } {
        -1 => Err(std::io::Error::last_os_error()).context("waiting for a traced program"),
        thread => Ok((thread, status)),
    }
}

fn request(what: libc::c_uint, thread: libc::pid_t, data: usize) -> std::io::Result<()> {
    // SAFETY: only requests whose address is ignored and whose data is a number are made here.
    match unsafe { libc::ptrace(what, thread, 0usize, data) } {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Lets a stopped thread run on. One that was killed meanwhile is reported by `wait`.
fn resume(how: libc::c_uint, thread: libc::pid_t, signal: libc::c_int) -> Result<()> {
    match request(how, thread, signal as usize) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        outcome => outcome.context("resuming a traced program"),
    }
}

/// The address of the instruction that the stopped thread runs next.
fn instruction_pointer(thread: libc::pid_t) -> Result<u64> {
    // SAFETY: errno is this thread's own; reads one word of the stopped thread's saved registers.
    let value = unsafe {
        *libc::__errno_location() = 0;
        libc::ptrace(libc::PTRACE_PEEKUSER, thread, RIP, 0usize)
    };
    let error = std::io::Error::last_os_error();
    if value == -1 && error.raw_os_error() != Some(0) {
        return Err(error).context("reading a traced program's registers");
    }
    Ok(value as u64)
}

fn set_instruction_pointer(thread: libc::pid_t, to: u64) -> Result<()> {
    // SAFETY: writes one word of the stopped thread's saved registers, an address it came from.
    match unsafe { libc::ptrace(libc::PTRACE_POKEUSER, thread, RIP, to as usize) } {
        -1 => Err(std::io::Error::last_os_error()).context("setting a traced program's registers"),
        _ => Ok(()),
    }
}
