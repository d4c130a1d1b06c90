//! Real programs that grow, run under the preload of every allocator: six of them, each on a script
//! of `benches/programs` (gcc on a source made here) that takes about half a second.
//!
//! One that is not installed is left out by name, with the command that installs it. What they print
//! is compared between the allocators.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::peers::Missing;
use super::task::check_names;
use crate::shared::{command, paths, write};

/// A program that is ready to run.
#[derive(Clone, Debug)]
pub struct Program {
    /// The row's name.
    pub name: &'static str,
    /// The work in a few words.
    pub about: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables that it runs with.
    pub variables: Vec<(&'static str, &'static str)>,
}

/// How to get a program.
struct Recipe {
    name: &'static str,
    about: &'static str,
    /// Names that it goes by; the first one found is used.
    commands: &'static [&'static str],
    /// The Debian package.
    package: &'static str,
    /// Arguments; `{}` stands for the file.
    arguments: &'static [&'static str],
    /// The script in `benches/programs`; none for the generated C source.
    script: Option<&'static str>,
    variables: &'static [(&'static str, &'static str)],
}

const RECIPES: &[Recipe] = &[
    Recipe {
        name: "python",
        about: "CPython as it comes: records, JSON, a graph, strings of megabytes",
        commands: &["python3"],
        package: "python3",
        arguments: &["{}"],
        script: Some("work.py"),
        variables: &[("PYTHONHASHSEED", "0"), ("PYTHONDONTWRITEBYTECODE", "1")],
    },
    Recipe {
        name: "python-malloc",
        about: "the same, its own allocator switched off: every object is a malloc",
        commands: &["python3"],
        package: "python3",
        arguments: &["{}"],
        script: Some("work.py"),
        variables: &[
            ("PYTHONHASHSEED", "0"),
            ("PYTHONDONTWRITEBYTECODE", "1"),
            ("PYTHONMALLOC", "malloc"),
        ],
    },
    Recipe {
        name: "lua",
        about: "Lua: records in tables, a text joined and split, a graph, closures",
        commands: &["lua5.4", "lua"],
        package: "lua5.4",
        arguments: &["{}"],
        script: Some("work.lua"),
        variables: &[],
    },
    Recipe {
        name: "perl",
        about: "Perl: records in hashes, word counts, a graph, a sort",
        commands: &["perl"],
        package: "perl",
        arguments: &["{}"],
        script: Some("work.pl"),
        variables: &[("PERL_HASH_SEED", "0")],
    },
    Recipe {
        name: "jq",
        about: "jq: records made, grouped, written as JSON and read back",
        commands: &["jq"],
        package: "jq",
        arguments: &["--null-input", "--compact-output", "--from-file", "{}"],
        script: Some("work.jq"),
        variables: &[],
    },
    Recipe {
        name: "node",
        about: "Node.js: records, JSON, buffers and typed arrays",
        commands: &["node", "nodejs"],
        package: "nodejs",
        arguments: &["{}"],
        script: Some("work.js"),
        variables: &[],
    },
    Recipe {
        name: "gcc",
        about: "gcc -O1 on a C file of 160 functions, to assembly",
        commands: &["gcc"],
        package: "gcc",
        arguments: &["-O1", "-S", "-o", "-", "{}"],
        script: None,
        variables: &[],
    },
];

/// The names that `--program` takes.
pub fn names() -> Vec<&'static str> {
    RECIPES.iter().map(|recipe| recipe.name).collect()
}

/// The programs named in `only` (all if it is empty) that are installed, and those that are not.
pub fn find(only: &[String]) -> Result<(Vec<Program>, Vec<Missing>)> {
    check_names("program", only, &names())?;
    let folder = paths::target().join("bench/programs");
    let (mut ready, mut missing) = (Vec::new(), Vec::new());
    let wanted = |recipe: &&Recipe| only.is_empty() || only.iter().any(|name| name == recipe.name);
    for recipe in RECIPES.iter().filter(wanted) {
        let Some(path) = recipe.commands.iter().find_map(|name| paths::which(name)) else {
            let reason = format!(
                "{} is not installed; `apt-get install {}`",
                recipe.commands[0], recipe.package
            );
            missing.push(Missing { name: recipe.name.to_owned(), reason });
            continue;
        };
        let file = match recipe.script {
            Some(script) => paths::root().join("benches/programs").join(script),
            None => {
                let file = folder.join("large.c");
                write::atomically(&file, large_source(160))?;
                file
            }
        };
        let file = file.display().to_string();
        ready.push(Program {
            name: recipe.name,
            about: recipe.about,
            path: behind_shims(path),
            arguments: recipe.arguments.iter().map(|word| word.replace("{}", &file)).collect(),
            variables: recipe.variables.to_vec(),
        });
    }
    Ok((ready, missing))
}

/// The interpreter itself where `PATH` leads to a script of a version manager: the script's own
/// shell would be measured too.
fn behind_shims(path: PathBuf) -> PathBuf {
    let is_script = std::fs::read(&path).is_ok_and(|bytes| bytes.starts_with(b"#!"));
    if !is_script {
        return path;
    }
    let ask = |arguments: &[&str]| {
        let told = command::stdout(Command::new(&path).args(arguments)).ok()?;
        Some(PathBuf::from(told.trim())).filter(|told| Path::new(told).is_file())
    };
    ask(&["-c", "import sys; print(sys.executable)"])
        .or_else(|| ask(&["-p", "process.execPath"]))
        .unwrap_or(path)
}

/// A C source that gives a compiler work: functions with loops and switches that call each other.
fn large_source(functions: usize) -> String {
    let mut text = String::from("#include <string.h>\n");
    for f in 0..functions {
        let room = 2 + f % 30;
        let _ = write!(
            text,
            "int f{f}(int a, const char *s) {{ int t[{room}]; memset(t, a, sizeof t); \
             for (int k = 0; k < {}; k++) {{ if (s[k % 7] == {}) a += t[k % {room}]; \
             else a ^= k << {}; switch (a & 7) {{ ",
            5 + f % 20,
            f % 128,
            f % 5
        );
        for case in 0..8 {
            let _ = write!(text, "case {case}: a += {}; break; ", f * case % 100);
        }
        let call = if f == 0 { "a".to_owned() } else { format!("f{}(a, s) + a", f - 1) };
        let _ = writeln!(text, "}} }} return {call}; }}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_is_there_and_every_program_found_or_named() {
        for script in RECIPES.iter().filter_map(|recipe| recipe.script) {
            assert!(paths::root().join("benches/programs").join(script).is_file(), "{script}");
        }
        let (ready, missing) = find(&[]).unwrap();
        assert_eq!(ready.len() + missing.len(), RECIPES.len());
        for missing in &missing {
            assert!(missing.reason.contains("apt-get install"), "{}", missing.reason);
        }
        for program in &ready {
            assert!(program.path.is_file() && !program.arguments.is_empty(), "{program:?}");
            assert!(!std::fs::read(&program.path).unwrap().starts_with(b"#!"), "{program:?}");
        }
    }

    #[test]
    fn an_unknown_program_is_named_with_the_nearest() {
        let error = find(&["pyton".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("did you mean 'python'?") && error.contains("perl"), "{error}");
    }

    #[test]
    fn the_source_for_the_compiler_is_balanced() {
        let text = large_source(3);
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        assert!(text.contains("return f1(a, s) + a"));
    }
}
