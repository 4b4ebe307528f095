//! The spooler and uWSGI's decorators: tasks that outlive the request that wrote them, in files that uWSGI itself reads and
//! writes.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use empery_tests::{ground::Ground, http, procfs, python, runner::Story, vassal::Vassal, wait};
use nix::sys::signal::Signal;

use super::noting::{App, SOON, notes};

pub(crate) const STORIES: &[Story] = &[
    Story::new("spooler/b55-runs-what-the-app-writes", runs),
    Story::new("spooler/a-task-that-fails-or-hangs-is-run-again", again),
    Story::new("spooler/a-task-that-limits-itself-is-ended-and-run-again", by_itself),
    Story::new("spooler/waits-for-the-time-of-a-task-and-outlives-a-reload", times),
    Story::new("spooler/shares-its-files-with-uwsgi", shared_with_uwsgi),
    Story::new("spooler/b21-decorators-need-no-package", decorators),
];

fn empties(ground: &Ground) -> Result<()> {
    wait::until("no task to be left", SOON, || tasks(ground).is_empty().then_some(()))
}

/// Files of tasks.
fn tasks(ground: &Ground) -> Vec<PathBuf> {
    let below = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let all =
        below(ground.path("tasks")).flat_map(|path| if path.is_dir() { below(path).collect() } else { vec![path] });
    all.filter(|path| path.is_file()).collect()
}

fn runs(ground: &Ground) -> Result<()> {
    let app = App::start(ground, "spooled", "spooler = tasks\nspooler-processes = 2\nspooler-quiet = true\n")?;
    let path = app.get("/plain/hello")?;
    ensure!(path.contains("/tasks/uwsgi_spoolfile_on_"), "{path}");
    let ran = app.noted("plain", 1)?;
    ensure!(ran[0].starts_with("hello a body ") && ran[0].ends_with(" True"), "{ran:?}");
    app.get("/arguments/word")?;
    ensure!(app.noted("arguments", 1)? == ["(1, 'word') {'key': [2]}"], "{:?}", notes(ground, "arguments"));
    app.get("/priority/first")?;
    app.noted("plain", 2)?;
    empties(ground)?;
    let facts = app.get("/facts")?;
    ensure!(facts.contains("/tasks',)") && facts.ends_with("-2)"), "{facts}");
    for number in 0..20 {
        app.get(&format!("/plain/{number}"))?;
    }
    let all = app.noted("plain", 22)?;
    empties(ground)?;
    let words: BTreeSet<&str> = all.iter().filter_map(|line| line.split(' ').next()).collect();
    ensure!(words.len() == 22 && notes(ground, "plain").len() == 22, "{:?}", notes(ground, "plain"));
    app.vassal.stop()
}

fn again(ground: &Ground) -> Result<()> {
    let mut app = App::start(ground, "spooled", "spooler = tasks\nspooler-frequency = 1\nspooler-harakiri = 1\n")?;
    app.get("/again")?;
    app.noted("again", 2)?;
    app.vassal.master.says("ValueError: the first time it fails", SOON)?;
    app.get("/hangs")?;
    let pids: BTreeSet<String> = app.noted("hangs", 2)?.into_iter().collect();
    ensure!(pids.len() == 2, "{pids:?}");
    app.vassal.master.says("*** HARAKIRI ON SPOOLER 1", SOON)?;
    empties(ground)?;
    app.vassal.stop()
}

/// No harakiri of the file's: the task says itself how long it may take.
fn by_itself(ground: &Ground) -> Result<()> {
    let mut app = App::start(ground, "spooled", "spooler = tasks\nspooler-frequency = 1\n")?;
    app.get("/limits")?;
    let pids: BTreeSet<String> = app.noted("limits-itself", 2)?.into_iter().collect();
    ensure!(pids.len() == 2, "{pids:?}");
    app.vassal.master.says("*** HARAKIRI ON SPOOLER 1", SOON)?;
    // What set its limit back lives on.
    empties(ground)?;
    app.get("/plain/after")?;
    let ran = app.noted("plain", 1)?;
    let spooler = ran[0].split(' ').nth(3).unwrap_or_default().to_owned();
    ensure!(pids.contains(&spooler), "{ran:?} by none of {pids:?}");
    app.vassal.stop()
}

fn times(ground: &Ground) -> Result<()> {
    let mut app = App::start(ground, "spooled", "spooler = tasks\nspooler-max-tasks = 1\nspooler-frequency = 1\n")?;
    app.get("/later/in-an-hour")?;
    app.get("/soon/in-a-moment")?;
    ensure!(app.get("/jobs")?.lines().count() == 2, "{}", app.get("/jobs")?);
    let task = app.get("/task")?;
    ensure!(task.contains("'spooler_task_name'") && task.contains("b'word'"), "{task}");
    app.noted("plain", 1)?;
    app.vassal.master.says("maximum number of tasks reached (1) recycling", SOON)?;
    app.vassal.signal(Signal::SIGHUP);
    app.vassal.master.says("generation 2 serves", SOON)?;
    app.get("/plain/after-the-reload")?;
    let ran = app.noted("plain", 2)?;
    ensure!(ran[1].starts_with("after-the-reload"), "{ran:?}");
    ensure!(app.get("/jobs")?.lines().count() == 1, "{}", app.get("/jobs")?);
    let [left] = &tasks(ground)[..] else { bail!("{:?}", tasks(ground)) };
    let left = left.clone();
    app.vassal.stop()?;
    ensure!(left.exists(), "a task vanished with its vassal");
    Ok(())
}

/// Tasks of uWSGI are run here, and ours by uWSGI.
fn shared_with_uwsgi(ground: &Ground) -> Result<()> {
    ground.write(
        "theirs.py",
        "import os, uwsgi\n\
         def spooler(task):\n    told = sorted((name.decode() if isinstance(name, bytes) else name, value.decode()) for name, value in task.items() if name != 'spooler_task_name')\n    \
         open('HERE/ran', 'a').write(f'{told}\\n')\n    return uwsgi.SPOOL_OK\n\
         uwsgi.spooler = spooler\n\
         def application(env, start_response):\n    uwsgi.spool({b'from': b'a request', b'body': b'with a body'})\n    start_response('200 OK', [])\n    return [b'ok']\n"
            .replace("HERE", &ground.directory().display().to_string())
            .as_str(),
    )?;
    // Written by uWSGI, which leaves them to another.
    let port = ground.port()?;
    let uwsgi = python::program("uwsgi")?;
    let mut theirs = std::process::Command::new(&uwsgi);
    fs::create_dir_all(ground.path("tasks"))?;
    let socket = format!("127.0.0.1:{port}");
    let arguments = [
        "--master",
        "--no-orphans",
        "--http-socket",
        &socket,
        "--wsgi-file",
        "theirs.py",
        "--spooler-external",
        "tasks",
    ];
    theirs.args(arguments).current_dir(ground.directory());
    let mut running = ground.start("uwsgi", theirs)?;
    wait::until_ok("uWSGI to answer", SOON, || {
        let answer = http::get(port, "/")?;
        ensure!(answer.status == 200, "{}", answer.status);
        Ok(())
    })?;
    running.killed()?;
    let written = tasks(ground).len();
    ensure!(written >= 1, "uWSGI wrote nothing: {}", running.output());
    let ours = ground.port()?;
    let text = format!(
        "[uwsgi]\nhttp-socket = 127.0.0.1:{ours}\nwsgi-file = theirs.py\nspooler = tasks\nspooler-frequency = 1\n"
    );
    let mut vassal = Vassal::from_ini(ground, "ours.ini", &text)?;
    wait::until("uWSGI's tasks to be run", SOON, || (notes(ground, "ran").len() == written).then_some(()))?;
    ensure!(
        notes(ground, "ran")[0].contains("[('body', 'with a body'), ('from', 'a request')]"),
        "{:?}",
        notes(ground, "ran")
    );
    vassal.master.terminated(SOON)?;
    // The reverse.
    let text = text.replace("spooler = tasks", "spooler-external = tasks");
    let mut vassal = Vassal::from_ini(ground, "ours.ini", &text)?;
    vassal.answers(ours)?;
    vassal.stop()?;
    let ours = tasks(ground).len();
    ensure!(ours >= 1 && notes(ground, "ran").len() == written, "{ours} tasks, {:?}", notes(ground, "ran"));
    let mut theirs = std::process::Command::new(&uwsgi);
    let arguments =
        ["--master", "--no-orphans", "--http-socket", &socket, "--wsgi-file", "theirs.py", "--spooler", "tasks"];
    theirs.args(arguments).current_dir(ground.directory());
    let mut running = ground.start("uwsgi", theirs)?;
    let all = wait::until("our tasks to be run by uWSGI", SOON, || {
        Some(notes(ground, "ran")).filter(|ran| ran.len() >= written + ours)
    });
    let all = all.map_err(|error| error.context(running.output()))?;
    let last = all.last().context("none")?;
    ensure!(last.contains("[('body', 'with a body'), ('from', 'a request')]"), "{all:?}");
    running.killed()?;
    Ok(())
}

fn decorators(ground: &Ground) -> Result<()> {
    let app = App::start(ground, "spooled", "spooler = tasks\nprocesses = 2\nmules = 1\n")?;
    ensure!(app.get("/where")? == "ours", "another module was found");
    app.noted("timer", 2)?;
    app.noted("cron", 1)?;
    app.get("/mule/word")?;
    ensure!(app.noted("in-a-mule", 1)? == ["word 1"], "{:?}", notes(ground, "in-a-mule"));
    app.get("/thread/word")?;
    app.noted("thread", 1)?;
    fs::write(ground.path("watched"), "changed")?;
    ensure!(app.noted("filemon", 1)?[0] == "1", "{:?}", notes(ground, "filemon"));
    let forked: BTreeSet<String> = app.noted("postfork", 4)?.into_iter().collect();
    let expected = ["1 0 None", "2 0 None", "0 1 None", "0 0 True"].map(str::to_owned);
    ensure!(forked == BTreeSet::from(expected), "{forked:?}");
    ensure!(notes(ground, "postfork2") == ["2"], "{:?}", notes(ground, "postfork2"));
    let family = app.vassal.family();
    ensure!(family.len() == 5, "a zygote, two workers, a mule and a spooler, not {family:?}");
    app.vassal.stop()?;
    ensure!(family.iter().all(|pid| !procfs::alive(*pid)), "something outlives its vassal");
    Ok(())
}
