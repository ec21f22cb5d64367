//! `autorun docs`: shows the manual, or a playbook's description and variables.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::args::DocsArgs;
use super::output::{answer, complain};
use super::pager;
use crate::error::exit;
use crate::playbook::check::{RULES, Rule, overview as checks};
use crate::playbook::{self, Declared, Finding, Playbook, diagnostic, is_stdin, reference};
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
    ("ci", include_str!("../../playbooks/manual/ci.md")),
    (
        "shared-ledger",
        include_str!("../../playbooks/manual/shared-ledger.md"),
    ),
    (
        "local-cloud",
        include_str!("../../playbooks/manual/local-cloud.md"),
    ),
    ("editors", include_str!("../../playbooks/manual/editors.md")),
    (
        "permissions",
        include_str!("../../playbooks/manual/permissions.md"),
    ),
    ("errors", include_str!("../../playbooks/manual/errors.md")),
    (
        "security",
        include_str!("../../playbooks/manual/security.md"),
    ),
];

/// The page that lists the codes of the check. It is made from the rules.
const CHECKS: &str = "checks";

pub(super) fn docs(arguments: &DocsArgs) -> anyhow::Result<u8> {
    if let Some(directory) = &arguments.definitions {
        let names = playbook::write_definitions(directory)
            .with_context(|| format!("cannot write to `{}`", directory.display()))?;
        let files = text::count(names.len(), "definition file");
        let written = format!(
            "wrote {files} to {}: {}",
            directory.display(),
            names.join(", ")
        );
        answer(&format!("{}\n", text::wrap(&written, 2)));
        return Ok(exit::DONE);
    }
    if let Some(words) = &arguments.search {
        return search(words);
    }
    let Some(subject) = &arguments.subject else {
        return paged(&overview());
    };
    if let Some((_, page)) = PAGES.iter().find(|(name, _)| name == subject) {
        return paged(&shown(page));
    }
    if subject == CHECKS {
        return paged(&format!("The codes of `autorun check`:\n\n{}", checks()));
    }
    if let Some(rule) = Rule::named(subject) {
        return paged(&rule.explained());
    }
    if let Some(entry) = reference::entry(subject) {
        return paged(&entry);
    }
    let path = Path::new(subject);
    if is_stdin(path) || path.exists() || path.extension().is_some_and(|e| e == "rhai") {
        return playbook(path);
    }
    let functions = reference::ENTRIES.iter().map(|entry| entry.name.as_str());
    let pages = PAGES.iter().map(|(name, _)| *name).chain([CHECKS]);
    let codes = RULES.iter().map(|rule| rule.code);
    let names = functions.chain(pages).chain(codes);
    let hint = if let Some(near) = text::nearest(subject, names) {
        format!("did you mean `{near}`?")
    } else if found_by(subject).is_empty() {
        "`autorun docs` lists all of them".to_owned()
    } else {
        // A part of a name, or the name of a service.
        let words = shell_words::quote(subject);
        format!("`autorun docs --search {words}` lists what contains it")
    };
    bail!("there is no function or page `{subject}`\nhint: {hint}")
}

fn paged(page: &str) -> anyhow::Result<u8> {
    pager::show(page)?;
    Ok(exit::DONE)
}

/// Every function, then every page.
fn overview() -> String {
    let names = PAGES.iter().map(|(name, _)| *name).chain([CHECKS]);
    let names: Vec<&str> = names.collect();
    let pages = text::wrap(&format!("  {}", names.join(", ")), 2);
    format!("{}\nPages\n{pages}\n", reference::overview())
}

/// Returns what contains all these words, in any case: functions and codes with their
/// summaries, pages with the first line that has one of the words.
fn found_by(words: &str) -> Vec<(&'static str, String)> {
    let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
    let has_all = |text: &str| {
        let text = text.to_lowercase();
        words.iter().all(|word| text.contains(word))
    };
    let mut found: Vec<(&'static str, String)> = Vec::new();
    if words.is_empty() {
        return found;
    }
    for entry in reference::ENTRIES.iter() {
        if has_all(&format!("{} {}", entry.name, entry.text)) {
            found.push((&entry.name, entry.summary().replace('\n', " ")));
        }
    }
    for (name, page) in PAGES {
        let line = page.lines().find(|line| has_all(line));
        let line = line.or_else(|| {
            page.lines()
                .find(|l| !l.is_empty() && has_all(page) && !l.starts_with('<'))
        });
        found.extend(line.map(|line| {
            (
                *name,
                line.trim_start_matches(['#', '-', '|', ' ']).to_owned(),
            )
        }));
    }
    for rule in RULES {
        if has_all(&rule.explained()) {
            found.push((rule.code, rule.summary.to_owned()));
        }
    }
    found
}

/// Lists what contains all these words.
fn search(words: &str) -> anyhow::Result<u8> {
    let found = found_by(words);
    if found.is_empty() {
        bail!(
            "nothing contains all these words\nhint: search for fewer words, or call `autorun docs`"
        );
    }
    let longest = found.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let room = 80 - longest - 4;
    let lines = found.iter().map(|(name, line)| {
        let line = console::truncate_str(line, room, "..");
        format!("  {name:longest$}  {line}\n")
    });
    paged(&lines.collect::<String>())
}

/// A page without the comments that direct its tests.
fn shown(page: &str) -> String {
    let lines = page.split_inclusive('\n');
    lines.filter(|line| !line.starts_with("<!-- ")).collect()
}

fn playbook(path: &Path) -> anyhow::Result<u8> {
    let playbook = match Playbook::load(path) {
        Ok(playbook) => playbook,
        Err(failed) => {
            let mask = Mask::default();
            failed
                .secrets
                .iter()
                .for_each(|secret| mask.add_json(secret));
            for Finding { error, .. } in &failed.findings {
                complain(&mask.apply(&diagnostic::render_error(error, &failed.texts)));
            }
            return Ok(exit::COMPILE);
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
    paged(&out)
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
