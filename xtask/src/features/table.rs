//! `features.md`: the table of all gates, made from the registry and the recorded verdicts.

use crate::ab::judge::{Estimate, Verdict};
use crate::ab::outcome::Headline;
use crate::shared::paths;
use crate::shared::registry::{Gate, Kind, Registry};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::Path;

/// The kinds, in the order of the table.
pub const KINDS: [Kind; 5] =
    [Kind::Telemetry, Kind::Diagnostic, Kind::Layer, Kind::Policy, Kind::Hardening];

/// The last verdict that `cargo xtask ab --record` wrote for a gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// What was found.
    pub verdict: Verdict,
    /// The day it was measured.
    pub date: String,
    /// The figure that stands for it; none where nothing had to be timed.
    pub headline: Option<Headline>,
}

impl Recorded {
    /// Reads `docs/results/<gate>.json`; `None` where there is no record.
    pub fn read(gate: &str) -> Result<Option<Recorded>> {
        let path = paths::root().join(format!("docs/results/{gate}.json"));
        if !path.is_file() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let told = || {
            format!(
                "{} is damaged; record it again with `cargo xtask ab {gate} --record`",
                path.display()
            )
        };
        serde_json::from_str(&text).with_context(told).map(Some)
    }

    /// As the table shows it: verdict, effect and its interval in per cent, day.
    fn cell(&self) -> String {
        let figure = self.headline.as_ref().map_or_else(String::new, |headline| {
            let Estimate { estimate, interval } = headline.effect;
            let (low, high) = (interval.low, interval.high);
            format!(" {estimate:+.2} % [{low:+.2}, {high:+.2}] {},", headline.scenario)
        });
        let same = match (self.verdict, &self.headline) {
            (Verdict::Neutral, None) => " (same code)",
            _ => "",
        };
        format!("{}{same}{figure} {}", self.verdict.name(), self.date)
    }
}

/// The whole page.
pub fn page(registry: &Registry) -> Result<String> {
    let but = match registry.default.is_empty() {
        true => "",
        false => ", but for those marked *on*",
    };
    let mut page = format!(
        "# Features\n\n\
         Generated from the registry in `Cargo.toml` by `cargo xtask features`; do not edit.\n\n\
         Every gate is a Cargo feature, off by default{but}: a build without it carries not one \
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
            let verdict = match Recorded::read(&gate.name)? {
                Some(found) => format!("[{}](docs/results/{}.md)", found.cell(), gate.name),
                None => "not measured yet".to_owned(),
            };
            let reader = match gate.reader.as_str() {
                "" => String::new(),
                reader => format!("`{reader}`"),
            };
            let needs: Vec<String> = gate.implies.iter().map(|name| format!("`{name}`")).collect();
            let _ = writeln!(
                page,
                "| `{}`{} | {} | {} | {} | {reader} | {} | {} | {} |",
                gate.name,
                if registry.default.contains(&gate.name) { " *on*" } else { "" },
                gate.path,
                cell(&gate.phase),
                cell(&gate.counts),
                needs.join(", "),
                cell(&verdict),
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
        let text = r#"{"schema": 2, "verdict": "no-go", "date": "2026-01-02", "headline":
            {"scenario": "json", "effect": {"estimate": -0.9, "interval": {"low": -1.2, "high": -0.61}}, "alpha": 0.02}}"#;
        let recorded: Recorded = serde_json::from_str(text).unwrap();
        assert_eq!(recorded.cell(), "NO-GO -0.90 % [-1.20, -0.61] json, 2026-01-02");
        let same = r#"{"verdict": "neutral", "date": "2026-01-02", "headline": null}"#;
        let recorded: Recorded = serde_json::from_str(same).unwrap();
        assert_eq!(recorded.cell(), "NEUTRAL (same code) 2026-01-02");
        assert!(serde_json::from_str::<Recorded>("{}").is_err());
    }

    #[test]
    fn gates_of_the_default_build_are_marked() {
        let mut registry = Registry::read().unwrap();
        registry.default.insert("elo".to_owned());
        let page = page(&registry).unwrap();
        assert!(page.contains("off by default, but for those marked *on*:"));
        assert!(page.contains("| `elo` *on* | cold |") && page.contains("| `evolution` | cold |"));
    }

    #[test]
    fn every_gate_has_a_line() {
        let registry = Registry::read().unwrap();
        let page = page(&registry).unwrap();
        for gate in registry.gates.keys() {
            assert!(page.contains(&format!("| `{gate}`")), "{gate}");
        }
        for umbrella in registry.umbrellas.keys() {
            assert!(page.contains(&format!("| `{umbrella}` |")), "{umbrella}");
        }
    }
}
