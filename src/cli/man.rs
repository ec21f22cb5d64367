//! `autorun man`: man pages of the commands, from clap, and of the functions,
//! from the reference.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use roff::{Inline, Roff, bold, line_break, roman};

use super::args::{Cli, ManArgs};
use super::output::answer;
use crate::error::exit;
use crate::playbook::reference;

/// Writes the pages below a directory, where `man` looks for them.
pub(super) fn man(arguments: &ManArgs) -> anyhow::Result<u8> {
    let commands = arguments.directory.join("man1");
    let functions = arguments.directory.join("man7");
    for directory in [&commands, &functions] {
        fs::create_dir_all(directory).with_context(|| cannot_write(directory))?;
    }
    clap_mangen::generate_to(Cli::command(), &commands).with_context(|| cannot_write(&commands))?;
    let file = functions.join("autorun-functions.7");
    fs::write(&file, functions_page()).with_context(|| cannot_write(&file))?;
    answer(&format!(
        "wrote autorun.1, a page for each command, and autorun-functions.7 below {}\n",
        arguments.directory.display()
    ));
    Ok(exit::DONE)
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write `{}`", path.display())
}

/// The reference as a man page.
fn functions_page() -> String {
    let mut page = Page::default();
    let title = [
        "AUTORUN-FUNCTIONS",
        "7",
        "",
        "autorun",
        "Functions of playbooks",
    ];
    page.roff.control("TH", title);
    page.roff.control("SH", ["NAME"]);
    page.roff.text([roman(
        "autorun-functions - the functions that playbooks can call",
    )]);
    let markdown = reference::markdown();
    for event in Parser::new_ext(&markdown, Options::ENABLE_TABLES) {
        page.add(event);
    }
    page.roff.to_roff()
}

/// A man page that grows by the events of a Markdown text.
#[derive(Default)]
struct Page {
    roff: Roff,
    /// The paragraph, heading, item or cell that is being read.
    line: Vec<Inline>,
    /// Whether the text is inside a block of code, where lines stay as they are.
    in_code: bool,
    in_item: bool,
}

impl Page {
    fn add(&mut self, event: Event<'_>) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => {
                self.in_code = true;
                let roff = self.roff.control("sp", []);
                roff.control("RS", ["4"]).control("nf", []);
            }
            Event::End(TagEnd::CodeBlock) => {
                self.in_code = false;
                self.roff.control("fi", []).control("RE", []);
            }
            Event::Start(Tag::Item) => {
                self.in_item = true;
                self.roff.control("IP", ["\\(bu", "2"]);
            }
            Event::End(TagEnd::Item) => {
                self.end_line();
                self.in_item = false;
            }
            // The first paragraph of an item stands beside its bullet.
            Event::Start(Tag::Paragraph) if !self.in_item => {
                self.roff.control("PP", []);
            }
            Event::Start(Tag::TableRow | Tag::TableHead) => {
                self.roff.control("PP", []);
            }
            Event::End(TagEnd::TableCell) => self.line.push(roman("  ")),
            Event::End(TagEnd::Paragraph | TagEnd::TableRow | TagEnd::TableHead) => {
                self.end_line();
            }
            Event::End(TagEnd::Heading(level)) => self.end_heading(level),
            Event::Text(text) if self.in_code => {
                for line in text.lines() {
                    self.roff.text([roman(line)]);
                }
            }
            Event::Text(text) => self.line.push(roman(&*text)),
            Event::Code(code) => self.line.push(bold(&*code)),
            Event::SoftBreak => self.line.push(roman(" ")),
            Event::HardBreak => self.line.push(line_break()),
            _ => {}
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.roff.text(line);
        }
    }

    /// A family is a section, a function a subsection; the page's own title is
    /// in its first line.
    fn end_heading(&mut self, level: HeadingLevel) {
        let words = std::mem::take(&mut self.line);
        let text: String = words
            .into_iter()
            .map(|word| match word {
                Inline::Roman(text) | Inline::Bold(text) | Inline::Italic(text) => text,
                Inline::LineBreak => " ".to_owned(),
            })
            .collect();
        match level {
            HeadingLevel::H1 => self.roff.control("SH", ["DESCRIPTION"]),
            HeadingLevel::H2 => self.roff.control("SH", [&*text.to_uppercase()]),
            _ => self.roff.control("SS", [&*text]),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_a_subsection() {
        let page = functions_page();
        for entry in reference::ENTRIES.iter() {
            let heading = format!(".SS {}\n", entry.name);
            assert!(page.contains(&heading), "{} has no subsection", entry.name);
        }
    }

    #[test]
    fn code_keeps_its_lines() {
        let mut page = Page::default();
        for event in Parser::new("```rhai\nlet a = 1;\n.b\n```\n") {
            page.add(event);
        }
        let text = page.roff.to_roff();
        assert!(text.contains(".nf\nlet a = 1;\n\\&.b\n.fi\n"), "{text}");
    }
}
