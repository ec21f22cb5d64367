//! Calls around a place, and the options among their arguments.

use super::document::Document;
use super::tokens::Kind as Token;
use crate::playbook::reference;
use crate::primitives;
use crate::script::schema::{Field, Kind};

/// A call around a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Name of the function.
    pub(super) function: String,
    /// Alias of the import that the function is in.
    pub(super) module: Option<String>,
    /// The number of the argument, from 0.
    pub(super) argument: usize,
}

/// What a function expects at a place.
pub(super) struct Expected {
    pub(super) function: String,
    pub(super) kind: &'static Kind,
}

impl Document {
    /// Returns the call whose arguments contain the tokens from `at` on. `opener` is the
    /// bracket around them.
    pub(super) fn call_in(&self, opener: usize, at: usize) -> Option<Call> {
        let tokens = &self.tokens;
        let name = opener.checked_sub(1)?;
        let is_call = tokens.is(opener, "(") && tokens.is_word(name) && !tokens.is_keyword(name);
        let before = name.checked_sub(1);
        let follows = |symbol: &str| before.is_some_and(|before| tokens.is(before, symbol));
        if !is_call || follows("fn") || follows(".") || follows("?.") {
            return None;
        }
        let module = follows("::").then(|| tokens.text(name.saturating_sub(2)));
        let commas = (opener + 1..at.min(tokens.all.len()))
            .filter(|comma| tokens.all[*comma].parent == Some(opener) && tokens.is(*comma, ","));
        Some(Call {
            function: tokens.text(name),
            module,
            argument: commas.count(),
        })
    }

    /// Returns the name of the parameter of one of autorun's functions that gets the
    /// value which begins at a token.
    pub(super) fn parameter_of(&self, value: usize) -> Option<(String, String)> {
        let tokens = &self.tokens;
        let opener = tokens.all.get(value)?.parent?;
        let before = value.checked_sub(1)?;
        if !tokens.is(before, "(") && !tokens.is(before, ",") {
            return None;
        }
        let call = self.call_in(opener, value)?;
        if call.module.is_some() || self.outline.function(&call.function).is_some() {
            return None;
        }
        let overloads = reference::overloads(&call.function).iter();
        let mut at_place = overloads.filter_map(|parameters| parameters.get(call.argument));
        Some((call.function.clone(), at_place.next()?.name.clone()))
    }

    /// Returns what a function expects for the value that begins at a token: for a map of
    /// options, or for a value in one.
    pub(super) fn expected(&self, value: usize) -> Option<Expected> {
        let tokens = &self.tokens;
        let before = value.checked_sub(1)?;
        let parent = tokens.all.get(value)?.parent?;
        if tokens.is(before, ":") && tokens.is(parent, "#{") {
            let (function, field) = self.field(before.checked_sub(1)?, parent)?;
            let kind = match field {
                FieldOf::Known(field) => &field.kind,
                FieldOf::Any(kind) => kind,
            };
            return Some(Expected { function, kind });
        }
        let begins = tokens.is(before, ",") || before == parent;
        if tokens.is(parent, "[") && begins {
            let Expected { function, kind } = self.expected(parent)?;
            return match kind {
                Kind::Array(items) => Some(Expected {
                    function,
                    kind: items,
                }),
                _ => None,
            };
        }
        let (function, parameter) = self.parameter_of(value)?;
        let takes = primitives::declared(&function)?.takes?;
        (takes.argument == parameter).then(|| Expected {
            function,
            kind: takes.kind(),
        })
    }

    /// Returns the keys that the map which begins at a token can have.
    pub(super) fn keys_of(&self, map: usize) -> Option<(String, &'static [Field])> {
        let Expected { function, kind } = self.expected(map)?;
        Some((function, kind.fields()?))
    }

    /// Returns the option whose key is a token.
    pub(super) fn option_at(&self, key: usize) -> Option<(String, &'static Field)> {
        let parent = self.tokens.all.get(key)?.parent?;
        let is_key = self.tokens.is(key + 1, ":") && self.tokens.is(parent, "#{");
        match is_key.then(|| self.field(key, parent))?? {
            (function, FieldOf::Known(field)) => Some((function, field)),
            (_, FieldOf::Any(_)) => None,
        }
    }

    fn field(&self, key: usize, map: usize) -> Option<(String, FieldOf)> {
        let name = match self.tokens.kind(key)? {
            Token::Word => self.tokens.text(key),
            Token::Text => self.tokens.content(key)?,
            Token::Number | Token::Symbol => return None,
        };
        let Expected { function, kind } = self.expected(map)?;
        let field = match kind {
            Kind::Map(fields) => FieldOf::Known(fields.iter().find(|field| field.name == name)?),
            Kind::MapOf(values) => FieldOf::Any(values),
            _ => return None,
        };
        Some((function, field))
    }
}

/// What a key of a map means.
enum FieldOf {
    /// One of the keys that the function knows.
    Known(&'static Field),
    /// Any key, with a value of this type.
    Any(&'static Kind),
}
