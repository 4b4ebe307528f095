//! Users and groups: resolving what a configuration writes, and becoming somebody else.

use std::{ffi::CString, io};

use nix::unistd::{Gid, Group, Uid, User as Entry, initgroups, setgroups, setresgid, setresuid};

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

/// Becomes `to` for good: supplementary groups, then group, then user (the order that keeps the right to do the next).
///
/// # Errors
/// setgroups(2), setresgid(2), setresuid(2): the caller must not go on as it was.
pub fn drop_to(to: &DropTo) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(to.uid), Gid::from_raw(to.gid));
    if Uid::effective().is_root() {
        match &to.user {
            Some(name) => initgroups(&CString::new(name.as_bytes())?, gid)?,
            None => setgroups(&[])?,
        }
    }
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    Ok(())
}

fn missing(kind: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no {kind} \"{text}\" on this machine"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_understood_and_others_named() {
        assert_eq!(user("root").unwrap().uid, 0);
        assert_eq!(user("4242424").unwrap(), User { uid: 4_242_424, gid: 4_242_424, name: None });
        assert_eq!(group("root").unwrap(), 0);
        assert!(user("nobody-of-that-name").unwrap_err().to_string().contains("nobody-of-that-name"));
    }
}
