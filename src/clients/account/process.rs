//! `credential_process`: a command that prints credentials.

use std::process::Stdio;
use std::time::SystemTime;

use aws_sdk_ec2::config::Credentials;
use serde_json::Value;
use tokio::process::Command;

use super::base::PROCESS;
use crate::error::{Error, ErrorKind, Result};
use crate::report::text;

/// Runs the command of a profile and reads the credentials that it prints. The
/// command may contain secrets, so no message shows it.
///
/// Throws `denied` or `timeout`.
pub(super) async fn credentials(profile: &str, command: &str) -> Result<Credentials> {
    let fault = |kind: ErrorKind, fault: String| {
        Error::new(
            kind,
            format!("the credential_process of the AWS profile `{profile}` {fault}"),
        )
        .hint(
            "run the command by hand: it must print a JSON object with Version (1), AccessKeyId \
             and SecretAccessKey",
        )
    };
    let running = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PROCESS, running)
        .await
        .map_err(|_| {
            let limit = text::duration(PROCESS);
            fault(ErrorKind::Timeout, format!("did not end within {limit}"))
        })?
        .map_err(|e| fault(ErrorKind::Denied, format!("cannot be started: {e}")))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stderr = match stderr.trim() {
            "" => String::new(),
            stderr => format!(": {stderr}"),
        };
        let status = output.status;
        return Err(fault(
            ErrorKind::Denied,
            format!("failed ({status}){stderr}"),
        ));
    }
    read(&output.stdout).map_err(|why| fault(ErrorKind::Denied, why))
}

/// Reads what the command printed. The error does not show it: it may contain
/// the secrets.
fn read(stdout: &[u8]) -> std::result::Result<Credentials, String> {
    let printed: Value = serde_json::from_slice(stdout).map_err(|e| {
        if stdout.trim_ascii().is_empty() {
            "printed nothing".to_owned()
        } else {
            format!(
                "did not print JSON (line {}, column {})",
                e.line(),
                e.column()
            )
        }
    })?;
    match &printed["Version"] {
        Value::Number(version) if version.as_i64() == Some(1) => {}
        Value::Null => return Err("printed no `Version`".to_owned()),
        _ => return Err("printed another `Version` than 1".to_owned()),
    }
    let text = |name: &str| {
        let value = printed[name].as_str();
        value.filter(|value| !value.is_empty())
    };
    let needed = |name: &str| text(name).ok_or(format!("printed no `{name}`"));
    let expires = match text("Expiration") {
        None => None,
        Some(time) => {
            let parsed = time.parse::<jiff::Timestamp>();
            let time = parsed.map_err(|_| format!("printed an `Expiration` of `{time}`"))?;
            if time <= jiff::Timestamp::now() {
                return Err(format!("printed credentials that expired at {time}"));
            }
            Some(SystemTime::from(time))
        }
    };
    Ok(Credentials::new(
        needed("AccessKeyId")?,
        needed("SecretAccessKey")?,
        text("SessionToken").map(str::to_owned),
        expires,
        "process",
    ))
}
