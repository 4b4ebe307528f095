//! Idle connections on their way from one worker to another. The sender keeps its copy of the descriptor until the
//! receiver has said that it serves it, so this keeps one too and can offer it to somebody else when a receiver dies, or
//! does not take it in time: the ticket that goes with it says whose it is.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use empery_control::worker::Connection;
use empery_lifecycle::moment::Moment;
use empery_sys::ticket;

/// How long a worker may leave a connection unanswered before it is offered to another.
const ANSWERED_WITHIN: Duration = Duration::from_millis(250);

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
    /// Who claims it has the connection; None when whoever was asked knows nothing of tickets, or has claimed it.
    pub(crate) ticket: Option<OwnedFd>,
    /// Since when an answer is waited for.
    pub(crate) since: Moment,
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

    /// When the next is to be offered to somebody else.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let waiting = self.travelling.values().filter(|travelling| travelling.ticket.is_some());
        waiting.map(|travelling| travelling.since.after(ANSWERED_WITHIN)).min()
    }

    /// Those that were not answered for in time, with whom they came from and who was asked. They are waited for anew.
    pub(crate) fn overdue(&mut self, now: Moment) -> Vec<(u64, Who, Who)> {
        let mut overdue = Vec::new();
        for (token, travelling) in &mut self.travelling {
            if travelling.ticket.is_some() && travelling.since.after(ANSWERED_WITHIN) <= now {
                travelling.since = now;
                overdue.push((*token, travelling.from, travelling.to));
            }
        }
        overdue
    }

    /// It is to go to somebody else. None when whoever was asked has it after all: the answer is on its way.
    pub(crate) fn take_back(&mut self, token: u64) -> Option<Travelling<Who>> {
        let travelling = self.travelling.get_mut(&token)?;
        if ticket::claim(travelling.ticket.take()?.as_fd()) { self.travelling.remove(&token) } else { None }
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
        let ticket = Some(ticket::issue().unwrap());
        Travelling { from, token: 7, to, connection, socket, ticket, since: Moment::START }
    }

    #[test]
    fn what_nobody_answers_for_is_taken_back_unless_it_was_claimed() {
        let mut handovers = Handovers::new();
        let late = Moment::START.after(ANSWERED_WITHIN);
        let (claimed, left) = (travelling(1, 2), travelling(3, 2));
        let receivers = claimed.ticket.as_ref().unwrap().try_clone().unwrap();
        let (claimed, left) = (handovers.depart(claimed).token, handovers.depart(left).token);
        assert_eq!(handovers.deadline(), Some(late));
        assert_eq!(handovers.overdue(Moment::START), []);
        assert_eq!(handovers.overdue(late), [(claimed, 1, 2), (left, 3, 2)]);
        assert_eq!(handovers.overdue(late), [], "they are waited for anew");
        assert!(ticket::claim(receivers.as_fd()));
        assert!(handovers.take_back(claimed).is_none());
        assert_eq!(handovers.take_back(left).map(|back| (back.from, back.token)), Some((3, 7)));
        assert_eq!(handovers.deadline(), None, "the answer is on its way");
        assert_eq!(handovers.arrive(2, claimed), Some((1, 7)));
        assert!(handovers.is_empty());
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
