//! A vassal without an emperor: it replaces its own binary, recycles workers, keeps its word about mercy.

use std::{fs, os::unix::fs::MetadataExt, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    ground::{self, Ground},
    http::{self, Ask, Connection},
    load::{Load, Mode},
    procfs,
    runner::Story,
    vassal::{Vassal, surroundings},
    wait,
};
use nix::sys::signal::Signal;

pub(crate) const STORIES: &[Story] = &[
    Story::new("alone/hup-takes-a-changed-binary-with-the-same-pid", changed_binary),
    Story::new("alone/a-changed-binary-goes-on-with-the-log-and-sees-what-is-touched", changed_binary_with_log),
    Story::new("alone/b32-a-configuration-from-descriptors-outlives-reloads-and-a-new-binary", from_descriptors),
    Story::new("alone/r11-a-reload-keeps-more-idle-connections-than-the-master-was-given-descriptors", many_idle),
    Story::new("alone/recycling-workers-loses-nothing", recycling).alone(),
    Story::new("alone/b15-a-stop-finishes-what-is-in-flight", stop_finishes),
    Story::new("alone/a-second-signal-stops-at-once", second_signal),
    Story::new("alone/b15-mercy-ends", mercy_ends),
    Story::new("alone/a25-threads-started-at-import-are-named-and-run", threads_at_import),
    Story::new("alone/workers-leave-when-their-master-is-killed", master_killed),
    Story::new("alone/b28-a-listen-queue-above-somaxconn-is-cut-and-told", long_queue),
    Story::new("alone/an-address-need-not-be-there-with-freebind", freebind),
    Story::new("alone/requests-of-the-router-have-what-its-options-say", router),
    Story::new("alone/b27-a-head-longer-than-buffer-size-is-answered-431", long_head),
];

fn changed_binary(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let bin = ground.lend_binaries()?;
    ground.write("app.ini", &super::ini(port, "ids", "master = true\nprocesses = 2\n"))?;
    let mut command = Command::new(bin.join("vassal"));
    surroundings(&mut command);
    command.current_dir(ground.directory()).arg("app.ini");
    let mut vassal = Vassal::adopt(ground, ground.directory(), command)?;
    let before = super::boot_of(&vassal.answers(port)?);
    let load = Load::on(port, Mode::KeepAlive).start();
    load.goes_on(50)?;

    // An upgrade as a package manager does it: a new file under the old name.
    fs::copy(ground::binary("vassal")?, bin.join("vassal.new"))?;
    fs::rename(bin.join("vassal.new"), bin.join("vassal"))?;
    let new = fs::metadata(bin.join("vassal"))?.ino();
    vassal.signal(Signal::SIGHUP);
    super::boot_changes(port, &before)?;
    wait::until("the new binary under the old pid", Duration::from_secs(5), || {
        let running = fs::metadata(format!("/proc/{}/exe", vassal.master.pid())).ok()?.ino();
        (running == new).then_some(())
    })?;
    load.goes_on(50)?;
    load.stop().flawless()?;
    vassal.stop()
}

fn changed_binary_with_log(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let bin = ground.lend_binaries()?;
    let app = "def application(env, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n";
    ground.write("shop.py", app)?;
    let text = format!(
        "[uwsgi]\nmaster = true\nhttp-socket = 127.0.0.1:{port}\nwsgi-file = shop.py\nlogto = app.log\ntouch-reload = touched\n"
    );
    ground.write("app.ini", &text)?;
    let mut command = Command::new(bin.join("vassal"));
    surroundings(&mut command);
    command.current_dir(ground.directory()).arg("app.ini");
    let mut vassal = Vassal::adopt(ground, ground.directory(), command)?;
    vassal.answers(port)?;
    let log = |name: &str| fs::read_to_string(ground.path(name)).unwrap_or_default();
    let logs = |text: &str| {
        wait::until_ok("a line of the log", Duration::from_secs(20), || {
            ensure!(log("app.log").contains(text), "no {text:?} in\n{}", log("app.log"));
            Ok(())
        })
    };
    logs("generation 1 serves")?;
    // As logrotate does it.
    fs::rename(ground.path("app.log"), ground.path("app.log.1"))?;
    ground.write("shop.py", "def application(env, start_response:\n")?;
    fs::copy(ground::binary("vassal")?, bin.join("vassal.new"))?;
    fs::rename(bin.join("vassal.new"), bin.join("vassal"))?;
    vassal.signal(Signal::SIGHUP);
    logs("SyntaxError")?;
    let old = log("app.log.1");
    ensure!(!old.contains("SyntaxError"), "the renamed file is written to:\n{old}");
    ground.write("shop.py", app)?;
    wait::until_ok("a touched file to be seen", Duration::from_secs(30), || {
        // Whoever saw none gets another.
        ground.write("touched", "")?;
        wait::pause(Duration::from_secs(2));
        ensure!(log("app.log").contains("touched has been touched"), "{}", log("app.log"));
        Ok(())
    })?;
    wait::until_ok("the mended app to serve", Duration::from_secs(20), || {
        let log = log("app.log");
        let since = log.split_once("touched has been touched").map_or("", |(_, since)| since);
        ensure!(since.contains(" serves"), "{log}");
        Ok(())
    })?;
    ensure!(log("app.log.1") == old, "the renamed file is written to:\n{}", log("app.log.1"));
    vassal.answers(port)?;
    vassal.stop()
}

fn from_descriptors(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let bin = ground.lend_binaries()?;
    ground.write("app.ini", &super::ini(port, "ids", "master = true\n"))?;
    ground.write("more.ini", "[uwsgi]\nenv = VERSION=from-3\n")?;
    let mut command = Command::new("/bin/sh");
    surroundings(&mut command);
    // Whoever reads them again finds nothing behind their ends.
    let line = "exec \"$0\" --ini - --ini fd://3 < app.ini 3< more.ini";
    command.current_dir(ground.directory()).args(["-c", line]).arg(bin.join("vassal"));
    let mut vassal = Vassal::adopt(ground, ground.directory(), command)?;
    for new_binary in [false, true] {
        let first = vassal.answers(port)?;
        ensure!(first.text().starts_with("from-3 "), "it answers {}", first.text());
        if new_binary {
            fs::copy(ground::binary("vassal")?, bin.join("vassal.new"))?;
            fs::rename(bin.join("vassal.new"), bin.join("vassal"))?;
        }
        vassal.signal(Signal::SIGHUP);
        super::boot_changes(port, &super::boot_of(&first))?;
    }
    ensure!(vassal.answers(port)?.text().starts_with("from-3 "), "a new binary knows what the one before it read");
    vassal.stop()
}

fn many_idle(ground: &Ground) -> Result<()> {
    const CLIENTS: usize = 300;
    let port = ground.port()?;
    ground.write("app.ini", &super::ini(port, "ids", "master = true\nmax-fd = 1000\n"))?;
    let mut command = Command::new("/bin/sh");
    surroundings(&mut command);
    let vassal = ground::binary("vassal")?.display().to_string();
    command.current_dir(ground.directory()).args(["-c", "ulimit -S -n 100; exec \"$0\" app.ini", &vassal]);
    let mut vassal = Vassal::adopt(ground, ground.directory(), command)?;
    let before = super::boot_of(&vassal.answers(port)?);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Connection::open(port, Duration::from_secs(20))?;
        ensure!(super::boot_of(&client.ask(&Ask::get("/"))?) == before);
        clients.push(client);
    }
    let old = *procfs::children(vassal.master.pid()).last().context("no worker")?;
    vassal.signal(Signal::SIGHUP);
    super::boot_changes(port, &before)?;
    wait::until("the old worker to be gone", Duration::from_secs(20), || (!procfs::alive(old)).then_some(()))?;
    for client in &mut clients {
        ensure!(super::boot_of(&client.ask(&Ask::get("/"))?) != before, "still the old generation");
    }
    let told = vassal.master.output();
    ensure!(!told.contains("no descriptor") && !told.contains("DAMN"), "{told}");
    vassal.stop()
}

fn recycling(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let more = "master = true\nprocesses = 2\nmax-requests = 50\nmin-worker-lifetime = 0\n";
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "ids", more))?;
    vassal.answers(port)?;
    let load = Load::on(port, Mode::KeepAlive).start();
    load.goes_on(1_000)?;
    let ledger = load.stop();
    ledger.flawless()?;
    let mut pids: Vec<&str> = ledger.bodies.iter().filter_map(|(body, _)| body.split(' ').nth(2)).collect();
    pids.sort_unstable();
    pids.dedup();
    ground.note(&format!("{ledger}, by {} workers", pids.len()));
    ensure!(pids.len() > 4, "1,000 requests were served by {pids:?} only");
    vassal.stop()
}

/// A request that somebody waits for.
type Pending = std::thread::JoinHandle<Result<http::Answer, http::Failure>>;

/// A vassal with one request inside that waits for `gate`.
fn busy(ground: &Ground, more: &str) -> Result<(Vassal, Pending)> {
    let (port, stats) = (ground.port()?, ground.port()?);
    let text = super::ini(port, "slow", &format!("master = true\nstats = 127.0.0.1:{stats}\n{more}"));
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.answers(port)?;
    let path = format!("/wait{}", ground.path("gate").display());
    let request = std::thread::spawn(move || http::get(port, &path));
    wait::until("the request to be inside", Duration::from_secs(5), || {
        super::stats::read(stats).ok()?.to_string().contains("/wait/").then_some(())
    })?;
    Ok((vassal, request))
}

fn stop_finishes(ground: &Ground) -> Result<()> {
    let (mut vassal, request) = busy(ground, "")?;
    vassal.signal(Signal::SIGTERM);
    vassal.master.says("stopping", Duration::from_secs(5))?;
    ensure!(vassal.master.alive(), "it left with a request in flight");
    fs::write(ground.path("gate"), "")?;
    let answer = request.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
    ensure!(answer.text() == "waited", "{answer:?}");
    ensure!(vassal.master.exited(Duration::from_secs(5))?.success());
    Ok(())
}

fn second_signal(ground: &Ground) -> Result<()> {
    let (mut vassal, request) = busy(ground, "")?;
    vassal.signal(Signal::SIGTERM);
    vassal.master.says("stopping", Duration::from_secs(5))?;
    vassal.signal(Signal::SIGTERM);
    vassal.master.exited(Duration::from_secs(5))?;
    let cut = request.join().map_err(|_| anyhow::anyhow!("the client panicked"))?;
    ensure!(!cut.is_ok_and(|answer| answer.status == 200), "a request that was cut got a 200");
    Ok(())
}

fn mercy_ends(ground: &Ground) -> Result<()> {
    let (mut vassal, request) = busy(ground, "worker-reload-mercy = 1\n")?;
    vassal.signal(Signal::SIGTERM);
    vassal.master.exited(Duration::from_secs(5))?;
    let told = vassal.master.output();
    ensure!(told.contains("where it was when its mercy was over") && told.contains("in application"), "{told}");
    let cut = request.join().map_err(|_| anyhow::anyhow!("the client panicked"))?;
    ensure!(!cut.is_ok_and(|answer| answer.status == 200), "a request that was cut got a 200");
    Ok(())
}

fn threads_at_import(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let text = super::ini(port, "threads_at_import", "master = true\nprocesses = 2\n");
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    let names = vassal.answers(port)?.text();
    ensure!(names.contains("heart-of-the-agent"), "the app's thread does not run in the worker: {names}");
    let said = vassal.master.output();
    ensure!(said.contains("heart-of-the-agent") && said.contains("lazy-apps"), "no warning names the thread:\n{said}");
    vassal.stop()
}

fn master_killed(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "hello", "master = true\nprocesses = 2\n"))?;
    vassal.answers(port)?;
    let family = vassal.family();
    vassal.master.killed()?;
    wait::until("zygote and workers to leave", Duration::from_secs(5), || {
        family.iter().all(|pid| !procfs::alive(*pid)).then_some(())
    })
    .context("a vassal alone leaves nothing behind")
}

fn long_queue(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut vassal =
        Vassal::from_ini(ground, "app.ini", &super::ini(port, "hello", "master = true\nlisten = 50000\n"))?;
    vassal.answers(port)?;
    let told = vassal.master.output();
    ensure!(told.contains("net.core.somaxconn") && told.contains("not 50000"), "it said only:\n{told}");
    vassal.stop()
}

fn long_head(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut vassal =
        Vassal::from_ini(ground, "app.ini", &super::ini(port, "hello", "master = true\nbuffer-size = 4096\n"))?;
    vassal.answers(port)?;
    let answer = http::ask(port, http::Ask::get("/").header("X-Long", &"a".repeat(5_000)))?;
    ensure!(answer.status == 431, "the answer was {}: {}", answer.status, answer.text());
    vassal.stop()
}

fn freebind(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    // Of a network for documentation (RFC 5737): no machine has it.
    let more = format!("http-socket = 192.0.2.7:{port}\n");
    let mut without = Vassal::from_ini(ground, "without.ini", &super::ini(port, "ids", &more))?;
    let status = without.master.exited(Duration::from_secs(20))?;
    let said = without.master.output();
    ensure!(status.code() == Some(1) && said.contains("192.0.2.7"), "{status}:\n{said}");
    let text = super::ini(port, "ids", &format!("{more}freebind = true\n"));
    let mut with = Vassal::from_ini(ground, "with.ini", &text)?;
    with.answers(port)?;
    // As proc_net_tcp(5) has it: the address in the order of this machine's bytes, and 0A for a listening socket.
    let wanted = format!("{:08X}:{port:04X} 00000000:0000 0A", u32::from_ne_bytes([192, 0, 2, 7]));
    let sockets = fs::read_to_string("/proc/net/tcp")?;
    ensure!(sockets.contains(&wanted), "{wanted} is not in\n{sockets}");
    with.stop()
}

fn router(ground: &Ground) -> Result<()> {
    let (port, socket) = (ground.port()?, ground.port()?);
    let more = format!(
        "http = 127.0.0.1:{port}\nhttp-var = HTTP_X_SITE=ours\nhttp-server-name-as-http-host = true\n\
         http-path-info-no-decode-slashes = true\n"
    );
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(socket, "show", &more))?;
    vassal.answers(port)?;
    let shown = |port: u16| -> Result<serde_json::Value> {
        let ask = http::Ask::get("/a%2Fb").header("X-Site", "theirs");
        Ok(serde_json::from_slice(&http::ask(port, ask)?.body)?)
    };
    let router = shown(port)?;
    ensure!(router["HTTP_X_SITE"] == "ours" && router["PATH_INFO"] == "/a/b", "{router:#}");
    ensure!(router["SERVER_NAME"] == router["HTTP_HOST"], "{router:#}");
    let socket = shown(socket)?;
    ensure!(socket["HTTP_X_SITE"] == "theirs" && socket["PATH_INFO"] == "/a%2Fb", "{socket:#}");
    ensure!(socket["SERVER_NAME"] != socket["HTTP_HOST"], "{socket:#}");
    vassal.stop()
}
