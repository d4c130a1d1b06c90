//! Writing files that are either whole or absent: into a temporary file beside the target, then
//! renamed over it. Whoever reads meanwhile, or after a full disk or Ctrl-C, sees the old file.

use anyhow::{Context, Result};
use std::io::Write;
use std::path::Path;

/// What the message about a file that could not be written says, behind its name.
pub const REFUSED: &str = "is the disk full, or the folder read-only?";

/// Writes `contents` to `path` as one step; makes the folder where it is missing.
pub fn atomically(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new().prefix(".unfinished-").tempfile_in(folder)?;
        file.write_all(contents.as_ref())?;
        readable(file.as_file())?;
        file.persist(path).map(drop).map_err(|error| error.error)
    };
    write().with_context(|| format!("cannot write {}; {REFUSED}", path.display()))
}

/// Temporary files are for their owner alone; results are for everyone.
#[cfg(unix)]
fn readable(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::atomically;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/results.json");
        atomically(&path, "one, long").unwrap();
        atomically(&path, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_target_that_cannot_be_written_keeps_what_it_had_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        let error = format!("{:#}", atomically(&path, "x").unwrap_err());
        assert!(error.contains("cannot write") && error.contains("taken"), "{error}");
        assert!(path.is_dir());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
