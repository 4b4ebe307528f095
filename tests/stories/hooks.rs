//! `hook-…` and `exec-…`: what a file asks to be done is done at its moment, and what fails keeps the vassal from starting.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use empery_tests::{emperor::Emperor, ground::Ground, runner::Story, vassal::Vassal, wait};
use nix::sys::signal::Signal;

pub(crate) const STORIES: &[Story] = &[
    Story::new("hooks/b56-every-moment-comes-in-its-order", in_order),
    Story::new("hooks/one-that-fails-before-the-start-ends-it", failing),
    Story::new("hooks/under-an-emperor-the-master-s-come-when-it-starts", under_an_emperor),
    Story::new("hooks/a-command-has-the-app-s-environment-and-prints-into-the-vassal-s-log", surroundings),
    Story::new("hooks/a2-a-command-that-never-ends-keeps-the-vassal-from-starting-and-is-told", endless),
];

fn in_order(ground: &Ground) -> Result<()> {
    let (port, told) = (ground.port()?, ground.path("told"));
    let moments = [
        "asap",
        "pre-jail",
        "in-jail",
        "as-root",
        "as-user",
        "master-start",
        "pre-app",
        "post-app",
        "post-fork",
        "accepting1",
        "as-user-atexit",
    ];
    let mut more = String::from("master = true\nhook-asap = putenv:OF_A_HOOK=seen\n");
    // Written in another order than they come in.
    for moment in moments.iter().rev() {
        more.push_str(&format!("hook-{moment} = appendn:{} {moment}\n", told.display()));
    }
    more.push_str(&format!("exec-pre-app = echo \"exec-pre-app $OF_A_HOOK\" >> {}\n", told.display()));
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "ids", &more))?;
    vassal.answers(port)?;
    vassal.signal(Signal::SIGTERM);
    ensure!(vassal.master.exited(Duration::from_secs(10))?.success(), "it ended badly:\n{}", vassal.master.output());
    let is_root = nix::unistd::geteuid().is_root();
    let expected: Vec<&str> = moments
        .iter()
        .filter(|moment| is_root || **moment != "as-root")
        .flat_map(|moment| match *moment {
            "pre-app" => vec!["pre-app", "exec-pre-app seen"],
            moment => vec![moment],
        })
        .collect();
    let came = fs::read_to_string(&told)?;
    ensure!(came.lines().collect::<Vec<_>>() == expected, "{came:?} instead of {expected:?}");
    Ok(())
}

fn failing(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let text = super::ini(port, "ids", "exec-asap = echo no database; exit 7\n");
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    let status = vassal.master.exited(Duration::from_secs(10))?;
    let said = vassal.master.output();
    ensure!(status.code() == Some(1), "{status}:\n{said}");
    ensure!(said.contains("no database") && said.contains("exit status: 7"), "{said}");
    Ok(())
}

fn under_an_emperor(ground: &Ground) -> Result<()> {
    let (port, told) = (ground.port()?, ground.path("told"));
    let socket = ground.path("app.sock");
    let mut more = format!("socket = {}\n", socket.display());
    more.push_str(&format!("exec-asap = test -S {} && echo bound >> {}\n", socket.display(), told.display()));
    more.push_str(&format!("hook-pre-app = appendn:{} pre-app\n", told.display()));
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", &more))?;
    emperor.loyal("shop.ini")?;
    let came = fs::read_to_string(&told)?;
    ensure!(came == "bound\npre-app\n", "{came:?}");
    emperor.stop()
}

fn surroundings(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let more = "env = SHOP=of cheese\nexec-asap = echo begins with $SHOP\nexec-as-user-atexit = echo ends with $SHOP\n";
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", more))?;
    emperor.loyal("shop.ini")?;
    let logged = |text: &str| -> Result<()> {
        wait::until_ok("a line of a hook's command", Duration::from_secs(20), || {
            let said = emperor.says("logs", &["shop.ini"])?.stdout;
            ensure!(said.lines().any(|line| line.ends_with(text)), "no {text:?} in\n{said}");
            Ok(())
        })
    };
    logged("begins with of cheese")?;
    ensure!(emperor.says("stop", &["shop.ini"])?.code == 0, "it did not stop");
    logged("ends with of cheese")?;
    ensure!(!emperor.output().contains("of cheese"), "the emperor's own log has it:\n{}", emperor.output());
    emperor.stop()
}

fn endless(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor
        .drop_file("shop.ini", &super::ini(port, "ids", "boot-deadline = 1\nexec-asap = sleep 1000 & sleep 1000\n"))?;
    let vassal = emperor.deploy_failed("shop.ini")?;
    let said = emperor.says("logs", &["shop.ini"])?.stdout;
    ensure!(said.contains("sleep 1000 failed: it was killed after 10 s"), "{said}\n{vassal}");
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "exec-asap = true\n"))?;
    emperor.loyal("shop.ini")?;
    emperor.stop()
}
