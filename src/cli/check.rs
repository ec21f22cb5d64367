//! `autorun check`: finds mistakes in playbooks without running them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::bail;
use serde_json::{Value, json};

use super::args::{CheckArgs, CheckOutput, Deny};
use super::output::answer;
use crate::error::exit;
use crate::playbook::check::RULES;
use crate::playbook::{Checked, Finding, Playbook, diagnostic, is_stdin};
use crate::report::Mask;

pub(super) fn check(arguments: &CheckArgs) -> anyhow::Result<u8> {
    if let Some(missing) = arguments
        .files
        .iter()
        .find(|file| !is_stdin(file) && !file.is_file())
    {
        bail!("{}", no_file(missing));
    }
    let mut findings: Vec<Finding> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut texts = BTreeMap::new();
    let mask = Mask::default();
    for file in &arguments.files {
        let Checked {
            findings: found,
            texts: read,
            secrets,
        } = Playbook::check(file);
        for secret in &secrets {
            mask.add_json(secret);
        }
        texts.extend(read);
        // A file that several playbooks import is reported once.
        findings.extend(
            found
                .into_iter()
                .filter(|found| seen.insert(found.identity())),
        );
    }
    let written = match arguments.output {
        CheckOutput::Human => {
            let shown = findings.iter().map(|finding| human(finding, &texts));
            let shown = mask.apply(&shown.collect::<String>());
            format!("{shown}{}", summary(&findings, arguments.files.len()))
        }
        CheckOutput::Json => {
            let lines = findings
                .iter()
                .map(|finding| format!("{}\n", as_json(finding)));
            mask.apply(&lines.collect::<String>())
        }
        CheckOutput::Sarif => mask.apply(&format!("{:#}\n", sarif(&findings))),
    };
    answer(&written);
    let is_denied = arguments.deny.contains(&Deny::Warnings);
    let fails = findings.iter().any(|found| found.is_error() || is_denied);
    Ok(if fails { exit::FAILED } else { exit::DONE })
}

/// Returns the error about something that is not a file.
fn no_file(path: &Path) -> String {
    let shown = path.display().to_string();
    if path.is_dir() {
        let directory = shown.trim_end_matches('/');
        return format!(
            "`{shown}` is a directory\nhint: check the files in it: `{directory}/*.rhai`"
        );
    }
    let with_ending = path.with_added_extension("rhai");
    let hint = if with_ending.is_file() {
        format!("did you mean `{}`?", with_ending.display())
    } else {
        "check the path: relative paths start at the current directory".to_owned()
    };
    format!("there is no file `{shown}`\nhint: {hint}")
}

/// Renders a finding as an error of a run, with its level and its code.
fn human(finding: &Finding, texts: &BTreeMap<String, String>) -> String {
    let (level, code) = (finding.rule.level.as_str(), finding.rule.code);
    let rendered = diagnostic::render_finding(&finding.error, &format!("{level}[{code}]"), texts);
    format!("{rendered}\n\n")
}

fn summary(findings: &[Finding], files: usize) -> String {
    let errors = findings.iter().filter(|found| found.is_error()).count();
    let warnings = findings.len() - errors;
    let count = |n: usize, what: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    let files = count(files, "file");
    match findings.first() {
        None => format!("{files}: no mistakes found\n"),
        Some(first) => format!(
            "{files}: {}, {}; `autorun docs {}` explains a code\n",
            count(errors, "error"),
            count(warnings, "warning"),
            first.rule.code
        ),
    }
}

fn as_json(finding: &Finding) -> Value {
    let place = &finding.error.place;
    json!({
        "code": finding.rule.code,
        "level": finding.rule.level.as_str(),
        "file": place.source,
        "line": place.line,
        "column": place.column,
        "message": finding.error.to_string(),
        "hint": finding.error.hint,
    })
}

/// Returns the findings in the format SARIF 2.1.0, which code hosts and editors show.
fn sarif(findings: &[Finding]) -> Value {
    let rules = RULES.iter().map(|rule| {
        json!({
            "id": rule.code,
            "shortDescription": { "text": rule.summary },
            "fullDescription": { "text": rule.reason.replace('\n', " ") },
            "help": { "text": rule.explained(), "markdown": rule.explained() },
            "defaultConfiguration": { "level": rule.level.as_str() },
        })
    });
    let results = findings.iter().map(|finding| {
        let place = &finding.error.place;
        let index = RULES.iter().position(|rule| *rule == finding.rule);
        let mut text = finding.error.to_string();
        if let Some(hint) = &finding.error.hint {
            text = format!("{text}. Hint: {hint}");
        }
        let mut location = json!({
            "artifactLocation": { "uri": uri(&place.source) },
        });
        if place.line > 0 {
            location["region"] = json!({
                "startLine": place.line,
                "startColumn": place.column.max(1),
            });
        }
        json!({
            "ruleId": finding.rule.code,
            "ruleIndex": index,
            "level": finding.rule.level.as_str(),
            "message": { "text": text },
            "locations": [{ "physicalLocation": location }],
        })
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "autorun",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

/// Returns a path as a URI: relative paths stay relative, to the directory of the
/// project.
fn uri(path: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'.')
        .remove(b'-')
        .remove(b'_')
        .remove(b'~');
    let encoded = utf8_percent_encode(path, KEPT).to_string();
    if path.starts_with('/') {
        format!("file://{encoded}")
    } else {
        encoded
    }
}
