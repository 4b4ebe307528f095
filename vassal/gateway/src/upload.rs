//! A request's body on its way to a worker: from its beginning on, which is waited for, it is passed on as it comes, so that a
//! slow reader slows the sender down. Trailers stay behind: no app asks for them, and nothing but a body was checked.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use empery_wire::{
    limits::{BODY_MIN_BYTES_PER_S, REST_MAX_MS},
    pace::Pace,
};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

use crate::lobby::Lobby;

/// See the module.
pub(crate) enum Upload {
    /// There is one.
    Stream {
        /// What of it is here and was not passed on.
        begun: Bytes,
        /// What follows.
        rest: Option<Incoming>,
    },
    /// There is none.
    Nothing,
}

/// Why no beginning of a body came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unbegun {
    /// Its client is too slow.
    Late,
    /// Its client has gone, taken it back, or framed it wrongly.
    Broken,
    /// Too many others wait, too.
    CrowdedOut,
}

impl Upload {
    /// What a request brings, once it is here whole or has begun in earnest: no worker's connection is taken for a body that does
    /// not come. A client may take `grant` for it, and longer when something comes; `enough` says how much it must be.
    ///
    /// # Errors
    /// When it does not come.
    pub(crate) async fn begin(
        body: Incoming,
        grant: Duration,
        enough: impl Fn() -> usize,
        lobby: &Lobby,
    ) -> Result<Self, Unbegun> {
        if body.is_end_stream() {
            return Ok(Upload::Nothing);
        }
        let place = lobby.enter();
        tokio::select! {
            biased;
            () = place.crowded_out() => Err(Unbegun::CrowdedOut),
            begun = Self::begin_alone(body, grant, enough) => begun,
        }
    }

    async fn begin_alone(mut body: Incoming, grant: Duration, enough: impl Fn() -> usize) -> Result<Self, Unbegun> {
        let pace = Pace { grant_ms: as_ms(grant), min_bytes_per_s: BODY_MIN_BYTES_PER_S };
        let began = Instant::now();
        let mut begun = Vec::new();
        while begun.len() < enough() && !body.is_end_stream() {
            let wait_ms = pace.next_wait_ms(as_ms(began.elapsed()), begun.len() as u64);
            let next = poll_fn(|context| without_trailers(Pin::new(&mut body), context));
            match timeout(Duration::from_millis(wait_ms), next).await.map_err(|_| Unbegun::Late)? {
                Some(Ok(frame)) => begun.extend(frame.into_data().unwrap_or_default()),
                Some(Err(_)) => return Err(Unbegun::Broken),
                None => return Ok(Upload::Stream { begun: begun.into(), rest: None }),
            }
        }
        Ok(Upload::Stream { begun: begun.into(), rest: Some(body) })
    }
}

/// What nobody wants any more is still received for a while: refusing it at once (RFC 9113, section 8.1) has some clients overlook
/// the answer that they have got, curl 7.88 among them; over HTTP/1.1 it would be lost (RFC 9112, 9.6).
impl Drop for Upload {
    fn drop(&mut self) {
        if let Upload::Stream { rest, .. } = self
            && let Some(mut body) = rest.take()
            && !body.is_end_stream()
            // A gateway that ends has nobody left to wait for.
            && let Ok(here) = Handle::try_current()
        {
            here.spawn(async move {
                let receive = async {
                    while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {}
                };
                let _ = timeout(Duration::from_millis(REST_MAX_MS), receive).await;
            });
        }
    }
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Upload::Stream { begun, .. } if !begun.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(begun)))))
            }
            Upload::Stream { rest: Some(body), .. } => without_trailers(Pin::new(body), context),
            Upload::Stream { rest: None, .. } | Upload::Nothing => Poll::Ready(None),
        }
    }

    /// One that is here whole, and empty, is still told of: it had a coding.
    fn is_end_stream(&self) -> bool {
        matches!(self, Upload::Nothing)
    }

    fn size_hint(&self) -> SizeHint {
        let Upload::Stream { begun, rest } = self else { return SizeHint::with_exact(0) };
        let rest = rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        more(rest, begun.len())
    }
}

/// What is known of a length that has so much more before it.
pub(crate) fn more(rest: SizeHint, bytes: usize) -> SizeHint {
    let mut whole = SizeHint::new();
    whole.set_lower(rest.lower() + bytes as u64);
    if let Some(upper) = rest.upper() {
        whole.set_upper(upper.saturating_add(bytes as u64));
    }
    whole
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
