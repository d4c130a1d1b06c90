//! Two revisions of this repository as the arms of an experiment: resolves `A..B`, and checks each
//! out into a worktree below `target/ab/revisions` that is removed when the experiment ends.
//!
//! Both are measured in the same scenarios: where the revisions differ in those, the first gets the
//! second's, so that the arms do the same work.

use super::arms;
use super::question::{Question, Revision};
use crate::shared::{command, paths, registry};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder with the scenarios' sources.
const SCENARIOS: &str = "benches/scenarios";

/// A checkout of one revision; removed, with git's note of it, when dropped.
#[derive(Debug)]
pub struct Worktree {
    /// Where it is.
    pub folder: PathBuf,
    repository: PathBuf,
}

impl Drop for Worktree {
    fn drop(&mut self) {
        remove(&self.repository, &self.folder);
    }
}

/// True if a question names a range of revisions rather than a gate.
pub fn is_range(text: &str) -> bool {
    text.contains("..")
}

/// The question that `A..B` asks; an empty side is HEAD, as for git.
pub fn question(range: &str) -> Result<Question> {
    let (from, to) = resolve(paths::root(), range)?;
    Ok(Question::Revisions { from, to })
}

fn resolve(repository: &Path, range: &str) -> Result<(Revision, Revision)> {
    let Some((from, to)) = range.split_once("..").filter(|(_, to)| !to.starts_with('.')) else {
        bail!("`{range}` is no range of revisions; expected A..B, for example HEAD~1..HEAD");
    };
    Ok((revision(repository, from)?, revision(repository, to)?))
}

fn revision(repository: &Path, name: &str) -> Result<Revision> {
    let name = if name.is_empty() { "HEAD" } else { name };
    let inside = command::output(git(repository).args(["rev-parse", "--git-dir"]));
    inside.context("revisions can only be compared in a git checkout")?;
    let mut parse = git(repository);
    parse.args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
    match command::stdout(parse.arg(format!("{name}^{{commit}}"))) {
        Ok(commit) => Ok(Revision { name: name.to_owned(), commit: commit.trim().to_owned() }),
        Err(_) => {
            let mut names = git(repository);
            names.args(["for-each-ref", "--format=%(refname:short)"]);
            let known = command::stdout(&mut names).unwrap_or_default();
            let near = registry::nearest(name, known.lines())
                .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            bail!(
                "no revision `{name}` in this repository{near} (a shallow clone holds few: `git fetch --unshallow`)"
            )
        }
    }
}

/// Checks both revisions out. Returns the worktrees, the first's before the second's, and what has
/// to be said of them.
pub fn check_out(from: &Revision, to: &Revision) -> Result<(Vec<Worktree>, Vec<String>)> {
    check_out_below(paths::root(), &arms::folder().join("revisions"), from, to)
}

fn check_out_below(
    repository: &Path,
    folder: &Path,
    from: &Revision,
    to: &Revision,
) -> Result<(Vec<Worktree>, Vec<String>)> {
    let mut worktrees = Vec::new();
    for (name, revision) in [("a", from), ("b", to)] {
        let folder = folder.join(name);
        // What a killed run left.
        remove(repository, &folder);
        let mut add = git(repository);
        add.args(["worktree", "add", "--quiet", "--force", "--detach"]);
        let worktree = Worktree { folder, repository: repository.to_owned() };
        command::output(add.arg(&worktree.folder).arg(&revision.commit))
            .with_context(|| format!("checking out revision {}", revision.name))?;
        worktrees.push(worktree);
    }
    let mut said = Vec::new();
    let mut differ = git(repository);
    differ.args(["diff", "--quiet", &from.commit, &to.commit, "--", SCENARIOS]);
    let status = differ.status().context("cannot start `git`")?;
    if !status.success() {
        let first = &worktrees[0].folder;
        // Files that only the first has must go too.
        let _ = std::fs::remove_dir_all(first.join(SCENARIOS));
        command::output(git(first).args(["checkout", &to.commit, "--", SCENARIOS])).with_context(
            || format!("revision {} has no {SCENARIOS}, so there is nothing to run", to.name),
        )?;
        said.push(format!(
            "the scenarios of revision {}: both arms run those of {}, so that they do the same work",
            from.name, to.name
        ));
    }
    Ok((worktrees, said))
}

/// Removes a worktree and git's note of it; neither needs to be there.
fn remove(repository: &Path, folder: &Path) {
    let _ = command::output(git(repository).args(["worktree", "remove", "--force"]).arg(folder));
    let _ = std::fs::remove_dir_all(folder);
    let _ = command::output(git(repository).args(["worktree", "prune"]));
}

fn git(repository: &Path) -> Command {
    let mut git = Command::new("git");
    // A hook or an outer git sets these for its own repository.
    git.current_dir(repository).env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    git.env_remove("GIT_INDEX_FILE");
    git
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository with two commits, `one` and `two`, whose scenarios differ.
    fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let run = |arguments: &[&str]| {
            let mut git = git(folder.path());
            git.args(["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]);
            command::output(git.args(arguments)).unwrap();
        };
        run(&["init", "--quiet", "--initial-branch=main"]);
        std::fs::create_dir_all(folder.path().join(SCENARIOS)).unwrap();
        for name in ["one", "two"] {
            std::fs::write(folder.path().join("source"), name).unwrap();
            std::fs::write(folder.path().join(SCENARIOS).join("work"), name).unwrap();
            if name == "one" {
                std::fs::write(folder.path().join(SCENARIOS).join("old"), name).unwrap();
            } else {
                std::fs::remove_file(folder.path().join(SCENARIOS).join("old")).unwrap();
            }
            run(&["add", "--all"]);
            run(&["commit", "--quiet", "--message", name]);
            run(&["tag", name]);
        }
        folder
    }

    #[test]
    fn ranges_are_resolved_and_bad_ones_named() {
        let repository = repository();
        let (from, to) = resolve(repository.path(), "one..").unwrap();
        assert_eq!((from.name.as_str(), to.name.as_str()), ("one", "HEAD"));
        assert_ne!(from.commit, to.commit);
        assert_eq!(resolve(repository.path(), "two..main").unwrap().0.commit, to.commit);
        let error = resolve(repository.path(), "one..twoo").unwrap_err().to_string();
        assert!(
            error.contains("no revision `twoo`") && error.contains("did you mean `two`?"),
            "{error}"
        );
        let error = resolve(repository.path(), "one...two").unwrap_err().to_string();
        assert!(error.contains("expected A..B"), "{error}");
        // Not an option of git's.
        assert!(resolve(repository.path(), "--help..one").is_err());
    }

    #[test]
    fn both_are_checked_out_with_the_same_scenarios_and_removed_afterwards() {
        let repository = repository();
        let (from, to) = resolve(repository.path(), "one..two").unwrap();
        let folder = repository.path().join("target/revisions");
        // Twice: what the first left, if anything, must not be in the way.
        for _ in 0..2 {
            let (worktrees, said) =
                check_out_below(repository.path(), &folder, &from, &to).unwrap();
            let read = |at: usize, file: &str| {
                std::fs::read_to_string(worktrees[at].folder.join(file)).ok()
            };
            assert_eq!(read(0, "source").as_deref(), Some("one"));
            assert_eq!(read(1, "source").as_deref(), Some("two"));
            assert_eq!(read(0, "benches/scenarios/work").as_deref(), Some("two"));
            assert_eq!(read(0, "benches/scenarios/old"), None);
            assert!(said[0].contains("both arms run those of two"), "{said:?}");
        }
        assert!(!folder.join("a").exists() && !folder.join("b").exists());
        let list = command::stdout(git(repository.path()).args(["worktree", "list"])).unwrap();
        assert_eq!(list.lines().count(), 1, "{list}");
    }

    #[test]
    fn equal_scenarios_are_left_alone() {
        let repository = repository();
        let (from, to) = resolve(repository.path(), "two..main").unwrap();
        let folder = repository.path().join("target/revisions");
        let (_worktrees, said) = check_out_below(repository.path(), &folder, &from, &to).unwrap();
        assert!(said.is_empty(), "{said:?}");
    }
}
