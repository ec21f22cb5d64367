//! Conditions of a statement, evaluated as on AWS.

use std::cmp::Ordering;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::Value;

use super::Language;
use super::flaw::{Flaw, Flawed};
use super::pattern::{self, Template};
use super::values::Values;

type Result<T> = std::result::Result<T, Flaw>;

/// An operator with one key and its values. The condition holds if any of the
/// values matches.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    quantifier: Quantifier,
    negated: bool,
    if_exists: bool,
    key: String,
    test: Test,
}

/// How many values of a multivalued key must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantifier {
    One,
    All,
    Any,
}

/// The comparison of a condition and the values in the policy.
#[derive(Clone, Debug)]
enum Test {
    Text {
        ignore_case: bool,
        values: Vec<Template>,
    },
    Like(Vec<Template>),
    Arn(Vec<Template>),
    Number(Comparison, Vec<f64>),
    Date(Comparison, Vec<Timestamp>),
    Bool(Vec<bool>),
    Address(Vec<IpNet>),
    /// Whether the key is absent.
    Null(Vec<bool>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "Equals" => Self::Equal,
            "LessThan" => Self::Less,
            "LessThanEquals" => Self::LessOrEqual,
            "GreaterThan" => Self::Greater,
            "GreaterThanEquals" => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    fn holds(self, order: Option<Ordering>) -> bool {
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => order.is_some_and(Ordering::is_le),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }
}

/// Parses the conditions of a statement, all of which must hold.
pub(crate) fn parse(
    value: &Value,
    language: Language,
) -> std::result::Result<Vec<Condition>, Flawed> {
    let at = |path: &[&String], flaw: Flaw| Flawed {
        flaw,
        path: path.iter().map(|step| (*step).clone()).collect(),
    };
    let mut conditions = Vec::new();
    let operators = value.as_object();
    for (operator, keys) in operators.ok_or_else(|| at(&[], Flaw::Syntax))? {
        let keys = keys.as_object().filter(|keys| !keys.is_empty());
        for (key, values) in keys.ok_or_else(|| at(&[operator], Flaw::Syntax))? {
            let texts = texts(values).filter(|values| !values.is_empty());
            let condition = texts
                .ok_or(Flaw::Syntax)
                .and_then(|texts| Condition::parse(operator, key, &texts, language));
            let path = |flaw: Flaw| match flaw {
                Flaw::Operator(_) => at(&[operator], flaw),
                _ => at(&[operator, key], flaw),
            };
            conditions.push(condition.map_err(path)?);
        }
    }
    Ok(conditions)
}

/// Returns a string, number or boolean, or a list of them, as texts.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Bool(_) | Value::Number(_) => Some(vec![value.to_string()]),
        Value::Array(values) => values
            .iter()
            .map(|value| match value {
                Value::Array(_) => None,
                value => texts(value)?.pop(),
            })
            .collect(),
        Value::Null | Value::Object(_) => None,
    }
}

impl Condition {
    fn parse(operator: &str, key: &str, values: &[String], language: Language) -> Result<Self> {
        let unknown = || Flaw::Operator(operator.to_owned());
        let (quantifier, name) = match operator.split_once(':') {
            None => (Quantifier::One, operator),
            Some(("ForAllValues", name)) => (Quantifier::All, name),
            Some(("ForAnyValue", name)) => (Quantifier::Any, name),
            Some(_) => return Err(unknown()),
        };
        let (if_exists, name) = match name.strip_suffix("IfExists") {
            Some(name) => (true, name),
            None => (false, name),
        };
        let (negated, name) = positive(name);
        if name == "Null" && (if_exists || quantifier != Quantifier::One) {
            return Err(unknown());
        }
        let test = Test::parse(name, values, language)?;
        Ok(Self {
            quantifier,
            negated,
            if_exists,
            test: test.ok_or_else(unknown)?,
            key: language.key(key)?,
        })
    }

    /// Returns the condition key, in lower case.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Whether the condition holds for a request.
    pub(crate) fn holds(&self, context: &Values) -> bool {
        let found = context.get(&self.key);
        if let Test::Null(values) = &self.test {
            return values.contains(&found.is_empty());
        }
        let passes = |value: &String| self.test.matches(value, context) != self.negated;
        match self.quantifier {
            _ if found.is_empty() && self.if_exists => true,
            Quantifier::One if found.is_empty() => self.negated,
            Quantifier::One | Quantifier::All => found.iter().all(passes),
            Quantifier::Any => found.iter().any(passes),
        }
    }

    /// Whether the condition restricts access to fixed values of keys that AWS
    /// trusts. A policy with such a condition is not public. As on AWS, address
    /// ranges broader than /8 (IPv4) or /32 (IPv6) do not restrict access.
    pub(crate) fn restricts(&self) -> bool {
        const TRUSTED: [&str; 10] = [
            "aws:principalorgid",
            "aws:principalorgpaths",
            "aws:sourceaccount",
            "aws:sourcearn",
            "aws:sourceip",
            "aws:sourcevpc",
            "aws:sourcevpce",
            "aws:userid",
            "s3:dataaccesspointaccount",
            "s3:dataaccesspointarn",
        ];
        let certain = !self.negated && !self.if_exists && self.quantifier != Quantifier::All;
        let fixed = match &self.test {
            Test::Text { values, .. } | Test::Like(values) | Test::Arn(values) => {
                values.iter().all(Template::is_fixed)
            }
            Test::Address(nets) => nets.iter().all(|net| match net {
                IpNet::V4(net) => net.prefix_len() >= 8,
                IpNet::V6(net) => net.prefix_len() >= 32,
            }),
            _ => false,
        };
        certain && fixed && TRUSTED.contains(&self.key())
    }
}

/// Returns whether an operator is negated, and the operator without the negation.
fn positive(name: &str) -> (bool, &str) {
    match name {
        "StringNotEquals" => (true, "StringEquals"),
        "StringNotEqualsIgnoreCase" => (true, "StringEqualsIgnoreCase"),
        "StringNotLike" => (true, "StringLike"),
        "ArnNotEquals" | "ArnNotLike" => (true, "ArnLike"),
        "NumericNotEquals" => (true, "NumericEquals"),
        "DateNotEquals" => (true, "DateEquals"),
        "NotIpAddress" => (true, "IpAddress"),
        other => (false, other),
    }
}

impl Test {
    /// Parses the values for an operator. Returns `None` for an unknown operator.
    fn parse(name: &str, values: &[String], language: Language) -> Result<Option<Self>> {
        let templates = || -> Result<Vec<Template>> {
            let parsed = values.iter().map(|text| Template::parse(text, language));
            parsed.collect()
        };
        if let Some(comparison) = name.strip_prefix("Numeric").and_then(Comparison::named) {
            return Ok(Some(Self::Number(comparison, each(values, number)?)));
        }
        if let Some(comparison) = name.strip_prefix("Date").and_then(Comparison::named) {
            return Ok(Some(Self::Date(comparison, each(values, date)?)));
        }
        Ok(Some(match name {
            "StringEquals" | "StringEqualsIgnoreCase" => Self::Text {
                ignore_case: name == "StringEqualsIgnoreCase",
                values: templates()?,
            },
            "StringLike" => Self::Like(templates()?),
            "ArnEquals" | "ArnLike" => Self::Arn(templates()?),
            "Bool" => Self::Bool(each(values, truth)?),
            "Null" => Self::Null(each(values, truth)?),
            "IpAddress" => Self::Address(each(values, network)?),
            _ => return Ok(None),
        }))
    }

    /// Whether any of the policy's values matches a value of the request.
    fn matches(&self, value: &str, context: &Values) -> bool {
        match self {
            Self::Text {
                ignore_case,
                values,
            } => values.iter().any(|template| {
                template.expand(context).is_some_and(|glyphs| {
                    let wanted = pattern::literally(&glyphs);
                    match ignore_case {
                        true => wanted.to_lowercase() == value.to_lowercase(),
                        false => wanted == value,
                    }
                })
            }),
            Self::Like(values) => values.iter().any(|it| it.matches(value, context)),
            Self::Arn(values) => values
                .iter()
                .filter_map(|template| template.expand(context))
                .any(|glyphs| pattern::matches_arn(&glyphs, value)),
            Self::Number(comparison, values) => number(value).is_some_and(|value| {
                let mut values = values.iter();
                values.any(|wanted| comparison.holds(value.partial_cmp(wanted)))
            }),
            Self::Date(comparison, values) => date(value).is_some_and(|value| {
                let mut values = values.iter();
                values.any(|wanted| comparison.holds(Some(value.cmp(wanted))))
            }),
            Self::Bool(values) => truth(value).is_some_and(|value| values.contains(&value)),
            Self::Address(nets) => value
                .parse::<IpAddr>()
                .is_ok_and(|address| nets.iter().any(|net| net.contains(&address))),
            Self::Null(_) => false,
        }
    }
}

fn each<T>(values: &[String], read: fn(&str) -> Option<T>) -> Result<Vec<T>> {
    let read = values
        .iter()
        .map(|text| read(text).ok_or_else(|| Flaw::Value(text.clone())));
    read.collect()
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn truth(text: &str) -> Option<bool> {
    text.to_ascii_lowercase().parse().ok()
}

/// Parses a date in ISO 8601, with or without a time, or seconds since 1970.
fn date(text: &str) -> Option<Timestamp> {
    let seconds = || Timestamp::from_second(text.parse().ok()?).ok();
    let day = || format!("{text}T00:00:00Z").parse().ok();
    text.parse().ok().or_else(seconds).or_else(day)
}

fn network(text: &str) -> Option<IpNet> {
    let single = || Some(IpNet::from(text.parse::<IpAddr>().ok()?));
    text.parse().ok().or_else(single)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(condition: &str, values: &[(&str, &str)]) -> bool {
        let value = serde_json::from_str(condition).unwrap();
        let conditions = parse(&value, Language::ANY_KEY).unwrap();
        let mut context = Values::default();
        for (key, value) in values {
            let mut all = context.get(key).to_vec();
            all.push((*value).to_owned());
            context.set_all(key, all);
        }
        conditions.iter().all(|condition| condition.holds(&context))
    }

    /// Operator, values, a value that matches and a value that does not match.
    const CASES: [(&str, &str, &str, &str); 20] = [
        ("StringEquals", r#"["a", "b*"]"#, "b*", "bc"),
        ("StringEqualsIgnoreCase", r#""AbC""#, "aBc", "abcd"),
        ("StringLike", r#"["a*", "?b"]"#, "xb", "xxb"),
        ("StringNotEquals", r#"["a", "b"]"#, "c", "b"),
        ("StringNotEqualsIgnoreCase", r#""A""#, "b", "a"),
        ("StringNotLike", r#""a*""#, "ba", "ab"),
        ("NumericEquals", "5", "5.0", "6"),
        ("NumericNotEquals", r#""5""#, "6", "5"),
        ("NumericLessThan", r#""600000""#, "599999", "600000"),
        ("NumericLessThanEquals", "5", "5", "6"),
        ("NumericGreaterThan", "5", "6", "5"),
        ("NumericGreaterThanEquals", "5", "5", "4"),
        (
            "DateLessThan",
            r#""2026-01-01T00:00:00Z""#,
            "2025-12-31T23:59:59Z",
            "2026-01-01",
        ),
        (
            "DateGreaterThan",
            r#""2026-01-01""#,
            "1900000000",
            "2025-01-01",
        ),
        (
            "DateNotEquals",
            r#""2026-01-01""#,
            "2026-01-02",
            "2026-01-01T00:00:00Z",
        ),
        ("Bool", r#""true""#, "true", "false"),
        ("Bool", "false", "false", "true"),
        (
            "IpAddress",
            r#"["10.0.0.0/8", "192.0.2.1"]"#,
            "192.0.2.1",
            "11.0.0.1",
        ),
        (
            "NotIpAddress",
            r#""2001:db8::/32""#,
            "10.0.0.1",
            "2001:db8::1",
        ),
        (
            "ArnLike",
            r#""arn:aws:iam::*:user/*""#,
            "arn:aws:iam::123456789012:user/a",
            "arn:aws:sts::123456789012:user/a",
        ),
    ];

    #[test]
    fn each_operator_compares_as_its_name_says() {
        for (operator, values, fits, other) in CASES {
            let condition = format!(r#"{{"{operator}":{{"aws:referer":{values}}}}}"#);
            assert!(holds(&condition, &[("aws:referer", fits)]), "{operator}");
            assert!(!holds(&condition, &[("aws:referer", other)]), "{operator}");
            let negated = operator.contains("Not");
            assert_eq!(holds(&condition, &[]), negated, "{operator}: absent");
            let if_exists = condition.replacen(operator, &format!("{operator}IfExists"), 1);
            assert!(holds(&if_exists, &[]), "{operator}");
            assert!(!holds(&if_exists, &[("aws:referer", other)]), "{operator}");
        }
    }

    #[test]
    fn null_and_set_operators_handle_missing_and_multiple_values() {
        let null = |truth: &str| format!(r#"{{"Null":{{"aws:SourceVpce":{truth}}}}}"#);
        assert!(holds(&null("true"), &[]));
        assert!(!holds(&null("\"false\""), &[]));
        assert!(holds(&null("false"), &[("aws:SourceVpce", "x")]));
        let set = |operator: &str| format!(r#"{{"{operator}":{{"aws:referer":["a","b"]}}}}"#);
        let two = |second| [("aws:referer", "a"), ("aws:referer", second)];
        assert!(holds(&set("ForAllValues:StringEquals"), &two("b")));
        assert!(!holds(&set("ForAllValues:StringEquals"), &two("c")));
        assert!(holds(&set("ForAllValues:StringEquals"), &[]));
        assert!(holds(&set("ForAnyValue:StringEquals"), &two("c")));
        assert!(!holds(&set("ForAnyValue:StringEquals"), &[]));
        assert!(holds(&set("ForAnyValue:StringNotEquals"), &two("c")));
        assert!(!holds(&set("ForAnyValue:StringNotEquals"), &two("b")));
    }

    #[test]
    fn all_keys_of_all_operators_must_hold() {
        let both = r#"{"StringEquals":{"aws:referer":"a","aws:UserAgent":"b"},"Bool":{"aws:SecureTransport":"false"}}"#;
        let all = [
            ("aws:referer", "a"),
            ("aws:useragent", "b"),
            ("aws:securetransport", "false"),
        ];
        assert!(holds(both, &all));
        assert!(!holds(both, &all[..2]));
        assert!(!holds(both, &all[1..]));
    }

    #[test]
    fn invalid_conditions_are_refused() {
        for wrong in [
            r#"{"StringMatches":{"aws:referer":"a"}}"#,
            r#"{"stringequals":{"aws:referer":"a"}}"#,
            r#"{"BinaryEquals":{"aws:referer":"YQ=="}}"#,
            r#"{"ForSomeValues:StringEquals":{"aws:referer":"a"}}"#,
            r#"{"NullIfExists":{"aws:referer":"true"}}"#,
            r#"{"ForAnyValue:Null":{"aws:referer":"true"}}"#,
            r#"{"StringEquals":{"aws:referer":[]}}"#,
            r#"{"StringEquals":{"aws:referer":{}}}"#,
            r#"{"StringEquals":{"aws:referer":[["a"]]}}"#,
            r#"{"StringEquals":{"aws:referer":null}}"#,
            r#"{"StringEquals":"a"}"#,
            r#"{"StringMatches":{}}"#,
            r#"{"IpAddress":{"aws:SourceIp":"10.0.0.0/33"}}"#,
            r#"{"IpAddress":{"aws:SourceIp":"here"}}"#,
            r#"{"NumericEquals":{"s3:max-keys":"many"}}"#,
            r#"{"DateLessThan":{"aws:CurrentTime":"soon"}}"#,
            r#"{"Bool":{"aws:SecureTransport":"yes"}}"#,
            r#"{"Null":{"aws:SecureTransport":""}}"#,
            r#"{"StringEquals":{"aws:referer":"${aws:username"}}"#,
            "[]",
            "null",
        ] {
            let value = serde_json::from_str(wrong).unwrap();
            assert!(parse(&value, Language::ANY_KEY).is_err(), "{wrong}");
        }
    }
}
