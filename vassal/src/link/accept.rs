//! Accepts connections on the link. Who may speak is decided by what the kernel says about the peer (SO_PEERCRED),
//! never by what it says about itself: root, the brain's user, and this vassal's own.

use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use empery_control::{
    gateway::ToGateway,
    worker::{Introduction, ToWorker},
};
use empery_sys::{
    channel::{Channel, Listener},
    seqpacket,
};
use tokio::sync::Semaphore;

use crate::supervise::input::{Inbox, Input, Introduced};

/// How long a newcomer may take to say who it is.
const INTRODUCTION_DEADLINE: Duration = Duration::from_secs(5);

/// How many may say at a time who they are that nobody knows: whoever passes through the directories may connect.
const STRANGERS_MAX: usize = 8;

/// How long one that was sent away may take to hear that.
const SENT_AWAY_WITHIN: Duration = Duration::from_secs(10);

/// Out of descriptors, the next accept fails at once as well: this long nobody tries (accept(2), EMFILE).
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Who may speak.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// The brain's user when this master was started.
    pub(crate) brain_uid: u32,
    /// Where the keeper writes who it is by now.
    pub(crate) brain_uid_path: PathBuf,
    /// This vassal's.
    pub(crate) own_uid: u32,
    /// Those of earlier masters of it, of whom only what they have left is admitted.
    pub(crate) former_uids: Vec<u32>,
}

/// Accepts from now on.
///
/// # Errors
/// When the socket cannot be polled.
pub(crate) fn start(link: OwnedFd, admitted: Admitted, inbox: Inbox) -> std::io::Result<()> {
    let link = Listener::new(link)?;
    let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
    tokio::spawn(async move {
        loop {
            match link.accept().await {
                Ok(channel) => {
                    tokio::spawn(introduce(channel, admitted.clone(), inbox.clone(), Arc::clone(&strangers)));
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

async fn introduce(channel: OwnedFd, admitted: Admitted, inbox: Inbox, strangers: Arc<Semaphore>) {
    let Ok(peer) = seqpacket::peer(channel.as_fd()) else { return };
    let known = [0, admitted.brain_uid, admitted.own_uid].contains(&peer.uid);
    let is_known = known || brain_uid_now(&admitted.brain_uid_path) == Some(peer.uid);
    let is_former = admitted.former_uids.contains(&peer.uid);
    let place = if is_known || is_former { None } else { Some(strangers.try_acquire()) };
    let (Ok(channel), None | Some(Ok(_))) = (Channel::new(channel), &place) else { return };
    let word = tokio::time::timeout(INTRODUCTION_DEADLINE, channel.receive::<Introduction>()).await;
    let Ok(Ok(Some((introduction, descriptors)))) = word else { return };
    if is_known || is_former && introduction.is_left_behind() {
        inbox.put(Input::Introduced(Box::new(Introduced { introduction, descriptors, channel, pid: peer.pid })));
    } else if place.is_some() {
        send_away(&channel, &introduction).await;
    }
}

/// Somebody who serves here for another user, to whom the vassal belonged before: it is told to finish what it has and to leave.
/// Nothing that it says is believed.
async fn send_away(channel: &Channel, introduction: &Introduction) {
    let said = match introduction {
        Introduction::Brain { .. } => return,
        Introduction::OrphanedGateway { .. } => channel.try_send(&ToGateway::Drain, &[]),
        Introduction::OrphanedWorker { .. } => channel.try_send(&ToWorker::Drain, &[]),
    };
    if said.is_ok() {
        // Hung up at once, it might not hear that (unix(7): what is unread then resets the connection).
        let gone = async { while let Ok(Some(_)) = channel.receive::<serde::de::IgnoredAny>().await {} };
        let _ = tokio::time::timeout(SENT_AWAY_WITHIN, gone).await;
    }
}

/// Who the brain is since the emperor was started again with another `--user`: believed when nobody but root, or whoever
/// the keeper is where it is not root, can have written it.
fn brain_uid_now(path: &Path) -> Option<u32> {
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    let facts = std::fs::symlink_metadata(path).ok()?;
    let keeper = std::fs::symlink_metadata(path.parent()?).ok()?.uid();
    if !facts.is_file() || facts.uid() != keeper || facts.mode() & WRITABLE_BY_OTHERS != 0 {
        return None;
    }
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn who_the_brain_is_is_believed_only_of_a_file_that_nobody_else_can_write() {
        let directory = std::env::temp_dir().join(format!("empery-brain-uid-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("brain.uid");
        assert_eq!(brain_uid_now(&path), None);
        std::fs::write(&path, "4711\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(brain_uid_now(&path), Some(4711));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(brain_uid_now(&path), None);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/proc/self/loginuid", &path).unwrap();
        assert_eq!(brain_uid_now(&path), None);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
