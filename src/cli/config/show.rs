//! `autorun settings`: shows each setting, its value and where it comes from.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::environment::{Environment, Variable};
use super::layers::{FileSettings, LedgerPlace, Set};
use super::user::{Looked, of_playbook, of_user};
use crate::cli::args::{OnError, OrNone, Output, SettingsArgs};
use crate::cli::notify::Webhook;
use crate::cli::output::answer;
use crate::cli::settings::data_dir;
use crate::cli::settings::shown;
use crate::error::{Error, Place, exit};
use crate::report::{MASK, text};

/// A setting as it is shown.
struct Row {
    name: String,
    value: Option<String>,
    source: Source,
}

enum Source {
    File(Place),
    Environment(&'static str),
    Default,
}

pub(in crate::cli) fn show(arguments: &SettingsArgs) -> anyhow::Result<u8> {
    let (user, mut files) = of_user()?;
    let mut looked = vec![user];
    if let Some(playbook) = &arguments.playbook {
        std::fs::metadata(playbook)
            .map_err(|e| shown(&Error::io("read playbook", playbook, &e)))?;
        let (beside, its) = of_playbook(playbook)?;
        looked.insert(0, beside);
        files = its.over(files);
    }
    let rows = rows(&files, &Environment::of_process())?;
    answer(&match arguments.output {
        Output::Human => table(&rows, looked.iter().flatten()),
        Output::Json => json_lines(&rows),
    });
    Ok(exit::DONE)
}

/// Returns all settings, with the precedence of `complete_target`.
fn rows(
    files: &FileSettings,
    environment: &Environment<impl Fn(&str) -> Option<String>>,
) -> anyhow::Result<Vec<Row>> {
    let text = |set: &Option<Set<String>>| set.clone().map(|set| (set.value, set.place));
    // Keys in the environment are credentials, not the name of a profile.
    let credentials = environment
        .credentials()
        .map(|(name, _)| (name, String::new()));
    let profile = environment.profile();
    let role = text(&files.role).filter(|_| profile.is_none());
    let urls = files.endpoint_url.as_ref();
    let ttl = files.ttl.as_ref().map(|ttl| {
        let value = match ttl.value {
            OrNone::None => "none".to_owned(),
            OrNone::Some(time) => text::duration(time),
        };
        (value, ttl.place.clone())
    });
    let on_error = files.on_error.as_ref().map(|on_error| {
        let value = match on_error.value {
            OnError::Keep => "keep",
            OnError::Destroy => "destroy",
        };
        (value.to_owned(), on_error.place.clone())
    });
    let again = files.again.as_ref();
    let again = again.map(|again| (again.value.to_string(), again.place.clone()));
    let notify = files.notify.as_ref().map(|notify| {
        let value = match &notify.value {
            OrNone::None => "none".to_owned(),
            OrNone::Some(webhook) => webhook.masked(),
        };
        (value, notify.place.clone())
    });
    let sent_to = environment.notify().map(|(name, url)| {
        let shown = match Webhook::parse(&url) {
            Ok(webhook) => webhook.masked(),
            Err(_) if url == "none" => url,
            Err(_) => MASK.to_owned(),
        };
        (name, shown)
    });
    let path = |set: &Option<Set<_>>| {
        let set: &Set<std::path::PathBuf> = set.as_ref()?;
        Some((set.value.display().to_string(), set.place.clone()))
    };
    let ledger = files.ledger.as_ref().map(|ledger| {
        let value = match &ledger.value {
            LedgerPlace::Directory(directory) => directory.display().to_string(),
            LedgerPlace::Shared(url) => url.clone(),
        };
        (value, ledger.place.clone())
    });
    let mut rows = vec![
        row("region", environment.region(), text(&files.region), None),
        row(
            "profile",
            profile.or(credentials),
            text(&files.profile),
            None,
        ),
        row("role", None, role, None),
        row(
            "endpoint_url",
            environment.endpoint(),
            urls.map(|urls| (urls.value.join(", "), urls.place.clone())),
            None,
        ),
        row("ttl", None, ttl, None),
        row("on_error", None, on_error, Some("keep".to_owned())),
        row("again", None, again, Some("false".to_owned())),
        row("notify", sent_to, notify, None),
        row("log_file", None, path(&files.log_file), None),
        row(
            "ssh_config",
            environment.ssh_config(),
            path(&files.ssh_config),
            None,
        ),
        row(
            "ledger",
            environment.ledger(),
            ledger,
            Some(data_dir()?.display().to_string()),
        ),
    ];
    rows.extend(files.tags.iter().map(|(key, set)| Row {
        name: format!("tags.{key}"),
        value: Some(set.value.clone()),
        source: Source::File(set.place.clone()),
    }));
    Ok(rows)
}

/// Returns the value from the nearest source that has one.
fn row(
    name: &str,
    variable: Option<Variable>,
    in_file: Option<(String, Place)>,
    default: Option<String>,
) -> Row {
    let (value, source) = match (variable, in_file) {
        (Some((variable, value)), _) => {
            let value = Some(value).filter(|value| !value.is_empty());
            (value, Source::Environment(variable))
        }
        (None, Some((value, place))) => (Some(value), Source::File(place)),
        (None, None) => (default, Source::Default),
    };
    Row {
        name: name.to_owned(),
        value,
        source,
    }
}

fn table<'a>(rows: &[Row], looked: impl Iterator<Item = &'a Looked>) -> String {
    let mut out = String::new();
    for row in rows {
        let value = row.value.as_deref().unwrap_or("-");
        let source = match &row.source {
            Source::File(place) => format!("{}:{}", short(place.source.as_ref()), place.line),
            Source::Environment(variable) => variable.to_string(),
            Source::Default => "default".to_owned(),
        };
        let line = format!("{:<13} {value:<32} ", row.name);
        if line.chars().count() + source.chars().count() > 80 {
            let _ = writeln!(out, "{}\n{:<14}{source}", line.trim_end(), "");
        } else {
            let _ = writeln!(out, "{line}{source}");
        }
    }
    for file in looked {
        let missing = if file.exists {
            ""
        } else {
            "  (does not exist)"
        };
        let _ = writeln!(out, "{:<13} {}{missing}", "file", short(&file.path));
    }
    text::harmless(&out)
}

/// Shortens the path of a file in the current directory or below the home.
fn short(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    if let Some(rest) = here.and_then(|here| path.strip_prefix(here).ok()) {
        return rest.display().to_string();
    }
    match dirs::home_dir().and_then(|home| path.strip_prefix(home).ok()) {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}

fn json_lines(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let mut all = json!({ "setting": row.name, "value": row.value });
        let source = match &row.source {
            Source::File(place) => json!({
                "source": "file", "file": place.source, "line": place.line, "column": place.column,
            }),
            Source::Environment(variable) => {
                json!({ "source": "environment", "variable": variable })
            }
            Source::Default => json!({ "source": "default" }),
        };
        if let (Value::Object(all), Value::Object(source)) = (&mut all, source) {
            all.extend(source);
        }
        format!("{all}\n")
    };
    rows.iter().map(line).collect()
}
