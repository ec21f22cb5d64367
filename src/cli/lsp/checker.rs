//! The thread that checks documents while the user writes.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use super::render;
use super::session::{Send, notification};
use super::text::{Encoding, Text};
use crate::playbook::{Buffers, Checked, Playbook, identity};
use crate::report::Mask;

/// How long the check waits for the next change, and at most for all of them.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// An open document.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) uri: String,
    pub(super) path: PathBuf,
    pub(super) version: i64,
    pub(super) text: Text,
}

/// What happened to a document.
enum Event {
    Changed(Box<Open>, Buffers),
    Closed(String, Buffers),
    /// A file may have changed on disk.
    Saved,
}

/// The thread that checks. It ends when this value is dropped.
pub(super) struct Checker {
    events: Option<Sender<Event>>,
    thread: Option<JoinHandle<()>>,
}

impl Checker {
    pub(super) fn start(send: Send, encoding: Encoding) -> Self {
        let (events, receiver) = channel();
        let thread = std::thread::Builder::new()
            .name("check".to_owned())
            // The check follows expressions to their greatest depth.
            .stack_size(64 << 20)
            .spawn(move || Worker::new(send, encoding).run(&receiver));
        Self {
            events: Some(events),
            thread: thread.ok(),
        }
    }

    pub(super) fn changed(&self, document: Open, buffers: &Buffers) {
        self.tell(Event::Changed(Box::new(document), buffers.clone()));
    }

    pub(super) fn closed(&self, uri: &str, buffers: &Buffers) {
        self.tell(Event::Closed(uri.to_owned(), buffers.clone()));
    }

    pub(super) fn saved(&self) {
        self.tell(Event::Saved);
    }

    fn tell(&self, event: Event) {
        if let Some(events) = &self.events {
            let _ = events.send(event);
        }
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.events = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    send: Send,
    encoding: Encoding,
    buffers: Buffers,
    open: BTreeMap<String, Open>,
    /// The files that each document consists of.
    files: BTreeMap<String, BTreeSet<PathBuf>>,
    /// The documents that have to be checked.
    due: BTreeSet<String>,
}

impl Worker {
    fn new(send: Send, encoding: Encoding) -> Self {
        Self {
            send,
            encoding,
            buffers: Buffers::default(),
            open: BTreeMap::new(),
            files: BTreeMap::new(),
            due: BTreeSet::new(),
        }
    }

    fn run(&mut self, events: &Receiver<Event>) {
        while let Ok(event) = events.recv() {
            self.note(event);
            // Wait until the user pauses.
            let end = Instant::now() + LONGEST_PAUSE;
            while Instant::now() < end {
                match events.recv_timeout(PAUSE) {
                    Ok(event) => self.note(event),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            for uri in std::mem::take(&mut self.due) {
                self.check(&uri);
            }
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Changed(document, buffers) => {
                self.buffers = buffers;
                self.mark_users_of(&document.path);
                self.due.insert(document.uri.clone());
                self.open.insert(document.uri.clone(), *document);
            }
            Event::Closed(uri, buffers) => {
                self.buffers = buffers;
                if let Some(document) = self.open.remove(&uri) {
                    self.mark_users_of(&document.path);
                }
                self.due.remove(&uri);
                self.files.remove(&uri);
                self.publish(&uri, None, &[]);
            }
            Event::Saved => self.due.extend(self.open.keys().cloned()),
        }
    }

    /// Marks the documents that import a file.
    fn mark_users_of(&mut self, path: &std::path::Path) {
        let file = identity(path);
        let users = self.files.iter().filter(|(_, files)| files.contains(&file));
        self.due.extend(users.map(|(uri, _)| uri.clone()));
    }

    fn check(&mut self, uri: &str) {
        let Some(document) = self.open.get(uri) else {
            return;
        };
        let checked = || Playbook::check_with(&document.path, &self.buffers);
        let Ok(checked) = catch_unwind(AssertUnwindSafe(checked)) else {
            let text = format!("internal error: the check of {uri} panicked");
            (self.send)(notification(
                "window/logMessage",
                json!({ "type": 1, "message": text }),
            ));
            return;
        };
        let Checked {
            findings,
            texts,
            secrets,
        } = checked;
        let files = texts.keys().map(|path| identity(path.as_ref()));
        self.files.insert(uri.to_owned(), files.collect());
        let mask = Mask::default();
        for secret in &secrets {
            mask.add_json(secret);
        }
        let shown = render::Diagnostics {
            document,
            encoding: self.encoding,
            buffers: &self.buffers,
            mask: &mask,
        };
        let diagnostics = shown.of(&findings);
        let version = document.version;
        self.publish(uri, Some(version), &diagnostics);
    }

    fn publish(&self, uri: &str, version: Option<i64>, diagnostics: &[serde_json::Value]) {
        let mut message = json!({ "uri": uri, "diagnostics": diagnostics });
        if let Some(version) = version {
            message["version"] = json!(version);
        }
        (self.send)(notification("textDocument/publishDiagnostics", message));
    }
}
