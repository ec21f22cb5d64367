//! Files on this machine.

use std::path::Path;

use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use serde_json::Value;

use super::{rehearsed, templates};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::script::{self, Outcome};

#[export_module(manifest)]
pub mod api {
    /// Reads a text file on this machine and returns its text.
    ///
    /// A relative path starts at the current directory. A path can begin with
    /// `~/` for the home directory.
    ///
    /// Throws `not_found` if the file does not exist, `denied` if its
    /// permissions do not allow reading, and `invalid_option` if it is not
    /// UTF-8 text.
    ///
    /// ```rhai
    /// let script = read_file("assets/check_webserver.py");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn read_file(call: NativeCallContext, path: ImmutableString) -> Outcome<Dynamic> {
        script::run_blocking(&call, |cx| super::read_file(cx, &path))
    }

    /// Returns whether a path is a file that can be read.
    ///
    /// Use it to check the files that a playbook needs before it creates
    /// resources. Returns false for a directory.
    ///
    /// ```rhai
    /// assert(is_file("assets/logo.png"), "the picture is missing");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn is_file(call: NativeCallContext, path: ImmutableString) -> Outcome<Dynamic> {
        script::run_blocking(&call, |cx| {
            let path = rehearsed::source(cx, &path);
            let opened = std::fs::File::open(path).and_then(|file| file.metadata());
            Ok(opened.is_ok_and(|about| about.is_file()))
        })
    }

    /// Returns the directory of the file that contains the call.
    ///
    /// Relative paths start at the current directory. Use this function for a
    /// file that belongs to the playbook: the playbook then runs from any
    /// directory. The path is absolute and has no `/` at its end. If the
    /// playbook is a symbolic link, the directory is that of the file to which
    /// the link points. If it comes from standard input or a pipe, it is the
    /// current directory.
    ///
    /// ```rhai
    /// let logo = script_dir() + "/logo.png";
    /// assert(logo.starts_with("/"));
    /// ```
    #[rhai_fn(return_raw)]
    pub fn script_dir(call: NativeCallContext) -> Outcome<Dynamic> {
        let position = call.call_position();
        let place = (
            position.line().unwrap_or(0),
            position.position().unwrap_or(0),
        );
        script::run_quietly(&call, |cx| {
            super::script_dir(cx, &script::files(&call), place)
        })
    }

    /// Fills a template file with values and returns the text.
    ///
    /// Templates use the Jinja2 syntax: `{{ name }}`, `{% if .. %}`,
    /// `{% for .. %}`. `{# .. #}` is a comment, and text between `{% raw %}` and
    /// `{% endraw %}` stays as it is, such as a shell's `${#list}` or
    /// `{{.State}}` of Docker. Other text and the ends of lines never change.
    ///
    /// A name without a value is an error, and so is `()`. Maps and arrays are
    /// written as JSON. Nothing is escaped: the filter `sh` quotes a value for a
    /// shell, as in `{{ path | sh }}`; the filter `e` escapes it for HTML, also
    /// in a file whose name ends in .html. These filters of Jinja2 exist: abs, attr,
    /// batch, bool, chain, count, default, e, escape, first, float, format, int, items,
    /// join, last, length, lines, list, lower, map, max, min, reject, round, select,
    /// slice, sort, split, string, sum, title, tojson, trim, upper, zip. Values have no
    /// methods: write `{{ name|upper }}`, not `{{ name.upper() }}`.
    ///
    /// Throws `not_found` if the file does not exist, `denied` if its
    /// permissions do not allow reading, and `invalid_option` with line and
    /// column if the template is wrong, a name has no value, or the file is not
    /// UTF-8 text.
    ///
    /// ```rhai
    /// let page = render("userdata/webserver.sh", #{
    ///     title: "hello",
    ///     picture: "https://example.com/logo.png",
    /// });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn render(call: NativeCallContext, path: ImmutableString, values: Map) -> Outcome<Dynamic> {
        script::run_blocking(&call, |cx| {
            super::render(cx, &path, &script::to_json(&Dynamic::from_map(values))?)
        })
    }
}

fn read_file(cx: &Context, path: &str) -> Result<String> {
    let path = rehearsed::source(cx, path);
    let bytes = std::fs::read(&path).map_err(|e| Error::io("read", &path, &e))?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::invalid(format!(
            "`{}` is not UTF-8 text (byte {at})",
            path.display()
        ))
        .hint("read_file and render accept text only; scp and upload_file accept any file")
    })
}

/// Returns the directory of the one of these files that has a call at this place. The
/// first file is the one that Rhai names.
fn script_dir(cx: &Context, files: &[&str], place: (usize, usize)) -> Result<String> {
    let files: Vec<_> = files
        .iter()
        .filter_map(|name| cx.files.get(*name))
        .collect();
    let own = files.first().filter(|file| file.calls.contains(&place));
    let closures = files
        .iter()
        .filter(|file| file.in_closures.contains(&place));
    let mut directories: Vec<&Path> = own
        .into_iter()
        .chain(closures)
        .map(|file| file.directory.as_path())
        .collect();
    directories.sort_unstable();
    directories.dedup();
    let directory = match directories.as_slice() {
        [only] => Some(*only),
        // A call through `Fn("script_dir")` has no place of its own.
        [] => files.first().map(|file| file.directory.as_path()),
        _ => {
            let (line, column) = place;
            return Err(Error::invalid(format!(
                "two files call script_dir() in line {line}, column {column}, one of them in a \
                 closure, and which one this is cannot be determined"
            ))
            .hint("call script_dir() outside the closure"));
        }
    };
    let directory =
        directory.ok_or_else(|| Error::internal("the file of this call is not known"))?;
    let text = directory.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        Error::invalid(format!(
            "the name of `{}` is not UTF-8",
            directory.display()
        ))
        .hint("rename the directory")
    })
}

fn render(cx: &Context, path: &str, values: &Value) -> Result<String> {
    templates::fill(path, &read_file(cx, path)?, values)
}
