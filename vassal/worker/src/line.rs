//! The line to the master: one word per message, with descriptors. In the zygote it is its channel; in a worker it may be
//! replaced by the link to a successor master.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use empery_control::framing;
use empery_sys::seqpacket;
use serde::{Serialize, de::DeserializeOwned};

use crate::os::{self, Ready};

/// Longest wait for a master that does not read, before a word is given up.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// What came.
pub(crate) enum Heard<T> {
    /// A word and its descriptors.
    Word(T, Vec<OwnedFd>),
    /// Bytes that are no word of this version; they are skipped.
    Noise(String),
    /// Nothing yet.
    Nothing,
    /// The other side is gone.
    End,
}

/// Sends a word.
pub(crate) fn say<T: Serialize>(fd: BorrowedFd<'_>, word: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = framing::encode(word).map_err(io::Error::other)?;
    loop {
        match seqpacket::send(fd, &bytes, descriptors) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if os::would_block(&error) => {
                match os::wait(fd.as_raw_fd(), Ready::Write, SEND_TIMEOUT.as_millis() as u64) {
                    Ok(false) => return Err(error),
                    Err(wait) if wait.kind() != io::ErrorKind::Interrupted => return Err(wait),
                    Ok(true) | Err(_) => {}
                }
            }
            other => return other,
        }
    }
}

/// Receives a word. One whose descriptors this process had no place for comes without.
pub(crate) fn hear<T: DeserializeOwned>(fd: BorrowedFd<'_>) -> Heard<T> {
    match seqpacket::receive_what_fits(fd) {
        Ok(Some(received)) => match framing::decode(&received.bytes) {
            Ok(word) => Heard::Word(word, received.fds),
            Err(framing::FramingError::Json(error)) => Heard::Noise(error.to_string()),
            Err(error) => Heard::Noise(error.to_string()),
        },
        Ok(None) => Heard::End,
        Err(error) if os::would_block(&error) || error.kind() == io::ErrorKind::Interrupted => Heard::Nothing,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Heard::Noise(error.to_string()),
        Err(_) => Heard::End,
    }
}

/// A worker's line, said into from any thread, listened to by the leader only.
pub(crate) struct Line {
    now: Mutex<Option<Arc<OwnedFd>>>,
}

impl Line {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let line = Self { now: Mutex::new(None) };
        line.replace(fd)?;
        Ok(line)
    }

    /// Speaks to another master from now on.
    pub(crate) fn replace(&self, fd: OwnedFd) -> io::Result<()> {
        nix::fcntl::fcntl(fd.as_fd(), nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(fd));
        Ok(())
    }

    /// There is no master any more.
    pub(crate) fn cut(&self) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn fd(&self) -> Option<Arc<OwnedFd>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For epoll.
    pub(crate) fn raw(&self) -> Option<RawFd> {
        self.fd().map(|fd| fd.as_raw_fd())
    }

    /// The same for a signal handler: None also when somebody is just replacing it.
    pub(crate) fn raw_now(&self) -> Option<RawFd> {
        self.now.try_lock().ok()?.as_ref().map(|fd| fd.as_raw_fd())
    }

    pub(crate) fn say<T: Serialize>(&self, word: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        match self.fd() {
            Some(fd) => say(fd.as_fd(), word, descriptors),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(crate) fn hear<T: DeserializeOwned>(&self) -> Heard<T> {
        self.fd().map_or(Heard::End, |fd| hear(fd.as_fd()))
    }
}
