//! Declared conflicts are refused in the source too: for each of the registry's there is a
//! `#[cfg(all(feature = "a", feature = "b"))] compile_error!("...")` whose message names both,
//! in backquotes.

use super::source::{Source, group, ident, line, punct, string};
use crate::shared::conflicts;
use crate::shared::registry::Registry;
use proc_macro2::TokenTree;
use std::collections::BTreeSet;

/// A `compile_error!` on two features at once.
struct Refusal {
    at: String,
    features: BTreeSet<String>,
    message: String,
}

/// Conflicts that are not refused, refusals that are no declared conflict, and conflicts without a
/// reason or with what is no gate.
pub fn faults(registry: &Registry, sources: &[Source]) -> Vec<String> {
    let mut refusals = Vec::new();
    for source in sources {
        let tokens: Vec<TokenTree> = source.tokens.clone().into_iter().collect();
        find(&tokens, &format!("src/{}", source.path.display()), &mut refusals);
    }
    let declared = conflicts::all(registry);
    let mut faults = Vec::new();
    for conflict in &declared {
        let (gate, with) = (&conflict.gate, &conflict.with);
        if conflict.why.is_empty() {
            faults.push(format!(
                "gate `{gate}` conflicts with `{with}` and does not say why; expected \"{with}: the reason\""
            ));
        }
        let both =
            |refusal: &&Refusal| refusal.features.contains(gate) && refusal.features.contains(with);
        match refusals.iter().find(both) {
            None => faults.push(format!(
                "gates `{gate}` and `{with}` conflict, and nothing in src/ refuses them; expected \
                 #[cfg(all(feature = \"{gate}\", feature = \"{with}\"))] compile_error!(...)"
            )),
            Some(refusal) => {
                let unnamed = [gate, with]
                    .into_iter()
                    .find(|name| !refusal.message.contains(&format!("`{name}`")));
                if let Some(name) = unnamed {
                    faults
                        .push(format!("{}: the compile_error! does not name `{name}`", refusal.at));
                }
            }
        }
    }
    for refusal in &refusals {
        let known = declared.iter().any(|conflict| {
            refusal.features.contains(&conflict.gate) && refusal.features.contains(&conflict.with)
        });
        if !known {
            let names: Vec<&str> = refusal.features.iter().map(String::as_str).collect();
            faults.push(format!(
                "{}: refuses {} together, which no row of the registry declares as a conflict",
                refusal.at,
                names.join(" and ")
            ));
        }
    }
    faults
}

fn find(tokens: &[TokenTree], file: &str, refusals: &mut Vec<Refusal>) {
    for at in 0..tokens.len() {
        if let Some(features) = refusing(tokens, at) {
            let message = group(tokens, at + 4).and_then(|inner| string(&inner, 0));
            refusals.push(Refusal {
                at: format!("{file}:{}", line(tokens, at)),
                features,
                message: message.unwrap_or_default(),
            });
        }
        if let Some(inner) = group(tokens, at) {
            find(&inner, file, refusals);
        }
    }
}

/// Where `#[cfg(...)] compile_error!(...)` starts at `at` and asks for two features or more: which.
pub fn refusing(tokens: &[TokenTree], at: usize) -> Option<BTreeSet<String>> {
    let attribute = punct(tokens, at, '#').then(|| group(tokens, at + 1))??;
    let refuses = ident(&attribute, 0).as_deref() == Some("cfg")
        && ident(tokens, at + 2).as_deref() == Some("compile_error")
        && punct(tokens, at + 3, '!');
    let mut features = BTreeSet::new();
    features_of(&attribute, &mut features);
    (refuses && features.len() > 1).then_some(features)
}

fn features_of(tokens: &[TokenTree], features: &mut BTreeSet<String>) {
    for at in 0..tokens.len() {
        if ident(tokens, at).as_deref() == Some("feature") && punct(tokens, at + 1, '=') {
            features.extend(string(tokens, at + 2));
        }
        if let Some(inner) = group(tokens, at) {
            features_of(&inner, features);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::registry::tests::canned;
    use std::path::Path;

    fn told(conflicts: serde_json::Value, text: &str) -> Vec<String> {
        let registry = canned(serde_json::json!({
            "a": {"kind": "layer", "path": "hot", "conflicts": conflicts},
            "b": {"kind": "layer", "path": "hot"},
        }));
        faults(&registry, &[Source::parse(Path::new("lib.rs"), text).unwrap()])
    }

    const REFUSED: &str = "#[cfg(all(feature = \"b\", feature = \"a\"))]\ncompile_error!(\"`a` and `b` both own the slot\");";

    #[test]
    fn a_declared_conflict_is_refused_by_name() {
        let why = serde_json::json!(["b: both own the slot"]);
        assert_eq!(told(why.clone(), REFUSED), Vec::<String>::new());
        assert_eq!(told(serde_json::json!([]), ""), Vec::<String>::new());
        for (conflicts, text, wanted) in [
            (why.clone(), "", "nothing in src/ refuses them"),
            (
                why.clone(),
                "#[cfg(feature = \"a\")] compile_error!(\"a b\");",
                "nothing in src/ refuses them",
            ),
            (why, &*REFUSED.replace("`b`", "it"), "does not name `b`"),
            (serde_json::json!(["b"]), REFUSED, "does not say why"),
            (serde_json::json!([]), REFUSED, "no row of the registry declares"),
        ] {
            let told = told(conflicts, text);
            assert_eq!(told.len(), 1, "{text}: {told:?}");
            assert!(told[0].contains(wanted), "{told:?}");
        }
    }
}
