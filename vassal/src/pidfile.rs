//! Files that hold the master's pid: written before privileges are dropped, as uWSGI's `pidfile` is, and removed at
//! the end with `vacuum`. The reading side is `cli::pid_signal`.

use std::path::{Path, PathBuf};

/// Writes the pid into each; a file that cannot be written is said, and is no reason not to serve (as in uWSGI).
pub(crate) fn write(paths: &[PathBuf]) {
    for path in paths {
        if let Err(error) = std::fs::write(path, format!("{}\n", std::process::id())) {
            crate::log::say(&format!("*** the pidfile {} cannot be written: {error} ***", path.display()));
        }
    }
}

/// Removes each file that still holds this process's pid.
pub(crate) fn remove(paths: &[PathBuf]) {
    for path in paths.iter().filter(|path| is_ours(path)) {
        let shown = path.display();
        match std::fs::remove_file(path) {
            Ok(()) => crate::log::say(&format!("VACUUM: pidfile removed: {shown}")),
            Err(error) => crate::log::say(&format!("VACUUM: the pidfile {shown} cannot be removed: {error}")),
        }
    }
}

fn is_ours(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.trim() == std::process::id().to_string())
}
