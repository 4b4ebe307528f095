//! A machine that has run out of something: inodes (R3), CPU time (R14). Who serves serves on, what cannot be done says
//! what is missing, and all recovers by itself. Named after the faults they prove.

use std::{
    fs,
    process::{Child, Command},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::{Emperor, SETTLED_WITHIN},
    ground::Ground,
    http, isolation,
    load::{Load, Mode},
    procfs,
    runner::Story,
    wait,
};
use nix::sys::signal::Signal;

pub(crate) const STORIES: &[Story] = &[
    Story::new("starved/r3-without-inodes-who-serves-serves-on", no_inodes).within_s(120),
    Story::new("starved/r14-without-cpu-time-nobody-is-taken-for-dead", no_cpu).alone().within_s(120),
];

fn no_inodes(ground: &Ground) -> Result<()> {
    ground.needs_root()?;
    let state = ground.path("state");
    fs::create_dir_all(&state)?;
    isolation::with_tmpfs(&state, "size=64m,nr_inodes=300")?;
    let (port, late) = (ground.port()?, ground.port()?);
    let emperor = Emperor::start(ground)?;
    let text = |version: u32| super::ini(port, "ids", &format!("env = VERSION={version}\nprocesses = 2\n"));
    emperor.drop_file("shop.ini", &text(1))?;
    emperor.loyal("shop.ini")?;
    let load = Load::on(port, Mode::KeepAlive).start();
    load.goes_on(20)?;
    let litter = state.join("litter");
    fs::create_dir(&litter)?;
    let full = (0..1_000).map(|number| fs::write(litter.join(number.to_string()), "")).find_map(Result::err);
    ensure!(full.is_some(), "there are inodes left");
    emperor.drop_file("shop.ini", &text(2))?;
    super::version_becomes(port, "2")?;
    emperor.says("reload", &["shop.ini"])?.success()?;
    // One that needs a place for its log says what is missing.
    emperor.drop_file("late.ini", &super::ini(late, "hello", ""))?;
    emperor.vassal_until("late.ini", "the reason", |vassal| {
        vassal["state"] == "cursed" && vassal.to_string().contains("No space left on device")
    })?;
    load.goes_on(20)?;
    fs::remove_dir_all(&litter)?;
    emperor.loyal("late.ini")?;
    ensure!(http::get(late, "/")?.status == 200);
    load.stop().flawless()?;
    emperor.stop()
}

/// Processes that take all the CPU time there is; they end with this.
struct Busy(Vec<Child>);

impl Busy {
    fn with(number: usize) -> Result<Busy> {
        let spin = || Command::new("sh").args(["-c", "while :; do :; done"]).spawn().context("start a busy loop");
        Ok(Busy((0..number).map(|_| spin()).collect::<Result<_>>()?))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for process in &mut self.0 {
            // One that has ended already is as good.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// sched(7): `--idle` gets what nobody else wants.
fn schedule(pids: &[i32], policy: &str) -> Result<()> {
    for pid in pids {
        let mut chrt = Command::new("chrt");
        chrt.args([policy, "--all-tasks", "--pid", "0", &pid.to_string()]);
        empery_tests::process::run(chrt)?.success().with_context(|| format!("chrt {policy}"))?;
    }
    Ok(())
}

fn no_cpu(ground: &Ground) -> Result<()> {
    // Longer than a master's 10 s of silence.
    const STARVED_FOR: Duration = Duration::from_secs(12);
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "processes = 2\n"))?;
    emperor.loyal("shop.ini")?;
    let family = || -> Result<Vec<i32>> {
        let keeper = emperor.keeper_pid()?;
        Ok(std::iter::once(keeper).chain(procfs::descendants(keeper)).collect())
    };
    let before = family()?;
    let load = Load { clients: 1, think: Duration::from_millis(50), ..Load::on(port, Mode::KeepAlive) }.start();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let busy = Busy::with(cores * 2)?;
    schedule(&before, "--idle")?;
    wait::throughout("everybody to live", STARVED_FOR, || before.iter().all(|pid| procfs::alive(*pid)))?;
    drop(busy);
    schedule(&before, "--other")?;
    ensure!(family()? == before, "somebody was replaced: {before:?}, now {:?}", family()?);
    let said = emperor.output();
    ensure!(!said.contains("WARN the master") && !said.contains("killed"), "somebody was blamed:\n{said}");
    load.stop().flawless()?;
    procfs::signal(emperor.keeper_pid()?, Signal::SIGHUP);
    wait::until("a reload", SETTLED_WITHIN, || {
        (emperor.vassal("shop.ini").ok()?["generation"].as_u64() >= Some(2)).then_some(())
    })?;
    emperor.loyal("shop.ini")?;
    emperor.stop()
}
