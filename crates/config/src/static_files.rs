//! What a configuration says about static files: `static-map` and its relatives, checked. Looking files up and sending
//! them is the worker's; it gets this through the vassal's master.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// All of it. Without a rule nothing is looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticFiles {
    /// Where to look, in the order of looking: uWSGI's `check-static`, `static-map`, `static-map2`, `check-static-docroot`.
    pub rules: Vec<Rule>,
    /// `static-skip-ext`: ends of paths that are always for the app.
    pub skip_ext: Vec<String>,
    /// `static-index`: names that are tried in a directory, in order.
    pub index: Vec<String>,
    /// `static-safe`: directories that symlinks may lead to.
    pub safe: Vec<PathBuf>,
    /// `static-gzip…`: which files are looked for in a compressed form.
    pub compressed: Compressed,
    /// `static-expires…`, in the order of looking: by file, by PATH_INFO, by REQUEST_URI, by type.
    pub expires: Vec<Expires>,
    /// `mimefile`: tables like /etc/mime.types, read before the built-in one.
    pub mime_files: Vec<PathBuf>,
    /// `file-serve-mode`.
    pub sender: Sender,
}

/// Where a request's path leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// `check-static`: every path, below this directory.
    Everything {
        /// It.
        directory: PathBuf,
    },
    /// `static-map`: what follows the prefix, below the target.
    Below {
        /// Whole segments of the path.
        prefix: String,
        /// A directory; or a file, which then answers for every path below the prefix.
        target: PathBuf,
    },
    /// `static-map2`: the whole path, prefix included, below the target.
    BelowWhole {
        /// See [`Rule::Below`].
        prefix: String,
        /// See [`Rule::Below`].
        target: PathBuf,
    },
    /// `check-static-docroot`: every path, below the DOCUMENT_ROOT of the request.
    DocumentRoot,
}

/// Which files may have a compressed form beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compressed {
    /// `static-gzip-all`.
    pub all: bool,
    /// `static-gzip-dir`, `static-gzip-prefix`: beginnings of paths on disk.
    pub prefixes: Vec<String>,
    /// `static-gzip-ext`, `static-gzip-suffix`: their ends.
    pub suffixes: Vec<String>,
    /// `static-gzip`: regular expressions for them.
    pub patterns: Vec<String>,
}

/// When an answer expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expires {
    /// For which files.
    pub of: ExpiresOf,
    /// Counted from when.
    pub from: ExpiresFrom,
    /// After how long.
    pub seconds: u32,
}

/// What decides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

/// When the time begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiresFrom {
    /// Now.
    Request,
    /// At the last change of the file.
    Change,
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
