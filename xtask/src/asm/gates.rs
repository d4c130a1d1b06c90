//! `cargo xtask asm --gates`: the default build holds nothing of any gate, shown on the bytes.
//!
//! A copy of the sources is built three ways, in one place so that names and paths agree:
//! 1. as it is, all gates off: what users get;
//! 2. with every telemetry call site deleted from the source: what "no telemetry" means;
//! 3. with each gate on.
//!
//! (1) and (2) must be the same in every loaded byte. (3) must differ from (1), and deleting the
//! call sites must change (3) too, or the comparison would be blind. That counters take no storage
//! is asserted at compile time where they are defined.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use comfy_table::{CellAlignment, Table};
use object::{Object, ObjectSection, SectionFlags};
use serde::Serialize;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::listing::Image;
use super::watch;
use crate::bench::peers::{Allocator, DEPENDENCY, OURS};
use crate::shared::registry::{Kind, Registry};
use crate::shared::{command, paths, term};

/// A loaded section: its size, and its bytes if the file holds any.
#[derive(PartialEq, Eq)]
struct Section {
    size: u64,
    bytes: Vec<u8>,
}

/// One build, reduced to what is compared.
struct Built {
    sections: BTreeMap<String, Section>,
    functions: Vec<String>,
    malloc: u64,
    free: u64,
}

/// What one gate adds.
#[derive(Debug, Serialize)]
struct Row {
    gate: String,
    text_bytes: i64,
    added_text_bytes: i64,
    added_data_bytes: i64,
    added_functions: usize,
    malloc_instructions: u64,
    free_instructions: u64,
}

/// The finding.
#[derive(Debug, Serialize)]
struct Finding {
    schema: u32,
    deleted_call_sites: usize,
    compared_bytes: usize,
    differing_sections: Vec<String>,
    default: Row,
    gates: Vec<Row>,
    blind: Vec<String>,
}

/// Runs the check.
pub fn run(json: bool) -> Result<ExitCode> {
    let registry = Registry::read()?;
    let place = Place::prepare()?;
    let bar = term::progress("Building", registry.gates.len() as u64 * 2 + 2);
    let build = |what: &str, feature: Option<&str>| {
        bar.set_message(what.to_owned());
        let built = place.build(feature);
        bar.inc(1);
        built
    };
    let default = build("default", None)?;
    let mut on = BTreeMap::new();
    for gate in registry.gates.keys() {
        on.insert(gate.clone(), build(gate, Some(gate))?);
    }
    let deleted = place.delete_call_sites()?;
    let without = build("without call sites", None)?;
    let mut blind = Vec::new();
    for (name, gate) in &registry.gates {
        if on[name].sections == default.sections {
            blind.push(format!(
                "turning on `{name}` changes no byte, so it has no code in the library"
            ));
        } else if gate.kind == Kind::Telemetry
            && build(name, Some(name))?.sections == on[name].sections
        {
            blind.push(format!("deleting the call sites does not change the build with `{name}`"));
        }
    }
    bar.finish_and_clear();

    let differing: Vec<String> = default
        .sections
        .iter()
        .filter(|(name, section)| without.sections.get(*name) != Some(section))
        .map(|(name, _)| name.clone())
        .collect();
    let finding = Finding {
        schema: 1,
        deleted_call_sites: deleted,
        compared_bytes: default.sections.values().map(|section| section.bytes.len()).sum(),
        differing_sections: differing,
        default: row("default", &default, &default),
        gates: on.iter().map(|(name, built)| row(name, built, &default)).collect(),
        blind,
    };
    report(&finding, json)
}

fn report(finding: &Finding, json: bool) -> Result<ExitCode> {
    if json {
        println!("{}", serde_json::to_string_pretty(finding)?);
    } else {
        println!("{}\n", table(finding));
    }
    for fault in &finding.blind {
        eprintln!("{fault}");
    }
    if !finding.differing_sections.is_empty() {
        eprintln!(
            "the default build holds telemetry: without its call sites, {} would be different",
            finding.differing_sections.join(", ")
        );
    }
    let sound = finding.blind.is_empty() && finding.differing_sections.is_empty();
    if sound {
        term::step(
            "Proven",
            format!(
                "the default library is the same in all {} loaded bytes with its {} telemetry call \
                 sites deleted from the source",
                finding.compared_bytes, finding.deleted_call_sites
            ),
        );
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn row(name: &str, built: &Built, default: &Built) -> Row {
    let size = |built: &Built, names: &[&str]| -> i64 {
        let sections = names.iter().filter_map(|name| built.sections.get(*name));
        sections.map(|section| section.size as i64).sum()
    };
    let data = |built| size(built, &[".data", ".bss", ".tdata", ".tbss", ".data.rel.ro"]);
    let text = |built| size(built, &[".text"]);
    let added = built.functions.iter().filter(|name| !default.functions.contains(name));
    Row {
        gate: name.to_owned(),
        text_bytes: text(built),
        added_text_bytes: text(built) - text(default),
        added_data_bytes: data(built) - data(default),
        added_functions: added.count(),
        malloc_instructions: built.malloc,
        free_instructions: built.free,
    }
}

fn table(finding: &Finding) -> Table {
    let mut table = Table::new();
    table.load_style(crate::bench::table::STYLE);
    table.set_header([
        "gate",
        "text",
        "added",
        "static data added",
        "functions added",
        "malloc",
        "free",
    ]);
    for row in std::iter::once(&finding.default).chain(&finding.gates) {
        table.add_row([
            row.gate.clone(),
            row.text_bytes.to_string(),
            format!("{:+}", row.added_text_bytes),
            format!("{:+}", row.added_data_bytes),
            row.added_functions.to_string(),
            row.malloc_instructions.to_string(),
            row.free_instructions.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The copy of the sources and where it is built.
struct Place {
    source: PathBuf,
    target: PathBuf,
}

impl Place {
    fn prepare() -> Result<Place> {
        let folder = paths::target().join("asm");
        let place = Place { source: folder.join("source"), target: folder.join("build") };
        if place.source.exists() {
            fs::remove_dir_all(&place.source)
                .with_context(|| format!("cannot empty {}", place.source.display()))?;
        }
        copy(paths::root(), &place.source).context("cannot copy the sources")?;
        Ok(place)
    }

    /// Builds the library from the copy as it now is.
    fn build(&self, feature: Option<&str>) -> Result<Built> {
        let mut build = command::cargo();
        build.current_dir(&self.source).env("CARGO_TARGET_DIR", &self.target);
        build.args(["build", "--release", "--package", "hakmem-preload"]);
        if let Some(feature) = feature {
            build.args(["--features", &format!("{DEPENDENCY}/{feature}")]);
        }
        command::output(&mut build)?;
        let library = self.target.join("release/libhakmem_preload.so");
        let allocator = Allocator {
            name: OURS.to_owned(),
            version: String::new(),
            library: Some(library.clone()),
            program: None,
        };
        let watched = watch(&allocator, super::GOLDEN_SIZE)?;
        let count = |name: &str| {
            let found = watched.functions.iter().find(|function| function.name == name);
            found.map(super::step::Function::median).with_context(|| format!("{name} was not seen"))
        };
        Ok(Built {
            sections: sections(&library)?,
            functions: Image::read(&library)?.functions().map(str::to_owned).collect(),
            malloc: count("malloc")?,
            free: count("free")?,
        })
    }

    /// Deletes every telemetry call site from the copy; lines keep their numbers, because panic
    /// messages hold them.
    fn delete_call_sites(&self) -> Result<usize> {
        let mut deleted = 0;
        let mut folders = vec![self.source.join("src")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() && path.file_name().is_some_and(|name| name != "telemetry") {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&path)?;
                    let (text, count) = without_call_sites(&text)
                        .with_context(|| format!("cannot read {} as Rust", path.display()))?;
                    fs::write(&path, text)?;
                    deleted += count;
                }
            }
        }
        ensure!(
            deleted > 0,
            "no telemetry call site (`….tally.…(…);`, `COMMON.…(…);`) was found in src/"
        );
        Ok(deleted)
    }
}

/// Blanks every statement that calls a method of a tally.
fn without_call_sites(text: &str) -> Result<(String, usize)> {
    let file = syn::parse_file(text)?;
    let mut finder = CallSites::default();
    finder.visit_file(&file);
    let mut bytes = text.as_bytes().to_vec();
    for range in &finder.0 {
        bytes[range.clone()]
            .iter_mut()
            .filter(|byte| **byte != b'\n')
            .for_each(|byte| *byte = b' ');
    }
    Ok((String::from_utf8(bytes)?, finder.0.len()))
}

#[derive(Default)]
struct CallSites(Vec<std::ops::Range<usize>>);

impl<'ast> Visit<'ast> for CallSites {
    fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
        if let syn::Stmt::Expr(syn::Expr::MethodCall(call), _) = statement
            && of_tally(&call.receiver)
        {
            self.0.push(statement.span().byte_range());
        }
        visit::visit_stmt(self, statement);
    }
}

/// Whether an expression is a tally: a field or a variable called `tally`, or the one in `COMMON`.
fn of_tally(receiver: &syn::Expr) -> bool {
    match receiver {
        syn::Expr::Field(field) => {
            matches!(&field.member, syn::Member::Named(name) if name == "tally")
        }
        syn::Expr::Path(path) => {
            let last = path.path.segments.last();
            last.is_some_and(|segment| segment.ident == "tally" || segment.ident == "COMMON")
        }
        _ => false,
    }
}

/// Copies a checkout without what is built or kept by git.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "target" || name == ".git" || entry.path() == paths::target() {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if entry.file_type()?.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The sections that are loaded, except the build's own fingerprint.
fn sections(library: &Path) -> Result<BTreeMap<String, Section>> {
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
    fn call_sites_go_and_lines_stay() {
        let text = "fn f(heap: &Heap) {\n    heap.tally.hit(\n        1,\n    );\n    heap.other.hit(1);\n    \
                    let started = self.tally.start();\n    tally.hit(2);\n    COMMON.called(3);\n    \
                    called(4);\n    self.0.tally.freed(started)\n}\n";
        let (without, count) = without_call_sites(text).unwrap();
        assert_eq!(count, 4);
        assert_eq!(without.lines().count(), text.lines().count());
        assert!(!without.contains("tally.hit") && !without.contains("tally.freed"));
        assert!(!without.contains("COMMON") && without.contains(" called(4);"));
        assert!(without.contains("heap.other.hit(1);") && without.contains("tally.start()"));
        syn::parse_file(&without).unwrap();
    }

    #[test]
    fn sections_of_a_real_program_are_read() {
        let sections = sections(&std::env::current_exe().unwrap()).unwrap();
        assert!(sections[".text"].bytes.len() > 1000);
        assert!(!sections.contains_key(".note.gnu.build-id"));
    }
}
