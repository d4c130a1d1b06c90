//! The allocator's source as tokens: what the checks look at. Comments and strings cannot fool
//! them, and code inside macros is seen as well.

use anyhow::{Context, Result, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::path::{Path, PathBuf};

/// One source file.
pub struct Source {
    /// The path below `src/`.
    pub path: PathBuf,
    /// Its tokens; documentation comments are `#[doc = "..."]` here.
    pub tokens: TokenStream,
}

impl Source {
    /// Every `.rs` file below `folder`, in alphabetical order.
    pub fn all(folder: &Path) -> Result<Vec<Source>> {
        let mut sources = Vec::new();
        let mut open = vec![folder.to_owned()];
        while let Some(next) = open.pop() {
            let entries = std::fs::read_dir(&next)
                .with_context(|| format!("cannot list {}", next.display()))?;
            for entry in entries {
                let path = entry?.path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = std::fs::read_to_string(&path)
                        .with_context(|| format!("cannot read {}", path.display()))?;
                    sources.push(Source::parse(path.strip_prefix(folder)?, &text)?);
                }
            }
        }
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(sources)
    }

    /// Reads one file's text.
    pub fn parse(path: &Path, text: &str) -> Result<Source> {
        let tokens = text.parse().map_err(|error| anyhow!("{}: {error}", path.display()))?;
        Ok(Source { path: path.to_owned(), tokens })
    }

    /// The folder of `src/` that the file belongs to (`os` for `os/linux.rs`), or the file's own
    /// name (`hot` for `hot.rs`).
    pub fn layer(&self) -> String {
        let first = self.path.iter().next().unwrap_or_default();
        first.to_string_lossy().trim_end_matches(".rs").to_owned()
    }

    /// How many modules below the crate's root the file's own module lies.
    pub fn depth(&self) -> usize {
        let components = self.path.iter().count();
        let name = self.path.file_name().unwrap_or_default();
        if name == "mod.rs" || name == "lib.rs" { components - 1 } else { components }
    }
}

/// The identifier at `at`, if it is one.
pub fn ident(tokens: &[TokenTree], at: usize) -> Option<String> {
    match tokens.get(at) {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

/// True where the punctuation `c` stands at `at`.
pub fn punct(tokens: &[TokenTree], at: usize, c: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == c)
}

/// True where `::` stands at `at`.
pub fn path_separator(tokens: &[TokenTree], at: usize) -> bool {
    punct(tokens, at, ':') && punct(tokens, at + 1, ':')
}

/// The text of the plain string literal at `at`, if it is one.
pub fn string(tokens: &[TokenTree], at: usize) -> Option<String> {
    match tokens.get(at) {
        Some(TokenTree::Literal(literal)) => {
            let text = literal.to_string();
            let inside = text.strip_prefix('"')?.strip_suffix('"')?;
            Some(inside.to_owned())
        }
        // A literal handed on by `macro_rules!` may sit in an invisible group.
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::None => {
            string(&group.stream().into_iter().collect::<Vec<_>>(), 0)
        }
        _ => None,
    }
}

/// The tokens of the group at `at`, if it is one.
pub fn group(tokens: &[TokenTree], at: usize) -> Option<Vec<TokenTree>> {
    match tokens.get(at) {
        Some(TokenTree::Group(group)) => Some(group.stream().into_iter().collect()),
        _ => None,
    }
}

/// The line of the token at `at`.
pub fn line(tokens: &[TokenTree], at: usize) -> usize {
    tokens.get(at).map_or(0, |token| token.span().start().line)
}
