//! TLS and HTTP/2: the gateway before reloads, deaths and bad certificates, and before clients that mean no good (H15).

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground, Skip},
    process::{self, Spawned},
    procfs,
    runner::Story,
    tls::{self, Pair},
    vassal::{BOOTED_WITHIN, Vassal, surroundings},
    wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("tls/reloads-lose-nothing-over-http2-and-http1", reloads).alone().within_s(300),
    Story::new("tls/a-certificate-is-replaced-without-a-reload-and-a-bad-one-is-not", replaced),
    Story::new("tls/h15-a-reload-with-a-bad-certificate-keeps-the-old", bad_at_reload),
    Story::new("tls/a-certificate-for-each-name", names),
    Story::new("tls/client-certificates", client_certificates),
    Story::new("tls/b46-http-to-https", to_https),
    Story::new("tls/a-killed-gateway-is-back-within-a-second", gateway_killed),
    Story::new("tls/a-killed-master-loses-nothing", master_killed).alone().within_s(120),
    Story::new("tls/hup-takes-a-changed-binary-and-loses-nothing", changed_binary).alone(),
    Story::new("tls/the-gateway-leaves-with-a-master-that-stood-alone", alone),
    Story::new("tls/a-stop-finishes-what-is-in-flight", stop_finishes),
    Story::new("tls/the-private-key-is-the-gateways-alone", key_is_private),
    Story::new("tls/a-key-that-only-root-may-read-is-renewed-under-an-emperor", renewed_by_the_keeper).within_s(120),
    Story::new("tls/h15-a-hello-byte-by-byte-and-without-a-name", byte_by_byte),
    Story::new("tls/h15-old-versions-are-refused", old_versions),
    Story::new("tls/h15-a-thousand-half-handshakes", half_handshakes),
    Story::new("tls/bodies-stream-both-ways", bodies),
    Story::new("tls/a-client-cannot-speak-for-the-gateway", forged),
    Story::new("tls/scanned", scanned).within_s(300),
];

const HOST: &str = "localhost";

/// A vassal's file with `https` on this port.
pub(super) fn ini(port: u16, app: &str, more: &str) -> String {
    format!(
        "[uwsgi]\nhttps = 127.0.0.1:{port},site.crt,site.key\nwsgi-file = {}\nmaster = true\n{more}",
        ground::app(&format!("{app}.py")).display()
    )
}

fn site(ground: &Ground) -> Result<Pair> {
    tls::pair(ground, "site", HOST, None, 30)
}

/// A vassal alone that answers.
fn serving(ground: &Ground, app: &str, more: &str) -> Result<(Vassal, Pair, u16)> {
    let (pair, port) = (site(ground)?, ground.port()?);
    let vassal = Vassal::from_ini(ground, "app.ini", &ini(port, app, more))?;
    match tls::answers(&pair.certificate, HOST, port) {
        Ok(_) => Ok((vassal, pair, port)),
        Err(error) => Err(error.context(vassal.master.output())),
    }
}

/// The gateway of a vassal.
pub(super) fn gateway_of(master: i32) -> Result<i32> {
    let children = procfs::children(master);
    let gateway = children.iter().find(|pid| procfs::command_line(**pid).starts_with("vassal-gateway"));
    gateway.copied().with_context(|| format!("no gateway among {children:?}"))
}

/// h2load(1) in the background until told otherwise.
fn h2load(ground: &Ground, port: u16, seconds: u64, arguments: &[&str]) -> Result<Spawned> {
    if process::run(Command::new("h2load")).is_err() {
        bail!(Skip("h2load (nghttp2-client) is not installed".to_owned()));
    }
    let mut command = Command::new("h2load");
    command.args(["-c4", &format!("-D{seconds}"), "--warm-up-time=0"]).args(arguments);
    command.arg(format!("https://127.0.0.1:{port}/"));
    ground.start("h2load", command)
}

/// That every request was answered with 2xx; how many these were.
fn flawless(mut load: Spawned, within: Duration) -> Result<u64> {
    load.exited(within)?;
    let said = load.output();
    let line = said.lines().find(|line| line.starts_with("requests:")).context(said.clone())?;
    let number = |after: &str| {
        let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let at = words.iter().position(|word| *word == after)?;
        words[at - 1].parse::<u64>().ok()
    };
    let good = said.lines().find(|line| line.starts_with("status codes:")).unwrap_or_default();
    ensure!(
        number("failed") == Some(0) && number("errored") == Some(0) && number("timeout") == Some(0),
        "some requests failed: {said}"
    );
    ensure!(good.contains("0 3xx, 0 4xx, 0 5xx"), "some answers were no good: {said}");
    number("succeeded").filter(|count| *count > 0).context(said)
}

fn reloads(ground: &Ground) -> Result<()> {
    const SECONDS: u64 = 20;
    let emperor = Emperor::start(ground)?;
    let port = ground.port()?;
    tls::pair(ground, "vassals/site", HOST, None, 30)?;
    emperor.drop_file("shop.ini", &ini(port, "hello", "processes = 2\ndisable-logging = true\n"))?;
    let master = emperor.loyal("shop.ini")?["master_pid"].as_i64().context("no master")?;
    let gateway = gateway_of(i32::try_from(master)?)?;
    let http2 = h2load(ground, port, SECONDS, &["-m4"])?;
    let http1 = h2load(ground, port, SECONDS, &["--h1"])?;
    let began = Instant::now();
    let mut touches = 0;
    while began.elapsed() < Duration::from_secs(SECONDS - 2) {
        emperor.touch("shop.ini")?;
        touches += 1;
        wait::pause(Duration::from_secs(1));
    }
    let (http2, http1) = (flawless(http2, Duration::from_secs(60))?, flawless(http1, Duration::from_secs(60))?);
    let generation = emperor.loyal("shop.ini")?["generation"].as_u64().unwrap_or_default();
    ground.note(&format!(
        "{touches} touches, generation {generation}: {http2} requests over HTTP/2, {http1} over HTTP/1.1"
    ));
    ensure!(generation > touches / 3, "only {generation} generations after {touches} touches");
    ensure!(gateway_of(i32::try_from(master)?)? == gateway, "a reload of the app started another gateway");
    emperor.stop()
}

/// Which import of `ids` answered.
fn boot_of(answer: &str) -> String {
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// Puts another pair in the place of the site's, as certbot does: new files under the old names.
fn replace(ground: &Ground, old: &Pair, new: &Pair) -> Result<()> {
    for (from, to) in [(&new.certificate, &old.certificate), (&new.key, &old.key)] {
        let beside = ground.path("beside");
        fs::copy(from, &beside)?;
        fs::rename(beside, to)?;
    }
    Ok(())
}

fn replaced(ground: &Ground) -> Result<()> {
    let (mut vassal, pair, port) = serving(ground, "ids", "")?;
    let gateway = gateway_of(vassal.master.pid())?;
    let boot = boot_of(&tls::get(&pair.certificate, HOST, port, "/", &[])?);
    let next = tls::pair(ground, "next", HOST, None, 60)?;
    let wanted = tls::serial_of(&next.certificate)?;
    replace(ground, &pair, &next)?;
    wait::until_ok("the new certificate", Duration::from_secs(20), || {
        ensure!(tls::serial(HOST, port)? == wanted);
        Ok(())
    })?;
    vassal.master.says("has been replaced", Duration::from_secs(5))?;
    // A key that does not fit, no key at all, and an expired pair: none of them takes the place of a good one.
    let expired = tls::expired(ground, "expired", HOST)?;
    let stranger = tls::pair(ground, "stranger", HOST, None, 30)?;
    let mut bad = vec![Pair { certificate: stranger.certificate.clone(), key: next.key.clone() }];
    bad.push(Pair { certificate: ground.write("nonsense", "nonsense")?, key: next.key.clone() });
    bad.push(expired);
    for (count, bad) in bad.iter().enumerate() {
        replace(ground, &pair, bad)?;
        wait::until("the bad certificate to be told", Duration::from_secs(20), || {
            (vassal.master.output().matches("the old one stays").count() > count).then_some(())
        })?;
        ensure!(tls::serial(HOST, port)? == wanted, "a bad certificate is shown");
    }
    ensure!(gateway_of(vassal.master.pid())? == gateway && vassal.master.alive());
    ensure!(boot_of(&tls::get(&next.certificate, HOST, port, "/", &[])?) == boot, "the app was reloaded");
    vassal.stop()
}

fn bad_at_reload(ground: &Ground) -> Result<()> {
    let (vassal, pair, port) = serving(ground, "ids", "")?;
    let gateway = gateway_of(vassal.master.pid())?;
    ground.write("bad.crt", "no certificate")?;
    for (count, certificate) in ["bad.crt", "missing.crt"].iter().enumerate() {
        ground.write("app.ini", &ini(port, "ids", "").replace("site.crt", certificate))?;
        vassal.signal(Signal::SIGHUP);
        wait::until("the deploy to fail", BOOTED_WITHIN, || {
            (vassal.master.output().matches("what served before serves on").count() > count).then_some(())
        })?;
        ensure!(vassal.master.output().contains(certificate), "{}", vassal.master.output());
        tls::get(&pair.certificate, HOST, port, "/", &[])?;
    }
    ensure!(gateway_of(vassal.master.pid())? == gateway, "the gateway was replaced for nothing");
    // A change about the gateway itself brings another one, and the old one goes.
    ground.write("app.ini", &ini(port, "ids", "http-keepalive = 30\n"))?;
    vassal.signal(Signal::SIGHUP);
    wait::until("another gateway", BOOTED_WITHIN, || {
        gateway_of(vassal.master.pid()).ok().filter(|other| *other != gateway && !procfs::alive(gateway))
    })?;
    tls::get(&pair.certificate, HOST, port, "/", &[])?;
    vassal.stop()
}

fn names(ground: &Ground) -> Result<()> {
    let other = tls::pair(ground, "other", "other.example", None, 30)?;
    let (vassal, pair, port) = serving(ground, "show", "sni = other.example other.crt,other.key\n")?;
    let (own, others) = (tls::serial_of(&pair.certificate)?, tls::serial_of(&other.certificate)?);
    ensure!(tls::serial("other.example", port)? == others && tls::serial(HOST, port)? == own);
    ensure!(tls::serial("unknown.example", port)? == own, "a name that is not known gets the door's own");
    let shown: Value = serde_json::from_str(&tls::get(&other.certificate, "other.example", port, "/", &[])?)?;
    ensure!(shown["HTTP_HOST"] == format!("other.example:{port}"), "{shown:#}");
    vassal.stop()
}

fn client_certificates(ground: &Ground) -> Result<()> {
    let authority = tls::pair(ground, "ca", "authority.example", None, 30)?;
    let client = tls::pair(ground, "client", "alice.example", Some(&authority), 30)?;
    let stranger = tls::pair(ground, "stranger", "mallory.example", None, 30)?;
    tls::pair(ground, "secret", "secret.example", None, 30)?;
    let (pair, port) = (site(ground)?, ground.port()?);
    let more = "sni = secret.example secret.crt,secret.key,,!ca.crt\nhttps-export-cert = true\n";
    let text = ini(port, "show", more).replace("site.key\n", "site.key,HIGH,ca.crt\n");
    let vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    tls::answers(&pair.certificate, HOST, port).map_err(|error| error.context(vassal.master.output()))?;
    let with = |who: &Pair| {
        let (certificate, key) = (who.certificate.display().to_string(), who.key.display().to_string());
        let shown = tls::get(&pair.certificate, HOST, port, "/", &["--cert", &certificate, "--key", &key])?;
        Ok::<Value, anyhow::Error>(serde_json::from_str(&shown)?)
    };
    let shown = with(&client)?;
    ensure!(shown["HTTPS_DN"] == "/C=IT/CN=alice.example", "{shown:#}");
    let sent = fs::read_to_string(&client.certificate)?;
    ensure!(shown["HTTPS_CC"].as_str().is_some_and(|pem| sent.contains(pem.trim())), "{shown:#}");
    ensure!(with(&stranger).is_err(), "a certificate of an unknown authority was taken");
    let without: Value = serde_json::from_str(&tls::get(&pair.certificate, HOST, port, "/", &[])?)?;
    ensure!(without.get("HTTPS_DN").is_none(), "{without:#}");
    // `!`: nobody without one. And who shook hands for one host does not get the other's answers.
    let secret = ground.path("secret.crt");
    ensure!(tls::get(&secret, "secret.example", port, "/", &[]).is_err(), "a client without a certificate was let in");
    // However the other is written.
    for host in ["secret.example", "secret.example.", "Secret.EXAMPLE", "SECRET.example."] {
        let header = format!("Host: {host}:{port}");
        let misdirected =
            tls::get(&pair.certificate, HOST, port, "/", &["-o", "/dev/null", "-w", "%{http_code}", "-H", &header])?;
        ensure!(misdirected == "421", "{host}: {misdirected}");
    }
    vassal.stop()
}

fn to_https(ground: &Ground) -> Result<()> {
    let plain = ground.port()?;
    let (vassal, pair, port) = serving(ground, "hello", &format!("http-to-https = 127.0.0.1:{plain}\n"))?;
    let place = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-s", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"]).args(arguments);
        process::run(command)?.success()
    };
    let shown = place(&["-H", &format!("Host: shop.example:{plain}"), &format!("http://127.0.0.1:{plain}/a?b=c")])?;
    ensure!(shown == "301 https://shop.example/a?b=c", "{shown}");
    ensure!(place(&["-H", "Host: a@b", &format!("http://127.0.0.1:{plain}/")])?.starts_with("400"));
    tls::get(&pair.certificate, HOST, port, "/", &[])?;
    vassal.stop()
}

fn gateway_killed(ground: &Ground) -> Result<()> {
    let (mut vassal, pair, port) = serving(ground, "hello", "")?;
    let gateway = gateway_of(vassal.master.pid())?;
    // One that has just begun is not started again at once.
    wait::pause(Duration::from_secs(1));
    procfs::signal(gateway, Signal::SIGKILL);
    let since = Instant::now();
    tls::answers(&pair.certificate, HOST, port)?;
    let gap = since.elapsed();
    ground.note(&format!("answered again {} ms after the gateway was killed", gap.as_millis()));
    ensure!(gap < Duration::from_secs(5), "{gap:?}");
    vassal.master.says("the gateway (pid:", Duration::from_secs(5))?;
    ensure!(gateway_of(vassal.master.pid())? != gateway);
    vassal.stop()
}

fn master_killed(ground: &Ground) -> Result<()> {
    const SECONDS: u64 = 10;
    let emperor = Emperor::start(ground)?;
    let port = ground.port()?;
    let pair = tls::pair(ground, "vassals/site", HOST, None, 30)?;
    emperor.drop_file("shop.ini", &ini(port, "hello", "processes = 2\ndisable-logging = true\n"))?;
    let master = i32::try_from(emperor.loyal("shop.ini")?["master_pid"].as_i64().context("no master")?)?;
    let gateway = gateway_of(master)?;
    // New connections all the while: none is refused, none is lost.
    let began = Instant::now();
    let mut answered = 0;
    let mut relieved = None;
    procfs::signal(master, Signal::SIGKILL);
    while began.elapsed() < Duration::from_secs(SECONDS) {
        tls::get(&pair.certificate, HOST, port, "/", &[])?;
        answered += 1;
        if relieved.is_none() && !procfs::alive(gateway) {
            relieved = Some(began.elapsed());
        }
    }
    let relieved = relieved.context("the orphaned gateway was never relieved")?;
    ground
        .note(&format!("{answered} connections, the orphaned gateway was relieved after {} ms", relieved.as_millis()));
    let next = i32::try_from(emperor.loyal("shop.ini")?["master_pid"].as_i64().context("no master")?)?;
    ensure!(next != master);
    gateway_of(next)?;
    emperor.stop()
}

fn changed_binary(ground: &Ground) -> Result<()> {
    const SECONDS: u64 = 6;
    let (bin, pair, port) = (ground.lend_binaries()?, site(ground)?, ground.port()?);
    ground.write("app.ini", &ini(port, "ids", "processes = 2\ndisable-logging = true\n"))?;
    let mut command = Command::new(bin.join("vassal"));
    surroundings(&mut command);
    command.current_dir(ground.directory()).arg("app.ini");
    let vassal = Vassal::adopt(ground, ground.directory(), command)?;
    let before = boot_of(&tls::answers(&pair.certificate, HOST, port)?);
    let gateway = gateway_of(vassal.master.pid())?;
    let load = h2load(ground, port, SECONDS, &["-m4"])?;
    fs::copy(ground::binary("vassal")?, bin.join("vassal.new"))?;
    fs::rename(bin.join("vassal.new"), bin.join("vassal"))?;
    vassal.signal(Signal::SIGHUP);
    wait::until_ok("another generation to answer", BOOTED_WITHIN, || {
        ensure!(boot_of(&tls::get(&pair.certificate, HOST, port, "/", &[])?) != before);
        Ok(())
    })?;
    let answered = flawless(load, Duration::from_secs(60))?;
    ground.note(&format!("{answered} requests while the master became another binary"));
    ensure!(gateway_of(vassal.master.pid())? == gateway, "the gateway was not taken over");
    vassal.stop()
}

fn alone(ground: &Ground) -> Result<()> {
    let (mut vassal, _, port) = serving(ground, "hello", "processes = 2\n")?;
    let family = vassal.family();
    vassal.master.killed()?;
    wait::until("the gateway and the workers to leave", Duration::from_secs(10), || {
        family.iter().all(|pid| !procfs::alive(*pid)).then_some(())
    })?;
    ensure!(TcpStream::connect(("127.0.0.1", port)).is_err(), "somebody still listens");
    Ok(())
}

fn stop_finishes(ground: &Ground) -> Result<()> {
    let stats = ground.port()?;
    let (vassal, pair, port) = serving(ground, "slow", &format!("processes = 2\nstats = 127.0.0.1:{stats}\n"))?;
    let release = ground.path("release");
    let mut asking = Vec::new();
    for protocol in ["--http2", "--http1.1"] {
        let mut command = tls::curl(&pair.certificate, HOST, port, &format!("/wait{}", release.display()));
        command.arg(protocol);
        asking.push(ground.start("curl", command)?);
    }
    wait::until("both to be in a worker", BOOTED_WITHIN, || {
        let shown = super::stats::read(stats).ok()?;
        let busy = shown["workers"].as_array()?.iter().filter(|worker| worker["status"] == "busy");
        (busy.count() == 2).then_some(())
    })?;
    vassal.signal(Signal::SIGTERM);
    wait::until("the door to be closed", Duration::from_secs(10), || {
        tls::get(&pair.certificate, HOST, port, "/", &["--connect-timeout", "1"]).is_err().then_some(())
    })?;
    fs::write(&release, "")?;
    for mut asking in asking {
        ensure!(
            asking.exited(Duration::from_secs(10))?.success() && asking.output() == "waited",
            "{}",
            asking.output()
        );
    }
    vassal.stop()
}

fn key_is_private(ground: &Ground) -> Result<()> {
    let (vassal, pair, _) = serving(ground, "hello", "")?;
    let gateway = gateway_of(vassal.master.pid())?;
    let key = fs::read_to_string(&pair.key)?;
    let line = key.lines().nth(1).context("no key")?;
    for pid in vassal.family().into_iter().filter(|pid| *pid != gateway) {
        ensure!(
            !procfs::descriptor_targets(pid).iter().any(|target| target.ends_with("site.key")),
            "{pid} holds the key"
        );
    }
    let environment = fs::read_to_string(format!("/proc/{gateway}/environ"))?;
    ensure!(!environment.contains(line) && !environment.contains("PATH="), "{environment}");
    vassal.stop()
}

fn renewed_by_the_keeper(ground: &Ground) -> Result<()> {
    ground.needs_root()?;
    let mut emperor = Emperor::prepare(ground)?.for_every_user()?;
    emperor = emperor.environment("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    emperor.up()?;
    let port = ground.port()?;
    let directory = ground.path("private");
    let pair = tls::pair(ground, "private/site", HOST, None, 30)?;
    let closed = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o700);
    fs::set_permissions(&directory, closed)?;
    let text = ini(port, "hello", "uid = nobody\ngid = nogroup\n");
    let text = text
        .replace("site.crt", &pair.certificate.display().to_string())
        .replace("site.key", &pair.key.display().to_string());
    ground.write("app/hello.py", &fs::read_to_string(ground::app("hello.py"))?)?;
    let text = text
        .replace(&ground::app("hello.py").display().to_string(), &ground.path("app/hello.py").display().to_string());
    emperor.drop_file("shop.ini", &text)?;
    emperor.loyal("shop.ini")?;
    tls::answers(&pair.certificate, HOST, port)?;
    // Not even its own user may look into a process that is not dumpable: what is in /proc of it is root's (proc(5)).
    let master = i32::try_from(emperor.vassal("shop.ini")?["master_pid"].as_i64().context("no master")?)?;
    for pid in [master, gateway_of(master)?] {
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{pid}/fd"))?);
        ensure!(procfs::uid(pid) == Some(65_534) && owner == 0, "{pid} may be looked into by uid {owner}");
    }
    let next = tls::pair(ground, "next", HOST, None, 60)?;
    replace(ground, &pair, &next)?;
    let wanted = tls::serial_of(&next.certificate)?;
    wait::until_ok("the new certificate", Duration::from_secs(60), || {
        ensure!(tls::serial(HOST, port)? == wanted);
        Ok(())
    })?;
    emperor.stop()
}

/// A ClientHello, as openssl(1) writes it, with or without a name.
fn hello(ground: &Ground, arguments: &[&str]) -> Result<Vec<u8>> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let mut command = tls::openssl();
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]).args(arguments);
    let client = ground.start("s_client", command)?;
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut record = vec![0; 5];
    stream.read_exact(&mut record)?;
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + length, 0);
    stream.read_exact(&mut record[5..])?;
    drop(client);
    Ok(record)
}

fn byte_by_byte(ground: &Ground) -> Result<()> {
    let (vassal, _, port) = serving(ground, "hello", "")?;
    for arguments in [&["-servername", HOST][..], &["-noservername"], &["-noservername", "-tls1_2"]] {
        let hello = hello(ground, arguments)?;
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        for byte in &hello {
            stream.write_all(&[*byte])?;
        }
        let mut answer = [0; 6];
        stream.read_exact(&mut answer)?;
        // A handshake record (22) with a ServerHello (2).
        ensure!((answer[0], answer[5]) == (22, 2), "{arguments:?}: {answer:?}");
    }
    vassal.stop()
}

fn old_versions(ground: &Ground) -> Result<()> {
    let (vassal, _, port) = serving(ground, "hello", "")?;
    let spoken = |arguments: &[&str]| {
        let said = tls::s_client(port, arguments)?.stdout;
        Ok::<bool, anyhow::Error>(said.contains("BEGIN CERTIFICATE"))
    };
    // The lowest security level, so that openssl itself would agree to anything.
    for old in ["-tls1", "-tls1_1"] {
        ensure!(!spoken(&[old, "-cipher", "ALL:@SECLEVEL=0"])?, "{old} is spoken");
    }
    ensure!(!spoken(&["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"])?, "a cipher without forward secrecy is spoken");
    ensure!(spoken(&["-tls1_2"])? && spoken(&["-tls1_3"])?);
    vassal.stop()
}

fn half_handshakes(ground: &Ground) -> Result<()> {
    const COUNT: usize = 1_000;
    let (vassal, pair, port) = serving(ground, "hello", "")?;
    let gateway = gateway_of(vassal.master.pid())?;
    let before = procfs::descriptors(gateway).context("no descriptors")?;
    let hello = hello(ground, &["-servername", HOST])?;
    let began = Instant::now();
    let mut half = Vec::with_capacity(COUNT);
    for number in 0..COUNT {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        // Nothing, half of a hello, or all of it and then nothing.
        let length = [0, hello.len() / 2, hello.len()][number % 3];
        stream.write_all(&hello[..length])?;
        half.push(stream);
    }
    let asked = Instant::now();
    tls::get(&pair.certificate, HOST, port, "/", &[])?;
    ground.note(&format!("a request beside {COUNT} half handshakes took {} ms", asked.elapsed().as_millis()));
    // The deadline of a handshake is 10 s.
    wait::until("the half handshakes to be given up", Duration::from_secs(40), || {
        procfs::descriptors(gateway).filter(|now| *now <= before + 20)
    })?;
    ensure!(began.elapsed() > Duration::from_secs(5), "they were given up at once");
    drop(half);
    vassal.stop()
}

fn bodies(ground: &Ground) -> Result<()> {
    const BYTES: usize = 10 << 20;
    let (vassal, pair, port) = serving(ground, "show", "processes = 2\n")?;
    let sent: Vec<u8> = (0..BYTES).map(|number| b"0123456789abcdef"[number % 16]).collect();
    let upload = ground.path("upload");
    fs::write(&upload, &sent)?;
    let gateway = gateway_of(vassal.master.pid())?;
    let body = format!("@{}", upload.display());
    for arguments in [
        &["--http2"][..],
        &["--http1.1"],
        &["--http2", "-H", "Content-Length:"],
        &["--http1.1", "-H", "Transfer-Encoding: chunked"],
        &["--http1.1", "-H", "Expect: 100-continue"],
        &["--http1.1", "-X", "GET", "-H", "Transfer-Encoding: chunked"],
        &["--http2", "-X", "GET", "-H", "Content-Length:"],
        &["--http1.0", "--no-alpn"],
    ] {
        let mut all = vec!["--data-binary", &body];
        all.extend(arguments);
        let echoed = tls::get(&pair.certificate, HOST, port, "/read", &all)?;
        ensure!(echoed.as_bytes() == sent, "{arguments:?}: {} bytes came back", echoed.len());
    }
    // Without a Host, as a health check may ask.
    let old = tls::get(&pair.certificate, HOST, port, "/", &["--http1.0", "--no-alpn", "-H", "Host:"])?;
    let old: Value = serde_json::from_str(&old)?;
    ensure!(old["SERVER_PROTOCOL"] == "HTTP/1.0" && old.get("HTTP_HOST").is_none(), "{old:#}");
    let kib = procfs::pss_kib(gateway).context("no gateway")?;
    ground.note(&format!("the gateway holds {kib} KiB after bodies of 10 MiB"));
    ensure!(kib < 32 * 1024, "the gateway holds {kib} KiB");
    vassal.stop()
}

fn forged(ground: &Ground) -> Result<()> {
    let (vassal, pair, port) = serving(ground, "show", "")?;
    for protocol in ["--http2", "--http1.1"] {
        let headers = [
            "x-empery-peer: 198.51.100.7:99",
            "X-Empery-Scheme: http",
            "x-empery-tls-client-s-dn: /CN=root",
            "x_empery_peer: 198.51.100.7:99",
            "Connection: x-empery-peer, x-empery-scheme",
        ];
        let mut arguments = vec![protocol];
        for header in headers.iter().filter(|header| protocol == "--http1.1" || !header.starts_with("Connection")) {
            arguments.extend(["-H", header]);
        }
        let shown: Value = serde_json::from_str(&tls::get(&pair.certificate, HOST, port, "/", &arguments)?)?;
        ensure!(shown["REMOTE_ADDR"] == "127.0.0.1" && shown["wsgi.url_scheme"] == "https", "{shown:#}");
        let text = shown.to_string();
        ensure!(!text.contains("198.51.100.7") && !text.contains("/CN=root") && !text.contains("EMPERY"), "{shown:#}");
    }
    vassal.stop()
}

fn scanned(ground: &Ground) -> Result<()> {
    let Some(testssl) = ["testssl", "testssl.sh"].into_iter().find(|name| on_path(name)) else {
        bail!(Skip("testssl.sh is not installed".to_owned()));
    };
    let (vassal, pair, port) = serving(ground, "hello", "processes = 2\n")?;
    let report = ground.path("scan.json");
    let mut command = Command::new(testssl);
    command.args(["--quiet", "--color", "0", "--ip", "127.0.0.1", "--add-ca"]).arg(&pair.certificate);
    command.args(["-p", "-s", "-f", "-U", "-P", "-E", "--jsonfile"]).arg(&report).arg(format!("{HOST}:{port}"));
    let finished = process::run(command)?;
    let found: Value = serde_json::from_str(&fs::read_to_string(&report).with_context(|| finished.stdout.clone())?)?;
    let found = found.as_array().context("no findings")?;
    ensure!(found.len() > 40, "only {} findings: {}", found.len(), finished.stdout);
    let bad: Vec<&Value> = found
        .iter()
        .filter(|finding| ["MEDIUM", "HIGH", "CRITICAL"].iter().any(|severity| finding["severity"] == *severity))
        .collect();
    ground.note(&format!("{testssl}: {} findings, {} of medium or worse", found.len(), bad.len()));
    ensure!(bad.is_empty(), "{bad:#?}");
    vassal.stop()
}

fn on_path(program: &str) -> bool {
    let path: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    path.iter().any(|directory| directory.join(program).is_file())
}
