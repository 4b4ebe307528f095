//! Where this master gets its configuration from: its command line when it runs alone, the emperor's words otherwise.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use empery_config::{facts::Inherited, read::Entry, vassal::VassalConfig};
use empery_control::{boot::MasterBoot, places::CURRENT_LOG};
use empery_lifecycle::ids::{OperationId, RevisionId};

use crate::{
    log::{
        self,
        file::{Care, LogFile, Retired},
    },
    reading,
    revision::Revision,
    standalone::keeps_identity,
    succession::StationLeft,
};

/// Operations from this number on are of a master's own making and never told to an emperor, whose own count from 1.
pub(crate) const OWN_OPERATIONS: u64 = 1 << 62;

/// The emperor's own log of a vassal is rotated at this size, and so many full ones are kept.
const LOG_MAX_BYTES: u64 = 64 * 1024 * 1024;
const LOG_KEEP: u32 = 4;

/// What a vassal alone calls its first revision.
pub(crate) const FIRST_REVISION: RevisionId = RevisionId(1);

/// What it calls its first operation.
pub(crate) const FIRST_OPERATION: OperationId = OperationId(OWN_OPERATIONS);

/// See the module.
pub(crate) enum Station {
    /// It runs alone.
    Alone(Alone),
    /// It runs under an emperor.
    Governed(Box<Governed>),
}

/// A master without an emperor.
pub(crate) struct Alone {
    /// Its command line, without the program's name.
    pub(crate) arguments: Vec<String>,
    /// Sockets that it was started with and serves.
    pub(crate) inherited: Vec<Inherited>,
    /// The last revision: every reading is a new one.
    pub(crate) revision: RevisionId,
    /// The last operation.
    pub(crate) operation: OperationId,
    /// The read end of the log pipe, once more; None when workers write to the log themselves.
    pub(crate) log_read: Option<OwnedFd>,
}

/// Descriptors of a master under an emperor that its tasks use, once more: for a new image of it.
pub(crate) struct Kept {
    /// The listening link.
    pub(crate) link: OwnedFd,
    /// The lock, which nobody uses: it is held as long as this process lives.
    pub(crate) lock: OwnedFd,
    /// The read end of the log pipe.
    pub(crate) log_read: OwnedFd,
}

/// A master under an emperor.
pub(crate) struct Governed {
    /// See [`Kept`].
    pub(crate) kept: Kept,
    /// What it was started with.
    pub(crate) boot: MasterBoot,
    /// The content of the vassal file as it was ordered last.
    pub(crate) content: Vec<u8>,
    /// Its revision.
    pub(crate) revision: RevisionId,
    /// The last operation of its own.
    pub(crate) operation: OperationId,
    /// An operation of the emperor's that the next reading is for: a changed binary carries it out.
    pub(crate) ordered: Option<OperationId>,
    /// The log that the configuration names; None while it is the emperor's own.
    log_path: Option<PathBuf>,
}

impl Station {
    /// Alone; the command line was read once, as the first revision.
    pub(crate) fn alone(arguments: Vec<String>, inherited: Vec<Inherited>, log_read: Option<OwnedFd>) -> Self {
        let (revision, operation) = (FIRST_REVISION, FIRST_OPERATION);
        Station::Alone(Alone { arguments, inherited, revision, operation, log_read })
    }

    /// What a new image of this master is left with.
    pub(crate) fn leave<'a>(&'a self, left: &mut Vec<BorrowedFd<'a>>) -> StationLeft {
        match self {
            Station::Alone(alone) => {
                left.extend(alone.log_read.as_ref().map(AsFd::as_fd));
                let log_read = alone.log_read.as_ref().map(AsRawFd::as_raw_fd);
                StationLeft::Alone {
                    arguments: alone.arguments.clone(),
                    inherited: alone.inherited.clone(),
                    texts: crate::given_text::leave(),
                    revision: alone.revision.0,
                    log_read,
                }
            }
            Station::Governed(governed) => {
                let Kept { link, lock, log_read } = &governed.kept;
                left.extend([link.as_fd(), lock.as_fd(), log_read.as_fd()]);
                let boot = MasterBoot {
                    listeners: Vec::new(),
                    link_fd: link.as_raw_fd(),
                    lock_fd: lock.as_raw_fd(),
                    log_read_fd: log_read.as_raw_fd(),
                    ..governed.boot.clone()
                };
                let content = governed.content.clone();
                let operation = governed.ordered.map(|operation| operation.0);
                StationLeft::Governed { boot: Box::new(boot), revision: governed.revision.0, content, operation }
            }
        }
    }

    /// A read end of the log pipe for workers, where nobody but this master has one.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub(crate) fn log_spare(&self) -> Result<Option<OwnedFd>, String> {
        let Station::Alone(Alone { log_read: Some(log_read), .. }) = self else { return Ok(None) };
        log_read.try_clone().map(Some).map_err(|error| format!("no descriptor is left: {error}"))
    }

    /// Reads the configuration (again). Alone that is a new revision; under an emperor, who is the one to bring new
    /// content, it is the same one, whose included files may say something new.
    pub(crate) fn read_again(&mut self) -> (OperationId, RevisionId, Result<Revision, String>) {
        match self {
            Station::Alone(alone) => {
                alone.revision = alone.revision.next();
                alone.operation = alone.operation.next();
                let entry = Entry::Arguments(alone.arguments.clone());
                let read = reading::read(&entry, alone.revision, &alone.inherited);
                let read = read.and_then(|revision| keeps_identity(&revision.config).map(|()| revision));
                (alone.operation, alone.revision, read)
            }
            Station::Governed(governed) => {
                let operation = governed.ordered.take().unwrap_or_else(|| {
                    governed.operation = governed.operation.next();
                    governed.operation
                });
                (operation, governed.revision, governed.read())
            }
        }
    }
}

fn default_care() -> Care {
    Care { max_bytes: LOG_MAX_BYTES, retired: Retired::Numbered { keep: LOG_KEEP, compress: true }, ..Care::none() }
}

impl Governed {
    /// Opens the log that a configuration names, else the emperor's own, unless that is where the log goes already.
    ///
    /// # Errors
    /// One sentence: the log goes on where it did.
    pub(crate) fn log_where_told(&mut self, config: &VassalConfig) -> Result<(), String> {
        self.log_to(config, config.log.truncate)
    }

    /// The same for a changed image of this master, which goes on with what the one before has written.
    ///
    /// # Errors
    /// As [`Governed::log_where_told`].
    pub(crate) fn log_goes_on(&mut self, config: &VassalConfig) -> Result<(), String> {
        self.log_to(config, false)
    }

    fn log_to(&mut self, config: &VassalConfig, truncates: bool) -> Result<(), String> {
        log::follow(&config.log);
        log::open_loggers(&config.log);
        let wanted = config.log.logto2.clone().or_else(|| config.log.logto.clone());
        let care = Care::of(&config.log, if wanted.is_some() { Care::none() } else { default_care() });
        if wanted == self.log_path {
            log::take_care(care);
            return Ok(());
        }
        let path = wanted.clone().unwrap_or_else(|| self.default_log_path());
        let file = LogFile::open(path.clone(), care).map_err(|error| {
            let user = nix::unistd::geteuid();
            let path = path.display();
            format!("the log {path} cannot be opened by user {user}: {error}; it goes on where `emperor logs` reads it")
        })?;
        log::use_file(file);
        self.log_path = wanted;
        if truncates {
            log::truncate();
        }
        Ok(())
    }

    /// The emperor's own log of this vassal.
    pub(crate) fn default_log(&self) -> std::io::Result<LogFile> {
        LogFile::open(self.default_log_path(), default_care())
    }

    fn default_log_path(&self) -> PathBuf {
        self.boot.log_directory.join(CURRENT_LOG)
    }

    /// Takes what an emperor has given at the start.
    pub(crate) fn new(boot: MasterBoot, content: Vec<u8>, kept: Kept) -> Self {
        let revision = boot.revision;
        Self { kept, boot, content, revision, operation: OperationId(OWN_OPERATIONS), ordered: None, log_path: None }
    }

    /// Reads the content ordered last.
    pub(crate) fn read(&self) -> Result<Revision, String> {
        let path = self.boot.config_path.to_string_lossy().into_owned();
        let own = Some(&*self.boot.working_directory).filter(|directory| !directory.as_os_str().is_empty());
        let directory = own.or(self.boot.config_path.parent()).map(|path| path.to_string_lossy().into_owned());
        let entry = Entry::File { path, content: self.content.clone() };
        reading::read_governed(&entry, self.revision, directory, &self.boot)
    }
}
