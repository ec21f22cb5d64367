//! Where the credentials come from: the environment, a profile, or the machine,
//! and the roles to assume on the way. The order is the AWS CLI's.

use super::arn::check_role_arn;
use super::environment::Environment;
use super::files::{Files, Section};
use crate::error::{Error, ErrorKind, Result};
use crate::report::text;

/// The source of credentials, and the roles that they assume one after another.
#[derive(Debug, PartialEq)]
pub(super) struct Source {
    pub(super) base: Base,
    /// The profile that names the base, or that the user named.
    pub(super) profile: Option<String>,
    /// The roles, the first one to assume first.
    pub(super) roles: Vec<Role>,
}

/// The credentials to begin with.
#[derive(Debug, PartialEq)]
pub(super) enum Base {
    /// An access key in a profile or in the environment.
    Key(Key),
    /// IAM Identity Center (single sign-on).
    Sso(Sso),
    /// A session of `aws login`.
    Login(String),
    /// A command that prints credentials.
    Process(String),
    /// A token of an identity provider, for example in Kubernetes.
    WebIdentity(WebIdentity),
    /// The credentials of the container.
    Container,
    /// The credentials of the EC2 instance.
    Instance,
}

/// An access key.
#[derive(PartialEq)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
    /// When it expires, if that is known.
    pub(super) expires: Option<jiff::Timestamp>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({}, ..)", self.id)
    }
}

/// The single sign-on of a profile.
#[derive(Debug, PartialEq)]
pub(super) struct Sso {
    pub(super) account_id: String,
    pub(super) role_name: String,
    pub(super) start_url: String,
    pub(super) region: String,
    /// The `sso-session` section, if the profile names one.
    pub(super) session: Option<String>,
}

/// A role that a token gives.
#[derive(Debug, PartialEq)]
pub(super) struct WebIdentity {
    pub(super) token_file: String,
    pub(super) role_arn: String,
    pub(super) session_name: Option<String>,
}

/// A role to assume.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) external_id: Option<String>,
    pub(super) session_name: Option<String>,
    pub(super) duration_seconds: Option<i32>,
    pub(super) mfa_serial: Option<String>,
    /// The profile that names the role; `--role` has none.
    pub(super) profile: Option<String>,
}

/// The profile that the user named.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    /// The name in `--profile`, with which the environment's keys do not count.
    pub(super) given: Option<&'a str>,
    /// The name in AWS_PROFILE.
    pub(super) environment: Option<&'a str>,
}

impl Named<'_> {
    pub(super) fn name(&self) -> &str {
        self.given.or(self.environment).unwrap_or("default")
    }

    fn is_named(&self) -> bool {
        self.given.or(self.environment).is_some()
    }
}

/// Returns the key in the environment, which has precedence over all profiles
/// but the one in `--profile`.
///
/// Throws `invalid_option` if it lacks its secret, `denied` if it has expired.
pub(super) fn environment_key(environment: &Environment) -> Result<Option<Source>> {
    let Some(id) = environment.get("AWS_ACCESS_KEY_ID") else {
        return Ok(None);
    };
    let Some(secret) = environment.get("AWS_SECRET_ACCESS_KEY") else {
        return Err(
            Error::invalid("AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not")
                .hint("set both, or unset AWS_ACCESS_KEY_ID to use a profile"),
        );
    };
    let expires = environment.get("AWS_CREDENTIAL_EXPIRATION");
    let expires = expires.and_then(|time| time.parse::<jiff::Timestamp>().ok());
    if let Some(time) = expires.filter(|time| *time <= jiff::Timestamp::now()) {
        return Err(Error::new(
            ErrorKind::Denied,
            format!("the AWS credentials in the environment expired at {time}"),
        )
        .hint(
            "get new ones, for example with `aws configure export-credentials --format env`, or \
             unset AWS_ACCESS_KEY_ID to use a profile",
        ));
    }
    let token = ["AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"]
        .iter()
        .find_map(|name| environment.get(name));
    Ok(Some(Source {
        base: Base::Key(Key {
            id: id.to_owned(),
            secret: secret.to_owned(),
            token: token.map(str::to_owned),
            expires,
        }),
        profile: None,
        roles: Vec::new(),
    }))
}

/// Returns the source that the named profile, the environment's token or the
/// machine gives.
///
/// Throws `not_found` if the profile does not exist, `invalid_option` if it is
/// incomplete or wrong.
pub(super) fn source(named: Named<'_>, files: &Files, environment: &Environment) -> Result<Source> {
    let name = named.name();
    let profile = files.profiles.get(name);
    if profile.is_none() && named.is_named() {
        return Err(no_profile(name, files));
    }
    let empty = Section::new();
    let profile = profile.unwrap_or(&empty);
    if is_role(profile) {
        return role_chain(name, files, environment);
    }
    if named.given.is_none()
        && let Some(base) = environment_token(profile, environment)?
    {
        return Ok(Source {
            base,
            profile: None,
            roles: Vec::new(),
        });
    }
    let base = base(name, profile, files)?;
    Ok(Source {
        profile: (base.is_some() || named.is_named()).then(|| name.to_owned()),
        base: base.unwrap_or_else(|| machine(environment)),
        roles: Vec::new(),
    })
}

pub(super) fn no_profile(name: &str, files: &Files) -> Error {
    let error = Error::new(
        ErrorKind::NotFound,
        format!("the AWS profile `{name}` does not exist"),
    );
    if let Some(right) = files.misplaced.get(name) {
        return error.hint(format!(
            "write the header of its section as {right}: the two files name profiles differently"
        ));
    }
    let names: Vec<&str> = files.profiles.keys().map(String::as_str).collect();
    if names.is_empty() {
        let paths: Vec<String> = files
            .paths
            .iter()
            .map(|p| p.display().to_string())
            .collect();
        return error.hint(format!(
            "`aws configure --profile {}` creates it; {} have no profiles",
            shell_words::quote(name),
            paths.join(" and ")
        ));
    }
    error.hint(match text::nearest(name, names.iter().copied()) {
        Some(nearest) => format!(
            "the most similar one is `{nearest}`; your profiles are {}",
            listed(&names)
        ),
        None => format!("your profiles are {}", listed(&names)),
    })
}

/// Returns names as a list that stays readable.
fn listed(names: &[&str]) -> String {
    const MOST: usize = 12;
    let more = names.len().saturating_sub(MOST);
    let shown = names[..names.len() - more].join(", ");
    match more {
        0 => shown,
        _ => format!("{shown} and {more} more"),
    }
}

fn is_role(profile: &Section) -> bool {
    profile.contains_key("role_arn") && !profile.contains_key("web_identity_token_file")
}

/// Returns the container's credentials if there is a container, else the
/// instance's.
fn machine(environment: &Environment) -> Base {
    let uri = [
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ];
    if uri.iter().any(|name| environment.get(name).is_some()) {
        Base::Container
    } else {
        Base::Instance
    }
}

/// Follows `source_profile` from a profile with a role to the credentials.
fn role_chain(name: &str, files: &Files, environment: &Environment) -> Result<Source> {
    let mut roles = Vec::new();
    let mut visited: Vec<&str> = Vec::new();
    let mut current = name;
    loop {
        let profile = &files.profiles[current];
        visited.push(current);
        roles.insert(0, role(current, profile)?);
        let key = |key: &str| profile.get(key).filter(|value| !value.is_empty());
        let (base, owner) = match (key("source_profile"), key("credential_source")) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid(format!(
                    "the AWS profile `{current}` has both source_profile and credential_source"
                ))
                .hint("remove one of them"));
            }
            (None, None) => {
                return Err(Error::invalid(format!(
                    "the AWS profile `{current}` has a role_arn, but does not say which \
                     credentials may assume it"
                ))
                .hint(
                    "add `source_profile = NAME` with a profile that has credentials, or \
                     `credential_source = Ec2InstanceMetadata`",
                ));
            }
            (None, Some(source)) => (named_source(current, source, environment)?, current),
            (Some(next), None) => {
                let Some((next, profile)) = files.profiles.get_key_value(next) else {
                    return Err(Error::new(
                        ErrorKind::NotFound,
                        format!(
                            "the source_profile `{next}` of the AWS profile `{current}` does not \
                             exist"
                        ),
                    )
                    .hint(source_hint(next, files)));
                };
                let has_key = ["aws_access_key_id", "aws_secret_access_key"]
                    .iter()
                    .any(|key| profile.contains_key(*key));
                if is_role(profile) && !has_key {
                    if visited.contains(&next.as_str()) {
                        return Err(looped(&visited, next));
                    }
                    current = next;
                    continue;
                }
                let base = base(next, profile, files)?.ok_or_else(|| {
                    Error::invalid(format!(
                        "the source_profile `{next}` of the AWS profile `{current}` has no \
                         credentials"
                    ))
                    .hint(format!(
                        "`aws configure --profile {}` sets an access key",
                        shell_words::quote(next)
                    ))
                })?;
                (base, next.as_str())
            }
        };
        return Ok(Source {
            base,
            profile: Some(owner.to_owned()),
            roles,
        });
    }
}

fn source_hint(name: &str, files: &Files) -> String {
    no_profile(name, files).hint.clone().unwrap_or_default()
}

fn looped(visited: &[&str], next: &str) -> Error {
    Error::invalid(format!(
        "the AWS profiles {} name each other as source_profile in a circle",
        visited
            .iter()
            .chain([&next])
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(" -> ")
    ))
    .hint("let the last one name a profile that has credentials of its own")
}

fn role(name: &str, profile: &Section) -> Result<Role> {
    let arn = profile["role_arn"].clone();
    check_role_arn(&arn)
        .map_err(|e| e.while_doing(&format!("role_arn of AWS profile `{name}`")))?;
    let duration_seconds = profile
        .get("duration_seconds")
        .map(|seconds| {
            let number = seconds.parse().ok();
            number
                .filter(|seconds| (900..=43_200).contains(seconds))
                .ok_or_else(|| {
                    Error::invalid(format!(
                        "duration_seconds of the AWS profile `{name}` is `{seconds}`"
                    ))
                    .hint("use a number from 900 to 43200")
                })
        })
        .transpose()?;
    Ok(Role {
        arn,
        external_id: profile.get("external_id").cloned(),
        session_name: profile.get("role_session_name").cloned(),
        duration_seconds,
        mfa_serial: profile.get("mfa_serial").cloned(),
        profile: Some(name.to_owned()),
    })
}

/// Returns the base that `credential_source` names.
fn named_source(profile: &str, source: &str, environment: &Environment) -> Result<Base> {
    match source.to_lowercase().as_str() {
        "ec2instancemetadata" => Ok(Base::Instance),
        "ecscontainer" => Ok(Base::Container),
        "environment" => match environment_key(environment)? {
            Some(source) => Ok(source.base),
            None => Err(Error::new(
                ErrorKind::Denied,
                format!(
                    "the AWS profile `{profile}` takes its credentials from the environment, \
                     where AWS_ACCESS_KEY_ID is not set"
                ),
            )
            .hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use source_profile")),
        },
        _ => Err(Error::invalid(format!(
            "the AWS profile `{profile}` has an unknown credential_source, `{source}`"
        ))
        .hint("use Ec2InstanceMetadata, EcsContainer or Environment")),
    }
}

/// Returns the token in the environment, as Kubernetes and CI services set it.
fn environment_token(profile: &Section, environment: &Environment) -> Result<Option<Base>> {
    let Some(token_file) = environment.get("AWS_WEB_IDENTITY_TOKEN_FILE") else {
        return Ok(None);
    };
    let in_profile = |name: &str| profile.get(name).map(String::as_str);
    let Some(role_arn) = environment.get("AWS_ROLE_ARN").or(in_profile("role_arn")) else {
        return Err(
            Error::invalid("AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not")
                .hint("set AWS_ROLE_ARN to the role that the token gives"),
        );
    };
    let session_name = environment
        .get("AWS_ROLE_SESSION_NAME")
        .or(in_profile("role_session_name"));
    web_identity("AWS_ROLE_ARN", token_file, role_arn, session_name).map(Some)
}

fn web_identity(
    place: &str,
    token_file: &str,
    role_arn: &str,
    session_name: Option<&str>,
) -> Result<Base> {
    check_role_arn(role_arn).map_err(|e| e.while_doing(place))?;
    Ok(Base::WebIdentity(WebIdentity {
        token_file: token_file.to_owned(),
        role_arn: role_arn.to_owned(),
        session_name: session_name.map(str::to_owned),
    }))
}

/// Returns the credentials that a profile names itself.
fn base(name: &str, profile: &Section, files: &Files) -> Result<Option<Base>> {
    let key = |key: &str| {
        let value = profile.get(key).map(String::as_str);
        value.filter(|value| !value.is_empty())
    };
    if let Some(token_file) = key("web_identity_token_file") {
        let Some(role_arn) = key("role_arn") else {
            return Err(Error::invalid(format!(
                "the AWS profile `{name}` has web_identity_token_file, but no role_arn"
            ))
            .hint("add the role that the token gives"));
        };
        let place = format!("role_arn of AWS profile `{name}`");
        return web_identity(&place, token_file, role_arn, key("role_session_name")).map(Some);
    }
    if let Some(sso) = sso(name, profile, files)? {
        return Ok(Some(Base::Sso(sso)));
    }
    match (key("aws_access_key_id"), key("aws_secret_access_key")) {
        (Some(id), Some(secret)) => {
            return Ok(Some(Base::Key(Key {
                id: id.to_owned(),
                secret: secret.to_owned(),
                token: key("aws_session_token")
                    .or(key("aws_security_token"))
                    .map(str::to_owned),
                expires: None,
            })));
        }
        (None, None) => {}
        (id, _) => {
            let (has, lacks) = match id {
                Some(_) => ("aws_access_key_id", "aws_secret_access_key"),
                None => ("aws_secret_access_key", "aws_access_key_id"),
            };
            return Err(Error::invalid(format!(
                "the AWS profile `{name}` has {has}, but not {lacks}"
            ))
            .hint(format!(
                "`aws configure --profile {}` sets both",
                shell_words::quote(name)
            )));
        }
    }
    if let Some(session) = key("login_session") {
        return Ok(Some(Base::Login(session.to_owned())));
    }
    Ok(key("credential_process").map(|command| Base::Process(command.to_owned())))
}

/// Returns the single sign-on of a profile, complete or not at all.
fn sso(name: &str, profile: &Section, files: &Files) -> Result<Option<Sso>> {
    if !["sso_account_id", "sso_role_name"]
        .iter()
        .any(|key| profile.contains_key(*key))
    {
        return Ok(None);
    }
    let mut all = profile.clone();
    let session = profile.get("sso_session");
    if let Some(session) = session {
        let Some(section) = files.sso_sessions.get(session) else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "the AWS profile `{name}` names the sso-session `{session}`, which does not \
                     exist"
                ),
            )
            .hint(format!(
                "`aws configure sso-session` creates `[sso-session {session}]`"
            )));
        };
        for (key, value) in section {
            if profile.get(key).is_some_and(|own| own != value) {
                return Err(Error::invalid(format!(
                    "{key} of the AWS profile `{name}` differs from that of its sso-session \
                     `{session}`"
                ))
                .hint(format!("remove {key} from the profile")));
            }
            all.insert(key.clone(), value.clone());
        }
    }
    let take = |key: &str| {
        all.get(key).cloned().ok_or_else(|| {
            Error::invalid(format!(
                "the AWS profile `{name}` uses single sign-on, but has no {key}"
            ))
            .hint(format!(
                "`aws configure sso --profile {}` asks for all settings",
                shell_words::quote(name)
            ))
        })
    };
    Ok(Some(Sso {
        account_id: take("sso_account_id")?,
        role_name: take("sso_role_name")?,
        start_url: take("sso_start_url")?,
        region: take("sso_region")?,
        session: session.cloned(),
    }))
}
