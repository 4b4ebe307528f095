//! Who may be whom: the policy for masters that the brain cannot talk the keeper out of, and the brain's own user.

use empery_lifecycle::fleet::Identity;
use empery_sys::{identity, spawn::DropTo};
use nix::unistd::{getegid, geteuid};

/// Who masters may be. Set by root's command line, not by vassal files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UidPolicy {
    /// Whether a vassal may run as root (a file without `uid` under a root emperor does).
    pub(crate) allow_root: bool,
    /// The smallest uid besides root's.
    pub(crate) min_uid: u32,
}

impl Default for UidPolicy {
    fn default() -> Self {
        Self { allow_root: true, min_uid: 0 }
    }
}

impl UidPolicy {
    /// Whether this keeper may start something as `wanted`.
    ///
    /// # Errors
    /// One sentence that says why not.
    pub(super) fn check(self, wanted: Identity) -> Result<(), String> {
        let own = Identity { uid: geteuid().as_raw(), gid: getegid().as_raw() };
        self.check_as(own, wanted)
    }

    /// Whether a master may have these supplementary groups (`add-gid`).
    ///
    /// # Errors
    /// One sentence that says why not.
    pub(super) fn check_groups(self, groups: &[u32]) -> Result<(), String> {
        if !self.allow_root && groups.contains(&0) {
            return Err("gid 0 is not allowed as an additional group: this emperor starts no vassal as root".to_owned());
        }
        Ok(())
    }

    fn check_as(self, own: Identity, Identity { uid, gid }: Identity) -> Result<(), String> {
        if own.uid != 0 && (own.uid, own.gid) != (uid, gid) {
            let Identity { uid: own_uid, gid: own_gid } = own;
            return Err(format!(
                "uid {uid} gid {gid} is not possible: the emperor runs as uid {own_uid} gid {own_gid}; start it as root, or leave uid and gid out"
            ));
        }
        if (uid == 0 || gid == 0) && own.uid == 0 && !self.allow_root {
            return Err(format!(
                "uid {uid} gid {gid} is not allowed: this emperor starts no vassal as root; set uid and gid"
            ));
        }
        if uid != 0 && uid < self.min_uid {
            return Err(format!("uid {uid} is not allowed: this emperor starts vassals from uid {} on", self.min_uid));
        }
        Ok(())
    }
}

/// Who the brain is to become; None when it stays who the keeper is.
///
/// # Errors
/// When the users cannot be read.
pub(super) fn brain_identity(user: Option<&str>) -> anyhow::Result<Option<DropTo>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let Some(user) = user else {
        tracing::warn!("the brain runs as root: name another user with --user");
        return Ok(None);
    };
    match identity::user(user) {
        Ok(found) if found.uid == 0 => Ok(None),
        Ok(found) => Ok(Some(DropTo { uid: found.uid, gid: found.gid, user: found.name, groups: Vec::new() })),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::warn!("the brain runs as root: {error}");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Identity = Identity { uid: 0, gid: 0 };
    const USER: Identity = Identity { uid: 1000, gid: 1000 };

    #[test]
    fn root_may_start_anybody_the_policy_allows() {
        let open = UidPolicy::default();
        assert_eq!(open.check_as(ROOT, ROOT), Ok(()));
        assert_eq!(open.check_as(ROOT, USER), Ok(()));
        let strict = UidPolicy { allow_root: false, min_uid: 1000 };
        assert!(strict.check_as(ROOT, ROOT).is_err());
        assert!(strict.check_groups(&[33, 0]).is_err());
        assert!(strict.check_groups(&[33]).is_ok() && open.check_groups(&[0]).is_ok());
        assert!(strict.check_as(ROOT, Identity { uid: 1000, gid: 0 }).is_err());
        assert!(strict.check_as(ROOT, Identity { uid: 33, gid: 33 }).unwrap_err().contains("from uid 1000 on"));
        assert_eq!(strict.check_as(ROOT, USER), Ok(()));
    }

    #[test]
    fn without_root_everybody_is_who_the_emperor_is() {
        let open = UidPolicy::default();
        assert_eq!(open.check_as(USER, USER), Ok(()));
        assert!(open.check_as(USER, ROOT).unwrap_err().contains("start it as root"));
        assert!(open.check_as(USER, Identity { uid: 1000, gid: 4 }).is_err());
    }
}
