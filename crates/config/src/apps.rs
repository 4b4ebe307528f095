//! The apps of a vassal and how they are loaded: the app itself, those mounted beside it, and what is imported with them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The apps and how they are loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Where the callable is; None when the configuration names no app but those that are mounted, or none at all.
    pub target: Option<AppTarget>,
    /// `callable`, default `application`; `name()` calls a factory.
    pub callable: String,
    /// `mount`, `worker-mount`, in order.
    pub mounts: Vec<Mount>,
    /// `manage-script-name`: the longest mount point that PATH_INFO begins with becomes SCRIPT_NAME.
    pub manage_script_name: bool,
    /// `ignore-script-name`: SCRIPT_NAME chooses no app.
    pub ignore_script_name: bool,
    /// `no-default-app`: a request that fits no mount point gets no app.
    pub no_default_app: bool,
    /// What is imported beside the apps.
    pub imports: Imports,
    /// `wsgi-disable-file-wrapper`: `wsgi.file_wrapper` is not offered.
    pub no_file_wrapper: bool,
    /// `wsgi-accept-buffer`: bodies may be made of anything with a buffer.
    pub accept_buffers: bool,
    /// `chdir`.
    pub chdir: Option<PathBuf>,
    /// `chdir2`.
    pub chdir2: Option<PathBuf>,
    /// `lazy-apps` (and `lazy`).
    pub lazy_apps: bool,
    /// `pyargv`, split at spaces.
    pub pyargv: Vec<String>,
}

impl App {
    /// Whether there is any.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.target.is_some() || !self.mounts.is_empty()
    }
}

/// Where a callable is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppTarget {
    /// `module`/`wsgi`/`-w`, the part before `:`.
    Module(String),
    /// `wsgi-file`/`file`.
    File(PathBuf),
    /// `paste`, `ini-paste`, `ini-paste-logged`.
    Paste(Paste),
    /// `eval`: the text of a module.
    Code(String),
}

/// What `paste.deploy` loads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paste {
    /// `config:/path/to/file.ini`, or another that it knows.
    pub uri: String,
    /// `paste-name`: the app in it.
    pub name: Option<String>,
    /// `ini-paste-logged`, `paste-logger`: its loggers are set up.
    pub logged: bool,
}

/// An app below a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The prefix, as written; `/` when it is empty.
    pub point: String,
    /// Where the callable is.
    pub target: AppTarget,
    /// Its name.
    pub callable: String,
}

/// What is imported beside the apps: dotted names, or paths of files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imports {
    /// `pymodule-alias`, before anything else: the name, and the module or file it stands for.
    pub aliases: Vec<(String, String)>,
    /// `early-pyimport` and then `shared-import`: once, also under `lazy-apps`.
    pub shared: Vec<String>,
    /// `import`: before the apps, where they are loaded.
    pub with_apps: Vec<String>,
    /// `post-pymodule-alias`: after those.
    pub late_aliases: Vec<(String, String)>,
}
