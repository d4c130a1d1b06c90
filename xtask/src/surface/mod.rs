//! `cargo xtask unsafe`: every place where the allocator and its preload library leave the
//! compiler's protection, with the argument why that is sound. One without argument fails.
//!
//! [`find`] finds the places in what the audit parses, [`page`] writes `docs/unsafe.md`. The page
//! names files and functions but no lines, so that it changes when the surface does and not
//! whenever somebody adds a line above it.

mod find;
mod page;

use crate::audit::tree;
use crate::shared::{paths, term, write};
use anyhow::{Result, bail};
use find::Place;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The generated page.
const PAGE: &str = "docs/unsafe.md";

/// Arguments of `cargo xtask unsafe`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask unsafe              write docs/unsafe.md, the list of every unsafe place
  cargo xtask unsafe --check      change nothing; fail if the list is out of date
  cargo xtask unsafe --json       every place with its line and its argument, for programs

An argument is a comment `// SAFETY: ...` above the block, impl, extern block or attribute, or a section
`# Safety` in the documentation of an unsafe function or trait. Exit code 1 means that one is
missing, or that the list is out of date.")]
pub struct Args {
    /// Write nothing; exit with 1 where docs/unsafe.md is out of date
    #[arg(long)]
    check: bool,
    /// Print every place as JSON, and write nothing
    #[arg(long)]
    json: bool,
    /// Read the checkout in this folder
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let root = args.root.as_deref().unwrap_or(paths::root());
    let places = surface(root)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&places)?);
        return Ok(verdict(&places, None));
    }
    let page = page::markdown(&places);
    let path = root.join(PAGE);
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    let stale = present != page;
    if !args.check && stale {
        write::atomically(&path, &page)?;
    }
    println!("{}", page::summary(&places));
    if !args.check {
        term::step(if stale { "Wrote" } else { "Unchanged" }, path.display());
    }
    Ok(verdict(&places, (args.check && stale).then(|| first_difference(&present, &page))))
}

/// Says what is wrong, and gives the exit code.
fn verdict(places: &[Place], stale: Option<usize>) -> ExitCode {
    let mut good = true;
    for place in places.iter().filter(|place| place.argument.is_none()) {
        term::error(&anyhow::anyhow!("{}", place.fault()));
        good = false;
    }
    if let Some(line) = stale {
        term::error(&anyhow::anyhow!(
            "{PAGE} is out of date from line {line}; run `cargo xtask unsafe` and commit it"
        ));
        good = false;
    }
    ExitCode::from(u8::from(!good))
}

fn first_difference(present: &str, page: &str) -> usize {
    present.lines().zip(page.lines()).take_while(|(a, b)| a == b).count() + 1
}

/// Every unsafe place of a checkout, tests left out.
fn surface(root: &Path) -> Result<Vec<Place>> {
    let mut files = tree::read(root, "src", &[])?;
    if root.join("preload/src").is_dir() {
        files.extend(tree::read(root, "preload/src", &["preload"])?);
    }
    if files.is_empty() {
        bail!(
            "{} has no .rs file; expected the source of the allocator",
            root.join("src").display()
        );
    }
    let tests = tree::test_files(&files);
    let shipped = files.iter().enumerate().filter(|(at, _)| !tests.contains(at));
    Ok(shipped.flat_map(|(_, file)| find::places(file)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_the_checkout_has_its_argument_and_the_page_is_current() {
        let places = surface(paths::root()).unwrap();
        let faults: Vec<String> =
            places.iter().filter(|it| it.argument.is_none()).map(Place::fault).collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        assert!(places.len() > 300, "{} places", places.len());
        let present = std::fs::read_to_string(paths::root().join(PAGE)).unwrap();
        assert_eq!(
            first_difference(&present, &page::markdown(&places)),
            1 + present.lines().count()
        );
    }

    #[test]
    fn a_stale_page_names_its_line() {
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), 2);
        assert_eq!(first_difference("", "a\n"), 1);
    }
}
