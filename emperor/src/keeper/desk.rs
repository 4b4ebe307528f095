//! Where the brain's requests are carried out. Every word is checked against the keeper's own facts: the brain may be
//! in somebody else's hands. What is not understood is answered, if it can be, and never believed.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use empery_control::{
    framing::{self, MAX_MESSAGE_BYTES},
    keeper::{Answer, Ask, FromKeeper, ListenSpec, LivingMaster, Request, RequestId},
    places,
};
use empery_failpoint::{point, step};
use empery_lifecycle::{
    fleet::{Berth, Identity, MasterKey},
    ids::VassalName,
};
use empery_sys::{listen::BindError, pipe};
use serde::{Deserialize, Serialize};

use super::{
    Settings, UidPolicy, binding,
    directory::{DirectoryError, VassalsDirectory},
    fd_store::{FdStore, Kept},
    masters::{self, Masters},
    rooms, successor,
    survivors::Survivors,
    tls_files,
};
use crate::{
    regions::{self, Looked},
    tyrant::{self, Tyrant},
};

/// Room of a message for what is around the parts of a list.
const ENVELOPE_BYTES: usize = 512;

/// What a request comes to.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// What the brain is told, in order.
    pub(super) replies: Vec<Reply>,
    /// The exit code, when the brain told the keeper to leave.
    pub(super) leave: Option<u8>,
    /// The keeper is to replace itself.
    pub(super) restart: bool,
    /// The brain has said that it looks after the fleet.
    pub(super) pulse: bool,
}

/// A word to the brain with its descriptors.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) word: FromKeeper,
    pub(super) fds: Vec<OwnedFd>,
}

/// Why a request was not carried out.
#[derive(Debug)]
pub(super) struct Refusal {
    /// One of the stable words of [`Answer::Failed`].
    pub(super) code: &'static str,
    /// One sentence.
    pub(super) sentence: String,
}

impl Refusal {
    pub(super) fn new(code: &'static str, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into() }
    }

    /// Something of this machine failed while `attempted` was done.
    pub(super) fn io(attempted: impl std::fmt::Display, error: &std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::PermissionDenied => "permission",
            std::io::ErrorKind::NotFound => "not-found",
            _ => "io",
        };
        Self::new(code, format!("{attempted}: {error}"))
    }
}

/// The keeper's facts.
pub(super) struct Desk {
    pub(super) directory: VassalsDirectory,
    pub(super) store: FdStore,
    pub(super) masters: Masters,
    pub(super) survivors: Survivors,
    pub(super) runtime: PathBuf,
    pub(super) state: PathBuf,
    pub(super) vassal_program: PathBuf,
    pub(super) uid_policy: UidPolicy,
    pub(super) tyrant: Option<Tyrant>,
    pub(super) brain: Identity,
    /// What is handed from brain to brain while an upgrade goes on.
    pub(super) note: Option<String>,
}

impl Desk {
    /// Learns what there is: masters that an earlier keeper started.
    ///
    /// # Errors
    /// When they cannot be looked for.
    pub(super) fn open(settings: &Settings, program: &Path, brain: Identity) -> std::io::Result<Self> {
        let mut desk = Self {
            directory: VassalsDirectory::new(settings.sources.clone(), settings.on_demand_extension.clone())
                .with_owners(settings.tyrant, brain.gid),
            store: successor::inherited_store(),
            masters: Masters::adopt(&settings.runtime)?,
            survivors: Survivors::default(),
            runtime: settings.runtime.clone(),
            state: settings.state.clone(),
            vassal_program: vassal_beside(program),
            uid_policy: settings.uid_policy,
            tyrant: settings.tyrant,
            brain,
            note: successor::inherited_note(),
        };
        for LivingMaster { master, .. } in desk.masters.living() {
            desk.lead_on(&master.vassal, master.berth.other());
        }
        Ok(desk)
    }

    /// Carries out what the message asks.
    pub(super) fn handle(&mut self, message: &[u8], fds: Vec<OwnedFd>) -> Done {
        let request = match framing::decode::<Request>(message) {
            Ok(request) => request,
            Err(error) => return not_understood(message, &error),
        };
        let id = request.id;
        let pulse = matches!(request.ask, Ask::Pulse);
        match self.carry_out(request.ask, fds) {
            Ok(Outcome::Leave(code)) => {
                let replies = vec![answer(id, Answer::Done, Vec::new())];
                Done { replies, leave: Some(code), ..Done::default() }
            }
            Ok(Outcome::Restart) => Done { restart: true, ..Done::default() },
            Ok(Outcome::Answers(answers)) => {
                let replies = answers.into_iter().map(|(word, fds)| answer(id, word, fds)).collect();
                Done { replies, pulse, ..Done::default() }
            }
            Err(refusal) => {
                tracing::debug!("refused: {}", refusal.sentence);
                Done { replies: vec![failed(id, refusal)], ..Done::default() }
            }
        }
    }

    fn carry_out(&mut self, ask: Ask, mut fds: Vec<OwnedFd>) -> Result<Outcome, Refusal> {
        match ask {
            Ask::List => self.list(),
            Ask::Open { name } => {
                point!("keeper.open").map_err(|error| Refusal::io(format_args!("opening {name}"), &error))?;
                let (facts, file) = self.directory.open(&name)?;
                Ok(Outcome::with_fd(Answer::Opened { facts }, file.into()))
            }
            Ask::OpenOnDemand { name } => {
                let (facts, file) = self.directory.open_on_demand(&name)?;
                Ok(Outcome::with_fd(Answer::Opened { facts }, file.into()))
            }
            Ask::Watch { vassal, keys } => match self.store.watch(&vassal, keys) {
                Ok(()) => Ok(Outcome::done()),
                Err(key) => Err(Refusal::new(
                    "not-found",
                    format!("no listening socket {key} is kept for {vassal}: bind it first"),
                )),
            },
            Ask::Bind { vassal, identity, listener } => self.bind(&vassal, identity, listener),
            Ask::Keep { vassal, key } => {
                let socket = one_descriptor(&mut fds, "a listening socket")?;
                let kept = self.store.keep_handed(&vassal, key.clone(), socket);
                kept.map_err(|error| Refusal::io(format_args!("keeping {key} of {vassal}"), &error))?;
                Ok(Outcome::done())
            }
            Ask::KeepRegions { master, names } => {
                let Looked { good, why: None, .. } = regions::look(names, fds) else {
                    return Err(Refusal::new("io", "what is kept must be memory, with a short name and within limits"));
                };
                let Some(known) = self.masters.get(&master) else {
                    return Err(Refusal::new("not-found", format!("{} has no such master", master.vassal)));
                };
                self.store.keep_regions(&master.vassal, known.identity, good);
                Ok(Outcome::done())
            }
            Ask::KeepLog { master } => {
                let (Some(write), Some(read), None) = (fds.pop(), fds.pop(), fds.pop()) else {
                    return Err(Refusal::new("io", "the request must carry the two ends of a pipe"));
                };
                if !pipe::are_ends(read.as_fd(), write.as_fd()) {
                    return Err(Refusal::new(
                        "io",
                        "what is kept for the log must be the read end and the write end of a pipe",
                    ));
                }
                let Some(known) = self.masters.get(&master) else {
                    return Err(Refusal::new("not-found", format!("{} has no such master", master.vassal)));
                };
                self.store.keep_log(&master.vassal, known.identity, read, write);
                Ok(Outcome::done())
            }
            Ask::Forget { vassal, keys } => {
                step!("keeper.forget");
                self.store.forget(&vassal, &keys);
                if keys.is_empty() && !self.lives(&vassal) {
                    rooms::clear_places(&self.runtime, &vassal);
                }
                Ok(Outcome::done())
            }
            Ask::ForgetAbsent => {
                let files: BTreeSet<VassalName> = self.directory.list()?.into_iter().map(|file| file.name).collect();
                let masters = &self.masters;
                let lives =
                    |vassal: &VassalName| [Berth::A, Berth::B].iter().any(|berth| masters.lives_in(vassal, *berth));
                self.store.retain(|vassal| files.contains(vassal) || lives(vassal));
                Ok(Outcome::done())
            }
            Ask::StartMaster(order) => {
                let content = one_descriptor(&mut fds, "the vassal file")?;
                let pid = self.start_master(*order, &content)?;
                Ok(Outcome::with(Answer::Started { pid }))
            }
            Ask::OpenTls { vassal, paths } => {
                let (paths, files) = tls_files::open(&self.directory, &vassal, &paths)?.into_iter().unzip();
                Ok(Outcome::Answers(vec![(Answer::TlsOpened { paths }, files)]))
            }
            Ask::Kill { master, was_to_leave } => self.kill(&master, was_to_leave),
            Ask::Masters => {
                let parts = in_parts(self.masters.living());
                Ok(Outcome::parts(parts, |masters, more| Answer::Masters { masters, more }))
            }
            Ask::Restart { note } => {
                self.note = Some(note);
                Ok(Outcome::Restart)
            }
            Ask::Pulse => Ok(Outcome::done()),
            Ask::Upgraded => {
                self.note = None;
                Ok(Outcome::done())
            }
            Ask::Leave { code } => Ok(Outcome::Leave(code)),
        }
    }

    fn list(&self) -> Result<Outcome, Refusal> {
        point!("keeper.list").map_err(|error| Refusal::io("listing the vassals directory", &error))?;
        let parts = in_parts(self.directory.list()?);
        Ok(Outcome::parts(parts, |files, more| Answer::Listing { files, more }))
    }

    /// Whether processes of this vassal may have this identity.
    ///
    /// # Errors
    /// `policy`, with what is not allowed.
    pub(super) fn may_be(&self, vassal: &VassalName, wanted: Identity) -> Result<(), Refusal> {
        let refused = |why: String| Refusal::new("policy", format!("{vassal}: {why}"));
        self.uid_policy.check(wanted).map_err(refused)?;
        if self.tyrant.is_some() {
            let owner = self.directory.owner(vassal)?;
            tyrant::may_run(owner).map_err(refused)?;
            if wanted != owner {
                let (Identity { uid, gid }, Identity { uid: owner_uid, gid: owner_gid }) = (wanted, owner);
                return Err(refused(format!(
                    "uid {uid} gid {gid} is not the owner of its file, who is uid {owner_uid} gid {owner_gid}"
                )));
            }
        }
        Ok(())
    }

    /// Whether a master of this vassal may have these supplementary groups (`add-gid`); under a tyrant it has its owner's.
    ///
    /// # Errors
    /// `policy`, with what is not allowed.
    pub(super) fn may_have(&self, vassal: &VassalName, groups: &[u32]) -> Result<(), Refusal> {
        let refused = |why: String| Refusal::new("policy", format!("{vassal}: {why}"));
        if self.tyrant.is_some() && !groups.is_empty() {
            return Err(refused("groups beside its owner's are not given to it".to_owned()));
        }
        self.uid_policy.check_groups(groups).map_err(refused)
    }

    fn bind(&mut self, vassal: &VassalName, identity: Identity, listener: ListenSpec) -> Result<Outcome, Refusal> {
        self.may_be(vassal, identity)?;
        let key = listener.key.clone();
        let kept = match self.store.listener(vassal, &key) {
            Some(kept) => kept,
            None => {
                point!("keeper.bind").map_err(|error| Refusal::io(format_args!("binding {key}"), &error))?;
                let bound = match self.tyrant {
                    Some(_) => binding::bind_as_owner(&listener, identity),
                    None => binding::bind(&listener, identity),
                };
                let (socket, bound) = match bound {
                    Err(error @ BindError::InUse { .. }) if self.may_have_left_some(vassal) => {
                        return Err(Refusal::new("left-in-use", error.to_string()));
                    }
                    bound => bound?,
                };
                self.store.keep_listener(vassal, key.clone(), Kept { socket, bound })
            }
        };
        let copy = kept
            .socket
            .try_clone()
            .map_err(|error| Refusal::io(format_args!("passing on {key} of {vassal}"), &error))?;
        Ok(Outcome::with_fd(Answer::Bound { bound: kept.bound.clone() }, copy))
    }

    /// Whether workers of a master that is gone may serve on: its places are cleared only once the vassal was stopped.
    fn may_have_left_some(&self, vassal: &VassalName) -> bool {
        !self.lives(vassal)
            && [Berth::A, Berth::B]
                .into_iter()
                .any(|berth| places::berth(&self.runtime, vassal, berth).link.symlink_metadata().is_ok())
    }

    /// Whether it has a living master.
    fn lives(&self, vassal: &VassalName) -> bool {
        [Berth::A, Berth::B].into_iter().any(|berth| self.masters.lives_in(vassal, berth))
    }

    fn kill(&mut self, key: &MasterKey, was_to_leave: bool) -> Result<Outcome, Refusal> {
        let name = &key.vassal;
        let Some(master) = self.masters.get(key) else {
            return Err(Refusal::new(
                "not-found",
                format!("{name} has no such master (berth {}, serial {})", key.berth.as_str(), key.serial),
            ));
        };
        if was_to_leave {
            self.survivors.add(masters::children(master));
        }
        point!("keeper.kill")
            .and_then(|()| masters::send(master, libc::SIGKILL))
            .map_err(|error| Refusal::io(format_args!("killing the master of {name}"), &error))?;
        Ok(Outcome::done())
    }
}

enum Outcome {
    Answers(Vec<(Answer, Vec<OwnedFd>)>),
    Leave(u8),
    Restart,
}

impl Outcome {
    fn with(answer: Answer) -> Self {
        Outcome::Answers(vec![(answer, Vec::new())])
    }

    fn with_fd(answer: Answer, fd: OwnedFd) -> Self {
        Outcome::Answers(vec![(answer, vec![fd])])
    }

    fn done() -> Self {
        Self::with(Answer::Done)
    }

    fn parts<T>(parts: Vec<Vec<T>>, say: impl Fn(Vec<T>, bool) -> Answer) -> Self {
        let last = parts.len() - 1;
        let said = |(index, part)| (say(part, index < last), Vec::new());
        Outcome::Answers(parts.into_iter().enumerate().map(said).collect())
    }
}

/// Cuts a list so that each part fits into a message. There is at least one part.
fn in_parts<T: Serialize>(items: Vec<T>) -> Vec<Vec<T>> {
    let mut parts = vec![Vec::new()];
    let mut length = ENVELOPE_BYTES;
    for item in items {
        // A name has at most 255 bytes, six times as many when escaped: no item is longer than a message.
        let item_length = serde_json::to_vec(&item).map_or(0, |text| text.len() + 1);
        if length + item_length > MAX_MESSAGE_BYTES {
            parts.push(Vec::new());
            length = ENVELOPE_BYTES;
        }
        length += item_length;
        if let Some(part) = parts.last_mut() {
            part.push(item);
        }
    }
    parts
}

fn answer(id: RequestId, answer: Answer, fds: Vec<OwnedFd>) -> Reply {
    Reply { word: FromKeeper::Answer { id, answer }, fds }
}

fn failed(id: RequestId, refusal: Refusal) -> Reply {
    answer(id, Answer::Failed { code: refusal.code.to_owned(), sentence: refusal.sentence }, Vec::new())
}

/// A word of another version, or nonsense: answered when at least its number can be read.
fn not_understood(message: &[u8], error: &framing::FramingError) -> Done {
    #[derive(Deserialize)]
    struct Numbered {
        id: RequestId,
    }
    tracing::error!("a request of the brain was not understood: {error}");
    let numbered = framing::decode::<Numbered>(message).ok();
    let sentence = "the keeper does not understand this request: brain and keeper may be of different versions; restart the emperor";
    let replies = numbered.map(|numbered| failed(numbered.id, Refusal::new("io", sentence)));
    Done { replies: replies.into_iter().collect(), ..Done::default() }
}

fn one_descriptor(fds: &mut Vec<OwnedFd>, what: &str) -> Result<OwnedFd, Refusal> {
    match (fds.pop(), fds.is_empty()) {
        (Some(fd), true) => Ok(fd),
        _ => Err(Refusal::new("io", format!("the request must carry {what} as its one descriptor"))),
    }
}

/// The binary that is installed beside this one, or the one on PATH.
fn vassal_beside(program: &Path) -> PathBuf {
    let beside = program.with_file_name("vassal");
    if beside.is_file() { beside } else { PathBuf::from("vassal") }
}

impl From<DirectoryError> for Refusal {
    fn from(error: DirectoryError) -> Self {
        let code = match &error {
            DirectoryError::Lost { .. } => "directory-lost",
            DirectoryError::NotAVassal { .. } => "not-found",
            DirectoryError::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                "permission"
            }
            DirectoryError::Unreadable { .. } => "io",
            DirectoryError::NotTheOwners { .. } => "policy",
        };
        Refusal::new(code, error.to_string())
    }
}

impl From<BindError> for Refusal {
    fn from(error: BindError) -> Self {
        let code = match &error {
            BindError::InUse { .. } => "address-in-use",
            BindError::Failed { source, .. } => match source.kind() {
                std::io::ErrorKind::PermissionDenied => "permission",
                std::io::ErrorKind::NotFound => "not-found",
                _ => "io",
            },
        };
        Refusal::new(code, error.to_string())
    }
}

/// Whether a descriptor holds content that can be read at an offset: a memfd or an open regular file.
pub(super) fn is_content(fd: &OwnedFd) -> bool {
    use nix::sys::stat::{SFlag, fstat};
    fstat(fd.as_fd()).is_ok_and(|facts| SFlag::from_bits_truncate(facts.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG)
}
