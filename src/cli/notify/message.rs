//! The JSON object that is posted.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::Error;
use crate::ledger::{Run, RunStatus};
use crate::report::{Remaining, text};

/// The longest `text`, in characters. Discord accepts 2000.
const LONGEST: usize = 1500;

/// How many resources `text` names.
const NAMED: usize = 5;

/// How a run ended.
#[derive(Clone, Debug)]
pub(in crate::cli) struct End {
    pub(in crate::cli) status: RunStatus,
    /// `None` if the run was killed.
    pub(in crate::cli) seconds: Option<f64>,
    pub(in crate::cli) failure: Option<Failure>,
    pub(in crate::cli) up: Vec<Remaining>,
    pub(in crate::cli) possibly_made: Vec<Remaining>,
}

/// The error of a run.
#[derive(Clone, Debug)]
pub(in crate::cli) enum Failure {
    Error(Box<Error>),
    /// The line that the ledger keeps.
    Recorded(String),
}

impl Failure {
    fn as_json(&self) -> Value {
        match self {
            Self::Error(error) => json!({
                "kind": error.kind,
                "message": error.to_string(),
                "hint": error.hint,
                "place": place_of(error),
            }),
            Self::Recorded(message) => json!({
                "kind": null, "message": message, "hint": null, "place": null,
            }),
        }
    }
}

fn place_of(error: &Error) -> Option<String> {
    let place = &error.place;
    (place.line > 0).then(|| format!("{}:{}:{}", place.source, place.line, place.column))
}

/// Returns the object for a run.
pub(super) fn body(run: &Run, end: &End) -> Value {
    let host = host_name();
    json!({
        "event": "run_finished",
        "run": run.id,
        "playbook": run.about.playbook,
        "name": run.name,
        "outcome": end.status.as_str(),
        "seconds": end.seconds,
        "error": end.failure.as_ref().map(Failure::as_json),
        "up": end.up,
        "possibly_made": end.possibly_made,
        "target": run.about.target.words(),
        "host": host,
        "text": text(run, end, &host),
    })
}

/// Returns the object in the form that the service at this host accepts.
pub(super) fn for_service(host: &str, mut body: Value) -> Value {
    let text = body["text"].as_str().unwrap_or_default().to_owned();
    let is = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
    if is("chat.googleapis.com") {
        // Refuses unknown keys.
        return json!({ "text": text });
    }
    if is("discord.com") || is("discordapp.com") {
        return json!({ "content": text, "allowed_mentions": { "parse": [] } });
    }
    if [
        "logic.azure.com",
        "api.powerplatform.com",
        "webhook.office.com",
    ]
    .iter()
    .any(|domain| is(domain))
    {
        // A workflow of Microsoft Teams shows adaptive cards only.
        body["type"] = "message".into();
        body["attachments"] = json!([{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": [{ "type": "TextBlock", "text": text, "wrap": true }],
            },
        }]);
    }
    if is("slack.com") {
        // So that a message cannot mention a channel.
        let escaped = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        body["text"] = escaped.into();
    }
    body
}

/// Returns a few lines for people.
fn text(run: &Run, end: &End, host: &str) -> String {
    let mut out = format!("autorun: {}", run.about.playbook);
    if !run.name.is_empty() {
        let _ = write!(out, " ({})", run.name);
    }
    let _ = match end.status {
        RunStatus::Ended(outcome) => write!(
            out,
            " {}",
            match outcome.as_str() {
                "done" => "is done",
                "failed" => "failed",
                _ => "was interrupted",
            }
        ),
        RunStatus::Killed | RunStatus::Running => write!(out, " was killed"),
    };
    if let Some(seconds) = end.seconds {
        let took = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let _ = write!(out, " after {}", text::duration(took));
    }
    let _ = write!(out, " on {host}, run {}", run.id);
    match &end.failure {
        Some(Failure::Error(error)) => {
            let place = place_of(error).map(|place| format!(" ({place})"));
            let _ = write!(out, "\n{error}{}", place.unwrap_or_default());
            if let Some(hint) = &error.hint {
                let _ = write!(out, "\nhint: {hint}");
            }
        }
        Some(Failure::Recorded(message)) => {
            let _ = write!(out, "\n{message}");
        }
        None => {}
    }
    let up = end.up.iter().map(named);
    let possibly = end.possibly_made.iter();
    let possibly = possibly.map(|resource| format!("possibly {}", named(resource)));
    let all = text::some_of(up.chain(possibly), NAMED);
    // The commands stay if a long error is cut.
    let mut rest = String::new();
    if !all.is_empty() {
        let _ = write!(rest, "\nup: {all}\nremove: autorun destroy {}", run.id);
    }
    if end.status.can_resume() {
        let _ = write!(rest, "\nresume: autorun resume {}", run.id);
    }
    let room = LONGEST.saturating_sub(rest.chars().count());
    if out.chars().count() > room {
        out = out
            .chars()
            .take(room.saturating_sub(3))
            .chain("...".chars())
            .collect();
    }
    out.push_str(&rest);
    out
}

fn named(resource: &Remaining) -> String {
    let kind = resource.kind.replace('_', " ");
    match &resource.id {
        Some(id) if *id != resource.name => format!("{kind} {id} ({})", resource.name),
        _ => format!("{kind} {}", resource.name),
    }
}

/// Returns the name of this machine.
fn host_name() -> String {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let name = files
        .iter()
        .find_map(|file| std::fs::read_to_string(file).ok());
    let name = name.or_else(|| std::env::var("HOSTNAME").ok());
    let name = name.unwrap_or_default().trim().to_owned();
    if name.is_empty() {
        "an unnamed host".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ledger::About;
    use crate::report::Outcome;

    fn failed(message: &str) -> Value {
        let about = About {
            playbook: "web.rhai".to_owned(),
            ..About::default()
        };
        let run = Run::new(Path::new("/srv/web.rhai"), "shop", about);
        let end = End {
            status: RunStatus::Ended(Outcome::Failed),
            seconds: Some(200.0),
            failure: Some(Failure::Error(Box::new(Error::invalid(message).hint("do")))),
            up: vec![Remaining {
                kind: "security_group",
                id: Some("sg-1".to_owned()),
                name: "web".to_owned(),
                can_log_in: false,
            }],
            possibly_made: Vec::new(),
        };
        body(&run, &end)
    }

    #[test]
    fn the_text_says_what_happened_and_what_to_do() {
        let body = failed("<!channel> no");
        let text = body["text"].as_str().unwrap();
        for part in [
            "autorun: web.rhai (shop) failed after 3 min 20 s on ",
            "\n<!channel> no\nhint: do\nup: security group sg-1 (web)\n",
            "\nresume: autorun resume ",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let slack = for_service("hooks.slack.com", body.clone());
        assert!(slack["text"].as_str().unwrap().contains("&lt;!channel&gt;"));
        assert_eq!(slack["outcome"], "failed");
        let google = for_service("chat.googleapis.com", body.clone());
        assert_eq!(google, json!({ "text": body["text"] }));
        let discord = for_service("discord.com", body.clone());
        assert_eq!(discord["content"], body["text"]);
        let teams = for_service("prod-1.westeurope.logic.azure.com", body.clone());
        let card = &teams["attachments"][0]["content"];
        assert_eq!(
            (&card["body"][0]["text"], &teams["run"]),
            (&body["text"], &body["run"])
        );
        assert_eq!(for_service("notslack.com", body.clone()), body);
    }

    #[test]
    fn a_long_error_is_cut_and_the_commands_stay() {
        let body = failed(&"é".repeat(5000));
        let text = body["text"].as_str().unwrap();
        assert!(text.chars().count() <= LONGEST, "{}", text.chars().count());
        assert!(text.contains("é...\nup: security group"), "{text}");
    }
}
