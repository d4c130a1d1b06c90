//! The call sites of the gates, found by parsing `src/`, and the sources without them.
//!
//! What belongs to gates is what `src/telemetry/` defines. A site is a call of one of its functions
//! from elsewhere, on whatever holds a piece of it (a field, a static, a local), or one of its
//! constants looked at. Without the site stands what it comes to with every gate off (`answers`).
//! Which gates a site serves follows from what the called function mentions, down to the gates' rows.
//! The readers are left alone: they are in every build, and say "not compiled in".

use super::answers::{self, Answer, Constants};
use anyhow::{Context, Result, ensure};
use proc_macro2::TokenTree;
use quote::ToTokens;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// The folder that the gates' code is in, and the one that only reads.
const HOME: &str = "telemetry";
const READERS: &str = "readers";

/// A place outside the telemetry that serves gates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// `file:line`.
    pub at: String,
    /// What is called, or looked at.
    pub name: String,
    /// The gates that it serves.
    pub gates: BTreeSet<String>,
}

/// A file with its sites replaced.
pub struct Without {
    /// The path below `src/`.
    pub path: PathBuf,
    /// The new text; every line keeps its number.
    pub text: String,
}

/// Everything that was found.
pub struct Found {
    /// The sites that were replaced.
    pub sites: Vec<Site>,
    /// Calls whose answer depends on more than the gates; they stay. `file:line name`.
    pub staying: Vec<String>,
    /// The files that hold sites.
    pub files: Vec<Without>,
}

/// Finds the sites of `features` in the sources below `folder`.
pub fn find(folder: &Path, features: &BTreeSet<String>) -> Result<Found> {
    let mut texts = BTreeMap::new();
    read(folder, Path::new(""), &mut texts)?;
    in_texts(&texts, features)
}

/// As [`find`], on texts by path below `src/`.
fn in_texts(texts: &BTreeMap<PathBuf, String>, features: &BTreeSet<String>) -> Result<Found> {
    let (mut home, mut outside) = (Vec::new(), Vec::new());
    for (path, text) in texts {
        let file = syn::parse_file(text)
            .with_context(|| format!("cannot read src/{} as Rust", path.display()))?;
        if path.starts_with(HOME) {
            home.push((path, file));
        } else if !path.starts_with(READERS) {
            outside.push((path, text, file));
        }
    }
    let mut known = Known::of(&home, features);
    outside.iter().for_each(|(_, _, file)| known.add_holders(file));
    let mut found = Found { sites: Vec::new(), staying: Vec::new(), files: Vec::new() };
    for (path, text, file) in outside {
        let mut finder = Finder {
            known: &known,
            path,
            imported: imports(&file),
            found: Vec::new(),
            staying: Vec::new(),
        };
        finder.visit_file(&file);
        found.staying.append(&mut finder.staying);
        if finder.found.is_empty() {
            continue;
        }
        let mut new = text.clone();
        finder.found.sort_by_key(|(range, _, _)| std::cmp::Reverse(range.start));
        for (range, answer, _) in &finder.found {
            new.replace_range(range.clone(), &replaced(&text[range.clone()], &answer.source()));
        }
        found.sites.extend(finder.found.into_iter().rev().map(|(_, _, site)| site));
        found.files.push(Without { path: path.clone(), text: new });
    }
    ensure!(!found.sites.is_empty(), "no call site of the telemetry was found in src/");
    Ok(found)
}

fn read(root: &Path, below: &Path, texts: &mut BTreeMap<PathBuf, String>) -> Result<()> {
    let folder = root.join(below);
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            read(root, &path, texts)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(root.join(&path))
                .with_context(|| format!("cannot read {}", entry.path().display()))?;
            texts.insert(path, text);
        }
    }
    Ok(())
}

/// The answer in place of a call, with as many lines and, where it fits, as many columns.
fn replaced(call: &str, answer: &str) -> String {
    let blank: String = call.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
    match blank.strip_prefix(&" ".repeat(answer.len())) {
        Some(rest) => format!("{answer}{rest}"),
        None => format!("{answer}{blank}"),
    }
}

/// A node of what mentions what: a function by the file it is in, a method or any other name by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Free(String, String),
    Method(String),
    Name(String),
}

/// What the telemetry defines.
#[derive(Default)]
struct Known {
    /// Functions and methods with their answers.
    answers: BTreeMap<Node, Option<Answer>>,
    constants: Constants,
    /// Modules, by their files' names.
    modules: BTreeSet<String>,
    /// Types and statics.
    types: BTreeSet<String>,
    /// Names outside that hold a piece of it.
    holders: BTreeSet<String>,
    /// The gates that each node serves.
    gates: BTreeMap<Node, BTreeSet<String>>,
}

impl Known {
    fn of(home: &[(&PathBuf, syn::File)], features: &BTreeSet<String>) -> Known {
        let mut known = Known::default();
        let mut mentions: Vec<(Node, BTreeSet<Node>)> = Vec::new();
        // Constants may rest on each other, so twice; functions afterwards.
        for pass in 0..3 {
            for (path, file) in home {
                let module = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                known.modules.insert(module.clone());
                for item in &file.items {
                    known.item(item, &module, pass, features, &mut mentions);
                }
            }
        }
        loop {
            let before: usize = known.gates.values().map(BTreeSet::len).sum();
            for (node, mentioned) in &mentions {
                let gates: BTreeSet<String> = mentioned
                    .iter()
                    .filter_map(|other| known.gates.get(other))
                    .flatten()
                    .cloned()
                    .collect();
                known.gates.entry(node.clone()).or_default().extend(gates);
            }
            if before == known.gates.values().map(BTreeSet::len).sum::<usize>() {
                return known;
            }
        }
    }

    fn item(
        &mut self,
        item: &syn::Item,
        module: &str,
        pass: usize,
        features: &BTreeSet<String>,
        mentions: &mut Vec<(Node, BTreeSet<Node>)>,
    ) {
        let first = pass == 0;
        match item {
            syn::Item::Const(constant) => {
                let name = constant.ident.to_string();
                if let Some(answer) = answers::constant(&constant.expr, &self.constants) {
                    self.constants.insert(name.clone(), answer);
                }
                if first {
                    self.holders.insert(name.clone());
                    mentions.push((Node::Name(name), mentioned(&constant.expr, module)));
                }
            }
            syn::Item::Static(place) if first => {
                self.holders.insert(place.ident.to_string());
                mentions.push((Node::Name(place.ident.to_string()), mentioned(place, module)));
            }
            syn::Item::Struct(of) if first => {
                self.types.insert(of.ident.to_string());
                mentions.push((Node::Name(of.ident.to_string()), mentioned(&of.fields, module)));
            }
            syn::Item::Enum(of) if first => drop(self.types.insert(of.ident.to_string())),
            syn::Item::Fn(function) if pass == 2 => {
                let node = Node::Free(module.to_owned(), function.sig.ident.to_string());
                let answer = answers::of(&function.sig, &function.block, &self.constants);
                self.answers.insert(node.clone(), answer);
                mentions.push((node, mentioned(&function.block, module)));
            }
            syn::Item::Impl(of) if pass == 2 => {
                for inner in &of.items {
                    let syn::ImplItem::Fn(function) = inner else { continue };
                    let node = Node::Method(function.sig.ident.to_string());
                    let answer = answers::of(&function.sig, &function.block, &self.constants);
                    // Two methods of one name: only an answer that both give is known.
                    let agreed = match self.answers.remove(&node) {
                        Some(other) if other != answer => None,
                        _ => answer,
                    };
                    self.answers.insert(node.clone(), agreed);
                    mentions.push((node, mentioned(&function.block, module)));
                }
            }
            syn::Item::Macro(invoked) if first && invoked.ident.is_none() => {
                self.rows(&invoked.mac.tokens, features, mentions, module);
            }
            _ => {}
        }
    }

    /// The rows of a table: `Name, "feature";` makes a gate's marker, `Name[...] for A | B;` something
    /// that these gates read.
    fn rows(
        &mut self,
        tokens: &proc_macro2::TokenStream,
        features: &BTreeSet<String>,
        mentions: &mut Vec<(Node, BTreeSet<Node>)>,
        module: &str,
    ) {
        let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
        for row in
            tokens.split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ';'))
        {
            // A doc comment is `#` and a group.
            let Some(head) = row.iter().find_map(|token| match token {
                TokenTree::Ident(ident) => Some(ident.to_string()),
                _ => None,
            }) else {
                continue;
            };
            let node = Node::Name(head.clone());
            self.types.insert(head);
            for token in row {
                if let TokenTree::Literal(literal) = token {
                    let text = literal.to_string();
                    let feature = text.trim_matches('"');
                    if features.contains(feature) {
                        self.gates.entry(node.clone()).or_default().insert(feature.to_owned());
                    }
                }
            }
            let row: proc_macro2::TokenStream = row
                .iter()
                .filter(|token| !matches!(token, TokenTree::Group(group) if group.delimiter() == proc_macro2::Delimiter::Bracket))
                .cloned()
                .collect();
            mentions.push((node, nodes(row, module)));
        }
    }

    /// Adds what a file outside calls the pieces of telemetry that it holds.
    fn add_holders(&mut self, file: &syn::File) {
        struct Holders<'a>(&'a mut Known);
        impl Holders<'_> {
            fn holds(&self, of: &impl ToTokens) -> bool {
                words(of.to_token_stream()).iter().any(|word| self.0.types.contains(word))
            }
        }
        impl<'ast> Visit<'ast> for Holders<'_> {
            fn visit_field(&mut self, field: &'ast syn::Field) {
                if let Some(name) = &field.ident
                    && self.holds(&field.ty)
                {
                    self.0.holders.insert(name.to_string());
                }
            }
            fn visit_signature(&mut self, signature: &'ast syn::Signature) {
                if self.holds(&signature.output) {
                    self.0.holders.insert(signature.ident.to_string());
                }
                visit::visit_signature(self, signature);
            }
            fn visit_pat_type(&mut self, typed: &'ast syn::PatType) {
                if let syn::Pat::Ident(name) = &*typed.pat
                    && self.holds(&typed.ty)
                {
                    self.0.holders.insert(name.ident.to_string());
                }
            }
            fn visit_local(&mut self, local: &'ast syn::Local) {
                let init = local.init.as_ref().map(|init| words(init.expr.to_token_stream()));
                let holds =
                    |words: &[String]| words.iter().any(|word| self.0.holders.contains(word));
                if let (syn::Pat::Ident(name), Some(init)) = (&local.pat, init)
                    && holds(&init)
                {
                    self.0.holders.insert(name.ident.to_string());
                }
                visit::visit_local(self, local);
            }
        }
        Holders(self).visit_file(file);
    }

    fn gates(&self, node: &Node) -> BTreeSet<String> {
        self.gates.get(node).cloned().unwrap_or_default()
    }
}

/// Every identifier in a stream.
fn words(tokens: proc_macro2::TokenStream) -> Vec<String> {
    let mut words = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => words.push(ident.to_string()),
            TokenTree::Group(group) => words.extend(self::words(group.stream())),
            _ => {}
        }
    }
    words
}

fn mentioned(item: &impl ToTokens, module: &str) -> BTreeSet<Node> {
    nodes(item.to_token_stream(), module)
}

/// What a piece of telemetry mentions: `.name(`, `module::name`, `name`.
fn nodes(tokens: proc_macro2::TokenStream, module: &str) -> BTreeSet<Node> {
    let mut nodes_found = BTreeSet::new();
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let is = |at: Option<usize>, c: char| {
            at.and_then(|at| tokens.get(at)).is_some_and(
                |token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == c),
            )
        };
        match token {
            TokenTree::Group(group) => nodes_found.extend(nodes(group.stream(), module)),
            TokenTree::Ident(ident) if is(at.checked_sub(1), '.') => {
                nodes_found.insert(Node::Method(ident.to_string()));
            }
            TokenTree::Ident(ident) => {
                let name = ident.to_string();
                let within =
                    if is(at.checked_sub(1), ':') { tokens.get(at.wrapping_sub(3)) } else { None };
                let file = match within {
                    Some(TokenTree::Ident(within)) => within.to_string(),
                    _ => module.to_owned(),
                };
                nodes_found.insert(Node::Free(file, name.clone()));
                nodes_found.insert(Node::Name(name));
            }
            _ => {}
        }
    }
    nodes_found
}

/// What a file imports from the telemetry: the names that it uses, with the module they are from.
fn imports(file: &syn::File) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for item in &file.items {
        if let syn::Item::Use(item) = item {
            import(&item.tree, &mut Vec::new(), &mut found);
        }
    }
    found
}

fn import(tree: &syn::UseTree, path: &mut Vec<String>, found: &mut BTreeMap<String, String>) {
    let used = match tree {
        syn::UseTree::Path(inner) => {
            path.push(inner.ident.to_string());
            import(&inner.tree, path, found);
            path.pop();
            return;
        }
        syn::UseTree::Group(group) => {
            return group.items.iter().for_each(|item| import(item, path, found));
        }
        // `classes::{self, Use}` uses the module by its name.
        syn::UseTree::Name(name) if name.ident == "self" => {
            path.last().cloned().unwrap_or_default()
        }
        syn::UseTree::Name(name) => name.ident.to_string(),
        syn::UseTree::Rename(rename) => rename.rename.to_string(),
        syn::UseTree::Glob(_) => return,
    };
    if path.iter().any(|part| part == HOME) {
        found.insert(used, path.last().cloned().unwrap_or_default());
    }
}

/// Looks for sites in one file outside the telemetry.
struct Finder<'a> {
    known: &'a Known,
    path: &'a Path,
    imported: BTreeMap<String, String>,
    found: Vec<(std::ops::Range<usize>, Answer, Site)>,
    staying: Vec<String>,
}

impl Finder<'_> {
    /// What of the telemetry an expression calls or looks at.
    fn target(&self, expression: &syn::Expr) -> Option<Node> {
        match expression {
            syn::Expr::MethodCall(call) => {
                let node = Node::Method(call.method.to_string());
                let held =
                    base(&call.receiver).is_some_and(|name| self.known.holders.contains(&name));
                (held && self.known.answers.contains_key(&node)).then_some(node)
            }
            syn::Expr::Call(call) => {
                let syn::Expr::Path(path) = &*call.func else { return None };
                let parts: Vec<String> =
                    path.path.segments.iter().map(|part| part.ident.to_string()).collect();
                let node = match parts.as_slice() {
                    [name] => Node::Free(self.imported.get(name)?.clone(), name.clone()),
                    [.., of, name] if self.known.types.contains(of) => Node::Method(name.clone()),
                    [.., module, name] => {
                        let ours = self.imported.contains_key(module)
                            || parts.iter().any(|part| part == HOME);
                        (ours && self.known.modules.contains(module))
                            .then(|| Node::Free(module.clone(), name.clone()))?
                    }
                    [] => return None,
                };
                self.known.answers.contains_key(&node).then_some(node)
            }
            syn::Expr::Path(path) => {
                let name = path.path.segments.last()?.ident.to_string();
                let ours = match path.path.segments.len() {
                    1 => self.imported.contains_key(&name),
                    _ => path.path.segments.iter().any(|part| {
                        let part = part.ident.to_string();
                        part == HOME || self.imported.contains_key(&part)
                    }),
                };
                (ours && self.known.constants.contains_key(&name)).then_some(Node::Name(name))
            }
            _ => None,
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_expr(&mut self, expression: &'ast syn::Expr) {
        let Some(node) = self.target(expression) else {
            return visit::visit_expr(self, expression);
        };
        let (Node::Free(_, name) | Node::Method(name) | Node::Name(name)) = &node;
        let at = format!("src/{}:{}", self.path.display(), expression.span().start().line);
        let answer = match &node {
            Node::Name(name) => self.known.constants.get(name).cloned(),
            _ => self.known.answers.get(&node).cloned().flatten(),
        };
        let Some(answer) = answer else {
            self.staying.push(format!("{at} {name}"));
            return visit::visit_expr(self, expression);
        };
        let site = Site { at, name: name.clone(), gates: self.known.gates(&node) };
        self.found.push((expression.span().byte_range(), answer, site));
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        // Tests are not in the library.
        let test = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg")
                && words(attribute.to_token_stream()).iter().any(|word| word == "test")
        };
        if !module.attrs.iter().any(test) {
            visit::visit_item_mod(self, module);
        }
    }
}

/// The name of what a method is called on: the last field, local, static or function.
fn base(receiver: &syn::Expr) -> Option<String> {
    match receiver {
        syn::Expr::Field(field) => match &field.member {
            syn::Member::Named(name) => Some(name.to_string()),
            syn::Member::Unnamed(_) => None,
        },
        syn::Expr::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
        syn::Expr::MethodCall(call) => Some(call.method.to_string()),
        syn::Expr::Call(call) => base(&call.func),
        syn::Expr::Paren(inner) => base(&inner.expr),
        syn::Expr::Group(inner) => base(&inner.expr),
        syn::Expr::Reference(inner) => base(&inner.expr),
        syn::Expr::Unary(inner) => base(&inner.expr),
        syn::Expr::Unsafe(inner) => match inner.block.stmts.last() {
            Some(syn::Stmt::Expr(last, _)) => base(last),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A telemetry of two counters, a trace and a check.
    fn texts(outside: &str) -> BTreeMap<PathBuf, String> {
        let gates = "gates! {\n /// Doc, \"calls\".\n Calls, \"calls\"; Misses, \"misses\"; Trace, \"trace\"; Bad, \"bad\"; }\n\
                     counters! { Hits[COUNT] for Calls | Misses; Lost[1] for Misses; }";
        let cache = "impl Handle {\n fn hit(self, class: usize) { self.count::<Hits>(class); trace::record(class); }\n\
                     fn lost(self) { self.count::<Lost>(0); }\n fn start(self) -> u64 { if Misses::ON { clock() } else { 0 } }\n\
                     fn slot(self) -> Option<u8> { None } }";
        let trace = "pub fn record(class: usize) { if Trace::ON { put(class) } }";
        let classes = "pub const CHECKED: bool = Bad::ON;\n\
                       pub fn in_range(class: usize) -> bool { !CHECKED || class < COUNT }";
        let tally = "pub struct Handle; pub static COMMON: Handle = Handle;";
        [
            ("telemetry/gates.rs", gates),
            ("telemetry/cache.rs", cache),
            ("telemetry/trace.rs", trace),
            ("telemetry/classes.rs", classes),
            ("telemetry/tally.rs", tally),
            ("readers/stats.rs", "fn f() { COMMON.lost(); }"),
            ("hot.rs", outside),
        ]
        .map(|(path, text)| (PathBuf::from(path), text.to_owned()))
        .into()
    }

    fn found(outside: &str) -> Found {
        let features = ["calls", "misses", "trace", "bad"].map(str::to_owned).into();
        in_texts(&texts(outside), &features).unwrap()
    }

    const OUTSIDE: &str = "use crate::telemetry::classes::{self, CHECKED};\nuse crate::telemetry::tally::{COMMON, Handle};\n\
        struct Heap { tally: Handle, other: Other }\nimpl Heap { fn tally(&self) -> Handle { self.tally } }\n\
        fn f(heap: &Heap, class: usize) {\n    if !classes::in_range(class) { return; }\n    heap.tally.hit(\n        class,\n    );\n\
        \x20   heap.other.hit(class);\n    let tally = unsafe { heap.tally() };\n    tally.hit(class);\n    let started = heap.tally().start();\n\
        \x20   match class { 0 => COMMON.lost(), _ => drop(started) }\n    let slot = COMMON.slot();\n    if CHECKED { g(); }\n}\n\
        #[cfg(test)]\nmod tests { use super::*; fn f() { COMMON.lost(); } }\n";

    #[test]
    fn sites_are_replaced_by_what_they_come_to_and_lines_stay() {
        let found = found(OUTSIDE);
        let text = &found.files[0].text;
        assert_eq!(text.lines().count(), OUTSIDE.lines().count());
        syn::parse_file(text).unwrap();
        let squeezed: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "if !true { return; }",
            "heap.other.hit(class);",
            "let started = 0 ;",
            "0 => () ,",
            "let slot = COMMON.slot();",
            "if false { g(); }",
            "mod tests { use super::*; fn f() { COMMON.lost(); } }",
        ] {
            assert!(squeezed.contains(part), "{part} in {squeezed}");
        }
        assert!(!text.contains("tally.hit"));
        assert_eq!(found.files.len(), 1, "readers and tests are left alone");
        let staying: Vec<&str> =
            found.staying.iter().map(|at| at.rsplit(' ').next().unwrap()).collect();
        assert_eq!(staying, ["slot"]);
    }

    #[test]
    fn sites_are_told_with_their_line_and_their_gates() {
        let found = found(OUTSIDE);
        let told: Vec<(String, &str, String)> = found
            .sites
            .iter()
            .map(|site| {
                let gates: Vec<&str> = site.gates.iter().map(String::as_str).collect();
                (site.at.clone(), site.name.as_str(), gates.join(" "))
            })
            .collect();
        let told: Vec<(&str, &str, &str)> =
            told.iter().map(|(at, name, gates)| (at.as_str(), *name, gates.as_str())).collect();
        assert_eq!(
            told,
            [
                ("src/hot.rs:6", "in_range", "bad"),
                ("src/hot.rs:7", "hit", "calls misses trace"),
                ("src/hot.rs:12", "hit", "calls misses trace"),
                ("src/hot.rs:13", "start", "misses"),
                ("src/hot.rs:14", "lost", "misses"),
                ("src/hot.rs:16", "CHECKED", "bad"),
            ]
        );
    }

    #[test]
    fn a_source_without_sites_is_an_error() {
        let features = ["calls".to_owned()].into();
        assert!(in_texts(&texts("fn f() {}"), &features).is_err());
        assert!(in_texts(&texts("fn f( {}"), &features).is_err());
    }

    #[test]
    fn every_gate_of_the_checkout_has_a_site() {
        use crate::shared::{paths, registry::Registry};
        let registry = Registry::read().unwrap();
        let features = registry.gates.keys().cloned().collect();
        let found = find(&paths::root().join("src"), &features).unwrap();
        for gate in registry.gates.keys() {
            let sites = found.sites.iter().filter(|site| site.gates.contains(gate)).count();
            assert!(sites > 0, "{gate} has no site in src/");
        }
    }
}
