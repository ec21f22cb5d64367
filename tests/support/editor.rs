//! An editor that talks to `autorun lsp`.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Autorun;

/// How long a test waits for a message.
const PATIENCE: Duration = Duration::from_secs(30);

/// A session. The server ends when this value is dropped.
pub(crate) struct Editor {
    child: Child,
    stdin: Option<ChildStdin>,
    messages: Receiver<Value>,
    /// Notifications that were received and not asked for yet.
    notifications: VecDeque<Value>,
    last: i32,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "calls are shorter with a value"
)]
impl Editor {
    /// Starts the server without a message.
    pub(crate) fn start() -> Self {
        let autorun = Autorun::new().arg("lsp");
        let mut command = autorun.command();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, messages) = channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || read(stdout, &sender));
        Self {
            stdin: child.stdin.take(),
            child,
            messages,
            notifications: VecDeque::new(),
            last: 0,
        }
    }

    /// Starts a session in a directory.
    pub(crate) fn open(root: &Path) -> Self {
        let mut editor = Self::start();
        let folder = json!({ "uri": uri(root), "name": "test" });
        editor.request(
            "initialize",
            json!({ "processId": null, "capabilities": {}, "workspaceFolders": [folder] }),
        );
        editor.notify("initialized", json!({}));
        editor
    }

    /// Sends a message as it is.
    pub(crate) fn send(&mut self, message: &Value) {
        let text = message.to_string();
        let stdin = self.stdin.as_mut().expect("the session is open");
        write!(stdin, "Content-Length: {}\r\n\r\n{text}", text.len()).unwrap();
        stdin.flush().unwrap();
    }

    pub(crate) fn notify(&mut self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Sends a request and returns the whole response.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let id = self.last;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        self.response(&json!(id))
    }

    /// Sends a request and returns its result.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> Value {
        let response = self.ask(method, params);
        assert!(response.get("error").is_none(), "{method}: {response}");
        response["result"].clone()
    }

    /// Waits for the response to a request.
    pub(crate) fn response(&mut self, id: &Value) -> Value {
        loop {
            let message = self.next();
            if message.get("id") == Some(id) {
                return message;
            }
            self.notifications.push_back(message);
        }
    }

    /// Waits for a notification of this method.
    pub(crate) fn notification(&mut self, method: &str) -> Value {
        let is_it = |message: &Value| message["method"] == method;
        if let Some(at) = self.notifications.iter().position(is_it) {
            return self.notifications.remove(at).unwrap();
        }
        loop {
            let message = self.next();
            if is_it(&message) {
                return message;
            }
            self.notifications.push_back(message);
        }
    }

    /// Waits for the diagnostics of a version of a document.
    pub(crate) fn diagnostics(&mut self, uri: &str, version: i64) -> Vec<Value> {
        loop {
            let message = self.notification("textDocument/publishDiagnostics");
            let params = &message["params"];
            if params["uri"] == uri && params["version"] == version {
                return params["diagnostics"].as_array().unwrap().clone();
            }
        }
    }

    /// Returns the notifications that came without being waited for.
    pub(crate) fn others(&mut self) -> Vec<Value> {
        self.notifications.drain(..).collect()
    }

    fn next(&mut self) -> Value {
        let message = self.messages.recv_timeout(PATIENCE);
        message.expect("the server sends no message")
    }

    pub(crate) fn did_open(&mut self, uri: &str, version: i64, text: &str) {
        let document =
            json!({ "uri": uri, "languageId": "rhai", "version": version, "text": text });
        self.notify("textDocument/didOpen", json!({ "textDocument": document }));
    }

    /// Sends a request for a place in a document.
    pub(crate) fn at(&mut self, method: &str, uri: &str, (line, character): (u32, u32)) -> Value {
        let params = json!({
            "textDocument": { "uri": uri },
            "position": { "line": line, "character": character },
        });
        self.request(&format!("textDocument/{method}"), params)
    }

    /// Ends the session as the protocol requires, and returns the exit status.
    pub(crate) fn shut_down(mut self) -> Option<i32> {
        self.request("shutdown", Value::Null);
        self.exit()
    }

    /// Sends `exit` and returns the exit status.
    pub(crate) fn exit(mut self) -> Option<i32> {
        self.notify("exit", Value::Null);
        self.ended()
    }

    /// Closes the standard input and returns the exit status.
    pub(crate) fn hang_up(mut self) -> Option<i32> {
        self.ended()
    }

    fn ended(&mut self) -> Option<i32> {
        self.stdin = None;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            // The last messages end when the program does.
            let _ = self.messages.recv_timeout(Duration::from_millis(10));
        }
        panic!("the server does not end");
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the URI of a file whose path has no characters to escape.
pub(crate) fn uri(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn read(stdout: ChildStdout, messages: &Sender<Value>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut length = 0;
        let mut line = String::new();
        while stdout.read_line(&mut line).unwrap_or(0) > 2 {
            if let Some(number) = line.strip_prefix("Content-Length: ") {
                length = number.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        if length == 0 || stdout.read_exact(&mut body).is_err() {
            return;
        }
        if messages
            .send(serde_json::from_slice(&body).unwrap())
            .is_err()
        {
            return;
        }
    }
}
