//! Chains such as `a.b[c].d()`, split into a root and its links.

use rhai::{ASTFlags, ASTNode, Expr, Position};

/// One step of `server.tags["team"]`.
pub(super) enum Link<'a> {
    Property(&'a str, Position),
    Index(&'a Expr),
    Method(&'a str),
    Other,
}

impl Link<'_> {
    /// Returns the key that the link reads.
    pub(super) fn key(&self) -> Option<(&str, Position)> {
        match self {
            Self::Property(name, position) => Some((name, *position)),
            Self::Index(Expr::StringConstant(name, position)) => Some((name, *position)),
            Self::Index(_) | Self::Method(_) | Self::Other => None,
        }
    }
}

/// Splits `a.b[c].d()` into `a` and its links. Rhai nests such chains to the right.
pub(super) fn chain(expr: &Expr) -> Option<(&Expr, Vec<Link<'_>>)> {
    let (Expr::Dot(parts, flags, _) | Expr::Index(parts, flags, _)) = expr else {
        return None;
    };
    let mut links = Vec::new();
    let mut is_index = matches!(expr, Expr::Index(..));
    let mut ends = flags.contains(ASTFlags::BREAK);
    let mut optional = flags.contains(ASTFlags::NEGATED);
    let mut rest = &parts.rhs;
    loop {
        let next = match rest {
            Expr::Dot(deeper, flags, _) | Expr::Index(deeper, flags, _) if !ends => {
                Some((deeper, *flags, matches!(rest, Expr::Index(..))))
            }
            _ => None,
        };
        let here = next.map_or(rest, |(deeper, ..)| &deeper.lhs);
        links.push(match here {
            _ if optional => Link::Other,
            expr if is_index => Link::Index(expr),
            Expr::Property(names, position) => Link::Property(&names.2, *position),
            Expr::MethodCall(call, _) => Link::Method(&call.name),
            _ => Link::Other,
        });
        let Some((deeper, flags, index)) = next else {
            return Some((&parts.lhs, links));
        };
        is_index = index;
        ends = flags.contains(ASTFlags::BREAK);
        optional = flags.contains(ASTFlags::NEGATED);
        rest = &deeper.rhs;
    }
}

/// Returns the name of a variable of this file.
pub(super) fn variable(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Variable(names, ..) if names.2.path.is_empty() => Some(&names.1),
        _ => None,
    }
}

/// Returns whether a node is the rest of the chain that its parent begins.
pub(super) fn is_link(parent: &ASTNode, node: &ASTNode) -> bool {
    match (parent, node) {
        (ASTNode::Expr(Expr::Dot(chain, ..) | Expr::Index(chain, ..)), ASTNode::Expr(node)) => {
            std::ptr::eq(&raw const chain.rhs, *node)
        }
        _ => false,
    }
}
