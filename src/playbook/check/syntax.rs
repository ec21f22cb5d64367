//! Syntax errors: the place of the mistake, and what to write.
//!
//! Rhai reports the token at which it stopped. The mistake is often before it: a missing
//! `;` or `,` at the end of a line, or a bracket that is never closed.

use rhai::{LexError, ParseErrorType, Token};

use super::habits;
use crate::error::{Error, ErrorKind};
use crate::playbook::scan::{Opener, Part, Problem, Scan};

/// Returns the error about a text or a comment that has no end. Rhai ignores the
/// missing end of a comment, and of a text at the end of a file.
pub(in crate::playbook) fn endless(scan: &Scan) -> Option<(usize, Error)> {
    match scan.problem? {
        Problem::Unclosed { opener, at, .. } if !opener.is_bracket() => {
            Some((at, unclosed(scan, opener, at, scan.chars.len())))
        }
        _ => None,
    }
}

/// Words a syntax error. `at` is where Rhai stopped; returns the place of the mistake.
pub(in crate::playbook) fn explain(
    scan: &Scan,
    kind: &ParseErrorType,
    at: usize,
    error: Error,
) -> (usize, Error) {
    if let Some(found) = bracket(scan, kind, at) {
        return found;
    }
    if let Some(hint) = habits::counting_loop(scan, at) {
        return (at, error.hint(hint));
    }
    if let Some(word) = reserved(scan, kind, at) {
        return (at, name_is_reserved(scan, &word, at));
    }
    let habit = habits::hint(scan, at);
    let gap = scan.end_before(at).unwrap_or(at);
    match kind {
        ParseErrorType::MissingToken(token, _) if matches!(token.as_str(), ";" | ",") => {
            if let Some(hint) = habit {
                return (at, error.hint(hint));
            }
            // A text in backticks whose end is missing takes the next backtick for it.
            if let Some(start) = scan.text_before(gap).filter(|_| gap == at)
                && scan.place(start).0 < scan.place(at).0
            {
                let line = scan.place(at).0;
                let message = format!("the text in backticks that begins here ends in line {line}");
                return (
                    start,
                    error
                        .with_message(message)
                        .hint("is its closing backtick missing?"),
                );
            }
            let error = match (token.as_str(), parameters(scan, at)) {
                (",", Some(hint)) => return (at, error.hint(hint)),
                (";", _) => error.with_message("expecting `;` after this statement"),
                _ => error,
            };
            (gap, error.hint(format!("add `{token}` here")))
        }
        ParseErrorType::MissingToken(token, _) if token == "{" => {
            let hint =
                habit.unwrap_or_else(|| "a block is written in braces: `if x { .. }`".into());
            (at, error.hint(hint))
        }
        ParseErrorType::MissingToken(token, _) if token == ":" && scan.is_at(at, "=") => {
            (at, error.hint("write `name: value` in a map"))
        }
        ParseErrorType::ExprTooDeep => {
            let hint = "divide it: assign parts of it to variables first";
            (at, error.hint(hint))
        }
        ParseErrorType::BadInput(LexError::MalformedEscapeSequence(_)) => {
            let hint = "write `\\\\` for a backslash, or the text in backticks";
            (at, error.hint(hint))
        }
        _ => match habit {
            Some(hint) if error.hint.is_none() => (at, error.hint(hint)),
            _ => (at, error),
        },
    }
}

/// Returns the error about a bracket, if it explains what Rhai reported.
fn bracket(scan: &Scan, kind: &ParseErrorType, at: usize) -> Option<(usize, Error)> {
    match scan.problem? {
        Problem::Unclosed {
            opener,
            at: begin,
            noticed,
        } => {
            let misses_comma =
                matches!(kind, ParseErrorType::MissingToken(token, _) if token == ",");
            // Rhai stops at the function in a block that is not closed, and at the text
            // that follows one.
            let follows = matches!(
                kind,
                ParseErrorType::WrongFnDefinition
                    | ParseErrorType::BadInput(LexError::UnterminatedString)
            );
            let explains = at >= noticed || (misses_comma || follows) && begin <= at;
            explains.then(|| (begin, unclosed(scan, opener, begin, noticed)))
        }
        Problem::Unopened(closer) if at == closer => {
            let c = scan.chars[closer];
            let message = format!("`{c}` has no opening bracket");
            let error = Error::new(ErrorKind::Script, message);
            Some((closer, error.hint("remove it, or add the opening bracket")))
        }
        Problem::Unopened(_) => None,
    }
}

fn unclosed(scan: &Scan, opener: Opener, begin: usize, noticed: usize) -> Error {
    let error = |what: &str| Error::new(ErrorKind::Script, what);
    let closing = opener.closing();
    match opener {
        Opener::Comment => {
            error("the comment that begins here has no end").hint("end it with `*/`")
        }
        Opener::Backtick => error("the text that begins here has no closing backtick")
            .hint("add a backtick at its end"),
        Opener::Quote if scan.is_at(begin, "\"\"\"") => error("this text has no closing quote")
            .hint("text with several lines is written in backticks"),
        Opener::Quote => error("this text has no closing quote")
            .hint("add `\"`; text with several lines is written in backticks"),
        Opener::SingleQuote => error("this text has no closing quote")
            .hint("text is written in double quotes, comments begin with `//`"),
        Opener::Raw => error("the text that begins here has no end")
            .hint("end it with `\"` and as many `#` as at its beginning"),
        _ => {
            let what = format!("`{}` is not closed", opener.opening());
            let (line, _) = scan.place(noticed);
            match scan.chars.get(noticed) {
                Some(c) => {
                    error(&what).hint(format!("add `{closing}` before the `{c}` in line {line}"))
                }
                None => error(&what).hint(format!("add `{closing}` where it ends")),
            }
        }
    }
}

/// Returns the word at this place if the error is that Rhai reserves it.
fn reserved(scan: &Scan, kind: &ParseErrorType, at: usize) -> Option<String> {
    let word = scan.word(at);
    let is_keyword = Token::lookup_symbol_from_syntax(&word).is_some();
    let wants_name = matches!(
        kind,
        ParseErrorType::VariableExpected
            | ParseErrorType::PropertyExpected
            | ParseErrorType::FnMissingName
    );
    let is_name = matches!(
        Role::of(scan, &word, at),
        Role::Key | Role::Variable | Role::Function | Role::Property
    );
    match kind {
        ParseErrorType::Reserved(reserved) if *reserved == word => Some(word),
        // The engine does not have it: code is checked before the run.
        _ if word == "eval" => Some(word),
        _ if is_keyword && word != "_" && (wants_name || is_name) => Some(word),
        // Words that are reserved as names of functions only, such as `default`.
        ParseErrorType::FnMissingName if word.starts_with(char::is_alphabetic) => Some(word),
        _ => None,
    }
}

/// What a word is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Key,
    Property,
    Function,
    Variable,
    Call,
    Other,
}

impl Role {
    fn of(scan: &Scan, word: &str, at: usize) -> Self {
        let after = scan.next(at + word.chars().count());
        let before = scan.end_before(at).unwrap_or(0);
        let last = before.checked_sub(1).map(|last| scan.chars[last]);
        let word_before = scan.word_before(before);
        match (last, word_before.as_str()) {
            (_, "fn") => Self::Function,
            (_, "let" | "const" | "for" | "as") => Self::Variable,
            (Some('.'), _) => Self::Property,
            (Some('{' | ','), _) if scan.is_at(after, ":") && !scan.is_at(after, "::") => Self::Key,
            _ if scan.is_at(after, "(") => Self::Call,
            // A parameter, or a loop over pairs.
            (Some('(' | ',' | '|'), _)
                if [")", ",", "|"].iter().any(|end| scan.is_at(after, end)) =>
            {
                Self::Variable
            }
            _ if scan.is_at(after, "=") && !scan.is_at(after, "==") => Self::Variable,
            _ => Self::Other,
        }
    }
}

fn name_is_reserved(scan: &Scan, word: &str, at: usize) -> Error {
    let error = Error::new(
        ErrorKind::Script,
        format!("`{word}` is a reserved word of Rhai"),
    );
    let hint = match Role::of(scan, word, at) {
        Role::Key => format!("write the key in quotes: `\"{word}\": ..`"),
        Role::Property if scan.chars.get(at.wrapping_sub(2)) == Some(&'?') => {
            format!("write the key in brackets: `?[\"{word}\"]`")
        }
        Role::Property => format!("write the key in brackets, without the dot: `[\"{word}\"]`"),
        Role::Function | Role::Variable => format!("choose another name, such as `{word}_`"),
        Role::Call | Role::Other => super::explain::in_rhai(word)
            .map(|value| format!("Rhai writes it as `{value}`"))
            .or_else(|| habits::hint(scan, at))
            .unwrap_or_else(|| format!("choose another name, such as `{word}_`")),
    };
    error.hint(hint)
}

/// Returns the hint about a type or a default in the parameters of a function.
fn parameters(scan: &Scan, at: usize) -> Option<String> {
    let line = scan.place(at).0;
    let start = scan.index(line, 1);
    let is_function = scan.part(start) == Part::Code && {
        let first = scan.next(start);
        matches!(&*scan.word(first), "fn" | "private")
    };
    let hint = if scan.is_at(at, ":") {
        "leave the types of parameters out"
    } else if scan.is_at(at, "=") {
        "parameters have no default values: take a map of options instead"
    } else {
        return None;
    };
    is_function.then(|| hint.to_owned())
}
