//! The HTTP server: one port for EC2, STS, S3, the check-ip service and the
//! local cloud's own requests, which signature and path distinguish.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::{SignedDuration, Timestamp};
use s3s::Body;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::authorization::Guard;
use super::daemon::ACCOUNT;
use super::ec2::{self, Answer, Ec2, Refusal, Sender};
use super::faults::{Account, Act, Plans};
use super::injection::{Reset, corrupted, rate_exceeded, refusal_after, refusal_before, slow_down};
use super::line::Line;
use super::logbook;
use super::mutations::Mutations;
use super::query::Query;
use super::s3::{self, Rules, S3};
use super::signature::{self, Keys, Scope, Session, Validity};
use super::visitors::{Visitor, Visitors};

/// The maximum size, in bytes, of a request's header, and of a body that is
/// read at once.
const LONGEST_HEAD: usize = 64 << 10;

/// The state that all connections share.
pub(crate) struct Front {
    pub(crate) ec2: Ec2,
    pub(crate) s3: S3,
    pub(crate) plans: Arc<Plans>,
    pub(crate) keys: Keys,
    pub(crate) token: String,
    /// The values of `Host` that a request may have. A web page in a browser
    /// must not reach this server under the page's own name (DNS rebinding).
    pub(crate) hosts: Vec<String>,
    /// The public status of this cloud.
    pub(crate) status: Value,
    pub(crate) visitors: Visitors,
    /// How many requests asked for a change.
    pub(crate) mutations: Mutations,
    /// Ends the process.
    pub(crate) end: CancellationToken,
}

/// Serves until the process is to end. Requests in progress get 5 seconds to
/// finish.
pub(crate) async fn serve(front: Arc<Front>, listener: TcpListener) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = front.end.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                connections.spawn(connection(front.clone(), stream, peer));
            }
            // Possibly out of descriptors: give open connections time to close.
            Err(e) => {
                log::warn!("cannot accept a connection: {e}");
                front.visitors.make_room();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    connections.close();
    drop(tokio::time::timeout(Duration::from_secs(5), connections.wait()).await);
}

async fn connection(front: Arc<Front>, stream: TcpStream, peer: SocketAddr) {
    let Ok(own) = stream.local_addr() else {
        return;
    };
    let visitor = front.visitors.enter(peer, own);
    let line = Line::new(stream);
    let (reset, evicted) = (line.reset(), line.reset());
    let service = service_fn(|request| {
        let answer = front.answer(request, peer, &visitor);
        let reset = &reset;
        async move {
            let answer = answer.await;
            if answer.is_err() {
                reset.at_close();
            }
            answer
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(visitor.patience())
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(line), service)
        .with_upgrades();
    tokio::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = visitor.is_evicted() => {
            evicted.at_close();
            return;
        }
        () = front.end.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(e) = result {
        log::debug!("connection of {peer}: {e}");
    }
}

impl Front {
    async fn answer(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        visitor: &Visitor<'_>,
    ) -> Result<Response<Body>, Reset> {
        if !self.knows_host(&request) {
            return Ok(plain(
                StatusCode::FORBIDDEN,
                "this is a local cloud; it serves requests for its own address only\n",
            ));
        }
        if let Some(path) = request.uri().path().strip_prefix("/_autorun/") {
            let path = path.to_owned();
            return Ok(self.own(&path, request, peer, visitor).await);
        }
        if request.uri().path().starts_with(ec2::DATA_CHANNELS) {
            return Ok(self.data_channel(request));
        }
        signature::join_repeated(request.headers_mut());
        let (parts, body) = request.into_parts();
        // Requests to EC2, IAM, STS, Systems Manager and EC2 Instance Connect have no path. S3 refuses another service's
        // signature.
        let is_query = parts.uri.path() == "/"
            && match signature::claimed_service(&parts) {
                Some(service) => matches!(service, "ec2" | "iam" | "sts" | "ssm" | ec2::CONNECT),
                None => is_form(&parts),
            };
        if is_query {
            return self.query(parts, body, peer, visitor).await;
        }
        let request = Request::from_parts(parts, body);
        self.object(request, peer, visitor).await
    }

    /// Opens the data channel of a session of Systems Manager. The token of the session,
    /// not a signature, admits its client.
    fn data_channel(&self, mut request: Request<Incoming>) -> Response<Body> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (path, headers) = (request.uri().path(), request.headers());
        let opened = self.ec2.open_data_channel(path, headers, upgrade);
        opened.unwrap_or_else(|| plain(StatusCode::NOT_FOUND, "there is no such session\n"))
    }

    /// Whether a request is for this server: its only `Host`, and the address
    /// in its request line if it has one.
    fn knows_host(&self, request: &Request<Incoming>) -> bool {
        let mut hosts = request.headers().get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let authority = request.uri().authority();
        authority.is_none_or(|authority| authority.as_str().as_bytes() == host.as_bytes())
            && self
                .hosts
                .iter()
                .any(|known| known.as_bytes() == host.as_bytes())
    }

    /// Serves requests to EC2, STS and Systems Manager.
    async fn query(
        &self,
        parts: Parts,
        body: Incoming,
        peer: SocketAddr,
        visitor: &Visitor<'_>,
    ) -> Result<Response<Body>, Reset> {
        let service = signature::claimed_service(&parts)
            .unwrap_or("ec2")
            .to_owned();
        let refused = |refusal: &Refusal| match service.as_str() {
            "ssm" | ec2::CONNECT => {
                let refusal = rate_exceeded(refusal.clone());
                ssm_body(refusal.status, &ec2::ssm_refused(&refusal))
            }
            other => xml(ec2::refused_by(other, refusal)),
        };
        let run = named_run(&parts.headers, SIGNED_AGENT);
        let form = match visitor.form(body).await {
            Ok(form) => form,
            Err(refusal) => return Ok(closing(refused(&refusal))),
        };
        let account = self.plans.account(run.as_deref());
        let request = match self.verified((&service, &parts, &form.bytes), &account) {
            Ok(request) => request,
            Err(refusal) => {
                log::info!(target: logbook::STRANGERS, "- refused: {}", refusal.code);
                return Ok(refused(&refusal));
            }
        };
        drop(form);
        visitor.settle();
        let operation = match service.as_str() {
            "ssm" => ec2::ssm_operation(&parts.headers),
            ec2::CONNECT => ec2::connect_operation(&parts.headers),
            _ => ec2::action_of(&request.form),
        };
        self.mutations.note_query(&operation, &request.form);
        let fault = self.plans.hit(run.as_deref(), &operation);
        if let Some(refusal) = refusal_before(fault.as_ref()).await? {
            return Ok(refused(&refusal));
        }
        let answer = self.act(&request, &operation, run.as_deref(), peer).await;
        let status = answer.status().as_u16();
        log::info!(
            "{} {} {status}",
            shown(run.as_deref()),
            logbook::name(&operation)
        );
        if let Some(refusal) = refusal_after(fault.as_ref())? {
            return Ok(refused(&refusal));
        }
        Ok(answer)
    }

    /// Returns the parameters of a request after verifying their signature. They
    /// are the body of a `POST` or the query of a `GET`.
    fn verified(
        &self,
        (service, parts, body): (&str, &Parts, &[u8]),
        account: &Account,
    ) -> Result<Verified, Refusal> {
        let raw = parts.uri.query().unwrap_or_default();
        let malformed = |why: &str| Refusal::new("MalformedQueryString", why);
        let query = Query::parse(raw).ok_or_else(|| malformed("The query is not UTF-8"))?;
        let request = (parts, &query, body);
        let signed = ec2::authenticate(service, request, &self.keys, validity(account))?;
        if let Some(session) = &signed.session {
            self.ec2.record_use(session, &signed.scope.region);
        }
        let form = match (&parts.method, body, raw) {
            (&Method::POST, form, "") => form.to_vec(),
            (&Method::GET, [], form) => form.as_bytes().to_vec(),
            _ => {
                return Err(malformed(
                    "The parameters must be the body of a POST or the query of a GET",
                ));
            }
        };
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        Ok(Verified {
            scope: signed.scope,
            session: signed.session,
            host: host.unwrap_or_default().to_owned(),
            form,
        })
    }

    async fn act(
        &self,
        request: &Verified,
        operation: &str,
        run: Option<&str>,
        peer: SocketAddr,
    ) -> Response<Body> {
        let (form, region) = (&request.form, &request.scope.region);
        let session = request.session.as_ref();
        let guard = self.guard(run, session, region, peer);
        let guard = guard.as_ref();
        match request.scope.service.as_str() {
            "iam" => xml(self.ec2.answer_iam(form, guard)),
            "ssm" => {
                let (sender, body) = (Sender { run, guard }, (&*request.host, &form[..]));
                let (status, answer) = self.ec2.answer_ssm((region, operation), body, sender);
                ssm_body(status, &answer)
            }
            ec2::CONNECT => {
                let (place, sender) = ((&**region, operation), Sender { run, guard });
                let (status, answer) = self.ec2.answer_connect(place, form, sender).await;
                ssm_body(status, &answer)
            }
            "sts" => {
                let key = &self.keys.access_key_id;
                xml(self.ec2.answer_sts(form, key, session, guard))
            }
            _ => xml(self.ec2.answer(region, form, Sender { run, guard })),
        }
    }

    /// Returns the policy that holds the sender of a request: the owner of the access
    /// key. The policies of roles are not evaluated.
    fn guard(
        &self,
        run: Option<&str>,
        session: Option<&Session>,
        region: &str,
        peer: SocketAddr,
    ) -> Option<Guard> {
        let policy = self.plans.policy(run).filter(|_| session.is_none())?;
        Some(Guard::of_user(
            policy,
            ACCOUNT,
            region,
            (peer.ip(), Timestamp::now()),
        ))
    }

    /// Serves requests to S3.
    async fn object(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        visitor: &Visitor<'_>,
    ) -> Result<Response<Body>, Reset> {
        let account = {
            let run = named_run(request.headers(), SIGNED_AGENT);
            self.plans.account(run.as_deref())
        };
        let received = self.s3.receive(request, peer.ip(), validity(&account));
        let signed = received.signed_headers();
        let part = match signed {
            Some(_) => module_path!(),
            None => logbook::STRANGERS,
        };
        if signed.is_some() {
            visitor.settle();
        }
        if let Some((Some(session), region)) = received.signer() {
            self.ec2.record_use(session, region);
        }
        let run = signed.and_then(|headers| named_run(headers, SIGNED_AGENT));
        let run = run.as_deref();
        let operation = received.operation();
        let hit = || self.plans.hit(run, operation);
        let fault = received.is_sound().then(hit).flatten();
        if received.is_sound() {
            self.mutations.note_object(received.method());
        }
        let refused =
            |refusal: &Refusal| s3::error_response(&refusal.code, &refusal.message, refusal.status);
        if let Some(refusal) = refusal_before(fault.as_ref()).await? {
            received.discard().await;
            return Ok(refused(&slow_down(refusal)));
        }
        let guard = received
            .signer()
            .and_then(|(session, region)| self.guard(run, session, region, peer));
        let answer = self.s3.serve(received, Rules { account, guard }).await;
        log::info!(
            target: part,
            "{} {operation} {}",
            shown(run),
            answer.status().as_u16()
        );
        match refusal_after(fault.as_ref())? {
            Some(refusal) => Ok(refused(&slow_down(refusal))),
            None if fault.is_some_and(|fault| fault.act == Act::Corrupt) => {
                Ok(corrupted(answer).await)
            }
            None => Ok(answer),
        }
    }
}

/// Closes the connection after this response, because the request's body was
/// not read.
fn closing(mut answer: Response<Body>) -> Response<Body> {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(CONNECTION, close);
    answer
}

/// Returns when and where the owner's key is valid.
fn validity(account: &Account) -> Validity<'_> {
    let skew = SignedDuration::from_secs(account.clock_skew_seconds.into());
    Validity {
        now: Timestamp::now() + skew,
        is_expired: account.expired_token,
        disabled_regions: &account.disabled_regions,
    }
}

/// Formats the name of a run for the log.
fn shown(run: Option<&str>) -> String {
    logbook::name(run.unwrap_or("-"))
}

/// The header in which the SDKs name the application. They sign it, unlike
/// `User-Agent`.
const SIGNED_AGENT: &str = "x-amz-user-agent";

/// A verified request to EC2, STS or Systems Manager.
struct Verified {
    scope: Scope,
    session: Option<Session>,
    /// The value of `Host`.
    host: String,
    form: Vec<u8>,
}

/// Returns the run that a header names with the application name
/// `app/autorun-RUN`.
fn named_run(headers: &HeaderMap, header: &str) -> Option<String> {
    let agent = headers.get(header)?.to_str().ok()?;
    agent
        .split_whitespace()
        .find_map(|word| word.strip_prefix("app/autorun-"))
        .map(str::to_owned)
}

/// Returns the run that a request with the token concerns.
pub(super) fn run_of(request: &Request<Incoming>) -> Option<String> {
    named_run(request.headers(), USER_AGENT.as_str())
}

fn is_form(parts: &Parts) -> bool {
    let kind = parts.headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form"))
}

fn xml(answer: Answer) -> Response<Body> {
    let mut response = respond(
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        "text/xml;charset=UTF-8",
        answer.xml,
    );
    // The SDKs read the request id here; people read it in the XML.
    if let Ok(request) = HeaderValue::from_str(&answer.request) {
        response.headers_mut().insert("x-amzn-requestid", request);
    }
    response
}

/// Returns a response of Systems Manager.
fn ssm_body(status: u16, value: &Value) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    respond(status, "application/x-amz-json-1.1", value.to_string())
}

pub(super) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    respond(status, "text/plain", text.to_owned())
}

pub(super) fn json_body(value: &Value) -> Response<Body> {
    respond(StatusCode::OK, "application/json", value.to_string())
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
