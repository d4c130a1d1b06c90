//! Gates that do not go together. A row of the registry says it with its reason:
//! `conflicts = ["ring-cache: both sit in front of the magazine"]`. One side says it, both are
//! bound.

use super::registry::{Gate, Registry};
use std::collections::BTreeSet;

/// Two gates that do not go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The gate whose row says it.
    pub gate: String,
    /// The other one.
    pub with: String,
    /// Why; empty where the row gives no reason.
    pub why: String,
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "`{}` conflicts with `{}`: {}", self.gate, self.with, self.why)
    }
}

/// What a gate's row declares.
pub fn of(gate: &Gate) -> Vec<Conflict> {
    let listed = gate.more.get("conflicts").and_then(|value| value.as_array());
    let entries = listed.into_iter().flatten().filter_map(|entry| entry.as_str());
    entries
        .map(|entry| {
            let (with, why) = entry.split_once(':').unwrap_or((entry, ""));
            Conflict {
                gate: gate.name.clone(),
                with: with.trim().to_owned(),
                why: why.trim().to_owned(),
            }
        })
        .collect()
}

/// Every declared conflict, in the order of the gates.
pub fn all(registry: &Registry) -> Vec<Conflict> {
    registry.gates.values().flat_map(of).collect()
}

/// The first declared conflict among these gates.
pub fn among(registry: &Registry, gates: &BTreeSet<String>) -> Option<Conflict> {
    all(registry)
        .into_iter()
        .find(|conflict| gates.contains(&conflict.gate) && gates.contains(&conflict.with))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::registry::tests::canned;

    #[test]
    fn a_conflict_binds_both_sides_and_keeps_its_reason() {
        let registry = canned(serde_json::json!({
            "a": {"kind": "layer", "path": "hot", "conflicts": ["b: both own the slot: really"]},
            "b": {"kind": "layer", "path": "hot"},
            "c": {"kind": "layer", "path": "hot", "conflicts": ["ghost"]},
        }));
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        for gates in [set(&["a", "b"]), set(&["c", "b", "a"])] {
            let found = among(&registry, &gates).unwrap();
            assert_eq!(found.to_string(), "`a` conflicts with `b`: both own the slot: really");
        }
        assert_eq!(among(&registry, &set(&["a", "c"])), None);
        assert_eq!(of(&registry.gates["c"])[0].why, "");
    }
}
