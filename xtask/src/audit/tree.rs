//! The source that is audited, parsed: files, their modules, their comments.
//!
//! `syn` drops comments, and the reasons stand in comments: so each file keeps its lines, and which
//! of them are comment.

use super::macros;
use anyhow::{Context, Result, anyhow};
use proc_macro2::{TokenStream, TokenTree};
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::Path;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// One parsed file.
pub struct File {
    /// The path as reports name it: `src/os/lock.rs`.
    pub path: String,
    /// Its module, from the crate's root: `os::lock`; the crate's name first where it is not the
    /// allocator's: `preload::errno`.
    pub module: Vec<String>,
    /// What `syn` made of it.
    pub ast: syn::File,
    /// For each line its comment: text, and whether the line holds nothing else.
    comments: Vec<Option<(String, bool)>>,
    /// Lines that hold nothing but an attribute.
    attributes: Vec<bool>,
    /// Where memory orderings are named, tests left out: line, column, name.
    pub orderings: Vec<(usize, usize, String)>,
}

impl File {
    /// Parses one file's text.
    pub fn parse(path: &str, module: Vec<String>, text: &str) -> Result<File> {
        let ast = syn::parse_file(text).map_err(|error| {
            let at = error.span().start();
            anyhow!("{path}:{}: cannot be parsed: {error}; expected Rust that compiles", at.line)
        })?;
        let lines: Vec<&str> = text.lines().collect();
        let mut ends = vec![0; lines.len() + 2];
        let tokens: TokenStream = text.parse().map_err(|error| anyhow!("{path}: {error}"))?;
        token_ends(tokens.clone(), &mut ends);
        let comment = |(at, line): (usize, &&str)| {
            let trimmed = line.trim_start();
            if trimmed.starts_with("//") {
                return Some((trimmed.trim_start_matches(['/', '!']).trim().to_owned(), true));
            }
            let rest: String = line.chars().skip(ends[at + 1]).collect();
            let text = rest.split_once("//")?.1;
            Some((text.trim_start_matches('/').trim().to_owned(), false))
        };
        let comments = lines.iter().enumerate().map(comment).collect();
        let attributes = lines.iter().map(|line| line.trim_start().starts_with("#[")).collect();
        let mut tests = TestLines(Vec::new());
        tests.visit_file(&ast);
        let mut orderings = Vec::new();
        macros::orderings(&tokens, &mut orderings);
        orderings.retain(|(line, ..)| !tests.0.iter().any(|range| range.contains(line)));
        Ok(File { path: path.to_owned(), module, ast, comments, attributes, orderings })
    }

    /// The comment that stands right above `line`, attributes between them passed over, and the one
    /// at its end. Lines count from 1.
    pub fn comment_at(&self, line: usize) -> String {
        let mut parts = Vec::new();
        let mut above = line.saturating_sub(1);
        while above > 0 {
            match self.comments.get(above - 1) {
                Some(Some((text, true))) => parts.push(text.as_str()),
                _ if self.attributes.get(above - 1) == Some(&true) => {}
                _ => break,
            }
            above -= 1;
        }
        parts.reverse();
        if let Some(Some((text, false))) = self.comments.get(line.wrapping_sub(1)) {
            parts.push(text);
        }
        parts.join("\n")
    }

    /// What belongs to something that begins in line `first` and goes on to `last`: the comment
    /// above it, and every comment in between.
    pub fn comments_of(&self, first: usize, last: usize) -> String {
        let mut all = self.comment_at(first);
        for line in first..=last {
            if let Some(Some((text, _))) = self.comments.get(line.wrapping_sub(1)) {
                all.push('\n');
                all.push_str(text);
            }
        }
        all
    }
}

/// The lines of test items.
struct TestLines(Vec<RangeInclusive<usize>>);

impl TestLines {
    fn note(&mut self, item: &impl Spanned) {
        self.0.push(item.span().start().line..=item.span().end().line);
    }
}

impl<'ast> Visit<'ast> for TestLines {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if only_in_tests(&item.attrs) { self.note(item) } else { visit::visit_item_mod(self, item) }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if only_in_tests(&item.attrs) { self.note(item) } else { visit::visit_item_fn(self, item) }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if only_in_tests(&item.attrs) {
            self.note(item)
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if only_in_tests(&item.attrs) {
            self.note(item)
        } else {
            visit::visit_item_impl(self, item)
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if only_in_tests(&item.attrs) {
            self.note(item)
        }
    }
}

/// Notes for each line the column behind its last token.
fn token_ends(tokens: TokenStream, ends: &mut [usize]) {
    for token in tokens {
        let mut note = |span: proc_macro2::Span| {
            let end = span.end();
            if let Some(known) = ends.get_mut(end.line) {
                *known = end.column.max(*known);
            }
        };
        if let TokenTree::Group(group) = &token {
            note(group.span_open());
            note(group.span_close());
            token_ends(group.stream(), ends);
        } else {
            note(token.span());
        }
    }
}

/// Parses every `.rs` file below `root/folder`; `prefix` is the module that the folder is.
pub fn read(root: &Path, folder: &str, prefix: &[&str]) -> Result<Vec<File>> {
    let mut files = Vec::new();
    let top = root.join(folder);
    let mut open = vec![top.clone()];
    while let Some(next) = open.pop() {
        let entries =
            std::fs::read_dir(&next).with_context(|| format!("cannot list {}", next.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                let below = path.strip_prefix(&top)?;
                let mut module: Vec<String> =
                    prefix.iter().map(|part| (*part).to_owned()).collect();
                module.extend(
                    below.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()),
                );
                module.retain(|part| part != "mod" && part != "lib");
                files.push(File::parse(&format!("{folder}/{}", below.display()), module, &text)?);
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// The files, by position, of modules that only a test build has.
pub fn test_files(files: &[File]) -> HashSet<usize> {
    let mut outside = Vec::new();
    for file in files {
        for item in &file.ast.items {
            if let syn::Item::Mod(item) = item
                && item.content.is_none()
                && only_in_tests(&item.attrs)
            {
                let mut module = file.module.clone();
                module.push(item.ident.to_string());
                outside.push(module);
            }
        }
    }
    let inside = |file: &File| outside.iter().any(|module| file.module.starts_with(module));
    files.iter().enumerate().filter(|(_, file)| inside(file)).map(|(at, _)| at).collect()
}

/// True for an item that only a test build has.
pub fn only_in_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        if attribute.path().is_ident("test") {
            return true;
        }
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let text: String = list.tokens.to_string().split_whitespace().collect();
        attribute.path().is_ident("cfg")
            && (text == "test"
                || (text.starts_with("all(")
                    && words(&text).any(|word| word == "test")
                    && !text.contains("not(test")))
    })
}

/// True for an item that a gate's feature turns on.
pub fn behind_a_feature(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let text: String = list.tokens.to_string().split_whitespace().collect();
        attribute.path().is_ident("cfg") && text.starts_with("feature=")
    })
}

/// The words of a text.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_found_above_and_behind() {
        let text = "/// Doc.\n/// More.\n#[inline]\nfn f() {\n    // Why.\n    a(\"// no\"); // Because.\n\n    b();\n}\n";
        let file = File::parse("src/a.rs", vec!["a".to_owned()], text).unwrap();
        assert_eq!(file.comment_at(4), "Doc.\nMore.");
        assert_eq!(file.comment_at(6), "Why.\nBecause.");
        assert_eq!(file.comment_at(8), "");
    }

    #[test]
    fn test_items_are_told_from_others() {
        let attributes = |text: &str| {
            syn::parse_str::<syn::ItemFn>(&format!("{text} fn f() {{}}")).unwrap().attrs
        };
        for text in ["#[test]", "#[cfg(test)]", "#[cfg(all(test, unix))]"] {
            assert!(only_in_tests(&attributes(text)), "{text}");
        }
        for text in [
            "",
            "#[cfg(not(test))]",
            "#[cfg(all(not(test), unix))]",
            "#[inline]",
            "#[cfg(any(test, unix))]",
        ] {
            assert!(!only_in_tests(&attributes(text)), "{text}");
        }
        assert!(behind_a_feature(&attributes("#[cfg(feature = \"x\")]")));
        assert!(!behind_a_feature(&attributes("#[cfg(not(feature = \"x\"))]")));
    }

    #[test]
    fn what_is_not_rust_is_named() {
        let error = File::parse("src/a.rs", Vec::new(), "fn f( {").err().unwrap().to_string();
        assert!(error.starts_with("src/a.rs:1: cannot be parsed"), "{error}");
    }
}
