//! The keeper's life as processes: the real `emperor` with a `vassal` beside it that only sleeps. No app is served here;
//! that masters are kept, found again and taken down is.
// Clippy counts only functions marked #[test] as tests.
#![allow(clippy::unwrap_used)]

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use empery_control::{keeper::LockText, places};
use empery_lifecycle::{fleet::Berth, ids::VassalName};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const SOON: Duration = Duration::from_secs(20);

/// An emperor's directories, and a copy of its binary with the sleeping vassal beside it.
struct Ground(PathBuf);

impl Ground {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("keeper-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("vassals")).unwrap();
        fs::create_dir_all(path.join("bin")).unwrap();
        let emperor = Path::new(env!("CARGO_BIN_EXE_emperor"));
        fs::hard_link(emperor, path.join("bin/emperor")).unwrap();
        fs::write(path.join("bin/vassal"), "#!/bin/sh\nexec sleep 600\n").unwrap();
        fs::set_permissions(path.join("bin/vassal"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(path.join("vassals/shop.ini"), "[uwsgi]\nhttp-socket = 127.0.0.1:0\nmodule = shop\n").unwrap();
        Self(path)
    }

    fn start(&self) -> Emperor {
        let log = File::options().append(true).create(true).open(self.0.join("log")).unwrap();
        let mut command = Command::new(self.0.join("bin/emperor"));
        command.arg("run").args(["--listen", "127.0.0.1:0"]);
        for directory in ["vassals", "state", "run"] {
            let flag = if directory == "run" { "runtime" } else { directory };
            command.arg(format!("--{flag}")).arg(self.0.join(directory));
        }
        command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Emperor(command.spawn().unwrap())
    }

    /// Who the lock of the one vassal says its master is, once it has been started.
    fn master(&self) -> Option<LockText> {
        if !self.log().contains("master started vassal=shop.ini") {
            return None;
        }
        let name = VassalName::new("shop.ini").unwrap();
        let places = places::berth(&self.0.join("run"), &name, Berth::A);
        serde_json::from_slice(&fs::read(places.lock).ok()?).ok()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.0.join("log")).unwrap_or_default()
    }

    fn until<T>(&self, what: &str, mut come: impl FnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(came) = come() {
                return came;
            }
            assert!(began.elapsed() < SOON, "waited for {what}; the log:\n{}", self.log());
            std::thread::yield_now();
        }
    }

    fn until_logged(&self, text: &str) {
        self.until(text, || self.log().contains(text).then_some(()));
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Some(master) = self.master().filter(|master| lives(master.pid)) {
            signal(master.pid, Signal::SIGKILL);
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running keeper; killed with its brain when the test gives up.
struct Emperor(Child);

impl Emperor {
    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    /// The brain: the child whose arguments say so.
    fn brain(&self) -> Option<i32> {
        let children = empery_sys::process::children_of(self.pid()).unwrap();
        children.into_iter().find(|pid| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"emperor\0brain\0"))
        })
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }
}

impl Drop for Emperor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn lives(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_second_emperor_is_refused_and_told_who_is_there() {
    let ground = Ground::new("second");
    let first = ground.start();
    ground.until("the first brain", || first.brain());
    let mut second = ground.start();
    let status = ground.until("the refusal", || second.ended());
    assert_eq!(status.code(), Some(1));
    let told = format!("pid {}, watching {}", first.pid(), ground.0.join("vassals").display());
    assert!(ground.log().contains(&told), "{}", ground.log());
}

#[test]
fn a_dead_brain_is_replaced_and_the_master_stays() {
    let ground = Ground::new("brain");
    let emperor = ground.start();
    let first = ground.until("the brain", || emperor.brain());
    let master = ground.until("the master", || ground.master());
    signal(first, Signal::SIGKILL);
    ground.until("the next brain", || emperor.brain().filter(|brain| *brain != first));
    ground.until_logged("the brain ended: signal 9 (SIGKILL)");
    assert!(lives(master.pid));
}

#[test]
fn a_killed_keeper_is_followed_by_one_that_finds_the_master() {
    let ground = Ground::new("killed");
    let mut first = ground.start();
    let master = ground.until("the master", || ground.master());
    signal(first.pid(), Signal::SIGKILL);
    ground.until("its end", || first.ended());
    let second = ground.start();
    ground.until_logged(&format!("found a living master vassal=shop.ini pid={}", master.pid));
    ground.until("the brain", || second.brain());
    assert!(lives(master.pid));
    assert_eq!(ground.master(), Some(master));
}

#[test]
fn a_keeper_replaces_itself_in_place_with_the_lock_in_its_hands() {
    let ground = Ground::new("replaced");
    let mut emperor = ground.start();
    let brain = ground.until("the brain", || emperor.brain());
    let master = ground.until("the master", || ground.master());
    signal(emperor.pid(), Signal::SIGUSR2);
    ground.until("the next brain", || emperor.brain().filter(|next| *next != brain));
    assert!(emperor.ended().is_none());
    assert!(!lives(brain), "the old brain has left before");
    ground.until_logged(&format!("found a living master vassal=shop.ini pid={}", master.pid));
    let mut second = ground.start();
    let status = ground.until("the refusal of another emperor", || second.ended());
    assert_eq!(status.code(), Some(1));
}

#[test]
fn without_a_brain_the_keeper_takes_the_fleet_down_itself() {
    let ground = Ground::new("takedown");
    let mut emperor = ground.start();
    let brain = ground.until("the brain", || emperor.brain());
    let master = ground.until("the master", || ground.master());
    // A brain that stands still cannot carry the stop out, and is gone before it could.
    signal(brain, Signal::SIGSTOP);
    signal(emperor.pid(), Signal::SIGTERM);
    ground.until_logged("told to stop");
    signal(brain, Signal::SIGKILL);
    let status = ground.until("the end", || emperor.ended());
    assert_eq!(status.code(), Some(0), "{}", ground.log());
    assert!(!lives(master.pid));
}
