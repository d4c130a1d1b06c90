//! What a registry must hold: rows with the values that are allowed, and umbrellas that are what
//! their names say.

use crate::shared::registry::{Kind, Registry};

/// How often a gate's code may run.
const PATHS: [&str; 4] = ["hot", "warm", "cold", "edge"];

/// Keys that a row may have besides those that every row has.
const MORE: [&str; 6] = ["apart", "conflicts", "needs", "note", "settings", "tests"];

/// The key that keeps a gate out of the umbrellas, and says why.
const APART: &str = "apart";

/// The umbrellas, and the kinds of gates that each of them is the union of. `layers` may leave out
/// a layer that declares a conflict.
const UMBRELLAS: [(&str, &[Kind]); 3] = [
    ("telemetry", &[Kind::Telemetry]),
    ("research", &[Kind::Telemetry, Kind::Diagnostic, Kind::Policy]),
    ("layers", &[Kind::Layer]),
];

/// Faults of the rows' values.
pub fn values(registry: &Registry) -> Vec<String> {
    let mut faults = Vec::new();
    for gate in registry.gates.values() {
        let mut say = |what: String| {
            faults.push(format!("[package.metadata.hakmem.{}]: {what}", gate.name));
        };
        if !PATHS.contains(&gate.path.as_str()) {
            say(format!("path is `{}`; expected one of {}", gate.path, PATHS.join(", ")));
        }
        if gate.counts.trim().is_empty() {
            say("`counts` is missing; expected a sentence on what the gate counts or does".into());
        }
        if gate.kind.removal() && gate.reader.trim().is_empty() {
            say("`reader` is missing; expected where its figures are read".into());
        }
        if gate.phase.trim().is_empty() {
            say("`phase` is missing; expected the phase of the campaign, or `new`".into());
        }
        if gate.old_verdict.trim().is_empty() {
            say("`old-verdict` is missing; expected the old system's, or `none`".into());
        }
        for key in gate.more.keys().filter(|key| !MORE.contains(&key.as_str())) {
            say(format!("unknown key `{key}`"));
        }
        for need in &gate.implies {
            if !registry.gates.contains_key(need) {
                say(format!("turns on `{need}`, which is no gate"));
            }
        }
        for need in gate.listed("needs") {
            if !registry.gates.contains_key(&need) {
                say(format!("needs `{need}`, which is no gate"));
            }
        }
        for setting in gate.listed("settings") {
            let known = setting
                .split_once('=')
                .is_some_and(|(name, value)| name.starts_with("HAKMEM_") && !value.is_empty());
            if !known {
                say(format!("settings hold `{setting}`; expected HAKMEM_NAME=value"));
            }
        }
        for other in gate.listed("conflicts") {
            if !registry.gates.contains_key(&other) {
                say(format!("conflicts with `{other}`, which is no gate"));
            }
        }
    }
    faults
}

/// Faults of the umbrellas: a member that is no feature of ours, a gate of the umbrella's kind
/// that it leaves out, one of another kind that it takes in.
pub fn umbrellas(registry: &Registry) -> Vec<String> {
    let mut faults = Vec::new();
    for umbrella in registry.umbrellas.values() {
        let mut say = |what: String| faults.push(format!("umbrella `{}`: {what}", umbrella.name));
        let Some((_, kinds)) = UMBRELLAS.iter().find(|(name, _)| *name == umbrella.name) else {
            say("is no declared umbrella; a gate needs a row, whatever it turns on".into());
            continue;
        };
        for member in &umbrella.members {
            if !registry.gates.contains_key(member) && !registry.umbrellas.contains_key(member) {
                say(format!(
                    "`{member}` is neither a gate nor an umbrella; expected a plain union"
                ));
            }
        }
        let inside = registry.union(&umbrella.name);
        for gate in registry.gates.values() {
            let belongs = kinds.contains(&gate.kind);
            let apart = gate.more.contains_key(APART) || !gate.listed("conflicts").is_empty();
            if belongs && !inside.contains(&gate.name) && !apart {
                say(format!("leaves out `{}`, a {} gate", gate.name, gate.kind.name()));
            }
            let needed = inside.iter().any(|other| {
                let other = registry.gates.get(other);
                other.is_some_and(|other| other.implies.contains(&gate.name))
            });
            if !belongs && inside.contains(&gate.name) && !needed {
                say(format!("takes in `{}`, a {} gate", gate.name, gate.kind.name()));
            }
            if let Some(why) = gate.more.get(APART)
                && inside.contains(&gate.name)
            {
                say(format!("takes in `{}`, which is kept apart: {why}", gate.name));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::registry::{Gate, Umbrella};

    fn gate(name: &str, kind: Kind) -> Gate {
        Gate {
            name: name.to_owned(),
            kind,
            path: "hot".to_owned(),
            phase: "1".to_owned(),
            counts: "frees".to_owned(),
            reader: "Stats::x".to_owned(),
            old_verdict: "none".to_owned(),
            implies: vec![],
            more: Default::default(),
        }
    }

    fn registry(gates: Vec<Gate>, umbrellas: &[(&str, &[&str])]) -> Registry {
        Registry {
            gates: gates.into_iter().map(|g| (g.name.clone(), g)).collect(),
            umbrellas: umbrellas
                .iter()
                .map(|(name, members)| {
                    let members = members.iter().map(|m| (*m).to_owned()).collect();
                    let name = (*name).to_owned();
                    (name.clone(), Umbrella { name, members })
                })
                .collect(),
            ..Registry::default()
        }
    }

    #[test]
    fn rows_need_allowed_values() {
        let mut bad = gate("a", Kind::Telemetry);
        bad.path = "lukewarm".to_owned();
        bad.reader.clear();
        bad.more.insert("colour".to_owned(), "red".into());
        bad.more.insert("settings".to_owned(), serde_json::json!(["HAKMEM_A=on", "LOUD"]));
        bad.implies.push("ghost".to_owned());
        let told = values(&registry(vec![bad, gate("b", Kind::Layer)], &[]));
        assert_eq!(told.len(), 5, "{told:?}");
        assert!(told.iter().any(|fault| fault.contains("`LOUD`")), "{told:?}");
        assert!(told[0].contains("lukewarm") && told[1].contains("reader"));
        assert!(told.iter().all(|fault| fault.contains("hakmem.a]")));
    }

    #[test]
    fn an_umbrella_is_the_union_of_its_kind() {
        let gates = || {
            let mut layer = gate("l", Kind::Layer);
            layer.more.insert("conflicts".to_owned(), serde_json::json!(["m"]));
            vec![
                gate("t", Kind::Telemetry),
                gate("d", Kind::Diagnostic),
                layer,
                gate("m", Kind::Layer),
            ]
        };
        let good = registry(
            gates(),
            &[("telemetry", &["t"]), ("research", &["telemetry", "d"]), ("layers", &["m"])],
        );
        assert_eq!(umbrellas(&good), Vec::<String>::new());
        let mut apart = gate("s", Kind::Telemetry);
        apart.more.insert(APART.to_owned(), "it changes the others".into());
        let alone = registry(vec![apart.clone()], &[("telemetry", &[])]);
        assert_eq!(umbrellas(&alone), Vec::<String>::new());
        let inside = registry(vec![apart], &[("telemetry", &["s"])]);
        assert!(umbrellas(&inside)[0].contains("kept apart: \"it changes the others\""));
        let bad = registry(
            gates(),
            &[("telemetry", &["d"]), ("research", &["telemetry", "dep:x"]), ("other", &["t"])],
        );
        let told = umbrellas(&bad).join("\n");
        for part in [
            "`telemetry`: leaves out `t`",
            "`telemetry`: takes in `d`",
            "`dep:x` is neither",
            "`other`: is no declared umbrella",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert_eq!(good.union("research").into_iter().collect::<Vec<_>>(), ["d", "t"]);
    }
}
