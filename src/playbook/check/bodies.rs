//! The places of the functions and closures of a file.

use rhai::{AST, ASTNode, Position};

/// The places of the functions and closures of a file. A walk visits their statements
/// without their function.
///
/// In the order of their beginnings.
pub(super) struct Bodies(Vec<Body>);

struct Body {
    start: Spot,
    end: Spot,
    /// Its number in the file, counted from 1.
    number: usize,
    /// The index of the function around it.
    around: Option<usize>,
    is_closure: bool,
}

impl Body {
    fn contains(&self, at: Spot) -> bool {
        match self.end {
            // A closure without braces is one statement.
            (0, _) => at == self.start,
            end => (self.start..=end).contains(&at),
        }
    }
}

/// Line and column.
type Spot = (usize, usize);

fn spot(position: Position) -> Spot {
    (
        position.line().unwrap_or(0),
        position.position().unwrap_or(0),
    )
}

impl Bodies {
    pub(super) fn of(ast: &AST) -> Self {
        let bodies = ast.iter_fn_def().enumerate().map(|(at, f)| Body {
            start: spot(f.body.start_position()),
            end: spot(f.body.end_position()),
            number: at + 1,
            around: None,
            is_closure: f.name.starts_with("anon$"),
        });
        let mut bodies: Vec<Body> = bodies.collect();
        bodies.sort_by_key(|body| body.start);
        let mut open: Vec<usize> = Vec::new();
        for at in 0..bodies.len() {
            let start = bodies[at].start;
            while open
                .last()
                .is_some_and(|outer| !bodies[*outer].contains(start))
            {
                open.pop();
            }
            bodies[at].around = open.last().copied();
            open.push(at);
        }
        Self(bodies)
    }

    /// Returns the number of the function around a node, counted from 1; 0 outside of
    /// functions.
    pub(super) fn around(&self, nodes: &[ASTNode]) -> usize {
        self.index(nodes).map_or(0, |index| self.0[index].number)
    }

    /// Like [`Bodies::around`], without closures: their variables are those of the
    /// function around them.
    pub(super) fn function(&self, nodes: &[ASTNode]) -> usize {
        let mut candidate = self.index(nodes);
        while let Some(index) = candidate {
            let body = &self.0[index];
            if !body.is_closure {
                return body.number;
            }
            candidate = body.around;
        }
        0
    }

    fn index(&self, nodes: &[ASTNode]) -> Option<usize> {
        let at = nodes.first().map_or((0, 0), |node| spot(node.position()));
        // The innermost of nested functions begins last.
        let after = self.0.partition_point(|body| body.start <= at);
        let mut candidate = after.checked_sub(1);
        while let Some(index) = candidate {
            let body = &self.0[index];
            if body.contains(at) {
                return Some(index);
            }
            candidate = body.around;
        }
        None
    }
}
