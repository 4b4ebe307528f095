//! A frozen vassal accepts nothing and loses nothing: what is in flight is finished, everybody else waits, on new
//! connections and on kept ones, through reloads and deaths, until it is resumed.

use std::{fs, thread, time::Duration};

use anyhow::{Result, anyhow, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::Ground,
    http::{Ask, Connection},
    load::{Load, Mode},
    procfs,
    runner::Story,
    vassal::Vassal,
    wait,
};
use nix::sys::signal::Signal;

pub(crate) const STORIES: &[Story] = &[
    Story::new("frozen/what-is-in-flight-is-finished-and-everybody-else-waits", waits),
    Story::new("frozen/it-outlives-a-reload-the-master-the-brain-and-the-emperor", outlives).within_s(120),
    Story::new("frozen/a-load-loses-nothing-and-a-vassal-alone-is-suspended-by-its-pidfile", alone),
];

/// How long a thing that must not happen is waited for.
const QUIET: Duration = Duration::from_millis(700);

/// How long a client of a frozen vassal is prepared to wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client on a connection of its own; what it was answered, once it was.
fn client(port: u16, path: &str) -> thread::JoinHandle<Result<String>> {
    let ask = Ask::get(path);
    thread::spawn(move || {
        let mut connection = Connection::open(port, PATIENCE)?;
        Ok(connection.ask(&ask)?.text())
    })
}

fn answered(client: thread::JoinHandle<Result<String>>) -> Result<String> {
    client.join().map_err(|_| anyhow!("a client panicked"))?
}

fn is_frozen(emperor: &Emperor<'_>, name: &str) -> Result<()> {
    emperor.vassal_until(name, "to be frozen", |vassal| vassal["frozen"] == true)?;
    Ok(())
}

fn waits(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "slow", "processes = 2\nthreads = 2\n"))?;
    emperor.loyal("shop.ini")?;
    let mut kept = Connection::open(port, PATIENCE)?;
    ensure!(kept.ask(&Ask::get("/"))?.text() == "at once");
    let gate = ground.path("gate");
    let in_flight = client(port, &format!("/wait{}", gate.display()));
    emperor.vassal_until("shop.ini", "to be busy", |vassal| vassal["numbers"]["busy_threads"] == 1)?;

    let said = emperor.says("freeze", &["shop.ini"])?.success()?;
    ensure!(said.contains("frozen"), "{said}");
    is_frozen(&emperor, "shop.ini")?;
    ensure!(emperor.says("status", &[])?.success()?.contains("frozen"));
    // The order is on its way to the workers: what they begin before it reaches them is in flight.
    wait::pause(Duration::from_millis(200));
    let waiting: Vec<_> = (0..4).map(|_| client(port, "/")).collect();
    let on_kept = thread::spawn(move || -> Result<String> { Ok(kept.ask(&Ask::get("/"))?.text()) });
    wait::throughout("everybody to wait", QUIET, || {
        waiting.iter().all(|client| !client.is_finished()) && !on_kept.is_finished()
    })?;
    fs::write(&gate, "")?;
    ensure!(answered(in_flight)? == "waited", "what was in flight is finished while it is frozen");
    ensure!(waiting.iter().all(|client| !client.is_finished()) && !on_kept.is_finished());

    emperor.says("resume", &["shop.ini"])?.success()?;
    for client in waiting {
        ensure!(answered(client)? == "at once");
    }
    ensure!(answered(on_kept)? == "at once");
    emperor.stop()
}

fn outlives(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "env = VERSION=1\nprocesses = 2\n"))?;
    emperor.loyal("shop.ini")?;
    let mut kept = Connection::open(port, PATIENCE)?;
    kept.ask(&Ask::get("/"))?;
    emperor.says("freeze", &["shop.ini"])?.success()?;
    wait::pause(Duration::from_millis(200));
    let waiting: Vec<_> = (0..3).map(|_| client(port, "/")).collect();
    let on_kept = thread::spawn(move || -> Result<String> { Ok(kept.ask(&Ask::get("/"))?.text()) });
    let nobody_is_answered = |what: &str| {
        wait::throughout(what, QUIET, || waiting.iter().all(|client| !client.is_finished()) && !on_kept.is_finished())
    };
    emperor.says("reload", &["shop.ini"])?.success()?;
    nobody_is_answered("everybody to wait through a reload")?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "env = VERSION=2\nprocesses = 2\n"))?;
    emperor.vassal_until("shop.ini", "to run the edit", |vassal| vassal["serving_revision"] == 2)?;
    nobody_is_answered("everybody to wait through an edit")?;
    let master = emperor.masters()[0];
    procfs::signal(master, Signal::SIGKILL);
    emperor.vassal_until("shop.ini", "to have another master", |vassal| {
        vassal["state"] == "loyal" && vassal["master_pid"].as_i64().is_some_and(|pid| pid != i64::from(master))
    })?;
    nobody_is_answered("everybody to wait through a death of the master")?;
    procfs::signal(emperor.brain_pid()?, Signal::SIGKILL);
    is_frozen(&emperor, "shop.ini")?;
    emperor.kill_keeper()?;
    nobody_is_answered("everybody to wait without an emperor")?;
    emperor.up()?;
    is_frozen(&emperor, "shop.ini")?;
    nobody_is_answered("everybody to wait under another emperor")?;

    emperor.says("resume", &["shop.ini"])?.success()?;
    for client in waiting {
        let text = answered(client)?;
        ensure!(text.starts_with("2 "), "{text}");
    }
    let text = answered(on_kept)?;
    ensure!(text.starts_with("2 "), "a connection from before two reloads: {text}");
    ensure!(emperor.vassal("shop.ini")?["frozen"] == false);
    emperor.stop()
}

fn alone(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let pidfile = ground.path("shop.pid");
    let text = super::ini(port, "ids", &format!("pidfile = {}\nprocesses = 2\n", pidfile.display()));
    let mut vassal = Vassal::from_ini(ground, "shop.ini", &text)?;
    vassal.answers(port)?;
    let load = Load::on(port, Mode::KeepAlive).start();
    for _ in 0..3 {
        load.goes_on(50)?;
        for verb in ["--suspend", "--resume"] {
            vassal.command(&[verb, &pidfile.to_string_lossy()])?.success()?;
            wait::pause(Duration::from_millis(150));
        }
    }
    load.goes_on(50)?;
    load.stop().flawless()?;
    vassal.stop()
}
