//! What people who come from uWSGI count on, as far as no other promise has a story that proves it: `tests/behaviours.tsv`.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use empery_tests::{
    ground::Ground,
    process::{Finished, run},
    runner::Story,
    vassal::{self, STOPPED_WITHIN, Vassal},
    wait,
};
use nix::sys::signal::Signal;

pub(crate) const STORIES: &[Story] = &[
    Story::new("behaviours/b9-the-app-is-imported-once-or-by-each-worker", imports),
    Story::new("behaviours/b26-the-exit-codes-of-reload-and-stop", exit_codes),
    Story::new("behaviours/b35-an-app-that-cannot-be-loaded-ends-with-22", failed_app),
    Story::new("behaviours/b63-questions-on-the-command-line-are-answered", questions),
];

const SOON: Duration = Duration::from_secs(20);

fn imports(ground: &Ground) -> Result<()> {
    for (lazy, expected) in [("", 1), ("lazy-apps = true\n", 3)] {
        let (port, ledger) = (ground.port()?, ground.path(&format!("imports-{expected}")));
        let more = format!("processes = 3\nmaster = true\nenv = IMPORTS={}\n{lazy}", ledger.display());
        let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "counted_import", &more))?;
        vassal.answers(port)?;
        // Every worker has the app before any of them accepts.
        let imports = fs::read_to_string(&ledger)?.lines().count();
        ensure!(imports == expected, "{imports} imports with {lazy:?}");
        vassal.stop()?;
    }
    Ok(())
}

fn exit_codes(ground: &Ground) -> Result<()> {
    let (port, pidfile) = (ground.port()?, ground.path("app.pid"));
    let text = super::ini(port, "ids", &format!("master = true\npidfile = {}\n", pidfile.display()));
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    let boot = super::boot_of(&vassal.answers(port)?);
    let pid = fs::read_to_string(&pidfile)?;
    ensure!(pid.trim() == vassal.master.pid().to_string(), "{pid}");
    let path = pidfile.to_string_lossy();
    ensure!(vassal.command(&["--reload", &path])?.code == 0);
    super::boot_changes(port, &boot)?;
    ensure!(fs::read_to_string(&pidfile)? == pid, "a reload changed the pid");
    // A file without a pid hits nobody: uWSGI takes it for 0, which is every process of whoever called it.
    for (name, content, code) in [("gone", None, 1), ("empty", Some(""), 1), ("words", Some("none\n"), 1)] {
        if let Some(content) = content {
            ground.write(name, content)?;
        }
        for option in ["--reload", "--stop"] {
            let told = vassal.command(&[option, &ground.path(name).to_string_lossy()])?;
            ensure!(told.code == code && !told.stderr.is_empty(), "{option} {name}: {told:?}");
        }
    }
    ensure!(vassal.command(&["--stop", &path])?.code == 0);
    ensure!(vassal.master.exited(STOPPED_WITHIN)?.success());
    // Nobody has that pid any more.
    let stale = ground.write("stale", &pid)?;
    ensure!(vassal.command(&["--stop", &stale.to_string_lossy()])?.code == 255);
    Ok(())
}

fn failed_app(ground: &Ground) -> Result<()> {
    for more in ["", "need-app = true\n"] {
        let port = ground.port()?;
        let text = super::ini(port, "no_such_module_anywhere", more);
        let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
        let ended = vassal.master.exited(SOON)?;
        ensure!(ended.code() == Some(22), "{ended}: {}", vassal.master.output());
    }
    Ok(())
}

fn questions(ground: &Ground) -> Result<()> {
    let ask = |arguments: &[&str]| -> Result<Finished> { run(vassal::command(ground.directory(), arguments)?) };
    let version = ask(&["--version"])?.success()?;
    ensure!(version.trim().starts_with(|letter: char| letter.is_ascii_digit()), "{version}");
    let options = ask(&["--dump-options"])?.success()?;
    ensure!(["http-socket", "module", "processes"].iter().all(|name| options.contains(name)), "{options}");
    let (port, stats) = (ground.port()?, ground.port()?);
    let more = format!("master = true\nset-ph = n=2\nprocesses = %(n)\nstats = 127.0.0.1:{stats}\n");
    ground.write("app.ini", &super::ini(port, "ids", &more))?;
    // It shows, and serves.
    let mut vassal = Vassal::start(ground, &["--show-config", "app.ini"])?;
    vassal.answers(port)?;
    let shown = vassal.master.output();
    ensure!(shown.contains("\nprocesses = 2\n") && shown.contains("[uwsgi]"), "{shown}");
    let address = format!("127.0.0.1:{stats}");
    let read = ask(&["--connect-and-read", &address])?;
    ensure!(read.code == 0 && read.stdout.is_empty(), "{read:?}");
    let read: serde_json::Value = serde_json::from_str(&read.stderr)?;
    ensure!(read["workers"].as_array().is_some_and(|workers| workers.len() == 2), "{read:#}");
    vassal.signal(Signal::SIGQUIT);
    ensure!(vassal.master.exited(STOPPED_WITHIN)?.success());
    wait::until("nobody to answer any more", SOON, || {
        ask(&["--connect-and-read", &address]).ok().filter(|told| told.code == 1)
    })?;
    Ok(())
}
