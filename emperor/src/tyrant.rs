//! `emperor-tyrant`: each vassal runs as the owner of its file, whatever the file says. For directories into which others than
//! root write. Set by the emperor's own configuration; the brain follows it, and the keeper does not believe the brain.

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
}
