//! Running other programs: output captured, and failures told in one line with the tail of what
//! the program said.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A `cargo` invocation in the checkout, without the variables that the outer `cargo run` sets
/// for us and that would leak into the inner build.
pub fn cargo() -> Command {
    let mut command = Command::new(super::paths::cargo());
    command.current_dir(super::paths::root());
    for (name, _) in std::env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        if text.starts_with("CARGO_PKG_")
            || matches!(text, "CARGO_MANIFEST_DIR" | "CARGO_MANIFEST_PATH")
        {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs to the end and returns the output, or one error with the end of its standard error.
pub fn output(command: &mut Command) -> Result<Output> {
    let shown = show(command);
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({}):\n{}", output.status, tail(&output.stderr, 30));
    }
    Ok(output)
}

/// Why the crates that a checked-in lock file names can't be had here, if they can't.
pub fn unfetched(manifest: &Path) -> Option<String> {
    let mut fetch = cargo();
    fetch.args(["fetch", "--locked", "--manifest-path"]).arg(manifest);
    output(&mut fetch).err().map(|error| {
        let error = format!("{error:#}");
        let line = error.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        format!(
            "the crates that {} asks for cannot be fetched: {}",
            manifest.display(),
            line.trim()
        )
    })
}

/// Runs to the end and returns standard output as text.
pub fn stdout(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&output(command)?.stdout).into_owned())
}

/// The command line as one would type it.
pub fn show(command: &Command) -> String {
    let quote = |word: &OsStr| {
        let word = word.to_string_lossy();
        if !word.is_empty()
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_=./,:+@".contains(c))
        {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    std::iter::once(quote(command.get_program()))
        .chain(command.get_args().map(quote))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The last `lines` lines of a program's output.
pub fn tail(bytes: &[u8], lines: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The compiler's or cargo's first error in what it said, with its place where it names one; the
/// last line where nothing looks like an error.
pub fn first_error(said: &str) -> String {
    let mut lines = said.lines().skip_while(|line| !line.starts_with("error"));
    let Some(first) = lines.next() else {
        return said.trim_end().lines().last().unwrap_or("it said nothing").trim().to_owned();
    };
    // The place follows within the same message, which an empty line ends.
    let place = lines
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.trim_start().strip_prefix("--> "));
    place.map_or_else(|| first.to_owned(), |place| format!("{first} ({place})"))
}

#[cfg(test)]
mod tests {
    use super::first_error;

    #[test]
    fn the_first_error_is_told_with_its_place() {
        let said = "   Compiling a v0.1.0\nwarning: unused\n --> src/b.rs:1:1\n\nerror[E0308]: mismatched types\n \
                    --> src/lib.rs:2:5\n  |\n\nerror: could not compile `a`\n";
        assert_eq!(first_error(said), "error[E0308]: mismatched types (src/lib.rs:2:5)");
        let said = "error: no matching package\n\nerror: other\n  --> a:1";
        assert_eq!(first_error(said), "error: no matching package");
        assert_eq!(first_error("one\n two \n\n"), "two");
        assert_eq!(first_error(""), "it said nothing");
    }
}
