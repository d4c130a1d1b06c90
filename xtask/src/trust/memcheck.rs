//! valgrind's memcheck over programs whose heap is the preload library's.
//!
//! valgrind puts a heap of its own in place of every `malloc` it finds; told that none is to be
//! replaced, it runs ours, and watches each of its loads and branches: a read of what no mapping
//! holds, or a decision made by bytes that nobody wrote. What it finds with the library on the
//! stack is held against the heap; the program's own is noted.

use super::{Kind, Outcome, Trial};
use crate::real::evidence::LIBRARY;
use crate::real::program::Need;
use crate::real::run::search_path;
use crate::shared::{command, paths};
use crate::test::process::Group;
use crate::test::tally::Tally;
use anyhow::{Result, bail};
use indicatif::ProgressBar;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Longest time that one program may take.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// Leaves `malloc` alone wherever it is.
const OURS: &str = "--soname-synonyms=somalloc=nouserintercepts";

/// The exit code of a program in which something was found.
const FOUND: i32 = 99;

/// Programs of `tests/c`. The others ask for what valgrind has no room for, or look at memory that
/// it counts otherwise.
const C: &[&str] = &["family", "extras", "stress", "threads", "fork", "exit_order"];

/// Installed programs: the command, its package, its arguments.
const INSTALLED: &[(&str, &str, &[&str])] = &[
    (
        "jq",
        "jq",
        &["-n", "[range(20000) | {id: ., name: \"n\\(.)\"}] | group_by(.id % 7) | map(length)"],
    ),
    (
        "sqlite3",
        "sqlite3",
        &[
            ":memory:",
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000) \
         select count(*), sum(length(hex(i * 7919))) from n; \
         create table t(a primary key, b); insert into t with recursive n(i) as (select 1 union all \
         select i + 1 from n where i < 3000) select i, hex(i) from n; select count(*) from t where b > 'A';",
        ],
    ),
    (
        "python3",
        "python3",
        &[
            "-c",
            "import json, re; d = [{'i': i, 't': 'x' * (i % 90)} for i in range(2000)]; \
         s = json.dumps(d); assert json.loads(s) == d; print(len(re.sub('x+', 'y', s)))",
        ],
    ),
    ("sort", "coreutils", &["/proc/self/maps"]),
];

/// The trial.
pub(super) fn trial() -> Result<Trial> {
    Ok(Trial {
        name: "memcheck".to_owned(),
        about: "valgrind's memcheck over C tests and installed programs on the heap.".to_owned(),
        needs: vec![Need::parse("valgrind=valgrind")?, Need::parse("cc=gcc")?],
        kind: Kind::Memcheck,
    })
}

/// One program to run.
struct Case {
    name: String,
    program: PathBuf,
    arguments: &'static [&'static str],
}

/// Runs every program.
pub(super) fn run(library: &Path, scratch: &Path, spinner: &ProgressBar) -> Result<Outcome> {
    fs::create_dir_all(scratch)?;
    let mut outcome = Outcome::default();
    let mut cases = Vec::new();
    for name in C {
        let program = compile(name, scratch)?;
        cases.push(Case { name: (*name).to_owned(), program, arguments: &[] });
    }
    for (name, package, arguments) in INSTALLED {
        match find(name) {
            Some(program) => cases.push(Case { name: (*name).to_owned(), program, arguments }),
            None => {
                outcome.tally += Tally::SKIPPED;
                outcome.notes.push(format!("SKIPPED: {name}: `apt-get install {package}`"));
            }
        }
    }
    if let Some(first) = cases.first() {
        not_replaced(first, library)?;
    }
    let mut elsewhere = 0;
    for case in &cases {
        spinner.set_message(case.name.clone());
        let report = scratch.join(format!("{}.xml", case.name));
        let log = scratch.join(format!("{}.log", case.name));
        let more = [
            "--xml=yes".to_owned(),
            format!("--xml-file={}", report.display()),
            // A child's findings show in its exit code, which the programs look at.
            "--child-silent-after-fork=yes".to_owned(),
        ];
        let mut command = valgrind(case, library, &more);
        command.current_dir(scratch);
        command.stdout(File::create(&log)?).stderr(File::options().append(true).open(&log)?);
        let ended = Group::start(command)?.wait(LIMIT)?;
        let findings = Findings::parse(&fs::read_to_string(&report)?);
        elsewhere += findings.elsewhere;
        if findings.ours.is_empty() && matches!(ended.code(), Some(0 | FOUND)) {
            outcome.tally += Tally::PASSED;
            continue;
        }
        outcome.tally += Tally::FAILED;
        outcome.faults.extend(findings.ours.iter().map(|what| format!("{}: {what}", case.name)));
        if findings.ours.is_empty() {
            let said = command::tail(&fs::read(&log)?, 12);
            outcome.faults.push(format!("{} ended with {}:\n{said}", case.name, ended.words()));
        }
    }
    outcome.covered = format!(
        "{} programs, {} findings in the heap, {elsewhere} in the programs themselves",
        cases.len(),
        outcome.faults.len()
    );
    Ok(outcome)
}

/// What memcheck found, by whose code was at work.
#[derive(Debug, Default, PartialEq)]
struct Findings {
    /// What, and the innermost functions.
    ours: Vec<String>,
    elsewhere: usize,
}

impl Findings {
    /// Reads valgrind's report: one `<error>` each, with an `<obj>` for every frame.
    fn parse(report: &str) -> Findings {
        let mut findings = Findings::default();
        for error in report.split("<error>").skip(1) {
            let error = error.split("</error>").next().unwrap_or(error);
            if !between(error, "obj").any(|object| object.ends_with(LIBRARY)) {
                findings.elsewhere += 1;
                continue;
            }
            let kind = between(error, "kind").next().unwrap_or("an error");
            let functions: Vec<&str> = between(error, "fn").take(5).collect();
            findings.ours.push(format!("{kind} in {}", functions.join(" < ")));
        }
        findings
    }
}

/// The texts of all elements of that name.
fn between<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&open)?;
        let (inner, after) = after.split_once(&close)?;
        rest = after;
        Some(inner)
    })
}

/// A program on Debian's own path.
fn find(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path()).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// The program under valgrind and the library. Not valgrind itself, which is linked statically.
fn valgrind(case: &Case, library: &Path, more: &[String]) -> Command {
    let mut command = Command::new("valgrind");
    command.arg(OURS).arg(format!("--error-exitcode={FOUND}")).args(more);
    command.arg(&case.program).args(case.arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HAKMEM_") {
            command.env_remove(name);
        }
    }
    command.env("LD_PRELOAD", library).env("PYTHONMALLOC", "malloc").env("LC_ALL", "C.UTF-8");
    command
}

/// Fails where valgrind's heap stands in place of ours: it would have counted allocations.
fn not_replaced(case: &Case, library: &Path) -> Result<()> {
    let ran = command::output(&mut valgrind(case, library, &[]))?;
    let said = String::from_utf8_lossy(&ran.stderr);
    if !said.contains("total heap usage: 0 allocs") {
        bail!("valgrind has put its own heap in place of {LIBRARY}'s:\n{said}");
    }
    Ok(())
}

fn compile(name: &str, scratch: &Path) -> Result<PathBuf> {
    let folder = paths::root().join("tests/c");
    let program = scratch.join(name);
    // No builtins: a call of malloc is a call of malloc.
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-g", "-w", "-fno-builtin", "-pthread", "-I"])
        .arg(paths::root().join("include"));
    cc.arg(folder.join(name).with_extension("c")).arg("-o").arg(&program).arg("-ldl");
    command::output(&mut cc)?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_with_the_library_on_the_stack_is_ours() {
        let frame = |object: &str, name: &str| {
            format!("<frame><ip>0x1</ip><obj>{object}</obj><fn>{name}</fn></frame>")
        };
        let error = |kind: &str, frames: &str| {
            format!("<error><kind>{kind}</kind><stack>{frames}</stack></error>\n")
        };
        let (ours, program) = (frame("/t/libhakmem_preload.so", "free"), frame("/bin/jq", "main"));
        let report = error("InvalidRead", &(ours + &program)) + &error("UninitCondition", &program);
        let findings = Findings::parse(&report);
        assert_eq!(findings.ours, ["InvalidRead in free < main"]);
        assert_eq!(findings.elsewhere, 1);
        assert_eq!(Findings::parse("<valgrindoutput></valgrindoutput>"), Findings::default());
    }
}
