//! What a run of tests came to: counts that add up, and the closing line that says so.
//!
//! The closing line, `N passed, N failed` with `, N skipped` where something was, is plain text on
//! standard output in every command that runs tests, so that a script or a person finds it.

use serde::{Deserialize, Serialize};
use std::ops::AddAssign;

/// Counts of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Ran and held.
    pub passed: u64,
    /// Ran and did not hold, or could not be built.
    pub failed: u64,
    /// Did not run: ignored in the source, or something they need is missing.
    pub skipped: u64,
}

impl Tally {
    /// One test that passed.
    pub const PASSED: Tally = Tally { passed: 1, failed: 0, skipped: 0 };
    /// One test that failed.
    pub const FAILED: Tally = Tally { passed: 0, failed: 1, skipped: 0 };
    /// One test that was skipped.
    pub const SKIPPED: Tally = Tally { passed: 0, failed: 0, skipped: 1 };

    /// True where nothing failed and something ran: a run without a test proves nothing.
    pub fn good(self) -> bool {
        self.failed == 0 && self.passed > 0
    }

    /// `N passed, N failed` and, where something was skipped, `, N skipped`.
    pub fn line(self) -> String {
        let mut line = format!("{} passed, {} failed", self.passed, self.failed);
        if self.skipped > 0 {
            line.push_str(&format!(", {} skipped", self.skipped));
        }
        line
    }

    /// Reads one of cargo's closing lines,
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; ...`.
    pub fn from_cargo(line: &str) -> Option<Tally> {
        let rest = line.trim().strip_prefix("test result: ")?;
        let (_, counts) = rest.split_once(". ")?;
        let mut tally = Tally::default();
        for part in counts.split(';') {
            let mut words = part.split_whitespace();
            let (Some(count), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(count) = count.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => tally.passed = count,
                "failed" => tally.failed = count,
                "ignored" => tally.skipped = count,
                _ => {}
            }
        }
        Some(tally)
    }

    /// Reads a closing line of ours, as [`Tally::line`] writes it.
    pub fn from_line(line: &str) -> Option<Tally> {
        let mut tally = Tally::default();
        let mut seen = 0;
        for (part, what) in line.trim().split(", ").zip(["passed", "failed", "skipped"]) {
            let count = part.strip_suffix(what)?.trim_end().parse().ok()?;
            match what {
                "passed" => tally.passed = count,
                "failed" => tally.failed = count,
                _ => tally.skipped = count,
            }
            seen += 1;
        }
        (seen >= 2).then_some(tally)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_closing_lines_are_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 2 ignored; 0 measured; 7 filtered out; finished in 0.10s";
        let tally = Tally::from_cargo(line).unwrap();
        assert_eq!((tally.passed, tally.failed, tally.skipped), (12, 3, 2));
        assert!(!tally.good());
        assert_eq!(Tally::from_cargo("running 3 tests"), None);
        assert_eq!(Tally::from_cargo("test result::ok ... ok"), None);
    }

    #[test]
    fn own_closing_lines_come_back() {
        for tally in [Tally::PASSED, Tally::FAILED, Tally { passed: 9, failed: 0, skipped: 4 }] {
            assert_eq!(Tally::from_line(&tally.line()), Some(tally));
        }
        assert_eq!(Tally::from_line("3 passed"), None);
        assert_eq!(Tally::from_line("a passed, b failed"), None);
    }

    #[test]
    fn nothing_run_is_not_good() {
        assert!(!Tally::default().good());
        assert!(!Tally::SKIPPED.good());
        assert!(Tally::PASSED.good());
    }
}
