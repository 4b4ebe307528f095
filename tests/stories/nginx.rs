//! A real nginx with its stock parameter files in front, as the examples of `deploy/examples/nginx` set it up.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use empery_tests::{
    ground::Ground,
    http::{self, Ask, Connection},
    load::{Load, Mode},
    nginx::Nginx,
    runner::Story,
    vassal::Vassal,
    wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("nginx/b7-uwsgi-pass-to-a-tcp-socket", tcp),
    Story::new("nginx/b7-uwsgi-pass-to-a-unix-socket", unix),
    Story::new("nginx/proxy-pass-with-connections-kept-open", proxy),
    Story::new("nginx/fastcgi-pass-with-connections-kept-open", fastcgi),
    Story::new("nginx/scgi-pass-to-a-unix-socket", scgi),
    Story::new("nginx/h19-either-is-reloaded-under-load-and-nothing-is-lost", either).alone(),
];

fn behind(ground: &Ground, listen: &str, example: &str, from: &str, to: String) -> Result<()> {
    let apps = empery_tests::ground::app("");
    let direct = ground.port()?;
    let text = format!(
        "[uwsgi]\n{listen}\nhttp-socket = 127.0.0.1:{direct}\npythonpath = {}\nmodule = show\nprocesses = 2\nmaster = true\n",
        apps.display()
    );
    let mut vassal = Vassal::from_ini(ground, "behind.ini", &text)?;
    vassal.answers(direct)?;
    let nginx = Nginx::from_example(ground, example, &[(from, to)])?;

    let shown: Value = serde_json::from_slice(&http::get(nginx.port, "/a%20b/c?x=1&y=%2F")?.body)?;
    ensure!(shown["PATH_INFO"] == "/a b/c" && shown["QUERY_STRING"] == "x=1&y=%2F", "{shown:#}");
    ensure!(shown["REQUEST_METHOD"] == "GET" && shown["SCRIPT_NAME"] == "", "{shown:#}");

    let body = vec![b'x'; 300_000];
    let echoed = http::ask(nginx.port, Ask::post("/read").body("application/octet-stream", &body))?;
    ensure!(echoed.status == 200 && echoed.body == body, "status {}, {} bytes", echoed.status, echoed.body.len());
    let shown = http::ask(nginx.port, Ask::get("/").header("X-Story", "told"))?;
    let shown: Value = serde_json::from_slice(&shown.body).context("a header")?;
    ensure!(shown["HTTP_X_STORY"] == "told", "{shown:#}");
    // A chunked body is collected by nginx; what reaches the app has a length.
    let mut client = Connection::open(nginx.port, Duration::from_secs(10))?;
    client.send(b"POST /read HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")?;
    ensure!(client.answer(false)?.text() == "hello");
    let head = http::ask(nginx.port, Ask::new("HEAD", "/"))?;
    ensure!(head.status == 200 && head.body.is_empty(), "{head:?}");
    for number in 0..50 {
        let shown: Value = serde_json::from_slice(&client.ask(&Ask::get(&format!("/{number}")))?.body)?;
        ensure!(shown["PATH_INFO"] == format!("/{number}"), "{shown:#}");
    }
    let raised = http::get(nginx.port, "/raise")?;
    ensure!(raised.status == 500, "an exception behind nginx answers {}", raised.status);
    nginx.stop()?;
    vassal.stop()
}

fn tcp(ground: &Ground) -> Result<()> {
    let port = ground.port_like(3031)?;
    behind(ground, &format!("socket = 127.0.0.1:{port}"), "tcp.conf", "127.0.0.1:3031", format!("127.0.0.1:{port}"))
}

fn unix(ground: &Ground) -> Result<()> {
    let socket = ground.path("shop.sock");
    let listen = format!("socket = {}\nchmod-socket = 666", socket.display());
    behind(ground, &listen, "unix.conf", "unix:/run/empery-apps/shop.sock", format!("unix:{}", socket.display()))
}

fn proxy(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    behind(
        ground,
        &format!("http-socket = 127.0.0.1:{port}"),
        "http.conf",
        "127.0.0.1:8080",
        format!("127.0.0.1:{port}"),
    )
}

fn fastcgi(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let address = format!("127.0.0.1:{port}");
    behind(ground, &format!("fastcgi-socket = {address}"), "fastcgi.conf", "127.0.0.1:9000", address)
}

fn scgi(ground: &Ground) -> Result<()> {
    let socket = ground.path("shop.sock");
    let listen = format!("scgi-socket = {}\nchmod-socket = 666", socket.display());
    behind(ground, &listen, "scgi.conf", "unix:/run/empery-apps/shop.sock", format!("unix:{}", socket.display()))
}

fn either(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut vassal =
        Vassal::from_ini(ground, "behind.ini", &super::ini(port, "ids", "processes = 2\ndisable-logging = true\n"))?;
    vassal.answers(port)?;
    let passing = "proxy_set_header Connection \"\";";
    let nginx = Nginx::from_example(
        ground,
        "http.conf",
        &[
            ("127.0.0.1:8080", format!("127.0.0.1:{port}")),
            // Nothing is tried again: what is lost is seen.
            (passing, format!("{passing} proxy_buffering off; proxy_next_upstream off;")),
        ],
    )?;
    // nginx itself cuts idle connections of its clients when it is reloaded: each request has its own here, while those
    // from nginx to the vassal are kept open.
    let load = Load::on(nginx.port, Mode::Close).start();
    for _ in 0..3 {
        let boot = super::boot_of(&http::get(nginx.port, "/")?);
        vassal.signal(Signal::SIGHUP);
        super::boot_changes(nginx.port, &boot)?;
        nginx.reload();
        load.goes_on(200)?;
    }
    let ledger = load.stop();
    ground.note(&ledger.to_string());
    ledger.flawless()?;
    wait::until("the old generations to be gone", Duration::from_secs(10), || {
        (vassal.master.output().matches("has finished").count() >= 3).then_some(())
    })?;
    nginx.stop()?;
    vassal.stop()
}
