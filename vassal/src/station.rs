//! Where this master gets its configuration from: its command line when it runs alone, the emperor's words otherwise.

use empery_config::read::Entry;
use empery_control::boot::MasterBoot;
use empery_lifecycle::ids::{OperationId, RevisionId};

use crate::{reading, revision::Revision};

/// Operations from this number on are of a master's own making and never told to an emperor, whose own count from 1.
pub(crate) const OWN_OPERATIONS: u64 = 1 << 62;

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
    /// The last revision: every reading is a new one.
    pub(crate) revision: RevisionId,
    /// The last operation.
    pub(crate) operation: OperationId,
}

/// A master under an emperor.
pub(crate) struct Governed {
    /// What it was started with.
    pub(crate) boot: MasterBoot,
    /// The content of the vassal file as it was ordered last.
    pub(crate) content: Vec<u8>,
    /// Its revision.
    pub(crate) revision: RevisionId,
    /// The last operation of its own.
    pub(crate) operation: OperationId,
}

impl Station {
    /// Alone, with nothing read yet.
    pub(crate) fn alone(arguments: Vec<String>) -> Self {
        Station::Alone(Alone { arguments, revision: RevisionId(0), operation: OperationId(OWN_OPERATIONS) })
    }

    /// Reads the configuration (again). Alone that is a new revision; under an emperor, who is the one to bring new
    /// content, it is the same one, whose included files may say something new.
    pub(crate) fn read_again(&mut self) -> (OperationId, RevisionId, Result<Revision, String>) {
        match self {
            Station::Alone(alone) => {
                alone.revision = alone.revision.next();
                alone.operation = alone.operation.next();
                let entry = Entry::Arguments(alone.arguments.clone());
                (alone.operation, alone.revision, reading::read(&entry, alone.revision, None))
            }
            Station::Governed(governed) => {
                governed.operation = governed.operation.next();
                (governed.operation, governed.revision, governed.read())
            }
        }
    }
}

impl Governed {
    /// Takes what an emperor has given at the start.
    pub(crate) fn new(boot: MasterBoot, content: Vec<u8>) -> Self {
        let revision = boot.revision;
        Self { boot, content, revision, operation: OperationId(OWN_OPERATIONS) }
    }

    /// Reads the content ordered last.
    pub(crate) fn read(&self) -> Result<Revision, String> {
        let path = self.boot.config_path.to_string_lossy().into_owned();
        let directory = self.boot.config_path.parent().map(|parent| parent.to_string_lossy().into_owned());
        let entry = Entry::File { path, content: self.content.clone() };
        reading::read(&entry, self.revision, directory)
    }
}
