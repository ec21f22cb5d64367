//! A run as a self-contained HTML page: no scripts, no other files, no network.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::calls::{Call, CallState, branch_in_words, calls, color};
use super::labels::file_name;
use super::lanes::{Span, lanes, rows, visits};
use super::shape::{NARROW, WIDE};
use super::template::{PAGE_STYLE, TIMELINE_STYLE, render};
use super::timeline::part;
use crate::error::Result;
use crate::ledger::{Millis, Resource, ResourceKind, RunRecord, State, StepResult, between};
use crate::report::{clock, text};

/// The most bytes of results on a page. Browsers are slow with larger pages.
const MOST: usize = 4 << 20;

#[derive(Serialize)]
struct Page {
    policy: String,
    style: String,
    run: String,
    title: String,
    status: &'static str,
    error: Option<String>,
    facts: Vec<Fact>,
    variables: Vec<Fact>,
    tags: Vec<Fact>,
    wide: String,
    narrow: String,
    calls: Vec<Entry>,
    resources: Vec<ResourceItem>,
    commands: Vec<Fact>,
    written: String,
    version: &'static str,
}

/// A name and its value.
#[derive(Serialize)]
struct Fact {
    name: String,
    value: String,
}

#[derive(Serialize)]
struct Entry {
    number: usize,
    function: String,
    summary: String,
    class: String,
    from: String,
    outcome: String,
    branch: String,
    short_place: String,
    place: String,
    began: String,
    /// The first line of the error.
    fault: Option<String>,
    error: Option<String>,
    blocks: Vec<Block>,
    notes: Vec<String>,
}

/// A part of a result.
#[derive(Debug, PartialEq, Serialize)]
struct Block {
    name: String,
    text: String,
}

#[derive(Serialize)]
struct ResourceItem {
    kind: String,
    id: String,
    name: String,
    class: &'static str,
    state: &'static str,
    since: String,
}

/// Renders the run as a page.
///
/// Fails with [`ErrorKind::Internal`] if a template is invalid.
///
/// [`ErrorKind::Internal`]: crate::error::ErrorKind::Internal
pub fn html(record: &RunRecord) -> Result<String> {
    let run = &record.run;
    let calls = calls(record);
    let style = format!("{TIMELINE_STYLE}{PAGE_STYLE}");
    let variables = run.about.variables.iter();
    let variables = variables.map(|(name, value)| fact(name, value.to_string()));
    let secrets = run.about.secrets.iter();
    let secrets = secrets.map(|name| fact(name, "**** (secret)"));
    let mut room = MOST;
    render(
        "page.html",
        &Page {
            policy: policy(&style),
            style,
            run: run.id.clone(),
            title: file_name(&run.about.playbook).to_owned(),
            status: record.status.as_str(),
            error: run.error.clone(),
            facts: facts(record),
            variables: variables.chain(secrets).collect(),
            tags: run.about.tags.iter().map(|(k, v)| fact(k, v)).collect(),
            wide: part(record, &calls, WIDE)?,
            narrow: part(record, &calls, NARROW)?,
            calls: calls
                .iter()
                .zip(waited_for(&calls))
                .enumerate()
                .map(|(number, (call, notes))| entry(record, number, call, notes, &mut room))
                .collect(),
            resources: record
                .resources
                .iter()
                .map(|r| resource_item(r, run.about.ttl))
                .collect(),
            commands: commands(record),
            written: zoned(record.read),
            version: env!("CARGO_PKG_VERSION"),
        },
    )
}

/// Returns a content security policy that allows only this style.
fn policy(style: &str) -> String {
    let hash = BASE64_STANDARD.encode(Sha256::digest(style.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'")
}

fn fact(name: &str, value: impl Into<String>) -> Fact {
    Fact {
        name: name.to_owned(),
        value: value.into(),
    }
}

/// Formats a time in this machine's time zone, with the offset from UTC.
fn zoned(at: Millis) -> String {
    clock::local(at, "%Y-%m-%d %H:%M:%S %:z")
}

fn facts(record: &RunRecord) -> Vec<Fact> {
    let run = &record.run;
    let mut facts = vec![fact("started", zoned(run.started))];
    if let Some(ended) = run.ended {
        facts.push(fact("ended", zoned(ended)));
        let took = between(run.started, ended);
        facts.push(fact("duration", text::duration(took)));
    }
    facts.push(fact("playbook", run.about.playbook.as_str()));
    facts.push(fact("target", run.about.target.words()));
    facts.push(fact("directory", run.about.directory.display().to_string()));
    if let Some(ttl) = run.about.ttl {
        let ttl = text::duration(std::time::Duration::from_secs(ttl));
        facts.push(fact(
            "ttl",
            format!("{ttl} for instances; other resources stay"),
        ));
    }
    facts
}

/// Returns for each call the dependencies that the lines of the timeline show.
fn waited_for(calls: &[Call]) -> Vec<Vec<String>> {
    let spans: Vec<Span> = calls.iter().map(|call| call.span.clone()).collect();
    let lanes = lanes(spans.iter().map(|span| span.branch.as_str()));
    let mut branches: Vec<Vec<String>> = vec![Vec::new(); calls.len()];
    let mut notes: Vec<Vec<String>> = vec![Vec::new(); calls.len()];
    for visit in visits(&spans, &lanes, &rows(&spans, &lanes)) {
        let named = |call: usize| {
            let Call { function, .. } = &calls[call];
            format!("{function} ({})", calls[call].short_place())
        };
        let branch = branch_in_words(&lanes[visit.lane].branch);
        let begun = match visit.after {
            Some(after) if spans[after].holds(&spans[visit.last]) => {
                branches[after].push(branch.clone());
                Some(format!("{branch} was started by {}", named(after)))
            }
            after => {
                if let Some(before) = visit.before {
                    branches[before].push(branch.clone());
                }
                after.map(|after| format!("{branch} started after {}", named(after)))
            }
        };
        notes[visit.first].extend(begun);
    }
    for (notes, branches) in notes.iter_mut().zip(branches) {
        if !branches.is_empty() {
            notes.push(format!("waited for {}", text::some_of(branches, 8)));
        }
    }
    notes
}

fn entry(
    record: &RunRecord,
    number: usize,
    call: &Call,
    mut notes: Vec<String>,
    room: &mut usize,
) -> Entry {
    let mut blocks = match &call.result {
        None => Vec::new(),
        Some(StepResult::Value(value)) => blocks(value),
        Some(StepResult::Unreadable { why, .. }) => {
            notes.push(format!("cannot read the recorded result: {why}"));
            Vec::new()
        }
    };
    let size: usize = blocks.iter().map(|block| block.text.len()).sum();
    if size > *room {
        blocks.clear();
        notes.push(
            "the result is too large for this page; `autorun show RUN --output json` prints it"
                .to_owned(),
        );
    } else {
        *room -= size;
    }
    if call.altered {
        notes.push("the result is masked or shortened".to_owned());
    }
    if call.state == CallState::Unfinished {
        notes.push("the run ended before the end of this call was recorded".to_owned());
    }
    let wait = if call.is_wait { " wait" } else { "" };
    let error = call.error.as_deref();
    Entry {
        number,
        function: call.function.clone(),
        summary: call.summary.clone(),
        class: format!("{} {}{wait}", color(call.realm).0, call.state.class()),
        from: text::duration(between(record.run.started, call.span.started)),
        outcome: call.outcome(),
        branch: branch_in_words(&call.span.branch),
        short_place: call.short_place().to_owned(),
        place: call.place.clone(),
        began: zoned(call.span.started),
        fault: error.map(|error| error.lines().next().unwrap_or_default().to_owned()),
        error: error.map(str::to_owned),
        blocks,
        notes,
    }
}

/// Splits a result into blocks: the output of programs and texts of several lines
/// as plain text, the rest as JSON.
fn blocks(result: &Value) -> Vec<Block> {
    let is_text = |name: &str, value: &Value| {
        let text = value.as_str().unwrap_or_default();
        !text.is_empty() && (["stdout", "stderr"].contains(&name) || text.contains('\n'))
    };
    let json = |value: &Value| Block {
        name: "result".to_owned(),
        text: format!("{value:#}"),
    };
    match result {
        Value::Null => Vec::new(),
        Value::String(text) if is_text("", result) => vec![Block {
            name: "result".to_owned(),
            text: text.clone(),
        }],
        Value::Object(map) => {
            let texts = map.iter().filter(|(name, value)| is_text(name, value));
            let texts = texts.map(|(name, value)| Block {
                name: name.clone(),
                text: value.as_str().unwrap_or_default().to_owned(),
            });
            let texts: Vec<Block> = texts.collect();
            let rest = map.iter().filter(|(name, value)| !is_text(name, value));
            let rest: serde_json::Map<String, Value> =
                rest.map(|(k, v)| (k.clone(), v.clone())).collect();
            let rest = (!rest.is_empty()).then(|| json(&Value::Object(rest)));
            texts.into_iter().chain(rest).collect()
        }
        other => vec![json(other)],
    }
}

fn resource_item(row: &Resource, ttl: Option<u64>) -> ResourceItem {
    let state = match row.state {
        State::Intended => "possibly created",
        State::Live => "up",
        State::Abandoned => "not created",
        State::Releasing => "being removed",
        State::Released => "removed",
        State::Forgotten => "forgotten",
    };
    let mut since = match row.state {
        State::Intended | State::Abandoned => format!("requested {}", zoned(row.intended)),
        State::Live | State::Releasing => format!("since {}", zoned(row.intended)),
        State::Released | State::Forgotten => {
            format!("{} to {}", zoned(row.intended), zoned(row.changed))
        }
    };
    if row.state.may_be_up()
        && let Some(end) = row.ends(ttl)
    {
        since = format!("{since}, terminates itself {}", zoned(end));
    }
    let shown = row.remaining();
    ResourceItem {
        kind: row.kind.words(),
        id: shown.id.unwrap_or_default(),
        name: row.name.clone(),
        class: row.state.as_str(),
        state,
        since,
    }
}

/// Returns the commands that are useful for the run, with descriptions.
fn commands(record: &RunRecord) -> Vec<Fact> {
    let command = |word: &str, what: &str| fact(&format!("autorun {word} {}", record.run.id), what);
    let up = record.resources.iter().filter(|row| row.state.may_be_up());
    let up: Vec<&Resource> = up.collect();
    let mut commands = Vec::new();
    if up
        .iter()
        .any(|row| row.kind == ResourceKind::Instance && row.state == State::Live)
    {
        commands.push(command("ssh", "logs in to the instance"));
    }
    if record.status.can_resume() {
        commands.push(command("resume", "continues the run"));
    }
    if !up.is_empty() {
        let count = text::count(up.len(), "resource");
        let what = format!("removes {count} of the run");
        commands.push(command("destroy", &what));
    }
    commands
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_output_of_programs_is_shown_as_plain_text() {
        let shown = blocks(&json!({ "status": 1, "stdout": "one\n", "stderr": "" }));
        let names: Vec<_> = shown.iter().map(|block| block.name.as_str()).collect();
        assert_eq!(names, ["stdout", "result"]);
        assert_eq!(shown[0].text, "one\n");
        assert_eq!(shown[1].text, "{\n  \"status\": 1,\n  \"stderr\": \"\"\n}");
        assert!(blocks(&json!(null)).is_empty());
        assert_eq!(blocks(&json!("a\nb"))[0].text, "a\nb");
        assert_eq!(blocks(&json!("a"))[0].text, "\"a\"");
    }
}
