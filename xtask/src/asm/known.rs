//! What belongs to gates, worked out from the source: what `src/telemetry/` defines with what each
//! piece answers when every gate is off, who outside holds a piece of it, which constants outside
//! say whether a gate is on, and which gates each of them serves.
//!
//! Names stand for what they name: two methods of one name are one, unless their answers differ, and
//! then the answer is unknown. The comparison of builds shows whether that was right.

use super::answers::{self, Answer, Constants};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

/// The folder that the gates' code is in.
pub const HOME: &str = "telemetry";

/// A node of what mentions what: a function by the file it is in, a method or any other name by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    Free(String, String),
    Method(String),
    Name(String),
}

/// What the telemetry defines.
#[derive(Default)]
pub struct Known {
    /// Functions and methods with their answers.
    pub answers: BTreeMap<Node, Option<Answer>>,
    pub constants: Constants,
    /// Types and statics.
    pub types: BTreeSet<String>,
    /// Names outside that hold a piece of it.
    pub holders: BTreeSet<String>,
    /// Constants outside that say whether a gate is on: module and name, and the gate.
    pub switches: BTreeMap<(String, String), String>,
    /// The gates that each node serves.
    pub gates: BTreeMap<Node, BTreeSet<String>>,
}

impl Known {
    /// Reads what the telemetry defines, and which gates each piece of it serves.
    pub fn of(home: &[(&PathBuf, syn::File)], features: &BTreeSet<String>) -> Known {
        let mut known = Known::default();
        let mut mentions: Vec<(Node, BTreeSet<Node>)> = Vec::new();
        // Constants may rest on each other, so twice; functions afterwards.
        for pass in 0..3 {
            for (path, file) in home {
                let module = module_of(path);
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
                if called_from_outside(&function.vis) {
                    let answer = answers::of(&function.sig, &function.block, &self.constants);
                    self.answers.insert(node.clone(), answer);
                }
                mentions.push((node, mentioned(&function.block, module)));
            }
            syn::Item::Impl(of) if pass == 2 => {
                for inner in &of.items {
                    let syn::ImplItem::Fn(function) = inner else { continue };
                    let node = Node::Method(function.sig.ident.to_string());
                    if called_from_outside(&function.vis) {
                        let answer = answers::of(&function.sig, &function.block, &self.constants);
                        // Two methods of one name: only an answer that both give is known.
                        let agreed = match self.answers.remove(&node) {
                            Some(other) if other != answer => None,
                            _ => answer,
                        };
                        self.answers.insert(node.clone(), agreed);
                    }
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
        tokens: &TokenStream,
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
            let row: TokenStream = row
                .iter()
                .filter(|token| !matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket))
                .cloned()
                .collect();
            mentions.push((node, nodes(row, module)));
        }
    }

    /// Adds what a file outside calls the pieces of telemetry that it holds.
    pub fn add_holders(&mut self, file: &syn::File) {
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
                let from = local.init.as_ref().and_then(|init| base(&init.expr));
                if let (syn::Pat::Ident(name), Some(from)) = (&local.pat, from)
                    && self.0.holders.contains(&from)
                {
                    self.0.holders.insert(name.ident.to_string());
                }
                visit::visit_local(self, local);
            }
        }
        Holders(self).visit_file(file);
    }

    /// Adds the constants of a file outside that say whether a gate is on.
    pub fn add_constants(&mut self, path: &Path, file: &syn::File) {
        for item in &file.items {
            if let syn::Item::Const(constant) = item
                && let syn::Expr::Macro(asked) = &*constant.expr
                && asked.mac.path.is_ident("cfg")
                && let Some(feature) = feature_of(&asked.mac.tokens)
            {
                let name = constant.ident.to_string();
                self.switches.insert((module_of(path), name), feature);
            }
        }
    }

    /// Adds the functions of a file outside that do nothing while a gate is off.
    pub fn add_decided(&mut self, path: &Path, file: &syn::File) {
        let module = module_of(path);
        let mut gates = BTreeSet::new();
        let mut constants = Constants::new();
        let imported = imports(file);
        for ((home, name), feature) in &self.switches {
            let here =
                *home == module || imported.get(name).is_some_and(|path| path.last() == Some(home));
            if here {
                constants.insert(name.clone(), Answer::Bool(false));
                gates.insert(feature.clone());
            }
        }
        if constants.is_empty() {
            return;
        }
        for item in &file.items {
            let syn::Item::Fn(function) = item else { continue };
            let mentions = words(function.block.to_token_stream());
            let asks = mentions.iter().any(|word| constants.contains_key(word));
            if !asks || !called_from_outside(&function.vis) {
                continue;
            }
            if let Some(answer) = answers::decided(&function.block, &constants) {
                let node = Node::Free(module.clone(), function.sig.ident.to_string());
                self.answers.insert(node.clone(), Some(answer));
                self.gates.insert(node, gates.clone());
            }
        }
    }

    /// The gates that a node serves.
    pub fn gates(&self, node: &Node) -> BTreeSet<String> {
        self.gates.get(node).cloned().unwrap_or_default()
    }
}

/// The module that a file is.
pub fn module_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    let folder = path.parent().and_then(Path::file_name);
    let name = if stem == "mod" { folder.unwrap_or(stem) } else { stem };
    name.to_string_lossy().into_owned()
}

/// Whether other folders may name it: not what is private, or for its own folder.
fn called_from_outside(visibility: &syn::Visibility) -> bool {
    match visibility {
        syn::Visibility::Public(_) => true,
        syn::Visibility::Restricted(to) => to.path.is_ident("crate"),
        syn::Visibility::Inherited => false,
    }
}

/// The feature of `feature = "..."`.
fn feature_of(tokens: &TokenStream) -> Option<String> {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let [TokenTree::Ident(key), _, TokenTree::Literal(value)] = tokens.as_slice() else {
        return None;
    };
    (key == "feature").then(|| value.to_string().trim_matches('"').to_owned())
}

/// Every identifier in a stream.
pub fn words(tokens: TokenStream) -> Vec<String> {
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
fn nodes(tokens: TokenStream, module: &str) -> BTreeSet<Node> {
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

/// What a file imports: the names that it uses, with the path that they are from.
pub fn imports(file: &syn::File) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for item in &file.items {
        if let syn::Item::Use(item) = item {
            import(&item.tree, &mut Vec::new(), &mut found);
        }
    }
    found
}

fn import(tree: &syn::UseTree, path: &mut Vec<String>, found: &mut BTreeMap<String, Vec<String>>) {
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
    found.insert(used, path.clone());
}

/// The name of what a method is called on: the last field, local, static or function.
pub fn base(receiver: &syn::Expr) -> Option<String> {
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
