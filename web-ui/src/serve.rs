//! The two doors: TCP for browsers and pipelines, the control socket for the command line.

use std::{io, time::Duration};

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use tokio::net::{TcpListener, UnixListener, UnixStream};

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

impl<F: Fn(&UnixStream) -> Terms + Send + 'static> Connected<IncomingStream<'_, Door<UnixListener, F>>>
    for ControlPeer
{
    fn connect_info(stream: IncomingStream<'_, Door<UnixListener, F>>) -> Self {
        ControlPeer::of(stream.io().io())
    }
}

/// Serves browsers and pipelines until the listener fails. Dropping the future closes the door; connections go with the runtime.
///
/// # Errors
/// When the listener fails for good.
pub async fn tcp(listener: TcpListener, realm: Realm) -> io::Result<()> {
    let everybody = Terms::new(CONNECTIONS_MAX, None);
    axum::serve(Door::new(listener, move |_: &_| everybody.clone()), router(realm, Trust::Tcp)).await
}

/// Serves the command line over the control socket. `allowed_uids` may do everything, others nothing.
///
/// # Errors
/// When the listener fails for good.
pub async fn control(listener: UnixListener, realm: Realm, allowed_uids: Vec<u32>) -> io::Result<()> {
    let (known, strangers) = (Terms::new(CONNECTIONS_MAX, None), Terms::new(STRANGERS_MAX, Some(STRANGER_LIFETIME)));
    let may = allowed_uids.clone();
    let door = Door::new(listener, move |stream: &UnixStream| {
        let is_known = ControlPeer::of(stream).uid.is_some_and(|uid| may.contains(&uid));
        if is_known { known.clone() } else { strangers.clone() }
    });
    let service = router(realm, Trust::Local { allowed_uids }).into_make_service_with_connect_info::<ControlPeer>();
    axum::serve(door, service).await
}
