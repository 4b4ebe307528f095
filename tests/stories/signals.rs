//! uWSGI signals: functions that run between requests, in the generation that registered them, by whom they name.

use std::{collections::BTreeSet, fs};

use anyhow::{Result, ensure};
use empery_tests::{ground::Ground, http, runner::Story};
use nix::sys::signal::Signal;

use super::noting::{App, SOON};

pub(crate) const STORIES: &[Story] = &[
    Story::new("signals/are-run-by-whom-they-name-between-requests", targets),
    Story::new("signals/are-raised-by-time-and-files-and-end-with-their-generation", time_and_files),
    Story::new("signals/that-wait-for-a-worker-which-is-replaced-are-run-before-it-leaves", before_it_leaves),
    Story::new("signals/can-be-waited-for-and-registered-in-a-worker", waited_for),
    Story::new("signals/b12-are-counted-as-uwsgi-counts-them", counted),
    Story::new("signals/a-function-that-runs-longer-than-harakiri-is-ended-as-a-request-is", harakiri),
    Story::new("signals/workers-that-import-the-app-themselves-share-its-timers", lazily),
];

/// Also what `core.overloaded` counts: seconds in which every worker was busy.
fn counted(ground: &Ground) -> Result<()> {
    let expressions = [
        "uwsgi.register_signal(20, 'worker', lambda signal: None)",
        "[uwsgi.signal(20) for _ in range(3)]",
        // They are run between requests; uWSGI's collector of metrics comes once a second.
        "time.sleep(2.5)",
        "time.sleep(1.5)",
        "uwsgi.workers()[0]['signals'], uwsgi.metric_get('core.routed_signals'), uwsgi.metric_get('core.unrouted_signals')",
        "uwsgi.metric_get('core.overloaded') > 0",
    ];
    super::shared::alike(ground, "processes = 1\nenable-metrics = true\n", &expressions)
}

/// Which workers have run it: the second word.
fn workers(app: &App<'_>, name: &str) -> BTreeSet<String> {
    app.notes(name).iter().filter_map(|line| line.split(' ').nth(1).map(str::to_owned)).collect()
}

fn targets(ground: &Ground) -> Result<()> {
    let mut app = App::start(ground, "signals", "processes = 3\n")?;
    let all = |numbers: [&str; 3]| BTreeSet::from(numbers.map(str::to_owned));
    app.get("/raise/1")?;
    app.noted("all", 3)?;
    ensure!(workers(&app, "all") == all(["1", "2", "3"]), "{:?}", app.notes("all"));
    for _ in 0..6 {
        app.get("/raise/2")?;
    }
    app.noted("any", 6)?;
    ensure!(workers(&app, "any").len() > 1, "always the same: {:?}", app.notes("any"));
    app.get("/raise/3")?;
    app.get("/raise/4")?;
    app.get("/raise/99")?;
    app.noted("second", 1)?;
    app.noted("failed", 1)?;
    ensure!(workers(&app, "second") == BTreeSet::from(["2".to_owned()]), "{:?}", app.notes("second"));
    ensure!(app.get("/refused")? == "ValueError OSError", "{}", app.get("/refused")?);
    ensure!(app.get("/registered/3")? == "True" && app.get("/registered/99")? == "None", "registered");
    app.vassal.master.says("RuntimeError: a function of a signal fails", SOON)?;
    app.vassal.master.says("signal 99 was raised, and nobody has registered a function for it", SOON)?;
    ensure!(app.notes("any").len() == 6 && app.notes("all").len() == 3, "more than once");
    app.vassal.stop()
}

fn time_and_files(ground: &Ground) -> Result<()> {
    let app = App::start(ground, "signals", "processes = 2\ntouch-signal = touched 9\ntimer = 11 1\n")?;
    app.noted("timer", 4)?;
    app.noted("cron", 1)?;
    app.noted("options", 1)?;
    fs::write(ground.path("watched"), "changed")?;
    app.noted("file", 1)?;
    empery_tests::emperor::touch(&ground.path("touched"))?;
    app.noted("touch", 1)?;
    app.noted("rb", 2)?;
    let pids = |name: &str| -> BTreeSet<String> {
        app.notes(name).iter().filter_map(|line| line.split(' ').nth(2).map(str::to_owned)).collect()
    };
    let before = pids("timer");
    let mut app = app;
    app.vassal.signal(Signal::SIGHUP);
    app.vassal.master.says("generation 1 has finished", SOON)?;
    let from = app.notes("timer").len();
    app.noted("timer", from + 6)?;
    let late: BTreeSet<String> =
        app.notes("timer").iter().skip(from).filter_map(|line| line.split(' ').nth(2).map(str::to_owned)).collect();
    ensure!(late.is_disjoint(&before), "the old generation's timer goes on: {late:?} of {before:?}");
    ensure!(app.notes("rb").len() <= 4, "more often than asked for: {:?}", app.notes("rb"));
    app.vassal.stop()
}

fn waited_for(ground: &Ground) -> Result<()> {
    let app = App::start(ground, "signals", "processes = 1\nthreads = 2\n")?;
    let port = app.port();
    let waiting = std::thread::spawn(move || http::get(port, "/wait/2").map(|answer| answer.text()));
    app.noted("waits", 1)?;
    app.get("/raise/1")?;
    app.noted("all", 1)?;
    app.get("/raise/2")?;
    let answer = waiting.join().map_err(|_| anyhow::anyhow!("the waiting thread panicked"))??;
    ensure!(answer == "b'' 2", "{answer}");
    ensure!(app.notes("any").len() == 1, "{:?}", app.notes("any"));
    app.get("/register/50")?;
    app.get("/raise/50")?;
    app.noted("late", 1)?;
    app.vassal.stop()
}

fn harakiri(ground: &Ground) -> Result<()> {
    let mut app = App::start(ground, "signals", "processes = 2\nharakiri = 1\n")?;
    app.get("/raise/10")?;
    app.noted("hangs", 1)?;
    let ended = app.noted("ended", 1)?;
    ensure!(ended == app.notes("hangs"), "{ended:?}");
    app.vassal.master.says("Harakiri: the request ran longer than harakiri allows", SOON)?;
    app.get("/raise/1")?;
    app.noted("all", 2)?;
    app.vassal.stop()
}

fn lazily(ground: &Ground) -> Result<()> {
    let app = App::start(ground, "signals", "processes = 3\nlazy-apps = true\ntimer = 1 1\n")?;
    app.noted("all", 3)?;
    ensure!(workers(&app, "all").len() == 3, "{:?}", app.notes("all"));
    // Twice in all, and not twice for each worker.
    app.noted("rb", 2)?;
    app.noted("all", 9)?;
    ensure!(app.notes("rb").len() <= 6, "{:?}", app.notes("rb"));
    let timers = app.notes("timer").len();
    app.noted("all", 12)?;
    let more = app.notes("timer").len() - timers;
    ensure!(more <= 40, "three timers instead of one: {more} times within a second or so");
    app.vassal.stop()
}

/// The only worker is busy while they are raised, and told to leave before it is free.
fn before_it_leaves(ground: &Ground) -> Result<()> {
    let mut app = App::start(ground, "signals", "processes = 1\n")?;
    let port = app.port();
    let held = std::thread::spawn(move || http::get(port, "/hold/2"));
    app.noted("held", 1)?;
    app.vassal.signal(Signal::SIGHUP);
    app.vassal.master.says("generation 2 serves", SOON)?;
    ground.write("go-on", "")?;
    app.noted("any", 3)?;
    held.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
    ensure!(workers_of(&app, "any") == workers_of(&app, "held"), "{:?}", app.notes("any"));
    app.vassal.stop()
}

/// The pids in lines of `NUMBER WORKER PID MULE`, or of a pid alone.
fn workers_of(app: &App<'_>, name: &str) -> BTreeSet<String> {
    let pid = |line: &String| line.split(' ').nth(2).unwrap_or(line).to_owned();
    app.notes(name).iter().map(pid).collect()
}
