//! What lines look like and where they go: `log-format`, `log-date`, `logger` and their relatives.

use std::{fs, net::UdpSocket, os::unix::net::UnixDatagram, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::Ground,
    http::{self, Ask},
    python,
    runner::Story,
    vassal::Vassal,
    wait,
};
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("log-lines/b23-log-format-says-what-uwsgi-says", as_uwsgi),
    Story::new("log-lines/b23-a-line-has-uwsgi-s-shape", plain),
    Story::new("log-lines/b25-lines-are-written-for-whom-they-are-asked-for", chosen),
    Story::new("log-lines/an-address-is-whom-a-trusted-proxy-names-also-in-a-line-that-the-app-asks-for", named),
    Story::new("log-lines/log-date-is-before-the-vassal-s-own-lines", dated),
    Story::new("log-lines/b62-loggers-routes-and-encoders", loggers),
    Story::new("log-lines/a-logger-that-is-down-holds-no-request-up", down),
    Story::new("log-lines/a-long-line-goes-into-several-packets-of-rsyslog", packets),
    Story::new("log-lines/a-logger-of-a-vassal-under-an-emperor", under_an_emperor),
];

const PATIENCE: Duration = Duration::from_secs(30);

const APP: &str = "import uwsgi
def application(environ, start_response):
    if environ['PATH_INFO'] == '/say':
        uwsgi.log('said')
        print('printed', flush=True)
    uwsgi.metric_inc('sold', 2)
    uwsgi.set_logvar('shop', 'books')
    uwsgi.set_logvar(b'long', b'x' * 200)
    uwsgi.add_var('ADDED', 'by hand')
    known = [uwsgi.get_logvar('shop'), len(uwsgi.get_logvar('long')), uwsgi.get_logvar('other')]
    body = repr(known).encode()
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
";

/// A vassal file for the app above.
fn ini(ground: &Ground, port: u16, more: &str) -> Result<String> {
    ground.write("lines.py", APP)?;
    let directory = ground.directory().display();
    Ok(format!(
        "[uwsgi]\nhttp-socket = 127.0.0.1:{port}\npythonpath = {directory}\nmodule = lines\nmaster = true\n{more}"
    ))
}

/// Waits until a file holds a text; the file.
fn holds(path: &Path, text: &str) -> Result<String> {
    wait::until(&format!("{text:?} in {}", path.display()), PATIENCE, || {
        let content = String::from_utf8_lossy(&fs::read(path).ok()?).into_owned();
        content.contains(text).then_some(content)
    })
}

/// The line of a request for this path.
fn line_of(text: &str, path: &str) -> Result<String> {
    let line = text.lines().find(|line| line.contains(&format!("uri={path} ")));
    line.map(str::to_owned).with_context(|| format!("no line of {path} in {text}"))
}

/// Everything that does not change from run to run.
const FORMAT: &str = "log-format = uri=%(uri) m=%(method) u=%(user) a=%(addr) p=%(proto) ua=%(uagent) r=%(referer) \
    st=%(status) rs=%(rsize) cl=%(cl) wid=%(wid) sw=%(switches) core=%(core) m1=%(modifier1) m2=%(modifier2) we=%(werr) \
    re=%(rerr) io=%(ioerr) shop=%(shop) no=%(nosuch) long=%(long) x=%(var.HTTP_X_ID) qs=%(var.QUERY_STRING) \
    n=%(var.HTTP_NONE) added=%(var.ADDED) mt=%(metric.none) sold=%(metric.sold) 100%% (%(uri)) end\nmetric = sold\n";

fn as_uwsgi(ground: &Ground) -> Result<()> {
    let asks = || {
        let first = Ask::get("/a%20b/c?d=e").header("X-Id", "7").header("User-Agent", "agent\tx");
        [
            ("/a%20b/c?d=e", first.header("Referer", "http://a/\"b\"")),
            ("/post", Ask::post("/post").body("text/plain", b"four")),
        ]
    };
    let mut lines = Vec::new();
    let port = ground.port()?;
    let text = ini(ground, port, FORMAT)?;
    let mut vassal = Vassal::from_ini(ground, "ours.ini", &text)?;
    vassal.answers(port)?;
    for (path, ask) in asks() {
        let answer = http::ask(port, ask)?;
        ensure!(answer.text() == "[b'books', 200, None]", "{}", answer.text());
        vassal.master.says(&format!("uri={path} "), PATIENCE)?;
        lines.push(line_of(&vassal.master.output(), path)?);
    }
    vassal.stop()?;
    let port = ground.port()?;
    let file = ground.write("theirs.ini", &ini(ground, port, FORMAT)?)?;
    let mut command = Command::new(python::program("uwsgi")?);
    command.arg("--ini").arg(&file).arg("--need-app").arg("--die-on-term");
    let mut uwsgi = ground.start("uwsgi", command)?;
    wait::until_ok("uWSGI to answer", PATIENCE, || Ok(http::get(port, "/")?))?;
    for (ours, (path, ask)) in lines.iter().zip(asks()) {
        http::ask(port, ask)?;
        uwsgi.says(&format!("uri={path} "), PATIENCE)?;
        let theirs = line_of(&uwsgi.output(), path)?;
        // A byte that steers terminals is shown as a question mark here.
        let theirs = theirs.replace('\t', "?");
        ensure!(*ours == theirs, "ours:   {ours}\ntheirs: {theirs}");
    }
    uwsgi.terminated(PATIENCE)?;
    Ok(())
}

/// A line with its numbers blotted out, but for those of the answer.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    for letter in line.chars() {
        match (letter.is_ascii_digit(), shape.ends_with('#')) {
            (true, true) => {}
            (true, false) => shape.push('#'),
            (false, _) => shape.push(letter),
        }
    }
    shape
}

/// With and without `memory-report`, beside uWSGI's.
fn plain(ground: &Ground) -> Result<()> {
    for more in ["", "memory-report = true\n"] {
        let port = ground.port()?;
        let mut vassal = Vassal::from_ini(ground, "ours.ini", &ini(ground, port, more)?)?;
        vassal.answers(port)?;
        http::ask(port, Ask::post("/a?b=c").body("text/plain", b"four"))?;
        vassal.master.says("POST /a?b=c => generated ", PATIENCE)?;
        let ours = vassal.master.output();
        vassal.stop()?;
        let port = ground.port()?;
        let file = ground.write("theirs.ini", &ini(ground, port, more)?)?;
        let mut command = Command::new(python::program("uwsgi")?);
        command.arg("--ini").arg(&file).arg("--need-app").arg("--die-on-term");
        let mut uwsgi = ground.start("uwsgi", command)?;
        wait::until_ok("uWSGI to answer", PATIENCE, || Ok(http::get(port, "/")?))?;
        http::ask(port, Ask::post("/a?b=c").body("text/plain", b"four"))?;
        uwsgi.says("POST /a?b=c => generated ", PATIENCE)?;
        let theirs = uwsgi.output();
        uwsgi.terminated(PATIENCE)?;
        let of = |text: &str| text.lines().find(|line| line.contains(" POST /a?b=c => ")).map(shape);
        ensure!(of(&ours) == of(&theirs), "ours:   {:?}\ntheirs: {:?}", of(&ours), of(&theirs));
    }
    Ok(())
}

fn chosen(ground: &Ground) -> Result<()> {
    ground.write(
        "answers.py",
        "import time\ndef application(environ, start_response):\n    path = environ['PATH_INFO'][1:]\n\
         \x20   if path == 'slow':\n        time.sleep(0.6)\n\
         \x20   start_response((path if path.isdigit() else '200') + ' Said', [('Content-Length', '0')])\n    return []\n",
    )?;
    let port = ground.port()?;
    let more = "disable-logging = true\nlog-4xx = true\nlog-5xx = true\nlog-slow = 500\nlog-x-forwarded-for = true\n";
    let text = ini(ground, port, more)?.replace("module = lines", "module = answers");
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.answers(port)?;
    for path in ["/fast", "/404", "/302", "/503", "/slow"] {
        http::ask(port, Ask::get(path).header("X-Forwarded-For", "203.0.113.7"))?;
    }
    vassal.master.says("GET /slow =>", PATIENCE)?;
    let output = vassal.master.output();
    let lines: Vec<&str> = output.lines().filter(|line| line.contains(" => generated ")).collect();
    let of = |path: &str| lines.iter().filter(|line| line.contains(&format!(" GET {path} => "))).count();
    ensure!([of("/404"), of("/503"), of("/slow")] == [1, 1, 1] && lines.len() == 3, "{lines:#?}");
    ensure!(lines.iter().all(|line| line.contains("] 203.0.113.7 () {")), "{lines:#?}");
    vassal.stop()
}

fn named(ground: &Ground) -> Result<()> {
    ground.write(
        "asking.py",
        "import uwsgi\ndef application(environ, start_response):\n    uwsgi.log_this_request()\n\
         \x20   start_response('200 OK', [('Content-Length', '0')])\n    return []\n",
    )?;
    let port = ground.port()?;
    let more = "disable-logging = true\nlog-x-forwarded-for = true\ntrusted-proxies = 127.0.0.1\n";
    let text = ini(ground, port, more)?.replace("module = lines", "module = asking");
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.answers(port)?;
    // The client may say what it likes before what the proxy says.
    http::ask(port, Ask::get("/forged").header("X-Forwarded-For", "192.0.2.66, 203.0.113.7"))?;
    http::get(port, "/direct")?;
    vassal.master.says("GET /direct =>", PATIENCE)?;
    let output = vassal.master.output();
    for (path, address) in [("/forged", "203.0.113.7"), ("/direct", "127.0.0.1")] {
        let line = output.lines().find(|line| line.contains(&format!(" GET {path} => "))).unwrap_or_default();
        ensure!(line.contains(&format!("] {address} () {{")), "{path}: {line}");
    }
    vassal.stop()
}

fn dated(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let text =
        ini(ground, port, "log-date = %%Y!\nlog-format-strftime = true\nlog-format = ft=%(ftime) uri=%(uri) x\n")?;
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.answers(port)?;
    http::get(port, "/say")?;
    vassal.master.says("uri=/say x", PATIENCE)?;
    let output = vassal.master.output();
    let line = |text: &str| output.lines().find(|line| line.contains(text)).unwrap_or_default().to_owned();
    let own = line("*** Starting vassal");
    let year = own.get(..4).context("no year")?;
    ensure!(year.parse::<u16>().is_ok() && own.starts_with(&format!("{year}! - *** Starting")), "{own}");
    ensure!(line("said") == format!("{year}! - said"), "{output}");
    ensure!(line("printed") == "printed", "{output}");
    ensure!(line("uri=/say") == format!("ft={year}! uri=/say x"), "{output}");
    vassal.stop()
}

fn loggers(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let socket = UnixDatagram::bind(ground.path("log.sock"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let directory = ground.directory().display();
    let more = format!(
        "logger = file:{directory}/all.log\nlogger = socket:{directory}/log.sock,shop \nlogger = said file:{directory}/said.log\n\
         log-route = said ^said\nlog-drain = Starting\nlog-encoder = json {{\"unix\":${{unix}},\"msg\":\"${{msg}}\"}}\n\
         req-logger = file:logfile={directory}/requests.log,maxsize=1000000\nlog-req-encoder = prefix R:\n"
    );
    let mut vassal = Vassal::from_ini(ground, "app.ini", &ini(ground, port, &more)?)?;
    vassal.answers(port)?;
    http::get(port, "/say")?;
    let requests = holds(&ground.path("requests.log"), "GET /say =>")?;
    ensure!(requests.lines().all(|line| line.starts_with("R:[pid: ")), "{requests}");
    let all = holds(&ground.path("all.log"), "printed")?;
    for line in all.lines() {
        let object: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let message = object["msg"].as_str().context("no message")?;
        ensure!(object["unix"].is_u64() && !message.contains("GET /") && message != "said", "{line}");
        ensure!(!message.contains("Starting"), "{line}");
    }
    let said = holds(&ground.path("said.log"), "said")?;
    ensure!(said.lines().count() == 1, "{said}");
    wait::until_ok("the printed line on the socket", PATIENCE, || {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes)?;
        let line = String::from_utf8_lossy(&bytes[..length]).into_owned();
        ensure!(line.starts_with("shop{\"unix\":") && line.contains("printed"), "{line}");
        Ok(())
    })?;
    // A file of a logger that is moved is opened anew, as the log is.
    fs::rename(ground.path("said.log"), ground.path("said.log.1"))?;
    wait::until_ok("a new file", PATIENCE, || {
        http::get(port, "/say")?;
        ensure!(ground.path("said.log").exists());
        Ok(())
    })?;
    vassal.stop()
}

fn down(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let directory = ground.directory().display();
    let more = format!(
        "processes = 2\nlogger = socket:{directory}/nobody.sock\nreq-logger = socket:{directory}/slow.sock\n\
         logto = {directory}/app.log\n"
    );
    // Nobody ever reads it.
    let _slow = UnixDatagram::bind(ground.path("slow.sock"))?;
    let mut vassal = Vassal::from_ini(ground, "app.ini", &ini(ground, port, &more)?)?;
    vassal.answers(port)?;
    for number in 0..2000 {
        ensure!(http::get(port, &format!("/{number}"))?.status == 200);
    }
    holds(&ground.path("app.log"), "nobody.sock takes no lines")?;
    holds(&ground.path("app.log"), "slow.sock takes no lines")?;
    let reader = UnixDatagram::bind(ground.path("nobody.sock"))?;
    reader.set_read_timeout(Some(PATIENCE))?;
    http::get(port, "/say")?;
    let mut bytes = [0; 4096];
    let length = reader.recv(&mut bytes)?;
    let note = String::from_utf8_lossy(&bytes[..length]).into_owned();
    ensure!(note.starts_with("*** ") && note.ends_with(" lines were lost: this logger took none ***\n"), "{note}");
    holds(&ground.path("app.log"), "nobody.sock takes lines again")?;
    vassal.stop()
}

fn under_an_emperor(ground: &Ground) -> Result<()> {
    let emperor = Emperor::start(ground)?;
    let port = ground.port()?;
    let log = ground.path("shop.log");
    let text = ini(ground, port, &format!("logger = file:{}\nlog-format = uri=%(uri) x\n", log.display()))?;
    emperor.drop_file("shop.ini", &text)?;
    emperor.loyal("shop.ini")?;
    http::get(port, "/say")?;
    let content = holds(&log, "uri=/say x")?;
    ensure!(content.contains("\nprinted\n"), "{content}");
    // Whoever asks for the log is shown where it goes.
    let shown = emperor.says("logs", &["shop.ini"])?.success()?;
    ensure!(shown.contains("uri=/say x"), "{shown}");
    emperor.stop()
}

fn packets(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let server = UdpSocket::bind("127.0.0.1:0")?;
    server.set_read_timeout(Some(PATIENCE))?;
    let more = format!(
        "log-format = the line %(uri) of a request\nreq-logger = rsyslog:{},shop\nrsyslog-packet-size = 200\n\
         rsyslog-split-messages = true\n",
        server.local_addr()?
    );
    let mut vassal = Vassal::from_ini(ground, "app.ini", &ini(ground, port, &more)?)?;
    vassal.answers(port)?;
    let path = format!("/{}", (0..100).map(|number| format!("{number:04}")).collect::<String>());
    http::get(port, &path)?;
    let (wanted, mut got) = (format!("the line {path} of a request"), String::new());
    while got != wanted {
        let mut room = [0; 2048];
        let (length, _) = server.recv_from(&mut room)?;
        ensure!(length <= 200, "a packet of {length} bytes");
        let packet = String::from_utf8_lossy(&room[..length]).into_owned();
        let (head, part) = packet.split_once(" shop: ").with_context(|| packet.clone())?;
        ensure!(head.starts_with("<29>"), "{packet}");
        if part == "the line / of a request" {
            continue;
        }
        got.push_str(part);
        ensure!(wanted.starts_with(&got), "{got}");
    }
    vassal.stop()
}
