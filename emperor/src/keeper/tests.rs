//! The keeper's desk with real files, sockets and processes; and the directory that each test of the keeper has of its own.

mod fuzz;
mod requests;

use std::{
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// A directory that goes with the test.
pub(super) struct Room(PathBuf);

impl Room {
    pub(super) fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("empery-keeper-{}-{number}-{name}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o755).create(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn directory(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir(&path).unwrap();
        path
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A desk in a room of its own, whose masters are shells that take the vassal file for a script: a program just written
/// may be busy for a moment (execve(2), ETXTBSY) while another test forks.
pub(super) fn desk(room: &Room) -> super::desk::Desk {
    use super::{Settings, UidPolicy, desk::Desk};
    for directory in ["vassals", "state", "state/logs", "run", "run/vassals"] {
        room.directory(directory);
    }
    let settings = Settings {
        sources: crate::sources::Sources::of_directory(room.path().join("vassals")),
        state: room.path().join("state"),
        runtime: room.path().join("run"),
        brain_args: Vec::new(),
        brain_user: None,
        tyrant: None,
        on_demand_extension: None,
        pidfile: None,
        uid_policy: UidPolicy::default(),
    };
    let mut desk = Desk::open(&settings, &room.path().join("emperor"), own_identity()).unwrap();
    desk.vassal_program = "/bin/sh".into();
    desk
}

/// Who runs the tests.
pub(super) fn own_identity() -> empery_lifecycle::fleet::Identity {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    empery_lifecycle::fleet::Identity { uid, gid }
}

/// Whether the test named so has the process for itself. If not, it is run in one of its own here, and must succeed:
/// who takes on another identity takes every thread along (credentials(7), setuid(2) of glibc).
pub(super) fn alone(test: &str) -> bool {
    const ALONE: &str = "EMPERY_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new(program).args(["--exact", test]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    false
}

/// Waits for a condition. A child that another test is just forking has copies of all descriptors until it executes its
/// program, so that what is closed here may stay open or locked for a moment.
pub(super) fn until(what: &str, mut came: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !came() {
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "waited for {what}");
        std::thread::yield_now();
    }
}
