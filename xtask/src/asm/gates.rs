//! `cargo xtask asm --gates`: the default build holds nothing of any gate, shown on the bytes and
//! function by function.
//!
//! A copy of the sources is built three ways, in one place so that names and paths agree:
//! 1. as it is, all gates off: what users get, but for gates that the default build has;
//! 2. with every call site of the gates taken out of the source (`sites`): what "no gates" means;
//! 3. with each gate on, as it is and without the call sites.
//!
//! (1) and (2) should be the same in every loaded byte. Where they are not, the functions that are
//! compiled otherwise are named with their instructions on either side: nothing of a gate need be in
//! them, but that is not proven then. The fast paths and the size of the state must be the same.
//! For each gate of the registry, whatever its
//! kind, (3) shows that the comparison sees it: it has call sites, it changes the library, taking the
//! sites out changes it again, and no fast path keeps an instruction of it then. A gate for which one
//! of these fails is one that the proof does not cover, and is named. That counters take no storage
//! is asserted at compile time where they are defined.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::library::{self, Builder, DATA, FAST_PATHS, Sections};
use super::sites::{self, Site};
use super::{step, step_program, watch_in};
use crate::ab::diff::{self, Comparison};
use crate::ab::object::Code;
use crate::matrix::plan::{self, Group};
use crate::shared::registry::Registry;
use crate::shared::{paths, term};

/// One build, reduced to what is compared.
struct Built {
    sections: Sections,
    code: Code,
    malloc: u64,
    free: u64,
}

/// What one gate adds, and what the comparison sees of it.
#[derive(Debug, Serialize)]
struct Row {
    gate: String,
    text_bytes: u64,
    added_text_bytes: i64,
    added_data_bytes: i64,
    malloc_instructions: u64,
    free_instructions: u64,
    /// Places in the source that serve it.
    call_sites: Vec<String>,
    /// Functions that differ from the default build by instructions of their own.
    functions: Vec<String>,
    /// Those of them that still do without the call sites: what reads the gate.
    left: Vec<String>,
}

/// The finding.
#[derive(Debug, Serialize)]
struct Finding {
    schema: u32,
    /// What the build with all gates off is called.
    off: &'static str,
    call_sites: usize,
    /// Calls of the telemetry that stay: no gate decides their answer.
    staying: Vec<String>,
    compared_bytes: usize,
    compared_functions: usize,
    /// Loaded sections that are not the same without the call sites.
    differing_sections: Vec<String>,
    /// Functions with instructions of their own on either side: how many with the call sites, and
    /// how many without.
    differing_functions: BTreeMap<String, (usize, usize)>,
    /// Bytes of state, with the call sites and without.
    state: (u64, u64),
    default: Row,
    gates: Vec<Row>,
    /// Why the comparison does not cover a gate.
    blind: Vec<String>,
}

/// Runs the check.
pub fn run(json: bool) -> Result<ExitCode> {
    let registry = Registry::read()?;
    let place = Place::prepare()?;
    let features = registry.gates.keys().cloned().collect();
    let found = sites::find(&place.source.join("src"), &features)?;
    let bar = term::progress("Building", registry.gates.len() as u64 * 2 + 2);
    let build = |what: &str, features: &[String]| {
        bar.set_message(what.to_owned());
        let built = place.build(features).with_context(|| format!("building {what}"));
        bar.inc(1);
        built
    };
    let asked: BTreeMap<&String, Vec<String>> = registry
        .gates
        .keys()
        .map(|gate| (gate, plan::configuration(&registry, gate, Group::Single, &[gate]).features))
        .collect();
    let off = match registry.default.is_empty() {
        true => "the default build",
        false => "the build without gates",
    };
    let default = build(off, &[])?;
    let mut on = BTreeMap::new();
    for (gate, features) in &asked {
        on.insert(*gate, build(gate, features)?);
    }
    for without in &found.files {
        let path = place.source.join("src").join(&without.path);
        fs::write(&path, &without.text)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let without = build(&format!("{off} and call sites"), &[])?;
    let (mut gates, mut blind) = (Vec::new(), Vec::new());
    for (gate, features) in &asked {
        let bare = build(&format!("{gate} without call sites"), features)?;
        let mut row = row(gate, &on[gate], &default);
        row.call_sites = call_sites(&found.sites, gate);
        let left = diff::compare(&default.code, &bare.code);
        row.left = own(&left);
        blind.extend(uncovered(&row, &on[gate], &bare, &left));
        gates.push(row);
    }
    bar.finish_and_clear();
    let comparison = diff::compare(&default.code, &without.code);
    let finding = Finding {
        schema: 2,
        off,
        call_sites: found.sites.len(),
        staying: found.staying,
        compared_bytes: default.sections.values().map(|section| section.bytes.len()).sum(),
        compared_functions: comparison.functions,
        differing_sections: default
            .sections
            .iter()
            .filter(|(name, section)| without.sections.get(*name) != Some(section))
            .map(|(name, _)| name.clone())
            .collect(),
        differing_functions: comparison
            .differing
            .into_iter()
            .filter(|(_, (out, with))| out + with > 0)
            .collect(),
        state: (library::size(&default.sections, &DATA), library::size(&without.sections, &DATA)),
        default: row("default", &default, &default),
        gates,
        blind,
    };
    report(&finding, json)
}

/// Why the comparison does not see a gate, if it does not.
fn uncovered(row: &Row, on: &Built, bare: &Built, left: &Comparison) -> Vec<String> {
    let mut faults = Vec::new();
    let gate = &row.gate;
    if row.call_sites.is_empty() {
        faults.push(format!(
            "`{gate}` has no call site in src/ that `asm --gates` knows how to take out"
        ));
    }
    if row.functions.is_empty() && row.added_text_bytes == 0 {
        faults.push(format!(
            "turning on `{gate}` changes no function, so it has no code in the library"
        ));
    } else if bare.sections == on.sections {
        faults.push(format!("taking out the call sites does not change the build with `{gate}`"));
    }
    for name in FAST_PATHS {
        if left.differing.get(name).is_some_and(|(out, with)| out + with > 0) {
            faults.push(format!(
                "without its call sites `{gate}` still has instructions in `{name}`"
            ));
        }
    }
    faults
}

fn call_sites(sites: &[Site], gate: &str) -> Vec<String> {
    let serves = sites.iter().filter(|site| site.gates.contains(gate));
    serves.map(|site| format!("{} {}", site.at, site.name)).collect()
}

/// The functions that differ by instructions of one side's own.
fn own(comparison: &Comparison) -> Vec<String> {
    let differing = comparison.differing.iter().filter(|(_, (out, with))| out + with > 0);
    differing.map(|(name, _)| name.clone()).collect()
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
    let sites =
        format!("the {} call sites of {} gates taken out", finding.call_sites, finding.gates.len());
    let faults = faults(finding);
    if finding.differing_sections.is_empty() {
        let (bytes, functions) = (finding.compared_bytes, finding.compared_functions);
        let what = format!(
            "{} is the same in all {bytes} loaded bytes and {functions} functions",
            finding.off
        );
        term::step("Proven", format!("{what} with {sites}"));
    } else if faults.is_empty() {
        let what = format!(
            "{} is the same in every instruction and in the size of its state",
            finding.off
        );
        term::step("Proven", format!("{what} with {sites}; only places moved"));
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    if !finding.staying.is_empty() {
        let places = finding.staying.len();
        term::note(format!(
            "{places} more uses of the telemetry stay, as no gate decides what they come to (--json lists them)"
        ));
    }
    let sound = finding.blind.is_empty() && faults.is_empty();
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What keeps off from being proven absent.
fn faults(finding: &Finding) -> Vec<String> {
    let mut faults = Vec::new();
    let (with, without) = finding.state;
    if with != without {
        faults.push(format!(
            "{} has {with} bytes of state, without the call sites {without}",
            finding.off
        ));
    }
    let told = |(name, (with, without)): (&String, &(usize, usize))| {
        format!("{name} (-{with} +{without})")
    };
    let (fast, other): (Vec<_>, Vec<_>) = finding
        .differing_functions
        .iter()
        .partition(|(name, _)| FAST_PATHS.contains(&name.as_str()));
    if !fast.is_empty() {
        let names: Vec<String> = fast.into_iter().map(told).collect();
        faults.push(format!("a gate that is off changes a fast path: {}", names.join(", ")));
    }
    if !other.is_empty() {
        let (count, all) = (other.len(), finding.compared_functions);
        let names: Vec<String> = other.into_iter().map(told).collect();
        faults.push(format!(
            "not proven for {count} of {all} functions, which are compiled otherwise without the call sites \
             (instructions gone and come): {}",
            names.join(", ")
        ));
    }
    faults
}

fn row(name: &str, built: &Built, default: &Built) -> Row {
    let text = |built: &Built| library::size(&built.sections, &[".text"]);
    let data = |built: &Built| library::size(&built.sections, &DATA);
    Row {
        gate: name.to_owned(),
        text_bytes: text(built),
        added_text_bytes: text(built) as i64 - text(default) as i64,
        added_data_bytes: data(built) as i64 - data(default) as i64,
        malloc_instructions: built.malloc,
        free_instructions: built.free,
        call_sites: Vec::new(),
        functions: own(&diff::compare(&default.code, &built.code)),
        left: Vec::new(),
    }
}

fn table(finding: &Finding) -> Table {
    let mut table = Table::new();
    table.load_style(crate::bench::table::STYLE);
    table.set_header(["gate", "text", "data", "malloc", "free", "call sites", "functions", "left"]);
    for row in std::iter::once(&finding.default).chain(&finding.gates) {
        let whole = std::ptr::eq(row, &finding.default);
        let count = |names: &[String]| if whole { String::new() } else { names.len().to_string() };
        table.add_row([
            row.gate.clone(),
            if whole { row.text_bytes.to_string() } else { format!("{:+}", row.added_text_bytes) },
            if whole { String::new() } else { format!("{:+}", row.added_data_bytes) },
            row.malloc_instructions.to_string(),
            row.free_instructions.to_string(),
            count(&row.call_sites),
            count(&row.functions),
            count(&row.left),
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
    builder: Builder,
    step: PathBuf,
}

impl Place {
    fn prepare() -> Result<Place> {
        let folder = paths::target().join("asm");
        let source = folder.join("source");
        if source.exists() {
            fs::remove_dir_all(&source)
                .with_context(|| format!("cannot empty {}", source.display()))?;
        }
        copy(paths::root(), &source).context("cannot copy the sources")?;
        let builder = Builder::new(&source, folder.join("build"));
        Ok(Place { source, builder, step: step_program()? })
    }

    /// Builds the library from the copy as it now is.
    fn build(&self, features: &[String]) -> Result<Built> {
        let library = self.builder.build(features)?;
        let watched = watch_in(&self.step, &library.allocator(), super::GOLDEN_SIZE)?;
        let count = |name: &str| {
            let found = watched.functions.iter().find(|function| function.name == name);
            found.map(step::Function::median).with_context(|| format!("{name} was not seen"))
        };
        let code = library.code()?;
        ensure!(
            FAST_PATHS
                .iter()
                .all(|name| code.functions.iter().any(|function| function.name == *name)),
            "the library's objects do not hold all of {}",
            FAST_PATHS.join(", ")
        );
        Ok(Built {
            sections: library.sections()?,
            code,
            malloc: count("malloc")?,
            free: count("free")?,
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ab::object::{Function, Instr};

    fn built(text: &[u8], functions: &[(&str, &[&str])]) -> Built {
        let function = |(name, words): &(&str, &[&str])| Function {
            name: (*name).to_owned(),
            symbol: (*name).to_owned(),
            instructions: words
                .iter()
                .enumerate()
                .map(|(at, word)| Instr {
                    offset: at as u64,
                    exact: (*word).to_owned(),
                    unplaced: word.split('@').next().unwrap_or(word).to_owned(),
                    jump: None,
                    refers: None,
                })
                .collect(),
        };
        let section = library::Section { size: text.len() as u64, bytes: text.to_vec() };
        Built {
            sections: [(".text".to_owned(), section)].into(),
            code: Code { functions: functions.iter().map(function).collect(), data: Vec::new() },
            malloc: 11,
            free: 13,
        }
    }

    fn faults(on: &Built, bare: &Built, sites: &[&str]) -> Vec<String> {
        let default = built(b"abc", &[("malloc", &["pop@8", "ret"]), ("stats", &["ret"])]);
        let mut row = row("gate", on, &default);
        row.call_sites = sites.iter().map(|site| (*site).to_owned()).collect();
        uncovered(&row, on, bare, &diff::compare(&default.code, &bare.code))
    }

    #[test]
    fn a_gate_that_the_comparison_sees_has_no_fault() {
        let on =
            built(b"abcd", &[("malloc", &["pop@16", "inc", "ret"]), ("stats", &["sum", "ret"])]);
        // A field moved, and the reader is still there.
        let bare = built(b"abce", &[("malloc", &["pop@16", "ret"]), ("stats", &["sum", "ret"])]);
        assert_eq!(faults(&on, &bare, &["src/hot.rs:1 hit"]), Vec::<String>::new());
    }

    #[test]
    fn what_the_comparison_does_not_see_is_named() {
        let on = built(b"abcd", &[("malloc", &["pop@8", "inc", "ret"]), ("stats", &["ret"])]);
        let told = faults(&on, &on, &["src/hot.rs:1 hit"]);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].contains("does not change the build")
                && told[1].contains("still has instructions in `malloc`")
        );
        let same = built(b"abc", &[("malloc", &["pop@8", "ret"]), ("stats", &["ret"])]);
        let told = faults(&same, &same, &[]);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("no call site") && told[1].contains("no code in the library"));
    }

    #[test]
    fn what_differs_without_the_call_sites_is_named_and_fast_paths_first() {
        let default = built(b"abc", &[]);
        let mut finding = Finding {
            schema: 2,
            off: "the default build",
            call_sites: 3,
            staying: Vec::new(),
            compared_bytes: 3,
            compared_functions: 40,
            differing_sections: vec![".text".into()],
            differing_functions: BTreeMap::new(),
            state: (64, 64),
            default: row("default", &default, &default),
            gates: Vec::new(),
            blind: Vec::new(),
        };
        assert!(super::faults(&finding).is_empty(), "places alone are no fault");
        finding.differing_functions.insert("hakmem::cold::overflow".into(), (3, 2));
        finding.differing_functions.insert("free".into(), (1, 0));
        finding.state = (72, 64);
        let told = super::faults(&finding);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].contains("72 bytes of state"));
        assert!(told[1].contains("a fast path: free (-1 +0)"));
        assert!(
            told[2].contains("1 of 40 functions")
                && told[2].contains("hakmem::cold::overflow (-3 +2)")
        );
    }

    #[test]
    fn sites_are_told_by_gate() {
        let site = |gates: &[&str]| Site {
            at: "src/hot.rs:7".into(),
            name: "hit".into(),
            gates: gates.iter().map(|gate| (*gate).to_owned()).collect(),
        };
        let sites = [site(&["a", "b"]), site(&["b"])];
        assert_eq!(call_sites(&sites, "a"), ["src/hot.rs:7 hit"]);
        assert_eq!(call_sites(&sites, "b").len(), 2);
        assert!(call_sites(&sites, "c").is_empty());
    }
}
