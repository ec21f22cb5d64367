//! The YAML of cloud-config, judged as `PyYAML` judges it, which cloud-init uses.
//!
//! A parser for YAML 1.2 finds the structure. What that version allows and
//! `PyYAML` does not is checked here: tabs between words, control characters,
//! unknown tags, keys that are lists or maps.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// The tags that `PyYAML`'s safe loader knows.
const TAGS: [&str; 12] = [
    "binary",
    "bool",
    "float",
    "int",
    "map",
    "null",
    "omap",
    "pairs",
    "seq",
    "set",
    "str",
    "timestamp",
];

/// Deeper than any line of a cloud-config.
const DEEP: &str = "                                        ";

/// The outermost value of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    Map,
    List,
    Text,
    /// No value: nothing but comments.
    Nothing,
}

/// Why a text is not YAML that cloud-init accepts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The line, from 1. 0 if unknown.
    pub(super) line: usize,
    pub(super) why: String,
}

/// Returns the kind of the document's value.
pub(super) fn root_of(text: &str) -> Result<Root, Wrong> {
    if let Some(at) = text.find(is_unprintable) {
        return Err(wrong(line_of(text, at), "it contains a control character"));
    }
    let mut text = text.to_owned();
    let mut indented = 0;
    loop {
        let mut reader = Reader::new(&text);
        let failed = reader.read()?;
        let Some((line, why)) = failed else {
            reader.tabs()?;
            return Ok(reader.root);
        };
        // `PyYAML` does not care how a line in brackets is indented. Lines are
        // indented from the top down, so that this ends.
        if !reader.is_in_brackets(line) || line <= indented {
            return Err(wrong(line, &why));
        }
        indented = line;
        let indent = |(number, one): (usize, &str)| {
            let space = if number + 1 == line { DEEP } else { "" };
            format!("{space}{one}")
        };
        text = text.split_inclusive('\n').enumerate().map(indent).collect();
    }
}

/// Returns the keys of the outermost map.
pub(super) fn keys(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut depth, mut at_key) = (0, true);
    for (event, _) in Parser::new_from_str(text).map_while(Result::ok) {
        match event {
            Event::Scalar(value, ..) if depth == 1 && at_key => {
                found.push(value.into_owned());
                at_key = false;
            }
            Event::Scalar(..) | Event::Alias(_) if depth == 1 => at_key = !at_key,
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                depth += 1;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                depth -= 1;
                at_key |= depth == 1;
            }
            _ => {}
        }
    }
    found
}

/// Returns the parts of a `#cloud-config-archive`: the scalar values of the maps
/// in a list. A text in the list is the `content` of a part.
pub(super) fn archived(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut found: Vec<BTreeMap<String, String>> = Vec::new();
    let (mut depth, mut key) = (0, None);
    for (event, _) in Parser::new_from_str(text).map_while(Result::ok) {
        match event {
            Event::Scalar(value, ..) if depth == 1 => {
                found.push(BTreeMap::from([("content".to_owned(), value.into_owned())]));
            }
            Event::Scalar(value, ..) if depth == 2 => match (key.take(), found.last_mut()) {
                (Some(key), Some(part)) => drop(part.insert(key, value.into_owned())),
                _ => key = Some(value.into_owned()),
            },
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                if depth == 1 && matches!(event, Event::MappingStart(..)) {
                    found.push(BTreeMap::new());
                }
                depth += 1;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                depth -= 1;
                key = None;
            }
            _ => {}
        }
    }
    found
}

fn wrong(line: usize, why: &str) -> Wrong {
    Wrong {
        line,
        why: why.to_owned(),
    }
}

fn is_unprintable(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')
        || matches!(c, '\u{fffe}' | '\u{ffff}')
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn check_tag(tag: Option<&Tag>, line: usize) -> Result<(), Wrong> {
    let Some(tag) = tag else { return Ok(()) };
    let is_known = (tag.is_yaml_core_schema() && TAGS.contains(&tag.suffix.as_str()))
        || (tag.handle.is_empty() && tag.suffix == "!");
    if is_known {
        return Ok(());
    }
    let name = format!("{}{}", tag.handle, tag.suffix);
    Err(wrong(line, &format!("it has the unknown tag `{name}`")))
}

/// A collection that is being read.
struct Open {
    is_map: bool,
    /// Whether the next value of a map is a key.
    at_key: bool,
    /// Where it begins, in characters.
    at: usize,
}

struct Reader<'a> {
    text: &'a str,
    root: Root,
    documents: usize,
    open: Vec<Open>,
    /// The ranges of quoted texts and block texts, in characters. Tabs are
    /// allowed there.
    quoted: Vec<(usize, usize)>,
    /// The end of the last event, in characters.
    read_to: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            root: Root::Nothing,
            documents: 0,
            open: Vec::new(),
            quoted: Vec::new(),
            read_to: 0,
        }
    }

    /// Reads all. Returns the line and the reason where it is not YAML.
    fn read(&mut self) -> Result<Option<(usize, String)>, Wrong> {
        for event in Parser::new_from_str(self.text) {
            match event {
                Ok((event, span)) => {
                    self.read_to = span.end.index();
                    self.take(&event, span)?;
                }
                Err(error) => return Ok(Some((error.marker().line(), error.info().to_owned()))),
            }
        }
        Ok(None)
    }

    /// Whether a line continues a collection in brackets that began above it. The
    /// parser may not have reported yet that the collection begins.
    fn is_in_brackets(&self, line: usize) -> bool {
        let above = self.text.split_inclusive('\n').take(line.saturating_sub(1));
        let above: String = above.collect();
        let innermost = self.open.last();
        let is_bracket = |open: &Open| above.chars().nth(open.at).is_some_and(|c| "[{".contains(c));
        if innermost.is_some_and(is_bracket) {
            return true;
        }
        let rest = above.chars().skip(self.read_to);
        let balance = rest.fold(0, |balance: i32, c| match c {
            '[' | '{' => balance + 1,
            ']' | '}' => balance - 1,
            _ => balance,
        });
        balance > 0
    }

    fn take(&mut self, event: &Event, span: Span) -> Result<(), Wrong> {
        let line = span.start.line();
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(wrong(line, "it has more than one YAML document"));
                }
            }
            Event::Scalar(value, style, _, tag) => {
                check_tag(tag.as_deref(), line)?;
                let is_empty = *style == ScalarStyle::Plain && matches!(&**value, "" | "~");
                self.value(if is_empty { Root::Nothing } else { Root::Text }, line)?;
                if *style != ScalarStyle::Plain {
                    self.quoted.push((span.start.index(), span.end.index()));
                }
            }
            Event::Alias(_) => self.value(Root::Text, line)?,
            Event::SequenceStart(_, tag) => {
                check_tag(tag.as_deref(), line)?;
                self.value(Root::List, line)?;
                self.open.push(Open {
                    is_map: false,
                    at_key: false,
                    at: span.start.index(),
                });
            }
            Event::MappingStart(_, tag) => {
                check_tag(tag.as_deref(), line)?;
                self.value(Root::Map, line)?;
                self.open.push(Open {
                    is_map: true,
                    at_key: true,
                    at: span.start.index(),
                });
            }
            Event::SequenceEnd | Event::MappingEnd => drop(self.open.pop()),
            _ => {}
        }
        Ok(())
    }

    fn value(&mut self, kind: Root, line: usize) -> Result<(), Wrong> {
        let Some(open) = self.open.last_mut() else {
            self.root = kind;
            return Ok(());
        };
        if open.is_map {
            if open.at_key && matches!(kind, Root::Map | Root::List) {
                return Err(wrong(
                    line,
                    "a key is a map or a list: put quotes around `{{ .. }}`",
                ));
            }
            open.at_key = !open.at_key;
        }
        Ok(())
    }

    /// `PyYAML` accepts a tab only in quotes, in block texts and in comments.
    fn tabs(&self) -> Result<(), Wrong> {
        let is_quoted = |at| {
            let mut ranges = self.quoted.iter();
            ranges.any(|(start, end)| (*start..*end).contains(&at))
        };
        let (mut line, mut before, mut in_comment) = (1, '\n', false);
        for (at, c) in self.text.chars().enumerate() {
            match c {
                '\n' => {
                    line += 1;
                    in_comment = false;
                }
                '#' if before.is_whitespace() && !is_quoted(at) => in_comment = true,
                '\t' if !in_comment && !is_quoted(at) => {
                    return Err(wrong(line, "it has a tab, where YAML needs spaces"));
                }
                _ => {}
            }
            before = c;
        }
        Ok(())
    }
}
