//! Connections to the workers: made when none is idle, kept while they are good. Which worker takes one is the kernel's
//! and the workers' business; a worker that is drained hands its idle ones on, so a reload is not seen here.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    StatusCode,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::UnixStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::{
    limits::{
        ANSWER_HEAD_MAX_BYTES, ANSWER_HEADERS_MAX, UNBEGUN_MAX, WORKER_AGAIN_AFTER, WORKER_CONNECTIONS_IDLE_MAX,
        WORKER_CONNECTIONS_MAX, WORKER_ROOM_WITHIN, WORKER_WITHIN,
    },
    lobby::Lobby,
    upload::Upload,
    writes::writes_through,
};

/// See the module.
pub(crate) struct Workers {
    /// `\0` and the abstract name of their socket.
    address: String,
    idle: Mutex<Vec<Idle>>,
    room: Arc<Semaphore>,
    /// How long an idle connection is good: a worker closes it a little later.
    idle_for: Duration,
    /// Where requests wait before they take one.
    pub(crate) lobby: Lobby,
}

struct Idle {
    line: Line,
    since: Instant,
}

/// A connection to a worker.
pub(crate) struct Line {
    /// What sends requests on it.
    pub(crate) sender: SendRequest<Upload>,
    received_bytes: Arc<AtomicU64>,
    _room: OwnedSemaphorePermit,
}

/// A connection for a request, with what is to be known of it.
pub(crate) struct Taken {
    /// The connection.
    pub(crate) line: Line,
    /// Whether it has served a request before: it may be closed this very moment.
    pub(crate) is_used: bool,
}

impl Workers {
    /// Behind the socket of this abstract name.
    pub(crate) fn new(name: &str, keepalive: Duration) -> Self {
        Self {
            address: format!("\0{name}"),
            idle: Mutex::default(),
            room: Arc::new(Semaphore::new(WORKER_CONNECTIONS_MAX)),
            idle_for: keepalive.mul_f64(0.8),
            lobby: Lobby::new(UNBEGUN_MAX),
        }
    }

    /// A connection on which nothing is under way.
    ///
    /// # Errors
    /// When no worker takes one.
    pub(crate) async fn take(&self) -> io::Result<Taken> {
        while let Some(idle) = self.pop() {
            let mut line = idle.line;
            if idle.since.elapsed() < self.idle_for && line.sender.ready().await.is_ok() {
                return Ok(Taken { line, is_used: true });
            }
        }
        self.connect().await
    }

    /// A connection that nothing was sent on yet.
    ///
    /// # Errors
    /// When no worker takes one.
    pub(crate) async fn connect(&self) -> io::Result<Taken> {
        let room = self.room_within(WORKER_ROOM_WITHIN).await?;
        let received_bytes = Arc::new(AtomicU64::new(0));
        let stream = Counted { stream: call(&self.address).await?, received_bytes: Arc::clone(&received_bytes) };
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(ANSWER_HEAD_MAX_BYTES)
            .max_headers(ANSWER_HEADERS_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // Its end is told to whoever waits for an answer on it.
        tokio::spawn(connection.with_upgrades());
        Ok(Taken { line: Line { sender, received_bytes, _room: room }, is_used: false })
    }

    async fn room_within(&self, within: Duration) -> io::Result<OwnedSemaphorePermit> {
        let room = timeout(within, Arc::clone(&self.room).acquire_owned()).await;
        let room = room.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "all its connections are in use"))?;
        room.map_err(io::Error::other)
    }

    /// Takes a connection back whose answer is complete. One that is not ready at once still has a body to send: it is
    /// closed.
    pub(crate) fn give_back(&self, line: Line) {
        if !line.sender.is_ready() {
            return;
        }
        let mut idle = self.lock();
        if idle.first().is_some_and(|oldest| oldest.line.sender.is_closed()) {
            idle.retain(|idle| !idle.line.sender.is_closed());
        }
        if idle.len() < WORKER_CONNECTIONS_IDLE_MAX {
            idle.push(Idle { line, since: Instant::now() });
        }
    }

    fn pop(&self) -> Option<Idle> {
        self.lock().pop()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        // Every change is one call: a panic elsewhere cannot leave it half changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Unlike TCP, a full queue of a unix socket is an error and not a wait (connect(2), EAGAIN): workers that are all busy
/// come back to it.
///
/// # Errors
/// When no worker takes a connection.
pub(crate) async fn call(address: &str) -> io::Result<UnixStream> {
    let deadline = Instant::now() + WORKER_WITHIN;
    loop {
        match UnixStream::connect(address).await {
            // Where nobody listens any more, everybody may take the name (unix(7)).
            Ok(worker) if !is_believed(worker.peer_cred()?.uid(), nix::unistd::geteuid().as_raw()) => {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user listens in their place"));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                tokio::time::sleep(WORKER_AGAIN_AFTER).await;
            }
            called => return called,
        }
    }
}

/// Whether requests go to whoever listens as this user: root binds for others.
fn is_believed(listens: u32, own: u32) -> bool {
    listens == 0 || listens == own
}

/// The status of a request whose answer cannot be passed on. Says why, where an app can do something about it.
pub(crate) fn no_answer(error: &hyper::Error) -> StatusCode {
    if error.is_parse_too_large() {
        crate::log::say(&format!(
            "*** the head of an answer is longer than {ANSWER_HEAD_MAX_BYTES} bytes or has more than {ANSWER_HEADERS_MAX} \
             headers: its client gets 502 ***"
        ));
    }
    StatusCode::BAD_GATEWAY
}

/// Says that a client is turned away for that.
pub(crate) fn tell_of_none(error: &io::Error) {
    crate::log::say(&format!("*** no worker takes a connection of the gateway: {error} ***"));
}

impl Line {
    /// How much has come back on it so far, in bytes.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Relaxed)
    }
}

/// A stream that counts what it receives: a request may be sent again only when nothing of an answer has come.
struct Counted {
    stream: UnixStream,
    received_bytes: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = room.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, room);
        self.received_bytes.fetch_add((room.filled().len() - before) as u64, Relaxed);
        read
    }
}

writes_through!(Counted);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_to_root_and_to_our_own_user_and_to_nobody_else() {
        assert!(is_believed(0, 1000) && is_believed(1000, 1000) && is_believed(0, 0));
        assert!(!is_believed(1001, 1000) && !is_believed(1000, 0));
    }

    #[tokio::test]
    async fn h1_a_request_waits_for_a_connection_only_so_long() {
        let workers = Workers::new("empery-gateway-nobody", Duration::from_secs(75));
        let all = u32::try_from(WORKER_CONNECTIONS_MAX).unwrap();
        let taken = Arc::clone(&workers.room).acquire_many_owned(all).await.unwrap();
        let error = workers.room_within(Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(taken);
        assert!(workers.room_within(WORKER_ROOM_WITHIN).await.is_ok());
    }
}
