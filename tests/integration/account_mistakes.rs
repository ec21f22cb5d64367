//! Mistakes in `~/.aws` and in the environment: each is named, with what to do.

use crate::accounts::{KEY, REGION, ROLE, SSO, SSO_LEGACY, SSO_SESSION, Variables, account};
use crate::support::Autorun;

/// A mistake in `~/.aws` or the environment, and the texts that its error must have.
struct Mistake<'a> {
    name: &'a str,
    config: String,
    credentials: &'a str,
    environment: Variables<'a>,
    profile: Option<&'a str>,
    /// Texts in the output.
    says: &'a [&'a str],
}

fn mistake<'a>(name: &'a str, config: impl Into<String>, says: &'a [&'a str]) -> Mistake<'a> {
    Mistake {
        name,
        config: config.into(),
        credentials: "",
        environment: &[],
        profile: Some("a"),
        says,
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn mistakes<'a>() -> Vec<Mistake<'a>> {
    let a = format!("[profile a]\n{REGION}");
    let role = format!("{a}{ROLE}");
    let default = format!("[default]\n{REGION}");
    let own = format!("[default]\n{KEY}");
    let own: &'a str = Box::leak(own.into_boxed_str());
    let unset = |mistake: Mistake<'a>| Mistake {
        profile: None,
        credentials: own,
        ..mistake
    };
    let login = "`aws sso login --profile a`";
    let login: &'a [&'a str] = Box::leak(Box::new([
        "the AWS profile `a` has no single sign-on session",
        login,
    ]));
    vec![
        Mistake {
            profile: Some("wrok"),
            ..mistake(
                "a profile that does not exist",
                format!("{default}[profile work]\n{REGION}"),
                &[
                    "the AWS profile `wrok` does not exist",
                    "`work`",
                    "default, work",
                ],
            )
        },
        Mistake {
            profile: None,
            environment: &[("AWS_PROFILE", "wrok")],
            ..mistake(
                "AWS_PROFILE names none",
                default.clone(),
                &["the AWS profile `wrok` does not exist"],
            )
        },
        mistake(
            "a header without `profile`",
            format!("[a]\n{REGION}{KEY}"),
            &["`a` does not exist", "`[profile a]`, not `[a]`"],
        ),
        Mistake {
            credentials: "[profile a]\naws_access_key_id = x\n",
            ..mistake(
                "a header with `profile` in credentials",
                "",
                &["`a` does not exist", "`[a]`, not `[profile a]`"],
            )
        },
        mistake(
            "no profiles at all",
            "",
            &["`a` does not exist", "aws configure --profile a"],
        ),
        mistake(
            "a profile without credentials",
            a.clone(),
            &["the AWS profile `a` has no credentials", "aws configure"],
        ),
        unset(mistake("no region", "", &["no AWS region", "--region"])),
        mistake(
            "an id without secret",
            format!("{a}aws_access_key_id = AKIA\n"),
            &[
                "has aws_access_key_id, but not aws_secret_access_key",
                "aws configure",
            ],
        ),
        mistake(
            "a secret without id",
            format!("{a}aws_secret_access_key = 0123456789\n"),
            &["has aws_secret_access_key, but not aws_access_key_id"],
        ),
        Mistake {
            environment: &[("AWS_ACCESS_KEY_ID", "AKIA")],
            ..unset(mistake(
                "an id without secret in the environment",
                default.clone(),
                &["AWS_SECRET_ACCESS_KEY is not", "unset AWS_ACCESS_KEY_ID"],
            ))
        },
        Mistake {
            environment: &[
                ("AWS_ACCESS_KEY_ID", "ASIA"),
                ("AWS_SECRET_ACCESS_KEY", "0123456789"),
                ("AWS_CREDENTIAL_EXPIRATION", "2020-01-01T00:00:00+00:00"),
            ],
            ..unset(mistake(
                "expired keys in the environment",
                default.clone(),
                &["expired at 2020-01-01T00:00:00Z"],
            ))
        },
        unset(mistake(
            "a line without `=`",
            "[default]\nregion eu-central-1\n",
            &["/.aws/config:2: the line has no `=`"],
        )),
        unset(mistake(
            "a header without `]`",
            "[default\n",
            &["/.aws/config:1: the header of the section has no `]`"],
        )),
        unset(mistake(
            "a line without a section",
            "region = eu-central-1\n",
            &["/.aws/config:1: the line belongs to no section"],
        )),
        mistake(
            "a source_profile that does not exist",
            format!("{role}source_profile = b\n"),
            &["source_profile `b` of the AWS profile `a` does not exist"],
        ),
        mistake(
            "source profiles in a circle",
            format!("{role}source_profile = b\n[profile b]\n{ROLE}source_profile = a\n"),
            &["in a circle", "`a` -> `b` -> `a`"],
        ),
        mistake(
            "a role that is its own source",
            format!("{role}source_profile = a\n"),
            &["in a circle", "`a` -> `a`"],
        ),
        mistake(
            "a source_profile without credentials",
            format!("{role}source_profile = b\n[profile b]\n{REGION}"),
            &["source_profile `b` of the AWS profile `a` has no credentials"],
        ),
        mistake(
            "a role without a source",
            role.clone(),
            &[
                "does not say which credentials may assume it",
                "source_profile = NAME",
            ],
        ),
        mistake(
            "a role with two sources",
            format!("{role}source_profile = b\ncredential_source = Environment\n"),
            &["has both source_profile and credential_source"],
        ),
        mistake(
            "an unknown credential_source",
            format!("{role}credential_source = Vault\n"),
            &["unknown credential_source, `Vault`", "Ec2InstanceMetadata"],
        ),
        mistake(
            "an environment without keys as source",
            format!("{role}credential_source = Environment\n"),
            &["AWS_ACCESS_KEY_ID is not set"],
        ),
        mistake(
            "an instance as source elsewhere",
            format!("{role}credential_source = Ec2InstanceMetadata\n"),
            &[
                "takes its credentials from the EC2 instance",
                "instance profile",
            ],
        ),
        mistake(
            "a container as source elsewhere",
            format!("{role}credential_source = EcsContainer\n"),
            &["the container's AWS credentials cannot be read"],
        ),
        mistake(
            "a role_arn without an ARN",
            format!("{a}role_arn = deploy\nsource_profile = a\n{KEY}"),
            &["role_arn of AWS profile `a`: `deploy` is not an ARN"],
        ),
        mistake(
            "a duration in hours",
            format!("{role}{KEY}source_profile = a\nduration_seconds = 1h\n"),
            &[
                "duration_seconds of the AWS profile `a` is `1h`",
                "900 to 43200",
            ],
        ),
        mistake(
            "a process that fails",
            format!("{a}credential_process = sh -c 'echo locked >&2; exit 3'\n"),
            &[
                "credential_process of the AWS profile `a` failed",
                "3",
                "locked",
            ],
        ),
        mistake(
            "a process that prints something else",
            format!("{a}credential_process = echo garbage\n"),
            &["did not print JSON", "run the command by hand"],
        ),
        mistake(
            "a process that prints nothing",
            format!("{a}credential_process = true\n"),
            &["printed nothing"],
        ),
        mistake(
            "a process of another version",
            format!("{a}credential_process = echo '{{\"Version\": 2}}'\n"),
            &["another `Version` than 1"],
        ),
        mistake(
            "a process without secret",
            format!("{a}credential_process = echo '{{\"Version\": 1, \"AccessKeyId\": \"A\"}}'\n"),
            &["printed no `SecretAccessKey`"],
        ),
        mistake(
            "a process with expired keys",
            format!(
                "{a}credential_process = echo '{{\"Version\": 1, \"Expiration\": \
                 \"2020-01-01T00:00:00Z\"}}'\n"
            ),
            &["printed credentials that expired at 2020-01-01T00:00:00Z"],
        ),
        mistake(
            "a process that does not exist",
            format!("{a}credential_process = nosuchprogram --x\n"),
            &[
                "credential_process of the AWS profile `a` failed",
                "not found",
            ],
        ),
        mistake(
            "no session of single sign-on",
            format!("{a}{SSO}sso_session = corp\n{SSO_SESSION}"),
            login,
        ),
        mistake(
            "no session of single sign-on without an sso-session section",
            format!("{a}{SSO}{SSO_LEGACY}"),
            login,
        ),
        Mistake {
            profile: Some("b"),
            ..mistake(
                "single sign-on as the source of a role",
                format!("{a}{SSO}{SSO_LEGACY}[profile b]\n{REGION}{ROLE}source_profile = a\n"),
                login,
            )
        },
        mistake(
            "an sso-session that does not exist",
            format!("{a}{SSO}sso_session = corq\n{SSO_SESSION}"),
            &["names the sso-session `corq`, which does not exist"],
        ),
        mistake(
            "single sign-on without a role",
            format!("{a}sso_session = corp\nsso_account_id = 111122223333\n{SSO_SESSION}"),
            &["uses single sign-on, but has no sso_role_name"],
        ),
        mistake(
            "single sign-on in two regions",
            format!("{a}{SSO}sso_session = corp\nsso_region = us-east-1\n{SSO_SESSION}"),
            &["sso_region of the AWS profile `a` differs"],
        ),
        mistake(
            "no session of aws login",
            format!("{a}login_session = arn:aws:iam::111122223333:user/me\n"),
            &["has no session of `aws login`", "`aws login --profile a`"],
        ),
        mistake(
            "a token file that does not exist",
            format!("{role}web_identity_token_file = /nonexistent/token\n"),
            &["cannot read the token `/nonexistent/token`"],
        ),
        mistake(
            "a token without a role",
            format!("{a}web_identity_token_file = /nonexistent/token\n"),
            &["has web_identity_token_file, but no role_arn"],
        ),
        Mistake {
            environment: &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token")],
            ..unset(mistake(
                "a token without a role in the environment",
                default.clone(),
                &["AWS_ROLE_ARN is not"],
            ))
        },
        Mistake {
            environment: &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/")],
            credentials: "",
            ..unset(mistake(
                "a container that does not answer",
                default.clone(),
                &["the container's AWS credentials cannot be read"],
            ))
        },
        Mistake {
            environment: &[("AWS_CA_BUNDLE", "/nonexistent/ca.pem")],
            ..unset(mistake(
                "a CA bundle that does not exist",
                default.clone(),
                &[
                    "cannot read the CA bundle `/nonexistent/ca.pem`",
                    "AWS_CA_BUNDLE",
                ],
            ))
        },
        unset(mistake(
            "a CA bundle without certificates",
            format!("{default}ca_bundle = /etc/hostname\n"),
            &["the CA bundle `/etc/hostname` has no certificates"],
        )),
    ]
}

/// The table was made by running the AWS CLI on each row; it fails on all of
/// them too, except where autorun is stricter on purpose.
#[test]
fn every_mistake_in_the_files_is_named_with_what_to_do() {
    for row in mistakes() {
        let mut autorun = account(&row.config, row.credentials)
            // Nothing listens there, and nothing must be sent.
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
        for (name, value) in row.environment {
            autorun = autorun.env(name, value);
        }
        if let Some(profile) = row.profile {
            autorun = autorun.args(["--profile", profile]);
        }
        let ended = autorun.run().exits(1);
        let messages = ended.messages();
        let name = row.name;
        for part in row.says.iter().chain(&["hint: "]) {
            assert!(
                messages.contains(part),
                "{name}: no `{part}` in\n{messages}"
            );
        }
        for part in ["Error {", "SdkError", "ProviderError", "127.0.0.1:1"] {
            let expected = name == "a container that does not answer";
            assert!(expected || !messages.contains(part), "{name}: {messages}");
        }
    }
}

/// Also by the commands that need no credentials: the region is from the profile.
#[test]
fn a_command_without_requests_names_a_profile_that_does_not_exist() {
    let playbook = "playbooks/run_newwebserver.rhai";
    for command in [["plan", "--offline"].as_slice(), &["policy"]] {
        let autorun = Autorun::new().args(command).args([playbook]);
        let ended = autorun.args(["--profile", "a"]).run().exits(2);
        let messages = ended.messages();
        assert!(messages.contains("`a` does not exist"), "{messages}");
    }
}
