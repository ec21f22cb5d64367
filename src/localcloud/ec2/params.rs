//! The parameters of a query request, for example `Filter.1.Value.2=x`.
//!
//! A request with a parameter that its action has not read is refused. AWS would
//! act on the parameter, so a rehearsal that ignored it would not show what AWS
//! does.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use super::refusal::{Refusal, Result};

/// A request's parameters, and the names of those that were read.
#[derive(Debug)]
pub(super) struct Params {
    values: BTreeMap<String, String>,
    read: RefCell<BTreeSet<String>>,
}

/// The parameters below one name, for example below `Filter.1`.
#[derive(Clone, Debug)]
pub(super) struct Part<'a> {
    params: &'a Params,
    prefix: String,
}

impl Params {
    /// Parses a form-encoded body or query.
    ///
    /// Refuses a name that occurs twice.
    pub(super) fn parse(form: &[u8]) -> Result<Self> {
        let mut values = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(form) {
            if values.contains_key(&*name) {
                return Err(Refusal::new(
                    "InvalidParameterCombination",
                    format!("The parameter '{name}' is specified more than once"),
                ));
            }
            values.insert(name.into_owned(), value.into_owned());
        }
        Ok(Self::of(values))
    }

    /// Returns parameters by their names.
    pub(super) fn of(values: BTreeMap<String, String>) -> Self {
        Self {
            values,
            read: RefCell::default(),
        }
    }

    /// Returns all parameters.
    pub(super) fn all(&self) -> Part<'_> {
        Part {
            params: self,
            prefix: String::new(),
        }
    }

    /// Returns the parameters by their names.
    pub(super) fn into_values(self) -> BTreeMap<String, String> {
        self.values
    }

    /// Refuses the request if one of its parameters was not read.
    pub(super) fn none_left(&self) -> Result<()> {
        let read = self.read.borrow();
        match self.values.keys().find(|name| !read.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(Refusal::new(
                "UnknownParameter",
                format!("The parameter {name} is not recognized by the local cloud"),
            )),
        }
    }

    /// Returns all parameters but one as text. Two requests are the same if
    /// these texts are equal.
    pub(super) fn canonical_without(&self, without: &str) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.values {
            if name != without {
                form.append_pair(name, value);
            }
        }
        form.finish()
    }
}

impl<'a> Part<'a> {
    fn name(&self, name: &str) -> String {
        if self.prefix.is_empty() {
            return name.to_owned();
        }
        if name.is_empty() {
            return self.prefix.clone();
        }
        format!("{}.{name}", self.prefix)
    }

    /// Returns a value, or `None` if it is missing or empty.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.given(name).filter(|value| !value.is_empty())
    }

    /// Returns a value, which may be empty, or `None` if it is missing.
    pub(super) fn given(&self, name: &str) -> Option<&'a str> {
        let name = self.name(name);
        let (name, value) = self.params.values.get_key_value(&name)?;
        self.params.read.borrow_mut().insert(name.clone());
        Some(value.as_str())
    }

    /// Returns the name of the request's action.
    pub(super) fn action(&self) -> &'a str {
        let action = self.params.values.get("Action");
        action.map_or("", String::as_str)
    }

    /// Returns the names and values of all parameters of the request, without reading
    /// them.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let all = self.params.values.iter();
        all.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns a required value. Fails if it is missing or empty.
    pub(super) fn required(&self, name: &str) -> Result<&'a str> {
        self.text(name).ok_or_else(|| {
            Refusal::new(
                "MissingParameter",
                format!("The request must contain the parameter {}", self.name(name)),
            )
        })
    }

    /// Returns a number.
    pub(super) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        self.parsed(name, "an integer")
    }

    /// Returns a boolean. As on AWS, only `true` and `false` are valid.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>> {
        self.parsed(name, "a boolean")
    }

    fn parsed<T: FromStr>(&self, name: &str, what: &str) -> Result<Option<T>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            Refusal::new(
                "InvalidParameterValue",
                format!(
                    "Value ({text}) for parameter {} is invalid. Expected {what}.",
                    self.name(name)
                ),
            )
        })
    }

    /// Returns the values `NAME.1`, `NAME.2` .. in numeric order. A value may be
    /// empty: an empty id is malformed, and an empty filter value matches an empty
    /// tag.
    pub(super) fn list(&self, name: &str) -> Vec<&'a str> {
        self.parts(name)
            .iter()
            .filter_map(|part| part.given(""))
            .collect()
    }

    /// Returns the structures `NAME.1`, `NAME.2` .. in numeric order.
    pub(super) fn parts(&self, name: &str) -> Vec<Part<'a>> {
        let prefix = format!("{}.", self.name(name));
        let numbers: BTreeSet<u32> = self
            .params
            .values
            .range(prefix.clone()..)
            .take_while(|(name, _)| name.starts_with(&prefix))
            .filter_map(|(name, _)| name[prefix.len()..].split('.').next()?.parse().ok())
            .collect();
        let part = |number| Part {
            params: self.params,
            prefix: format!("{prefix}{number}"),
        };
        numbers.into_iter().map(part).collect()
    }

    /// Whether the request has this parameter, or one below it.
    pub(super) fn has(&self, name: &str) -> bool {
        let name = self.name(name);
        let mut similar = self.params.values.range(name.clone()..);
        similar
            .by_ref()
            .map_while(|(key, _)| key.strip_prefix(&name))
            .any(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// Refuses parameters that AWS has and the local cloud does not.
    pub(super) fn unsupported(&self, names: &[&str]) -> Result<()> {
        match names.iter().find(|name| self.has(name)) {
            None => Ok(()),
            Some(name) => Err(Refusal::new(
                "UnsupportedOperation",
                format!(
                    "The local cloud does not support the parameter {}",
                    self.name(name)
                ),
            )),
        }
    }

    /// Returns the structure with this name, which may be empty.
    pub(super) fn part(&self, name: &str) -> Part<'a> {
        Part {
            params: self.params,
            prefix: self.name(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_structures_are_in_numeric_order() {
        let params =
            Params::parse(b"Id.10=c&Id.2=b&Id.1=a&Filter.1.Name=n&Filter.1.Value.1=v").unwrap();
        let all = params.all();
        assert_eq!(all.list("Id"), ["a", "b", "c"]);
        let filter = &all.parts("Filter")[0];
        assert_eq!(filter.text("Name"), Some("n"));
        assert!(
            params.none_left().is_err(),
            "the filter's value was not read"
        );
        assert_eq!(filter.list("Value"), ["v"]);
        assert!(params.none_left().is_ok());
    }

    #[test]
    fn a_value_of_the_wrong_type_names_its_parameter() {
        let params = Params::parse(b"MaxCount=many").unwrap();
        let refusal = params.all().number::<i32>("MaxCount").unwrap_err();
        assert_eq!(refusal.code, "InvalidParameterValue");
        assert!(refusal.message.contains("(many) for parameter MaxCount"));
    }

    #[test]
    fn the_canonical_form_omits_only_the_token() {
        let one = Params::parse(b"A=1&ClientToken=x").unwrap();
        let other = Params::parse(b"ClientToken=y&A=1").unwrap();
        let canonical = |p: &Params| p.canonical_without("ClientToken");
        assert_eq!(canonical(&one), canonical(&other));
    }
}
