//! What a zygote is told about its apps. What the options mean is `empery-config`'s; loading them and choosing among them is
//! the worker's.

use std::{collections::BTreeSet, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::scoreboard::APPS_MAX;

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

impl Apps {
    /// Their mount points in the order of their numbers, which count from 0; that of the app at none is empty.
    #[must_use]
    pub fn points(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let main = self.main.iter().map(|_| "");
        let all = main.chain(self.mounts.iter().map(|mount| mount.point.as_str()));
        // The second at a point is not loaded.
        all.filter(|point| seen.insert(*point)).collect()
    }

    /// How many apps a scoreboard counts one by one: none where there is only one, whose numbers are its worker's.
    #[must_use]
    pub fn counted(&self) -> u32 {
        match self.points().len() {
            0 | 1 => 0,
            several => u32::try_from(several).unwrap_or(APPS_MAX).min(APPS_MAX),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_are_numbered_as_they_are_loaded_and_one_alone_is_not_counted_for_itself() {
        let app = || App { target: AppTarget::Module("m".into()), callable: "application".into() };
        let mount = |point: &str| Mount { point: point.into(), app: app() };
        let apps = |main: Option<App>, points: &[&str]| Apps {
            main,
            mounts: points.iter().map(|point| mount(point)).collect(),
            ..Apps::default()
        };
        assert_eq!(apps(Some(app()), &["/a", "/b", "/a"]).points(), ["", "/a", "/b"]);
        assert_eq!(apps(None, &["/a", "/b"]).points(), ["/a", "/b"]);
        assert_eq!([apps(Some(app()), &[]).counted(), apps(None, &["/a"]).counted()], [0, 0]);
        assert_eq!(apps(Some(app()), &["/a"]).counted(), 2);
    }
}
