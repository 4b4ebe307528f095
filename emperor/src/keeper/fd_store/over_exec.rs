//! What is kept, handed on to the keeper that replaces this one in the same process (execve(2)): every descriptor stays open
//! under its number, and a table says what each of them is. Links are not in it: a living master has its own, and one that is to
//! come has it bound anew.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
};

use empery_lifecycle::{fleet::Identity, ids::VassalName};
use empery_sys::{inherited, listen, memfd};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde::{Deserialize, Serialize};

use super::{FdStore, Kept, LogPipe, Shelf};

/// One vassal's, by number.
#[derive(Debug, Serialize, Deserialize)]
struct ShelfLeft {
    vassal: VassalName,
    listeners: Vec<(String, RawFd)>,
    log: Option<LogLeft>,
    regions: Option<(Identity, Vec<(String, RawFd)>)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LogLeft {
    read: RawFd,
    write: RawFd,
    of: Option<Identity>,
}

impl FdStore {
    /// The table, in memory. It and all that it names stay open over the next exec.
    ///
    /// # Errors
    /// memfd_create(2), fcntl(2).
    pub(in crate::keeper) fn leave(&self) -> io::Result<OwnedFd> {
        let left: Vec<ShelfLeft> =
            self.0.iter().map(|(vassal, shelf)| shelf.leave(vassal)).collect::<Result<_, _>>()?;
        let table = memfd::sealed("empery-store", &serde_json::to_vec(&left)?)?;
        stay_open(&table)?;
        Ok(table)
    }

    /// What the predecessor in this process has left. What of it is not what the table says is let go of.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub(in crate::keeper) fn take_over(table: RawFd) -> io::Result<Self> {
        let table = inherited::take(table)?;
        let left: Vec<ShelfLeft> = serde_json::from_slice(&memfd::read_all(table.as_fd())?)?;
        Ok(Self(left.into_iter().map(|left| (left.vassal.clone(), Shelf::take_over(left))).collect()))
    }
}

impl Shelf {
    fn leave(&self, vassal: &VassalName) -> io::Result<ShelfLeft> {
        let named = |(name, fd): (&String, &OwnedFd)| Ok::<_, io::Error>((name.clone(), stay_open(fd)?));
        let listeners =
            self.listeners.iter().map(|(key, kept)| named((key, &kept.socket))).collect::<Result<_, _>>()?;
        let log = self.log.as_ref().map(|log| {
            Ok::<_, io::Error>(LogLeft { read: stay_open(&log.read)?, write: stay_open(&log.write)?, of: log.of })
        });
        let regions = self.regions.as_ref().map(|(identity, regions)| {
            let regions = regions.iter().map(|(name, fd)| named((name, fd))).collect::<Result<_, _>>()?;
            Ok::<_, io::Error>((*identity, regions))
        });
        Ok(ShelfLeft { vassal: vassal.clone(), listeners, log: log.transpose()?, regions: regions.transpose()? })
    }

    fn take_over(left: ShelfLeft) -> Self {
        let take = |number: RawFd| {
            let taken = inherited::take(number);
            taken.inspect_err(|error| tracing::error!(number, "what an earlier keeper kept is lost: {error}")).ok()
        };
        let listener = |(key, number): (String, RawFd)| {
            let socket = take(number)?;
            let bound = listen::address(socket.as_fd()).ok()?;
            Some((key, Kept { socket, bound }))
        };
        let region = |(name, number): (String, RawFd)| Some((name, take(number)?));
        let log = left.log.and_then(|LogLeft { read, write, of }| {
            let (read, write) = (take(read), take(write));
            Some(LogPipe { read: read?, write: write?, of })
        });
        Shelf {
            listeners: left.listeners.into_iter().filter_map(listener).collect(),
            log,
            regions: left
                .regions
                .map(|(identity, regions)| (identity, regions.into_iter().filter_map(region).collect())),
            ..Shelf::default()
        }
    }
}

/// Has it stay open over an exec; its number.
fn stay_open(fd: &OwnedFd) -> io::Result<RawFd> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(fd.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::fd::IntoRawFd};

    use super::*;

    #[test]
    fn what_was_kept_is_found_again_under_its_numbers() {
        let [shop, blog] = ["shop.ini", "blog.ini"].map(|name| VassalName::new(name).unwrap());
        let identity = Identity { uid: 1, gid: 1 };
        let mut store = FdStore::default();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = socket.local_addr().unwrap();
        store.keep_handed(&shop, "k".to_owned(), socket.into()).unwrap();
        store.log(&shop, identity).unwrap();
        let (read, write) = empery_sys::pipe::cloexec_pipe().unwrap();
        store.keep_log(&blog, identity, read, write);
        store.keep_regions(&blog, identity, vec![("r".to_owned(), memfd::sealed("r", b"x").unwrap())]);
        let table = store.leave().unwrap();
        let numbers = |store: &FdStore| {
            let all = store.0.values().flat_map(|shelf| {
                let log = shelf.log.iter().flat_map(|log| [&log.read, &log.write]);
                let regions = shelf.regions.iter().flat_map(|(_, regions)| regions.iter().map(|(_, fd)| fd));
                shelf.listeners.values().map(|kept| &kept.socket).chain(log).chain(regions)
            });
            all.map(|fd| (fd.as_raw_fd(), fcntl(fd, FcntlArg::F_GETFD).unwrap())).collect::<Vec<_>>()
        };
        let before = numbers(&store);
        assert!(before.len() == 6 && before.iter().all(|(_, flags)| *flags == 0), "{before:?}");
        // The exec takes the owner's place.
        std::mem::forget(store);

        let store = FdStore::take_over(table.into_raw_fd()).unwrap();
        let after = numbers(&store);
        assert!(after.iter().all(|(_, flags)| *flags == FdFlag::FD_CLOEXEC.bits()), "{after:?}");
        assert_eq!(
            before.iter().map(|(number, _)| number).collect::<Vec<_>>(),
            after.iter().map(|(number, _)| number).collect::<Vec<_>>()
        );
        assert_eq!(store.listener(&shop, "k").unwrap().bound, empery_control::keeper::ListenAddress::Tcp(place));
        assert_eq!(store.regions(&blog, identity).len(), 1);
        assert_eq!(store.0[&blog].log.as_ref().unwrap().of, Some(identity));
    }

    #[test]
    fn a_number_that_is_not_open_is_no_descriptor() {
        let shop = VassalName::new("shop.ini").unwrap();
        let left = ShelfLeft {
            vassal: shop,
            listeners: vec![("k".to_owned(), 1_000_000)],
            log: Some(LogLeft { read: 1_000_001, write: 1_000_002, of: None }),
            regions: None,
        };
        let shelf = Shelf::take_over(left);
        assert!(shelf.listeners.is_empty() && shelf.log.is_none());
    }
}
