//! A request's body on its way to a worker: passed on as it comes, so that a slow reader slows the sender down. Trailers
//! stay behind: no app asks for them, and nothing but a body was checked.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// See the module.
pub(crate) enum Upload {
    /// There is one.
    Stream(Incoming),
    /// There is none.
    Nothing,
}

impl Upload {
    /// What a request brings.
    pub(crate) fn of(body: Incoming) -> Self {
        if body.is_end_stream() { Upload::Nothing } else { Upload::Stream(body) }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Upload::Nothing => Poll::Ready(None),
            Upload::Stream(body) => without_trailers(Pin::new(body), context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Upload::Nothing => true,
            Upload::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Upload::Nothing => SizeHint::with_exact(0),
            Upload::Stream(body) => body.size_hint(),
        }
    }
}

/// The next part of a body; trailers are its end.
pub(crate) fn without_trailers(
    body: Pin<&mut Incoming>,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    match body.poll_frame(context) {
        Poll::Ready(Some(Ok(frame))) if !frame.is_data() => Poll::Ready(None),
        other => other,
    }
}
