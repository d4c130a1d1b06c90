//! What a report says about a question, its arms and its verdict.

use super::super::judge::Verdict;
use super::Question;
use crate::shared::default_build::DefaultBuild;
use crate::shared::registry::Kind;
use std::collections::BTreeSet;

impl Question {
    /// What it is, in a sentence.
    pub fn about(&self) -> String {
        match self {
            Question::Gates { gates, needs, default_build, .. } => {
                let mut more = String::new();
                let mut say = |names: &BTreeSet<String>, what: &str| {
                    if !names.is_empty() {
                        more += &format!("; {} {what}", list(names.iter()));
                    }
                };
                let DefaultBuild { has, beside, apart } = default_build;
                say(has, "on by default");
                say(needs, "on in both arms, as it needs them");
                let others = beside.difference(needs).cloned().collect();
                say(&others, "of the default build on in both arms");
                say(apart, "of the default build off in both arms, as they do not go with it");
                for (name, value) in self.variables() {
                    more += &format!("; {name}={value} in both arms");
                }
                match &gates[..] {
                    [gate] => {
                        format!("{}, {} path: {}{more}", gate.kind.name(), gate.path, gate.counts)
                    }
                    _ => format!(
                        "{} gates, all in against all out, judged as {}: {}{more}",
                        gates.len(),
                        self.kind().map_or("", Kind::name),
                        list(gates.iter().map(|gate| &gate.name)),
                    ),
                }
            }
            Question::Revisions { from, to } => {
                format!("revision {:.12} against {:.12}", to.commit, from.commit)
            }
            Question::Peer { peer, version } => format!(
                "the same program with hakmem preloaded and with {peer} {version} preloaded"
            ),
        }
    }

    /// The arms in a word each, as table headings: the first, the second.
    pub fn arms(&self) -> (String, String) {
        match self {
            Question::Gates { .. } => ("out".to_owned(), "in".to_owned()),
            Question::Revisions { from, to } => (from.name.clone(), to.name.clone()),
            Question::Peer { peer, .. } => (peer.clone(), "hakmem".to_owned()),
        }
    }

    /// The arms in a phrase each.
    pub fn arms_at_length(&self) -> (String, String) {
        match self {
            Question::Gates { called, .. } => {
                (format!("the arm without {called}"), format!("the arm with {called}"))
            }
            Question::Revisions { from, to } => {
                (format!("revision {}", from.name), format!("revision {}", to.name))
            }
            Question::Peer { peer, .. } => {
                (format!("the program on {peer}"), "the program on hakmem".to_owned())
            }
        }
    }

    /// What a positive effect means.
    pub fn positive_means(&self) -> String {
        match self {
            Question::Gates { .. } if self.removal() => {
                "positive means that compiled out is faster".to_owned()
            }
            Question::Gates { .. } => "positive means that adopted is faster".to_owned(),
            _ => format!("positive means that {} is faster", self.arms().1),
        }
    }

    /// A verdict that rests on the clock, in a sentence.
    pub fn explain(&self, verdict: Verdict) -> String {
        let by_default = self.by_default();
        let text = match (self, self.removal(), verdict) {
            (Question::Gates { .. }, true, Verdict::Go) if by_default => {
                "compiling it out is at least 0.5 % faster: take it out of `default`"
            }
            (Question::Gates { .. }, true, Verdict::Neutral) if by_default => {
                "compiled in or out makes less than 0.5 % of difference: take it out of `default`"
            }
            (Question::Gates { .. }, false, Verdict::Go) if by_default => {
                "adopting it is at least 0.5 % faster: it stays in the default build"
            }
            (Question::Gates { .. }, false, Verdict::NoGo) if by_default => {
                "adopting it is at least 0.5 % slower: take it out of `default`"
            }
            (Question::Gates { .. }, false, Verdict::Neutral) if by_default => {
                "adopting it makes less than 0.5 % of difference: take it out of `default`, the simpler code wins"
            }
            (Question::Gates { .. }, true, Verdict::Go) => {
                "compiling it out is at least 0.5 % faster: it stays out of the default build"
            }
            (Question::Gates { .. }, true, Verdict::NoGo) => {
                "compiling it out is at least 0.5 % slower: find out why before it goes"
            }
            (Question::Gates { .. }, true, _) => {
                "compiled in or out makes less than 0.5 % of difference: it stays compiled out"
            }
            (Question::Gates { .. }, false, Verdict::Go) => "adopting it is at least 0.5 % faster",
            (Question::Gates { .. }, false, Verdict::NoGo) => {
                "adopting it is at least 0.5 % slower: it stays out"
            }
            (Question::Gates { .. }, false, _) => {
                "adopting it makes less than 0.5 % of difference: it stays out, the simpler code wins"
            }
            _ => {
                let (first, second) = self.arms();
                return match verdict {
                    Verdict::Go => format!("{second} is at least 0.5 % faster than {first}"),
                    Verdict::NoGo => format!("{second} is at least 0.5 % slower than {first}"),
                    _ => format!("{first} and {second} differ by less than 0.5 %"),
                };
            }
        };
        text.to_owned()
    }
}

fn list<T: AsRef<str>>(names: impl Iterator<Item = T>) -> String {
    names.map(|name| name.as_ref().to_owned()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::Revision;
    use super::*;

    #[test]
    fn the_second_is_faster_where_positive_says_so() {
        let revision = |name: &str| Revision { name: name.into(), commit: "0".repeat(40) };
        let question = Question::Revisions { from: revision("v1"), to: revision("main") };
        assert!(!question.removal());
        assert_eq!(question.positive_means(), "positive means that main is faster");
        assert!(question.explain(Verdict::NoGo).starts_with("main is at least 0.5 % slower"));
    }
}
