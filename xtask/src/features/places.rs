//! Where gates are looked at. A gate's feature name may stand in one place of `src/` only: in a
//! `cfg(feature = "...")`, or in a row of a macro whose body holds `cfg!(feature = $name)`.

use super::refusals;
use super::source::{Source, group, ident, line, punct, string};
use proc_macro2::TokenTree;
use std::collections::BTreeMap;

/// A place in the source that names a feature.
pub struct Place {
    /// `file:line`.
    at: String,
    /// A string in a row of a macro, which may be something else than a feature's name.
    row: bool,
}

/// Every place where a feature's name decides something, by feature.
pub fn find(sources: &[Source]) -> BTreeMap<String, Vec<Place>> {
    let mut places: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for source in sources {
        let tokens: Vec<TokenTree> = source.tokens.clone().into_iter().collect();
        let in_rows = takes_a_name(&tokens);
        walk(&tokens, in_rows, &mut |name, line, row| {
            let at = format!("src/{}:{line}", source.path.display());
            places.entry(name).or_default().push(Place { at, row });
        });
    }
    places
}

/// True where the tokens hold `feature = $name`: then string literals of the file are rows.
fn takes_a_name(tokens: &[TokenTree]) -> bool {
    (0..tokens.len()).any(|at| {
        let here = ident(tokens, at).as_deref() == Some("feature")
            && punct(tokens, at + 1, '=')
            && punct(tokens, at + 2, '$');
        here || group(tokens, at).is_some_and(|inner| takes_a_name(&inner))
    })
}

fn walk(tokens: &[TokenTree], in_rows: bool, found: &mut dyn FnMut(String, usize, bool)) {
    let mut at = 0;
    while at < tokens.len() {
        // A refusal of gates that conflict decides nothing else.
        if refusals::refusing(tokens, at).is_some() {
            at += 5;
            continue;
        }
        // `#[...]` and `#![...]`: a doc comment's text is no row; a `cfg` is looked into.
        if punct(tokens, at, '#') {
            at += 1 + usize::from(punct(tokens, at + 1, '!'));
            if let Some(inner) = group(tokens, at) {
                walk(&inner, false, found);
            }
        } else if ident(tokens, at).as_deref() == Some("feature") && punct(tokens, at + 1, '=') {
            if let Some(name) = string(tokens, at + 2) {
                found(name, line(tokens, at), false);
            }
            at += 2;
        } else if let Some(inner) = group(tokens, at) {
            walk(&inner, in_rows, found);
        } else if in_rows && let Some(name) = string(tokens, at) {
            found(name, line(tokens, at), true);
        }
        at += 1;
    }
}

/// The faults of a registry's gates against the places: none or several, and `cfg`s on a feature
/// that is no gate. `gates` are the gates' names; `others` features that the source may name too.
pub fn faults(
    places: &BTreeMap<String, Vec<Place>>,
    gates: &[&str],
    others: &[&str],
) -> Vec<String> {
    let mut faults = Vec::new();
    for gate in gates {
        match places.get(*gate).map(Vec::as_slice) {
            None | Some([]) => faults.push(format!(
                "gate `{gate}`: no cfg(feature = \"{gate}\") in src/; expected exactly one, in its row"
            )),
            Some([_]) => {}
            Some(several) => faults.push(format!(
                "gate `{gate}`: looked at in {} places ({}); expected exactly one, in its row",
                several.len(),
                joined(several)
            )),
        }
    }
    for (name, found) in places {
        if !gates.contains(&name.as_str()) && !others.contains(&name.as_str()) {
            faults.extend(found.iter().filter(|place| !place.row).map(|place| {
                format!("{}: cfg on `{name}`, which is no gate of the registry", place.at)
            }));
        }
    }
    faults
}

fn joined(places: &[Place]) -> String {
    let all: Vec<&str> = places.iter().map(|place| place.at.as_str()).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn places(text: &str) -> BTreeMap<String, Vec<Place>> {
        find(&[Source::parse(Path::new("telemetry/gates.rs"), text).unwrap()])
    }

    #[test]
    fn a_cfg_counts_and_a_comment_does_not() {
        let found = places(
            "//! cfg(feature = \"tiny-x\")\n/// \"tiny-x\"\nconst A: bool = cfg!(feature = \"tiny-x\");\n",
        );
        assert_eq!(joined(&found["tiny-x"]), "src/telemetry/gates.rs:3");
        assert!(faults(&found, &["tiny-x"], &[]).is_empty());
    }

    #[test]
    fn a_row_of_a_macro_counts() {
        let text = "macro_rules! gates { ($($g:ident, $f:literal;)*) => { $(const ON: bool = cfg!(feature = $f);)* } }\n\
             gates! {\n/// About \"tiny-y\".\nX, \"tiny-x\";\n}";
        let found = places(text);
        assert_eq!(joined(&found["tiny-x"]), "src/telemetry/gates.rs:4");
        assert!(!found.contains_key("tiny-y"));
        let told = faults(&found, &["tiny-x", "tiny-y"], &[]);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("`tiny-y`: no cfg"), "{told:?}");
    }

    #[test]
    fn a_refusal_is_no_second_place() {
        let found = places(
            "const A: bool = cfg!(feature = \"a\");\nconst B: bool = cfg!(feature = \"b\");\n\
             #[cfg(all(feature = \"a\", feature = \"b\"))]\ncompile_error!(\"a and b\");\n",
        );
        assert_eq!(faults(&found, &["a", "b"], &[]), Vec::<String>::new());
    }

    #[test]
    fn two_places_and_unknown_features_are_faults() {
        let found = places(
            "#[cfg(feature = \"tiny-x\")] mod a;\nfn f() { if cfg!(all(feature = \"tiny-x\", unix)) {} }\n#[cfg(not(feature = \"ghost\"))] mod b;",
        );
        assert_eq!(found["tiny-x"].len(), 2);
        let told = faults(&found, &["tiny-x"], &[]);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("2 places"), "{told:?}");
        assert!(told[1].contains("`ghost`"), "{told:?}");
        assert_eq!(faults(&found, &["tiny-x"], &["ghost"]).len(), 1);
    }
}
