//! What stands before TLS and inside it: the PROXY protocol, certificates for many names, the uwsgi protocol.

use std::{
    fs,
    io::Write,
    net::{Shutdown, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground},
    http::{self, Ask},
    nginx::Nginx,
    process, procfs, python,
    runner::Story,
    tls,
    vassal::Vassal,
    wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("gateway/h13-the-proxy-protocol-comes-before-tls", proxied),
    Story::new("gateway/certificates-for-names-that-fit-and-names-in-a-directory", many_names),
    Story::new("gateway/the-uwsgi-protocol-inside-tls-behind-nginx", uwsgi_inside),
    Story::new("gateway/a-websocket-goes-through-tls-and-a-reload-does-not-cut-it", websocket),
    Story::new("gateway/p1-p3-a-keeper-and-a-master-that-are-killed-lose-nothing", keeper_and_master_killed)
        .within_s(120),
    Story::new("gateway/h1-and-h2-slow-clients-over-tls-hold-nobody-up", slow_over_tls).alone(),
];

const HOST: &str = "localhost";
const PATIENCE: Duration = Duration::from_secs(20);

/// A vassal alone with an `https` address, and its certificate.
fn serving(ground: &Ground, app: &str, more: &str) -> Result<(Vassal, tls::Pair, u16)> {
    let (pair, port) = (tls::pair(ground, "site", HOST, None, 30)?, ground.port()?);
    let app = ground::app(&format!("{app}.py"));
    let text = format!("[uwsgi]\nhttps = 127.0.0.1:{port},site.crt,site.key\nwsgi-file = {}\n{more}", app.display());
    Ok((Vassal::from_ini(ground, "app.ini", &text)?, pair, port))
}

/// A load balancer that passes TLS through: puts a header before each connection, in pieces of so many bytes, and copies the
/// rest.
struct Balancer {
    port: u16,
    is_closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Balancer {
    fn start(to: u16, header: &'static [u8], step: usize) -> Result<Balancer> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (port, is_closed) = (listener.local_addr()?.port(), Arc::new(AtomicBool::new(false)));
        let closed = Arc::clone(&is_closed);
        let thread = std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if closed.load(Ordering::Relaxed) {
                    return;
                }
                // A server that refuses may be gone before everything was copied.
                let _ = balance(client, to, header, step);
            }
        });
        Ok(Balancer { port, is_closed, thread: Some(thread) })
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::Relaxed);
        // Wakes the thread, which finds that it is closed.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn balance(mut client: TcpStream, to: u16, header: &[u8], step: usize) -> Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", to))?;
    server.set_nodelay(true)?;
    for piece in header.chunks(step.max(1)) {
        server.write_all(piece)?;
    }
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let upward = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    let _ = upward.join();
    Ok(())
}

const VERSION_1: &[u8] = b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 443\r\n";
const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\x7f\0\0\x01\x12\x67\x01\xbb";

fn proxied(ground: &Ground) -> Result<()> {
    let plain = ground.port()?;
    let more = format!(
        "http-enable-proxy-protocol = true\ntrusted-proxies = 127.0.0.0/8\nhttp-to-https = 127.0.0.1:{plain}\n"
    );
    let (mut vassal, pair, port) = serving(ground, "show", &more)?;
    vassal.master.says("serves", PATIENCE)?;
    // Where everybody is sent on, the header is read past when it is there: the same balancer may stand before both.
    for header in [VERSION_1, VERSION_2, b""] {
        let balanced = Balancer::start(plain, header, 3)?;
        let answer = http::get(balanced.port, "/a")?;
        ensure!(answer.status == 301 && answer.header("location") == Some("https://localhost/a"), "{answer:?}");
    }
    for (header, step) in [(VERSION_1, 1000), (VERSION_1, 1), (VERSION_2, 1000), (VERSION_2, 5)] {
        let balanced = Balancer::start(port, header, step)?;
        for protocol in ["--http2", "--http1.1"] {
            let shown: Value =
                serde_json::from_str(&tls::get(&pair.certificate, HOST, balanced.port, "/", &[protocol])?)?;
            ensure!(shown["REMOTE_ADDR"] == "203.0.113.9" && shown["REMOTE_PORT"] == "4711", "{shown:#}");
            ensure!(shown["wsgi.url_scheme"] == "https", "{shown:#}");
        }
    }
    // Without it nobody is served, nor with anything else; and nothing of it reaches the app.
    ensure!(tls::get(&pair.certificate, HOST, port, "/", &[]).is_err(), "a connection without the header is served");
    vassal.master.says("no PROXY protocol header, which is asked for on this address", PATIENCE)?;
    let twice = Balancer::start(port, b"PROXY UNKNOWN\r\nPROXY UNKNOWN\r\n", 1000)?;
    ensure!(tls::get(&pair.certificate, HOST, twice.port, "/", &[]).is_err(), "two headers are taken");
    // Whoever is not trusted names no client.
    let text = fs::read_to_string(ground.path("app.ini"))?.replace("127.0.0.0/8", "192.0.2.0/24");
    ground.write("app.ini", &text)?;
    vassal.signal(nix::sys::signal::Signal::SIGHUP);
    let balanced = Balancer::start(port, VERSION_1, 1000)?;
    wait::until("a stranger's header to be refused", PATIENCE, || {
        tls::get(&pair.certificate, HOST, balanced.port, "/", &[]).is_err().then_some(())
    })?;
    vassal.master.says("from an address that is not in trusted-proxies", PATIENCE)?;
    vassal.stop()
}

fn many_names(ground: &Ground) -> Result<()> {
    let pattern = tls::pair(ground, "pattern", "a.shops.example", None, 30)?;
    let authority = tls::pair(ground, "ca", "authority.example", None, 30)?;
    let plain = ground.path("plain.sock");
    let more = format!(
        "sni-regexp = ^[a-z]+\\.shops\\.example$ pattern.crt,pattern.key\nsni-dir = names\nsni-dir-ciphers = HIGH\n\
         http-socket = {}\n",
        plain.display()
    );
    let (vassal, pair, port) = serving(ground, "show", &more)?;
    tls::answers(&pair.certificate, HOST, port).map_err(|error| error.context(vassal.master.output()))?;
    let shown: Value = serde_json::from_slice(&http::get(&plain, "/")?.body)?;
    ensure!(shown["SERVER_PORT"] == "80", "PEP 3333: it is never empty, not on a unix socket either: {shown:#}");
    let own = tls::serial_of(&pair.certificate)?;
    ensure!(tls::serial("b.shops.example", port)? == tls::serial_of(&pattern.certificate)?, "an expression");
    ensure!(tls::serial("b.shops.example.org", port)? == own && tls::serial("late.example", port)? == own);
    // A host that comes later needs no reload; one whose key does not fit gets the address's own, and is told of once.
    let late = tls::pair(ground, "names/late.example", "late.example", None, 30)?;
    ensure!(tls::serial("late.example", port)? == tls::serial_of(&late.certificate)?, "a name in the directory");
    tls::pair(ground, "names/bad.example", "bad.example", None, 30)?;
    fs::copy(&late.key, ground.path("names/bad.example.key"))?;
    for _ in 0..3 {
        ensure!(tls::serial("bad.example", port)? == own, "a bad pair is shown");
    }
    let told = vassal.master.output();
    ensure!(told.matches("clients that ask for bad.example get another one").count() == 1, "{told}");
    // What is renewed there is found, and whoever has a certificate of the host's authority is known.
    let next = tls::pair(ground, "next", "late.example", None, 60)?;
    fs::rename(&next.key, &late.key)?;
    fs::copy(&next.certificate, &late.certificate)?;
    wait::until_ok("the new certificate", PATIENCE, || {
        ensure!(tls::serial("late.example", port)? == tls::serial_of(&next.certificate)?);
        Ok(())
    })?;
    let members = tls::pair(ground, "names/members.example", "members.example", None, 30)?;
    fs::copy(&authority.certificate, ground.path("names/members.example.ca"))?;
    let alice = tls::pair(ground, "alice", "alice.example", Some(&authority), 30)?;
    let (certificate, key) = (alice.certificate.display().to_string(), alice.key.display().to_string());
    let shown = tls::get(&members.certificate, "members.example", port, "/", &["--cert", &certificate, "--key", &key])?;
    let shown: Value = serde_json::from_str(&shown)?;
    ensure!(shown["HTTPS_DN"] == "/C=IT/CN=alice.example", "{shown:#}");
    // And its answers are not for connections that were begun for somebody else.
    // So it is where the authority comes after the first client.
    fs::copy(&authority.certificate, ground.path("names/late.example.ca"))?;
    wait::until_ok("clients to be asked for their certificates", PATIENCE, || {
        let shown = tls::get(&next.certificate, "late.example", port, "/", &["--cert", &certificate, "--key", &key])?;
        let shown: Value = serde_json::from_str(&shown)?;
        ensure!(shown["HTTPS_DN"] == "/C=IT/CN=alice.example", "{shown:#}");
        Ok(())
    })?;
    let arguments = ["-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: members.example"];
    ensure!(tls::get(&pair.certificate, HOST, port, "/", &arguments)? == "421");
    vassal.stop()
}

fn uwsgi_inside(ground: &Ground) -> Result<()> {
    let (pair, port) = (tls::pair(ground, "site", HOST, None, 30)?, ground.port()?);
    let app = ground::app("show.py");
    let text = format!(
        "[uwsgi]\nsuwsgi-socket = 127.0.0.1:{port},site.crt,site.key\nwsgi-file = {}\nprocesses = 2\n",
        app.display()
    );
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.master.says("serves", PATIENCE)?;
    let trusted = pair.certificate.display();
    let location = format!(
        "location / {{\n include uwsgi_params;\n uwsgi_pass suwsgi://127.0.0.1:{port};\n uwsgi_ssl_verify on;\n \
         uwsgi_ssl_name {HOST};\n uwsgi_ssl_trusted_certificate {trusted};\n}}"
    );
    let nginx = Nginx::start(ground, &location)?;
    let own_port = nginx.port.to_string();
    let shown: Value = serde_json::from_slice(&http::get(nginx.port, "/a%20b?x=1")?.body)?;
    ensure!(shown["PATH_INFO"] == "/a b" && shown["QUERY_STRING"] == "x=1", "{shown:#}");
    ensure!(shown["REMOTE_ADDR"] == "127.0.0.1" && shown["SERVER_PORT"] == *own_port, "{shown:#}");
    let body = vec![b'x'; 900_000];
    let echoed = http::ask(nginx.port, Ask::post("/read").body("application/octet-stream", &body))?;
    ensure!(echoed.status == 200 && echoed.body == body, "status {}, {} bytes", echoed.status, echoed.body.len());
    // What is no packet ends its connection and nothing else; HTTP inside TLS is none.
    let mut command = tls::openssl();
    command.args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{port}")]);
    let answer = process::run_with_input(command, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
    ensure!(answer.stdout.is_empty(), "{}", answer.stdout);
    ensure!(http::get(nginx.port, "/")?.status == 200);
    nginx.stop()?;
    vassal.stop()
}

/// A WebSocket to this port, trusting this certificate: says what it heard, and goes on after a word on its input.
const WEBSOCKET: &str = r#"
import os, socket, ssl, struct, sys

context = ssl.create_default_context(cafile=sys.argv[2])
plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
connection = context.wrap_socket(plain, server_hostname="localhost")
stream = connection.makefile("rb")

def say(first, content):
    mask = os.urandom(4)
    length = b"\xfe" + struct.pack("!H", len(content))
    connection.sendall(bytes([first]) + length + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(content)))

def hear():
    first, length = stream.read(2)
    if length == 126:
        length = struct.unpack("!H", stream.read(2))[0]
    return first, stream.read(length)

connection.sendall(
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
lines = list(iter(stream.readline, b"\r\n"))
assert lines[0].startswith(b"HTTP/1.1 101 "), lines
# RFC 6455, section 1.3.
assert any(line.lower() == b"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n" for line in lines), lines
say(0x81, b"hello")
assert hear() == (0x81, b"echo hello")
many = b"bytes " + bytes(range(256)) * 200
say(0x82, many)
assert hear() == (0x82, many)
print("it talks", flush=True)
sys.stdin.readline()
say(0x81, b"again")
assert hear() == (0x81, b"echo again")
say(0x81, b"leave")
assert stream.read() == b""
print("it has ended", flush=True)
"#;

fn websocket(ground: &Ground) -> Result<()> {
    let (mut vassal, pair, port) = serving(ground, "uwsgi_io", "threads = 2\ndisable-logging = true\n")?;
    tls::answers(&pair.certificate, HOST, port).map_err(|error| error.context(vassal.master.output()))?;
    let mut command = Command::new(python::program("python")?);
    command.arg("-c").arg(WEBSOCKET).arg(port.to_string()).arg(&pair.certificate);
    let (mut client, mut input) = process::Spawned::at_a_keyboard("client", command, &ground.path("client.out"))?;
    client.says("it talks", PATIENCE)?;
    vassal.signal(Signal::SIGHUP);
    vassal.master.says("generation 2 serves", PATIENCE)?;
    ensure!(tls::get(&pair.certificate, HOST, port, "/", &[])?.ends_with("ok"));
    input.write_all(b"go on\n")?;
    client.says("it has ended", PATIENCE)?;
    ensure!(client.exited(PATIENCE)?.success(), "{}", client.output());
    vassal.stop()
}

fn slow_over_tls(ground: &Ground) -> Result<()> {
    let (vassal, pair, port) =
        serving(ground, "clients", "processes = 2\nsocket-timeout = 3\ndisable-logging = true\n")?;
    tls::answers(&pair.certificate, HOST, port).map_err(|error| error.context(vassal.master.output()))?;
    let mut command = Command::new("python3");
    command.arg(ground::app("slow_tls.py")).args([port.to_string(), "60".to_owned()]);
    let mut attack = ground.start("attack", command)?;
    attack.says("all are there", Duration::from_secs(60))?;
    // Each of them has begun something and goes on a byte at a time.
    for protocol in ["--http1.1", "--http2"] {
        for _ in 0..5 {
            let began = std::time::Instant::now();
            tls::get(&pair.certificate, HOST, port, "/", &[protocol])?;
            ensure!(began.elapsed() < Duration::from_secs(3), "a normal client waited for {:?}", began.elapsed());
        }
    }
    ensure!(attack.exited(Duration::from_secs(60))?.success(), "{}", attack.output());
    let said = attack.output();
    let ended = said.lines().find(|line| line.starts_with("ended:")).context(said.clone())?;
    ground.note(ended);
    // Every slow head and every slow body is given up although something comes of it all the while.
    ensure!(ended == "ended: heads 60 of 60, bodies 60 of 60", "{ended}");
    vassal.stop()
}

/// Nobody but the gateway has the socket then, and nobody but the workers the one that the gateway reaches them by.
fn keeper_and_master_killed(ground: &Ground) -> Result<()> {
    let mut emperor = Emperor::start(ground)?;
    let port = ground.port()?;
    let pair = tls::pair(ground, "vassals/site", HOST, None, 30)?;
    emperor.drop_file("shop.ini", &super::tls::ini(port, "hello", "processes = 2\ndisable-logging = true\n"))?;
    let master = i32::try_from(emperor.loyal("shop.ini")?["master_pid"].as_i64().context("no master")?)?;
    let gateway = super::tls::gateway_of(master)?;
    emperor.kill_keeper()?;
    procfs::signal(master, Signal::SIGKILL);
    let certificate = pair.certificate.clone();
    let ended = Arc::new(AtomicBool::new(false));
    let clients = std::thread::spawn({
        let ended = Arc::clone(&ended);
        move || -> Result<u64> {
            let mut answered = 0;
            while !ended.load(Ordering::Relaxed) {
                tls::get(&certificate, HOST, port, "/", &[])?;
                answered += 1;
            }
            Ok(answered)
        }
    });
    emperor.up()?;
    let relieved = wait::until("the gateway to be relieved", PATIENCE, || (!procfs::alive(gateway)).then_some(()));
    let next = emperor.loyal("shop.ini")?["master_pid"].as_i64().context("no master")?;
    super::tls::gateway_of(i32::try_from(next)?)?;
    ended.store(true, Ordering::Relaxed);
    let answered = clients.join().map_err(|_| anyhow::anyhow!("the client panicked"))?;
    relieved.map_err(|error| error.context(emperor.output()))?;
    ground.note(&format!("{} connections, none lost", answered.map_err(|error| error.context(emperor.output()))?));
    emperor.stop()
}
