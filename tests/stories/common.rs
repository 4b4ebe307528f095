//! What an emperor says for all its vassals: `vassal-set`, `vassals-include` and `vassals-inherit`, in `emperor.ini` or on its
//! command line.

use std::{os::unix::fs::PermissionsExt, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground},
    http, process,
    runner::Story,
    wait,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("common/b40-every-vassal-has-what-the-emperor-says-for-all", for_all),
    Story::new("common/a-vassal-that-becomes-an-emperor-tells-it-all", becoming),
    Story::new("common/b39-emperor-stats-and-a-pidfile-are-uwsgi-s", stats),
];

const APP: &str = "\
import os, uwsgi
def application(environ, start_response):
    start_response('200 OK', [])
    told = [os.environ.get('WHO'), os.environ.get('LAST'), str(uwsgi.numproc), os.environ.get('REVISION', '1')]
    return [' '.join(map(str, told)).encode()]
";

fn for_all(ground: &Ground) -> Result<()> {
    let ports = [ground.port()?, ground.port()?];
    ground.write("apps/tells.py", APP)?;
    let before = ground.write("before.ini", "[uwsgi]\nenv = WHO=%n(%s)\nset-ph = of-all=yes\nenv = LAST=before\n")?;
    let after = ground.write("after.ini", "[uwsgi]\nenv = LAST=after %N %(of-all)\n")?;
    let mut emperor = Emperor::prepare(ground)?.with(&[
        "--vassal-set",
        "processes=2",
        "--vassals-include-before",
        &before.to_string_lossy(),
        "--vassals-inherit",
        &after.to_string_lossy(),
    ]);
    emperor.up()?;
    let text = |port: u16, more: &str| {
        let apps = ground.path("apps");
        format!("[uwsgi]\nhttp-socket = 127.0.0.1:{port}\npythonpath = {}\nmodule = tells\n{more}", apps.display())
    };
    for (name, port) in ["one", "two"].into_iter().zip(ports) {
        emperor.drop_file(&format!("{name}.ini"), &text(port, ""))?;
        emperor.loyal(&format!("{name}.ini"))?;
        let told = http::get(port, "/")?.text();
        ensure!(told == format!("{name}({name}.ini) after {name} yes 2 1"), "{name} says {told:?}");
    }
    // An edit comes into service by another way than a start.
    emperor.drop_file("one.ini", &text(ports[0], "env = REVISION=2\n"))?;
    wait::until("the edit to come into service", Duration::from_secs(20), || {
        let told = http::get(ports[0], "/").ok()?.text();
        (told == "one(one.ini) after one yes 2 2").then_some(())
    })?;
    emperor.stop()
}

/// Beside the vassal is an emperor that only shows what it is told.
fn becoming(ground: &Ground) -> Result<()> {
    let emperor = ground.write("bin/emperor", "#!/bin/sh\necho \"$@\"\n")?;
    std::fs::set_permissions(&emperor, std::fs::Permissions::from_mode(0o755))?;
    let vassal = ground.path("bin/vassal");
    std::fs::copy(ground::binary("vassal")?, &vassal)?;
    let ini = ground.write("emperor.ini", "[uwsgi]\nemperor = /v\nuid = www-data\nemperor-stats-server = /s\n")?;
    let ini = ini.display().to_string();
    for (words, told) in [
        (&["--emperor", "/v", "--emperor-tyrant", "--pidfile", "/p"][..], "--emperor-tyrant=true --emperor-pidfile=/p"),
        (&["--ini", &ini], "--vassal-set=uid=www-data --emperor-stats=/s"),
        (
            &["--ini", &ini, "--emperor-tyrant=off"],
            "--vassal-set=uid=www-data --emperor-stats=/s --emperor-tyrant=false",
        ),
    ] {
        let mut command = Command::new(&vassal);
        command.args(words);
        let said = process::run(command)?;
        let expected = format!("run --vassals /v {told}");
        ensure!(said.stdout.trim() == expected, "{words:?}: {}{}, not {expected}", said.stdout, said.stderr);
    }
    let mut two = Command::new(&vassal);
    two.args(["--emperor", "/a", "--emperor", "/b*"]);
    let said = process::run(two)?;
    ensure!(said.stdout.trim() == "run --vassals /a --vassals /b*", "{}{}", said.stdout, said.stderr);
    let mut other = Command::new(&vassal);
    other.args(["--emperor", "/a", "--emperor", "pg://b"]);
    let refused = process::run(other)?;
    ensure!(
        refused.code == 1 && refused.stdout.is_empty() && refused.stderr.contains("vassals come from files only"),
        "{}",
        refused.stderr
    );
    Ok(())
}

/// The keys of a vassal in uWSGI's statistics of an emperor (core/emperor.c).
const KEYS: [&str; 20] = [
    "accepting",
    "born",
    "cursed",
    "first_run",
    "gid",
    "id",
    "last_accepting",
    "last_heartbeat",
    "last_loyal",
    "last_mod",
    "last_ready",
    "last_run",
    "loyal",
    "monitor",
    "on_demand",
    "pid",
    "ready",
    "respawns",
    "uid",
    "zerg",
];

fn stats(ground: &Ground) -> Result<()> {
    let (port, stats) = (ground.port()?, ground.port()?);
    let pidfile = ground.path("emperor.pid");
    let mut emperor = Emperor::prepare(ground)?.with(&[
        "--emperor-stats",
        &format!("127.0.0.1:{stats}"),
        "--emperor-pidfile",
        &pidfile.to_string_lossy(),
    ]);
    emperor.up()?;
    emperor.drop_file("good.ini", &super::ini(port, "ids", ""))?;
    emperor.loyal("good.ini")?;
    emperor.drop_file("bad.ini", &super::ini(port + 1, "no_such_module_anywhere", ""))?;
    emperor.vassal_until("bad.ini", "to be cursed", |vassal| vassal["state"] == "cursed")?;
    let told = wait::until_ok("the statistics of both", Duration::from_secs(10), || {
        let told = super::stats::read(stats)?;
        ensure!(told["blacklist"].as_array().is_some_and(|cursed| cursed.len() == 1), "{told}");
        Ok(told)
    })?;
    let keeper = emperor.keeper_pid()?;
    ensure!(told["pid"] == keeper && told["emperor_tyrant"] == 0 && told["throttle_level"] == 0, "{told}");
    let vassals = told["vassals"].as_array().context("vassals")?;
    let good = vassals.iter().find(|vassal| vassal["id"] == "good.ini").context("the good one")?;
    let mut keys: Vec<&str> = good.as_object().context("an object")?.keys().map(String::as_str).collect();
    keys.sort_unstable();
    ensure!(keys == KEYS, "{keys:?}");
    ensure!(good["loyal"] == 1 && good["accepting"] == 1 && good["born"].as_u64() > Some(0), "{good}");
    ensure!(told["blacklist"][0]["id"] == "bad.ini", "{told}");
    ensure!(std::fs::read_to_string(pidfile)?.trim() == keeper.to_string());
    emperor.stop()
}
