//! `touch-reload`, `touch-logreopen`, `touch-logrotate`, `fs-reload`: looks at the files once a second, as uWSGI does, and only while there are any to look at.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::task::AbortHandle;

use crate::supervise::input::{Inbox, Input};

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Watched {
    /// By their times.
    pub(crate) files: Vec<PathBuf>,
    /// With what lies in them, when they are directories.
    pub(crate) trees: Vec<PathBuf>,
}

/// Watches until dropped.
pub(crate) struct Watch {
    watched: Watched,
    task: AbortHandle,
}

/// What was seen of a path.
#[derive(PartialEq, Eq)]
enum Seen {
    /// None while it is not there: coming and going are changes too.
    File(Option<SystemTime>),
    /// It, and everything directly in it.
    Tree(Option<SystemTime>, BTreeMap<OsString, Option<Entry>>),
}

/// Something in a directory.
#[derive(PartialEq, Eq)]
enum Entry {
    /// By its time.
    File(Option<SystemTime>),
    /// That it is there, by device and inode: its time is that of what lies in it, which is watched by nobody, as in uWSGI.
    Directory(u64, u64),
}

impl Watch {
    /// Starts to watch; None when there is nothing to watch.
    pub(crate) fn start(watched: Watched, inbox: Inbox) -> Option<Self> {
        if watched == Watched::default() {
            return None;
        }
        let files = watched.files.iter().map(|path| (path.clone(), file(path)));
        let trees = watched.trees.iter().map(|path| (path.clone(), tree(path)));
        let mut seen: Vec<(PathBuf, Seen)> = files.chain(trees).collect();
        let task = tokio::spawn(async move {
            let mut clock = tokio::time::interval(EVERY);
            clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                clock.tick().await;
                for (path, before) in &mut seen {
                    let now = match before {
                        Seen::File(_) => file(path),
                        Seen::Tree(..) => tree(path),
                    };
                    if now != *before {
                        *before = now;
                        inbox.put(Input::Touched(path.clone()));
                    }
                }
            }
        });
        Some(Self { watched, task: task.abort_handle() })
    }

    /// What is watched.
    pub(crate) fn watched(&self) -> &Watched {
        &self.watched
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn file(path: &Path) -> Seen {
    Seen::File(modified(path))
}

fn tree(path: &Path) -> Seen {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let of = |found: std::fs::DirEntry| (found.file_name(), entry(&found.path()));
    Seen::Tree(modified(path), entries.map(of).collect())
}

fn entry(path: &Path) -> Option<Entry> {
    let facts = std::fs::metadata(path).ok()?;
    Some(if facts.is_dir() { Entry::Directory(facts.dev(), facts.ino()) } else { Entry::File(facts.modified().ok()) })
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|facts| facts.modified()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_tree_is_what_lies_in_it_directly() {
        let place = std::env::temp_dir().join(format!("empery-touch-{}", std::process::id()));
        drop(fs::remove_dir_all(&place));
        fs::create_dir_all(place.join("package")).unwrap();
        fs::write(place.join("app.py"), "").unwrap();
        let set = |name: &str, seconds: u64| {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            File::open(place.join(name)).unwrap().set_modified(at).unwrap();
        };
        set("", 1);
        set("package", 1);
        set("app.py", 1);
        let before = tree(&place);
        // A file two levels down gives its directory another time.
        fs::write(place.join("package/deep.py"), "").unwrap();
        set("package", 2);
        assert!(tree(&place) == before, "two levels down");
        set("app.py", 2);
        assert!(tree(&place) != before, "a file");
        set("app.py", 1);
        assert!(tree(&place) == before);
        fs::rename(place.join("package"), place.join("other")).unwrap();
        fs::create_dir(place.join("package")).unwrap();
        set("", 1);
        assert!(tree(&place) != before, "another directory");
        fs::remove_dir_all(&place).unwrap();
    }
}
