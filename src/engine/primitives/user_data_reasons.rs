//! Why cloud-init failed, or what it left out: read from the files that it leaves
//! on the instance.

use serde_json::Value;

use super::user_data::NEXT_FILE;
use crate::report::text;

/// The longest reason that is shown.
const SHOWN: usize = 300;

/// What cloud-init recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reasons {
    /// Its errors. Versions before 23.4 exit with 1 because of them, newer ones too.
    pub(super) errors: Vec<String>,
    /// Its recoverable errors, each with its level, such as `WARNING: ..`.
    pub(super) recoverable: Vec<String>,
}

impl Reasons {
    /// Reads the output of the wait: the program's own output, `status.json`,
    /// `result.json` and the warnings in the log.
    pub(super) fn of(printed: &str) -> Self {
        let mut files = printed.split(NEXT_FILE).skip(1);
        let mut json = || {
            let file = files.next().unwrap_or_default();
            serde_json::from_str::<Value>(file).unwrap_or_default()["v1"].take()
        };
        let (status, result) = (json(), json());
        let log = files.next().unwrap_or_default();
        let stages: Vec<&Value> = status
            .as_object()
            .into_iter()
            .flat_map(|v| v.values())
            .collect();
        let mut errors: Vec<String> = stages.iter().flat_map(|s| texts(&s["errors"])).collect();
        if errors.is_empty() {
            errors = texts(&result["errors"]);
        }
        let records_warnings = stages
            .iter()
            .any(|stage| stage["recoverable_errors"].is_object());
        let recoverable = if records_warnings {
            stages.iter().flat_map(|stage| recorded(stage)).collect()
        } else {
            logged(log)
        };
        Self {
            errors: without_repeats(errors),
            recoverable: without_repeats(recoverable),
        }
    }

    /// Returns the lines of a message about the errors, each indented.
    pub(super) fn lines(reasons: &[String]) -> String {
        let lines = reasons.iter().map(|reason| {
            let one = readable(reason).unwrap_or_else(|| reason.clone());
            let one = one.split_whitespace().collect::<Vec<_>>().join(" ");
            let one: String = text::harmless(&one).chars().take(SHOWN).collect();
            format!("\n  {one}")
        });
        lines.collect()
    }
}

/// Reads an error such as `('scripts-user', RuntimeError('text'))`.
fn readable(error: &str) -> Option<String> {
    let inner = error.strip_prefix("('")?.strip_suffix("))")?;
    let (module, exception) = inner.split_once("', ")?;
    let (_, text) = exception.split_once('(')?;
    Some(format!("{module}: {}", text.trim_matches(['\'', '"'])))
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn recorded(stage: &Value) -> Vec<String> {
    let levels = stage["recoverable_errors"]
        .as_object()
        .into_iter()
        .flatten();
    levels
        .flat_map(|(level, list)| {
            texts(list)
                .into_iter()
                .map(move |one| format!("{level}: {one}"))
        })
        .collect()
}

/// Reads log lines such as `2026-01-31 12:00:00,123 - util.py[WARNING]: text`.
fn logged(log: &str) -> Vec<String> {
    let lines = log.lines().filter_map(|line| {
        let (_, rest) = line.split_once('[')?;
        let (level, text) = rest.split_once("]: ")?;
        Some(format!("{level}: {text}"))
    });
    lines.collect()
}

fn without_repeats(mut all: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    all.retain(|one| seen.insert(one.clone()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-11-29 19:55:47,608 - util.py[WARNING]: Failed loading yaml blob\n\
        2026-11-29 19:55:48,456 - util.py[WARNING]: Failed loading yaml blob\n";

    fn of(status: &str, result: &str, log: &str) -> Reasons {
        Reasons::of(&format!("status: done\n\x1e{status}\x1e{result}\x1e{log}"))
    }

    #[test]
    fn versions_before_23_4_have_their_warnings_in_the_log() {
        let stages = r#"{"v1": {"datasource": null, "stage": null,
            "modules-final": {"errors": ["('scripts-user', ..)"], "start": 1.0}}}"#;
        let reasons = of(stages, "", LOG);
        assert_eq!(reasons.errors, ["('scripts-user', ..)"]);
        assert_eq!(reasons.recoverable, ["WARNING: Failed loading yaml blob"]);
        let result = r#"{"v1": {"datasource": "DataSourceEc2Local", "errors": ["x"]}}"#;
        assert_eq!(of("", result, "").errors, ["x"]);
        // A module in several stages fails in each.
        let twice = r#"{"v1": {"init": {"errors": ["y"]}, "modules-config": {"errors": ["y"]}}}"#;
        assert_eq!(of(twice, "", "").errors, ["y"]);
    }

    #[test]
    fn newer_versions_record_them() {
        let stages = r#"{"v1": {"datasource": "ec2",
            "init": {"errors": [], "recoverable_errors": {"WARNING": ["a\n b", "a"], "DEPRECATED": ["c"]}},
            "modules-final": {"errors": [], "recoverable_errors": {}}}}"#;
        let reasons = of(stages, "", LOG);
        assert!(reasons.errors.is_empty());
        let expected = ["WARNING: a\n b", "WARNING: a", "DEPRECATED: c"];
        assert_eq!(reasons.recoverable, expected);
        assert_eq!(
            Reasons::lines(&reasons.recoverable[..1]),
            "\n  WARNING: a b"
        );
    }

    #[test]
    fn errors_of_modules_are_readable() {
        let error = "('scripts-user', RuntimeError('Runparts: 1 failures (part-001) in 1 attempted commands'))";
        let lines = Reasons::lines(&[error.to_owned(), "other".to_owned()]);
        let expected =
            "\n  scripts-user: Runparts: 1 failures (part-001) in 1 attempted commands\n  other";
        assert_eq!(lines, expected);
    }

    #[test]
    fn missing_files_contain_nothing() {
        assert_eq!(of("", "", ""), Reasons::default());
        assert_eq!(Reasons::of("status: done\n"), Reasons::default());
    }
}
