//! Completion: what can be written at the place of the cursor.

use std::ops::Range;

use super::cursor::{Cursor, Place};
use super::document::Document;
use super::inference::Type;
use super::members::{self, Native};
use super::outline::{Declaration, Role};
use super::paths::Base;
use crate::playbook::check::Known;
use crate::playbook::{Buffers, reference};
use crate::script::schema::{Field, Kind};

/// Something that can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// What is shown and searched.
    pub label: String,
    /// What it is.
    pub kind: CompletionKind,
    /// Its signature, type or origin.
    pub detail: String,
    /// Its description in Markdown.
    pub text: String,
    /// What is written, with `$0` for the cursor if that is not at the end.
    pub insert: String,
    /// The characters that it replaces.
    pub replace: Range<usize>,
    /// Its group: those of group 0 are shown first.
    pub group: u8,
}

/// What a completion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompletionKind {
    /// A function of autorun's, of Rhai's or of the playbook.
    Function,
    /// A function that is called with a dot.
    Method,
    /// A key of a result.
    Field,
    /// A key of a map of options.
    Option,
    /// A variable.
    Variable,
    /// A constant.
    Constant,
    /// An imported file.
    Module,
    /// A word of the language.
    Keyword,
    /// One of the possible values.
    Value,
    /// A file.
    File,
    /// A directory.
    Folder,
}

const KEYWORDS: [&str; 24] = [
    "break", "catch", "const", "continue", "do", "else", "export", "false", "fn", "for", "if",
    "import", "in", "let", "loop", "private", "return", "switch", "throw", "true", "try", "until",
    "while", "this",
];

impl Document {
    /// Returns whether only a part of all names can be written at a place: after a dot, in
    /// quotes, or as a key.
    #[must_use]
    pub fn is_special(&self, at: usize) -> bool {
        !matches!(Cursor::new(self, at).place(), Place::Code)
    }

    /// Returns what can be written at a place. `buffers` has the texts of other files.
    #[must_use]
    pub fn completions(&self, at: usize, buffers: &Buffers) -> Vec<Completion> {
        let cursor = Cursor::new(self, at);
        let all = match cursor.place() {
            Place::Free => Vec::new(),
            Place::Text(text) => return cursor.in_text(text),
            Place::Member(dot) => cursor.members(dot),
            Place::Module(separator) => cursor.of_module(separator, buffers),
            Place::Key(map) => cursor.keys(map),
            Place::Code => cursor.code(),
        };
        let written = cursor.prefix();
        let fits = all
            .into_iter()
            .filter(|found| is_similar(&written, &found.label));
        fits.collect()
    }
}

/// Returns whether all letters of `written` are in the label, in this order. Editors
/// rank what fits.
fn is_similar(written: &str, label: &str) -> bool {
    let mut letters = label.chars().flat_map(char::to_lowercase);
    let mut wanted = written.chars().flat_map(char::to_lowercase);
    wanted.all(|wanted| letters.any(|letter| letter == wanted))
}

impl Cursor<'_> {
    fn found(&self, label: &str, kind: CompletionKind, group: u8) -> Completion {
        Completion {
            label: label.to_owned(),
            kind,
            detail: String::new(),
            text: String::new(),
            insert: label.to_owned(),
            replace: self.word.clone(),
            group,
        }
    }

    /// A function, which is written with its parentheses if none follow.
    fn function(&self, name: &str, signature: &str, has_parameters: bool, group: u8) -> Completion {
        let scan = &self.document.tokens.scan;
        let end = self.at + scan.word(self.at).chars().count();
        let is_called = scan.is_at(end, "(");
        let insert = match (is_called, has_parameters) {
            (true, _) => name.to_owned(),
            (false, true) => format!("{name}($0)"),
            (false, false) => format!("{name}()"),
        };
        Completion {
            detail: signature.to_owned(),
            insert,
            ..self.found(name, CompletionKind::Function, group)
        }
    }

    fn native(&self, native: &Native, kind: CompletionKind, group: u8) -> Completion {
        if native.is_property {
            return Completion {
                text: native.text.clone(),
                ..self.found(&native.name, CompletionKind::Field, group)
            };
        }
        let has_parameters = !native.parameters.is_empty();
        Completion {
            kind,
            text: native.text.clone(),
            ..self.function(&native.name, &native.signature(), has_parameters, group)
        }
    }

    fn variable(&self, declaration: &Declaration) -> Completion {
        let kind = match declaration.role {
            Role::Constant => CompletionKind::Constant,
            _ => CompletionKind::Variable,
        };
        Completion {
            detail: self.document.shown_value(declaration),
            ..self.found(&declaration.name, kind, 0)
        }
    }

    fn field(&self, field: &Field, kind: CompletionKind) -> Completion {
        Completion {
            detail: facts(field),
            text: field.text.clone(),
            ..self.found(&field.name, kind, 0)
        }
    }

    /// Expressions and statements.
    fn code(&self) -> Vec<Completion> {
        let mut all = self.values();
        let visible = self.document.visible(self.at);
        all.extend(visible.into_iter().map(|known| self.variable(known)));
        for function in &self.document.outline.functions {
            let has_parameters = !function.parameters.is_empty();
            all.push(Completion {
                text: function.text.clone(),
                ..self.function(&function.name, &function.signature(), has_parameters, 1)
            });
        }
        for import in self
            .document
            .outline
            .imports
            .iter()
            .filter(|i| !i.alias.is_empty())
        {
            all.push(Completion {
                detail: import.path.clone(),
                insert: format!("{}::", import.alias),
                ..self.found(&import.alias, CompletionKind::Module, 1)
            });
        }
        for entry in reference::ENTRIES.iter() {
            let longest = reference::overloads(&entry.name).iter().map(Vec::len).max();
            let signature = entry.signatures.last().map_or("", String::as_str);
            all.push(Completion {
                text: entry.summary().to_owned(),
                ..self.function(&entry.name, signature, longest > Some(0), 2)
            });
        }
        let natives = members::functions().into_iter();
        all.extend(natives.map(|native| self.native(native, CompletionKind::Function, 3)));
        let keywords = KEYWORDS.iter();
        all.extend(keywords.map(|word| self.found(word, CompletionKind::Keyword, 3)));
        all
    }

    /// The possible values of the option or of the comparison before the cursor.
    fn values(&self) -> Vec<Completion> {
        let kind = self.expected_kind();
        let values: Vec<String> = match &kind {
            Some(Kind::Choice(all)) => all.iter().map(|one| format!("\"{one}\"")).collect(),
            Some(Kind::Bool) => vec!["true".to_owned(), "false".to_owned()],
            _ => Vec::new(),
        };
        let found = |value: &String| self.found(value, CompletionKind::Value, 0);
        values.iter().map(found).collect()
    }

    /// Returns the type of the value that begins at the cursor.
    fn expected_kind(&self) -> Option<Kind> {
        let tokens = &self.document.tokens;
        let before = self.before.checked_sub(1)?;
        if tokens.is(before, "==") || tokens.is(before, "!=") {
            let value = tokens.chain_before(before)..before;
            return match self.document.type_of(value)? {
                Type::Value(kind) => Some(kind),
                Type::Result(_) => None,
            };
        }
        let map = self.parent.filter(|map| tokens.is(*map, "#{"))?;
        let key = before.checked_sub(1).filter(|_| tokens.is(before, ":"))?;
        (tokens.all[key].parent == Some(map)).then_some(())?;
        let (_, field) = self.document.option_at(key)?;
        Some(field.kind.clone())
    }

    /// Keys and methods of the value before a dot.
    fn members(&self, dot: usize) -> Vec<Completion> {
        let start = self.document.tokens.chain_before(dot);
        let known = self.document.type_of(start..dot);
        let fields = known.as_ref().map(fields_of).unwrap_or_default().iter();
        let mut all: Vec<Completion> = fields
            .map(|field| self.field(field, CompletionKind::Field))
            .collect();
        let methods = members::methods(known.as_ref()).into_iter();
        all.extend(methods.map(|native| self.native(native, CompletionKind::Method, 1)));
        all
    }

    /// Functions of the imported file, or constants, before `::`.
    fn of_module(&self, separator: usize, buffers: &Buffers) -> Vec<Completion> {
        let Some(alias) = separator.checked_sub(1) else {
            return Vec::new();
        };
        if self.document.tokens.is(alias, "global") {
            return self
                .document
                .constants()
                .map(|known| self.variable(known))
                .collect();
        }
        let Some(module) = self
            .document
            .module(&self.document.tokens.text(alias), buffers)
        else {
            return Vec::new();
        };
        let public = module
            .outline
            .functions
            .iter()
            .filter(|function| !function.is_private);
        let found = public.map(|function| {
            let has_parameters = !function.parameters.is_empty();
            Completion {
                text: function.text.clone(),
                ..self.function(&function.name, &function.signature(), has_parameters, 0)
            }
        });
        found.collect()
    }

    /// Options that the map does not have yet.
    fn keys(&self, map: usize) -> Vec<Completion> {
        let tokens = &self.document.tokens;
        let Some((_, fields)) = self.document.keys_of(map) else {
            return Vec::new();
        };
        let is_written = |name: &str| {
            let end = tokens.all[map].closer.unwrap_or(tokens.all.len());
            let mut keys = (map + 1..end).filter(|at| {
                tokens.all[*at].parent == Some(map) && tokens.is(at + 1, ":") && *at != self.before
            });
            keys.any(|at| tokens.is(at, name) || tokens.content(at).as_deref() == Some(name))
        };
        let new = fields.iter().filter(|field| !is_written(&field.name));
        let end = self.at + tokens.scan.word(self.at).chars().count();
        let has_colon = tokens.scan.is_at(tokens.scan.next(end), ":");
        let found = new.map(|field| {
            let insert = if has_colon {
                field.name.clone()
            } else {
                format!("{}: ", field.name)
            };
            Completion {
                insert,
                group: u8::from(!field.required),
                ..self.field(field, CompletionKind::Option)
            }
        });
        found.collect()
    }

    /// Paths of files, possible values and keys in a text in quotes.
    fn in_text(&self, text: usize) -> Vec<Completion> {
        let tokens = &self.document.tokens;
        let begin = tokens.all[text].start + 1;
        if self.at < begin {
            return Vec::new();
        }
        let written = tokens.slice(begin..self.at);
        if let Some(base) = self.document.base_of(text) {
            return self.files(&base, &written);
        }
        let kind = self
            .document
            .expected(text)
            .map(|expected| expected.kind.clone());
        let kind = kind.or_else(|| self.compared(text));
        let values = match kind {
            Some(Kind::Choice(all)) => all,
            _ => self.keys_in_brackets(text),
        };
        let end = tokens.all[text].end;
        let closing = usize::from(tokens.content(text).is_some());
        let found = values.iter().map(|value| Completion {
            replace: begin..(end - closing).max(self.at),
            ..self.found(value, CompletionKind::Value, 0)
        });
        found.collect()
    }

    /// Returns the type of what a text is compared with: of `a` in `a == "`.
    fn compared(&self, text: usize) -> Option<Kind> {
        let tokens = &self.document.tokens;
        let operator = text.checked_sub(1)?;
        let is_comparison = tokens.is(operator, "==") || tokens.is(operator, "!=");
        let value = is_comparison.then(|| tokens.chain_before(operator)..operator)?;
        match self.document.type_of(value)? {
            Type::Value(kind) => Some(kind),
            Type::Result(_) => None,
        }
    }

    /// Returns the keys of `a` in `a["`.
    fn keys_in_brackets(&self, text: usize) -> Vec<String> {
        let tokens = &self.document.tokens;
        let Some(bracket) = text.checked_sub(1).filter(|at| tokens.is(*at, "[")) else {
            return Vec::new();
        };
        let known = self.document.type_of(tokens.chain_before(bracket)..bracket);
        let fields = known.as_ref().map(fields_of).unwrap_or_default();
        fields.iter().map(|field| field.name.clone()).collect()
    }

    fn files(&self, base: &Base, written: &str) -> Vec<Completion> {
        let begin = self.at
            - written
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .chars()
                .count();
        let found = base.entries(written).into_iter().map(|entry| {
            let (kind, insert) = if entry.is_directory {
                (CompletionKind::Folder, format!("{}/", entry.name))
            } else {
                (CompletionKind::File, entry.name.clone())
            };
            Completion {
                insert,
                replace: begin..self.at,
                ..self.found(&entry.name, kind, 0)
            }
        });
        let name = &written[written.rfind('/').map_or(0, |slash| slash + 1)..];
        found
            .filter(|found| is_similar(name, &found.label))
            .collect()
    }
}

/// Returns the keys that a value has.
pub(super) fn fields_of(known: &Type) -> &'static [Field] {
    match known {
        Type::Result(Known::Map(returned)) => returned.fields,
        Type::Result(Known::Array(_)) | Type::Value(_) => &[],
    }
}

/// Returns the type of a field, and whether it is required or has a default.
pub(super) fn facts(field: &Field) -> String {
    let mut facts: Vec<String> = field.kind.in_manual().into_iter().collect();
    if let Some(default) = &field.default {
        facts.push(format!("default {default}"));
    } else if field.required {
        facts.push("required".to_owned());
    }
    if let Kind::Choice(all) = &field.kind {
        facts.push(format!("one of {}", all.join(", ")));
    }
    facts.join(", ")
}

impl Document {
    /// Returns the first line of the value of a variable, or what it is.
    pub(super) fn shown_value(&self, declaration: &Declaration) -> String {
        const WIDEST: usize = 60;
        let what = match declaration.role {
            Role::Parameter => return "parameter".to_owned(),
            Role::Caught => return "caught error".to_owned(),
            Role::Loop => "each of ",
            Role::Variable | Role::Constant => "",
        };
        let initial = self.tokens.all.get(declaration.initial.clone());
        let initial = initial.unwrap_or_default();
        let (Some(first), Some(last)) = (initial.first(), initial.last()) else {
            return String::new();
        };
        let value = self.tokens.slice(first.start..last.end);
        let line = value.lines().next().unwrap_or_default();
        let shown: String = line.chars().take(WIDEST).collect();
        let rest = if shown == value { "" } else { " .." };
        format!("{what}{shown}{rest}")
    }

    /// Returns the file that is imported under an alias.
    pub(super) fn module(&self, alias: &str, buffers: &Buffers) -> Option<Self> {
        let import = self
            .outline
            .imports
            .iter()
            .find(|import| import.alias == alias)?;
        let path = self.imported(&import.path);
        Some(Self::new(&path, &buffers.read(&path)?))
    }
}
