//! Too much at once: signals by the thousand (fault P12) and reloads faster than they can be carried out (fault C21).
//! Whatever comes, it ends in one state that the last word explains, and no request is lost on the way.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use empery_tests::{
    emperor::{Emperor, SETTLED_WITHIN},
    ground::Ground,
    http::Ask,
    load::{Load, Mode, Running},
    procfs,
    runner::Story,
    wait,
};
use nix::sys::signal::Signal;

pub(crate) const STORIES: &[Story] = &[
    Story::new("storm/p12-reload-signals-to-the-keeper-end-in-a-loyal-fleet", keeper).within_s(120),
    Story::new("storm/p12-signals-of-a-terminal-to-the-brain-change-nothing", brain).within_s(120),
    Story::new("storm/p12-reload-signals-to-a-master-end-in-one-generation", master).within_s(120),
    Story::new("storm/p12-stop-signals-to-the-keeper-stop-everything", stop).within_s(120),
    Story::new("storm/c21-a-hundred-reloads-a-second-end-on-the-last-version", reloads).within_s(120),
];

const SIGNALS: usize = 10_000;

/// So many in each millisecond: sent all at once, the kernel would make one of them (signal(7), standard signals).
const SIGNALS_PER_MS: usize = 5;

/// Zygotes that may be alive: one serves, one boots; those that were given up take some ms to leave.
const ZYGOTES_MAX: usize = 8;

fn shop<'g>(ground: &'g Ground, port: u16) -> Result<(Emperor<'g>, Running)> {
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "env = VERSION=0\n"))?;
    emperor.loyal("shop.ini")?;
    let load = Load::on(port, Mode::KeepAlive).start();
    load.goes_on(50)?;
    Ok((emperor, load))
}

/// Signals of these kinds in an order made of `seed` (xorshift).
fn storm(ground: &Ground, pid: i32, kinds: &[Signal]) {
    let mut seed = u64::from(std::process::id()) | 1;
    ground.note(&format!("seed {seed}"));
    for count in 1..=SIGNALS {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let choice = usize::try_from(seed % kinds.len() as u64).unwrap_or(0);
        procfs::signal(pid, kinds[choice]);
        if count.is_multiple_of(SIGNALS_PER_MS) {
            wait::pause(Duration::from_millis(1));
        }
    }
}

fn one_master(emperor: &Emperor<'_>) -> Result<i32> {
    let [master] = emperor.masters()[..] else { bail!("not one master") };
    Ok(master)
}

fn zygotes(master: i32) -> usize {
    procfs::children(master).into_iter().filter(|pid| procfs::command_line(*pid).contains("zygote")).count()
}

/// One master, one generation, nothing under way, and a reload works.
fn settles(emperor: &Emperor<'_>) -> Result<()> {
    wait::until_ok("the fleet to settle", SETTLED_WITHIN * 2, || {
        let vassal = emperor.vassal("shop.ini")?;
        let quiet =
            vassal["state"] == "loyal" && vassal["workers"].as_array().is_some_and(|workers| workers.len() == 1);
        ensure!(quiet && zygotes(one_master(emperor)?) == 1, "{vassal:#}");
        Ok(())
    })
    .map_err(|error| error.context(emperor.output()))?;
    emperor.says("reload", &["shop.ini"])?.success()?;
    Ok(())
}

fn keeper(ground: &Ground) -> Result<()> {
    let (emperor, load) = shop(ground, ground.port()?)?;
    let (keeper, brain, master) = (emperor.keeper_pid()?, emperor.brain_pid()?, one_master(&emperor)?);
    storm(ground, keeper, &[Signal::SIGHUP, Signal::SIGUSR1]);
    settles(&emperor)?;
    ensure!(emperor.brain_pid()? == brain && one_master(&emperor)? == master, "{}", emperor.output());
    load.stop().flawless()?;
    emperor.stop()
}

fn brain(ground: &Ground) -> Result<()> {
    let (emperor, load) = shop(ground, ground.port()?)?;
    let (brain, master) = (emperor.brain_pid()?, one_master(&emperor)?);
    storm(ground, brain, &[Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT]);
    settles(&emperor)?;
    ensure!(emperor.brain_pid()? == brain && one_master(&emperor)? == master, "{}", emperor.output());
    load.stop().flawless()?;
    emperor.stop()
}

fn master(ground: &Ground) -> Result<()> {
    let (emperor, load) = shop(ground, ground.port()?)?;
    let master = one_master(&emperor)?;
    storm(ground, master, &[Signal::SIGHUP, Signal::SIGUSR1]);
    settles(&emperor)?;
    ensure!(one_master(&emperor)? == master, "{}", emperor.output());
    load.stop().flawless()?;
    emperor.stop()
}

fn stop(ground: &Ground) -> Result<()> {
    let (emperor, load) = shop(ground, ground.port()?)?;
    load.stop().flawless()?;
    let keeper = emperor.keeper_pid()?;
    let family = procfs::descendants(keeper);
    storm(ground, keeper, &[Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP]);
    let gone = wait::until_ok("the emperor and every process of it to be gone", SETTLED_WITHIN, || {
        let left: Vec<_> = std::iter::once(keeper)
            .chain(family.iter().copied())
            .filter(|pid| procfs::alive(*pid))
            .map(|pid| format!("{pid} {}", procfs::command_line(pid)))
            .collect();
        ensure!(left.is_empty(), "{left:#?}");
        Ok(())
    });
    gone.map_err(|error| error.context(emperor.output()))
}

fn reloads(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let (emperor, load) = shop(ground, port)?;
    let master = one_master(&emperor)?;
    let mut last = 0;
    for round in 1..=300_u64 {
        let asked = emperor.ask(Ask::post("/api/v1/vassals/shop.ini/reload"))?;
        ensure!(asked.status == 202 || asked.status == 503, "{asked:?}");
        if asked.status == 202 {
            last = serde_json::from_slice::<serde_json::Value>(&asked.body)?["id"].as_u64().context("no number")?;
        }
        if round.is_multiple_of(50) {
            emperor.drop_file("shop.ini", &super::ini(port, "ids", &format!("env = VERSION={round}\n")))?;
        }
        ensure!(zygotes(master) <= ZYGOTES_MAX, "{} zygotes are alive", zygotes(master));
        wait::pause(Duration::from_millis(10));
    }
    super::version_becomes(port, "300")?;
    settles(&emperor)?;
    let ended = emperor.json(Ask::get(&format!("/api/v1/operations/{last}")))?;
    ensure!(!ended["end"].is_null(), "the last reload never ended: {ended:#}");
    ensure!(one_master(&emperor)? == master, "{}", emperor.output());
    load.stop().flawless()?;
    emperor.stop()
}
