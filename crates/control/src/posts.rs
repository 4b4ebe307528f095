//! Between a master and the processes of a generation that answer no requests: mules and spoolers. Each has a
//! `SOCK_SEQPACKET` socketpair to its master.

use std::path::PathBuf;

pub use empery_lifecycle::posts::{Post, PostRef};
use serde::{Deserialize, Serialize};

use crate::signals::SignalWord;

/// Longest message of an alarm, in bytes, on its way from the app to the master and from there to a mule.
pub const ALARM_MESSAGE_MAX_BYTES: usize = 16 * 1024;

/// Master to mule or spooler. SIGTERM comes with it, for one that is inside a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum ToPost {
    /// Finish what you have begun, and exit.
    Leave,
    /// The same, when you have done what was sent to you: nobody sends anything any more.
    Finish,
    /// Look for tasks now.
    Wake,
}

/// Mule or spooler to master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromPost {
    /// It runs; its first word.
    Up {
        /// Who it is.
        post: PostRef,
        /// Its pid.
        pid: i32,
    },
    /// It begins a task, or a function for a message or a signal.
    Begins {
        /// In how many ms that must end (`mule-harakiri`, `spooler-harakiri`).
        within_ms: Option<u64>,
    },
    /// That has ended.
    Ended,
    /// The app called `uwsgi.set_user_harakiri()`: whatever it does must have ended by then, until it says otherwise.
    Limited {
        /// In how many ms; None takes the limit back.
        within_ms: Option<u64>,
    },
    /// It leaves although nobody asked it to, as often as it should (`spooler-max-tasks`).
    Recycles,
    /// Something about uWSGI signals, perhaps with a descriptor.
    Signals {
        /// It.
        word: SignalWord,
    },
    /// The app called `uwsgi.reload()`.
    ReloadAsked,
    /// The app called `uwsgi.stop()`.
    StopAsked,
    /// The app called `uwsgi.alarm()`.
    AlarmRaised {
        /// The alarm.
        name: String,
        /// The message, at most [`crate::posts::ALARM_MESSAGE_MAX_BYTES`] of it.
        message: String,
    },
}

/// What a mule is, from 1 on in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MulesBoot {
    /// For each mule what it runs: a script, `module:function`, or nothing but functions of signals and messages.
    pub patches: Vec<Option<String>>,
    /// Farms and their mules.
    pub farms: Vec<(String, Vec<u32>)>,
    /// `mule-harakiri`, in s; 0 is off.
    pub harakiri_s: u32,
    /// `mule-msg-size`: room of a queue, in bytes; 0 is the kernel's.
    pub queue_bytes: u32,
    /// `mule-msg-recv-size`: longest message, in bytes.
    pub message_max_bytes: usize,
}

/// What a spooler is, counted from 1 over the processes of all directories in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolersBoot {
    /// In the order of the file.
    pub directories: Vec<SpoolDirectory>,
    /// Processes for each directory that is not external.
    pub processes: u32,
    /// `spooler-frequency`, in s.
    pub frequency_s: u32,
    /// `spooler-max-tasks`; 0 is no limit.
    pub max_tasks: u64,
    /// `spooler-harakiri`, in s; 0 is off.
    pub harakiri_s: u32,
    /// `spooler-chdir`.
    pub chdir: Option<PathBuf>,
    /// `spooler-quiet`.
    pub quiet: bool,
    /// `spooler-import`.
    pub imports: Vec<String>,
}

/// A directory of tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolDirectory {
    /// It.
    pub path: PathBuf,
    /// `spooler-external`: others run what is in it.
    pub external: bool,
}
