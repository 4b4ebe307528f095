//! The letterbox: a process's end of the socket over which its master delivers signals, one byte each. Opened when the
//! first function is registered, and watched by the loop.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use empery_control::signals::SignalWord;
use empery_sys::{channel::set_nonblocking, seqpacket};
use nix::sys::socket::{self, MsgFlags};

use super::words;
use crate::{os, serve::Serving};

static LETTERBOX: OnceLock<OwnedFd> = OnceLock::new();

/// [`Received::End`] was received.
static ENDED: AtomicBool = AtomicBool::new(false);

/// Whoever opens it, without the interpreter's lock: the master keeps the one that it was told of last.
static OPENING: Mutex<()> = Mutex::new(());

/// What is in it.
pub(crate) enum Received {
    /// This signal.
    Signal(u8),
    /// Nothing.
    Nothing,
    /// The master is gone, and nothing comes any more.
    End,
}

/// Opens it and tells the master, unless it is open.
pub(super) fn open() -> io::Result<RawFd> {
    let _alone = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(open) = LETTERBOX.get() {
        return Ok(open.as_raw_fd());
    }
    let (theirs, ours) = seqpacket::pair()?;
    set_nonblocking(ours.as_fd())?;
    words::say(SignalWord::Letterbox, &[theirs.as_fd()])?;
    let raw = LETTERBOX.get_or_init(|| ours).as_raw_fd();
    if let Some(serving) = Serving::here() {
        serving.watch_letterbox(raw)?;
    }
    Ok(raw)
}

/// Its descriptor, when it is open.
pub(crate) fn ready() -> Option<RawFd> {
    LETTERBOX.get().map(AsRawFd::as_raw_fd)
}

/// The same, for whoever waits for more than it: not when nothing comes any more, which would end every wait.
pub(crate) fn descriptor() -> Option<BorrowedFd<'static>> {
    LETTERBOX.get().filter(|_| !ENDED.load(Ordering::Relaxed)).map(AsFd::as_fd)
}

/// Whether a signal lies in it.
pub(crate) fn has_any() -> bool {
    let mut signal = [0];
    let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    LETTERBOX.get().is_some_and(|raw| socket::recv(raw.as_raw_fd(), &mut signal, look).is_ok_and(|length| length > 0))
}

/// Takes a signal out of it.
pub(crate) fn receive() -> Received {
    let Some(letterbox) = LETTERBOX.get() else { return Received::Nothing };
    let received = match seqpacket::receive(letterbox.as_fd()) {
        Ok(Some(received)) => received.bytes.first().map_or(Received::Nothing, |signal| Received::Signal(*signal)),
        Ok(None) => Received::End,
        Err(error) if os::would_block(&error) || error.kind() == io::ErrorKind::Interrupted => Received::Nothing,
        Err(_) => Received::End,
    };
    if matches!(received, Received::End) {
        ENDED.store(true, Ordering::Relaxed);
    }
    received
}
