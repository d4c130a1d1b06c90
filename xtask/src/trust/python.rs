//! CPython's own tests with every object a `malloc`, module by module, without the library and under
//! it. A test is held against the heap if it fails, or goes missing, under the library only, and again
//! when its module is run once more both ways: some of these tests watch the clock. A process that a
//! signal ends under the library, or a line of the heap's, counts at once.

use super::{Kind, Outcome, Trial};
use crate::real::evidence::{Evidence, LIBRARY};
use crate::real::program::Need;
use crate::real::run::search_path;
use crate::shared::{command, paths, term};
use crate::test::process::Group;
use crate::test::tally::Tally;
use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Longest time that one module may take.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// What leans most on the heap: large and growing objects, buffers, copies, compressors and parsers
/// in C, threads, forks, and the interpreter's own interface to memory.
const HEAVY: &[&str] = &[
    "test_bigmem",
    "test_array",
    "test_bytes",
    "test_memoryview",
    "test_buffer",
    "test_list",
    "test_dict",
    "test_set",
    "test_deque",
    "test_ordered_dict",
    "test_unicode",
    "test_memoryio",
    "test_io",
    "test_bufio",
    "test_mmap",
    "test_struct",
    "test_pickle",
    "test_marshal",
    "test_copy",
    "test_json",
    "test_re",
    "test_zlib",
    "test_gzip",
    "test_bz2",
    "test_lzma",
    "test_zipfile",
    "test_xml_etree_c",
    "test_decimal",
    "test_long",
    "test_itertools",
    "test_sort",
    "test_heapq",
    "test_gc",
    "test_weakref",
    "test_weakset",
    "test_capi",
    "test_ctypes",
    "test_tracemalloc",
    "test_embed",
    "test_ast",
    "test_compile",
    "test_tokenize",
    "test_thread",
    "test_threading",
    "test_threading_local",
    "test_queue",
    "test_concurrent_futures",
    "test_asyncio",
    "test_fork1",
    "test_subprocess",
    "test_multiprocessing_fork",
    "test_multiprocessing_forkserver",
    "test_multiprocessing_spawn",
    "test_signal",
    "test_threadsignals",
    "test_faulthandler",
    "test_posix",
    "test_os",
    "test_resource",
];

/// The trial.
pub(super) fn trial() -> Result<Trial> {
    Ok(Trial {
        name: "python".to_owned(),
        about: "CPython's own tests, module by module, every object a malloc.".to_owned(),
        needs: vec![Need::parse("python3=python3")?],
        kind: Kind::Python,
    })
}

/// The package of the test suite, where it is missing: Debian's interpreter comes without.
pub(super) fn missing_suite() -> Option<String> {
    let ask = |what: &str| command::stdout(python(Path::new("/")).args(["-c", what]));
    if ask("import test.libregrtest, test.test_dict").is_ok() {
        return None;
    }
    let version = ask("import sys; print('%d.%d' % sys.version_info[:2])").unwrap_or_default();
    Some(format!("libpython{}-testsuite", version.trim()))
}

/// What one module came to: its tests, and how the process ended.
#[derive(Debug, Default, PartialEq)]
struct Module {
    tests: BTreeMap<String, String>,
    /// 0, or regrtest's code, or none where a signal or the limit ended it.
    code: Option<i32>,
    /// How it ended, in words, with the end of what it said.
    words: String,
    /// A line of the heap's.
    line: Option<String>,
}

impl Module {
    /// The tests that passed here and not in `other`.
    fn lost_in(&self, other: &Module) -> BTreeSet<String> {
        let passed = |name: &str| other.tests.get(name).is_some_and(|outcome| outcome == "passed");
        self.count("passed").filter(|name| !passed(name)).map(str::to_owned).collect()
    }

    fn count<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.tests.iter().filter(move |(_, outcome)| *outcome == wanted).map(|(name, _)| &**name)
    }
}

/// Runs the modules both ways.
pub(super) fn run(
    modules: &[String],
    whole: bool,
    library: &Path,
    scratch: &Path,
    spinner: &ProgressBar,
) -> Result<Outcome> {
    fs::create_dir_all(scratch)?;
    let modules = choose(modules, whole, scratch)?;
    on_the_heap(library, scratch)?;
    let (mut tally, mut faults, mut notes) = (Tally::default(), Vec::new(), Vec::new());
    let mut alike = 0;
    for (number, module) in modules.iter().enumerate() {
        spinner.set_message(format!("{module} ({}/{})", number + 1, modules.len()));
        let (system, preload) = (one(module, None, scratch)?, one(module, Some(library), scratch)?);
        let mut lost = system.lost_in(&preload);
        let mut told = broken(&system, &preload);
        if told.is_none() && !lost.is_empty() {
            let (again, beside) =
                (one(module, None, scratch)?, one(module, Some(library), scratch)?);
            let still = again.lost_in(&beside);
            let unsteady = lost.len();
            lost.retain(|test| still.contains(test));
            if lost.len() < unsteady {
                let names = system.lost_in(&preload);
                let names: Vec<_> = names.difference(&lost).map(String::as_str).collect();
                notes.push(format!("unsteady, passed the second time: {}", names.join(", ")));
            }
            told = broken(&again, &beside);
        }
        let passed = preload.count("passed").count();
        spinner.suspend(|| term::step("Ran", format!("{module}: {passed} passed")));
        tally.passed += passed as u64;
        tally.skipped += preload.count("skipped").count() as u64;
        let failed = |of: &Module| of.count("failed").map(str::to_owned).collect::<BTreeSet<_>>();
        let both: Vec<String> = failed(&system).intersection(&failed(&preload)).cloned().collect();
        alike += both.len();
        if !both.is_empty() {
            notes.push(format!("failed both ways: {}", both.join(", ")));
        }
        if preload.tests.is_empty() && told.is_none() {
            notes.push(format!("{module}: no test ran, either way: {}", preload.words));
        }
        tally.failed += lost.len() as u64 + u64::from(told.is_some());
        faults.extend(told.map(|words| format!("{module}: {words}")));
        faults.extend(lost.into_iter().map(|test| format!("{test} fails under {LIBRARY} only")));
    }
    let covered = format!(
        "{} modules, {} tests passed, {} skipped, {alike} failed both ways",
        modules.len(),
        tally.passed,
        tally.skipped
    );
    Ok(Outcome { tally, covered, faults, notes, ..Outcome::default() })
}

/// What needs no second look: the process under the library was ended, or the heap said something.
fn broken(system: &Module, preload: &Module) -> Option<String> {
    if let Some(line) = &preload.line {
        return Some(format!("the heap says `{line}`"));
    }
    let ended = preload.code.is_none() && system.code.is_some();
    ended.then(|| format!("ended with {}", preload.words))
}

/// The modules asked for, those that the suite has of the heavy ones, or these and all others.
fn choose(asked: &[String], whole: bool, scratch: &Path) -> Result<Vec<String>> {
    if !asked.is_empty() {
        return Ok(asked.to_vec());
    }
    let listed = command::stdout(python(scratch).args(["-m", "test", "--list-tests"]))?;
    let all: BTreeSet<&str> = listed.lines().map(str::trim).collect();
    let mut chosen: Vec<&str> = HEAVY.iter().copied().filter(|name| all.contains(name)).collect();
    if whole {
        chosen.extend(all.iter().filter(|name| !HEAVY.contains(name)));
    }
    Ok(chosen.into_iter().map(str::to_owned).collect())
}

/// Debian's interpreter, with nothing of the caller's surroundings.
fn python(scratch: &Path) -> Command {
    let mut python = Command::new("python3");
    let path = search_path();
    // The name is looked up on the caller's PATH, where another interpreter may stand first.
    if let Some(found) =
        std::env::split_paths(&path).map(|dir| dir.join("python3")).find(|p| p.is_file())
    {
        python = Command::new(found);
    }
    python
        .current_dir(scratch)
        .env_clear()
        .env("PATH", path)
        .env("HOME", scratch)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env("PYTHONMALLOC", "malloc");
    python
}

/// Fails unless the interpreter's `malloc` is the library's.
fn on_the_heap(library: &Path, scratch: &Path) -> Result<()> {
    let debug = scratch.join("debug");
    let _ = fs::remove_dir_all(&debug);
    fs::create_dir_all(&debug)?;
    let mut python = python(scratch);
    python.args(["-c", "import test.libregrtest"]).env("LD_PRELOAD", library);
    python.env("LD_DEBUG", "bindings").env("LD_DEBUG_OUTPUT", debug.join("ld"));
    command::output(&mut python)?;
    let evidence = Evidence::read(&debug)?;
    if evidence.processes() == 0 || !evidence.elsewhere.is_empty() {
        bail!("the interpreter's malloc is not {LIBRARY}'s: {evidence:?}");
    }
    Ok(())
}

fn one(module: &str, library: Option<&Path>, scratch: &Path) -> Result<Module> {
    let work = scratch.join("work");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    let way = if library.is_some() { "preload" } else { "system" };
    let (report, log) = (work.join("report.xml"), scratch.join(format!("{module}.{way}.log")));
    let mut command = python(&work);
    command.args(["-m", "test", "--timeout", "1200", "--junit-xml"]).arg(&report).arg(module);
    if let Some(library) = library {
        command.env("LD_PRELOAD", library);
    }
    command.stdout(File::create(&log)?).stderr(File::options().append(true).open(&log)?);
    let ended = Group::start(command)?.wait(LIMIT)?;
    let said = fs::read(&log)?;
    let tests = if report.is_file() {
        let script = paths::root().join("tests/trust/python/outcomes.py");
        let json = command::stdout(python(scratch).arg(script).arg(&report))?;
        serde_json::from_str(&json).with_context(|| format!("the report on {module}"))?
    } else {
        BTreeMap::new()
    };
    let line = String::from_utf8_lossy(&said)
        .lines()
        .find(|line| line.starts_with("hakmem:"))
        .map(str::to_owned);
    let words = format!("{}:\n{}", ended.words(), command::tail(&said, 12));
    Ok(Module { tests, code: ended.code(), words, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(code: Option<i32>, tests: &[(&str, &str)]) -> Module {
        let own = |(name, outcome): &(&str, &str)| ((*name).to_owned(), (*outcome).to_owned());
        Module { tests: tests.iter().map(own).collect(), code, ..Module::default() }
    }

    #[test]
    fn only_what_passes_without_the_library_is_held_against_it() {
        let system = module(
            Some(2),
            &[("a", "passed"), ("b", "passed"), ("c", "failed"), ("d", "passed"), ("e", "skipped")],
        );
        let preload =
            module(Some(2), &[("a", "passed"), ("b", "failed"), ("c", "failed"), ("e", "failed")]);
        let lost: Vec<String> = system.lost_in(&preload).into_iter().collect();
        assert_eq!(lost, ["b", "d"], "one that failed and one that went missing");
        assert_eq!(broken(&system, &preload), None);
    }

    #[test]
    fn an_end_by_a_signal_and_a_line_of_the_heaps_count_at_once() {
        let (fine, gone) = (module(Some(0), &[]), module(None, &[]));
        assert!(broken(&fine, &gone).is_some());
        assert!(broken(&gone, &gone).is_none(), "both ways: not the heap's");
        let line = Some("hakmem: double free of 0x10".to_owned());
        assert!(broken(&gone, &Module { line, ..module(Some(0), &[]) }).is_some());
    }
}
