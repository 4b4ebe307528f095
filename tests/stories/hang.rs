//! Processes that are there but do nothing (SIGSTOP): a master that hangs is replaced while its workers serve on (fault
//! P10), and an emperor that was stopped for a while holds nothing against anybody when it comes back (fault P11).

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground, Skip},
    http::{self, Failure},
    load::{Load, Mode},
    procfs,
    runner::Story,
    wait,
};
use nix::sys::signal::Signal;

pub(crate) const STORIES: &[Story] = &[
    Story::new("hang/p10-a-stopped-master-is-replaced-and-its-workers-serve-on", idle).within_s(120),
    Story::new("hang/p10-a-reload-finds-out-that-the-master-is-stopped", at_a_reload).within_s(120),
    Story::new("hang/p10-a-stop-of-a-stopped-master-leaves-nobody-behind", stopped_for_good).within_s(120),
    Story::new("hang/p11-an-emperor-that-was-stopped-catches-up-and-blames-nobody", emperor).within_s(120),
    Story::new("hang/p1-a-brain-that-hangs-is-replaced-after-a-minute", brain).within_s(180),
];

/// A look every 15 s, 10 s for the answer, and what a machine under load takes beside.
const REPLACED_WITHIN: Duration = Duration::from_secs(45);

/// Longer than every deadline that is running in the story of the emperor.
const ABSENCE: Duration = Duration::from_secs(12);

fn one_master(emperor: &Emperor<'_>) -> Result<i32> {
    let [master] = emperor.masters()[..] else { bail!("not one master") };
    Ok(master)
}

fn stopped_for_good(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    let file = super::ini(port, "ids", "worker-reload-mercy = 1\n");
    emperor.drop_file("shop.ini", &file)?;
    emperor.loyal("shop.ini")?;
    procfs::signal(one_master(&emperor)?, Signal::SIGSTOP);
    // The master is killed when its time is over; its workers hear of no stop.
    emperor.remove_file("shop.ini")?;
    let refused = || matches!(http::get(port, "/"), Err(Failure::Refused(_))).then_some(());
    wait::until("nobody to serve any more", REPLACED_WITHIN, refused)?;
    emperor.drop_file("shop.ini", &file)?;
    emperor.loyal("shop.ini")?;
    http::get(port, "/")?;
    emperor.stop()
}

fn replaced(emperor: &Emperor<'_>, victim: i32) -> Result<()> {
    let another = wait::until_ok("another master", REPLACED_WITHIN, || {
        let vassal = emperor.vassal("shop.ini")?;
        let pid = vassal["master_pid"].as_i64().context("no master")?;
        let serving = vassal["workers"]
            .as_array()
            .is_some_and(|workers| workers.len() == 2 && workers.iter().all(|worker| worker["phase"] == "serving"));
        ensure!(pid != i64::from(victim) && vassal["state"] == "loyal" && serving, "{vassal:#}");
        Ok(())
    });
    another.map_err(|error| error.context(emperor.output()))?;
    ensure!(!procfs::alive(victim), "the old master is still there");
    ensure!(emperor.output().contains("did not answer for 10 s"), "{}", emperor.output());
    Ok(())
}

fn idle(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    // A stopped master does not read the log either: request lines would fill the pipe.
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "processes = 2\ndisable-logging = true\n"))?;
    emperor.loyal("shop.ini")?;
    let load = Load::on(port, Mode::KeepAlive).start();
    load.goes_on(50)?;
    let victim = one_master(&emperor)?;
    procfs::signal(victim, Signal::SIGSTOP);
    replaced(&emperor, victim)?;
    load.goes_on(50)?;
    load.stop().flawless()?;
    emperor.says("reload", &["shop.ini"])?.success()?;
    emperor.stop()
}

fn at_a_reload(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "processes = 2\nenv = VERSION=1\n"))?;
    emperor.loyal("shop.ini")?;
    let victim = one_master(&emperor)?;
    procfs::signal(victim, Signal::SIGSTOP);
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "processes = 2\nenv = VERSION=2\n"))?;
    replaced(&emperor, victim)?;
    super::version_becomes(port, "2")?;
    emperor.stop()
}

/// While keeper and brain stand still, a worker and a master die, a file is edited, one comes, one goes, and a vassal
/// that was told to stop finishes its last request just within its mercy.
fn emperor(ground: &Ground) -> Result<()> {
    let ports = (0..4).map(|_| ground.port()).collect::<Result<Vec<_>>>()?;
    let emperor = Emperor::start(ground)?;
    for (name, port) in [("edited.ini", ports[0]), ("removed.ini", ports[1])] {
        emperor.drop_file(name, &super::ini(port, "ids", "env = VERSION=1\n"))?;
    }
    emperor.drop_file("slow.ini", &super::ini(ports[2], "slow", "worker-reload-mercy = 3\n"))?;
    for name in ["edited.ini", "removed.ini", "slow.ini"] {
        emperor.loyal(name)?;
    }
    let edited = emperor.vassal("edited.ini")?["master_pid"].as_i64().context("no master")?;
    let load = Load::on(ports[0], Mode::KeepAlive).start();
    load.goes_on(50)?;
    let path = format!("/wait{}", ground.path("gate").display());
    let (slow_port, slow_path) = (ports[2], path);
    let request = std::thread::spawn(move || http::get(slow_port, &slow_path));
    emperor.vassal_until("slow.ini", "a busy thread", |vassal| vassal["workers"][0]["busy_threads"] == 1)?;
    emperor.remove_file("slow.ini")?;
    emperor.vassal_until("slow.ini", "to be stopping", |vassal| vassal["state"] == "stopping")?;

    let (keeper, brain) = (emperor.keeper_pid()?, emperor.brain_pid()?);
    for pid in [keeper, brain] {
        procfs::signal(pid, Signal::SIGSTOP);
    }
    fs::write(ground.path("gate"), "")?;
    let answer = request.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
    ensure!(answer.text() == "waited", "{answer:?}");
    emperor.remove_file("removed.ini")?;
    emperor.drop_file("edited.ini", &super::ini(ports[0], "ids", "env = VERSION=2\n"))?;
    emperor.drop_file("new.ini", &super::ini(ports[3], "ids", "env = VERSION=1\n"))?;
    // Vassals serve on: the very absence is what is being tried.
    wait::throughout("the vassal serving", ABSENCE, || http::get(ports[0], "/").is_ok())?;
    for pid in [keeper, brain] {
        procfs::signal(pid, Signal::SIGCONT);
    }
    super::version_becomes(ports[0], "2")?;
    emperor.loyal("new.ini")?;
    wait::until("the removed vassal to be refused", Duration::from_secs(10), || {
        matches!(http::get(ports[1], "/"), Err(Failure::Refused(_))).then_some(())
    })?;
    let now = emperor.vassal("edited.ini")?["master_pid"].as_i64();
    ensure!(now == Some(edited), "the master was replaced");
    load.stop().flawless()?;
    let said = emperor.output();
    ensure!(!said.contains("killed") && !said.contains("did not answer"), "{said}");
    emperor.stop()
}

fn brain(ground: &Ground) -> Result<()> {
    if !ground::long() {
        bail!(Skip("it takes more than a minute: EMPERY_LONG=1".to_owned()));
    }
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", ""))?;
    emperor.loyal("shop.ini")?;
    let (master, victim) = (one_master(&emperor)?, emperor.brain_pid()?);
    // It has told its pulse once by then: before, it may take its time.
    wait::throughout("the vassal serving", ABSENCE, || http::get(port, "/").is_ok())?;
    procfs::signal(victim, Signal::SIGSTOP);
    wait::until("the brain to be killed", Duration::from_secs(90), || (!procfs::alive(victim)).then_some(()))?;
    wait::until("another brain", Duration::from_secs(20), || emperor.brain_pid().ok().filter(|pid| *pid != victim))?;
    emperor.loyal("shop.ini")?;
    ensure!(one_master(&emperor)? == master && http::get(port, "/")?.status == 200, "it was not left in peace");
    emperor.stop()
}
