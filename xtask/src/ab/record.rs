//! A verdict on disk: `docs/results/<name>.json` with every sample, `.md` for a reader, `.svg` with
//! the figure; and the way back, by which a recorded verdict is judged again without running.
//!
//! Promises that each file is whole or absent, and that a file which is damaged, or of a schema that
//! this version does not know, is refused in one line.

use super::judge::Rules;
use super::outcome::{Headline, Outcome, SCHEMA};
use super::reason::reason;
use super::{plot, sheet, trial};
use crate::shared::{document, paths, term, write};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A recorded verdict keeps this many of the functions that differ, those with the most
/// instructions of their own: two revisions may differ in all of them.
const MOST_FUNCTIONS: usize = 200;

/// What is written: the outcome, and before it what other tools look for.
#[derive(Serialize)]
struct Record<'a> {
    /// The day it was measured.
    date: String,
    /// The figure that stands for it.
    headline: Option<Headline>,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

/// Where results are.
pub fn folder() -> PathBuf {
    paths::root().join("docs/results")
}

/// The outcome as JSON, raw samples included, one line a sample.
pub fn json(outcome: &Outcome) -> Result<String> {
    let record = Record { date: outcome.date(), headline: outcome.headline(), outcome };
    Ok(compact_lists(&serde_json::to_string_pretty(&record)?) + "\n")
}

/// Writes the three files into `folder`; returns where the JSON is.
pub fn write(outcome: &Outcome, folder: &Path) -> Result<PathBuf> {
    let name = outcome.question.slug();
    let mut kept = outcome.clone();
    kept.arms.keep_largest(MOST_FUNCTIONS);
    let file = |ending: &str| folder.join(format!("{name}.{ending}"));
    let figure = plot::verdict(outcome)?;
    // The JSON last: whoever sees it can rely on the other two.
    let parts = sheet::verdict(outcome, figure.clone());
    write::atomically(&file("md"), document::markdown(&sheet::title(outcome), &parts))?;
    match figure {
        Some(svg) => write::atomically(&file("svg"), svg)?,
        // Of an earlier verdict that was timed.
        None => drop(std::fs::remove_file(file("svg"))),
    }
    write::atomically(&file("json"), json(&kept)?)?;
    term::step("Recorded", file("md").display());
    Ok(file("json"))
}

/// Reads a recorded verdict.
pub fn read(path: &Path) -> Result<Outcome> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("cannot read {}, expected a verdict of `cargo xtask ab --record`", path.display())
    })?;
    parse(&text).with_context(|| path.display().to_string())
}

/// The verdict that a record's text holds.
pub(super) fn parse(text: &str) -> Result<Outcome> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        schema: Option<u32>,
    }
    let again = "record it again with `cargo xtask ab NAME --record`";
    let schema = serde_json::from_str::<Versioned>(text)
        .with_context(|| format!("damaged, no JSON object; {again}"))?
        .schema;
    match schema {
        Some(SCHEMA) => {}
        Some(schema) => bail!("schema {schema}, expected {SCHEMA}; {again}"),
        None => bail!("no member `schema`, so no recorded verdict; {again}"),
    }
    serde_json::from_str(text).with_context(|| format!("damaged; {again}"))
}

/// A recorded verdict, judged again.
pub struct Rejudged {
    /// What the rules of today make of the samples.
    pub outcome: Outcome,
    /// How that compares with the record, in a line.
    pub told: String,
    /// False if the verdict is another one.
    pub same: bool,
}

/// Judges the samples of a recorded verdict again, by the rules of this version.
pub fn rejudge(recorded: Outcome) -> Result<Rejudged> {
    let Some(end) = recorded.end else {
        let told = format!(
            "nothing was timed, so there are no samples: {} rests on the code alone",
            recorded.verdict.name()
        );
        return Ok(Rejudged { outcome: recorded, told, same: true });
    };
    let removal = recorded.question.removal();
    let finished = trial::replay(recorded.seed, removal, &recorded.timed, end)?;
    let layouts: usize = recorded.timed.iter().map(|timed| timed.blocks.len()).sum();
    let same = finished.verdict == recorded.verdict;
    let mut told = format!("judged again from {layouts} recorded blocks: ");
    if !same {
        told += &format!(
            "{}, where the record says {}",
            finished.verdict.name(),
            recorded.verdict.name()
        );
    } else if near(&recorded, &finished.timed) {
        told += "the same verdict with the same intervals";
    } else {
        told += "the same verdict, with other figures than the record's";
    }
    if recorded.rules != Rules::today() {
        told += "; the rules have changed since it was recorded";
    }
    let reason =
        reason(&recorded.question, &recorded.arms, finished.verdict, &finished.timed, finished.end);
    let outcome = Outcome {
        verdict: finished.verdict,
        reason: if same { recorded.reason.clone() } else { reason },
        timed: finished.timed,
        end: Some(finished.end),
        rules: Rules::today(),
        ..recorded
    };
    Ok(Rejudged { outcome, told, same })
}

/// True if the record's figures are those that its samples give.
fn near(recorded: &Outcome, timed: &[super::outcome::Timed]) -> bool {
    recorded.timed.iter().zip(timed).all(|(one, other)| match (&one.judged, &other.judged) {
        (Some(one), Some(other)) => {
            let figures = |judged: &super::judge::Judged| {
                let (effect, interval) = (judged.effect.estimate, judged.effect.interval);
                [effect, interval.low, interval.high, judged.control.estimate, judged.p]
            };
            one.call == other.call
                && figures(one).iter().zip(figures(other)).all(|(a, b)| (a - b).abs() < 1e-6)
        }
        (one, other) => one.is_none() && other.is_none(),
    })
}

/// Puts short lists, with what lists and objects of values they hold, on one line each: a sample is
/// a row. `pretty` is JSON with an item a line, in which a line break is never part of a string.
fn compact_lists(pretty: &str) -> String {
    let lines: Vec<&str> = pretty.lines().collect();
    let mut text = String::with_capacity(pretty.len());
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        if let (true, Some(end)) = (line.ends_with('['), end_of_plain_list(&lines, at)) {
            text.push_str(line);
            for item in &lines[at + 1..=end] {
                text.push_str(item.trim_start());
            }
            at = end;
        } else {
            text.push_str(line);
        }
        text.push('\n');
        at += 1;
    }
    text.truncate(text.trim_end().len());
    text
}

/// Where the list that opens in line `start` ends, if it is short and no more than two deep.
fn end_of_plain_list(lines: &[&str], start: usize) -> Option<usize> {
    const LONGEST: usize = 80;
    let mut depth = 1;
    for (at, line) in lines.iter().enumerate().skip(start + 1).take(LONGEST) {
        match line.trim() {
            "]" | "]," | "}" | "}," => depth -= 1,
            item if item.ends_with(['[', '{']) => depth += 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
        if depth > 2 {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::canned;
    use super::super::judge::Verdict;
    use super::*;

    fn recorded(outcome: &Outcome) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = write(outcome, folder.path()).unwrap();
        (folder, path)
    }

    #[test]
    fn a_verdict_comes_back_and_is_judged_the_same() {
        for effects in [&[2.0, 0.0][..], &[0.0], &[-3.0, 1.0, 0.2]] {
            let outcome = canned::outcome("tiny-free-calls", effects);
            let (folder, path) = recorded(&outcome);
            let read = read(&path).unwrap();
            assert!(json(&read).unwrap() == json(&outcome).unwrap(), "read back, it is another");
            let again = rejudge(read).unwrap();
            assert!(again.same && again.told.ends_with("the same intervals"), "{}", again.told);
            assert_eq!(again.outcome.verdict, outcome.verdict);
            assert_eq!(again.outcome.reason, outcome.reason);
            let mut names: Vec<_> = std::fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            let expected = ["json", "md", "svg"].map(|end| format!("tiny-free-calls.{end}"));
            assert_eq!(names, expected);
        }
    }

    #[test]
    fn samples_that_were_changed_change_the_verdict() {
        let outcome = canned::outcome("tiny-free-calls", &[2.0]);
        let (_folder, path) = recorded(&outcome);
        let mut read = read(&path).unwrap();
        read.timed[0].blocks.iter_mut().for_each(|block| block.with = block.out);
        let again = rejudge(read).unwrap();
        assert!(!again.same);
        assert_eq!(again.outcome.verdict, Verdict::Neutral);
        assert!(again.told.contains("NEUTRAL, where the record says GO"), "{}", again.told);
        assert!(again.outcome.reason.contains("less than 0.5 %"), "{}", again.outcome.reason);
    }

    #[test]
    fn same_code_has_nothing_to_judge_again() {
        let (_folder, path) = recorded(&canned::outcome("tiny-free-calls", &[]));
        let again = rejudge(read(&path).unwrap()).unwrap();
        assert!(again.same && again.told.contains("nothing was timed"), "{}", again.told);
    }

    #[test]
    fn damaged_and_unknown_files_are_refused_in_one_line() {
        let outcome = canned::outcome("tiny-free-calls", &[0.0]);
        let text = json(&outcome).unwrap();
        let refused = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.json");
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(!error.contains('\n') && error.contains("x.json"), "{error}");
            assert!(error.contains("record it again"), "{error}");
            error
        };
        assert!(refused(&text[..text.len() / 2]).contains("damaged"));
        assert!(refused("").contains("damaged"));
        assert!(refused("{}").contains("no member `schema`"));
        let newer = text.replacen(&format!("\"schema\": {SCHEMA}"), "\"schema\": 99", 1);
        assert!(refused(&newer).contains("schema 99, expected"));
        let wrong = text.replacen("\"neutral\"", "\"maybe\"", 1);
        assert!(refused(&wrong).contains("maybe"));
        let missing = format!("{:#}", read(Path::new("/nowhere.json")).unwrap_err());
        assert!(missing.contains("cannot read /nowhere.json"), "{missing}");
    }

    #[test]
    fn the_largest_verdict_of_three_scenarios_stays_small() {
        // Every look taken: 240 layouts.
        let mut outcome = canned::outcome("tiny-free-calls", &[0.0, 0.0, 0.0]);
        outcome.timed = canned::timed(240, &[0.0, 0.0, 0.0]);
        for at in 0..1000 {
            outcome.arms.differing.insert(format!("{at:0100}"), (at, 1));
        }
        let (_folder, path) = recorded(&outcome);
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(size < 250_000, "{size} bytes");
        let read = read(&path).unwrap();
        assert_eq!(read.arms.differing.len(), MOST_FUNCTIONS);
        assert_eq!(read.arms.left_out, 801);
        assert!(read.arms.differing.values().all(|own| own.0 >= 800));
    }

    #[test]
    fn lists_of_values_take_a_line() {
        let value = serde_json::json!({
            "a": [1, [2, 3], "x [\n"], "b": [{"c": 1}], "d": [], "rows": [[[1, 2], 3], [[4, 5], 6]]
        });
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let compact = compact_lists(&pretty);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&compact).unwrap(), value);
        assert!(compact.contains("\"a\": [1,[2,3],\"x [\\n\"],"), "{compact}");
        assert!(compact.contains("    [[1,2],3],\n    [[4,5],6]\n"), "{compact}");
    }
}
