//! The numbers: uWSGI's JSON, the real uwsgitop on it, and what of a running request is shown.

use std::{io::Write, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::Ground,
    http::{self, Ask, Connection},
    process::Spawned,
    python,
    runner::Story,
    vassal::Vassal,
    wait,
};
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("stats/b12-counts-what-was-served", counts),
    Story::new("stats/b12-counts-several-apps-one-by-one", several_apps),
    Story::new("stats/shows-the-request-in-flight-and-masks-secrets", masks),
    Story::new("stats/b12-uwsgitop-runs-on-it", uwsgitop),
    Story::new("stats/are-summed-up-by-the-emperor", summed_up),
];

/// What a stats socket says.
pub(crate) fn read(port: u16) -> Result<Value> {
    let mut connection = Connection::open(port, Duration::from_secs(5))?;
    Ok(serde_json::from_slice(&connection.rest()?)?)
}

fn with_stats(ground: &Ground, module: &str, more: &str) -> Result<(Vassal, u16, u16)> {
    let (port, stats) = (ground.port()?, ground.port()?);
    let text = super::ini(port, module, &format!("master = true\nstats = 127.0.0.1:{stats}\n{more}"));
    let mut vassal = Vassal::from_ini(ground, "stats.ini", &text)?;
    vassal.answers(port)?;
    Ok((vassal, port, stats))
}

fn requests(shown: &Value) -> u64 {
    shown["workers"].as_array().into_iter().flatten().filter_map(|worker| worker["requests"].as_u64()).sum()
}

fn counts(ground: &Ground) -> Result<()> {
    let (vassal, port, stats) =
        with_stats(ground, "show", "processes = 2\nthreads = 2\nroute = ^/routed return:404\n")?;
    // A request counts when its answer is out, which the client may see first.
    let before = wait::until("the request that showed that it answers to count", Duration::from_secs(5), || {
        read(stats).ok().map(|shown| requests(&shown)).filter(|requests| *requests == 1)
    })?;
    for _ in 0..20 {
        http::get(port, "/")?;
    }
    let raised = http::get(port, "/raise")?;
    ensure!(raised.status == 500, "an exception answers 500, not {}", raised.status);
    ensure!(http::get(port, "/routed")?.status == 404);
    let shown = wait::until_ok("the counters", Duration::from_secs(5), || {
        let shown = read(stats)?;
        ensure!(requests(&shown) == before + 22, "{} of {}", requests(&shown), before + 22);
        Ok(shown)
    })?;
    let exceptions: u64 =
        shown["workers"].as_array().into_iter().flatten().filter_map(|worker| worker["exceptions"].as_u64()).sum();
    ensure!(exceptions == 1, "{shown:#}");
    let cores = shown["workers"].as_array().into_iter().flatten().flat_map(|worker| worker["cores"].as_array());
    let routed: u64 = cores.flatten().filter_map(|core| core["routed_requests"].as_u64()).sum();
    ensure!(routed == 1, "{shown:#}");
    ensure!(shown["pid"].as_i64() == Some(i64::from(vassal.master.pid())), "{shown:#}");
    vassal.stop()
}

fn several_apps(ground: &Ground) -> Result<()> {
    let more = "processes = 1\nchdir = /\nmount = /one=show:application\nmanage-script-name = true\n";
    let (vassal, port, stats) = with_stats(ground, "show", more)?;
    for path in ["/one/x", "/one/raise", "/"] {
        http::get(port, path)?;
    }
    let shown =
        wait::until("the counters", Duration::from_secs(5), || read(stats).ok().filter(|shown| requests(shown) == 4))?;
    let apps = shown["workers"][0]["apps"].as_array().context("no apps")?;
    let told = |app: &Value| {
        format!("{} {} {} {} {}", app["id"], app["mountpoint"], app["requests"], app["exceptions"], app["chdir"])
    };
    let told: Vec<String> = apps.iter().map(told).collect();
    ensure!(told == ["0 \"\" 2 0 \"/\"", "1 \"/one\" 2 1 \"/\""], "{told:?}");
    vassal.stop()
}

fn masks(ground: &Ground) -> Result<()> {
    let (vassal, port, stats) = with_stats(ground, "slow", "processes = 1\nthreads = 2\n")?;
    let gate = ground.path("gate");
    let path = format!("/wait{}", gate.display());
    let asked = path.clone();
    let request = std::thread::spawn(move || {
        let ask = Ask::get(&asked)
            .header("Cookie", "session=secret1")
            .header("Authorization", "Bearer secret2")
            .header("X-Seen", "yes");
        http::ask(port, ask)
    });
    let shown = wait::until("the request in the stats", Duration::from_secs(5), || {
        let text = read(stats).ok()?.to_string();
        text.contains(&path).then_some(text)
    })?;
    std::fs::write(&gate, "")?;
    let answer = request.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
    ensure!(answer.text() == "waited");
    ensure!(shown.contains("REQUEST_METHOD=GET") && shown.contains("HTTP_X_SEEN=yes"), "{shown}");
    ensure!(!shown.contains("secret1") && !shown.contains("secret2"), "a secret is shown: {shown}");
    vassal.stop()
}

fn uwsgitop(ground: &Ground) -> Result<()> {
    let program = python::program("uwsgitop")?;
    let (vassal, port, stats) = with_stats(ground, "hello", "processes = 2\n")?;
    for _ in 0..5 {
        http::get(port, "/")?;
    }
    // uwsgitop draws with curses, for which script(1) makes a terminal, and ends when `q` is typed.
    let line = format!("stty cols 120 rows 40; exec {} 127.0.0.1:{stats}", program.display());
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-c", &line, "/dev/null"]).env("TERM", "xterm");
    let (mut top, mut keyboard) = Spawned::at_a_keyboard("uwsgitop", command, &ground.path("uwsgitop.out"))?;
    for column in ["WID", "STAT"] {
        top.says(column, Duration::from_secs(20))?;
    }
    keyboard.write_all(b"q")?;
    let ended = top.exited(Duration::from_secs(20)).with_context(|| top.output())?;
    ensure!(ended.success() && !top.output().contains("Traceback"), "{ended}: {}", top.output());
    vassal.stop()
}

fn summed_up(ground: &Ground) -> Result<()> {
    let (one, two) = (ground.port()?, ground.port()?);
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("one.ini", &super::ini(one, "hello", "processes = 2\n"))?;
    emperor.drop_file("two.ini", &super::ini(two, "hello", ""))?;
    emperor.loyal("one.ini")?;
    emperor.loyal("two.ini")?;
    for port in [one, one, one, two] {
        http::get(port, "/")?;
    }
    let stats = wait::until_ok("four requests in the fleet's numbers", Duration::from_secs(10), || {
        let stats = emperor.json(Ask::get("/api/v1/stats"))?;
        ensure!(stats["fleet"]["requests_total"] == 4, "{stats:#}");
        Ok(stats)
    })?;
    ensure!(
        stats["fleet"]["workers"] == 3 && stats["fleet"]["rss_bytes"].as_u64().is_some_and(|bytes| bytes > 1_000_000),
        "{stats:#}"
    );
    let metrics = emperor.ask(Ask::get("/metrics"))?.text();
    let line = metrics
        .lines()
        .find(|line| line.contains("requests_total") && line.contains("one.ini"))
        .context("no requests_total of one.ini")?;
    ensure!(line.ends_with(" 3"), "{line}");
    emperor.stop()
}
