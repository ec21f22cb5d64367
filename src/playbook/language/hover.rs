//! The description of what is at a place.

use std::ops::Range;

use super::completion::{facts, fields_of};
use super::cursor::{Cursor, Place};
use super::document::Document;
use super::members;
use super::outline::{Declaration, Function};
use super::tokens::Kind;
use crate::playbook::{Buffers, reference};
use crate::script::schema::Field;

/// A description in Markdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hover {
    /// The description.
    pub text: String,
    /// The characters that it describes.
    pub range: Range<usize>,
}

impl Document {
    /// Returns the description of the name at a place. `buffers` has the texts of other
    /// files.
    #[must_use]
    pub fn hover(&self, at: usize, buffers: &Buffers) -> Option<Hover> {
        let index = self.name_at(at)?;
        let token = self.tokens.all[index];
        let text = self.described(index, buffers)?;
        Some(Hover {
            text,
            range: token.start..token.end,
        })
    }

    /// Returns the token of the word at a place, or that ends there.
    pub(super) fn name_at(&self, at: usize) -> Option<usize> {
        let is_name = |index: &usize| self.tokens.kind(*index) == Some(Kind::Word);
        let before = || at.checked_sub(1).and_then(|before| self.tokens.at(before));
        self.tokens
            .at(at)
            .filter(is_name)
            .or_else(|| before().filter(is_name))
    }

    fn described(&self, index: usize, buffers: &Buffers) -> Option<String> {
        let name = self.tokens.text(index);
        let end = self.tokens.all[index].end;
        if let Some((function, field)) = self.option_at(index) {
            return Some(option(&function, field));
        }
        match Cursor::new(self, end).place() {
            Place::Member(dot) => self.member(dot, &name),
            Place::Module(separator) => {
                let alias = self.tokens.text(separator.checked_sub(1)?);
                if alias == "global" {
                    let constant = self.constants().find(|known| known.name == name)?;
                    return Some(self.variable(constant));
                }
                let module = self.module(&alias, buffers)?;
                module.outline.function(&name).map(own)
            }
            _ => self.plain(index, &name),
        }
    }

    fn member(&self, dot: usize, name: &str) -> Option<String> {
        let known = self.type_of(self.tokens.chain_before(dot)..dot);
        let fields = known.as_ref().map(fields_of).unwrap_or_default();
        if let Some(field) = fields.iter().find(|field| field.name == name) {
            return Some(code_and_text(&with_facts(name, field), &field.text));
        }
        // A function can be called as a method of its first argument.
        let entry = reference::ENTRIES.iter().find(|entry| entry.name == name);
        if let Some(entry) = entry {
            return Some(code_and_text(&entry.signatures.join("\n"), &entry.text));
        }
        let native = members::named(name, known.as_ref())?;
        Some(code_and_text(&native.signature(), &native.text))
    }

    fn plain(&self, index: usize, name: &str) -> Option<String> {
        let start = self.tokens.all[index].start;
        let is_called = self.tokens.is(index + 1, "(");
        if let Some(variable) = self.declaration(name, start).filter(|_| !is_called) {
            return Some(self.variable(variable));
        }
        if let Some(function) = self.outline.function(name) {
            return Some(own(function));
        }
        if let Some(import) = self
            .outline
            .imports
            .iter()
            .find(|import| import.alias == name)
        {
            let file = self.imported(&import.path);
            return Some(code_and_text(
                &format!("import \"{}\" as {name}", import.path),
                &format!("`{}`", file.display()),
            ));
        }
        if let Some(entry) = reference::ENTRIES.iter().find(|entry| entry.name == name) {
            return Some(code_and_text(&entry.signatures.join("\n"), &entry.text));
        }
        let native = members::named(name, None).filter(|_| is_called)?;
        Some(code_and_text(&native.signature(), &native.text))
    }

    fn variable(&self, declaration: &Declaration) -> String {
        let value = self.shown_value(declaration);
        let name = &declaration.name;
        let code = match value.as_str() {
            "" => name.clone(),
            value => format!("{name} = {value}"),
        };
        let known = self.type_of_variable(declaration);
        let keys: Vec<String> = known
            .iter()
            .flat_map(fields_of)
            .map(|field| format!("- `{}`: {}", field.name, facts(field)))
            .collect();
        code_and_text(&code, &keys.join("\n"))
    }
}

fn option(function: &str, field: &Field) -> String {
    let code = with_facts(&field.name, field);
    code_and_text(&code, &format!("{}\n\nOption of `{function}`.", field.text))
}

fn with_facts(name: &str, field: &Field) -> String {
    match facts(field).as_str() {
        "" => name.to_owned(),
        facts => format!("{name}: {facts}"),
    }
}

fn own(function: &Function) -> String {
    code_and_text(&format!("fn {}", function.signature()), &function.text)
}

fn code_and_text(code: &str, text: &str) -> String {
    let code = format!("```rhai\n{code}\n```");
    match text.trim() {
        "" => code,
        text => format!("{code}\n\n{text}"),
    }
}
