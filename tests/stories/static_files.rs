//! Static files: what uWSGI's options come to, what a browser asks for, and what an attacker does.

use std::{fs, os::unix::fs::symlink, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    ground::Ground,
    http::{self, Answer, Ask, Connection},
    nginx::Nginx,
    python,
    runner::Story,
    tls, uwsgi,
    vassal::Vassal,
    wait,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("static/the-files-of-django-s-admin-come-from-the-worker", django),
    Story::new("static/nothing-outside-the-directory-is-served-cve-2018-7490", escapes),
    Story::new("static/b31-a-client-that-does-not-read-holds-no-worker", slow_client),
    Story::new("static/conditions-and-ranges-are-answered-as-nginx-does", as_nginx),
    Story::new("static/every-protocol-serves-files-and-counts-them", protocols),
    Story::new("static/connections-are-kept-and-answers-come-in-order", pipelined),
    Story::new("static/a-download-outlives-a-reload", reloaded),
    Story::new("static/a-web-server-names-its-document-root-and-sends-the-file-itself", web_server),
    Story::new("static/over-tls-and-http2", over_tls),
    Story::new("static/over-fastcgi-and-scgi", over_fastcgi_and_scgi),
    Story::new("static/b31-options-mean-what-they-mean-to-uwsgi", as_uwsgi),
];

/// A vassal that serves `files` of the story's directory below `/static`, with `hello` behind; the app's port.
fn with_files(ground: &Ground, more: &str) -> Result<(Vassal, u16)> {
    fs::create_dir_all(ground.path("files"))?;
    let port = ground.port()?;
    let text = super::ini(port, "hello", &format!("master = true\nstatic-map = /static=%d/files\n{more}"));
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.answers(port)?;
    Ok((vassal, port))
}

/// `length` bytes that differ from place to place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 251 + at % 251) as u8).collect()
}

fn is_of_the_app(answer: &Answer) -> bool {
    answer.text() == "Hello World"
}

fn django(ground: &Ground) -> Result<()> {
    let root = ground.path("static");
    python::run(
        "import sys, django\n\
         from django.conf import settings\n\
         settings.configure(INSTALLED_APPS=['django.contrib.admin', 'django.contrib.auth', 'django.contrib.contenttypes',\n\
             'django.contrib.staticfiles'], STATIC_URL='/static/', STATIC_ROOT=sys.argv[1])\n\
         django.setup()\n\
         from django.core.management import call_command\n\
         call_command('collectstatic', interactive=False, verbosity=0)\n",
        &[root.to_str().context("a path of text")?],
    )?;
    let port = ground.port()?;
    let text =
        super::ini(port, "hello", "master = true\nstatic-map = /static=%d/static\nstatic-expires = /css/ 3600\n");
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.answers(port)?;
    for (name, kind) in [
        ("admin/css/base.css", "text/css"),
        ("admin/js/core.js", "text/javascript"),
        ("admin/img/icon-yes.svg", "image/svg+xml"),
    ] {
        let answer = http::get(port, &format!("/static/{name}"))?;
        ensure!(answer.status == 200 && answer.body == fs::read(root.join(name))?, "{name}: {}", answer.status);
        ensure!(answer.header("content-type") == Some(kind), "{name}: {:?}", answer.headers);
        ensure!(answer.header("expires").is_some() == (kind == "text/css"), "{name}: {:?}", answer.headers);
        let etag = answer.header("etag").context("no ETag")?;
        let again = http::ask(port, Ask::get(&format!("/static/{name}")).header("If-None-Match", etag))?;
        ensure!(again.status == 304 && again.body.is_empty(), "{name}: {}", again.status);
    }
    ensure!(is_of_the_app(&http::get(port, "/static/admin/css/none.css")?), "what is not there goes to the app");
    ensure!(is_of_the_app(&http::get(port, "/staticadmin/css/base.css")?), "a prefix is made of whole segments");
    ensure!(is_of_the_app(&http::ask(port, Ask::post("/static/admin/css/base.css"))?), "POST goes to the app");
    vassal.stop()
}

fn escapes(ground: &Ground) -> Result<()> {
    let socket = ground.path("uwsgi.sock");
    let (vassal, port) = with_files(ground, &format!("socket = {}\nthreads = 1\n", socket.display()))?;
    ground.write("secret.txt", "SECRET")?;
    ground.write("files/plain.txt", "plain")?;
    fs::create_dir_all(ground.path("files-private"))?;
    ground.write("files-private/key", "SECRET")?;
    symlink("../secret.txt", ground.path("files/link"))?;
    symlink("/etc", ground.path("files/etc"))?;
    symlink("plain.txt", ground.path("files/alias"))?;
    nix::unistd::mkfifo(&ground.path("files/fifo"), nix::sys::stat::Mode::S_IRWXU)?;
    for (path, statuses) in [
        ("/static/../secret.txt", &[403][..]),
        ("/static/%2e%2e/secret.txt", &[403]),
        ("/static/%2E%2e%2Fsecret.txt", &[403]),
        ("/static/..%2f..%2f..%2fetc%2fpasswd", &[403]),
        ("/static/x/../../secret.txt", &[403]),
        ("/static/..%5c..%5csecret.txt", &[403]),
        ("/static/plain.txt%00.css", &[400, 403]),
        ("/static/link", &[403]),
        ("/static/etc/passwd", &[403]),
        // Decoded once: these are plain names that nobody has, so the app is asked.
        ("/static/%252e%252e/secret.txt", &[200]),
        ("/static/%c0%ae%c0%ae/secret.txt", &[200]),
        ("/static-private/key", &[200]),
        ("/static/fifo", &[200]),
    ] {
        let answer = http::get(port, path).with_context(|| path.to_owned())?;
        let text = answer.text();
        ensure!(statuses.contains(&answer.status), "{path}: {}", answer.status);
        ensure!(!text.contains("SECRET") && !text.contains("root:"), "{path} showed {text}");
        ensure!(answer.status != 200 || is_of_the_app(&answer), "{path} showed {text}");
    }
    for path in ["/static/../secret.txt", "/static/plain.txt\0.css", "/static/link", "/static/etc/passwd"] {
        let answer = uwsgi::get(&socket, path)?;
        ensure!(answer.status == 403, "{path} over uwsgi: {}", answer.status);
    }
    for path in ["/static/plain.txt", "/static/alias", "/static/./plain.txt"] {
        ensure!(http::get(port, path)?.text() == "plain", "{path}");
    }
    let log = vassal.master.output();
    ensure!(log.contains("security error: /static/../secret.txt leads outside"), "{log}");
    vassal.stop()
}

fn slow_client(ground: &Ground) -> Result<()> {
    let (vassal, port) = with_files(ground, "processes = 1\nthreads = 1\n")?;
    let big = pattern(16 << 20);
    fs::write(ground.path("files/big"), &big)?;
    let mut lazy = Vec::new();
    for _ in 0..8 {
        let mut client = Connection::open(port, Duration::from_secs(30))?;
        client.send(b"GET /static/big HTTP/1.1\r\nHost: h\r\n\r\n")?;
        lazy.push(client);
    }
    // Each has been begun, and none has been read: still the only thread answers others.
    for _ in 0..50 {
        ensure!(is_of_the_app(&http::get(port, "/")?));
    }
    for mut client in lazy {
        let answer = client.answer(false)?;
        ensure!(answer.status == 200 && answer.body == big, "{} bytes came", answer.body.len());
    }
    vassal.stop()
}

/// The same directory behind nginx: status, and the headers that a client acts upon.
fn as_nginx(ground: &Ground) -> Result<()> {
    let (vassal, port) = with_files(ground, "")?;
    fs::write(ground.path("files/data.txt"), pattern(10_000))?;
    // A date of the running second is no strong validator to us (RFC 9110 section 8.8.2.2), and is to nginx.
    fs::File::options()
        .write(true)
        .open(ground.path("files/data.txt"))?
        .set_modified(std::time::SystemTime::now() - Duration::from_secs(60))?;
    let files = ground.path("files");
    let location = format!("location = / {{ return 200; }} location /static/ {{ alias {}/; }}", files.display());
    let nginx = Nginx::start(ground, &location)?;
    let path = "/static/data.txt";
    let (ours, theirs) = (http::get(port, path)?, http::get(nginx.port, path)?);
    let date = ours.header("last-modified").context("no Last-Modified")?.to_owned();
    ensure!(theirs.header("last-modified") == Some(date.as_str()), "{:?} {:?}", ours.headers, theirs.headers);
    // Each server knows its own tag.
    let tags = [ours, theirs].map(|answer| answer.header("etag").unwrap_or_default().to_owned());
    // Left out: If-None-Match that fits beside an If-Modified-Since that does not. nginx wants both to fit, RFC 9110 section
    // 13.1.3 says to ignore the date.
    let long_ago = "Thu, 01 Jan 1970 00:00:01 GMT";
    let rows: &[&[(&str, &str)]] = &[
        &[],
        &[("Range", "bytes=0-99")],
        &[("Range", "bytes=100-")],
        &[("Range", "bytes=-100")],
        &[("Range", "bytes=9999-")],
        &[("Range", "bytes=10000-")],
        &[("Range", "bytes=0-20000")],
        &[("Range", "bytes=-20000")],
        &[("Range", "bytes=0-0,-1")],
        &[("Range", "bytes=0-9,20-29,100-199")],
        &[("Range", "bytes=0-,0-")],
        &[("Range", "items=0-1")],
        &[("Range", "bytes=0-1"), ("If-Range", "TAG")],
        &[("Range", "bytes=0-1"), ("If-Range", "\"other\"")],
        &[("Range", "bytes=0-1"), ("If-Range", "DATE")],
        &[("Range", "bytes=0-1"), ("If-Range", long_ago)],
        &[("If-None-Match", "TAG")],
        &[("If-None-Match", "W/TAG")],
        &[("If-None-Match", "\"a\", TAG , \"b\"")],
        &[("If-None-Match", "*")],
        &[("If-None-Match", "\"other\"")],
        &[("If-None-Match", "\"other\""), ("If-Modified-Since", "DATE")],
        &[("If-None-Match", "TAG"), ("Range", "bytes=0-1")],
        &[("If-Modified-Since", "DATE")],
        &[("If-Modified-Since", long_ago)],
        &[("If-Modified-Since", "rubbish")],
        &[("If-Match", "TAG")],
        &[("If-Match", "\"other\"")],
        &[("If-Match", "*")],
        &[("If-Match", "W/TAG")],
        &[("If-Unmodified-Since", "DATE")],
        &[("If-Unmodified-Since", long_ago)],
        &[("If-Match", "TAG"), ("If-None-Match", "TAG")],
    ];
    for method in ["GET", "HEAD"] {
        for row in rows {
            if method == "HEAD" && row.iter().any(|(name, _)| *name == "Range") {
                // nginx honours it; RFC 9110 section 14.2 says to ignore it.
                continue;
            }
            let ask = |port: u16, tag: &str| {
                let ask = row.iter().fold(Ask::new(method, path), |ask, (name, value)| {
                    ask.header(name, &value.replace("TAG", tag).replace("DATE", &date))
                });
                http::ask(port, ask)
            };
            let (ours, theirs) = (ask(port, &tags[0])?, ask(nginx.port, &tags[1])?);
            ensure!(ours.status == theirs.status, "{method} {row:?}: {} and {}", ours.status, theirs.status);
            for name in ["content-range", "last-modified"] {
                let differs = ours.header(name) != theirs.header(name);
                ensure!(!differs, "{method} {row:?}: {name} {:?} {:?}", ours.headers, theirs.headers);
            }
            if matches!(ours.status, 200 | 206) {
                ensure!(plain_body(&ours) == plain_body(&theirs), "{method} {row:?}: other bodies");
            }
        }
    }
    nginx.stop()?;
    vassal.stop()
}

/// The body; of several ranges without what each server makes up for the boundary.
fn plain_body(answer: &Answer) -> Vec<u8> {
    let boundary = answer.header("content-type").and_then(|kind| kind.strip_prefix("multipart/byteranges; boundary="));
    match boundary {
        None => answer.body.clone(),
        Some(boundary) => {
            let text: String = answer.body.iter().map(|byte| char::from(*byte)).collect();
            text.replace(boundary, "B").bytes().collect()
        }
    }
}

fn protocols(ground: &Ground) -> Result<()> {
    let (socket, stats) = (ground.path("uwsgi.sock"), ground.port()?);
    let (vassal, port) = with_files(ground, &format!("socket = {}\nstats = 127.0.0.1:{stats}\n", socket.display()))?;
    let (small, large) = (pattern(1_000), pattern(3 << 20));
    fs::write(ground.path("files/small.bin"), &small)?;
    fs::write(ground.path("files/large.bin"), &large)?;
    ground.write("files/empty.txt", "")?;
    for (name, content) in [("small.bin", &small), ("large.bin", &large), ("empty.txt", &Vec::new())] {
        let path = format!("/static/{name}");
        ensure!(http::get(port, &path)?.body == *content, "{name} over HTTP");
        let answer = uwsgi::get(&socket, &path)?;
        ensure!(answer.status == 200 && answer.body == *content, "{name} over uwsgi");
        let length = content.len().to_string();
        ensure!(answer.header("content-length") == Some(&length), "{name}: {:?}", answer.headers);
        let head = http::ask(port, Ask::new("HEAD", &path))?;
        ensure!(head.header("content-length") == Some(&length), "{name}: {:?}", head.headers);
    }
    let shown = super::stats::read(stats)?;
    let counted: u64 = shown["workers"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|worker| worker["cores"].as_array().into_iter().flatten())
        .filter_map(|core| core["static_requests"].as_u64())
        .sum();
    ensure!(counted == 9, "{counted} of 9 were counted: {shown:#}");
    let line = "GET /static/large.bin => generated 3145728 bytes in";
    let log = vassal.master.output();
    ensure!(log.matches(line).count() == 2, "not two lines of {line}:\n{log}");
    vassal.stop()
}

fn pipelined(ground: &Ground) -> Result<()> {
    let (vassal, port) = with_files(ground, "")?;
    let large = pattern(2 << 20);
    fs::write(ground.path("files/large"), &large)?;
    ground.write("files/small", "small")?;
    let mut client = Connection::open(port, Duration::from_secs(10))?;
    let ask = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    let order = ["/static/large", "/", "/static/small", "/static/large", "/static/../x", "/"];
    let mut bytes: String = order.iter().map(|path| ask("GET", path)).collect();
    bytes.push_str(&ask("HEAD", "/static/large"));
    client.send(bytes.as_bytes())?;
    for path in order {
        let answer = client.answer(false)?;
        let expected = match path {
            "/static/large" => large.as_slice(),
            "/static/small" => b"small",
            "/" => b"Hello World",
            _ => b"Forbidden",
        };
        ensure!(answer.body == expected, "{path} was answered with {} bytes", answer.body.len());
        ensure!(!answer.closes(), "{path}: {:?}", answer.headers);
    }
    ensure!(client.answer(true)?.header("content-length") == Some("2097152"));
    // A GET with a body that nobody reads: the answer comes, and then the connection ends.
    client.send(b"GET /static/small HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde")?;
    let answer = client.answer(false)?;
    ensure!(answer.text() == "small" && answer.closes(), "{answer:?}");
    drop(client);
    vassal.stop()
}

fn reloaded(ground: &Ground) -> Result<()> {
    let (mut vassal, port) = with_files(ground, "")?;
    let big = pattern(16 << 20);
    fs::write(ground.path("files/big"), &big)?;
    let mut client = Connection::open(port, Duration::from_secs(30))?;
    client.send(b"GET /static/big HTTP/1.1\r\nHost: h\r\n\r\n")?;
    let begun = "GET /static/big => generated";
    wait::until("the answer to be begun", Duration::from_secs(5), || {
        vassal.master.output().contains(begun).then_some(())
    })?;
    vassal.signal(nix::sys::signal::Signal::SIGHUP);
    vassal.master.says("generation 2 serves", Duration::from_secs(20))?;
    let answer = client.answer(false)?;
    ensure!(answer.body == big, "{} bytes came", answer.body.len());
    ensure!(is_of_the_app(&client.ask(&Ask::get("/"))?), "the connection goes on");
    vassal.stop()
}

fn web_server(ground: &Ground) -> Result<()> {
    let socket = ground.path("uwsgi.sock");
    let files = ground.path("files");
    let more = format!(
        "socket = {}\nchmod-socket = 666\ncheck-static-docroot = true\nfile-serve-mode = nginx\n",
        socket.display()
    );
    let (vassal, port) = with_files(ground, &more)?;
    let content = pattern(100_000);
    fs::write(files.join("a file.bin"), &content)?;
    let (at, pass) = (files.display(), socket.display());
    let nginx = Nginx::start(
        ground,
        &format!(
            "root {at}; location / {{ include uwsgi_params; uwsgi_pass unix:{pass}; }} location {at}/ {{ internal; root /; }}"
        ),
    )?;
    let answer = http::get(nginx.port, "/a%20file.bin")?;
    ensure!(answer.status == 200 && answer.body == content, "{} with {} bytes", answer.status, answer.body.len());
    let part = http::ask(nginx.port, Ask::get("/a%20file.bin").header("Range", "bytes=10-19"))?;
    ensure!(part.status == 206 && part.body == content[10..20], "{}", part.status);
    ensure!(is_of_the_app(&http::get(nginx.port, "/none")?), "what is not there goes to the app");
    let direct = http::get(port, "/static/a%20file.bin")?;
    let told = direct.header("x-accel-redirect").context("no X-Accel-Redirect")?;
    ensure!(told.ends_with("/files/a%20file.bin") && direct.body.is_empty(), "{:?}", direct.headers);
    nginx.stop()?;
    vassal.stop()
}

fn over_tls(ground: &Ground) -> Result<()> {
    let (pair, port) = (tls::pair(ground, "site", "localhost", None, 30)?, ground.port()?);
    let (vassal, _) = with_files(ground, &format!("https = 127.0.0.1:{port},site.crt,site.key\n"))?;
    let content: String = pattern(300_000).iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    ground.write("files/data.txt", &content)?;
    ground.write("secret.txt", "SECRET")?;
    symlink("../secret.txt", ground.path("files/link"))?;
    tls::answers(&pair.certificate, "localhost", port)?;
    for version in ["--http2", "--http1.1"] {
        let get = |path: &str, more: &[&str]| {
            tls::get(&pair.certificate, "localhost", port, path, &[&[version, "--path-as-is"], more].concat())
        };
        ensure!(get("/static/data.txt", &[])? == content, "the whole file by {version}");
        ensure!(get("/static/data.txt", &["-r", "5-9"])? == content[5..10], "a range by {version}");
        let head = get("/static/data.txt", &["--head"])?.to_ascii_lowercase();
        ensure!(head.contains("content-length: 300000") && head.contains("etag: "), "{version}: {head}");
        for path in ["/static/link", "/static/../secret.txt", "/static/%2e%2e/secret.txt"] {
            let refused = get(path, &["-w", " %{http_code}"])?;
            ensure!(refused.ends_with("403") || refused.ends_with("404"), "{path} by {version}: {refused}");
        }
    }
    vassal.stop()
}

/// The same options and files, served by the real uWSGI and by us.
fn as_uwsgi(ground: &Ground) -> Result<()> {
    let program = python::program("uwsgi")?;
    for (name, text) in [
        ("files/a.css", "0123456789"),
        ("files/a.css.gz", "gzip"),
        ("files/app.py", "code"),
        ("files/dir/index.html", "index"),
        ("files/dir/b.txt", "b"),
        ("other/a.css", "other"),
        ("other/kept/c.txt", "c"),
        ("other/both", "other"),
        ("checked/both", "checked"),
        ("checked/page/home.htm", "home"),
    ] {
        ground.write(name, text)?;
    }
    symlink("dir/b.txt", ground.path("files/alias"))?;
    symlink(ground.path("other/both"), ground.path("files/safe"))?;
    let at = ground.directory().display();
    let options = format!(
        "static-map = /static={at}/files\nstatic-map = /one.css={at}/files/a.css\nstatic-map2 = /kept={at}/other\n\
         check-static = {at}/checked\nstatic-index = index.html\nstatic-index = home.htm\nstatic-skip-ext = .py\n\
         static-gzip-all = true\nstatic-safe = {at}/other\nhonour-range = true\nstatic-expires-type = text/css=3600\n"
    );
    let (port, theirs) = (ground.port()?, ground.port()?);
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "hello", &options))?;
    vassal.answers(port)?;
    let more = format!("{options}master = true\ndie-on-term = true\nneed-app = true\n");
    let config = ground.write("uwsgi.ini", &super::ini(theirs, "hello", &more))?;
    let mut command = Command::new(program);
    command.arg(config);
    let mut uwsgi = ground.start("uwsgi", command)?;
    wait::until_ok("uWSGI to answer", Duration::from_secs(20), || Ok(http::get(theirs, "/")?))?;
    for (method, path, header) in [
        ("GET", "/static/a.css", None),
        ("HEAD", "/static/a.css", None),
        ("POST", "/static/a.css", None),
        ("GET", "/static/a.css", Some(("Accept-Encoding", "gzip"))),
        ("GET", "/static/dir/b.txt", Some(("Accept-Encoding", "gzip"))),
        ("GET", "/static/a.css", Some(("Range", "bytes=2-4"))),
        ("GET", "/static/a.css", Some(("Range", "bytes=50-60"))),
        ("GET", "/static/a.css", Some(("If-Modified-Since", "Fri, 31 Dec 2049 23:59:59 GMT"))),
        ("GET", "/static/a.css", Some(("If-Modified-Since", "Thu, 01 Jan 1970 00:00:01 GMT"))),
        ("GET", "/static/app.py", None),
        ("GET", "/static/dir", None),
        ("GET", "/static/dir/", None),
        ("GET", "/static//dir//b.txt", None),
        ("GET", "/static/dir/../a.css", None),
        ("GET", "/static/%61.css", None),
        ("GET", "/static/a.css?x=y", None),
        ("GET", "/static/alias", None),
        ("GET", "/static/safe", None),
        ("GET", "/static/none", None),
        ("GET", "/static", None),
        ("GET", "/one.css", None),
        ("GET", "/one.css/deeper", None),
        ("GET", "/kept/c.txt", None),
        ("GET", "/kept/none", None),
        ("GET", "/both", None),
        ("GET", "/page", None),
        ("GET", "/page/", None),
        ("GET", "/", None),
    ] {
        let ask = |port: u16| {
            let ask = Ask::new(method, path);
            http::ask(port, header.map_or(ask.clone(), |(name, value)| ask.header(name, value)))
        };
        let (ours, its) = (ask(port)?, ask(theirs)?);
        ensure!(ours.status == its.status, "{method} {path} {header:?}: {} and {}", ours.status, its.status);
        // The body of a refusal is each server's own.
        let same = ours.status >= 400 || ours.body == its.body;
        ensure!(same, "{method} {path} {header:?}: {:?} and {:?}", ours.text(), its.text());
        for name in ["content-range", "content-encoding", "last-modified"] {
            // uWSGI says nothing about the file beside 304 and 416.
            let says = its.header(name).is_some() || matches!(ours.status, 200 | 206);
            let differs = says && ours.header(name) != its.header(name);
            ensure!(!differs, "{method} {path} {header:?}: {name}: {:?} and {:?}", ours.headers, its.headers);
        }
        let expires = (ours.header("expires").is_some(), its.header("expires").is_some());
        ensure!(!expires.1 || expires.0, "{method} {path} {header:?}: {:?} and {:?}", ours.headers, its.headers);
    }
    uwsgi.terminated(Duration::from_secs(10))?;
    vassal.stop()
}

fn over_fastcgi_and_scgi(ground: &Ground) -> Result<()> {
    let (fastcgi, scgi) = (ground.path("fastcgi.sock"), ground.path("scgi.sock"));
    let (fast, simple) = (fastcgi.display(), scgi.display());
    let more = format!("fastcgi-socket = {fast}\nscgi-socket = {simple}\nchmod-socket = 666\n");
    let (vassal, port) = with_files(ground, &more)?;
    let content = pattern(1 << 20);
    fs::write(ground.path("files/data.bin"), &content)?;
    ground.write("files/small.txt", "small")?;
    for pass in [
        format!(
            "include fastcgi_params; fastcgi_param PATH_INFO $uri; fastcgi_keep_conn on; fastcgi_pass unix:{fast};"
        ),
        // As packages configure it.
        format!("include scgi_params; scgi_pass unix:{simple};"),
    ] {
        let nginx = Nginx::start(ground, &format!("location / {{ {pass} }}"))?;
        let path = "/static/data.bin";
        ensure!(http::get(nginx.port, path)?.body == content, "the whole file by {pass}");
        ensure!(http::get(nginx.port, "/static/small.txt")?.text() == "small", "a small file by {pass}");
        ensure!(is_of_the_app(&http::get(nginx.port, "/static/none")?), "what is not there by {pass}");
        let head = http::ask(nginx.port, Ask::new("HEAD", path))?;
        ensure!(head.status == 200 && head.header("content-length") == Some("1048576"), "{:?} by {pass}", head.headers);
        for range in ["bytes=10-99", "bytes=0-99,1000-200000,-5"] {
            let ask = |port| http::ask(port, Ask::get(path).header("Range", range));
            let (by_nginx, by_http) = (ask(nginx.port)?, ask(port)?);
            ensure!(by_nginx.status == 206, "{range} by {pass}: {}", by_nginx.status);
            ensure!(plain_body(&by_nginx) == plain_body(&by_http), "{range} by {pass}");
        }
        let etag = head.header("etag").context("no ETag")?;
        let same = http::ask(nginx.port, Ask::get(path).header("If-None-Match", etag))?;
        ensure!(same.status == 304 && same.body.is_empty(), "{} by {pass}", same.status);
        nginx.stop()?;
    }
    vassal.stop()
}
