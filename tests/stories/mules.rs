//! Mules: processes of the app without requests. They get messages and signals, one holds each post at a time, and they go
//! with their generation.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context, Result, bail, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground},
    http, procfs,
    runner::Story,
    vassal::{Vassal, surroundings},
    wait,
};
use nix::sys::signal::Signal;

use super::noting::{App, SOON, notes};

pub(crate) const STORIES: &[Story] = &[
    Story::new("mules/b55-get-messages-and-signals", messages),
    Story::new("mules/get-messages-and-signals-although-the-app-is-lazy", lazily),
    Story::new("mules/have-a-hook-and-take-messages-of-a-size", hook_and_size),
    Story::new("mules/run-scripts-and-never-two-at-once", scripts),
    Story::new("mules/a-dead-or-stuck-one-is-replaced-and-its-messages-wait", replaced),
    Story::new("mules/finish-what-they-have-begun-before-the-next-generation-s-start", finish),
    Story::new("mules/a-script-does-what-was-sent-to-it-before-it-leaves", script_finishes),
    Story::new("mules/live-on-when-the-master-s-binary-changes-and-the-app-does-not-boot", another_binary),
    Story::new("mules/a-script-that-is-told-to-leave-in-a-signal-leaves-where-it-waits-next", told_in_a_signal),
    Story::new("mules/p3-end-with-their-master-and-come-back-with-the-next", master_dies),
];

/// The last word of a line: a pid.
fn pid(line: &str) -> Result<i32> {
    Ok(line.rsplit(' ').next().context("no pid")?.parse()?)
}

fn first_words(lines: &[String]) -> BTreeSet<&str> {
    lines.iter().filter_map(|line| line.split(' ').next()).collect()
}

fn messages(ground: &Ground) -> Result<()> {
    let app = App::start(ground, "mules", "mules = 3\nfarm = team:2,3\nprocesses = 2\nenable-metrics = true\n")?;
    app.get("/raise/1")?;
    let mules = app.noted("mules", 3)?;
    ensure!(first_words(&mules) == BTreeSet::from(["1", "2", "3"]), "{mules:?}");
    app.get("/raise/2")?;
    ensure!(app.noted("mule2", 1)? == ["2"], "{:?}", notes(ground, "mule2"));
    app.get("/raise/3")?;
    let team = app.noted("team", 1)?;
    ensure!(team == ["2"] || team == ["3"], "{team:?}");
    ensure!(app.get("/any/hello")? == "True" && app.get("/to/3/third")? == "True", "not sent");
    app.get("/farm/all-of-us")?;
    let got = app.noted("messages", 3)?;
    let find = |text: &str| got.iter().find(|line| line.contains(text)).cloned().unwrap_or_default();
    ensure!(find("third").starts_with('3'), "{got:?}");
    ensure!(["2", "3"].contains(&&find("all-of-us")[..1]), "{got:?}");
    ensure!(app.get("/team/by-bytes")? == "True", "a farm's name is bytes in uWSGI on Python 3");
    app.noted("messages", 4)?;
    app.get("/to/1/workers")?;
    let seen = app.noted("workers", 1)?;
    let numbers: Vec<u64> = seen[0].split(' ').filter_map(|word| word.parse().ok()).collect();
    let [running, requests, waiting, counted] = numbers[..] else { bail!("{seen:?}") };
    ensure!(running == 2 && requests >= 8 && waiting == 0 && counted >= 8, "a mule sees of the workers: {seen:?}");
    ensure!(app.get("/to/9/x")? == "invalid mule number" && app.get("/to/nobody/x")? == "unknown farm", "who");
    ensure!(app.get("/get")?.contains("only in a mule"), "a worker got a message");
    app.vassal.stop()
}

fn hook_and_size(ground: &Ground) -> Result<()> {
    let more = "mules = 2\nhook-as-mule = exec:echo begins >> hook\nmule-msg-recv-size = 5\n";
    let app = App::start(ground, "mules", more)?;
    ensure!(app.noted("hook", 2)? == ["begins", "begins"], "{:?}", notes(ground, "hook"));
    app.get("/to/1/hello-and-more")?;
    let got = app.noted("messages", 1)?;
    ensure!(got[0].starts_with("1 hello ") && !got[0].contains("more"), "{got:?}");
    app.vassal.stop()
}

fn lazily(ground: &Ground) -> Result<()> {
    let app = App::start(ground, "mules", "mules = 1\nlazy-apps = true\n")?;
    app.get("/raise/1")?;
    ensure!(app.noted("mules", 1)? == ["1"], "{:?}", notes(ground, "mules"));
    app.get("/any/hello")?;
    let got = app.noted("messages", 1)?;
    ensure!(got[0].starts_with("1 hello "), "{got:?}");
    app.vassal.stop()
}

fn scripts(ground: &Ground) -> Result<()> {
    // What a port is to a server: the second one would not start beside the first.
    let script = ground.write(
        "mule.py",
        "import os, time, uwsgi, mules\n\
         os.mkdir('taken')\n\
         mules.note('scripts', f'{__name__} {uwsgi.mule_id()} {os.getpid()}')\n\
         try:\n    while True:\n        message = uwsgi.mule_get_msg(timeout=1)\n        \
         if message: mules.note('got', message.decode())\n\
         finally:\n    os.rmdir('taken')\n",
    )?;
    let mut app =
        App::start(ground, "mules", &format!("mule = {}\nmule = mules:hook_less\nmules = 1\n", script.display()))?;
    let first = app.noted("scripts", 1)?;
    ensure!(first[0].starts_with("__main__ 1 "), "{first:?}");
    app.get("/to/1/hello")?;
    app.noted("got", 1)?;
    for generation in 2..4 {
        app.vassal.signal(Signal::SIGHUP);
        app.noted("scripts", generation)?;
    }
    let pids: Vec<i32> = notes(ground, "scripts").iter().map(|line| pid(line)).collect::<Result<_>>()?;
    let living: Vec<&i32> = pids.iter().filter(|pid| procfs::alive(**pid)).collect();
    ensure!(living == [pids.last().context("none")?], "{living:?} of {pids:?}");
    app.vassal.master.says("the mule 2 is started again in", SOON)?;
    ensure!(!app.vassal.master.output().contains("FileExistsError"), "{}", app.vassal.master.output());
    app.vassal.stop()?;
    ensure!(!ground.path("taken").exists(), "it was not left in peace");
    Ok(())
}

fn replaced(ground: &Ground) -> Result<()> {
    ground.write("touched", "")?;
    let mut app = App::start(ground, "mules", "mules = 1\nmule-harakiri = 1\ntouch-mules-reload = touched\n")?;
    app.get("/any/die")?;
    app.get("/any/second")?;
    app.noted("messages", 2)?;
    app.get("/any/hang")?;
    app.get("/any/fourth")?;
    let got = app.noted("messages", 4)?;
    app.vassal.master.says("*** HARAKIRI ON MULE 1", SOON)?;
    let pids: BTreeSet<i32> = got.iter().map(|line| pid(line)).collect::<Result<_>>()?;
    ensure!(pids.len() == 3, "{got:?}");
    empery_tests::emperor::touch(&ground.path("touched"))?;
    app.noted("atexit", 1)?;
    app.get("/any/fifth")?;
    let got = app.noted("messages", 5)?;
    ensure!(!pids.contains(&pid(&got[4])?), "{got:?}");
    // As `uwsgidecorators` end a mule whose function failed.
    app.get("/any/exit")?;
    app.get("/any/seventh")?;
    let got = app.noted("messages", 7)?;
    ensure!(pid(&got[5])? != pid(&got[6])?, "sys.exit did not end it: {got:?}");
    app.vassal.stop()
}

fn finish(ground: &Ground) -> Result<()> {
    finished(ground, "mules = 1\n")
}

fn script_finishes(ground: &Ground) -> Result<()> {
    let text =
        "import uwsgi, mules\nwhile True:\n    message = uwsgi.mule_get_msg()\n    if message: mules.hook(message)\n";
    let script = ground.write("mule.py", text)?;
    finished(ground, &format!("mule = {}\n", script.display()))
}

fn finished(ground: &Ground, lines: &str) -> Result<()> {
    let mut app = App::start(ground, "mules", lines)?;
    app.get("/any/finish")?;
    let old = pid(&app.noted("begun", 1)?[0])?;
    ensure!(app.get("/to/1/last")? == "True" && app.get("/any/of-all")? == "True", "not sent");
    app.vassal.signal(Signal::SIGHUP);
    app.vassal.master.says("generation 2 serves", SOON)?;
    app.get("/any/next")?;
    ensure!(procfs::alive(old) && notes(ground, "finished").is_empty(), "it was interrupted");
    ground.write("go-on", "")?;
    app.noted("finished", 1)?;
    app.noted("atexit", 1)?;
    let got = app.noted("messages", 4)?;
    let by: Vec<bool> = got.iter().map(|line| Ok(pid(line)? == old)).collect::<Result<_>>()?;
    let last = got[1].starts_with("1 last") && got[2].starts_with("1 of-all");
    ensure!(last && got[3].starts_with("1 next") && by == [true, true, true, false], "{got:?}");
    app.vassal.stop()
}

fn another_binary(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let bin = ground.lend_binaries()?;
    let good = super::ini(port, "mules", "mules = 1\n");
    ground.write("app.ini", &good)?;
    let mut command = Command::new(bin.join("vassal"));
    surroundings(&mut command);
    command.current_dir(ground.directory()).arg("app.ini");
    let mut vassal = Vassal::adopt(ground, ground.directory(), command)?;
    vassal.answers(port)?;
    let ask = |path: &str| http::get(port, path);
    let noted = |name: &str, number: usize| {
        wait::until(&format!("{number} notes of {name}"), SOON, || {
            Some(notes(ground, name)).filter(|notes| notes.len() >= number)
        })
    };
    // It has a letterbox, and looks into it.
    ask("/raise/1")?;
    noted("mules", 1)?;
    ask("/any/before")?;
    let mule = pid(&noted("messages", 1)?[0])?;
    ground.write("app.ini", &good.replace("module = mules", "module = missing"))?;
    fs::copy(ground::binary("vassal")?, bin.join("vassal.new"))?;
    fs::rename(bin.join("vassal.new"), bin.join("vassal"))?;
    vassal.signal(Signal::SIGHUP);
    vassal.master.says("did not come into service", SOON)?;
    ask("/any/after")?;
    let after = pid(&noted("messages", 2)?[1])?;
    ensure!(after == mule, "{mule} went with the binary: {}", vassal.master.output());
    ground.write("app.ini", &good)?;
    vassal.signal(Signal::SIGHUP);
    wait::until("the mule of the next generation", SOON, || (!procfs::alive(mule)).then_some(()))?;
    ask("/any/next")?;
    noted("messages", 3)?;
    vassal.stop()
}

fn told_in_a_signal(ground: &Ground) -> Result<()> {
    let text = "import os, uwsgi, mules\nmules.note('scripts', os.getpid())\nwhile True: uwsgi.mule_get_msg()\n";
    let script = ground.write("mule.py", text)?;
    let mut app = App::start(ground, "mules", &format!("mule = {}\n", script.display()))?;
    let first = pid(&app.noted("scripts", 1)?[0])?;
    app.get("/raise/4")?;
    app.noted("signal-begun", 1)?;
    app.vassal.signal(Signal::SIGHUP);
    app.vassal.master.says("generation 2 serves", SOON)?;
    ground.write("go-on", "")?;
    // Long before `mule-reload-mercy` (60 s) would end it.
    let second = pid(&app.noted("scripts", 2)?[1])?;
    ensure!(app.notes("signal-over") == [first.to_string()] && second != first, "{:?}", app.notes("signal-over"));
    app.vassal.stop()
}

fn master_dies(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    let script = ground.write(
        "mule.py",
        "import os, time\nopen(os.path.join(os.path.dirname(__file__), 'pids'), 'a').write(f'{os.getpid()}\\n')\ntime.sleep(1000)\n",
    )?;
    emperor.drop_file("shop.ini", &super::ini(port, "mules", &format!("mule = {}\n", script.display())))?;
    emperor.loyal("shop.ini")?;
    let count = |number: usize| {
        wait::until("a mule to start", SOON, || Some(notes(ground, "pids")).filter(|pids| pids.len() >= number))
    };
    let first = pid(&count(1)?[0])?;
    let [master] = emperor.masters()[..] else { bail!("not one master") };
    procfs::signal(master, Signal::SIGKILL);
    let second = pid(&count(2)?[1])?;
    ensure!(!procfs::alive(first) && procfs::alive(second), "{first} lives beside {second}");
    emperor.stop()?;
    ensure!(!procfs::alive(second), "it outlives the emperor");
    Ok(())
}
