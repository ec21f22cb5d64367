//! Message bodies, which are forwarded piece by piece and abandoned if they stall.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};

/// How long a body may stall.
const IDLE: Duration = Duration::from_secs(300);

/// A body that the proxy sends to a client or an origin.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn full(text: String) -> Body {
    Full::from(text)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Forwards a received body.
pub(super) fn incoming(body: Incoming) -> Body {
    if body.is_end_stream() {
        return empty();
    }
    let frames = stream::try_unfold(body, |mut body| async move {
        Ok(next(&mut body).await?.map(|frame| (frame, body)))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Returns the next piece of a body.
pub(super) async fn next(body: &mut Incoming) -> io::Result<Option<Frame<Bytes>>> {
    match tokio::time::timeout(IDLE, body.frame()).await {
        Ok(frame) => frame.transpose().map_err(io::Error::other),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
