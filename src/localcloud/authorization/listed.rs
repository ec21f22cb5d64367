//! What a statement of a policy lists, such as actions or resources.

/// A list of a statement, or everything that is not in the list.
#[derive(Clone, Debug)]
pub(crate) struct Listed<T> {
    pub(crate) any_of: Vec<T>,
    pub(crate) negated: bool,
}

impl<T> Listed<T> {
    pub(crate) fn includes(&self, matches: impl Fn(&T) -> bool) -> bool {
        self.any_of.iter().any(matches) != self.negated
    }
}
