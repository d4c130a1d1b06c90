//! Every counter, trace and log is proven by a test that makes it count: in `tests/gates/` its
//! feature is asked for, and a function that asserts looks at the figure that its row names as
//! `reader`.

use super::source::{Source, group, ident, punct, string};
use crate::shared::registry::Registry;
use proc_macro2::{Delimiter, TokenTree};
use std::collections::BTreeSet;

/// Gates whose figures no test looks at.
pub fn faults(registry: &Registry, tests: &[Source]) -> Vec<String> {
    let mut features = BTreeSet::new();
    let mut asserted = BTreeSet::new();
    for test in tests {
        let tokens: Vec<TokenTree> = test.tokens.clone().into_iter().collect();
        asked(&tokens, &mut features);
        looked_at(&tokens, &mut asserted);
    }
    let mut faults = Vec::new();
    for gate in registry.gates.values().filter(|gate| gate.kind.removal()) {
        let figure = gate.reader.rsplit("::").next().unwrap_or_default();
        if !features.contains(&gate.name) {
            faults.push(format!(
                "gate `{}`: no cfg!(feature = \"{}\") in tests/gates/; expected a test that makes it count a known number",
                gate.name, gate.name
            ));
        } else if !asserted.contains(figure) {
            faults.push(format!(
                "gate `{}`: no function of tests/gates/ that asserts looks at `{figure}`, its reader's figure",
                gate.name
            ));
        }
    }
    faults
}

/// Adds the features that `cfg(feature = "...")` asks for.
fn asked(tokens: &[TokenTree], features: &mut BTreeSet<String>) {
    for at in 0..tokens.len() {
        if ident(tokens, at).as_deref() == Some("feature") && punct(tokens, at + 1, '=') {
            features.extend(string(tokens, at + 2));
        }
        if let Some(inner) = group(tokens, at) {
            asked(&inner, features);
        }
    }
}

/// Adds the names in every function that asserts something.
fn looked_at(tokens: &[TokenTree], names: &mut BTreeSet<String>) {
    for at in 0..tokens.len() {
        let Some(inner) = group(tokens, at) else { continue };
        let braces =
            matches!(&tokens[at], TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        let body = braces && starts_function(tokens, at);
        let mut within = BTreeSet::new();
        if body {
            idents(&inner, &mut within);
        }
        if within.iter().any(|name| name.starts_with("assert")) {
            names.append(&mut within);
        } else {
            looked_at(&inner, names);
        }
    }
}

/// True where the braces at `at` are the body of the nearest `fn` before them.
fn starts_function(tokens: &[TokenTree], at: usize) -> bool {
    tokens[..at]
        .iter()
        .rev()
        .take_while(|token| {
            let ends = matches!(token, TokenTree::Punct(punct) if punct.as_char() == ';');
            let block =
                matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
            !ends && !block
        })
        .any(|token| matches!(token, TokenTree::Ident(ident) if ident == "fn"))
}

fn idents(tokens: &[TokenTree], found: &mut BTreeSet<String>) {
    for at in 0..tokens.len() {
        found.extend(ident(tokens, at));
        if let Some(inner) = group(tokens, at) {
            idents(&inner, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::registry::tests::canned;
    use std::path::Path;

    fn told(text: &str) -> Vec<String> {
        let registry = canned(serde_json::json!({
            "calls": {"kind": "telemetry", "path": "hot", "reader": "hakmem::Stats::calls"},
            "ring": {"kind": "layer", "path": "hot"},
        }));
        faults(&registry, &[Source::parse(Path::new("gates/main.rs"), text).unwrap()])
    }

    #[test]
    fn a_counter_needs_its_feature_and_an_assertion_on_its_figure() {
        let asked = "const CALLS: bool = cfg!(feature = \"calls\");\n";
        let good = "fn agrees() { match stats().calls { Value(n) => assert_eq!(n, 3), _ => {} } }";
        assert_eq!(told(&format!("{asked}{good}")), Vec::<String>::new());
        let inside = "mod a { impl B { fn agrees(&self) -> u8 { if x { assert!(stats().calls == 3) } 0 } } }";
        assert_eq!(told(&format!("{asked}{inside}")), Vec::<String>::new());
        for (text, wanted) in [
            (good.to_owned(), "no cfg!(feature = \"calls\")"),
            (format!("// cfg!(feature = \"calls\")\n{good}"), "no cfg!"),
            (asked.to_owned(), "looks at `calls`"),
            (
                format!(
                    "{asked}fn prints() {{ show(stats().calls) }} fn other() {{ assert!(true) }}"
                ),
                "looks at `calls`",
            ),
        ] {
            let told = told(&text);
            assert_eq!(told.len(), 1, "{text}: {told:?}");
            assert!(told[0].contains(wanted), "{told:?}");
        }
    }
}
