//! The log: nothing of it is lost in silence, and nothing that happens to it holds a request up.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::{self, Emperor},
    ground::{self, Ground},
    http::{self, Ask, Connection},
    isolation, process,
    runner::Story,
    vassal::Vassal,
    wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("logs/p10-a-stopped-master-holds-no-request-up-and-lost-lines-are-counted", stopped_master),
    Story::new("logs/a17-a-flood-without-a-line-s-end-fills-no-disk", flood),
    Story::new("logs/a17-json-lines-whatever-is-printed", json_lines),
    Story::new("logs/r1-a-full-disk-loses-lines-and-no-request-and-recovers-alone", full_disk),
    Story::new("logs/r17-b24-every-line-once-whatever-happens-to-the-file", moved),
    Story::new("logs/r17-b24-followed-across-rotations-under-an-emperor", followed),
];

const PATIENCE: Duration = Duration::from_secs(30);

/// A vassal alone that logs to `app.log` in the story's directory.
fn logging(ground: &Ground, app: &str, more: &str) -> Result<(Vassal, u16, PathBuf)> {
    let (port, log) = (ground.port()?, ground.path("app.log"));
    let text = super::ini(port, app, &format!("logto = {}\n{more}", log.display()));
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.answers(port)?;
    Ok((vassal, port, log))
}

fn ok(port: u16, path: &str) -> Result<()> {
    let answer = http::get(port, path)?;
    ensure!(answer.status == 200, "{path}: {}", answer.status);
    Ok(())
}

/// Waits until a file holds a text.
fn holds(path: &Path, text: &str) -> Result<String> {
    wait::until(&format!("{text:?} in {}", path.display()), PATIENCE, || {
        let content = String::from_utf8_lossy(&fs::read(path).ok()?).into_owned();
        content.contains(text).then_some(content)
    })
}

/// Files of a log, the log itself among them, by name.
fn files(ground: &Ground) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(ground.directory())?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("app.log")))
        .collect();
    found.sort();
    Ok(found)
}

fn stopped_master(ground: &Ground) -> Result<()> {
    const REQUESTS: usize = 2_000;
    let (vassal, port, log) = logging(ground, "hello", "processes = 2\n")?;
    let mut client = Connection::open(port, PATIENCE)?;
    vassal.signal(Signal::SIGSTOP);
    // Many times what the pipe holds.
    let ask = Ask::get(&format!("/quiet/{}", "a".repeat(200)));
    let mut asked = 0;
    let mut failure = None;
    while asked < REQUESTS && failure.is_none() {
        match client.ask(&ask) {
            Ok(answer) if answer.status == 200 => asked += 1,
            Ok(answer) => failure = Some(format!("{answer:?}")),
            Err(error) => failure = Some(error.to_string()),
        }
    }
    vassal.signal(Signal::SIGCONT);
    ensure!(failure.is_none(), "after {asked} requests: {failure:?}");
    // The next line tells of those that had no room. It may itself have none, while the master has not caught up.
    let mut told = 0;
    wait::until_ok("the lost lines to be told", PATIENCE, || {
        ok(port, "/told")?;
        told += 1;
        let text = fs::read_to_string(&log)?;
        let lost: usize = text
            .lines()
            .filter_map(|line| line.split_once("] ")?.1.strip_suffix(" lines of this log were lost: nobody read it"))
            .filter_map(|number| number.parse::<usize>().ok())
            .sum();
        let written = text.matches("GET /quiet/").count();
        let all = REQUESTS..=REQUESTS + told;
        ensure!(lost > 0 && all.contains(&(lost + written)), "{written} lines and {lost} lost of {REQUESTS}");
        Ok(())
    })?;
    vassal.stop()
}

fn flood(ground: &Ground) -> Result<()> {
    const MIB: u64 = 1024 * 1024;
    let flood = if ground::long() { 1024 * MIB } else { 24 * MIB };
    let more = "processes = 2\nlog-maxsize = 1048576\nlog-keep = 2\nlog-compress = true\ndisable-logging = true\n";
    let (vassal, port, _) = logging(ground, "prints", more)?;
    let flooding = std::thread::spawn(move || ok(port, &format!("/flood/{flood}")));
    let mut beside = 0;
    while !flooding.is_finished() {
        ok(port, "/beside")?;
        beside += 1;
    }
    flooding.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
    ok(port, "/lines/0/10")?;
    holds(&ground.path("app.log"), "line 9 of the app")?;
    wait::until("the second to be compressed", PATIENCE, || ground.path("app.log.2.gz").exists().then_some(()))?;
    let sizes: Vec<(PathBuf, u64)> = files(ground)?
        .into_iter()
        .map(|path| (path.clone(), fs::metadata(path).map_or(0, |facts| facts.len())))
        .collect();
    let total: u64 = sizes.iter().map(|(_, size)| size).sum();
    ground.note(&format!("{} MiB in one line, {beside} requests beside it, {total} bytes on disk", flood / MIB));
    ensure!(total < 4 * MIB, "{sizes:?}");
    // Whoever reads the file by lines gets pieces.
    let longest = fs::read_to_string(ground.path("app.log.1"))?.lines().map(str::len).max();
    ensure!(longest == Some(64 * 1024), "{longest:?}");
    vassal.stop()
}

fn json_lines(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let text = super::ini(port, "prints", "processes = 1\nlog-json = true\n");
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.answers(port)?;
    ok(port, "/bytes")?;
    ensure!(http::get(port, "/raise")?.status == 500);
    ok(port, "/quote%22%5C%0a/%ff?a='b'")?;
    ok(port, "/lines/0/100")?;
    vassal.master.says("/lines/0/100", PATIENCE)?;
    let output = vassal.master.output();
    let from = output.find('{').context("no JSON")?;
    let mut kinds = BTreeMap::<String, usize>::new();
    let mut statuses = Vec::new();
    for line in output[from..].lines() {
        let object: Value = serde_json::from_str(line).with_context(|| format!("{line:?} is no JSON"))?;
        ensure!(object["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{object}");
        let kind = object["kind"].as_str().context("no kind")?;
        if kind == "request" {
            statuses.push(object["status"].as_u64().unwrap_or_default());
            ensure!(object["address"] == "127.0.0.1" && object["method"] == "GET" && object["us"].is_u64(), "{object}");
        }
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    ground.note(&format!("{kinds:?}"));
    ensure!(statuses == [200, 200, 500, 200, 200], "{statuses:?}");
    ensure!(kinds["app"] > 100 && kinds["vassal"] > 3, "{kinds:?}");
    vassal.stop()
}

fn full_disk(ground: &Ground) -> Result<()> {
    ground.needs_root()?;
    let place = ground.path("disk");
    fs::create_dir_all(&place)?;
    isolation::with_tmpfs(&place, "size=1m")?;
    let port = ground.port()?;
    let log = place.join("app.log");
    let text = super::ini(port, "prints", &format!("processes = 2\nlogto = {}\n", log.display()));
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.answers(port)?;
    ok(port, "/lines/0/10")?;
    holds(&log, "line 9 of the app")?;
    let ballast = place.join("ballast");
    // It ends when the disk is full.
    let _ = fs::write(&ballast, vec![0; 4 * 1024 * 1024]);
    // More than the rest of the last page: some of it finds no room.
    for round in 0..20 {
        ok(port, &format!("/lines/{}/500", 1000 + round * 500))?;
    }
    let full = fs::read_to_string(&log)?;
    ensure!(!full.contains("line 10999 of the app"), "the disk is not full");
    fs::remove_file(&ballast)?;
    wait::until_ok("the log to go on", PATIENCE, || {
        ok(port, "/lines/20000/1")?;
        let text = fs::read_to_string(&log)?;
        ensure!(text.contains("line 20000 of the app"), "nothing new");
        ensure!(text.contains(" bytes of this log were lost while it could not be written ***"), "{text}");
        Ok(())
    })?;
    // No half of a line was left behind.
    let text = fs::read_to_string(&log)?;
    let odd = text.lines().find(|line| line.starts_with("line ") && !line.ends_with(" of the app"));
    ensure!(odd.is_none(), "{odd:?}");
    vassal.stop()
}

/// Everything in all files of the log.
fn everything(ground: &Ground) -> Result<String> {
    let mut all = String::new();
    for path in files(ground)? {
        if path.extension().is_some_and(|extension| extension == "gz") {
            let mut command = Command::new("gzip");
            command.arg("-dc").arg(&path);
            all.push_str(&process::run(command)?.success()?);
            all.push('\n');
        } else {
            fs::File::open(&path)?.read_to_string(&mut all)?;
        }
    }
    Ok(all)
}

fn moved(ground: &Ground) -> Result<()> {
    let (rotate, reopen) = (ground.write("rotate", "")?, ground.write("reopen", "")?);
    let more = format!(
        "processes = 2\nlog-keep = 9\nlog-compress = true\nlog-maxsize = 200000\ndisable-logging = true\n\
         touch-logrotate = {}\ntouch-logreopen = {}\n",
        rotate.display(),
        reopen.display()
    );
    let (vassal, port, log) = logging(ground, "prints", &more)?;
    let mut number = 0;
    let mut lines = |count: u64| -> Result<()> {
        ok(port, &format!("/lines/{number}/{count}"))?;
        number += count;
        holds_anywhere(ground, &format!("line {} of the app", number - 1))
    };
    lines(20_000)?;
    // logrotate's `create`, with and without a word, and an operator's mv.
    fs::rename(&log, ground.path("app.log.moved"))?;
    vassal.signal(Signal::SIGUSR2);
    wait::until("a new file", PATIENCE, || log.exists().then_some(()))?;
    lines(100)?;
    fs::rename(&log, ground.path("app.log.moved-again"))?;
    wait::until_ok("a new file by itself", PATIENCE, || {
        lines(1)?;
        ensure!(log.exists());
        Ok(())
    })?;
    fs::rename(&log, ground.path("app.log.moved-more"))?;
    emperor::touch(&reopen)?;
    wait::until("a new file by touching", PATIENCE, || log.exists().then_some(()))?;
    lines(10)?;
    emperor::touch(&rotate)?;
    wait::until_ok("a rotation by touching", PATIENCE, || {
        ensure!(!fs::read_to_string(&log)?.contains("of the app"));
        Ok(())
    })?;
    // A reload is no reason to lose any.
    let boot = vassal.family();
    vassal.signal(Signal::SIGHUP);
    lines(500)?;
    wait::until("a new generation", PATIENCE, || (vassal.family() != boot).then_some(()))?;
    lines(500)?;
    let text = everything(ground)?;
    let mut seen = vec![0_u32; usize::try_from(number)?];
    for line in text.lines() {
        let found = line.strip_prefix("line ").and_then(|rest| rest.strip_suffix(" of the app"));
        if let Some(found) = found.and_then(|found| found.parse::<usize>().ok()) {
            seen[found] += 1;
        }
    }
    let wrong: Vec<_> = seen.iter().enumerate().filter(|(_, times)| **times != 1).take(5).collect();
    ground.note(&format!("{number} lines in {} files, each once", files(ground)?.len()));
    ensure!(wrong.is_empty(), "line and how often: {wrong:?}");
    vassal.stop()
}

fn holds_anywhere(ground: &Ground, text: &str) -> Result<()> {
    wait::until_ok(&format!("{text:?} to be logged"), PATIENCE, || {
        ensure!(everything(ground)?.contains(text));
        Ok(())
    })
}

fn followed(ground: &Ground) -> Result<()> {
    let emperor = Emperor::start(ground)?;
    let (port, rotate) = (ground.port()?, ground.write("rotate", "")?);
    let more = format!("processes = 2\ntouch-logrotate = {}\n", rotate.display());
    emperor.drop_file("shop.ini", &super::ini(port, "prints", &more))?;
    let log = PathBuf::from(emperor.loyal("shop.ini")?["log_file"].as_str().context("no log file")?);
    let mut following = emperor.begins("logs", &["shop.ini", "--follow"])?;
    for number in 0..3 {
        ok(port, &format!("/lines/{number}/1"))?;
        following.says(&format!("line {number} of the app"), PATIENCE)?;
        emperor::touch(&rotate)?;
        let names = |number: u32| [format!("{}.{number}", log.display()), format!("{}.{number}.gz", log.display())];
        wait::until("a rotation", PATIENCE, || {
            names(number + 1).iter().any(|name| Path::new(name).exists()).then_some(())
        })?;
    }
    // What was written before the last rotation is still the end of the log.
    let shown = emperor.ask(Ask::get("/api/v1/vassals/shop.ini/logs?lines=5"))?.text();
    ensure!(shown.contains("line 2 of the app"), "{shown}");
    following.terminated(PATIENCE)?;
    emperor.stop()
}
