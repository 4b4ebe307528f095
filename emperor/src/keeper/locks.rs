//! The lock files by which masters are found again: whoever starts a keeper anew learns from them alone who is alive.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
};

use empery_control::{keeper::LockText, places};
use empery_lifecycle::fleet::Berth;
use empery_sys::{lock, memfd, process};

/// A lock file that was free and is ours now.
#[derive(Debug)]
pub(super) struct TakenLock {
    /// Locked, and open for reading only: whoever inherits it cannot change the text.
    pub(super) held: OwnedFd,
    text: File,
}

impl TakenLock {
    /// Takes the lock of a berth; None when somebody has it.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(super) fn take(path: &Path) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let text = options.open(path)?;
        let held = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
        if !lock::try_exclusive(held.as_fd())? {
            return Ok(None);
        }
        // What an earlier master left there is not to be believed while the next one comes up.
        text.set_len(0)?;
        Ok(Some(Self { held: held.into(), text }))
    }

    /// Says who holds it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&mut self, text: &LockText) -> io::Result<()> {
        self.text.write_all(&serde_json::to_vec(text)?)
    }
}

/// A lock that somebody holds.
#[derive(Debug)]
pub(super) struct HeldLock {
    /// What its text says.
    pub(super) text: LockText,
    /// Of the process.
    pub(super) pidfd: OwnedFd,
}

/// Every master that holds its lock, as far as the locks say who it is.
///
/// # Errors
/// When the directory of the vassals' places cannot be read.
pub(super) fn held(runtime: &Path) -> io::Result<Vec<HeldLock>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(places::vassals(runtime))? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let directory = entry.path();
        for berth in [Berth::A, Berth::B] {
            let path = directory.join(berth.as_str()).join("lock");
            match held_at(&path, berth) {
                Ok(held) => found.extend(held),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::error!("the lock {} is held, but not by a master we know: {error}", path.display())
                }
            }
        }
    }
    Ok(found)
}

/// Who holds the lock, or held it last.
///
/// # Errors
/// When there is no such file, or it says nothing that is understood.
pub(super) fn text_at(path: &Path) -> io::Result<LockText> {
    text_of(&OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?)
}

fn text_of(file: &File) -> io::Result<LockText> {
    Ok(serde_json::from_slice(&memfd::read_all(file.as_fd())?)?)
}

fn held_at(path: &Path, berth: Berth) -> io::Result<Option<HeldLock>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    if lock::try_exclusive(file.as_fd())? {
        return Ok(None);
    }
    let text = text_of(&file)?;
    let of_place = (path.parent().and_then(Path::parent).and_then(Path::file_name), text.master.berth);
    if of_place != (Some(places::label(&text.master.vassal).as_ref()), berth) {
        return Err(io::Error::other("its text belongs to another place"));
    }
    // Opened before the start time is compared: what has the same start time then is what the descriptor stands for.
    let pidfd = process::pidfd_open(text.pid)?;
    if process::start_time_ticks(text.pid) != Some(text.start_time_ticks) {
        return Err(io::Error::other(format!("pid {} is another process by now", text.pid)));
    }
    Ok(Some(HeldLock { text, pidfd }))
}

#[cfg(test)]
mod tests {
    use empery_lifecycle::{
        fleet::{Identity, MasterKey},
        ids::{MasterSerial, VassalName},
    };

    use super::*;
    use crate::keeper::tests::{Room, until};

    fn text_of_this_process(vassal: &str) -> LockText {
        let pid = std::process::id().cast_signed();
        LockText {
            master: MasterKey { vassal: VassalName::new(vassal).unwrap(), berth: Berth::A, serial: MasterSerial(3) },
            pid,
            start_time_ticks: process::start_time_ticks(pid).unwrap(),
            identity: Identity { uid: 0, gid: 0 },
        }
    }

    #[test]
    fn a_held_lock_is_found_and_a_left_one_is_not() {
        let room = Room::new("locks");
        let directory = places::berth(room.path(), &VassalName::new("a.ini").unwrap(), Berth::A);
        std::fs::create_dir_all(&directory.directory).unwrap();
        let mut lock = TakenLock::take(&directory.lock).unwrap().unwrap();
        assert!(TakenLock::take(&directory.lock).unwrap().is_none());
        assert!(held(room.path()).unwrap().is_empty(), "nobody is named yet");
        let text = text_of_this_process("a.ini");
        lock.write(&text).unwrap();
        let found = held(room.path()).unwrap();
        assert_eq!(found.iter().map(|held| &held.text).collect::<Vec<_>>(), [&text]);
        drop(lock);
        until("the lock to be free", || held(room.path()).unwrap().is_empty());
    }

    #[test]
    fn p13_a_text_of_another_place_or_another_process_is_not_believed() {
        let room = Room::new("lying-locks");
        for (vassal, text) in [
            ("a.ini", text_of_this_process("b.ini")),
            ("c.ini", LockText { start_time_ticks: 1, ..text_of_this_process("c.ini") }),
        ] {
            let places = places::berth(room.path(), &VassalName::new(vassal).unwrap(), Berth::A);
            std::fs::create_dir_all(&places.directory).unwrap();
            let mut lock = TakenLock::take(&places.lock).unwrap().unwrap();
            lock.write(&text).unwrap();
            assert!(held(room.path()).unwrap().is_empty(), "{vassal}");
        }
    }
}
