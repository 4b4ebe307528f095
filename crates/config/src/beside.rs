//! What runs beside the workers: daemons and scheduled commands, as the file's options say.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// `attach-daemon`, `smart-attach-daemon` and their relatives, in order.
    pub daemons: Vec<Daemon>,
    /// `cron`, `unique-cron`, `cron2`, in order.
    pub crons: Vec<Cron>,
    /// uWSGI signals that the file itself raises.
    pub signals: SignalOptions,
    /// `mule`, `mules`, `farm` and their relatives.
    pub mules: Mules,
    /// `spooler` and its relatives.
    pub spoolers: Spoolers,
}

/// Processes of the app that take tasks out of directories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spoolers {
    /// `spooler` and, with true, `spooler-external`, in order: the latter's tasks are another vassal's to run.
    pub directories: Vec<(PathBuf, bool)>,
    /// `spooler-processes` (1), for each directory.
    pub processes: u32,
    /// `spooler-frequency`, in s (30).
    pub frequency_s: u32,
    /// `spooler-max-tasks`; 0 is no limit.
    pub max_tasks: u64,
    /// `spooler-harakiri`, in s; 0 is off.
    pub harakiri_s: u32,
    /// `spooler-chdir`.
    pub chdir: Option<PathBuf>,
    /// `spooler-quiet`.
    pub quiet: bool,
    /// `spooler-import`: modules, or paths of files.
    pub imports: Vec<String>,
    /// `touch-spoolers-reload`.
    pub touch: Vec<PathBuf>,
}

impl Default for Spoolers {
    fn default() -> Spoolers {
        Spoolers {
            directories: Vec::new(),
            processes: 1,
            frequency_s: 30,
            max_tasks: 0,
            harakiri_s: 0,
            chdir: None,
            quiet: false,
            imports: Vec::new(),
            touch: Vec::new(),
        }
    }
}

/// Processes of the app that answer no requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mules {
    /// One for each mule, in order: what it runs, if not just functions for signals and messages.
    pub patches: Vec<Option<String>>,
    /// `farm = NAME:1,2`.
    pub farms: Vec<Farm>,
    /// `mule-harakiri`, in s; 0 is off.
    pub harakiri_s: u32,
    /// `mule-reload-mercy`, 60 s.
    pub mercy: Duration,
    /// `mule-msg-size`: room for waiting messages, in bytes; 0 is the kernel's.
    pub queue_bytes: u32,
    /// `mule-msg-recv-size`: longest message that a mule takes, in bytes (65,536); the rest of a longer one is lost.
    pub message_max_bytes: u32,
    /// `touch-mules-reload`.
    pub touch: Vec<PathBuf>,
}

impl Default for Mules {
    fn default() -> Mules {
        Mules {
            patches: Vec::new(),
            farms: Vec::new(),
            harakiri_s: 0,
            mercy: Duration::from_secs(60),
            queue_bytes: 0,
            message_max_bytes: 65_536,
            touch: Vec::new(),
        }
    }
}

/// Mules that share a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Farm {
    /// Its name.
    pub name: String,
    /// Its mules, from 1.
    pub mules: Vec<u32>,
}

/// What raises uWSGI signals (numbers from 0 to 255).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalOptions {
    /// `touch-signal`: a file whose change raises one.
    pub touched: Vec<(PathBuf, u8)>,
    /// `fs-signal`: the same of a file or of anything in a directory, at once.
    pub monitored: Vec<(PathBuf, u8)>,
    /// `timer`, `signal-timer`, `rbtimer`, `signal-rbtimer`: every so many seconds.
    pub timers: Vec<(u8, u32)>,
}

/// A program that the master keeps running.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Daemon {
    /// What `/bin/sh -c` runs.
    pub command: String,
    /// `smart-attach-daemon`, `pidfile=`: which process it is stands here, and it outlives the vassal.
    pub pidfile: Option<PathBuf>,
    /// `freq=` (10): after so many looks without a process, one a second, one that never had a valid pidfile is started again.
    pub looks: u32,
    /// `attach-control-daemon`, `control=`: its end stops the vassal.
    pub control: bool,
    /// `smart-attach-daemon2`, `daemonize=`: it stays in the foreground, and the pidfile is written for it.
    pub daemonize: bool,
    /// `touch=`, apart by semicolons: a change of one of these starts it again.
    pub touch: Vec<PathBuf>,
    /// `stopsignal=` (SIGTERM).
    pub stop_signal: i32,
    /// `reloadsignal=`: what it is told by a reload of the vassal.
    pub reload_signal: Option<i32>,
    /// `stdin=`, `daemons-honour-stdin`: it has the master's standard input instead of /dev/null.
    pub stdin: bool,
    /// `uid=`.
    pub uid: Option<Account>,
    /// `gid=`; without one the group of that user.
    pub gid: Option<Account>,
    /// `chdir=`, else where the vassal runs.
    pub directory: PathBuf,
    /// `max_throttle=`, in s (300): longest wait before it is started again.
    pub throttle_max_s: u32,
    /// `reload-mercy` of the vassal, in s (3): how long it may take to stop.
    #[serde(default = "usual_mercy_s")]
    pub mercy_s: u32,
    /// `notifypid=`: the process of the pidfile is told of reloads and stops.
    pub notify: bool,
}

/// A user or a group of this machine, by number or by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Account {
    /// Its number.
    Number(u32),
    /// Its name.
    Name(String),
}

impl Account {
    /// What a file says; nothing, and root, say none, as in uWSGI (core/daemons.c).
    #[must_use]
    pub fn said(text: &str) -> Option<Self> {
        match text.trim() {
            "" => None,
            text => match text.parse() {
                Ok(0) => None,
                Ok(number) => Some(Self::Number(number)),
                Err(_) => Some(Self::Name(text.to_owned())),
            },
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(formatter),
            Self::Name(name) => name.fmt(formatter),
        }
    }
}

/// What uWSGI gives daemons to stop, in s, when nothing is said (core/daemons.c).
pub(crate) fn usual_mercy_s() -> u32 {
    3
}

/// A command at certain times.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cron {
    /// When.
    pub when: When,
    /// What `/bin/sh -c` runs, or a URL.
    pub command: String,
    /// `cron-curl`: curl(1) requests the URL.
    #[serde(default)]
    pub is_request: bool,
    /// Where.
    pub directory: PathBuf,
    /// `unique-cron`, `unique=1`: not while it runs still.
    pub unique: bool,
    /// `harakiri=`, `cron-harakiri`, in s: it is killed then; None is never.
    pub harakiri_s: Option<u32>,
}

/// A time as uWSGI writes it: a number is that minute, hour, day of the month, month or day of the week (0 and 7 are
/// Sunday), -1 is any, -N is every one that N divides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct When {
    /// 0 to 59.
    pub minute: i32,
    /// 0 to 23.
    pub hour: i32,
    /// 1 to 31.
    pub day: i32,
    /// 1 to 12.
    pub month: i32,
    /// 0 to 7.
    pub week: i32,
}
