//! Makes a story's process its own little machine: a network namespace with nothing but loopback, a parent for every
//! orphan, and a process that dies with its runner.

use std::{os::fd::AsRawFd, path::Path};

use anyhow::{Context, Result};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        signal::Signal,
        socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket},
    },
};

use crate::ground::Ground;

/// Whether the story has a network of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A namespace with loopback only: every port is free, port 80 too.
    Own,
    /// The machine's: namespaces are not permitted here.
    Shared,
}

/// To be called first thing, while the process has one thread.
///
/// # Errors
/// When the process cannot adopt orphans or loopback cannot be brought up in the new namespace.
pub fn enter() -> Result<Network> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("PR_SET_PDEATHSIG")?;
    adopt_orphans()?;
    if unshare(CloneFlags::CLONE_NEWNET).is_err() {
        return Ok(Network::Shared);
    }
    loopback_up().context("loopback of the story's network namespace")?;
    Ok(Network::Own)
}

/// Gives this story a machine with one more user and one more group, in a mount namespace of its own.
///
/// # Errors
/// When namespaces are not permitted.
pub fn with_user_and_group(ground: &Ground, user: &str, group: &str) -> Result<()> {
    const ID: u32 = 4_711;
    own_mounts()?;
    for (file, line) in [
        ("/etc/passwd", format!("{user}:x:{ID}:{ID}::/nonexistent:/usr/sbin/nologin\n")),
        ("/etc/group", format!("{group}:x:{ID}:\n")),
    ] {
        let text = std::fs::read_to_string(file)? + &line;
        let own = ground.write(&file[1..], &text)?;
        mount_bound(&own, Path::new(file))?;
    }
    Ok(())
}

/// Mounts a tmpfs with these options (tmpfs(5)) on a directory, in a mount namespace of the story's own.
///
/// # Errors
/// When namespaces or mounts are not permitted.
pub fn with_tmpfs(on: &Path, options: &str) -> Result<()> {
    own_mounts()?;
    mount(Some("tmpfs"), on, Some("tmpfs"), MsFlags::empty(), Some(options))
        .with_context(|| format!("a tmpfs on {}", on.display()))
}

/// Mounts one directory on another, in a mount namespace of the story's own.
///
/// # Errors
/// When namespaces or mounts are not permitted.
pub fn bind(what: &Path, on: &Path) -> Result<()> {
    own_mounts()?;
    mount_bound(what, on)
}

/// Mounts it again, in the namespace that there is.
///
/// # Errors
/// When mounts are not permitted.
pub fn mount_bound(what: &Path, on: &Path) -> Result<()> {
    let none: Option<&str> = None;
    mount(Some(what), on, none, MsFlags::MS_BIND, none).with_context(|| format!("mounting on {}", on.display()))
}

/// Takes a mount away, whoever still has something open in it (`umount -l`).
///
/// # Errors
/// When nothing is mounted there.
pub fn unmount(from: &Path) -> Result<()> {
    umount2(from, MntFlags::MNT_DETACH).with_context(|| format!("unmounting {}", from.display()))
}

fn own_mounts() -> Result<()> {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).context("a mount namespace for the story")?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("making mounts private")
}

/// Orphans of this process's descendants become its children, so that none gets away unseen.
///
/// # Errors
/// On kernels before 3.4.
pub fn adopt_orphans() -> Result<()> {
    prctl::set_child_subreaper(true).context("PR_SET_CHILD_SUBREAPER")
}

/// `ip link set lo up` in one netlink message (rtnetlink(7)), so that iproute2 need not be installed.
fn loopback_up() -> Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    const LOOPBACK_INDEX: u32 = 1;
    let mut message = Vec::with_capacity(32);
    // struct nlmsghdr: length, type, flags, sequence, port
    message.extend(32u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend(1u32.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    // struct ifinfomsg: family and padding, type, index, flags, change
    message.extend([0u8, 0]);
    message.extend(0u16.to_ne_bytes());
    message.extend(LOOPBACK_INDEX.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());

    let route = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    sendto(route.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0u8; 256];
    let length = recv(route.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // NLMSG_ERROR: the header, then the negative errno; 0 acknowledges.
    let code = answer.get(16..20).filter(|_| length >= 20).context("short netlink answer")?;
    let code = i32::from_ne_bytes(code.try_into()?);
    anyhow::ensure!(code == 0, "netlink answered errno {}", -code);
    Ok(())
}
