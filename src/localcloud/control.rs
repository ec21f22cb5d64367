//! The local cloud's own requests, which are not part of AWS: its status, the faults of
//! runs, and its end. No bucket name begins with `_`.

use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use s3s::Body;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use super::ec2::Lent;
use super::faults::Settings;
use super::server::{Front, json_body, plain, run_of};
use super::visitors::Visitor;

impl Front {
    /// Serves a request that is neither EC2's nor S3's.
    pub(super) async fn own(
        &self,
        path: &str,
        request: Request<Incoming>,
        peer: SocketAddr,
        visitor: &Visitor<'_>,
    ) -> Response<Body> {
        let is_owner = self.is_owner(&request);
        if is_owner {
            visitor.settle();
        }
        match (request.method(), path) {
            // The same response as checkip.amazonaws.com.
            (&Method::GET, "checkip") => plain(StatusCode::OK, &format!("{}\n", peer.ip())),
            (&Method::GET, "status") => json_body(&self.current_status()),
            _ if !is_owner => plain(
                StatusCode::FORBIDDEN,
                "this request needs the token of the access file\n",
            ),
            (&Method::GET, "instances") => json_body(&Value::Array(self.ec2.listing())),
            (&Method::PUT, "faults") => self.set_faults(request, visitor).await,
            (&Method::DELETE, "faults") => {
                self.plans.forget(run_of(&request).as_deref());
                json_body(&json!({}))
            }
            #[cfg(feature = "judgements")]
            (&Method::POST, "judgements") => json_body(&super::authorization::take_judgements()),
            (&Method::PUT, "lent") => self.lend(request, visitor).await,
            (&Method::POST, "down") => {
                self.end.cancel();
                json_body(&json!({}))
            }
            _ => plain(StatusCode::NOT_FOUND, "no such path\n"),
        }
    }

    fn is_owner(&self, request: &Request<Incoming>) -> bool {
        let given = request.headers().get("x-autorun-token");
        given.is_some_and(|given| given.as_bytes().ct_eq(self.token.as_bytes()).into())
    }

    /// Sets the faults of the run that the request names, or of everyone.
    async fn set_faults(
        &self,
        request: Request<Incoming>,
        visitor: &Visitor<'_>,
    ) -> Response<Body> {
        let run = run_of(&request);
        let Ok(form) = visitor.form(request.into_body()).await else {
            return plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is too long or did not arrive in time\n",
            );
        };
        let set = serde_json::from_slice::<Settings>(&form.bytes)
            .map_err(|e| e.to_string())
            .and_then(|settings| self.plans.set(run.as_deref(), &settings));
        match set {
            Ok(()) => json_body(&json!({})),
            Err(why) => plain(StatusCode::BAD_REQUEST, &format!("{why}\n")),
        }
    }

    /// Adds resources of the user's account to the cloud of a rehearsal.
    async fn lend(&self, request: Request<Incoming>, visitor: &Visitor<'_>) -> Response<Body> {
        let Ok(form) = visitor.form(request.into_body()).await else {
            return plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is too long or did not arrive in time\n",
            );
        };
        let lent = serde_json::from_slice::<Lent>(&form.bytes).map_err(|e| e.to_string());
        match lent.and_then(|lent| self.ec2.lend(lent).map_err(|e| e.to_string())) {
            Ok(()) => json_body(&json!({})),
            Err(why) => plain(StatusCode::BAD_REQUEST, &format!("{why}\n")),
        }
    }

    /// Returns the public status with what has changed since the start.
    fn current_status(&self) -> Value {
        let mut status = self.status.clone();
        status["mutations"] = json!(self.mutations.count());
        status["faults"] = json!(self.plans.has_any_for_everyone());
        status
    }
}
