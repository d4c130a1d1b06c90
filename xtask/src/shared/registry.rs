//! The registry of gates: the features of the root `Cargo.toml` with their
//! `[package.metadata.hakmem.<gate>]` rows. It is the only list; nothing else names the gates.

use anyhow::{Context, Result, bail};
use cargo_metadata::MetadataCommand;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The package whose features are the gates.
pub const PACKAGE: &str = "hakmem-alloc";

/// What a gate is for; it decides which way round the experiment's sign is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Counters that no decision reads.
    Telemetry,
    /// Checks, traces and logs.
    Diagnostic,
    /// A layer of the front end.
    Layer,
    /// A policy: what to keep, refill or return.
    Policy,
    /// A defence that costs something.
    Hardening,
}

impl Kind {
    /// True where the question is "is compiling it out faster?" rather than "is adopting it?".
    pub fn removal(self) -> bool {
        matches!(self, Kind::Telemetry | Kind::Diagnostic)
    }

    /// True where such a gate by itself decides something in the heap, so that the unit tests can tell. A
    /// layer by itself does not count: the unit tests of every build put each layer, and each two of them,
    /// through every call.
    pub fn decides(self) -> bool {
        matches!(self, Kind::Policy | Kind::Hardening)
    }

    /// The name as the registry spells it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Telemetry => "telemetry",
            Kind::Diagnostic => "diagnostic",
            Kind::Layer => "layer",
            Kind::Policy => "policy",
            Kind::Hardening => "hardening",
        }
    }
}

/// One gate: a feature with its row.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Gate {
    /// The feature's name.
    #[serde(default)]
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// How often its code runs: hot, warm, cold or edge.
    pub path: String,
    /// The phase of the old campaign, or of ours, that it belongs to.
    #[serde(default)]
    pub phase: String,
    /// What it counts or does, in a sentence.
    #[serde(default)]
    pub counts: String,
    /// Where its figures are read.
    #[serde(default)]
    pub reader: String,
    /// What the old system measured.
    #[serde(default)]
    pub old_verdict: String,
    /// Features that it turns on.
    #[serde(default)]
    pub implies: Vec<String>,
    /// Whatever else the row says.
    #[serde(flatten)]
    pub more: BTreeMap<String, serde_json::Value>,
}

impl Gate {
    /// The names that the row lists under `key`; none where it has no such list. A reason that
    /// follows a name after a colon is left out.
    pub fn listed(&self, key: &str) -> Vec<String> {
        let listed = self.more.get(key).and_then(|value| value.as_array());
        let entries = listed.into_iter().flatten().filter_map(|entry| entry.as_str());
        entries.map(|entry| entry.split(':').next().unwrap_or(entry).trim().to_owned()).collect()
    }
}

/// A feature that is a plain union of gates and other unions.
#[derive(Clone, Debug, Serialize)]
pub struct Umbrella {
    /// The feature's name.
    pub name: String,
    /// What it turns on, as `Cargo.toml` lists it.
    pub members: Vec<String>,
}

/// All gates and umbrellas, by name.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// The gates, in alphabetical order.
    pub gates: BTreeMap<String, Gate>,
    /// The umbrellas, in alphabetical order.
    pub umbrellas: BTreeMap<String, Umbrella>,
    /// The gates that the default build has, what they need included.
    pub default: BTreeSet<String>,
    /// Disagreements between the lists: a feature without a row, a row without a feature, a default
    /// that is no feature of ours.
    pub faults: Vec<String>,
}

impl Registry {
    /// Reads the checkout's registry.
    pub fn read() -> Result<Registry> {
        let metadata = MetadataCommand::new()
            .cargo_path(super::paths::cargo())
            .current_dir(super::paths::root())
            .no_deps()
            .exec()
            .context("cannot read the registry of gates")?;
        let package = metadata
            .packages
            .iter()
            .find(|package| package.name.as_str() == PACKAGE)
            .with_context(|| format!("the workspace holds no package `{PACKAGE}`"))?;
        Registry::from_parts(&package.features, &package.metadata["hakmem"])
    }

    /// Builds the registry from a package's features and its metadata table.
    fn from_parts(
        features: &BTreeMap<String, Vec<String>>,
        rows: &serde_json::Value,
    ) -> Result<Registry> {
        let mut registry = Registry::default();
        let rows = rows.as_object().cloned().unwrap_or_default();
        for (name, members) in features.iter().filter(|(name, _)| *name != "default") {
            if let Some(row) = rows.get(name) {
                let mut gate: Gate = serde_json::from_value(row.clone())
                    .with_context(|| format!("[package.metadata.hakmem.{name}] in Cargo.toml"))?;
                gate.name.clone_from(name);
                gate.implies.clone_from(members);
                registry.gates.insert(name.clone(), gate);
            } else if members.is_empty() {
                registry
                    .faults
                    .push(format!("feature `{name}` has no [package.metadata.hakmem.{name}] row"));
            } else {
                let umbrella = Umbrella { name: name.clone(), members: members.clone() };
                registry.umbrellas.insert(name.clone(), umbrella);
            }
        }
        for name in rows.keys().filter(|name| !features.contains_key(*name)) {
            registry
                .faults
                .push(format!("row [package.metadata.hakmem.{name}] has no feature of that name"));
        }
        for name in features.get("default").into_iter().flatten() {
            let on = registry.union(name);
            if on.is_empty() {
                registry.faults.push(format!(
                    "`default` turns on `{name}`, which is neither gate nor umbrella"
                ));
            }
            registry.default.extend(on);
        }
        Ok(registry)
    }

    /// The gates that a feature turns on, itself included where it is one.
    pub fn union(&self, feature: &str) -> BTreeSet<String> {
        let mut gates = BTreeSet::new();
        let mut open = vec![feature.to_owned()];
        let mut seen = BTreeSet::new();
        while let Some(name) = open.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            if let Some(gate) = self.gates.get(&name) {
                open.extend(gate.implies.iter().cloned());
                gates.insert(name);
            } else if let Some(umbrella) = self.umbrellas.get(&name) {
                open.extend(umbrella.members.iter().cloned());
            }
        }
        gates
    }

    /// A gate, what it turns on, and what its row says that it needs, and so on.
    pub fn needed_by(&self, gate: &str) -> BTreeSet<String> {
        let mut gates = BTreeSet::new();
        let mut open = vec![gate.to_owned()];
        while let Some(name) = open.pop() {
            if let Some(gate) = self.gates.get(&name)
                && gates.insert(name)
            {
                open.extend(gate.implies.iter().cloned().chain(gate.listed("needs")));
            }
        }
        gates
    }

    /// The gate of that name, or one error that names the nearest gates and all of them.
    pub fn gate(&self, name: &str) -> Result<&Gate> {
        if let Some(gate) = self.gates.get(name) {
            return Ok(gate);
        }
        let all = self.gates.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        if let Some(umbrella) = self.umbrellas.get(name) {
            bail!(
                "`{name}` is a union of {}; name one gate of: {all}",
                umbrella.members.join(", ")
            );
        }
        match nearest(name, self.gates.keys().map(String::as_str)) {
            Some(near) => bail!("no gate `{name}`; did you mean `{near}`? The gates are: {all}"),
            None => bail!("no gate `{name}`. The gates are: {all}"),
        }
    }
}

/// The name most like `name`, if any is like it at all.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A registry of these rows, each with a feature that turns on nothing else.
    pub fn canned(rows: serde_json::Value) -> Registry {
        let names = rows.as_object().expect("rows by name").keys();
        let features = names.map(|name| (name.clone(), Vec::new())).collect();
        Registry::from_parts(&features, &rows).expect("rows of the registry's form")
    }

    fn sample() -> Registry {
        let features = BTreeMap::from([
            ("default".to_owned(), vec!["all".to_owned(), "dep:libc".to_owned()]),
            ("all".to_owned(), vec!["free-calls".to_owned()]),
            ("free-calls".to_owned(), vec![]),
            ("orphan".to_owned(), vec![]),
        ]);
        let rows = serde_json::json!({
            "free-calls": {"kind": "telemetry", "path": "hot", "phase": "29", "old-verdict": "NEUTRAL", "note": "x"},
            "ghost": {"kind": "layer", "path": "hot"},
        });
        Registry::from_parts(&features, &rows).unwrap()
    }

    #[test]
    fn gates_umbrellas_and_faults_are_told_apart() {
        let registry = sample();
        assert_eq!(registry.gates.keys().collect::<Vec<_>>(), ["free-calls"]);
        assert_eq!(registry.gates["free-calls"].old_verdict, "NEUTRAL");
        assert_eq!(registry.gates["free-calls"].more["note"], "x");
        assert_eq!(registry.umbrellas["all"].members, ["free-calls"]);
        assert_eq!(registry.default.iter().collect::<Vec<_>>(), ["free-calls"]);
        assert_eq!(registry.faults.len(), 3, "{:?}", registry.faults);
        assert!(registry.faults[2].contains("`dep:libc`, which is neither"));
    }

    #[test]
    fn an_unknown_gate_names_the_nearest_and_all() {
        let error = sample().gate("fre-call").unwrap_err().to_string();
        assert!(error.contains("did you mean `free-calls`?"), "{error}");
        let error = sample().gate("zzz").unwrap_err().to_string();
        assert!(!error.contains("did you mean") && error.contains("free-calls"), "{error}");
        assert!(sample().gate("all").unwrap_err().to_string().contains("union"));
    }

    #[test]
    fn the_checkout_has_a_sound_registry() {
        let registry = Registry::read().unwrap();
        assert!(registry.faults.is_empty(), "{:?}", registry.faults);
        assert!(registry.gates.contains_key("tiny-free-calls"));
    }
}
