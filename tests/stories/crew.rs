//! How many workers there are: none until somebody comes, more when all are busy, none again when nobody asks.

use std::{fs, path::Path, time::Duration};

use anyhow::{Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::Ground,
    http,
    load::{Load, Mode},
    procfs,
    runner::Story,
    vassal::Vassal,
    wait,
};
use nix::sys::signal::Signal;

pub(crate) const STORIES: &[Story] = &[
    Story::new("crew/b30-cheap-waits-for-the-first-client-and-loses-it-not", cheap),
    Story::new("crew/b30-an-idle-vassal-rests-and-comes-back", idle),
    Story::new("crew/a-vassal-at-rest-is-reloaded-at-rest", reloaded_at_rest),
    Story::new("crew/b30-die-on-idle-ends-it-when-nobody-asks", die_on_idle),
    Story::new("crew/an-emperor-starts-one-that-died-of-idleness-again", died_of_idleness),
    Story::new("crew/b30-busy-workers-get-company-and-lose-it-again", cheaper).alone(),
    Story::new("crew/b30-spare2-keeps-so-many-idle", spare2).alone(),
    Story::new("crew/b30-backlog-follows-the-queue", backlog).alone(),
    Story::new("crew/b30-busyness-follows-the-time-in-requests", busyness).alone(),
    Story::new("crew/an-emperor-shows-a-vassal-at-rest-as-loyal", governed),
];

const SOON: Duration = Duration::from_secs(30);

fn start(ground: &Ground, port: u16, module: &str, more: &str) -> Result<Vassal> {
    let text = super::ini(port, module, &format!("master = true\n{more}"));
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.master.says("serves ***", SOON)?;
    Ok(vassal)
}

/// Its processes: the zygote, and the workers.
fn family(vassal: &Vassal) -> usize {
    procfs::children(vassal.master.pid()).len()
}

fn becomes(vassal: &Vassal, members: usize) -> Result<()> {
    wait::until(&format!("a family of {members}"), SOON, || (family(vassal) == members).then_some(()))
        .map_err(|error| error.context(vassal.master.output()))
}

fn cheap(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let vassal = start(ground, port, "hello", "cheap = true\nprocesses = 2\n")?;
    becomes(&vassal, 1)?;
    // Several at once, none of whom is turned away.
    let ledger = Load::on(port, Mode::KeepAlive).run(Duration::from_millis(300));
    ledger.flawless()?;
    becomes(&vassal, 3)?;
    vassal.stop()
}

fn idle(ground: &Ground) -> Result<()> {
    let (port, stats) = (ground.port()?, ground.port()?);
    let more = format!("idle = 1\nprocesses = 2\nstats = 127.0.0.1:{stats}\n");
    let vassal = start(ground, port, "hello", &more)?;
    for round in 0..2 {
        ensure!(http::get(port, "/")?.status == 200, "round {round}");
        becomes(&vassal, 1)?;
        let said = super::stats::read(stats)?;
        ensure!(said["workers"][0]["status"] == "cheap", "{said:#}");
    }
    // Nothing is watched but the socket.
    let master = vassal.master.pid();
    let before = procfs::cpu_time(master);
    wait::throughout("the rest", Duration::from_secs(3), || family(&vassal) == 1)?;
    let used = procfs::cpu_time(master).saturating_sub(before);
    ensure!(used < Duration::from_millis(30), "a master at rest used {used:?} in three seconds");
    vassal.stop()
}

fn reloaded_at_rest(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let vassal = start(ground, port, "ids", "cheap = true\n")?;
    becomes(&vassal, 1)?;
    let zygote = procfs::children(vassal.master.pid());
    vassal.signal(Signal::SIGHUP);
    wait::until("another zygote, and nobody else", SOON, || {
        let now = procfs::children(vassal.master.pid());
        (now.len() == 1 && now != zygote).then_some(())
    })?;
    ensure!(http::get(port, "/")?.status == 200);
    vassal.stop()
}

fn die_on_idle(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut vassal = start(ground, port, "hello", "idle = 1\ndie-on-idle = true\n")?;
    ensure!(http::get(port, "/")?.status == 200);
    let status = vassal.master.exited(SOON)?;
    ensure!(status.success(), "{status}: {}", vassal.master.output());
    Ok(())
}

fn died_of_idleness(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "idle = 1\ndie-on-idle = true\n"))?;
    emperor.loyal("shop.ini")?;
    let before = emperor.masters();
    wait::until("another master", Duration::from_secs(60), || {
        let now = emperor.masters();
        (!now.is_empty() && now != before).then_some(())
    })?;
    emperor.loyal("shop.ini")?;
    emperor.stop()
}

/// Clients that each keep a worker of `slow` until a file exists.
struct Waiting(Vec<std::thread::JoinHandle<Result<http::Answer, http::Failure>>>);

impl Waiting {
    fn begin(port: u16, gate: &Path, number: usize) -> Self {
        let path = format!("/wait{}", gate.display());
        let ask = || {
            let path = path.clone();
            std::thread::spawn(move || http::ask(port, http::Ask::get(&path)))
        };
        Self((0..number).map(|_| ask()).collect())
    }

    fn end(self, gate: &Path) -> Result<()> {
        fs::write(gate, "")?;
        for request in self.0 {
            let answer = request.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
            // The client gives up after ten seconds; whoever had an answer had the whole of it.
            if let Ok(answer) = answer {
                ensure!(answer.text() == "waited", "{answer:?}");
            }
        }
        Ok(())
    }
}

fn cheaper(ground: &Ground) -> Result<()> {
    let (port, gate) = (ground.port()?, ground.path("gate"));
    let more = "processes = 4\ncheaper = 1\ncheaper-overload = 1\ncheaper-algo = spare\n";
    let vassal = start(ground, port, "slow", more)?;
    becomes(&vassal, 2)?;
    let waiting = Waiting::begin(port, &gate, 3);
    // Each of them keeps a worker, and one is spare: the fourth answers at once.
    wait::until("a zygote and four workers", Duration::from_secs(60), || (family(&vassal) == 5).then_some(()))
        .map_err(|error| error.context(vassal.master.output()))?;
    ensure!(http::get(port, "/")?.text() == "at once");
    waiting.end(&gate)?;
    becomes(&vassal, 2)?;
    vassal.stop()
}

fn governed(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "hello", "cheap = true\nidle = 1\n"))?;
    emperor.loyal("shop.ini")?;
    let nobody = |vassal: &serde_json::Value| {
        vassal["state"] == "loyal" && vassal["workers"].as_array().is_some_and(Vec::is_empty)
    };
    emperor.vassal_until("shop.ini", "a loyal vassal without workers", nobody)?;
    ensure!(http::get(port, "/")?.status == 200);
    emperor.vassal_until("shop.ini", "it to rest again", nobody)?;
    emperor.stop()
}

/// One worker, with company as long as clients wait for something.
fn follows(ground: &Ground, algorithm: &str, clients: usize, most: usize) -> Result<()> {
    let (port, gate) = (ground.port()?, ground.path("gate"));
    let more = format!("processes = 3\ncheaper = 1\ncheaper-algo = {algorithm}\n");
    let vassal = start(ground, port, "slow", &more)?;
    becomes(&vassal, 2)?;
    let waiting = Waiting::begin(port, &gate, clients);
    becomes(&vassal, most)?;
    waiting.end(&gate)?;
    becomes(&vassal, 2)?;
    vassal.stop()
}

fn spare2(ground: &Ground) -> Result<()> {
    follows(ground, "spare2\ncheaper-idle = 1", 1, 3)
}

fn backlog(ground: &Ground) -> Result<()> {
    // One is in the worker, four wait; with two workers it is three, which are too many still.
    follows(ground, "backlog\ncheaper-overload = 2", 5, 4)
}

fn busyness(ground: &Ground) -> Result<()> {
    follows(ground, "busyness\ncheaper-overload = 1\ncheaper-busyness-multiplier = 1", 3, 4)
}
