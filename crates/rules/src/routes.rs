//! Routes: what `route`, `route-if` and their relatives ask to be done with a request, as uWSGI 2.0 does it (core/routing.c,
//! plugins/router_*). [`walk`] follows them; what they do beyond deciding is an [`Effect`] for the worker.

mod condition;
pub mod template;
mod walk;

pub use self::walk::{Answer, Broken, Effect, Fact, Host, Outcome, Prepared};

use serde::{Deserialize, Serialize};

use self::template::Template;

/// All routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes {
    /// `route…`: before the app is called.
    pub request: Vec<Step>,
    /// `error-route…`: when the status of the answer is known, whatever it is.
    pub error: Vec<Step>,
    /// `response-route…`: behind them, before the head goes out.
    pub response: Vec<Step>,
    /// `final-route…`: when the answer is out.
    pub last: Vec<Step>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// `route-label`: where `goto` leads.
    Label(String),
    /// Something to do.
    Rule(Box<Rule>),
}

/// What is done, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// When.
    pub when: When,
    /// What.
    pub action: Action,
}

/// When a rule holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// `route-run`.
    Always,
    /// `route`, `route-uri` and so on: a regular expression is found in a variable.
    Found {
        /// The name of the variable.
        variable: String,
        /// The regular expression.
        pattern: String,
    },
    /// `route-if`.
    If(Condition),
    /// `route-if-not`.
    IfNot(Condition),
    /// `error-route-status` and so on: the answer has this status.
    Status(u16),
}

/// What `route-if` asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// `exists`, `isfile`, `isdir`, `islink`, `isexec`: what a path is.
    Path {
        /// It.
        path: Template,
        /// What it must be.
        is: PathIs,
    },
    /// `empty`.
    Empty(Template),
    /// `equal`, `startswith`, `ishigher` and so on: how two texts compare.
    Compare {
        /// One.
        left: Template,
        /// How.
        how: Comparison,
        /// The other.
        right: Template,
    },
    /// `regexp`: a regular expression is found in a text.
    Regexp {
        /// The text.
        text: Template,
        /// The regular expression.
        pattern: String,
    },
    /// `ipv4in`, `ipv6in`: an address is in a network.
    Within {
        /// The address.
        address: Template,
        /// `ADDRESS/BITS`.
        network: Template,
    },
}

/// What a path must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathIs {
    /// Anything.
    There,
    /// A plain file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// Something that may be executed.
    Executable,
}

/// How two texts compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// They are the same.
    Equal,
    /// One begins with the other.
    StartsWith,
    /// It ends with it.
    EndsWith,
    /// The other is in it.
    Contains,
    /// As numbers, it is higher.
    Higher,
    /// Higher or the same.
    HigherOrEqual,
    /// Lower.
    Lower,
    /// Lower or the same.
    LowerOrEqual,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// `donotoffload`, and what else changes nothing here.
    Nothing,
    /// `continue`, `last`: no other route is looked at.
    Continue,
    /// `break`: the request ends, with what was made ready for it, or with nothing.
    Break,
    /// `break:STATUS`: with this status line and no body.
    BreakWith(String),
    /// `return`, `break-with-status`: with this status, whose phrase is the body.
    Return(u16),
    /// `goto`.
    Goto(Template),
    /// `log`.
    Log(Template),
    /// `donotlog`.
    DoNotLog,
    /// `logvar`.
    LogVariable {
        /// Its name.
        name: String,
        /// Its value.
        value: Template,
    },
    /// `addvar`.
    Add {
        /// The variable.
        name: String,
        /// Its value.
        value: Template,
    },
    /// `setpathinfo` and so on.
    Set {
        /// The variable.
        name: String,
        /// Its value.
        value: Template,
    },
    /// `setuser`: up to the first colon.
    SetUser(Template),
    /// `fixpathinfo`: takes SCRIPT_NAME from the beginning of PATH_INFO.
    FixPathInfo,
    /// `+`, `-`, `*`, `/`: counts with a variable.
    Count {
        /// The variable.
        name: String,
        /// How.
        how: Arithmetic,
        /// With what; None is 1.
        by: Option<Template>,
    },
    /// `rewrite`, `rewrite-last`: another path, and perhaps more of a query.
    Rewrite {
        /// Both.
        to: Template,
        /// No other route is looked at.
        is_last: bool,
    },
    /// `addheader`.
    AddHeader(Template),
    /// `delheader`, `remheader`.
    RemoveHeader(Template),
    /// `clearheaders`, `resetheaders`: begins an answer with this status line.
    Begin(Template),
    /// `send`, `send-crnl`: adds to the body of the answer.
    Send {
        /// What.
        text: Template,
        /// With a line's end of HTTP behind it.
        with_line_end: bool,
    },
    /// `redirect`, `redirect-permanent`.
    Redirect {
        /// Where to.
        to: Template,
        /// 301 instead of 302.
        is_permanent: bool,
    },
    /// `static`, `static-next`: a file as `static-map` serves it.
    Static {
        /// Its path.
        path: Template,
        /// When it is not there the next route is looked at.
        or_next: bool,
    },
    /// `file`, `sendfile`, `fastfile` and their `-next`: a file as it is.
    File(FileAnswer),
    /// `basicauth`, `basicauth-next`.
    BasicAuth(BasicAuth),
    /// `harakiri`: seconds.
    Limit(u64),
    /// `setprocname`.
    Title(Template),
    /// `metricset`, `metricinc`, `metricdec`, `metricmul`, `metricdiv`: changes a metric of the app's. Where there is none of this
    /// name the request ends.
    Metric {
        /// Its name.
        name: Template,
        /// How it is counted; None sets it.
        how: Option<Arithmetic>,
        /// With what, or to what.
        by: Template,
    },
    /// `signal`: raises a signal of uWSGI's.
    Signal(u8),
    /// `alarm`: raises an alarm of the vassal.
    Alarm {
        /// Its name.
        name: Template,
        /// What is the matter.
        message: Template,
    },
}

/// How a variable is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arithmetic {
    /// `+`.
    Plus,
    /// `-`.
    Minus,
    /// `*`.
    Times,
    /// `/`; by 0 a variable is 0, and a metric stays.
    Divided,
}

/// A file that is an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileAnswer {
    /// Its path.
    pub path: Template,
    /// `status`, 200 OK.
    pub status: Template,
    /// `content_type`; text/html without it.
    pub content_type: String,
    /// `mime`: by the name of the file, if that says it.
    pub by_name: bool,
    /// When it cannot be opened the next route is looked at.
    pub or_next: bool,
}

/// Who may come in (RFC 7617).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BasicAuth {
    /// What the client is asked for.
    pub realm: String,
    /// Against what it is compared.
    pub known: Known,
    /// A wrong password is for the next route to judge.
    pub or_next: bool,
}

/// Users and passwords.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// `USER:PASSWORD`.
    One(String),
    /// A file of htpasswd(1).
    File(String),
}
