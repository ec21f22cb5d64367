//! Tests of complete policies: verdicts, messages, and the places of mistakes.

use std::sync::Arc;

use jiff::Timestamp;

use super::*;

fn guard(statements: &str) -> Guard {
    let text = format!(r#"{{"Version": "2012-10-17", "Statement": {statements}}}"#);
    let policy = Policy::parse(&text).unwrap();
    let sender = ("192.0.2.7".parse().unwrap(), Timestamp::UNIX_EPOCH);
    Guard::of_user(Arc::new(policy), "123456789012", "eu-west-1", sender)
}

const TERMINATE: &str = r#"{"Effect": "Allow", "Action": "ec2:TerminateInstances",
    "Resource": "arn:aws:ec2:*:*:instance/i-1"}"#;

fn terminate(id: &str) -> Need {
    let arn = format!("arn:aws:ec2:eu-west-1:123456789012:instance/{id}");
    Need::new("ec2:TerminateInstances", arn)
}

#[test]
fn nothing_is_allowed_that_no_statement_allows() {
    let guard = guard(TERMINATE);
    assert_eq!(guard.check([terminate("i-1")]), Ok(()));
    let denial = guard.check([terminate("i-1"), terminate("i-2")]);
    assert_eq!(
        denial.unwrap_err().message(false),
        "User: arn:aws:iam::123456789012:user/autorun is not authorized to perform: \
         ec2:TerminateInstances on resource: \
         arn:aws:ec2:eu-west-1:123456789012:instance/i-2 because no identity-based policy \
         allows the ec2:TerminateInstances action"
    );
    let denial = guard.check([Need::of_action("ec2:DescribeInstances")]);
    assert!(
        denial
            .unwrap_err()
            .message(false)
            .contains("perform: ec2:DescribeInstances because no")
    );
}

#[test]
fn a_denial_is_reported_before_a_missing_permission() {
    let deny = r#"{"Effect": "Deny", "Action": "*", "Resource": "*/i-3"}"#;
    let deny = deny.replace("*/i-3", "arn:*:*:*:*:instance/i-3");
    let guard = guard(&format!("[{TERMINATE}, {deny}]"));
    let denial = guard.check([terminate("i-2"), terminate("i-3")]);
    let denial = denial.unwrap_err();
    assert!(denial.is_explicit());
    assert!(denial.message(true).ends_with(
        "on resource: \"arn:aws:ec2:eu-west-1:123456789012:instance/i-3\" with an explicit \
         deny in an identity-based policy"
    ));
}

#[test]
fn a_wildcard_does_not_match_across_the_parts_of_an_arn() {
    let allows = |pattern: &str| {
        let statement = TERMINATE.replace("arn:aws:ec2:*:*:instance/i-1", pattern);
        guard(&statement).check([terminate("i-1")]).is_ok()
    };
    assert!(allows("*"));
    assert!(allows("arn:aws:ec2:*:*:*"));
    assert!(allows("arn:aws:ec2:*"));
    assert!(allows("arn:aws:ec2:eu-*-?:123*:instance/*1"));
    assert!(!allows("arn:aws:ec2:*:instance/i-1:"));
    assert!(!allows("arn:aws:ec2:us-*:*:instance/*"));
}

/// Mistakes: the policy, the line and the column, and a part of the message.
const MISTAKES: [(&str, usize, usize, &str); 16] = [
    ("{", 1, 1, "EOF while parsing"),
    ("[]", 1, 1, "a policy is an object"),
    (
        "{\n \"Statement\": [],\n \"Statement\": []}",
        3,
        17,
        "a field is repeated",
    ),
    ("{}", 1, 1, "needs the element `Statement`"),
    (
        "{\"Version\": \"2020-01-01\", \"Statement\": []}",
        1,
        2,
        "has the version",
    ),
    ("{\"Statements\": []}", 1, 2, "unknown element `Statements`"),
    ("{\"Statement\": [7]}", 1, 16, "a statement is an object"),
    (
        "{\"Statement\": [{\"Efect\": \"Allow\"}]}",
        1,
        17,
        "unknown element `Efect`",
    ),
    (
        "{\"Statement\": {\"Effect\": \"allow\"}}",
        1,
        16,
        "`Effect` is",
    ),
    (
        "{\"Statement\": {\"Effect\": \"Allow\", \"Principal\": \"*\"}}",
        1,
        35,
        "policy of a resource",
    ),
    (
        "{\"Statement\": {\"Effect\": \"Allow\"}}",
        1,
        2,
        "`Action` or `NotAction`",
    ),
    (
        "{\"Statement\": {\"Effect\": \"Allow\", \"Action\": [\"ec2:*\",\n  \"RunInstances\"]}}",
        2,
        3,
        "`RunInstances` is not an action",
    ),
    (
        "{\"Statement\": {\"Effect\": \"Allow\", \"Action\": \"*\", \"Resource\": \"i-1\"}}",
        1,
        50,
        "`i-1` is not a resource",
    ),
    (
        "{\"Statement\": {\"Effect\": \"Deny\", \"Action\": \"*\", \"Resource\": \"*\", \"Condition\": {\n \"StringMatches\": {\"aws:username\": \"a\"}}}}",
        2,
        2,
        "the operator `StringMatches` does not exist",
    ),
    (
        "{\"Statement\": {\"Effect\": \"Deny\", \"Action\": \"*\", \"Resource\": \"*\", \"Condition\": {\"Bool\": {\"x:y\": \"}\\\"\"},\n \"StringLike\": {\"ec2:Tenancy\": \"a\"}}}}",
        1,
        89,
        "`}\"` is not a value",
    ),
    (
        "{\"Statement\": {\"Effect\": \"Deny\", \"Action\": \"*\", \"Resource\": \"*\", \"Condition\": {\"Bool\": {\"x:y\": [true]},\n \"StringLike\": {\"ü\": \"a\"}}}}",
        2,
        17,
        "cannot evaluate the condition key `ü`",
    ),
];

#[test]
fn a_mistake_is_shown_where_it_is() {
    for (text, line, column, message) in MISTAKES {
        let mistake = Policy::parse(text).unwrap_err();
        assert!(mistake.message.contains(message), "{text}\n{mistake}");
        assert_eq!(
            (mistake.line, mistake.column),
            (line, column),
            "{text}\n{mistake}"
        );
    }
}

#[test]
fn a_mistake_is_shown_with_its_line() {
    let text = "{\n  \"Statement\": {\n    \"Effect\": \"Alow\"\n  }\n}\n";
    let shown = Policy::parse(text).unwrap_err().to_string();
    let expected = "mistake in the policy at line 3, column 5\n  |\n3 |     \"Effect\": \"Alow\"\n  \
                    |     ^\n`Effect` is \"Allow\" or \"Deny\"";
    assert_eq!(shown, expected);
}
