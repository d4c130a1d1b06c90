//! The two arms of an experiment: the scenario program compiled without and with the gate, once
//! each, and the proof that the gate is all that differs.
//!
//! Each arm has a target folder of its own below `target/ab`, so that a second experiment rebuilds
//! only what changed. What rustc gave the linker is kept beside it.

use super::link::{Linker, Moved};
use super::object::Code;
use crate::shared::{command, paths, registry::PACKAGE};
use anyhow::{Context, Result, bail};
use cargo_metadata::{Artifact, Message};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The program that an experiment measures: every scenario, with the heap compiled in.
const PROGRAM: &str = "hakmem-scenario-linked";
const PROGRAM_PACKAGE: &str = "hakmem-scenarios";

/// One compiled arm.
pub struct Arm {
    /// How to link it.
    pub linker: Linker,
    /// What the check of the linker found.
    pub moved: Moved,
    /// A link in the compiler's order, for counting and for the list of what is used.
    pub program: PathBuf,
    /// The functions of that link, by symbol.
    pub functions: BTreeMap<String, u64>,
    /// The code before linking, what the linker drops left out.
    pub code: Code,
    /// Features and profile of every crate that went in, as cargo reports them.
    units: BTreeMap<String, Unit>,
}

/// What cargo says about one compiled crate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Unit {
    features: BTreeSet<String>,
    profile: String,
}

/// Gives every crate of the workspace the same `-C metadata` in both arms. Cargo derives it from the
/// features, and rustc derives the names of symbols from it: other names are another order in the
/// optimiser, and so other code from the same source. Each arm has its own folder, so that nothing
/// collides.
const SAME_METADATA: &str = r#"#!/bin/sh
rustc=$1
shift
for word do
    shift
    case $word in
        metadata=* | -Cmetadata=*) word=${word%%=*}=experiment ;;
    esac
    set -- "$@" "$word"
done
exec "$rustc" "$@"
"#;

/// Where experiments live.
pub fn folder() -> PathBuf {
    paths::target().join("ab")
}

impl Arm {
    /// Compiles the arm with `features` of the allocator on, into a folder called `name`.
    pub fn build(name: &str, features: &[String]) -> Result<Arm> {
        let folder = folder().join(name);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let kept = folder.join("linker.json");
        let (mut units, mut printed) = compile(&folder, features)?;
        let mut linker = match printed {
            Some(linker) => linker,
            // Cargo found it up to date and did not run rustc: the command is the kept one.
            None => match read(&kept) {
                Some(linker) => linker,
                None => {
                    let mut clean = command::cargo();
                    clean
                        .args([
                            "clean",
                            "--quiet",
                            "--release",
                            "--package",
                            PROGRAM_PACKAGE,
                            "--target-dir",
                        ])
                        .arg(&folder);
                    command::output(&mut clean)?;
                    (units, printed) = compile(&folder, features)?;
                    printed
                        .context("rustc printed no linker command; this needs Rust 1.95 on Linux")?
                }
            },
        };
        let moved = linker.check_shuffle(&folder)?;
        std::fs::write(&kept, serde_json::to_string_pretty(&linker)?)?;
        let program = folder.join("compiler-order");
        linker.link(&program, None)?;
        let functions = super::link::addresses(&program)?;
        let mut code = Code::load(&linker.inputs())?;
        code.retain(&super::link::symbols(&program)?);
        Ok(Arm { linker, moved, program, functions, code, units })
    }

    /// The features of the allocator in this arm.
    fn gates(&self) -> BTreeSet<String> {
        self.units.get(PACKAGE).map(|unit| unit.features.clone()).unwrap_or_default()
    }
}

/// Shows that the arms differ in `gate`, with what it implies, and in nothing else. Returns what
/// differs.
pub fn one_difference(
    out: &Arm,
    with: &Arm,
    gate: &str,
    implied: &BTreeSet<String>,
) -> Result<BTreeSet<String>> {
    if out.gates().contains(gate) {
        bail!(
            "`{gate}` is on in the default build, so there is no arm without it; take it out of `default` first"
        );
    }
    let added: BTreeSet<String> = with.gates().difference(&out.gates()).cloned().collect();
    if &added != implied {
        bail!(
            "the arms differ in the features {added:?}, expected {implied:?}; see [features] in Cargo.toml"
        );
    }
    let without_gates = |arm: &Arm| {
        let mut units = arm.units.clone();
        if let Some(unit) = units.get_mut(PACKAGE) {
            unit.features.retain(|feature| !implied.contains(feature));
        }
        units
    };
    let (left, right) = (without_gates(out), without_gates(with));
    if let Some(name) =
        left.keys().chain(right.keys()).find(|name| left.get(*name) != right.get(*name))
    {
        bail!(
            "the arms differ in crate `{name}` too ({:?} and {:?}); no verdict could rest on them",
            left.get(name),
            right.get(name)
        );
    }
    Ok(added)
}

fn read(path: &Path) -> Option<Linker> {
    let linker: Linker = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    linker.inputs().iter().all(|input| input.exists()).then_some(linker)
}

/// Runs cargo; returns what it compiled and, if rustc linked the program, the linker command.
fn compile(folder: &Path, features: &[String]) -> Result<(BTreeMap<String, Unit>, Option<Linker>)> {
    let mut cargo = command::cargo();
    cargo
        .args([
            "rustc",
            "--release",
            "--package",
            PROGRAM_PACKAGE,
            "--bin",
            PROGRAM,
            "--target-dir",
        ])
        .arg(folder);
    cargo.args([
        "--config",
        "profile.release.codegen-units=1",
        "--config",
        "profile.release.strip=false",
    ]);
    cargo.arg("--message-format=json-render-diagnostics");
    for feature in features {
        cargo.arg("--features").arg(format!("{PACKAGE}/{feature}"));
    }
    cargo.args(["--", "--print=link-args", "-Csave-temps"]);
    cargo.env("RUSTC_WORKSPACE_WRAPPER", wrapper()?);
    let output = command::output(&mut cargo)?;
    let (mut units, mut linker) = (BTreeMap::new(), None);
    for message in Message::parse_stream(&*output.stdout) {
        match message? {
            Message::CompilerArtifact(artifact) => {
                let (name, unit) = unit(&artifact);
                units.insert(name, unit);
            }
            Message::TextLine(line) => linker = Linker::parse(&line, paths::root()).or(linker),
            _ => {}
        }
    }
    Ok((units, linker))
}

/// The wrapper script around rustc, written where it is missing.
pub fn wrapper() -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = folder().join("rustc-same-metadata");
    // Cargo looks at its time of change: written only once.
    if std::fs::read_to_string(&path).ok().as_deref() != Some(SAME_METADATA) {
        let write = || -> std::io::Result<()> {
            std::fs::write(&path, SAME_METADATA)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(path)
}

fn unit(artifact: &Artifact) -> (String, Unit) {
    let package = artifact.package_id.repr.rsplit(['/', '#']).next().unwrap_or_default();
    let (name, kinds) = (&artifact.target.name, &artifact.target.kind);
    // The allocator goes by its package's name, every other crate by package, target and kind.
    let ours = artifact.package_id.repr.contains(&format!("#{PACKAGE}@"))
        || package.starts_with(&format!("{PACKAGE}@"));
    let key = if ours { PACKAGE.to_owned() } else { format!("{package} {name} {kinds:?}") };
    let profile = &artifact.profile;
    let profile = format!(
        "opt-level {} debug-assertions {} overflow-checks {} test {}",
        profile.opt_level, profile.debug_assertions, profile.overflow_checks, profile.test
    );
    (key, Unit { features: artifact.features.iter().cloned().collect(), profile })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_wrapper_replaces_the_metadata_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("wrapper");
        std::fs::write(&script, SAME_METADATA).unwrap();
        let mut wrapped = Command::new("sh");
        wrapped.arg(script).arg("printf").arg("[%s]");
        wrapped.args(["-C", "metadata=0123", "--cfg", "feature=\"a b\"", "-Cmetadata=45", "", "*"]);
        let expected =
            "[-C][metadata=experiment][--cfg][feature=\"a b\"][-Cmetadata=experiment][][*]";
        assert_eq!(command::stdout(&mut wrapped).unwrap(), expected);
    }
}
