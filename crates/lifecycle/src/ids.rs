//! Names and numbers of things. Each is a type of its own, so that one cannot be passed for another.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// The number after this one. The last is its own successor: a vassal may claim any number.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number!(
    /// One booted copy of an app: its zygote and workers. Numbered from 1 within a vassal, across masters.
    GenerationId
);
number!(
    /// One content of a vassal file. Numbered from 1 within a vassal, by the emperor; a standalone vassal counts its re-reads.
    RevisionId
);
number!(
    /// Whatever was asked for and takes time: a deploy, stop or start. Unique within one emperor's database.
    OperationId
);
number!(
    /// One process of a vassal's master: counted upwards over the whole fleet, and on from those found alive.
    MasterSerial
);
number!(
    /// A worker that outlived the master that started it (or that was carried over a master's re-exec).
    OrphanId
);

/// A worker of a generation, counted from 1 as uWSGI counts `worker_id()`. Stable across respawns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerId(pub u32);

/// One process that fills the place of a worker: respawns count up `spawn` from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerRef {
    /// The generation it was forked for.
    pub generation: GenerationId,
    /// Which worker of the generation it is.
    pub worker: WorkerId,
    /// 0 for the first process of this worker, then one more for each that replaced it.
    pub spawn: u32,
}

impl fmt::Display for WorkerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} of generation {} (spawn {})", self.worker.0, self.generation, self.spawn)
    }
}

/// The name of a vassal: the name of its file in the vassals directory, such as `shop.ini`; where an emperor watches several
/// directories or a pattern, its path below what they have in common, such as `shop/app.ini`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VassalName(String);

/// Why a text is not a vassal's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadVassalName {
    /// It, or a part between slashes, is empty, `.` or `..`.
    Empty,
    /// Longer than 255 bytes (NAME_MAX of Linux file systems).
    TooLong,
    /// Holds a control character.
    BadCharacter,
}

impl fmt::Display for BadVassalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadVassalName::Empty => "no part of a vassal's name may be empty, \".\" or \"..\"",
            BadVassalName::TooLong => "a vassal's name has at most 255 bytes",
            BadVassalName::BadCharacter => "a vassal's name must not hold control characters",
        })
    }
}

impl std::error::Error for BadVassalName {}

impl VassalName {
    /// Checks and takes the path of a file below the vassals directory.
    ///
    /// # Errors
    /// When it could lead out of the directory, or would garble a terminal.
    pub fn new(name: impl Into<String>) -> Result<Self, BadVassalName> {
        let name = name.into();
        if name.split('/').any(|part| ["", ".", ".."].contains(&part)) {
            return Err(BadVassalName::Empty);
        }
        if name.len() > 255 {
            return Err(BadVassalName::TooLong);
        }
        if name.chars().any(char::is_control) {
            return Err(BadVassalName::BadCharacter);
        }
        Ok(Self(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for VassalName {
    type Error = BadVassalName;
    fn try_from(name: String) -> Result<Self, BadVassalName> {
        Self::new(name)
    }
}

impl From<VassalName> for String {
    fn from(name: VassalName) -> String {
        name.0
    }
}

impl fmt::Display for VassalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
