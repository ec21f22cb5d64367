//! Parses a settings file. Errors have the place of the key or of the value.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::access;
use super::layers::{FileSettings, LedgerPlace, Set};
use crate::cli::args::{OnError, OrNone, TargetArgs, check_tag, parse_ttl};
use crate::cli::notify::Webhook;
use crate::cli::shared::check_url;
use crate::cli::target::endpoints_given;
use crate::clients::check_role_arn;
use crate::error::{Error, Place, Result};
use crate::playbook::diagnostic::Texts;
use crate::report::text;

/// Each setting with an example, which hints show.
pub(super) const KEYS: [(&str, &str); 12] = [
    ("region", "\"eu-central-1\""),
    ("profile", "\"dev\""),
    ("role", "\"arn:aws:iam::111122223333:role/deploy\""),
    ("endpoint_url", "\"http://localhost:9000\""),
    ("ttl", "\"2h\""),
    ("tags", "{ team = \"web\" }"),
    ("on_error", "\"destroy\""),
    ("again", "true"),
    ("notify", "\"https://hooks.example.com/T0/B0\""),
    ("log_file", "\"~/autorun.log\""),
    ("ssh_config", "\"~/.ssh/config.work\""),
    ("ledger", "\"~/ledger\""),
];

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    User,
    Playbook,
}

/// Reads and parses a file. Returns `None` if it does not exist. An error comes
/// with the text that its report quotes.
pub(super) fn load(
    path: &Path,
    owner: Owner,
    also: Option<u32>,
) -> std::result::Result<Option<FileSettings>, (Error, Texts)> {
    let text = access::read(path, also).map_err(|error| (error, Texts::new()))?;
    let Some(text) = text else { return Ok(None) };
    let file = SettingsFile {
        path,
        text: &text,
        owner,
    };
    let parsed = file.parse().map_err(|error| {
        let line = text.lines().nth(error.place.line.saturating_sub(1));
        // A URL may contain a token, and a long line would be broken.
        let quotable = line.is_some_and(|l| !l.contains("://") && l.chars().count() < 72);
        let texts = quotable.then(|| (path.display().to_string(), text.clone()));
        (error, texts.into_iter().collect())
    })?;
    Ok(Some(parsed))
}

struct SettingsFile<'a> {
    path: &'a Path,
    text: &'a str,
    owner: Owner,
}

fn unknown_key(key: &str, place: Place) -> Error {
    let error = error_at(place, format!("there is no setting `{key}`"));
    let names = KEYS.map(|(name, _)| name);
    match text::nearest(key, names) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("the settings are {}", names.join(", "))),
    }
}

fn error_at(place: Place, message: String) -> Error {
    let mut error = Error::invalid(message);
    error.place = place;
    error
}

type Value<'a> = Spanned<DeValue<'a>>;

impl SettingsFile<'_> {
    fn parse(&self) -> Result<FileSettings> {
        // Some editors write a byte order mark.
        let start = self.text.len() - self.text.trim_start_matches('\u{feff}').len();
        let table = DeTable::parse(&self.text[start..]).map_err(|e| {
            let at = e.span().map_or(0, |span| span.start) + start;
            let what = e.message().lines().next().unwrap_or_default().to_owned();
            self.error(at, format!("the settings file is not valid TOML: {what}"))
                .hint("write each setting as NAME = VALUE; texts are in double quotes")
        })?;
        let mut settings = FileSettings::default();
        for (key, value) in table.get_ref() {
            let place = self.place(key.span().start + start);
            self.read(&mut settings, key.get_ref(), value, place, start)?;
        }
        Ok(settings)
    }

    fn read(
        &self,
        settings: &mut FileSettings,
        key: &str,
        value: &Value<'_>,
        place: Place,
        start: usize,
    ) -> Result<()> {
        let at = value.span().start + start;
        let wrong = |why: String| {
            let example = KEYS.iter().find(|(name, _)| *name == key);
            let example = example.map_or("", |(_, example)| example);
            self.error(at, format!("`{key}` {why}"))
                .hint(format!("an example: {key} = {example}"))
        };
        let text = || text_of(value).map_err(wrong);
        let set = |value: String| {
            Some(Set {
                value,
                place: place.clone(),
            })
        };
        match key {
            "region" => settings.region = set(text()?),
            "profile" => settings.profile = set(text()?),
            "role" => {
                let role = text()?;
                check_role_arn(&role).map_err(|e| wrong(format!("is not usable: {e}")))?;
                settings.role = set(role);
            }
            "endpoint_url" => {
                let urls = urls_of(value).map_err(wrong)?;
                settings.endpoint_url = Some(Set { value: urls, place });
            }
            "ttl" => {
                let value =
                    parse_ttl(&text()?).map_err(|why| wrong(format!("is not a time: {why}")))?;
                settings.ttl = Some(Set { value, place });
            }
            "tags" => self
                .read_tags(settings, value, start)
                .map_err(|(at, why)| {
                    let at = at.unwrap_or(value.span().start) + start;
                    self.error(at, why)
                        .hint("an example: tags = { team = \"web\" }")
                })?,
            "on_error" => {
                let value = match text()?.as_str() {
                    "keep" => OnError::Keep,
                    "destroy" => OnError::Destroy,
                    other => return Err(wrong(format!("is `{other}`, not keep or destroy"))),
                };
                settings.on_error = Some(Set { value, place });
            }
            "again" => {
                let value = value.get_ref().as_bool();
                let value = value.ok_or_else(|| wrong("is not true or false".to_owned()))?;
                settings.again = Some(Set { value, place });
            }
            "notify" => {
                let value = match text()?.as_str() {
                    "none" => OrNone::None,
                    url => OrNone::Some(Webhook::parse(url).map_err(wrong)?),
                };
                settings.notify = Some(Set { value, place });
            }
            "log_file" => {
                let value = self.path_of(&text()?).map_err(wrong)?;
                settings.log_file = Some(Set { value, place });
            }
            "ledger" | "ssh_config" if self.owner == Owner::Playbook => {
                let message = format!("`{key}` is not valid beside a playbook");
                return Err(error_at(place, message).hint(if key == "ledger" {
                    "set it in ~/.config/autorun/config.toml: with another ledger for each \
                     playbook, `autorun runs` would not find the runs"
                } else {
                    "set it in ~/.config/autorun/config.toml, or use the option `ssh_config` of \
                     `host`"
                }));
            }
            "ssh_config" => {
                let value = match text()?.as_str() {
                    "none" => PathBuf::from("none"),
                    file => self.path_of(file).map_err(wrong)?,
                };
                settings.ssh_config = Some(Set { value, place });
            }
            "ledger" => {
                let text = text()?;
                let value = if text.contains("://") {
                    check_url(&text).map_err(|e| wrong(format!("is not usable: {e}")))?;
                    LedgerPlace::Shared(text)
                } else {
                    LedgerPlace::Directory(self.path_of(&text).map_err(wrong)?)
                };
                settings.ledger = Some(Set { value, place });
            }
            unknown => return Err(unknown_key(unknown, place)),
        }
        Ok(())
    }

    fn read_tags(
        &self,
        settings: &mut FileSettings,
        value: &Value<'_>,
        start: usize,
    ) -> std::result::Result<(), (Option<usize>, String)> {
        let Some(table) = value.get_ref().as_table() else {
            let kind = value.get_ref().type_str();
            return Err((None, format!("`tags` is of type {kind}, not a table")));
        };
        for (key, value) in table {
            let at = key.span().start;
            let text = value.get_ref().as_str().ok_or_else(|| {
                let kind = value.get_ref().type_str();
                let why = format!("the tag `{}` is of type {kind}, not a text", key.get_ref());
                (Some(value.span().start), why)
            })?;
            check_tag(key.get_ref(), text)
                .map_err(|why| (Some(at), format!("the tag `{}`: {why}", key.get_ref())))?;
            let set = Set {
                value: text.to_owned(),
                place: self.place(at + start),
            };
            settings.tags.insert(key.get_ref().to_string(), set);
        }
        Ok(())
    }

    /// Returns a path, which is relative to the directory of the settings file.
    fn path_of(&self, text: &str) -> std::result::Result<PathBuf, String> {
        if let Some(below) = text.strip_prefix("~/") {
            let home = dirs::home_dir().ok_or("begins with `~`, but HOME is not set")?;
            return Ok(home.join(below));
        }
        let directory = self.path.parent().unwrap_or(Path::new("."));
        Ok(directory.join(text))
    }

    fn error(&self, at: usize, message: String) -> Error {
        error_at(self.place(at), message)
    }

    /// Returns the place of an offset.
    fn place(&self, at: usize) -> Place {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Place {
            source: self.path.display().to_string(),
            line: before.matches('\n').count() + 1,
            column: line.trim_start_matches('\u{feff}').chars().count() + 1,
        }
    }
}

fn text_of(value: &Value<'_>) -> std::result::Result<String, String> {
    match value.get_ref() {
        DeValue::String(text) if text.trim().is_empty() => Err("is empty".to_owned()),
        DeValue::String(text) if text.trim() != text => {
            Err("begins or ends with white space".to_owned())
        }
        DeValue::String(text) if text.chars().any(char::is_control) => {
            Err("contains a control character".to_owned())
        }
        DeValue::String(text) => Ok(text.to_string()),
        other => Err(format!("is of type {}, not a text", other.type_str())),
    }
}

/// Returns the URLs of `--endpoint-url`: one, or an array.
fn urls_of(value: &Value<'_>) -> std::result::Result<Vec<String>, String> {
    let urls = match value.get_ref() {
        DeValue::Array(urls) => urls.iter().map(text_of).collect(),
        _ => text_of(value).map(|url| vec![url]),
    };
    let urls: Vec<String> = urls?;
    let arguments = TargetArgs {
        endpoint_url: urls.clone(),
        ..TargetArgs::default()
    };
    match endpoints_given(&arguments) {
        Ok(_) => Ok(urls),
        Err(why) => {
            let why = why.to_string();
            Err(format!(
                "is not valid: {}",
                why.lines().next().unwrap_or_default()
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parse(text: &str, owner: Owner) -> Result<FileSettings> {
        let path = Path::new("/srv/autorun.toml");
        SettingsFile { path, text, owner }.parse()
    }

    #[test]
    fn every_setting_is_read_as_its_example_shows() {
        for (key, example) in KEYS {
            let text = format!("{key} = {example}\n");
            parse(&text, Owner::User).unwrap_or_else(|e| panic!("{key}: {e}"));
            let beside = parse(&text, Owner::Playbook);
            assert_eq!(
                beside.is_ok(),
                !["ledger", "ssh_config"].contains(&key),
                "{key}"
            );
        }
        let text = "\u{feff}# mine\r\nttl = 'none'\r\nlog_file = \"logs/a.log\"\r\n\
                    endpoint_url = [\"ec2=http://a\", \"s3=http://b\"]\r\n\
                    [tags]\r\nteam = \"web\"\r\n";
        let read = parse(text, Owner::Playbook).unwrap();
        let ttl = read.ttl.unwrap();
        assert_eq!((ttl.value, ttl.place.line), (OrNone::None, 2));
        assert_eq!(read.log_file.unwrap().value, Path::new("/srv/logs/a.log"));
        assert_eq!(read.endpoint_url.unwrap().value.len(), 2);
        let team = &read.tags["team"];
        assert_eq!((team.value.as_str(), team.place.line), ("web", 6));
        let ttl = parse("ttl = '90m'", Owner::User).unwrap().ttl.unwrap();
        assert_eq!(ttl.value, OrNone::Some(Duration::from_secs(5400)));
    }

    #[test]
    fn an_error_has_a_place_and_a_hint() {
        let table = [
            ("regoin = 'x'", 1, 1, "no setting `regoin`", "`region`?"),
            (
                "\n[aws]\nregion = 'x'",
                2,
                2,
                "no setting `aws`",
                "the settings are region,",
            ),
            ("log-file = 'x'", 1, 1, "no setting", "`log_file`?"),
            (
                "region = 5",
                1,
                10,
                "type integer, not a text",
                "region = \"eu",
            ),
            ("region = ''", 1, 10, "is empty", "eu-central-1"),
            ("region = 'x '", 1, 10, "white space", "eu-central-1"),
            ("region = \"a\\u0007b\"", 1, 10, "control", "eu-central-1"),
            ("ttl = 2h", 1, 7, "not valid TOML", "double quotes"),
            ("tags.team = 5", 1, 13, "the tag `team`", "team"),
            ("ttl = 'soon'", 1, 7, "not a time", "ttl = \"2h\""),
            ("ttl = 7200", 1, 7, "type integer", "ttl = \"2h\""),
            ("tags = 'web'", 1, 8, "not a table", "team"),
            (
                "[tags]\nteam = 1",
                2,
                8,
                "the tag `team` is of type integer",
                "team",
            ),
            ("tags = { 'aws:x' = 'y' }", 1, 10, "reserved", "team"),
            ("on_error = 'remove'", 1, 12, "keep or destroy", "destroy"),
            ("again = 'yes'", 1, 9, "not true or false", "again = true"),
            ("notify = 'hooks'", 1, 10, "must be a URL", "https://"),
            (
                "endpoint_url = 'localhost'",
                1,
                16,
                "must begin with http",
                "http://",
            ),
            (
                "endpoint_url = ['iam=http://x']",
                1,
                16,
                "unknown service",
                "http://",
            ),
            (
                "region = \"a\"\nregion = \"b\"",
                2,
                1,
                "duplicate key",
                "NAME = VALUE",
            ),
            (
                "region = eu-central-1",
                1,
                10,
                "not valid TOML",
                "double quotes",
            ),
            ("region: \"a\"", 1, 9, "not valid TOML", "NAME = VALUE"),
        ];
        for (text, line, column, message, hint) in table {
            let error = parse(text, Owner::User).unwrap_err();
            let shown = format!("{text}: {error} {:?} {:?}", error.place, error.hint);
            assert_eq!(
                (error.place.line, error.place.column),
                (line, column),
                "{shown}"
            );
            assert!(error.to_string().contains(message), "{shown}");
            assert!(error.hint.as_ref().unwrap().contains(hint), "{shown}");
        }
    }
}
