//! What an expression is: its type, and which declared atomic it leads to.
//!
//! A small, honest part of Rust's inference: paths, fields, calls, patterns, the usual methods of
//! options, iterators, lists and pointers. Where it does not follow it says [`Ty::Unknown`].

use super::index::{Body, Field, Index};
use super::types::Ty;
use std::collections::HashMap;

/// An expression's type, and the atomic it is or holds.
#[derive(Clone, Debug)]
pub struct Value {
    pub ty: Ty,
    pub atomic: Option<usize>,
}

impl Value {
    /// Nothing is known.
    pub fn unknown() -> Value {
        Value { ty: Ty::Unknown, atomic: None }
    }

    fn new(ty: Ty, atomic: Option<usize>) -> Value {
        let atomic = atomic.filter(|_| ty.holds_atomic());
        Value { ty, atomic }
    }

    /// The same atomic, seen as another type.
    pub fn with(&self, ty: Ty) -> Value {
        Value::new(ty, self.atomic)
    }
}

/// The local names at one place of a body.
#[derive(Clone)]
pub struct Scope<'a> {
    pub index: &'a Index,
    pub file: usize,
    pub me: Option<Ty>,
    pub locals: HashMap<String, Value>,
}

impl<'a> Scope<'a> {
    /// The names at the start of a body.
    pub fn of(index: &'a Index, body: &Body) -> Scope<'a> {
        let mut scope =
            Scope { index, file: body.file, me: body.me.clone(), locals: HashMap::new() };
        for parameter in &body.parameters {
            if let Some(pattern) = &parameter.pattern {
                scope.bind(pattern, &Value::new(parameter.ty.clone(), parameter.atomic));
            }
        }
        if let Some(me) = &body.me {
            scope.locals.insert("self".to_owned(), Value::new(me.clone(), None));
        }
        scope
    }

    /// Binds the names in a pattern that matches `value`.
    pub fn bind(&mut self, pattern: &syn::Pat, value: &Value) {
        match pattern {
            syn::Pat::Ident(it) => {
                if let Some((_, inner)) = &it.subpat {
                    self.bind(inner, value);
                }
                self.locals.insert(it.ident.to_string(), value.clone());
            }
            syn::Pat::Reference(it) => self.bind(&it.pat, value),
            syn::Pat::Paren(it) => self.bind(&it.pat, value),
            syn::Pat::Type(it) => {
                let ty = self.index.names.convert(&it.ty, self.me.as_ref());
                self.bind(&it.pat, &value.with(ty));
            }
            syn::Pat::Guard(it) => self.bind(&it.pat, value),
            syn::Pat::Or(it) => it.cases.iter().for_each(|case| self.bind(case, value)),
            syn::Pat::Slice(it) => {
                let inner = value.with(value.ty.inner());
                it.elems.iter().for_each(|elem| self.bind(elem, &inner));
            }
            syn::Pat::Tuple(it) => {
                for (at, elem) in it.elems.iter().enumerate() {
                    let inner = match &value.ty {
                        Ty::Tuple(inner) => inner.get(at).cloned().unwrap_or(Ty::Unknown),
                        _ => Ty::Unknown,
                    };
                    self.bind(elem, &value.with(inner));
                }
            }
            syn::Pat::TupleStruct(it) => {
                let name =
                    it.path.segments.last().map(|it| it.ident.to_string()).unwrap_or_default();
                for (at, elem) in it.elems.iter().enumerate() {
                    let inner = match name.as_str() {
                        "Some" | "Ok" => value.with(value.ty.inner()),
                        "Err" | "None" => Value::unknown(),
                        _ => self.field_of(&Ty::named(&name), &at.to_string()),
                    };
                    self.bind(elem, &inner);
                }
            }
            syn::Pat::Struct(it) => {
                let name =
                    it.path.segments.last().map(|it| it.ident.to_string()).unwrap_or_default();
                let owner = if name == "Self" {
                    self.me.clone().unwrap_or(Ty::Unknown)
                } else {
                    Ty::named(&name)
                };
                for field in &it.fields {
                    let inner = match &field.member {
                        syn::Member::Named(name) => self.field_of(&owner, &name.to_string()),
                        syn::Member::Unnamed(at) => self.field_of(&owner, &at.index.to_string()),
                    };
                    self.bind(&field.pat, &inner);
                }
            }
            _ => {}
        }
    }

    /// A field of a type, through smart pointers.
    fn field_of(&self, owner: &Ty, field: &str) -> Value {
        let Ty::Named(name, inner) = owner else { return Value::unknown() };
        if let Some(Field { ty, atomic, .. }) = self.index.find_field(self.file, name, field) {
            return Value::new(ty.clone(), *atomic);
        }
        if let Some(target) = self.index.derefs.get(name)
            && target.name() != Some(name)
        {
            let target = if target.name().is_some_and(|it| it.len() == 1) || *target == Ty::Unknown
            {
                owner.inner()
            } else {
                target.clone()
            };
            return self.field_of(&target, field);
        }
        if inner.len() == 1 { self.field_of(&inner[0], field) } else { Value::unknown() }
    }

    /// What an expression is.
    pub fn infer(&self, expr: &syn::Expr) -> Value {
        match expr {
            syn::Expr::Paren(it) => self.infer(&it.expr),
            syn::Expr::Group(it) => self.infer(&it.expr),
            syn::Expr::Reference(it) => self.infer(&it.expr),
            syn::Expr::RawAddr(it) => self.infer(&it.expr),
            syn::Expr::Unary(it) if matches!(it.op, syn::UnOp::Deref(_)) => {
                let inner = self.infer(&it.expr);
                match inner.ty.name().and_then(|name| self.index.derefs.get(name)) {
                    Some(target) => inner.with(target.clone()),
                    None => inner,
                }
            }
            syn::Expr::Unary(_) | syn::Expr::Binary(_) | syn::Expr::Lit(_) => {
                Value { ty: Ty::named("value"), atomic: None }
            }
            syn::Expr::Unsafe(it) => self.infer_block(&it.block),
            syn::Expr::Block(it) => self.infer_block(&it.block),
            syn::Expr::Const(it) => self.infer_block(&it.block),
            syn::Expr::If(it) => self.infer_block(&it.then_branch),
            syn::Expr::Match(it) => {
                let mut values = it.arms.iter().map(|arm| self.infer(&arm.body));
                values.find(|it| it.ty != Ty::Unknown).unwrap_or_else(Value::unknown)
            }
            syn::Expr::Path(it) => self.infer_path(&it.path),
            syn::Expr::Field(it) => {
                let base = self.infer(&it.base);
                let name = match &it.member {
                    syn::Member::Named(name) => name.to_string(),
                    syn::Member::Unnamed(at) => at.index.to_string(),
                };
                match (&base.ty, name.parse::<usize>()) {
                    (Ty::Tuple(inner), Ok(at)) => {
                        base.with(inner.get(at).cloned().unwrap_or(Ty::Unknown))
                    }
                    _ => self.field_of(&base.ty, &name),
                }
            }
            syn::Expr::Index(it) => {
                let base = self.infer(&it.expr);
                if matches!(&*it.index, syn::Expr::Range(_)) {
                    base
                } else {
                    base.with(base.ty.inner())
                }
            }
            syn::Expr::Array(it) => {
                let first = it.elems.first().map_or_else(Value::unknown, |elem| self.infer(elem));
                first.with(Ty::List(Box::new(first.ty.clone())))
            }
            syn::Expr::Repeat(it) => {
                let first = self.infer(&it.expr);
                first.with(Ty::List(Box::new(first.ty.clone())))
            }
            syn::Expr::Tuple(it) => {
                let parts: Vec<Value> = it.elems.iter().map(|elem| self.infer(elem)).collect();
                let atomic = parts.iter().find_map(|part| part.atomic);
                Value::new(Ty::Tuple(parts.into_iter().map(|part| part.ty).collect()), atomic)
            }
            syn::Expr::Struct(it) => {
                let name =
                    it.path.segments.last().map(|it| it.ident.to_string()).unwrap_or_default();
                let ty = if name == "Self" {
                    self.me.clone().unwrap_or(Ty::Unknown)
                } else {
                    Ty::named(&name)
                };
                Value { ty, atomic: None }
            }
            syn::Expr::Try(it) => {
                let base = self.infer(&it.expr);
                base.with(base.ty.inner())
            }
            syn::Expr::Cast(it) => {
                let ty = self.index.names.convert(&it.ty, self.me.as_ref());
                // `as *const _` changes nothing that counts.
                if ty == Ty::Unknown { self.infer(&it.expr) } else { self.infer(&it.expr).with(ty) }
            }
            syn::Expr::Call(it) => self.infer_call(it),
            syn::Expr::MethodCall(it) => self.infer_method(it),
            _ => Value::unknown(),
        }
    }

    /// What a block ends with.
    pub fn infer_block(&self, block: &syn::Block) -> Value {
        let mut scope = self.clone();
        for statement in &block.stmts {
            if let syn::Stmt::Local(local) = statement {
                let value =
                    local.init.as_ref().map_or_else(Value::unknown, |init| scope.infer(&init.expr));
                scope.bind(&local.pat, &value);
            }
        }
        match block.stmts.last() {
            Some(syn::Stmt::Expr(expr, None)) => scope.infer(expr),
            _ => Value::unknown(),
        }
    }

    fn infer_path(&self, path: &syn::Path) -> Value {
        if let Some(name) = path.get_ident()
            && let Some(local) = self.locals.get(&name.to_string())
        {
            return local.clone();
        }
        match self.index.find_static(self.file, path) {
            Some(found) => Value::new(found.ty.clone(), found.atomic),
            None => Value::unknown(),
        }
    }

    fn infer_call(&self, call: &syn::ExprCall) -> Value {
        let syn::Expr::Path(callee) = &*call.func else { return Value::unknown() };
        let path = &callee.path;
        let Some(last) = path.segments.last() else { return Value::unknown() };
        let first = call.args.first().map_or_else(Value::unknown, |argument| self.infer(argument));
        let wrapped = |name: &str| first.with(Ty::of(name, first.ty.clone()));
        match last.ident.to_string().as_str() {
            "Some" => return wrapped("Option"),
            "Ok" => return wrapped("Result"),
            "from_ref" | "from_mut" | "Box" | "Wrapping" => return first,
            _ => {}
        }
        let found = self.index.find_functions(self.file, path, self.me.as_ref());
        if let Some(value) = self.result_of(&found, None) {
            return value;
        }
        // `Type::new(..)`, or the constructor of a tuple structure.
        let mut owner = path.clone();
        if owner.segments.len() > 1 {
            owner.segments.pop();
            owner.segments.pop_punct();
        }
        if self.index.names.is_atomic(&owner) {
            return Value { ty: Ty::Atomic, atomic: None };
        }
        let name = owner.segments.last().map(|it| it.ident.to_string()).unwrap_or_default();
        match (self.index.names.own.contains(&name), name.as_str()) {
            (true, _) => Value { ty: Ty::Named(name, Vec::new()), atomic: None },
            (_, "NonNull") => {
                let pointer = Ty::of("NonNull", first.ty.clone());
                let new = last.ident == "new";
                first.with(if new { Ty::of("Option", pointer) } else { pointer })
            }
            (_, "Cell" | "UnsafeCell" | "MaybeUninit") => wrapped(&name),
            _ => Value::unknown(),
        }
    }

    /// What all of these functions return, if they agree.
    fn result_of(&self, found: &[usize], receiver: Option<&Ty>) -> Option<Value> {
        let mut results = found.iter().map(|at| {
            let body = &self.index.bodies[*at];
            let known: HashMap<String, Ty> = match receiver {
                Some(Ty::Named(_, inner)) => {
                    body.parameters_of_me.iter().cloned().zip(inner.iter().cloned()).collect()
                }
                _ => HashMap::new(),
            };
            Value::new(body.result.substitute(&known), body.returns)
        });
        let first = results.next()?;
        results.all(|other| other.ty == first.ty).then_some(first)
    }

    /// The methods of this source that a call may reach, with the type whose they are.
    pub fn methods(&self, receiver: &Ty, name: &str) -> Option<(Vec<usize>, Ty)> {
        let Ty::Named(owner, inner) = receiver else { return None };
        let found = self.index.methods_of(owner, name);
        if !found.is_empty() {
            return Some((found, receiver.clone()));
        }
        match self.index.derefs.get(owner) {
            Some(target) if target.name().is_some_and(|it| it.len() > 1 && it != owner) => {
                self.methods(target, name)
            }
            _ if inner.len() == 1 && !matches!(owner.as_str(), "Option" | "Result" | "Iter") => {
                self.methods(&inner[0], name)
            }
            _ => None,
        }
    }

    fn infer_method(&self, call: &syn::ExprMethodCall) -> Value {
        let base = self.infer(&call.receiver);
        let name = call.method.to_string();
        if let Some((found, owner)) = self.methods(&base.ty, &name) {
            return self.result_of(&found, Some(&owner)).unwrap_or_else(Value::unknown);
        }
        if name == "cast" {
            return match &call.turbofish {
                Some(given) => match given.args.first() {
                    Some(syn::GenericArgument::Type(ty)) => {
                        base.with(self.index.names.convert(ty, self.me.as_ref()))
                    }
                    _ => Value::unknown(),
                },
                None => Value::unknown(),
            };
        }
        if base.ty.is_atomic() && name != "clone" {
            return self.out_of_an_atomic(&base.ty, &name);
        }
        let inner = base.ty.inner();
        let option = |ty: Ty| base.with(Ty::of("Option", ty));
        let (is_list, owner) = (matches!(base.ty, Ty::List(_)), base.ty.name().unwrap_or_default());
        match name.as_str() {
            "get" | "get_mut" | "first" | "last" | "first_mut" | "last_mut" if is_list => {
                option(inner)
            }
            "get_unchecked" | "get_unchecked_mut" | "as_ptr" | "as_mut_ptr" if is_list => {
                base.with(inner)
            }
            "iter" | "iter_mut" | "into_iter" if is_list => base.with(Ty::of("Iter", inner)),
            "next" | "last" | "nth" | "find" | "max_by_key" | "min_by_key" if owner == "Iter" => {
                option(inner)
            }
            "enumerate" if owner == "Iter" => {
                base.with(Ty::of("Iter", Ty::Tuple(vec![Ty::named("usize"), inner])))
            }
            "zip" if owner == "Iter" => {
                let other =
                    call.args.first().map_or_else(Value::unknown, |argument| self.infer(argument));
                let pair = Ty::of("Iter", Ty::Tuple(vec![inner, other.ty.inner()]));
                Value::new(pair, base.atomic.or(other.atomic))
            }
            "rev" | "skip" | "take" | "step_by" | "copied" | "by_ref" | "filter" | "take_while"
            | "skip_while" | "peekable" | "chain" | "inspect"
                if owner == "Iter" =>
            {
                base
            }
            "unwrap" | "expect" | "unwrap_or" | "unwrap_or_else" | "unwrap_or_default"
            | "unwrap_unchecked"
                if matches!(owner, "Option" | "Result") =>
            {
                base.with(inner)
            }
            "as_ref" | "as_mut" | "copied" | "cloned" | "take" | "ok" | "filter" | "or_else"
            | "or" | "ok_or" | "inspect" | "as_deref" | "as_deref_mut"
                if matches!(owner, "Option" | "Result") =>
            {
                base
            }
            "as_ptr" | "as_ref" | "as_mut" if owner == "NonNull" => base.with(inner),
            "get" | "get_mut" | "into_inner" | "replace" if owner == "Cell" => base.with(inner),
            "as_ref" | "as_mut" if base.ty != Ty::Unknown => option(base.ty.clone()),
            "add" | "sub" | "offset" | "byte_add" | "byte_sub" | "wrapping_add"
            | "wrapping_sub" | "wrapping_offset" | "cast_mut" | "cast_const" | "with_addr"
            | "map_addr" | "clone" | "borrow" | "deref" => base,
            "addr" | "len" | "is_null" | "is_empty" | "is_some" | "is_none" => {
                Value { ty: Ty::named("value"), atomic: None }
            }
            _ => Value::unknown(),
        }
    }

    /// What an atomic's methods return.
    fn out_of_an_atomic(&self, atomic: &Ty, method: &str) -> Value {
        let inside = match atomic {
            Ty::AtomicPtr(to) => (**to).clone(),
            _ => Ty::named("value"),
        };
        let ty = if method.starts_with("compare") || matches!(method, "fetch_update" | "try_update")
        {
            Ty::of("Result", inside)
        } else {
            inside
        };
        Value { ty, atomic: None }
    }

    /// What a call's closures are called with, argument by argument.
    pub fn closures(&self, call: &syn::ExprMethodCall) -> Vec<Option<Vec<Value>>> {
        let base = self.infer(&call.receiver);
        let name = call.method.to_string();
        let each = |arguments: Vec<Value>| vec![Some(arguments); call.args.len()];
        if let Some((found, _)) = self.methods(&base.ty, &name) {
            return self.taken_by(&found);
        }
        let inner = base.with(base.ty.inner());
        let holds = matches!(base.ty.name(), Some("Option" | "Result" | "Iter"));
        match name.as_str() {
            "fold" if holds => each(vec![Value::unknown(), inner]),
            "unwrap_or_else" | "or_else" | "ok_or_else" | "get_or_insert_with" => Vec::new(),
            _ if holds => each(vec![inner]),
            _ => Vec::new(),
        }
    }

    /// What functions of this source call their closure parameters with.
    pub fn taken_by(&self, found: &[usize]) -> Vec<Option<Vec<Value>>> {
        let Some(first) = found.first() else { return Vec::new() };
        let parameters = &self.index.bodies[*first].parameters;
        let values =
            |takes: &Vec<Ty>| takes.iter().map(|ty| Value::new(ty.clone(), None)).collect();
        parameters.iter().map(|parameter| parameter.takes.as_ref().map(values)).collect()
    }
}
