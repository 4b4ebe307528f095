//! Idle connections on their way from one worker to another. The sender keeps its copy of the descriptor until the
//! receiver has said that it serves it, so this keeps one too and can offer it to somebody else when a receiver dies.

use std::{collections::BTreeMap, os::fd::OwnedFd};

use empery_control::worker::Connection;

/// A connection under way.
pub(crate) struct Travelling<Who> {
    /// Who gave it away.
    pub(crate) from: Who,
    /// The sender's number for it.
    pub(crate) token: u64,
    /// Who was asked to serve it.
    pub(crate) to: Who,
    /// What must be known of it.
    pub(crate) connection: Connection,
    /// The connection.
    pub(crate) socket: OwnedFd,
}

/// See the module.
pub(crate) struct Handovers<Who> {
    last_token: u64,
    travelling: BTreeMap<u64, Travelling<Who>>,
}

impl<Who: Copy + Eq> Handovers<Who> {
    /// None under way.
    pub(crate) fn new() -> Self {
        Self { last_token: 0, travelling: BTreeMap::new() }
    }

    /// Whether no connection is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.travelling.is_empty()
    }

    /// A connection goes from one worker to another. Answers with the connection as the receiver is to be told of it.
    pub(crate) fn depart(&mut self, mut travelling: Travelling<Who>) -> Connection {
        self.last_token += 1;
        travelling.connection.token = self.last_token;
        let told = travelling.connection.clone();
        self.travelling.insert(self.last_token, travelling);
        told
    }

    /// The receiver serves it: whom to tell, and the sender's number for it.
    pub(crate) fn arrive(&mut self, to: Who, token: u64) -> Option<(Who, u64)> {
        if self.travelling.get(&token)?.to != to {
            return None;
        }
        self.travelling.remove(&token).map(|travelling| (travelling.from, travelling.token))
    }

    /// This worker is gone: what it was to receive must go elsewhere; what it had sent needs no answer any more.
    pub(crate) fn lost(&mut self, who: Who) -> Vec<Travelling<Who>> {
        let (stranded, others) =
            std::mem::take(&mut self.travelling).into_iter().partition(|(_, travelling)| travelling.to == who);
        self.travelling = others;
        let stranded: BTreeMap<u64, Travelling<Who>> = stranded;
        stranded.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn travelling(from: u8, to: u8) -> Travelling<u8> {
        let connection = Connection {
            token: 7,
            listener: ":80".into(),
            requests: 1,
            protocol: None,
            proxied: None,
            has_no_proxy_header: false,
        };
        let socket = std::fs::File::open("/dev/null").unwrap().into();
        Travelling { from, token: 7, to, connection, socket }
    }

    #[test]
    fn the_sender_is_told_its_own_number_and_only_once() {
        let mut handovers = Handovers::new();
        let told = handovers.depart(travelling(1, 2));
        assert_eq!(handovers.arrive(3, told.token), None, "not asked");
        assert_eq!(handovers.arrive(2, told.token), Some((1, 7)));
        assert_eq!(handovers.arrive(2, told.token), None);
    }

    #[test]
    fn what_a_dead_receiver_was_to_get_comes_back() {
        let mut handovers = Handovers::new();
        handovers.depart(travelling(1, 2));
        handovers.depart(travelling(1, 3));
        let back = handovers.lost(2);
        assert_eq!(back.len(), 1);
        assert_eq!((back[0].from, back[0].token), (1, 7));
        assert!(handovers.lost(2).is_empty());
    }
}
