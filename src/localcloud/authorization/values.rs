//! The values that a request has for condition keys.

use std::collections::BTreeMap;

/// The values of condition keys. Names of keys are case-insensitive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Values(BTreeMap<String, Vec<String>>);

impl Values {
    /// Returns the values of a key. A missing key has none.
    pub(crate) fn get(&self, key: &str) -> &[String] {
        let values = self.0.get(&key.to_ascii_lowercase());
        values.map_or(&[], Vec::as_slice)
    }

    /// Sets the value of a key.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<String>) {
        self.set_all(key, [value.into()]);
    }

    /// Sets the values of a key.
    pub(crate) fn set_all(&mut self, key: &str, values: impl IntoIterator<Item = String>) {
        let values = values.into_iter().collect();
        self.0.insert(key.to_ascii_lowercase(), values);
    }

    /// Adds the values of other keys, which replace those of the same name.
    pub(crate) fn extend(&mut self, others: &Self) {
        let others = others.0.iter();
        self.0
            .extend(others.map(|(key, values)| (key.clone(), values.clone())));
    }

    /// Returns the keys and their values.
    #[cfg(any(test, feature = "judgements"))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        let all = self.0.iter();
        all.map(|(key, values)| (key.as_str(), values.as_slice()))
    }
}
