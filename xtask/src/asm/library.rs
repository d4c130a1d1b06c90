//! The preload library built with given features, and read back: its sections, its functions, and
//! its code before linking.
//!
//! A build that cargo refuses is a [`Refused`] inside the error, so that whoever asked for many
//! builds can go on with the next one. Every crate of the workspace gets the same `-C metadata`
//! (see `ab::arms`), so that two builds differ in what their features say and in nothing else. One
//! target folder serves all of them, one build at a time.

use crate::ab::arms;
use crate::ab::link::{self, Linker};
use crate::ab::object::Code;
use crate::bench::peers::{Allocator, DEPENDENCY, OURS};
use crate::shared::{command, write};
use anyhow::{Context, Result, ensure};
use cargo_metadata::Message;
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SymbolKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The package of the library, and its file.
const PACKAGE: &str = "hakmem-preload";
const FILE: &str = "libhakmem_preload.so";

/// The C names whose first instructions are the fast paths.
pub const FAST_PATHS: [&str; 5] = ["malloc", "free", "_Znwm", "_ZdlPvm", "free_sized"];

/// Where a library is built, and from which sources.
pub struct Builder {
    source: PathBuf,
    target: PathBuf,
    /// Whether code is told with its lines of source.
    lines: bool,
}

/// One build. Its files are those of the last build of its [`Builder`].
pub struct Library {
    /// The shared library.
    pub file: PathBuf,
    inputs: Vec<PathBuf>,
}

/// A build that cargo refused.
#[derive(Debug)]
pub struct Refused {
    /// The command, as one would repeat it.
    pub command: String,
    /// The compiler's first error, with its place where it gave one.
    pub first: String,
    /// True if the heap itself does not compile, not only the library around it.
    pub heap: bool,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}; to repeat: {}", self.first, self.command)
    }
}

impl std::error::Error for Refused {}

/// The linker command of the last build, for the times when cargo has nothing to do.
#[derive(Serialize, Deserialize)]
struct Kept {
    features: Vec<String>,
    linker: Linker,
}

impl Builder {
    /// Builds `source`, a checkout, below `target`.
    pub fn new(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Builder {
        Builder { source: source.into(), target: target.into(), lines: true }
    }

    /// The same code without its lines of source, in seven eighths of the time.
    pub fn without_lines(self) -> Builder {
        Builder { lines: false, ..self }
    }

    /// Builds the library with these features of the heap, whatever the default build has.
    pub fn build(&self, features: &[String]) -> Result<Library> {
        let kept = self.target.join("linker.json");
        let linker = match self.compile(features)?.or_else(|| read(&kept, features)) {
            Some(linker) => linker,
            None => {
                let mut clean = command::cargo();
                clean.current_dir(&self.source);
                clean.args(["clean", "--quiet", "--release", "--package", PACKAGE]);
                clean.arg("--target-dir").arg(&self.target);
                command::output(&mut clean)?;
                self.compile(features)?
                    .context("rustc printed no linker command; this needs Rust 1.95 on Linux")?
            }
        };
        let inputs = linker.inputs();
        let kept_now = Kept { features: features.to_vec(), linker };
        write::atomically(&kept, serde_json::to_string(&kept_now)?)?;
        Ok(Library { file: self.target.join("release").join(FILE), inputs })
    }

    /// Runs cargo; the linker command if rustc linked anything.
    fn compile(&self, features: &[String]) -> Result<Option<Linker>> {
        let mut cargo = command::cargo();
        cargo.current_dir(&self.source);
        cargo.args(["rustc", "--release", "--package", PACKAGE, "--lib", "--no-default-features"]);
        cargo.arg("--target-dir").arg(&self.target);
        if !features.is_empty() {
            let names: Vec<String> =
                features.iter().map(|feature| format!("{DEPENDENCY}/{feature}")).collect();
            cargo.args(["--features", &names.join(",")]);
        }
        let shown = command::show(&cargo);
        fs::create_dir_all(arms::folder())
            .with_context(|| format!("cannot make {}", arms::folder().display()))?;
        cargo.args(["--config", "profile.release.strip=false"]);
        if !self.lines {
            cargo.args(["--config", "profile.release.debug=false"]);
        }
        cargo.arg("--message-format=json-render-diagnostics");
        cargo.args(["--", "--print=link-args", "-Csave-temps"]);
        cargo.env("RUSTC_WORKSPACE_WRAPPER", arms::wrapper()?);
        // Whatever the caller's environment says: incremental code is not what users get.
        cargo.env("CARGO_INCREMENTAL", "0");
        cargo.stdin(std::process::Stdio::null());
        let output = cargo.output().with_context(|| format!("cannot start `{shown}`"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Refused {
                first: command::first_error(&said),
                heap: said.contains("could not compile `hakmem-alloc`"),
                command: shown,
            }
            .into());
        }
        let mut linker = None;
        for message in Message::parse_stream(&*output.stdout) {
            if let Message::TextLine(line) = message? {
                linker = Linker::parse(&line, &self.source).or(linker);
            }
        }
        Ok(linker)
    }
}

/// The kept linker command, if it is of these features and its objects are still there.
fn read(path: &Path, features: &[String]) -> Option<Linker> {
    let kept: Kept = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    let there = kept.linker.inputs().iter().all(|input| input.exists());
    (kept.features == features && there).then_some(kept.linker)
}

impl Library {
    /// The library as something to preload.
    pub fn allocator(&self) -> Allocator {
        Allocator {
            name: OURS.to_owned(),
            version: String::new(),
            library: Some(self.file.clone()),
            program: None,
        }
    }

    /// The code before linking, without what the linker dropped.
    pub fn code(&self) -> Result<Code> {
        let mut code = Code::load(&self.inputs)?;
        code.retain(&link::symbols(&self.file)?);
        Ok(code)
    }

    /// The sections that are loaded, except the build's own fingerprint.
    pub fn sections(&self) -> Result<Sections> {
        sections(&self.file)
    }

    /// Bytes of each of the [`FAST_PATHS`], by name. What they call is not in it.
    pub fn fast_paths(&self) -> Result<BTreeMap<String, u64>> {
        let bytes =
            fs::read(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?;
        let file = object::File::parse(&*bytes)?;
        let wanted = |name: &str| FAST_PATHS.contains(&name);
        let found: BTreeMap<String, u64> = file
            .dynamic_symbols()
            .filter(|symbol| symbol.is_definition() && symbol.kind() == SymbolKind::Text)
            .filter_map(|symbol| Some((symbol.name().ok()?.to_owned(), symbol.size())))
            .filter(|(name, _)| wanted(name))
            .collect();
        ensure!(
            found.contains_key("malloc") && found.contains_key("free"),
            "{} exports no malloc and free",
            self.file.display()
        );
        Ok(found)
    }
}

/// A loaded section: its size, and its bytes if the file holds any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Bytes in memory.
    pub size: u64,
    /// Bytes in the file.
    pub bytes: Vec<u8>,
}

/// Sections by name.
pub type Sections = BTreeMap<String, Section>;

/// The sum of some sections' sizes.
pub fn size(sections: &Sections, names: &[&str]) -> u64 {
    names.iter().filter_map(|name| sections.get(*name)).map(|section| section.size).sum()
}

/// The sections that hold state.
pub const DATA: [&str; 5] = [".data", ".bss", ".tdata", ".tbss", ".data.rel.ro"];

/// The loaded sections of a library or program, except the build's own fingerprint.
pub fn sections(library: &Path) -> Result<Sections> {
    let bytes = fs::read(library).with_context(|| format!("cannot read {}", library.display()))?;
    let file = object::File::parse(&*bytes)?;
    let mut sections = BTreeMap::new();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
            continue;
        };
        let name = section.name()?;
        if sh_flags.0 & object::elf::SHF_ALLOC.0 != 0 && name != ".note.gnu.build-id" {
            let bytes = section.uncompressed_data()?.into_owned();
            sections.insert(name.to_owned(), Section { size: section.size(), bytes });
        }
    }
    ensure!(sections.contains_key(".text"), "{} has no code", library.display());
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_of_a_real_program_are_read() {
        let sections = sections(&std::env::current_exe().unwrap()).unwrap();
        assert!(sections[".text"].bytes.len() > 1000);
        assert!(!sections.contains_key(".note.gnu.build-id"));
        let both = size(&sections, &[".text", ".data"]);
        assert_eq!(both, sections[".text"].size + sections[".data"].size);
        assert_eq!(size(&sections, &[".none"]), 0);
    }

    #[test]
    fn a_refused_build_names_the_first_error_and_the_command() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "Cargo.toml",
            "[package]\nname = \"hakmem-preload\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\n\
             crate-type = [\"cdylib\"]\n[workspace]\n[features]\nok = []\n",
        );
        write("src/lib.rs", "fn f() -> u8 {\n    \"text\"\n}\n");
        let builder = Builder::new(folder.path(), folder.path().join("target"));
        let Err(error) = builder.build(&[]) else { panic!("it compiles") };
        let refused = error.downcast_ref::<Refused>().unwrap();
        assert!(refused.first.contains("mismatched types"), "{}", refused.first);
        assert!(refused.first.contains("src/lib.rs:2"), "{}", refused.first);
        assert!(refused.command.contains("rustc --release --package hakmem-preload"));
        assert!(!refused.heap);
    }
}
