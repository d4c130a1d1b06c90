//! `features.md`: the table of all gates, made from the registry and the recorded verdicts.

use crate::shared::paths;
use crate::shared::registry::{Gate, Kind, Registry};
use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// The kinds, in the order of the table.
pub const KINDS: [Kind; 5] =
    [Kind::Telemetry, Kind::Diagnostic, Kind::Layer, Kind::Policy, Kind::Hardening];

/// The last verdict that `cargo xtask ab --record` wrote for a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// GO, NEUTRAL, NO-GO, ...
    pub verdict: String,
    /// The day it was recorded, empty where the record does not say.
    pub date: String,
}

impl Verdict {
    /// Reads `docs/results/<gate>.json`; `None` where there is no record.
    pub fn read(gate: &str) -> Result<Option<Verdict>> {
        let path = paths::root().join(format!("docs/results/{gate}.json"));
        if !path.is_file() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Verdict::parse(&text).with_context(|| format!("in {}", path.display())).map(Some)
    }

    fn parse(text: &str) -> Result<Verdict> {
        let record: serde_json::Value = serde_json::from_str(text)?;
        let word = |name: &str| record[name].as_str().map(str::to_owned);
        Ok(Verdict {
            verdict: word("verdict").context("expected a member `verdict`, a string")?,
            date: word("date").unwrap_or_default(),
        })
    }
}

/// The whole page.
pub fn page(registry: &Registry) -> Result<String> {
    let mut page = String::from(
        "# Features\n\n\
         Generated from the registry in `Cargo.toml` by `cargo xtask features`; do not edit.\n\n\
         Every gate is a Cargo feature, off by default: a build without it carries not one \
         instruction, byte or symbol of it. *Path* says how often its code runs: hot (every \
         operation), warm (every refill or flush), cold (every system call) or edge (only when \
         something is wrong). *Verdict* is what `cargo xtask ab <gate> --record` measured last; \
         *old verdict* is from the campaign of the C allocator of the same name, where positive \
         means that compiling it out is faster.\n",
    );
    for kind in KINDS {
        let gates: Vec<&Gate> = registry.gates.values().filter(|gate| gate.kind == kind).collect();
        if gates.is_empty() {
            continue;
        }
        let _ = write!(
            page,
            "\n## {}\n\n{}\n\n\
             | gate | path | phase | {} | read by | needs | verdict | old verdict |\n\
             |---|---|---|---|---|---|---|---|\n",
            heading(kind),
            about(kind),
            if kind.removal() { "counts or records" } else { "does" }
        );
        for gate in gates {
            let verdict = match Verdict::read(&gate.name)? {
                Some(found) => format!("{} {}", found.verdict, found.date),
                None => "not measured yet".to_owned(),
            };
            let reader = match gate.reader.as_str() {
                "" => String::new(),
                reader => format!("`{reader}`"),
            };
            let needs: Vec<String> = gate.implies.iter().map(|name| format!("`{name}`")).collect();
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} | {reader} | {} | {} | {} |",
                gate.name,
                gate.path,
                cell(&gate.phase),
                cell(&gate.counts),
                needs.join(", "),
                cell(verdict.trim_end()),
                cell(&gate.old_verdict)
            );
        }
    }
    page.push_str(
        "\n## Umbrellas\n\nPlain unions of other features.\n\n| umbrella | turns on |\n|---|---|\n",
    );
    for umbrella in registry.umbrellas.values() {
        let members: Vec<String> = umbrella.members.iter().map(|m| format!("`{m}`")).collect();
        let _ = writeln!(page, "| `{}` | {} |", umbrella.name, members.join(", "));
    }
    Ok(page)
}

/// Where the page is.
pub fn path() -> std::path::PathBuf {
    Path::new(paths::root()).join("features.md")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn heading(kind: Kind) -> &'static str {
    match kind {
        Kind::Telemetry => "Telemetry",
        Kind::Diagnostic => "Diagnostics",
        Kind::Layer => "Layers",
        Kind::Policy => "Policies",
        Kind::Hardening => "Hardening",
    }
}

fn about(kind: Kind) -> &'static str {
    match kind {
        Kind::Telemetry => "Counters that no decision reads.",
        Kind::Diagnostic => "Checks, traces and logs.",
        Kind::Layer => "Layers of the front end.",
        Kind::Policy => "What to keep, refill or return.",
        Kind::Hardening => "Defences that cost something.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read() {
        let text =
            r#"{"schema": 1, "verdict": "GO", "date": "2026-01-02", "interval": [0.6, 0.9]}"#;
        let verdict = Verdict::parse(text).unwrap();
        assert_eq!((verdict.verdict.as_str(), verdict.date.as_str()), ("GO", "2026-01-02"));
        assert!(Verdict::parse("{}").is_err());
    }

    #[test]
    fn every_gate_has_a_line() {
        let registry = Registry::read().unwrap();
        let page = page(&registry).unwrap();
        for gate in registry.gates.keys() {
            assert!(page.contains(&format!("| `{gate}` |")), "{gate}");
        }
        for umbrella in registry.umbrellas.keys() {
            assert!(page.contains(&format!("| `{umbrella}` |")), "{umbrella}");
        }
    }
}
