//! Requests that are malformed, or refused while they still come, over TLS and through the gateway: sent as bytes, and judged by
//! what the app saw.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    ground::{self, Ground},
    process, python,
    runner::Story,
    tls::{self, Pair},
    vassal::Vassal,
};
use serde_json::{Value, json};

pub(crate) const STORIES: &[Story] = &[
    Story::new("tls/h5-h6-what-could-be-read-in-two-ways-never-reaches-the-app", two_ways).within_s(120),
    Story::new("tls/h7-an-upload-that-is-refused-is-told-so-and-not-reset", refused_upload),
];

const HOST: &str = "localhost";

/// What must never run.
const SMUGGLED: &str = "GET /smuggled@ HTTP/1.1\r\nHost: h\r\n\r\n";

fn serving(ground: &Ground, app: &str, more: &str) -> Result<(Vassal, Pair, u16)> {
    let (pair, port) = (tls::pair(ground, "site", HOST, None, 30)?, ground.port()?);
    let text = format!(
        "[uwsgi]\nhttps = 127.0.0.1:{port},site.crt,site.key\nwsgi-file = {}\nmaster = true\n{more}",
        ground::app(app).display()
    );
    let vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    tls::answers(&pair.certificate, HOST, port).map_err(|error| error.context(vassal.master.output()))?;
    Ok((vassal, pair, port))
}

/// Heads of which nothing may run, with what stands between their Host and their body.
const HEADS: [&str; 20] = [
    "X: y\nContent-Length: 5\r\n\r\n",
    "Content-Length: 5\nX: y\r\n\r\n",
    "X: y\n\n",
    "X: y\r\n\n",
    "X: y\n\r\n",
    "X: y\r\r\n\r\n",
    "Content-Length: 5\nTransfer-Encoding: chunked\r\n\r\n",
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
    "Content-Length: 0\r\nTransfer-Encoding: identity\r\n\r\n",
    "Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "Content-Length: 0, 5\r\n\r\n",
    "Content-Length: +5\r\n\r\n",
    "Content-Length:\r\n 5\r\n\r\n",
    "Transfer-Encoding: \u{b}chunked\r\n\r\n",
    "Transfer-Encoding : chunked\r\n\r\n",
    "Transfer-Encoding: chunked, identity\r\n\r\n",
    "Transfer-Encoding:\n chunked\r\n\r\n",
    "\0Transfer-Encoding: chunked\r\n\r\n",
];

/// Chunked bodies that are none.
const BODIES: [&str; 12] = [
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhello\r\n0\n\r\n",
    "5\r\nhello\r\n0\r\n\n",
    "5\r\nhello\r\n0\r\nA: b\n\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5;a\rb\r\nhello\r\n0\r\n\r\n",
    "4\r\nhello\r\n0\r\n\r\n",
    "6\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
];

fn two_ways(ground: &Ground) -> Result<()> {
    let record = ground.path("record");
    let more = format!("processes = 1\npyargv = {}\n", record.display());
    let (vassal, _, port) = serving(ground, "recorder.py", &more)?;
    let posted = |head: &str, rest: &str| format!("POST /c@ HTTP/1.1\r\nHost: h\r\n{head}{rest}");
    let next = "GET /next@ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let mut cases = vec![
        ("served", posted("Content-Length: 5\r\n\r\n", &format!("hello{next}"))),
        ("served", posted("Transfer-Encoding: chunked\r\n\r\n", &format!("5\r\nhello\r\n0\r\n\r\n{next}"))),
        ("head", format!("POST /c@ HTTP/1.1\nHost: h\r\nContent-Length: 5\r\n\r\nhello{SMUGGLED}")),
        ("head", format!("GET /c@ HTTP/1.1\nHost: h\n\n{SMUGGLED}")),
    ];
    cases.extend(HEADS.map(|head| ("head", posted(head, &format!("0\r\n\r\n{SMUGGLED}")))));
    cases.extend(
        BODIES.map(|body| ("body", posted("Transfer-Encoding: chunked\r\n\r\n", &format!("{body}{SMUGGLED}")))),
    );
    let lines: String =
        cases.iter().map(|(what, bytes)| json!({"what": what, "bytes": bytes}).to_string() + "\n").collect();
    let mut command = Command::new(python::program("python")?);
    command.arg(ground::app("tls_bytes.py")).arg(port.to_string()).arg(&record);
    let told = process::run_with_input(command, lines.as_bytes())?.success()?;
    let outcomes = told.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    ensure!(outcomes.len() == 4 * cases.len(), "{} outcomes of {} inputs", outcomes.len(), cases.len());
    for (outcome, (_, bytes)) in outcomes.iter().zip(cases.iter().flat_map(|case| [case; 4])) {
        let seen: Vec<&str> = outcome["seen"].as_array().context("seen")?.iter().filter_map(Value::as_str).collect();
        let heard = outcome["heard"].as_str().context("heard")?;
        let answers = heard.matches("HTTP/1.1 ").count();
        let is_good = match outcome["what"].as_str() {
            Some("served") => seen == ["POST /c hello", "GET /next"] && answers == 2,
            Some("head") => {
                let status = heard.get(9..12).unwrap_or_default();
                seen.is_empty() && answers == 1 && ["400", "501"].contains(&status)
            }
            _ => (seen.is_empty() || seen == ["POST /c <error>"]) && answers <= 1,
        };
        ensure!(is_good, "{bytes:?}: {outcome}");
    }
    vassal.stop()
}

fn refused_upload(ground: &Ground) -> Result<()> {
    const BYTES: usize = 50_000_000;
    let (vassal, pair, port) = serving(ground, "show.py", "limit-post = 1000000\nprocesses = 2\n")?;
    let upload = ground.path("upload");
    fs::write(&upload, vec![b'x'; BYTES])?;
    let body = format!("@{}", upload.display());
    for arguments in [
        // Without Expect, which curl sends by itself: it is sending while it is refused.
        &["--http1.1", "-H", "Expect:"][..],
        &["--http1.1"],
        &["--http2"],
    ] {
        let mut command = tls::curl(&pair.certificate, HOST, port, "/read");
        command.args(arguments).args(["--data-binary", &body, "--output", "/dev/null", "--write-out", "%{http_code}"]);
        let status = process::run(command)?.success().with_context(|| format!("{arguments:?}"))?;
        ensure!(status == "413", "{arguments:?}: {status}");
    }
    ensure!(tls::get(&pair.certificate, HOST, port, "/read", &["--data", "small"])? == "small");
    vassal.stop()
}
