//! What a function of the telemetry answers when every gate is off, worked out from its source: `()`
//! for one that returns nothing, else what its body comes to with every `ON` false.
//!
//! Knows as much of Rust as such functions need: constants, `!`, `&&`, `||`, `if`, `return`, literals.
//! Whatever else decides the answer makes it unknown, never wrong.

use std::collections::BTreeMap;
use syn::{BinOp, Expr, Lit, ReturnType, Stmt, UnOp};

/// Constants whose value is known, by name.
pub type Constants = BTreeMap<String, Answer>;

/// A value that is known without running anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    Unit,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(u64),
}

impl Answer {
    /// As source.
    pub fn source(&self) -> String {
        match self {
            Answer::Unit => "()".to_owned(),
            Answer::Bool(value) => value.to_string(),
            Answer::Number(value) => value.to_string(),
        }
    }
}

/// How a block or statement ended.
enum Ended {
    /// With a value, or none that is known.
    Value(Option<Answer>),
    /// By `return`.
    Returned(Option<Answer>),
}

/// What a function of the telemetry answers with every gate off, if that can be told. One that
/// returns nothing does nothing then, which is what the comparison proves.
pub fn of(function: &syn::Signature, body: &syn::Block, constants: &Constants) -> Option<Answer> {
    if matches!(function.output, ReturnType::Default) {
        return Some(Answer::Unit);
    }
    match block(body, constants) {
        Ended::Value(answer) | Ended::Returned(answer) => answer,
    }
}

/// What any function answers, if these constants alone decide it, and that it does nothing else.
pub fn decided(body: &syn::Block, constants: &Constants) -> Option<Answer> {
    for (at, statement) in body.stmts.iter().enumerate() {
        let Stmt::Expr(expression, semicolon) = statement else { return None };
        if !only_decides(expression, constants) {
            return None;
        }
        match value(expression, constants) {
            Ended::Returned(answer) => return answer,
            Ended::Value(None) => return None,
            Ended::Value(answer) if at + 1 == body.stmts.len() && semicolon.is_none() => {
                return answer;
            }
            Ended::Value(_) => {}
        }
    }
    Some(Answer::Unit)
}

/// Whether the part of an expression that is run, given the constants, does nothing but decide.
fn only_decides(expression: &Expr, constants: &Constants) -> bool {
    let all = |block: &syn::Block| {
        block.stmts.iter().all(|statement| match statement {
            Stmt::Expr(expression, _) => only_decides(expression, constants),
            _ => false,
        })
    };
    match expression {
        Expr::Block(inner) => all(&inner.block),
        Expr::If(conditional) => match value(&conditional.cond, constants) {
            Ended::Value(Some(Answer::Bool(true))) => all(&conditional.then_branch),
            Ended::Value(Some(Answer::Bool(false))) => {
                let other = conditional.else_branch.as_ref();
                other.is_none_or(|(_, other)| only_decides(other, constants))
            }
            _ => false,
        },
        _ => {
            matches!(value(expression, constants), Ended::Value(Some(_)) | Ended::Returned(Some(_)))
        }
    }
}

/// The value of a constant's expression.
pub fn constant(expression: &Expr, constants: &Constants) -> Option<Answer> {
    match value(expression, constants) {
        Ended::Value(answer) => answer,
        Ended::Returned(_) => None,
    }
}

fn block(body: &syn::Block, constants: &Constants) -> Ended {
    let mut last = Ended::Value(Some(Answer::Unit));
    for statement in &body.stmts {
        last = match statement {
            Stmt::Expr(expression, semicolon) => match value(expression, constants) {
                Ended::Value(answer) if semicolon.is_none() => Ended::Value(answer),
                // What a statement comes to is lost; whether it may return is not.
                Ended::Value(_) if returns(expression) => return Ended::Returned(None),
                Ended::Value(_) => Ended::Value(Some(Answer::Unit)),
                returned @ Ended::Returned(_) => return returned,
            },
            // A binding decides nothing that is looked at here; `let ... else` may leave.
            Stmt::Local(local) => {
                if local.init.as_ref().is_some_and(|init| init.diverge.is_some()) {
                    return Ended::Returned(None);
                }
                Ended::Value(Some(Answer::Unit))
            }
            Stmt::Item(_) => Ended::Value(Some(Answer::Unit)),
            Stmt::Macro(_) => Ended::Value(None),
        };
        // An `if` that is the last thing of a block has no semicolon and is its value; one in the
        // middle may have returned without our knowing.
        if let (Stmt::Expr(expression, _), Ended::Value(None)) = (statement, &last)
            && returns(expression)
        {
            return Ended::Returned(None);
        }
    }
    last
}

fn value(expression: &Expr, constants: &Constants) -> Ended {
    let known = |expression: &Expr| match value(expression, constants) {
        Ended::Value(answer) => answer,
        Ended::Returned(_) => None,
    };
    Ended::Value(match expression {
        Expr::Paren(inner) => return value(&inner.expr, constants),
        Expr::Group(inner) => return value(&inner.expr, constants),
        Expr::Block(inner) => return block(&inner.block, constants),
        Expr::Return(inner) => {
            return Ended::Returned(match &inner.expr {
                Some(inner) => known(inner),
                None => Some(Answer::Unit),
            });
        }
        Expr::If(conditional) => {
            return match known(&conditional.cond) {
                Some(Answer::Bool(true)) => block(&conditional.then_branch, constants),
                Some(Answer::Bool(false)) => match &conditional.else_branch {
                    Some((_, other)) => value(other, constants),
                    None => Ended::Value(Some(Answer::Unit)),
                },
                _ => Ended::Value(None),
            };
        }
        Expr::Lit(literal) => match &literal.lit {
            Lit::Bool(value) => Some(Answer::Bool(value.value)),
            Lit::Int(value) => value.base10_parse().ok().map(Answer::Number),
            _ => None,
        },
        // `X::ON`, and constants made of it.
        Expr::Path(path) => path.path.segments.last().and_then(|last| {
            let name = last.ident.to_string();
            if name == "ON" && path.path.segments.len() > 1 {
                Some(Answer::Bool(false))
            } else {
                constants.get(&name).cloned()
            }
        }),
        Expr::Unary(unary) => match (&unary.op, known(&unary.expr)) {
            (UnOp::Not(_), Some(Answer::Bool(value))) => Some(Answer::Bool(!value)),
            _ => None,
        },
        Expr::Binary(binary) => {
            let (left, right) = (known(&binary.left), known(&binary.right));
            let is = |side: &Option<Answer>, wanted: bool| *side == Some(Answer::Bool(wanted));
            match binary.op {
                BinOp::Or(_) if is(&left, true) || is(&right, true) => Some(Answer::Bool(true)),
                BinOp::Or(_) if is(&left, false) && is(&right, false) => Some(Answer::Bool(false)),
                BinOp::And(_) if is(&left, false) || is(&right, false) => Some(Answer::Bool(false)),
                BinOp::And(_) if is(&left, true) && is(&right, true) => Some(Answer::Bool(true)),
                _ => None,
            }
        }
        _ => None,
    })
}

/// Whether a `return` or `?` stands anywhere inside.
fn returns(expression: &Expr) -> bool {
    struct Returns(bool);
    impl<'ast> syn::visit::Visit<'ast> for Returns {
        fn visit_expr_return(&mut self, _: &'ast syn::ExprReturn) {
            self.0 = true;
        }
        fn visit_expr_try(&mut self, _: &'ast syn::ExprTry) {
            self.0 = true;
        }
        fn visit_expr_closure(&mut self, _: &'ast syn::ExprClosure) {}
    }
    let mut returns = Returns(false);
    syn::visit::Visit::visit_expr(&mut returns, expression);
    returns.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Option<String> {
        let function: syn::ItemFn = syn::parse_str(text).unwrap();
        let constants = Constants::from([("CHECKED".to_owned(), Answer::Bool(false))]);
        of(&function.sig, &function.block, &constants).map(|answer| answer.source())
    }

    #[test]
    fn only_what_the_constants_decide_is_decided() {
        let constants = Constants::from([("ON".to_owned(), Answer::Bool(false))]);
        for (text, wanted) in [
            ("{ if ON && due() { start(); } }", Some("()")),
            ("{ if !ON { return; } work(); }", Some("()")),
            ("{ if ON { count(); } work(); }", None),
            ("{ let due = look(); if ON && due { start(); } }", None),
            ("{ if ON { 3 } else { 7 } }", Some("7")),
            ("{ if ON { count(); } else { work(); } }", None),
            ("{ if !ON { work(); 7 } else { 3 } }", None),
            ("{ start(); }", None),
        ] {
            let body: syn::Block = syn::parse_str(text).unwrap();
            let told = decided(&body, &constants).map(|answer| answer.source());
            assert_eq!(told.as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn answers_are_what_the_function_comes_to_with_its_gates_off() {
        for (text, wanted) in [
            ("fn f(x: usize) { count(x) }", Some("()")),
            ("fn f(x: usize) -> bool { !CHECKED || x < COUNT }", Some("true")),
            ("fn f(x: usize) -> bool { x < COUNT && Gate::ON }", Some("false")),
            ("fn f() -> u64 { if Gate::ON { cycles() } else { 0 } }", Some("0")),
            (
                "fn f(x: usize) -> bool { if !CHECKED || (1..9).contains(&x) { return true; } log(x); false }",
                Some("true"),
            ),
            ("fn f() -> u64 { unsafe_thing() }", None),
            ("fn f(x: bool) -> bool { if x { return false; } true }", None),
            ("fn f(x: bool) -> bool { if x { g(); } true }", Some("true")),
            ("fn f(x: Option<u8>) -> bool { let Some(_) = x else { return false }; true }", None),
            ("fn f(x: Option<u8>) -> bool { x?; true }", None),
            ("fn f(x: bool) -> bool { x || !CHECKED }", Some("true")),
            ("fn f() -> bool { ON }", None),
        ] {
            assert_eq!(answer(text).as_deref(), wanted, "{text}");
        }
    }
}
