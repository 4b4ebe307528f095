//! The brain's connection to one master: introduces itself, passes orders on, and tells the owning task what the
//! master says, until the last word of a master that is gone. Connects again when the connection is lost and the
//! master is not. Decides nothing.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use empery_control::{
    link::{FromMaster, LINK_VERSION, Order},
    worker::Introduction,
};
use empery_lifecycle::fleet::MasterKey;
use empery_sys::{channel::Channel, seqpacket::Received};
use tokio::sync::{mpsc, oneshot};

use super::{
    foreign::{self, ClosedElsewhere},
    inputs::{Inbox, Input},
    turn::{Turn, Turns},
    vital::Vital,
};

/// First and longest wait before a lost connection is tried again; it doubles.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(2);

/// How long the last words of a dead master are read for. They are in the socket already: only a descriptor that
/// somebody else holds open could keep it from ending.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A word to a master, with its descriptors.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The word.
    pub(crate) order: Order,
    /// Its descriptors.
    pub(crate) fds: Vec<OwnedFd>,
    /// Told whether it was sent.
    pub(crate) outcome: Option<oneshot::Sender<Result<(), String>>>,
}

/// One link. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct LinkHandle {
    orders: mpsc::UnboundedSender<Sent>,
    gone: Option<oneshot::Sender<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for LinkHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LinkHandle {
    /// Connects to the master behind this socket, in its own task.
    pub(crate) fn open(master: MasterKey, path: PathBuf, inbox: Inbox) -> LinkHandle {
        let (orders, queue) = mpsc::unbounded_channel();
        let (gone, ended) = oneshot::channel();
        let vital = Vital::new("a link", inbox.clone());
        let link = Link { master, path, inbox, orders: queue, ended, told_foreign: false, turns: Turns::default() };
        let task = tokio::spawn(async move {
            let _vital = vital;
            link.run().await;
        });
        LinkHandle { orders, gone: Some(gone), task }
    }

    /// Where orders go; they wait there while the connection is being made.
    pub(crate) fn orders(&self) -> mpsc::UnboundedSender<Sent> {
        self.orders.clone()
    }

    /// The master's process is gone: its last words are heard, then [`Input::MasterGone`] is told.
    pub(crate) fn master_exited(&mut self, how: String) {
        if let Some(gone) = self.gone.take() {
            // The task only ends by telling of this very exit.
            let _ = gone.send(how);
        }
    }
}

struct Link {
    master: MasterKey,
    path: PathBuf,
    inbox: Inbox,
    orders: mpsc::UnboundedReceiver<Sent>,
    ended: oneshot::Receiver<String>,
    /// Whether the log was told of descriptors that are not taken.
    told_foreign: bool,
    turns: Turns,
}

/// A connection to a master. What nobody has read is closed with it.
type Line = ClosedElsewhere<Channel>;

/// Why a connection is no longer spoken on.
enum Over {
    /// It was lost.
    Lost(String),
    /// The master's process is gone.
    Exited(String),
    /// The handle was dropped.
    Dropped,
}

impl Link {
    async fn run(mut self) {
        let mut wait = RETRY_FIRST;
        loop {
            let over = match connect(&self.path).await {
                Ok(line) => {
                    let over = self.speak(line.get(), &mut wait).await;
                    if matches!(over, Over::Lost(_)) {
                        // One at a time: a master could have a new one made while the closing of each takes for ever.
                        tokio::select! {
                            () = line.closed() => {}
                            how = &mut self.ended => {
                                if let Ok(how) = how {
                                    self.inbox.tell(Input::MasterGone { master: self.master, how });
                                }
                                return;
                            }
                        }
                    }
                    over
                }
                Err(cause) => Over::Lost(cause),
            };
            let cause = match over {
                Over::Exited(how) => return self.inbox.tell(Input::MasterGone { master: self.master, how }),
                Over::Dropped => return,
                Over::Lost(cause) => cause,
            };
            tracing::debug!(vassal = %self.master.vassal, cause, "no link to the master; trying again");
            tokio::select! {
                how = &mut self.ended => {
                    if let Ok(how) = how {
                        self.inbox.tell(Input::MasterGone { master: self.master, how });
                    }
                    return;
                }
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY_LONGEST),
            }
        }
    }

    /// Speaks until the connection or the master ends.
    async fn speak(&mut self, channel: &Channel, wait: &mut Duration) -> Over {
        let mut introduced = false;
        loop {
            tokio::select! {
                biased;
                (turn, received) = next(&self.turns, channel) => match received {
                    Ok(Some(received)) => {
                        let (word, fds) = match self.look_at(received).await {
                            Ok(looked) => looked,
                            Err(over) => return over,
                        };
                        match &word {
                            FromMaster::Snapshot(snapshot) => {
                                // Another process behind the same socket: ours never answered, or is gone already.
                                if snapshot.master != self.master {
                                    return Over::Lost(format!("another master answers there ({})", snapshot.pid));
                                }
                                introduced = true;
                                *wait = RETRY_FIRST;
                            }
                            FromMaster::WrongVersion { speaks } => {
                                let text = format!(
                                    "the master of {} speaks version {speaks} of the link protocol and this emperor {LINK_VERSION}: \
                                     it serves on, but cannot be steered; end it (SIGTERM) to have it started anew",
                                    self.master.vassal);
                                self.inbox.tell(Input::Alarm(text));
                                return Over::Lost("wrong version".to_owned());
                            }
                            _ => {}
                        }
                        self.inbox.tell(Input::Master { master: self.master.clone(), word: Box::new(word), fds, turn });
                    }
                    Ok(None) => return self.await_exit("the master closed it").await,
                    Err(error) => return self.await_exit(&error.to_string()).await,
                },
                how = &mut self.ended => {
                    let Ok(how) = how else { return Over::Dropped };
                    if introduced {
                        self.hear_last_words(channel).await;
                    }
                    return Over::Exited(how);
                }
                order = self.orders.recv(), if introduced => {
                    let Some(Sent { order, fds, outcome }) = order else { return Over::Dropped };
                    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                    let sent = channel.send(&order, &borrowed).await.map_err(|error| error.to_string());
                    if let Some(outcome) = outcome {
                        // Whoever ordered may have lost interest.
                        let _ = outcome.send(sent.clone());
                    }
                    if let Err(cause) = sent {
                        return Over::Lost(cause);
                    }
                }
            }
        }
    }

    /// The word of a message, with its descriptors if they are what belongs to it; what else came with it is closed before
    /// anything more is read.
    async fn look_at(&mut self, received: Received) -> Result<(FromMaster, Vec<OwnedFd>), Over> {
        let word = received.word::<FromMaster>();
        let mut fds = received.fds;
        if !fds.is_empty() && !word.as_ref().is_ok_and(|word| foreign::are_proper(word, &fds)) {
            if !std::mem::replace(&mut self.told_foreign, true) {
                let number = fds.len();
                tracing::warn!(vassal = %self.master.vassal, "its master sent {number} descriptors that are not taken");
            }
            tokio::select! {
                () = foreign::close(std::mem::take(&mut fds)) => {}
                how = &mut self.ended => return Err(how.map_or(Over::Dropped, Over::Exited)),
            }
        }
        match word {
            Ok(word) => Ok((word, fds)),
            Err(error) => Err(self.await_exit(&error.to_string()).await),
        }
    }

    /// A closed connection mostly means that the master has just left: the keeper is about to say so.
    async fn await_exit(&mut self, cause: &str) -> Over {
        match tokio::time::timeout(RETRY_FIRST, &mut self.ended).await {
            Ok(Ok(how)) => Over::Exited(how),
            Ok(Err(_)) => Over::Dropped,
            Err(_) => Over::Lost(cause.to_owned()),
        }
    }

    async fn hear_last_words(&self, channel: &Channel) {
        let all = async {
            while let (turn, Ok(Some(received))) = next(&self.turns, channel).await {
                let Ok(word) = received.word::<FromMaster>() else { return foreign::close(received).await };
                let mut fds = received.fds;
                if !fds.is_empty() && !foreign::are_proper(&word, &fds) {
                    foreign::close(std::mem::take(&mut fds)).await;
                }
                self.inbox.tell(Input::Master { master: self.master.clone(), word: Box::new(word), fds, turn });
            }
        };
        // Whatever was not heard by then was never said.
        let _ = tokio::time::timeout(LAST_WORDS, all).await;
    }
}

/// The next message, once there is a place for its word.
async fn next(turns: &Turns, channel: &Channel) -> (Turn, std::io::Result<Option<Received>>) {
    let turn = turns.next().await;
    (turn, channel.receive_any().await)
}

/// Connects and says who is speaking.
async fn connect(path: &Path) -> Result<Line, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let fd = empery_sys::seqpacket::connect(path).map_err(failed)?;
    let line = Line::new(Channel::new(fd).map_err(failed)?);
    let introduction = Introduction::Brain { version: LINK_VERSION };
    line.get().send(&introduction, &[]).await.map_err(|error| error.to_string())?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use empery_lifecycle::{
        fleet::Berth,
        ids::{MasterSerial, VassalName},
    };
    use empery_sys::seqpacket;

    use super::*;
    use crate::brain::foreign::tests::lingering;

    /// A master's end, and the brain's.
    async fn connected(name: &str, inbox: &Inbox) -> (Channel, LinkHandle) {
        let path = std::env::temp_dir().join(format!("empery-link-{}-{name}", std::process::id()));
        let link = seqpacket::listen(&path, 1).unwrap();
        let master = MasterKey { vassal: VassalName::new(name).unwrap(), berth: Berth::A, serial: MasterSerial(1) };
        let handle = LinkHandle::open(master, path.clone(), inbox.clone());
        let master = empery_sys::channel::Listener::new(link).unwrap().accept().await.unwrap();
        std::fs::remove_file(path).unwrap();
        let master = Channel::new(master).unwrap();
        assert!(matches!(master.receive().await.unwrap(), Some((Introduction::Brain { .. }, _))));
        (master, handle)
    }

    #[tokio::test]
    async fn a_descriptor_that_cannot_be_closed_holds_up_its_own_link_alone() {
        let (inbox, mut inputs) = Inbox::new();
        let (hostile, mut first) = connected("hostile.ini", &inbox).await;
        let (honest, _second) = connected("honest.ini", &inbox).await;
        let (socket, client) = lingering();
        let began = Instant::now();
        hostile.send(&FromMaster::Pong, &[socket.as_fd()]).await.unwrap();
        drop(socket);
        // While it is being closed nothing more is read there.
        hostile.send(&FromMaster::Pong, &[]).await.unwrap();
        tokio::task::yield_now().await;
        honest.send(&FromMaster::Pong, &[]).await.unwrap();
        match inputs.recv().await {
            Some(Input::Master { master, fds, .. }) => {
                assert_eq!((master.vassal.as_str(), fds.len()), ("honest.ini", 0));
            }
            other => panic!("{other:?}"),
        }
        // Its end is told all the same.
        first.master_exited("signal 9".to_owned());
        assert!(matches!(inputs.recv().await, Some(Input::MasterGone { .. })));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        drop(client);
    }

    #[tokio::test]
    async fn a_master_that_says_more_than_is_heard_fills_its_own_socket() {
        let (inbox, mut inputs) = Inbox::new();
        let (master, _link) = connected("talks.ini", &inbox).await;
        let talks = tokio::spawn(async move {
            for _ in 0..20_000 {
                master.send(&FromMaster::Pong, &[]).await.unwrap();
            }
            master
        });
        let mut most = 0;
        let mut held = Vec::new();
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
            most = most.max(inputs.len());
        }
        assert!(most > 100 && !talks.is_finished(), "{most}");
        // What is being acted upon counts, too.
        while !inputs.is_empty() {
            held.extend(inputs.recv().await);
        }
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(inputs.len(), 0);
        let heard = held.len();
        drop(held);
        for _ in heard..20_000 {
            assert!(matches!(inputs.recv().await, Some(Input::Master { .. })));
        }
        talks.await.unwrap();
    }
}
