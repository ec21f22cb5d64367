//! Visits statements and expressions in the order in which they are written, with the
//! scopes of variables.
//!
//! Rhai's own walk visits the same nodes, without scopes.

use rhai::{AST, ASTFlags, ASTNode, BinaryExpr, Expr, Ident, Position, Stmt, StmtBlock};

use super::bodies::Bodies;

/// How a variable comes into a scope.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// `let` or `const`.
    Declared,
    /// `let` or `const` with `export`.
    Exported,
    /// The variable or the counter of a `for` loop.
    Loop,
    /// The error of a `catch`.
    Caught,
    /// The parameter of a function or closure.
    Parameter,
}

/// What a walk does at each place.
pub(super) trait Visitor {
    /// A scope of variables begins.
    fn open(&mut self) {}
    /// The last scope ends.
    fn close(&mut self) {}
    /// A statement, before its parts.
    fn statement(&mut self, _statement: &Stmt) {}
    /// A variable comes into the last scope, after its initial value was visited.
    fn declare(&mut self, _name: &Ident, _origin: Origin, _initial: Option<&Expr>) {}
    /// An expression, before its parts. `is_used` is false for a statement whose value
    /// is dropped.
    fn expression(&mut self, _expr: &Expr, _is_used: bool) {}
    /// Whether `expr` is assigned to, and therefore not visited as an expression.
    fn assign(&mut self, _expr: &Expr) -> bool {
        false
    }
}

/// Walks the statements of a file, then its functions and closures.
pub(super) fn walk(ast: &AST, visitor: &mut impl Visitor) {
    let functions: Vec<_> = ast.iter_fn_def().collect();
    let bodies = Bodies::of(ast);
    let mut here = 0;
    visitor.open();
    // Rhai does not give access to the statements of a function in another way.
    ast.walk(&mut |nodes| {
        if let [ASTNode::Stmt(statement)] = nodes {
            let around = bodies.around(nodes);
            if around != here {
                here = around;
                visitor.close();
                visitor.open();
                let function = around.checked_sub(1).and_then(|at| functions.get(at));
                for name in function.into_iter().flat_map(|f| &f.params) {
                    let parameter = Ident {
                        name: name.clone(),
                        pos: Position::NONE,
                    };
                    visitor.declare(&parameter, Origin::Parameter, None);
                }
            }
            visit(statement, visitor);
        }
        true
    });
    visitor.close();
}

fn block(block: &StmtBlock, visitor: &mut impl Visitor) {
    visitor.open();
    for statement in block {
        visit(statement, visitor);
    }
    visitor.close();
}

fn visit(statement: &Stmt, visitor: &mut impl Visitor) {
    visitor.statement(statement);
    match statement {
        Stmt::If(flow, _) => {
            expression(&flow.expr, true, visitor);
            block(&flow.body, visitor);
            block(&flow.branch, visitor);
        }
        Stmt::While(flow, _) | Stmt::Do(flow, ..) => {
            expression(&flow.expr, true, visitor);
            block(&flow.body, visitor);
        }
        Stmt::Switch(parts, _) => {
            expression(&parts.0, true, visitor);
            for BinaryExpr { lhs, rhs } in &parts.1.expressions {
                expression(lhs, true, visitor);
                expression(rhs, false, visitor);
            }
        }
        Stmt::For(parts, _) => {
            let (item, counter, flow) = &**parts;
            expression(&flow.expr, true, visitor);
            visitor.open();
            visitor.declare(item, Origin::Loop, None);
            if let Some(counter) = counter {
                visitor.declare(counter, Origin::Loop, None);
            }
            block(&flow.body, visitor);
            visitor.close();
        }
        Stmt::Var(parts, flags, _) => {
            expression(&parts.1, true, visitor);
            let origin = if flags.contains(ASTFlags::EXPORTED) {
                Origin::Exported
            } else {
                Origin::Declared
            };
            visitor.declare(&parts.0, origin, Some(&parts.1));
        }
        Stmt::Assignment(parts) => {
            let BinaryExpr { lhs, rhs } = &parts.1;
            expression(rhs, true, visitor);
            if !visitor.assign(lhs) {
                expression(lhs, true, visitor);
            }
        }
        Stmt::FnCall(call, _) => {
            for argument in &call.args {
                expression(argument, true, visitor);
            }
        }
        Stmt::Block(inner) => block(inner, visitor),
        Stmt::TryCatch(flow, _) => {
            block(&flow.body, visitor);
            visitor.open();
            if let Expr::Variable(caught, _, position) = &flow.expr {
                let caught = Ident {
                    name: caught.1.clone(),
                    pos: *position,
                };
                visitor.declare(&caught, Origin::Caught, None);
            }
            block(&flow.branch, visitor);
            visitor.close();
        }
        Stmt::Expr(expr) => expression(expr, false, visitor),
        Stmt::Return(Some(expr), ..) | Stmt::BreakLoop(Some(expr), ..) => {
            expression(expr, true, visitor);
        }
        Stmt::Import(parts, _) => expression(&parts.0, true, visitor),
        // `Stmt` is not exhaustive.
        _ => {}
    }
}

fn expression(expr: &Expr, is_used: bool, visitor: &mut impl Visitor) {
    visitor.expression(expr, is_used);
    let mut all = |parts: &[Expr]| {
        for part in parts {
            expression(part, true, visitor);
        }
    };
    match expr {
        Expr::InterpolatedString(parts, _) | Expr::Array(parts, _) => all(parts),
        Expr::Map(map, _) => {
            for (_, value) in &map.0 {
                expression(value, true, visitor);
            }
        }
        Expr::Stmt(inner) => block(inner, visitor),
        Expr::FnCall(call, _) | Expr::MethodCall(call, _) => all(&call.args),
        Expr::Dot(parts, ..) | Expr::Index(parts, ..) => {
            expression(&parts.lhs, true, visitor);
            // The rest of the chain has no value of its own.
            expression(&parts.rhs, false, visitor);
        }
        Expr::And(parts, _) | Expr::Or(parts, _) | Expr::Coalesce(parts, _) => all(parts),
        _ => {}
    }
}
