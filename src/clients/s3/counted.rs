//! Counts the bytes of uploads while they are sent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use http_body::{Body, Frame, SizeHint};

use crate::report::Meter;

/// Wraps a stream to count its bytes. A retry counts only the bytes that no
/// earlier attempt has reached.
pub(super) fn counted(stream: ByteStream, meter: Meter) -> ByteStream {
    let furthest = Arc::new(AtomicU64::new(0));
    ByteStream::new(stream.into_inner().map_preserve_contents(move |inner| {
        SdkBody::from_body_1_x(Counted {
            inner,
            meter: meter.clone(),
            position: 0,
            furthest: Arc::clone(&furthest),
        })
    }))
}

struct Counted {
    inner: SdkBody,
    meter: Meter,
    /// The bytes of this attempt.
    position: u64,
    /// The most bytes of any attempt.
    furthest: Arc<AtomicU64>,
}

impl Body for Counted {
    type Data = <SdkBody as Body>::Data;
    type Error = <SdkBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(bytes) = frame.data_ref()
        {
            self.position += bytes.len() as u64;
            let before = self.furthest.fetch_max(self.position, Ordering::Relaxed);
            self.meter.add(self.position.saturating_sub(before));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        Body::is_end_stream(&self.inner)
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.inner)
    }
}
