//! Reloads while a client is midway: through a head, a body, an answer. What the old generation has begun it finishes,
//! whatever the client does, on every kind of socket.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    ground::Ground,
    http::{self, Connection, Target},
    procfs,
    runner::Story,
    tls,
    vassal::Vassal,
    wait,
};
use nix::sys::signal::Signal;

pub(crate) const STORIES: &[Story] = &[
    Story::new("midway/a-head-is-finished-by-the-old-generation", head),
    Story::new("midway/a-body-is-finished-by-the-old-generation", body),
    Story::new("midway/a-streaming-answer-is-finished-by-the-old-generation", answer),
    Story::new("midway/a-streaming-answer-over-https-is-finished", https),
    Story::new("midway/a-packet-of-the-uwsgi-protocol-is-finished", packet),
    Story::new("midway/c21-at-most-two-generations-and-one-that-leaves-are-alive", crowd),
];

const SOON: Duration = Duration::from_secs(30);

/// A vassal with `heavy` on a TCP port and a unix socket, both for HTTP.
fn start(ground: &Ground, more: &str) -> Result<(Vassal, [Target; 2])> {
    let (port, path) = (ground.port()?, ground.path("http.sock"));
    let more = format!("master = true\nhttp-socket = {}\n{more}", path.display());
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "heavy", &more))?;
    vassal.answers(port)?;
    Ok((vassal, [port.into(), Target::from(&path)]))
}

/// Reloads, and waits until the next generation answers.
fn reload(vassal: &Vassal, target: &Target) -> Result<()> {
    let before = http::get(target, "/")?.text();
    vassal.signal(Signal::SIGHUP);
    wait::until_ok("the next generation to answer", SOON, || {
        ensure!(http::get(target, "/")?.text() != before, "still the old one");
        Ok(())
    })
}

/// Sends `first`, reloads, sends `rest`, on every socket: the one that got the first part answers.
fn in_two(ground: &Ground, first: &str, rest: &str) -> Result<()> {
    let (vassal, targets) = start(ground, "")?;
    for target in &targets {
        let old = http::get(target, "/")?.text();
        let mut client = Connection::open(target, SOON)?;
        client.send(first.as_bytes())?;
        // It is accepted, and what came of it is read, before the worker is asked to go.
        ensure!(http::get(target, "/")?.text() == old);
        reload(&vassal, target)?;
        client.send(rest.as_bytes())?;
        let answer = client.answer(false)?;
        ensure!(answer.status == 200 && answer.text() == old, "{target:?}: {answer:?} instead of {old}");
    }
    vassal.stop()
}

fn head(ground: &Ground) -> Result<()> {
    in_two(ground, "GET / HTTP/1.1\r\nHo", "st: localhost\r\n\r\n")
}

fn body(ground: &Ground) -> Result<()> {
    in_two(ground, "POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n01234", "56789")
}

fn answer(ground: &Ground) -> Result<()> {
    let (vassal, targets) = start(ground, "processes = 2\n")?;
    for (number, target) in targets.iter().enumerate() {
        let gate = ground.path(&format!("gate{number}"));
        let mut client = Connection::open(target, SOON)?;
        client.send(format!("GET /stream/10{} HTTP/1.1\r\nHost: localhost\r\n\r\n", gate.display()).as_bytes())?;
        let request = std::thread::spawn(move || client.answer(false));
        reload(&vassal, target)?;
        fs::write(&gate, "")?;
        let answer = request.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
        ensure!(answer.text().lines().count() == 10, "{target:?}: {answer:?}");
    }
    vassal.stop()
}

fn https(ground: &Ground) -> Result<()> {
    let (pair, port, plain) = (tls::pair(ground, "site", "localhost", None, 30)?, ground.port()?, ground.port()?);
    let more = format!("master = true\nprocesses = 2\nhttps = 127.0.0.1:{port},site.crt,site.key\n");
    let vassal = Vassal::from_ini(ground, "app.ini", &super::ini(plain, "heavy", &more))?;
    tls::answers(&pair.certificate, "localhost", port).map_err(|error| error.context(vassal.master.output()))?;
    for version in ["--http1.1", "--http2"] {
        let gate = ground.path(&format!("gate{version}"));
        let mut command = tls::curl(&pair.certificate, "localhost", port, &format!("/stream/10{}", gate.display()));
        command.args(["--no-buffer", version]);
        let mut curl = ground.start("curl", command)?;
        curl.says("line 4", SOON).context("the first half of the answer")?;
        reload(&vassal, &plain.into())?;
        fs::write(&gate, "")?;
        let status = curl.exited(SOON)?;
        ensure!(status.success() && curl.output().contains("line 9"), "{version}: {status}\n{}", curl.output());
    }
    vassal.stop()
}

fn packet(ground: &Ground) -> Result<()> {
    let path = ground.path("uwsgi.sock");
    let (vassal, [plain, _]) = start(ground, &format!("socket = {}\n", path.display()))?;
    let old = http::get(&plain, "/")?.text();
    let vars = [("REQUEST_METHOD", "GET"), ("PATH_INFO", "/"), ("REQUEST_URI", "/"), ("SERVER_PROTOCOL", "HTTP/1.1")];
    let block: Vec<u8> = vars
        .iter()
        .flat_map(|(name, value)| [name, value])
        .flat_map(|text| [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat())
        .collect();
    let mut packet = vec![0];
    packet.extend((block.len() as u16).to_le_bytes());
    packet.push(0);
    packet.extend(block);
    let mut client = Connection::open(&path, SOON)?;
    client.send(&packet[..20])?;
    ensure!(http::get(&plain, "/")?.text() == old);
    reload(&vassal, &plain)?;
    client.send(&packet[20..])?;
    let answer = client.answer(false)?;
    ensure!(answer.status == 200 && answer.text() == old, "{answer:?}");
    vassal.stop()
}

fn crowd(ground: &Ground) -> Result<()> {
    let (vassal, [plain, _]) = start(ground, "")?;
    let master = vassal.master.pid();
    let mut most = 0;
    for _ in 0..40 {
        vassal.signal(Signal::SIGHUP);
        let _ = wait::throughout("the reloading", Duration::from_millis(25), || {
            most = most.max(procfs::children(master).into_iter().filter(|pid| procfs::alive(*pid)).count());
            true
        });
        ensure!(http::get(&plain, "/")?.status == 200);
    }
    // A zygote and a worker each.
    ensure!(most <= 6, "{most} processes of one vassal at once");
    ground.note(&format!("at most {most} processes in 40 reloads, one every 25 ms"));
    wait::until("one generation to be left", SOON, || (procfs::children(master).len() == 2).then_some(()))?;
    vassal.stop()
}
