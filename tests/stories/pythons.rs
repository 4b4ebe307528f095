//! One extension file, every CPython of the machine; what is too old is refused by name.

use std::process::Command;

use anyhow::{Result, bail, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{Ground, Skip},
    http, process, python,
    runner::Story,
    vassal::Vassal,
};
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("python/every-version-serves-with-the-same-extension", every_version).within_s(120),
    Story::new("python/several-versions-under-one-emperor", several_at_once).within_s(120),
    Story::new("python/3.8-is-refused-by-name", too_old),
];

/// Versions that must serve.
const SERVED: std::ops::RangeInclusive<u32> = 9..=13;

fn every_version(ground: &Ground) -> Result<()> {
    let found = python::interpreters()?;
    let mut served = Vec::new();
    for minor in SERVED {
        let Some(interpreter) = found.get(&(3, minor)) else {
            ground.note(&format!("skipped: CPython 3.{minor} is not installed"));
            continue;
        };
        let port = ground.port()?;
        let more = format!("python = {}\nprocesses = 2\nthreads = 2\n", interpreter.display());
        let mut vassal = Vassal::from_ini(ground, &format!("v{minor}.ini"), &super::ini(port, "show", &more))?;
        let shown: Value = serde_json::from_slice(&vassal.answers(port)?.body)?;
        let version = shown["process"]["python"].as_str().unwrap_or_default().to_owned();
        ensure!(version.starts_with(&format!("3.{minor}.")), "{shown:#}");
        vassal.stop()?;
        served.push(version);
    }
    ground.note(&format!("served with {}", served.join(", ")));
    ensure!(!served.is_empty());
    Ok(())
}

fn several_at_once(ground: &Ground) -> Result<()> {
    let found: Vec<_> = python::interpreters()?.into_iter().filter(|((_, minor), _)| SERVED.contains(minor)).collect();
    if found.len() < 2 {
        bail!(Skip("only one CPython of 3.9 to 3.13 is installed".to_owned()));
    }
    let emperor = Emperor::start(ground)?;
    let mut ports = Vec::new();
    for ((_, minor), interpreter) in &found {
        // As users have it: a virtualenv made by that interpreter, named by `virtualenv`.
        let environment = ground.path(&format!("venv-{minor}"));
        let mut make = Command::new(interpreter);
        make.args(["-m", "venv", "--without-pip"]).arg(&environment);
        process::run(make)?.success()?;
        let port = ground.port()?;
        let text = super::ini(port, "show", &format!("virtualenv = {}\n", environment.display()));
        emperor.drop_file(&format!("v{minor}.ini"), &text)?;
        ports.push((*minor, port, environment));
    }
    for (minor, port, environment) in ports {
        let vassal = emperor.loyal(&format!("v{minor}.ini"))?;
        ensure!(
            vassal["python"].as_str().is_some_and(|version| version.starts_with(&format!("3.{minor}."))),
            "{vassal:#}"
        );
        let shown: Value = serde_json::from_slice(&http::get(port, "/")?.body)?;
        ensure!(shown["process"]["prefix"] == environment.to_string_lossy().as_ref(), "{shown:#}");
    }
    emperor.stop()
}

fn too_old(ground: &Ground) -> Result<()> {
    // The newest of them: 3.8 where it is installed.
    let too_old = python::interpreters()?.into_iter().rfind(|((_, minor), _)| *minor < 9);
    let Some((_, old)) = too_old else {
        bail!(Skip("no CPython below 3.9 is installed".to_owned()));
    };
    let port = ground.port()?;
    let more = format!("python = {}\n", old.display());
    let mut vassal = Vassal::from_ini(ground, "old.ini", &super::ini(port, "hello", &more))?;
    let status = vassal.master.exited(empery_tests::vassal::BOOTED_WITHIN)?;
    let said = vassal.master.output();
    ensure!(!status.success() && said.contains("3.9"), "{status}: {said}");
    ground.note(said.lines().find(|line| line.contains("3.9")).unwrap_or_default());
    Ok(())
}
