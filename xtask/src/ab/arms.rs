//! The two arms of an experiment: each compiled once, and for gates the proof that they are all that
//! differs.
//!
//! Each arm has a target folder of its own below `target/ab`, so that a second experiment rebuilds
//! only what changed. What rustc gave the linker is kept beside it.

use super::link::{Linker, Moved};
use super::object::Code;
use super::process::{Program, Variable};
use crate::shared::registry::{PACKAGE, Registry};
use crate::shared::{command, paths};
use anyhow::{Context, Result, bail};
use cargo_metadata::{Artifact, Message};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// What an experiment compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Artefact {
    /// Every scenario, with the heap compiled in.
    Linked,
    /// Every scenario, on the C names.
    OnSystem,
    /// The heap as a library to preload.
    Library,
}

impl Artefact {
    fn package(self) -> &'static str {
        match self {
            Artefact::Linked | Artefact::OnSystem => "hakmem-scenarios",
            Artefact::Library => "hakmem-preload",
        }
    }

    /// The arguments of `cargo rustc` that pick it.
    fn target(self) -> &'static [&'static str] {
        match self {
            Artefact::Linked => &["--bin", "hakmem-scenario-linked"],
            Artefact::OnSystem => &["--bin", "hakmem-scenario"],
            Artefact::Library => &["--lib"],
        }
    }
}

/// What to compile, and from where.
#[derive(Clone, Debug)]
pub struct Recipe<'a> {
    /// The name of its folder below `target/ab`: what differs must not share one.
    pub name: String,
    /// The checkout.
    pub root: &'a Path,
    /// What of it.
    pub artefact: Artefact,
    /// Which features of the allocator.
    pub features: Features,
}

/// Which features of the allocator an artefact is compiled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Features {
    /// Those of the default build.
    Default,
    /// These, whatever the default build has. For [`Artefact::Linked`] only.
    Exactly(Vec<String>),
}

/// One compiled artefact, ready to be linked again and again.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// How to link it.
    pub linker: Linker,
    /// What the check of the linker found.
    pub moved: Moved,
    /// A link in the compiler's order.
    pub file: PathBuf,
    /// Features and profile of every crate that went in, as cargo reports them.
    units: BTreeMap<String, Unit>,
}

/// The library that an arm preloads.
pub enum Preload {
    /// As somebody else built it: one layout.
    Fixed(PathBuf),
    /// Linked anew for each layout.
    Linked(Box<Compiled>),
}

/// One arm: a program, what is preloaded into it, and what is known of its code.
pub struct Arm {
    /// How to link the program.
    pub linker: Linker,
    /// What the check of the linker found.
    pub moved: Moved,
    /// A link in the compiler's order, for counting and for the list of what is used.
    pub program: PathBuf,
    /// What is preloaded, if anything is.
    pub preload: Option<Preload>,
    /// The heap's settings while it runs.
    pub variables: Vec<Variable>,
    /// The functions of that link, by symbol.
    pub functions: BTreeMap<String, u64>,
    /// The code before linking, what the linker drops left out. Empty with a preloaded library.
    pub code: Code,
    units: BTreeMap<String, Unit>,
}

/// What of an arm's layout changes from block to block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layouts {
    /// All of both arms' code.
    Vary,
    /// The program and our library; the peer's library is the one that its makers' flags gave.
    PeerFixed,
    /// Nothing: this linker cannot shuffle functions.
    Single,
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

/// What both arms are compiled with, beside the release profile.
pub const PROFILE: [&str; 2] = ["profile.release.codegen-units=1", "profile.release.strip=false"];

/// Where experiments live.
pub fn folder() -> PathBuf {
    paths::target().join("ab")
}

/// A name for the folder of an arm with these features: what differs must not share one.
pub fn folder_name(features: &BTreeSet<String>) -> String {
    super::question::short(&features.iter().cloned().collect::<Vec<_>>().join("+"))
}

impl Compiled {
    /// Compiles what the recipe says into a folder of its own, and checks that its linker shuffles.
    pub fn build(recipe: &Recipe<'_>) -> Result<Compiled> {
        let folder = folder().join(&recipe.name);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let kept = folder.join("linker.json");
        let (mut units, mut printed) = compile(&folder, recipe)?;
        let mut linker = match printed {
            Some(linker) => linker,
            // Cargo found it up to date and did not run rustc: the command is the kept one.
            None => match read(&kept) {
                Some(linker) => linker,
                None => {
                    let mut clean = command::cargo();
                    clean.current_dir(recipe.root).args(["clean", "--quiet", "--release"]);
                    clean.args(["--package", recipe.artefact.package(), "--target-dir"]);
                    command::output(clean.arg(&folder))?;
                    (units, printed) = compile(&folder, recipe)?;
                    printed
                        .context("rustc printed no linker command; this needs Rust 1.95 on Linux")?
                }
            },
        };
        let moved = linker.check_shuffle(&folder)?;
        std::fs::write(&kept, serde_json::to_string_pretty(&linker)?)
            .with_context(|| format!("cannot write {}", kept.display()))?;
        let file = folder.join("compiler-order");
        linker.link(&file, None)?;
        Ok(Compiled { linker, moved, file, units })
    }
}

impl Arm {
    /// Compiles an arm with the heap in the program, and reads its code.
    pub fn build(recipe: &Recipe<'_>) -> Result<Arm> {
        let Compiled { linker, moved, file, units } = Compiled::build(recipe)?;
        let functions = super::link::addresses(&file)?;
        let mut code = Code::load(&linker.inputs())?;
        code.retain(&super::link::symbols(&file)?);
        let variables = Vec::new();
        Ok(Arm { linker, moved, program: file, preload: None, variables, functions, code, units })
    }

    /// The default build of this checkout, in the folder of an arm without further gates.
    pub fn build_default() -> Result<Arm> {
        Arm::build(&Recipe::pair(&BTreeSet::new(), &Registry::read()?.default).0)
    }

    /// An arm that is one program on a preloaded library, or on the C library's heap.
    pub fn on(program: &Compiled, preload: Option<Preload>) -> Arm {
        Arm {
            linker: program.linker.clone(),
            moved: program.moved,
            program: program.file.clone(),
            preload,
            variables: Vec::new(),
            functions: BTreeMap::new(),
            code: Code::default(),
            units: program.units.clone(),
        }
    }

    /// The arm in the compiler's order.
    pub fn as_compiled(&self) -> Program {
        let preload = self.preload.as_ref().map(|preload| match preload {
            Preload::Fixed(library) => library.clone(),
            Preload::Linked(library) => library.file.clone(),
        });
        Program { file: self.program.clone(), preload, variables: self.variables.clone() }
    }

    /// The arm in the layout that `seed` stands for, as a file called `name`. Names of one length
    /// make paths of one length, and a path lies on the program's stack.
    pub fn link(&self, folder: &Path, name: &str, seed: u32) -> Result<Program> {
        let file = folder.join(name);
        self.linker.link(&file, Some(seed))?;
        let library = folder.join(format!("{name}.so"));
        let variables = self.variables.clone();
        match &self.preload {
            None => return Ok(Program { file, preload: None, variables }),
            Some(Preload::Linked(preload)) => preload.linker.link(&library, Some(seed))?,
            Some(Preload::Fixed(from)) => std::fs::copy(from, &library)
                .map(drop)
                .with_context(|| format!("cannot copy {}", from.display()))?,
        }
        Ok(Program { file, preload: Some(library), variables })
    }

    /// True if the linker can put all of this arm's code in another order, but for a peer's.
    pub fn shuffles(&self) -> bool {
        let library = match &self.preload {
            Some(Preload::Linked(library)) => library.linker.shuffles,
            Some(Preload::Fixed(_)) | None => true,
        };
        self.linker.shuffles && library
    }

    /// An arm of the small program that tests use.
    #[cfg(test)]
    pub fn of(fixture: super::fixture::FixtureArm) -> Arm {
        let super::fixture::FixtureArm { linker, code, program } = fixture;
        let functions = super::link::addresses(&program).expect("a program");
        let (moved, units, variables) = (Moved::default(), BTreeMap::new(), Vec::new());
        Arm { linker, moved, program, preload: None, variables, functions, code, units }
    }

    /// The features of the allocator in this arm.
    fn gates(&self) -> BTreeSet<String> {
        self.units.get(PACKAGE).map(|unit| unit.features.clone()).unwrap_or_default()
    }
}

impl Recipe<'static> {
    /// The arms of a question about gates: this checkout's scenarios with the heap compiled in, without
    /// and with what differs. What is on in both is part of the first one's name only: the second is
    /// compiled anew where it changes.
    pub fn pair(
        differ: &BTreeSet<String>,
        both: &BTreeSet<String>,
    ) -> (Recipe<'static>, Recipe<'static>) {
        let recipe = |name: String, features: Vec<String>| Recipe {
            name,
            root: paths::root(),
            artefact: Artefact::Linked,
            features: Features::Exactly(features),
        };
        let base = match both.is_empty() {
            true => "out".to_owned(),
            false => format!("out-{}", folder_name(both)),
        };
        let with = format!("in-{}", folder_name(differ));
        (
            recipe(base, both.iter().cloned().collect()),
            recipe(with, differ.union(both).cloned().collect()),
        )
    }
}

/// Shows that the arms differ in `gates` and in nothing else. Returns what differs.
pub fn one_difference(out: &Arm, with: &Arm, gates: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    if let Some(gate) = gates.intersection(&out.gates()).next() {
        bail!(
            "`{gate}` is on in the arm without it, too: a feature that both arms have turns it on; see [features] in Cargo.toml"
        );
    }
    let added: BTreeSet<String> = with.gates().difference(&out.gates()).cloned().collect();
    if &added != gates {
        bail!(
            "the arms differ in the features {added:?}, expected {gates:?}; see [features] in Cargo.toml"
        );
    }
    let without_gates = |arm: &Arm| {
        let mut units = arm.units.clone();
        if let Some(unit) = units.get_mut(PACKAGE) {
            unit.features.retain(|feature| !gates.contains(feature));
        }
        units
    };
    if let Some((name, left, right)) =
        differing_units(&without_gates(out), &without_gates(with)).into_iter().next()
    {
        bail!(
            "the arms differ in crate `{name}` too ({left:?} and {right:?}); no verdict could rest on them"
        );
    }
    Ok(added)
}

/// The crates other than the allocator that two revisions do not share: other versions, features or
/// profiles. They are part of what is compared, and the report names them.
pub fn differing_crates(from: &Arm, to: &Arm) -> Vec<String> {
    differing_units(&from.units, &to.units).into_iter().map(|(name, ..)| name).collect()
}

/// What differs between two lists of crates.
fn differing_units<'a>(
    left: &'a BTreeMap<String, Unit>,
    right: &'a BTreeMap<String, Unit>,
) -> Vec<(String, Option<Unit>, Option<Unit>)> {
    let names: BTreeSet<&'a String> = left.keys().chain(right.keys()).collect();
    let differ = names.into_iter().filter(|name| left.get(*name) != right.get(*name));
    differ.map(|name| (name.clone(), left.get(name).cloned(), right.get(name).cloned())).collect()
}

fn read(path: &Path) -> Option<Linker> {
    let linker: Linker = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    linker.inputs().iter().all(|input| input.exists()).then_some(linker)
}

/// Runs cargo; returns what it compiled and, if rustc linked it, the linker command.
fn compile(folder: &Path, recipe: &Recipe<'_>) -> Result<(BTreeMap<String, Unit>, Option<Linker>)> {
    let mut cargo = command::cargo();
    cargo.current_dir(recipe.root);
    cargo.args(["rustc", "--release", "--package", recipe.artefact.package()]);
    cargo.args(recipe.artefact.target()).arg("--target-dir").arg(folder);
    for setting in PROFILE {
        cargo.args(["--config", setting]);
    }
    cargo.arg("--message-format=json-render-diagnostics");
    if let Features::Exactly(features) = &recipe.features {
        // The program's feature of this name brings the heap in, without what that has by default.
        cargo.args(["--no-default-features", "--features", PACKAGE]);
        for feature in features {
            cargo.arg("--features").arg(format!("{PACKAGE}/{feature}"));
        }
    }
    cargo.args(["--", "--print=link-args", "-Csave-temps"]);
    cargo.env("RUSTC_WORKSPACE_WRAPPER", wrapper()?);
    // Whatever the environment says: incremental code is not what users get.
    cargo.env("CARGO_INCREMENTAL", "0");
    let shown = command::show(&cargo);
    let output =
        cargo.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("it does not compile:\n{}\n(by `{shown}`)", complaint(&output.stderr));
    }
    let (mut units, mut linker) = (BTreeMap::new(), None);
    for message in Message::parse_stream(&*output.stdout) {
        match message? {
            Message::CompilerArtifact(artifact) => {
                let (name, unit) = unit(&artifact);
                units.insert(name, unit);
            }
            Message::TextLine(line) => linker = Linker::parse(&line, recipe.root).or(linker),
            _ => {}
        }
    }
    Ok((units, linker))
}

/// What the compiler says is wrong, from its first error on; without an error, cargo's last words.
fn complaint(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let all: Vec<&str> = text.lines().collect();
    let first = all.iter().position(|line| line.starts_with("error"));
    let first = first.unwrap_or(all.len().saturating_sub(30));
    all[first..].iter().take(40).copied().collect::<Vec<_>>().join("\n")
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

    #[test]
    fn a_compilers_complaint_begins_with_its_first_error() {
        let said = b"   Compiling x v0.1.0\nwarning: unused\nerror[E0308]: mismatched types\n --> src/a.rs\n";
        assert_eq!(complaint(said), "error[E0308]: mismatched types\n --> src/a.rs");
        assert_eq!(complaint(b"killed\n"), "killed");
    }

    #[test]
    fn an_arm_that_does_not_compile_is_told_in_the_compilers_words() {
        let root = tempfile::tempdir().unwrap();
        let manifest = "[package]\nname = \"hakmem-scenarios\"\nedition = \"2024\"\n\
                        [[bin]]\nname = \"hakmem-scenario\"\npath = \"main.rs\"\n[workspace]\n";
        std::fs::write(root.path().join("Cargo.toml"), manifest).unwrap();
        std::fs::write(root.path().join("main.rs"), "fn main() { let _: u32 = \"text\"; }")
            .unwrap();
        let recipe = Recipe {
            name: format!("test-does-not-compile-{}", std::process::id()),
            root: root.path(),
            artefact: Artefact::OnSystem,
            features: Features::Default,
        };
        let Err(error) = Compiled::build(&recipe) else { panic!("it compiles") };
        let told = format!("{error:#}");
        assert!(told.starts_with("it does not compile:\nerror[E0308]: mismatched types"), "{told}");
        assert!(told.contains("expected `u32`, found `&str`") && told.contains("(by `"), "{told}");
        std::fs::remove_dir_all(folder().join(recipe.name)).unwrap();
    }
}
