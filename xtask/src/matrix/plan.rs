//! Which configurations there are: none, each gate alone, the pairs, the unions, all together.
//!
//! A configuration is told by the gates that are on in the end, with what they need: two ways of
//! asking for the same gates are one configuration. One that holds a declared conflict is kept, with
//! the reason, and never built. The gates of the default build are on in all of them, as far as they
//! go with the others; alone, such a gate is tried by leaving it out.

use crate::features::every_feature;
use crate::shared::conflicts;
use crate::shared::default_build::DefaultBuild;
use crate::shared::registry::{Kind, Registry};
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a configuration is in the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// No gate, or those of the default build: what users get.
    None,
    /// One gate, with what it needs; or the default build without it.
    Single,
    /// Two gates.
    Pair,
    /// An umbrella of the registry.
    Union,
    /// Every gate that goes together with the others.
    All,
}

/// One way to build the heap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// What it is called in tables.
    pub name: String,
    /// What it is in the matrix.
    pub group: Group,
    /// The gates that it is about: none, one or two. Empty for unions.
    pub about: Vec<String>,
    /// The features to ask cargo for, none of which come by default.
    pub features: Vec<String>,
    /// The gates that are on then.
    pub gates: BTreeSet<String>,
    /// Why it is not built.
    pub refused: Option<String>,
}

/// Which of them are wanted.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Gates alone, the unions, all together.
    pub singles: bool,
    /// Pairs.
    pub pairs: bool,
    /// The kind of gate that is paired.
    pub kind: Kind,
    /// Only what these gates take part in; everything where it is empty.
    pub gates: Vec<String>,
}

/// The wanted configurations; the first is always what users get, which the others are compared with.
pub fn plan(registry: &Registry, selection: &Selection) -> Result<Vec<Configuration>> {
    for name in &selection.gates {
        registry.gate(name)?;
    }
    let wanted = |names: &[&str]| {
        selection.gates.is_empty()
            || selection.gates.iter().any(|gate| names.contains(&gate.as_str()))
    };
    let users = if registry.default.is_empty() { "none" } else { "default" };
    let mut plan = vec![in_default(registry, users, Group::None, &[])];
    if selection.singles {
        for gate in registry.gates.keys().filter(|gate| wanted(&[gate])) {
            plan.push(match registry.default.contains(gate) {
                true => without(registry, gate),
                false => in_default(registry, gate, Group::Single, &[gate]),
            });
        }
    }
    if selection.pairs {
        let layers: Vec<&str> = registry
            .gates
            .values()
            .filter(|gate| gate.kind == selection.kind)
            .map(|gate| gate.name.as_str())
            .collect();
        for (at, one) in layers.iter().enumerate() {
            for other in layers[at + 1..].iter().filter(|other| wanted(&[one, other])) {
                let name = format!("{one} + {other}");
                let pair = in_default(registry, &name, Group::Pair, &[one, other]);
                // Where one gate needs the other, the pair is that gate alone.
                let known = plan.iter().any(|known| known.gates == pair.gates);
                if !known || pair.refused.is_some() {
                    plan.push(pair);
                }
            }
        }
    }
    if selection.singles && selection.gates.is_empty() {
        unions(registry, &mut plan);
    }
    if plan.len() == 1 && !selection.gates.is_empty() {
        bail!(
            "{} takes part in no pair of {} gates; `--singles` measures it alone, `--kind` pairs another kind",
            selection.gates.join(", "),
            selection.kind.name()
        );
    }
    Ok(plan)
}

/// Adds the umbrellas and the whole.
fn unions(registry: &Registry, plan: &mut Vec<Configuration>) {
    let every = every_feature(registry);
    let words: Vec<&str> = every.iter().map(String::as_str).collect();
    let mut whole = in_default(registry, "all", Group::All, &words);
    whole.about.clear();
    for name in registry.umbrellas.keys() {
        let mut one = in_default(registry, name, Group::Union, &[name]);
        one.about.clear();
        if one.gates == whole.gates {
            whole.name = format!("{} = {name}", whole.name);
        } else if !plan.iter().any(|known| known.gates == one.gates) {
            plan.push(one);
        }
    }
    plan.push(whole);
}

/// The configuration of these features in the default build: with those of its gates that go with
/// them.
pub fn in_default(
    registry: &Registry,
    name: &str,
    group: Group,
    features: &[&str],
) -> Configuration {
    let asked = configuration(registry, name, group, features);
    let around = DefaultBuild::around(registry, &asked.gates, &BTreeSet::new());
    let more = around.beside.iter().map(String::as_str);
    let all: Vec<&str> = features.iter().copied().chain(more).collect();
    Configuration { about: asked.about, ..configuration(registry, name, group, &all) }
}

/// The default build without one of its gates, and without what needs that.
fn without(registry: &Registry, gate: &str) -> Configuration {
    let gates = BTreeSet::from([gate.to_owned()]);
    let around = DefaultBuild::around(registry, &gates, &BTreeSet::new());
    let rest: Vec<&str> = around.beside.iter().map(String::as_str).collect();
    let name = format!("without {gate}");
    let about = vec![gate.to_owned()];
    Configuration { about, ..configuration(registry, &name, Group::Single, &rest) }
}

/// The configuration that asks for `features` alone, with what they need.
pub fn configuration(
    registry: &Registry,
    name: &str,
    group: Group,
    features: &[&str],
) -> Configuration {
    let mut asked: Vec<String> = features.iter().map(|name| (*name).to_owned()).collect();
    let mut gates: BTreeSet<String> = BTreeSet::new();
    let mut at = 0;
    while let Some(feature) = asked.get(at).cloned() {
        at += 1;
        for gate in registry.union(&feature) {
            // What a row says that its gate needs is asked for, where the feature itself does not
            // turn it on.
            for need in registry.gates.get(&gate).into_iter().flat_map(|gate| gate.listed("needs"))
            {
                if !gates.contains(&need) && !asked.contains(&need) {
                    asked.push(need);
                }
            }
            gates.insert(gate);
        }
    }
    let unknown = gates.iter().find(|gate| !registry.gates.contains_key(*gate));
    let refused = match unknown {
        Some(unknown) => Some(format!("`{unknown}` is no gate of the registry")),
        None => conflicts::among(registry, &gates).map(|conflict| conflict.to_string()),
    };
    Configuration {
        name: name.to_owned(),
        group,
        about: features.iter().map(|name| (*name).to_owned()).collect(),
        features: asked,
        gates,
        refused,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::shared::registry::{Umbrella, tests::canned};

    /// Three layers, two of which conflict, one counter, and one that needs another.
    pub fn registry() -> Registry {
        let mut registry = canned(serde_json::json!({
            "ring": {"kind": "layer", "path": "hot", "conflicts": ["slots: both sit before the magazine"]},
            "slots": {"kind": "layer", "path": "hot"},
            "wide": {"kind": "layer", "path": "hot", "needs": ["slots"]},
            "calls": {"kind": "telemetry", "path": "hot"},
        }));
        for (name, members) in [("telemetry", vec!["calls"]), ("layers", vec!["slots", "wide"])] {
            let members = members.into_iter().map(str::to_owned).collect();
            registry.umbrellas.insert(name.into(), Umbrella { name: name.into(), members });
        }
        registry
    }

    pub fn everything() -> Selection {
        Selection { singles: true, pairs: true, kind: Kind::Layer, gates: Vec::new() }
    }

    fn names(selection: &Selection) -> Vec<String> {
        let plan = plan(&registry(), selection).unwrap();
        plan.into_iter().map(|configuration| configuration.name).collect()
    }

    #[test]
    fn every_configuration_appears_once() {
        assert_eq!(
            names(&everything()),
            [
                "none",
                "calls",
                "ring",
                "slots",
                "wide",
                // `slots + wide` is `wide`; `telemetry` is `calls`; `layers` is `wide`.
                "ring + slots",
                "ring + wide",
                "all"
            ]
        );
        assert_eq!(names(&Selection { singles: false, ..everything() }).len(), 4);
        assert_eq!(names(&Selection { pairs: false, ..everything() }).len(), 6);
        let telemetry = Selection { kind: Kind::Telemetry, singles: false, ..everything() };
        assert_eq!(names(&telemetry), ["none"]);
    }

    #[test]
    fn a_gate_comes_with_what_it_needs_and_conflicts_are_refused_with_their_reason() {
        let plan = plan(&registry(), &everything()).unwrap();
        let find = |name: &str| plan.iter().find(|one| one.name == name).unwrap();
        assert_eq!(find("wide").features, ["wide", "slots"]);
        assert_eq!(find("wide").refused, None);
        let refused = find("ring + wide").refused.clone().unwrap();
        assert_eq!(refused, "`ring` conflicts with `slots`: both sit before the magazine");
        assert_eq!(find("none").features, Vec::<String>::new());
        // The whole leaves out the gate that declares a conflict.
        let whole = find("all");
        assert!(whole.refused.is_none() && !whole.gates.contains("ring"));
        assert_eq!(whole.gates.len(), 3);
    }

    #[test]
    fn gates_of_the_default_build_are_on_and_tried_by_leaving_them_out() {
        let mut registry = registry();
        registry.default = ["calls", "slots"].map(str::to_owned).into();
        let plan = plan(&registry, &everything()).unwrap();
        let all: Vec<(&str, Vec<&str>)> = plan
            .iter()
            .map(|one| (one.name.as_str(), one.gates.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(
            all,
            [
                ("default", vec!["calls", "slots"]),
                ("without calls", vec!["slots"]),
                // It conflicts with `slots`, which stays out.
                ("ring", vec!["calls", "ring"]),
                ("without slots", vec!["calls"]),
                ("wide", vec!["calls", "slots", "wide"]),
                ("ring + slots", vec!["calls", "ring", "slots"]),
                ("ring + wide", vec!["calls", "ring", "slots", "wide"]),
                ("all = layers", vec!["calls", "slots", "wide"]),
            ]
        );
        assert_eq!(plan[1].about, ["calls"]);
        assert_eq!(plan[4].about, ["wide"]);
        assert!(plan.iter().all(|one| one.refused.is_some() == one.name.starts_with("ring + ")));
    }

    #[test]
    fn naming_gates_leaves_what_they_take_part_in() {
        let only = |gate: &str| Selection { gates: vec![gate.into()], ..everything() };
        assert_eq!(names(&only("calls")), ["none", "calls"]);
        assert_eq!(names(&only("ring")), ["none", "ring", "ring + slots", "ring + wide"]);
        let error = plan(&registry(), &only("rings")).unwrap_err().to_string();
        assert!(error.contains("did you mean `ring`?"), "{error}");
        let pairs_only = Selection { singles: false, ..only("calls") };
        let error = plan(&registry(), &pairs_only).unwrap_err().to_string();
        assert!(error.contains("takes part in no pair of layer gates"), "{error}");
    }

    #[test]
    fn the_checkout_can_be_planned() {
        let registry = Registry::read().unwrap();
        let plan = plan(&registry, &everything()).unwrap();
        let singles = plan.iter().filter(|one| one.group == Group::Single);
        assert_eq!(singles.count(), registry.gates.len());
        let whole = plan.last().unwrap();
        assert_eq!((whole.group, &whole.refused), (Group::All, &None));
    }
}
