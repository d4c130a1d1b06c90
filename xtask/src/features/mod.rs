//! `cargo xtask features`: the table of all gates, and the checks of the registry and of the
//! source that it rests on.

mod order;
mod places;
mod proofs;
mod refusals;
mod registry_checks;
mod source;
mod table;

use crate::shared::registry::{Kind, PACKAGE, Registry};
use crate::shared::{paths, term, write};
use anyhow::Result;
use serde::Serialize;
use std::process::ExitCode;

/// Arguments of `cargo xtask features`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask features                 write features.md from the registry in Cargo.toml
  cargo xtask features --check         change nothing; fail if the table or the source is wrong
  cargo xtask features --names         the gates, one a line, for scripts
  cargo xtask features --names --all   the features that turn everything on, joined by commas")]
pub struct Args {
    /// Write nothing; exit with 1 where features.md is out of date or a check fails
    #[arg(long)]
    check: bool,

    /// Print the names of the gates, one a line, and do nothing else
    #[arg(long, conflicts_with = "check")]
    names: bool,

    /// With --names: print the umbrellas that together turn on every gate, joined by commas
    #[arg(long, requires = "names")]
    all: bool,

    /// Print gates, verdicts and checks as JSON
    #[arg(long)]
    json: bool,
}

/// One check with what it found.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    about: &'static str,
    faults: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let registry = Registry::read()?;
    if args.names {
        if args.all {
            println!("{}", every_feature(&registry).join(","));
        } else {
            registry.gates.keys().for_each(|gate| println!("{gate}"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let page = table::page(&registry)?;
    let path = table::path();
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    let mut checks = source_checks(&registry)?;
    if args.check {
        checks.push(Check {
            name: "table",
            about: "features.md says what the registry says",
            faults: stale(&present, &page),
        });
    } else if present != page {
        write::atomically(&path, &page)?;
    }
    let failed = checks.iter().filter(|check| !check.faults.is_empty()).count();
    if args.json {
        print_json(&registry, &checks)?;
    } else {
        report(&checks, &registry);
        if !args.check {
            let verb = if present == page { "Unchanged" } else { "Wrote" };
            term::step(verb, path.display());
        }
    }
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// Writes features.md anew: a verdict was recorded.
pub fn refresh() -> Result<()> {
    let page = table::page(&Registry::read()?)?;
    let path = table::path();
    if std::fs::read_to_string(&path).unwrap_or_default() != page {
        write::atomically(&path, &page)?;
        term::step("Updated", path.display());
    }
    Ok(())
}

/// The features that together turn on every gate: the umbrellas, and what none of them covers. A
/// hardening gate stays alone: it changes the blocks that the others' tests count to the last one. So
/// does what conflicts with another gate, and what turns that on.
pub fn every_feature(registry: &Registry) -> Vec<String> {
    let mut features: Vec<String> = registry.umbrellas.keys().cloned().collect();
    let covered: Vec<_> = features.iter().flat_map(|name| registry.union(name)).collect();
    let together = |gate: &&String| !stays_alone(registry, gate);
    features.extend(
        registry.gates.keys().filter(|gate| !covered.contains(gate)).filter(together).cloned(),
    );
    features
}

/// Whether a gate is not part of the build with every gate.
fn stays_alone(registry: &Registry, gate: &str) -> bool {
    registry.union(gate).iter().any(|gate| {
        let gate = &registry.gates[gate];
        gate.more.contains_key("conflicts") || gate.kind == Kind::Hardening
    })
}

/// The same without the layers: they change what a thread keeps, which the worker's and the limits'
/// tests are about, and have every test to themselves.
pub fn every_feature_but_layers(registry: &Registry) -> Vec<String> {
    // Some of them bring a policy with them.
    let layers = |name: &String| {
        registry.union(name).iter().any(|gate| registry.gates[gate].kind == Kind::Layer)
    };
    every_feature(registry).into_iter().filter(|name| !layers(name)).collect()
}

fn source_checks(registry: &Registry) -> Result<Vec<Check>> {
    let sources = source::Source::all(&paths::root().join("src"))?;
    let tests = source::Source::all(&paths::root().join("tests/gates"))?;
    let gates: Vec<&str> = registry.gates.keys().map(String::as_str).collect();
    let umbrellas: Vec<&str> = registry.umbrellas.keys().map(String::as_str).collect();
    Ok(vec![
        Check {
            name: "rows",
            about: "every feature has a row, every row a feature",
            faults: registry.faults.clone(),
        },
        Check {
            name: "values",
            about: "every row has the keys and values that are allowed",
            faults: registry_checks::values(registry),
        },
        Check {
            name: "umbrellas",
            about: "every umbrella is the plain union of its kinds",
            faults: registry_checks::umbrellas(registry),
        },
        Check {
            name: "one-place",
            about: "every gate is looked at in one place of src/",
            faults: places::faults(&places::find(&sources), &gates, &umbrellas),
        },
        Check {
            name: "conflicts",
            about: "every declared conflict says why and is refused by a compile_error! that names both",
            faults: refusals::faults(registry, &sources),
        },
        Check {
            name: "proven",
            about: "every counter, trace and log is made to count a known number in tests/gates/",
            faults: proofs::faults(registry, &tests),
        },
        Check {
            name: "folder-order",
            about: "every folder of src/ imports only from those above it in the list",
            faults: order::faults(&sources),
        },
    ])
}

/// The first line in which the table is out of date.
fn stale(present: &str, page: &str) -> Vec<String> {
    if present == page {
        return Vec::new();
    }
    let same = present.lines().zip(page.lines()).take_while(|(a, b)| a == b).count();
    vec![format!(
        "features.md is out of date from line {}; run `cargo xtask features` and commit it",
        same + 1
    )]
}

fn report(checks: &[Check], registry: &Registry) {
    for check in checks {
        let (verb, style) = if check.faults.is_empty() {
            ("Holds", console::Style::new().green().bold())
        } else {
            ("FAILS", console::Style::new().red().bold())
        };
        let verb = style.for_stderr().apply_to(format!("{verb:>12}"));
        eprintln!("{verb} {}: {}", check.name, check.about);
        for fault in &check.faults {
            eprintln!("             {fault}");
        }
    }
    eprintln!(
        "             {} gates, {} umbrellas in the registry of {PACKAGE}",
        registry.gates.len(),
        registry.umbrellas.len()
    );
}

fn print_json(registry: &Registry, checks: &[Check]) -> Result<()> {
    let mut gates = Vec::new();
    for gate in registry.gates.values() {
        gates.push(serde_json::json!({
            "row": gate,
            "recorded": table::Recorded::read(&gate.name)?,
        }));
    }
    let all = serde_json::json!({
        "gates": gates,
        "umbrellas": registry.umbrellas.values().collect::<Vec<_>>(),
        "checks": checks,
    });
    println!("{}", serde_json::to_string_pretty(&all)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gate_is_turned_on_by_every_feature() {
        let registry = Registry::read().unwrap();
        let on: Vec<String> =
            every_feature(&registry).iter().flat_map(|feature| registry.union(feature)).collect();
        for gate in registry.gates.values() {
            let excused = stays_alone(&registry, &gate.name);
            assert_ne!(excused, on.contains(&gate.name), "{}", gate.name);
        }
    }

    #[test]
    fn layers_can_be_left_out() {
        let registry = Registry::read().unwrap();
        let features = every_feature_but_layers(&registry);
        let on: Vec<String> = features.iter().flat_map(|feature| registry.union(feature)).collect();
        for gate in registry.gates.values() {
            assert!(gate.kind != Kind::Layer || !on.contains(&gate.name), "{}", gate.name);
        }
        assert!(on.iter().any(|gate| gate == "background-worker"));
    }

    #[test]
    fn a_stale_table_names_the_line() {
        assert!(stale("a\nb\n", "a\nb\n").is_empty());
        assert!(stale("a\nb\n", "a\nc\n")[0].contains("line 2"));
    }
}
