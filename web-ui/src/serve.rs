//! The two doors: TCP for browsers and pipelines, the control socket for the command line.

use std::time::Duration;

use axum::{
    Extension, Router,
    body::Body,
    extract::{ConnectInfo, Request},
    middleware,
    serve::Listener,
};
use futures_util::{StreamExt, stream};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time::{Instant, timeout_at},
};

use crate::{
    Realm, Trust,
    door::{Door, Terms},
    router,
};

/// Connections of browsers and pipelines at once, and as many of the command line.
const CONNECTIONS_MAX: usize = 512;

/// Connections at once of users who may not use the control socket: they are told so.
const STRANGERS_MAX: usize = 16;

/// How long one of those may take.
const STRANGER_LIFETIME: Duration = Duration::from_secs(5);

/// Who is at the other end of the control socket, as the kernel says (SO_PEERCRED, unix(7)); None when it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlPeer {
    /// Its user.
    pub uid: Option<u32>,
}

impl ControlPeer {
    fn of(stream: &UnixStream) -> ControlPeer {
        ControlPeer { uid: stream.peer_cred().ok().map(|peer| peer.uid()) }
    }
}

/// How long a guest is waited for: places are few, and whoever is silent must not keep one.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the head of a request, and for the next one on the same connection.
    pub head: Duration,
    /// For the rest of the request, from its head on.
    pub body: Duration,
    /// For any part of the answer to be taken.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { head: Duration::from_secs(10), body: Duration::from_secs(10), answer: Duration::from_secs(30) }
    }
}

/// Serves browsers and pipelines for ever. Dropping the future closes the door; connections go with the runtime.
pub async fn tcp(listener: TcpListener, realm: Realm) {
    tcp_with(listener, realm, Patience::default()).await;
}

/// As [`tcp`], with other patience.
pub async fn tcp_with(listener: TcpListener, realm: Realm, patience: Patience) {
    let everybody = Terms::new(CONNECTIONS_MAX, None);
    let router = router(realm, Trust::Tcp);
    let door = Door::new(listener, patience.answer, move |_: &_| everybody.clone());
    serve(door, patience, move |_: &TcpStream| router.clone()).await;
}

/// Serves the command line over the control socket for ever. `allowed_uids` may do everything, others nothing.
pub async fn control(listener: UnixListener, realm: Realm, allowed_uids: Vec<u32>) {
    let patience = Patience::default();
    let (known, strangers) = (Terms::new(CONNECTIONS_MAX, None), Terms::new(STRANGERS_MAX, Some(STRANGER_LIFETIME)));
    let may = allowed_uids.clone();
    let door = Door::new(listener, patience.answer, move |stream: &UnixStream| {
        let is_known = ControlPeer::of(stream).uid.is_some_and(|uid| may.contains(&uid));
        if is_known { known.clone() } else { strangers.clone() }
    });
    let router = router(realm, Trust::Local { allowed_uids });
    let of_peer = |stream: &UnixStream| router.clone().layer(Extension(ConnectInfo(ControlPeer::of(stream))));
    serve(door, patience, of_peer).await;
}

/// Every guest in a task of its own. Not `axum::serve`: it waits for a head without an end.
async fn serve<L, F>(mut door: Door<L, F>, patience: Patience, router_for: impl Fn(&L::Io) -> Router)
where
    L: Listener,
    F: Fn(&L::Io) -> Terms + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience.head);
    loop {
        let guest = door.accept().await;
        let router = router_for(guest.io()).layer(middleware::map_request(move |request: Request| async move {
            request.map(|body| whole_within(patience.body, body))
        }));
        let connection = http.serve_connection(TokioIo::new(guest), TowerToHyperService::new(router));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection ended early: {error}");
            }
        });
    }
}

/// The body, as long as it comes in time.
fn whole_within(span: Duration, body: Body) -> Body {
    let until = Instant::now() + span;
    Body::from_stream(stream::try_unfold(body.into_data_stream(), move |mut parts| async move {
        match timeout_at(until, parts.next()).await {
            Ok(part) => Ok(part.transpose()?.map(|part| (part, parts))),
            Err(late) => Err(axum::Error::new(late)),
        }
    }))
}
