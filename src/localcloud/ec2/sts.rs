//! STS, the service that reports the caller's identity: the local cloud's one
//! user, or an instance with a role.

use super::answer::Answer;
use super::ids::new_request_id;
use super::params::Params;
use super::refusal::{Refusal, Result};
use super::xml::Xml;
use crate::authorization::{Guard, Need};
use crate::signature::Session;
use crate::{USER_ID, USER_NAME};

const XMLNS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// All actions, by AWS's names.
pub(super) const ACTIONS: [&str; 2] = ["GetCallerIdentity", "GetAccessKeyInfo"];

pub(super) fn answer(
    account: &str,
    form: &[u8],
    caller: (&str, Option<&Session>),
    guard: Option<&Guard>,
) -> Answer {
    let request = new_request_id();
    match act(account, form, caller, guard) {
        Ok((action, result)) => Answer {
            status: 200,
            xml: format!(
                "<{action}Response xmlns=\"{XMLNS}\"><{action}Result>{result}</{action}Result>\
                 <ResponseMetadata><RequestId>{request}</RequestId></ResponseMetadata>\
                 </{action}Response>"
            ),
            request,
        },
        Err(refusal) => refused(&refusal, &request),
    }
}

fn act(
    account: &str,
    form: &[u8],
    (access_key_id, session): (&str, Option<&Session>),
    guard: Option<&Guard>,
) -> Result<(String, String)> {
    let params = Params::parse(form)?;
    let all = params.all();
    let action = all.required("Action")?;
    // AWS lets every caller ask for its own identity, also if a policy denies it.
    if let Some(guard) = guard.filter(|_| action != "GetCallerIdentity") {
        let needs = [Need::of_action(format!("sts:{action}"))];
        let denied = |message| Refusal::new("AccessDenied", message).status(403);
        guard
            .check(needs)
            .map_err(|denial| denied(denial.message(false)))?;
    }
    let mut xml = Xml::default();
    match action {
        "GetCallerIdentity" => {
            let (arn, id) = match session {
                None => (
                    format!("arn:aws:iam::{account}:user/{USER_NAME}"),
                    USER_ID.to_owned(),
                ),
                Some(Session {
                    role,
                    role_id,
                    name,
                    ..
                }) => (
                    format!("arn:aws:sts::{account}:assumed-role/{role}/{name}"),
                    format!("{role_id}:{name}"),
                ),
            };
            xml.text("Arn", arn);
            xml.text("UserId", id);
            xml.text("Account", account);
        }
        "GetAccessKeyInfo" => {
            all.text("AccessKeyId");
            xml.text("Account", account);
        }
        other => {
            return Err(Refusal::new(
                "InvalidAction",
                format!("Could not find operation {other} for the access key {access_key_id}"),
            ));
        }
    }
    Ok((action.to_owned(), xml.finish()))
}

/// Returns an error answer in STS's format.
pub(super) fn refused(refusal: &Refusal, request: &str) -> Answer {
    let mut xml = Xml::default();
    xml.node("Error", |xml| {
        xml.text("Type", "Sender");
        xml.text("Code", &refusal.code);
        xml.text("Message", &refusal.message);
    });
    Answer {
        status: refusal.status,
        request: request.to_owned(),
        xml: format!(
            "<ErrorResponse xmlns=\"{XMLNS}\">{}<RequestId>{request}</RequestId></ErrorResponse>",
            xml.finish()
        ),
    }
}
