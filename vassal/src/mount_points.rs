//! `check-mountpoint`: asks once a second whether file systems can be reached, as uWSGI's master does, on a thread of its own:
//! one that hangs must not hang the master.

use std::{
    ffi::CString,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::task::AbortHandle;

use crate::supervise::input::{Inbox, Input};

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// Asks until dropped, or until one could not be reached.
pub(crate) struct MountPoints {
    paths: Vec<PathBuf>,
    task: AbortHandle,
}

impl MountPoints {
    /// Begins; None when there is nothing to ask about.
    pub(crate) fn start(paths: &[PathBuf], inbox: Inbox) -> Option<Self> {
        if paths.is_empty() {
            return None;
        }
        let asked = paths.to_vec();
        let task = tokio::spawn(async move {
            let mut clock = tokio::time::interval(EVERY);
            clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                clock.tick().await;
                let asked = asked.clone();
                let Ok(lost) = tokio::task::spawn_blocking(move || lost(&asked)).await else { return };
                if let Some((path, error)) = lost {
                    return inbox.put(Input::MountPointLost(path, error));
                }
            }
        });
        Some(Self { paths: paths.to_vec(), task: task.abort_handle() })
    }

    /// Which.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

impl Drop for MountPoints {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The first that cannot be reached, and why.
fn lost(paths: &[PathBuf]) -> Option<(PathBuf, String)> {
    paths.iter().find_map(|path| Some((path.clone(), reach(path).err()?)))
}

/// statfs(2) goes to the file system itself: a FUSE daemon that is gone, or a stale NFS handle, is an error.
fn reach(path: &Path) -> Result<(), String> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    nix::sys::statfs::statfs(name.as_c_str()).map(drop).map_err(|error| error.desc().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_cannot_be_reached_is_named_with_its_reason() {
        let paths = ["/", "/proc", "/no/such/place", "/nor/this"].map(PathBuf::from);
        let (path, error) = lost(&paths).unwrap();
        assert_eq!((path, &*error), ("/no/such/place".into(), "No such file or directory"));
        assert_eq!(lost(&paths[..2]), None);
    }
}
