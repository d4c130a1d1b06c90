//! Values that go back where they came from: what telemetry gives out and gets back, as the start of a
//! measured stretch, decides nothing on its way.

use super::index::Index;
use super::site::{Call, Found};
use super::walk::place;
use std::collections::HashSet;
use syn::visit::{self, Visit};

/// Whether the result of `call` in `body` is bound to a name that is used for nothing but arguments
/// of telemetry's functions, at once or through other functions that do the same.
pub fn only_goes_back(index: &Index, found: &[Found], body: usize, call: &Call) -> bool {
    let Some(block) = &index.bodies[body].block else { return false };
    let mut binding = Binding { at: call.at, name: None };
    binding.visit_block(block);
    binding
        .name
        .is_some_and(|name| Feed { index, found, seen: HashSet::new() }.telemetry_only(body, &name))
}

/// Finds the name in `let name = ...call...();`.
struct Binding {
    at: (usize, usize),
    name: Option<String>,
}

impl<'ast> Visit<'ast> for Binding {
    fn visit_local(&mut self, local: &'ast syn::Local) {
        if let (syn::Pat::Ident(name), Some(init)) = (&local.pat, &local.init) {
            let at = match &*init.expr {
                syn::Expr::MethodCall(call) => Some(place(&call.method)),
                syn::Expr::Call(call) => match &*call.func {
                    syn::Expr::Path(it) => it.path.segments.last().map(|last| place(&last.ident)),
                    _ => None,
                },
                _ => None,
            };
            if at == Some(self.at) {
                self.name = Some(name.ident.to_string());
            }
        }
        visit::visit_local(self, local);
    }
}

struct Feed<'a> {
    index: &'a Index,
    found: &'a [Found],
    seen: HashSet<(usize, String)>,
}

impl Feed<'_> {
    fn telemetry_only(&mut self, body: usize, name: &str) -> bool {
        if !self.seen.insert((body, name.to_owned())) {
            return true;
        }
        let Some(block) = &self.index.bodies[body].block else { return false };
        let mut uses = Uses { name, arguments: Vec::new(), other: false };
        uses.visit_block(block);
        if uses.other {
            return false;
        }
        uses.arguments.into_iter().all(|(at, position)| {
            let targets: Vec<usize> = self.found[body]
                .calls
                .iter()
                .filter(|call| call.at == at)
                .flat_map(|call| call.targets.clone())
                .collect();
            !targets.is_empty() && targets.into_iter().all(|target| self.takes(target, position))
        })
    }

    /// Whether a function does no more with its parameter than that.
    fn takes(&mut self, target: usize, position: usize) -> bool {
        let the = &self.index.bodies[target];
        if the.module.first().is_some_and(|first| first == "telemetry") {
            return true;
        }
        match the.parameters.get(position).and_then(|parameter| parameter.pattern.as_ref()) {
            Some(syn::Pat::Ident(name)) => {
                let name = name.ident.to_string();
                self.telemetry_only(target, &name)
            }
            _ => false,
        }
    }
}

/// How a name is used: as a whole argument of a call, or in another way.
struct Uses<'a> {
    name: &'a str,
    arguments: Vec<((usize, usize), usize)>,
    other: bool,
}

impl Uses<'_> {
    fn arguments<'e>(
        &mut self,
        at: (usize, usize),
        arguments: impl Iterator<Item = &'e syn::Expr>,
    ) {
        for (position, argument) in arguments.enumerate() {
            match argument {
                syn::Expr::Path(it) if it.path.is_ident(self.name) => {
                    self.arguments.push((at, position))
                }
                other => self.visit_expr(other),
            }
        }
    }
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.visit_expr(&call.receiver);
        self.arguments(place(&call.method), call.args.iter());
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        match &*call.func {
            syn::Expr::Path(it) => {
                let at = it.path.segments.last().map_or((0, 0), |last| place(&last.ident));
                self.arguments(at, call.args.iter());
            }
            _ => visit::visit_expr_call(self, call),
        }
    }

    fn visit_expr_path(&mut self, it: &'ast syn::ExprPath) {
        self.other |= it.path.is_ident(self.name);
    }

    fn visit_macro(&mut self, it: &'ast syn::Macro) {
        // A macro may do anything with it.
        self.other |= super::tree::words(&it.tokens.to_string()).any(|word| word == self.name);
    }
}
