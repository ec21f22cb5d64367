//! Sessions with a port of an instance, as `ssh` uses them: starts, resumes and ends
//! them. `data_channel` carries their data.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use super::super::refusal::{Refusal, Result};
use super::data_channel::Link;
use super::managed::managed_of;
use super::{Request, read};
use crate::authorization::Need;

/// The only document that sessions can use.
const DOCUMENT: &str = "AWS-StartSSHSession";

/// The path of data channels.
pub(crate) const PATH: &str = "/v1/data-channel/";

/// How long a session waits for a client.
const RESUMES_WITHIN: Duration = Duration::from_secs(60);

/// The sessions that have not ended.
#[derive(Debug, Default)]
pub(in super::super) struct Sessions(Mutex<BTreeMap<String, Arc<Session>>>);

/// A session.
#[derive(Debug)]
pub(in super::super) struct Session {
    pub(super) id: String,
    region: String,
    pub(super) instance: String,
    pub(super) port: u16,
    /// What the next client has to send. Each token is valid once.
    token: Mutex<Option<String>>,
    pub(super) end: CancellationToken,
    /// Ends the connection of the client.
    client: Mutex<CancellationToken>,
    pub(super) link: tokio::sync::Mutex<Link>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct StartSession {
    target: String,
    document_name: Option<String>,
    // A reason is kept for DescribeSessions, which the local cloud does not have.
    #[serde(rename = "Reason")]
    _reason: Option<String>,
    #[serde(default)]
    parameters: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct OfSession {
    session_id: String,
}

impl Session {
    /// Takes a new token, which replaces the one before.
    fn renew(&self) -> String {
        let token = token();
        let mut current = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Some(token.clone());
        token
    }

    /// Accepts a client that sends the token, and ends the connection of the one
    /// before. Returns the end of the new one.
    pub(super) fn admit(&self, token: &str) -> Option<CancellationToken> {
        let mut current = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        let is_right = |known: &String| bool::from(known.as_bytes().ct_eq(token.as_bytes()));
        current.take_if(|known| is_right(known))?;
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.cancel();
        *client = self.end.child_token();
        Some(client.clone())
    }

    fn client(&self) -> CancellationToken {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.clone()
    }

    fn answer(&self, host: &str, token: &str) -> Value {
        let id = &self.id;
        json!({
            "SessionId": id,
            "TokenValue": token,
            "StreamUrl": format!("ws://{host}{PATH}{id}?role=publish_subscribe"),
        })
    }
}

impl Sessions {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the session of a data channel's path.
    pub(super) fn of_path(&self, path: &str) -> Option<Arc<Session>> {
        self.all().get(path.strip_prefix(PATH)?).cloned()
    }

    fn find(&self, region: &str, id: &str) -> Option<Arc<Session>> {
        let found = self.all().get(id).cloned();
        found.filter(|session| session.region == region)
    }

    /// Ends a session that has lost its client, unless another client comes in time.
    pub(super) async fn expire(&self, session: &Session, client: CancellationToken) {
        let came = tokio::time::timeout(RESUMES_WITHIN, client.cancelled()).await;
        if came.is_err() {
            self.end(&session.id);
        }
    }

    /// Ends a session, if it has not ended yet.
    pub(super) fn end(&self, id: &str) {
        if let Some(session) = self.all().remove(id) {
            session.end.cancel();
        }
    }
}

pub(super) fn start_session(request: &Request<'_>) -> Result<Value> {
    let wanted: StartSession = read(request.body)?;
    request.allow(needs(request, &wanted.target))?;
    let port = port(&wanted)?;
    let target = std::slice::from_ref(&wanted.target);
    let found = managed_of(request.cloud, request.region, request.account, target).pop();
    let Some(found) = found.filter(|one| one.is_online && !one.instance.is_record) else {
        let message = format!("{} is not connected.", wanted.target);
        return Err(Refusal::new("TargetNotConnected", message));
    };
    let end = CancellationToken::new();
    let session = Session {
        id: format!("root-0{:016x}", rand::random::<u64>()),
        region: request.region.to_owned(),
        instance: found.instance.id.clone(),
        port,
        token: Mutex::default(),
        client: Mutex::new(end.child_token()),
        end,
        link: tokio::sync::Mutex::default(),
    };
    let answer = session.answer(request.host, &session.renew());
    let (cloud, session) = (Arc::clone(request.cloud), Arc::new(session));
    let mut all = cloud.sessions.all();
    all.insert(session.id.clone(), Arc::clone(&session));
    drop(all);
    tokio::spawn(async move {
        let client = session.client();
        cloud.sessions.expire(&session, client).await;
    });
    Ok(answer)
}

/// Returns a token for a client that has lost its connection; none if the session has
/// ended.
pub(super) fn resume_session(request: &Request<'_>) -> Result<Value> {
    let wanted = of_session(request)?;
    let sessions = &request.cloud.sessions;
    Ok(match sessions.find(request.region, &wanted) {
        Some(session) => session.answer(request.host, &session.renew()),
        None => json!({ "SessionId": wanted }),
    })
}

pub(super) fn terminate_session(request: &Request<'_>) -> Result<Value> {
    let id = of_session(request)?;
    let sessions = &request.cloud.sessions;
    if sessions.find(request.region, &id).is_some() {
        sessions.end(&id);
    }
    // As on AWS, terminating a session twice succeeds.
    Ok(json!({ "SessionId": id }))
}

/// Returns the id of the session that a request names, if its sender may act on it.
fn of_session(request: &Request<'_>) -> Result<String> {
    let wanted: OfSession = read(request.body)?;
    let (region, account) = (request.region, &request.facts.account);
    let id = wanted.session_id;
    let arn = format!("arn:aws:ssm:{region}:{account}:session/{id}");
    request.allow([Need::new(format!("ssm:{}", request.operation), arn)])?;
    Ok(id)
}

/// Returns the port of the instance.
fn port(wanted: &StartSession) -> Result<u16> {
    let document = wanted.document_name.as_deref();
    if document != Some(DOCUMENT) {
        let message = match document {
            None => {
                "The local cloud has no shells in sessions: use AWS-StartSSHSession.".to_owned()
            }
            Some(name) => format!("Document with name {name} does not exist."),
        };
        return Err(Refusal::new("InvalidDocument", message));
    }
    let invalid = |message: String| Refusal::new("InvalidParameters", message);
    if let Some(name) = wanted.parameters.keys().find(|name| *name != "portNumber") {
        let message = format!("Parameter \"{name}\" is not defined in the document.");
        return Err(invalid(message));
    }
    let Some(values) = wanted.parameters.get("portNumber") else {
        return Ok(22);
    };
    let [value] = &values[..] else {
        return Err(invalid(
            "Parameter \"portNumber\" must have one value.".to_owned(),
        ));
    };
    let port = value.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| invalid("Parameter \"portNumber\" is not valid.".to_owned()))
}

/// Returns what a session needs: the instance and the document.
fn needs(request: &Request<'_>, instance: &str) -> [Need; 2] {
    let (region, account) = (request.region, &request.facts.account);
    [
        format!("arn:aws:ec2:{region}:{account}:instance/{instance}"),
        format!("arn:aws:ssm:{region}::document/{DOCUMENT}"),
    ]
    .map(|arn| Need::new("ssm:StartSession", arn))
}

fn token() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The port of a request, whose parameters are written as `name=value,value`.
    fn of(document: Option<&str>, parameters: &str) -> Result<u16> {
        let parameters = parameters.split_once('=').into_iter();
        let parameters = parameters.map(|(name, values)| {
            let values = values.split(',').map(str::to_owned);
            (name.to_owned(), values.collect())
        });
        port(&StartSession {
            target: "i-1".to_owned(),
            document_name: document.map(str::to_owned),
            _reason: None,
            parameters: parameters.collect(),
        })
    }

    #[test]
    fn the_port_is_a_parameter_of_the_document() {
        assert_eq!(of(Some(DOCUMENT), "").unwrap(), 22);
        assert_eq!(of(Some(DOCUMENT), "portNumber=2222").unwrap(), 2222);
        for (document, parameters, code) in [
            (None, "", "InvalidDocument"),
            (
                Some("AWS-StartPortForwardingSession"),
                "",
                "InvalidDocument",
            ),
            (Some(DOCUMENT), "port=22", "InvalidParameters"),
            (Some(DOCUMENT), "portNumber=0", "InvalidParameters"),
            (Some(DOCUMENT), "portNumber=22,23", "InvalidParameters"),
        ] {
            let refusal = of(document, parameters).unwrap_err();
            assert_eq!(refusal.code, code, "{document:?} {parameters}");
        }
    }

    #[test]
    fn a_token_admits_one_client() {
        let end = CancellationToken::new();
        let session = Session {
            id: "s".to_owned(),
            region: "us-east-1".to_owned(),
            instance: "i-1".to_owned(),
            port: 22,
            token: Mutex::default(),
            client: Mutex::new(end.child_token()),
            end,
            link: tokio::sync::Mutex::default(),
        };
        assert!(session.admit("").is_none());
        let token = session.renew();
        assert!(session.admit("wrong").is_none());
        let first = session.admit(&token).unwrap();
        assert!(session.admit(&token).is_none() && !first.is_cancelled());
        let second = session.admit(&session.renew()).unwrap();
        assert!(first.is_cancelled() && !second.is_cancelled());
        session.end.cancel();
        assert!(second.is_cancelled());
    }
}
