//! An answer on its way to a client: a worker's, passed on as it comes, or a short one of the gateway's own.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
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
    limits::SEND_BUFFER_BYTES,
    upload::{more, without_trailers},
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
    /// What of it is here and was not passed on: a client's part of the memory is bounded, whatever a worker sends at a time.
    rest: Bytes,
    line: Option<Line>,
    workers: Arc<Workers>,
}

impl Answer {
    /// A worker's.
    pub(crate) fn of_worker(body: Incoming, line: Line, workers: Arc<Workers>, mut in_flight: InFlight) -> Self {
        let mut delivery = Delivery { body, rest: Bytes::new(), line: Some(line), workers };
        if delivery.body.is_end_stream() {
            delivery.is_complete();
        } else {
            in_flight.offered(0);
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

    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        if self.rest.is_empty() {
            match ready!(without_trailers(Pin::new(&mut self.body), context)) {
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.is_complete();
                    return Poll::Ready(None);
                }
            }
            if self.body.is_end_stream() {
                self.is_complete();
            }
        }
        let length = self.rest.len().min(SEND_BUFFER_BYTES);
        Poll::Ready(Some(Ok(self.rest.split_to(length))))
    }

    fn is_passed_on(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
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
                let part = ready!(delivery.poll_part(context));
                // The last one, too: HTTP/2 keeps it here until its client has room.
                if let (Some(Ok(bytes)), Some(in_flight)) = (&part, &mut this.in_flight) {
                    in_flight.offered(bytes.len());
                }
                Poll::Ready(part.map(|part| part.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Own(text) => text.is_end_stream(),
            Content::Worker(delivery) => delivery.is_passed_on(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(text) => text.size_hint(),
            Content::Worker(delivery) => more(delivery.body.size_hint(), delivery.rest.len()),
        }
    }
}
