//! Linking an arm again and again: the linker command that rustc used, kept, and run once per
//! layout with another order of the functions.
//!
//! Assumes rustc on Linux, where every function has a section of its own and rust-lld is the
//! default linker (since Rust 1.90 on x86-64), which shuffles them with `--shuffle-sections`. Where
//! the linker cannot, [`Linker::shuffles`] is false and the verdict rests on one layout.

use crate::shared::command;
use anyhow::{Context, Result, bail};
use object::{Object, ObjectSymbol, SymbolKind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One linker command, as `rustc --print link-args` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linker {
    environment: Vec<(String, String)>,
    program: String,
    arguments: Vec<String>,
    /// The folder the command runs in.
    pub folder: PathBuf,
    /// True if the linker can put the functions in another order.
    pub shuffles: bool,
}

impl Linker {
    /// Reads a line of `--print link-args`; `None` if it is not one. `folder` is where rustc ran.
    pub fn parse(line: &str, folder: &Path) -> Option<Linker> {
        let words = split(line)?;
        let first = words.iter().position(|(name, _)| name.is_none())?;
        let environment = words[..first]
            .iter()
            .map(|(name, value)| (name.clone().unwrap_or_default(), value.clone()))
            .collect();
        let mut rest = words[first..].iter().map(|(name, value)| match name {
            Some(name) => format!("{name}={value}"),
            None => value.clone(),
        });
        let program = rest.next()?;
        let arguments: Vec<String> = rest.collect();
        arguments.iter().any(|word| word == "-o").then(|| Linker {
            environment,
            program,
            arguments,
            folder: folder.to_owned(),
            shuffles: true,
        })
    }

    /// The objects and archives that the command names.
    pub fn inputs(&self) -> Vec<PathBuf> {
        let is_input =
            |word: &&String| [".o", ".rlib", ".a"].iter().any(|ending| word.ends_with(ending));
        self.arguments
            .iter()
            .filter(|word| !word.starts_with('-'))
            .filter(is_input)
            .map(|word| self.folder.join(word))
            .collect()
    }

    /// Links `output`, with the functions in the order that `seed` stands for, or in the compiler's
    /// order for `None`. Debug information, which no run needs, is left out.
    pub fn link(&self, output: &Path, seed: Option<u32>) -> Result<()> {
        let mut link = Command::new(&self.program);
        link.current_dir(&self.folder)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut arguments = self.arguments.iter();
        while let Some(word) = arguments.next() {
            link.arg(word);
            if word == "-o" {
                arguments.next();
                link.arg(output);
            }
        }
        link.arg("-Wl,--strip-debug");
        if let Some(seed) = seed.filter(|_| self.shuffles) {
            // lld takes 0 for "no seed" and all ones for "reverse".
            link.arg(format!("-Wl,--shuffle-sections=.text*={}", seed.clamp(1, u32::MAX - 1)));
        }
        command::output(&mut link).map(drop)
    }

    /// Finds out by linking twice whether functions move, and sets [`Linker::shuffles`]. Returns
    /// how many of the functions that both links hold lie elsewhere.
    pub fn check_shuffle(&mut self, scratch: &Path) -> Result<Moved> {
        let (one, two) = (scratch.join("shuffle-1"), scratch.join("shuffle-2"));
        self.shuffles = true;
        let linked = self.link(&one, Some(1)).and_then(|()| self.link(&two, Some(2)));
        let moved = match linked {
            Ok(()) => moved(&addresses(&one)?, &addresses(&two)?),
            Err(_) => Moved::default(),
        };
        self.shuffles = moved.functions > 1 && moved.elsewhere * 2 > moved.functions;
        for file in [one, two] {
            // Only ours, and only scratch: a leftover harms nobody.
            let _ = std::fs::remove_file(file);
        }
        Ok(moved)
    }
}

/// How far two links of the same objects differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Functions that both links hold.
    pub functions: usize,
    /// Of these, the ones at another address.
    pub elsewhere: usize,
}

fn moved(one: &BTreeMap<String, u64>, two: &BTreeMap<String, u64>) -> Moved {
    let both = one.iter().filter_map(|(name, at)| two.get(name).map(|other| (at, other)));
    let mut count = Moved::default();
    for (at, other) in both {
        count.functions += 1;
        count.elsewhere += usize::from(at != other);
    }
    count
}

/// The address of every function of a linked program, by mangled name.
pub fn addresses(program: &Path) -> Result<BTreeMap<String, u64>> {
    let bytes =
        std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let file = object::File::parse(&*bytes)
        .with_context(|| format!("{} is no program", program.display()))?;
    let found: BTreeMap<String, u64> = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
        .filter_map(|symbol| Some((symbol.name().ok()?.to_owned(), symbol.address())))
        .collect();
    if found.is_empty() {
        bail!(
            "{} has no symbol table; `strip` in the release profile must be off",
            program.display()
        );
    }
    Ok(found)
}

/// All names that a linked program defines, functions and data.
pub fn symbols(program: &Path) -> Result<BTreeSet<String>> {
    let bytes =
        std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let file = object::File::parse(&*bytes)
        .with_context(|| format!("{} is no program", program.display()))?;
    let defined = file.symbols().filter(|symbol| symbol.is_definition());
    Ok(defined.filter_map(|symbol| Some(symbol.name().ok()?.to_owned())).collect())
}

/// Splits rustc's printout, in which every word is quoted as Rust quotes strings, and leading
/// `NAME="value"` pairs set the environment.
fn split(line: &str) -> Option<Vec<(Option<String>, String)>> {
    let mut words = Vec::new();
    let mut chars = line.trim().chars().peekable();
    while let Some(first) = chars.peek().copied() {
        if first == ' ' {
            chars.next();
            continue;
        }
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| *c != '"') {
            name.push(c);
        }
        chars.next()?;
        let mut value = String::new();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => match chars.next()? {
                    'n' => value.push('\n'),
                    't' => value.push('\t'),
                    other => value.push(other),
                },
                other => value.push(other),
            }
        }
        words.push((name.strip_suffix('=').map(str::to_owned), value));
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn a_printed_command_is_read_back() {
        let line = r#"LC_ALL="C" VSLANG="1033" "cc" "-m64" "a b.o" "x\"y.rlib" "-o" "out" "-pie""#;
        let linker = Linker::parse(line, Path::new("/w")).unwrap();
        assert_eq!(
            linker.environment,
            [("LC_ALL".into(), "C".into()), ("VSLANG".into(), "1033".into())]
        );
        assert_eq!(linker.program, "cc");
        assert_eq!(linker.inputs(), [Path::new("/w/a b.o"), Path::new("/w/x\"y.rlib")]);
        assert_eq!(Linker::parse("   Compiling hakmem v0.1.0", Path::new("/w")), None);
    }

    #[test]
    fn seeds_move_functions_and_one_seed_is_one_layout() {
        let fixture = Fixture::new("used");
        let mut linker = fixture.arm(true).linker;
        let moved = linker.check_shuffle(fixture.folder()).unwrap();
        assert!(linker.shuffles, "the default linker does not shuffle: {moved:?}");
        assert!(moved.elsewhere * 10 > moved.functions * 9, "{moved:?}");
        let link = |name: &str, seed| {
            let path = fixture.folder().join(name);
            linker.link(&path, seed).unwrap();
            addresses(&path).unwrap()
        };
        assert_eq!(link("s7", Some(7)), link("s7again", Some(7)));
        assert_ne!(link("s7", Some(7)), link("s8", Some(8)));
    }

    #[test]
    fn a_linker_that_refuses_to_shuffle_is_found_out() {
        let fixture = Fixture::new("used");
        let mut linker = fixture.arm(true).linker;
        // The system's linker knows no --shuffle-sections.
        linker.arguments.retain(|word| !word.starts_with("-fuse-ld") && !word.starts_with("-B"));
        linker.check_shuffle(fixture.folder()).unwrap();
        assert!(!linker.shuffles);
        linker.link(&fixture.folder().join("plain"), Some(3)).unwrap();
    }
}
