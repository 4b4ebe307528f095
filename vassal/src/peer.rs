//! The master's end of a channel to a zygote, a worker or a brain: what arrives becomes an [`Input`] of the
//! supervisor, what is to be sent waits here, so that a peer that is busy with a long request never holds the
//! supervisor up.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
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
    /// How many words wait there, the one that is being sent included.
    waiting: Arc<AtomicUsize>,
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
        let (outbox, words) = mpsc::unbounded_channel();
        let (waiting, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let sending = tokio::spawn(send(Arc::clone(&channel), words, Arc::clone(&waiting)));
        tokio::spawn(listen(Arc::clone(&channel), Arc::clone(&gone), inbox, wrap));
        Self { outbox, waiting, gone, channel, sending }
    }

    /// Sends a word, with descriptors that are closed here once they are sent.
    pub(crate) fn say(&self, word: Word, descriptors: Vec<OwnedFd>) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // A peer that is gone is told nothing; its silence is on its way to the supervisor.
        let _ = self.outbox.send((word, descriptors));
    }

    /// Whether everything that was said has been sent, or never will be.
    pub(crate) fn is_told(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0 || self.sending.is_finished()
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

async fn send<Word: Serialize>(
    channel: Arc<Channel>,
    mut words: mpsc::UnboundedReceiver<(Word, Vec<OwnedFd>)>,
    waiting: Arc<AtomicUsize>,
) {
    while let Some((word, descriptors)) = words.recv().await {
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        match channel.send(&word, &borrowed).await {
            Ok(()) => {}
            Err(error @ ChannelError::Framing(_)) => crate::log::say(&format!("*** BUG: {error} ***")),
            Err(ChannelError::Socket(_)) => return,
        }
        waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn listen<Back: DeserializeOwned>(
    channel: Arc<Channel>,
    gone: Arc<Notify>,
    inbox: Inbox,
    wrap: impl Fn(Heard<Back>) -> Input,
) {
    let mut has_complained = false;
    loop {
        let received = tokio::select! {
            biased;
            received = channel.receive_what_fits() => received,
            () = gone.notified() => Ok(None),
        };
        match received {
            Ok(Some((word, descriptors))) => {
                if descriptors.is_none() && !std::mem::replace(&mut has_complained, true) {
                    crate::log::say(
                        "*** no descriptors are left in the master: what a process of this vassal has sent is lost ***",
                    );
                }
                inbox.put(wrap(Heard::Word(word, descriptors.unwrap_or_default())));
            }
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

#[cfg(test)]
mod tests {
    use empery_sys::seqpacket;

    use super::*;

    #[tokio::test]
    async fn a_peer_is_told_when_its_words_are_in_the_channel_and_not_while_they_wait_for_it() {
        let (ours, theirs) = seqpacket::pair().unwrap();
        let (inbox, _inputs) = Inbox::new();
        let channel = Channel::new(ours).unwrap();
        let peer = Peer::<String>::attach(channel, inbox, |_: Heard<String>| Input::ClientWaits);
        assert!(peer.is_told());
        let words = 20;
        for _ in 0..words {
            peer.say("w".repeat(50_000), Vec::new());
        }
        tokio::task::yield_now().await;
        assert!(!peer.is_told(), "more than a socket holds");
        let theirs = Channel::new(theirs).unwrap();
        for _ in 0..words {
            assert!(theirs.receive::<String>().await.unwrap().is_some());
        }
        while !peer.is_told() {
            tokio::task::yield_now().await;
        }
    }
}
