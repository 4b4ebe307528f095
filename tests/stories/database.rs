//! The database is memory, not service: locked by somebody else (fault R6), deleted under the running emperor (fault R7)
//! or on a disk that fails (fault R4), it costs nobody a request or a reload, and what is known is written down again as soon as it can be.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Result, bail, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{Ground, Skip},
    http::Ask,
    load::{Load, Mode},
    python,
    runner::Story,
    wait,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("database/r6-a-locked-database-holds-nothing-up", locked).within_s(120),
    Story::new("database/r4-a-disk-that-fails-holds-nothing-up", disk_fails).within_s(120),
    Story::new("database/r7-a-deleted-database-is-made-anew-and-holds-stay", deleted).within_s(120),
];

/// Until a write that waited for the lock has failed, or a missing file was noticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

/// Takes the write lock, says so, and keeps it until its input ends.
const LOCKER: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
connection.execute('BEGIN EXCLUSIVE')
open(sys.argv[2], 'w').close()
while True:
    import signal; signal.pause()
";

fn alarms(emperor: &Emperor<'_>, what: &str, so: impl Fn(&str) -> bool) -> Result<()> {
    let seen = wait::until_ok(what, NOTICED_WITHIN, || {
        let alarms = emperor.fleet()?["alarms"].to_string();
        ensure!(so(&alarms), "{alarms}");
        Ok(())
    });
    seen.map_err(|error| error.context(emperor.output()))
}

fn locked(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "env = VERSION=1\n"))?;
    emperor.loyal("shop.ini")?;
    let load = Load::on(port, Mode::KeepAlive).start();
    load.goes_on(50)?;
    let has_it = ground.path("has-the-lock");
    let mut command = Command::new(python::program("python")?);
    command.arg("-c").arg(LOCKER).arg(ground.path("state/state.db")).arg(&has_it);
    let mut locker = ground.start("locker", command)?;
    wait::until("the lock to be taken", NOTICED_WITHIN, || has_it.exists().then_some(()))?;
    emperor.says("reload", &["shop.ini"])?.success()?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "env = VERSION=2\n"))?;
    super::version_becomes(port, "2")?;
    alarms(&emperor, "an alarm that names the lock", |alarms| alarms.contains("locked"))?;
    emperor.says("stop", &["shop.ini"])?.success()?;
    emperor.says("start", &["shop.ini"])?.success()?;
    locker.killed()?;
    emperor.says("reload", &["shop.ini"])?.success()?;
    alarms(&emperor, "the alarm to go", |alarms| alarms == "[]")?;
    wait::until_ok("the last reload in the history", NOTICED_WITHIN, || {
        let history = emperor.ask(Ask::get("/api/v1/vassals/shop.ini/operations"))?.text();
        ensure!(history.contains("\"verb\":\"reload\"") && history.contains("cli:uid"), "{history}");
        Ok(())
    })?;
    drop(load.stop());
    emperor.stop()
}

/// Every write and every sync of the brain fails (strace(1), `inject`), then they work again.
fn disk_fails(ground: &Ground) -> Result<()> {
    let Some(strace) = ["/usr/bin/strace", "/usr/local/bin/strace"].into_iter().find(|path| Path::new(path).exists())
    else {
        bail!(Skip("strace is not installed".to_owned()))
    };
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "env = VERSION=1\n"))?;
    emperor.loyal("shop.ini")?;
    let load = Load::on(port, Mode::KeepAlive).start();
    let brain = emperor.brain_pid()?;
    let mut command = Command::new(strace);
    command.args(["-f", "-p", &brain.to_string(), "-e", "trace=pwrite64,fdatasync,fsync", "-e"]);
    command.arg("inject=pwrite64,fdatasync,fsync:error=EIO");
    let mut tracer = ground.start("strace", command)?;
    tracer.says("attached", NOTICED_WITHIN)?;
    emperor.says("reload", &["shop.ini"])?.success()?;
    alarms(&emperor, "an alarm that says why", |alarms| alarms.contains("not being recorded"))?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "env = VERSION=2\n"))?;
    super::version_becomes(port, "2")?;
    load.goes_on(50)?;
    tracer.terminated(NOTICED_WITHIN)?;
    wait::until_ok("the alarm to go", NOTICED_WITHIN, || {
        emperor.says("reload", &["shop.ini"])?.success()?;
        let alarms = emperor.fleet()?["alarms"].to_string();
        ensure!(alarms == "[]", "{alarms}");
        Ok(())
    })?;
    ensure!(emperor.brain_pid()? == brain, "the brain did not survive it");
    load.stop().flawless()?;
    emperor.stop()
}

fn deleted(ground: &Ground) -> Result<()> {
    let (shop, held) = (ground.port()?, ground.port()?);
    let mut emperor = Emperor::start(ground)?;
    for (name, port) in [("shop.ini", shop), ("held.ini", held)] {
        emperor.drop_file(name, &super::ini(port, "ids", "env = VERSION=1\n"))?;
        emperor.loyal(name)?;
    }
    emperor.says("stop", &["held.ini"])?.success()?;
    let load = Load::on(shop, Mode::KeepAlive).start();
    for file in ["state/state.db", "state/state.db-wal", "state/state.db-shm"] {
        // A side file may be gone already.
        let _ = fs::remove_file(ground.path(file));
    }
    emperor.says("reload", &["shop.ini"])?.success()?;
    wait::until("another database", NOTICED_WITHIN, || ground.path("state/state.db").exists().then_some(()))
        .map_err(|error| error.context(emperor.output()))?;
    alarms(&emperor, "an alarm that says what is lost", |alarms| alarms.contains("was deleted"))?;
    emperor.says("reload", &["shop.ini"])?.success()?;
    wait::until_ok("the reload in the new history", NOTICED_WITHIN, || {
        let history = emperor.ask(Ask::get("/api/v1/vassals/shop.ini/operations"))?.text();
        ensure!(history.contains("\"verb\":\"reload\""), "{history}");
        Ok(())
    })?;
    load.stop().flawless()?;
    // The hold was written down again: the next emperor knows it.
    emperor.kill_keeper()?;
    emperor.up()?;
    let vassal = emperor.vassal_until("held.ini", "to be known again", |vassal| vassal["state"].is_string())?;
    ensure!(vassal["state"] == "held", "{vassal:#}");
    emperor.stop()
}
