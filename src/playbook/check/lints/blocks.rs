//! Statements that never run, and errors that are dropped.

use rhai::{ASTFlags, Expr, Position, Stmt, StmtBlock};

use super::super::finding::Finding;
use super::super::rules::{EMPTY_CATCH, UNREACHABLE_CODE};
use super::super::walk::{Visitor, walk};
use super::File;
use crate::playbook::scan::Part;

pub(super) fn findings(file: &File) -> Vec<Finding> {
    let mut blocks = Blocks {
        file,
        left: Vec::new(),
        found: Vec::new(),
    };
    walk(file.ast, &mut blocks);
    blocks.found
}

struct Blocks<'a> {
    file: &'a File<'a>,
    /// The statement that always leaves each open block, if one was visited.
    left: Vec<Option<&'static str>>,
    found: Vec<Finding>,
}

impl Visitor for Blocks<'_> {
    fn open(&mut self) {
        self.left.push(None);
    }

    fn close(&mut self) {
        self.left.pop();
    }

    fn statement(&mut self, statement: &Stmt) {
        self.reach(statement);
        if let Stmt::TryCatch(flow, _) = statement
            && flow.branch.is_empty()
            && !self.has_comment(&flow.branch)
        {
            let message = "this `catch` drops the error".to_owned();
            let position = flow.branch.position();
            let mut found = self.file.finding(&EMPTY_CATCH, position, message);
            found.error = found
                .error
                .hint("log the error, or write a comment in the block that says why not");
            self.found.push(found);
        }
    }
}

impl Blocks<'_> {
    /// Reports the first statement of a block that cannot be reached.
    fn reach(&mut self, statement: &Stmt) {
        if matches!(statement, Stmt::Noop(_) | Stmt::Share(_)) {
            return;
        }
        let Some(left) = self.left.last_mut() else {
            return;
        };
        let Some(leaver) = left.take() else {
            *left = leaves(statement);
            return;
        };
        let message = format!("this statement never runs: {leaver} before it leaves the block");
        let mut found = self
            .file
            .finding(&UNREACHABLE_CODE, statement.position(), message);
        found.error = found.error.hint("remove it, or move it up");
        self.found.push(found);
    }

    fn has_comment(&self, block: &StmtBlock) -> bool {
        let index = |at: Position| {
            let scan = self.file.scan;
            Some(scan.index(at.line()?, at.position()?))
        };
        let (Some(start), Some(end)) = (index(block.position()), index(block.end_position()))
        else {
            return false;
        };
        (start..end).any(|at| self.file.scan.part(at) == Part::Comment)
    }
}

/// Names the statement if nothing after it in its block can run.
fn leaves(statement: &Stmt) -> Option<&'static str> {
    let always = |block: &StmtBlock| block.iter().any(|inner| leaves(inner).is_some());
    match statement {
        Stmt::Return(_, flags, _) if flags.contains(ASTFlags::BREAK) => Some("the `throw`"),
        Stmt::Return(..) => Some("the `return`"),
        Stmt::BreakLoop(_, flags, _) if flags.contains(ASTFlags::BREAK) => Some("the `break`"),
        Stmt::BreakLoop(..) => Some("the `continue`"),
        Stmt::FnCall(call, _) => ends(call),
        Stmt::Expr(expr) => match &**expr {
            Expr::FnCall(call, _) => ends(call),
            _ => None,
        },
        Stmt::Block(block) if always(block) => Some("the block"),
        Stmt::If(flow, _) if always(&flow.body) && always(&flow.branch) => Some("the `if`"),
        Stmt::TryCatch(flow, _) if always(&flow.body) && always(&flow.branch) => Some("the `try`"),
        // `loop` without a `break`.
        Stmt::While(flow, _)
            if matches!(flow.expr, Expr::Unit(_)) && !flow.body.iter().any(breaks) =>
        {
            Some("the endless loop")
        }
        _ => None,
    }
}

/// Names a call after which nothing runs.
fn ends(call: &rhai::FnCallExpr) -> Option<&'static str> {
    match call.name.as_str() {
        _ if !call.namespace.path.is_empty() => None,
        "fail" => Some("the call of fail()"),
        "exit" => Some("the call of exit()"),
        _ => None,
    }
}

/// Whether a statement of a loop's body may end the loop.
fn breaks(statement: &Stmt) -> bool {
    let mut path = Vec::new();
    let mut found = false;
    statement.walk(&mut path, &mut |nodes| {
        found |= matches!(
            nodes.last(),
            Some(rhai::ASTNode::Stmt(Stmt::BreakLoop(_, flags, _)))
                if flags.contains(ASTFlags::BREAK)
        );
        !found
    });
    found
}
