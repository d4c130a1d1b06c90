//! What the matrix found: one row a configuration, and where it was measured. This is the JSON.

use super::plan::{Configuration, Group};
use crate::ab::outcome::Machine;
use crate::test::tally::Tally;
use serde::{Deserialize, Serialize};

/// Version of the JSON; rows kept by another version are measured again.
pub const SCHEMA: u32 = 1;

/// The whole matrix, or the part of it that was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Matrix {
    /// Version of this format.
    pub schema: u32,
    /// Where, when, and of which commit.
    pub machine: Machine,
    /// The tests that each configuration ran, as a command; none where they were left out.
    pub suite: Option<String>,
    /// The scenario whose instructions are counted.
    pub scenario: &'static str,
    /// The rows; the first is what users get.
    pub rows: Vec<Row>,
    /// Evidence that is missing, with what would bring it.
    pub missing: Vec<String>,
    /// Configurations that Ctrl-C left unmeasured.
    pub unmeasured: usize,
}

/// One configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// What was built.
    #[serde(flatten)]
    pub configuration: Configuration,
    /// What the build costs, where there is one that runs.
    pub figures: Option<Figures>,
    /// What the tests came to, where they ran.
    pub tests: Option<Tally>,
    /// What went wrong.
    pub faults: Vec<Fault>,
    /// How long it took to find out, seconds: library or tests, whichever took longer.
    pub seconds: f64,
}

/// What one build costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Bytes of code in the preload library.
    pub text: u64,
    /// Bytes of the functions `malloc`, `free`, sized free and their C++ twins, together.
    pub fast_paths: u64,
    /// Bytes of static state, thread-local state included.
    pub data: u64,
    /// Instructions that a `malloc` of 64 bytes executes.
    pub malloc: u64,
    /// Instructions that its `free` executes.
    pub free: u64,
    /// Locked instructions among these.
    pub locked: u64,
    /// Instructions of one operation of the scenario, its own included.
    pub per_operation: Option<f64>,
}

/// Where a configuration failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The heap does not compile.
    Heap,
    /// The preload library around it does not.
    Library,
    /// The library was built, and a program does not run on it.
    Run,
    /// The tests.
    Tests,
}

impl Stage {
    /// What went wrong, in words.
    pub fn words(self) -> &'static str {
        match self {
            Stage::Heap => "the heap does not compile",
            Stage::Library => "the preload library does not compile",
            Stage::Run => "a program fails on the library",
            Stage::Tests => "the tests fail",
        }
    }
}

/// One failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where.
    pub stage: Stage,
    /// The first error, in one line.
    pub what: String,
    /// The command that shows it again.
    pub command: String,
}

/// A figure that configurations are compared in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// [`Figures::text`].
    Text,
    /// [`Figures::fast_paths`].
    FastPaths,
    /// [`Figures::data`].
    Data,
    /// [`Figures::malloc`].
    Malloc,
    /// [`Figures::free`].
    Free,
    /// [`Figures::locked`].
    Locked,
    /// [`Figures::per_operation`].
    PerOperation,
}

/// All of them, in the order of the columns.
pub const MEASURES: [Measure; 7] = [
    Measure::Text,
    Measure::FastPaths,
    Measure::Data,
    Measure::Malloc,
    Measure::Free,
    Measure::Locked,
    Measure::PerOperation,
];

impl Measure {
    /// The head of its column.
    pub fn title(self) -> &'static str {
        match self {
            Measure::Text => "text",
            Measure::FastPaths => "fast paths",
            Measure::Data => "data",
            Measure::Malloc => "malloc",
            Measure::Free => "free",
            Measure::Locked => "locked",
            Measure::PerOperation => "per op",
        }
    }

    /// Its value in a build.
    pub fn of(self, figures: &Figures) -> Option<f64> {
        Some(match self {
            Measure::Text => figures.text as f64,
            Measure::FastPaths => figures.fast_paths as f64,
            Measure::Data => figures.data as f64,
            Measure::Malloc => figures.malloc as f64,
            Measure::Free => figures.free as f64,
            Measure::Locked => figures.locked as f64,
            Measure::PerOperation => return figures.per_operation,
        })
    }

    /// A value as it is written.
    pub fn text(self, value: f64) -> String {
        match self {
            Measure::PerOperation => format!("{value:.1}"),
            _ => grouped(value as i64),
        }
    }

    /// A difference as it is written, with its sign; a point where there is none.
    pub fn difference(self, by: f64) -> String {
        match self {
            Measure::PerOperation if by.abs() < 0.05 => "·".to_owned(),
            Measure::PerOperation => format!("{by:+.1}"),
            _ if by == 0.0 => "·".to_owned(),
            _ if by > 0.0 => format!("+{}", grouped(by as i64)),
            _ => grouped(by as i64),
        }
    }
}

impl Row {
    /// The row of a configuration of which nothing is known, as of one that is refused.
    pub fn empty(configuration: &Configuration) -> Row {
        Row {
            configuration: configuration.clone(),
            figures: None,
            tests: None,
            faults: Vec::new(),
            seconds: 0.0,
        }
    }

    /// How a figure differs from the row without gates.
    pub fn added(&self, base: &Row, measure: Measure) -> Option<f64> {
        let value = |row: &Row| row.figures.as_ref().and_then(|figures| measure.of(figures));
        Some(value(self)? - value(base)?)
    }

    /// True where the configuration could be built and everything that was tried held.
    pub fn sound(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether it builds, in a word.
    pub fn builds(&self) -> &'static str {
        let fails = |fault: &Fault| matches!(fault.stage, Stage::Heap | Stage::Library);
        match &self.configuration.refused {
            Some(_) => "refused",
            None if self.faults.iter().any(fails) => "NO",
            None if self.faults.iter().any(|fault| fault.stage == Stage::Run) => "CRASHES",
            None => "yes",
        }
    }

    /// What its tests came to, in a word.
    pub fn tested(&self) -> String {
        match self.tests {
            Some(tally) if tally.failed > 0 => format!("{} FAILED", tally.failed),
            Some(tally) => format!("{} pass", tally.passed),
            None => "-".to_owned(),
        }
    }
}

impl Matrix {
    /// The row without gates.
    pub fn base(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.configuration.group == Group::None)
    }

    /// True where every row holds.
    pub fn sound(&self) -> bool {
        self.rows.iter().all(Row::sound)
    }
}

/// A number with its thousands apart.
pub fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
pub mod tests {
    use super::super::plan::plan;
    use super::super::plan::tests::{everything, registry};
    use super::*;

    /// The canned registry's matrix: `slots` does not compile, `calls` fails a test, `ring` crashes.
    pub fn sample() -> Matrix {
        let rows = plan(&registry(), &everything()).unwrap().into_iter().enumerate();
        let rows = rows.map(|(at, configuration)| row(at as u64, configuration)).collect();
        Matrix {
            schema: SCHEMA,
            machine: Machine::here(),
            suite: Some("cargo test --lib".into()),
            scenario: "random-mixed-400",
            rows,
            missing: vec!["valgrind".into()],
            unmeasured: 0,
        }
    }

    fn row(at: u64, configuration: Configuration) -> Row {
        let mut row = Row {
            figures: Some(Figures {
                text: 40_000 + 1000 * at,
                fast_paths: 300 + at,
                data: 64,
                malloc: 11 + at,
                free: 13,
                locked: 0,
                per_operation: Some(50.0 + at as f64 / 4.0),
            }),
            tests: Some(Tally { passed: 54, failed: 0, skipped: 0 }),
            faults: Vec::new(),
            seconds: 1.0,
            configuration,
        };
        let mut fail = |stage, what: &str| {
            let command = "cargo test --features x".to_owned();
            row.faults.push(Fault { stage, what: what.to_owned(), command });
        };
        match row.configuration.name.as_str() {
            "slots" => fail(Stage::Heap, "error[E0308]: mismatched types (src/a.rs:1:2)"),
            "calls" => {
                fail(Stage::Tests, "failed: counts_exactly");
                row.tests = Some(Tally { passed: 53, failed: 1, skipped: 0 });
            }
            "ring" => fail(Stage::Run, "the watched program ended early"),
            _ => {}
        }
        if row.builds() != "yes" {
            (row.figures, row.tests) = (None, None);
        }
        row
    }

    #[test]
    fn numbers_are_grouped_and_differences_signed() {
        assert_eq!(
            [grouped(0), grouped(999), grouped(-1000), grouped(1_234_567)],
            ["0", "999", "-1,000", "1,234,567"]
        );
        assert_eq!(Measure::Text.difference(1024.0), "+1,024");
        assert_eq!(Measure::Text.difference(-5.0), "-5");
        assert_eq!(Measure::Malloc.difference(0.0), "·");
        assert_eq!(Measure::PerOperation.difference(0.04), "·");
        assert_eq!(Measure::PerOperation.difference(-0.25), "-0.2");
    }

    #[test]
    fn rows_say_what_became_of_them() {
        let matrix = sample();
        let row =
            |name: &str| matrix.rows.iter().find(|row| row.configuration.name == name).unwrap();
        assert_eq!(
            [
                row("none").builds(),
                row("slots").builds(),
                row("ring + slots").builds(),
                row("ring").builds()
            ],
            ["yes", "NO", "refused", "CRASHES"]
        );
        assert_eq!(
            [row("none").tested(), row("calls").tested(), row("slots").tested()],
            ["54 pass", "1 FAILED", "-"]
        );
        assert!(!matrix.sound() && row("ring + slots").sound());
        assert_eq!(row("calls").added(matrix.base().unwrap(), Measure::Text), Some(1000.0));
        assert_eq!(row("slots").added(matrix.base().unwrap(), Measure::Text), None);
    }

    #[test]
    fn a_kept_row_is_read_back() {
        let row = sample().rows.swap_remove(1);
        let text = serde_json::to_string(&row).unwrap();
        let back: Row = serde_json::from_str(&text).unwrap();
        assert_eq!(back.configuration, row.configuration);
        assert_eq!((back.figures, back.faults), (row.figures, row.faults));
    }
}
