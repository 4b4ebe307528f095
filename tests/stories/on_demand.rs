//! Vassals on demand (uWSGI `emperor-on-demand-*`): nothing of them runs until a client comes, who is served; when they
//! are done they go back to wait for the next one.

use std::{fs, path::Path, time::Duration};

use anyhow::{Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::Ground,
    http::{Ask, Connection},
    procfs,
    runner::Story,
    wait,
};
use nix::sys::signal::Signal;

pub(crate) const STORIES: &[Story] = &[
    Story::new("on-demand/b42-the-first-client-starts-it-and-is-served-again-and-again", again).within_s(120),
    Story::new("on-demand/idleness-ends-it-and-the-next-client-starts-it-again", idle),
    Story::new("on-demand/a-herd-of-first-clients-is-served-by-one-start", herd),
    Story::new("on-demand/b42-a-directory-and-a-command-name-sockets-too", ways).within_s(120),
    Story::new("on-demand/it-sleeps-through-the-death-of-the-brain-and-an-edit", sleeps_on),
    Story::new("on-demand/p17-it-sleeps-through-a-restart-of-the-emperor", sleeps_through_restart),
    Story::new("on-demand/a-first-start-that-fails-is-told-and-tried-for-the-next-client", fails).within_s(120),
];

const PATIENCE: Duration = Duration::from_secs(30);

/// A vassal file without a socket of its own: it speaks HTTP on the one that the emperor holds.
fn ini(module: &str, more: &str) -> String {
    let apps = empery_tests::ground::app("");
    format!("[uwsgi]\nprotocol = http\npythonpath = {}\nmodule = {module}\n{more}", apps.display())
}

fn ask(socket: &Path, path: &str) -> Result<String> {
    let mut connection = Connection::open(socket, PATIENCE)?;
    Ok(connection.ask(&Ask::get(path).header("Connection", "close"))?.text())
}

fn asleep(emperor: &Emperor<'_>, name: &str) -> Result<()> {
    emperor.vassal_until(name, "to be asleep", |vassal| vassal["state"] == "asleep")?;
    ensure!(emperor.masters().is_empty(), "a master of a vassal that sleeps: {:?}", emperor.masters());
    Ok(())
}

/// An emperor with `shop.ini` asleep behind a unix socket that `shop.ini.socket` names.
fn sleeping<'g>(ground: &'g Ground, module: &str, more: &str) -> Result<(Emperor<'g>, std::path::PathBuf)> {
    let mut emperor = Emperor::prepare(ground)?.with(&["--emperor-on-demand-extension", ".socket"]);
    let socket = ground.path("shop.sock");
    fs::write(emperor.vassals.join("shop.ini.socket"), format!("{}\n", socket.display()))?;
    emperor.up()?;
    emperor.drop_file("shop.ini", &ini(module, more))?;
    asleep(&emperor, "shop.ini")?;
    // To connect would wake the vassal.
    ensure!(socket.exists(), "it is said to be asleep, and its socket is not there");
    Ok((emperor, socket))
}

fn again(ground: &Ground) -> Result<()> {
    let (emperor, socket) = sleeping(ground, "uwsgi_calls", "")?;
    for round in 0..3 {
        ensure!(ask(&socket, "/")?.contains("\"boot\""), "round {round}");
        let loyal = emperor.loyal("shop.ini")?;
        ensure!(loyal["last_deployment"]["actor"] == "client", "{loyal:#}");
        // The master leaves by itself, with exit code 0.
        ask(&socket, "/stop")?;
        asleep(&emperor, "shop.ini")?;
    }
    // Without the file beside it, it is a vassal like any other.
    fs::remove_file(emperor.vassals.join("shop.ini.socket"))?;
    emperor.vassal_until("shop.ini", "to be refused: it has no socket of its own", |vassal| {
        vassal["state"] == "refused" || vassal["problems"].to_string().contains("no-listener")
    })?;
    emperor.stop()
}

fn idle(ground: &Ground) -> Result<()> {
    let (emperor, socket) = sleeping(ground, "ids", "idle = 1\ndie-on-idle = true\n")?;
    for round in 0..2 {
        ensure!(!ask(&socket, "/")?.is_empty(), "round {round}");
        asleep(&emperor, "shop.ini")?;
    }
    emperor.stop()
}

fn herd(ground: &Ground) -> Result<()> {
    let (emperor, socket) =
        sleeping(ground, "counted_import", &format!("env = IMPORTS={}\n", ground.path("imports").display()))?;
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let socket = socket.clone();
            std::thread::spawn(move || ask(&socket, "/"))
        })
        .collect();
    for client in clients {
        client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
    }
    ensure!(fs::read_to_string(ground.path("imports"))?.lines().count() == 1, "one start is enough");
    ensure!(emperor.masters().len() == 1);
    emperor.stop()
}

fn ways(ground: &Ground) -> Result<()> {
    let sockets = ground.path("sockets");
    fs::create_dir_all(&sockets)?;
    let mut emperor = Emperor::prepare(ground)?.with(&["--emperor-on-demand-directory", &sockets.to_string_lossy()]);
    emperor.up()?;
    emperor.drop_file("shop.ini", &ini("ids", ""))?;
    asleep(&emperor, "shop.ini")?;
    ask(&sockets.join("shop.socket"), "/")?;
    emperor.loyal("shop.ini")?;
    emperor.stop()?;

    let socket = ground.path("told.sock");
    let config = format!("on-demand:\n  exec: 'test \"$1\" = told.ini && echo {}; true'\n", socket.display());
    let config = ground.write("emperor.yaml", &config)?;
    let mut emperor = Emperor::prepare(ground)?.with(&["--config", &config.to_string_lossy()]);
    fs::remove_file(emperor.vassals.join("shop.ini"))?;
    emperor.up()?;
    let port = ground.port()?;
    emperor.drop_file("told.ini", &ini("ids", ""))?;
    emperor.drop_file("usual.ini", &super::ini(port, "ids", ""))?;
    emperor.loyal("usual.ini")?;
    emperor.vassal_until("told.ini", "to be asleep", |vassal| vassal["state"] == "asleep")?;
    ask(&socket, "/")?;
    emperor.loyal("told.ini")?;
    emperor.stop()
}

/// Nobody else has the socket: whoever waits in its queue would be cut off.
fn sleeps_through_restart(ground: &Ground) -> Result<()> {
    let (emperor, socket) = sleeping(ground, "ids", "env = VERSION=1\n")?;
    let brain = emperor.brain_pid()?;
    // Nobody is there who could start the vassal before.
    procfs::signal(brain, Signal::SIGSTOP);
    let mut early = Connection::open(&*socket, PATIENCE)?;
    let client = std::thread::spawn(move || early.ask(&Ask::get("/").header("Connection", "close")));
    emperor.signal(Signal::SIGUSR2)?;
    wait::until("another brain", PATIENCE, || emperor.brain_pid().ok().filter(|pid| *pid != brain))?;
    let text = client.join().map_err(|_| anyhow::anyhow!("the client panicked"))??.text();
    ensure!(text.starts_with("1 "), "{text}");
    emperor.stop()
}

fn sleeps_on(ground: &Ground) -> Result<()> {
    let (emperor, socket) = sleeping(ground, "ids", "env = VERSION=1\n")?;
    let brain = emperor.brain_pid()?;
    procfs::signal(brain, Signal::SIGKILL);
    // Comes while nobody watches; the socket is the keeper's.
    let early = {
        let socket = socket.clone();
        std::thread::spawn(move || ask(&socket, "/"))
    };
    let text = early.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
    ensure!(text.starts_with("1 "), "{text}");
    emperor.loyal("shop.ini")?;
    emperor.says("stop", &["shop.ini"])?.success()?;
    ensure!(ask(&socket, "/").is_err(), "held, it listens nowhere");
    emperor.says("start", &["shop.ini"])?.success()?;
    ask(&socket, "/")?;
    let master = emperor.masters()[0];
    procfs::signal(master, Signal::SIGINT);
    asleep(&emperor, "shop.ini")?;
    emperor.drop_file("shop.ini", &ini("ids", "env = VERSION=2\n"))?;
    emperor.vassal_until("shop.ini", "to have read the edit", |vassal| vassal["file_revision"] == 2)?;
    asleep(&emperor, "shop.ini")?;
    let text = ask(&socket, "/")?;
    ensure!(text.starts_with("2 "), "{text}");
    emperor.stop()
}

fn fails(ground: &Ground) -> Result<()> {
    let (emperor, socket) = sleeping(ground, "no_such_module", "")?;
    ensure!(ask(&socket, "/").is_err(), "a client of an app that cannot be started is not kept waiting");
    let cursed = emperor.vassal_until("shop.ini", "to be cursed or asleep again", |vassal| {
        vassal["last_deployment"]["end"]["result"] == "failed"
    })?;
    ensure!(cursed["last_deployment"].to_string().contains("no_such_module"), "{cursed:#}");
    emperor.drop_file("shop.ini", &ini("ids", "env = VERSION=2\n"))?;
    asleep(&emperor, "shop.ini")?;
    let answer = wait::until_ok("the next client to be served", PATIENCE, || ask(&socket, "/"))?;
    ensure!(answer.starts_with("2 "), "{answer}");
    emperor.stop()
}
