//! Errors in the values of variables.

use super::file::InFile;
use crate::error::{Error, ErrorKind, Place};
use crate::playbook::{Declared, Kind};
use crate::report::{MASK, text};

pub(super) fn wrong_type(d: &Declared, given: &str) -> Error {
    let given = if d.secret { MASK } else { given };
    let hint = match d.kind {
        Kind::Bool => "use true or false",
        Kind::Int => "use a whole number",
        Kind::Float => "use a number",
        Kind::Array => "use a,b,c or a JSON array",
        Kind::Map => "use a JSON object",
        Kind::String => "use text",
    };
    at(
        d,
        format!(
            "variable `{}`: `{given}` is not of type {}",
            d.name,
            d.kind.as_str()
        ),
    )
    .hint(hint)
}

pub(super) fn missing(d: &Declared) -> Error {
    let error = at(d, format!("variable `{}` must be set", d.name));
    let help = if d.help.is_empty() {
        String::new()
    } else {
        format!(" ({})", d.help)
    };
    let name = &d.name;
    if d.secret {
        error.hint(format!(
            "pass --set {name}=@FILE or --set {name}=cmd:COMMAND, or set AUTORUN_VAR_{name}{help}"
        ))
    } else {
        error.hint(format!("pass --set {name}=VALUE{help}"))
    }
}

pub(super) fn undeclared(name: &str, declared: &[Declared], from: &str) -> Error {
    let error = Error::invalid(format!("{from}: the playbook has no variable `{name}`"));
    let names: Vec<&str> = declared.iter().map(|d| d.name.as_str()).collect();
    match text::nearest(name, names.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None if names.is_empty() => error.hint("the playbook declares no variables"),
        None => error.hint(format!("valid variables: {}", names.join(", "))),
    }
}

/// Moves the place of an error to the value in the variables file. The place of
/// the declaration goes to the hint.
pub(super) fn in_its_file(mut fault: Error, in_file: &InFile) -> Error {
    if in_file.place.line > 0 {
        let declared = std::mem::replace(&mut fault.place, in_file.place.clone());
        let hint = fault.hint.take().unwrap_or_default();
        let Place {
            source,
            line,
            column,
        } = declared;
        fault.hint = Some(format!(
            "{hint}; the variable is declared at {source}:{line}:{column}"
        ));
    }
    fault
}

/// Returns the warning about a secret that other users can read.
pub(super) fn in_command_line(name: &str) -> String {
    format!(
        "the secret `{name}` is on the command line, where other users can read it; use \
         --set {name}=@FILE, --set {name}=cmd:COMMAND or AUTORUN_VAR_{name}, or omit it to be \
         asked at the terminal"
    )
}

/// Creates an error at the place of the declaration.
pub(super) fn at(d: &Declared, message: String) -> Error {
    let mut error = Error::new(ErrorKind::InvalidOption, message);
    error.place = d.place.clone();
    error
}
