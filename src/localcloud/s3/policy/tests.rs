//! Tests of complete policies and their verdicts.

use super::*;

const ACCOUNT: &str = "123456789012";

fn policy_of(version: &str, statement: &str) -> Result<Policy> {
    let dir = tempfile::tempdir().unwrap();
    let backend = Backend::for_tests(dir.path(), ACCOUNT);
    let text = format!(r#"{{{version}"Statement":{statement}}}"#);
    Policy::parse(&text, "b", &backend)
}

fn policy(statement: &str) -> Result<Policy> {
    policy_of(r#""Version":"2012-10-17","#, statement)
}

fn message(result: Result<Policy>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.code().as_str(), "MalformedPolicy");
    error.message().unwrap().to_owned()
}

/// Returns a statement with these fields.
fn statement(effect: &str, principal: &str, action: &str, resource: &str, more: &str) -> String {
    format!(
        r#"{{"Effect":"{effect}","Principal":{principal},"Action":"{action}","Resource":"arn:aws:s3:::b{resource}"{more}}}"#
    )
}

fn anonymous() -> Context {
    Context::for_tests(&[
        ("aws:SourceIp", "10.0.0.7"),
        ("aws:SecureTransport", "false"),
    ])
}

fn owner() -> Context {
    Context::signed_for_tests(&[
        ("aws:SourceIp", "10.0.0.7"),
        ("aws:SecureTransport", "false"),
        ("aws:username", "autorun"),
        ("s3:signatureAge", "1000"),
    ])
}

const KEY: &str = "arn:aws:s3:::b/logo.png";
const ONE_KEY: &str = r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/logo.png"}"#;

use Verdict::{Allowed, Denied, Silent};

#[test]
fn a_policy_for_one_key_allows_only_that_key() {
    let policy = policy(ONE_KEY).unwrap();
    assert!(policy.is_public());
    let verdict = |action, arn| policy.verdict(&anonymous(), action, arn);
    assert_eq!(verdict("s3:GetObject", KEY), Allowed);
    assert_eq!(verdict("s3:GetObject", "arn:aws:s3:::b/logo.pn"), Silent);
    assert_eq!(verdict("s3:PutObject", KEY), Silent);
}

#[test]
fn a_denial_takes_precedence_over_a_permission() {
    let allow = statement("Allow", r#"{"AWS":["*"]}"#, "s3:Get*", "/*", "");
    let deny = statement("Deny", r#""*""#, "S3:getobject", "/secret/?", "");
    let policy = policy(&format!("[{allow},{deny}]")).unwrap();
    for context in [anonymous(), owner()] {
        let verdict = |key: &str| {
            let arn = format!("arn:aws:s3:::b/{key}");
            policy.verdict(&context, "s3:GetObject", &arn)
        };
        assert_eq!(verdict("a/b"), Allowed);
        assert_eq!(verdict("secret/x"), Denied);
        assert_eq!(verdict("secret/ü"), Denied);
        assert_eq!(verdict("secret/xy"), Allowed);
    }
}

#[test]
fn a_denial_applies_only_if_its_conditions_hold() {
    let denied = |condition: &str| {
        let more = format!(r#","Condition":{condition}"#);
        let text = statement("Deny", r#""*""#, "s3:*", "/*", &more);
        policy(&text)
            .unwrap()
            .verdict(&owner(), "s3:GetObject", KEY)
    };
    for condition in [
        r#"{"Bool":{"aws:SecureTransport":"false"}}"#,
        r#"{"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"}}"#,
        r#"{"NotIpAddress":{"aws:SourceIp":"192.0.2.0/24"}}"#,
        r#"{"IpAddress":{"aws:SourceIp":["192.0.2.0/24","10.0.0.0/24"]}}"#,
        r#"{"StringNotEquals":{"aws:SourceVpce":"vpce-1"}}"#,
        r#"{"NumericGreaterThan":{"s3:signatureAge":"999"}}"#,
        r#"{"Null":{"aws:SourceVpce":"true"}}"#,
        r#"{"StringLike":{"aws:username":"auto*"}}"#,
        "{}",
    ] {
        assert_eq!(denied(condition), Denied, "{condition}");
    }
    for condition in [
        r#"{"Bool":{"aws:SecureTransport":"true"}}"#,
        r#"{"Bool":{"aws:MultiFactorAuthPresent":"false"}}"#,
        r#"{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/24"}}"#,
        r#"{"StringEquals":{"aws:SourceVpce":"vpce-1"}}"#,
        r#"{"NumericGreaterThan":{"s3:signatureAge":"1000"}}"#,
        r#"{"StringLike":{"aws:username":"auto"}}"#,
        r#"{"Bool":{"aws:SecureTransport":"false"},"StringEquals":{"aws:username":"x"}}"#,
    ] {
        assert_eq!(denied(condition), Silent, "{condition}");
    }
}

#[test]
fn a_statement_applies_only_to_its_principals() {
    let verdict = |effect: &str, principal: &str, context: &Context| {
        let text = statement(effect, principal, "s3:GetObject", "/*", "");
        policy(&text).unwrap().verdict(context, "s3:GetObject", KEY)
    };
    for principal in [
        r#"{"AWS":"123456789012"}"#,
        r#"{"AWS":"arn:aws:iam::123456789012:root"}"#,
        r#"{"AWS":["arn:aws:iam::123456789012:user/autorun","999999999999"]}"#,
    ] {
        assert_eq!(verdict("Deny", principal, &owner()), Denied, "{principal}");
        assert_eq!(
            verdict("Deny", principal, &anonymous()),
            Silent,
            "{principal}"
        );
    }
    for principal in [
        r#"{"AWS":"999999999999"}"#,
        r#"{"AWS":"arn:aws:iam::999999999999:role/x"}"#,
        r#"{"AWS":"arn:aws:sts::999999999999:assumed-role/x/y"}"#,
        r#"{"Service":"logging.s3.amazonaws.com"}"#,
    ] {
        for context in [owner(), anonymous()] {
            assert_eq!(verdict("Deny", principal, &context), Silent, "{principal}");
        }
    }
    for wrong in [
        r#""me""#,
        r#"["*"]"#,
        "{}",
        r#"{"AWS":[]}"#,
        r#"{"AWS":"12345"}"#,
        r#"{"AWS":"arn:aws:iam::123456789012:user/other"}"#,
        r#"{"AWS":"arn:aws:iam::123456789012:role/x"}"#,
        r#"{"AWS":"arn:aws:iam::999999999999:user/*"}"#,
        r#"{"AWS":"arn:aws:iam::999999999999:group/x"}"#,
        r#"{"Service":"*"}"#,
        r#"{"CanonicalUser":"x"}"#,
        r#"{"*":"*"}"#,
    ] {
        let text = statement("Allow", wrong, "s3:GetObject", "/*", "");
        assert_eq!(
            message(policy(&text)),
            "Invalid principal in policy",
            "{wrong}"
        );
    }
}

#[test]
fn not_principal_spares_a_user_only_together_with_its_account() {
    let denied = |principal: &str, context: &Context| {
        let text = statement("Deny", principal, "s3:GetObject", "/*", "");
        let text = text.replace("\"Principal\"", "\"NotPrincipal\"");
        policy(&text).unwrap().verdict(context, "s3:GetObject", KEY)
    };
    let user = r#"{"AWS":"arn:aws:iam::123456789012:user/autorun"}"#;
    let both = r#"{"AWS":["arn:aws:iam::123456789012:user/autorun","123456789012"]}"#;
    assert_eq!(denied(user, &owner()), Denied);
    assert_eq!(denied(both, &owner()), Silent);
    assert_eq!(denied(both, &anonymous()), Denied);
    assert_eq!(denied(r#"{"AWS":"999999999999"}"#, &owner()), Denied);
    assert_eq!(denied(r#""*""#, &owner()), Silent);
}

#[test]
fn not_action_and_not_resource_apply_to_all_others() {
    let deny = statement("Deny", r#""*""#, "s3:Get*", "/public/*", "");
    let not_action = policy(&deny.replace("\"Action\"", "\"NotAction\"")).unwrap();
    let not_resource = policy(&deny.replace("\"Resource\"", "\"NotResource\"")).unwrap();
    let public = "arn:aws:s3:::b/public/x";
    let verdict = |policy: &Policy, action, arn| policy.verdict(&owner(), action, arn);
    assert_eq!(verdict(&not_action, "s3:PutObject", public), Denied);
    assert_eq!(verdict(&not_action, "s3:GetObject", public), Silent);
    assert_eq!(verdict(&not_resource, "s3:GetObject", KEY), Denied);
    assert_eq!(verdict(&not_resource, "s3:GetObject", public), Silent);
}

#[test]
fn only_the_newer_language_has_variables() {
    let deny = statement("Deny", r#""*""#, "s3:*", "/home/${aws:username}/*", "");
    let arn = "arn:aws:s3:::b/home/autorun/x";
    let verdict = |policy: Policy, arn| policy.verdict(&owner(), "s3:GetObject", arn);
    assert_eq!(verdict(policy(&deny).unwrap(), arn), Denied);
    let literal = "arn:aws:s3:::b/home/${aws:username}/x";
    assert_eq!(verdict(policy(&deny).unwrap(), literal), Silent);
    assert_eq!(verdict(policy_of("", &deny).unwrap(), arn), Silent);
    assert_eq!(verdict(policy_of("", &deny).unwrap(), literal), Denied);
}

#[test]
fn public_policies_are_public_by_the_definition_of_aws() {
    let public = |principal: &str, condition: &str| {
        let more = format!(r#","Condition":{condition}"#);
        let text = statement("Allow", principal, "s3:GetObject", "/*", &more);
        policy(&text).unwrap().is_public()
    };
    let everyone = r#""*""#;
    for condition in [
        "{}",
        r#"{"StringLike":{"aws:Referer":"https://example.com/*"}}"#,
        r#"{"Bool":{"aws:SecureTransport":"true"}}"#,
        r#"{"IpAddress":{"aws:SourceIp":"0.0.0.0/1"}}"#,
        r#"{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#,
        r#"{"StringEqualsIfExists":{"aws:SourceVpc":"vpc-1"}}"#,
        r#"{"StringLike":{"aws:SourceVpc":"vpc-*"}}"#,
    ] {
        assert!(public(everyone, condition), "{condition}");
    }
    for condition in [
        r#"{"IpAddress":{"aws:SourceIp":"192.0.2.4/32"}}"#,
        r#"{"StringEquals":{"aws:SourceVpce":"vpce-1"}}"#,
        r#"{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}"#,
    ] {
        assert!(!public(everyone, condition), "{condition}");
    }
    assert!(!public(r#"{"AWS":"123456789012"}"#, "{}"));
    let others = ONE_KEY.replace(
        "\"Principal\":\"*\"",
        r#""NotPrincipal":{"AWS":"123456789012"}"#,
    );
    assert!(policy(&others).unwrap().is_public());
}

#[test]
fn malformed_policies_have_the_messages_of_s3() {
    let action = |action: &str| ONE_KEY.replace("s3:GetObject", action);
    for (statement, expected) in [
        (
            ONE_KEY.replace("::b/", "::other/"),
            "Policy has invalid resource",
        ),
        (
            ONE_KEY.replace("::b/", "::bb/"),
            "Policy has invalid resource",
        ),
        (
            ONE_KEY.replace("arn:aws:s3:::b/logo.png", "*"),
            "Policy has invalid resource",
        ),
        (
            ONE_KEY.replace("::b/logo.png", "::b"),
            "Action does not apply to any resource(s) in statement",
        ),
        (
            ONE_KEY.replace("\"s3:GetObject\"", r#"["s3:GetObject","s3:ListBucket"]"#),
            "Action does not apply to any resource(s) in statement",
        ),
        (action("ec2:RunInstances"), "Policy has invalid action"),
        (action("s3:GetObjekt"), "Policy has invalid action"),
        (action("s3:Fetch*"), "Policy has invalid action"),
        (ONE_KEY.replace("Allow", "Maybe"), "Invalid effect: Maybe"),
        (ONE_KEY.replace("Allow", "allow"), "Invalid effect: allow"),
        (
            ONE_KEY.replace("\"Effect\"", "\"effect\""),
            "Unknown field effect",
        ),
        (
            ONE_KEY.replace("\"Effect\"", "\"Sid\":7,\"Effect\""),
            "Invalid policy syntax.",
        ),
        (
            ONE_KEY.replace(
                "\"Effect\"",
                r#""Condition":{"StringEquals":{"s3:prefix":"a"}},"Effect""#,
            ),
            "Conditions do not apply to combination of actions and resources in statement",
        ),
        (
            ONE_KEY.replace(
                "\"Effect\"",
                r#""Condition":{"StringEquals":{"made:up":"a"}},"Effect""#,
            ),
            "Policy has an invalid condition key: the local cloud cannot evaluate made:up",
        ),
        (
            ONE_KEY
                .replace("\"Effect\"", r#""Condition":{"StringMatches":{}},"Effect""#)
                .replace("{}", r#"{"aws:referer":"a"}"#),
            "Invalid Condition type : StringMatches",
        ),
        (
            ONE_KEY.replace("\"Effect\"", r#""Effect":"Deny","Effect""#),
            "Policies must be valid JSON and the first byte must be '{'",
        ),
        (
            "[]".to_owned(),
            "Could not parse the policy: Statement is empty!",
        ),
        ("7".to_owned(), "Invalid policy syntax."),
    ] {
        assert_eq!(message(policy(&statement)), expected, "{statement}");
    }
    let version = r#""Version":"2020","#;
    assert!(message(policy_of(version, ONE_KEY)).contains("version"));
    assert_eq!(
        message(policy_of(r#""Id":7,"#, ONE_KEY)),
        "Invalid policy syntax."
    );
    assert_eq!(
        message(policy_of(r#""Name":"x","#, ONE_KEY)),
        "Unknown field Name"
    );
}
