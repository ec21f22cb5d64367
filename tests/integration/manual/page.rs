//! A page of the manual, and what runs each kind of example in it.
//!
//! | Block | What happens |
//! | --- | --- |
//! | `console` | the commands after `$ ` run in one shell; the output is compared |
//! | `sh` | the same, without output |
//! | `rhai` | a playbook, on the local cloud |
//! | `python` | a program that has the environment of `autorun cloud env` |
//! | `toml` | is parsed |
//! | `text` | after a playbook or a program: its standard output; else a synopsis |
//!
//! A comment on the line before a block changes that: `<!-- file: NAME -->` writes
//! the block to a file; `<!-- exit: N -->` is the exit status expected, else 0. In
//! expected output `[..]` stands for any text in a line, and a line `...` for
//! any lines. After `<!-- run: ID -->`, this id stands for the last run.
//!
//! `BLESS=1` writes the output of console blocks into the page.

use std::fs;
use std::path::PathBuf;

use regex_lite::Regex;
use serde_json::Value;

use super::shell::Shell;
use crate::support::root;

/// What differs between two runs.
const VARIABLE: &[(&str, &str)] = &[
    (
        r"instances run [^;]* here, whatever the image(; they keep this machine's outdated versions of [0-9]+ packages?)?",
        "SYSTEM",
    ),
    (r"\b(i|sg|ami|vpc|subnet|vol)-[0-9a-f]{8,17}\b", "$1-ID"),
    (
        r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",
        "REQUEST-ID",
    ),
    (r"SHA256:[A-Za-z0-9+/]{43}", "SHA256:HASH"),
    (r"\b10\.[0-9]+\.[0-9]+\.[0-9]+\b", "ADDRESS"),
    (r"ADDRESS:[0-9]{4,5}\b", "ADDRESS:PORT"),
    (r"\b[0-9]+(\.[0-9]+)? ?(ms|s|min|B|KiB|MiB)\b", "AMOUNT"),
    (
        r"\b20[0-9]{2}-[0-9]{2}-[0-9]{2}([T ][0-9:]{5,8}Z?)?\b",
        "DATE",
    ),
    (r"\b[23456789bcdfghjkmnpqrstvwxz]{7} DATE", "RUN DATE"),
    (r"-[23456789bcdfghjkmnpqrstvwxz]{7}\b", "-RUN"),
];

/// One fenced block.
struct Block {
    /// The line of its opening fence, from 0.
    line: usize,
    language: String,
    text: Vec<String>,
    file: Option<String>,
    exit: i32,
    /// The id that stands for the last run.
    run: Option<String>,
}

pub(super) struct Page {
    name: String,
    path: PathBuf,
    lines: Vec<String>,
    blocks: Vec<Block>,
}

fn folder() -> PathBuf {
    root().join("playbooks/manual")
}

/// The names of all pages, sorted.
pub(super) fn names() -> Vec<String> {
    let files = fs::read_dir(folder()).unwrap();
    let mut names: Vec<String> = files
        .filter_map(|file| {
            let name = file.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".md").map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

fn directive(line: &str, name: &str) -> Option<String> {
    let text = line.strip_prefix(&format!("<!-- {name}: "))?;
    text.strip_suffix(" -->").map(str::to_owned)
}

impl Page {
    pub(super) fn read(name: &str) -> Self {
        let path = folder().join(name).with_extension("md");
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut run = None;
        let mut blocks: Vec<Block> = Vec::new();
        let mut open: Option<Block> = None;
        for (at, line) in lines.iter().enumerate() {
            run = directive(line, "run").or(run);
            match (line.strip_prefix("```"), &mut open) {
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(language), None) => {
                    let before =
                        |name| at.checked_sub(1).and_then(|at| directive(&lines[at], name));
                    open = Some(Block {
                        line: at,
                        language: language.to_owned(),
                        text: Vec::new(),
                        file: before("file"),
                        exit: before("exit").map_or(0, |status| status.parse().unwrap()),
                        run: run.clone(),
                    });
                }
                (None, Some(block)) => block.text.push(line.clone()),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{name}.md: a block has no end");
        Self {
            name: name.to_owned(),
            path,
            lines,
            blocks,
        }
    }

    /// Runs all examples; returns how many there are.
    pub(super) fn run(mut self) -> usize {
        let mut shell = Shell::start();
        let mut examples = 0;
        let mut printed = None;
        let mut blessed = Vec::new();
        for block in &self.blocks {
            let text = block.text.join("\n");
            let place = format!("{}.md:{}", self.name, block.line + 1);
            if let Some(file) = &block.file {
                fs::write(shell.checkout().join(file), text + "\n").unwrap();
                printed = None;
                continue;
            }
            match block.language.as_str() {
                "console" => {
                    let session = Self::session(&mut shell, block, &place);
                    examples += 1;
                    if let Some(session) = session {
                        blessed.push((block.line, block.text.len(), session));
                    }
                }
                "sh" => {
                    Self::command(&mut shell, block, &text, block.exit, &place);
                    examples += 1;
                }
                "rhai" | "python" => {
                    printed = Some(Self::program(&mut shell, block, &place));
                    examples += 1;
                    continue;
                }
                "toml" => {
                    let parsed = text.parse::<toml::Table>();
                    parsed.unwrap_or_else(|error| panic!("{place}: {error}"));
                }
                "text" => {
                    if let Some(printed) = &printed {
                        let same = matches(&text, printed);
                        assert!(same, "{place}: expected\n{text}\nfound\n{printed}");
                    }
                }
                other => panic!("{place}: nothing runs a block of `{other}`"),
            }
            printed = None;
        }
        if !blessed.is_empty() {
            for (line, length, session) in blessed.into_iter().rev() {
                self.lines.splice(line + 1..=line + length, session);
            }
            fs::write(&self.path, self.lines.join("\n") + "\n").unwrap();
        }
        examples
    }

    /// Runs a playbook or a Python program; returns its standard output.
    fn program(shell: &mut Shell, block: &Block, place: &str) -> String {
        let (file, command) = match block.language.as_str() {
            "rhai" => ("example.rhai", "autorun --local -q --again example.rhai"),
            _ => (
                "example.py",
                "(eval \"$(autorun cloud env)\"; python3 example.py)",
            ),
        };
        fs::write(shell.checkout().join(file), block.text.join("\n") + "\n").unwrap();
        let command = format!("{command} 2>example.err");
        let (status, printed) = shell.run(&command);
        let errors = fs::read_to_string(shell.checkout().join("example.err")).unwrap();
        assert_eq!(status, block.exit, "{place}:\n{printed}\n{errors}");
        printed
    }

    /// Runs a command of a block, which has to exit with this status.
    fn command(shell: &mut Shell, block: &Block, command: &str, exit: i32, place: &str) -> String {
        let command = match &block.run {
            Some(id) if command.contains(id) => command.replace(id, &last_run(shell)),
            _ => command.to_owned(),
        };
        let (status, output) = shell.run(&command);
        assert_eq!(status, exit, "{place}: {command}\n{output}");
        match &block.run {
            Some(id) => output.replace(&last_run(shell), id),
            None => output,
        }
    }

    /// Runs the commands of a console block and compares their output. With
    /// `BLESS` returns the block as it has to be, if it differs.
    fn session(shell: &mut Shell, block: &Block, place: &str) -> Option<Vec<String>> {
        let mut commands: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
        for line in &block.text {
            if let Some(command) = line.strip_prefix("$ ") {
                commands.push((vec![command], Vec::new()));
                continue;
            }
            let (command, output) = commands
                .last_mut()
                .unwrap_or_else(|| panic!("{place}: the block begins with output"));
            match line.strip_prefix("> ") {
                Some(more) if output.is_empty() => command.push(more),
                _ => output.push(line),
            }
        }
        let mut session = Vec::new();
        let mut differs = false;
        let last = commands.len().saturating_sub(1);
        for (at, (command, expected)) in commands.into_iter().enumerate() {
            // Only the last command of a block may fail.
            let exit = if at == last { block.exit } else { 0 };
            let output = Self::command(shell, block, &command.join("\n"), exit, place);
            let expected = expected.join("\n");
            session.push(format!("$ {}", command[0]));
            session.extend(command[1..].iter().map(|more| format!("> {more}")));
            if matches(&expected, &output) {
                session.extend(expected.lines().map(str::to_owned));
            } else {
                assert!(
                    std::env::var_os("BLESS").is_some(),
                    "{place}: {}\nexpected\n{expected}\nfound\n{output}",
                    command[0]
                );
                differs = true;
                session.extend(output.lines().flat_map(wrapped));
            }
        }
        differs.then_some(session)
    }
}

/// A line as a page shows it: in 80 columns.
fn wrapped(line: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split_inclusive(' ') {
        let last = lines.last_mut().map_or(0, |last| last.len());
        if last > 2 && last + word.trim_end().len() > 80 {
            lines.push("  ".to_owned());
        }
        if let Some(last) = lines.last_mut() {
            last.push_str(word);
        }
    }
    lines
        .iter()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// The id of the run that began last.
fn last_run(shell: &mut Shell) -> String {
    let (_, runs) = shell.run("autorun runs --output json | head -1");
    let runs: Value = serde_json::from_str(&runs).unwrap_or_default();
    let id = runs["run"].as_str();
    id.unwrap_or("no-run").to_owned()
}

/// The words of an output, without what differs between two runs.
fn normal(output: &str) -> String {
    // The calls that took longest, which may be other ones each time.
    let longest = Regex::new(r"longest: [^\n]*\n( {11}[^\n]*\n)*").unwrap();
    let text = longest.replace_all(output, "");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    VARIABLE.iter().fold(words, |text, (pattern, name)| {
        Regex::new(pattern)
            .unwrap()
            .replace_all(&text, *name)
            .into_owned()
    })
}

/// Whether an output is the one expected; how its lines are broken does not
/// count, because addresses and times differ in length.
fn matches(expected: &str, output: &str) -> bool {
    let any_lines = expected.lines().map(|line| match line.trim() {
        "..." => "[..lines..]",
        _ => line,
    });
    let expected = normal(&any_lines.collect::<Vec<_>>().join("\n"));
    let pattern = regex_lite::escape(&expected)
        .replace(r"\[\.\.lines\.\.\]", ".*")
        .replace(r"\[\.\.\]", "[^ ]*( [^ ]*)*?");
    Regex::new(&format!("^(?:{pattern})$"))
        .unwrap()
        .is_match(&normal(output))
}
