//! The function reference, generated from the metadata of the engine. Its text is the
//! doc comments of the primitives.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{LazyLock, Mutex, PoisonError};

use rhai::Engine;
use serde::Deserialize;

use super::tables;
use crate::error::exit;
use crate::primitives::{self, FAMILIES, Family};

/// The manual entry of one function.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Heading of its family.
    pub family: &'static str,
    /// Its signatures, such as `create_bucket(prefix: string)`, shortest first.
    pub signatures: Vec<String>,
    /// Its text in Markdown.
    pub text: String,
}

impl Entry {
    /// Returns the first paragraph.
    #[must_use]
    pub fn summary(&self) -> &str {
        self.text.split("\n\n").next().unwrap_or_default()
    }

    /// Returns the examples: the contents of ```` ```rhai ```` blocks.
    #[must_use]
    pub fn examples(&self) -> Vec<String> {
        let blocks = self.text.split("```rhai\n").skip(1);
        blocks
            .filter_map(|rest| rest.split("```").next())
            .map(str::to_owned)
            .collect()
    }
}

/// All entries, in the order of the manual.
pub static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(entries);

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    functions: Vec<Function>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Function {
    name: String,
    #[serde(default)]
    params: Vec<Parameter>,
    #[serde(default)]
    doc_comments: Vec<String>,
}

/// A parameter of a function.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Parameter {
    #[serde(default)]
    pub(super) name: String,
    /// Its type in Rust.
    #[serde(default, rename = "type")]
    pub(super) kind: String,
}

impl Parameter {
    /// Returns it as signatures show it, such as `prefix: string`.
    pub(super) fn shown(&self) -> String {
        let kind = match self.kind.as_str() {
            "Map" => "map",
            "Array" => "array",
            "FnPtr" => "function",
            "Dynamic" | "i64" | "f64" => return self.name.clone(),
            kind if kind.contains("String") => "string",
            kind => kind,
        };
        format!("{}: {kind}", self.name)
    }
}

fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for family in &FAMILIES {
        let first = entries.len();
        for function in documented(family, |_| true) {
            let at = entries[first..]
                .iter()
                .position(|e| e.name == function.name);
            let entry = if let Some(at) = at {
                &mut entries[first + at]
            } else {
                entries.push(Entry {
                    name: function.name.clone(),
                    family: family.title,
                    signatures: Vec::new(),
                    text: String::new(),
                });
                let last = entries.len() - 1;
                &mut entries[last]
            };
            // Overloads for different types of Rhai have the same signature.
            let signature = signature(&function);
            if !entry.signatures.contains(&signature) {
                entry.signatures.push(signature);
            }
            if entry.text.is_empty() {
                entry.text = text(&function.doc_comments);
            }
        }
        entries[first..].sort_by(|a, b| a.name.cmp(&b.name));
    }
    for entry in &mut entries {
        entry.text = tables::with_tables(&entry.name, &entry.text);
        entry
            .signatures
            .sort_by_key(|signature| (signature.len(), signature.clone()));
    }
    entries
}

/// Returns the documentation of the functions of a family that are `wanted`.
fn documented(family: &Family, wanted: impl Fn(&str) -> bool) -> Vec<Function> {
    let mut engine = Engine::new_raw();
    engine.register_global_module(family.documented(wanted).into());
    let json = engine.gen_fn_metadata_to_json(false).unwrap_or_default();
    let metadata = serde_json::from_str(&json);
    metadata.map_or(Vec::new(), |Metadata { functions }| functions)
}

/// Returns doc comments without their slashes.
pub(super) fn text<S: AsRef<str>>(comments: &[S]) -> String {
    let lines = comments
        .iter()
        .flat_map(|comment| comment.as_ref().lines())
        .map(|line| {
            let line = line.trim_start().trim_start_matches("///");
            line.strip_prefix(' ').unwrap_or(line)
        });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// Returns the parameters that a playbook passes, without the call context.
fn own_parameters(function: &Function) -> impl Iterator<Item = &Parameter> {
    function.params.iter().filter(|p| p.name != "call")
}

fn signature(function: &Function) -> String {
    let parameters = own_parameters(function).map(Parameter::shown);
    format!(
        "{}({})",
        function.name,
        parameters.collect::<Vec<_>>().join(", ")
    )
}

/// Returns the signatures of a function, for hints.
pub(super) fn signatures(name: &str) -> Vec<String> {
    let entry = ENTRIES.iter().find(|entry| entry.name == name);
    entry
        .map(|entry| entry.signatures.clone())
        .unwrap_or_default()
}

/// Returns the parameters of each overload of a function. The check before a run needs
/// those of the functions that a playbook calls, not the whole reference.
pub(super) fn overloads(name: &str) -> &'static [Vec<Parameter>] {
    type Known = HashMap<String, &'static [Vec<Parameter>]>;
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
    let Some(family) = primitives::family_of(name) else {
        return &[];
    };
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(name.to_owned()).or_insert_with(|| {
        let functions = documented(family, |other| other == name).into_iter();
        let overloads = functions.map(|function| own_parameters(&function).cloned().collect());
        // There are only as many as functions.
        Vec::leak(overloads.collect())
    })
}

/// Returns an overview of all families and functions.
#[must_use]
pub fn overview() -> String {
    let mut out = String::new();
    let mut family = "";
    let width = ENTRIES.iter().map(|e| e.name.len()).max().unwrap_or(0);
    for entry in ENTRIES.iter() {
        if entry.family != family {
            family = entry.family;
            let gap = if out.is_empty() { "" } else { "\n" };
            let _ = writeln!(out, "{gap}{family}");
        }
        let summary = entry.summary().replace('\n', " ");
        let room = 80 - width - 4;
        let summary = shorten(&summary, room);
        let _ = writeln!(out, "  {:width$}  {summary}", entry.name);
    }
    out.push_str("\nautorun docs NAME shows the details of a function.\n");
    out
}

/// Shortens a text to as many words as fit.
fn shorten(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let mut out = String::new();
    for word in text.split(' ') {
        if out.chars().count() + word.chars().count() + 4 > room {
            break;
        }
        let _ = write!(out, "{}{word}", if out.is_empty() { "" } else { " " });
    }
    out + " .."
}

/// Returns the entry of a function for the terminal.
#[must_use]
pub fn entry(name: &str) -> Option<String> {
    let entry = ENTRIES.iter().find(|entry| entry.name == name)?;
    let text = entry
        .text
        .replace("```rhai\n", "Example:\n\n")
        .replace("```", "");
    Some(format!(
        "{}\n\n{}\n",
        entry.signatures.join("\n"),
        text.trim_end()
    ))
}

/// Returns the whole reference in Markdown: `playbooks/manual/reference.md`.
#[must_use]
pub fn markdown() -> String {
    let mut out = "# Function reference\n\n\
        Generated from the source code. `autorun docs NAME` shows the same text for one\n\
        function.\n\n\
        `()` is Rhai's \"no value\". A number of seconds can have a fraction.\n\n\
        Every function that sends requests to AWS can also throw `denied` if the\n\
        credentials are missing or not valid, and `throttled`, `timeout` or `unreachable`\n\
        if AWS does not answer. `error_info` lists all kinds of errors.\n"
        .to_owned();
    let mut family = "";
    for entry in ENTRIES.iter() {
        if entry.family != family {
            family = entry.family;
            let _ = write!(out, "\n## {family}\n");
        }
        let signatures = entry.signatures.join("`  \n`");
        let _ = write!(
            out,
            "\n### {}\n\n`{signatures}`\n\n{}\n",
            entry.name, entry.text
        );
    }
    out.push_str("\n## Exit codes\n\n| code | meaning |\n|---|---|\n");
    for (code, meaning) in exit::TABLE {
        let _ = writeln!(out, "| {code} | {meaning} |");
    }
    out
}
