//! What stands behind a gate: code under a condition that holds only where a gate is on, and storage
//! whose length a gate decides.
//!
//! A gate is a constant called `ON` of a type. Constants that are made of gates stand for them. That
//! the storage of a gate that is off has no bytes is proven by `cargo xtask asm --gates`.

use super::index::Index;
use std::collections::HashSet;
use syn::visit::{self, Visit};

/// Whether a condition holds only where a gate is on.
pub fn asks(index: &Index, file: usize, condition: &syn::Expr) -> bool {
    asks_within(index, file, condition, 8)
}

/// The same, through constants of constants down to a depth that no source has.
fn asks_within(index: &Index, file: usize, condition: &syn::Expr, depth: u32) -> bool {
    let same = |inner: &syn::Expr| asks_within(index, file, inner, depth);
    match condition {
        syn::Expr::Paren(it) => same(&it.expr),
        syn::Expr::Group(it) => same(&it.expr),
        syn::Expr::Binary(it) if matches!(it.op, syn::BinOp::And(_)) => {
            same(&it.left) || same(&it.right)
        }
        syn::Expr::Binary(it) if matches!(it.op, syn::BinOp::Or(_)) => {
            same(&it.left) && same(&it.right)
        }
        syn::Expr::Const(it) => {
            matches!(it.block.stmts.last(), Some(syn::Stmt::Expr(expr, None)) if same(expr))
        }
        syn::Expr::Path(it) if is_gate(&it.path) => true,
        syn::Expr::Path(it) if depth > 0 => {
            index.find_static(file, &it.path).is_some_and(|found| {
                let value = index.bodies[found.body].value.as_ref();
                value.is_some_and(|value| asks_within(index, found.file, value, depth - 1))
            })
        }
        syn::Expr::Macro(it) => {
            it.mac.path.is_ident("cfg") && it.mac.tokens.to_string().starts_with("feature")
        }
        _ => false,
    }
}

fn is_gate(path: &syn::Path) -> bool {
    path.segments.len() > 1 && path.segments.last().is_some_and(|last| last.ident == "ON")
}

/// Whether a gate has a say in an array's length.
fn decides(index: &Index, file: usize, length: &syn::Expr) -> bool {
    let mut search = Search { index, file, seen: HashSet::new(), found: false };
    search.visit_expr(length);
    search.found
}

struct Search<'a> {
    index: &'a Index,
    file: usize,
    seen: HashSet<usize>,
    found: bool,
}

impl<'ast> Visit<'ast> for Search<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.found |= is_gate(path);
        if let Some(found) = self.index.find_static(self.file, path)
            && self.seen.insert(found.body)
            && let Some(value) = &self.index.bodies[found.body].value
        {
            let outer = std::mem::replace(&mut self.file, found.file);
            self.visit_expr(value);
            self.file = outer;
        }
        visit::visit_path(self, path);
    }
}

/// Marks the atomics whose storage a gate decides: those in such an array, and the fields of
/// structures that lie in nothing but such arrays.
pub fn mark_storage(index: &mut Index) {
    let behind = |ty: &syn::Type, file: usize| match ty {
        syn::Type::Array(array) => decides(index, file, &array.len),
        _ => false,
    };
    let places = || {
        let statics = index.statics.values().flatten().map(|it| (it.file, &it.written, it.atomic));
        let fields = index.fields.values().flatten().map(|it| (it.file, &it.written, it.atomic));
        statics.chain(fields)
    };
    let mut marked: HashSet<usize> = places()
        .filter(|(file, ty, _)| behind(ty, *file))
        .filter_map(|(_, _, atomic)| atomic)
        .collect();
    for ((owner, _), fields) in &index.fields {
        for field in fields {
            let Some(atomic) = field.atomic else { continue };
            // Where the structure itself lies, in this file.
            let mut homes = places()
                .filter(|(file, ty, _)| *file == field.file && mentions(ty, owner))
                .peekable();
            if homes.peek().is_some() && homes.all(|(file, ty, _)| behind(ty, file)) {
                marked.insert(atomic);
            }
        }
    }
    for atomic in marked {
        index.atomics[atomic].behind_a_gate = true;
    }
}

fn mentions(ty: &syn::Type, name: &str) -> bool {
    struct Mentions<'a>(&'a str, bool);
    impl<'ast> Visit<'ast> for Mentions<'_> {
        fn visit_path(&mut self, path: &'ast syn::Path) {
            self.1 |= path.segments.last().is_some_and(|last| last.ident == self.0);
            visit::visit_path(self, path);
        }
    }
    let mut mentions = Mentions(name, false);
    mentions.visit_type(ty);
    mentions.1
}
