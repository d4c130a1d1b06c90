//! Two small programs that differ by one gate, compiled by rustc for the tests of the comparison:
//! they speak the scenarios' contract, so that the whole machinery can be tried on known cases.

use super::link::Linker;
use super::object::Code;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `--cfg gate` changes, by case: `same` nothing that is compiled; `cold` a function that
/// never runs; `used` one addition to a counter per operation; `wrong` the work itself; `crash` ends
/// the program.
const SOURCE: &str = include_str!("fixture/program.rs");

/// A scratch folder with the fixture's source for one case.
pub struct Fixture {
    case: &'static str,
    folder: tempfile::TempDir,
}

/// One compiled arm.
pub struct FixtureArm {
    pub linker: Linker,
    pub code: Code,
    pub program: PathBuf,
}

impl Fixture {
    pub fn new(case: &'static str) -> Fixture {
        let folder = tempfile::tempdir().expect("a scratch folder");
        std::fs::write(folder.path().join("program.rs"), SOURCE).expect("written");
        Fixture { case, folder }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Compiles the arm without or with the gate.
    pub fn arm(&self, gate: bool) -> FixtureArm {
        let name = if gate { "in" } else { "out" };
        let folder = self.folder().join(name);
        std::fs::create_dir_all(&folder).expect("made");
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        rustc.current_dir(&folder).args([
            "--edition=2024",
            "-O",
            "-Ccodegen-units=1",
            "-Cpanic=abort",
        ]);
        rustc.args(["-Csave-temps", "--print=link-args", "--crate-name=program", "-o", "program"]);
        // The disambiguator differs between real arms too.
        rustc.args([&format!("-Cmetadata={name}"), &format!("--cfg={}", self.case)]);
        if gate {
            rustc.arg("--cfg=gate");
        }
        rustc.arg("../program.rs");
        let printed = crate::shared::command::stdout(&mut rustc).expect("the fixture compiles");
        let linker =
            printed.lines().find_map(|line| Linker::parse(line, &folder)).expect("link-args");
        let code = Code::load(&linker.inputs()).expect("objects are read");
        FixtureArm { linker, code, program: folder.join("program") }
    }
}
