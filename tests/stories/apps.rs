//! Apps with every fault an app can have (`tests/apps/hostile`): whatever one does, the old generation or the other vassals
//! serve on, nothing is left behind, and the reason is there to be read. Each story is named after the fault it proves.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::{Emperor, SETTLED_WITHIN},
    ground::{self, Ground},
    http::{self, Ask},
    load::{Load, Mode},
    procfs, python,
    runner::Story,
    wait,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("apps/a1-what-cannot-be-called-is-refused-with-its-reason", not_callable),
    Story::new("apps/a3-a-slow-import-is-waited-for-and-holds-nobody-up", slow_import).within_s(180),
    Story::new("apps/a10-a-fork-bomb-stops-at-its-limit-and-is-cleared-away", fork_bomb).alone().within_s(180),
    Story::new("apps/a11-a-daemon-left-behind-goes-with-its-vassal", daemon),
    Story::new("apps/a7-children-that-are-ignored-or-waited-for-at-import-are-no-obstacle", children),
    Story::new("apps/a26-an-event-loop-made-at-import-is-no-obstacle", event_loop),
    Story::new("apps/a26-gevent-patched-at-import-is-no-obstacle", monkey_patch),
    Story::new("apps/a27-a-half-replaced-package-fails-whole-or-loads-whole", half_installed),
    Story::new("apps/c22-a-generation-that-never-proves-itself-gets-no-request", never_proves),
    Story::new("apps/a29-a-port-that-the-app-wants-and-another-has-fails-that-app-only", port_conflict),
];

/// A vassal file for the hostile app.
fn hostile(port: u16, more: &str) -> String {
    super::ini(port, "hostile.app", more)
}

fn not_callable(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &hostile(port, ""))?;
    emperor.loyal("shop.ini")?;
    let load = Load::on(port, Mode::KeepAlive).start();
    for (mode, reason) in [
        ("missing", "application"),
        ("not-callable", "callable"),
        ("syntax", "SyntaxError"),
        ("import-error", "no_such_module_anywhere"),
    ] {
        emperor.drop_file("shop.ini", &hostile(port, &format!("env = HOSTILE_IMPORT={mode}\n")))?;
        emperor.vassal_until("shop.ini", &format!("{mode}: its reason"), |vassal| {
            let end = &vassal["last_deployment"]["end"];
            vassal["serving_revision"] == 1 && end["result"] == "failed" && end.to_string().contains(reason)
        })?;
        load.goes_on(20)?;
    }
    load.stop().flawless()?;
    emperor.stop()
}

fn slow_import(ground: &Ground) -> Result<()> {
    let seconds = ground::long_or(Duration::from_secs(30), Duration::from_secs(5)).as_secs();
    let (slow, quick) = (ground.port()?, ground.port()?);
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("quick.ini", &super::ini(quick, "ids", "env = VERSION=1\n"))?;
    emperor.loyal("quick.ini")?;
    let more = format!("env = HOSTILE_IMPORT=slow\nenv = HOSTILE_SECONDS={seconds}\n");
    emperor.drop_file("slow.ini", &hostile(slow, &more))?;
    emperor.vassal_until("slow.ini", "to boot", |vassal| vassal["state"] == "starting")?;
    emperor.drop_file("quick.ini", &super::ini(quick, "ids", "env = VERSION=2\n"))?;
    super::version_becomes(quick, "2")?;
    let meanwhile = emperor.vassal("slow.ini")?;
    ensure!(meanwhile["state"] == "starting", "the other's reload took longer than the import: {meanwhile:#}");
    let loyal = wait::until_ok("the slow one to be loyal", SETTLED_WITHIN * 3, || {
        let vassal = emperor.vassal("slow.ini")?;
        ensure!(vassal["state"] == "loyal", "{vassal:#}");
        Ok(vassal)
    })?;
    ensure!(loyal["generation"] == 1, "it took more than one attempt: {loyal:#}");
    ensure!(http::get(slow, "/")?.text() == "well");
    emperor.stop()
}

/// A pids controller for one vassal, by whichever hierarchy this machine has.
struct Limited(std::path::PathBuf);

impl Limited {
    fn to(processes: u32) -> Result<Limited> {
        let parents = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
        let made = parents.into_iter().map(Path::new).find_map(|parent| {
            let group = parent.join(format!("empery-story-{}", std::process::id()));
            fs::create_dir(&group).ok()?;
            match fs::write(group.join("pids.max"), processes.to_string()) {
                Ok(()) => Some(group),
                Err(_) => {
                    let _ = fs::remove_dir(&group);
                    None
                }
            }
        });
        let group = made.ok_or_else(|| ground::Skip("there is no pids controller that may be used here".to_owned()))?;
        Ok(Limited(group))
    }

    fn take(&self, pid: i32) -> Result<()> {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).context("move a process into the group")
    }

    fn members(&self) -> usize {
        fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default().lines().count()
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // Fails while somebody is in it: then the story has failed already.
        let _ = fs::remove_dir(&self.0);
    }
}

fn fork_bomb(ground: &Ground) -> Result<()> {
    const LIMIT: u32 = 60;
    ground.needs_root()?;
    let group = Limited::to(LIMIT)?;
    let (bomb, other) = (ground.port()?, ground.port()?);
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("other.ini", &super::ini(other, "hello", ""))?;
    emperor.loyal("other.ini")?;
    emperor.drop_file("bomb.ini", &hostile(bomb, "worker-reload-mercy = 2\n"))?;
    let master = i32::try_from(emperor.loyal("bomb.ini")?["master_pid"].as_i64().context("no master")?)?;
    for pid in std::iter::once(master).chain(procfs::descendants(master)) {
        group.take(pid)?;
    }
    let load = Load::on(other, Mode::KeepAlive).start();
    let client = std::thread::spawn(move || http::get(bomb, "/fork-bomb"));
    wait::until("the limit to be reached", SETTLED_WITHIN, || (group.members() >= LIMIT as usize).then_some(()))?;
    load.goes_on(50)?;
    ensure!(emperor.ask(Ask::get("/readyz"))?.status == 200, "the emperor does not answer");
    emperor.remove_file("bomb.ini")?;
    wait::until_ok("everything the bomb made to be gone", SETTLED_WITHIN * 4, || {
        ensure!(group.members() == 0, "{} processes are left", group.members());
        Ok(())
    })?;
    let _ = client.join();
    load.stop().flawless()?;
    emperor.stop()
}

fn daemon(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let (of_import, of_request) = (ground.path("of-import"), ground.path("of-request"));
    let emperor = Emperor::start(ground)?;
    let more = format!("env = HOSTILE_IMPORT=daemon\nenv = HOSTILE_DAEMON={}\n", of_import.display());
    emperor.drop_file("shop.ini", &hostile(port, &more))?;
    emperor.loyal("shop.ini")?;
    ensure!(http::get(port, &format!("/daemon{}", of_request.display()))?.status == 200);
    let daemons = [pid_in(&of_import)?, pid_in(&of_request)?];
    ensure!(daemons.iter().all(|pid| procfs::alive(*pid)), "the daemons do not run");
    emperor.remove_file("shop.ini")?;
    wait::until_ok("both daemons to be gone with their vassal", SETTLED_WITHIN, || {
        let left: Vec<_> = daemons.iter().filter(|pid| procfs::alive(**pid)).collect();
        ensure!(left.is_empty(), "{left:?} are left");
        Ok(())
    })?;
    emperor.stop()
}

fn pid_in(path: &Path) -> Result<i32> {
    wait::until_ok(&format!("a pid in {}", path.display()), SETTLED_WITHIN, || {
        Ok(fs::read_to_string(path)?.trim().parse()?)
    })
}

/// It serves, and a reload works.
fn no_obstacle(ground: &Ground, mode: &str) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &hostile(port, &format!("processes = 2\nenv = HOSTILE_IMPORT={mode}\n")))?;
    emperor.loyal("shop.ini")?;
    let load = Load { path: "/sleep/0.01".to_owned(), ..Load::on(port, Mode::KeepAlive) }.start();
    load.goes_on(20)?;
    emperor.says("reload", &["shop.ini"])?.success()?;
    load.goes_on(20)?;
    load.stop().flawless()?;
    emperor.stop()
}

fn children(ground: &Ground) -> Result<()> {
    no_obstacle(ground, "ignores-children")?;
    no_obstacle(ground, "reaps-children")
}

fn event_loop(ground: &Ground) -> Result<()> {
    no_obstacle(ground, "event-loop")
}

fn monkey_patch(ground: &Ground) -> Result<()> {
    if python::run("import gevent", &[]).is_err() {
        return Err(ground::Skip("gevent is not installed in the test environment".to_owned()).into());
    }
    no_obstacle(ground, "monkey-patch")
}

fn half_installed(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let packages = ground.path("packages");
    let install = |half: &str, version: u32| {
        ground.write(&format!("packages/halves/{half}.py"), &format!("VERSION = {version}\n"))
    };
    install("first", 1)?;
    install("second", 1)?;
    let emperor = Emperor::start(ground)?;
    let more =
        format!("processes = 2\nenv = HOSTILE_IMPORT=half-installed\nenv = HOSTILE_PACKAGES={}\n", packages.display());
    emperor.drop_file("shop.ini", &hostile(port, &more))?;
    emperor.loyal("shop.ini")?;
    let load = Load::on(port, Mode::KeepAlive).start();
    // The installer is half-way through, and removes a file before it writes the new one.
    install("first", 2)?;
    let reload = || emperor.json(Ask::post("/api/v1/vassals/shop.ini/reload?wait=20s"));
    let mixed = reload()?;
    ensure!(mixed["end"]["result"] == "failed" && mixed.to_string().contains("do not fit together"), "{mixed:#}");
    fs::remove_file(packages.join("halves/second.py"))?;
    let missing = reload()?;
    ensure!(missing["end"]["result"] == "failed" && missing.to_string().contains("halves.second"), "{missing:#}");
    load.goes_on(20)?;
    install("second", 2)?;
    let whole = reload()?;
    ensure!(whole["end"]["result"] == "succeeded", "{whole:#}");
    load.goes_on(20)?;
    load.stop().flawless()?;
    emperor.stop()
}

fn never_proves(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &hostile(port, "processes = 2\n"))?;
    emperor.loyal("shop.ini")?;
    let load = Load::on(port, Mode::KeepAlive).start();
    // The file is good and the zygote is content; the workers, which import the app, never answer their ping.
    let more = "processes = 2\nlazy-apps = true\nboot-deadline = 3\nenv = HOSTILE_IMPORT=hang\n";
    emperor.drop_file("shop.ini", &hostile(port, more))?;
    let failed = emperor.deploy_failed("shop.ini")?;
    ensure!(failed["state"] == "loyal" && failed["serving_revision"] == 1, "{failed:#}");
    ensure!(failed["last_deployment"]["end"]["reason"]["kind"] == "boot_deadline", "{failed:#}");
    ensure!(failed["summary"].as_str().is_some_and(|summary| summary.contains("3 s")), "{failed:#}");
    emperor.vassal_until("shop.ini", "the workers of one generation to be left", |vassal| {
        vassal["workers"].as_array().is_some_and(|workers| workers.len() == 2)
    })?;
    load.goes_on(50)?;
    load.stop().flawless()?;
    emperor.stop()
}

fn port_conflict(ground: &Ground) -> Result<()> {
    let (first, second, wanted) = (ground.port()?, ground.port()?, ground.port()?);
    let emperor = Emperor::start(ground)?;
    let more = format!("env = HOSTILE_IMPORT=listens\nenv = HOSTILE_PORT={wanted}\n");
    emperor.drop_file("first.ini", &hostile(first, &more))?;
    let has_it = emperor.loyal("first.ini")?["master_pid"].clone();
    let load = Load::on(first, Mode::KeepAlive).start();
    emperor.drop_file("second.ini", &hostile(second, &more))?;
    emperor.vassal_until("second.ini", "the reason", |vassal| {
        vassal["state"] == "cursed" && vassal.to_string().contains("Address already in use")
    })?;
    load.goes_on(20)?;
    load.stop().flawless()?;
    let first = emperor.vassal("first.ini")?;
    ensure!(first["master_pid"] == has_it && first["generation"] == 1, "{first:#}");
    // With the one gone, the other gets it at its next attempt.
    emperor.remove_file("first.ini")?;
    wait::until_ok("the second to be loyal", SETTLED_WITHIN * 2, || {
        let vassal = emperor.vassal("second.ini")?;
        ensure!(vassal["state"] == "loyal", "{vassal:#}");
        Ok(())
    })?;
    emperor.stop()
}
