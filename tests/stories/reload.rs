//! Reloads lose nothing: under load, on kept connections, with a request in flight, whatever is changed.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground},
    http::{self, Ask, Connection, Target},
    load::{Ledger, Load, Mode},
    nginx::Nginx,
    procfs,
    runner::Story,
    wait,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("reload/c12-under-keep-alive-load-loses-nothing", keep_alive).alone().within_s(1500),
    Story::new("reload/b4-under-load-of-fresh-connections-loses-nothing", fresh).alone().within_s(1500),
    Story::new("reload/behind-nginx-loses-nothing", behind_nginx).alone().within_s(1500),
    Story::new("reload/an-idle-connection-is-handed-over", idle_connection),
    Story::new("reload/a-request-in-flight-is-finished", in_flight),
    Story::new("reload/may-change-the-address", change_address),
    Story::new("reload/may-change-the-number-of-processes", change_processes),
    Story::new("reload/keeps-the-old-listeners-when-a-new-one-cannot-bind", new_listener_taken),
    Story::new("reload/leaves-no-process-or-descriptor-behind", leaves_nothing),
    Story::new("reload/can-be-waited-for", waited_for),
    Story::new("reload/who-is-told-of-its-end-meets-the-new-generation-only", told),
    Story::new("reload/in-the-same-instant-as-an-edit-deploys-the-edit", at_once),
];

/// Longest gap of a reloaded vassal above that of one that is left alone.
const GAP_MAX: Duration = Duration::from_millis(50);

/// The longest reloads go on, or so many of them.
const RELOADS_MAX: u32 = 200;

fn loaded(
    ground: &Ground,
    text: impl Fn(u32) -> String,
    target: impl Fn(&Emperor<'_>) -> Result<(Target, Option<Nginx>)>,
    mode: Mode,
) -> Result<()> {
    let length = ground::long_or(Duration::from_secs(600), Duration::from_secs(60));
    let quiet = ground::long_or(Duration::from_secs(60), Duration::from_secs(15));
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &text(0))?;
    emperor.loyal("shop.ini")?;
    let (target, nginx) = target(&emperor)?;
    // Left alone while the other is reloaded: what stalls the machine stalls both.
    let witness = ground.port()?;
    emperor.drop_file("witness.ini", &super::ini(witness, "hello", "processes = 2\n"))?;
    emperor.loyal("witness.ini")?;

    let alone = Load::on(&target, mode).run(quiet);
    alone.flawless()?;

    let witnessed = Load::on(witness, mode).start();
    let load = Load::on(&target, mode).start();
    let began = Instant::now();
    let mut touches = 0;
    while began.elapsed() < length && touches < RELOADS_MAX {
        emperor.touch("shop.ini")?;
        touches += 1;
        wait::pause(Duration::from_secs(1));
    }
    let reloaded = load.stop();
    let witnessed = witnessed.stop();
    let generation = emperor.loyal("shop.ini")?["generation"].as_u64().unwrap_or_default();
    ground.note(&format!("{touches} touches, generation {generation}: {reloaded}"));
    ground.note(&format!("left alone, before: {alone}"));
    ground.note(&format!("left alone, meanwhile: {witnessed}"));
    reloaded.flawless()?;
    ensure!(generation > u64::from(touches) / 3, "only {generation} generations after {touches} touches");
    gap_stays(alone.longest_gap.max(witnessed.longest_gap), &reloaded)?;
    if let Some(nginx) = nginx {
        nginx.stop()?;
    }
    emperor.stop()
}

fn gap_stays(left_alone: Duration, reloaded: &Ledger) -> Result<()> {
    let allowed = left_alone + GAP_MAX;
    ensure!(
        reloaded.longest_gap <= allowed,
        "nobody got an answer for {:?}; allowed are {allowed:?}",
        reloaded.longest_gap
    );
    Ok(())
}

fn keep_alive(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    loaded(ground, |_| super::ini(port, "hello", "processes = 2\n"), |_| Ok((port.into(), None)), Mode::KeepAlive)
}

fn fresh(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    loaded(ground, |_| super::ini(port, "hello", "processes = 2\n"), |_| Ok((port.into(), None)), Mode::Close)
}

fn behind_nginx(ground: &Ground) -> Result<()> {
    let socket = ground.path("shop.sock");
    let text = format!(
        "[uwsgi]\nsocket = {}\nchmod-socket = 666\npythonpath = {}\nmodule = hello\nprocesses = 2\n",
        socket.display(),
        ground::app("").display()
    );
    let to = format!("unix:{}", socket.display());
    let in_front = |_: &Emperor<'_>| {
        let nginx = Nginx::from_example(ground, "unix.conf", &[("unix:/run/empery-apps/shop.sock", to.clone())])?;
        Ok((nginx.port.into(), Some(nginx)))
    };
    loaded(ground, |_| text.clone(), in_front, Mode::KeepAlive)
}

/// A vassal of an emperor that answers with `ids`.
fn shop<'g>(ground: &'g Ground, port: u16, more: &str) -> Result<Emperor<'g>> {
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", more))?;
    emperor.loyal("shop.ini")?;
    Ok(emperor)
}

fn idle_connection(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = shop(ground, port, "")?;
    let mut kept = Connection::open(port, Duration::from_secs(10))?;
    let before = super::boot_of(&kept.ask(&Ask::get("/"))?);
    emperor.touch("shop.ini")?;
    super::boot_changes(port, &before)?;
    let family = emperor.vassal_until("shop.ini", "one generation to be left", |vassal| {
        vassal["workers"].as_array().is_some_and(|workers| workers.len() == 1)
    })?;
    // The worker that accepted it is gone; the connection is not.
    let after = super::boot_of(&kept.ask(&Ask::get("/"))?);
    ensure!(before != after, "the old generation answered: {family:#}");
    drop(kept);
    emperor.stop()
}

fn in_flight(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "slow", ""))?;
    let first = emperor.loyal("shop.ini")?["generation"].as_u64();
    let mut kept = Connection::open(port, Duration::from_secs(10))?;
    ensure!(kept.ask(&Ask::get("/"))?.text() == "at once");
    let gate = ground.path("gate");
    let path = format!("/wait{}", gate.display());
    let request = std::thread::spawn(move || http::get(port, &path));
    emperor.vassal_until("shop.ini", "a busy thread", |vassal| vassal["workers"][0]["busy_threads"] == 1)?;
    emperor.touch("shop.ini")?;
    emperor.vassal_until("shop.ini", "the next generation", |vassal| vassal["generation"].as_u64() > first)?;
    ensure!(http::get(port, "/")?.text() == "at once", "the new generation does not answer while the old one drains");
    ensure!(
        kept.ask(&Ask::get("/"))?.text() == "at once",
        "a client waits in the old generation for another's request"
    );
    fs::write(&gate, "")?;
    let answer = request.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
    ensure!(answer.status == 200 && answer.text() == "waited", "{answer:?}");
    emperor.stop()
}

fn change_address(ground: &Ground) -> Result<()> {
    let (old, new) = (ground.port()?, ground.port()?);
    let emperor = shop(ground, old, "env = VERSION=1\n")?;
    emperor.drop_file("shop.ini", &super::ini(new, "ids", "env = VERSION=2\n"))?;
    super::version_becomes(new, "2")?;
    wait::until("the old address to be given up", Duration::from_secs(10), || {
        http::get(old, "/").is_err().then_some(())
    })?;
    emperor.stop()
}

fn change_processes(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = shop(ground, port, "processes = 1\n")?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "processes = 3\n"))?;
    emperor.vassal_until("shop.ini", "three workers", |vassal| {
        vassal["state"] == "loyal" && vassal["workers"].as_array().is_some_and(|workers| workers.len() == 3)
    })?;
    emperor.stop()
}

fn new_listener_taken(ground: &Ground) -> Result<()> {
    let (port, taken) = (ground.port()?, ground.port()?);
    let holder = std::net::TcpListener::bind(("127.0.0.1", taken))?;
    let emperor = shop(ground, port, "env = VERSION=1\n")?;
    emperor.drop_file(
        "shop.ini",
        &super::ini(port, "ids", &format!("http-socket = 127.0.0.1:{taken}\nenv = VERSION=2\n")),
    )?;
    let failed = emperor.deploy_failed("shop.ini")?;
    ensure!(failed.to_string().contains(&taken.to_string()), "the address is not named: {failed:#}");
    ensure!(super::version_of(&http::get(port, "/")?) == "1");
    drop(holder);
    emperor.touch("shop.ini")?;
    super::version_becomes(port, "2")?;
    ensure!(super::version_of(&http::get(taken, "/")?) == "2");
    emperor.stop()
}

fn leaves_nothing(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = shop(ground, port, "processes = 2\n")?;
    let keeper = emperor.keeper_pid()?;
    let census = || -> Result<(usize, Vec<usize>)> {
        let [master] = emperor.masters()[..] else { bail!("not one master") };
        let pids = [keeper, emperor.brain_pid()?, master];
        Ok((procfs::descendants(keeper).len(), pids.iter().filter_map(|pid| procfs::descriptors(*pid)).collect()))
    };
    let reload = || emperor.json(Ask::post("/api/v1/vassals/shop.ini/reload?wait=20s"));
    // The first reloads open what is opened once; the ones after them must add nothing.
    for _ in 0..10 {
        reload()?;
    }
    let settled = |census: &dyn Fn() -> Result<(usize, Vec<usize>)>, wanted: Option<&(usize, Vec<usize>)>| {
        wait::until_ok("the census to settle", Duration::from_secs(10), || {
            let now = census()?;
            match wanted {
                Some((members, descriptors)) => {
                    let grows = now.1.iter().zip(descriptors).any(|(now, before)| now > before);
                    ensure!(now.0 == *members && !grows, "{now:?} instead of {wanted:?}");
                }
                None => ensure!(now.0 == 5, "keeper's family has {} members", now.0),
            }
            Ok(now)
        })
    };
    let before = settled(&census, None)?;
    for _ in 0..10 {
        let operation = reload()?;
        ensure!(operation["end"]["result"] == "succeeded", "{operation:#}");
    }
    settled(&census, Some(&before))?;
    emperor.stop()
}

fn waited_for(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let slow_import = ground.write("slow_import.py", "import time\ntime.sleep(1)\nfrom hello import application\n")?;
    let emperor = Emperor::start(ground)?;
    let text = super::ini(port, "slow_import", &format!("pythonpath = {}\n", slow_import.with_file_name("").display()));
    emperor.drop_file("shop.ini", &text)?;
    emperor.loyal("shop.ini")?;
    let asked = emperor.ask(Ask::post("/api/v1/vassals/shop.ini/reload"))?;
    ensure!(asked.status == 202, "{asked:?}");
    let short = emperor.ask(Ask::get(&format!("{}?wait=50ms", asked.header("location").unwrap_or_default())))?;
    ensure!(short.status == 202, "an expired wait answers 202 again, not {}", short.status);
    let ended = emperor.ask(Ask::get(&format!("{}?wait=20s", asked.header("location").unwrap_or_default())))?;
    ensure!(ended.status == 200 && ended.text().contains("succeeded"), "{ended:?}");
    emperor.stop()
}

fn answers_with(version: &str, answer: &http::Answer) -> Result<()> {
    let text = answer.text();
    ensure!(text.split(' ').next() == Some(version), "version {version} was deployed, but this answered: {text}");
    Ok(())
}

/// A pipeline that deploys and then looks must not meet what was there before.
fn told(ground: &Ground) -> Result<()> {
    const VERSIONS: u32 = 40;
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    let file = |version: &str| super::ini(port, "ids", &format!("processes = 4\nenv = VERSION={version}\n"));
    emperor.drop_file("shop.ini", &file("0"))?;
    emperor.loyal("shop.ini")?;
    let mut kept = Vec::new();
    for _ in 0..8 {
        kept.push(Connection::open(port, Duration::from_secs(10))?);
    }
    for version in (1..=VERSIONS).map(|number| number.to_string()) {
        for connection in &mut kept {
            connection.ask(&Ask::get("/"))?;
        }
        emperor.drop_file("shop.ini", &file(&version))?;
        let ended = emperor.json(Ask::post("/api/v1/vassals/shop.ini/reload?wait=60s"))?;
        for _ in 0..16 {
            answers_with(&version, &http::get(port, "/")?)?;
        }
        for connection in &mut kept {
            answers_with(&version, &connection.ask(&Ask::get("/"))?)?;
        }
        ensure!(ended["end"]["result"] == "succeeded", "{ended:#}");
    }
    drop(kept);
    emperor.stop()
}

fn at_once(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    let file = |version: &str, module: &str| super::ini(port, module, &format!("env = VERSION={version}\n"));
    emperor.drop_file("shop.ini", &file("0", "ids"))?;
    let deployed = |version: &str| {
        let vassal = emperor.vassal("shop.ini")?;
        ensure!(vassal["serving_revision"] == vassal["file_revision"], "version {version} was written: {vassal:#}");
        answers_with(version, &http::get(port, "/")?)
    };
    // Not even the first one is waited for.
    emperor.says("reload", &["shop.ini"])?.success()?;
    for version in ["1", "2", "3", "4", "5"] {
        emperor.drop_file("shop.ini", &file(version, "ids"))?;
        emperor.says("reload", &["shop.ini"])?.success()?;
        deployed(version)?;
    }
    emperor.drop_file("shop.ini", &file("6", "no_such_module"))?;
    let refused = emperor.says("reload", &["shop.ini"])?;
    ensure!(refused.code == 3, "a broken edit: exit code {}: {}", refused.code, refused.stdout);
    emperor.drop_file("shop.ini", &file("7", "ids"))?;
    emperor.says("reload", &["shop.ini"])?.success()?;
    deployed("7")?;
    emperor.stop()
}
