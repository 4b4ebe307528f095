//! The emperor's directories and its own lock. Root owns what the keeper works in, so that neither the brain nor a
//! vassal can swap it for something else; both only pass through.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io::{self, Read, Seek, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use empery_control::places;
use empery_lifecycle::{
    fleet::{Berth, Identity},
    ids::VassalName,
};
use empery_sys::{lock, spawn::DropTo};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, Flock, FlockArg},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{fchownat, geteuid},
};

use super::{Settings, successor};

/// Everybody may pass through, nobody may look.
pub(super) const PASSAGE: u32 = 0o711;

/// A directory of logs: its group reads, and has what is made there.
const LOGS: u32 = 0o2750;

/// Most descriptors the keeper asks for: five or so for each of ten thousand vassals.
const DESCRIPTORS_MAX: u64 = 65_536;

/// The directories, held while the emperor runs.
#[derive(Debug)]
pub(super) struct Rooms {
    lock: OwnedFd,
    /// Of the vassals directories themselves: two emperors with different runtime directories must not share it. Held for as
    /// long as this value lives.
    _vassals: Vec<Option<Flock<File>>>,
}

impl Rooms {
    /// Makes what is missing and takes the lock.
    ///
    /// # Errors
    /// When a directory belongs to somebody else, or another emperor has the lock.
    pub(super) fn take(settings: &Settings, brain: Option<&DropTo>) -> anyhow::Result<Self> {
        let (runtime, state) = (&settings.runtime, &settings.state);
        // The brain puts its control socket, its database and its token there. The sticky bit keeps what is root's from it.
        let (mode, group) = match brain {
            Some(brain) => (0o1771, Some(brain.gid)),
            None => (0o711, None),
        };
        for (path, mode, group) in [
            (runtime.clone(), mode | 0o044, group),
            (places::vassals(runtime), PASSAGE, None),
            (state.clone(), mode, group),
            (state.join("logs"), PASSAGE, None),
        ] {
            own_directory(&path, mode, group).with_context(|| format!("preparing the directory {}", path.display()))?;
        }
        let path = places::emperor_lock(runtime);
        let lock = take_lock(&path, &settings.sources).with_context(|| format!("locking {}", path.display()))?;
        let vassals = settings.sources.roots().into_iter().map(watch_alone).collect::<Result<_, _>>()?;
        clear_control_socket(&places::control_socket(runtime));
        if let Some(brain) = brain {
            hand_over(state, brain)
                .with_context(|| format!("giving the brain's files in {} to it", state.display()))?;
        }
        if geteuid().is_root() {
            let group = brain.map_or(0, |brain| brain.gid);
            regroup_logs(&state.join("logs"), group).context("giving the vassals' logs to the brain's group")?;
        }
        Ok(Self { lock, _vassals: vassals })
    }

    /// The locked file.
    pub(super) fn lock(&self) -> &OwnedFd {
        &self.lock
    }
}

/// Writes down whose the brain is, for masters that were started while it was somebody else's.
///
/// # Errors
/// When the runtime directory cannot be written.
pub(super) fn name_brain(runtime: &Path, brain: Identity) -> io::Result<()> {
    let path = places::brain_uid(runtime);
    let new = path.with_extension("new");
    fs::write(&new, format!("{}\n", brain.uid))?;
    fs::set_permissions(&new, Permissions::from_mode(0o644))?;
    fs::rename(new, path)
}

/// Makes a directory that only we (or root) can change, with this mode and group.
///
/// # Errors
/// When it is something else than a directory, or somebody else's.
pub(super) fn own_directory(path: &Path, mode: u32, group: Option<u32>) -> io::Result<File> {
    let made = match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
            }
            DirBuilder::new().mode(0o700).create(path)?;
            true
        }
        Err(error) => return Err(error),
    };
    // A directory behind a link that somebody else put there is not ours.
    let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)?;
    let own = geteuid();
    if own.is_root() {
        fchown(&directory, Some(0), Some(group.unwrap_or(0)))?;
    } else if directory.metadata()?.uid() != own.as_raw() {
        let sentence = "it belongs to another user: name another directory, or remove it";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, sentence));
    }
    // Without root everything is one user's: how open it left its directories is its own affair.
    if made || own.is_root() {
        directory.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(directory)
}

/// Removes the control socket of a brain that is gone: in a sticky directory its successor of another user could not.
fn clear_control_socket(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::warn!("{} stays: {error}", path.display()),
        Ok(()) | Err(_) => {}
    }
}

/// Gives the files right in the state directory (the database, the token) to the brain: it may have had another user
/// before. Only root and the brain can have put them there.
fn hand_over(state: &Path, brain: &DropTo) -> io::Result<()> {
    for entry in fs::read_dir(state)? {
        let entry = entry?;
        give_file(&entry.path(), brain.uid, brain.gid, |_| true)?;
    }
    Ok(())
}

/// Gives a regular file away when `may` agrees to what it is. Follows no link, opens nothing that would wait or act,
/// and leaves a file of two names alone: the other may be somebody else's (link(2)).
fn give_file(path: &Path, uid: u32, gid: u32, may: impl Fn(&Metadata) -> bool) -> io::Result<()> {
    // O_PATH opens no content (open(2)), so neither a FIFO nor a device notices.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let facts = file.metadata()?;
    let right = facts.uid() == uid && facts.gid() == gid;
    if !facts.is_file() || facts.nlink() != 1 || right || !may(&facts) {
        return Ok(());
    }
    fchownat(file, "", Some(uid.into()), Some(gid.into()), AtFlags::AT_EMPTY_PATH)?;
    Ok(())
}

fn take_lock(path: &Path, watched: &dyn std::fmt::Display) -> anyhow::Result<OwnedFd> {
    if let Some(inherited) = successor::inherited_lock(path) {
        return Ok(inherited);
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(path)?;
    if !lock::try_exclusive(file.as_fd())? {
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let holder = text.lines().next().filter(|holder| !holder.is_empty()).unwrap_or("it has just started");
        if holder_lives(holder) {
            bail!(
                "another emperor runs here ({holder}): stop it (`kill -TERM` and that pid; its vassals are stopped, too), or \
                 name another runtime directory"
            );
        }
        // A child it was just starting still has the lock, and ends because its parent has.
        tracing::info!("waiting for the last child of an emperor that is gone ({holder})");
        lock::wait_exclusive(file.as_fd())?;
        file.rewind()?;
    }
    file.set_len(0)?;
    let pid = std::process::id().cast_signed();
    writeln!(file, "pid {pid}, watching {watched}")?;
    Ok(file.into())
}

/// Takes the vassals directory for this emperor alone. None where it cannot be locked (some network file systems), or
/// where somebody without a say holds it: whoever may read a directory may lock it (flock(2)).
///
/// # Errors
/// When another emperor watches it.
fn watch_alone(vassals: &Path) -> anyhow::Result<Option<Flock<File>>> {
    let open = || OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(vassals);
    let directory = open().with_context(|| format!("opening the vassals directory {}", vassals.display()))?;
    let facts = directory.metadata()?;
    match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Some(held)),
        Err((directory, Errno::EWOULDBLOCK)) => {
            let holder = holder_of(&facts);
            let owner = holder.and_then(|pid| Some((pid, fs::metadata(format!("/proc/{pid}")).ok()?.uid())));
            let directory_name = vassals.display();
            match (holder, owner) {
                (_, Some((pid, uid))) if uid == 0 || uid == geteuid().as_raw() => bail!(
                    "another emperor watches {directory_name} (pid {pid}): stop it (`kill -TERM {pid}`; its vassals are \
                     stopped, too), or name another vassals directory"
                ),
                (_, Some((pid, uid))) => {
                    tracing::warn!("pid {pid} of uid {uid} has locked {directory_name}: gone on without the lock");
                    Ok(None)
                }
                // It has ended: a child it was just starting still has the lock, and ends because its parent has.
                (Some(_), None) => match Flock::lock(directory, FlockArg::LockExclusive) {
                    Ok(held) => Ok(Some(held)),
                    Err((_, error)) => Err(error).with_context(|| format!("locking {directory_name}")),
                },
                (None, None) => {
                    bail!("another emperor watches {directory_name}: stop it, or name another vassals directory")
                }
            }
        }
        Err((_, error)) => {
            tracing::warn!("{} cannot be locked, so a second emperor there is not noticed: {error}", vassals.display());
            Ok(None)
        }
    }
}

/// The process that locked this file, as /proc/locks says (proc(5)): `1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF`.
fn holder_of(facts: &Metadata) -> Option<i32> {
    let inode = facts.ino().to_string();
    let device = format!("{:02x}:{:02x}", nix::sys::stat::major(facts.dev()), nix::sys::stat::minor(facts.dev()));
    let text = fs::read_to_string("/proc/locks").ok()?;
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "FLOCK").skip(3);
        let pid = words.next()?.parse().ok()?;
        let (on, number) = words.next()?.rsplit_once(':')?;
        (on == device && number == inode).then_some(pid)
    })
}

/// Whether the process that the lock's text names is there. A text that names none is believed to be of a living one.
fn holder_lives(holder: &str) -> bool {
    let pid = holder.strip_prefix("pid ").and_then(|rest| rest.split(',').next()?.parse::<i32>().ok());
    pid.is_none_or(|pid| Path::new(&format!("/proc/{pid}")).exists())
}

/// Opens a place for as many descriptors as a large fleet needs, where the system lets us.
pub(super) fn allow_many_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = hard.min(DESCRIPTORS_MAX).max(soft);
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    });
    if let Err(error) = raised {
        tracing::warn!("the limit of open files could not be raised: {error}");
    }
}

/// The directory of a vassal's log files: the vassal's own, readable for the brain's group.
///
/// # Errors
/// When it cannot be made.
pub(super) fn log_directory(path: &Path, uid: u32, brain_gid: u32) -> io::Result<PathBuf> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)?;
    if geteuid().is_root() {
        give_logs(&directory, uid, brain_gid)?;
        fchown(&directory, Some(uid), Some(brain_gid))?;
        share_with_group(&directory, path)?;
    }
    Ok(path.to_owned())
}

/// Set-group-id: what the vassal writes there belongs to the brain's group, which reads it. Without CAP_FSETID the bit is lost
/// silently where the group is none of ours (chmod(2)).
fn share_with_group(directory: &File, path: &Path) -> io::Result<()> {
    directory.set_permissions(Permissions::from_mode(LOGS))?;
    if directory.metadata()?.mode() & 0o7777 != LOGS {
        tracing::warn!(
            path = %path.display(),
            "the logs there cannot be shown: the emperor lacks CAP_FSETID, so their group stays the vassal's (a unit must \
             allow it in CapabilityBoundingSet=)"
        );
    }
    Ok(())
}

/// Gives the files of a log directory to another user, so that its next master can go on with them. Only those of the
/// user who has the directory now: whatever else lies there, that user may have moved in from elsewhere.
fn give_logs(directory: &File, uid: u32, gid: u32) -> io::Result<()> {
    let owner = directory.metadata()?.uid();
    // The descriptor's own path: the directory cannot be swapped for another behind it.
    let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    for entry in fs::read_dir(&path)? {
        give_file(&path.join(entry?.file_name()), uid, gid, |facts| facts.uid() == owner)?;
    }
    Ok(())
}

/// The brain may have another group than the one before it had: it is to go on reading the logs.
fn regroup_logs(logs: &Path, gid: u32) -> io::Result<()> {
    for entry in fs::read_dir(logs)? {
        let path = entry?.path();
        let open = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(&path);
        let Ok(directory) = open else { continue };
        let facts = directory.metadata()?;
        if facts.gid() != gid {
            give_logs(&directory, facts.uid(), gid)?;
            fchown(&directory, None, Some(gid))?;
            share_with_group(&directory, &path)?;
        }
    }
    Ok(())
}

/// Takes away what is left of a vassal that has no master any more. What is locked or unexpected stays.
pub(super) fn clear_places(runtime: &Path, vassal: &VassalName) {
    clear(&places::vassals(runtime).join(places::label(vassal)));
}

/// The same of every vassal.
pub(super) fn clear_all_places(runtime: &Path) {
    match fs::read_dir(places::vassals(runtime)) {
        Ok(entries) => entries.flatten().for_each(|entry| clear(&entry.path())),
        Err(error) => tracing::warn!("workers without a master may not hear of the stop: {error}"),
    }
}

fn clear(directory: &Path) {
    for berth in [Berth::A, Berth::B] {
        let places = places::berth_in(directory, berth);
        let Ok(held) = File::open(&places.lock) else { continue };
        if !matches!(lock::try_exclusive(held.as_fd()), Ok(true)) {
            return;
        }
        // Names that are missing already, or a directory that is not empty, are no harm.
        for file in [&places.link, &places.lock] {
            let _ = fs::remove_file(file);
        }
        let _ = fs::remove_dir(&places.directory);
    }
    let _ = fs::remove_dir(directory);
}

/// Whether only root can change what this path leads to: it, and every directory above, is root's and nobody else's to
/// write.
pub(super) fn is_roots_alone(directory: &Path) -> bool {
    directory.is_absolute()
        && directory.ancestors().all(|part| {
            fs::symlink_metadata(part)
                .is_ok_and(|facts| facts.is_dir() && facts.uid() == 0 && facts.mode() & 0o022 == 0)
        })
}

/// Clears close-on-exec of the lock, for a successor that takes it over.
///
/// # Errors
/// fcntl(2).
pub(super) fn pass_on(lock: &OwnedFd) -> nix::Result<i32> {
    nix::fcntl::fcntl(lock, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))?;
    Ok(lock.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::tests::{Room, until};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_directory_is_made_ours_and_a_link_in_its_place_is_refused() {
        let room = Room::new("rooms");
        let deep = room.path().join("a/b");
        own_directory(&deep, 0o711, None).unwrap();
        assert_eq!(mode(&deep), 0o711);
        own_directory(&deep, 0o711, None).unwrap();
        let link = room.path().join("link");
        std::os::unix::fs::symlink(&deep, &link).unwrap();
        assert!(own_directory(&link, 0o711, None).is_err());
    }

    #[test]
    fn a_second_emperor_is_refused_with_the_pid_and_directory_of_the_first() {
        let room = Room::new("emperor-lock");
        let path = room.path().join("emperor.lock");
        let first = take_lock(&path, &"/etc/vassals").unwrap();
        let error = take_lock(&path, &"/other").unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}, watching /etc/vassals", std::process::id())), "{error}");
        drop(first);
        until("the lock to be free", || take_lock(&path, &"/other").is_ok());
    }

    #[test]
    fn the_log_directory_is_the_vassals_and_the_brains_group_reads_it() {
        if !geteuid().is_root() {
            return;
        }
        let room = Room::new("logs");
        let path = room.path().join("a.ini");
        log_directory(&path, 65_534, 33).unwrap();
        log_directory(&path, 1000, 33).unwrap();
        let facts = fs::metadata(&path).unwrap();
        assert_eq!((facts.uid(), facts.gid(), facts.mode() & 0o7777), (1000, 33, 0o2750));
    }

    #[test]
    fn log_files_follow_the_vassals_user_and_nothing_that_was_moved_in_does() {
        if !geteuid().is_root() {
            return;
        }
        let room = Room::new("log-files");
        let path = room.path().join("a.ini");
        log_directory(&path, 65_534, 33).unwrap();
        for (name, owner) in [("current.log", 65_534), ("moved-in", 0), ("two-names", 65_534)] {
            fs::write(path.join(name), "").unwrap();
            std::os::unix::fs::chown(path.join(name), Some(owner), Some(33)).unwrap();
        }
        let outside = room.path().join("outside");
        fs::write(&outside, "").unwrap();
        std::os::unix::fs::chown(&outside, Some(65_534), None).unwrap();
        std::os::unix::fs::symlink(&outside, path.join("link")).unwrap();
        fs::hard_link(path.join("two-names"), room.path().join("second")).unwrap();
        log_directory(&path, 1000, 34).unwrap();
        let owner = |path: &Path| fs::metadata(path).map(|facts| (facts.uid(), facts.gid())).unwrap();
        assert_eq!(owner(&path.join("current.log")), (1000, 34));
        assert_eq!(owner(&path.join("moved-in")).0, 0);
        assert_eq!(owner(&path.join("two-names")).0, 65_534);
        assert_eq!(owner(&outside).0, 65_534);

        regroup_logs(room.path(), 35).unwrap();
        assert_eq!((owner(&path), owner(&path.join("current.log"))), ((1000, 35), (1000, 35)));
        assert_eq!(mode(&path), 0o2750);
    }

    #[test]
    fn a_second_emperor_on_the_same_vassals_directory_is_refused_with_the_pid_of_the_first() {
        let room = Room::new("one-directory");
        let first = watch_alone(room.path()).unwrap();
        assert!(first.is_some());
        let error = watch_alone(room.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        until("the directory to be free", || watch_alone(room.path()).is_ok());
    }

    #[test]
    fn the_places_of_a_forgotten_vassal_go_unless_a_master_has_their_lock() {
        use crate::keeper::locks::TakenLock;
        let room = Room::new("places");
        let vassal = VassalName::new("a.ini").unwrap();
        let places = places::berth(room.path(), &vassal, Berth::B);
        fs::create_dir_all(&places.directory).unwrap();
        let lock = TakenLock::take(&places.lock).unwrap();
        clear_places(room.path(), &vassal);
        assert!(places.lock.exists());
        drop(lock);
        let gone = || {
            clear_places(room.path(), &vassal);
            !places::vassals(room.path()).join("a.ini").exists()
        };
        until("the places to be gone", gone);
    }

    #[test]
    fn the_brains_files_follow_its_user_and_nothing_else_does() {
        if !geteuid().is_root() {
            return;
        }
        let room = Room::new("hand-over");
        for name in ["state.db", "linked"] {
            fs::write(room.path().join(name), "").unwrap();
        }
        fs::hard_link(room.path().join("linked"), room.path().join("second-name")).unwrap();
        let logs = room.directory("logs");
        let brain = DropTo { uid: 33, gid: 33, user: None, groups: Vec::new() };
        hand_over(room.path(), &brain).unwrap();
        assert_eq!(fs::metadata(room.path().join("state.db")).unwrap().uid(), 33);
        assert_eq!(fs::metadata(room.path().join("linked")).unwrap().uid(), 0);
        assert_eq!(fs::metadata(logs).unwrap().uid(), 0);
    }

    #[test]
    fn a_directory_below_one_that_others_can_write_is_not_roots_alone() {
        let room = Room::new("alone");
        assert!(!is_roots_alone(room.path()), "below /tmp");
        assert!(!is_roots_alone(Path::new("relative")));
        assert!(is_roots_alone(Path::new("/")) || !geteuid().is_root());
    }
}
