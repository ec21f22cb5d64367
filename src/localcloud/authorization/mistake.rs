//! Mistakes in a policy file, and where they are.

use std::fmt;

/// A mistake in a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The number of the line, from 1.
    pub line: usize,
    /// The number of the character in the line, from 1.
    pub column: usize,
    /// The line.
    pub text: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Mistake {
    /// Writes the line with a caret below the mistake, and what is wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            text,
            message,
        } = self;
        let margin = " ".repeat(line.to_string().len());
        let caret = format!("{}^", " ".repeat(column.saturating_sub(1)));
        write!(
            f,
            "mistake in the policy at line {line}, column {column}\n{margin} |\n{line} | {text}\n\
             {margin} | {caret}\n{message}"
        )
    }
}

impl Mistake {
    /// Creates the mistake of a text that is not valid JSON, or has a repeated field.
    pub(super) fn of_json(text: &str, error: &serde_json::Error) -> Self {
        // The message ends with the place, which is reported on its own.
        let whole = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let message = whole.strip_suffix(&place).unwrap_or(&whole).to_owned();
        let line = error.line().max(1);
        let shown = text.lines().nth(line - 1).unwrap_or_default();
        Self {
            line,
            // The column of serde_json counts bytes, and is 0 before a line's first.
            column: column(shown, error.column().saturating_sub(1)),
            text: shown.to_owned(),
            message,
        }
    }

    fn at(text: &str, offset: usize, message: String) -> Self {
        let before = text.get(..offset).unwrap_or_default();
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = text.get(begin..).unwrap_or_default();
        let shown = rest.lines().next().unwrap_or_default();
        Self {
            line: before.matches('\n').count() + 1,
            column: column(shown, offset - begin),
            text: shown.to_owned(),
            message,
        }
    }
}

/// Returns the number of the character at a byte of a line.
fn column(line: &str, byte: usize) -> usize {
    line.char_indices().take_while(|(at, _)| *at < byte).count() + 1
}

/// A mistake in a part of a document, and the way from the document to the part.
#[derive(Debug)]
pub(crate) struct Misplaced<T = String> {
    what: T,
    /// The way, its last step first.
    way: Vec<Step>,
}

/// A step from a value of a document to a value in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Field(String),
    /// The number of an item, from 0.
    Item(usize),
}

impl Misplaced {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self::of(message.into())
    }

    /// Creates the mistake of an element that does not exist.
    pub(super) fn unknown_element(name: &str, known: &[&str]) -> Self {
        Self::new(unknown_element(name, known)).below(name)
    }
}

impl<T> Misplaced<T> {
    pub(super) fn of(what: T) -> Self {
        Self {
            what,
            way: Vec::new(),
        }
    }

    /// Adds a step to the way, the one before those that it has.
    pub(super) fn within(mut self, step: Step) -> Self {
        self.way.push(step);
        self
    }

    /// Adds the step to a field.
    pub(super) fn below(self, field: &str) -> Self {
        self.within(Step::Field(field.to_owned()))
    }

    /// Describes the mistake in words.
    pub(super) fn explained(self, explain: impl FnOnce(T) -> String) -> Misplaced {
        Misplaced {
            what: explain(self.what),
            way: self.way,
        }
    }

    /// Returns what is wrong, without its place.
    pub(crate) fn into_what(self) -> T {
        self.what
    }
}

/// Describes an element that does not exist.
pub(super) fn unknown_element(name: &str, known: &[&str]) -> String {
    format!(
        "unknown element `{name}`; the elements here are {}",
        known.join(", ")
    )
}

/// Finds the place of a mistake in a valid document.
pub(super) fn locate(text: &str, misplaced: Misplaced) -> Mistake {
    let mut scan = Scan { text, at: 0 };
    for step in misplaced.way.iter().rev() {
        // A way that leads nowhere would be a mistake of the parser.
        if scan.enter(step).is_none() {
            break;
        }
    }
    scan.skip_blanks();
    Mistake::at(text, scan.at, misplaced.what)
}

/// A place in a valid JSON document. After a step to a field, it is that of the
/// field's name.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl Scan<'_> {
    /// Goes to a part of the value here.
    fn enter(&mut self, step: &Step) -> Option<()> {
        self.skip_blanks();
        if self.is_name() {
            self.skip_name()?;
        }
        self.at += 1;
        let mut number = 0;
        loop {
            self.skip_blanks();
            let here = self.at;
            let found = match step {
                Step::Item(wanted) => *wanted == number,
                Step::Field(wanted) => {
                    let end = self.end_of_text()?;
                    let name: String = serde_json::from_str(self.text.get(here..end)?).ok()?;
                    name == *wanted
                }
            };
            if found {
                return Some(());
            }
            if matches!(step, Step::Field(_)) {
                self.skip_name()?;
            }
            self.skip_value()?;
            self.skip_blanks();
            if self.byte()? != b',' {
                return None;
            }
            self.at += 1;
            number += 1;
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.byte().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// Whether the text here is the name of a field.
    fn is_name(&self) -> bool {
        let end = self.end_of_text().unwrap_or(self.at);
        let rest = self.text.get(end..).unwrap_or_default();
        self.byte() == Some(b'"') && rest.trim_start().starts_with(':')
    }

    /// Skips the name of a field and its colon.
    fn skip_name(&mut self) -> Option<()> {
        self.at = self.end_of_text()?;
        self.skip_blanks();
        self.at += 1;
        self.skip_blanks();
        Some(())
    }

    /// Returns the end of the quoted text that begins here.
    fn end_of_text(&self) -> Option<usize> {
        let mut escaped = false;
        let bytes = self.text.as_bytes().iter().enumerate().skip(self.at + 1);
        for (at, byte) in bytes {
            match byte {
                b'"' if !escaped => return Some(at + 1),
                b'\\' => escaped = !escaped,
                _ => escaped = false,
            }
        }
        None
    }

    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0;
        loop {
            self.skip_blanks();
            match self.byte()? {
                b'"' => self.at = self.end_of_text()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                _ => {
                    let rest = self.text.get(self.at..)?;
                    let ends = |c: char| c.is_ascii_whitespace() || ",]}".contains(c);
                    self.at += rest.find(ends).unwrap_or(rest.len());
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}
