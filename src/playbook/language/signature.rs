//! The signature of the call around a place, and the argument that is being written.

use super::call::Call;
use super::cursor::Cursor;
use super::document::Document;
use super::members;
use super::outline::Function;
use crate::playbook::{Buffers, reference};

/// The forms of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatures {
    /// All forms.
    pub all: Vec<Signature>,
    /// The first form that has the argument.
    pub active: usize,
    /// The number of the argument, from 0.
    pub argument: usize,
}

/// One form of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// `name(parameters)`.
    pub label: String,
    /// Its parameters, as the label shows them.
    pub parameters: Vec<String>,
    /// Its description in Markdown.
    pub text: String,
}

impl Document {
    /// Returns the signatures of the call around a place. `buffers` has the texts of
    /// other files.
    #[must_use]
    pub fn signatures(&self, at: usize, buffers: &Buffers) -> Option<Signatures> {
        let cursor = Cursor::new(self, at);
        let started = self.tokens.before(at);
        let mut opener = cursor.parent;
        while let Some(bracket) = opener {
            // Statements in the block of a closure are not arguments.
            if self.tokens.is(bracket, "{") {
                return None;
            }
            if let Some(call) = self.call_in(bracket, started) {
                return self.of_call(&call, buffers);
            }
            opener = self.tokens.all[bracket].parent;
        }
        None
    }

    fn of_call(&self, call: &Call, buffers: &Buffers) -> Option<Signatures> {
        let mut all = self.forms(call, buffers);
        all.sort_by_key(|form| form.parameters.len());
        all.dedup();
        let has_argument = |form: &Signature| form.parameters.len() > call.argument;
        let active = all.iter().position(has_argument);
        (!all.is_empty()).then_some(Signatures {
            active: active.unwrap_or(all.len().saturating_sub(1)),
            argument: call.argument,
            all,
        })
    }

    fn forms(&self, call: &Call, buffers: &Buffers) -> Vec<Signature> {
        let name = call.function.as_str();
        if let Some(alias) = &call.module {
            let module = self.module(alias, buffers);
            let function = module
                .as_ref()
                .and_then(|module| module.outline.function(name));
            return function.map(own).into_iter().collect();
        }
        if let Some(function) = self.outline.function(name) {
            return vec![own(function)];
        }
        if let Some(entry) = reference::ENTRIES.iter().find(|entry| entry.name == name) {
            let form = |parameters: &Vec<reference::Parameter>| {
                let shown = parameters.iter().map(reference::Parameter::shown);
                signature(name, shown.collect(), entry.summary())
            };
            return reference::overloads(name).iter().map(form).collect();
        }
        let natives = members::functions()
            .into_iter()
            .filter(|native| native.name == name);
        natives
            .map(|native| signature(name, native.parameters.clone(), &native.text))
            .collect()
    }
}

fn own(function: &Function) -> Signature {
    signature(&function.name, function.parameters.clone(), &function.text)
}

fn signature(name: &str, parameters: Vec<String>, text: &str) -> Signature {
    Signature {
        label: format!("{name}({})", parameters.join(", ")),
        parameters,
        text: text.to_owned(),
    }
}
