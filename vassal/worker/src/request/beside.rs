//! What FastCGI asks for beside a request (FCGI_GET_VALUES, and records that nobody knows): the answers go between the records of
//! the app's answer, as far as the web server takes them at once. Nobody waits for that; what it does not take goes before
//! whatever is sent next.

use std::{
    io,
    os::fd::RawFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use empery_wire::limits::ANSWER_HELD_MAX_BYTES;

use super::send::send_now;

/// On one connection, during one request. Who reads the body and who answers may be two threads of the app.
pub(super) struct Beside {
    fd: RawFd,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    unsent: Vec<u8>,
    /// A record of the answer is out in part.
    is_held: bool,
}

impl Beside {
    pub(super) fn new(fd: RawFd) -> Arc<Self> {
        Arc::new(Self { fd, state: Mutex::default() })
    }

    /// Sends such an answer, or keeps what cannot be sent now.
    ///
    /// # Errors
    /// When the web server is gone, or asks and asks and takes nothing.
    pub(super) fn say(&self, answer: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        if answer.is_empty() {
            return Ok(());
        }
        if state.is_held {
            state.unsent.extend_from_slice(answer);
        } else {
            let before = std::mem::take(&mut state.unsent);
            send_now(self.fd, [&before, answer, b""], &mut state.unsent)?;
        }
        if state.unsent.len() > ANSWER_HELD_MAX_BYTES {
            return Err(io::Error::other("the web server takes no answers to what it asks"));
        }
        Ok(())
    }

    /// Records of the answer are about to be sent: what goes before them. Nothing else is sent before [`Self::release`].
    pub(super) fn hold(&self) -> Vec<u8> {
        let mut state = self.state();
        state.is_held = true;
        std::mem::take(&mut state.unsent)
    }

    /// They are out, to the last byte.
    pub(super) fn release(&self) {
        self.state().is_held = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
