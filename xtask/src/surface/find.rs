//! Finding the unsafe places of a file, and the argument of each.
//!
//! The places are found token by token, so that those inside macros are found too; what they belong
//! to (the function, the statement) comes from the parsed tree.

use crate::audit::tree::{self, File};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use serde::Serialize;
use std::ops::{Range, RangeInclusive};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// What kind of unsafe code it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `unsafe { ... }`: the code promises what the compiler can't check.
    Block,
    /// `unsafe fn`: the caller promises it.
    Function,
    /// `unsafe impl`: a type promises what a trait asks for.
    Impl,
    /// `unsafe trait`: whoever implements it promises.
    Trait,
    /// `unsafe extern`: the declared functions are what they are said to be.
    Extern,
    /// `#[unsafe(...)]`: the symbol is nobody else's.
    Attribute,
}

impl Kind {
    /// In the order of the page.
    pub const ALL: [Kind; 6] =
        [Kind::Block, Kind::Function, Kind::Impl, Kind::Trait, Kind::Extern, Kind::Attribute];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Block => "block",
            Kind::Function => "fn",
            Kind::Impl => "impl",
            Kind::Trait => "trait",
            Kind::Extern => "extern",
            Kind::Attribute => "attribute",
        }
    }

    /// What an argument for it looks like.
    fn wanted(self) -> &'static str {
        match self {
            Kind::Function | Kind::Trait => "a section `# Safety` in its documentation",
            _ => "a comment `// SAFETY: ...` above it",
        }
    }
}

/// An unsafe place.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    pub file: String,
    pub line: usize,
    pub kind: Kind,
    /// The function, macro or item it belongs to.
    pub within: String,
    /// Why it is sound: the first sentences, in one line.
    pub argument: Option<String>,
}

impl Place {
    /// What is wrong with a place that has no argument.
    pub fn fault(&self) -> String {
        format!(
            "{}:{}: unsafe {} in `{}` has no argument; expected {}",
            self.file,
            self.line,
            self.kind.name(),
            self.within,
            self.kind.wanted()
        )
    }
}

/// Every unsafe place of a file, tests left out, in the order of the lines.
pub fn places(file: &File) -> Vec<Place> {
    let mut around = Around::default();
    around.visit_file(&file.ast);
    let mut found = Vec::new();
    walk(file.ast.to_token_stream(), &mut found);
    found
        .into_iter()
        .filter(|((line, _), ..)| !around.tests.iter().any(|range| range.contains(line)))
        .map(|(spot, kind, name)| Place {
            file: file.path.clone(),
            line: spot.0,
            kind,
            argument: argument(file, &around, spot, kind),
            within: name.or_else(|| around.name_at(spot.0)).unwrap_or_else(|| "-".to_owned()),
        })
        .collect()
}

/// The argument for what begins in this line.
fn argument(file: &File, around: &Around, spot: Spot, kind: Kind) -> Option<String> {
    let line = spot.0;
    if kind == Kind::Function {
        if let Some(item) = around.trait_at(line) {
            return Some(format!("the contract of `{item}`"));
        }
        return section(&file.comment_at(line));
    }
    if kind == Kind::Trait {
        return section(&file.comment_at(line)).or_else(|| safety(&file.comment_at(line)));
    }
    let statement = around.statement_at(spot);
    let comments = match statement {
        Some(first) if kind == Kind::Block => file.comments_of(first, line),
        _ => String::new(),
    };
    // The nearest one: its own line first, then the statement it is part of.
    safety(&file.comment_at(line)).or_else(|| safety(&comments))
}

/// The last `SAFETY:` in a comment, as one line up to the end of the comment.
fn safety(comment: &str) -> Option<String> {
    let (_, text) = comment.rsplit_once("SAFETY:")?;
    line(text)
}

/// What stands under the heading `Safety` of a documentation.
fn section(documentation: &str) -> Option<String> {
    let (_, text) = documentation.split_once("# Safety\n")?;
    line(text.split("\n#").next().unwrap_or(text).split("\n\n").next().unwrap_or(text))
}

fn line(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Notes the places among the tokens: where, kind, and the name where the tokens have one.
fn walk(tokens: TokenStream, found: &mut Vec<(Spot, Kind, Option<String>)>) {
    let all: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in all.iter().enumerate() {
        match token {
            TokenTree::Group(group) => walk(group.stream(), found),
            TokenTree::Ident(word) if word == "unsafe" => {
                if let Some((kind, name)) = classify(&all[at + 1..]) {
                    let start = word.span().start();
                    found.push(((start.line, start.column), kind, name));
                }
            }
            _ => {}
        }
    }
}

/// What the word `unsafe` begins, by the tokens after it; `None`: the type of a function.
fn classify(rest: &[TokenTree]) -> Option<(Kind, Option<String>)> {
    let word = |at: usize| match rest.get(at) {
        Some(TokenTree::Ident(word)) => word.to_string(),
        _ => String::new(),
    };
    let group = |at: usize| match rest.get(at) {
        Some(TokenTree::Group(group)) => Some(group.delimiter()),
        _ => None,
    };
    match group(0) {
        Some(Delimiter::Brace) => return Some((Kind::Block, None)),
        Some(Delimiter::Parenthesis) => return Some((Kind::Attribute, None)),
        _ => {}
    }
    match word(0).as_str() {
        "impl" => {
            let header = rest.iter().take_while(
                |token| !matches!(token, TokenTree::Group(it) if it.delimiter() == Delimiter::Brace),
            );
            let text: String = header.map(ToString::to_string).collect::<Vec<_>>().join(" ");
            return Some((Kind::Impl, Some(tidy(&text))));
        }
        "trait" => return Some((Kind::Trait, Some(word(1)))),
        _ => {}
    }
    // `extern "C"` may stand before the function, or open a block of declarations.
    let mut next = 0;
    if word(0) == "extern" {
        next = if matches!(rest.get(1), Some(TokenTree::Literal(_))) { 2 } else { 1 };
        if group(next) == Some(Delimiter::Brace) {
            return Some((Kind::Extern, Some("extern".to_owned())));
        }
    }
    if word(next) != "fn" {
        return None;
    }
    match rest.get(next + 1) {
        Some(TokenTree::Ident(name)) => Some((Kind::Function, Some(name.to_string()))),
        // A name that a macro puts in: `fn $name`.
        Some(TokenTree::Punct(dollar)) if dollar.as_char() == '$' => {
            Some((Kind::Function, Some(format!("${}", word(next + 2)))))
        }
        _ => None,
    }
}

/// Tokens as people write them.
fn tidy(text: &str) -> String {
    let text = text.replace(" < ", "<").replace(" >", ">").replace(" :: ", "::");
    text.replace("& ", "&").replace(" :", ":").replace("< ", "<").replace(" <", "<")
}

/// Line and column.
type Spot = (usize, usize);

/// What stands around a line.
#[derive(Default)]
struct Around {
    tests: Vec<RangeInclusive<usize>>,
    /// Functions and other items, by name.
    items: Vec<(RangeInclusive<usize>, String)>,
    /// Methods that a trait declares: the trait and the method.
    methods: Vec<(RangeInclusive<usize>, String)>,
    /// Statements, arms of a match, values of fields.
    statements: Vec<Range<Spot>>,
    of_trait: Option<String>,
}

fn spots(item: &impl Spanned) -> Range<Spot> {
    let (start, end) = (item.span().start(), item.span().end());
    (start.line, start.column)..(end.line, end.column)
}

fn lines(item: &impl Spanned) -> RangeInclusive<usize> {
    item.span().start().line..=item.span().end().line
}

/// The innermost range that holds the line.
fn innermost<'a, T>(
    ranges: impl Iterator<Item = (&'a RangeInclusive<usize>, T)>,
    line: usize,
) -> Option<(&'a RangeInclusive<usize>, T)> {
    ranges
        .filter(|(range, _)| range.contains(&line))
        .min_by_key(|(range, _)| range.end() - range.start())
}

impl Around {
    fn name_at(&self, line: usize) -> Option<String> {
        innermost(self.items.iter().map(|(range, name)| (range, name.clone())), line)
            .map(|found| found.1)
    }

    fn trait_at(&self, line: usize) -> Option<&str> {
        innermost(self.methods.iter().map(|(range, name)| (range, name.as_str())), line)
            .map(|found| found.1)
    }

    /// The line in which the innermost statement around this spot begins.
    fn statement_at(&self, spot: Spot) -> Option<usize> {
        let around = self.statements.iter().filter(|range| range.contains(&spot));
        around.map(|range| range.start).max().map(|(line, _)| line)
    }

    fn item(&mut self, name: impl ToString, attributes: &[syn::Attribute], item: &impl Spanned) {
        if tree::only_in_tests(attributes) {
            self.tests.push(lines(item));
        }
        self.items.push((lines(item), name.to_string()));
    }
}

impl<'ast> Visit<'ast> for Around {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if tree::only_in_tests(&item.attrs) {
            self.tests.push(lines(item));
        }
        visit::visit_item_mod(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.item(&item.sig.ident, &item.attrs, item);
        visit::visit_item_fn(self, item);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.item(&item.ident, &item.attrs, item);
        visit::visit_item_static(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.item(&item.ident, &item.attrs, item);
        visit::visit_item_const(self, item);
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        let name = item.ident.as_ref().map_or_else(
            || tidy(&item.mac.path.to_token_stream().to_string()),
            ToString::to_string,
        );
        self.item(format!("{name}!"), &item.attrs, item);
        visit::visit_item_macro(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if tree::only_in_tests(&item.attrs) {
            self.tests.push(lines(item));
        }
        let before = self.of_trait.take();
        self.of_trait = item.trait_.as_ref().map(|it| tidy(&it.0.to_token_stream().to_string()));
        visit::visit_item_impl(self, item);
        self.of_trait = before;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.item(&item.sig.ident, &item.attrs, item);
        if let Some(of) = &self.of_trait {
            self.methods.push((lines(&item.sig), format!("{of}::{}", item.sig.ident)));
        }
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.item(&item.sig.ident, &item.attrs, item);
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
        if !matches!(statement, syn::Stmt::Item(_)) {
            self.statements.push(spots(statement));
        }
        visit::visit_stmt(self, statement);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        self.statements.push(spots(arm));
        visit::visit_arm(self, arm);
    }

    fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
        self.statements.push(spots(field));
        visit::visit_field_value(self, field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, Kind, String, Option<String>)> {
        let file = File::parse("src/a.rs", vec!["a".to_owned()], text).unwrap();
        places(&file).into_iter().map(|it| (it.line, it.kind, it.within, it.argument)).collect()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn every_kind_is_found_with_its_argument() {
        let text = "\
// SAFETY: a pointer of ours.
unsafe impl<T> Send for Own<T> {}
/// A layer.
/// # Safety
/// Keep the list.
unsafe trait Layer {}
/// Does it.
///
/// # Safety
/// `at` is alive,
/// and ours.
unsafe extern \"C\" fn act(at: *const u8) {
    let both = [
        // SAFETY: alive.
        unsafe { *at },
        // SAFETY: as above.
        unsafe { *at },
    ];
}
// SAFETY: declared as in the manual.
unsafe extern \"C\" {
    fn getpid() -> i32;
}
// SAFETY: the name is ours alone.
#[unsafe(no_mangle)]
fn exported(callback: unsafe extern \"C\" fn()) {}
";
        let expected = [
            (2, Kind::Impl, "impl<T> Send for Own<T>", "a pointer of ours."),
            (6, Kind::Trait, "Layer", "Keep the list."),
            (12, Kind::Function, "act", "`at` is alive, and ours."),
            (15, Kind::Block, "act", "alive."),
            (17, Kind::Block, "act", "as above."),
            (21, Kind::Extern, "extern", "declared as in the manual."),
            (25, Kind::Attribute, "exported", "the name is ours alone."),
        ];
        let expected: Vec<_> = expected
            .map(|(line, kind, within, why)| (line, kind, within.to_owned(), some(why)))
            .into();
        assert_eq!(found(text), expected);
    }

    #[test]
    fn one_without_argument_is_found_out() {
        let text = "/// Does it.\nunsafe fn f() {\n    g();\n    let a = unsafe { 1 };\n}\n";
        let all = found(text);
        assert!(all.iter().all(|it| it.3.is_none()), "{all:?}");
        assert_eq!(all.len(), 2);
        // An argument for one block is none for the next.
        let text = "fn f() {\n    // SAFETY: it is.\n    unsafe { g() };\n    unsafe { h() };\n}\n";
        let arguments: Vec<_> = found(text).into_iter().map(|it| it.3).collect();
        assert_eq!(arguments, [some("it is."), None]);
        let file = File::parse("src/a.rs", Vec::new(), text).unwrap();
        let fault = places(&file)[1].fault();
        assert_eq!(
            fault,
            "src/a.rs:4: unsafe block in `f` has no argument; expected a comment `// SAFETY: ...` above it"
        );
    }

    #[test]
    fn an_empty_argument_is_none_and_one_inside_another_block_counts_for_that_alone() {
        assert_eq!(found("fn f() {\n    // SAFETY:\n    unsafe { g() };\n}\n")[0].3, None);
        let text = "fn f() {\n    while a() {\n        // SAFETY: it is.\n        unsafe { g() };\n        h(unsafe { i() });\n    }\n}\n";
        let arguments: Vec<_> = found(text).into_iter().map(|it| it.3).collect();
        assert_eq!(arguments, [some("it is."), None]);
    }

    #[test]
    fn macros_are_looked_into_and_tests_are_not() {
        let text = "\
macro_rules! export { ($name:ident) => {
    /// # Safety
    /// As for the function.
    pub unsafe fn $name() {
        // SAFETY: the contract is the caller's.
        unsafe { inner() }
        other(unsafe { inner() })
    }
} }
#[cfg(test)]
mod tests { fn f() { unsafe { g() } } }
";
        let expected = [
            (4, Kind::Function, "$name".to_owned(), some("As for the function.")),
            (6, Kind::Block, "export!".to_owned(), some("the contract is the caller's.")),
            (7, Kind::Block, "export!".to_owned(), None),
        ];
        assert_eq!(found(text), expected);
    }

    #[test]
    fn a_method_of_a_trait_has_the_contract_of_the_trait() {
        let text = "// SAFETY: it serves blocks.\nunsafe impl GlobalAlloc for A {\n    unsafe fn alloc(&self) {\n        unsafe { g() }\n    }\n}\n";
        let all = found(text);
        assert_eq!(all[1].3, some("the contract of `GlobalAlloc::alloc`"));
        assert_eq!(all[2].3, None);
    }
}
