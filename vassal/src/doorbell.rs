//! Watches the sockets of a vassal at rest: it rings once when a client has connected. The client waits in the socket's
//! queue until a worker takes it; nothing is accepted here.

use std::os::fd::OwnedFd;

use empery_sys::readable::Readable;
use tokio::task::AbortHandle;

use crate::supervise::input::{Inbox, Input};

/// Watches until dropped.
pub(crate) struct Doorbell(Vec<AbortHandle>);

impl Doorbell {
    /// Watches copies of the listening sockets.
    ///
    /// # Errors
    /// When the runtime cannot watch one.
    pub(crate) fn watch(sockets: Vec<OwnedFd>, inbox: &Inbox) -> std::io::Result<Self> {
        let mut bell = Self(Vec::new());
        for socket in sockets {
            let socket = Readable::watch(socket)?;
            let inbox = inbox.clone();
            let task = tokio::spawn(async move {
                if socket.ready().await.is_ok() {
                    inbox.put(Input::ClientWaits);
                }
            });
            bell.0.push(task.abort_handle());
        }
        Ok(bell)
    }
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}
