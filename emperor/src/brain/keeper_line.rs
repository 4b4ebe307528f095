//! The brain's end of the channel to the keeper: questions with their answers, and what the keeper says unasked.
//! Decides nothing. When the keeper is gone the brain must go too: [`KeeperLine::connect`] says so through its inbox.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

use empery_control::keeper::{Answer, Ask, FileFacts, FromKeeper, LivingMaster, Request, RequestId};
use empery_lifecycle::{fleet::MasterKey, ids::VassalName};
use empery_sys::{channel::Channel, listen};
use tokio::sync::{mpsc, oneshot};

/// What the keeper says without being asked.
#[derive(Debug)]
pub(crate) enum KeeperWord {
    /// A master's process is gone.
    MasterExited {
        /// Which.
        master: MasterKey,
        /// How, in words.
        how: String,
    },
    /// A client waits for a vassal that is asleep.
    Knocked {
        /// Which.
        vassal: VassalName,
    },
    /// Stop the fleet.
    ShutDown,
    /// Reload every vassal.
    ReloadAll,
    /// Say how every vassal is.
    SayStatus,
    /// The channel has ended: the keeper is gone.
    Gone,
}

/// Why a question was not answered as hoped.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum KeeperError {
    /// The keeper refused or failed.
    #[error("{sentence}")]
    Failed {
        /// Its stable word.
        code: String,
        /// Its sentence.
        sentence: String,
    },
    /// The keeper is gone, or its answer fits no question.
    #[error("the keeper does not answer ({0})")]
    Lost(&'static str),
}

impl KeeperError {
    /// Whether it is this stable word of the keeper's.
    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(self, KeeperError::Failed { code, .. } if code == word)
    }
}

type Answered = (Answer, Vec<OwnedFd>);

#[derive(Debug)]
struct Question {
    ask: Ask,
    fds: Vec<OwnedFd>,
    answer: oneshot::Sender<Answered>,
}

/// The line. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct KeeperLine {
    questions: mpsc::UnboundedSender<Question>,
}

impl KeeperLine {
    /// Takes the channel and starts the two tasks that own it. What comes unasked goes to `inbox`.
    ///
    /// # Errors
    /// When the descriptor is no socket.
    pub(crate) fn connect(
        fd: OwnedFd,
        inbox: impl Fn(KeeperWord) + Send + Sync + 'static,
    ) -> std::io::Result<KeeperLine> {
        let channel = Arc::new(Channel::new(fd)?);
        let waiting = Arc::new(Waiting::default());
        let (questions, queue) = mpsc::unbounded_channel();
        tokio::spawn(ask_all(Arc::clone(&channel), queue, Arc::clone(&waiting)));
        tokio::spawn(async move {
            hear_all(&channel, &waiting, &inbox).await;
            waiting.give_up();
            inbox(KeeperWord::Gone);
        });
        Ok(KeeperLine { questions })
    }

    /// Asks, in the order of calls. The question is on its way when this returns; the future waits for the answer.
    pub(crate) fn ask(
        &self,
        ask: Ask,
        fds: Vec<OwnedFd>,
    ) -> impl Future<Output = Result<Answered, KeeperError>> + use<> {
        let (answer, answered) = oneshot::channel();
        let sent = self.questions.send(Question { ask, fds, answer });
        async move {
            sent.map_err(|_| KeeperError::Lost("it is gone"))?;
            match answered.await {
                Ok((Answer::Failed { code, sentence }, _)) => Err(KeeperError::Failed { code, sentence }),
                Ok(answered) => Ok(answered),
                Err(_) => Err(KeeperError::Lost("it went away before it answered")),
            }
        }
    }

    /// The entries of the vassals directory that count, in the order of names.
    pub(crate) async fn list(&self) -> Result<Vec<FileFacts>, KeeperError> {
        match self.ask(Ask::List, Vec::new()).await? {
            (Answer::Listing { files, .. }, _) => Ok(files),
            (_, _) => Err(KeeperError::Lost("it answered something else than a listing")),
        }
    }
}

/// Questions that wait for their answers.
#[derive(Debug, Default)]
struct Waiting {
    askers: Mutex<BTreeMap<RequestId, Asker>>,
}

#[derive(Debug)]
struct Asker {
    answer: oneshot::Sender<Answered>,
    /// Parts of a listing that has more to come.
    files: Vec<FileFacts>,
    /// Parts of the living masters when there are more to come.
    masters: Vec<LivingMaster>,
}

impl Waiting {
    fn askers(&self) -> std::sync::MutexGuard<'_, BTreeMap<RequestId, Asker>> {
        // Every change is one call on the map: a panic elsewhere cannot leave it half changed.
        self.askers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(&self, id: RequestId, answer: oneshot::Sender<Answered>) {
        self.askers().insert(id, Asker { answer, files: Vec::new(), masters: Vec::new() });
    }

    fn answer(&self, id: RequestId, answer: Answer, fds: Vec<OwnedFd>) {
        let mut askers = self.askers();
        if let Answer::Listing { files, more: true } = answer {
            if let Some(asker) = askers.get_mut(&id) {
                asker.files.extend(files);
            }
            return;
        }
        if let Answer::Masters { masters, more: true } = answer {
            if let Some(asker) = askers.get_mut(&id) {
                asker.masters.extend(masters);
            }
            return;
        }
        let Some(asker) = askers.remove(&id) else {
            tracing::warn!(id = id.0, "the keeper answered a question nobody asked");
            return;
        };
        let answer = match answer {
            Answer::Listing { files, more } => {
                let mut all = asker.files;
                all.extend(files);
                Answer::Listing { files: all, more }
            }
            Answer::Masters { masters, more } => {
                let mut all = asker.masters;
                all.extend(masters);
                Answer::Masters { masters: all, more }
            }
            other => other,
        };
        // Whoever asked may have lost interest.
        let _ = asker.answer.send((answer, fds));
    }

    fn give_up(&self) {
        self.askers().clear();
    }
}

async fn ask_all(channel: Arc<Channel>, mut queue: mpsc::UnboundedReceiver<Question>, waiting: Arc<Waiting>) {
    let mut last = RequestId(0);
    while let Some(Question { ask, fds, answer }) = queue.recv().await {
        last = RequestId(last.0 + 1);
        waiting.expect(last, answer);
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        if let Err(error) = channel.send(&Request { id: last, ask }, &borrowed).await {
            tracing::warn!(%error, "a question did not reach the keeper");
            waiting.askers().remove(&last);
        }
        // Some came from vassals.
        fds.into_iter().for_each(listen::close);
    }
}

async fn hear_all(channel: &Channel, waiting: &Waiting, inbox: &(impl Fn(KeeperWord) + Send + Sync)) {
    loop {
        match channel.receive::<FromKeeper>().await {
            Ok(Some((FromKeeper::Answer { id, answer }, fds))) => waiting.answer(id, answer, fds),
            Ok(Some((FromKeeper::MasterExited { master, how }, _))) => inbox(KeeperWord::MasterExited { master, how }),
            Ok(Some((FromKeeper::Knocked { vassal }, _))) => inbox(KeeperWord::Knocked { vassal }),
            Ok(Some((FromKeeper::ShutDown, _))) => inbox(KeeperWord::ShutDown),
            Ok(Some((FromKeeper::ReloadAll, _))) => inbox(KeeperWord::ReloadAll),
            Ok(Some((FromKeeper::SayStatus, _))) => inbox(KeeperWord::SayStatus),
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "the channel to the keeper cannot be read");
                return;
            }
        }
    }
}
