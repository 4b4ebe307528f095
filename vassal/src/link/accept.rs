//! Accepts connections on the link. Who may speak is decided by what the kernel says about the peer (SO_PEERCRED),
//! never by what it says about itself: root, the brain's user, and this vassal's own.

use std::{
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use empery_sys::{
    channel::{Channel, Listener},
    seqpacket,
};

use crate::supervise::input::{Inbox, Input, Introduced};

/// How long a newcomer may take to say who it is.
const INTRODUCTION_DEADLINE: Duration = Duration::from_secs(5);

/// Out of descriptors, the next accept fails at once as well: this long nobody tries (accept(2), EMFILE).
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Who may speak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admitted {
    /// The brain's user.
    pub(crate) brain_uid: u32,
    /// This vassal's.
    pub(crate) own_uid: u32,
}

/// Accepts from now on.
///
/// # Errors
/// When the socket cannot be polled.
pub(crate) fn start(link: OwnedFd, admitted: Admitted, inbox: Inbox) -> std::io::Result<()> {
    let link = Listener::new(link)?;
    tokio::spawn(async move {
        loop {
            match link.accept().await {
                Ok(channel) => {
                    tokio::spawn(introduce(channel, admitted, inbox.clone()));
                }
                // The newcomer is gone again, or this process is out of descriptors: the next one may have more luck.
                Err(error) => {
                    crate::log::say(&format!("*** a connection on the link was not accepted: {error} ***"));
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    });
    Ok(())
}

async fn introduce(channel: OwnedFd, admitted: Admitted, inbox: Inbox) {
    let Ok(peer) = seqpacket::peer(channel.as_fd()) else { return };
    if ![0, admitted.brain_uid, admitted.own_uid].contains(&peer.uid) {
        return;
    }
    let Ok(channel) = Channel::new(channel) else { return };
    let word = tokio::time::timeout(INTRODUCTION_DEADLINE, channel.receive()).await;
    if let Ok(Ok(Some((introduction, descriptors)))) = word {
        inbox.put(Input::Introduced(Box::new(Introduced { introduction, descriptors, channel, pid: peer.pid })));
    }
}
