//! The order of the layers: each folder of `src/` imports only from those above it in the list.
//!
//! The list is [`LAYERS`]. `lib.rs` puts the layers together, so it may name them all, and what a
//! test needs does not count. A path is followed from `crate::`, from `$crate::` and from a chain
//! of `super::` that reaches the crate's root.

use super::source::{Source, group, ident, line, path_separator, punct};
use proc_macro2::TokenTree;

/// The folders and files of `src/`, lowest first.
pub const LAYERS: &[&str] = &[
    "base",
    "class",
    "telemetry",
    "os",
    "segment",
    "harden",
    "guard",
    "large",
    "frontend",
    "refill",
    "thread",
    "policy",
    "readers",
    "background",
    "lifecycle",
    "cold",
    "hot",
    "api",
    "check",
];

/// Every import that goes against the order, as `file:line: ...`.
pub fn faults(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        let layer = source.layer();
        if layer == "lib" {
            continue;
        }
        let Some(rank) = rank(&layer) else {
            faults.push(format!(
                "src/{}: `{layer}` has no place in the order {}",
                source.path.display(),
                LAYERS.join(", ")
            ));
            continue;
        };
        let tokens: Vec<TokenTree> = source.tokens.clone().into_iter().collect();
        walk(&tokens, source.depth(), &mut |target, line| {
            if let Some(above) = self::rank(&target)
                && above > rank
            {
                faults.push(format!(
                    "src/{}:{line}: `{layer}` imports from `{target}`, which is above it",
                    source.path.display()
                ));
            }
        });
    }
    faults
}

fn rank(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|known| *known == layer)
}

/// Calls `found` with the first component, below the root, of every path that starts there;
/// `depth` is how many modules below the root these tokens lie.
fn walk(tokens: &[TokenTree], depth: usize, found: &mut dyn FnMut(String, usize)) {
    let mut at = 0;
    while at < tokens.len() {
        if let Some(skipped) = test_item(tokens, at) {
            at = skipped;
            continue;
        }
        match ident(tokens, at).as_deref() {
            // `mod name { ... }` lies one deeper.
            Some("mod") if group(tokens, at + 2).is_some() => {
                walk(&group(tokens, at + 2).unwrap_or_default(), depth + 1, found);
                at += 3;
                continue;
            }
            Some("crate") if path_separator(tokens, at + 1) && !continues(tokens, at) => {
                from_root(tokens, at + 3, found);
            }
            Some("super") if !continues(tokens, at) => {
                let mut ups = 0;
                let mut next = at;
                while ident(tokens, next).as_deref() == Some("super")
                    && path_separator(tokens, next + 1)
                {
                    ups += 1;
                    next += 3;
                }
                if ups == depth {
                    from_root(tokens, next, found);
                }
            }
            _ => {}
        }
        if let Some(inner) = group(tokens, at) {
            walk(&inner, depth, found);
        }
        at += 1;
    }
}

/// True where the token at `at` follows `::`, that is, does not start a path.
fn continues(tokens: &[TokenTree], at: usize) -> bool {
    at >= 2 && path_separator(tokens, at - 2)
}

/// The components that follow the root: one, or those of a `{a, b::c}` group.
fn from_root(tokens: &[TokenTree], at: usize, found: &mut dyn FnMut(String, usize)) {
    if let Some(name) = ident(tokens, at) {
        found(name, line(tokens, at));
    } else if let Some(inner) = group(tokens, at) {
        let mut start = true;
        for next in 0..inner.len() {
            if start && let Some(name) = ident(&inner, next) {
                found(name, line(&inner, next));
            }
            start = punct(&inner, next, ',');
        }
    }
}

/// Where a `#[cfg(test)]` item starts at `at`: the index after it.
fn test_item(tokens: &[TokenTree], at: usize) -> Option<usize> {
    if !punct(tokens, at, '#') {
        return None;
    }
    let attribute = group(tokens, at + 1)?;
    let condition = group(&attribute, 1)?;
    if ident(&attribute, 0).as_deref() != Some("cfg") || !needs_test(&condition) {
        return None;
    }
    let mut next = at + 2;
    while next < tokens.len() {
        let ended = punct(tokens, next, ';')
            || matches!(&tokens[next], TokenTree::Group(group)
                if group.delimiter() == proc_macro2::Delimiter::Brace);
        next += 1;
        if ended {
            break;
        }
    }
    Some(next)
}

/// True for `test` and for `all(..., test, ...)`.
fn needs_test(condition: &[TokenTree]) -> bool {
    match ident(condition, 0).as_deref() {
        Some("test") => condition.len() == 1,
        Some("all") => group(condition, 1)
            .is_some_and(|inner| inner.iter().any(|token| token.to_string() == "test")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn told(path: &str, text: &str) -> Vec<String> {
        faults(&[Source::parse(Path::new(path), text).unwrap()])
    }

    #[test]
    fn downward_imports_are_fine() {
        let text =
            "use crate::{base::sync, os};\nfn f() { crate::class::of(3); crate::os::map(); }";
        assert_eq!(told("segment/slab.rs", text), Vec::<String>::new());
        assert_eq!(told("lib.rs", "use crate::check;"), Vec::<String>::new());
    }

    #[test]
    fn upward_imports_are_named_with_their_line() {
        let found =
            told("segment/slab.rs", "use crate::base;\nuse crate::{os, frontend::Magazine};");
        assert_eq!(
            found,
            ["src/segment/slab.rs:2: `segment` imports from `frontend`, which is above it"]
        );
        for text in [
            "fn f() { crate::thread::current(); }",
            "macro_rules! m { () => { $crate::thread::x() } }",
            "use super::super::thread::Heap;",
            "mod inner { use super::super::super::thread::Heap; }",
            "pub(in crate::segment) fn f() { g::<crate::thread::Heap>() }",
        ] {
            let found = told("segment/slab.rs", text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
        }
        assert_eq!(told("segment/mod.rs", "use super::thread::Heap;").len(), 1);
    }

    #[test]
    fn siblings_and_tests_do_not_count() {
        for text in [
            "use super::thread;",
            "#[cfg(test)] mod tests { use crate::thread::Heap; }",
            "#[cfg(all(test, unix))] use crate::check::walk;",
            "pub(crate) fn f() {}",
            "#[derive(Debug)] struct A; #[cfg(not(test))] fn f() { super::x() }",
        ] {
            assert_eq!(told("segment/slab.rs", text), Vec::<String>::new(), "{text}");
        }
        // Only the test is skipped, not what follows it.
        let text = "#[cfg(test)] use crate::check::walk;\nuse crate::check::heap;";
        assert_eq!(told("segment/slab.rs", text).len(), 1);
        assert_eq!(told("segment/slab.rs", "#[cfg(not(test))] use crate::check::walk;").len(), 1);
    }

    #[test]
    fn a_folder_outside_the_order_is_a_fault() {
        assert!(told("misc/mod.rs", "")[0].contains("no place in the order"));
    }
}
