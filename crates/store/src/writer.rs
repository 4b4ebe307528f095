//! The one task that writes. What waits is written in one transaction (a commit waits for the disk: one per batch, not
//! one per row), and each caller learns how its own write went. A failed write ends nothing: the next one is tried, and what
//! must not be forgotten is tried again.

use std::sync::Arc;

use empery_control::fleet::OperationView;
use empery_failpoint::{point, step};
use empery_lifecycle::ids::{OperationId, VassalName};
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::{
    Hold, Incident, Mark, Revision, Sample, StoreError,
    damage::Damage,
    holds, incidents,
    journal::Journal,
    marks, operations,
    owed::{Owed, Standing},
    retention, revisions, samples, vassals,
};

/// Writes that may wait, besides what operators have said ([`Standing`]): that is never too much. At a few hundred bytes each
/// this is some megabytes, and minutes of a busy fleet.
const WAITING_MAX: usize = 8_192;

/// Writes in one transaction.
const BATCH_MAX: usize = 512;

/// Writes to the database. Clones write to the same; the file is closed when the last is dropped.
#[derive(Debug, Clone)]
pub struct Store {
    jobs: mpsc::UnboundedSender<Job>,
    room: Arc<Semaphore>,
    trouble: watch::Receiver<Option<String>>,
}

#[derive(Debug)]
struct Job {
    write: Write,
    reply: oneshot::Sender<Result<(), StoreError>>,
    /// Its place among those that wait, given back when it is dropped.
    _room: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Write {
    VassalsSeen { names: Vec<VassalName>, at_unix_ms: u64 },
    Revision(Box<Revision>),
    Operation(Box<OperationView>),
    AbandonUnfinished { still_running: Vec<OperationId>, at_unix_ms: u64 },
    Incident(Box<Incident>),
    Standing(Standing),
    Samples(Vec<Sample>),
    Prune { now_unix_ms: u64 },
}

impl Write {
    /// Whether it is much, and missed least: what waits while the journal is too large.
    fn is_bulk(&self) -> bool {
        match self {
            Write::Samples(_) | Write::Prune { .. } => true,
            Write::VassalsSeen { .. }
            | Write::Revision(_)
            | Write::Operation(_)
            | Write::AbandonUnfinished { .. }
            | Write::Incident(_)
            | Write::Standing(_) => false,
        }
    }
}

/// A write that was accepted, or not. Nothing is lost by not looking at it: troubles are logged and shown anyway.
#[derive(Debug)]
#[must_use = "await `done`, or say `unattended`"]
pub struct Written {
    doing: &'static str,
    reply: Result<oneshot::Receiver<Result<(), StoreError>>, StoreError>,
}

impl Written {
    /// Waits until it is on the disk.
    ///
    /// # Errors
    /// When it is not.
    pub async fn done(self) -> Result<(), StoreError> {
        self.reply?.await.unwrap_or(Err(StoreError::Closed { doing: self.doing }))
    }

    /// Goes on without waiting: [`Store::trouble`] tells when it failed.
    pub fn unattended(self) {
        if let Err(error) = self.reply {
            tracing::warn!(%error, "not recorded");
        }
    }
}

impl Store {
    /// What is wrong with writing now, as a sentence; None after a write that succeeded.
    #[must_use]
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.clone()
    }

    /// Whether nothing will ever be written again: the task that writes has panicked.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.jobs.is_closed()
    }

    /// These vassals have a file now. Said for new ones, and for all of them before each [`Store::prune`]: what was not
    /// seen for long is forgotten.
    pub fn record_vassals_seen(&self, names: Vec<VassalName>, at_unix_ms: u64) -> Written {
        self.write("recording the vassals", Write::VassalsSeen { names, at_unix_ms })
    }

    /// A content of a vassal file. The same number again replaces what was said of it.
    pub fn record_revision(&self, revision: Revision) -> Written {
        self.write("recording a revision", Write::Revision(Box::new(revision)))
    }

    /// An operation began, moved on or ended: the whole of it as it is now.
    pub fn record_operation(&self, view: OperationView) -> Written {
        self.write("recording an operation", Write::Operation(Box::new(view)))
    }

    /// Ends every operation that an earlier emperor left unfinished and that none of the masters found is still at.
    pub fn abandon_unfinished(&self, still_running: Vec<OperationId>, at_unix_ms: u64) -> Written {
        self.write("ending abandoned operations", Write::AbandonUnfinished { still_running, at_unix_ms })
    }

    /// Something was lost, killed or odd.
    pub fn record_incident(&self, incident: Incident) -> Written {
        self.write("recording an incident", Write::Incident(Box::new(incident)))
    }

    /// An operator stopped a vassal: it stays stopped.
    pub fn set_hold(&self, hold: Hold) -> Written {
        self.write("recording a hold", Write::Standing(Standing::Hold(hold)))
    }

    /// The hold is lifted.
    pub fn lift_hold(&self, name: VassalName) -> Written {
        self.write("lifting a hold", Write::Standing(Standing::LiftHold(name)))
    }

    /// This is so of a vassal from now on.
    pub fn set_mark(&self, mark: Mark, name: VassalName) -> Written {
        self.write("recording what stands", Write::Standing(Standing::Mark(mark, name)))
    }

    /// It is so no more.
    pub fn lift_mark(&self, mark: Mark, name: VassalName) -> Written {
        self.write("recording what stands", Write::Standing(Standing::LiftMark(mark, name)))
    }

    /// A minute of numbers, all vassals that counted anything, in one statement per few hundred.
    pub fn append_samples(&self, samples: Vec<Sample>) -> Written {
        self.write("recording samples", Write::Samples(samples))
    }

    /// Forgets what [`retention`] no longer keeps. Once an hour is plenty.
    pub fn prune(&self, now_unix_ms: u64) -> Written {
        self.write("forgetting old history", Write::Prune { now_unix_ms })
    }

    fn write(&self, doing: &'static str, write: Write) -> Written {
        let needs_room = !matches!(write, Write::Standing(_));
        let room = needs_room.then(|| Arc::clone(&self.room).try_acquire_owned());
        let Ok(room) = room.transpose() else {
            return Written { doing, reply: Err(StoreError::Behind { doing, waiting: WAITING_MAX }) };
        };
        let (reply, answer) = oneshot::channel();
        let sent = self.jobs.send(Job { write, reply, _room: room });
        let reply = sent.map(|()| answer).map_err(|_| StoreError::Closed { doing });
        Written { doing, reply }
    }
}

/// Starts the task that owns the connection.
pub(crate) fn start(connection: SqliteConnection, journal: Journal, damage: Damage) -> Store {
    let (jobs, queue) = mpsc::unbounded_channel();
    let (trouble_sender, trouble) = watch::channel(None);
    tokio::spawn(write_until_dropped(connection, journal, damage, queue, trouble_sender));
    Store { jobs, room: Arc::new(Semaphore::new(WAITING_MAX)), trouble }
}

async fn write_until_dropped(
    mut connection: SqliteConnection,
    journal: Journal,
    mut damage: Damage,
    mut queue: mpsc::UnboundedReceiver<Job>,
    trouble: watch::Sender<Option<String>>,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut owed = Owed::default();
    loop {
        let is_open = receive(&mut queue, &mut batch, &owed).await;
        let had_none = batch.is_empty();
        let standing = journal.trouble(&mut connection).await;
        let mut answering = Answering {
            standing: standing.as_ref(),
            told: &trouble,
            owed: &mut owed,
            damage: &mut damage,
            works: had_none,
        };
        if let Some(error) = &standing {
            for job in batch.extract_if(.., |job| job.write.is_bulk()) {
                answering.answer(job, Err(error.clone()));
            }
        }
        match commit(&mut connection, batch.iter().map(|job| &job.write)).await {
            // One bad write, or one damaged table, must not take its neighbours along; a lock or a full disk would fail each
            // of them anyway.
            Err(StoreError::Failed { .. } | StoreError::Corrupt { .. }) if batch.len() > 1 => {
                for job in batch.drain(..) {
                    let outcome = commit(&mut connection, std::iter::once(&job.write)).await;
                    answering.answer(job, outcome);
                }
            }
            outcome => {
                for job in batch.drain(..) {
                    answering.answer(job, outcome.clone());
                }
            }
        }
        if answering.works {
            answering.pay(&mut connection).await;
        }
        if !is_open {
            break;
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "the database was not closed cleanly");
    }
}

/// Waits for something to write, or until what is owed is due. Whether more may come.
async fn receive(queue: &mut mpsc::UnboundedReceiver<Job>, batch: &mut Vec<Job>, owed: &Owed) -> bool {
    let received = queue.recv_many(batch, BATCH_MAX);
    match owed.again_after() {
        Some(after) => tokio::time::timeout(after, received).await.map_or(true, |count| count > 0),
        None => received.await > 0,
    }
}

/// What callers, and everybody, are told of a batch.
struct Answering<'t> {
    /// What is wrong whatever becomes of one write.
    standing: Option<&'t StoreError>,
    told: &'t watch::Sender<Option<String>>,
    owed: &'t mut Owed,
    damage: &'t mut Damage,
    /// Whether the last write succeeded, or there was none.
    works: bool,
}

impl Answering<'_> {
    /// Tells the caller, and everybody when it began or ceased to fail.
    fn answer(&mut self, job: Job, outcome: Result<(), StoreError>) {
        self.tell(&outcome);
        self.damage.see(&outcome);
        self.works = outcome.is_ok();
        if let Write::Standing(word) = job.write {
            self.owed.saw(word, outcome.is_ok());
        }
        // A caller that went on unattended has dropped its end.
        let _ = job.reply.send(outcome);
    }

    fn tell(&self, outcome: &Result<(), StoreError>) {
        let now = outcome.as_ref().err().or(self.standing).map(ToString::to_string);
        self.told.send_if_modified(|before| {
            let changed = *before != now;
            match (&*before, &now) {
                (None, Some(error)) => tracing::warn!(%error, "history is not being recorded"),
                (Some(_), None) => tracing::info!("history is being recorded again"),
                (Some(_), Some(_)) | (None, None) => {}
            }
            *before = now;
            changed
        });
    }

    /// Writes what is owed; each by itself, for one may be the reason why it failed.
    async fn pay(&mut self, connection: &mut SqliteConnection) {
        for word in self.owed.words().collect::<Vec<_>>() {
            let write = Write::Standing(word.clone());
            let outcome = commit(connection, std::iter::once(&write)).await;
            self.tell(&outcome);
            self.owed.saw(word, outcome.is_ok());
            if outcome.is_err() {
                break;
            }
        }
    }
}

/// By plain statements, not sqlx's `Transaction`: when the disk is full SQLite rolls back by itself
/// (https://www.sqlite.org/lang_transaction.html), which leaves a `Transaction`'s count of open ones wrong for good.
async fn commit(
    connection: &mut SqliteConnection,
    batch: impl ExactSizeIterator<Item = &Write>,
) -> Result<(), StoreError> {
    if batch.len() == 0 {
        return Ok(());
    }
    // IMMEDIATE: wait for a lock here, where busy_timeout applies, not at the first write inside.
    point!("store.begin").map_err(|error| refused(&error))?;
    execute(connection, "BEGIN IMMEDIATE").await?;
    let mut outcome = Ok(());
    for write in batch {
        outcome = perform(connection, write).await;
        if outcome.is_err() {
            break;
        }
    }
    outcome = outcome.and_then(|()| point!("store.commit").map_err(|error| refused(&error)));
    if outcome.is_ok() {
        outcome = execute(connection, "COMMIT").await;
        step!("store.committed");
    }
    if outcome.is_err() {
        // Fails when SQLite has already done it: what counts is that nothing is open.
        let _ = execute(connection, "ROLLBACK").await;
    }
    outcome
}

fn refused(error: &std::io::Error) -> StoreError {
    StoreError::Failed { doing: "writing to the disk", cause: error.to_string().into() }
}

async fn execute(connection: &mut SqliteConnection, statement: &'static str) -> Result<(), StoreError> {
    let done = sqlx::query(statement).execute(connection).await;
    done.map(|_| ()).map_err(|error| StoreError::sort("writing to the disk", &error))
}

async fn perform(connection: &mut SqliteConnection, write: &Write) -> Result<(), StoreError> {
    match write {
        Write::VassalsSeen { names, at_unix_ms } => vassals::record_seen(connection, names, *at_unix_ms).await,
        Write::Revision(revision) => revisions::record(connection, revision).await,
        Write::Operation(view) => operations::record(connection, view).await,
        Write::AbandonUnfinished { still_running, at_unix_ms } => {
            operations::abandon(connection, still_running, *at_unix_ms).await
        }
        Write::Incident(incident) => incidents::record(connection, incident).await,
        Write::Standing(Standing::Hold(hold)) => holds::set(connection, hold).await,
        Write::Standing(Standing::LiftHold(name)) => holds::lift(connection, name).await,
        Write::Standing(Standing::Mark(mark, name)) => marks::set(connection, *mark, name).await,
        Write::Standing(Standing::LiftMark(mark, name)) => marks::lift(connection, *mark, name).await,
        Write::Samples(minute) => samples::append(connection, minute).await,
        Write::Prune { now_unix_ms } => retention::prune(connection, *now_unix_ms).await,
    }
}
