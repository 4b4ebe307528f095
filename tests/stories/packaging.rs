//! What `deploy/` builds installs and runs: the wheel in a fresh environment, the Debian package's files, the unit.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use empery_tests::{
    ground::{self, Ground, Skip},
    http, process, python,
    runner::Story,
    vassal::surroundings,
    wait,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("packaging/the-wheel-installs-and-runs-hello", wheel).within_s(180),
    Story::new("packaging/the-wheel-s-emperor-finds-its-vassal-and-extension", wheel_emperor).within_s(180),
    Story::new("packaging/the-debian-package-holds-what-the-unit-starts", debian),
    Story::new("packaging/the-unit-is-one-systemd-accepts", unit),
];

/// Builds the wheel from the binaries under test and installs it into a fresh environment.
fn installed(ground: &Ground) -> Result<PathBuf> {
    let wheels = ground.path("wheels");
    let mut build = Command::new(python::program("python")?);
    build
        .arg(ground::tree().join("deploy/wheel"))
        .arg("--binaries")
        .arg(ground::released_binaries())
        .arg("--into")
        .arg(&wheels);
    process::run(build)?.success().context("deploy/wheel")?;
    let wheel = fs::read_dir(&wheels)?.flatten().next().context("no wheel was built")?.path();

    let environment = ground.path("installed");
    let mut make = Command::new("/usr/bin/python3");
    make.args(["-m", "venv"]).arg(&environment);
    process::run(make)?.success()?;
    let mut install = Command::new(environment.join("bin/pip"));
    install.args(["install", "--no-index", "--no-deps", "--disable-pip-version-check"]).arg(&wheel);
    process::run(install)?.success()?;
    Ok(environment)
}

fn installed_command(ground: &Ground, environment: &std::path::Path, name: &str) -> Command {
    let mut command = Command::new(environment.join("bin").join(name));
    surroundings(&mut command);
    command.env_remove("EMPERY_WORKER_EXTENSION").current_dir(ground.directory());
    command.env("PATH", format!("{}:/usr/bin:/bin", environment.join("bin").display()));
    command
}

fn wheel(ground: &Ground) -> Result<()> {
    let environment = installed(ground)?;
    let port = ground.port()?;
    ground.write("app.ini", &super::ini(port, "hello", ""))?;
    let mut command = installed_command(ground, &environment, "vassal");
    command.arg("app.ini");
    let mut vassal = ground.start("vassal", command)?;
    let answer =
        wait::until_ok("the installed vassal to answer", Duration::from_secs(20), || Ok(http::get(port, "/")?));
    let answer = answer.map_err(|error| error.context(vassal.output()))?;
    ensure!(answer.text() == "Hello World");
    ensure!(vassal.terminated(Duration::from_secs(10))?.success());
    Ok(())
}

fn wheel_emperor(ground: &Ground) -> Result<()> {
    let environment = installed(ground)?;
    let (port, dashboard) = (ground.port()?, ground.port()?);
    for directory in ["vassals", "state", "run"] {
        fs::create_dir_all(ground.path(directory))?;
        fs::set_permissions(ground.path(directory), fs::Permissions::from_mode(0o755))?;
    }
    ground.write("vassals/hello.ini", &super::ini(port, "hello", ""))?;
    let mut command = installed_command(ground, &environment, "emperor");
    command.arg("run").args(["--vassals", "vassals", "--state", "state", "--runtime", "run"]);
    command.arg("--listen").arg(format!("127.0.0.1:{dashboard}"));
    let mut emperor = ground.start("emperor", command)?;
    let answer = wait::until_ok("the vassal to answer", Duration::from_secs(20), || Ok(http::get(port, "/")?));
    let answer = answer.map_err(|error| error.context(emperor.output()))?;
    ensure!(answer.text() == "Hello World");
    ensure!(emperor.terminated(Duration::from_secs(20))?.success());
    Ok(())
}

fn debian(ground: &Ground) -> Result<()> {
    if !std::path::Path::new("/usr/bin/dpkg-deb").exists() {
        bail!(Skip("dpkg-deb is not installed".to_owned()));
    }
    let into = ground.path("packages");
    // A build for one version rides along when asked; its content does not matter here.
    let (specific, fitting) = (ground.path("specific"), "empery_worker.cpython-399-x86_64-linux-gnu.so");
    fs::create_dir_all(&specific)?;
    fs::copy(ground::released_binaries().join("libempery_worker.so"), specific.join(fitting))?;
    let mut build = Command::new(ground::tree().join("deploy/deb"));
    build.arg("--binaries").arg(ground::released_binaries()).arg("--into").arg(&into);
    build.arg("--specific").arg(&specific);
    process::run(build)?.success().context("deploy/deb")?;
    let package = fs::read_dir(&into)?.flatten().next().context("no package was built")?.path();
    let mut contents = Command::new("dpkg-deb");
    contents.arg("--contents").arg(&package);
    let contents = process::run(contents)?.success()?;
    for needed in [
        "./usr/bin/emperor",
        "./usr/bin/vassal",
        "./usr/bin/vassal-gateway",
        "./usr/lib/empery/empery_worker.abi3.so",
        &format!("./usr/lib/empery/{fitting}"),
        "./lib/systemd/system/empery.service",
        "./etc/vassals/",
    ] {
        ensure!(contents.contains(needed), "{needed} is not in the package:\n{contents}");
    }
    for kept in ["./usr/bin/vassal", "./usr/bin/vassal-gateway"] {
        let line = contents.lines().find(|line| line.ends_with(kept)).unwrap_or_default();
        ensure!(line.starts_with("-rwx--x--x"), "its memory must be kept from its own user: {line}");
    }
    // What it unpacks to runs.
    let root = ground.path("root");
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--extract").arg(&package).arg(&root);
    process::run(unpack)?.success()?;
    let port = ground.port()?;
    ground.write("app.ini", &super::ini(port, "hello", ""))?;
    let mut command = Command::new(root.join("usr/bin/vassal"));
    surroundings(&mut command);
    command.env_remove("EMPERY_WORKER_EXTENSION").current_dir(ground.directory()).arg("app.ini");
    let mut vassal = ground.start("vassal", command)?;
    wait::until_ok("the unpacked vassal to answer", Duration::from_secs(20), || Ok(http::get(port, "/")?))
        .map_err(|error| error.context(vassal.output()))?;
    ensure!(vassal.terminated(Duration::from_secs(10))?.success());
    Ok(())
}

fn unit(ground: &Ground) -> Result<()> {
    let text = fs::read_to_string(ground::tree().join("deploy/empery.service"))?;
    for needed in ["Type=notify", "KillMode=process", "ExecStart=/usr/bin/emperor run", "ProtectSystem="] {
        ensure!(text.contains(needed), "the unit lacks {needed}");
    }
    let says = |directive: &str| text.lines().any(|line| line.starts_with(directive));
    // An app's sendmail must work, logs of living vassals stay theirs, and the set-group-id bit of their directories sticks.
    ensure!(!says("NoNewPrivileges=") && !says("StateDirectory="), "{text}");
    ensure!(
        text.lines().any(|line| line.starts_with("CapabilityBoundingSet=") && line.contains("CAP_FSETID")),
        "{text}"
    );
    let Some(verify) = ["/usr/bin/systemd-analyze", "/bin/systemd-analyze"]
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
    else {
        ground.note("systemd-analyze is not installed; only the text was looked at");
        return Ok(());
    };
    let mut command = Command::new(verify);
    command.args(["verify", "--man=no"]).arg(ground::tree().join("deploy/empery.service"));
    let said = process::run(command)?;
    let complaints: Vec<&str> = said
        .stderr
        .lines()
        .filter(|line| line.contains("empery.service") && !line.contains("not executable"))
        .collect();
    ensure!(complaints.is_empty(), "{complaints:#?}");
    Ok(())
}
