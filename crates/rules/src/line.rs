//! The shape of a request line: `log-format` of uWSGI 2.0 (core/logging.c), in pieces.

use serde::{Deserialize, Serialize};

/// A line, without its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineFormat {
    /// What it is made of, in order.
    pub pieces: Vec<Piece>,
    /// What `%(ftime)` looks like (strftime(3)); None is as `%(ltime)`.
    pub ftime: Option<String>,
}

/// A piece of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Piece {
    /// As it is.
    Text(String),
    /// Something that is known of every request.
    Field(Field),
    /// `%(var.NAME)`: a variable of the request.
    Variable(String),
    /// `%(metric.NAME)`: a number of the app's or the vassal's.
    Metric(String),
    /// What the app has set by this name (`uwsgi.set_logvar`).
    LogVariable(String),
}

macro_rules! fields {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// What is known of every request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Field {
            $($(#[$doc])* $variant,)+
        }

        impl Field {
            /// All of them, with their names.
            pub const ALL: &'static [(&'static str, Field)] = &[$(($name, Field::$variant),)+];
        }
    };
}

fields! {
    /// REQUEST_URI.
    Uri = "uri",
    /// REQUEST_METHOD.
    Method = "method",
    /// REMOTE_USER.
    User = "user",
    /// REMOTE_ADDR.
    Addr = "addr",
    /// HTTP_HOST.
    Host = "host",
    /// SERVER_PROTOCOL.
    Proto = "proto",
    /// HTTP_USER_AGENT.
    Uagent = "uagent",
    /// HTTP_REFERER.
    Referer = "referer",
    /// Status of the answer.
    Status = "status",
    /// Bytes of its body.
    Rsize = "rsize",
    /// Bytes of its head.
    Hsize = "hsize",
    /// Both.
    Size = "size",
    /// Content-Length of the request.
    Cl = "cl",
    /// How long it took, in µs.
    Micros = "micros",
    /// In ms.
    Msecs = "msecs",
    /// In s, with six places.
    Secs = "secs",
    /// When it came, unix ms.
    Tmsecs = "tmsecs",
    /// Unix µs.
    Tmicros = "tmicros",
    /// Unix s.
    Time = "time",
    /// As `22/Nov/2026:12:09:41 +0000`, local time.
    Ltime = "ltime",
    /// As `log-date` says, with `log-format-strftime`.
    Ftime = "ftime",
    /// As ctime(3) writes it.
    Ctime = "ctime",
    /// Now, unix s.
    Epoch = "epoch",
    /// Pid of the worker.
    Pid = "pid",
    /// Its number.
    Wid = "wid",
    /// 1: nobody switches here.
    Switches = "switches",
    /// CGI variables, keys and values counted.
    Vars = "vars",
    /// The thread, from 0.
    Core = "core",
    /// Address space of the worker, in bytes.
    Vsz = "vsz",
    /// Its resident set, in bytes.
    Rss = "rss",
    /// Address space in MiB.
    VszM = "vszM",
    /// Resident set in MiB.
    RssM = "rssM",
    /// Bytes of the request's head.
    Pktsize = "pktsize",
    /// 0: Python.
    Modifier1 = "modifier1",
    /// 0.
    Modifier2 = "modifier2",
    /// Headers of the answer.
    Headers = "headers",
    /// Errors while the answer was written.
    Werr = "werr",
    /// Errors while the body was read.
    Rerr = "rerr",
    /// Both.
    Ioerr = "ioerr",
}

impl Field {
    /// By its name in `log-format`.
    #[must_use]
    pub fn named(name: &str) -> Option<Field> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
    }
}
