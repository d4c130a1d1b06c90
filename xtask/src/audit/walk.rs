//! Finds the atomic operations of every body, and what each body calls.
//!
//! An operation is a method of an atomic, called as a method or by its path; a fence; assembly with
//! a locked instruction; and every plain look at an atomic's memory. What looks like one and cannot
//! be traced to a declaration is kept as unknown. As a second net, every name of a memory ordering
//! must stand inside an operation that was found: an operation that no rule sees still needs one.

use super::gates;
use super::index::{Body, Index};
use super::infer::{Scope, Value};
use super::macros;
use super::site::{ATOMIC_ONLY, Call, Fault, Found, LOCKED, ORDERINGS, SHARED_NAMES, Site};
use super::tree::words;
use super::types::Ty;
use std::collections::HashSet;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Walks one body.
pub fn walk(index: &Index, body: usize) -> Found {
    let the = &index.bodies[body];
    let mut walker = Walker {
        index,
        body,
        the,
        scope: Scope::of(index, the),
        found: Found::default(),
        statement: the.line,
        gates: usize::from(the.behind_a_feature),
        unused: None,
        consumed: HashSet::new(),
        named: Vec::new(),
    };
    if let Some(block) = &the.block {
        walker.visit_block(block);
    }
    if let Some(value) = &the.value {
        walker.visit_expr(value);
    }
    walker.found
}

/// A walk through one body.
pub struct Walker<'a> {
    pub index: &'a Index,
    pub body: usize,
    pub the: &'a Body,
    pub scope: Scope<'a>,
    pub found: Found,
    pub statement: usize,
    /// How many conditions on a gate hold here.
    pub gates: usize,
    /// The expression, by its place, whose value nobody uses.
    pub unused: Option<(usize, usize)>,
    /// Orderings, by place, that belong to an operation.
    pub consumed: HashSet<(usize, usize)>,
    /// The places of the operation that is being looked at.
    pub named: Vec<(usize, usize)>,
}

/// Where something begins.
pub fn place(spanned: &impl Spanned) -> (usize, usize) {
    let start = spanned.span().start();
    (start.line, start.column)
}

/// The ordering that an expression is, if it is one by name.
pub fn ordering(expr: &syn::Expr) -> Option<&syn::PathSegment> {
    let syn::Expr::Path(it) = expr else { return None };
    let last = it.path.segments.last()?;
    ORDERINGS.iter().any(|name| last.ident == name).then_some(last)
}

/// Whether this is `if !GATE::ON { return; }` or its like.
fn leaves_without_a_gate(index: &Index, file: usize, statement: &syn::Stmt) -> bool {
    let syn::Stmt::Expr(syn::Expr::If(it), _) = statement else { return false };
    let syn::Expr::Unary(condition) = &*it.cond else { return false };
    let leaves = matches!(
        it.then_branch.stmts.last(),
        Some(syn::Stmt::Expr(
            syn::Expr::Return(_) | syn::Expr::Continue(_) | syn::Expr::Break(_),
            _
        ))
    );
    matches!(condition.op, syn::UnOp::Not(_)) && gates::asks(index, file, &condition.expr) && leaves
}

impl Walker<'_> {
    pub fn fault(&mut self, line: usize, text: String) {
        self.found.faults.push(Fault { file: self.the.file, line, text });
    }

    pub fn site(
        &mut self,
        at: (usize, usize),
        line: usize,
        operation: &str,
        orderings: Vec<String>,
        atomic: Option<usize>,
        unknown: Option<String>,
    ) {
        self.found.sites.push(Site {
            body: self.body,
            line,
            statement: self.statement.min(line),
            operation: operation.to_owned(),
            orderings,
            atomic,
            unknown,
            gated: self.gates > 0,
            used: self.unused != Some(at),
            places: std::mem::take(&mut self.named),
        });
    }

    /// The orderings among the arguments, which are the operation's from now on.
    pub fn orderings<'e>(&mut self, arguments: impl Iterator<Item = &'e syn::Expr>) -> Vec<String> {
        let mut names = Vec::new();
        for argument in arguments {
            if let Some(last) = ordering(argument) {
                self.consumed.insert(place(&last.ident));
                self.named.push(place(&last.ident));
                names.push(last.ident.to_string());
            }
        }
        names
    }

    /// Notes a call: where the whole of it begins, and where the name of what is called stands.
    pub fn call(&mut self, targets: Vec<usize>, begins: (usize, usize), at: (usize, usize)) {
        if !targets.is_empty() {
            let used = self.unused != Some(begins);
            self.found.calls.push(Call { targets, line: at.0, at, used });
        }
    }

    /// A telemetry counter may be touched in the telemetry module only.
    fn touch(&mut self, value: &Value, line: usize) {
        let outside = !self.the.module.iter().any(|part| part == "telemetry");
        if let Some(atomic) = value.atomic.map(|at| &self.index.atomics[at])
            && atomic.telemetry
            && outside
        {
            let text = format!(
                "the telemetry counter {} is touched outside of the telemetry module; count through a function of the tally, \
                 read through the readers, and let no decision read it",
                atomic.name
            );
            self.fault(line, text);
        }
    }

    fn closure_arguments(
        &mut self,
        arguments: &syn::punctuated::Punctuated<syn::Expr, syn::Token![,]>,
        taken: &[Option<Vec<Value>>],
    ) {
        for (at, argument) in arguments.iter().enumerate() {
            match (argument, taken.get(at)) {
                (syn::Expr::Closure(closure), Some(Some(values))) => self.closure(closure, values),
                _ => self.visit_expr(argument),
            }
        }
    }

    fn closure(&mut self, closure: &syn::ExprClosure, values: &[Value]) {
        let outer = self.scope.locals.clone();
        for (at, input) in closure.inputs.iter().enumerate() {
            let value = values.get(at).cloned().unwrap_or_else(Value::unknown);
            self.scope.bind(input, &value);
        }
        self.visit_expr(&closure.body);
        self.scope.locals = outer;
    }
}

impl<'ast> Visit<'ast> for Walker<'_> {
    // Items inside a body are bodies of their own.
    fn visit_item(&mut self, _: &'ast syn::Item) {}

    fn visit_block(&mut self, block: &'ast syn::Block) {
        let outer = (self.scope.locals.clone(), self.gates, self.statement);
        for statement in &block.stmts {
            self.visit_stmt(statement);
            self.gates += usize::from(leaves_without_a_gate(self.index, self.the.file, statement));
        }
        (self.scope.locals, self.gates, self.statement) = outer;
    }

    fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
        self.statement = place(statement).0;
        match statement {
            syn::Stmt::Expr(expr, Some(_)) => {
                self.unused = Some(place(expr));
                self.visit_expr(expr);
                self.unused = None;
            }
            _ => visit::visit_stmt(self, statement),
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        let mut value = Value::unknown();
        if let Some(init) = &local.init {
            self.visit_expr(&init.expr);
            value = self.scope.infer(&init.expr);
            if let Some((_, diverge)) = &init.diverge {
                self.visit_expr(diverge);
            }
        }
        self.scope.bind(&local.pat, &value);
    }

    fn visit_expr_let(&mut self, it: &'ast syn::ExprLet) {
        self.visit_expr(&it.expr);
        let value = self.scope.infer(&it.expr);
        self.scope.bind(&it.pat, &value);
    }

    fn visit_expr_if(&mut self, it: &'ast syn::ExprIf) {
        let outer = self.scope.locals.clone();
        let gate = usize::from(gates::asks(self.index, self.the.file, &it.cond));
        // What follows the gate's name in the condition is behind it, too.
        self.gates += gate;
        self.visit_expr(&it.cond);
        self.visit_block(&it.then_branch);
        self.gates -= gate;
        self.scope.locals = outer;
        if let Some((_, other)) = &it.else_branch {
            self.visit_expr(other);
        }
    }

    fn visit_expr_while(&mut self, it: &'ast syn::ExprWhile) {
        let outer = self.scope.locals.clone();
        visit::visit_expr_while(self, it);
        self.scope.locals = outer;
    }

    fn visit_expr_for_loop(&mut self, it: &'ast syn::ExprForLoop) {
        self.visit_expr(&it.expr);
        let outer = self.scope.locals.clone();
        let value = self.scope.infer(&it.expr);
        self.scope.bind(&it.pat, &value.with(value.ty.inner()));
        self.visit_block(&it.body);
        self.scope.locals = outer;
    }

    fn visit_expr_match(&mut self, it: &'ast syn::ExprMatch) {
        self.visit_expr(&it.expr);
        let value = self.scope.infer(&it.expr);
        for arm in &it.arms {
            let outer = (self.scope.locals.clone(), self.statement);
            self.statement = place(&arm.pat).0;
            self.scope.bind(&arm.pat, &value);
            self.visit_pat(&arm.pat);
            self.visit_expr(&arm.body);
            (self.scope.locals, self.statement) = outer;
        }
    }

    fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
        let outer = self.statement;
        self.statement = place(&field.member).0;
        self.visit_expr(&field.expr);
        self.statement = outer;
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        self.closure(closure, &[]);
    }

    fn visit_expr_cast(&mut self, it: &'ast syn::ExprCast) {
        let value = self.scope.infer(&it.expr);
        let target = self.index.names.convert(&it.ty, self.the.me.as_ref());
        // `as *const _` goes on; `as usize` of what an operation returned is no look at memory.
        if value.ty.is_atomic()
            && !target.is_atomic()
            && matches!(*it.ty, syn::Type::Ptr(_))
            && target != Ty::named("_")
            && target != Ty::Unknown
        {
            self.site(
                place(it),
                it.as_token.span().start().line,
                "as",
                Vec::new(),
                value.atomic,
                None,
            );
        }
        visit::visit_expr_cast(self, it);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let at = place(call);
        let name = call.method.to_string();
        if !self.operation(call) {
            let value = self.scope.infer(&call.receiver);
            let targets = match self.scope.methods(&value.ty, &name) {
                Some((found, _)) => found,
                None if value.ty == Ty::Unknown => self.index.methods_like(&name, call.args.len()),
                None => Vec::new(),
            };
            self.call(targets, at, place(&call.method));
        }
        // Its receiver begins where the call does, but its value is used.
        self.unused = self.unused.filter(|unused| *unused != at);
        self.visit_expr(&call.receiver);
        let taken = self.scope.closures(call);
        self.closure_arguments(&call.args, &taken);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let at = place(call);
        if let syn::Expr::Path(callee) = &*call.func {
            let local = callee
                .path
                .get_ident()
                .is_some_and(|name| self.scope.locals.contains_key(&name.to_string()));
            let mut taken = Vec::new();
            if !local && !self.path_operation(call, &callee.path) {
                let targets =
                    self.index.find_functions(self.the.file, &callee.path, self.the.me.as_ref());
                taken = self.scope.taken_by(&targets);
                let name = callee.path.segments.last().map_or(at, |last| place(&last.ident));
                self.call(targets, at, name);
            }
            self.unused = self.unused.filter(|unused| *unused != at);
            self.closure_arguments(&call.args, &taken);
        } else {
            self.unused = self.unused.filter(|unused| *unused != at);
            visit::visit_expr_call(self, call);
        }
    }

    fn visit_expr_field(&mut self, it: &'ast syn::ExprField) {
        let value = self.scope.infer(&syn::Expr::Field(it.clone()));
        self.touch(&value, place(&it.member).0);
        visit::visit_expr_field(self, it);
    }

    fn visit_expr_path(&mut self, it: &'ast syn::ExprPath) {
        let Some(last) = it.path.segments.last() else { return };
        let (name, line) = (last.ident.to_string(), last.ident.span().start().line);
        if ORDERINGS.contains(&name.as_str()) && !self.consumed.contains(&place(&last.ident)) {
            let parts = self.index.expand(self.the.file, &it.path);
            let owner = parts.iter().rev().nth(1).cloned().unwrap_or_default();
            if !self.index.names.own.contains(&owner) {
                self.fault(line, format!(
                    "unknown: the ordering `{name}` stands outside of an atomic operation; write it at the operation, and the operation \
                     as a call on the atomic itself"
                ));
            }
            return;
        }
        if it.path.get_ident().is_some_and(|name| self.scope.locals.contains_key(&name.to_string()))
        {
            return;
        }
        let mut owner = it.path.clone();
        owner.segments.pop();
        owner.segments.pop_punct();
        let operation = ATOMIC_ONLY.contains(&name.as_str())
            || SHARED_NAMES.iter().any(|(shared, _)| *shared == name);
        if operation && !owner.segments.is_empty() && self.index.names.is_atomic(&owner) {
            let why = "an atomic's method is taken as a value; call it on the atomic";
            self.site(place(it), line, &name, Vec::new(), None, Some(why.to_owned()));
            return;
        }
        if let Some(found) = self.index.find_static(self.the.file, &it.path) {
            let (ty, atomic, body) = (found.ty.clone(), found.atomic, found.body);
            self.touch(&Value { ty, atomic }, line);
            self.call(vec![body], (0, 0), place(&last.ident));
            return;
        }
        let targets = self.index.find_functions(self.the.file, &it.path, self.the.me.as_ref());
        self.call(targets, (0, 0), place(&last.ident));
    }

    fn visit_macro(&mut self, it: &'ast syn::Macro) {
        let name = it.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
        let line = place(&it.path).0;
        if name.ends_with("asm") {
            let text = macros::strings(&it.tokens);
            if let Some(word) = words(&text.to_lowercase()).find(|word| LOCKED.contains(word)) {
                let operation = "asm!";
                self.site((0, 0), line, operation, vec![format!("Assembly ({word})")], None, None);
            }
            return;
        }
        let outer = self.statement;
        let parsed = macros::parse(it.tokens.clone());
        for part in &parsed.expressions {
            self.visit_expr(part);
        }
        if !parsed.statements.is_empty() {
            for statement in &parsed.statements {
                self.visit_stmt(statement);
            }
        }
        self.statement = outer;
        if let Some((line, what)) = parsed.unread {
            self.fault(line, format!(
                "unknown: `{what}` inside {name}!, whose arguments can't be read as Rust; move the operation out of the macro"
            ));
        }
    }
}
