//! Reads one file's declarations into the index.

use super::index::{Body, Field, Index, Parameter, Static};
use super::macros;
use super::site::ORDERINGS;
use super::tree::{behind_a_feature, only_in_tests};
use super::types::{Names, Ty};
use std::collections::HashMap;
use syn::parse::Parser;
use syn::visit::{self, Visit};

/// Library types whose inside is atomics that no audit sees.
const HIDING: &[&str] = &[
    "Mutex",
    "RwLock",
    "Condvar",
    "Barrier",
    "Once",
    "OnceLock",
    "LazyLock",
    "Arc",
    "mpsc",
    "ReentrantLock",
];

/// Collects the names of types, aliases and imports.
pub struct NameReader<'a> {
    pub names: &'a mut Names,
    pub uses: &'a mut HashMap<String, Vec<String>>,
}

impl NameReader<'_> {
    fn import(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: String| before.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(it) => self.import(&it.tree, &with(it.ident.to_string())),
            syn::UseTree::Group(it) => it.items.iter().for_each(|tree| self.import(tree, before)),
            syn::UseTree::Name(it) if it.ident == "self" => {
                if let Some(last) = before.last() {
                    self.uses.insert(last.clone(), before.to_vec());
                }
            }
            syn::UseTree::Name(it) => {
                let name = it.ident.to_string();
                self.uses.insert(name.clone(), with(name));
            }
            syn::UseTree::Rename(it) => {
                let path = with(it.ident.to_string());
                if let Ok(ty) = syn::parse_str(&path.join("::")) {
                    self.names.aliases.insert(it.rename.to_string(), ty);
                }
                self.uses.insert(it.rename.to_string(), path);
            }
            syn::UseTree::Glob(_) => {}
        }
    }
}

impl<'ast> Visit<'ast> for NameReader<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !only_in_tests(&item.attrs) {
            self.import(&item.tree, &[]);
        }
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.names.aliases.insert(item.ident.to_string(), (*item.ty).clone());
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.names.own.insert(item.ident.to_string());
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.names.own.insert(item.ident.to_string());
    }

    fn visit_item_union(&mut self, item: &'ast syn::ItemUnion) {
        self.names.own.insert(item.ident.to_string());
    }
}

/// Collects declarations and bodies of one file.
pub struct Reader<'a> {
    pub index: &'a mut Index,
    pub file: usize,
    pub module: Vec<String>,
    pub me: Option<Ty>,
    pub parameters_of_me: Vec<String>,
    pub feature: bool,
}

impl Reader<'_> {
    fn ty(&self, ty: &syn::Type) -> Ty {
        self.index.names.convert(ty, self.me.as_ref())
    }

    fn declare(&mut self, ty: &Ty, name: String, line: usize) -> Option<usize> {
        ty.holds_atomic().then(|| self.index.declare(name, self.file, line, &self.module))
    }

    fn constant(&mut self, name: &syn::Ident, ty: &syn::Type, value: &syn::Expr) {
        let line = name.span().start().line;
        let written = ty.clone();
        let ty = self.ty(ty);
        let atomic = self.declare(&ty, name.to_string(), line);
        let body = self.index.add(Body {
            value: Some(value.clone()),
            initialiser: true,
            ..self.body(name.to_string(), line)
        });
        let entry = Static { file: self.file, written, ty, atomic, body };
        self.index.statics.entry(name.to_string()).or_default().push(entry);
    }

    /// A body with nothing in it yet.
    pub fn body(&self, name: String, line: usize) -> Body {
        Body {
            name,
            file: self.file,
            line,
            module: self.module.clone(),
            me: self.me.clone(),
            parameters_of_me: self.parameters_of_me.clone(),
            method: false,
            parameters: Vec::new(),
            result: Ty::Unknown,
            returns: None,
            speaks: false,
            cold: false,
            behind_a_feature: self.feature,
            block: None,
            value: None,
            initialiser: false,
        }
    }

    /// Reads a part of a macro as items, else as statements; what is neither must hint at no atomic.
    pub fn part_of_a_macro(&mut self, tokens: proc_macro2::TokenStream) {
        if let Ok(items) = syn::parse2::<syn::File>(tokens.clone()) {
            return self.visit_file(&items);
        }
        let line = tokens.clone().into_iter().next().map_or(1, |first| first.span().start().line);
        if let Ok(stmts) = syn::Block::parse_within.parse2(tokens.clone()) {
            let block = syn::Block { brace_token: syn::token::Brace::default(), stmts };
            self.visit_block(&block);
            let body = Body { block: Some(block), ..self.body("macro".to_owned(), line) };
            self.index.add(body);
        } else if let Some((line, word)) = macros::hint(&tokens) {
            let text =
                format!("`{word}` in a macro that can't be read as Rust; move it out of the macro");
            self.index.loose.push((self.file, line, text));
        }
    }

    /// Looks for imports of orderings by name, and of types that hide atomics.
    fn import(&mut self, tree: &syn::UseTree, of_ordering: bool, of_sync: bool) {
        let mut leaf = |name: &syn::Ident| {
            let (line, text) = (name.span().start().line, name.to_string());
            if ORDERINGS.contains(&text.as_str()) {
                let text = format!(
                    "the ordering `{text}` is imported by name; write `Ordering::{text}` at the operation"
                );
                self.index.loose.push((self.file, line, text));
            } else if of_sync && HIDING.contains(&text.as_str()) {
                self.index.hidden.push((self.file, line, text));
            }
        };
        match tree {
            syn::UseTree::Path(it) => {
                let (ordering, sync) = (it.ident == "Ordering", it.ident == "sync");
                leaf(&it.ident);
                self.import(&it.tree, ordering, of_sync || sync);
            }
            syn::UseTree::Group(it) => {
                it.items.iter().for_each(|tree| self.import(tree, of_ordering, of_sync))
            }
            syn::UseTree::Name(it) => leaf(&it.ident),
            syn::UseTree::Rename(it) => leaf(&it.ident),
            syn::UseTree::Glob(it) if of_ordering => {
                let text =
                    "all orderings are imported by name; write `Ordering::...` at the operation";
                self.index.loose.push((
                    self.file,
                    it.star_token.spans[0].start().line,
                    text.to_owned(),
                ));
            }
            syn::UseTree::Glob(_) => {}
        }
    }

    fn function(
        &mut self,
        attributes: &[syn::Attribute],
        signature: &syn::Signature,
        block: Option<&syn::Block>,
    ) {
        let name = signature.ident.to_string();
        let line = signature.ident.span().start().line;
        let mut body = self.body(name.clone(), line);
        body.cold = attributes.iter().any(|attribute| attribute.path().is_ident("cold"));
        body.behind_a_feature |= behind_a_feature(attributes);
        body.block = block.cloned();
        let generic: HashMap<String, Ty> = signature
            .generics
            .type_params()
            .map(|it| (it.ident.to_string(), Ty::Unknown))
            .collect();
        for input in &signature.inputs {
            match input {
                syn::FnArg::Receiver(_) => body.method = true,
                syn::FnArg::Typed(typed) => {
                    let ty = self.ty(&typed.ty).substitute(&generic);
                    let label = format!("{name}({})", pattern_name(&typed.pat));
                    let atomic = self.declare(&ty, label, typed.pat_line());
                    let takes = self.closure(&typed.ty, &signature.generics);
                    body.parameters.push(Parameter {
                        pattern: Some((*typed.pat).clone()),
                        ty,
                        atomic,
                        takes,
                    });
                }
            }
        }
        if let syn::ReturnType::Type(_, ty) = &signature.output {
            body.speaks = !matches!(&**ty, syn::Type::Never(_))
                && !matches!(&**ty, syn::Type::Tuple(it) if it.elems.is_empty());
            body.result = self.ty(ty).substitute(&generic);
            body.returns = self.declare(&body.result.clone(), format!("{name}()"), line);
        }
        self.index.add(body);
    }

    /// What a closure parameter is called with, if it is one.
    fn closure(&self, ty: &syn::Type, generics: &syn::Generics) -> Option<Vec<Ty>> {
        let of_bounds =
            |bounds: &syn::punctuated::Punctuated<syn::TypeParamBound, syn::Token![+]>| {
                bounds.iter().find_map(|bound| {
                    let syn::TypeParamBound::Trait(bound) = bound else { return None };
                    let last = bound.path.segments.last()?;
                    match &last.arguments {
                        syn::PathArguments::Parenthesized(given) => {
                            Some(given.inputs.iter().map(|input| self.ty(&input.ty)).collect())
                        }
                        _ => None,
                    }
                })
            };
        match ty {
            syn::Type::ImplTrait(it) => of_bounds(&it.bounds),
            syn::Type::Reference(it) => self.closure(&it.elem, generics),
            syn::Type::TraitObject(it) => of_bounds(&it.bounds),
            syn::Type::FnPtr(it) => {
                Some(it.inputs.iter().map(|input| self.ty(&input.ty)).collect())
            }
            syn::Type::Path(it) => {
                let name = it.path.get_ident()?;
                let parameter =
                    generics.type_params().find(|parameter| &parameter.ident == name)?;
                of_bounds(&parameter.bounds).or_else(|| {
                    generics.where_clause.as_ref()?.predicates.iter().find_map(|predicate| match predicate {
                        syn::WherePredicate::Type(it) if matches!(&it.bounded_ty, syn::Type::Path(path) if path.path.is_ident(name)) => {
                            of_bounds(&it.bounds)
                        }
                        _ => None,
                    })
                })
            }
            _ => None,
        }
    }
}

/// The line of a parameter.
trait PatLine {
    fn pat_line(&self) -> usize;
}

impl PatLine for syn::PatType {
    fn pat_line(&self) -> usize {
        self.colon_token.span.start().line
    }
}

fn pattern_name(pattern: &syn::Pat) -> String {
    match pattern {
        syn::Pat::Ident(it) => it.ident.to_string(),
        _ => "_".to_owned(),
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Const(it) => &it.attrs,
            syn::Item::Fn(it) => &it.attrs,
            syn::Item::Impl(it) => &it.attrs,
            syn::Item::Macro(it) => &it.attrs,
            syn::Item::Mod(it) => &it.attrs,
            syn::Item::Static(it) => &it.attrs,
            syn::Item::Struct(it) => &it.attrs,
            syn::Item::Trait(it) => &it.attrs,
            syn::Item::Use(it) => &it.attrs,
            _ => return visit::visit_item(self, item),
        };
        if only_in_tests(attributes) {
            return;
        }
        let outer = self.feature;
        self.feature |= behind_a_feature(attributes);
        visit::visit_item(self, item);
        self.feature = outer;
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(&item.tree, false, false);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.constant(&item.ident, &item.ty, &item.expr);
        visit::visit_item_static(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.constant(&item.ident, &item.ty, &item.expr);
        visit::visit_item_const(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        let owner = item.ident.to_string();
        for (at, field) in item.fields.iter().enumerate() {
            let name = field.ident.as_ref().map_or_else(|| at.to_string(), ToString::to_string);
            let line =
                field.ident.as_ref().map_or(item.ident.span(), syn::Ident::span).start().line;
            let ty = self.ty(&field.ty);
            let atomic = self.declare(&ty, format!("{owner}.{name}"), line);
            let entry = Field { file: self.file, written: field.ty.clone(), ty, atomic };
            self.index.fields.entry((owner.clone(), name)).or_default().push(entry);
        }
        visit::visit_item_struct(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.attrs, &item.sig, Some(&item.block));
        visit::visit_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let ty = self.ty(&item.self_ty);
        let parameters = match &ty {
            Ty::Named(_, inner) => {
                inner.iter().map(|ty| ty.name().unwrap_or_default().to_owned()).collect()
            }
            _ => Vec::new(),
        };
        let outer = (
            self.me.replace(ty.clone()),
            std::mem::replace(&mut self.parameters_of_me, parameters),
        );
        let is_deref = item
            .trait_
            .as_ref()
            .is_some_and(|(path, _)| path.segments.last().is_some_and(|it| it.ident == "Deref"));
        for inner in &item.items {
            match inner {
                syn::ImplItem::Fn(it) if !only_in_tests(&it.attrs) => {
                    self.function(&it.attrs, &it.sig, Some(&it.block));
                    visit::visit_impl_item_fn(self, it);
                }
                syn::ImplItem::Const(it) => self.constant(&it.ident, &it.ty, &it.expr),
                syn::ImplItem::Type(it) if is_deref && it.ident == "Target" => {
                    if let Some(name) = ty.name() {
                        let target = self.ty(&it.ty);
                        self.index.derefs.insert(name.to_owned(), target);
                    }
                }
                syn::ImplItem::Macro(it) => {
                    self.index.macros.push((self.file, it.mac.tokens.clone(), false))
                }
                _ => {}
            }
        }
        (self.me, self.parameters_of_me) = outer;
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        let outer = self.me.replace(Ty::named(&item.ident.to_string()));
        for inner in &item.items {
            match inner {
                syn::TraitItem::Fn(it) => {
                    self.function(&it.attrs, &it.sig, it.default.as_ref());
                    visit::visit_trait_item_fn(self, it);
                }
                syn::TraitItem::Const(it) => {
                    if let Some((_, value)) = &it.default {
                        self.constant(&it.ident, &it.ty, value);
                    }
                }
                _ => {}
            }
        }
        self.me = outer;
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        let definition = item.mac.path.is_ident("macro_rules");
        self.index.macros.push((self.file, item.mac.tokens.clone(), definition));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = self.index.expand(self.file, path);
        let hides = |part: &String| HIDING.contains(&part.as_str());
        if parts.len() > 1
            && parts.iter().any(|part| part == "sync")
            && let Some(name) = parts.iter().find(|part| hides(part))
            && let Some(first) = path.segments.first()
        {
            self.index.hidden.push((self.file, first.ident.span().start().line, name.clone()));
        }
        visit::visit_path(self, path);
    }
}
