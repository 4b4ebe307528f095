//! uWSGI signals: numbers from 0 to 255 for which an app registers functions. What a process of an app says of them to its
//! master; the master delivers a signal as one byte over the process's letterbox.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Process to master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum SignalWord {
    /// Signals are delivered here from now on. One descriptor: the master's end of the letterbox, a `SOCK_SEQPACKET` socket.
    Letterbox,
    /// The app has registered a function.
    Registered {
        /// For which signal.
        signal: u8,
        /// Who runs it: `worker`, `workers`, `mule1` and the like.
        target: String,
    },
    /// Raise it every so often.
    Timer {
        /// Which.
        signal: u8,
        /// How often, in ms.
        every_ms: u64,
        /// So many times; 0 is for ever.
        times: u64,
    },
    /// Raise it at certain times, in the words of uWSGI's `cron`.
    Cron {
        /// Which.
        signal: u8,
        /// Minute, hour, day, month, day of the week.
        when: [i32; 5],
    },
    /// Raise it whenever a file or a directory changes.
    FileMonitor {
        /// Which.
        signal: u8,
        /// The file or directory.
        path: PathBuf,
    },
    /// Raise it now.
    Raised {
        /// Which.
        signal: u8,
    },
}
