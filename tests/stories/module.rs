//! The `uwsgi` module: its names, and what it says and does for a request.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use empery_tests::{ground::Ground, http, runner::Story, vassal::Vassal, wait};
use nix::sys::signal::Signal;

use super::shared::{alike, evaluate};

pub(crate) const STORIES: &[Story] = &[
    Story::new("module/b20-every-name-of-uwsgi-s-is-there-or-says-what-to-use-instead", names),
    Story::new("module/b19-the-functions-say-what-uwsgi-s-say", as_uwsgi),
    Story::new("module/b45-several-apps-are-told-as-uwsgi-tells-them", several_apps),
    Story::new("module/b54-a-websocket-is-answered-and-ends-as-it-should", websocket),
    Story::new("module/an-app-answers-by-hand", by_hand),
    Story::new("module/a-worker-whose-hook-exits-does-not-serve", hook_exits),
];

const SOON: Duration = Duration::from_secs(20);

/// Everything that is configured, so that what depends on it is there.
const EVERYTHING: &str = "cache2 = name=c,items=5\nqueue = 4\nsharedarea = 1\nmetric = m\npidfile = app.pid\n";

/// Names of uWSGI 2.0.31 that are there.
const THERE: &str = "version version_info hostname numproc cores has_threads opt magic_table applications env started_on \
    buffer_size sockets is_a_reload loop pidfile unbit reload stop workers masterpid worker_id mule_id total_requests \
    request_id listen_queue accepting ready mem setprocname set_user_harakiri log log_this_request set_logvar get_logvar add_var \
    logsize disconnect cl micros set_warning_message alarm parsefile extract embedded_data call lock unlock is_locked cache_get \
    cache_set cache_update cache_del cache_exists cache_clear cache_inc cache_dec cache_mul cache_div cache_num cache_keys \
    register_rpc rpc rpc_list queue_size queue_push queue_pop queue_pull queue_get queue_set queue_last queue_slot \
    queue_pull_slot sharedarea_read sharedarea_write sharedarea_read8 sharedarea_write8 sharedarea_readbyte \
    sharedarea_writebyte sharedarea_read16 sharedarea_write16 sharedarea_read32 sharedarea_write32 sharedarea_read64 \
    sharedarea_write64 sharedarea_readlong sharedarea_writelong sharedarea_inc32 sharedarea_dec32 sharedarea_inc64 \
    sharedarea_dec64 sharedarea_inclong sharedarea_rlock sharedarea_wlock sharedarea_unlock sharedarea_memoryview sendfile \
    send recv close connection_fd is_connected suspend green_schedule wait_fd_read wait_fd_write ready_fd \
    websocket_handshake websocket_recv websocket_recv_nb websocket_send websocket_send_binary chunked_read chunked_read_nb \
    metric_get metric_set metric_inc metric_dec metric_mul metric_div metric_set_max metric_set_min";

/// Names that are not, and whose AttributeError says what to use instead.
const ABSENT: &str = "start_response offload connect async_sleep async_connect route i_am_the_lord lord_scroll scrolls \
    snmp_set_counter32 snmp_incr_gauge sharedarea_object";

fn names(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "evaluate", EVERYTHING))?;
    vassal.answers(port)?;
    let missing = evaluate(port, &format!("[n for n in '{THERE}'.split() if not hasattr(uwsgi, n)]"))?;
    ensure!(missing == "[]", "not there: {missing}");
    let absent = evaluate(port, &format!("[n for n in '{ABSENT}'.split() if hasattr(uwsgi, n)]"))?;
    ensure!(absent == "[]", "there: {absent}");
    for name in ABSENT.split_whitespace() {
        let said = evaluate(port, &format!("uwsgi.{name}"))?;
        let beginning = format!("AttributeError: module 'uwsgi' has no attribute '{name}': ");
        ensure!(said.len() > beginning.len() + 10 && said.starts_with(&beginning), "{said}");
    }
    let unknown = evaluate(port, "uwsgi.no_such_thing")?;
    ensure!(unknown == "AttributeError: module 'uwsgi' has no attribute 'no_such_thing'", "{unknown}");
    // Where uWSGI ends the worker, or takes no bytes.
    ensure!(evaluate(port, "uwsgi.extract('/nonexistent')")?.starts_with("OSError: /nonexistent: "));
    ensure!(evaluate(port, "uwsgi.extract('http://x/')")?.starts_with("ValueError: http:// cannot be extracted"));
    ensure!(evaluate(port, "uwsgi.log(b'bytes')")? == "True");
    vassal.stop()?;

    // What is not configured says how it is.
    let mut vassal = Vassal::from_ini(ground, "bare.ini", &super::ini(port, "evaluate", ""))?;
    vassal.answers(port)?;
    ensure!(evaluate(port, "uwsgi.queue_push('x')")?.ends_with("say `queue = N`"));
    ensure!(evaluate(port, "uwsgi.sharedarea_read(0, 0)")?.ends_with("say `sharedarea = PAGES`"));
    ensure!(
        evaluate(port, "uwsgi.cache_get('x'), uwsgi.cache_set('x', 'y'), uwsgi.metric_get('m')")? == "(None, None, 0)"
    );
    vassal.stop()
}

/// Each is evaluated by both, in this order; FILE is a packet in a file.
const EXPRESSIONS: &[&str] = &[
    "uwsgi.version, uwsgi.version_info, uwsgi.has_threads, uwsgi.cores, uwsgi.numproc, uwsgi.loop, uwsgi.unbit",
    "type(uwsgi.hostname), type(uwsgi.started_on), type(uwsgi.sockets), uwsgi.is_a_reload, type(uwsgi.pidfile)",
    "uwsgi.magic_table[b'h'] == uwsgi.hostname, [uwsgi.magic_table[c] for c in (b'V', b'u', b'U', b'g', b'G', b'k', b'%', b'(', b'[')]",
    "uwsgi.opt['processes'], uwsgi.opt['module'], type(uwsgi.opt)",
    "uwsgi.opt['env'], uwsgi.opt['mine']",
    "uwsgi.worker_id(), uwsgi.mule_id(), uwsgi.masterpid() > 1, type(uwsgi.micros())",
    "[type(number) for number in uwsgi.mem()], type(uwsgi.total_requests()), type(uwsgi.request_id())",
    "type(uwsgi.workers()), sorted(uwsgi.workers()[0]), uwsgi.workers()[0]['status']",
    "uwsgi.listen_queue(), uwsgi.listen_queue(0)",
    "uwsgi.listen_queue(7)",
    "uwsgi.is_connected(uwsgi.connection_fd()), uwsgi.is_connected(999), uwsgi.connection_fd() > 2",
    "uwsgi.set_logvar('k', 'v'), uwsgi.get_logvar('k'), uwsgi.get_logvar(b'k'), uwsgi.get_logvar('z')",
    "uwsgi.get_logvar('k')",
    "uwsgi.add_var('HTTP_X', 'added'), uwsgi.add_var(b'Y', b'1'), 'Y' in environ",
    "uwsgi.log('x'), uwsgi.log_this_request(), uwsgi.set_warning_message('w'), uwsgi.logsize()",
    "uwsgi.accepting(), uwsgi.ready(), uwsgi.setprocname('x'), uwsgi.set_user_harakiri(9)",
    "uwsgi.parsefile('FILE'), uwsgi.parsefile('/nonexistent')",
    "len(uwsgi.extract('FILE'))",
    "uwsgi.embedded_data('x')",
    "uwsgi.suspend(), uwsgi.green_schedule(), uwsgi.ready_fd()",
    "uwsgi.chunked_read()",
    "uwsgi.env['REQUEST_METHOD'], uwsgi.cl() == int(environ['CONTENT_LENGTH'])",
];

fn as_uwsgi(ground: &Ground) -> Result<()> {
    let packet = ground.path("packet");
    fs::write(&packet, b"\x00\x0c\x00\x00\x01\x00A\x01\x001\x01\x00B\x01\x002")?;
    let expressions: Vec<String> =
        EXPRESSIONS.iter().map(|expression| expression.replace("FILE", &packet.display().to_string())).collect();
    alike(
        ground,
        &format!(
            "processes = 1\nenv = A=1\nenv = B=2\nmine = 1\nmine = 2\npidfile = {}\n",
            ground.path("app.pid").display()
        ),
        &expressions,
    )
}

fn several_apps(ground: &Ground) -> Result<()> {
    let lines =
        "processes = 1\nsingle-interpreter = true\nmount = /one=evaluate:application\nmount = /two=ids:application\n";
    let keys = "('id', 'modifier1', 'mountpoint', 'startup_time', 'requests', 'exceptions', 'chdir')";
    let apps = "uwsgi.workers()[0]['apps']";
    let expressions = [
        // `callable` and `interpreter` are addresses in the memory of a process.
        format!("type({apps}), len({apps}), sorted(set({apps}[0]) - {{'callable', 'interpreter'}})"),
        format!("[[app[key] for key in {keys}] for app in {apps}]"),
    ];
    alike(ground, lines, &expressions)
}

/// A client of a WebSocket.
struct Client(TcpStream);

impl Client {
    fn connect(port: u16, path: &str) -> Result<(Client, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(SOON))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: http://x\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).with_context(|| String::from_utf8_lossy(&head).into_owned())?;
            head.push(byte[0]);
        }
        Ok((Client(stream), String::from_utf8(head)?))
    }

    fn say(&mut self, first: u8, content: &[u8]) -> Result<()> {
        let mask = [1, 2, 3, 4];
        let mut bytes = vec![first, 0x80 | 126];
        bytes.extend(u16::try_from(content.len())?.to_be_bytes());
        if content.len() < 126 {
            bytes = vec![first, 0x80 | content.len() as u8];
        }
        bytes.extend(mask);
        bytes.extend(content.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        Ok(self.0.write_all(&bytes)?)
    }

    /// The first byte of the next frame, and its content of less than 64 KiB.
    fn hear(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head)?;
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.0.read_exact(&mut length)?;
                usize::from(u16::from_be_bytes(length))
            }
            length => usize::from(length),
        };
        let mut content = vec![0; length];
        self.0.read_exact(&mut content)?;
        Ok((head[0], content))
    }

    fn is_over(&mut self) -> Result<bool> {
        Ok(self.0.read(&mut [0])? == 0)
    }
}

fn websocket(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let more = "threads = 3\nwebsocket-max-size = 2\nwebsocket-ping-freq = 1\nwebsocket-pong-tolerance = 1\n";
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "uwsgi_io", more))?;
    vassal.answers(port)?;
    let (mut client, head) = Client::connect(port, "/ws")?;
    ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // RFC 6455, section 1.3.
    ensure!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    client.say(0x81, b"hello")?;
    ensure!(client.hear()? == (0x81, b"echo hello".to_vec()));
    client.say(0x01, b"in ")?;
    client.say(0x89, b"there?")?;
    client.say(0x80, b"pieces")?;
    ensure!(client.hear()? == (0x8a, b"there?".to_vec()), "a ping is answered in the middle of a message");
    ensure!(client.hear()? == (0x81, b"echo in pieces".to_vec()));
    client.say(0x82, &[b"bytes ".as_slice(), &[7; 1000]].concat())?;
    ensure!(client.hear()?.1.len() == 1006);
    // A silent client is asked, and one that answers stays.
    ensure!(client.hear()? == (0x89, Vec::new()));
    client.say(0x8a, b"")?;
    client.say(0x81, b"leave")?;
    ensure!(client.is_over()?, "the app has returned");

    let (mut closing, _) = Client::connect(port, "/ws")?;
    closing.say(0x88, b"\x03\xe8")?;
    ensure!(closing.hear()? == (0x88, b"\x03\xe8".to_vec()) && closing.is_over()?, "a close is answered");
    let (mut long, _) = Client::connect(port, "/ws")?;
    long.say(0x82, &[0; 3000])?;
    ensure!(long.is_over().unwrap_or(true), "longer than websocket-max-size");
    let (mut silent, _) = Client::connect(port, "/ws")?;
    ensure!(silent.hear()? == (0x89, Vec::new()) && silent.is_over().unwrap_or(true), "no pong came");
    ensure!(http::get(port, "/ws")?.status == 500, "a request without a key is none for a WebSocket");
    ensure!(http::get(port, "/")?.text() == "ok");
    vassal.stop()
}

fn by_hand(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "uwsgi_io", "disable-logging = true\n"))?;
    vassal.answers(port)?;
    let raw = http::get(port, "/raw")?;
    ensure!(raw.status == 203 && raw.header("x-raw") == Some("yes") && raw.text() == "sent as it is", "{}", raw.text());
    let file = ground.write("file.txt", "0123456789")?.display().to_string();
    let part = http::get(port, &format!("/sendfile?{file}"))?;
    ensure!(part.status == 200 && part.text() == "23456", "{} {}", part.status, part.text());
    let chunks = b"POST /chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                   3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n";
    let mut connection = http::Connection::open(port, SOON)?;
    connection.send(chunks)?;
    let answer = connection.answer(false)?;
    ensure!(answer.text() == "abcdefgh|", "{}", answer.text());
    let answer = http::get(port, "/wait")?.text();
    ensure!(answer == "((b'', -1), (b'', True, b'x'), b'', True, b'y')", "{answer}");
    let done = ground.path("done");
    ensure!(http::get(port, &format!("/disconnect?{}", done.display()))?.text() == "ok");
    wait::until("the app to go on behind its answer", SOON, || {
        (fs::read_to_string(&done).ok()? == "after the answer").then_some(())
    })?;
    ensure!(http::get(port, "/")?.text() == "ok");
    vassal.stop()
}

/// As an app does whose database is not there when its worker connects to it.
fn hook_exits(ground: &Ground) -> Result<()> {
    let app = "import os, sys, uwsgi\n\ndef connect():\n    if os.path.exists('down'):\n        sys.exit('no database')\n\n\
        uwsgi.post_fork_hook = connect\n\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    \
        return [b'connected']\n";
    ground.write("connects.py", app)?;
    let port = ground.port()?;
    let more = format!("pythonpath = {}\n", ground.path("").display());
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "connects", &more))?;
    vassal.answers(port)?;
    ground.write("down", "")?;
    vassal.signal(Signal::SIGHUP);
    vassal.master.says("generation 2 did not come into service", SOON)?;
    ensure!(vassal.master.output().contains("no database"), "{}", vassal.master.output());
    ensure!(http::get(port, "/")?.text() == "connected", "what served does not serve on");
    fs::remove_file(ground.path("down"))?;
    vassal.signal(Signal::SIGHUP);
    vassal.master.says("generation 3 serves", SOON)?;
    vassal.stop()
}
