//! One extension file, every CPython of the machine, and a build for one version where one lies beside it; what is too old is
//! refused by name.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground, Skip},
    http, process, python,
    runner::Story,
    vassal::{Vassal, surroundings},
};
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("python/every-version-serves-with-the-same-extension", every_version).within_s(120),
    Story::new("python/several-versions-under-one-emperor", several_at_once).within_s(120),
    Story::new("python/a28-3.8-is-refused-by-name", too_old),
    Story::new("python/a-build-for-its-version-goes-before-the-one-for-all", specific_build),
    Story::new("python/a-build-for-another-version-is-not-looked-at", other_build),
    Story::new("python/a-build-that-does-not-load-is-said-and-passed-over", broken_build),
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

/// The build for every version, as an installation names it.
const STABLE: &str = "empery_worker.abi3.so";

/// An installation in the story's directory: `bin/vassal` and the extension for every version.
fn installation(ground: &Ground) -> Result<PathBuf> {
    let (bin, lib) = (ground.path("prefix/bin"), ground.path("prefix/lib/empery"));
    fs::create_dir_all(&bin)?;
    fs::create_dir_all(&lib)?;
    fs::copy(ground::binary("vassal")?, bin.join("vassal"))?;
    fs::copy(extension()?, lib.join(STABLE))?;
    Ok(lib)
}

/// What cargo built: which build it is does not matter to these stories, only which file is loaded.
fn extension() -> Result<PathBuf> {
    ground::binary("libempery_worker.so")
}

/// The name of a build for the `python3` of the stories.
fn own_name() -> Result<String> {
    let suffix = python::run("import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))", &[])?;
    Ok(format!("empery_worker{}", suffix.trim()))
}

/// Runs the installed vassal; which extensions its worker has loaded, and what the vassal said.
fn loaded(ground: &Ground, lib: &Path) -> Result<(Vec<String>, String)> {
    let port = ground.port()?;
    ground.write("app.ini", &super::ini(port, "show", ""))?;
    let mut command = Command::new(ground.path("prefix/bin/vassal"));
    surroundings(&mut command);
    command.env_remove("EMPERY_WORKER_EXTENSION").current_dir(ground.directory()).arg("app.ini");
    let mut vassal = Vassal::adopt(ground, ground.directory(), command)?;
    let shown: Value = serde_json::from_slice(&vassal.answers(port)?.body)?;
    let maps = fs::read_to_string(format!("/proc/{}/maps", shown["process"]["pid"]))?;
    let mut files: Vec<String> = fs::read_dir(lib)?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| maps.lines().any(|line| line.ends_with(&format!("/empery/{name}"))))
        .collect();
    files.sort();
    let said = vassal.master.output();
    vassal.stop()?;
    Ok((files, said))
}

fn specific_build(ground: &Ground) -> Result<()> {
    let lib = installation(ground)?;
    let (alone, _) = loaded(ground, &lib)?;
    ensure!(alone == [STABLE], "{alone:?}");
    let name = own_name()?;
    fs::copy(extension()?, lib.join(&name))?;
    let (files, _) = loaded(ground, &lib)?;
    ensure!(files == [name.as_str()], "{files:?}");
    Ok(())
}

fn other_build(ground: &Ground) -> Result<()> {
    let lib = installation(ground)?;
    for other in ["38", "399", "311d"] {
        // It would be refused if it were loaded.
        fs::write(lib.join(format!("empery_worker.cpython-{other}-x86_64-linux-gnu.so")), "not an extension")?;
    }
    let (files, said) = loaded(ground, &lib)?;
    ensure!(files == [STABLE], "{files:?}");
    ensure!(!said.contains("cannot load"), "{said}");
    Ok(())
}

fn broken_build(ground: &Ground) -> Result<()> {
    let lib = installation(ground)?;
    let name = own_name()?;
    fs::write(lib.join(&name), "not an extension")?;
    let (files, said) = loaded(ground, &lib)?;
    ensure!(files == [STABLE], "{files:?}");
    let complaint = said.lines().find(|line| line.contains(&name)).unwrap_or_default();
    ensure!(complaint.contains("cannot load the worker extension"), "{said}");
    ground.note(complaint);
    Ok(())
}
