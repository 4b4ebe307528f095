//! The two doors: TCP for browsers and pipelines, the control socket for the command line.

use std::io;

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use tokio::net::{TcpListener, UnixListener};

use crate::{Realm, Trust, router};

/// Who is at the other end of the control socket, as the kernel says (SO_PEERCRED, unix(7)); None when it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlPeer {
    /// Its user.
    pub uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for ControlPeer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        ControlPeer { uid: stream.io().peer_cred().ok().map(|peer| peer.uid()) }
    }
}

/// Serves browsers and pipelines until the listener fails. Dropping the future closes the door; connections go with the runtime.
///
/// # Errors
/// When the listener fails for good.
pub async fn tcp(listener: TcpListener, realm: Realm) -> io::Result<()> {
    axum::serve(listener, router(realm, Trust::Tcp)).await
}

/// Serves the command line over the control socket. `allowed_uids` may do everything, others nothing.
///
/// # Errors
/// When the listener fails for good.
pub async fn control(listener: UnixListener, realm: Realm, allowed_uids: Vec<u32>) -> io::Result<()> {
    let service = router(realm, Trust::Local { allowed_uids }).into_make_service_with_connect_info::<ControlPeer>();
    axum::serve(listener, service).await
}
