//! MIME messages, read as Python's `email` package reads them, because cloud-init
//! uses that package: it accepts almost everything.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{GeneralPurposeConfig, STANDARD};

/// The deepest nesting of messages.
const DEEPEST: usize = 16;

/// A message or one of its parts.
#[derive(Debug, Default)]
pub(super) struct Message {
    headers: Vec<(String, String)>,
    /// The text after the headers, of a message without parts.
    text: String,
    pub(super) parts: Vec<Message>,
}

impl Message {
    pub(super) fn parse(text: &str) -> Self {
        let mut lines = Lines {
            all: lines_of(text),
            next: 0,
            ends: Vec::new(),
        };
        lines.message()
    }

    /// Returns the content type in lower case, without parameters.
    pub(super) fn content_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        let kind = value.split(';').next().unwrap_or_default();
        let kind = kind.trim().to_lowercase();
        if kind.matches('/').count() == 1 {
            kind
        } else {
            "text/plain".to_owned()
        }
    }

    pub(super) fn is_multipart(&self) -> bool {
        self.content_type().starts_with("multipart/")
    }

    /// Returns the name in `Content-Disposition`.
    pub(super) fn file_name(&self) -> Option<String> {
        self.parameter("content-disposition", "filename")
            .filter(|name| !name.is_empty())
    }

    /// Returns the name in `Content-Type`.
    pub(super) fn type_name(&self) -> Option<String> {
        self.parameter("content-type", "name")
            .filter(|name| !name.is_empty())
    }

    /// Returns the content, decoded as `Content-Transfer-Encoding` says.
    pub(super) fn content(&self) -> Vec<u8> {
        let encoding = self.header("content-transfer-encoding");
        match encoding.unwrap_or_default().trim().to_lowercase().as_str() {
            "base64" => base64(&self.text),
            "quoted-printable" => quoted_printable(&self.text),
            _ => self.text.clone().into_bytes(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Returns a parameter of a header. It may be in sections (`name*0=`) and have
    /// a character set (`name*=utf-8''..`), as RFC 2231 describes.
    fn parameter(&self, header: &str, name: &str) -> Option<String> {
        let parameters = unquoted_split(self.header(header)?).into_iter().skip(1);
        let pairs: Vec<_> = parameters
            .filter_map(|parameter| parameter.split_once('='))
            .map(|(key, value)| (key.trim().to_lowercase(), unquoted(value.trim())))
            .collect();
        let find = |key: String| pairs.iter().find(|(known, _)| *known == key);
        if let Some((_, value)) = find(name.to_owned()) {
            return Some(value.clone());
        }
        if let Some((_, value)) = find(format!("{name}*")) {
            return Some(decoded(value));
        }
        let mut joined = String::new();
        let mut is_encoded = false;
        for number in 0.. {
            let encoded = find(format!("{name}*{number}*"));
            is_encoded |= encoded.is_some();
            match encoded.or_else(|| find(format!("{name}*{number}"))) {
                Some((_, section)) => joined.push_str(section),
                None if number == 0 => return None,
                None => break,
            }
        }
        Some(if is_encoded { decoded(&joined) } else { joined })
    }
}

fn unquoted(value: &str) -> String {
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.map_or_else(
        || value.to_owned(),
        |inner| inner.replace("\\\\", "\\").replace("\\\"", "\""),
    )
}

/// Decodes `CHARSET'LANGUAGE'TEXT`, whose text has `%` codes.
fn decoded(value: &str) -> String {
    let text = value.splitn(3, '\'').nth(2).unwrap_or(value);
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let code = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        match code {
            Some(code) if byte == b'%' => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The lines of a message, with their ends.
struct Lines<'a> {
    all: Vec<&'a str>,
    next: usize,
    /// The boundaries of all messages around the current one: each ends it.
    ends: Vec<String>,
}

impl<'a> Lines<'a> {
    fn take(&mut self) -> Option<&'a str> {
        let line = self.all.get(self.next).copied()?;
        if self.ends.iter().any(|end| boundary(line, end).is_some()) {
            return None;
        }
        self.next += 1;
        Some(line)
    }

    fn message(&mut self) -> Message {
        let mut message = Message {
            headers: self.headers(),
            ..Message::default()
        };
        let kind = message.content_type();
        if kind.starts_with("message/") && self.ends.len() < DEEPEST {
            message.parts.push(self.message());
        } else if let Some(mark) = message.parameter("content-type", "boundary")
            && message.is_multipart()
            && self.ends.len() < DEEPEST
        {
            message.parts = self.parts(mark.trim_end());
        } else {
            message.text = self.rest();
        }
        message
    }

    /// Reads headers up to and including the empty line. A line that cannot be a
    /// header begins the text.
    fn headers(&mut self) -> Vec<(String, String)> {
        let mut headers: Vec<(String, String)> = Vec::new();
        let first = self.next;
        while let Some(line) = self.take() {
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = headers.last_mut() {
                    value.push_str(line);
                }
            } else if line.starts_with("From ") {
                // Only the first line may be one; the others are left out.
                debug_assert!(self.next > first);
            } else if let Some((name, value)) = line.split_once(':')
                && name.bytes().all(|byte| (33..=126).contains(&byte))
            {
                headers.push((name.to_owned(), value.to_owned()));
            } else {
                if !line.starts_with(['\r', '\n']) {
                    self.next -= 1;
                }
                break;
            }
        }
        for (_, value) in &mut headers {
            let unfolded = value.replace(['\r', '\n'], "");
            unfolded.trim().clone_into(value);
        }
        headers
    }

    fn parts(&mut self, mark: &str) -> Vec<Message> {
        let mut parts = Vec::new();
        while let Some(line) = self.take() {
            match boundary(line, mark) {
                Some(End::Last) => break,
                Some(End::Part) => {
                    while let Some(line) = self.take() {
                        if boundary(line, mark).is_none() {
                            self.next -= 1;
                            break;
                        }
                    }
                    self.ends.push(mark.to_owned());
                    let mut part = self.message();
                    self.ends.pop();
                    strip_line_end(&mut part.text);
                    parts.push(part);
                }
                None => {}
            }
        }
        // What follows the last boundary belongs to no part.
        self.rest();
        parts
    }

    fn rest(&mut self) -> String {
        let mut text = String::new();
        while let Some(line) = self.take() {
            text.push_str(line);
        }
        text
    }
}

/// What a line with a boundary means.
enum End {
    Part,
    Last,
}

fn boundary(line: &str, mark: &str) -> Option<End> {
    let rest = line.strip_prefix("--")?.strip_prefix(mark)?;
    let (rest, end) = match rest.strip_prefix("--") {
        Some(rest) => (rest, End::Last),
        None => (rest, End::Part),
    };
    rest.trim_start_matches([' ', '\t'])
        .trim_end_matches(['\r', '\n'])
        .is_empty()
        .then_some(end)
}

/// Splits a text after each line end: `\n`, `\r\n` or `\r`.
fn lines_of(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(['\r', '\n']) {
        let length = end
            + if rest[end..].starts_with("\r\n") {
                2
            } else {
                1
            };
        let (line, after) = rest.split_at(length);
        lines.push(line);
        rest = after;
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// Removes the last line end, which belongs to the boundary.
fn strip_line_end(text: &mut String) {
    for end in ["\r\n", "\n", "\r"] {
        if let Some(rest) = text.strip_suffix(end) {
            text.truncate(rest.len());
            return;
        }
    }
}

/// Splits at semicolons outside quotes.
fn unquoted_split(value: &str) -> Vec<&str> {
    let mut quoted = false;
    value
        .split(|c: char| {
            quoted ^= c == '"';
            c == ';' && !quoted
        })
        .collect()
}

/// Decodes base64. Python ignores other characters and missing padding, and
/// leaves a text as it is that cannot be base64.
fn base64(text: &str) -> Vec<u8> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let lenient = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
    let letters: String = text
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "+/=".contains(*c))
        .collect();
    STANDARD
        .decode(&letters)
        .or_else(|_| lenient.decode(&letters))
        .unwrap_or_else(|_| text.as_bytes().to_owned())
}

fn quoted_printable(text: &str) -> Vec<u8> {
    let mut result = Vec::new();
    for line in lines_of(text) {
        let content = line.trim_end_matches([' ', '\t', '\r', '\n']);
        let mut rest = content.as_bytes();
        let mut soft = false;
        while let Some((&byte, after)) = rest.split_first() {
            let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
            let code = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
            match (byte, code) {
                (b'=', Some(code)) => {
                    result.push(code);
                    rest = &after[2..];
                    continue;
                }
                (b'=', None) if after.is_empty() => soft = true,
                _ => result.push(byte),
            }
            rest = after;
        }
        if !soft && line.len() > content.len() && line.ends_with(['\n', '\r']) {
            result.push(b'\n');
        }
    }
    result
}
