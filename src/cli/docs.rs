//! `autorun docs`: shows the manual, or a playbook's description and variables.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::bail;

use super::args::DocsArgs;
use super::output::{answer, complain};
use crate::error::exit;
use crate::playbook::{Declared, Playbook, diagnostic, is_stdin, reference};
use crate::report::{Mask, text};

/// The pages of the manual, by the names that `autorun docs` takes. The reference
/// is made from the functions.
const PAGES: &[(&str, &str)] = &[
    (
        "getting-started",
        include_str!("../../playbooks/manual/getting-started.md"),
    ),
    (
        "language",
        include_str!("../../playbooks/manual/language.md"),
    ),
    ("recipes", include_str!("../../playbooks/manual/recipes.md")),
    (
        "coming-from",
        include_str!("../../playbooks/manual/coming-from.md"),
    ),
    ("runs", include_str!("../../playbooks/manual/runs.md")),
    (
        "local-cloud",
        include_str!("../../playbooks/manual/local-cloud.md"),
    ),
    ("errors", include_str!("../../playbooks/manual/errors.md")),
    (
        "security",
        include_str!("../../playbooks/manual/security.md"),
    ),
];

pub(super) fn docs(arguments: &DocsArgs) -> anyhow::Result<u8> {
    let Some(subject) = &arguments.subject else {
        answer(&overview());
        return Ok(exit::DONE);
    };
    if let Some((_, page)) = PAGES.iter().find(|(name, _)| name == subject) {
        answer(&shown(page));
        return Ok(exit::DONE);
    }
    if let Some(entry) = reference::entry(subject) {
        answer(&entry);
        return Ok(exit::DONE);
    }
    let path = Path::new(subject);
    if is_stdin(path) || path.exists() || path.extension().is_some_and(|e| e == "rhai") {
        return Ok(playbook(path));
    }
    let functions = reference::ENTRIES.iter().map(|entry| entry.name.as_str());
    let names = functions.chain(PAGES.iter().map(|(name, _)| *name));
    match text::nearest(subject, names) {
        Some(near) => {
            bail!("there is no function or page `{subject}`\nhint: did you mean `{near}`?")
        }
        None => bail!(
            "there is no function or page `{subject}`\nhint: `autorun docs` lists all of them"
        ),
    }
}

/// Every function, then every page.
fn overview() -> String {
    let names: Vec<&str> = PAGES.iter().map(|(name, _)| *name).collect();
    let pages = text::wrap(&names.join(", "), 2);
    format!("{}\nPages\n  {pages}\n", reference::overview())
}

/// A page without the comments that direct its tests.
fn shown(page: &str) -> String {
    let lines = page.split_inclusive('\n');
    lines.filter(|line| !line.starts_with("<!-- ")).collect()
}

fn playbook(path: &Path) -> u8 {
    let playbook = match Playbook::load(path) {
        Ok(playbook) => playbook,
        Err(failed) => {
            let mask = Mask::default();
            failed
                .secrets
                .iter()
                .for_each(|secret| mask.add_json(secret));
            for error in &failed.errors {
                complain(&mask.apply(&diagnostic::render_error(error, &failed.texts)));
            }
            return exit::COMPILE;
        }
    };
    let mut out = format!("{}\n", playbook.path());
    let description = playbook.description();
    if !description.is_empty() {
        let _ = writeln!(out, "\n{}", description.trim_end());
    }
    if playbook.variables.is_empty() {
        out.push_str("\nThe playbook has no variables.\n");
    } else {
        out.push_str("\nVariables, for --set NAME=VALUE:\n");
        playbook
            .variables
            .iter()
            .for_each(|declared| out.push_str(&variable(declared)));
    }
    answer(&out);
    exit::DONE
}

fn variable(declared: &Declared) -> String {
    let mut facts = vec![declared.kind.as_str().to_owned()];
    match &declared.default {
        Some(default) if declared.secret && *default != "" => facts.push("default ****".to_owned()),
        Some(default) => facts.push(format!("default {default}")),
        None => facts.push("required".to_owned()),
    }
    if let (Some(choices), false) = (&declared.choices, declared.secret) {
        let choices: Vec<String> = choices.iter().map(ToString::to_string).collect();
        facts.push(format!("one of {}", choices.join(", ")));
    }
    if let Some(pattern) = &declared.pattern {
        facts.push(format!("matching {pattern}"));
    }
    if declared.secret {
        facts.push("secret".to_owned());
    }
    let help = match declared.help.as_str() {
        "" => String::new(),
        help => format!("      {help}\n"),
    };
    format!("  {} ({})\n{help}", declared.name, facts.join(", "))
}
