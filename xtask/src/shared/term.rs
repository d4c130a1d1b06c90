//! The terminal: colour and progress bars only where there is one; everything that is not the
//! result itself goes to standard error, so that `--json` can be piped.

use anyhow::Context;
use console::style;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::Write;
use std::time::Duration;

/// Prints an error with its causes as one message.
pub fn error(error: &anyhow::Error) {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    eprintln!("{} {}", style("error:").for_stderr().red().bold(), causes.join(": "));
}

/// Prints a result on standard output. That its reader has seen enough and closed the pipe, as `head`
/// does, is no error; that a file cannot be written is.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    closed_is_fine(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

fn closed_is_fine(written: std::io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the result to standard output"),
    }
}

/// Prints a note on standard error: something the user should know, not a failure.
pub fn note(text: impl std::fmt::Display) {
    eprintln!("{} {text}", style("note:").for_stderr().cyan().bold());
}

/// Prints what is being done, in cargo's manner: a verb, then what.
pub fn step(verb: &str, text: impl std::fmt::Display) {
    eprintln!("{} {text}", style(format!("{verb:>12}")).for_stderr().green().bold());
}

/// A progress bar over `len` units with the time left; silent where standard error is no terminal.
pub fn progress(verb: &str, len: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr());
    let template = "{prefix:>12.green.bold} [{bar:28}] {pos}/{len} {msg} ({eta} left)";
    bar.set_style(
        ProgressStyle::with_template(template)
            .expect("the template is constant")
            .progress_chars("=> "),
    );
    bar.set_prefix(verb.to_owned());
    bar
}

/// A spinner for work of unknown length; one plain line where standard error is no terminal.
pub fn spinner(verb: &str, text: impl Into<std::borrow::Cow<'static, str>>) -> ProgressBar {
    let text = text.into();
    if !console::user_attended_stderr() {
        step(verb, &text);
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{prefix:>12.green.bold} {spinner} {msg} ({elapsed})";
    bar.set_style(ProgressStyle::with_template(template).expect("the template is constant"));
    bar.set_prefix(verb.to_owned());
    bar.set_message(text);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

#[cfg(test)]
mod tests {
    use super::closed_is_fine;
    use std::io::{Error, Write};

    #[test]
    fn a_reader_who_left_is_no_error_and_a_full_disk_is() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        assert!(closed_is_fine(writer.write_all(b"result")).is_ok());
        let full = std::fs::File::create("/dev/full").and_then(|mut file| file.write_all(b"x"));
        let told = format!("{:#}", closed_is_fine(full).unwrap_err());
        assert!(told.contains("standard output") && told.contains("No space left"), "{told}");
        assert!(closed_is_fine(Err(Error::from_raw_os_error(libc::EIO))).is_err());
    }
}
