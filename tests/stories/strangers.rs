//! Pids that are given away (fault P13): everything of a vassal dies while nobody looks, and strangers have its pids when
//! the emperor comes back. It may neither take them for its own nor send them anything.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::Ground,
    http::{self, Ask},
    process::Spawned,
    procfs, python,
    runner::Story,
};
use nix::{
    sys::{signal::Signal, wait::waitpid},
    unistd::Pid,
};

pub(crate) const STORIES: &[Story] =
    &[Story::new("strangers/p13-whoever-has-the-pids-of-the-dead-is-left-alone", left_alone).within_s(120)];

/// Starts a program with this pid: `clone3` with `set_tid` (clone(2), for root), which no library of Python has.
const AS_PID: &str = r#"
import ctypes, os, struct, sys
pid = int(sys.argv[1])
wanted = (ctypes.c_int * 1)(pid)
SIGCHLD, CLONE3 = 17, 435
arguments = struct.pack("11Q", 0, 0, 0, 0, SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
libc = ctypes.CDLL(None, use_errno=True)
child = libc.syscall(CLONE3, ctypes.create_string_buffer(arguments), len(arguments))
if child == 0:
    os.execvp("sleep", ["sleep", "600"])
if child != pid:
    sys.exit(f"clone3: {os.strerror(ctypes.get_errno())}")
print("here", flush=True)
os.waitpid(child, 0)
"#;

/// A process that has nothing to do with Empery.
struct Stranger {
    pid: i32,
    began_ticks: u64,
    parent: Spawned,
}

impl Stranger {
    fn moves_in(ground: &Ground, pid: i32) -> Result<Stranger> {
        let mut command = Command::new(python::program("python3")?);
        command.args(["-c", AS_PID, &pid.to_string()]);
        let mut parent = ground.start(&format!("stranger-{pid}"), command)?;
        parent.says("here", std::time::Duration::from_secs(10))?;
        let began_ticks = procfs::started_ticks(pid).context("the stranger is gone")?;
        Ok(Stranger { pid, began_ticks, parent })
    }

    fn is_well(&self) -> Result<()> {
        let (state, line) = (procfs::state(self.pid), procfs::command_line(self.pid));
        ensure!(
            procfs::started_ticks(self.pid) == Some(self.began_ticks) && state == Some('S') && line == "sleep 600",
            "pid {} is {state:?} {line}",
            self.pid
        );
        Ok(())
    }

    fn leaves(mut self) -> Result<()> {
        procfs::signal(self.pid, Signal::SIGKILL);
        self.parent.exited(std::time::Duration::from_secs(10)).map(|_| ())
    }
}

fn left_alone(ground: &Ground) -> Result<()> {
    ground.needs_root()?;
    let port = ground.port()?;
    let mut emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "processes = 2\n"))?;
    emperor.loyal("shop.ini")?;
    let keeper = emperor.keeper_pid()?;
    let family: Vec<i32> =
        emperor.masters().into_iter().flat_map(|pid| [vec![pid], procfs::descendants(pid)].concat()).collect();
    ensure!(family.len() == 4, "not a master, a zygote and two workers: {family:?}");
    emperor.kill_keeper()?;
    for pid in &family {
        procfs::signal(*pid, Signal::SIGKILL);
        // An orphan is a child of this process now, and has its pid until it is waited for.
        waitpid(Pid::from_raw(*pid), None).with_context(|| format!("waiting for {pid}"))?;
    }
    let strangers =
        family.iter().chain([&keeper]).map(|pid| Stranger::moves_in(ground, *pid)).collect::<Result<Vec<_>>>()?;
    emperor.up()?;
    let vassal = emperor.loyal("shop.ini")?;
    ensure!(!family.iter().any(|pid| vassal["master_pid"] == *pid), "a stranger is taken for its master: {vassal:#}");
    ensure!(http::get(port, "/")?.status == 200);
    let reloaded = emperor.json(Ask::post("/api/v1/vassals/shop.ini/reload?wait=20s"))?;
    ensure!(reloaded["end"]["result"] == "succeeded", "{reloaded:#}");
    strangers.iter().try_for_each(Stranger::is_well)?;
    emperor.stop()?;
    strangers.iter().try_for_each(Stranger::is_well)?;
    strangers.into_iter().try_for_each(Stranger::leaves)
}
