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
use empery_sys::channel::Channel;
use tokio::sync::{mpsc, oneshot};

use super::{
    inputs::{Inbox, Input},
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
        let link = Link { master, path, inbox, orders: queue, ended };
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
}

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
                Ok(channel) => self.speak(&channel, &mut wait).await,
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
                word = channel.receive::<FromMaster>() => match word {
                    Ok(Some((word, fds))) => {
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
                        self.inbox.tell(Input::Master { master: self.master.clone(), word: Box::new(word), fds });
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
            while let Ok(Some((word, fds))) = channel.receive::<FromMaster>().await {
                self.inbox.tell(Input::Master { master: self.master.clone(), word: Box::new(word), fds });
            }
        };
        // Whatever was not heard by then was never said.
        let _ = tokio::time::timeout(LAST_WORDS, all).await;
    }
}

/// Connects and says who is speaking.
async fn connect(path: &Path) -> Result<Channel, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let fd = empery_sys::seqpacket::connect(path).map_err(failed)?;
    let channel = Channel::new(fd).map_err(failed)?;
    let introduction = Introduction::Brain { version: LINK_VERSION };
    channel.send(&introduction, &[]).await.map_err(|error| error.to_string())?;
    Ok(channel)
}
