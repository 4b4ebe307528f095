//! What a newcomer sees first: the three example vassals of `./dev run`, as the README shows them.

use std::process::Command;

use anyhow::{Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground},
    http::{self, Ask},
    process, python,
    runner::Story,
    wait,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("tour/three-example-vassals-answer", three_examples),
    Story::new("tour/the-command-line-tells-what-it-sees", command_line),
    Story::new("tour/exit-codes-tell-failed-and-unreachable-apart", exit_codes),
];

/// The directory `./dev run` makes: vassal files beside the apps and the environment they name.
fn example_directory(ground: &Ground) -> Result<()> {
    std::fs::create_dir_all(ground.path("vassals"))?;
    std::os::unix::fs::symlink(ground::example("apps"), ground.path("apps"))?;
    std::os::unix::fs::symlink(python::environment(), ground.path("venv"))?;
    let mut migrate = Command::new(python::program("python")?);
    migrate.args(["manage.py", "migrate", "--verbosity", "0"]).current_dir(ground::example("apps/django_site"));
    migrate.env("LIBRARY_DATABASE", ground.path("library.sqlite3")).env("PYTHONDONTWRITEBYTECODE", "1");
    process::run(migrate)?.success()?;
    Ok(())
}

fn three_examples(ground: &Ground) -> Result<()> {
    ground.needs_own_network()?;
    example_directory(ground)?;
    let emperor = Emperor::start(ground)?;
    for name in ["plain.ini", "flask.ini", "django.ini"] {
        let text = std::fs::read_to_string(ground::example("vassals").join(name))?;
        emperor.drop_file(name, &text)?;
    }
    for name in ["plain.ini", "flask.ini", "django.ini"] {
        emperor.loyal(name)?;
    }
    ensure!(http::get(8001, "/")?.text() == "Hello from plain WSGI\n");

    ensure!(http::get(8002, "/")?.text().contains("Nobody was here yet"));
    let signed = http::ask(8002, Ask::post("/").body("application/x-www-form-urlencoded", b"entry=hello+you"))?;
    ensure!(signed.status == 303, "{signed:?}");
    ensure!(http::get(8002, "/")?.text().contains("hello you"));

    ensure!(http::get(8003, "/")?.text().contains("Library"));
    let login = http::get(8003, "/admin/login/")?;
    ensure!(login.status == 200 && login.text().contains("Django administration"), "{login:?}");
    let style = http::get(8003, "/static/admin/css/base.css")?;
    ensure!(
        style.status == 200 && style.header("content-type").is_some_and(|kind| kind.contains("text/css")),
        "{style:?}"
    );

    let dashboard = http::get(emperor.port, "/healthz")?;
    ensure!(dashboard.status == 200, "{dashboard:?}");
    emperor.stop()
}

fn command_line(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", ""))?;
    emperor.loyal("shop.ini")?;
    let before = super::boot_of(&http::get(port, "/")?);

    let status = emperor.says("status", &[])?.success()?;
    ensure!(status.contains("shop.ini") && status.contains("loyal"), "{status}");
    let status: serde_json::Value = serde_json::from_str(&emperor.says("status", &["--json"])?.success()?)?;
    ensure!(status["vassals"][0]["state"] == "loyal", "{status:#}");

    emperor.says("reload", &["shop.ini"])?.success()?;
    let after = super::boot_changes(port, &before)?;
    ensure!(before != after);
    emperor.says("stop", &["shop.ini"])?.success()?;
    ensure!(http::get(port, "/").is_err(), "it answers although it was stopped");
    ensure!(emperor.vassal("shop.ini")?["state"] == "held");
    emperor.says("start", &["shop.ini"])?.success()?;
    http::get(port, "/")?;
    wait::until_ok("the log to show requests", std::time::Duration::from_secs(5), || {
        let log = emperor.says("logs", &["shop.ini"])?.success()?;
        ensure!(log.contains("GET /"), "{log}");
        Ok(())
    })?;

    ground.write("good.ini", &super::ini(port, "ids", ""))?;
    let good = ground.path("good.ini");
    let mut check = Command::new(ground::binary("emperor")?);
    check.arg("check").arg(&good);
    process::run(check)?.success()?;
    emperor.stop()
}

fn exit_codes(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::prepare(ground)?;
    let unreachable = emperor.says("status", &[])?;
    let mut emperor = emperor;
    emperor.up()?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", ""))?;
    emperor.loyal("shop.ini")?;
    emperor.drop_file("shop.ini", &super::ini(port, "broken.import_error", ""))?;
    emperor.deploy_failed("shop.ini")?;
    let failed = emperor.says("reload", &["shop.ini"])?;
    let unknown = emperor.says("reload", &["nobody.ini"])?;
    ensure!(unreachable.code != 0 && failed.code != 0 && unknown.code != 0);
    ensure!(unreachable.code != failed.code, "failed and unreachable both exit with {}", failed.code);
    let said = format!("{}{}", failed.stdout, failed.stderr);
    ensure!(said.contains("no_such_module_anywhere"), "the reason is not shown: {said}");
    emperor.stop()
}
