//! The master's end of a channel to a zygote, a worker or a brain: what arrives becomes an [`Input`] of the
//! supervisor, what is to be sent waits here, so that a peer that is busy with a long request never holds the
//! supervisor up.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use empery_sys::{channel::Channel, seqpacket::ChannelError};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use crate::supervise::input::{Inbox, Input};

/// What came of a channel.
pub(crate) enum Heard<Word> {
    /// A word and its descriptors.
    Word(Word, Vec<OwnedFd>),
    /// Nothing will come any more: the peer is gone, or spoke in a way nobody understands.
    Silence,
}

/// See the module. What waits is sent even after it was dropped; the channel is closed once silence was heard, too.
pub(crate) struct Peer<Word> {
    outbox: mpsc::UnboundedSender<(Word, Vec<OwnedFd>)>,
    gone: Arc<Notify>,
    channel: Arc<Channel>,
    sending: JoinHandle<()>,
}

impl<Word: Serialize + Send + Sync + 'static> Peer<Word> {
    /// Takes the channel. `wrap` makes an input of what is heard; silence is heard exactly once.
    pub(crate) fn attach<Back>(
        channel: Channel,
        inbox: Inbox,
        wrap: impl Fn(Heard<Back>) -> Input + Send + 'static,
    ) -> Self
    where
        Back: DeserializeOwned + Send + 'static,
    {
        let channel = Arc::new(channel);
        let (outbox, waiting) = mpsc::unbounded_channel();
        let gone = Arc::new(Notify::new());
        let sending = tokio::spawn(send(Arc::clone(&channel), waiting));
        tokio::spawn(listen(Arc::clone(&channel), Arc::clone(&gone), inbox, wrap));
        Self { outbox, gone, channel, sending }
    }

    /// Sends a word, with descriptors that are closed here once they are sent.
    pub(crate) fn say(&self, word: Word, descriptors: Vec<OwnedFd>) {
        // A peer that is gone is told nothing; its silence is on its way to the supervisor.
        let _ = self.outbox.send((word, descriptors));
    }

    /// The process is known to be gone: hear what it said before, then silence, even if somebody else (a child
    /// of the app) still holds the other end open.
    pub(crate) fn is_gone(&self) {
        self.gone.notify_one();
    }

    /// The channel's descriptor.
    pub(crate) fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Until everything that waits has been sent (or nobody is there to take it).
    pub(crate) async fn finish(self) {
        drop(self.outbox);
        // It fails only when the runtime is going away.
        let _ = self.sending.await;
    }
}

async fn send<Word: Serialize>(channel: Arc<Channel>, mut waiting: mpsc::UnboundedReceiver<(Word, Vec<OwnedFd>)>) {
    while let Some((word, descriptors)) = waiting.recv().await {
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        match channel.send(&word, &borrowed).await {
            Ok(()) => {}
            Err(error @ ChannelError::Framing(_)) => crate::log::say(&format!("*** BUG: {error} ***")),
            Err(ChannelError::Socket(_)) => return,
        }
    }
}

async fn listen<Back: DeserializeOwned>(
    channel: Arc<Channel>,
    gone: Arc<Notify>,
    inbox: Inbox,
    wrap: impl Fn(Heard<Back>) -> Input,
) {
    loop {
        let received = tokio::select! {
            biased;
            received = channel.receive() => received,
            () = gone.notified() => Ok(None),
        };
        match received {
            Ok(Some((word, descriptors))) => inbox.put(wrap(Heard::Word(word, descriptors))),
            Ok(None) => break,
            Err(error) => {
                crate::log::say(&format!(
                    "*** a process of this vassal said something that is not understood: {error} ***"
                ));
                break;
            }
        }
    }
    inbox.put(wrap(Heard::Silence));
}
