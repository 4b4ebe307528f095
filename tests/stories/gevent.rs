//! `gevent = N`: one process serves as many requests at once as there are greenlets, and loses nothing in a reload. Whoever
//! waits, for the clock or for a client, holds nobody up; whoever never ends is ended alone.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground},
    http::{self, Ask, Connection},
    load::{Load, Mode},
    procfs, python,
    runner::Story,
    vassal::Vassal,
    wait,
};

use super::stuck::{Shop, joined};

pub(crate) const STORIES: &[Story] = &[
    Story::new("gevent/a-hundred-naps-at-once-take-little-longer-than-one", naps).alone(),
    Story::new("gevent/more-requests-than-greenlets-wait-their-turn", queue),
    Story::new("gevent/slow-clients-hold-nobody-up", slow_clients),
    Story::new("gevent/reloads-lose-nothing", reloads),
    Story::new("gevent/harakiri-ends-one-greenlet-and-its-stack-is-told", harakiri).within_s(120),
    Story::new("gevent/signals-run-and-each-request-has-its-own-log-variables", signals),
    Story::new("gevent/a-python-without-gevent-is-told", without),
];

const PATCHED: &str = "gevent-early-monkey-patch = true\n";

/// A client that waits long enough.
const PATIENCE: Duration = Duration::from_secs(30);

fn needs(modules: &str) -> Result<()> {
    match python::run(&format!("import {modules}"), &[]) {
        Ok(_) => Ok(()),
        Err(_) => Err(ground::Skip(format!("{modules} are not installed in the test environment")).into()),
    }
}

fn open<'g>(ground: &'g Ground, greenlets: u32, more: &str) -> Result<(u16, Emperor<'g>)> {
    needs("gevent, flask")?;
    let (port, emperor) = (ground.port()?, Emperor::start(ground)?);
    emperor.drop_file("shop.ini", &super::ini(port, "naps", &format!("gevent = {greenlets}\n{PATCHED}{more}")))?;
    emperor.loyal("shop.ini")?;
    Ok((port, emperor))
}

/// So many requests at once, each on a connection of its own; how long all took together.
fn all_at_once(port: u16, number: usize, path: &str) -> Result<Duration> {
    let connections: Vec<_> = (0..number)
        .map(|_| Connection::open(port, PATIENCE))
        .collect::<Result<_, _>>()
        .map_err(|error| anyhow!("{error:?}"))?;
    let began = Instant::now();
    let clients: Vec<_> = connections
        .into_iter()
        .map(|mut connection| {
            let ask = Ask::get(path);
            thread::spawn(move || connection.ask(&ask))
        })
        .collect();
    for client in clients {
        let answer = joined(client)?.map_err(|error| anyhow!("{error:?}"))?;
        ensure!(answer.status == 200, "{answer:?}");
    }
    Ok(began.elapsed())
}

fn naps(ground: &Ground) -> Result<()> {
    let (port, emperor) = open(ground, 100, "")?;
    all_at_once(port, 100, "/nap/1")?;
    let mut times = (0..5).map(|_| all_at_once(port, 100, "/nap/100")).collect::<Result<Vec<_>>>()?;
    times.sort();
    ground.note(&format!("100 naps of 100 ms at once: {}", super::milliseconds(times[2])));
    ensure!(times[2] < Duration::from_millis(500), "{times:?}");
    let vassal = emperor.vassal("shop.ini")?;
    let workers = vassal["workers"].as_array().context("no workers")?;
    let pid = workers.first().and_then(|worker| i32::try_from(worker["pid"].as_i64()?).ok()).context("no pid")?;
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))?.count();
    ensure!(threads == 1, "{threads} threads");
    emperor.stop()
}

fn queue(ground: &Ground) -> Result<()> {
    let (port, emperor) = open(ground, 2, "")?;
    let took = all_at_once(port, 8, "/nap/50")?;
    ensure!(took >= Duration::from_millis(200), "eight naps of 50 ms, two at once, in {took:?}");
    emperor.stop()
}

fn slow_clients(ground: &Ground) -> Result<()> {
    let (port, emperor) = open(ground, 4, "socket-timeout = 30\n")?;
    // Each is inside the app: more than is held for it has come, or was sent.
    let mut sends = Connection::open(port, PATIENCE).map_err(|error| anyhow!("{error:?}"))?;
    let whole = 4 * 1024 * 1024;
    let head = format!("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: {whole}\r\n\r\n");
    let begun = [head.as_bytes(), &vec![b'x'; whole / 2]].concat();
    sends.send(&begun).map_err(|error| anyhow!("{error:?}"))?;
    let mut takes = Connection::open(port, PATIENCE).map_err(|error| anyhow!("{error:?}"))?;
    takes
        .send(b"GET /stream/400 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .map_err(|error| anyhow!("{error:?}"))?;
    emperor.vassal_until("shop.ini", "two requests in flight", |vassal| vassal["numbers"]["busy_threads"] == 2)?;
    for _ in 0..50 {
        ensure!(http::get(port, "/")?.status == 200);
    }
    sends.send(&vec![b'x'; whole - whole / 2]).map_err(|error| anyhow!("{error:?}"))?;
    let answer = sends.answer(false).map_err(|error| anyhow!("{error:?}"))?;
    ensure!(answer.text() == whole.to_string(), "{answer:?}");
    let rest = takes.rest().map_err(|error| anyhow!("{error:?}"))?;
    ensure!(rest.len() > 400 * 65_536 && rest.ends_with(b"0\r\n\r\n"), "{} bytes", rest.len());
    emperor.stop()
}

fn reloads(ground: &Ground) -> Result<()> {
    let (port, emperor) = open(ground, 20, "processes = 2\n")?;
    let loads = [Load::on(port, Mode::KeepAlive).start(), Load::on(port, Mode::Close).start()];
    for _ in 0..5 {
        let nap = thread::spawn(move || http::ask(port, Ask::get("/nap/300")));
        let ended = emperor.json(Ask::post("/api/v1/vassals/shop.ini/reload?wait=30s"))?;
        ensure!(ended["end"]["result"] == "succeeded", "{ended:#}");
        let answer = joined(nap)?.map_err(|error| anyhow!("{error:?}"))?;
        ensure!(answer.status == 200, "{answer:?}");
    }
    for load in loads {
        load.goes_on(20)?;
        load.stop().flawless()?;
    }
    emperor.stop()
}

fn harakiri(ground: &Ground) -> Result<()> {
    needs("gevent")?;
    // The first has a limit of its own, of 1 s, so that the one beside it has none.
    for (function, more) in [("own_limit", ""), ("deadlock", "harakiri = 4\n"), ("compute", "harakiri = 4\n")] {
        let shop = Shop::open(ground, &format!("gevent = 8\n{PATCHED}{more}"))?;
        let [pid] = shop.worker_pids()?[..] else { bail!("not one worker") };
        let gate = ground.path(&format!("gate-{function}"));
        let waits = more.is_empty().then(|| shop.asks(&format!("/wait{}", gate.display())));
        shop.busy(u64::from(waits.is_some()))?;
        let stuck = shop.asks(&format!("/{function}"));
        if waits.is_none() {
            shop.busy(1)?;
            let told = shop.emperor.says("stack", &["shop.ini", "--worker", "1"])?.success()?;
            ensure!(told.contains(&format!("GET /{function}")) && told.contains(&format!("in {function}")), "{told}");
        }
        let text = shop.incident("harakiri", &format!("/{function}"))?;
        ensure!(text.contains(&format!("in {function}")), "{text}");
        let answer = joined(stuck)??;
        ensure!(answer.status == 504, "{answer:?}");
        if let Some(waits) = waits {
            ensure!(procfs::alive(pid), "killed with its other request");
            std::fs::write(&gate, "")?;
            let answer = joined(waits)??;
            ensure!(answer.status == 200, "{answer:?}");
        }
        shop.replaced(pid)?;
        wait::until_ok("the end of the request in the log", PATIENCE, || {
            let log = shop.log()?;
            ensure!(log.contains("has ended the request") && !log.contains("DAMN"), "{log}");
            Ok(())
        })?;
        shop.emperor.stop()?;
    }
    Ok(())
}

const RAISES: &str = "import time, uwsgi
def noted(signal):
    with open('noted', 'a') as file:
        file.write(f'{signal}\\n')
uwsgi.register_signal(2, 'worker', noted)
def application(environ, start_response):
    path = environ['PATH_INFO'][1:]
    if path == 'raise':
        uwsgi.signal(2)
    uwsgi.set_logvar('who', path)
    time.sleep(0.3)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [repr((uwsgi.loop, uwsgi.get_logvar('who'))).encode()]
";

fn signals(ground: &Ground) -> Result<()> {
    needs("gevent")?;
    ground.write("raises.py", RAISES)?;
    let port = ground.port()?;
    let text = format!(
        "[uwsgi]\nhttp-socket = 127.0.0.1:{port}\npythonpath = .\nmodule = raises\nmaster = true\ngevent = 20\n{PATCHED}\
         log-format = line %(uri) of %(who)\n"
    );
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.answers(port)?;
    let ask = |number: u32| {
        let path = format!("w{number}");
        let asked = format!("/{path}");
        (path, thread::spawn(move || http::get(port, &asked)))
    };
    let clients: Vec<_> = (0..10).map(ask).collect();
    for (path, client) in clients {
        let told = client.join().map_err(|_| anyhow!("the client panicked"))??.text();
        ensure!(told == format!("(b'gevent', b'{path}')"), "{path}: {told}");
        vassal.master.says(&format!("line /{path} of {path}\n"), PATIENCE)?;
    }
    http::get(port, "/raise")?;
    wait::until("the function of the signal to have run", PATIENCE, || {
        (std::fs::read_to_string(ground.path("noted")).ok()? == "2\n").then_some(())
    })?;
    vassal.stop()
}

fn without(ground: &Ground) -> Result<()> {
    let packages = ground.path("packages");
    ground.write("packages/gevent.py", "raise ImportError('not here')\n")?;
    let (port, emperor) = (ground.port()?, Emperor::start(ground)?);
    let more = format!("gevent = 10\npythonpath = {}\n", packages.display());
    emperor.drop_file("shop.ini", &super::ini(port, "ids", &more))?;
    let vassal = emperor.vassal_until("shop.ini", "to say why", |vassal| {
        vassal["summary"].to_string().contains("needs the package gevent")
    })?;
    ensure!(vassal["summary"].to_string().contains("gevent = 10"), "{vassal:#}");
    emperor.stop()
}
