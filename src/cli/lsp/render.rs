//! Findings and answers as the protocol has them.

use std::path::Path;

use serde_json::{Value, json};

use super::checker::Open;
use super::messages::Range;
use super::text::{Encoding, Text};
use crate::error::Place;
use crate::playbook::check::Level;
use crate::playbook::language::{Completion, CompletionKind, Document, Hover, Signatures, Target};
use crate::playbook::{Buffers, Finding, identity};
use crate::report::Mask;

/// Codes of findings whose text has no effect. Editors show it faded.
const UNNECESSARY: [&str; 5] = [
    "unused-variable",
    "unused-function",
    "unused-import",
    "unused-var",
    "unreachable-code",
];

/// Returns the URI of a file.
pub(super) fn uri(path: &Path) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
    use std::os::unix::ffi::OsStrExt as _;
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'.')
        .remove(b'-')
        .remove(b'_')
        .remove(b'~');
    let bytes = path.as_os_str().as_bytes();
    format!("file://{}", percent_encode(bytes, KEPT))
}

/// Makes diagnostics of the findings in a document.
pub(super) struct Diagnostics<'a> {
    pub(super) document: &'a Open,
    pub(super) encoding: Encoding,
    pub(super) buffers: &'a Buffers,
    pub(super) mask: &'a Mask,
}

impl Diagnostics<'_> {
    pub(super) fn of(&self, findings: &[Finding]) -> Vec<Value> {
        let Open { path, text, .. } = self.document;
        let document = Document::new(path, text.content());
        let file = identity(path);
        let of_imports = |finding: &&Finding| identity(finding.error.place.source.as_ref()) != file;
        let (imported, own): (Vec<&Finding>, Vec<&Finding>) = findings.iter().partition(of_imports);
        let own = own.into_iter().map(|finding| self.own(finding, &document));
        // Warnings in an imported file are shown when that file is opened.
        let imported = imported.into_iter().filter(|finding| finding.is_error());
        let imported = imported.map(|finding| self.imported(finding, &document));
        own.chain(imported).collect()
    }

    fn own(&self, finding: &Finding, document: &Document) -> Value {
        let Place { line, column, .. } = finding.error.place;
        let at = document.index(line.max(1), column.max(1));
        let range = range(
            &self.document.text,
            document,
            document.token_around(at),
            self.encoding,
        );
        let mut shown = self.diagnostic(finding, range, &finding.error.to_string());
        if UNNECESSARY.contains(&finding.rule.code) {
            shown["tags"] = json!([1]);
        }
        shown
    }

    /// An error in an imported file, which is shown at the import.
    fn imported(&self, finding: &Finding, document: &Document) -> Value {
        let place = &finding.error.place;
        let at = document.import_of(place.source.as_ref()).unwrap_or(0..0);
        let at = range(&self.document.text, document, at, self.encoding);
        let message = format!("{}:{}: {}", place.source, place.line, finding.error);
        let mut shown = self.diagnostic(finding, at, &message);
        let other = Text::new(self.buffers.read(place.source.as_ref()).unwrap_or_default());
        let position = other.position((place.line, place.column), self.encoding);
        shown["relatedInformation"] = json!([{
            "location": {
                "uri": uri(&identity(place.source.as_ref())),
                "range": { "start": position, "end": position },
            },
            "message": self.mask.apply(&finding.error.to_string()),
        }]);
        shown
    }

    fn diagnostic(&self, finding: &Finding, range: Range, message: &str) -> Value {
        let severity = match finding.rule.level {
            Level::Error => 1,
            Level::Warning => 2,
        };
        let hint = finding.error.hint.as_ref();
        let hint = hint
            .map(|hint| format!("\nhint: {hint}"))
            .unwrap_or_default();
        json!({
            "range": range,
            "severity": severity,
            "code": finding.rule.code,
            "source": "autorun",
            "message": self.mask.apply(&format!("{message}{hint}")),
        })
    }
}

/// Returns a range of characters in the units of the session.
pub(super) fn range(
    text: &Text,
    document: &Document,
    chars: std::ops::Range<usize>,
    encoding: Encoding,
) -> Range {
    Range {
        start: text.position(document.place(chars.start), encoding),
        end: text.position(document.place(chars.end), encoding),
    }
}

fn markdown(text: &str) -> Value {
    json!({ "kind": "markdown", "value": text })
}

pub(super) fn completion(found: &Completion, range: Range, has_snippets: bool) -> Value {
    // The numbers of the protocol.
    let kind = match found.kind {
        CompletionKind::Method => 2,
        CompletionKind::Function => 3,
        CompletionKind::Field => 5,
        CompletionKind::Variable => 6,
        CompletionKind::Module => 9,
        CompletionKind::Option => 10,
        CompletionKind::Value => 12,
        CompletionKind::Keyword => 14,
        CompletionKind::File => 17,
        CompletionKind::Folder => 19,
        CompletionKind::Constant => 21,
    };
    let is_snippet = has_snippets && found.insert.contains("$0");
    let insert = if is_snippet {
        found.insert.clone()
    } else {
        found.insert.replace("($0)", "")
    };
    let mut item = json!({
        "label": found.label,
        "kind": kind,
        "sortText": format!("{}{}", found.group, found.label),
        "insertTextFormat": if is_snippet { 2 } else { 1 },
        "textEdit": { "range": range, "newText": insert },
    });
    if !found.detail.is_empty() {
        item["detail"] = json!(found.detail);
    }
    if !found.text.is_empty() {
        item["documentation"] = markdown(&found.text);
    }
    item
}

pub(super) fn hover(found: &Hover, range: Range) -> Value {
    json!({ "contents": markdown(&found.text), "range": range })
}

pub(super) fn signatures(found: &Signatures) -> Value {
    let all = found.all.iter().map(|form| {
        let parameters = form
            .parameters
            .iter()
            .map(|label| json!({ "label": label }));
        json!({
            "label": form.label,
            "documentation": markdown(&form.text),
            "parameters": parameters.collect::<Vec<_>>(),
        })
    });
    json!({
        "signatures": all.collect::<Vec<_>>(),
        "activeSignature": found.active,
        "activeParameter": found.argument,
    })
}

pub(super) fn location(target: &Target, buffers: &Buffers, encoding: Encoding) -> Value {
    let text = Text::new(buffers.read(&target.path).unwrap_or_default());
    json!({
        "uri": uri(&target.path),
        "range": {
            "start": text.position(target.start, encoding),
            "end": text.position(target.end, encoding),
        },
    })
}
