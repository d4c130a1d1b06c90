//! Running other programs: output captured, and failures told in one line with the tail of what
//! the program said.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
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
