//! What a zygote is told about its apps. What the options mean is `empery-config`'s; loading them and choosing among them is
//! the worker's.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The apps of a generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apps {
    /// The app at no mount point. Without it the first of `mounts` takes its place.
    pub main: Option<App>,
    /// The others.
    pub mounts: Vec<Mount>,
    /// `manage-script-name`: the longest mount point that PATH_INFO begins with becomes SCRIPT_NAME.
    pub manage_script_name: bool,
    /// `ignore-script-name`: SCRIPT_NAME chooses no app.
    pub ignore_script_name: bool,
    /// `no-default-app`: nothing takes the place of an app at no mount point.
    pub no_default_app: bool,
    /// What is imported beside them.
    pub imports: Imports,
    /// `wsgi-disable-file-wrapper`.
    pub no_file_wrapper: bool,
    /// `wsgi-accept-buffer`: bodies may be made of anything with a buffer.
    #[serde(default)]
    pub accept_buffers: bool,
}

/// A callable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Where it is.
    pub target: AppTarget,
    /// Its name there; `name()` calls a factory.
    pub callable: String,
}

/// An app below a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The prefix, as written.
    pub point: String,
    /// The app.
    pub app: App,
}

/// Where a WSGI callable is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppTarget {
    /// `module`/`wsgi`: a dotted module name.
    Module(String),
    /// `wsgi-file`/`file`: a path, loaded as module `uwsgi_file_<path with underscores>`.
    File(PathBuf),
    /// `eval`: the text of a module.
    Code(String),
    /// `paste`, `ini-paste`.
    Paste {
        /// What `paste.deploy.loadapp` is given.
        uri: String,
        /// `paste-name`.
        name: Option<String>,
        /// Whether the loggers of the file are set up first.
        logged: bool,
    },
}

/// What is imported beside the apps: dotted names, or paths of files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imports {
    /// `pymodule-alias`: the name, and the module or file it stands for.
    pub aliases: Vec<(String, String)>,
    /// `shared-import`: by the zygote, also when the workers load the apps.
    pub shared: Vec<String>,
    /// `import`: before the apps, by whoever loads them.
    pub with_apps: Vec<String>,
    /// `post-pymodule-alias`: after those.
    pub late_aliases: Vec<(String, String)>,
}
