//! Binds listening sockets: TCP with the keeper's rights (port 80), unix paths with the vassal's own identity, so that
//! no vassal can have root make or remove something where it could not itself.

use std::{io, os::fd::OwnedFd, path::Path};

use empery_control::keeper::{ListenAddress, ListenSpec};
use empery_lifecycle::fleet::Identity;
use empery_sys::{
    identity::while_being,
    listen::{self, BindError, SocketFile},
    spawn::DropTo,
};
use nix::unistd::geteuid;

use super::rooms::is_roots_alone;

/// Binds and listens.
///
/// # Errors
/// When the address is taken, not allowed, or not there.
pub(super) fn bind(spec: &ListenSpec, identity: Identity) -> Result<(OwnedFd, ListenAddress), BindError> {
    let ListenAddress::Unix(path) = &spec.address else { return listen::bind(spec) };
    if !geteuid().is_root() || identity.uid == 0 {
        return listen::bind(spec);
    }
    let failed = |source| BindError::Failed { address: spec.key.clone(), source };
    // Only root may give a file away, so that comes last.
    let without_owner = ListenSpec { owner: None, ..spec.clone() };
    let mut outcome = None;
    let to = DropTo { uid: identity.uid, gid: identity.gid, user: None, groups: Vec::new() };
    while_being(&to, || {
        outcome = Some(listen::bind(&without_owner));
        Ok(())
    })
    .map_err(failed)?;
    let outcome = outcome.unwrap_or_else(|| Err(failed(io::ErrorKind::Interrupted.into())));
    let (bound, maker) = match outcome {
        Err(BindError::Failed { source, .. }) if is_for_root(&source, path) => (listen::bind(&without_owner)?, 0),
        other => (other?, identity.uid),
    };
    let (uid, gid) = spec.owner.unwrap_or_default();
    let owner = match maker {
        // What root made belongs to the vassal, as if it had made it.
        0 => Some((uid.or(Some(identity.uid)), gid.or(Some(identity.gid)))),
        _ => spec.owner,
    };
    if let Some(owner) = owner {
        give(path, maker, owner).map_err(failed)?;
    }
    Ok(bound)
}

/// The same with no more rights than the vassal has: for one that somebody else than root has written (`emperor-tyrant`).
///
/// # Errors
/// As [`bind`], also for what only root may have, such as port 80.
pub(super) fn bind_as_owner(spec: &ListenSpec, identity: Identity) -> Result<(OwnedFd, ListenAddress), BindError> {
    let mut outcome = None;
    let to = DropTo { uid: identity.uid, gid: identity.gid, user: None, groups: Vec::new() };
    let failed = |source| BindError::Failed { address: spec.key.clone(), source };
    while_being(&to, || {
        outcome = Some(listen::bind(spec));
        Ok(())
    })
    .map_err(failed)?;
    outcome.unwrap_or_else(|| Err(failed(io::ErrorKind::Interrupted.into())))
}

/// Whether it failed only because the directory is root's. In a directory that nobody but root can touch, root may bind
/// without being led astray: `socket = /run/app.sock` works with a `uid`, as uWSGI binds before it drops its rights.
fn is_for_root(error: &io::Error, path: &Path) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && path.parent().is_some_and(is_roots_alone)
}

/// Gives the socket away, if it is still the one that `maker` made.
fn give(path: &Path, maker: u32, owner: (Option<u32>, Option<u32>)) -> io::Result<()> {
    let socket = SocketFile::open(path)?;
    if socket.owner()? != maker {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "somebody put another socket in its place"));
    }
    socket.change_owner(owner)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{Permissions, set_permissions},
        os::unix::fs::{MetadataExt, PermissionsExt, chown},
    };

    use super::*;
    use crate::keeper::tests::{Room, alone};

    const VASSAL: Identity = Identity { uid: 65_534, gid: 65_534 };

    fn spec(path: &Path, owner: Option<(Option<u32>, Option<u32>)>) -> ListenSpec {
        ListenSpec {
            key: path.display().to_string(),
            address: ListenAddress::Unix(path.to_owned()),
            backlog: 8,
            mode: Some(0o660),
            owner,
            reuse_port: false,
            freebind: false,
        }
    }

    fn facts(path: &Path) -> (u32, u32, u32) {
        let metadata = std::fs::symlink_metadata(path).unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o777)
    }

    #[test]
    fn a_path_is_bound_by_the_vassal_itself_and_given_away_by_root() {
        if !geteuid().is_root()
            || !alone("keeper::binding::tests::a_path_is_bound_by_the_vassal_itself_and_given_away_by_root")
        {
            return;
        }
        let room = Room::new("own-path");
        let directory = room.directory("sockets");
        set_permissions(room.path(), Permissions::from_mode(0o755)).unwrap();
        chown(&directory, Some(VASSAL.uid), Some(VASSAL.gid)).unwrap();
        let path = directory.join("a.sock");
        let _kept = bind(&spec(&path, None), VASSAL).unwrap();
        assert_eq!(facts(&path), (65_534, 65_534, 0o660));
        let given = directory.join("b.sock");
        let _kept = bind(&spec(&given, Some((Some(33), Some(34)))), VASSAL).unwrap();
        assert_eq!(facts(&given), (33, 34, 0o660));
        assert!(geteuid().is_root(), "the way back");
    }

    #[test]
    fn in_a_directory_of_roots_alone_root_binds_and_the_vassal_gets_the_socket() {
        let test = "keeper::binding::tests::in_a_directory_of_roots_alone_root_binds_and_the_vassal_gets_the_socket";
        // /run is root's alone wherever there is one; only the test's own file in it is touched.
        if !geteuid().is_root() || !is_roots_alone(Path::new("/run")) || !alone(test) {
            return;
        }
        let path = Path::new("/run").join(format!("empery-test-{}.sock", std::process::id()));
        let bound = bind(&spec(&path, Some((Some(33), None))), VASSAL);
        let found = facts(&path);
        std::fs::remove_file(&path).unwrap();
        bound.unwrap();
        assert_eq!(found, (33, 65_534, 0o660));
    }

    #[test]
    fn a_vassal_has_root_write_nowhere_where_others_can_interfere() {
        if !geteuid().is_root()
            || !alone("keeper::binding::tests::a_vassal_has_root_write_nowhere_where_others_can_interfere")
        {
            return;
        }
        // The room is below the world-writable /tmp, so its directories are not root's alone.
        let room = Room::new("others-path");
        let path = room.directory("closed").join("a.sock");
        set_permissions(room.path().join("closed"), Permissions::from_mode(0o700)).unwrap();
        let error = bind(&spec(&path, None), VASSAL).unwrap_err();
        assert!(
            matches!(&error, BindError::Failed { source, .. } if source.kind() == io::ErrorKind::PermissionDenied),
            "{error}"
        );
        assert!(!path.exists());
    }
}
