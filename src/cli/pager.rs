//! Long answers on a terminal: with colours, and through the pager as `man` and `git`
//! show theirs.

use std::fs::File;
use std::io::{IsTerminal as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::output::answer;

const BOLD: &str = "\u{1b}[1m";
const CODE: &str = "\u{1b}[36m";
const PLAIN: &str = "\u{1b}[0m";

/// The pager if the environment names none.
const LESS: &str = "less";

/// Options of `less`: end at once if the text fits on the screen (F), show colours (R),
/// leave the text on the screen (X).
const LESS_OPTIONS: &str = "FRX";

/// Writes a page of Markdown to stdout. On a terminal, the pager shows it: this process
/// becomes the pager, so that Ctrl-C ends both.
pub(super) fn show(page: &str) -> anyhow::Result<()> {
    let variable = |name: &str| std::env::var(name).ok();
    let is_dumb = variable("TERM").is_none_or(|terminal| terminal.is_empty() || terminal == "dumb");
    if !std::io::stdout().is_terminal() || is_dumb {
        answer(page);
        return Ok(());
    }
    // https://no-color.org: any value except the empty string disables colors.
    let no_color = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    let shown = if no_color {
        page.to_owned()
    } else {
        colored(page)
    };
    let pager = variable("PAGER").unwrap_or_else(|| LESS.to_owned());
    let is_wanted = !pager.trim().is_empty() && pager != "cat";
    if !is_wanted || pager == LESS && !is_installed(LESS) {
        answer(&shown);
        return Ok(());
    }
    let mut command = Command::new("sh");
    command.args(["-c", &pager]).stdin(written(&shown)?);
    if variable("LESS").is_none() {
        command.env("LESS", LESS_OPTIONS);
    }
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start the pager `{pager}`"))
}

/// Returns a file without a name that has this text.
fn written(text: &str) -> anyhow::Result<File> {
    let write = || -> std::io::Result<File> {
        let mut file = tempfile::tempfile()?;
        file.write_all(text.as_bytes())?;
        file.rewind()?;
        Ok(file)
    };
    write().context("cannot write the page for the pager\nhint: set PAGER to `cat`")
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| Path::new(&directory).join(program).is_file())
}

/// Adds colours to Markdown: bold headings, code in another colour.
fn colored(page: &str) -> String {
    let mut out = String::with_capacity(page.len() + page.len() / 8);
    let mut is_block = false;
    for line in page.split_inclusive('\n') {
        let (line, end) = match line.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (line, ""),
        };
        let is_fence = line.starts_with("```");
        is_block ^= is_fence;
        if is_block || is_fence || line.starts_with("    ") {
            out.extend([CODE, line, PLAIN]);
        } else if line.starts_with('#') {
            out.extend([BOLD, line, PLAIN]);
        } else {
            out.push_str(&with_code(line));
        }
        out.push_str(end);
    }
    out
}

/// Adds colours to the code in backticks.
fn with_code(line: &str) -> String {
    let parts: Vec<&str> = line.split('`').collect();
    // A backtick without a second one is not code.
    if parts.len().is_multiple_of(2) {
        return line.to_owned();
    }
    let mut out = String::new();
    for (number, part) in parts.iter().enumerate() {
        if number % 2 == 1 {
            out.extend([CODE, "`", part, "`", PLAIN]);
        } else {
            out.push_str(part);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_and_code_have_colors() {
        assert_eq!(
            colored("# Title\n\nSee `x` and `y`.\n```rhai\nlet a = `b`;\n```\nend `open"),
            format!(
                "{BOLD}# Title{PLAIN}\n\nSee {CODE}`x`{PLAIN} and {CODE}`y`{PLAIN}.\n\
                 {CODE}```rhai{PLAIN}\n{CODE}let a = `b`;{PLAIN}\n{CODE}```{PLAIN}\nend `open"
            )
        );
        assert_eq!(colored(""), "");
        assert_eq!(colored("    ls\n"), format!("{CODE}    ls{PLAIN}\n"));
    }
}
