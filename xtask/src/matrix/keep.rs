//! Rows that were measured before, so that an interrupted matrix goes on where it stopped and a
//! second run measures only what changed.
//!
//! A row is kept under what it depends on: the features, the sources that go into library and tests,
//! the compiler, and the form of the row. Rows with a fault are not kept: whoever repeats the command
//! wants to see them again.

use super::measure;
use super::plan::Configuration;
use super::results::{Row, SCHEMA};
use crate::shared::{command, paths, write};
use anyhow::{Context, Result};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The parts of the checkout that decide what a row says.
const SOURCES: [&str; 6] =
    ["Cargo.toml", "Cargo.lock", "src", "preload", "tests", "benches/scenarios"];

/// The kept rows.
pub struct Kept {
    folder: PathBuf,
    fingerprint: u64,
}

impl Kept {
    /// The rows that hold for the checkout as it is now.
    pub fn open(tests: bool) -> Result<Kept> {
        let folder = measure::folder().join(if tests { "rows" } else { "rows-untested" });
        Ok(Kept { folder, fingerprint: fingerprint(paths::root())? })
    }

    /// The row of a configuration, if it is known.
    pub fn get(&self, configuration: &Configuration) -> Option<Row> {
        let text = std::fs::read_to_string(self.path(configuration)).ok()?;
        let mut row: Row = serde_json::from_str(&text).ok()?;
        // The registry may call the same gates something else by now.
        let same = row.configuration.gates == configuration.gates;
        row.configuration = configuration.clone();
        same.then_some(row)
    }

    /// Keeps a row, unless something is wrong with it or the sources changed meanwhile.
    pub fn put(&self, row: &Row) -> Result<()> {
        if !row.sound() || row.configuration.refused.is_some() || !self.current()? {
            return Ok(());
        }
        write::atomically(&self.path(&row.configuration), serde_json::to_string_pretty(row)?)
    }

    /// True while the sources are what they were.
    pub fn current(&self) -> Result<bool> {
        Ok(fingerprint(paths::root())? == self.fingerprint)
    }

    fn path(&self, configuration: &Configuration) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        (self.fingerprint, &configuration.features).hash(&mut hasher);
        self.folder.join(format!("{:016x}.json", hasher.finish()))
    }
}

/// A digest of everything that decides what a row says.
fn fingerprint(root: &Path) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    SCHEMA.hash(&mut hasher);
    paths::which("valgrind").hash(&mut hasher);
    std::env::var_os("RUSTFLAGS").hash(&mut hasher);
    let mut rustc = Command::new("rustc");
    rustc.arg("-vV").current_dir(root);
    command::stdout(&mut rustc)?.hash(&mut hasher);
    for source in SOURCES {
        add(&root.join(source), &mut hasher)?;
    }
    Ok(hasher.finish())
}

/// Adds a file, or everything below a folder.
fn add(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let read = || format!("cannot read {}", path.display());
    if path.is_dir() {
        let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
            .with_context(read)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<_>>()
            .with_context(read)?;
        entries.sort();
        return entries.iter().try_for_each(|entry| add(entry, hasher));
    }
    path.hash(hasher);
    std::fs::read(path).with_context(read)?.hash(hasher);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::sample;
    use super::*;

    fn kept(folder: &Path) -> Kept {
        Kept { folder: folder.to_owned(), fingerprint: fingerprint(paths::root()).unwrap() }
    }

    #[test]
    fn sound_rows_are_kept_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let kept = kept(folder.path());
        let matrix = sample();
        for row in &matrix.rows {
            kept.put(row).unwrap();
            let known = kept.get(&row.configuration);
            let keeps = row.sound() && row.configuration.refused.is_none();
            assert_eq!(known.is_some(), keeps, "{}", row.configuration.name);
            if let Some(known) = known {
                assert_eq!(known.figures, row.figures);
            }
        }
        let later = Kept { fingerprint: kept.fingerprint ^ 1, ..kept };
        assert!(later.get(&matrix.rows[0].configuration).is_none(), "other sources, other rows");
        later.put(&matrix.rows[0]).unwrap();
        assert!(later.get(&matrix.rows[0].configuration).is_none(), "changed while measured");
    }

    #[test]
    fn every_source_counts() {
        let root = tempfile::tempdir().unwrap();
        for source in SOURCES {
            let path = root.path().join(source);
            let file = if source.contains('.') { path } else { path.join("a.rs") };
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "one").unwrap();
        }
        let before = fingerprint(root.path()).unwrap();
        assert_eq!(before, fingerprint(root.path()).unwrap());
        std::fs::write(root.path().join("preload/a.rs"), "two").unwrap();
        assert_ne!(before, fingerprint(root.path()).unwrap());
        std::fs::remove_file(root.path().join("tests/a.rs")).unwrap();
        std::fs::remove_file(root.path().join("Cargo.lock")).unwrap();
        assert!(fingerprint(root.path()).is_err());
    }
}
