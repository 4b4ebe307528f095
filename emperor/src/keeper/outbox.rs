//! Words on their way to the brain. The keeper never waits for the brain: what does not fit into the socket now waits
//! here, and while much waits, no further request is read, so that what waits stays bounded.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use empery_control::{
    framing,
    keeper::{Answer, FromKeeper},
};
use empery_sys::seqpacket;

/// How many words may wait before requests are left unread. An answer to one request may exceed it.
const WAITING_MAX: usize = 64;

/// The waiting words, oldest first.
#[derive(Debug, Default)]
pub(super) struct Outbox(VecDeque<(Vec<u8>, Vec<OwnedFd>)>);

impl Outbox {
    /// Adds a word with its descriptors.
    pub(super) fn put(&mut self, word: FromKeeper, fds: Vec<OwnedFd>) {
        match framing::encode(&word) {
            Ok(bytes) => self.0.push_back((bytes, fds)),
            Err(error) => {
                tracing::error!("a word to the brain was not sent: {error}");
                // Whoever waits for an answer must get one.
                if let FromKeeper::Answer { id, .. } = word {
                    let sentence = format!("the keeper's answer could not be sent: {error}");
                    let answer = Answer::Failed { code: "io".to_owned(), sentence };
                    self.0.extend(
                        framing::encode(&FromKeeper::Answer { id, answer }).ok().map(|bytes| (bytes, Vec::new())),
                    );
                }
            }
        }
    }

    /// Sends what fits.
    ///
    /// # Errors
    /// When the other end is gone.
    pub(super) fn flush(&mut self, channel: BorrowedFd<'_>) -> io::Result<()> {
        while let Some((bytes, fds)) = self.0.front() {
            let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            match seqpacket::send(channel, bytes, &borrowed) {
                Ok(()) => drop(self.0.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether something waits for room.
    pub(super) fn is_waiting(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether so much waits that no request should be read.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= WAITING_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brain_that_does_not_read_gets_everything_in_order_once_it_does() {
        let (keeper, brain) = seqpacket::pair().unwrap();
        empery_sys::channel::set_nonblocking(keeper.as_fd()).unwrap();
        let mut outbox = Outbox::default();
        let mut said = Vec::new();
        while !outbox.is_waiting() {
            let how = format!("{} {}", said.len(), "x".repeat(50_000));
            let word = FromKeeper::Answer {
                id: empery_control::keeper::RequestId(1),
                answer: Answer::Failed { code: "io".to_owned(), sentence: how },
            };
            outbox.put(word.clone(), Vec::new());
            said.push(word);
            outbox.flush(keeper.as_fd()).unwrap();
        }
        for expected in said {
            let (word, _) = seqpacket::receive_word::<FromKeeper>(brain.as_fd()).unwrap().unwrap();
            assert_eq!(word, expected);
            outbox.flush(keeper.as_fd()).unwrap();
        }
        assert!(!outbox.is_waiting());
    }
}
