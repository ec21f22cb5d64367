//! Sessions of roles that need the code of a multi-factor device.
//!
//! A code can be used once, and a person does not like to type one for each
//! command. So sessions are kept where the AWS CLI keeps them, in the CLI's
//! format: a session that `aws` started is used here, and the other way round.
//! Within this process, one code serves all runs that `destroy` removes.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::SystemTime;

use aws_sdk_ec2::config::Credentials;
use ring::digest;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use super::source::Role;
use super::{AskCode, Environment, lasts};
use crate::error::{Error, ErrorKind, Result};

/// The sessions of this process, by the name of their file. The lock is held
/// during a question, so that two runs do not ask at the same time.
static KNOWN: LazyLock<Mutex<HashMap<String, Session>>> = LazyLock::new(Mutex::default);

/// A session for which a code was asked.
#[derive(Debug)]
struct Session {
    /// The credentials, if STS accepted the code.
    credentials: Option<Credentials>,
}

/// The sessions of one role.
pub(super) struct Sessions {
    known: MutexGuard<'static, HashMap<String, Session>>,
    key: String,
    file: PathBuf,
    role: Role,
}

/// Returns the sessions of a role, and keeps others from using them.
pub(super) async fn sessions(role: &Role, environment: &Environment) -> Sessions {
    let key = cache_key(role);
    Sessions {
        known: KNOWN.lock().await,
        file: environment
            .expanded("~/.aws/cli/cache")
            .join(format!("{key}.json")),
        key,
        role: role.clone(),
    }
}

impl Sessions {
    /// Returns a session that is still valid, from this process or from the AWS
    /// CLI's directory.
    pub(super) fn valid(&self) -> Option<Credentials> {
        let own = self.known.get(&self.key);
        let own = own.and_then(|session| session.credentials.clone());
        own.filter(lasts).or_else(|| read(&self.file).filter(lasts))
    }

    /// Asks for a code, once in this process.
    pub(super) async fn code(&mut self, serial: &str, ask: Option<AskCode>) -> Result<String> {
        let arn = &self.role.arn;
        let denied = |what: String| Error::new(ErrorKind::Denied, what);
        if let Some(asked) = self.known.get(&self.key) {
            return Err(match asked.credentials {
                None => denied(format!("role {arn} refused the code of {serial} before"))
                    .hint("run it again with the next code of the device"),
                Some(_) => denied(format!(
                    "the session of role {arn} has expired, and needs a new code of {serial}"
                ))
                .hint(
                    "`autorun resume RUN` asks for a new code; duration_seconds in the profile \
                     makes sessions longer, if the role allows it",
                ),
            });
        }
        let no_terminal = || Error::internal("nothing asks for codes");
        let ask = ask.ok_or_else(no_terminal)?;
        let device = serial.to_owned();
        let code = tokio::task::spawn_blocking(move || ask(&device))
            .await
            .map_err(|e| Error::internal(format!("cannot ask for the code: {e}")))??;
        self.known
            .insert(self.key.clone(), Session { credentials: None });
        Ok(code)
    }

    /// Keeps a session for this process, later runs and the AWS CLI.
    pub(super) fn keep(&mut self, session: &Credentials) -> Result<()> {
        let credentials = Some(session.clone());
        self.known.insert(self.key.clone(), Session { credentials });
        let Some(directory) = self.file.parent() else {
            return Ok(());
        };
        let failed = |e: &std::io::Error| Error::io("write", &self.file, e);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|e| failed(&e))?;
        let written = tempfile::NamedTempFile::new_in(directory).and_then(|mut file| {
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(0o600))?;
            file.write_all(for_cli(session).to_string().as_bytes())?;
            file.persist(&self.file)?;
            Ok(())
        });
        written.map_err(|e| failed(&e))
    }
}

/// Returns the name of the AWS CLI's file for a role, without `.json`: a digest
/// of the request as Python writes it in JSON.
fn cache_key(role: &Role) -> String {
    let mut request = BTreeMap::new();
    let mut put = |name, value: Option<Value>| {
        if let Some(value) = value {
            request.insert(name, value);
        }
    };
    put("RoleArn", Some(json!(role.arn)));
    put(
        "RoleSessionName",
        role.session_name.as_ref().map(|v| json!(v)),
    );
    put("ExternalId", role.external_id.as_ref().map(|v| json!(v)));
    put("SerialNumber", role.mfa_serial.as_ref().map(|v| json!(v)));
    put("DurationSeconds", role.duration_seconds.map(|v| json!(v)));
    let pairs = request
        .iter()
        .map(|(name, value)| format!("\"{name}\": {}", ascii(value)));
    let text = format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "));
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    hex::encode(digest.as_ref())
}

/// Writes a value as Python does: only ASCII.
fn ascii(value: &Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

/// Reads a session of the AWS CLI; a damaged file is as good as none.
fn read(file: &PathBuf) -> Option<Credentials> {
    let text = fs::read_to_string(file).ok()?;
    let whole: Value = serde_json::from_str(&text).ok()?;
    let found = &whole["Credentials"];
    let text = |name: &str| found[name].as_str();
    let expires: jiff::Timestamp = text("Expiration")?.parse().ok()?;
    Some(Credentials::new(
        text("AccessKeyId")?,
        text("SecretAccessKey")?,
        Some(text("SessionToken")?.to_owned()),
        Some(SystemTime::from(expires)),
        "cli cache",
    ))
}

/// Returns a session in the AWS CLI's format.
fn for_cli(session: &Credentials) -> Value {
    let expires = session
        .expiry()
        .and_then(|time| jiff::Timestamp::try_from(time).ok())
        .map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    json!({
        "Credentials": {
            "AccessKeyId": session.access_key_id(),
            "SecretAccessKey": session.secret_access_key(),
            "SessionToken": session.session_token(),
            "Expiration": expires,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digests are those of botocore's `_create_cache_key`.
    #[test]
    fn a_session_has_the_name_that_the_aws_cli_gives_it() {
        let mut role = Role {
            arn: "arn:aws:iam::111122223333:role/deploy".to_owned(),
            mfa_serial: Some("arn:aws:iam::111122223333:mfa/me".to_owned()),
            ..Role::default()
        };
        assert_eq!(cache_key(&role), "91bfc2b7517602764db4c9c9e492a929d765d0bc");
        role.external_id = Some("a\"b\u{e4}\u{1f600}".to_owned());
        role.session_name = Some("me".to_owned());
        role.duration_seconds = Some(3600);
        assert_eq!(cache_key(&role), "2a73e97cc8d9f5e5a25216af214949fcb855bb5d");
    }
}
