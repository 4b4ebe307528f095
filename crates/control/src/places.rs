//! Where things of one vassal lie below the runtime and state directories, and which files are vassals'. Names only;
//! nothing is created here.

use std::path::{Path, PathBuf};

use empery_lifecycle::{fleet::Berth, ids::VassalName};

/// The suffixes of vassal files: those of uWSGI's emperor.
pub const SUFFIXES: [&str; 6] = [".ini", ".xml", ".yml", ".yaml", ".json", ".js"];

/// Whether a file of this name is a vassal's. Dotfiles are not; what editors write beside a file (`x.ini~`, `#x.ini#`,
/// `.x.ini.swp`, `x.ini.tmp`) has no suffix that counts.
#[must_use]
pub fn counts(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or_default();
    !name.starts_with('.') && SUFFIXES.iter().any(|suffix| name.len() > suffix.len() && name.ends_with(suffix))
}

/// Longest file-system label of a vassal; a unix socket's whole path has at most 107 bytes (unix(7)).
const LABEL_MAX_BYTES: usize = 40;

/// The vassal's name as a directory name: itself when short and without slashes, else its beginning and a hash of the whole.
#[must_use]
pub fn label(name: &VassalName) -> String {
    let text = name.as_str();
    if text.len() <= LABEL_MAX_BYTES && !text.contains(['~', '/']) {
        return text.to_owned();
    }
    let mut cut = LABEL_MAX_BYTES - 17;
    while !text.is_char_boundary(cut.min(text.len())) {
        cut -= 1;
    }
    let beginning = text[..cut.min(text.len())].replace('/', "-");
    format!("{beginning}~{:016x}", fnv1a(text.as_bytes()))
}

/// FNV-1a, 64 bits: stable across builds, which `DefaultHasher` is not.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Where one master's socket and lock lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BerthPlaces {
    /// The directory: `RUNTIME/vassals/LABEL/BERTH`.
    pub directory: PathBuf,
    /// The link: a listening `SOCK_SEQPACKET` socket that the keeper binds and the master serves.
    pub link: PathBuf,
    /// The lock: held (flock, exclusive) by the keeper's child as long as it lives; its text is [`crate::keeper::LockText`] as JSON.
    pub lock: PathBuf,
}

/// The places of one master.
#[must_use]
pub fn berth(runtime: &Path, name: &VassalName, berth: Berth) -> BerthPlaces {
    berth_in(&vassals(runtime).join(label(name)), berth)
}

/// The same below a vassal's own directory.
#[must_use]
pub fn berth_in(directory: &Path, berth: Berth) -> BerthPlaces {
    let directory = directory.join(berth.as_str());
    BerthPlaces { link: directory.join("link"), lock: directory.join("lock"), directory }
}

/// The directory that holds every vassal's.
#[must_use]
pub fn vassals(runtime: &Path) -> PathBuf {
    runtime.join("vassals")
}

/// The file that says, as a number, whose the brain is: masters that an earlier emperor started read it.
#[must_use]
pub fn brain_uid(runtime: &Path) -> PathBuf {
    vassals(runtime).join(".brain-uid")
}

/// The directory of a vassal's log files below the state directory; `current.log` is the one being written.
#[must_use]
pub fn logs(state: &Path, name: &VassalName) -> PathBuf {
    state.join("logs").join(label(name))
}

/// The file in [`logs`] that is being written.
pub const CURRENT_LOG: &str = "current.log";

/// The emperor's own control socket (HTTP, peer credentials checked).
#[must_use]
pub fn control_socket(runtime: &Path) -> PathBuf {
    runtime.join("emperor.sock")
}

/// The emperor's own lock: one emperor per runtime directory.
#[must_use]
pub fn emperor_lock(runtime: &Path) -> PathBuf {
    runtime.join("emperor.lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_its_own_label_and_a_long_one_gets_a_hash() {
        let short = VassalName::new("shop.ini").unwrap();
        assert_eq!(label(&short), "shop.ini");
        let long = VassalName::new("ä".repeat(120)).unwrap();
        assert!(label(&long).len() <= LABEL_MAX_BYTES);
        assert_ne!(label(&long), label(&VassalName::new("ä".repeat(121)).unwrap()));
    }

    #[test]
    fn the_files_that_count_are_those_of_uwsgi_and_no_editors_or_dotfiles() {
        for name in ["a.ini", "a.xml", "a.yml", "a.yaml", "a.json", "a.js", "-rf.ini", "<b>.ini"] {
            assert!(counts(name), "{name}");
        }
        for name in [".ini", ".a.ini", ".#a.ini", "#a.ini#", "a.ini~", ".a.ini.swp", "a.ini.tmp", "a.conf", "a", ""] {
            assert!(!counts(name), "{name}");
        }
    }

    #[test]
    fn a_name_that_looks_like_a_hashed_label_cannot_take_its_place() {
        let long = VassalName::new("x".repeat(100)).unwrap();
        let posing = VassalName::new(label(&long)).unwrap();
        assert_ne!(label(&long), label(&posing));
    }
}
