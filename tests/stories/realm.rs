//! The emperor's own affairs: signals, holds, the database, who may ask, how it is started.

use std::{
    fs,
    net::TcpStream,
    os::unix::{
        fs::chown,
        net::{UnixDatagram, UnixStream},
        process::CommandExt,
    },
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::Ground,
    http::{self, Ask},
    load::{Load, Mode},
    process, procfs,
    runner::Story,
    vassal::surroundings,
    wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("realm/b36-usr1-says-how-every-vassal-is", usr1),
    Story::new("realm/b36-hup-reloads-every-vassal", hup),
    Story::new("realm/a-hold-outlives-the-emperor", hold),
    Story::new("realm/a-cursed-vassal-is-retried-at-once-when-somebody-says-so", retry),
    Story::new("realm/another-user-for-the-brain-is-believed-by-the-masters", another_user),
    Story::new("realm/r11-an-emperor-out-of-descriptors-does-not-spin-and-recovers", descriptors).within_s(120),
    Story::new("realm/r15-without-home-tmp-or-path-it-runs-all-the-same", no_surroundings),
    Story::new("realm/p18-a-second-emperor-is-refused", second),
    Story::new("realm/r5-runs-with-a-damaged-database-and-says-so", damaged_database),
    Story::new("realm/r2-runs-without-a-place-for-its-database-and-says-so", no_database),
    Story::new("realm/remembers-what-was-deployed", remembers),
    Story::new("realm/strangers-see-nothing", strangers),
    Story::new("realm/systemd-is-told-once-both-doors-are-open", ready),
    Story::new("realm/every-vassal-gets-a-clean-environment", environment),
    Story::new("realm/vassal-emperor-starts-the-same-without-root", without_root),
    Story::new("realm/b36-stops-within-mercy", stops_within_mercy),
];

fn shop<'g>(ground: &'g Ground, port: u16) -> Result<Emperor<'g>> {
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", ""))?;
    emperor.loyal("shop.ini")?;
    Ok(emperor)
}

fn hup(ground: &Ground) -> Result<()> {
    let (one, two) = (ground.port()?, ground.port()?);
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("one.ini", &super::ini(one, "ids", ""))?;
    emperor.drop_file("two.ini", &super::ini(two, "ids", ""))?;
    emperor.loyal("one.ini")?;
    emperor.loyal("two.ini")?;
    let before = [super::boot_of(&http::get(one, "/")?), super::boot_of(&http::get(two, "/")?)];
    emperor.signal(Signal::SIGHUP)?;
    super::boot_changes(one, &before[0])?;
    super::boot_changes(two, &before[1])?;
    emperor.stop()
}

fn usr1(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = shop(ground, port)?;
    emperor.drop_file("bad.ini", "[uwsgi]\nhttp-socket = nowhere\n")?;
    emperor.vassal_until("bad.ini", "to be refused", |vassal| vassal["state"] == "refused")?;
    let before = emperor.output().len();
    emperor.signal(Signal::SIGUSR1)?;
    let told = wait::until("a line about each vassal", Duration::from_secs(10), || {
        let told = emperor.output().get(before..)?.to_owned();
        (told.contains("vassal shop.ini is loyal, 1 workers") && told.contains("vassal bad.ini is refused"))
            .then_some(told)
    })?;
    ensure!(told.contains("2 vassals"), "{told}");
    emperor.stop()
}

fn hold(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut emperor = shop(ground, port)?;
    emperor.says("stop", &["shop.ini"])?.success()?;
    emperor.vassal_until("shop.ini", "to be held", |vassal| vassal["state"] == "held")?;
    emperor.kill_keeper()?;
    emperor.up()?;
    let held = emperor.vassal_until("shop.ini", "to be known again", |vassal| vassal["state"].is_string())?;
    ensure!(held["state"] == "held" && http::get(port, "/").is_err(), "{held:#}");
    emperor.says("start", &["shop.ini"])?.success()?;
    http::get(port, "/")?;
    emperor.stop()
}

fn retry(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = shop(ground, port)?;
    ensure!(emperor.says("retry", &["shop.ini"])?.code == 1, "there is nothing to be tried again");
    let answer = emperor.ask(Ask::post("/api/v1/vassals/shop.ini/retry"))?;
    ensure!(answer.status == 409, "{}", answer.text());
    let mended = ground.path("apps");
    emperor
        .drop_file("late.ini", &super::ini(ground.port()?, "late", &format!("pythonpath = {}\n", mended.display())))?;
    // Long enough that nobody takes the end of the back-off for the retry.
    emperor.vassal_until("late.ini", "to wait for long", |vassal| {
        let waits_ms = vassal["retry_at_unix_ms"].as_i64().unwrap_or(0) - now_unix_ms();
        vassal["state"] == "cursed" && waits_ms > 3_000
    })?;
    ground.write("apps/late.py", "from hello import application\n")?;
    let began = std::time::Instant::now();
    emperor.says("retry", &["late.ini"])?.success()?;
    ensure!(emperor.vassal("late.ini")?["state"] == "loyal", "{}", emperor.vassal("late.ini")?);
    ground.note(&format!("retried in {}", super::milliseconds(began.elapsed())));
    emperor.stop()
}

fn now_unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(0)
}

fn another_user(ground: &Ground) -> Result<()> {
    ground.needs_root()?;
    let port = ground.port()?;
    let mut emperor = Emperor::prepare(ground)?.with(&["--user", "nobody"]).for_every_user()?;
    emperor.up()?;
    emperor.drop_file(
        "shop.ini",
        &format!("[uwsgi]\nhttp-socket = 127.0.0.1:{port}\nwsgi-file = {}\nuid = daemon\n", lent_app(ground)?),
    )?;
    let master = emperor.loyal("shop.ini")?["master_pid"].clone();
    emperor.kill_keeper()?;
    let mut emperor = emperor.with_instead(&["--user", "www-data"]);
    emperor.up()?;
    let adopted = emperor.loyal("shop.ini")?;
    ensure!(adopted["master_pid"] == master, "{adopted:#}");
    // The master listens to a brain that it did not know when it was started.
    emperor.says("reload", &["shop.ini"])?.success()?;
    emperor.stop()
}

/// An app that every user may read.
fn lent_app(ground: &Ground) -> Result<String> {
    use std::os::unix::fs::PermissionsExt;
    let app = ground.path("hello.py");
    fs::copy(empery_tests::ground::app("hello.py"), &app)?;
    fs::set_permissions(&app, fs::Permissions::from_mode(0o644))?;
    Ok(app.display().to_string())
}

/// A script in the emperor's place that sets something up and becomes it.
fn behind<'g>(ground: &'g Ground, script: &str) -> Result<Emperor<'g>> {
    use std::os::unix::fs::PermissionsExt;
    let real = empery_tests::ground::binary("emperor")?;
    let wrapper = ground.write("wrapper/emperor", &format!("#!/bin/sh\n{script} {} \"$@\"\n", real.display()))?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    Ok(Emperor::prepare(ground)?.from_binaries(&ground.path("wrapper")))
}

fn descriptors(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut emperor = behind(ground, "ulimit -n 64\nexec")?;
    emperor.up()?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", ""))?;
    emperor.loyal("shop.ini")?;
    let brain = emperor.brain_pid()?;
    let (before, began) = (procfs::cpu_time(brain), std::time::Instant::now());
    let held: Vec<_> =
        (0..100).filter_map(|_| std::os::unix::net::UnixStream::connect(emperor.control_socket()).ok()).collect();
    wait::pause(Duration::from_secs(2));
    let busy = procfs::cpu_time(brain).saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64();
    ensure!(busy < 0.5, "the brain spins: {busy:.2} of a core with {} connections held", held.len());
    ensure!(http::get(port, "/")?.status == 200);
    drop(held);
    emperor.loyal("shop.ini")?;
    emperor.says("reload", &["shop.ini"])?.success()?;
    ensure!(emperor.brain_pid()? == brain, "the brain did not live through it");
    emperor.stop()
}

fn no_surroundings(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut emperor = behind(ground, "exec env -i TMPDIR=/nowhere")?;
    emperor.up()?;
    let python = empery_tests::python::program("python")?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", &format!("python = {}\n", python.display())))?;
    emperor.loyal("shop.ini")?;
    ensure!(http::get(port, "/")?.status == 200);
    emperor.says("reload", &["shop.ini"])?.success()?;
    emperor.stop()
}

fn second(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = shop(ground, port)?;
    let arguments =
        ["--vassals", &emperor.vassals.to_string_lossy(), "--listen", &format!("127.0.0.1:{}", ground.port()?)];
    let second = emperor.says("run", &arguments)?;
    let said = format!("{}{}", second.stdout, second.stderr);
    ensure!(second.code != 0 && said.contains(&emperor.keeper_pid()?.to_string()), "exit code {}: {said}", second.code);
    ensure!(said.contains("kill -TERM"), "how to stop the first: {said}");
    ensure!(http::get(port, "/")?.status == 200);
    emperor.stop()
}

fn alarmed(emperor: &Emperor<'_>, word: &str) -> Result<Value> {
    wait::until_ok("an alarm", Duration::from_secs(10), || {
        let fleet = emperor.fleet()?;
        ensure!(fleet["alarms"].to_string().contains(word), "{}", fleet["alarms"]);
        Ok(fleet)
    })
}

fn damaged_database(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut emperor = shop(ground, port)?;
    emperor.kill_keeper()?;
    let load = Load::on(port, Mode::KeepAlive).start();
    fs::write(ground.path("state/state.db"), b"this is no database, and was never meant to be one\n".repeat(100))?;
    for side in ["state/state.db-wal", "state/state.db-shm"] {
        let _ = fs::remove_file(ground.path(side));
    }
    emperor.up()?;
    let fleet = alarmed(&emperor, "corrupt")?;
    ensure!(fleet["vassals"][0]["state"] == "loyal", "{fleet:#}");
    emperor.says("reload", &["shop.ini"])?.success()?;
    load.goes_on(50)?;
    load.stop().flawless()?;
    emperor.stop()
}

fn no_database(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut emperor = Emperor::prepare(ground)?;
    // A directory where the file should be: nobody can open that, root neither.
    fs::create_dir_all(ground.path("state/state.db"))?;
    emperor.up()?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", ""))?;
    emperor.loyal("shop.ini")?;
    alarmed(&emperor, "state.db")?;
    emperor.says("reload", &["shop.ini"])?.success()?;
    emperor.stop()
}

fn remembers(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut emperor = shop(ground, port)?;
    emperor.drop_file("shop.ini", &super::ini(port, "broken.import_error", ""))?;
    emperor.deploy_failed("shop.ini")?;
    let remembered = |emperor: &Emperor<'_>| {
        wait::until_ok("the failed deployment in the history", Duration::from_secs(10), || {
            let history = emperor.ask(Ask::get("/api/v1/vassals/shop.ini/operations"))?.text();
            ensure!(history.contains("no_such_module_anywhere") && history.contains("succeeded"), "{history}");
            Ok(())
        })
    };
    remembered(&emperor)?;
    emperor.kill_keeper()?;
    emperor.up()?;
    remembered(&emperor)?;
    let vassal = emperor.vassal_until("shop.ini", "to be found", |vassal| vassal["serving_revision"].is_number())?;
    ensure!(
        vassal["serving_revision"] == 1 && vassal["file_revision"] == 2,
        "revisions were numbered anew: {vassal:#}"
    );
    emperor.stop()
}

fn strangers(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = shop(ground, port)?;
    let api = "/api/v1/vassals/shop.ini";
    let refused = http::get(emperor.port, api)?;
    ensure!(refused.status == 401 && !refused.text().contains("127.0.0.1:"), "{refused:?}");
    ensure!(
        refused.header("content-type").is_some_and(|kind| kind.starts_with("application/problem+json")),
        "{refused:?}"
    );
    let token = fs::read_to_string(ground.path("state/token"))?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(ground.path("state/token"))?.permissions());
    ensure!(mode & 0o777 == 0o600, "the token's mode is {mode:o}");
    let bearer = |token: &str| Ask::get(api).header("Authorization", &format!("Bearer {}", token.trim()));
    ensure!(http::ask(emperor.port, bearer(&token))?.status == 200);
    ensure!(http::ask(emperor.port, bearer("0123456789abcdef"))?.status == 401);
    // A page elsewhere that makes a browser ask this address under another name (DNS rebinding).
    let rebound = http::ask(emperor.port, bearer(&token).header("Host", "evil.example"))?;
    ensure!(rebound.status >= 400, "a foreign Host was answered with {}", rebound.status);
    // A form without the dashboard's token.
    let forged = http::ask(
        emperor.port,
        Ask::post("/vassals/shop.ini/stop").body("application/x-www-form-urlencoded", b"confirm=yes"),
    )?;
    ensure!(forged.status != 200 && emperor.vassal("shop.ini")?["state"] == "loyal", "{forged:?}");
    emperor.stop()
}

fn ready(ground: &Ground) -> Result<()> {
    let path = ground.path("notify.sock");
    let told = UnixDatagram::bind(&path)?;
    told.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut emperor = Emperor::prepare(ground)?.environment("NOTIFY_SOCKET", &path.display().to_string());
    let (port, socket) = (emperor.port, emperor.control_socket());
    // At that very moment: a unit that is ordered after it does not ask twice.
    let doors = std::thread::spawn(move || -> Result<()> {
        let mut said = [0; 64];
        let length = told.recv(&mut said)?;
        ensure!(&said[..length] == b"READY=1", "{}", String::from_utf8_lossy(&said[..length]));
        TcpStream::connect(("127.0.0.1", port)).context("the dashboard's door")?;
        UnixStream::connect(socket).context("the control socket's door")?;
        Ok(())
    });
    emperor.up()?;
    doors.join().map_err(|_| anyhow::anyhow!("the listener panicked"))??;
    emperor.stop()
}

fn environment(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut emperor = Emperor::prepare(ground)?
        .environment("SHOP_COLOUR", "red")
        .environment("UWSGI_SOCKET", "/nowhere")
        .environment("NOTIFY_SOCKET", "")
        .environment("LISTEN_PID", "1");
    emperor.up()?;
    emperor.drop_file("shop.ini", &super::ini(port, "show", "env = OF_FILE=%v/%n\n"))?;
    emperor.loyal("shop.ini")?;
    let shown: Value = serde_json::from_slice(&http::get(port, "/")?.body)?;
    let seen = &shown["process"]["environment"];
    let vassals = emperor.vassals.to_string_lossy().into_owned();
    ensure!(seen["SHOP_COLOUR"] == "red" && seen["OF_FILE"] == format!("{vassals}/shop"), "{seen:#}");
    ensure!(shown["process"]["cwd"] == vassals, "{:#}", shown["process"]);
    let kept: Vec<&String> = seen
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
        .filter(|name| ["UWSGI_", "LISTEN_", "NOTIFY_SOCKET", "EMPERY_"].iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    ensure!(kept.is_empty(), "the app sees {kept:?}");
    emperor.stop()
}

fn without_root(ground: &Ground) -> Result<()> {
    const NOBODY: u32 = 65_534;
    ground.needs_root()?;
    ground.needs_own_network()?;
    let port = ground.port()?;
    let bin = ground.lend_binaries()?;
    for directory in ["home", "home/run", "home/vassals"] {
        fs::create_dir_all(ground.path(directory))?;
        chown(ground.path(directory), Some(NOBODY), Some(NOBODY))?;
    }
    ground.write("apps/show.py", &fs::read_to_string(empery_tests::ground::app("show.py"))?)?;
    let apps = ground.path("apps");
    let text = format!("[uwsgi]\nhttp-socket = 127.0.0.1:{port}\npythonpath = {}\nmodule = show\n", apps.display());
    ground.write("home/vassals/shop.ini", &text)?;
    let start = |arguments: &[&str]| -> Result<process::Finished> {
        process::run(as_nobody(ground, &bin.join("emperor"), arguments))
    };

    let mut command = as_nobody(ground, &bin.join("vassal"), &["--emperor"]);
    command.arg(ground.path("home/vassals"));
    let mut emperor = ground.start("vassal-emperor", command)?;
    let answered = wait::until_ok("the vassal to answer", Duration::from_secs(20), || Ok(http::get(port, "/")?));
    let shown: Value = serde_json::from_slice(&answered.map_err(|error| error.context(emperor.output()))?.body)?;
    ensure!(shown["process"]["uid"] == NOBODY, "{shown:#}");
    // Without arguments everything is found where the XDG directories say.
    let status = start(&["status"])?.success().context("status without arguments")?;
    ensure!(status.contains("shop.ini"), "{status}");
    ensure!(ground.path("home/run/empery").exists());
    ensure!(emperor.terminated(Duration::from_secs(10))?.success());
    Ok(())
}

fn as_nobody(ground: &Ground, program: &std::path::Path, arguments: &[&str]) -> Command {
    const NOBODY: u32 = 65_534;
    let mut command = Command::new(program);
    surroundings(&mut command);
    let home = ground.path("home");
    command.args(arguments).uid(NOBODY).gid(NOBODY).current_dir(&home).env("HOME", &home);
    command.env("XDG_RUNTIME_DIR", home.join("run")).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

fn stops_within_mercy(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "slow", ""))?;
    emperor.loyal("shop.ini")?;
    let path = format!("/wait{}", ground.path("gate").display());
    let request = std::thread::spawn(move || http::get(port, &path));
    emperor.vassal_until("shop.ini", "a busy thread", |vassal| vassal["workers"][0]["busy_threads"] == 1)?;
    emperor.signal(Signal::SIGTERM)?;
    emperor.vassal_until("shop.ini", "to be stopping", |vassal| vassal["state"] == "stopping")?;
    fs::write(ground.path("gate"), "")?;
    let answer = request.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
    ensure!(answer.text() == "waited", "{answer:?}");
    emperor.stop()
}
