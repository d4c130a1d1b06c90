//! Building the library and the programs, and running them with a deadline.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// No program here takes more than some seconds; what takes this long hangs, on the busiest machine.
const DEADLINE: Duration = Duration::from_secs(600);

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository")
}

/// The folder that compiled programs go to.
pub fn scratch() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("preload");
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

/// Makes a file of the scratch folder: `write` under a name of this process, which then becomes `name`.
/// Another run of these tests may be using the file of that name.
pub fn make(name: impl AsRef<Path>, write: impl FnOnce(&Path)) -> PathBuf {
    let output = scratch().join(name);
    let mut unfinished = output.clone().into_os_string();
    unfinished.push(format!(".{}", std::process::id()));
    write(unfinished.as_ref());
    std::fs::rename(&unfinished, &output).expect("a file can be renamed");
    output
}

/// The shared library, built on first use.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("HAKMEM_TEST_LIBRARY") {
            return PathBuf::from(path);
        }
        let mut target =
            Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp").to_path_buf();
        let features = std::env::var("HAKMEM_TEST_FEATURES").unwrap_or_default();
        let features: Vec<String> = features
            .split(',')
            .filter(|feature| !feature.is_empty())
            .map(|feature| format!("hakmem/{feature}"))
            .collect();
        if !features.is_empty() {
            // Beside the default build, which others use meanwhile.
            target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("with-features");
        }
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--package", "hakmem-preload", "--features"])
            .arg(features.join(","))
            .arg("--target-dir")
            .arg(&target)
            .current_dir(root())
            .output()
            .expect("cargo can be run");
        assert!(
            built.status.success(),
            "building the library failed:\n{}",
            String::from_utf8_lossy(&built.stderr)
        );
        target.join("release/libhakmem_preload.so")
    })
}

/// What a source file becomes.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Program,
    Plugin,
}

/// The compiler for `source`, or nothing if there is none on this machine.
fn compiler(source: &str) -> Option<String> {
    let (variable, default) = if source.ends_with(".cpp") { ("CXX", "c++") } else { ("CC", "cc") };
    let name = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    let runs = Command::new(&name).arg("--version").output().is_ok_and(|out| out.status.success());
    runs.then_some(name)
}

/// Says, past the test harness's capture, that a test did not run.
pub fn skipped(test: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}

/// Compiles a file of `tests/c`, once; nothing where a C++ compiler is missing.
pub fn compile(source: &str, kind: Kind) -> Option<PathBuf> {
    static DONE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let Some(compiler) = compiler(source) else {
        assert!(source.ends_with(".cpp"), "no C compiler: install one (cc), or name it in $CC");
        skipped(source, "no C++ compiler: install one (c++), or name it in $CXX");
        return None;
    };
    let name = Path::new(source).with_extension(if kind == Kind::Plugin { "so" } else { "" });
    // Held while compiling: tests that share a program wait for it.
    let mut done = DONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if done.contains(source) {
        return Some(scratch().join(name));
    }
    let mut command = Command::new(compiler);
    // No builtins: a call of malloc is a call of malloc.
    command.args(["-O1", "-g", "-Wall", "-Wextra", "-fno-builtin", "-pthread"]);
    // Bad sizes and bad pointers are what these programs are about.
    command.args([
        "-Wno-alloc-size-larger-than",
        "-Wno-deprecated-declarations",
        "-Wno-free-nonheap-object",
        "-Wno-infinite-recursion",
        "-Wno-use-after-free",
    ]);
    if source.ends_with(".cpp") {
        command.args(["-std=c++17", "-Wno-mismatched-new-delete", "-Wno-sized-deallocation"]);
    }
    if kind == Kind::Plugin {
        command.args(["-fPIC", "-shared"]);
    }
    command.arg("-I").arg(root().join("include"));
    command.arg(root().join("tests/c").join(source)).arg("-ldl");
    if source.starts_with("hak") {
        command.args(linked());
    }
    let output = make(name, |unfinished| {
        let result = command.arg("-o").arg(unfinished).output().expect("the compiler can be run");
        assert!(
            result.status.success(),
            "compiling {source} failed:\n{}",
            String::from_utf8_lossy(&result.stderr)
        );
    });
    done.insert(source.to_owned());
    Some(output)
}

/// Compiler arguments that link a program to the library, where it lies.
pub fn linked() -> [OsString; 4] {
    let folder = library().parent().expect("the library lies in a folder");
    let mut path = OsString::from("-Wl,-rpath,");
    path.push(folder);
    ["-L".into(), folder.into(), "-lhakmem_preload".into(), path]
}

/// A C program of `tests/c`.
pub fn program(source: &str) -> PathBuf {
    compile(source, Kind::Program).expect("a C compiler is required")
}

/// What a program left behind.
pub struct Outcome {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Everything about it, for a failed assertion.
    pub fn describe(&self) -> String {
        format!(
            "exit code {:?}, signal {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.code, self.signal, self.stdout, self.stderr
        )
    }

    /// Asserts that the program ended well, after at least one check, and without a word on
    /// standard error.
    #[track_caller]
    pub fn passed(&self) {
        let checks = self
            .stdout
            .lines()
            .find_map(|line| line.strip_suffix(" checks passed")?.parse::<u64>().ok());
        assert!(
            self.code == Some(0)
                && checks.is_some_and(|checks| checks > 0)
                && self.stderr.is_empty(),
            "{}",
            self.describe()
        );
    }
}

/// A program under the library. Variables that would configure the heap are taken away.
pub fn preloaded(program: &Path) -> Command {
    let mut command = plain(program);
    command.env("LD_PRELOAD", library());
    command
}

/// A program on the system's own heap.
pub fn plain(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HAKMEM_") {
            command.env_remove(name);
        }
    }
    // What cargo sets up for the tests themselves.
    command.env_remove("LD_LIBRARY_PATH").env_remove("LD_PRELOAD");
    command
}

/// Reads all of a pipe on a thread of its own, so that neither pipe can fill up.
fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    let mut pipe = pipe.expect("the pipe was asked for");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child) -> Option<std::process::ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    None
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Outcome {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let status = wait(&mut child);
    if status.is_none() {
        child.kill().expect("the child can be ended");
        child.wait().expect("the child can be waited for");
    }
    let join = |reader: thread::JoinHandle<String>| reader.join().expect("the reader ended");
    let (stdout, stderr) = (join(stdout), join(stderr));
    let Some(status) = status else {
        panic!("hangs: {command:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
    };
    Outcome { code: status.code(), signal: status.signal(), stdout, stderr }
}

/// Compiles a C program and asserts that all its checks pass under the library.
#[track_caller]
pub fn check(source: &str, arguments: &[&OsStr]) {
    run(preloaded(&program(source)).args(arguments)).passed();
}

/// The same for C++; skipped without a compiler for it.
#[track_caller]
pub fn check_cxx(source: &str) {
    if let Some(program) = compile(source, Kind::Program) {
        run(&mut preloaded(&program)).passed();
    }
}
