//! Where log lines go, and what they look like there: `logger`, `log-route`, `log-encoder` and their relatives, checked. Opening
//! and writing is the master's.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What becomes of one kind of lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// `logger`, `req-logger`, in order. A line that no route takes goes to each of them that has no name.
    pub loggers: Vec<Logger>,
    /// `log-route`, `log-req-route`: each that matches sends the line to the logger of that name, and to no other.
    pub routes: Vec<Route>,
    /// `log-encoder`, `log-req-encoder`, one after the other.
    pub encoders: Vec<Encoder>,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logger {
    /// For routes: a logger with a name gets only what they send.
    pub name: Option<String>,
    /// Where it writes.
    pub to: Destination,
}

/// A place for lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// `stdio`: where the log goes without loggers.
    Standard,
    /// `file:PATH`, `file:logfile=PATH,maxsize=BYTES,backupname=PATH`.
    File {
        /// It.
        path: PathBuf,
        /// Its own `log-maxsize`.
        max_bytes: Option<u64>,
        /// Its own `log-backupname`.
        backup_name: Option<PathBuf>,
    },
    /// `fd:NUMBER`: a descriptor that was inherited.
    Descriptor(i32),
    /// `socket:ADDRESS[,PREFIX]`: each line is a datagram.
    Socket {
        /// To whom.
        to: Datagram,
        /// What goes before each line.
        prefix: String,
    },
    /// `syslog[:NAME[,FACILITY]]`: syslog(3) of this machine.
    Syslog {
        /// What each line begins with.
        name: String,
        /// As in the priority, shifted (RFC 3164, section 4.1.1).
        facility: u8,
    },
    /// `rsyslog:ADDRESS[,NAME[,PRIORITY]]`: the packets of RFC 3164.
    Remote {
        /// To whom.
        to: Datagram,
        /// What stands between time and line; None is the name of the host and `uwsgi`.
        name: Option<String>,
        /// Facility and severity.
        priority: u8,
    },
}

/// Who takes datagrams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Datagram {
    /// A unix socket.
    Unix(PathBuf),
    /// UDP, `HOST:PORT`.
    Udp(String),
}

/// Which lines go to a logger with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Its name.
    pub logger: String,
    /// A regular expression that is found in them.
    pub pattern: String,
}

/// What is made of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoder {
    /// `NAME:LOGGER`: only on its way to this one.
    pub only_for: Option<String>,
    /// How.
    pub how: Encoding,
}

/// How a line is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// `prefix TEXT`.
    Prefix(String),
    /// `suffix TEXT`: behind the line's end.
    Suffix(String),
    /// `nl`: another line's end.
    NewLine,
    /// `format TEXT`.
    Format(Vec<Piece>),
    /// `json TEXT`: as `format`, with what is put in escaped for a string of JSON.
    Json(Vec<Piece>),
}

/// A piece of what `format` and `json` make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Piece {
    /// As it is.
    Text(String),
    /// `${msg}`: the line without its end.
    Message,
    /// `${msgnl}`: with it.
    MessageLine,
    /// `${unix}`: now, in s.
    Unix,
    /// `${millis}`.
    Millis,
    /// `${micros}`.
    Micros,
    /// `${strftime:FORMAT}`: local time.
    Strftime(String),
}
