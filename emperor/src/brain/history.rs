//! The database, as far as it can be had. Without it the emperor runs on with a smaller memory: every write here may go
//! nowhere, and the alarm says so.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use empery_lifecycle::{fleet::Recalled as Standing, ids::OperationId};
use empery_store::{LatestRevision, Mark, Opened, Reader, Store, StoreError};
use tokio::sync::watch;

use super::{
    clock,
    inputs::{Inbox, Input},
    vital::Vital,
};

/// How long after a failure the database is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// The database's name in the state directory.
pub(crate) const FILE_NAME: &str = "state.db";

/// What an earlier emperor left.
#[derive(Debug, Default)]
pub(crate) struct Recalled {
    /// The last number given to an operation.
    pub(crate) last_operation: LastOperation,
    /// Who stays stopped, who is frozen, whose removal was doubted.
    pub(crate) standing: Standing,
    /// The newest revision of each vassal.
    pub(crate) revisions: Vec<LatestRevision>,
    /// The newest deployment of each.
    pub(crate) deployments: Vec<empery_control::fleet::OperationView>,
}

/// The last number given to an operation; without history one that no history can have reached.
#[derive(Debug)]
pub(crate) struct LastOperation(pub(crate) OperationId);

impl Default for LastOperation {
    fn default() -> Self {
        // Seconds since 1970: a database that comes back later must not have its rows overwritten.
        LastOperation(OperationId(clock::unix_ms() / 1_000))
    }
}

/// The database, or the lack of it.
#[derive(Debug)]
pub(crate) struct History {
    path: PathBuf,
    inbox: Inbox,
    /// Device and inode of the file that was opened.
    file: Option<(u64, u64)>,
    store: Option<Store>,
    trouble: Option<watch::Receiver<Option<String>>>,
    reader: watch::Sender<Option<Reader>>,
    /// That an earlier one was deleted, until there is another.
    lost: Option<String>,
    /// Why there is none, or what became of the one before.
    alarm: Option<String>,
}

impl History {
    /// Nothing opened yet.
    pub(crate) fn new(path: PathBuf, inbox: Inbox) -> History {
        History {
            path,
            inbox,
            file: None,
            store: None,
            trouble: None,
            reader: watch::Sender::new(None),
            lost: None,
            alarm: None,
        }
    }

    /// Opens it and reads what an earlier emperor left.
    pub(crate) async fn open(&mut self) -> Recalled {
        let opened = Store::open(&self.path).await;
        self.opened(opened);
        let Some(reader) = self.reader.borrow().clone() else { return Recalled::default() };
        let (recalled, standing_is_whole, unread) = recall(&reader).await;
        if let Some(error) = unread {
            self.alarm = Some(format!("what the database remembers could not all be read at the start: {error}"));
        }
        if !standing_is_whole {
            self.remember_holds();
        }
        recalled
    }

    /// An opening has succeeded or failed; a failure is tried again later.
    pub(crate) fn opened(&mut self, opened: Result<Opened, StoreError>) {
        match opened {
            Ok(Opened { store, reader, alarm }) => {
                self.trouble = Some(store.trouble());
                self.file = file_at(&self.path);
                self.store = Some(store);
                self.reader.send_replace(Some(reader));
                self.alarm = alarm.or_else(|| self.lost.take());
            }
            Err(error) => {
                if self.alarm.is_none() {
                    tracing::warn!(%error, "running without history");
                }
                self.alarm = Some(format!("no history is kept, and operators' stops will be forgotten: {error}"));
                let (path, inbox) = (self.path.clone(), self.inbox.clone());
                // Local: opening migrates, and sqlx's future for that is not Send.
                tokio::task::spawn_local(async move {
                    let _vital = Vital::new("opening the database", inbox.clone());
                    tokio::time::sleep(RETRY).await;
                    inbox.tell(Input::History(Store::open(&path).await.map(Box::new)));
                });
            }
        }
    }

    /// Whether the file in use was deleted or replaced, or nobody writes there any more: then it is opened anew, and what
    /// must outlive this process has to be written down again.
    pub(crate) fn notices_its_loss(&mut self) -> bool {
        let Some(store) = &self.store else { return false };
        let path = self.path.display();
        if store.is_broken() {
            tracing::error!(%path, "the database's writer failed; the database is opened again");
        } else if file_at(&self.path) != self.file {
            tracing::error!(%path, "the database was deleted; a new one is begun");
            self.lost = Some(format!(
                "the database {path} was deleted while it was in use: its history is lost, a new one is begun"
            ));
        } else {
            return false;
        }
        (self.store, self.trouble) = (None, None);
        self.reader.send_replace(None);
        let (path, inbox) = (self.path.clone(), self.inbox.clone());
        // Local: see `opened`.
        tokio::task::spawn_local(async move {
            let _vital = Vital::new("opening the database", inbox.clone());
            inbox.tell(Input::History(Store::open(&path).await.map(Box::new)));
        });
        true
    }

    /// The database that was just opened came after the fleet had begun: asks it who is to stay stopped.
    pub(crate) fn remember_holds(&self) {
        let (reader, inbox) = (self.reader.borrow().clone(), self.inbox.clone());
        let Some(reader) = reader else { return };
        tokio::spawn(async move {
            loop {
                let remembered =
                    async { Ok::<_, StoreError>((reader.holds().await?, reader.marked(Mark::Frozen).await?)) };
                match remembered.await {
                    Ok((holds, frozen)) => return inbox.tell(Input::StandingRemembered { holds, frozen }),
                    Err(error) => tracing::error!(%error, "operators' stops could not be read; this is tried again"),
                }
                tokio::time::sleep(RETRY).await;
            }
        });
    }

    /// Reads, while there is something to read.
    pub(crate) fn reader(&self) -> watch::Receiver<Option<Reader>> {
        self.reader.subscribe()
    }

    /// Writes, while there is something to write to.
    pub(crate) fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// What an operator must know.
    pub(crate) fn alarms(&self) -> impl Iterator<Item = String> {
        let trouble = self.trouble.as_ref().and_then(|trouble| trouble.borrow().clone());
        self.alarm.clone().into_iter().chain(trouble.map(|trouble| format!("history is not being recorded: {trouble}")))
    }
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|facts| (facts.dev(), facts.ino()))
}

/// What can be read of what is remembered, whether all that stands is among it, and why something is not: no part costs
/// the others.
async fn recall(reader: &Reader) -> (Recalled, bool, Option<StoreError>) {
    let mut unread = None;
    let mut note = |error| unread = Some(error);
    let (holds, frozen) =
        (reader.holds().await.map_err(&mut note), reader.marked(Mark::Frozen).await.map_err(&mut note));
    let standing_is_whole = holds.is_ok() && frozen.is_ok();
    let recalled = Recalled {
        last_operation: reader.last_operation_id().await.map_err(&mut note).map(LastOperation).unwrap_or_default(),
        standing: Standing {
            held: holds.unwrap_or_default().into_iter().map(|hold| hold.vassal).collect(),
            frozen: frozen.unwrap_or_default(),
            doubted: reader.marked(Mark::Doubted).await.map_err(&mut note).unwrap_or_default(),
        },
        revisions: reader.latest_revisions().await.map_err(&mut note).unwrap_or_default(),
        deployments: reader.latest_deployments().await.map_err(&mut note).unwrap_or_default(),
    };
    (recalled, standing_is_whole, unread)
}
