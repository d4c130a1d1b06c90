//! Counts the instructions that a call really executes, by running a child one instruction at a
//! time: exact, and blind to nothing (a jump into another library is counted like any other).
//!
//! The child is one of the `hakmem-step` programs of `benches/scenarios`: it says where the
//! functions are and stops itself before and after the calls to count.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::bench::results::median;

/// What one function executed, over all the calls that were watched.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Instructions of each call, from the first of the function to its return, both included.
    pub calls: Vec<u64>,
    /// The middle call's path.
    pub path: Path,
}

/// The instructions of one call.
#[derive(Clone, Debug, Default)]
pub struct Path {
    /// Addresses in the order of execution.
    pub addresses: Vec<u64>,
    /// Instructions with a lock prefix, or that lock without one.
    pub locked: u64,
    /// Calls that it made.
    pub inner_calls: u64,
}

impl Function {
    /// Instructions of the middle call.
    pub fn median(&self) -> u64 {
        median(self.calls.iter().map(|&count| count as f64).collect()).unwrap_or(0.0) as u64
    }

    /// Instructions of an average call, with the rare refills and flushes.
    pub fn mean(&self) -> f64 {
        self.calls.iter().sum::<u64>() as f64 / self.calls.len().max(1) as f64
    }
}

/// A stretch of the child's memory map, to turn addresses into places in a file.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Offset of `start` in the file.
    pub offset: u64,
    /// The file.
    pub file: String,
}

/// What was watched in one child.
pub struct Watched {
    /// The functions, in the order in which the child named them.
    pub functions: Vec<Function>,
    /// The executable mappings of the child.
    pub mappings: Vec<Mapping>,
}

/// Runs a step program under watch.
pub fn watch(command: &mut Command) -> Result<Watched> {
    command.stdout(Stdio::piped()).stdin(Stdio::null());
    // SAFETY: both calls are system calls, which is all that is allowed after fork.
    unsafe {
        command.pre_exec(|| {
            libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong);
            ptrace::traceme().map_err(std::io::Error::from)
        });
    }
    let child = command.spawn().with_context(|| {
        format!("cannot watch {}; is ptrace allowed here?", command.get_program().display())
    })?;
    let mut guard = Guard(child);
    let result = follow(&mut guard.0);
    drop(guard);
    result
}

/// Ends the child whatever happens: a traced process left behind would stay stopped for ever.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn follow(child: &mut Child) -> Result<Watched> {
    let pid = Pid::from_raw(child.id() as i32);
    ensure!(
        matches!(waitpid(pid, None)?, WaitStatus::Stopped(_, Signal::SIGTRAP)),
        "the child did not stop at its start"
    );
    // Ctrl-C may end us in the middle: what we watch must not stay behind, stopped.
    ptrace::setoptions(pid, ptrace::Options::PTRACE_O_EXITKILL)?;
    go_on(pid)?;
    let mut line = String::new();
    let out = child.stdout.take().context("the child's output is a pipe")?;
    BufReader::new(out).read_line(&mut line).context("cannot read what the child says")?;
    let named: Vec<(String, u64)> =
        serde_json::from_str(&line).context("the child names functions in JSON")?;
    let mappings = mappings(pid)?;
    let mut stepper = Stepper::new(pid);
    let mut functions: Vec<Function> = Vec::new();
    for pair in named.chunks(2) {
        let recorded = stepper.until_stop(pair)?;
        for (name, calls) in recorded {
            ensure!(!calls.is_empty(), "{name} was never called while watched");
            functions.push(typical(name, calls));
        }
        go_on(pid)?;
    }
    Ok(Watched { functions, mappings })
}

/// Lets the child run to its next stop.
fn go_on(pid: Pid) -> Result<()> {
    ptrace::cont(pid, None)?;
    match waitpid(pid, None)? {
        WaitStatus::Stopped(_, Signal::SIGSTOP) | WaitStatus::Exited(_, 0) => Ok(()),
        other => bail!("the watched program ended early: {other:?}"),
    }
}

fn typical(name: String, calls: Vec<Path>) -> Function {
    let mut lengths: Vec<u64> = calls.iter().map(|path| path.addresses.len() as u64).collect();
    let counts = lengths.clone();
    lengths.sort_unstable();
    let middle = lengths[lengths.len() / 2];
    let path = calls.into_iter().find(|path| path.addresses.len() as u64 == middle);
    Function { name, calls: counts, path: path.unwrap_or_default() }
}

struct Stepper {
    pid: Pid,
    decoded: HashMap<u64, Instruction>,
}

/// The call under way: which function, where it returns to, with which stack.
struct Under {
    function: usize,
    returns_to: u64,
    stack: u64,
    path: Path,
}

impl Stepper {
    fn new(pid: Pid) -> Self {
        Self { pid, decoded: HashMap::new() }
    }

    /// Steps to the child's next stop, recording each call of the functions.
    fn until_stop(&mut self, functions: &[(String, u64)]) -> Result<Vec<(String, Vec<Path>)>> {
        let mut recorded: Vec<_> =
            functions.iter().map(|(name, _)| (name.clone(), Vec::new())).collect();
        let mut under: Option<Under> = None;
        loop {
            let registers = ptrace::getregs(self.pid)?;
            if let Some(call) = &under
                && registers.rip == call.returns_to
                && registers.rsp > call.stack
            {
                let call = under.take().context("a call is under way")?;
                recorded[call.function].1.push(call.path);
            }
            if under.is_none()
                && let Some(function) = functions.iter().position(|(_, at)| *at == registers.rip)
            {
                let returns_to = ptrace::read(self.pid, registers.rsp as ptrace::AddressType)?;
                under = Some(Under {
                    function,
                    returns_to: returns_to as u64,
                    stack: registers.rsp,
                    path: Path::default(),
                });
            }
            if let Some(call) = &mut under {
                let instruction = self.decode(registers.rip)?;
                call.path.addresses.push(registers.rip);
                call.path.locked += u64::from(locks(&instruction));
                call.path.inner_calls += u64::from(calls(&instruction));
            }
            ptrace::step(self.pid, None)?;
            match waitpid(self.pid, None)? {
                WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
                WaitStatus::Stopped(_, Signal::SIGSTOP) => return Ok(recorded),
                other => bail!("the watched program ended early: {other:?}"),
            }
        }
    }

    fn decode(&mut self, address: u64) -> Result<Instruction> {
        if let Some(instruction) = self.decoded.get(&address) {
            return Ok(*instruction);
        }
        let mut bytes = [0u8; 16];
        for (at, word) in bytes.chunks_mut(8).enumerate() {
            let from = address + at as u64 * 8;
            // The last instruction of a mapping may be followed by nothing.
            let value = ptrace::read(self.pid, from as ptrace::AddressType).unwrap_or(0);
            word.copy_from_slice(&value.to_le_bytes());
        }
        let instruction = Decoder::with_ip(64, &bytes, address, DecoderOptions::NONE).decode();
        ensure!(!instruction.is_invalid(), "no instruction at {address:#x}");
        self.decoded.insert(address, instruction);
        Ok(instruction)
    }
}

/// Whether an instruction locks the bus: by prefix, or `xchg` with memory, which always does.
pub fn locks(instruction: &Instruction) -> bool {
    let memory =
        (0..instruction.op_count()).any(|at| instruction.op_kind(at) == iced_x86::OpKind::Memory);
    instruction.has_lock_prefix() || (instruction.mnemonic() == Mnemonic::Xchg && memory)
}

/// Whether an instruction calls.
pub fn calls(instruction: &Instruction) -> bool {
    matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall)
}

fn mappings(pid: Pid) -> Result<Vec<Mapping>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/maps"))
        .context("cannot read the child's memory map")?;
    Ok(text.lines().filter_map(parse_mapping).collect())
}

/// One line of `/proc/PID/maps`, if it maps a file for execution.
fn parse_mapping(line: &str) -> Option<Mapping> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let rights = words.next()?;
    let offset = words.next()?;
    let file = words.nth(2)?;
    (rights.contains('x') && file.starts_with('/')).then_some(())?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        offset: hex(offset)?,
        file: file.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Instruction {
        Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).decode()
    }

    #[test]
    fn locked_instructions_are_told() {
        assert!(locks(&decode(&[0xf0, 0x48, 0xff, 0x00]))); // lock inc qword [rax]
        assert!(locks(&decode(&[0x48, 0x87, 0x08]))); // xchg [rax], rcx
        assert!(!locks(&decode(&[0x48, 0x87, 0xc8]))); // xchg rax, rcx
        assert!(!locks(&decode(&[0x48, 0xff, 0x00]))); // inc qword [rax]
    }

    #[test]
    fn calls_are_told_from_jumps() {
        assert!(calls(&decode(&[0xe8, 0, 0, 0, 0])));
        assert!(calls(&decode(&[0xff, 0xd0]))); // call rax
        assert!(!calls(&decode(&[0xe9, 0, 0, 0, 0])));
        assert!(!calls(&decode(&[0xc3])));
    }

    #[test]
    fn only_executable_file_mappings_count() {
        let line = "7f00-7f10 r-xp 00001000 fe:00 123   /lib/x.so";
        let mapping = parse_mapping(line).unwrap();
        assert_eq!((mapping.start, mapping.end, mapping.offset), (0x7f00, 0x7f10, 0x1000));
        assert!(parse_mapping("7f00-7f10 rw-p 00001000 fe:00 123   /lib/x.so").is_none());
        assert!(parse_mapping("7f00-7f10 r-xp 00000000 00:00 0     [vdso]").is_none());
        assert!(parse_mapping("7f00-7f10 r-xp 00000000 00:00 0 ").is_none());
    }

    #[test]
    fn the_middle_call_stands_for_all() {
        let path = |len: u64| Path { addresses: (0..len).collect(), ..Path::default() };
        let function = typical("f".into(), vec![path(12), path(300), path(12), path(12)]);
        assert_eq!((function.median(), function.path.addresses.len()), (12, 12));
        assert_eq!(function.mean(), 84.0);
    }
}
