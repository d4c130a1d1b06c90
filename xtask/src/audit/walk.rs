//! Finds the atomic operations of every body, and what each body calls.
//!
//! An operation is a method of an atomic, called as a method or by its path; a fence; assembly with
//! a locked instruction; and every plain look at an atomic's memory. What looks like one and cannot
//! be traced to a declaration is kept as unknown. As a second net, every name of a memory ordering
//! must stand inside an operation that was found: an operation that no rule sees still needs one.

use super::index::{Body, Index};
use super::infer::{Scope, Value};
use super::macros;
use super::tree::words;
use super::types::Ty;
use std::collections::HashSet;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// The memory orderings.
pub const ORDERINGS: &[&str] = &["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];

/// Methods that only atomics have.
pub const ATOMIC_ONLY: &[&str] = &[
    "fetch_add",
    "fetch_sub",
    "fetch_and",
    "fetch_nand",
    "fetch_or",
    "fetch_xor",
    "fetch_not",
    "fetch_max",
    "fetch_min",
    "fetch_update",
    "try_update",
    "fetch_ptr_add",
    "fetch_ptr_sub",
    "fetch_byte_add",
    "fetch_byte_sub",
    "compare_exchange",
    "compare_exchange_weak",
    "compare_and_swap",
];

/// Methods that others have too, with the number of arguments that an atomic's take.
const SHARED_NAMES: &[(&str, usize)] = &[("load", 1), ("store", 2), ("swap", 2)];

/// Ways to an atomic's memory that are no atomic operation.
const PLAIN: &[&str] = &[
    "as_ptr",
    "as_mut_ptr",
    "get_mut",
    "get_mut_slice",
    "into_inner",
    "from_ptr",
    "from_mut",
    "from_mut_slice",
    "cast",
    "read",
    "write",
    "read_volatile",
    "write_volatile",
    "read_unaligned",
    "write_unaligned",
    "write_bytes",
    "copy_from",
    "copy_from_nonoverlapping",
    "copy_to",
    "copy_to_nonoverlapping",
    "replace",
];

/// Instructions in assembly that are atomic operations or fences.
const LOCKED: &[&str] = &[
    "lock",
    "xchg",
    "cmpxchg",
    "cmpxchg8b",
    "cmpxchg16b",
    "xadd",
    "mfence",
    "lfence",
    "sfence",
    "ldxr",
    "stxr",
    "ldaxr",
    "stlxr",
    "ldar",
    "stlr",
    "dmb",
    "ldadd",
    "swp",
    "cas",
    "casal",
];

/// One operation.
#[derive(Clone, Debug)]
pub struct Site {
    /// The body that it stands in.
    pub body: usize,
    /// Its line.
    pub line: usize,
    /// Where the statement that it is part of begins.
    pub statement: usize,
    /// The method's name, `fence` or `asm!`.
    pub operation: String,
    /// The orderings that it names, the success ordering first.
    pub orderings: Vec<String>,
    /// Which atomic; `None` for a fence.
    pub atomic: Option<usize>,
    /// Why it could not be placed.
    pub unknown: Option<String>,
    /// Whether it stands behind a gate.
    pub gated: bool,
    /// Whether what it returns is used.
    pub used: bool,
    /// Where its orderings' names stand.
    pub places: Vec<(usize, usize)>,
}

impl Site {
    /// Whether the processor locks the line (or waits for its stores) for it.
    pub fn locked(&self) -> bool {
        match self.operation.as_str() {
            "store" | "fence" => self.orderings.iter().any(|it| it == "SeqCst"),
            "load" | "compiler_fence" => false,
            name => name == "asm!" || name == "swap" || ATOMIC_ONLY.contains(&name),
        }
    }

    /// Whether it learns the atomic's value.
    pub fn reads(&self) -> bool {
        match self.operation.as_str() {
            "load" => true,
            "store" | "fence" | "compiler_fence" => false,
            name if name.starts_with("compare") => true,
            _ => self.used,
        }
    }
}

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The bodies it may reach.
    pub targets: Vec<usize>,
    /// Its line.
    pub line: usize,
    /// Whether what it returns is used.
    pub used: bool,
}

/// Something wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    pub file: usize,
    pub line: usize,
    pub text: String,
}

/// What was found in one body.
#[derive(Default)]
pub struct Found {
    pub sites: Vec<Site>,
    pub calls: Vec<Call>,
    pub faults: Vec<Fault>,
}

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

struct Walker<'a> {
    index: &'a Index,
    body: usize,
    the: &'a Body,
    scope: Scope<'a>,
    found: Found,
    statement: usize,
    /// How many conditions on a gate hold here.
    gates: usize,
    /// The expression, by its place, whose value nobody uses.
    unused: Option<(usize, usize)>,
    /// Orderings, by place, that belong to an operation.
    consumed: HashSet<(usize, usize)>,
    /// The places of the operation that is being looked at.
    named: Vec<(usize, usize)>,
}

/// Where something begins.
fn place(spanned: &impl Spanned) -> (usize, usize) {
    let start = spanned.span().start();
    (start.line, start.column)
}

/// The ordering that an expression is, if it is one by name.
fn ordering(expr: &syn::Expr) -> Option<&syn::PathSegment> {
    let syn::Expr::Path(it) = expr else { return None };
    let last = it.path.segments.last()?;
    ORDERINGS.iter().any(|name| last.ident == name).then_some(last)
}

/// Whether a condition holds only where a gate is on.
fn asks_a_gate(condition: &syn::Expr) -> bool {
    match condition {
        syn::Expr::Paren(it) => asks_a_gate(&it.expr),
        syn::Expr::Group(it) => asks_a_gate(&it.expr),
        syn::Expr::Binary(it) if matches!(it.op, syn::BinOp::And(_)) => {
            asks_a_gate(&it.left) || asks_a_gate(&it.right)
        }
        syn::Expr::Const(it) => {
            matches!(it.block.stmts.last(), Some(syn::Stmt::Expr(expr, None)) if asks_a_gate(expr))
        }
        syn::Expr::Path(it) => {
            it.path.segments.len() > 1
                && it.path.segments.last().is_some_and(|last| last.ident == "ON")
        }
        syn::Expr::Macro(it) => {
            it.mac.path.is_ident("cfg") && it.mac.tokens.to_string().starts_with("feature")
        }
        _ => false,
    }
}

/// Whether this is `if !GATE::ON { return; }` or its like.
fn leaves_without_a_gate(statement: &syn::Stmt) -> bool {
    let syn::Stmt::Expr(syn::Expr::If(it), _) = statement else { return false };
    let syn::Expr::Unary(condition) = &*it.cond else { return false };
    let leaves = matches!(
        it.then_branch.stmts.last(),
        Some(syn::Stmt::Expr(
            syn::Expr::Return(_) | syn::Expr::Continue(_) | syn::Expr::Break(_),
            _
        ))
    );
    matches!(condition.op, syn::UnOp::Not(_)) && asks_a_gate(&condition.expr) && leaves
}

impl Walker<'_> {
    fn fault(&mut self, line: usize, text: String) {
        self.found.faults.push(Fault { file: self.the.file, line, text });
    }

    fn site(
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
    fn orderings<'e>(&mut self, arguments: impl Iterator<Item = &'e syn::Expr>) -> Vec<String> {
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

    fn call(&mut self, targets: Vec<usize>, at: (usize, usize), line: usize) {
        if !targets.is_empty() {
            self.found.calls.push(Call { targets, line, used: self.unused != Some(at) });
        }
    }

    /// Whether an expression is an atomic, by itself or through a type that stands for one.
    fn atomic(&self, value: &Value) -> Option<Option<usize>> {
        match &value.ty {
            it if it.is_atomic() => Some(value.atomic),
            Ty::Named(name, _) if self.index.derefs.get(name).is_some_and(Ty::is_atomic) => {
                let field = self.index.fields.iter().find(|((owner, _), _)| owner == name);
                Some(value.atomic.or(field.and_then(|(_, fields)| fields.first()?.atomic)))
            }
            _ => None,
        }
    }

    /// Whether an expression names an atomic somewhere.
    fn mentions_an_atomic(&self, expr: &syn::Expr) -> bool {
        struct Mentions<'a>(&'a Index, bool);
        impl<'ast> Visit<'ast> for Mentions<'_> {
            fn visit_ident(&mut self, ident: &'ast syn::Ident) {
                let name = ident.to_string();
                self.1 |= self.0.atomics.iter().any(|atomic| {
                    words(&atomic.name).last() == Some(&name) && !atomic.name.ends_with(')')
                        || atomic.name.strip_suffix("()") == Some(&name)
                });
            }
        }
        let mut mentions = Mentions(self.index, false);
        mentions.visit_expr(expr);
        mentions.1
    }

    /// Looks at a method call; true if it is an operation, known or not.
    fn operation(&mut self, call: &syn::ExprMethodCall) -> bool {
        let name = call.method.to_string();
        let (at, line) = (place(call), call.method.span().start().line);
        let only = ATOMIC_ONLY.contains(&name.as_str());
        let shared = SHARED_NAMES.iter().find(|(shared, _)| *shared == name);
        let value = self.scope.infer(&call.receiver);
        if only || shared.is_some() {
            if let Some(atomic) = self.atomic(&value) {
                let orderings = self.orderings(call.args.iter());
                let unknown = (orderings.is_empty()).then(|| {
                    "its ordering is not written here; expected `Ordering::...` among the arguments".to_owned()
                });
                self.site(at, line, &name, orderings, atomic, unknown);
                return true;
            }
            if self.scope.methods(&value.ty, &name).is_some() {
                return false;
            }
            let ordered = call.args.iter().any(|argument| ordering(argument).is_some());
            let fits = shared.is_some_and(|(_, arguments)| *arguments == call.args.len());
            if only || ordered || (value.ty == Ty::Unknown && fits) {
                let orderings = self.orderings(call.args.iter());
                let why = "which atomic it is on can't be told; give the receiver a name with a type: `let it: &AtomicU64 = ...`";
                self.site(at, line, &name, orderings, None, Some(why.to_owned()));
                return true;
            }
            return false;
        }
        if !PLAIN.contains(&name.as_str()) {
            return false;
        }
        let list = matches!(&value.ty, Ty::List(inner) if inner.is_atomic())
            && matches!(name.as_str(), "as_ptr" | "as_mut_ptr");
        if let Some(atomic) = self.atomic(&value).or(list.then_some(value.atomic)) {
            let still = name == "cast"
                && self.scope.infer(&syn::Expr::MethodCall(call.clone())).ty.is_atomic();
            if !still {
                self.site(at, line, &name, Vec::new(), atomic, None);
            }
            return true;
        }
        if value.ty == Ty::Unknown && name != "cast" && self.mentions_an_atomic(&call.receiver) {
            let why = "whether it looks at an atomic's memory can't be told; give the receiver a name with a type";
            self.site(at, line, &name, Vec::new(), None, Some(why.to_owned()));
            return true;
        }
        false
    }

    /// Looks at a call by path; true if it is an operation.
    fn path_operation(&mut self, call: &syn::ExprCall, path: &syn::Path) -> bool {
        let Some(last) = path.segments.last() else { return false };
        let name = last.ident.to_string();
        let (at, line) = (place(call), last.ident.span().start().line);
        let parts = self.index.expand(self.the.file, path);
        let own = !self.index.find_functions(self.the.file, path, self.the.me.as_ref()).is_empty();
        if matches!(name.as_str(), "fence" | "compiler_fence")
            && (!own || parts.iter().any(|part| part == "atomic"))
        {
            let orderings = self.orderings(call.args.iter());
            let unknown =
                orderings.is_empty().then(|| "its ordering is not written here".to_owned());
            self.site(at, line, &name, orderings, None, unknown);
            return true;
        }
        if name.starts_with("atomic_")
            || name.starts_with("__atomic_")
            || name.starts_with("__sync_")
        {
            let why = "a compiler's intrinsic; expected a method of the types in base/sync.rs";
            self.site(at, line, &name, Vec::new(), None, Some(why.to_owned()));
            return true;
        }
        let first =
            call.args.first().map_or_else(Value::unknown, |argument| self.scope.infer(argument));
        let mut owner = path.clone();
        owner.segments.pop();
        owner.segments.pop_punct();
        let known = ATOMIC_ONLY.contains(&name.as_str())
            || SHARED_NAMES.iter().any(|(shared, _)| *shared == name);
        if !owner.segments.is_empty()
            && self.index.names.is_atomic(&owner)
            && (known || PLAIN.contains(&name.as_str()))
        {
            let orderings = self.orderings(call.args.iter());
            let traced = self.atomic(&first).is_some() || !known;
            let unknown = (!traced)
                .then(|| "which atomic it is on can't be told; call it as a method".to_owned());
            self.site(at, line, &name, orderings, first.atomic, unknown);
            return true;
        }
        let raw = parts.iter().rev().nth(1).is_some_and(|part| part == "ptr");
        if raw && first.ty.is_atomic() && PLAIN.contains(&name.as_str()) {
            self.site(at, line, &format!("ptr::{name}"), Vec::new(), first.atomic, None);
            return true;
        }
        false
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
            self.gates += usize::from(leaves_without_a_gate(statement));
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
        let gate = usize::from(asks_a_gate(&it.cond));
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
        let (at, line) = (place(call), call.method.span().start().line);
        let name = call.method.to_string();
        if !self.operation(call) {
            let value = self.scope.infer(&call.receiver);
            let targets = match self.scope.methods(&value.ty, &name) {
                Some((found, _)) => found,
                None if value.ty == Ty::Unknown => self.index.methods_like(&name, call.args.len()),
                None => Vec::new(),
            };
            self.call(targets, at, line);
        }
        // Its receiver begins where the call does, but its value is used.
        self.unused = self.unused.filter(|unused| *unused != at);
        self.visit_expr(&call.receiver);
        let taken = self.scope.closures(call);
        self.closure_arguments(&call.args, &taken);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let (at, line) = (place(call), place(call).0);
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
                self.call(targets, at, line);
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
            self.call(vec![body], (0, 0), line);
            return;
        }
        let targets = self.index.find_functions(self.the.file, &it.path, self.the.me.as_ref());
        self.call(targets, (0, 0), line);
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
