//! The calls whose results a playbook does not use: statements of their own.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{AST, ASTNode, Expr, Position, Stmt, StmtBlock};

use super::bodies::Bodies;

/// Returns line and column of these calls in a file.
///
/// The last statement of a block may be its value, unless the block is that of a
/// loop or of `try`, or the file itself.
pub(in crate::playbook) fn unused_results(ast: &AST) -> BTreeSet<(usize, usize)> {
    let mut unused = Unused::default();
    let bodies = Bodies::of(ast);
    // The last statement of each function so far: its value, if none follows.
    let mut last: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    ast.walk(&mut |nodes| {
        if let [ASTNode::Stmt(statement)] = nodes {
            let around = bodies.around(nodes);
            unused.0.extend(last.remove(&around));
            if let Some(place) = called(statement) {
                last.insert(around, place);
            }
        }
        match nodes.last() {
            Some(ASTNode::Stmt(statement)) => unused.below(statement),
            Some(ASTNode::Expr(Expr::Stmt(block))) => unused.all_but_last(block),
            _ => {}
        }
        true
    });
    // The value of the file is not used.
    unused.0.extend(last.remove(&0));
    unused.0
}

#[derive(Default)]
struct Unused(BTreeSet<(usize, usize)>);

impl Unused {
    fn add(&mut self, statement: &Stmt) {
        self.0.extend(called(statement));
    }

    fn all(&mut self, block: &StmtBlock) {
        block.iter().for_each(|one| self.add(one));
    }

    fn all_but_last(&mut self, block: &StmtBlock) {
        let all = block.statements();
        let others = all.iter().take(all.len().saturating_sub(1));
        others.for_each(|one| self.add(one));
    }

    fn below(&mut self, statement: &Stmt) {
        match statement {
            Stmt::While(flow, _) | Stmt::Do(flow, ..) => self.all(&flow.body),
            Stmt::For(parts, _) => self.all(&parts.2.body),
            Stmt::TryCatch(flow, _) => {
                self.all(&flow.body);
                self.all(&flow.branch);
            }
            Stmt::If(flow, _) => {
                self.all_but_last(&flow.body);
                self.all_but_last(&flow.branch);
            }
            Stmt::Block(block) => self.all_but_last(block),
            _ => {}
        }
    }
}

/// Returns the place of a call that is a statement.
fn called(statement: &Stmt) -> Option<(usize, usize)> {
    match statement {
        Stmt::FnCall(_, position) => Some(spot(*position)),
        Stmt::Expr(expr) => match &**expr {
            Expr::FnCall(_, position) => Some(spot(*position)),
            _ => None,
        },
        _ => None,
    }
}

fn spot(position: Position) -> (usize, usize) {
    (
        position.line().unwrap_or(0),
        position.position().unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_whose_value_is_not_used_is_found() {
        let script = "f();
            let x = f();
            for n in [f()] { f(); f() }
            let y = if f() { f(); f() } else { () };
            fn g() { f(); f() }
            try { f() } catch { f(); }
            let h = || { f(); f() };
            f(f())";
        let ast = rhai::Engine::new().compile(script).unwrap();
        let lines: Vec<usize> = unused_results(&ast).iter().map(|spot| spot.0).collect();
        assert_eq!(lines, [1, 3, 3, 4, 5, 6, 6, 7, 8]);
    }
}
