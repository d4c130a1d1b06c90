//! Results of a campaign under way, so that one that was interrupted, or whose budget ended, goes on
//! with the gates that are left.
//!
//! Below `target/ab/campaign`, in the format of recorded verdicts. They hold for the sources, the
//! compiler and its flags that they were measured with: with others, the campaign begins anew.

use super::super::outcome::Outcome;
use super::super::{arms, record};
use crate::shared::{command, paths, write};
use anyhow::{Context, Result};
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What both arms of every experiment are made from.
const SOURCES: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    ".cargo",
    "src",
    "benches/scenarios",
    "benches/apps",
];

/// The kept results.
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Where campaigns keep their results.
    pub fn folder() -> PathBuf {
        arms::folder().join("campaign")
    }

    /// Opens `folder` for results with `fingerprint`, and drops what was measured with another; with
    /// `fresh`, everything.
    pub fn open(folder: PathBuf, fingerprint: &str, fresh: bool) -> Result<Store> {
        let mark = folder.join("fingerprint");
        let same = std::fs::read_to_string(&mark).is_ok_and(|found| found == fingerprint);
        if (fresh || !same) && folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        write::atomically(&mark, fingerprint)?;
        Ok(Store { folder })
    }

    fn path(&self, slug: &str) -> PathBuf {
        self.folder.join(format!("{slug}.json"))
    }

    /// The result of a question, by the name of its files; `None` if it has none, or a damaged one.
    pub fn get(&self, slug: &str) -> Option<Outcome> {
        record::read(&self.path(slug)).ok()
    }

    /// Keeps a result.
    pub fn keep(&self, outcome: &Outcome) -> Result<()> {
        write::atomically(&self.path(&outcome.question.slug()), record::json(outcome)?)
    }
}

/// Of everything that a result depends on: the sources as they are, committed or not, the compiler,
/// the flags, and the scenarios that were asked for.
pub fn fingerprint(scenarios: &[String]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for source in SOURCES {
        hash(&paths::root().join(source), &mut hasher)?;
    }
    let compiler = command::stdout(Command::new("rustc").arg("-vV").current_dir(paths::root()))?;
    hasher.write(compiler.as_bytes());
    hasher.write(std::env::var("RUSTFLAGS").unwrap_or_default().as_bytes());
    hasher.write(format!("{scenarios:?}").as_bytes());
    Ok(format!("{:016x}", hasher.finish()))
}

/// Adds a file, or a folder's files by name.
fn hash(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let read = || format!("cannot read {}", path.display());
    if path.is_dir() {
        let mut entries = std::fs::read_dir(path)
            .and_then(|entries| {
                entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>()
            })
            .with_context(read)?;
        entries.sort();
        return entries
            .iter()
            .filter(|entry| !entry.ends_with("target"))
            .try_for_each(|entry| hash(entry, hasher));
    }
    if path.is_file() {
        let bytes = std::fs::read(path).with_context(read)?;
        hasher.write(path.as_os_str().as_encoded_bytes());
        hasher.write_usize(bytes.len());
        hasher.write(&bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::canned;
    use super::*;

    #[test]
    fn results_are_kept_for_the_same_fingerprint_only() {
        let folder = tempfile::tempdir().unwrap();
        let at = || folder.path().join("campaign");
        let outcome = canned::outcome("tiny-free-calls", &[2.0]);
        let store = Store::open(at(), "one", false).unwrap();
        assert!(store.get("tiny-free-calls").is_none());
        store.keep(&outcome).unwrap();
        let again = Store::open(at(), "one", false).unwrap();
        assert_eq!(again.get("tiny-free-calls").unwrap().verdict, outcome.verdict);
        std::fs::write(at().join("tiny-free-calls.json"), "{").unwrap();
        assert!(again.get("tiny-free-calls").is_none(), "a damaged one is measured again");
        store.keep(&outcome).unwrap();
        assert!(Store::open(at(), "one", true).unwrap().get("tiny-free-calls").is_none());
        store.keep(&outcome).unwrap();
        assert!(Store::open(at(), "two", false).unwrap().get("tiny-free-calls").is_none());
    }

    #[test]
    fn the_fingerprint_sees_contents_and_names() {
        let folder = tempfile::tempdir().unwrap();
        let of = |path: &Path| {
            let mut hasher = DefaultHasher::new();
            hash(path, &mut hasher).unwrap();
            hasher.finish()
        };
        let file = folder.path().join("a/b.rs");
        write::atomically(&file, "one").unwrap();
        let first = of(folder.path());
        assert_eq!(first, of(folder.path()));
        write::atomically(&file, "two").unwrap();
        assert_ne!(first, of(folder.path()));
        write::atomically(&file, "one").unwrap();
        write::atomically(&folder.path().join("target/c"), "three").unwrap();
        assert_eq!(first, of(folder.path()), "what is built is no source");
        std::fs::rename(&file, folder.path().join("a/c.rs")).unwrap();
        assert_ne!(first, of(folder.path()));
        assert_eq!(fingerprint(&[]).unwrap(), fingerprint(&[]).unwrap());
        assert_ne!(fingerprint(&[]).unwrap(), fingerprint(&["json".to_owned()]).unwrap());
    }
}
