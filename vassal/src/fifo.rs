//! `master-fifo`: a named pipe in which each byte is a command (uWSGI: core/fifo.c). What it means is the supervisor's.

use std::{
    fs,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use nix::sys::stat::Mode;
use tokio::{io::AsyncReadExt, net::unix::pipe, task::AbortHandle};

use crate::{
    log,
    supervise::input::{Inbox, Input},
};

/// Only its owner may write into it, as in uWSGI.
const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// Reads until dropped.
pub(crate) struct Fifos {
    paths: Vec<PathBuf>,
    tasks: Vec<AbortHandle>,
}

impl Fifos {
    /// Makes them and begins to read; one that cannot be made is told.
    pub(crate) fn start(paths: &[PathBuf], inbox: &Inbox) -> Self {
        let start = |path: &PathBuf| match open(path) {
            Ok(pipe) => Some(tokio::spawn(read(pipe, inbox.clone())).abort_handle()),
            Err(error) => {
                log::say(&format!("*** master-fifo = {}: {error} ***", path.display()));
                None
            }
        };
        Self { paths: paths.to_vec(), tasks: paths.iter().filter_map(start).collect() }
    }

    /// Which.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

impl Drop for Fifos {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// A new one in the place of an old one; anything else that stands there stays.
fn open(path: &Path) -> std::io::Result<pipe::Receiver> {
    if fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_fifo()) {
        fs::remove_file(path)?;
    }
    nix::unistd::mkfifo(path, MODE)?;
    // Open for writing, too: the last writer that leaves is not the end.
    pipe::OpenOptions::new().read_write(true).open_receiver(path)
}

async fn read(mut pipe: pipe::Receiver, inbox: Inbox) {
    while let Ok(byte) = pipe.read_u8().await {
        inbox.put(Input::Commanded(char::from(byte)));
    }
}
