//! Opens certificates and keys that only root may read, for the gateway of a vassal that runs as somebody else. The brain
//! names them, and is not believed: a file is opened only when root itself wrote its name into the vassal file, in a line
//! that is about certificates, and when nobody but root can change where that name leads. Everything else the gateway must
//! be able to open with the vassal's own rights.

use std::{
    ffi::OsString,
    fs::{Metadata, OpenOptions},
    io::Read,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use empery_control::{framing::MAX_MESSAGE_FDS, keeper::FileFacts};
use empery_lifecycle::ids::VassalName;

use super::{desk::Refusal, directory::VassalsDirectory};

/// The options that name certificates.
const OPTIONS: [&str; 7] = ["https", "https2", "https-socket", "suwsgi-socket", "ssl-socket", "sni", "sni-regexp"];

/// Most files that are opened for one vassal; the rest of a message is for sockets.
const FILES_MAX: usize = MAX_MESSAGE_FDS / 2;

/// Most links on the way to a file, as many as the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Longest vassal file that is looked at, in bytes; what is longer is refused by the brain.
const VASSAL_MAX_BYTES: u64 = 1 << 20;

/// Those of `paths` that root vouches for and that can be opened.
///
/// # Errors
/// When the vassal file cannot be read.
pub(super) fn open(
    directory: &VassalsDirectory,
    vassal: &VassalName,
    paths: &[PathBuf],
) -> Result<Vec<(PathBuf, OwnedFd)>, Refusal> {
    if paths.is_empty() || !nix::unistd::geteuid().is_root() {
        return Ok(Vec::new());
    }
    let (facts, file) = directory.open(vassal)?;
    if !is_roots_own(&facts) {
        return Ok(Vec::new());
    }
    let mut content = Vec::new();
    file.take(VASSAL_MAX_BYTES)
        .read_to_end(&mut content)
        .map_err(|error| Refusal::io(format_args!("reading {vassal} for its certificates"), &error))?;
    let content = String::from_utf8_lossy(&content);
    let named: Vec<&str> = named_files(&content).collect();
    let starts_in = directory.sources().working_directory(vassal);
    let is_named = |path: &&PathBuf| named.iter().any(|name| starts_in.join(name) == **path);
    Ok(paths
        .iter()
        .filter(is_named)
        .take(FILES_MAX)
        .filter_map(|path| Some((path.clone(), open_file(path)?)))
        .collect())
}

/// Whether nobody but root can have written it.
fn is_roots_own(facts: &FileFacts) -> bool {
    facts.uid == 0 && facts.mode & 0o022 == 0
}

/// The words of the lines that are about certificates.
fn named_files(content: &str) -> impl Iterator<Item = &str> {
    let about = |line: &str| {
        let (option, value) = line.split_once('=')?;
        OPTIONS.contains(&option.trim()).then_some(value.len())
    };
    let values = content.lines().filter_map(move |line| about(line).map(|length| &line[line.len() - length..]));
    let words = values.flat_map(|value| value.split([',', ' ', '\t', '=']));
    words.map(|word| word.strip_prefix('!').unwrap_or(word)).filter(|word| !word.is_empty())
}

/// None when it is not there, no regular file, or somebody else could have put it there: the gateway opens it or says what
/// is wrong with it.
fn open_file(path: &Path) -> Option<OwnedFd> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(where_root_leads(path)?).ok()?;
    file.metadata().is_ok_and(|facts| facts.is_file()).then(|| file.into())
}

/// Where a path leads, links followed, when each directory, each link and the file itself is root's and nobody else can
/// change it: what was looked at is then what is opened.
fn where_root_leads(path: &Path) -> Option<PathBuf> {
    let names_of =
        |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect::<Vec<OsString>>();
    let (mut reached, mut ahead, mut links) = (PathBuf::new(), names_of(path), 0);
    let mut in_sticky = false;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            reached.pop();
            in_sticky = is_sticky(&std::fs::symlink_metadata(&reached).ok()?);
            continue;
        }
        let next = reached.join(&name);
        let facts = std::fs::symlink_metadata(&next).ok()?;
        // Into a directory like /tmp anybody may link what is root's, but take away nothing of root's.
        if facts.uid() != 0 || in_sticky && !facts.is_dir() && facts.nlink() != 1 {
            return None;
        }
        if facts.is_symlink() {
            links += 1;
            if links > LINKS_MAX {
                return None;
            }
            // An absolute target begins anew: joining the root replaces what was reached.
            ahead.extend(names_of(&std::fs::read_link(&next).ok()?));
            continue;
        }
        in_sticky = facts.is_dir() && is_sticky(&facts);
        if facts.mode() & 0o022 != 0 && !in_sticky {
            return None;
        }
        reached = next;
    }
    reached.is_absolute().then_some(reached)
}

/// Whether others may put names there, but take away none that is not theirs (inode(7)).
fn is_sticky(facts: &Metadata) -> bool {
    facts.mode() & 0o1000 != 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, lchown, symlink};

    use super::*;
    use crate::{keeper::tests::Room, sources::Sources};

    #[test]
    fn only_lines_about_certificates_name_files() {
        let content = "[uwsgi]\nhttps = =0,a.crt,/k/a.key,HIGH,!ca.pem\n sni=b.example b.crt,b.key\nlogto = /var/log/x\n# https = :1,c,d\n";
        let named: Vec<&str> = named_files(content).collect();
        for there in ["a.crt", "/k/a.key", "ca.pem", "b.crt", "b.key"] {
            assert!(named.contains(&there), "{named:?}");
        }
        for absent in ["/var/log/x", "c", "d"] {
            assert!(!named.contains(&absent), "{named:?}");
        }
    }

    #[test]
    fn a_file_is_opened_only_when_root_wrote_its_name_down() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let room = Room::new("tls-files");
        let vassals = room.directory("vassals");
        let (key, other) = (vassals.join("a.key"), vassals.join("other.key"));
        std::fs::write(&key, "").unwrap();
        std::fs::write(&other, "").unwrap();
        std::fs::write(vassals.join("a.ini"), "[uwsgi]\nhttps = :443,a.crt,a.key\nlogto = other.key\n").unwrap();
        let (directory, vassal) =
            (VassalsDirectory::new(Sources::of_directory(vassals.clone()), None), VassalName::new("a.ini").unwrap());
        let opened = || {
            let opened = open(&directory, &vassal, &[key.clone(), other.clone(), vassals.join("a.crt")]).unwrap();
            opened.into_iter().map(|(path, _)| path).collect::<Vec<_>>()
        };
        assert_eq!(opened(), std::slice::from_ref(&key));
        chown(vassals.join("a.ini"), Some(65_534), None).unwrap();
        assert_eq!(opened(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_file_is_opened_only_where_nobody_but_root_decides_where_its_name_leads() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let room = Room::new("tls-links");
        let (secret, own, theirs) = (room.path().join("secret"), room.directory("own"), room.directory("theirs"));
        std::fs::write(&secret, "").unwrap();
        std::fs::write(theirs.join("a.key"), "").unwrap();
        let link = |to: &Path, at: PathBuf| {
            symlink(to, &at).unwrap();
            at
        };
        let of_root = link(&secret, own.join("a.key"));
        let relative = link(Path::new("../own/a.key"), own.join("b.key"));
        let of_user = link(&secret, own.join("c.key"));
        lchown(&of_user, Some(65_534), None).unwrap();
        let circle = link(Path::new("circle"), own.join("circle"));
        let through_user = link(&secret, theirs.join("b.key"));
        chown(&theirs, Some(65_534), None).unwrap();
        assert_eq!(where_root_leads(&of_root).unwrap(), secret);
        assert!(open_file(&secret).is_some() && open_file(&of_root).is_some() && open_file(&relative).is_some());
        let by_directory = link(&theirs, own.join("directory")).join("a.key");
        for path in [of_user, circle, through_user, by_directory, theirs.join("a.key"), theirs.join("../secret")] {
            assert!(open_file(&path).is_none(), "{}", path.display());
        }
        chmod(&own, 0o775);
        assert!(open_file(&of_root).is_none(), "a group may change the directory");
        chmod(&own, 0o1777);
        assert!(open_file(&of_root).is_some(), "others may only add names");
        std::fs::hard_link(&secret, own.join("linked")).unwrap();
        assert!(open_file(&own.join("linked")).is_none(), "others may have linked it");
    }

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
}
