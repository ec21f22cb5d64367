//! One session with an editor: its documents, and the answers to its requests.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsp_server::{ErrorCode, Message, Notification, Request, RequestId, Response, ResponseError};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::checker::{self, Checker};
use super::messages::{AtPosition, DidChange, DidOpen, Initialize, OfDocument, Versioned};
use super::render;
use super::text::{Encoding, Text};
use crate::playbook::Buffers;
use crate::playbook::language::Document;

/// Sends a message to the editor.
pub(super) type Send = Arc<dyn Fn(Message) + std::marker::Send + Sync>;

/// Whether the session continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Exit,
}

/// A document that the editor has opened.
struct Open {
    path: PathBuf,
    version: i64,
    text: Text,
    /// Its tokens, since the last change.
    document: Option<Document>,
}

/// How far the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before `initialize`.
    New,
    Running,
    /// After `shutdown`.
    ShutDown,
}

pub(super) struct Session {
    send: Send,
    stage: Stage,
    encoding: Encoding,
    has_snippets: bool,
    documents: BTreeMap<String, Open>,
    buffers: Buffers,
    checker: Option<Checker>,
}

type Answer = Result<Value, ResponseError>;

impl Session {
    pub(super) fn new(send: Send) -> Self {
        Self {
            send,
            stage: Stage::New,
            encoding: Encoding::Utf16,
            has_snippets: false,
            documents: BTreeMap::new(),
            buffers: Buffers::default(),
            checker: None,
        }
    }

    /// Returns whether the editor has ended the session as the protocol requires.
    pub(super) fn was_shut_down(&self) -> bool {
        self.stage == Stage::ShutDown
    }

    /// Ends the thread that checks.
    pub(super) fn end(self) {
        drop(self.checker);
    }

    /// Handles a message of the editor. A panic is answered as an internal error, so that
    /// the editor keeps its other documents.
    pub(super) fn handle(&mut self, message: Message) -> Flow {
        match message {
            Message::Request(request) => {
                let Request { id, method, params } = request;
                let answer = catch_unwind(AssertUnwindSafe(|| self.answer(&method, params)));
                let answer = answer.unwrap_or_else(|_| {
                    Err(error(
                        ErrorCode::InternalError,
                        format!("{method} panicked"),
                    ))
                });
                self.respond(id, answer);
                Flow::Continue
            }
            Message::Notification(Notification { method, .. }) if method == "exit" => Flow::Exit,
            Message::Notification(Notification { method, params }) => {
                let noted = catch_unwind(AssertUnwindSafe(|| self.note(&method, params)));
                let noted = noted.unwrap_or_else(|_| Err(format!("internal error: {method}")));
                if let Err(text) = noted {
                    let message = json!({ "type": 1, "message": text });
                    (self.send)(notification("window/logMessage", message));
                }
                Flow::Continue
            }
            // autorun asks the editor nothing.
            Message::Response(_) => Flow::Continue,
        }
    }

    fn respond(&self, id: RequestId, answer: Answer) {
        (self.send)(Message::Response(Response {
            id,
            response_result: answer,
        }));
    }

    fn answer(&mut self, method: &str, params: Value) -> Answer {
        match (self.stage, method) {
            (Stage::New, "initialize") => Ok(self.initialize(&read(method, params)?)),
            (Stage::New, _) => Err(error(
                ErrorCode::ServerNotInitialized,
                "the first request must be `initialize`",
            )),
            (Stage::ShutDown, _) => Err(error(
                ErrorCode::InvalidRequest,
                "the session was shut down",
            )),
            (Stage::Running, "initialize") => Err(error(
                ErrorCode::InvalidRequest,
                "the session is initialized",
            )),
            (Stage::Running, "shutdown") => {
                self.stage = Stage::ShutDown;
                self.checker = None;
                Ok(Value::Null)
            }
            (Stage::Running, "textDocument/completion") => {
                Ok(self.completion(&read(method, params)?))
            }
            (Stage::Running, "textDocument/hover") => Ok(self.hover(&read(method, params)?)),
            (Stage::Running, "textDocument/signatureHelp") => {
                Ok(self.signatures(&read(method, params)?))
            }
            (Stage::Running, "textDocument/definition") => {
                Ok(self.definition(&read(method, params)?))
            }
            (Stage::Running, method) => Err(error(
                ErrorCode::MethodNotFound,
                format!("autorun does not answer `{method}`"),
            )),
        }
    }

    fn initialize(&mut self, params: &Initialize) -> Value {
        let encodings = &params.capabilities.general.position_encodings;
        if encodings.iter().any(|encoding| encoding == "utf-8") {
            self.encoding = Encoding::Utf8;
        }
        let completion = &params.capabilities.text_document.completion;
        self.has_snippets = completion.completion_item.snippet_support;
        let folders = params.workspace_folders.iter().flatten();
        let mut roots = folders.map(|folder| &folder.uri).chain(&params.root_uri);
        // Playbooks start in the root of their project, and so do their relative paths.
        if let Some(root) = roots.next() {
            let _ = std::env::set_current_dir(path_of(root));
        }
        self.checker = Some(Checker::start(self.send.clone(), self.encoding));
        self.stage = Stage::Running;
        let encoding = match self.encoding {
            Encoding::Utf8 => "utf-8",
            Encoding::Utf16 => "utf-16",
        };
        json!({
            "capabilities": {
                "positionEncoding": encoding,
                // Changes are sent as parts of the text.
                "textDocumentSync": { "openClose": true, "change": 2, "save": true },
                "completionProvider": { "triggerCharacters": [".", ":", "\"", "/", "{", ","] },
                "hoverProvider": true,
                "signatureHelpProvider": { "triggerCharacters": ["(", ","] },
                "definitionProvider": true,
            },
            "serverInfo": { "name": "autorun", "version": env!("CARGO_PKG_VERSION") },
        })
    }

    fn note(&mut self, method: &str, params: Value) -> Result<(), String> {
        if self.stage != Stage::Running {
            return Ok(());
        }
        match method {
            "textDocument/didOpen" => self.open(read_note(method, params)?),
            "textDocument/didChange" => self.change(read_note(method, params)?)?,
            "textDocument/didClose" => self.close(&read_note(method, params)?),
            "textDocument/didSave" => {
                if let Some(checker) = &self.checker {
                    checker.saved();
                }
            }
            // The protocol lets a server ignore all others.
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, DidOpen { text_document }: DidOpen) {
        let document = Open {
            path: path_of(&text_document.uri),
            version: text_document.version,
            text: Text::new(text_document.text),
            document: None,
        };
        self.documents.insert(text_document.uri.clone(), document);
        self.has_changed(&text_document.uri);
    }

    fn change(&mut self, params: DidChange) -> Result<(), String> {
        let Versioned { uri, version } = params.text_document;
        let Some(open) = self.documents.get_mut(&uri) else {
            return Err(format!("the document {uri} is not open"));
        };
        for change in params.content_changes {
            open.text.apply(change, self.encoding);
        }
        open.version = version;
        open.document = None;
        self.has_changed(&uri);
        Ok(())
    }

    fn close(&mut self, params: &OfDocument) {
        let uri = &params.text_document.uri;
        if let Some(open) = self.documents.remove(uri) {
            self.buffers.remove(&open.path);
        }
        if let Some(checker) = &self.checker {
            checker.closed(uri, &self.buffers);
        }
    }

    fn has_changed(&mut self, uri: &str) {
        let (Some(open), Some(checker)) = (self.documents.get(uri), &self.checker) else {
            return;
        };
        self.buffers.insert(&open.path, open.text.content());
        let document = checker::Open {
            uri: uri.to_owned(),
            path: open.path.clone(),
            version: open.version,
            text: open.text.clone(),
        };
        checker.changed(document, &self.buffers);
    }

    /// Calls `find` with a document and the character at a position in it. Returns null
    /// for a document that is not open.
    fn at<T>(
        &mut self,
        params: &AtPosition,
        find: impl FnOnce(&Document, usize, &Buffers) -> T,
    ) -> Option<(T, &Text, &Document)> {
        let open = self.documents.get_mut(&params.text_document.uri)?;
        let Open {
            path,
            text,
            document,
            ..
        } = open;
        let document = document.get_or_insert_with(|| Document::new(path, text.content()));
        let (line, column) = text.place(params.position, self.encoding);
        let at = document.index(line, column);
        Some((find(document, at, &self.buffers), text, document))
    }

    fn completion(&mut self, params: &AtPosition) -> Value {
        let (encoding, has_snippets) = (self.encoding, self.has_snippets);
        let context = params.context.as_ref();
        let trigger = context.and_then(|context| context.trigger_character.as_deref());
        let find = |document: &Document, at: usize, buffers: &Buffers| {
            if trigger.is_some() && !document.is_special(at) {
                return Vec::new();
            }
            document.completions(at, buffers)
        };
        let Some((found, text, document)) = self.at(params, find) else {
            return Value::Null;
        };
        let items = found.iter().map(|found| {
            let range = render::range(text, document, found.replace.clone(), encoding);
            render::completion(found, range, has_snippets)
        });
        json!({ "isIncomplete": false, "items": items.collect::<Vec<_>>() })
    }

    fn hover(&mut self, params: &AtPosition) -> Value {
        let encoding = self.encoding;
        let found = self.at(params, Document::hover);
        match found {
            Some((Some(found), text, document)) => {
                let range = render::range(text, document, found.range.clone(), encoding);
                render::hover(&found, range)
            }
            _ => Value::Null,
        }
    }

    fn signatures(&mut self, params: &AtPosition) -> Value {
        let found = self.at(params, Document::signatures);
        match found {
            Some((Some(found), ..)) => render::signatures(&found),
            _ => Value::Null,
        }
    }

    fn definition(&mut self, params: &AtPosition) -> Value {
        let found = self.at(params, Document::definition);
        let found = found.and_then(|(found, ..)| found);
        match found {
            Some(target) => render::location(&target, &self.buffers, self.encoding),
            None => Value::Null,
        }
    }
}

/// Creates a notification of the server.
pub(super) fn notification(method: &str, params: Value) -> Message {
    Message::Notification(Notification {
        method: method.to_owned(),
        params,
    })
}

fn error(code: ErrorCode, message: impl Into<String>) -> ResponseError {
    ResponseError {
        code: code as i32,
        message: message.into(),
        data: None,
    }
}

fn read<T: DeserializeOwned>(method: &str, params: Value) -> Result<T, ResponseError> {
    let read = read_note(method, params);
    read.map_err(|message| error(ErrorCode::InvalidParams, message))
}

fn read_note<T: DeserializeOwned>(method: &str, params: Value) -> Result<T, String> {
    serde_json::from_value(params).map_err(|e| format!("wrong parameters of {method}: {e}"))
}

/// Returns the path of a document. A document that is not a file, such as a new one, has
/// its URI as path.
fn path_of(uri: &str) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let Some(rest) = uri.strip_prefix("file://") else {
        return PathBuf::from(uri);
    };
    // The name of a host is before the path.
    let path = rest.find('/').map_or(rest, |slash| &rest[slash..]);
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    Path::new(std::ffi::OsStr::from_bytes(&bytes)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_and_its_path_are_converted() {
        for (uri, path) in [
            ("file:///a/b%20c.rhai", "/a/b c.rhai"),
            ("file://localhost/a.rhai", "/a.rhai"),
            ("file:///%C3%A9/%25.rhai", "/\u{e9}/%.rhai"),
        ] {
            assert_eq!(path_of(uri), Path::new(path));
            if !uri.contains("localhost") {
                assert_eq!(render::uri(Path::new(path)), uri);
            }
        }
        assert_eq!(
            path_of("untitled:Untitled-1"),
            Path::new("untitled:Untitled-1")
        );
    }
}
