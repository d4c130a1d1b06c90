//! How the default build stands to some gates. A gate that it has is judged as any other: the arm
//! without it is the default build less the gate.
//!
//! Assumes nothing about `default`, which may list gates and unions. Promises two arms that differ in
//! the gates asked about: what needs one of them, or conflicts with one, is in neither.

use super::conflicts;
use super::registry::Registry;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The gates of the default build, seen from some gates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultBuild {
    /// Those of them that it has.
    pub has: BTreeSet<String>,
    /// Its others that can be on whether they are on or off.
    pub beside: BTreeSet<String>,
    /// Its others that can't: they need one of them, or conflict with one.
    pub apart: BTreeSet<String>,
}

impl DefaultBuild {
    /// The default build around `gates`, which need `needs`.
    pub fn around(
        registry: &Registry,
        gates: &BTreeSet<String>,
        needs: &BTreeSet<String>,
    ) -> DefaultBuild {
        let asked: BTreeSet<String> = gates.union(needs).cloned().collect();
        let barred = |name: &String| {
            let comes_with = registry.needed_by(name);
            comes_with.iter().any(|gate| {
                gates.contains(gate)
                    || asked.iter().any(|other| {
                        let pair = BTreeSet::from([gate.clone(), other.clone()]);
                        gate != other && conflicts::among(registry, &pair).is_some()
                    })
            })
        };
        let others = registry.default.difference(gates).cloned();
        let (apart, beside) = others.partition(barred);
        DefaultBuild { has: registry.default.intersection(gates).cloned().collect(), beside, apart }
    }

    /// True where the default build has no gate at all.
    pub fn is_empty(&self) -> bool {
        self.has.is_empty() && self.beside.is_empty() && self.apart.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::tests::canned;
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Around `gates`, in a default build of these gates: what it has, what is beside, what is apart.
    fn around(default: &[&str], gates: &[&str], needs: &[&str]) -> [BTreeSet<String>; 3] {
        let mut registry = canned(serde_json::json!({
            "pool": {"kind": "policy", "path": "hot"},
            "pool-stats": {"kind": "telemetry", "path": "hot", "needs": ["pool"]},
            "pool-log": {"kind": "diagnostic", "path": "hot"},
            "ring": {"kind": "layer", "path": "hot", "conflicts": ["slots: one place"]},
            "ring-wide": {"kind": "layer", "path": "hot"},
            "slots": {"kind": "layer", "path": "hot"},
        }));
        for (gate, implied) in [("pool-log", "pool-stats"), ("ring-wide", "ring")] {
            registry.gates.get_mut(gate).unwrap().implies.push(implied.to_owned());
        }
        registry.default = set(default);
        let DefaultBuild { has, beside, apart } =
            DefaultBuild::around(&registry, &set(gates), &set(needs));
        [has, beside, apart]
    }

    #[test]
    fn an_empty_default_build_is_beside_nothing() {
        assert_eq!(around(&[], &["pool"], &[]), [set(&[]), set(&[]), set(&[])]);
        assert!(DefaultBuild::default().is_empty());
    }

    #[test]
    fn a_gate_of_the_default_build_is_left_out_with_what_needs_it() {
        let default = ["pool", "pool-log", "pool-stats", "slots"];
        assert_eq!(
            around(&default, &["pool"], &[]),
            [set(&["pool"]), set(&["slots"]), set(&["pool-log", "pool-stats"])]
        );
        assert_eq!(
            around(&default, &["pool-stats"], &["pool"]),
            [set(&["pool-stats"]), set(&["pool", "slots"]), set(&["pool-log"])]
        );
        assert_eq!(
            around(&default, &["pool-log"], &["pool", "pool-stats"]),
            [set(&["pool-log"]), set(&["pool", "pool-stats", "slots"]), set(&[])]
        );
    }

    #[test]
    fn what_conflicts_is_in_neither_arm_whoever_declares_it() {
        for (default, asked) in [("slots", "ring"), ("ring", "slots")] {
            assert_eq!(around(&[default], &[asked], &[]), [set(&[]), set(&[]), set(&[default])]);
        }
        // Through what it needs, too: on either side.
        assert_eq!(
            around(&["ring", "ring-wide", "pool"], &["slots"], &[])[1..],
            [set(&["pool"]), set(&["ring", "ring-wide"])]
        );
        assert_eq!(around(&["slots"], &["ring-wide"], &["ring"])[2], set(&["slots"]));
    }
}
