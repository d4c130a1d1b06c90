//! Whether a call is an atomic operation: by the type of what it is on, and by its name.

use super::index::Index;
use super::infer::Value;
use super::site::{ATOMIC_ONLY, PLAIN, SHARED_NAMES};
use super::tree::words;
use super::types::Ty;
use super::walk::{Walker, ordering, place};
use syn::visit::Visit;

impl Walker<'_> {
    /// Whether an expression is an atomic, by itself or through a type that stands for one.
    pub fn atomic(&self, value: &Value) -> Option<Option<usize>> {
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
    pub fn operation(&mut self, call: &syn::ExprMethodCall) -> bool {
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
    pub fn path_operation(&mut self, call: &syn::ExprCall, path: &syn::Path) -> bool {
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
}
