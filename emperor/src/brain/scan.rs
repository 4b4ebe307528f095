//! Looks at the vassals directory whenever it is woken, and tells the owning task what every file says now. Looking
//! and opening are the keeper's; reading and parsing happen here, as the brain's user. Decides nothing about vassals.

mod beside;
pub(crate) mod looks;
pub(crate) mod number;
pub(crate) mod on_demand;
pub(crate) mod reading;
mod settle;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    sync::Arc,
    time::Duration,
};

use empery_control::keeper::{Answer, Ask, FileFacts};
use empery_failpoint::point;
use empery_lifecycle::{ids::VassalName, moment::Moment};
use tokio::sync::Notify;

use super::{
    clock,
    keeper_line::{KeeperError, KeeperLine},
    watch::Watch,
};
use crate::tyrant;
use looks::{Answering, Looks};
use number::Numbers;
use on_demand::OnDemand;
use reading::{Circumstances, FILE_MAX_BYTES, Reader, Reading};
use settle::{Belief, PATIENCE, Settled, Settling};

/// How often a refused file is read again: what was wrong may be mended elsewhere, in a file that it includes or by a new user.
const REFUSED_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What a look brought.
#[derive(Debug)]
pub(crate) enum Scanned {
    /// Every file that counts, with what it says; `new` are those with a number not given out before.
    Files {
        /// In the order of names.
        all: BTreeMap<VassalName, Arc<Reading>>,
        /// Revisions to be recorded, with what their files look like.
        new: Vec<(VassalName, String)>,
    },
    /// The directory cannot be read: one sentence.
    Lost(String),
    /// Whoever asked for a look, up to this number, has had it: what it brought was told before.
    Looked(u64),
}

/// The scanner.
pub(crate) struct Scanner {
    keeper: KeeperLine,
    reader: Reader,
    numbers: Numbers,
    on_demand: OnDemand,
    settling: Settling,
    answering: Answering,
    readings: BTreeMap<VassalName, Arc<Reading>>,
    refused_again_at: Moment,
    lost: bool,
    /// Until the first answer was given.
    first: Option<First>,
}

struct First {
    until: Moment,
    new: Vec<(VassalName, String)>,
}

impl Scanner {
    /// Nothing has been looked at yet; numbers go on from what an earlier brain gave out.
    pub(crate) fn new(
        keeper: KeeperLine,
        reader: Reader,
        numbers: Numbers,
        on_demand: OnDemand,
        looks: Looks,
    ) -> Scanner {
        let first = Some(First { until: clock::now().after(PATIENCE), new: Vec::new() });
        Scanner {
            keeper,
            reader,
            numbers,
            on_demand,
            settling: Settling::default(),
            answering: Answering::new(looks),
            readings: BTreeMap::new(),
            refused_again_at: clock::now().after(REFUSED_AGAIN_AFTER),
            lost: false,
            first,
        }
    }

    /// Looks for ever: at once, when woken, and every now and then. Tells only what is news.
    pub(crate) async fn run(mut self, wake: Arc<Notify>, mut watch: Watch, tell: impl Fn(Scanned)) {
        loop {
            watch.follow();
            let asked = self.answering.begin(clock::now());
            if let Some(scanned) = self.look().await {
                tell(scanned);
            }
            let has_settled = self.settling.look_again_at().is_none();
            if let Some(asked) = self.answering.end(asked, has_settled, clock::now()) {
                tell(Scanned::Looked(asked));
            }
            let pause = async {
                match self.settling.look_again_at() {
                    Some(moment) => tokio::time::sleep_until(clock::instant_of(moment)).await,
                    None => tokio::time::sleep(watch.period()).await,
                }
            };
            // A wake while something settles does not bring the next look forward: editors write in bursts.
            if self.settling.look_again_at().is_some() {
                pause.await;
            } else {
                tokio::select! {
                    () = wake.notified() => {}
                    () = pause => {}
                }
            }
        }
    }

    /// One look. None: nothing is different (or not yet settled).
    async fn look(&mut self) -> Option<Scanned> {
        let files = match self.keeper.list().await {
            Ok(files) => files,
            Err(error) => return self.lose(&error),
        };
        let found_again = std::mem::take(&mut self.lost);
        let mut new = Vec::new();
        let mut changed = false;
        for Settled { name, look, belief } in self.settling.look(&files, clock::now()) {
            let Some(facts) = look else {
                self.settling.believe(&name, None);
                changed |= self.readings.remove(&name).is_some();
                continue;
            };
            match self.take(&facts, belief).await {
                Taken::Same => {}
                Taken::Moving => self.settling.doubt(&name, clock::now()),
                Taken::News { new_mark } => {
                    changed = true;
                    new.extend(new_mark.map(|mark| (name, mark)));
                }
            }
        }
        for facts in self.refused_to_read_again(files) {
            if let Taken::News { new_mark } = self.take(&facts, Belief::Still).await {
                changed = true;
                new.extend(new_mark.map(|mark| (facts.name, mark)));
            }
        }
        match &mut self.first {
            // The first answer tells which vassals exist: it waits for every name to settle, within reason.
            Some(First { until, new: before }) => {
                before.extend(new);
                if self.settling.look_again_at().is_some() && clock::now() < *until {
                    return None;
                }
                let new = std::mem::take(before);
                self.first = None;
                Some(Scanned::Files { all: self.readings.clone(), new })
            }
            None => (changed || found_again).then(|| Scanned::Files { all: self.readings.clone(), new }),
        }
    }

    /// Files that hold still and are refused, now and then and whenever somebody waits for a look.
    fn refused_to_read_again(&mut self, files: Vec<FileFacts>) -> Vec<FileFacts> {
        let now = clock::now();
        if now < self.refused_again_at && !self.answering.is_awaited() {
            return Vec::new();
        }
        self.refused_again_at = now.after(REFUSED_AGAIN_AFTER);
        let is_refused = |facts: &FileFacts| self.readings.get(&facts.name).is_some_and(|known| known.plan.is_none());
        files.into_iter().filter(|facts| self.settling.is_believed(facts) && is_refused(facts)).collect()
    }

    fn lose(&mut self, error: &KeeperError) -> Option<Scanned> {
        let known = std::mem::replace(&mut self.lost, true);
        (!known).then(|| Scanned::Lost(error.to_string()))
    }

    /// Reads a file that has settled. What was opened says whose it is and what it looks like, not what was listed.
    async fn take(&mut self, listed: &FileFacts, belief: Belief) -> Taken {
        let name = &listed.name;
        let (facts, content, failure) = match self.content_of(listed, belief).await {
            Ok((_, Content::Moving)) => return Taken::Moving,
            Ok((opened, Content::Whole(content))) => (opened, content, None),
            Ok((opened, Content::TooLong)) => {
                let message = format!("the file has {} bytes; at most {FILE_MAX_BYTES} are read", opened.size);
                (opened, Vec::new(), Some(("file-too-long", message, "a vassal file holds options, not data")))
            }
            Err(message) => {
                (listed.clone(), Vec::new(), Some(("file-unreadable", message, "check its owner and its permissions")))
            }
        };
        let facts = &facts;
        self.settling.believe(name, Some(facts.clone()));
        let (revision, mut is_new) = self.numbers.number(facts, &reading::sha256_hex(&content));
        let known = self.readings.get(name).filter(|known| known.revision == revision).map(Arc::clone);
        if known.as_ref().is_some_and(|known| known.plan.is_some()) {
            return Taken::Same;
        }
        let mut reading = match failure {
            Some((code, message, hint)) => self.reader.unreadable(name, revision, code, message, hint),
            None => {
                let (reader, owned) = (self.reader.clone(), name.clone());
                let address = self.on_demand.address_of(facts, &self.keeper).await;
                let circumstances = Circumstances { on_demand: address, owner: Some(tyrant::owner(facts)) };
                match tokio::task::spawn_blocking(move || reader.read(&owned, revision, content, circumstances)).await {
                    Ok(reading) => reading,
                    Err(panic) => {
                        tracing::error!(vassal = %name, %panic, "the parser failed");
                        let message = "the parser failed on this file; this is a bug of Empery".to_owned();
                        self.reader.unreadable(
                            name,
                            revision,
                            "parser-failed",
                            message,
                            "please report it with the file",
                        )
                    }
                }
            }
        };
        if let Some(known) = known {
            if reading.plan.is_none() && reading.problems == known.problems {
                return Taken::Same;
            }
            // The same content means something else by now.
            reading.revision = self.numbers.renew(name).unwrap_or(revision);
            is_new = true;
        }
        self.readings.insert(name.clone(), Arc::new(reading));
        Taken::News { new_mark: is_new.then(|| number::mark(facts)) }
    }

    /// The content, with the facts of what was opened.
    async fn content_of(&self, listed: &FileFacts, belief: Belief) -> Result<(FileFacts, Content), String> {
        point!("brain.read").map_err(|error| error.to_string())?;
        let opened = self.keeper.ask(Ask::Open { name: listed.name.clone() }, Vec::new()).await;
        let (facts, fd) = match opened {
            Ok((Answer::Opened { facts }, fds)) => {
                if facts != *listed && belief == Belief::Still {
                    return Ok((facts, Content::Moving));
                }
                (facts, fds.into_iter().next().ok_or_else(|| "the keeper opened it but sent no descriptor".to_owned())?)
            }
            Ok(_) => return Err("the keeper answered something else".to_owned()),
            Err(error) if error.is("not-found") => return Ok((listed.clone(), Content::Moving)),
            Err(error) => return Err(error.to_string()),
        };
        let read = move || read_whole(fd, &facts, belief).map(|content| (facts, content));
        let read = tokio::task::spawn_blocking(read).await;
        read.map_err(|panic| panic.to_string())?.map_err(|error| format!("it cannot be read: {error}"))
    }
}

enum Taken {
    /// It changed again between the look and the reading: look once more.
    Moving,
    /// It says what it said.
    Same,
    /// It says something else.
    News {
        /// What its file looks like, when its number is a new one.
        new_mark: Option<String>,
    },
}

enum Content {
    Whole(Vec<u8>),
    TooLong,
    Moving,
}

fn read_whole(fd: OwnedFd, facts: &FileFacts, belief: Belief) -> std::io::Result<Content> {
    let mut file = File::from(fd);
    let mut content = Vec::new();
    file.by_ref().take(FILE_MAX_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_MAX_BYTES {
        return Ok(Content::TooLong);
    }
    let after = file.metadata()?;
    let mtime_ns = after.mtime().saturating_mul(1_000_000_000).saturating_add(after.mtime_nsec());
    let moved = after.size() != facts.size || mtime_ns != facts.mtime_ns || content.len() as u64 != facts.size;
    if moved && belief == Belief::Still {
        return Ok(Content::Moving);
    }
    Ok(Content::Whole(content))
}
