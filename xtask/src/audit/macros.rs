//! What is inside macros. A macro's tokens mean what the macro makes of them; as far as they read
//! as Rust they are audited as Rust, and where they do not, nothing in them may hint at an atomic.

use super::site::{ATOMIC_ONLY, ORDERINGS};
use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use syn::parse::Parser;
use syn::punctuated::Punctuated;

/// A macro's tokens, read.
#[derive(Default)]
pub struct Parsed {
    pub expressions: Vec<syn::Expr>,
    pub statements: Vec<syn::Stmt>,
    /// An atomic that is hinted at in what could not be read: line, and the hint.
    pub unread: Option<(usize, String)>,
}

/// Reads the tokens of a macro's call inside a body.
pub fn parse(tokens: TokenStream) -> Parsed {
    let mut parsed = Parsed::default();
    let list = Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
    if let Ok(list) = list.parse2(tokens.clone()) {
        parsed.expressions.extend(list);
        return parsed;
    }
    if let Ok(statements) = syn::Block::parse_within.parse2(tokens.clone()) {
        parsed.statements = statements;
        return parsed;
    }
    // `matches!(expression, pattern)` and its like: piece by piece.
    for piece in pieces(tokens) {
        match syn::parse2::<syn::Expr>(piece.clone()) {
            Ok(expr) => parsed.expressions.push(expr),
            Err(_) => parsed.unread = parsed.unread.or(hint(&piece)),
        }
    }
    parsed
}

/// The tokens between commas.
fn pieces(tokens: TokenStream) -> Vec<TokenStream> {
    let mut pieces = vec![Vec::new()];
    for token in tokens {
        match &token {
            TokenTree::Punct(it) if it.as_char() == ',' => pieces.push(Vec::new()),
            _ => pieces.last_mut().expect("one piece at least").push(token),
        }
    }
    pieces.into_iter().map(|piece| piece.into_iter().collect()).collect()
}

/// Something in tokens that only an atomic's use has: its line and the word.
pub fn hint(tokens: &TokenStream) -> Option<(usize, String)> {
    let all: Vec<TokenTree> = tokens.clone().into_iter().collect();
    for (at, token) in all.iter().enumerate() {
        match token {
            TokenTree::Group(group) => {
                if let Some(found) = hint(&group.stream()) {
                    return Some(found);
                }
            }
            TokenTree::Ident(ident) => {
                let name = ident.to_string();
                let dot =
                    at > 0 && matches!(&all[at - 1], TokenTree::Punct(it) if it.as_char() == '.');
                let called = matches!(all.get(at + 1), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis);
                let shared = dot && called && matches!(name.as_str(), "load" | "store" | "swap");
                if ORDERINGS.contains(&name.as_str())
                    || ATOMIC_ONLY.contains(&name.as_str())
                    || shared
                    || name.starts_with("Atomic")
                {
                    return Some((ident.span().start().line, name));
                }
            }
            _ => {}
        }
    }
    None
}

/// Every name of a memory ordering in the tokens, with its place.
pub fn orderings(tokens: &TokenStream, found: &mut Vec<(usize, usize, String)>) {
    for token in tokens.clone() {
        match token {
            TokenTree::Group(group) => orderings(&group.stream(), found),
            TokenTree::Ident(ident) if ORDERINGS.iter().any(|name| ident == name) => {
                let start = ident.span().start();
                found.push((start.line, start.column, ident.to_string()));
            }
            _ => {}
        }
    }
}

/// All string literals of the tokens, joined by blanks.
pub fn strings(tokens: &TokenStream) -> String {
    let mut text = String::new();
    for token in tokens.clone() {
        match token {
            TokenTree::Literal(literal) => {
                text.push(' ');
                text.push_str(literal.to_string().trim_matches('"'));
            }
            TokenTree::Group(group) => text.push_str(&strings(&group.stream())),
            _ => {}
        }
    }
    // What stands between escapes and separators are words of their own.
    text.replace("\\n", " ").replace("\\t", " ")
}

/// The right-hand sides of a `macro_rules!` definition, with `$name` made a plain name and
/// repetitions written once, so that they may be read as Rust.
pub fn right_hand_sides(tokens: &TokenStream) -> Vec<TokenStream> {
    let all: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut sides = Vec::new();
    for at in 0..all.len() {
        let arrow = at >= 2
            && matches!(&all[at - 2], TokenTree::Punct(it) if it.as_char() == '=')
            && matches!(&all[at - 1], TokenTree::Punct(it) if it.as_char() == '>');
        if let (true, TokenTree::Group(group)) = (arrow, &all[at]) {
            sides.push(plain(group.stream()));
        }
    }
    sides
}

fn plain(tokens: TokenStream) -> TokenStream {
    let all: Vec<TokenTree> = tokens.into_iter().collect();
    let mut out: Vec<TokenTree> = Vec::new();
    let mut at = 0;
    while at < all.len() {
        let dollar = matches!(&all[at], TokenTree::Punct(it) if it.as_char() == '$');
        match (dollar, all.get(at + 1)) {
            (true, Some(TokenTree::Ident(name))) if name != "crate" => {
                out.push(TokenTree::Ident(Ident::new(&format!("macro_{name}"), name.span())));
                at += 2;
            }
            (true, Some(TokenTree::Group(group))) => {
                out.extend(plain(group.stream()));
                at += 2;
                // The separator and the sign of repetition.
                while let Some(TokenTree::Punct(it)) = all.get(at) {
                    at += 1;
                    if matches!(it.as_char(), '*' | '+' | '?') {
                        break;
                    }
                }
            }
            (true, _) => at += 1,
            (false, _) => {
                match &all[at] {
                    TokenTree::Group(group) => {
                        let mut inner = Group::new(group.delimiter(), plain(group.stream()));
                        inner.set_span(group.span());
                        out.push(TokenTree::Group(inner));
                    }
                    other => out.push(other.clone()),
                }
                at += 1;
            }
        }
    }
    out.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> TokenStream {
        text.parse().unwrap()
    }

    #[test]
    fn arguments_are_read_as_expressions_statements_or_pieces() {
        assert_eq!(parse(tokens("a.load(R), \"{}\", x = 3")).expressions.len(), 3);
        assert_eq!(parse(tokens("let a = 1; b(a)")).statements.len(), 2);
        let mixed = parse(tokens("a.load(R), 1 | 2"));
        assert!(mixed.unread.is_none() && !mixed.expressions.is_empty());
        let unread = parse(tokens("do it with\nCOUNTER.fetch_add(1, Relaxed)"));
        assert_eq!(unread.unread, Some((2, "fetch_add".to_owned())));
    }

    #[test]
    fn definitions_are_read_with_their_variables_as_names() {
        let sides = right_hand_sides(&tokens(
            "($a:expr, $($b:ident),*) => { $($b.store($a, Relaxed);)* }; () => { f($crate::X) }",
        ));
        assert_eq!(sides.len(), 2);
        assert_eq!(sides[0].to_string().replace(' ', ""), "macro_b.store(macro_a,Relaxed);");
        assert!(syn::Block::parse_within.parse2(sides[0].clone()).is_ok());
    }

    #[test]
    fn only_atomics_are_hints() {
        assert_eq!(hint(&tokens("X, \"AtomicU8\", slots, Ordering::Less")), None);
        assert!(hint(&tokens("{ static X: AtomicU8; }")).is_some());
        assert!(hint(&tokens("$x.load($o)")).is_some());
        assert!(hint(&tokens("load(it)")).is_none());
    }
}
