//! What others read and rely on does not change unnoticed: help texts, uWSGI's stats, the API's shape, metrics.

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use empery_tests::{
    emperor::Emperor,
    golden,
    ground::{self, Ground},
    http::{self, Ask},
    process,
    runner::Story,
    vassal::Vassal,
    wait,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("golden/help-of-the-emperor", emperor_help),
    Story::new("golden/help-of-the-vassal", vassal_help),
    Story::new("golden/b12-stats-json", stats_json),
    Story::new("golden/stats-json-of-what-runs-beside", stats_json_beside),
    Story::new("golden/metrics-and-api", metrics_and_api),
    Story::new("golden/examples-and-documents-pass-the-check", examples_pass_the_check),
];

fn help(program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(ground::binary(program)?);
    command.args(arguments).env_clear().env("COLUMNS", "100");
    process::run(command)?.success()
}

fn emperor_help(_: &Ground) -> Result<()> {
    let mut text = help("emperor", &["--help"])?;
    let verbs = [
        "run",
        "status",
        "reload",
        "stop",
        "start",
        "confirm-removal",
        "stack",
        "logs",
        "check",
        "migrate",
        "completion",
        "login",
        "restart",
    ];
    for verb in verbs {
        text.push_str(&format!("\n$ emperor {verb} --help\n{}", help("emperor", &[verb, "--help"])?));
    }
    golden::matches("emperor-help.txt", &text)
}

fn vassal_help(_: &Ground) -> Result<()> {
    golden::matches("vassal-help.txt", &help("vassal", &["--help"])?)
}

fn stats_json(ground: &Ground) -> Result<()> {
    let (port, stats) = (ground.port()?, ground.port()?);
    let text = super::ini(port, "hello", &format!("master = true\nstats = 127.0.0.1:{stats}\n"));
    let mut vassal = Vassal::from_ini(ground, "stats.ini", &text)?;
    vassal.answers(port)?;
    // The shape of an idle vassal: a request in flight shows more.
    let idle = wait::until_ok("the vassal to be idle", Duration::from_secs(5), || {
        let shown = super::stats::read(stats)?;
        ensure!(shown["workers"][0]["status"] == "idle" && shown["workers"][0]["requests"] == 1, "{shown:#}");
        Ok(shown)
    })?;
    golden::matches("stats-json.txt", &golden::shape(&idle))?;
    vassal.stop()
}

/// Daemons, scheduled commands, spoolers and metrics have places of their own in uWSGI's statistics.
fn stats_json_beside(ground: &Ground) -> Result<()> {
    let (port, stats) = (ground.port()?, ground.port()?);
    std::fs::create_dir(ground.path("tasks"))?;
    let more = format!(
        "master = true\nstats = 127.0.0.1:{stats}\nattach-daemon = sleep 1000\ncron = 59 23 31 12 -1 true\nspooler = {}\n\
         metric = sold\nenable-metrics = true\n",
        ground.path("tasks").display()
    );
    let mut vassal = Vassal::from_ini(ground, "stats.ini", &super::ini(port, "hello", &more))?;
    vassal.answers(port)?;
    let shown = wait::until_ok("everything to run", Duration::from_secs(20), || {
        let shown = super::stats::read(stats)?;
        ensure!(
            shown["daemons"][0]["pid"].as_i64() > Some(0) && shown["spoolers"][0]["pid"].as_i64() > Some(0),
            "{shown:#}"
        );
        ensure!(
            shown["workers"][0]["status"] == "idle" && shown["metrics"]["worker.0.requests"]["value"] == 1,
            "{shown:#}"
        );
        Ok(shown)
    })?;
    let mut beside = serde_json::Map::new();
    for key in ["daemons", "crons", "spoolers", "metrics"] {
        beside.insert(key.to_owned(), shown[key].clone());
    }
    golden::matches("stats-json-beside.txt", &golden::shape(&beside.into()))?;
    vassal.stop()
}

fn metrics_and_api(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "hello", ""))?;
    emperor.loyal("shop.ini")?;
    http::get(port, "/")?;
    let metrics = emperor.ask(Ask::get("/metrics"))?.text();
    let described: Vec<&str> = metrics.lines().filter(|line| line.starts_with('#')).collect();
    ensure!(!described.is_empty(), "{metrics}");
    golden::matches("metrics.txt", &(described.join("\n") + "\n"))?;
    let api = emperor.json(Ask::get("/openapi.json"))?;
    let mut routes = Vec::new();
    for (path, methods) in api["paths"].as_object().into_iter().flatten() {
        routes.extend(
            methods.as_object().into_iter().flatten().map(|(method, _)| format!("{} {path}", method.to_uppercase())),
        );
    }
    golden::matches("api-routes.txt", &(routes.join("\n") + "\n"))?;
    emperor.stop()
}

/// Every vassal file of `deploy/examples`, and every ```ini block of the documents that is a whole file.
fn examples_pass_the_check(ground: &Ground) -> Result<()> {
    let mut files = Vec::new();
    for example in std::fs::read_dir(ground::example("vassals"))?.flatten() {
        files.push(example.path());
    }
    let documents = std::fs::read_dir(ground::tree().join("docs"))?.flatten().map(|entry| entry.path());
    for document in documents
        .chain([ground::tree().join("README.md")])
        .filter(|path| path.extension().is_some_and(|kind| kind == "md"))
    {
        let text = std::fs::read_to_string(&document)?;
        for (number, block) in text.split("```ini\n").skip(1).enumerate() {
            let block = block.split("```").next().unwrap_or_default();
            if block.contains("[uwsgi]") {
                let name = document.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                files.push(ground.write(&format!("{name}-{number}.ini"), block)?);
            }
        }
    }
    ensure!(files.len() >= 4, "only {files:?} were found");
    for file in files {
        let mut check = Command::new(ground::binary("emperor")?);
        check.arg("check").arg(&file);
        let checked = process::run(check)?;
        ensure!(checked.code == 0, "{}: {}{}", file.display(), checked.stdout, checked.stderr);
    }
    Ok(())
}
