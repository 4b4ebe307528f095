//! Users and groups: resolving what a configuration writes, and becoming somebody else.

use std::{ffi::CString, io};

use nix::unistd::{Gid, Group, Uid, User as Entry, getgrouplist};

/// A user of this machine, as a configuration named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// Its primary group; the uid's own number when it has no entry in the user database.
    pub gid: u32,
    /// Its name, when it has an entry.
    pub name: Option<String>,
}

/// Who a process is to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropTo {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Name for initgroups(3); without it the supplementary groups are cleared.
    pub user: Option<String>,
    /// When there are any, these are the supplementary groups, whatever `user` says.
    pub groups: Vec<u32>,
}

/// The user that `text` names or numbers.
///
/// # Errors
/// `NotFound` when it is neither a number nor a name of this machine; getpwnam(3).
pub fn user(text: &str) -> io::Result<User> {
    let entry = match text.parse::<u32>() {
        Ok(uid) => match Entry::from_uid(Uid::from_raw(uid))? {
            Some(entry) => entry,
            None => return Ok(User { uid, gid: uid, name: None }),
        },
        Err(_) => Entry::from_name(text)?.ok_or_else(|| missing("user", text))?,
    };
    Ok(User { uid: entry.uid.as_raw(), gid: entry.gid.as_raw(), name: Some(entry.name) })
}

/// The number of the group that `text` names or numbers.
///
/// # Errors
/// `NotFound` when it is neither a number nor a name of this machine; getgrnam(3).
pub fn group(text: &str) -> io::Result<u32> {
    if let Ok(gid) = text.parse() {
        return Ok(gid);
    }
    Ok(Group::from_name(text)?.ok_or_else(|| missing("group", text))?.gid.as_raw())
}

/// The groups of this user, its primary one among them; none when it has no entry in the user database.
///
/// # Errors
/// getgrouplist(3).
pub fn groups_of(user: &User) -> io::Result<Vec<u32>> {
    supplementary(&DropTo { uid: user.uid, gid: user.gid, user: user.name.clone(), groups: Vec::new() })
}

/// What a drop needs, looked up beforehand, so that the drop itself is system calls only.
pub(crate) struct Credentials {
    uid: libc::uid_t,
    gid: libc::gid_t,
    /// None: we are not allowed to change groups and nothing changes.
    groups: Option<Vec<libc::gid_t>>,
}

/// Which call of a drop failed.
#[derive(Clone, Copy)]
pub(crate) enum Refused {
    Groups,
    Gid,
    Uid,
    /// The way back to root was still open.
    NotForGood,
}

impl Credentials {
    pub(crate) fn look_up(to: &DropTo) -> io::Result<Self> {
        let (uid, gid) = (to.uid, to.gid);
        let groups = if Uid::effective().is_root() { Some(supplementary(to)?) } else { None };
        Ok(Self { uid, gid, groups })
    }

    /// Takes the identity on. System calls only: may run between fork and exec.
    pub(crate) fn take_on(&self) -> Result<(), Refused> {
        // SAFETY: integers, and a pointer to `groups` with its own length.
        unsafe {
            if let Some(groups) = &self.groups
                && libc::setgroups(groups.len(), groups.as_ptr()) != 0
            {
                return Err(Refused::Groups);
            }
            if libc::setresgid(self.gid, self.gid, self.gid) != 0 {
                return Err(Refused::Gid);
            }
            if libc::setresuid(self.uid, self.uid, self.uid) != 0 {
                return Err(Refused::Uid);
            }
            if self.uid != 0 && libc::setuid(0) == 0 {
                return Err(Refused::NotForGood);
            }
        }
        Ok(())
    }
}

fn supplementary(to: &DropTo) -> io::Result<Vec<libc::gid_t>> {
    match &to.user {
        _ if !to.groups.is_empty() => Ok(to.groups.clone()),
        None => Ok(Vec::new()),
        Some(name) => {
            let groups = getgrouplist(&CString::new(name.as_str())?, Gid::from_raw(to.gid))?;
            Ok(groups.into_iter().map(Gid::as_raw).collect())
        }
    }
}

/// This process becomes that user for good: supplementary groups, then the group, then the user, all three ids each.
///
/// # Errors
/// When we may not, or the way back stayed open. The process is in between then and must end.
pub fn drop_to(to: &DropTo) -> io::Result<()> {
    Credentials::look_up(to)?.take_on().map_err(|refused| {
        let error = io::Error::last_os_error();
        io::Error::new(error.kind(), format!("{} {}: {error}", refused.attempted(), to.uid))
    })
}

impl Refused {
    pub(crate) fn attempted(self) -> &'static str {
        match self {
            Refused::Groups => "setting the supplementary groups of uid",
            Refused::Gid => "setting the group of uid",
            Refused::Uid => "becoming uid",
            Refused::NotForGood => "giving up root for good for uid",
        }
    }
}

/// The identity that files are made and opened with, taken on for a while.
///
/// The process must have one thread only: glibc would change every thread, and others must not act as root's deputy
/// by accident. The saved ids stay, so that the way back is open; do not run foreign code meanwhile.
///
/// # Errors
/// When we may not take it on, or `work` failed.
///
/// # Panics
/// Never; when the way back fails the process is aborted, since it would go on as somebody else.
pub fn while_being<T>(to: &DropTo, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let (own_uid, own_gid) = (Uid::effective(), Gid::effective());
    if (own_uid.as_raw(), own_gid.as_raw()) == (to.uid, to.gid) {
        return work();
    }
    let own_groups = nix::unistd::getgroups()?;
    let groups: Vec<Gid> = supplementary(to)?.into_iter().map(Gid::from_raw).collect();
    let taken = nix::unistd::setgroups(&groups)
        .and_then(|()| nix::unistd::setegid(Gid::from_raw(to.gid)))
        .and_then(|()| nix::unistd::seteuid(Uid::from_raw(to.uid)));
    let result = match taken {
        Ok(()) => work(),
        Err(error) => Err(error.into()),
    };
    // Only root may set groups, so the way back begins with the user.
    let back = nix::unistd::seteuid(own_uid)
        .and_then(|()| nix::unistd::setegid(own_gid))
        .and_then(|()| nix::unistd::setgroups(&own_groups));
    if back.is_err() {
        std::process::abort();
    }
    result
}

fn missing(kind: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no {kind} \"{text}\" on this machine"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_are_named_take_the_place_of_the_user_s_own() {
        let of = |user: Option<&str>, groups: &[u32]| {
            supplementary(&DropTo { uid: 0, gid: 7, user: user.map(str::to_owned), groups: groups.to_vec() }).unwrap()
        };
        assert!(of(Some("root"), &[]).contains(&7));
        assert_eq!(of(Some("root"), &[4242]), [4242]);
        assert_eq!(of(None, &[4242, 1]), [4242, 1]);
        assert_eq!(of(None, &[]), [0; 0]);
    }

    #[test]
    fn names_and_numbers_are_understood_and_others_named() {
        assert_eq!(user("root").unwrap().uid, 0);
        assert_eq!(user("4242424").unwrap(), User { uid: 4_242_424, gid: 4_242_424, name: None });
        assert_eq!(group("root").unwrap(), 0);
        assert!(user("nobody-of-that-name").unwrap_err().to_string().contains("nobody-of-that-name"));
    }
}
