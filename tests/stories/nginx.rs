//! A real nginx with its stock `uwsgi_params` in front, as the examples of `deploy/examples/nginx` set it up.

use anyhow::{Context, Result, ensure};
use empery_tests::{
    ground::Ground,
    http::{self, Ask},
    nginx::Nginx,
    runner::Story,
    uwsgi,
    vassal::Vassal,
    wait,
};
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("nginx/uwsgi-pass-to-a-tcp-socket", tcp),
    Story::new("nginx/uwsgi-pass-to-a-unix-socket", unix),
    Story::new("nginx/proxy-pass-with-connections-kept-open", proxy),
];

fn behind(ground: &Ground, listen: &str, example: &str, from: &str, to: String) -> Result<()> {
    let apps = empery_tests::ground::app("");
    let text =
        format!("[uwsgi]\n{listen}\npythonpath = {}\nmodule = show\nprocesses = 2\nmaster = true\n", apps.display());
    let vassal = Vassal::from_ini(ground, "behind.ini", &text)?;
    wait::until_ok("the vassal to serve", empery_tests::vassal::BOOTED_WITHIN, || {
        match to.strip_prefix("unix:") {
            Some(path) => uwsgi::get(std::path::Path::new(path), "/")?,
            None if listen.starts_with("http") => http::get(to.parse::<std::net::SocketAddr>()?.port(), "/")?,
            None => uwsgi::get(to.parse::<std::net::SocketAddr>()?.port(), "/")?,
        };
        Ok(())
    })
    .map_err(|error| error.context(vassal.master.output()))?;
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
