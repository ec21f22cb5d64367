//! Tests of the precedence, the types and the errors of variables.

use serde_json::Value;

use super::file::read_file;
use super::settle::{Given, settle};
use crate::error::Place;
use crate::ledger::SecretSource;
use crate::playbook::{Declared, Kind};
use crate::report::Mask;

fn declared(name: &str, kind: Kind, default: Option<Value>) -> Declared {
    Declared {
        name: name.to_owned(),
        kind,
        default,
        choices: None,
        pattern: None,
        secret: false,
        help: String::new(),
        place: Place::default(),
    }
}

fn set(d: Declared, set: &[&str]) -> std::result::Result<Value, String> {
    let name = d.name.clone();
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    let given = Given {
        set: &set,
        directory: "/".into(),
        ..Given::default()
    };
    settle(&[d], &given, &Mask::default())
        .map(|settled| settled.values[&name].clone())
        .map_err(|faults| faults[0].to_string())
}

#[test]
fn false_is_false() {
    let flag = || declared("flag", Kind::Bool, Some(true.into()));
    assert_eq!(set(flag(), &["flag=false"]), Ok(Value::Bool(false)));
    assert_eq!(set(flag(), &[]), Ok(Value::Bool(true)));
    assert_eq!(
        set(flag(), &["flag=no"]),
        Err("variable `flag`: `no` is not of type bool".to_owned())
    );
}

#[test]
fn arrays_are_lists_or_json() {
    let hosts = || declared("hosts", Kind::Array, None);
    assert_eq!(
        set(hosts(), &["hosts=a, b"]),
        Ok(serde_json::json!(["a", "b"]))
    );
    assert_eq!(set(hosts(), &["hosts=[1]"]), Ok(serde_json::json!([1])));
    assert_eq!(
        set(hosts(), &[]),
        Err("variable `hosts` must be set".to_owned())
    );
}

#[test]
fn an_undeclared_name_offers_the_nearest() {
    let given = Given {
        set: &["nmae=x".to_owned()],
        ..Given::default()
    };
    let name = declared("name", Kind::String, Some("web".into()));
    let faults = settle(&[name], &given, &Mask::default()).unwrap_err();
    assert_eq!(faults[0].hint.as_deref(), Some("did you mean `name`?"));
}

#[test]
fn the_command_line_precedes_files_and_files_precede_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vars.json");
    std::fs::write(&file, r#"{ "a": "file", "b": "file" }"#).unwrap();
    let given = Given {
        set: &["a=set".to_owned()],
        files: read_file(&file).unwrap(),
        environment: ["a", "b", "c"]
            .map(|n| (n.to_owned(), "env".to_owned()))
            .into(),
        ..Given::default()
    };
    let all = ["a", "b", "c"].map(|n| declared(n, Kind::String, Some("default".into())));
    let values = settle(&all, &given, &Mask::default()).unwrap().values;
    assert_eq!(
        (&values["a"], &values["b"], &values["c"]),
        (&"set".into(), &"file".into(), &"env".into())
    );
}

#[test]
fn a_literal_secret_is_masked_and_causes_a_warning() {
    let mut token = declared("token", Kind::String, None);
    token.secret = true;
    let given = Given {
        set: &["token=hunter22".to_owned()],
        ..Given::default()
    };
    let mask = Mask::default();
    let settled = settle(&[token], &given, &mask).unwrap();
    assert_eq!(settled.warnings.len(), 1);
    for way in [
        "token=@FILE",
        "token=cmd:COMMAND",
        "AUTORUN_VAR_token",
        "asked",
    ] {
        assert!(settled.warnings[0].contains(way), "{}", settled.warnings[0]);
    }
    assert_eq!(mask.apply("it is hunter22"), "it is ****");
}

fn secret(kind: Kind, default: Option<Value>) -> Declared {
    Declared {
        secret: true,
        ..declared("pw", kind, default)
    }
}

#[test]
fn a_short_secret_is_refused_and_not_shown() {
    for (kind, given) in [
        (Kind::String, "abc12"),
        (Kind::String, "  abc12   "),
        (Kind::String, ""),
        (Kind::String, "cmd:echo abc12"),
        (Kind::Int, "12345"),
        (Kind::Array, "long-enough,abc12"),
        (Kind::Map, r#"{"a": {"b": "abc12"}}"#),
    ] {
        let fault = set(secret(kind, None), &[&format!("pw={given}")]).unwrap_err();
        assert!(
            fault.contains("fewer than 6 characters"),
            "{given}: {fault}"
        );
        assert!(fault.contains("`pw") && !fault.contains("abc12"), "{fault}");
    }
    for (kind, given) in [
        (Kind::String, "hunter"),
        (Kind::Int, "123456"),
        (Kind::Array, "hunter,hunter2"),
        (Kind::Map, r#"{"a": true, "b": "hunter2"}"#),
    ] {
        assert!(
            set(secret(kind, None), &[&format!("pw={given}")]).is_ok(),
            "{given}"
        );
    }
    let none = secret(Kind::String, Some("".into()));
    assert_eq!(set(none.clone(), &[]), Ok("".into()));
    assert_eq!(set(none, &["pw="]), Ok("".into()));
}

#[test]
fn a_value_is_read_from_its_source() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "in a file\n").unwrap();
    for (given, value, source) in [
        ("hunter22", "hunter22", None),
        ("@@at-home", "@at-home", None),
        ("cmd::list", "cmd:list", None),
        (
            "@file",
            "in a file",
            Some(SecretSource::File(dir.path().join("file"))),
        ),
        (
            "cmd:cat file | tr a-z A-Z",
            "IN A FILE",
            Some(SecretSource::Command("cat file | tr a-z A-Z".to_owned())),
        ),
    ] {
        let set = [format!("pw={given}")];
        let given = Given {
            set: &set,
            directory: dir.path().to_owned(),
            ..Given::default()
        };
        let settled = settle(&[secret(Kind::String, None)], &given, &Mask::default()).unwrap();
        assert_eq!(settled.values["pw"], value, "{set:?}");
        assert_eq!(settled.sources.get("pw"), source.as_ref(), "{set:?}");
    }
}

#[test]
fn no_command_is_run_if_another_value_is_invalid() {
    let dir = tempfile::tempdir().unwrap();
    let set = [
        "pw=cmd:touch ran; echo hunter22",
        "no=cmd:touch ran",
        "pw=hunter23",
    ];
    let given = Given {
        set: &set.map(str::to_owned),
        directory: dir.path().to_owned(),
        ..Given::default()
    };
    assert!(settle(&[secret(Kind::String, None)], &given, &Mask::default()).is_err());
    assert!(!dir.path().join("ran").exists());
}

#[test]
fn sources_of_an_earlier_attempt_are_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vars.toml");
    std::fs::write(&file, "pw = 'from a file'\n").unwrap();
    for (source, value) in [
        (
            SecretSource::Command("echo again-and-again".to_owned()),
            "again-and-again",
        ),
        (SecretSource::Variables(file.clone()), "from a file"),
        (SecretSource::File(file.clone()), "pw = 'from a file'"),
    ] {
        let given = Given {
            remembered: [("pw".to_owned(), source.clone())].into(),
            directory: dir.path().to_owned(),
            ..Given::default()
        };
        let all = [secret(Kind::String, None)];
        let settled = settle(&all, &given, &Mask::default()).unwrap();
        assert_eq!(settled.values["pw"], value);
        assert_eq!(settled.sources["pw"], source);
    }
}

#[test]
fn errors_do_not_repeat_possible_secrets() {
    let given = Given {
        set: &["hunter22".to_owned()],
        ..Given::default()
    };
    let pw = || secret(Kind::String, Some("".into()));
    let faults = settle(&[pw()], &given, &Mask::default()).unwrap_err();
    assert_eq!(faults[0].to_string(), "`--set` has no `=`");
    let chosen = Declared {
        choices: Some(vec!["correct horse".into()]),
        ..pw()
    };
    let given = Given {
        set: &["pw=battery staple".to_owned()],
        ..Given::default()
    };
    let mask = Mask::default();
    let faults = settle(&[chosen], &given, &mask).unwrap_err();
    let shown = format!("{faults:?}");
    assert!(
        !shown.contains("correct horse") && !shown.contains("battery"),
        "{shown}"
    );
    assert!(mask.finds_in("correct horse") && mask.finds_in("battery staple"));
}
