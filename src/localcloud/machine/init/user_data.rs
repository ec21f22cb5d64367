//! Parses user data: scripts, alone or as parts of a MIME message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The deepest nesting of messages.
const DEEPEST: usize = 8;

/// Parsed user data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UserData {
    /// The scripts, in the order in which they run.
    pub(super) scripts: Vec<Vec<u8>>,
    /// One sentence for each part that the local cloud does not support.
    pub(super) unsupported: Vec<String>,
}

/// Whether the data has to be unpacked first.
pub(super) fn is_gzip(data: &[u8]) -> bool {
    data.starts_with(b"\x1f\x8b")
}

impl UserData {
    pub(super) fn parse(data: &[u8]) -> Self {
        let mut result = Self::default();
        result.add(data, None, DEEPEST);
        result
    }

    fn add(&mut self, data: &[u8], kind: Option<&str>, depth: usize) {
        let start = data.trim_ascii_start();
        let lower = start[..start.len().min(32)].to_ascii_lowercase();
        let is_message =
            lower.starts_with(b"content-type: multipart") || lower.starts_with(b"mime-version:");
        if start.is_empty() {
            return;
        }
        if is_message && depth > 0 {
            return self.add_message(start, depth - 1);
        }
        if start.starts_with(b"#!") || kind == Some("text/x-shellscript") {
            return self.scripts.push(start.to_owned());
        }
        let first = start.split(|byte| *byte == b'\n').next().unwrap_or(start);
        let first = String::from_utf8_lossy(&first[..first.len().min(60)]);
        self.unsupported.push(format!(
            "user data that begins with `{}` is not supported by the local cloud, only scripts \
             that begin with `#!`",
            first.trim()
        ));
    }

    fn add_message(&mut self, message: &[u8], depth: usize) {
        let (headers, body) = split_headers(message);
        let Some(boundary) = parameter(&headers, "boundary") else {
            let kind = content_type(&headers);
            let body = decoded(body, &headers);
            return self.add(&body, Some(&kind), depth);
        };
        for part in parts(body, &boundary) {
            let (headers, body) = split_headers(part);
            let kind = content_type(&headers);
            if kind.starts_with("multipart/") {
                self.add(part, Some(&kind), depth);
            } else {
                self.add(&decoded(body, &headers), Some(&kind), depth);
            }
        }
    }
}

/// Returns the headers with folded lines joined, and the body.
fn split_headers(message: &[u8]) -> (String, &[u8]) {
    let mut position = 0;
    let mut headers = String::new();
    while position < message.len() {
        let rest = &message[position..];
        let length = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(rest.len(), |n| n + 1);
        let line = String::from_utf8_lossy(&rest[..length]);
        position += length;
        if line.trim().is_empty() {
            break;
        }
        if !line.starts_with([' ', '\t']) && !headers.is_empty() {
            headers.push('\n');
        }
        headers += line.trim_end();
    }
    (headers, &message[position..])
}

fn header<'a>(headers: &'a str, name: &str) -> Option<&'a str> {
    headers.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn content_type(headers: &str) -> String {
    let value = header(headers, "content-type").unwrap_or("text/plain");
    let kind = value.split(';').next().unwrap_or(value);
    kind.trim().to_ascii_lowercase()
}

fn parameter(headers: &str, name: &str) -> Option<String> {
    let value = header(headers, "content-type")?;
    value.split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        let is_it = key.trim().eq_ignore_ascii_case(name);
        is_it.then(|| value.trim().trim_matches('"').to_owned())
    })
}

fn parts<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let mark = format!("--{boundary}");
    let end = format!("--{boundary}--");
    let mut parts = Vec::new();
    let mut start = None;
    let mut position = 0;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii_end();
        if text == mark.as_bytes() || text == end.as_bytes() {
            if let Some(start) = start {
                parts.push(&body[start..position]);
            }
            start = Some(position + line.len());
        }
        position += line.len();
        if text == end.as_bytes() {
            return parts;
        }
    }
    if let Some(start) = start {
        parts.push(&body[start..]);
    }
    parts
}

fn decoded(body: &[u8], headers: &str) -> Vec<u8> {
    let encoding = header(headers, "content-transfer-encoding").unwrap_or_default();
    if !encoding.eq_ignore_ascii_case("base64") {
        return body.to_owned();
    }
    let text: Vec<_> = body
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .copied()
        .collect();
    STANDARD.decode(&text).unwrap_or_else(|_| body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_found() {
        let data = UserData::parse(b"#!/bin/sh\necho hi\n");
        assert_eq!(data.scripts, [b"#!/bin/sh\necho hi\n".to_vec()]);
        assert!(UserData::parse(b"\n\n").scripts.is_empty());
    }

    #[test]
    fn a_message_has_parts() {
        let message = b"MIME-Version: 1.0\nContent-Type: multipart/mixed;\n boundary=\"==x==\"\n\n\
            --==x==\nContent-Type: text/cloud-config\n\n#cloud-config\npackages: []\n\
            --==x==\nContent-Type: text/x-shellscript; charset=\"us-ascii\"\n\
            Content-Transfer-Encoding: base64\n\nIyEvYmluL3NoCmVjaG8g\nb25lCg==\n\
            --==x==\nContent-Type: text/x-shellscript\n\n#!/bin/sh\necho two\n--==x==--\nrest";
        let data = UserData::parse(message);
        let scripts: Vec<_> = data
            .scripts
            .iter()
            .map(|s| String::from_utf8_lossy(s))
            .collect();
        assert_eq!(scripts, ["#!/bin/sh\necho one\n", "#!/bin/sh\necho two\n"]);
        assert_eq!(data.unsupported.len(), 1);
        assert!(data.unsupported[0].contains("`#cloud-config`"));
    }

    #[test]
    fn broken_messages_do_not_panic() {
        for data in [
            &b"MIME-Version: 1.0"[..],
            b"Content-Type: multipart/mixed; boundary=",
            b"\xff",
        ] {
            let _ = UserData::parse(data);
        }
        let nested = "Content-Type: multipart/mixed; boundary=a\n\n--a\n".repeat(50);
        let _ = UserData::parse(nested.as_bytes());
    }
}
