//! One connection, from the end of its handshake to its own: HTTP/1.1 or HTTP/2, whichever was agreed on (RFC 7301).

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
};

use empery_wire::{Limits, limits::LEADING_EMPTY_LINES_MAX};
use hyper::{
    Request, Response,
    body::Incoming,
    server::conn::{http1, http2},
    service::Service,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use crate::{
    answer::Answer,
    deadlines::{Activity, Due, Heads, Noted, Waits},
    floor::Floor,
    judged::Judged,
    limits::{CONNECTION_WINDOW_BYTES, HEADERS_MAX, SEND_BUFFER_BYTES, STREAMS_MAX, WINDOW_BYTES},
};

/// How connections of this gateway are served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// The longest waits.
    pub(crate) waits: Waits,
    /// Longest request head, in bytes.
    pub(crate) head_max_bytes: u32,
}

/// What answers the requests of a connection.
pub(crate) trait Answers:
    Service<Request<Incoming>, Response = Response<Answer>, Error = Infallible, Future = Pending> + Send + 'static
{
}

impl<S> Answers for S where
    S: Service<Request<Incoming>, Response = Response<Answer>, Error = Infallible, Future = Pending> + Send + 'static
{
}

/// An answer to come.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

/// Serves HTTP/1.1 until this client or closing time ends it.
pub(crate) async fn serve_http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static, A: Answers>(
    stream: S,
    peer: SocketAddr,
    manners: Manners,
    floor: &Arc<Floor>,
    answers: impl FnOnce(Arc<Activity>) -> A,
) {
    let activity = Activity::new(Heads::Each, Arc::clone(floor));
    let answers = answers(Arc::clone(&activity));
    let head_max_bytes = usize::try_from(manners.head_max_bytes).unwrap_or(usize::MAX);
    let limits = Limits { head_max_bytes, headers_max: HEADERS_MAX, body_max_bytes: 0 };
    let stream = Noted::new(stream, Arc::clone(&activity));
    let connection = http1::Builder::new()
        .auto_date_header(false)
        .max_headers(HEADERS_MAX)
        // A client that has said all it wants to is waiting for its answer.
        .half_close(true)
        // What is longer is refused before.
        .max_buf_size(head_max_bytes.saturating_add(2 * LEADING_EMPTY_LINES_MAX).max(8192))
        // Its own deadline would also end a connection that rests between two requests.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(Judged::new(stream, Arc::clone(&activity), peer, limits)), answers)
        .with_upgrades();
    let goodbye = |connection: Pin<&mut http1::UpgradeableConnection<_, _>>| connection.graceful_shutdown();
    keep(pin!(connection), goodbye, &activity, manners.waits, floor).await;
}

/// The same over HTTP/2.
pub(crate) async fn serve_http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static, A: Answers>(
    stream: S,
    manners: Manners,
    floor: &Arc<Floor>,
    answers: impl FnOnce(Arc<Activity>) -> A,
) {
    let activity = Activity::new(Heads::First, Arc::clone(floor));
    let answers = answers(Arc::clone(&activity));
    let connection = http2::Builder::new(TokioExecutor::new())
        .auto_date_header(false)
        .max_header_list_size(manners.head_max_bytes)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .serve_connection(TokioIo::new(Noted::new(stream, Arc::clone(&activity))), answers);
    let goodbye = |connection: Pin<&mut http2::Connection<_, _, _>>| connection.graceful_shutdown();
    keep(pin!(connection), goodbye, &activity, manners.waits, floor).await;
}

/// Drives a connection, and ends it when its time is up.
pub(crate) async fn keep<C: Future>(
    mut connection: Pin<&mut C>,
    goodbye: impl Fn(Pin<&mut C>),
    activity: &Activity,
    waits: Waits,
    floor: &Floor,
) {
    let closing_time = async {
        // The sender is the floor, which outlives every connection.
        let _ = floor.closing().wait_for(|closing| *closing).await;
        activity.may_leave().await;
    };
    let mut closing_time = pin!(closing_time);
    let (mut is_leaving, mut is_told) = (false, false);
    // How much was written when it was idle for too long.
    let mut idle_at_bytes = None;
    let mut look = pin!(tokio::time::sleep_until(Instant::now()));
    loop {
        tokio::select! {
            biased;
            // How a client's connection ended is of no interest to anybody but the client.
            _ = connection.as_mut() => return,
            () = activity.flooded() => {
                crate::log::say("*** a connection is cut: its client takes requests back before they are answered ***");
                return;
            }
            () = closing_time.as_mut(), if !is_leaving => {
                is_leaving = true;
                goodbye(connection.as_mut());
            }
            () = look.as_mut() => match activity.due(waits) {
                Due::Later(at) => look.as_mut().reset(at),
                Due::Idle => {
                    let written = activity.written_bytes();
                    if !is_leaving && !activity.has_unsent() {
                        is_leaving = true;
                        goodbye(connection.as_mut());
                    } else if idle_at_bytes.is_some_and(|before| written - before < waits.least_bytes()) {
                        return;
                    }
                    // The last of an answer may still be on its way to a slow reader.
                    idle_at_bytes = Some(written);
                    look.as_mut().reset(Instant::now() + waits.client);
                }
                Due::Late if !is_told => {
                    is_told = true;
                    activity.refuse_late();
                    look.as_mut().reset(Instant::now() + waits.client);
                }
                Due::Late | Due::Stuck => return,
            },
        }
    }
}
