//! What the keeper keeps open for each vassal, so that it outlives the vassal's master: listening sockets, the links
//! its masters are reached by, the ends of its log pipe, and the memory its workers share.

mod over_exec;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use empery_control::keeper::ListenAddress;
use empery_lifecycle::{
    fleet::{Berth, Identity},
    ids::VassalName,
};
use empery_sys::{listen, pipe::cloexec_pipe};

/// Most listening sockets of one vassal that are kept of those that its masters bring.
const HANDED_MAX: usize = 256;

/// A kept listening socket.
#[derive(Debug)]
pub(super) struct Kept {
    /// It.
    pub(super) socket: OwnedFd,
    /// Where it is bound.
    pub(super) bound: ListenAddress,
}

impl Drop for Kept {
    fn drop(&mut self) {
        // A vassal may have handed it over, and the keeper waits for nobody.
        listen::linger_no_more(self.socket.as_fd());
    }
}

/// Both ends of a vassal's log pipe.
#[derive(Debug)]
pub(super) struct LogPipe {
    /// The master's.
    pub(super) read: OwnedFd,
    /// The workers'.
    pub(super) write: OwnedFd,
    /// Whose it is when a master handed it over: another's processes are not to write into it.
    of: Option<Identity>,
}

/// What is kept for one vassal.
#[derive(Debug, Default)]
struct Shelf {
    listeners: BTreeMap<String, Kept>,
    links: BTreeMap<Berth, OwnedFd>,
    log: Option<LogPipe>,
    /// Memory that the workers share, and who they are.
    regions: Option<(Identity, Vec<(String, OwnedFd)>)>,
    /// Keys of the listeners that are watched for a client.
    watched: BTreeSet<String>,
}

/// Everything that is kept.
#[derive(Debug, Default)]
pub(super) struct FdStore(BTreeMap<VassalName, Shelf>);

impl FdStore {
    fn shelf(&mut self, vassal: &VassalName) -> &mut Shelf {
        self.0.entry(vassal.clone()).or_default()
    }

    /// The listening socket of this key.
    pub(super) fn listener(&self, vassal: &VassalName, key: &str) -> Option<&Kept> {
        self.0.get(vassal)?.listeners.get(key)
    }

    /// Keeps a listening socket. One that is kept under the key already stays: clients are in its queue.
    pub(super) fn keep_listener(&mut self, vassal: &VassalName, key: String, kept: Kept) -> &Kept {
        self.shelf(vassal).listeners.entry(key).or_insert(kept)
    }

    /// Keeps a listening socket that somebody hands over.
    ///
    /// # Errors
    /// When it does not listen.
    pub(super) fn keep_handed(&mut self, vassal: &VassalName, key: String, socket: OwnedFd) -> io::Result<()> {
        let held = &self.shelf(vassal).listeners;
        if held.len() >= HANDED_MAX && !held.contains_key(&key) {
            listen::close(socket);
            return Err(io::Error::other(format!("{HANDED_MAX} sockets of this vassal are kept already")));
        }
        match listen::address(socket.as_fd()) {
            Ok(bound) => {
                self.keep_listener(vassal, key, Kept { socket, bound });
                Ok(())
            }
            Err(error) => {
                listen::close(socket);
                Err(error)
            }
        }
    }

    /// Watches these listening sockets for a client, and no others of this vassal.
    ///
    /// # Errors
    /// The first key under which nothing is kept.
    pub(super) fn watch(&mut self, vassal: &VassalName, keys: Vec<String>) -> Result<(), String> {
        let shelf = self.shelf(vassal);
        shelf.watched.clear();
        match keys.iter().find(|key| !shelf.listeners.contains_key(*key)) {
            Some(missing) => Err(missing.clone()),
            None => {
                shelf.watched.extend(keys);
                Ok(())
            }
        }
    }

    /// Watches none of this vassal's any more.
    pub(super) fn unwatch(&mut self, vassal: &VassalName) {
        if let Some(shelf) = self.0.get_mut(vassal) {
            shelf.watched.clear();
        }
    }

    /// What is watched, and whose it is.
    pub(super) fn watched(&self) -> impl Iterator<Item = (&VassalName, BorrowedFd<'_>)> {
        self.0.iter().flat_map(|(vassal, shelf)| {
            let sockets = shelf.watched.iter().filter_map(|key| shelf.listeners.get(key));
            sockets.map(move |kept| (vassal, kept.socket.as_fd()))
        })
    }

    /// The link of a berth, made by `bind` when there is none.
    ///
    /// # Errors
    /// `bind`'s.
    pub(super) fn link(
        &mut self,
        vassal: &VassalName,
        berth: Berth,
        bind: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> io::Result<&OwnedFd> {
        match self.shelf(vassal).links.entry(berth) {
            std::collections::btree_map::Entry::Occupied(kept) => Ok(kept.into_mut()),
            std::collections::btree_map::Entry::Vacant(free) => Ok(free.insert(bind()?)),
        }
    }

    /// Closes the link of a berth.
    pub(super) fn close_link(&mut self, vassal: &VassalName, berth: Berth) {
        if let Some(shelf) = self.0.get_mut(vassal) {
            shelf.links.remove(&berth);
        }
    }

    /// The log pipe for masters of this identity, made when there is none.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(super) fn log(&mut self, vassal: &VassalName, identity: Identity) -> io::Result<&LogPipe> {
        let log = &mut self.shelf(vassal).log;
        log.take_if(|log| log.of.is_some_and(|whose| whose != identity));
        if log.is_none() {
            let (read, write) = cloexec_pipe()?;
            *log = Some(LogPipe { read, write, of: None });
        }
        log.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Keeps the log pipe that a master of this identity has, unless there is one: it is the same then.
    pub(super) fn keep_log(&mut self, vassal: &VassalName, identity: Identity, read: OwnedFd, write: OwnedFd) {
        self.shelf(vassal).log.get_or_insert(LogPipe { read, write, of: Some(identity) });
    }

    /// Keeps this memory instead of what was kept. Who has none any more takes nothing of another identity's away.
    pub(super) fn keep_regions(&mut self, vassal: &VassalName, identity: Identity, regions: Vec<(String, OwnedFd)>) {
        let kept = &mut self.shelf(vassal).regions;
        if !regions.is_empty() {
            *kept = Some((identity, regions));
        } else {
            kept.take_if(|(whose, _)| *whose == identity);
        }
    }

    /// The memory that is kept for masters of this identity: another's is nobody else's to read.
    pub(super) fn regions(&self, vassal: &VassalName, identity: Identity) -> &[(String, OwnedFd)] {
        let kept = self.0.get(vassal).and_then(|shelf| shelf.regions.as_ref());
        kept.filter(|(whose, _)| *whose == identity).map_or(&[], |(_, regions)| regions)
    }

    /// Closes everything of those that do not stay.
    pub(super) fn retain(&mut self, stays: impl Fn(&VassalName) -> bool) {
        self.0.retain(|vassal, _| stays(vassal));
    }

    /// Closes these listening sockets; an empty list is everything of the vassal.
    pub(super) fn forget(&mut self, vassal: &VassalName, keys: &[String]) {
        if keys.is_empty() {
            self.0.remove(vassal);
        } else if let Some(shelf) = self.0.get_mut(vassal) {
            shelf.listeners.retain(|key, _| !keys.contains(key));
            shelf.watched.retain(|key| !keys.contains(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::tests::until;
    use std::net::TcpListener;

    #[test]
    fn what_is_kept_under_a_key_stays_until_it_is_forgotten() {
        let vassal = VassalName::new("a.ini").unwrap();
        let mut store = FdStore::default();
        let (first, second) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let place = first.local_addr().unwrap();
        store.keep_handed(&vassal, "k".to_owned(), first.into()).unwrap();
        store.keep_handed(&vassal, "k".to_owned(), second.into()).unwrap();
        assert_eq!(store.listener(&vassal, "k").unwrap().bound, ListenAddress::Tcp(place));
        store.forget(&vassal, &["other".to_owned()]);
        assert!(store.listener(&vassal, "k").is_some());
        store.forget(&vassal, &["k".to_owned()]);
        assert!(store.listener(&vassal, "k").is_none());
        until("it to be closed, not only forgotten", || std::net::TcpStream::connect(place).is_err());
    }

    #[test]
    fn only_what_is_kept_is_watched_and_only_until_it_is_forgotten() {
        let vassal = VassalName::new("a.ini").unwrap();
        let mut store = FdStore::default();
        store.keep_handed(&vassal, "k".to_owned(), TcpListener::bind("127.0.0.1:0").unwrap().into()).unwrap();
        assert_eq!(store.watch(&vassal, vec!["k".to_owned(), "other".to_owned()]), Err("other".to_owned()));
        assert_eq!(store.watched().count(), 0);
        assert_eq!(store.watch(&vassal, vec!["k".to_owned()]), Ok(()));
        assert_eq!(store.watched().count(), 1);
        store.unwatch(&vassal);
        assert_eq!(store.watched().count(), 0);
        assert_eq!(store.watch(&vassal, vec!["k".to_owned()]), Ok(()));
        store.forget(&vassal, &["k".to_owned()]);
        assert_eq!(store.watched().count(), 0);
    }

    #[test]
    fn what_does_not_listen_is_not_kept() {
        let vassal = VassalName::new("a.ini").unwrap();
        let mut store = FdStore::default();
        let (read, _write) = cloexec_pipe().unwrap();
        assert!(store.keep_handed(&vassal, "k".to_owned(), read).is_err());
        assert!(store.listener(&vassal, "k").is_none());
    }

    #[test]
    fn shared_memory_is_for_masters_of_the_same_identity_until_it_is_forgotten() {
        let vassal = VassalName::new("a.ini").unwrap();
        let mut store = FdStore::default();
        let [one, other] = [1, 2].map(|uid| Identity { uid, gid: 1 });
        let memory = || empery_sys::memfd::sealed("region", b"x").unwrap();
        store.keep_regions(&vassal, one, vec![("first".to_owned(), memory()), ("gone".to_owned(), memory())]);
        store.keep_regions(&vassal, one, vec![("first".to_owned(), memory())]);
        assert_eq!(store.regions(&vassal, one).len(), 1);
        assert_eq!(store.regions(&vassal, other).len(), 0);
        store.keep_regions(&vassal, other, Vec::new());
        assert_eq!(store.regions(&vassal, one).len(), 1, "the other has none any more");
        store.forget(&vassal, &["k".to_owned()]);
        assert_eq!(store.regions(&vassal, one).len(), 1);
        store.forget(&vassal, &[]);
        assert_eq!(store.regions(&vassal, one).len(), 0);
    }

    #[test]
    fn the_log_pipe_is_made_once_and_goes_with_everything() {
        use std::os::fd::AsRawFd;
        let vassal = VassalName::new("a.ini").unwrap();
        let mut store = FdStore::default();
        let [one, other] = [1, 2].map(|uid| Identity { uid, gid: 1 });
        let number = |store: &mut FdStore, identity| store.log(&vassal, identity).unwrap().read.as_raw_fd();
        let first = number(&mut store, one);
        assert_eq!((number(&mut store, one), number(&mut store, other)), (first, first));
        store.forget(&vassal, &[]);
        assert!(store.0.is_empty());
    }

    #[test]
    fn a_log_pipe_that_a_master_has_is_for_the_next_one_of_its_identity() {
        use std::os::fd::AsRawFd;
        let vassal = VassalName::new("a.ini").unwrap();
        let mut store = FdStore::default();
        let [one, other] = [1, 2].map(|uid| Identity { uid, gid: 1 });
        let (read, write) = cloexec_pipe().unwrap();
        let number = write.as_raw_fd();
        store.keep_log(&vassal, one, read, write);
        let (read, write) = cloexec_pipe().unwrap();
        store.keep_log(&vassal, one, read, write);
        assert_eq!(store.log(&vassal, one).unwrap().write.as_raw_fd(), number, "the first stays");
        store.log(&vassal, other).unwrap();
        assert_eq!(store.shelf(&vassal).log.as_ref().unwrap().of, None, "a new one was made");
    }
}
