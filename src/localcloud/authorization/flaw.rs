//! What can be wrong in the parts of a policy that bucket policies and the policies
//! of users have in common. Each of both has its own words for them.

/// A flaw in a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A value does not have the form that the language requires.
    Syntax,
    /// An operator of a condition that does not exist.
    Operator(String),
    /// A condition key that the local cloud cannot evaluate.
    Key(String),
    /// A value that is not of the type of its operator.
    Value(String),
    /// A text with a variable that does not end.
    Variable(String),
    /// The default of a variable is not a quoted text.
    VariableDefault,
}

/// A flaw in a condition, and where it is: below the operator and the key, if it is
/// below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flawed {
    pub(crate) flaw: Flaw,
    pub(crate) path: Vec<String>,
}
