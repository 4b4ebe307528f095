//! Who is told when something happens: `alarm` and its relatives, as the file's options say. Raising them is the master's.

use serde::{Deserialize, Serialize};

/// All of it, but for `alarm-log`, which stands with the log ([`crate::vassal::Log::alarms`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarms {
    /// `alarm`, in order; of two with one name the first counts, as in uWSGI.
    pub all: Vec<Alarm>,
    /// `alarm-listen-queue`: raised while a listen queue is full.
    pub on_backlog: Vec<String>,
    /// `alarm-segfault`: raised when a worker has crashed.
    pub on_crash: Vec<String>,
    /// `alarm-fd`.
    pub on_descriptor: Vec<OnDescriptor>,
    /// `metric-threshold`.
    pub on_metric: Vec<Threshold>,
    /// `alarm-freq` (3): the same message is not raised again within so many s.
    pub repeats_after_s: u32,
    /// `alarm-msg-size` (8192): the rest of a longer message is cut.
    pub message_max_bytes: u64,
}

impl Default for Alarms {
    fn default() -> Alarms {
        Alarms {
            all: Vec::new(),
            on_backlog: Vec::new(),
            on_crash: Vec::new(),
            on_descriptor: Vec::new(),
            on_metric: Vec::new(),
            repeats_after_s: 3,
            message_max_bytes: 8192,
        }
    }
}

/// `alarm = NAME PLUGIN:ARGUMENTS`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Its name.
    pub name: String,
    /// What is done with a message.
    pub way: Way,
}

/// What is done with the message of an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// `cmd:COMMAND`: `/bin/sh -c` runs it, with the message as its standard input.
    Command(String),
    /// `signal:NUMBER`: a uWSGI signal is raised.
    Signal(u8),
    /// `mule:NUMBER`: a mule gets it, from 1; 0 is whichever takes it.
    Mule(u32),
    /// `log:WORDS`: a line of the log, behind these words.
    Log(String),
    /// `curl:URL;KEY=VALUE…`: curl(1) sends it.
    Curl(Curl),
    /// A plugin that is not here, by name: nothing but a line of the log.
    Nothing(String),
}

/// How curl(1) sends a message. Values as they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Curl {
    /// Where to.
    pub url: String,
    /// `mail_to`, apart by commas.
    pub mail_to: Option<String>,
    /// `mail_from`.
    pub mail_from: Option<String>,
    /// `subject`.
    pub subject: Option<String>,
    /// `ssl`: TLS or nothing.
    pub tls: bool,
    /// `ssl_insecure`: no certificate is checked.
    pub insecure: bool,
    /// `auth_user`.
    pub user: Option<String>,
    /// `auth_pass`.
    pub password: Option<String>,
    /// `method`, instead of POST.
    pub method: Option<String>,
    /// `timeout`, in s; else `socket-timeout`'s 4.
    pub timeout_s: Option<u32>,
    /// `conn_timeout`, in s.
    pub connect_timeout_s: Option<u32>,
}

/// `alarm-log`, `not-alarm-log`: what a line of the log raises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnLine {
    /// Found in the line.
    pub pattern: String,
    /// These alarms; none is `not-alarm-log`: what comes after it does not look at the line.
    pub alarms: Vec<String>,
}

/// `alarm-fd = NAME FD[:BYTES] MESSAGE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDescriptor {
    /// The alarm.
    pub alarm: String,
    /// A descriptor that was inherited: raised when there is something to read.
    pub fd: i32,
    /// Most bytes that are read of it each time; 1, and 8 for an eventfd(2).
    pub bytes: usize,
    /// The message.
    pub message: String,
}

/// `metric-threshold`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threshold {
    /// `key`: the metric.
    pub metric: String,
    /// `value`: reached at this or more.
    pub value: i64,
    /// `reset`: what a metric of the app's is set to then.
    pub reset: Option<i64>,
    /// `alarm`: raised then.
    pub alarm: Option<String>,
    /// `rate`: not more often than every so many s.
    pub rate_s: u32,
    /// `msg`; else the metric's name.
    pub message: Option<String>,
}
