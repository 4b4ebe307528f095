//! An answer on its way to a client: a worker's, passed on as it comes, or a short one of the gateway's own.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    header::{CONTENT_TYPE, HeaderValue},
};

use crate::{
    deadlines::InFlight,
    upload::without_trailers,
    workers::{Line, Workers},
};

/// The body of an answer.
pub(crate) struct Answer {
    content: Content,
    /// The request is in flight as long as its answer is.
    in_flight: Option<InFlight>,
}

enum Content {
    Worker(Delivery),
    Own(Full<Bytes>),
}

/// A worker's answer with the connection it comes on.
struct Delivery {
    body: Incoming,
    line: Option<Line>,
    workers: Arc<Workers>,
}

impl Answer {
    /// A worker's.
    pub(crate) fn of_worker(body: Incoming, line: Line, workers: Arc<Workers>, mut in_flight: InFlight) -> Self {
        let mut delivery = Delivery { body, line: Some(line), workers };
        if delivery.body.is_end_stream() {
            delivery.is_complete();
        } else {
            in_flight.offered();
        }
        Self { content: Content::Worker(delivery), in_flight: Some(in_flight) }
    }

    /// Nothing.
    pub(crate) fn empty() -> Self {
        Self { content: Content::Own(Full::default()), in_flight: None }
    }

    /// One of the gateway's own: its status, in words.
    pub(crate) fn own(status: StatusCode) -> Response<Self> {
        let text = format!("{}\n", status.canonical_reason().unwrap_or_default());
        let mut answer =
            Response::new(Self { content: Content::Own(Full::new(text.into_bytes().into())), in_flight: None });
        *answer.status_mut() = status;
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        answer
    }
}

impl Delivery {
    fn is_complete(&mut self) {
        if let Some(line) = self.line.take() {
            self.workers.give_back(line);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        if let Some(in_flight) = &mut this.in_flight {
            in_flight.taken();
        }
        match &mut this.content {
            Content::Own(text) => Pin::new(text).poll_frame(context).map_err(|never| match never {}),
            Content::Worker(delivery) => {
                let frame = without_trailers(Pin::new(&mut delivery.body), context);
                if matches!(frame, Poll::Ready(None)) || delivery.body.is_end_stream() {
                    delivery.is_complete();
                } else if let (Poll::Ready(Some(Ok(_))), Some(in_flight)) = (&frame, &mut this.in_flight) {
                    in_flight.offered();
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Own(text) => text.is_end_stream(),
            Content::Worker(delivery) => delivery.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(text) => text.size_hint(),
            Content::Worker(delivery) => delivery.body.size_hint(),
        }
    }
}
