//! What a worker is told about static files. What the options mean is `empery-config`'s; how files are found and sent
//! is the worker's.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// All of it. Without a rule nothing is looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticFiles {
    /// Where to look, in the order of looking.
    pub rules: Vec<StaticRule>,
    /// Ends of paths that are always for the app.
    pub skip_ext: Vec<String>,
    /// Names that are tried in a directory, in order.
    pub index: Vec<String>,
    /// Directories that symlinks may lead to although they are outside the directory that is served.
    pub safe: Vec<PathBuf>,
    /// Whether every file is looked for in a compressed form.
    pub compressed_all: bool,
    /// Beginnings of paths on disk of files that are.
    pub compressed_prefixes: Vec<String>,
    /// Ends of them.
    pub compressed_suffixes: Vec<String>,
    /// Regular expressions for them.
    pub compressed_patterns: Vec<String>,
    /// When an answer expires; the first that fits counts.
    pub expires: Vec<Expires>,
    /// Tables like /etc/mime.types, read before the built-in one.
    pub mime_files: Vec<PathBuf>,
    /// Who sends the file.
    pub sender: Sender,
}

/// Where the paths below a prefix lead to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticRule {
    /// Whole segments of the path; empty for every path.
    pub prefix: String,
    /// What is looked for.
    pub rest: Rest,
    /// A directory, or a file that answers for every path below the prefix; None for the DOCUMENT_ROOT of the request.
    pub root: Option<PathBuf>,
}

/// What is looked for below the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// What follows the prefix.
    BehindPrefix,
    /// The whole path.
    Whole,
}

/// When an answer expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expires {
    /// For which files.
    pub of: ExpiresOf,
    /// Whether the time begins at the last change of the file, and not now.
    pub from_change: bool,
    /// After how long.
    pub seconds: u32,
}

/// What decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiresOf {
    /// A regular expression for the path on disk.
    File(String),
    /// A regular expression for PATH_INFO.
    PathInfo(String),
    /// A regular expression for REQUEST_URI.
    Uri(String),
    /// A type, as it stands in Content-Type.
    Type(String),
}

/// Who sends the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sender {
    /// The worker.
    #[default]
    Worker,
    /// nginx, told by X-Accel-Redirect.
    Nginx,
    /// The web server, told by X-Sendfile.
    XSendfile,
}
