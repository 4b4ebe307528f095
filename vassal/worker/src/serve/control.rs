//! What the master says, and doing it.

use std::os::fd::{AsFd, OwnedFd};

use empery_control::{
    boot::Protocol,
    worker::{FromWorker, ToWorker},
};

use empery_failpoint::step;
use empery_sys::ticket;
use pyo3::Python;

use super::{Phase, Serving, connection::Connection, lead::Lead};
use crate::{
    attend::{self, HeardBy},
    hooks,
    line::Heard,
    os,
};

impl Serving {
    /// Hears one word; epoll comes again while there are more.
    pub(super) fn listen_to_master(&self, lead: &mut Lead) {
        match self.worker.line.hear::<ToWorker>() {
            Heard::Word(word, fds) => self.obey(lead, word, fds),
            Heard::Noise(what) => self.misunderstood(&what),
            Heard::Nothing => {}
            Heard::End => self.master_is_gone(lead),
        }
    }

    pub(super) fn misunderstood(&self, what: &str) {
        self.worker.log(&format!("the master said what is not understood: {what}"));
    }

    pub(super) fn obey(&self, lead: &mut Lead, word: ToWorker, fds: Vec<OwnedFd>) {
        match word {
            ToWorker::Attend => Python::attach(|py| {
                // The request that this thread is inside cannot be struck: it is inside none.
                let _ = attend::attend(py, HeardBy::Leader);
            }),
            ToWorker::Ping { token } => {
                step!("worker.prove");
                self.worker.say(&FromWorker::Pong { token });
            }
            ToWorker::OpenGate => {
                if self.phase() == Phase::Serving {
                    step!("worker.switch");
                    self.open_gate_unless_frozen(lead);
                    hooks::accepting(self.worker);
                }
            }
            ToWorker::Freeze => self.freeze(lead),
            ToWorker::Resume => self.resume(lead),
            ToWorker::Drain => {
                step!("worker.drain");
                self.drain(lead);
                self.worker.say(&FromWorker::GateClosed);
            }
            ToWorker::Adopt(about) => {
                let mut fds = fds.into_iter();
                let (fd, ticket) = (fds.next(), fds.next());
                if fd.is_none() {
                    self.worker.log("no descriptor is left for a connection that another worker has passed on");
                }
                // Who was too slow has lost it to another.
                if let Some(fd) = fd.filter(|_| ticket.is_none_or(|ticket| ticket::claim(ticket.as_fd()))) {
                    step!("worker.adopt");
                    self.adopt(fd, &about);
                }
            }
            ToWorker::Adopted { token } => lead.handovers.adopted(token),
            ToWorker::NotAdopted { token } => self.not_adopted(lead, token),
        }
    }

    /// Serves a connection that was idle in another worker.
    fn adopt(&self, fd: OwnedFd, about: &empery_control::worker::Connection) {
        let listeners = &self.worker.boot.listeners;
        // A listener that is no longer in the configuration: what counts is the protocol, and who may speak for a client.
        let protocol = about.protocol.unwrap_or(Protocol::Http);
        let index = listeners
            .iter()
            .position(|listener| {
                // The same address may speak another protocol now.
                listener.key == about.listener && about.protocol.is_none_or(|spoken| spoken == listener.protocol)
            })
            .or_else(|| listeners.iter().position(|listener| listener.protocol == protocol && !listener.from_gateway));
        if let Some(index) = index {
            use std::os::fd::AsRawFd;
            let peer = os::peer_address(fd.as_raw_fd());
            let mut connection = Box::new(Connection::new(fd, index, peer));
            connection.is_shared();
            connection.requests = about.requests;
            if let Some(proxied) = about.proxied {
                connection.take_proxied(proxied);
            }
            connection.has_no_proxy_header = about.has_no_proxy_header && listeners[index].proxy_protocol;
            connection.parting_word = self.parting_word(&connection);
            let place = self.slab().reserve();
            self.put_back(place, connection);
        }
        self.worker.say(&FromWorker::AdoptedHere { token: about.token });
    }
}
