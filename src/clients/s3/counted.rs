//! Counts the bytes of uploads while they are sent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use http_body::{Body, Frame, SizeHint};

use crate::report::Meter;

/// What the signature of a request covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signed {
    /// The headers, with the checksum of the contents.
    Headers,
    /// The contents as well.
    Contents,
}

/// The bytes that are passed on at once, so that the progress of a large part shows.
const GRAIN: usize = 256 << 10;

/// Wraps a stream to count its bytes. A retry counts only the bytes that no
/// earlier attempt has reached.
pub(super) fn counted(stream: ByteStream, meter: Meter, signed: Signed) -> ByteStream {
    let furthest = Arc::new(AtomicU64::new(0));
    let wrap = move |inner| {
        SdkBody::from_body_1_x(Counted {
            inner,
            waiting: Bytes::new(),
            meter: meter.clone(),
            position: 0,
            furthest: Arc::clone(&furthest),
        })
    };
    let body = stream.into_inner();
    // The SDK signs contents that it finds in memory.
    ByteStream::new(match signed {
        Signed::Headers => body.map(wrap),
        Signed::Contents => body.map_preserve_contents(wrap),
    })
}

type Bytes = <SdkBody as Body>::Data;

struct Counted {
    inner: SdkBody,
    /// Bytes that are not passed on yet.
    waiting: Bytes,
    meter: Meter,
    /// The bytes of this attempt.
    position: u64,
    /// The most bytes of any attempt.
    furthest: Arc<AtomicU64>,
}

impl Counted {
    /// Returns the next of the waiting bytes.
    fn next(&mut self) -> Bytes {
        let length = self.waiting.len().min(GRAIN);
        self.position += length as u64;
        let before = self.furthest.fetch_max(self.position, Ordering::Relaxed);
        self.meter.add(self.position.saturating_sub(before));
        self.waiting.split_to(length)
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = <SdkBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.waiting.is_empty() {
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) => self.waiting = bytes,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(self.next()))))
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_empty() && Body::is_end_stream(&self.inner)
    }

    fn size_hint(&self) -> SizeHint {
        let waiting = self.waiting.len() as u64;
        let rest = Body::size_hint(&self.inner);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + waiting);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + waiting);
        }
        hint
    }
}
