//! Conversion of script values to checked Rust structs. The errors name the key.

use rhai::{Dynamic, NativeCallContext};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::value::Script;
use crate::error::{Error, Result};

/// Converts the options map of a call to a struct (`deny_unknown_fields`). A misspelt
/// key, a wrong type or a missing key is an error that names the key.
pub fn options<T: DeserializeOwned>(call: &NativeCallContext, map: rhai::Map) -> Result<T> {
    options_of(call.fn_name(), map)
}

/// Like [`options`], for a map that was not passed by a call.
pub fn options_of<T: DeserializeOwned>(function: &str, map: rhai::Map) -> Result<T> {
    T::deserialize(Script::Map(map)).map_err(|fault| fault.in_options_of(function))
}

/// Converts one argument. The error names it.
pub fn argument<T: DeserializeOwned>(name: &str, value: &Dynamic) -> Result<T> {
    T::deserialize(Script::from(value)).map_err(|fault| {
        let error = fault.in_value();
        error.while_doing(&format!("argument `{name}`"))
    })
}

/// Converts a script value to JSON. Functions and timestamps are errors.
pub fn to_json(value: &Dynamic) -> Result<Value> {
    Value::deserialize(Script::from(value)).map_err(|fault| fault.in_value())
}

/// Converts a result to a script value.
pub fn to_dynamic<T: Serialize>(value: &T) -> Result<Dynamic> {
    rhai::serde::to_dynamic(value)
        .map_err(|e| Error::internal(format!("cannot convert the result for the playbook: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Launch {
        image: String,
        tags: BTreeMap<String, String>,
        ingress: Vec<Rule>,
        wait: bool,
        timeout: f64,
        count: Option<i32>,
        demand: Option<Demand>,
        any: Option<Value>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Rule {
        port: u16,
        from: Option<String>,
    }

    #[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Demand {
        FirstUse,
        Strict,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    fn map(script: &str) -> rhai::Map {
        rhai::Engine::new().eval(script).unwrap()
    }

    fn fault(script: &str) -> (String, Option<String>) {
        let error = options_of::<Launch>("launch", map(script)).unwrap_err();
        (error.to_string(), error.hint.clone())
    }

    fn message(script: &str) -> String {
        fault(script).0
    }

    #[test]
    fn valid_options_are_read() {
        let read: Launch = options_of(
            "launch",
            map(
                r#"#{ image: "a", wait: true, timeout: 5, count: (), demand: "strict",
                  any: [1, #{ a: 'c' }], ingress: [#{ port: 22, from: () }] }"#,
            ),
        )
        .unwrap();
        assert!((read.timeout - 5.0).abs() < f64::EPSILON);
        assert_eq!(read.count, None);
        assert_eq!(read.demand, Some(Demand::Strict));
        assert_eq!(read.any, Some(serde_json::json!([1, { "a": "c" }])));
        assert_eq!(
            read.ingress,
            [Rule {
                port: 22,
                from: None
            }]
        );
    }

    #[test]
    fn unknown_and_missing_keys_name_the_nearest() {
        let hint = |text: &str| Some(text.to_owned());
        assert_eq!(
            fault("#{ imgae: 1 }"),
            (
                "`launch` has no option `imgae`".to_owned(),
                hint("did you mean `image`?")
            )
        );
        assert_eq!(
            fault("#{ ingress: [#{ port: 1 }, #{ frm: 1, port: 2 }] }"),
            (
                "`launch` has no option `ingress[1].frm`".to_owned(),
                hint("did you mean `from`?")
            )
        );
        let (shown, valid) = fault(r#"#{ "unknown field `x`, expected": 1 }"#);
        assert_eq!(
            shown,
            r#"`launch` has no option `["unknown field `x`, expected"]`"#
        );
        assert!(valid.unwrap().starts_with("valid options: image, tags"));
        assert_eq!(
            message("#{ ingress: [#{}] }"),
            "`launch` requires the option `ingress[0].port`"
        );
        let error = options_of::<Nothing>("nothing", map("#{ x: 1 }")).unwrap_err();
        assert_eq!(error.hint, hint("it has no options"));
    }

    #[test]
    fn errors_of_wrong_types_name_the_value() {
        let faults = [
            (
                "#{ tags: #{ Name: 1 } }",
                "tags.Name",
                "integer `1`",
                "a string",
            ),
            ("#{ ingress: #{} }", "ingress", "map", "an array"),
            ("#{ ingress: [[]] }", "ingress[0]", "array", "a map"),
            ("#{ image: () }", "image", "()", "a string"),
            ("#{ image: || 1 }", "image", "function", "a string"),
            ("#{ image: timestamp() }", "image", "timestamp", "a string"),
            ("#{ image: blob(2) }", "image", "blob", "a string"),
            ("#{ image: 1.0 }", "image", "float `1.0`", "a string"),
            ("#{ wait: 'c' }", "wait", "character 'c'", "true or false"),
            ("#{ wait: 0 }", "wait", "integer `0`", "true or false"),
            ("#{ timeout: true }", "timeout", "bool `true`", "a number"),
            ("#{ demand: 3 }", "demand", "integer `3`", "a string"),
            (
                r#"#{ ingress: [#{ port: 1 }, #{ port: "null.example.com" }] }"#,
                "ingress[1].port",
                r#"string "null.example.com""#,
                "an integer from 0 to 65535",
            ),
            (
                r#"#{ ingress: [#{ port: "a sequence, expected `floating point`" }] }"#,
                "ingress[0].port",
                r#"string "a sequence, expected `floating point`""#,
                "an integer from 0 to 65535",
            ),
            (
                r#"#{ tags: #{ "a.b": 1.5 } }"#,
                r#"tags["a.b"]"#,
                "float `1.5`",
                "a string",
            ),
        ];
        for (script, path, seen, wanted) in faults {
            let expected = format!("option `{path}`: invalid type: {seen}, expected {wanted}");
            assert_eq!(message(script), expected, "{script}");
        }
    }

    #[test]
    fn errors_of_wrong_values_name_the_allowed_values() {
        assert_eq!(
            message("#{ ingress: [#{ port: 70000 }] }"),
            "option `ingress[0].port`: invalid value: integer `70000`, expected an integer \
             from 0 to 65535"
        );
        assert_eq!(
            message("#{ count: 99999999999 }"),
            "option `count`: invalid value: integer `99999999999`, expected an integer from \
             -2147483648 to 2147483647"
        );
        assert_eq!(
            message(r#"#{ demand: "lax" }"#),
            r#"option `demand`: unknown value "lax", expected "first_use" or "strict""#
        );
        assert_eq!(
            message("#{ any: #{ f: [|| 1] } }"),
            "option `any.f[0]`: a function cannot be used here"
        );
    }

    #[test]
    fn an_argument_is_named() {
        let argued = |value: Dynamic| argument::<Rule>("rule", &value).unwrap_err().to_string();
        assert_eq!(
            argued(rhai::Array::new().into()),
            "argument `rule`: invalid type: array, expected a map"
        );
        assert_eq!(
            argued(map(r#"#{ port: "x" }"#).into()),
            "argument `rule`: field `port`: invalid type: string \"x\", expected an integer \
             from 0 to 65535"
        );
    }

    #[test]
    fn functions_cannot_be_converted_to_json() {
        let value: Dynamic = map("#{ a: [1, || 2] }").into();
        assert_eq!(
            to_json(&value).unwrap_err().to_string(),
            "field `a[1]`: a function cannot be used here"
        );
        let value: Dynamic = map("#{ a: [1, (), 0.5, 'c'] }").into();
        assert_eq!(
            to_json(&value).unwrap(),
            serde_json::json!({ "a": [1, null, 0.5, "c"] })
        );
    }
}
