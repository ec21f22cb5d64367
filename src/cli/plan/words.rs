//! A plan as text, in 80 columns.

use std::fmt::Write as _;
use std::time::Duration;

use super::Plan;
use super::account::Account;
use super::differences::Differences;
use super::outline::{Entry, Outline, Section};
use crate::cli::rehearsal::{Loan, Source};
use crate::report::{Reporter, text};

/// Width of the text.
const COLUMNS: usize = 80;

/// Renders a plan.
pub(super) fn words(plan: &Plan) -> String {
    let mut out = String::new();
    heading(&mut out, plan);
    for (section, title) in Section::ALL {
        let entries: Vec<&Entry> = plan.outline.section(section).collect();
        if !entries.is_empty() {
            let _ = writeln!(out, "\n{title}");
            for entry in entries {
                line(&mut out, entry);
            }
        }
    }
    if plan.outline.steps.is_empty() {
        out.push_str("\nit would create, change, copy, run and delete nothing\n");
    }
    legend(&mut out, &plan.outline);
    borrowed(&mut out, &plan.loans);
    if !plan.unreadable.is_empty() {
        out.push_str("\nfiles that cannot be read\n");
        for file in &plan.unreadable {
            placed(&mut out, &format!("  {}", file.message), &file.place);
        }
    }
    end(&mut out, plan);
    if let Some(differences) = &plan.differences {
        differs(&mut out, differences);
    }
    match &plan.account {
        Some(account) => asked(&mut out, account),
        None => out.push_str("\nthe account was not asked\n"),
    }
    text::harmless(&out)
}

fn heading(out: &mut String, plan: &Plan) {
    let name = match plan.name.as_str() {
        "" => String::new(),
        name => format!(", name {name}"),
    };
    let mut add = |line: &str, indent: usize| {
        let _ = writeln!(out, "{}", text::wrap(line, indent));
    };
    if let Some(why) = &plan.cannot_boot {
        let why = format!(
            "commands on instances were assumed to succeed, because no instance could boot: {why}"
        );
        add(&why, 2);
    }
    add(&format!("plan of {}{name}", plan.playbook), 2);
    let took = text::duration(plan.took);
    let how = match &plan.error {
        None => {
            format!("rehearsed in {took} on a local cloud of its own; nothing else was touched")
        }
        Some(_) => format!("the rehearsal failed after {took}; what follows happened before"),
    };
    add(&how, 2);
    if let Some(error) = &plan.error {
        add(&format!("error: {error}"), 2);
    }
    if let Some(hint) = &plan.hint {
        add(&format!("hint: {hint}"), 6);
    }
    if !plan.skipped.is_zero() {
        let skipped = text::duration(plan.skipped);
        let line = format!("waits of {skipped} were skipped: nothing real happens in the meantime");
        add(&line, 2);
    }
}

/// Writes an entry: its mark, what it does, and its place at the right margin.
fn line(out: &mut String, entry: &Entry) {
    let mark = match (entry.assumed.is_empty(), &entry.follows) {
        (false, _) => "? ",
        (true, Some(_)) => "~ ",
        (true, None) => "  ",
    };
    let branch = match entry.branch.trim_start_matches('/') {
        "" => String::new(),
        branch => format!(" [{}]", branch.replace("#1", "")),
    };
    placed(out, &format!("{mark}{}{branch}", entry.what), &entry.place);
    let assumed = entry.assumed.iter().filter(|assumed| assumed.is_answer);
    let assumed = assumed.map(|assumed| format!("assumed: {}", assumed.result));
    let follows = entry.follows.iter().filter(|_| entry.assumed.is_empty());
    let follows = follows.map(|place| format!("may depend on the result assumed at {place}"));
    let error = entry
        .error
        .iter()
        .map(|error| format!("failed: {}", error.lines().next().unwrap_or_default()));
    let mut details: Vec<String> = assumed.collect();
    details.dedup();
    for detail in entry
        .details
        .iter()
        .cloned()
        .chain(details)
        .chain(follows)
        .chain(error)
    {
        let _ = writeln!(out, "{}", text::wrap(&format!("      {detail}"), 8));
    }
}

/// Writes a line with its place at the right margin.
fn placed(out: &mut String, what: &str, place: &str) {
    let place = place.rsplit('/').next().unwrap_or_default();
    let used = what.chars().count() + 2 + place.chars().count();
    if used <= COLUMNS {
        let gap = " ".repeat(COLUMNS - used + 2);
        let _ = writeln!(out, "{what}{gap}{place}");
    } else {
        let _ = writeln!(out, "{}", text::wrap(what, 6));
        let _ = writeln!(out, "{place:>COLUMNS$}");
    }
}

/// Explains the marks that occur.
fn legend(out: &mut String, outline: &Outline) {
    let steps = &outline.steps;
    let assumed = steps.iter().any(|entry| !entry.assumed.is_empty());
    let follows = steps
        .iter()
        .any(|entry| entry.assumed.is_empty() && entry.follows.is_some());
    if assumed {
        out.push_str("\n? was not done: it would have left the rehearsal\n");
    }
    if follows {
        out.push_str("~ was done in the rehearsal, and may depend on an assumed result\n");
    }
}

/// Lists what the playbook needs and did not create.
fn borrowed(out: &mut String, loans: &[Loan]) {
    for (source, title) in [
        (Source::Account, "taken from the account"),
        (Source::Assumed, "assumed to be in the account"),
        (
            Source::Missing,
            "assumed, although the account does not have it",
        ),
    ] {
        let loans: Vec<&Loan> = loans.iter().filter(|loan| loan.source == source).collect();
        if !loans.is_empty() {
            let _ = writeln!(out, "\n{title}");
        }
        for loan in loans {
            let kind = loan.kind.words();
            let what = match (loan.name.as_str(), &loan.label) {
                ("", _) => format!("no {kind} that the search finds"),
                (id, Some(name)) => format!("{kind} {name} ({id})"),
                (name, None) => format!("{kind} {name}"),
            };
            placed(out, &format!("  {what}"), &loan.place);
        }
    }
}

fn end(out: &mut String, plan: &Plan) {
    let outline = &plan.outline;
    if !outline.open.is_empty() {
        out.push_str("\nopen at the end\n");
        for opening in &outline.open {
            let line = format!(
                "  {} to {}, group {}",
                opening.ports, opening.to, opening.group
            );
            let _ = writeln!(out, "{}", text::wrap(&line, 6));
        }
    }
    if !outline.public.is_empty() {
        out.push_str("\npublic at the end\n");
        for object in &outline.public {
            let _ = writeln!(out, "  {object}");
        }
    }
    if !outline.stays_up.is_empty() {
        out.push_str("\nstays up at the end\n");
        for resource in &outline.stays_up {
            let _ = writeln!(out, "{}", Reporter::listed(resource));
        }
    }
}

fn asked(out: &mut String, account: &Account) {
    let id = match account.id.as_str() {
        "" => "the account".to_owned(),
        id => format!("account {id}"),
    };
    let place = match account.region.as_str() {
        "" => id,
        region => format!("{id} in {region}"),
    };
    let _ = match account.faults.len() {
        0 => writeln!(out, "\n{place}: no fault found"),
        count => writeln!(out, "\n{place}: {}", text::count(count, "fault")),
    };
    let mut add = |line: &str, indent: usize| {
        let _ = writeln!(out, "{}", text::wrap(line, indent));
    };
    for fault in &account.faults {
        let place = fault.place.as_deref();
        let place = place.map_or_else(String::new, |place| format!(" ({place})"));
        add(&format!("  fault: {}{place}", fault.message), 9);
        if let Some(hint) = &fault.hint {
            add(&format!("  hint:  {hint}"), 9);
        }
    }
    for line in &account.notes {
        add(&format!("  note: {line}"), 8);
    }
    for line in &account.checked {
        add(&format!("  checked: {line}"), 11);
    }
    for line in &account.unchecked {
        add(&format!("  not checked: {line}"), 15);
    }
}

fn differs(out: &mut String, differences: &Differences) {
    let ago = text::duration(Duration::from_secs(differences.seconds_ago));
    let last = format!("{} ({}, {ago} ago)", differences.run, differences.status);
    if differences.is_empty() {
        let _ = writeln!(out, "\nsame variables and steps as the last run, {last}");
    } else {
        let _ = writeln!(out, "\ndifferent from the last run, {last}");
    }
    for (name, [before, after]) in &differences.variables {
        let line = format!("  variable {name}: {before} is now {after}");
        let _ = writeln!(out, "{}", text::wrap(&line, 6));
    }
    for (mark, steps) in [("+", &differences.added), ("-", &differences.missing)] {
        for step in steps {
            let _ = writeln!(out, "{}", text::wrap(&format!("  {mark} {step}"), 6));
        }
    }
    if differences.up > 0 {
        let count = text::count(differences.up, "resource");
        let _ = writeln!(out, "  {count} of that run may still be up");
    }
}
