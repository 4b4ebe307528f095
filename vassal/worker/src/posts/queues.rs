//! Where messages for mules wait: a queue for each mule, one for all, one for each farm. Sockets that the zygote makes and
//! every process of the generation inherits, so that a message costs one system call and outlives a mule that dies.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::OnceLock,
};

use empery_control::posts::MulesBoot;
use empery_sys::{channel::set_nonblocking, seqpacket};
use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};

/// See the module.
pub(crate) struct Queues {
    /// For whoever takes it.
    shared: Queue,
    /// For each mule.
    own: Vec<Queue>,
    farms: Vec<Farm>,
}

struct Farm {
    name: String,
    mules: Vec<u32>,
    queue: Queue,
}

struct Queue {
    put: OwnedFd,
    take: OwnedFd,
}

static QUEUES: OnceLock<Queues> = OnceLock::new();
static MESSAGE_MAX_BYTES: OnceLock<usize> = OnceLock::new();

/// Whom a message is for.
pub(crate) enum Address<'a> {
    /// Any mule.
    Any,
    /// This one, from 1.
    Mule(u32),
    /// Any of this farm.
    Farm(&'a str),
}

/// In the zygote, before the app is imported: makes them, if there are mules.
pub(crate) fn make(mules: &MulesBoot) -> io::Result<()> {
    let _ = MESSAGE_MAX_BYTES.set(mules.message_max_bytes);
    if mules.patches.is_empty() {
        return Ok(());
    }
    let queue = || Queue::new(mules.queue_bytes);
    let queues = Queues {
        shared: queue()?,
        own: mules.patches.iter().map(|_| queue()).collect::<io::Result<_>>()?,
        farms: mules
            .farms
            .iter()
            .map(|(name, mules)| Ok(Farm { name: name.clone(), mules: mules.clone(), queue: queue()? }))
            .collect::<io::Result<_>>()?,
    };
    let _ = QUEUES.set(queues);
    Ok(())
}

/// Those of this generation; None without mules.
pub(crate) fn get() -> Option<&'static Queues> {
    QUEUES.get()
}

/// `mule-msg-recv-size`.
pub(crate) fn message_max_bytes() -> usize {
    MESSAGE_MAX_BYTES.get().copied().unwrap_or_default()
}

impl Queues {
    /// Puts a message; None when there is no such mule or farm.
    pub(crate) fn put(&self, address: Address<'_>, message: &[u8]) -> Option<io::Result<()>> {
        let queue = match address {
            Address::Any => &self.shared,
            Address::Mule(number) => self.own.get(usize::try_from(number).ok()?.checked_sub(1)?)?,
            Address::Farm(name) => &self.farms.iter().find(|farm| farm.name == name)?.queue,
        };
        Some(queue.put(message))
    }

    /// Where a mule takes messages from: its own first.
    pub(crate) fn of(&self, mule: u32) -> impl Iterator<Item = BorrowedFd<'_>> {
        let own = usize::try_from(mule).ok().and_then(|mule| self.own.get(mule.checked_sub(1)?));
        own.into_iter().chain([&self.shared]).map(|queue| queue.take.as_fd())
    }

    /// Those of its farms.
    pub(crate) fn of_farms(&self, mule: u32) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.farms.iter().filter(move |farm| farm.mules.contains(&mule)).map(|farm| farm.queue.take.as_fd())
    }

    /// Whether the mule belongs to the farm, or to any.
    pub(crate) fn is_in_farm(&self, mule: u32, name: Option<&str>) -> bool {
        let fits = |farm: &Farm| farm.mules.contains(&mule) && name.is_none_or(|name| name == farm.name);
        self.farms.iter().any(fits)
    }
}

impl Queue {
    fn new(bytes: u32) -> io::Result<Self> {
        let (put, take) = seqpacket::pair()?;
        if bytes > 0 {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            setsockopt(&put, sockopt::SndBuf, &bytes)?;
            setsockopt(&take, sockopt::RcvBuf, &bytes)?;
        }
        set_nonblocking(take.as_fd())?;
        set_nonblocking(put.as_fd())?;
        Ok(Self { put, take })
    }

    fn put(&self, message: &[u8]) -> io::Result<()> {
        send(self.put.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }
}

/// Whether there is a message.
pub(crate) fn has_any(queue: RawFd) -> bool {
    recv(queue, &mut [0], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK).is_ok()
}

/// Takes a message of at most so many bytes; the rest of a longer one is lost, as in uWSGI. None when there is none.
pub(crate) fn take(queue: RawFd, most: usize) -> io::Result<Option<Vec<u8>>> {
    let mut message = vec![0; most];
    match recv(queue, &mut message, MsgFlags::MSG_DONTWAIT) {
        Ok(length) => {
            message.truncate(length);
            Ok(Some(message))
        }
        Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
