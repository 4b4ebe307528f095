//! `emperor-tyrant`: each vassal runs as the owner of its file, whatever the file says. For directories into which others than
//! root write. Set by the emperor's own configuration; the brain follows it, and the keeper does not believe the brain.

use std::os::unix::fs::MetadataExt;

use empery_control::keeper::FileFacts;
use empery_lifecycle::fleet::Identity;
use serde::Deserialize;

/// What was typed or written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct TyrantOptions {
    /// Run each vassal as the owner and the group of its file; a file of root's runs not at all
    #[arg(id = "emperor-tyrant", long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    enabled: Option<bool>,
    /// With --emperor-tyrant: with the supplementary groups of that user, else with none
    #[arg(id = "emperor-tyrant-initgroups", long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    initgroups: Option<bool>,
    /// With --emperor-tyrant: the owner of a symbolic link counts, not that of the file behind it
    #[arg(id = "emperor-tyrant-nofollow", long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    nofollow: Option<bool>,
}

/// How owners rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tyrant {
    /// Whether a vassal has the supplementary groups of its user.
    pub(crate) initgroups: bool,
    /// Whether the owner of a link counts.
    pub(crate) nofollow: bool,
}

impl TyrantOptions {
    /// Those typed, or where one was not typed that of the configuration file.
    pub(crate) fn or(self, file: TyrantOptions) -> TyrantOptions {
        TyrantOptions {
            enabled: self.enabled.or(file.enabled),
            initgroups: self.initgroups.or(file.initgroups),
            nofollow: self.nofollow.or(file.nofollow),
        }
    }

    /// None when it is off: the others alone switch nothing on, as in uWSGI.
    pub(crate) fn tyrant(self) -> Option<Tyrant> {
        let is_on = |said: Option<bool>| said.unwrap_or(false);
        is_on(self.enabled).then(|| Tyrant { initgroups: is_on(self.initgroups), nofollow: is_on(self.nofollow) })
    }

    /// As arguments that clap reads back.
    pub(crate) fn to_args(self) -> impl Iterator<Item = std::ffi::OsString> {
        let all = [
            ("emperor-tyrant", self.enabled),
            ("emperor-tyrant-initgroups", self.initgroups),
            ("emperor-tyrant-nofollow", self.nofollow),
        ];
        all.into_iter().filter_map(|(name, said)| Some(format!("--{name}={}", said?).into()))
    }
}

/// Who a file's owner is.
pub(crate) fn owner(facts: &FileFacts) -> Identity {
    Identity { uid: facts.uid, gid: facts.gid }
}

/// Whether a file of this owner may run at all.
///
/// # Errors
/// One sentence: root's files do not (core/emperor.c, `emperor_add`).
pub(crate) fn may_run(Identity { uid, gid }: Identity) -> Result<(), String> {
    if uid == 0 || gid == 0 {
        return Err(format!(
            "its file belongs to uid {uid}, gid {gid}, and this emperor runs every vassal as the owner of its file, but none as root"
        ));
    }
    Ok(())
}

/// Whether a file's group may be the group of its owner's processes: `groups` are the owner's by the user database.
///
/// # Errors
/// One sentence. A file takes on a directory's group with set-group-id (inode(7)), so the group alone proves nothing; and the
/// brain's reads the logs of every vassal.
pub(crate) fn may_have_group(owner: Identity, primary: u32, groups: &[u32], brain_gid: u32) -> Result<(), String> {
    let Identity { uid, gid } = owner;
    if gid == primary {
        return Ok(());
    }
    if !groups.contains(&gid) {
        return Err(format!("its group is gid {gid}, to which its owner, uid {uid}, does not belong"));
    }
    if gid == brain_gid {
        return Err(format!("its group is gid {gid}, which is the emperor's own"));
    }
    Ok(())
}

/// Whether a directory that a pattern has found is its owner's, or root's, to put files into: another's could lead elsewhere.
///
/// # Errors
/// One sentence.
pub(crate) fn is_the_owners_place(owner: Identity, directory: &std::fs::Metadata) -> Result<(), String> {
    if directory.is_symlink() {
        return Err("it is a symbolic link: name the directory itself".to_owned());
    }
    if ![0, owner.uid].contains(&directory.uid()) {
        return Err(format!("it belongs to uid {}, and the file in it to uid {}", directory.uid(), owner.uid));
    }
    if directory.mode() & 0o022 != 0 {
        return Err(format!("others than its owner may write into it (mode {:04o})", directory.mode() & 0o7777));
    }
    Ok(())
}

/// What else of a file counts, by fstat(2) of what was opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    /// st_mode.
    pub(crate) mode: u32,
    /// st_nlink.
    pub(crate) names: u64,
}

/// Whether a file is its owner's word: nobody else can write it, and nobody else gave it its name.
///
/// # Errors
/// One sentence.
pub(crate) fn is_the_owners_word(Held { mode, names }: Held) -> Result<(), String> {
    if mode & 0o022 != 0 {
        return Err(format!(
            "others than its owner may write it (mode {:04o}), and it would run as its owner: `chmod go-w` it",
            mode & 0o7777
        ));
    }
    if names > 1 {
        return Err(format!("it has {names} names (hard links), and somebody else may have made this one: copy it"));
    }
    Ok(())
}

/// Whether a symbolic link to a file of this owner's counts: whoever makes one must not say what runs as somebody else.
///
/// # Errors
/// One sentence.
pub(crate) fn may_link(link_uid: u32, owner: Identity) -> Result<(), String> {
    if link_uid == 0 || link_uid == owner.uid {
        return Ok(());
    }
    Err(format!(
        "it is a symbolic link of uid {link_uid} to a file of uid {}: only root and the file's own owner may link to it",
        owner.uid
    ))
}

/// Whose an earlier content of a file is, when it is still his who wrote it.
///
/// # Errors
/// One sentence: what one user wrote does not run as another.
pub(crate) fn same_owner(then: Option<Identity>, now: Option<Identity>) -> Result<Identity, String> {
    match (then, now) {
        (Some(then), Some(now)) if then == now => Ok(then),
        (Some(then), Some(now)) => Err(format!(
            "its file belonged to uid {}, gid {} then and belongs to uid {}, gid {} now",
            then.uid, then.gid, now.uid, now.gid
        )),
        (None, _) => Err("whose its file was then is not known".to_owned()),
        (_, None) => Err("whose its file is now is not known".to_owned()),
    }
}

/// Whether a user may read a file or list a directory, by its owner and its mode; of groups nothing is believed.
pub(crate) fn may_read(who: Identity, uid: u32, mode: u32) -> bool {
    uid == who.uid || mode & 0o004 != 0
}

/// Whether a user may pass through a directory.
pub(crate) fn may_pass(who: Identity, uid: u32, mode: u32) -> bool {
    uid == who.uid || mode & 0o001 != 0
}

/// As uWSGI reads a boolean; an option without a value is on.
fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "" | "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("expected `true` or `false`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_comes_back_from_its_arguments() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            tyrant: TyrantOptions,
        }
        let read = |words: &[&str]| {
            let words = std::iter::once("emperor").chain(words.iter().copied());
            <Line as clap::Parser>::try_parse_from(words).map(|line| line.tyrant)
        };
        let typed =
            read(&["--emperor-tyrant", "--emperor-tyrant-nofollow=yes", "--emperor-tyrant-initgroups=0"]).unwrap();
        assert_eq!(typed.tyrant(), Some(Tyrant { initgroups: false, nofollow: true }));
        let args: Vec<String> = typed.to_args().map(|word| word.into_string().unwrap()).collect();
        assert_eq!(read(&args.iter().map(String::as_str).collect::<Vec<_>>()).unwrap(), typed);
        assert_eq!(read(&["--emperor-tyrant="]).unwrap().tyrant().map(|tyrant| tyrant.nofollow), Some(false));
        assert_eq!(read(&["--emperor-tyrant-nofollow"]).unwrap().tyrant(), None);
        assert!(read(&["--emperor-tyrant=maybe"]).is_err());
    }

    #[test]
    fn c19_a_file_of_root_s_does_not_run() {
        assert!(may_run(Identity { uid: 0, gid: 1000 }).is_err());
        assert!(may_run(Identity { uid: 1000, gid: 0 }).is_err());
        assert_eq!(may_run(Identity { uid: 1000, gid: 1000 }), Ok(()));
    }

    #[test]
    fn c19_a_group_counts_that_the_owner_belongs_to_and_never_the_brain_s() {
        let owner = |gid| Identity { uid: 1000, gid };
        assert_eq!(may_have_group(owner(1000), 1000, &[], 33), Ok(()));
        assert_eq!(may_have_group(owner(50), 1000, &[1000, 50], 33), Ok(()));
        assert!(may_have_group(owner(42), 1000, &[1000, 50], 33).unwrap_err().contains("gid 42"));
        assert!(may_have_group(owner(33), 1000, &[1000, 33], 33).unwrap_err().contains("the emperor's own"));
        assert_eq!(may_have_group(owner(33), 33, &[33], 33), Ok(()), "his own primary group");
    }

    #[test]
    fn c19_a_file_is_its_owner_s_word_when_nobody_else_writes_or_names_it() {
        let word = |mode, names| is_the_owners_word(Held { mode, names });
        assert_eq!(word(0o100_644, 1), Ok(()));
        assert!(word(0o100_664, 1).unwrap_err().contains("mode 0664"));
        assert!(word(0o100_602, 1).is_err());
        assert!(word(0o100_600, 2).unwrap_err().contains("2 names"));
    }

    #[test]
    fn c19_a_link_counts_that_root_or_the_file_s_owner_made() {
        let bob = Identity { uid: 1001, gid: 1001 };
        assert_eq!((may_link(0, bob), may_link(1001, bob)), (Ok(()), Ok(())));
        assert!(may_link(1000, bob).unwrap_err().contains("uid 1000 to a file of uid 1001"));
    }

    #[test]
    fn c19_an_earlier_content_runs_only_as_who_wrote_it() {
        let (alice, bob) = (Identity { uid: 1000, gid: 1000 }, Identity { uid: 1001, gid: 1001 });
        assert_eq!(same_owner(Some(alice), Some(alice)), Ok(alice));
        assert!(same_owner(Some(alice), Some(bob)).unwrap_err().contains("uid 1001, gid 1001 now"));
        assert!(same_owner(None, Some(bob)).is_err() && same_owner(Some(alice), None).is_err());
    }

    #[test]
    fn c19_a_file_is_readable_for_its_owner_and_for_all_when_it_says_so() {
        let alice = Identity { uid: 1000, gid: 1000 };
        assert!(may_read(alice, 1000, 0o600) && may_read(alice, 0, 0o644));
        assert!(!may_read(alice, 0, 0o640) && !may_read(alice, 33, 0o400));
        assert!(may_pass(alice, 0, 0o711) && !may_pass(alice, 0, 0o700) && may_pass(alice, 1000, 0o700));
    }
}
