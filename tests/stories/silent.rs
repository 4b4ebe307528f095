//! Clients of what is not the app: the stats socket and the emperor's stream of events. They may be many, send garbage and
//! never read; the app and whoever asks properly notice nothing.

use std::{
    io::Write,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::Ground,
    http::{self, Ask, Connection},
    procfs,
    runner::Story,
    vassal::Vassal,
    wait,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("silent/h16-a-thousand-stats-clients-that-never-read", stats),
    Story::new("silent/h17-five-hundred-listeners-that-never-read", events),
];

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

fn stats(ground: &Ground) -> Result<()> {
    let (port, socket) = (ground.port()?, ground.path("stats.sock"));
    let text = super::ini(port, "hello", &format!("master = true\nprocesses = 2\nstats = {}\n", socket.display()));
    let mut vassal = Vassal::from_ini(ground, "stats.ini", &text)?;
    vassal.answers(port)?;
    let began = Instant::now();
    let mut silent = Vec::new();
    for number in 0..1000 {
        let mut client = UnixStream::connect(&socket)?;
        if number % 2 == 0 {
            // Garbage; a server that has said its piece may be gone.
            drop(client.write_all(&[b'x'; 2000]));
        }
        silent.push(client);
        if number % 50 == 0 {
            ensure!(http::get(port, "/")?.status == 200, "the app, beside {number} stats clients");
        }
    }
    ground.note(&format!("1,000 clients connected within {:.1} s", began.elapsed().as_secs_f64()));
    let shown = wait::until_ok("the statistics", PATIENCE, || {
        let mut connection = Connection::open(&socket, PATIENCE)?;
        Ok(serde_json::from_slice::<serde_json::Value>(&connection.rest()?)?)
    })?;
    ensure!(shown["workers"].as_array().is_some_and(|workers| workers.len() == 2), "{shown:#}");
    drop(silent);
    vassal.stop()
}

fn events(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("one.ini", &super::ini(port, "hello", ""))?;
    emperor.loyal("one.ini")?;
    let brain = emperor.brain_pid()?;
    let before_kib = procfs::pss_kib(brain).context("the memory of the brain")?;
    let mut silent = Vec::new();
    for _ in 0..500 {
        let mut listener = Connection::open(&emperor.control_socket(), PATIENCE)?;
        listener.send(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        silent.push(listener);
    }
    for _ in 0..5 {
        let reloaded = emperor.says("reload", &["one.ini"])?;
        ensure!(reloaded.code == 0, "{reloaded:?}");
        ensure!(http::get(port, "/")?.status == 200, "the app, beside listeners that never read");
    }
    emperor.json(Ask::get("/api/v1/stats"))?;
    let grown_kib = procfs::pss_kib(brain).context("the memory of the brain")?.saturating_sub(before_kib);
    ground.note(&format!("the brain has {grown_kib} KiB more for 500 listeners"));
    ensure!(grown_kib < 64 * 1024, "the brain keeps {grown_kib} KiB for listeners that never read");
    drop(silent);
    emperor.stop()
}
