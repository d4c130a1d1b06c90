//! What an experiment is about: gates of the registry, two revisions, or hakmem against a peer.
//!
//! The protocol is the same for all of them: two arms, of which the *first* is what there would be
//! without the change. What differs is how the arms are built, which way round a positive effect
//! is, and the words of the report ([`words`]). All of that is here; no other file asks what the
//! question is in order to decide something.

mod words;

use super::process::Variable;
use crate::bench::peers;
use crate::shared::default_build::DefaultBuild;
use crate::shared::registry::{Gate, Kind, Registry, nearest};
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A question that one experiment answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "kebab-case")]
pub enum Question {
    /// Gates: all in against all out.
    Gates {
        /// What it was asked by, if that is an umbrella's name or more than the gates themselves.
        called: String,
        /// The gates, sorted by name.
        gates: Vec<Gate>,
        /// What these gates cannot be without: on in both arms.
        needs: BTreeSet<String>,
        /// How the default build stands to them. Its other gates are on in both arms, but for those
        /// that can't be.
        #[serde(default, skip_serializing_if = "DefaultBuild::is_empty")]
        default_build: DefaultBuild,
    },
    /// The second revision against the first.
    Revisions {
        /// The first.
        from: Revision,
        /// The second.
        to: Revision,
    },
    /// hakmem against a peer, both preloaded into the same program.
    Peer {
        /// The peer's short name.
        peer: String,
        /// Its version; empty until it is built.
        version: String,
    },
}

/// A commit, and how the user named it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// As it was asked for.
    pub name: String,
    /// Its full hash.
    pub commit: String,
}

impl Question {
    /// About one gate, or the gates of an umbrella, or several of either.
    pub fn gates(registry: &Registry, names: &[String]) -> Result<Question> {
        let mut wanted = BTreeSet::new();
        for name in names {
            if registry.umbrellas.contains_key(name) {
                wanted.extend(union(registry, name));
            } else {
                // An unknown name is refused here, with the nearest and the list.
                wanted.insert(registry.gate(name)?.name.clone());
            }
        }
        let gates: Vec<Gate> = wanted.iter().map(|name| registry.gates[name].clone()).collect();
        if gates.is_empty() {
            bail!("`{}` names no gate; see features.md for the gates there are", names.join(","));
        }
        let mut needs: BTreeSet<String> = BTreeSet::new();
        for gate in &gates {
            let listed = gate.listed("needs");
            needs.extend(listed.iter().flat_map(|name| closure(registry, name)));
            needs.extend(closure(registry, &gate.name));
        }
        needs.retain(|name| !wanted.contains(name));
        let together: BTreeSet<&String> = wanted.union(&needs).collect();
        for gate in together.iter().filter_map(|name| registry.gates.get(*name)) {
            if let Some(other) =
                gate.listed("conflicts").into_iter().find(|other| together.contains(other))
            {
                bail!(
                    "`{}` and `{other}` conflict, so no build has both; name sets without one of them",
                    gate.name
                );
            }
        }
        let called = match names {
            [one] => one.clone(),
            _ => wanted.iter().cloned().collect::<Vec<_>>().join(","),
        };
        let default_build = DefaultBuild::around(registry, &wanted, &needs);
        Ok(Question::Gates { called, gates, needs, default_build })
    }

    /// The features of the arms of a question about gates: those that make the difference, and those
    /// that are on in both. `None` for other questions.
    pub fn features(&self) -> Option<(BTreeSet<String>, BTreeSet<String>)> {
        let Question::Gates { gates, needs, default_build, .. } = self else { return None };
        let differ = gates.iter().map(|gate| gate.name.clone()).collect();
        Some((differ, needs.union(&default_build.beside).cloned().collect()))
    }

    /// Whether the default build has the gates that are asked about.
    pub fn by_default(&self) -> bool {
        match self {
            Question::Gates { gates, default_build, .. } => {
                gates.iter().all(|gate| default_build.has.contains(&gate.name))
            }
            _ => false,
        }
    }

    /// As the report's first line names it.
    pub fn name(&self) -> String {
        match self {
            Question::Gates { called, .. } => called.clone(),
            Question::Revisions { from, to } => format!("{}..{}", from.name, to.name),
            Question::Peer { peer, .. } => format!("hakmem against {peer}"),
        }
    }

    /// A name for files: letters, digits and `-_.+` only, at most 80 of them.
    pub fn slug(&self) -> String {
        let name = match self {
            Question::Gates { called, .. } => called.replace(',', "+"),
            Question::Revisions { from, to } => {
                format!("{:.12}..{:.12}", from.commit, to.commit)
            }
            Question::Peer { peer, .. } => format!("vs-{peer}"),
        };
        short(&name)
    }

    /// The settings without which the gates' code would not run: `settings` of their rows.
    pub fn variables(&self) -> Vec<Variable> {
        let Question::Gates { gates, .. } = self else { return Vec::new() };
        let all: BTreeSet<String> = gates.iter().flat_map(|gate| gate.listed("settings")).collect();
        let pairs = all.iter().filter_map(|setting| setting.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The kind that decides how gates are judged: of several, the one with the strictest rule.
    ///
    /// The rules, from the mildest: telemetry and diagnostics are compiled out unless that is
    /// slower; hardening must not cost; a policy must pay for itself, its memory counted; so must a
    /// layer, and it is more code. One gate that has to earn its place makes the whole set earn it.
    pub fn kind(&self) -> Option<Kind> {
        let strictness = |kind: &Kind| match kind {
            Kind::Telemetry => 0,
            Kind::Diagnostic => 1,
            Kind::Hardening => 2,
            Kind::Policy => 3,
            Kind::Layer => 4,
        };
        match self {
            Question::Gates { gates, .. } => {
                gates.iter().map(|gate| gate.kind).max_by_key(strictness)
            }
            _ => None,
        }
    }

    /// True if the first arm being faster is the positive answer.
    pub fn removal(&self) -> bool {
        self.kind().is_some_and(Kind::removal)
    }

    /// What the old system measured; empty if it did not.
    pub fn old_verdict(&self) -> &str {
        match self {
            Question::Gates { gates, .. } if gates.len() == 1 => &gates[0].old_verdict,
            _ => "",
        }
    }
}

/// The question that `--vs` asks; an unknown peer is refused with the nearest and the list.
pub fn peer(name: &str) -> Result<Question> {
    let known = peers::names();
    if known.contains(&name) {
        return Ok(Question::Peer { peer: name.to_owned(), version: String::new() });
    }
    let near = nearest(name, known.iter().copied())
        .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    bail!("no peer `{name}`{near} (there are: {})", known.join(", "))
}

/// A file name: `name` itself, or a hash of it if it is longer than 80 bytes.
pub fn short(name: &str) -> String {
    if name.len() <= 80 {
        return name.to_owned();
    }
    // FNV-1a: short, and the same on every machine and day.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("set-{hash:016x}")
}

/// The gates that an umbrella lists, itself or through other umbrellas; not what those gates need.
fn union(registry: &Registry, umbrella: &str) -> BTreeSet<String> {
    let (mut gates, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut next = vec![umbrella.to_owned()];
    while let Some(name) = next.pop() {
        if registry.gates.contains_key(&name) {
            gates.insert(name);
        } else if let Some(umbrella) = registry.umbrellas.get(&name)
            && seen.insert(name)
        {
            next.extend(umbrella.members.iter().cloned());
        }
    }
    gates
}

/// A feature and every feature that it turns on, directly or not.
fn closure(registry: &Registry, feature: &str) -> BTreeSet<String> {
    let (mut found, mut next) = (BTreeSet::new(), vec![feature.to_owned()]);
    while let Some(name) = next.pop() {
        let members = registry.gates.get(&name).map(|gate| &gate.implies);
        let members =
            members.or_else(|| registry.umbrellas.get(&name).map(|umbrella| &umbrella.members));
        next.extend(
            members
                .into_iter()
                .flatten()
                .filter(|member| !member.contains(['/', ':']) && !found.contains(*member))
                .cloned(),
        );
        found.insert(name);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::judge::Verdict;
    use super::*;
    use std::collections::BTreeMap;

    fn registry() -> Registry {
        let gate = |name: &str, kind, implies: &[&str], more: &[(&str, &str)]| Gate {
            name: name.to_owned(),
            kind,
            path: "hot".to_owned(),
            phase: String::new(),
            counts: "things".to_owned(),
            reader: String::new(),
            old_verdict: "GO".to_owned(),
            implies: implies.iter().map(|name| (*name).to_owned()).collect(),
            more: more
                .iter()
                .map(|(key, value)| ((*key).to_owned(), serde_json::json!([value])))
                .collect(),
        };
        let gates = [
            gate("pool", Kind::Policy, &[], &[("settings", "HAKMEM_POOL=on")]),
            gate("pool-stats", Kind::Telemetry, &["pool"], &[]),
            gate("calls", Kind::Telemetry, &[], &[]),
            gate("log", Kind::Diagnostic, &[], &[("needs", "calls")]),
            gate("ring", Kind::Layer, &[], &[("conflicts", "slots")]),
            gate("slots", Kind::Layer, &[], &[]),
        ];
        let umbrella = crate::shared::registry::Umbrella {
            name: "telemetry".to_owned(),
            members: vec!["calls".to_owned(), "pool-stats".to_owned()],
        };
        Registry {
            gates: gates.into_iter().map(|gate| (gate.name.clone(), gate)).collect(),
            umbrellas: BTreeMap::from([("telemetry".to_owned(), umbrella)]),
            ..Registry::default()
        }
    }

    fn ask(names: &[&str]) -> Result<Question> {
        ask_with(&[], names)
    }

    /// The question in a checkout whose default build has these gates.
    fn ask_with(default: &[&str], names: &[&str]) -> Result<Question> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let names: Vec<String> = owned(names);
        let default = owned(default).into_iter().collect();
        Question::gates(&Registry { default, ..registry() }, &names)
    }

    fn parts(question: &Question) -> (Vec<&str>, Vec<&str>) {
        let Question::Gates { gates, needs, .. } = question else { panic!("{question:?}") };
        (
            gates.iter().map(|gate| gate.name.as_str()).collect(),
            needs.iter().map(String::as_str).collect(),
        )
    }

    #[test]
    fn what_a_gate_is_opened_by_is_set_in_both_arms() {
        let (pool, calls) = (ask(&["pool", "calls"]).unwrap(), ask(&["calls"]).unwrap());
        assert_eq!(pool.variables(), [("HAKMEM_POOL".to_owned(), "on".to_owned())]);
        assert!(pool.about().contains("; HAKMEM_POOL=on in both arms"), "{}", pool.about());
        assert_eq!((calls.variables(), calls.about().contains("HAKMEM")), (vec![], false));
    }

    #[test]
    fn what_a_gate_needs_is_on_in_both_arms_unless_it_is_asked_about_too() {
        assert_eq!(parts(&ask(&["pool-stats"]).unwrap()), (vec!["pool-stats"], vec!["pool"]));
        assert_eq!(parts(&ask(&["log"]).unwrap()), (vec!["log"], vec!["calls"]));
        assert_eq!(
            parts(&ask(&["pool-stats", "pool"]).unwrap()),
            (vec!["pool", "pool-stats"], vec![])
        );
    }

    #[test]
    fn a_gate_of_the_default_build_is_judged_by_an_arm_without_it() {
        let question = ask_with(&["calls", "ring"], &["ring"]).unwrap();
        let set = |names: &[&str]| -> BTreeSet<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        assert_eq!(question.features(), Some((set(&["ring"]), set(&["calls"]))));
        assert!(question.by_default());
        assert_eq!(
            question.about(),
            "layer, hot path: things; ring on by default; calls of the default build on in both arms"
        );
        assert!(question.explain(Verdict::Go).ends_with("it stays in the default build"));
        for verdict in [Verdict::NoGo, Verdict::Neutral] {
            assert!(question.explain(verdict).contains("take it out of `default`"), "{verdict:?}");
        }
        let counter = ask_with(&["calls"], &["calls"]).unwrap();
        assert!(counter.explain(Verdict::Go).ends_with("take it out of `default`"));
        // Read back, it is the same question; without a default build its record is as it was.
        let text = serde_json::to_string(&question).unwrap();
        let read: Question = serde_json::from_str(&text).unwrap();
        assert!(read.by_default() && read.about() == question.about());
        assert!(!serde_json::to_string(&ask(&["ring"]).unwrap()).unwrap().contains("default"));
    }

    #[test]
    fn what_does_not_go_with_a_gate_is_in_neither_arm() {
        let question = ask_with(&["slots", "log", "calls"], &["ring"]).unwrap();
        let (differ, both) = question.features().unwrap();
        assert!(differ.contains("ring") && !both.contains("slots"), "{both:?}");
        assert_eq!(both.len(), 2);
        assert!(!question.by_default());
        assert!(question.about().contains("slots of the default build off in both arms"));
        // What needs it goes with it.
        let (_, both) =
            ask_with(&["log", "calls", "pool"], &["calls"]).unwrap().features().unwrap();
        assert_eq!(both.into_iter().collect::<Vec<_>>(), ["pool"]);
        // Named twice, it is in both arms once.
        let question = ask_with(&["pool", "calls"], &["pool-stats"]).unwrap();
        assert!(question.about().contains("; pool on in both arms, as it needs them; calls of"));
    }

    #[test]
    fn an_umbrella_is_the_set_of_its_gates() {
        let question = ask(&["telemetry"]).unwrap();
        assert_eq!(parts(&question).0, ["calls", "pool-stats"]);
        assert_eq!(parts(&question).1, ["pool"]);
        assert_eq!(question.name(), "telemetry");
        assert_eq!(question.slug(), "telemetry");
    }

    #[test]
    fn a_set_is_judged_by_its_strictest_gate() {
        assert_eq!(ask(&["calls", "log"]).unwrap().kind(), Some(Kind::Diagnostic));
        assert!(ask(&["calls", "log"]).unwrap().removal());
        let mixed = ask(&["calls", "ring"]).unwrap();
        assert_eq!(mixed.kind(), Some(Kind::Layer));
        assert!(!mixed.removal() && mixed.positive_means().contains("adopted"));
    }

    #[test]
    fn gates_that_conflict_are_refused_by_name_and_unknown_ones_with_the_nearest() {
        let error = ask(&["ring", "slots"]).unwrap_err().to_string();
        assert!(error.contains("`ring` and `slots` conflict"), "{error}");
        let error = ask(&["calls", "rin"]).unwrap_err().to_string();
        assert!(error.contains("did you mean `ring`?") && error.contains("pool-stats"), "{error}");
    }

    #[test]
    fn names_make_safe_file_names() {
        assert_eq!(ask(&["log", "calls"]).unwrap().slug(), "calls+log");
        let peer = Question::Peer { peer: "mimalloc3".into(), version: String::new() };
        assert_eq!(peer.slug(), "vs-mimalloc3");
        let long = Question::Gates {
            called: "a-very-long-name,".repeat(20),
            gates: Vec::new(),
            needs: BTreeSet::new(),
            default_build: DefaultBuild::default(),
        };
        assert!(long.slug().len() == 20 && long.slug() == long.slug(), "{}", long.slug());
    }

    #[test]
    fn a_question_is_read_back_from_its_json() {
        for question in [
            ask(&["pool-stats", "ring"]).unwrap(),
            Question::Peer { peer: "glibc".into(), version: "2.36".into() },
        ] {
            let text = serde_json::to_string(&question).unwrap();
            let read: Question = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
    }
}
