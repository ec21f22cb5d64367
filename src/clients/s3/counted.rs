//! Counts the bytes of uploads while they are sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use http_body::{Body, Frame, SizeHint};

use crate::report::Meter;

/// Wraps a stream to count its bytes. A retry counts its bytes again.
pub(super) fn counted(stream: ByteStream, meter: Meter) -> ByteStream {
    ByteStream::new(stream.into_inner().map_preserve_contents(move |inner| {
        let meter = meter.clone();
        SdkBody::from_body_1_x(Counted { inner, meter })
    }))
}

struct Counted {
    inner: SdkBody,
    meter: Meter,
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
            self.meter.add(bytes.len() as u64);
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
