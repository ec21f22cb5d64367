//! Closures as they are passed to a function. Rhai compiles a closure to a function of
//! the file whose first parameters are the variables that the closure captures.

use rhai::{Expr, FnPtr, Stmt};

/// A closure at the place where it is written.
pub(super) struct Closure {
    /// The name of its function.
    pub(super) function: String,
    /// How many variables it captures.
    pub(super) captured: usize,
}

impl Closure {
    /// Returns the closure that an expression is.
    pub(super) fn of(expr: &Expr) -> Option<Self> {
        match expr {
            Expr::DynamicConstant(value, _) => {
                let function = value.read_lock::<FnPtr>()?;
                function.is_anonymous().then(|| Self {
                    function: function.fn_name().to_owned(),
                    captured: function.curry().len(),
                })
            }
            Expr::FnCall(call, _) if call.name == "curry" => {
                let (closure, variables) = call.args.split_first()?;
                let closure = Self::of(closure)?;
                Some(Self {
                    captured: closure.captured + variables.len(),
                    ..closure
                })
            }
            // The captured variables become shared first.
            Expr::Stmt(block) => match block.iter().last()? {
                Stmt::Expr(expr) => Self::of(expr),
                _ => None,
            },
            _ => None,
        }
    }
}
