//! What became of a process that was attacked, from how it ended and what it said.

use serde::Serialize;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// One cell of the table.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The cell.
    pub words: String,
    /// The signal that ended the process.
    pub signal: Option<i32>,
}

impl Outcome {
    /// `status`: how it ended; `None`: it was still running when its time was up.
    pub fn of(status: Option<ExitStatus>, said: &[String]) -> Outcome {
        let done = said.iter().any(|line| line == "done");
        let gained = said.iter().find_map(|line| line.split("gained: ").nth(1));
        let signal = status.and_then(|status| status.signal());
        let code = status.and_then(|status| status.code());
        let later = if done { " later" } else { "" };
        let mut words = match (status, signal, code) {
            (None, ..) => "hung".to_owned(),
            (_, Some(libc::SIGSEGV | libc::SIGBUS), _) => format!("faulted{later}"),
            (_, Some(_), _) => format!("stopped{later}"),
            (_, _, Some(0)) => "not noticed".to_owned(),
            // A heap that ends the process by an exit code.
            (_, _, code) => format!("stopped{later} (exit code {})", code.unwrap_or(-1)),
        };
        if let Some(what) = gained {
            let end = if signal.is_some() { format!("; {words}") } else { String::new() };
            words = format!("gained: {what}{end}");
        }
        Outcome { words, signal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cell for a wait status and these lines.
    fn words(status: i32, said: &[&str]) -> String {
        let said: Vec<String> = said.iter().map(|&line| line.to_owned()).collect();
        Outcome::of(Some(ExitStatus::from_raw(status)), &said).words
    }

    #[test]
    fn the_end_of_the_process_tells_what_happened() {
        assert_eq!(words(0, &["done"]), "not noticed");
        assert_eq!(words(libc::SIGABRT, &["hakmem: double free"]), "stopped");
        assert_eq!(words(libc::SIGABRT, &["done", "double free"]), "stopped later");
        assert_eq!(words(libc::SIGSEGV, &[]), "faulted");
        assert_eq!(words(libc::SIGILL, &["done"]), "stopped later");
        // A report that has the word in it.
        assert_eq!(words(libc::SIGABRT, &["hakmem:   done here by thread 1"]), "stopped");
        assert_eq!(words(1 << 8, &[]), "stopped (exit code 1)");
        assert_eq!(words(0, &["gained: a secret", "done"]), "gained: a secret");
        assert_eq!(Outcome::of(None, &[]).words, "hung");
    }

    #[test]
    fn a_gain_is_named_even_if_the_process_was_stopped_for_it() {
        assert_eq!(words(libc::SIGABRT, &["gained: x", "done"]), "gained: x; stopped later");
    }
}
